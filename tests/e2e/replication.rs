//! Packages and deletions between sites, and what a poll costs.

use crate::lab::{Site, bytes_of, crate_files, until};

/// New York mirrors Los Angeles, Tokyo pulls from New York.
fn three() -> (Site, Site, Site) {
    let (la, ny, tokyo) = (Site::new("Los Angeles"), Site::new("New York"), Site::new("Tokyo"));
    la.ok(&["feed", "create", "tools", "--kind", "raw"]);
    la.pair(&ny, "tools", "mirror");
    ny.pair(&tokyo, "tools", "pull");
    (la, ny, tokyo)
}

#[test]
fn three_sites_converge_on_two_hundred_packages_and_then_a_poll_costs_next_to_nothing() {
    let (la, ny, tokyo) = three();
    let mut names = Vec::new();
    for path in crate_files(200) {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        la.ok(&["publish", "tools", &name, "1.0", path.to_str().unwrap()]);
        names.push(name);
    }
    // Where the crates were vendored or already removed, made-up files make up the number.
    for n in names.len()..200 {
        let name = format!("made-{n}");
        la.publish("tools", &name, &bytes_of(n as u64, 100 + n * 997));
        names.push(name);
    }
    ny.publish("tools", "from-new-york", b"both ways");
    ny.sync();
    tokyo.sync();
    let root = la.state_root("tools");
    assert_eq!((ny.state_root("tools"), tokyo.state_root("tools")), (root.clone(), root.clone()));
    let listed = tokyo.ok(&["list", "tools"]);
    assert_eq!(listed["packages"].as_array().unwrap().len(), 201);

    for site in [&ny, &tokyo] {
        // The origin's seal follows what it seals; after it there is nothing new.
        until("a run without news costs one round trip and a few dozen bytes", || {
            let run = site.sync();
            let few = |bytes: &str| run[bytes].as_u64().unwrap() <= 200;
            run["round_trips"] == 1 && few("frames_in_bytes") && few("frames_out_bytes")
        });
    }

    la.ok(&["delete", "tools", &names[7], "1.0", "--reason", "broken"]);
    ny.sync();
    tokyo.sync();
    // New York tells Tokyo that there is news, so the delete may have come before the sync that was asked for.
    let runs = tokyo.ok(&["runs"]);
    let deletes: Vec<_> =
        runs["runs"].as_array().unwrap().iter().filter(|run| run["deletes_in"] == 1).collect();
    assert_eq!(deletes.len(), 1, "{runs}");
    assert_eq!(deletes[0]["content_in_bytes"], 0);
    let why = tokyo.ok(&["why", &format!("tools/{}@1.0", names[7])]);
    assert_eq!(why["state"], "deleted", "{why}");
    assert!(why.to_string().contains("broken"), "{why}");
    assert_ne!(tokyo.state_root("tools"), root);
    assert_eq!(tokyo.state_root("tools"), la.state_root("tools"));
}

#[test]
fn what_a_leaf_publishes_stays_there_and_both_ends_say_why() {
    let (_la, ny, tokyo) = three();
    tokyo.publish("tools", "local", b"made in Tokyo");
    tokyo.sync();
    assert_eq!(tokyo.ok(&["why", "tools/local@1.0"])["state"], "ready");
    assert_eq!(ny.ok(&["why", "tools/local@1.0"])["state"], "absent");
    let link = &tokyo.ok(&["link", "list"])["links"][0];
    assert_eq!(
        (&link["dial"], &link["feeds"][0]["effective"]),
        (&"outgoing".into(), &"pull".into()),
        "{link}"
    );
}

#[test]
fn bytes_come_back_as_they_were_published() {
    let (la, ny, _tokyo) = three();
    let content = bytes_of(5, 3_000_001);
    la.publish("tools", "large", &content);
    ny.sync();
    let out = ny.data().join("out");
    ny.ok(&["get", "tools", "large", "1.0", "-o", out.to_str().unwrap()]);
    assert!(std::fs::read(out.join("large.bin")).unwrap() == content, "the bytes differ");
}

#[test]
fn a_link_runs_by_itself_at_its_interval_and_not_while_it_is_paused() {
    let (la, ny, _tokyo) = three();
    let name = ny.ok(&["link", "list"])["links"][0]["name"].as_str().unwrap().to_owned();
    ny.ok(&["link", "set", &name, "--every", "1s"]);
    la.publish("tools", "a", b"a");
    until("the link ran by itself", || ny.ok(&["why", "tools/a@1.0"])["state"] == "ready");
    ny.ok(&["link", "pause", &name]);
    assert_eq!(ny.offline(&["sync", &name]).code, 6);
    ny.ok(&["link", "resume", &name]);
    ny.sync();
    ny.ok(&["link", "remove", &name]);
    assert!(!ny.ok(&["link", "list"]).to_string().contains(&format!("\"name\":\"{name}\"")));
    assert_eq!(ny.ok(&["why", "tools/a@1.0"])["state"], "ready", "what came stays");
}

