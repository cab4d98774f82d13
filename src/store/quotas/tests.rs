//! What counts against a quota, and what it lets come.

use protocol::time::Timestamp;

use super::*;
use crate::store::BlobState;
use crate::store::disk::fake::FakeDisk;
use crate::store::engine::InMemory;
use crate::store::ops::tests::{Author, delete, publish, record};
use crate::store::tests::{Dice, id, ingest, open};

fn missing(bytes: &[u8]) -> Missing {
    Missing { blob: id(bytes), size: bytes.len() as u64, published: Timestamp(1) }
}

#[test]
fn a_feed_holds_each_blob_once_and_what_is_deleted_until_it_goes() {
    let store = open(&FakeDisk::new(), &InMemory::default());
    let mut author = Author::new(70);
    let feed = store.put_feed(&record(&author)).unwrap();
    let (one, other) = (Dice::new(1).bytes(300_000), Dice::new(2).bytes(70_000));
    for bytes in [&one, &other] {
        ingest(&store, bytes).unwrap();
    }
    assert_eq!(store.bytes_held(feed).unwrap(), 0, "nothing names them yet");
    let bodies = vec![publish("a", "1", &one), publish("b", "1", &one), publish("c", "1", &other)];
    let said = author.says(feed, bodies);
    let ops: Vec<_> = said.inner().ops().iter().map(|named| named.id).collect();
    store.append(&[said]).unwrap();
    assert_eq!(store.bytes_held(feed).unwrap(), 370_000);
    store.append(&[author.says(feed, vec![delete("c", "1", vec![ops[2]])])]).unwrap();
    assert_eq!(store.bytes_held(feed).unwrap(), 370_000, "what lies in the trash takes room");
    let look = crate::store::ops::tests::look(&author);
    store.empty_trash(look).unwrap();
    assert_eq!(store.bytes_held(feed).unwrap(), 300_000);
}

#[test]
fn a_quota_lets_come_what_it_has_room_for() {
    let store = open(&FakeDisk::new(), &InMemory::default());
    let mut author = Author::new(71);
    let feed = store.put_feed(&record(&author)).unwrap();
    let parts: Vec<Vec<u8>> = (0..3).map(|n| Dice::new(10 + n).bytes(100_000)).collect();
    ingest(&store, &parts[0]).unwrap();
    let bodies = parts.iter().enumerate().map(|(n, bytes)| publish(&format!("p{n}"), "1", bytes)).collect();
    store.append(&[author.says(feed, bodies)]).unwrap();
    let wanted = || vec![missing(&parts[1]), missing(&parts[2])];
    assert_eq!(store.within_quota(feed, wanted()).unwrap().len(), 2, "without a quota all of it");
    for (quota, come) in [(100_000, 0), (199_999, 0), (200_000, 1), (299_999, 1), (300_000, 2)] {
        store.set_quota(feed, Some(quota)).unwrap();
        assert_eq!(store.within_quota(feed, wanted()).unwrap().len(), come, "{quota}");
    }
    store.set_quota(feed, Some(150_000)).unwrap();
    let new = |n: usize| [(id(&parts[n]), 100_000)];
    assert_eq!(store.over_quota(feed, new(1)).unwrap(), Some(50_000));
    assert_eq!(store.over_quota(feed, new(0)).unwrap(), None, "it is here and counts already");
    store.set_quota(feed, None).unwrap();
    assert_eq!(store.over_quota(feed, new(1)).unwrap(), None);
}

/// What is nowhere any more must not have the room each time, also where links run in step and one of them alone leads to what is somewhere.
#[test]
fn what_nobody_has_keeps_nothing_else_out_for_ever() {
    let store = open(&FakeDisk::new(), &InMemory::default());
    let feed = FeedId([4; 32]);
    store.set_quota(feed, Some(100_000)).unwrap();
    for others in 1..5 {
        let wanted: Vec<_> = (0..=others).map(|n| missing(&Dice::new(20 + n).bytes(60_000))).collect();
        let mut first = BTreeSet::new();
        for _ in 0..60 {
            store.in_turn(feed, "la", wanted.clone()).unwrap();
            let within = store.in_turn(feed, "ny", wanted.clone()).unwrap();
            assert_eq!(within.len(), 1);
            first.insert(within[0].blob);
        }
        assert_eq!(first.len(), wanted.len());
    }
}

