//! Sites that are backed up, restored and copied: what their peers notice, what waits, and how they go on.

use std::path::Path;

use crate::lab::{Site, run, until};

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    std::fs::set_permissions(to, std::fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy_folder(&entry.path(), &to.join(entry.file_name()));
        } else if kind.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn names(site: &Site) -> Vec<String> {
    let list = site.ok(&["list", "tools"]);
    let of = |package: &serde_json::Value| {
        let served = matches!(package["state"].as_str(), Some("ready" | "pending"));
        served.then(|| package["name"].as_str().unwrap().to_owned())
    };
    list["packages"].as_array().unwrap().iter().filter_map(of).collect()
}

/// Wherever a person looks.
fn tells_of_its_fork(site: &Site) {
    let forks = site.offline(&["--json", "forks"]).json();
    assert_eq!(forks["forks"].as_array().unwrap().len(), 1, "{forks}");
    assert_eq!(forks["forks"][0]["resolved"], false);
    let doctor = site.offline(&["--json", "doctor"]).json();
    assert!(doctor["findings"].to_string().contains("signed two histories"), "{doctor}");
    let events = site.ok(&["events", "--severity", "error"]);
    assert!(events.to_string().contains("fork-seen"), "{events}");
    let status = site.offline(&["status"]);
    assert!(status.code == 3 && status.stdout.contains("packetboat forks"), "{status:?}");
}

/// A machine is copied with its key, both copies publish, the peers notice, the origin says what counts, and one copy goes on.
#[test]
fn a_copied_site_is_noticed_as_a_fork_and_goes_on_once_the_origin_cut_its_log() {
    let (ny, mut la) = (Site::new("New York"), Site::new("Los Angeles"));
    let spare = tempfile::tempdir().unwrap();
    ny.ok(&["feed", "create", "tools", "--kind", "raw"]);
    ny.pair(&la, "tools", "mirror");
    la.publish("tools", "before", b"both histories have it");
    la.sync();
    la.kill();
    copy_folder(la.data(), spare.path());
    la.start();
    la.publish("tools", "here", b"published by the first copy");
    la.sync();
    la.kill();

    // As where a whole machine is copied, and nothing tells one from the other.
    std::fs::remove_file(spare.path().join("store/PLACE")).unwrap();
    let copy = Site::over("Los Angeles", spare.path().to_owned());
    copy.publish("tools", "there", b"published by the second copy");
    copy.ok(&["delete", "tools", "before", "1.0"]);
    copy.sync();
    for site in [&ny, &copy] {
        until("the proof is there", || site.offline(&["forks"]).code == 4);
        tells_of_its_fork(site);
    }
    let run = copy.offline(&["sync"]);
    assert!(run.stdout.contains("two histories"), "{run:?}");
    assert_eq!(names(&ny), ["before", "here"], "what came first stays");
    let refused = copy.fails(4, &["delete", "tools", "there", "1.0"]);
    assert!(refused.contains("two histories"), "{refused}");

    let refused = copy.fails(6, &["forks", "resolve", "me", "--feed", "tools"]);
    assert!(refused.contains("origin"), "{refused}");
    let author = ny.offline(&["--json", "forks"]).json()["forks"][0]["author"].as_str().unwrap().to_owned();
    ny.fails(1, &["forks", "resolve", "me", "--feed", "tools"]);
    let said = ny.ok(&["forks", "resolve", &author, "--feed", "tools", "--reason", "copied"]);
    assert_eq!((&said["published_again"], &said["deleted_again"]), (&1.into(), &0.into()), "{said}");
    ny.ok(&["forks"]);
    copy.sync();
    copy.ok(&["forks"]);
    copy.publish("tools", "after", b"in a later epoch");
    copy.sync();
    assert_eq!(
        names(&ny),
        ["after", "before", "here"],
        "what the origin had behind the cut it published again"
    );
    let roles = ny.ok(&["why", "tools/here@1.0"])["ops"].to_string();
    assert!(roles.contains("behind the cut of a forked log") && roles.contains("serves"), "{roles}");
    // Its own word behind the cut hides it here; what it says now counts everywhere.
    assert_eq!(copy.ok(&["why", "tools/before@1.0"])["state"], "hidden-here");
    assert_eq!(copy.ok(&["delete", "tools", "before", "1.0"])["local"], false);
    copy.sync();
    assert_eq!(names(&ny), ["after", "here"]);
    // Its own packages are still there for it to publish again.
    assert_eq!(names(&copy), ["after", "here", "there"]);
    let behind = |site: &Site| {
        site.offline(&["--json", "doctor"]).json()["findings"].to_string().contains("there@1.0")
    };
    assert!(behind(&copy), "what counts here alone is listed");
    copy.publish("tools", "there", b"published by the second copy");
    copy.sync();
    assert!(!behind(&copy));
    assert_eq!(names(&ny), ["after", "here", "there"]);
    until("the two are at rest", || {
        let run = copy.sync();
        run["ops_in"] == 0 && run["ops_out"] == 0
    });
    assert_eq!(copy.state_root("tools"), ny.state_root("tools"));
}

