//! Kill -9, a lost index, a damaged pack: nothing acknowledged is lost, and what is damaged is told and comes back.

use std::fs;
use std::path::PathBuf;

use crate::lab::{Site, bytes_of, until};

fn pair() -> (Site, Site) {
    let (la, ny) = (Site::new("Los Angeles"), Site::new("New York"));
    la.ok(&["feed", "create", "tools", "--kind", "raw"]);
    la.pair(&ny, "tools", "mirror");
    (la, ny)
}

fn packs(site: &Site) -> Vec<PathBuf> {
    let folder = fs::read_dir(site.data().join("store/packs")).unwrap();
    let mut packs: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    packs.sort();
    packs
}

/// How far a transfer is, by what has reached the disk.
fn kept(site: &Site) -> u64 {
    packs(site).iter().map(|pack| pack.metadata().map_or(0, |metadata| metadata.len())).sum()
}

#[test]
fn twenty_kills_of_either_node_in_a_transfer_lose_nothing_and_it_completes() {
    const SIZE: usize = 256 << 20;
    let (mut la, mut ny) = pair();
    la.publish("tools", "small", b"acknowledged before the first kill");
    la.publish("tools", "large", &bytes_of(9, SIZE));
    fs::remove_file(la.data().join("large.bin")).unwrap();
    let token = ny.ok(&["token", "create", "--admin"])["token"].as_str().unwrap().to_owned();
    for round in 0..20_usize {
        let mut steps = ny.steps_of_a_sync(&token);
        // A moment that differs from round to round, told by what the run itself says of its progress.
        let moment = 1 + round * 7 % 5;
        let mut moved = 0;
        while moved < moment
            && let Some(step) = steps.next()
        {
            moved += usize::from(step["what"] == "bytes" && step["done"].as_u64() > Some(0));
        }
        let victim = if round % 2 == 0 { &mut ny } else { &mut la };
        victim.kill();
        victim.start();
        assert_eq!(la.ok(&["why", "tools/large@1.0"])["state"], "ready", "round {round}");
    }
    until("the transfer completes", || ny.offline(&["sync"]).code == 0);
    for site in [&la, &ny] {
        assert_eq!(site.ok(&["why", "tools/large@1.0"])["state"], "ready");
        let verified = site.ok(&["verify"]);
        assert_eq!((&verified["damaged"], &verified["blobs_damaged"]), (&serde_json::json!([]), &0.into()));
    }
    assert_eq!(la.state_root("tools"), ny.state_root("tools"));
    assert!(kept(&ny) < SIZE as u64 * 11 / 10, "resumed, not begun again: {} bytes on disk", kept(&ny));
}

#[test]
fn a_stop_in_a_transfer_parks_it_and_the_next_run_goes_on() {
    const SIZE: usize = 128 << 20;
    let (mut la, mut ny) = pair();
    la.publish("tools", "large", &bytes_of(9, SIZE));
    let token = ny.ok(&["token", "create", "--admin"])["token"].as_str().unwrap().to_owned();
    for end in 0..2 {
        let mut steps = ny.steps_of_a_sync(&token);
        let under_way = |step: &serde_json::Value| step["what"] == "bytes" && step["done"].as_u64() > Some(0);
        assert!(steps.any(|step| under_way(&step)), "the transfer is under way");
        drop(steps);
        let stopped = if end == 0 { &mut la } else { &mut ny };
        stopped.stop();
        stopped.start();
        until("the run is recorded", || ny.ok(&["runs"])["runs"][0]["outcome"] == "interrupted");
    }
    until("the transfer completes", || ny.offline(&["sync"]).code == 0);
    assert_eq!(ny.ok(&["why", "tools/large@1.0"])["state"], "ready");
    assert!(kept(&ny) < SIZE as u64 * 11 / 10, "gone on with, not begun again: {} bytes on disk", kept(&ny));
}

#[test]
fn a_lost_or_garbled_index_is_built_again_from_the_packs() {
    let (_la, mut ny) = pair();
    ny.publish("tools", "kept", b"kept");
    let root = ny.state_root("tools");
    let index = ny.data().join("store/index");
    ny.kill();
    fs::remove_dir_all(&index).unwrap();
    ny.start();
    assert_eq!(ny.state_root("tools"), root);
    ny.kill();
    fs::write(index.join("db"), bytes_of(3, 200_000)).unwrap();
    ny.start();
    assert_eq!(ny.state_root("tools"), root);
    ny.sync();
}

#[test]
fn damage_in_a_pack_is_told_and_the_bytes_come_back_from_the_other_site() {
    let (la, mut ny) = pair();
    let content = bytes_of(4, 2_000_000);
    la.publish("tools", "precious", &content);
    ny.sync();
    ny.kill();
    let pack = packs(&ny).remove(0);
    let mut bytes = fs::read(&pack).unwrap();
    let needle = &content[1_000_000..1_000_032];
    let at = bytes.windows(32).position(|window| window == needle).expect("the bytes are in the pack");
    bytes[at] ^= 0x40;
    fs::write(&pack, bytes).unwrap();
    let offline = ny.offline(&["verify"]);
    assert_eq!(offline.code, 7, "{offline:?}");
    ny.start();
    let found = ny.offline(&["verify"]);
    assert!(found.code == 7 || ny.ok(&["why", "tools/precious@1.0"])["state"] == "pending", "{found:?}");
    ny.sync();
    let out = ny.data().join("out");
    ny.ok(&["get", "tools", "precious", "1.0", "-o", out.to_str().unwrap()]);
    assert!(fs::read(out.join("precious.bin")).unwrap() == content, "the bytes differ");
}

/// A ticket is used up on the disk before its answer goes out.
#[test]
fn a_used_ticket_stays_used_after_a_kill() {
    let (mut la, ny, tokyo) = (Site::new("Los Angeles"), Site::new("New York"), Site::new("Tokyo"));
    la.ok(&["feed", "create", "tools", "--kind", "raw"]);
    let invite =
        la.ok(&["pair", "invite", "--feed", "tools", "--peer-may", "mirror", "--address", &la.listen]);
    let ticket = invite["ticket"].as_str().unwrap();
    ny.ok(&["pair", "accept", ticket]);
    la.kill();
    la.start();
    let told = tokyo.fails(6, &["pair", "accept", ticket]);
    assert!(told.contains("ticket"), "{told}");
    ny.sync();
}

#[test]
fn a_second_daemon_on_one_folder_is_refused() {
    let ny = Site::new("New York");
    let second = ny.offline(&["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    assert_eq!(second.code, 1, "{second:?}");
    assert!(second.stderr.contains("in use"), "{second:?}");
    ny.ok(&["status"]);
}

#[test]
fn news_come_over_a_link_without_an_interval_after_either_end_was_started_again() {
    let (mut la, mut ny) = pair();
    la.publish("tools", "first", b"before anybody asked for a run");
    let has = |site: &Site, name: &str| site.ok(&["why", &format!("tools/{name}@1.0")])["state"] == "ready";
    until("a new link runs by itself", || has(&ny, "first"));
    la.kill();
    la.start();
    la.publish("tools", "second", b"published by the site that was started again");
    until("the link is dialled again", || has(&ny, "second"));
    ny.kill();
    la.publish("tools", "third", b"published while the dialling site was down");
    ny.start();
    until("a site that starts dials its links", || has(&ny, "third"));
}
