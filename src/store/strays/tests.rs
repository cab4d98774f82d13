//! An author signed two histories, and damage took a part of the one that was held: of what comes again nothing stands beside it.

use protocol::grant::Permitted;
use protocol::id::OpId;

use super::*;
use crate::store::disk::fake::FakeDisk;
use crate::store::engine::Engine;
use crate::store::engine::tests::Lagging;
use crate::store::ops::tests::{Author, look, publish, record};
use crate::store::tests::open;

struct Struck {
    disk: FakeDisk,
    engine: Lagging,
    author: Author,
    log: LogId,
    stray: OpId,
}

fn say(author: &mut Author, log: LogId, names: &[&str]) -> Permitted<Verified> {
    author.says(log.feed, names.iter().map(|name| publish(name, "1", name.as_bytes())).collect())
}

impl Struck {
    /// A log of three batches of which the one in the middle rotted, and what is behind it waits.
    fn new() -> (Self, Store) {
        let (disk, engine, mut author) = (FakeDisk::new(), Lagging::default(), Author::new(80));
        let store = open(&disk, &engine);
        let feed = store.put_feed(&record(&author)).unwrap();
        let log = author.log(feed);
        let mut stray = OpId([0; 32]);
        for name in ["one", "two", "three"] {
            let said = say(&mut author, log, &[name]);
            stray = said.inner().ops()[0].id;
            store.append(&[said]).unwrap();
        }
        let entries = store.with_index(|index| index.page(Tree::Batch, &keys::log(log), &[], 9)).unwrap();
        let at = keys::decode::<BatchEntry>(&entries[1].1).unwrap().at;
        store.checkpoint().unwrap();
        store.lose_spares();
        disk.damage(at.pack, |pack| pack[usize::try_from(at.offset + at.bytes).unwrap() + 63] ^= 1);
        store.verify(|_| {}).unwrap();
        (Self { disk, engine, author: Author::new(80), log, stray }, store)
    }

    fn reopen(&self, store: Store, keep_index: bool) -> Store {
        drop(store);
        self.disk.cut_power(|| true);
        if keep_index {
            self.engine.cut_power();
        } else {
            self.engine.set_aside().unwrap();
        }
        open(&self.disk, &self.engine)
    }

    fn check(&self, store: &Store, about: &str) {
        let feed = self.log.feed;
        assert_eq!(store.log_state(self.log).unwrap().unwrap().after.len(), 3, "{about}");
        assert_eq!(store.op(self.stray).unwrap(), None, "{about}");
        for (name, stands) in
            [("one", true), ("two", false), ("three", false), ("other", true), ("more", true)]
        {
            let item = store.item(feed, name, "1", look(&self.author)).unwrap();
            assert_eq!(item.is_some_and(|item| item.winner.is_some()), stands, "{about}: {name}");
        }
        let proofs = store.forks(feed).unwrap();
        assert_eq!((proofs.len(), proofs[0].log()), (1, self.log), "{about}");
        assert!(store.short_logs().unwrap().is_empty(), "{about}");
    }
}

#[test]
fn what_lies_behind_a_hole_and_is_of_another_history_proves_that_and_is_struck_out() {
    for batches in [&[&["other", "more"][..]][..], &[&["other"], &["more"]]] {
        let (mut log, mut store) = Struck::new();
        say(&mut log.author, log.log, &["one"]);
        for names in batches {
            store.append(&[say(&mut log.author, log.log, names)]).unwrap();
        }
        log.check(&store, "at once");
        for keep_index in [true, false] {
            store = log.reopen(store, keep_index);
            log.check(&store, &format!("after a start, index kept: {keep_index}"));
        }
        for pack in store.inner.packs.numbers() {
            store.write_anew(pack).unwrap();
        }
        log.check(&store, "in new packs");
        store = log.reopen(store, false);
        log.check(&store, "in new packs, with a new index");
    }
}

/// What the author said for all comes again, and what lies behind it is held as it was.
#[test]
fn what_lies_behind_a_hole_and_is_of_the_same_history_is_held_again() {
    let (mut log, store) = Struck::new();
    say(&mut log.author, log.log, &["one"]);
    store.append(&[say(&mut log.author, log.log, &["two"])]).unwrap();
    assert_eq!(store.log_state(log.log).unwrap().unwrap().after.len(), 3);
    assert!(store.op(log.stray).unwrap().is_some() && store.all_forks().unwrap().is_empty());
}