/// An origin's machine is set back and publishes before anybody tells it. It holds the longer history, from which nobody sees where the two part:
/// the first cut is wrong, which the other site proves, and what was asked for is done once more.
#[test]
fn an_origin_that_was_set_back_and_went_on_resolves_its_own_fork_and_keeps_what_it_said_since() {
    let (mut ny, mut la) = (Site::new("New York"), Site::new("Los Angeles"));
    let spare = tempfile::tempdir().unwrap();
    ny.ok(&["feed", "create", "tools", "--kind", "raw"]);
    ny.pair(&la, "tools", "mirror");
    ny.publish("tools", "before", b"both histories have it");
    la.sync();
    ny.kill();
    copy_folder(ny.data(), spare.path());
    ny.start();
    ny.publish("tools", "first", b"the other site has it");
    ny.ok(&["delete", "tools", "before", "1.0"]);
    // The session of before is gone with the program.
    until("both have it", || la.offline(&["sync"]).code == 0 && names(&la) == ["first"]);
    la.kill();
    ny.kill();
    std::fs::remove_dir_all(ny.data()).unwrap();
    copy_folder(spare.path(), ny.data());
    // As where a whole machine is set back, and nothing tells it from what it was.
    std::fs::remove_file(ny.data().join("store/PLACE")).unwrap();
    ny.start();
    for name in ["second", "third", "fourth"] {
        ny.publish("tools", name, b"said after it was set back");
    }
    la.start();
    until("the proof is there", || {
        la.offline(&["sync"]);
        [&ny, &la].iter().all(|site| site.offline(&["forks"]).code == 4)
    });
    ny.ok(&["forks", "resolve", "me", "--feed", "tools"]);
    until("the two agree", || {
        la.offline(&["sync"]);
        let resolved = [&ny, &la].iter().all(|site| site.offline(&["forks"]).code == 0);
        resolved && names(&la).len() == 4 && la.state_root("tools") == ny.state_root("tools")
    });
    assert_eq!(names(&ny), ["before", "fourth", "second", "third"]);
    // What the other site had of the first history is undone, and listed for whoever wants it again.
    let told = la.offline(&["--json", "doctor"]).json()["findings"].to_string();
    assert!(told.contains("first@1.0 published, before@1.0 deleted"), "{told}");
    ny.ok(&["delete", "tools", "before", "1.0"]);
    ny.publish("tools", "first", b"the other site has it");
    la.sync();
    assert_eq!(names(&la), ["first", "fourth", "second", "third"]);
    assert!(!la.offline(&["--json", "doctor"]).json()["findings"].to_string().contains("first@1.0"));
}

