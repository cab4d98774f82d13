//! Bits that flip on one site's disk, and what other sites give back.

use std::os::unix::fs::FileExt as _;

use super::*;
use crate::api::keeping::Verification;
use crate::events::Selection;

const FLIPS: u64 = 20;

/// A small generator, so that a failing flip can be done again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

fn packs(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(store_path(folder).join("packs")).unwrap();
    let mut packs: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    packs.sort();
    packs
}

/// Flips one bit somewhere in the packs, under the node's feet.
fn flip(folder: &Path, dice: &mut Dice) -> String {
    let packs = packs(folder);
    let pack = &packs[usize::try_from(dice.roll(packs.len() as u64)).unwrap()];
    let file = std::fs::OpenOptions::new().read(true).write(true).open(pack).unwrap();
    let (at, bit) = (dice.roll(file.metadata().unwrap().len()), dice.roll(8));
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
    format!("bit {bit} of byte {at} of {}", pack.display())
}

async fn verify(node: &Node, heal: bool) -> Verification {
    let (steps, _) = mpsc::channel(8);
    tokio::time::timeout(PATIENCE, node.verify(Thorough { heal, deep: true }, steps))
        .await
        .expect("in time")
        .unwrap()
}

async fn contents(node: &Node, name: &str) -> Vec<u8> {
    use futures_util::TryStreamExt as _;
    let file = node.open_file("tools", name, "1.0", "file.bin").await.unwrap();
    let whole = 0..file.size;
    let parts: Vec<Bytes> = file.stream(whole).try_collect().await.unwrap();
    parts.concat()
}

async fn told(node: &Node, kind: &str) -> usize {
    let asked = Selection { kinds: vec![kind.to_owned()], ..Selection::default() };
    node.recent_events(asked, 100).await.unwrap().events.len()
}

/// Goal 6 of reliability: every flip is found, nothing wrong is served, and a peer gives it back to the byte.
#[tokio::test(flavor = "multi_thread")]
async fn each_flipped_bit_is_found_and_healed_from_the_other_site() {
    let flips = std::env::var("PACKETBOAT_FLIPS").map_or(FLIPS, |flips| flips.parse().unwrap());
    let (la, ny) = (lab("Los Angeles").await, lab("New York").await);
    feed(&la.node, "tools").await;
    let mut wanted = BTreeMap::new();
    for (name, size) in [("small", 5_003), ("middle", 200_000), ("large", 700_001)] {
        let mut content = vec![0; size];
        blake3::Hasher::new().update(name.as_bytes()).finalize_xof().fill(&mut content);
        publish(&la.node, name, &content).await.unwrap();
        wanted.insert(name, content);
    }
    pair(&la.node, &ny.node, "mirror").await;
    settle(&ny.node).await;
    assert!(verify(&ny.node, false).await.is_sound());
    let (mut dice, root) = (Dice(7), ny.node.feed("tools").await.unwrap().state_root);
    for n in 0..flips {
        let place = flip(ny.folder.path(), &mut dice);
        let found = verify(&ny.node, true).await;
        assert_eq!(found.damaged.len(), 1, "flip {n}, {place}: {found:?}");
        assert!(found.is_sound(), "flip {n}, {place}: {found:?}");
        let again = verify(&ny.node, false).await;
        assert!(again.damaged.is_empty() && again.is_sound(), "flip {n}, {place}: {again:?}");
        for (name, content) in &wanted {
            assert!(contents(&ny.node, name).await == *content, "flip {n}, {place}: {name} is another");
        }
        assert_eq!(ny.node.feed("tools").await.unwrap().state_root, root, "flip {n}, {place}");
    }
}

