//! Entries that an index loses behind the store's back come back with a scrub, and none that it lost with a reason is taken for lost.

use std::path::Path;

use protocol::feed::Standing;
use protocol::id::FeedId;
use protocol::op::{Block, Blocked, Body, Offer, SetRef, SetState, Target};
use protocol::package::{Coordinate, FeedKind};

use super::*;
use crate::store::disk::fake::FakeDisk;
use crate::store::engine::{Change, InMemory};
use crate::store::ops::tests::{Author, delete, look, publish, record};
use crate::store::tests::{Dice, ingest, open};
use crate::store::{Options, ScrubPlace, Shelf};

/// Bits that `cargo test` flips; `.ci/flips` flips more.
const FLIPS: u64 = 20;

const VERSIONS: usize = 60;

/// Says all kinds of things about versions of which every third is deleted.
fn fill(store: &Store) -> (Author, FeedId) {
    let mut author = Author::new(80);
    let feed = store.put_feed(&record(&author)).unwrap();
    for n in 0..VERSIONS {
        let (name, bytes) = (format!("p{n}"), Dice::new(n as u64).bytes(300));
        ingest(store, &bytes).unwrap();
        let said = author.says(feed, vec![publish(&name, "1", &bytes)]);
        let op = said.inner().ops()[0].id;
        store.append(&[said]).unwrap();
        let coordinate = Coordinate::new(FeedKind::Raw, &name, "1").unwrap();
        let more = match n % 3 {
            0 => delete(&name, "1", vec![op]),
            1 => Body::SetRef(SetRef {
                package: name,
                name: "latest".to_owned(),
                target: Some(Target::Version("1".to_owned())),
            }),
            _ => Body::SetState(SetState { coordinate, offer: Offer::Listed }),
        };
        store.append(&[author.says(feed, vec![more])]).unwrap();
    }
    let target = Blocked::Blob(protocol::id::BlobId([7; 32]));
    store.append(&[author.says(feed, vec![Body::Block(Block { target, reason: String::new() })])]).unwrap();
    (author, feed)
}

/// Scrubs everything, and tells whether the index was built anew.
fn scrub(store: &Store) -> bool {
    let (mut from, mut mended) = (ScrubPlace::default(), false);
    loop {
        let scrubbed = store.scrub(from, 10_000).unwrap();
        mended |= scrubbed.index_mended;
        let Some(next) = scrubbed.next else { return mended };
        from = next;
    }
}

#[test]
fn an_entry_that_the_index_lost_of_what_was_said_is_found_by_a_scrub() {
    for tree in [Tree::Log, Tree::Op, Tree::Fact, Tree::Ref, Tree::Said, Tree::Use, Tree::View] {
        let store = open(&FakeDisk::new(), &InMemory::default());
        fill(&store);
        assert!(!scrub(&store), "nothing is lost");
        let first = || store.with_index(|index| index.page(tree, &[], &[], 1)).unwrap().remove(0).0;
        let key = first();
        let lost = Change { tree, key: key.clone(), value: None };
        store.with_index(|index| index.apply(std::slice::from_ref(&lost))).unwrap();
        assert!(scrub(&store), "{tree:?}");
        assert_eq!(first(), key, "{tree:?}");
        assert!(!scrub(&store), "{tree:?}");
    }
}

/// What lies behind the place to which damage set a log back is not held, and what came of another history counts for nothing.
#[test]
fn what_a_log_that_was_set_back_says_no_more_is_not_taken_for_lost() {
    let disk = FakeDisk::new();
    let store = open(&disk, &InMemory::default());
    let (author, feed) = fill(&store);
    store.lose_spares();
    disk.damage(1, |pack| {
        let at = pack.windows(3).position(|part| part == b"p20").unwrap();
        pack[at] ^= 1;
    });
    store.verify(|_| {}).unwrap();
    assert!(store.log_state(author.log(feed)).unwrap().unwrap().after.len() <= 40);
    assert!(!scrub(&store));
    // The notes of damage go once nothing is lacking, and the log may be short for good.
    let notes = store.records(Shelf::Damage, &[], &[], usize::MAX).unwrap();
    notes.iter().for_each(|(key, _)| store.remove_record(Shelf::Damage, key).unwrap());
    assert!(!store.is_damage_noted().unwrap() && !scrub(&store));
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(path, to).unwrap();
        }
    }
}

/// The files of the index, largest last.
fn files(of: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(of).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files.sort_by_key(|path| std::fs::metadata(path).unwrap().len());
    files
}

/// Whatever bit of the index flips: it is built anew when it is opened or by the scrub, or nothing hangs on the bit. No deletion is back after
/// that and no version is gone.
#[test]
fn a_flipped_bit_of_the_index_undoes_nothing() {
    let flips = std::env::var("PACKETBOAT_FLIPS").map_or(FLIPS, |flips| flips.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let store = Store::open(&whole, Options::new(1)).unwrap();
    let (author, feed) = fill(&store);
    store.checkpoint().unwrap();
    drop(store);
    let mut dice = Dice::new(7);
    for flip in 0..flips {
        let folder = folder.path().join(format!("{flip}"));
        copy(&whole, &folder);
        let path = files(&folder.join("index")).pop().unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let at = usize::try_from(dice.roll(bytes.len() as u64)).unwrap();
        bytes[at] ^= 1 << dice.roll(8);
        std::fs::write(&path, bytes).unwrap();
        let store = Store::open(&folder, Options::new(1)).unwrap();
        scrub(&store);
        for n in 0..VERSIONS {
            let item = store.item(feed, &format!("p{n}"), "1", look(&author)).unwrap().unwrap();
            let expected = if n % 3 == 0 { Standing::Deleted } else { Standing::Served };
            assert_eq!(item.standing, expected, "flip {flip} at {at} of {}: p{n}", path.display());
        }
        drop(store);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