/// A site is backed up while it serves and again once it does not, its machine is lost, and another one is made of the backup.
#[test]
fn a_site_is_backed_up_while_it_serves_and_made_anew_from_that() {
    let mut la = Site::new("Los Angeles");
    let place = tempfile::tempdir().unwrap();
    let (kept, fresh) = (place.path().join("kept"), place.path().join("fresh"));
    let kept = kept.to_str().unwrap();
    la.ok(&["feed", "create", "tools", "--kind", "raw"]);
    la.publish("tools", "one", b"one");
    let first = la.ok(&["backup", kept, "--with-key"]);
    assert_eq!(first["bytes"], first["copied_bytes"], "{first}");
    la.publish("tools", "two", b"two");
    la.ok(&["backup", kept, "--with-key"]);
    la.kill();
    la.ok(&["backup", kept, "--with-key"]);
    assert_eq!(la.ok(&["backup", kept, "--check"])["damaged"], serde_json::json!([]));
    la.fails(1, &["restore", kept]);

    let data = fresh.to_str().unwrap();
    assert_eq!(run(&["--data", data, "restore", kept]).code, 0);
    std::fs::remove_file(fresh.join("key/site.key")).unwrap();
    let keyless = run(&["--data", data, "serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    assert!(keyless.stderr.contains("has a store and no key"), "{keyless:?}");
    let keyless = run(&["--data", data, "init"]);
    assert!(keyless.stderr.contains("has a store and no key"), "{keyless:?}");
    std::fs::remove_dir_all(&fresh).unwrap();
    assert_eq!(run(&["--data", data, "restore", kept]).code, 0);
    let again = Site::over("Los Angeles", fresh);
    assert_eq!(names(&again), ["one", "two"]);
    assert_eq!(again.ok(&["verify"])["damaged"], serde_json::json!([]));

    let pack = Path::new(kept).join("store/packs/00000001.pak");
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let checked = run(&["--json", "backup", kept, "--check"]);
    assert_eq!(checked.code, 7, "{checked:?}");
    assert!(checked.stdout.contains("00000001.pak"), "{checked:?}");
    let late = place.path().join("late");
    let late = late.to_str().unwrap();
    let refused = run(&["--data", late, "restore", kept]);
    assert_eq!(refused.code, 7, "damage has one exit code, whoever finds it: {refused:?}");
    assert!(refused.stderr.contains("00000001.pak"), "{refused:?}");
    // The restore failed midway: no other site is begun in its folder.
    for asked in [&["init"][..], &["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]] {
        let refused = run(&[&["--data", late], asked].concat());
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.stderr.contains("store.restoring"), "{refused:?}");
        assert!(refused.stderr.contains("restore BACKUP"), "{refused:?}");
    }
    assert!(!Path::new(late).join("key").exists(), "no site was begun");
    let manifest = Path::new(kept).join("MANIFEST");
    let mut bytes = std::fs::read(&manifest).unwrap();
    bytes[30] ^= 1;
    std::fs::write(&manifest, bytes).unwrap();
    for asked in [&["backup", kept, "--check"][..], &["--data", late, "restore", kept]] {
        let refused = run(asked);
        assert_eq!(refused.code, 7, "{refused:?}");
        assert!(refused.stderr.contains("MANIFEST"), "{refused:?}");
    }
}

/// Two mirrored sites. Los Angeles is backed up, says more, and is lost; its data folder is made anew from the backup.
struct Lost {
    ny: Site,
    la: Site,
    _place: tempfile::TempDir,
}

fn lost() -> Lost {
    let (mut ny, mut la) = (Site::new("New York"), Site::new("Los Angeles"));
    let place = tempfile::tempdir().unwrap();
    let (kept, fresh) = (place.path().join("kept"), place.path().join("fresh"));
    let (kept, data) = (kept.to_str().unwrap(), fresh.to_str().unwrap());
    ny.ok(&["feed", "create", "tools", "--kind", "raw"]);
    ny.pair(&la, "tools", "mirror");
    la.publish("tools", "deleted", b"published before the backup, deleted after it");
    la.publish("tools", "before", b"published before the backup");
    la.ok(&["backup", kept, "--with-key"]);
    la.publish("tools", "after", b"published after the backup");
    la.ok(&["delete", "tools", "deleted", "1.0"]);
    la.sync();
    la.kill();
    ny.kill();
    assert_eq!(run(&["--data", data, "restore", kept]).code, 0);
    let la = Site::over("Los Angeles", fresh);
    assert_eq!(names(&la), ["before", "deleted"], "as it was when the backup was made");
    Lost { ny, la, _place: place }
}

fn tries_to_publish(site: &Site, name: &str) -> crate::lab::Ended {
    let path = site.data().join("tried.bin");
    std::fs::write(&path, name).unwrap();
    site.offline(&["publish", "tools", name, "1.0", path.to_str().unwrap()])
}

/// E25. Nothing is signed before the site's own ops came back, none is lost, no delete is undone, and no fork comes of it.
#[test]
fn a_restored_site_learns_what_it_said_before_it_says_more() {
    let Lost { mut ny, la, _place } = lost();
    let refused = tries_to_publish(&la, "early");
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("restored from a backup"), "{refused:?}");
    assert!(la.offline(&["doctor"]).stdout.contains("restored from a backup"));
    let status = la.offline(&["status"]);
    assert!(status.code == 3 && status.stdout.contains("writes nothing in tools"), "{status:?}");
    ny.start();
    la.sync();
    assert_eq!(names(&la), ["after", "before"], "its own ops came back, the delete among them");
    until("it writes again", || tries_to_publish(&la, "later").code == 0);
    la.sync();
    assert_eq!(names(&ny), ["after", "before", "later"]);
    assert_eq!(la.state_root("tools"), ny.state_root("tools"));
    for site in [&ny, &la] {
        site.ok(&["forks"]);
    }
    let epochs = la.ok(&["log", "--feed", "tools"]);
    let opened = epochs["ops"].as_array().unwrap().iter().filter(|op| op["kind"] == "open-epoch").count();
    assert_eq!(opened, 1, "{epochs}");
}

/// Where no peer is left the site is told to go on, and nothing that comes back later contradicts what it said since.
#[test]
fn a_restored_site_whose_peers_are_gone_goes_on_when_it_is_told_to() {
    let Lost { mut ny, la, _place } = lost();
    assert_eq!(tries_to_publish(&la, "early").code, 1);
    la.ok(&["feed", "create", "fresh", "--kind", "raw"]);
    la.publish("fresh", "first", b"nothing can have been said in a feed that is made now");
    let resumed = la.ok(&["resume-writing"]);
    assert_eq!(resumed["resumed"].as_array().unwrap().len(), 1, "{resumed}");
    assert_eq!(la.ok(&["resume-writing"])["resumed"].as_array().unwrap().len(), 0);
    assert_eq!(tries_to_publish(&la, "alone").code, 0);
    ny.start();
    la.sync();
    assert_eq!(names(&la), ["after", "alone", "before"]);
    assert_eq!(names(&ny), ["after", "alone", "before"]);
    for site in [&ny, &la] {
        site.ok(&["forks"]);
    }
}

/// The copy of a folder is another place, so it waits as a restored site does; where both run, their peer says so to both.
#[test]
fn two_nodes_with_one_key_are_both_told_and_neither_wins() {
    let (ny, mut la) = (Site::new("New York"), Site::new("Los Angeles"));
    let spare = tempfile::tempdir().unwrap();
    ny.ok(&["feed", "create", "tools", "--kind", "raw"]);
    ny.pair(&la, "tools", "mirror");
    la.publish("tools", "before", b"both have it");
    la.sync();
    la.kill();
    copy_folder(la.data(), spare.path());
    la.start();
    la.sync();
    let copy = Site::over("Los Angeles", spare.path().to_owned());
    let log = copy.ok(&["events"]).to_string();
    assert!(log.contains("was copied or moved"), "{log}");
    until("the copy is let in, as a site that was moved would be", || copy.offline(&["sync"]).code == 0);
    for site in [&la, &copy] {
        until("both are refused", || site.offline(&["sync"]).code == 6);
    }
    for site in [&ny, &la, &copy] {
        until("each of the three is told", || site.ok(&["events"]).to_string().contains("site-copied"));
    }
    for site in [&la, &copy] {
        until("neither writes", || tries_to_publish(site, "more").code == 1);
        assert_eq!(site.offline(&["sync"]).code, 6, "neither is let in");
    }
    ny.ok(&["forks"]);
}

/// A machine is set back to a snapshot of an hour ago. Nothing at the site tells; its peer has seen more of it, and says so.
#[test]
fn a_site_that_was_set_back_in_its_place_hears_of_it_from_its_peer() {
    let (ny, mut la) = (Site::new("New York"), Site::new("Los Angeles"));
    let hour_ago = tempfile::tempdir().unwrap();
    ny.ok(&["feed", "create", "tools", "--kind", "raw"]);
    ny.pair(&la, "tools", "mirror");
    la.publish("tools", "before", b"known to the snapshot");
    la.sync();
    la.kill();
    copy_folder(&la.data().join("store"), hour_ago.path());
    la.start();
    la.publish("tools", "after", b"unknown to the snapshot");
    la.sync();
    la.kill();
    let store = la.data().join("store");
    for entry in std::fs::read_dir(&store).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }
    copy_folder(hour_ago.path(), &store);
    la.start();
    la.sync();
    let events = la.ok(&["events"]).to_string();
    assert!(events.contains("was set back") && events.contains("writing-resumed"), "{events}");
    assert_eq!(names(&la), ["after", "before"]);
    la.publish("tools", "later", b"in a later epoch");
    la.sync();
    assert_eq!(names(&ny), ["after", "before", "later"]);
    for site in [&ny, &la] {
        site.ok(&["forks"]);
    }
}