/// The scrub finds it by itself, tells it, and the next run brings it.
#[tokio::test(flavor = "multi_thread")]
async fn the_scrub_finds_rot_and_the_next_run_heals_it() {
    let (la, ny) = (lab("Los Angeles").await, lab("New York").await);
    feed(&la.node, "tools").await;
    publish(&la.node, "tool", &[5; 90_000]).await.unwrap();
    pair(&la.node, &ny.node, "pull").await;
    settle(&ny.node).await;
    let pack = &packs(ny.folder.path())[0];
    let bytes = std::fs::read(pack).unwrap();
    let at = bytes.windows(1000).position(|part| part.iter().all(|&byte| byte == 5)).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(pack).unwrap();
    file.write_all_at(&[4], at as u64).unwrap();
    while ny.node.scrub_some(1 << 30, Duration::from_secs(3600)).await < Duration::from_secs(60) {}
    assert_eq!(told(&ny.node, "damage-found").await, 1);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while told(&ny.node, "damage-healed").await == 0 {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", ny.node.status(None).await.unwrap().damage);
        sync(&ny.node).await;
        ny.node.look_after_damage().await;
    }
    assert_eq!(contents(&ny.node, "tool").await, [5; 90_000]);
    let status = ny.node.status(None).await.unwrap();
    assert!(status.damage.is_nothing() && status.scrub.ended_ms.is_some(), "{status:?}");
    assert!(verify(&ny.node, false).await.damaged.is_empty());
}

/// Other work on the disk comes first: a pass that reads some bytes waits as long as its rate says before it reads more.
#[tokio::test(flavor = "multi_thread")]
async fn a_scrub_waits_as_long_as_its_rate_says() {
    let la = lab("Los Angeles").await;
    feed(&la.node, "tools").await;
    publish(&la.node, "tool", &[5; 900_000]).await.unwrap();
    let (rate, mut before, mut steps) = (100_000, 0, 0);
    loop {
        let wait = la.node.scrub_some(rate, Duration::from_secs(3600)).await;
        let told = la.node.scrub_told();
        if told.began_ms.is_none() {
            break;
        }
        let read = told.bytes - before;
        assert_eq!(u64::try_from(wait.as_millis()).unwrap(), (read * 1000 / rate).max(1), "{told:?}");
        (before, steps) = (told.bytes, steps + u32::from(read > 0));
    }
    assert!(steps > 1 && before > 900_000, "{steps} steps, {before} bytes");
}

/// What is open in this process is all that is left of such packs: they are written anew before a start would miss them.
#[tokio::test(flavor = "multi_thread")]
async fn packs_that_somebody_removes_under_a_running_node_are_written_anew() {
    let Lab { folder, node } = lab("Los Angeles").await;
    feed(&node, "tools").await;
    for name in ["one", "two"] {
        publish(&node, name, &[7; 400_000]).await.unwrap();
    }
    let removed = packs(folder.path());
    removed.iter().for_each(|pack| std::fs::remove_file(pack).unwrap());
    publish(&node, "three", &[8; 90_000]).await.unwrap();
    node.look_after_damage().await;
    assert_eq!(told(&node, "damage-found").await, removed.len());
    assert!(removed.iter().all(|pack| !packs(folder.path()).contains(pack)), "no number is given twice");
    assert!(verify(&node, false).await.is_sound());
    node.stop().await;
    drop(node);
    std::fs::remove_dir_all(store_path(folder.path()).join("index")).unwrap();
    let again = restarted(folder.path(), "Los Angeles").await;
    assert_eq!(names(&again).await, ready(&["one", "three", "two"]));
    assert_eq!(contents(&again, "one").await, [7; 400_000]);
    assert!(verify(&again, false).await.is_sound());
    again.stop().await;
}

/// What no other site has stays told until somebody acts.
#[tokio::test(flavor = "multi_thread")]
async fn damage_that_nobody_heals_is_named_by_status_and_doctor() {
    let la = lab("Los Angeles").await;
    feed(&la.node, "tools").await;
    publish(&la.node, "tool", &[5; 90_000]).await.unwrap();
    let pack = &packs(la.folder.path())[0];
    let bytes = std::fs::read(pack).unwrap();
    let at = bytes.windows(1000).position(|part| part.iter().all(|&byte| byte == 5)).unwrap();
    std::fs::OpenOptions::new().write(true).open(pack).unwrap().write_all_at(&[4], at as u64).unwrap();
    let found = verify(&la.node, true).await;
    assert!(!found.is_sound());
    assert_eq!(found.open.versions, ["tools/tool@1.0"]);
    assert_eq!(la.node.status(None).await.unwrap().damage.versions, ["tools/tool@1.0"]);
    let findings = la.node.doctor().await.unwrap().findings;
    let named = findings.iter().find(|finding| finding.kind == "damage").unwrap();
    assert!(named.text.contains("tools/tool@1.0") && named.hint.contains("verify --heal"), "{named:?}");
    publish(&la.node, "tool", &[5; 90_000]).await.unwrap();
    assert!(verify(&la.node, true).await.is_sound(), "the same bytes published again heal it");
}