/// One that lacks many runs seldom: few runs are to reach all of them.
#[test]
fn each_that_has_no_room_beside_others_has_its_turn_within_twice_as_many_runs() {
    let store = open(&FakeDisk::new(), &InMemory::default());
    let feed = FeedId([4; 32]);
    store.set_quota(feed, Some(100_000)).unwrap();
    for many in [2, 7, 30, 100] {
        let wanted: Vec<_> = (0..many).map(|n| missing(&Dice::new(20 + n).bytes(60_000))).collect();
        let mut had = BTreeSet::new();
        for _ in 0..2 * many {
            had.extend(store.in_turn(feed, "la", wanted.clone()).unwrap().first().map(|one| one.blob));
            let looked = store.within_quota(feed, wanted.clone()).unwrap();
            assert_eq!(looked[0].blob, wanted[0].blob, "who only looks takes no turn");
        }
        assert_eq!(had.len(), wanted.len(), "of {many}");
    }
}

/// The index may reach the disk before the packs do.
#[test]
fn what_a_loss_of_power_left_in_the_index_alone_takes_no_room() {
    let (disk, engine, mut author) = (FakeDisk::new(), InMemory::default(), Author::new(72));
    let store = open(&disk, &engine);
    let feed = store.put_feed(&record(&author)).unwrap();
    let bytes = Dice::new(30).bytes(200_000);
    store.append(&[author.says(feed, vec![publish("a", "1", &bytes)])]).unwrap();
    for (pack, beyond) in [(0, 0), (0, 1 << 20), (9, 0)] {
        store.set_quota(feed, Some(250_000)).unwrap();
        let (newest, end) = store.inner.packs.end();
        let outline = Location { pack: newest + pack, offset: end + beyond, bytes: 300 };
        let entry = BlobEntry::Large { size: 200_000, outline, complete: false };
        store.change(Tree::Blob, keys::blob(id(&bytes)), Some(keys::encode(&entry))).unwrap();
        assert_eq!(store.blob_state(id(&bytes)).unwrap(), BlobState::Missing);
        assert_eq!(store.bytes_held(feed).unwrap(), 0);
        assert_eq!(store.over_quota(feed, [(id(&bytes), 200_000)]).unwrap(), None);
        assert_eq!(store.over_quota(feed, [(id(&bytes), 300_000)]).unwrap(), Some(50_000));
    }
}

/// What lies on disk is read by every later version.
#[test]
fn a_quota_is_eight_bytes() {
    let store = open(&FakeDisk::new(), &InMemory::default());
    let feed = FeedId([3; 32]);
    store.set_quota(feed, Some(258)).unwrap();
    let value = store.record(Shelf::Quotas, feed.as_bytes()).unwrap();
    assert_eq!(value.as_deref(), Some(&[0, 0, 0, 0, 0, 0, 1, 2][..]));
}

/// Two links with filters of their own, which run in turn.
#[test]
fn each_has_its_turn_where_two_links_bring_different_parts_of_a_feed() {
    let store = open(&FakeDisk::new(), &InMemory::default());
    let feed = FeedId([4; 32]);
    store.set_quota(feed, Some(100_000)).unwrap();
    let mut all: Vec<_> = (0..40).map(|n| missing(&Dice::new(20 + n).bytes(60_000))).collect();
    all.sort_unstable_by_key(|one| one.blob);
    let (low, high) = all.split_at(20);
    let mut had = BTreeSet::new();
    for _ in 0..2 * low.len() {
        for (link, part) in [("low", low), ("high", high)] {
            had.extend(store.in_turn(feed, link, part.to_vec()).unwrap().first().map(|one| one.blob));
        }
    }
    assert_eq!(had.len(), all.len());
}
