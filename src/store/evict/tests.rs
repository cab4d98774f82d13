//! What leaves, what stays, what is asked for again, and what a restart remembers.

use std::sync::Barrier;

use protocol::filter::Filter;
use protocol::op::{Block, Blocked};
use protocol::package::FeedKind;

use super::*;
use crate::store::disk::fake::FakeDisk;
use crate::store::engine::Engine;
use crate::store::engine::tests::Lagging;
use crate::store::ops::tests::{Author, delete, look, publish, record};
use crate::store::tests::{Dice, id, ingest, open, read};

struct Site {
    disk: FakeDisk,
    engine: Lagging,
    store: Store,
    author: Author,
    feed: FeedId,
}

impl Site {
    fn new() -> Self {
        let (disk, engine) = (FakeDisk::new(), Lagging::default());
        let store = open(&disk, &engine);
        let author = Author::new(60);
        let feed = store.put_feed(&record(&author)).unwrap();
        Self { disk, engine, store, author, feed }
    }

    fn publish(&mut self, name: &str, version: &str, bytes: &[u8]) -> OpId {
        ingest(&self.store, bytes).unwrap();
        let said = self.author.says(self.feed, vec![publish(name, version, bytes)]);
        let op = said.inner().ops()[0].id;
        self.store.append(&[said]).unwrap();
        op
    }

    fn begin(&self, name: &str) -> Option<Evicting> {
        let at = Coordinate::new(FeedKind::Raw, name, "1").unwrap();
        self.store.begin_eviction(self.feed, &at, look(&self.author)).unwrap()
    }

    fn evict(&self, name: &str) -> Swept {
        let evicting = self.begin(name).unwrap();
        let blobs = evicting.last_here().unwrap();
        evicting.confirm(&blobs).unwrap()
    }

    fn is_evicted(&self, name: &str, op: OpId) -> bool {
        self.store.is_evicted(self.feed, name, "1", op).unwrap()
    }

    fn keeps(&self, bytes: &[u8]) -> bool {
        self.store.keeps(id(bytes), look(&self.author)).unwrap().is_some()
    }

    fn missing(&self) -> Vec<BlobId> {
        let everything = Filter::default();
        let missing = self.store.missing_blobs(self.feed, look(&self.author), &everything).unwrap();
        missing.into_iter().map(|one| one.blob).collect()
    }

    fn reopen(self, keep_index: bool) -> Self {
        let Self { disk, engine, store, author, feed } = self;
        drop(store);
        if !keep_index {
            engine.set_aside().unwrap();
        }
        let store = open(&disk, &engine);
        Self { disk, engine, store, author, feed }
    }
}

/// E22
#[test]
fn an_evicted_version_is_gone_here_stands_as_before_and_is_not_wanted_until_it_is_asked_for() {
    let mut site = Site::new();
    let (big, other) = (Dice::new(1).bytes(700_000), Dice::new(2).bytes(600_000));
    let op = site.publish("big", "1", &big);
    site.publish("other", "1", &other);
    let swept = site.evict("big");
    assert_eq!((swept.blobs, swept.extents), (1, 3));
    assert!(swept.bytes > 700_000, "{swept:?}");
    for keep_index in [true, false] {
        site = site.reopen(keep_index);
        assert_eq!(site.store.blob_state(id(&big)).unwrap(), BlobState::Missing);
        assert_eq!(read(&site.store, id(&other)).unwrap(), other);
        let item = site.store.item(site.feed, "big", "1", look(&site.author)).unwrap().unwrap();
        assert_eq!((item.standing, item.winner), (Standing::Served, Some(op)));
        assert!(site.is_evicted("big", op));
        assert_eq!(site.missing(), []);
    }
    assert!(site.store.end_eviction(site.feed, "big", "1").unwrap());
    assert!(!site.store.end_eviction(site.feed, "big", "1").unwrap());
    assert!(!site.is_evicted("big", op));
    for keep_index in [true, false] {
        site = site.reopen(keep_index);
        assert_eq!(site.missing(), [id(&big)]);
    }
    ingest(&site.store, &big).unwrap();
    assert_eq!(site.missing(), []);
    assert_eq!(read(&site.store, id(&big)).unwrap(), big);
}

