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

    let copy = Site::over("Los Angeles", spare.path().to_owned());
    copy.publish("tools", "there", b"published by the second copy");
    copy.sync();
    for site in [&ny, &copy] {
        until("the proof is there", || site.offline(&["forks"]).code == 4);
        let forks = site.offline(&["--json", "forks"]).json();
        assert_eq!(forks["forks"].as_array().unwrap().len(), 1, "{forks}");
        assert_eq!(forks["forks"][0]["resolved"], false);
        let doctor = site.offline(&["--json", "doctor"]).json();
        assert!(doctor["findings"].to_string().contains("signed two histories"), "{doctor}");
        let events = site.ok(&["events", "--severity", "error"]);
        assert!(events.to_string().contains("fork-seen"), "{events}");
    }
    assert_eq!(names(&ny), ["before", "here"], "what came first stays");
    let refused = copy.fails(4, &["delete", "tools", "before", "1.0"]);
    assert!(refused.contains("two histories"), "{refused}");

    let refused = copy.fails(6, &["forks", "resolve", "me", "--feed", "tools"]);
    assert!(refused.contains("origin"), "{refused}");
    let author = ny.offline(&["--json", "forks"]).json()["forks"][0]["author"].as_str().unwrap().to_owned();
    ny.fails(1, &["forks", "resolve", ny.ok(&["status"])["site"]["id"].as_str().unwrap(), "--feed", "tools"]);
    ny.ok(&["forks", "resolve", &author, "--feed", "tools", "--reason", "copied"]);
    ny.ok(&["forks"]);
    copy.sync();
    copy.ok(&["forks"]);
    copy.publish("tools", "after", b"in a later epoch");
    copy.sync();
    assert_eq!(names(&ny), ["after", "before"], "what lies behind the cut does not count");
    assert_eq!(ny.ok(&["why", "tools/here@1.0"])["ops"][0]["role"], "behind the cut of a forked log");
    // Its own packages are still there for it to publish again.
    assert_eq!(names(&copy), ["after", "before", "there"]);
    until("the two are at rest", || {
        let run = copy.sync();
        run["ops_in"] == 0 && run["ops_out"] == 0
    });
    assert_eq!(copy.state_root("tools"), ny.state_root("tools"));
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
}
