//! A receiver of webhooks that takes everything, and a reader of the event stream.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;

use crate::lab::{PATIENCE, Site};

/// A receiver that takes everything. Gives the `webhook-id` and the body of each message.
pub(crate) fn receiver(listener: TcpListener) -> Receiver<(String, Value)> {
    let (told, came) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut id, mut length) = (String::new(), 0);
            stream.read_line(&mut String::new()).unwrap();
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                let Some((name, value)) = line.trim().split_once(": ") else { break };
                match name {
                    "webhook-id" => value.clone_into(&mut id),
                    "content-length" => length = value.parse().unwrap(),
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            if told.send((id, serde_json::from_slice(&body).unwrap())).is_err() {
                return;
            }
        }
    });
    came
}

/// What a site tells, by one way: each event as it comes.
pub(crate) struct Told {
    way: &'static str,
    came: Receiver<Value>,
    seen: Vec<Value>,
}

impl Told {
    /// By a webhook for everything.
    pub(crate) fn by_webhook(site: &Site) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        site.ok(&["webhook", "add", &format!("http://{}/", listener.local_addr().unwrap())]);
        let (told, came) = channel();
        let messages = receiver(listener);
        std::thread::spawn(move || {
            for (_, message) in messages {
                if told.send(message["data"].clone()).is_err() {
                    return;
                }
            }
        });
        Self { way: "webhook", came, seen: Vec::new() }
    }

    /// By the stream of the API.
    pub(crate) fn by_stream(site: &Site) -> Self {
        let token = site.ok(&["token", "create", "--admin"])["token"].as_str().unwrap().to_owned();
        let mut stream = TcpStream::connect(&site.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request =
            format!("GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        assert!(lines.any(|line| line == ": connected"), "the stream begins");
        let (told, came) = channel();
        std::thread::spawn(move || {
            for line in lines {
                let Some(data) = line.strip_prefix("data: ") else { continue };
                if told.send(serde_json::from_str(data).unwrap()).is_err() {
                    return;
                }
            }
        });
        Self { way: "stream", came, seen: Vec::new() }
    }

    /// Waits for an event of this kind whose field has this value, among all that were told. Gives the event.
    pub(crate) fn hears(&mut self, kind: &str, field: &str, value: impl Into<Value>) -> Value {
        let value = value.into();
        let is_it = |event: &Value| event["kind"] == kind && event["fields"][field] == value;
        loop {
            if let Some(event) = self.seen.iter().find(|event| is_it(event)) {
                return event.clone();
            }
            match self.came.recv_timeout(PATIENCE) {
                Ok(event) => self.seen.push(event),
                Err(_) => panic!("the {} never told {kind} with {field} {value}: {:#?}", self.way, self.seen),
            }
        }
    }
}