#[test]
fn what_another_version_needs_stays_and_goes_with_the_last_of_them() {
    let mut site = Site::new();
    let first = Dice::new(3).bytes(3 * EXTENT_BYTES);
    let mut second = first.clone();
    second[2 * EXTENT_BYTES..].fill(9);
    site.publish("first", "1", &first);
    site.publish("same", "1", &first);
    site.publish("second", "1", &second);
    assert_eq!(site.begin("first").unwrap().last_here().unwrap(), []);
    assert_eq!(site.evict("first"), Swept::default());
    assert_eq!(read(&site.store, id(&first)).unwrap(), first);
    let swept = site.evict("same");
    assert_eq!((swept.blobs, swept.extents), (1, 1), "two of its extents are the second's too");
    assert_eq!(read(&site.store, id(&second)).unwrap(), second);
    assert_eq!(site.missing(), []);
    // A third version of the same bytes is no part of what was evicted.
    let said = site.author.says(site.feed, vec![publish("third", "1", &first)]);
    site.store.append(&[said]).unwrap();
    assert_eq!(site.missing(), [id(&first)]);
}

#[test]
fn a_build_that_comes_after_the_eviction_is_no_part_of_it() {
    let mut site = Site::new();
    let op = site.publish("tool", "1", b"first");
    site.evict("tool");
    let said = site.author.says(site.feed, vec![delete("tool", "1", vec![op])]);
    let gone = said.inner().ops()[0].id;
    site.store.append(&[said]).unwrap();
    let Body::Publish(mut again) = publish("tool", "1", b"again") else { panic!("a publish") };
    again.supersedes = vec![gone];
    let said = site.author.says(site.feed, vec![Body::Publish(again)]);
    let again = said.inner().ops()[0].id;
    site.store.append(&[said]).unwrap();
    assert!(!site.is_evicted("tool", again));
    assert_eq!(site.missing(), [id(b"again")]);
}

/// E23: two sites that ask each other at the same time must not both let go.
#[test]
fn a_site_does_not_say_that_it_keeps_what_it_is_about_to_evict_or_does_not_need() {
    let mut site = Site::new();
    site.publish("tool", "1", b"bytes");
    site.publish("twin", "1", b"shared");
    site.publish("other", "1", b"shared");
    ingest(&site.store, b"nobody's").unwrap();
    assert!(site.keeps(b"bytes"));
    assert!(!site.keeps(b"nobody's"), "the next sweep may drop it");
    assert!(!site.keeps(b"not here"));
    let (one, two) = (site.begin("tool").unwrap(), site.begin("tool").unwrap());
    let shared = site.begin("twin").unwrap();
    assert!(!site.keeps(b"bytes"));
    assert!(site.keeps(b"shared"));
    drop((one, shared));
    assert!(!site.keeps(b"bytes"), "the second still asks");
    drop(two);
    assert!(site.keeps(b"bytes"), "nothing came of either");
    assert_eq!(read(&site.store, id(b"bytes")).unwrap(), b"bytes");
}

/// Nobody has read it since, and whoever asks lets the last good copy go.
#[test]
fn a_site_does_not_say_that_it_keeps_what_rotted() {
    for size in [900, 2 * EXTENT_BYTES + 1] {
        let (mut site, bytes) = (Site::new(), Dice::new(5).bytes(size));
        site.publish("tool", "1", &bytes);
        assert!(site.keeps(&bytes));
        let end = bytes[size - 100..size - 50].to_vec();
        site.disk.damage(1, |pack| {
            let at = pack.windows(end.len()).position(|part| part == end).unwrap();
            pack[at] ^= 1;
        });
        assert!(!site.keeps(&bytes), "{size}");
        assert_eq!(site.missing(), [id(&bytes)], "it is wanted again");
    }
}