#[test]
fn a_mode_the_other_end_does_not_allow_is_told_before_anything_moves() {
    let (_la, ny, tokyo) = three();
    let name = tokyo.ok(&["link", "list"])["links"][0]["name"].as_str().unwrap().to_owned();
    tokyo.ok(&["link", "set", &name, "--mode", "push"]);
    let run = tokyo.offline(&["--json", "sync"]);
    assert_eq!(run.code, 6, "{run:?}");
    assert!(run.stdout.contains("allows none"), "{run:?}");
    let there = ny.ok(&["runs"]);
    assert!(there.to_string().contains("refused"), "the listening end records it too: {there}");
    tokyo.ok(&["link", "set", &name, "--mode", "mirror"]);
    tokyo.sync();
    let link = tokyo.ok(&["link", "show", &name]);
    assert_eq!(link["feeds"][0]["verdict"], "warning", "{link}");
}

/// What an administrator asks of a site: what would come of it, what came of it, how far the other end is.
#[test]
fn an_administrator_sees_plans_runs_and_lag() {
    let (ny, tokyo) = (Site::new("New York"), Site::new("Tokyo"));
    ny.ok(&["feed", "create", "tools", "--kind", "raw", "--open-reads"]);
    ny.publish("tools", "a", b"one");
    let offer = ["pair", "invite", "--feed", "tools", "--peer-may", "read-only", "--address", &ny.listen];
    let preview = ny.ok(&[&offer[..], &["--dry-run"]].concat());
    assert!(preview["feeds"][0]["sentence"].as_str().unwrap().contains("may not change"), "{preview}");
    assert!(ny.ok(&["pair", "list"])["pairings"].as_array().unwrap().is_empty());
    ny.fails(2, &["pair", "invite", "--feed", "tools", "--peer-may", "in.delete"]);

    let spare = ny.ok(&offer);
    let withdrawn = ny.ok(&["pair", "revoke", "all-open"]);
    assert_eq!(withdrawn["pairings"].as_array().unwrap().len(), 1);
    tokyo.fails(6, &["pair", "accept", spare["ticket"].as_str().unwrap()]);

    let ticket = ny.ok(&offer)["ticket"].as_str().unwrap().to_owned();
    let plan = tokyo.ok(&["link", "plan", &ticket, "--mode", "mirror"]);
    assert_eq!(plan["feeds"][0]["verdict"], "warning", "{plan}");
    tokyo.ok(&["pair", "accept", &ticket]);
    let plan = tokyo.ok(&["link", "plan", "new-york"]);
    assert_eq!((&plan["feeds"][0]["verdict"], &plan["sound"]), (&"valid".into(), &true.into()), "{plan}");
    let dry = tokyo.ok(&["sync", "--dry-run"]);
    assert!(dry["links"][0]["feeds"][0]["ops_to_come"].as_u64().unwrap() >= 1, "{dry}");
    assert!(tokyo.ok(&["list", "tools"])["packages"].as_array().unwrap().is_empty());

    tokyo.sync();
    let status = tokyo.ok(&["status", "--max-lag", "1h"]);
    let link = &status["links"][0];
    assert!(link["as_of_ms"].as_u64().is_some() && link["peer_as_of_ms"].is_null(), "{status}");
    until("the last complete run is a second old", || {
        tokyo.offline(&["status", "--max-lag", "1s"]).code == 3
    });
    let done = tokyo.ok(&["runs", "--outcome", "done", "--limit", "1"]);
    let run = tokyo.ok(&["run", "show", done["runs"][0]["id"].as_str().unwrap()]);
    assert_eq!(run["came"]["added"][0], "tools/a@1.0", "{run}");
    let get = "GET /feeds/tools/a/1.0/a.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let token = tokyo.ok(&["token", "create", "--feed", "tools", "--label", "ci"])["token"].to_string();
    let auth = format!("Connection: close\r\nAuthorization: Bearer {}\r\n", token.trim_matches('"'));
    let here = tokyo.http(&get.replace("Connection: close\r\n", &auth), b"");
    assert!(here.0 == 200 && here.1.contains("x-packetboat-as-of: 20"), "{}", here.1);
    let there = ny.http(get, b"");
    assert!(there.0 == 200 && !there.1.contains("x-packetboat-as-of"), "it comes from nowhere: {}", there.1);
}

/// Row 58: the level is changed while the node runs, says until when, and goes back; ops are told as they arrive.
#[test]
fn the_log_level_is_changed_live_and_the_log_of_ops_is_told() {
    let ny = Site::new("New York");
    ny.ok(&["feed", "create", "tools", "--kind", "raw"]);
    ny.publish("tools", "hello", b"hello");
    let log = ny.ok(&["log", "--feed", "tools", "--author", "me"]);
    let kinds: Vec<_> =
        log["ops"].as_array().unwrap().iter().map(|op| op["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"publish"), "{log}");
    assert_eq!(ny.ok(&["log-level"])["left_ms"], serde_json::Value::Null);
    let raised = ny.ok(&["log-level", "packetboat=debug", "--for", "10m"]);
    assert_eq!(raised["now"], "packetboat=debug");
    assert!(raised["left_ms"].as_u64().unwrap() <= 600_000, "{raised}");
    assert!(ny.ok(&["doctor"])["findings"].to_string().contains("log-level"));
    ny.ok(&["log-level", "--reset"]);
    assert_eq!(ny.ok(&["log-level"])["left_ms"], serde_json::Value::Null);
    assert!(ny.fails(2, &["log-level", "loud="]).contains("no level"));
    assert!(ny.fails(2, &["log-level", "debug", "--for", "48h"]).contains("a day at most"));
}
