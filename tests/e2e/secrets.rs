//! No secret is told but where it is made: keys, tokens, tickets and webhook secrets, at the most talkative level.

use data_encoding::{BASE32_NOPAD, BASE64, HEXLOWER};
use protocol::ticket::Ticket;
use serde_json::Value;

use crate::http::request;
use crate::lab::{Ended, Site};

/// A site that writes every log line from its first on.
fn talkative(name: &'static str) -> Site {
    let mut site = Site::new(name);
    site.kill();
    let file = site.data().join("packetboat.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{settings}\nlog = \"trace\"\n")).unwrap();
    site.start();
    site
}

/// Bytes in the ways in which programs write them.
fn spelled(bytes: &[u8]) -> Vec<String> {
    let list = bytes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let base32 = BASE32_NOPAD.encode(bytes);
    vec![HEXLOWER.encode(bytes), BASE64.encode(bytes), base32.to_ascii_lowercase(), base32, list]
}

fn said(end: Ended) -> String {
    end.stdout + &end.stderr
}

/// All that a site says when it is asked, and its log.
fn everything(site: &Site) -> String {
    let mut all = String::new();
    for args in [
        &["status"][..],
        &["config", "show"],
        &["config", "check"],
        &["events"],
        &["doctor"],
        &["log"],
        &["runs"],
        &["pair", "list"],
        &["link", "list"],
        &["token", "list"],
        &["webhook", "list"],
        &["rights", "list", "tools"],
    ] {
        all += &said(site.offline(args));
        all += &said(site.offline(&[&["--json"], args].concat()));
    }
    all + &std::fs::read_to_string(site.data().join("e2e.log")).unwrap()
}

#[test]
fn no_secret_is_in_a_log_line_an_error_or_an_answer() {
    let (mut ny, mut la) = (talkative("New York"), talkative("LA"));
    ny.ok(&["feed", "create", "tools", "--kind", "raw"]);
    let text = |told: &Value, field: &str| told[field].as_str().unwrap().to_owned();
    let token = text(&ny.ok(&["token", "create", "--write"]), "token");
    let hook = text(&ny.ok(&["webhook", "add", "http://127.0.0.1:1/"]), "secret");
    let invite = ["pair", "invite", "--feed", "tools", "--peer-may", "mirror", "--address", &ny.listen];
    let (ticket, spare) = (text(&ny.ok(&invite), "ticket"), text(&ny.ok(&invite), "ticket"));

    let mut all = String::new();
    la.ok(&["pair", "accept", &ticket]);
    all += &la.fails(6, &["pair", "accept", &ticket]);
    all += &la.fails(2, &["pair", "accept", &spare[..spare.len() - 1]]);
    la.sync();
    let file = "/feeds/tools/hello/1.0/hello.bin";
    assert_eq!(ny.http(&request("PUT", file, &token, "", 5), b"hello").0, 201);
    let (status, head, body) = ny.http(&request("DELETE", "/feeds/none/a/1", &token, "", 0), b"");
    assert_eq!(status, 404, "{head}");
    all += &format!("{head}{}", String::from_utf8_lossy(&body));
    assert_eq!(ny.http(&request("GET", "/api/v1/status", &token, "", 0), b"").0, 403);
    la.sync();
    for site in [&mut ny, &mut la] {
        site.kill();
        site.start();
        all += &everything(site);
    }
    assert!(all.contains("TRACE"), "the level is the lowest");

    let mut secrets: Vec<String> = Vec::new();
    for site in [&ny, &la] {
        secrets.extend(spelled(&std::fs::read(site.data().join("key/site.key")).unwrap()));
    }
    for text in [&ticket, &spare] {
        let ticket = Ticket::parse(text).unwrap();
        secrets.push(text.clone());
        secrets.extend(spelled(&ticket.secret).into_iter().chain(spelled(&ticket.proof_key())));
    }
    secrets.extend([&token, &hook].map(|text| text.split_once('_').unwrap().1.to_owned()));
    for secret in secrets {
        let at = all.find(&secret);
        assert_eq!(at.map(|at| &all[at.saturating_sub(200)..at]), None, "a secret follows this");
    }
}
