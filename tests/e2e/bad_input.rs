//! What people type, and what they are told when it is wrong: the thing named, what to do, the right exit code.

use crate::lab::{Site, run};

#[test]
fn wrong_words_are_usage_errors() {
    assert_eq!(run(&["no-such-command"]).code, 2);
    assert_eq!(run(&["publish"]).code, 2);
    let ny = Site::new("New York");
    let said = ny.fails(2, &["feed", "create", "x", "--kind", "deb"]);
    assert!(said.contains("deb"), "{said}");
    ny.ok(&["feed", "create", "tools", "--kind", "raw"]);
    ny.fails(2, &["why", "tools-without-version"]);
    ny.fails(2, &["pair", "accept", "pb1nonsense"]);
    ny.fails(2, &["pair", "invite", "--feed", "tools", "--peer-may", "everything"]);
}

#[test]
fn names_that_could_leave_their_folder_are_refused_with_the_rule() {
    let ny = Site::new("New York");
    ny.ok(&["feed", "create", "tools", "--kind", "raw"]);
    let file = ny.data().join("a.bin");
    std::fs::write(&file, b"a").unwrap();
    let long = "n".repeat(300);
    for (name, version) in
        [("..", "1"), ("a/b", "1"), ("a", "../1"), (".hidden", "1"), (long.as_str(), "1"), ("a\u{7}", "1")]
    {
        let said = ny.fails(2, &["publish", "tools", name, version, file.to_str().unwrap()]);
        assert!(said.contains("not allowed"), "{name:?} {version:?}: {said}");
    }
    ny.fails(2, &["feed", "create", "../x", "--kind", "raw"]);
}

#[test]
fn what_is_not_there_is_named() {
    let ny = Site::new("New York");
    ny.ok(&["feed", "create", "tools", "--kind", "raw"]);
    for (args, word) in [
        (&["list", "nothing"][..], "nothing"),
        (&["delete", "tools", "absent", "1"], "absent"),
        (&["get", "tools", "absent", "1"], "absent"),
        (&["link", "show", "nowhere"], "nowhere"),
        (&["run", "show", "0000000000000001"], "0000000000000001"),
    ] {
        let said = ny.fails(1, args);
        assert!(said.contains(word), "{args:?}: {said}");
    }
    let said = ny.fails(1, &["publish", "tools", "a", "1", "/no/such/file"]);
    assert!(said.contains("/no/such/file"), "{said}");
}

#[test]
fn the_same_version_with_other_bytes_is_a_conflict() {
    let ny = Site::new("New York");
    ny.ok(&["feed", "create", "tools", "--kind", "raw"]);
    ny.publish("tools", "a", b"one");
    let other = ny.data().join("a.bin");
    std::fs::write(&other, b"two").unwrap();
    ny.fails(4, &["publish", "tools", "a", "1.0", other.to_str().unwrap()]);
    ny.fails(4, &["feed", "create", "tools", "--kind", "raw"]);
}

#[test]
fn a_ticket_is_good_once_and_a_site_that_is_away_is_unreachable() {
    let (mut ny, la, thief) = (Site::new("New York"), Site::new("LA"), Site::new("Thief"));
    ny.ok(&["feed", "create", "tools", "--kind", "raw"]);
    let invite = |ny: &Site| {
        let args = ["pair", "invite", "--feed", "tools", "--peer-may", "pull", "--address", &ny.listen];
        ny.ok(&args)["ticket"].as_str().unwrap().to_owned()
    };
    let (ticket, open) = (invite(&ny), invite(&ny));
    la.ok(&["pair", "accept", &ticket]);
    let said = thief.fails(6, &["pair", "accept", &ticket]);
    assert!(said.contains("used before"), "{said}");
    ny.kill();
    thief.fails(5, &["pair", "accept", &open]);
    la.fails(5, &["sync"]);
    la.fails(3, &["status"]);
}

#[test]
fn without_a_daemon_the_message_says_how_to_start_one() {
    let mut ny = Site::new("New York");
    ny.kill();
    let said = ny.fails(1, &["status"]);
    assert!(said.contains("packetboat") && said.contains("serve"), "{said}");
    assert_eq!(ny.offline(&["verify"]).code, 0);
    assert_eq!(ny.offline(&["config", "check"]).code, 0);
    std::fs::write(ny.data().join("packetboat.toml"), "lisen = \"127.0.0.1:1\"\n").unwrap();
    let said = ny.offline(&["config", "check"]);
    assert_ne!(said.code, 0);
    assert!(said.stderr.contains("listen"), "{said:?}");
}
