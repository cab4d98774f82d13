//! A real HTTP receiver for webhooks: it answers as it is told to and hands on what came.

use std::collections::BTreeMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::PATIENCE;

/// One request that came.
#[derive(Debug, Clone)]
pub(super) struct Came {
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Came {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Listens on a port of its own; the n-th request gets the n-th answer, and the last answer for ever. An empty answer is silence.
pub(super) struct Receiver {
    pub(super) url: String,
    came: mpsc::UnboundedReceiver<Came>,
    task: tokio::task::JoinHandle<()>,
}

impl Receiver {
    pub(super) async fn start(answers: &[&'static str]) -> Self {
        Self::on("127.0.0.1:0", answers).await
    }

    pub(super) async fn on(address: &str, answers: &[&'static str]) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (told, came) = mpsc::unbounded_channel();
        let answers = answers.to_vec();
        let task = tokio::spawn(async move {
            for n in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let answer = answers[n.min(answers.len() - 1)];
                tokio::spawn(serve(stream, answer, told.clone()));
            }
        });
        Self { url, came, task }
    }

    pub(super) async fn next(&mut self) -> Came {
        tokio::time::timeout(PATIENCE, self.came.recv()).await.expect("in time").expect("the receiver lives")
    }

    /// Nothing more came.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.came.try_recv().is_err()
    }

    /// Closes the port.
    pub(super) async fn stop(self) -> String {
        self.task.abort();
        drop(self.task.await);
        self.url
    }
}

async fn serve(mut stream: TcpStream, answer: &str, told: mpsc::UnboundedSender<Came>) {
    let mut read = Vec::new();
    let split = loop {
        if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
            return;
        }
    };
    let head = String::from_utf8(read[..split].to_vec()).unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    let headers: BTreeMap<String, String> = head.lines().skip(1).map(header).collect();
    let length: usize = headers["content-length"].parse().unwrap();
    while read.len() < split + 4 + length {
        if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let came = Came { headers, body: read[split + 4..].to_vec() };
    // Before the answer: the next message comes by another connection as soon as this one is answered.
    drop(told.send(came));
    if answer.is_empty() {
        return std::future::pending().await;
    }
    drop(stream.write_all(answer.as_bytes()).await);
    drop(stream.shutdown().await);
}