/// E37: what is asked for while it is let go of comes again.
#[test]
fn a_version_that_is_asked_for_while_it_is_evicted_stays_wanted() {
    let mut site = Site::new();
    let op = site.publish("tool", "1", b"bytes");
    // The first eviction only says so; the second drops the bytes in the midst of somebody's asking for them.
    site.begin("tool").unwrap().confirm(&[]).unwrap();
    let evicting = site.begin("tool").unwrap();
    site.engine.at_the_next_flush(move || {
        let blobs = evicting.last_here().unwrap();
        assert_eq!(evicting.confirm(&blobs).unwrap().blobs, 1);
    });
    assert!(site.store.end_eviction(site.feed, "tool", "1").unwrap());
    assert_eq!(site.store.blob_state(id(b"bytes")).unwrap(), BlobState::Missing);
    assert!(!site.is_evicted("tool", op));
    assert_eq!(site.missing(), [id(b"bytes")]);
    site.store.checkpoint().unwrap();
    assert_eq!(site.reopen(true).missing(), [id(b"bytes")]);
}

#[test]
fn whoever_evicts_and_whoever_asks_again_at_the_same_time_what_is_missing_is_evicted_or_wanted() {
    let mut site = Site::new();
    let op = site.publish("tool", "1", b"bytes");
    for round in 0..300 {
        let evicting = site.begin("tool").unwrap();
        let blobs = evicting.last_here().unwrap();
        let start = Barrier::new(2);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                start.wait();
                evicting.confirm(&blobs).unwrap();
            });
            start.wait();
            site.store.end_eviction(site.feed, "tool", "1").unwrap();
        });
        let missing = site.store.blob_state(id(b"bytes")).unwrap() == BlobState::Missing;
        let wanted = site.missing() == [id(b"bytes")];
        assert_eq!(missing && !site.is_evicted("tool", op), wanted, "round {round}");
        site.store.end_eviction(site.feed, "tool", "1").unwrap();
        ingest(&site.store, b"bytes").unwrap();
    }
}

#[test]
fn a_build_that_is_blocked_goes_with_the_version_it_is_of() {
    let mut site = Site::new();
    site.publish("tool", "1", b"first");
    site.publish("tool", "1", b"other");
    let block = Block { target: Blocked::Blob(id(b"first")), reason: String::new() };
    site.store.append(&[site.author.says(site.feed, vec![Body::Block(block)])]).unwrap();
    assert_eq!(site.evict("tool").blobs, 2);
}

#[test]
fn only_what_is_served_can_be_evicted() {
    let mut site = Site::new();
    let op = site.publish("tool", "1", b"bytes");
    assert!(site.begin("unknown").is_none());
    let said = site.author.says(site.feed, vec![delete("tool", "1", vec![op])]);
    site.store.append(&[said]).unwrap();
    assert!(site.begin("tool").is_none());
}

#[test]
fn a_sweep_drops_what_an_eviction_left_and_keeps_what_was_asked_for_again() {
    let mut site = Site::new();
    let op = site.publish("tool", "1", b"bytes");
    let evicting = site.begin("tool").unwrap();
    assert_eq!(evicting.confirm(&[]).unwrap(), Swept::default());
    site = site.reopen(true);
    assert!(site.is_evicted("tool", op));
    assert_eq!(read(&site.store, id(b"bytes")).unwrap(), b"bytes");
    let dry = site.store.sweep(look(&site.author), true, |_, _| false).unwrap();
    assert_eq!(dry.blobs, 1);
    site.store.end_eviction(site.feed, "tool", "1").unwrap();
    assert_eq!(site.store.sweep(look(&site.author), false, |_, _| false).unwrap(), Swept::default());
    site.evict("tool");
    assert_eq!(site.store.blob_state(id(b"bytes")).unwrap(), BlobState::Missing);
}

/// They came just now, in a run that has not ended: whoever asks lets the last copy go, and the power goes here.
#[test]
fn a_site_does_not_say_that_it_keeps_what_a_loss_of_power_takes() {
    let (mut site, bytes) = (Site::new(), Dice::new(5).bytes(900));
    let said = site.author.says(site.feed, vec![publish("tool", "1", &bytes)]);
    site.store.append(&[said]).unwrap();
    site.store.put_small(id(&bytes), &bytes).unwrap();
    let told = site.keeps(&bytes);
    site.disk.cut_power(|| false);
    site.engine.cut_power();
    let site = site.reopen(true);
    let is_here = site.store.blob_state(id(&bytes)).unwrap() == BlobState::Complete { size: 900 };
    assert!(is_here || !told);
}
