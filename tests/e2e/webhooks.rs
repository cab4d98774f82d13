//! Webhooks of the built binary: kill -9 between event and receiver, and where the secret is told.

use std::net::TcpListener;

use serde_json::Value;

use crate::lab::{PATIENCE, Site, own_address, until};
use crate::receiver::receiver;

fn closed_port() -> (String, String) {
    let address = own_address();
    (format!("http://{address}/hook"), address)
}

#[test]
fn what_happened_before_a_kill_is_told_after_it() {
    let mut ny = Site::new("New York");
    let (url, address) = closed_port();
    ny.ok(&["webhook", "add", &url, "--events", "feed-taken-up"]);
    ny.ok(&["feed", "create", "tools", "--kind", "raw"]);
    until("the event is kept", || ny.ok(&["webhook", "list"])["webhooks"][0]["waiting"] == 1);
    ny.kill();
    let came = receiver(TcpListener::bind(address).unwrap());
    ny.start();
    let (id, told) = came.recv_timeout(PATIENCE).unwrap();
    assert_eq!((&told["type"], &told["data"]["fields"]["feed"]), (&"feed-taken-up".into(), &"tools".into()));
    until("it is delivered", || ny.ok(&["webhook", "list"])["webhooks"][0]["waiting"] == 0);
    ny.kill();
    ny.start();
    ny.ok(&["feed", "create", "docs", "--kind", "raw"]);
    let (next, told) = came.recv_timeout(PATIENCE).unwrap();
    assert_eq!(told["data"]["fields"]["feed"], "docs", "what was taken does not come again");
    assert_ne!(id, next);
}

#[test]
fn a_secret_is_printed_once_and_never_again() {
    let mut ny = Site::new("New York");
    ny.ok(&["log-level", "trace", "--for", "10m"]);
    let (url, _) = closed_port();
    let made = ny.ok(&["webhook", "add", &url]);
    let secret = made["secret"].as_str().unwrap().to_owned();
    let bare = secret.trim_start_matches("whsec_").to_owned();
    let id = made["webhook"]["id"].as_str().unwrap().to_owned();
    let file = ny.data().join("mine");
    std::fs::write(&file, &secret).unwrap();
    let given = ny.ok(&["webhook", "add", &url, "--secret-file", file.to_str().unwrap()]);
    assert_eq!(given["secret"], Value::Null);
    ny.ok(&["feed", "create", "tools", "--kind", "raw"]);
    let mut all = ny.fails(5, &["webhook", "test", &id]);
    for args in [
        &["webhook", "list"][..],
        &["status"],
        &["config", "show"],
        &["config", "check"],
        &["events"],
        &["doctor"],
    ] {
        for json in [true, false] {
            let end = if json { ny.offline(&[&["--json"], args].concat()) } else { ny.offline(args) };
            all = [all, end.stdout, end.stderr].concat();
        }
    }
    ny.kill();
    ny.start();
    ny.ok(&["webhook", "remove", &id]);
    assert!(ny.offline(&["webhook", "list"]).stdout.contains(&url));
    let log = std::fs::read_to_string(ny.data().join("e2e.log")).unwrap();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "the level was raised");
    for told in [&all, &log] {
        assert!(!told.contains(&bare), "{told}");
    }
}
