//! Whichever call of the disk fails: nothing is acknowledged that is not there, and the store goes on or opens again.

use std::collections::BTreeMap;

use protocol::feed::Standing;
use protocol::id::FeedId;
use protocol::log::Mmr;

use super::*;
use crate::store::ops::tests::{Author, delete, look, publish, record};

/// How many calls of the disk are made to fail, one a life.
const CALLS: u64 = 500;

/// What a store acknowledged.
#[derive(Default)]
struct Acknowledged {
    blobs: Vec<Vec<u8>>,
    records: BTreeMap<u8, Vec<u8>>,
    /// Records that were refused last: the old value or the new one is right.
    unsure: BTreeMap<u8, Vec<u8>>,
    /// Versions of the feed, and whether they were deleted since.
    versions: BTreeMap<String, bool>,
}

/// Whether nobody ever deletes the version of that name.
fn keeps(name: &str) -> bool {
    name.trim_start_matches('p').parse::<u64>().unwrap() % 20 == 10
}

impl Acknowledged {
    /// A life of everything that writes. What is refused is tried once more, as a client does.
    fn live(&mut self, store: &Store, dice: &mut Dice) {
        let mut author = Author::new(9);
        let feed = record(&author).genesis.feed_id();
        let known = store.put_feed(&record(&author)).is_ok() || store.put_feed(&record(&author)).is_ok();
        for turn in 0..200 {
            if known && turn % 5 == 0 {
                self.say(store, &mut author, feed, turn);
            }
            match turn % 12 {
                6 if turn < 24 => self.blob(store, dice.bytes(EXTENT + 5_000)),
                0..7 => self.blob(store, dice.bytes(900)),
                7..11 => self.record(store, u8::try_from(dice.roll(4)).unwrap(), dice.bytes(40)),
                _ => drop(store.checkpoint()),
            }
        }
    }

    fn blob(&mut self, store: &Store, bytes: Vec<u8>) {
        if ingest(store, &bytes).is_ok() || ingest(store, &bytes).is_ok() {
            self.blobs.push(bytes);
        }
    }

    /// Publishes a version, or deletes one that was published before. What is refused is said once more, by an author that goes on from what is
    /// held.
    fn say(&mut self, store: &Store, author: &mut Author, feed: FeedId, turn: u64) {
        let (name, deletes) = (format!("p{}", turn / 10 * 10), turn % 10 == 5);
        if deletes && keeps(&name) {
            return;
        }
        for _ in 0..2 {
            let Ok(held) = store.log_state(author.log(feed)) else { continue };
            author.goes_on_from(feed, held.map_or_else(Mmr::default, |held| held.after));
            let body =
                if deletes { delete(&name, "1", vec![]) } else { publish(&name, "1", name.as_bytes()) };
            if store.append(&[author.says(feed, vec![body])]).is_ok() {
                self.versions.entry(name).and_modify(|gone| *gone |= deletes).or_insert(deletes);
                return;
            }
        }
    }

    fn record(&mut self, store: &Store, key: u8, value: Vec<u8>) {
        if store.put_record(Shelf::Cursors, &[key], &value).is_ok() {
            self.records.insert(key, value);
            self.unsure.remove(&key);
        } else {
            self.unsure.insert(key, value);
        }
    }

    fn check(&self, store: &Store, call: u64) {
        for bytes in &self.blobs {
            assert_eq!(&read(store, id(bytes)).unwrap(), bytes, "call {call}: an acknowledged blob");
        }
        for (key, value) in &self.records {
            let found = store.record(Shelf::Cursors, &[*key]).unwrap();
            let unsure = self.unsure.contains_key(key) && found.as_ref() == self.unsure.get(key);
            assert!(found.as_ref() == Some(value) || unsure, "call {call}: an acknowledged record");
        }
        let author = Author::new(9);
        let feed = record(&author).genesis.feed_id();
        for (name, gone) in &self.versions {
            let item = store.item(feed, name, "1", look(&author)).unwrap();
            let served = item.is_some_and(|item| item.standing == Standing::Served);
            // One of which the deletion was refused may be gone all the same.
            assert!(if keeps(name) { served } else { !(*gone && served) }, "call {call}: {name}");
        }
    }
}

/// A disk may fail at opening too; the next start is then told nothing worse.
fn opened(disk: &FakeDisk, engine: &Lagging) -> Store {
    for _ in 0..2 {
        let engine = Box::new(engine.clone());
        if let Ok(store) = Store::open_on(Arc::new(disk.clone()), engine, small_options()) {
            return store;
        }
    }
    panic!("the store does not open, and no call fails any more")
}

#[test]
fn whichever_call_of_the_disk_fails_nothing_is_acknowledged_that_is_not_there() {
    let mut reached = 0;
    for call in 1..=CALLS {
        let (disk, engine) = (FakeDisk::new(), Lagging::default());
        let mut dice = Dice::new(call);
        let mut acknowledged = Acknowledged::default();
        disk.fail_call(call);
        let store = opened(&disk, &engine);
        acknowledged.live(&store, &mut dice);
        reached += u64::from(disk.has_failed());
        disk.fail_call(0);
        acknowledged.check(&store, call);
        drop(store);
        if call % 2 == 0 {
            disk.cut_power(|| dice.roll(3) == 0);
            engine.cut_power();
        }
        let store = opened(&disk, &engine);
        acknowledged.check(&store, call);
        let lost = store.verify(|_| {}).unwrap().blobs_lost;
        assert!(acknowledged.blobs.iter().all(|bytes| !lost.contains(&id(bytes))), "call {call}: {lost:?}");
        assert!(ingest(&store, b"and on it goes").is_ok(), "call {call}");
    }
    assert!(reached > CALLS * 9 / 10, "lives of only {reached} calls");
}