/// A site's own deletion that rotted, and that the one which gives the log back never had, is told: what was deleted is served again.
#[tokio::test(flavor = "multi_thread")]
async fn own_words_that_damage_took_and_nobody_has_are_named_by_doctor() {
    let (la, ny) = (lab("Los Angeles").await, lab("New York").await);
    feed(&la.node, "tools").await;
    publish(&la.node, "tool", &[5; 90_000]).await.unwrap();
    pair(&la.node, &ny.node, "mirror-adds").await;
    settle(&ny.node).await;
    la.node.delete("tools", "tool", "1.0", String::new(), false).await.unwrap();
    let pack = packs(la.folder.path()).pop().unwrap();
    let bytes = std::fs::read(&pack).unwrap();
    let at = bytes.windows(5).rposition(|part| part == b"PBr1\x04").unwrap() + 100;
    settle(&ny.node).await;
    std::fs::OpenOptions::new()
        .write(true)
        .open(pack)
        .unwrap()
        .write_all_at(&[!bytes[at]], at as u64)
        .unwrap();
    la.node.inner.site.store().lose_spares();
    verify(&la.node, true).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while names(&la.node).await != ready(&["tool"]) {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", la.node.doctor().await.unwrap());
        sync(&ny.node).await;
    }
    let findings = la.node.doctor().await.unwrap().findings;
    assert!(findings.iter().any(|finding| finding.text.contains("deletions mostly: 1")), "{findings:?}");
}

/// The disk that a store lies on was not mounted, or is gone: what the key signed before is not known, and others may have it.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_whose_store_is_gone_and_whose_key_is_not_signs_nothing_before_it_heard_what_it_said() {
    let (la, ny) = (lab("Los Angeles").await, lab("New York").await);
    feed(&la.node, "tools").await;
    publish(&la.node, "tool", b"1").await.unwrap();
    pair(&la.node, &ny.node, "mirror").await;
    settle(&ny.node).await;
    let Lab { folder, node } = la;
    node.stop().await;
    drop(node);
    let gone = tempfile::tempdir().unwrap();
    std::fs::rename(store_path(folder.path()), gone.path().join("store")).unwrap();
    let again = restarted(folder.path(), "Los Angeles").await;
    pair(&ny.node, &again, "pull").await;
    let early = publish(&again, "early", b"2").await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while publish(&again, "late", b"3").await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", again.doctor().await.unwrap());
        sync(&again).await;
    }
    let store = again.inner.site.store();
    let (feed, _) = store.feed_named("tools").unwrap().unwrap();
    let said = store.facts(feed, "late", "1.0").unwrap();
    assert!(said[0].op.place.log.epoch > 1, "what it signed before is signed by nothing else: {early:?}");
    assert!(names(&again).await.contains(&("tool".to_owned(), "ready".to_owned())));
}

/// What it had is nowhere but at the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_was_wiped_and_joins_again_stands_for_the_same_as_the_others() {
    let (la, ny) = (lab("Los Angeles").await, lab("New York").await);
    feed(&la.node, "tools").await;
    for n in 0..12 {
        publish(&la.node, &format!("p{n}"), &[n; 3000]).await.unwrap();
    }
    la.node.delete("tools", "p3", "1.0", String::new(), false).await.unwrap();
    pair(&la.node, &ny.node, "pull").await;
    settle(&ny.node).await;
    let Lab { folder, node } = ny;
    node.stop().await;
    drop((node, folder));
    let fresh = lab("New York").await;
    pair(&la.node, &fresh.node, "pull").await;
    settle(&fresh.node).await;
    let root = async |node: &Node| node.feed("tools").await.unwrap().state_root;
    assert_eq!(root(&fresh.node).await, root(&la.node).await);
    assert_eq!(names(&fresh.node).await, names(&la.node).await);
}
