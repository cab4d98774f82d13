//! Whichever call of the disk fails: nothing is acknowledged that is not there, and the store goes on or opens again.

use std::collections::BTreeMap;

use super::*;

/// How many calls of the disk are made to fail, one a life.
const CALLS: u64 = 500;

/// What a store acknowledged.
#[derive(Default)]
struct Acknowledged {
    blobs: Vec<Vec<u8>>,
    records: BTreeMap<u8, Vec<u8>>,
    /// Records that were refused last: the old value or the new one is right.
    unsure: BTreeMap<u8, Vec<u8>>,
}

impl Acknowledged {
    /// A life of everything that writes. What is refused is tried once more, as a client does.
    fn live(&mut self, store: &Store, dice: &mut Dice) {
        for turn in 0..200 {
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
