//! A log of which damage took the middle ends there, with this index and with one that is built anew, and goes on once that is back.

use protocol::grant::Permitted;
use protocol::id::SiteId;
use protocol::op::{Body, Cut, Grant, Rights, Tip};
use protocol::session::view::View;

use super::*;
use crate::store::disk::fake::FakeDisk;
use crate::store::engine::InMemory;
use crate::store::ops::tests::{Author, delete, look, publish, record};
use crate::store::tests::open;

struct Holed {
    disk: FakeDisk,
    engine: InMemory,
    store: Store,
    whole: Store,
    author: Author,
    log: LogId,
}

/// A publish, a second one, and a delete of the first, a batch each; the batch in the middle rots.
fn holed() -> Holed {
    let (disk, engine, mut author) = (FakeDisk::new(), InMemory::default(), Author::new(70));
    let (store, whole) = (open(&disk, &engine), open(&FakeDisk::new(), &InMemory::default()));
    let feed = store.put_feed(&record(&author)).unwrap();
    whole.put_feed(&record(&author)).unwrap();
    let log = author.log(feed);
    for bodies in [publish("one", "1", b"one"), publish("two", "1", b"two")] {
        let said = author.says(feed, vec![bodies]);
        store.append(&[said]).unwrap();
    }
    let first = store.facts(feed, "one", "1").unwrap()[0].id;
    let said = author.says(feed, vec![delete("one", "1", vec![first])]);
    store.append(&[said]).unwrap();
    for batch in store.batches(log, 0, u64::MAX).unwrap() {
        append(&whole, batch);
    }
    let entry =
        store.with_index(|index| index.page(Tree::Batch, &keys::log(log), &keys::batch(log, 1), 1)).unwrap();
    let at = keys::decode::<BatchEntry>(&entry[0].1).unwrap().at;
    for name in ["one", "two"] {
        store.item(feed, name, "1", look(&author)).unwrap();
    }
    store.lose_spares();
    disk.damage(at.pack, |pack| pack[usize::try_from(at.offset + at.bytes).unwrap() + 63] ^= 1);
    Holed { disk, engine, store, whole, author, log }
}

fn append(store: &Store, batch: Batch) {
    let held = store.log_state(batch.head.head.log).unwrap().map_or_else(Mmr::default, |state| state.after);
    let verified = batch.beyond(held.len()).unwrap().verify(&held).unwrap();
    store.append(&[Permitted::local(verified, false).unwrap()]).unwrap();
}

impl Holed {
    fn held(&self) -> u64 {
        self.store.log_state(self.log).unwrap().map_or(0, |state| state.after.len())
    }

    fn is_served(&self, name: &str) -> bool {
        let item = self.store.item(self.log.feed, name, "1", look(&self.author)).unwrap();
        item.is_some_and(|item| item.winner.is_some())
    }
}

/// What was worked out with what lies behind the hole is worked out anew without it, and the other way round.
#[test]
fn what_lies_behind_a_hole_is_not_held_and_is_again_once_the_hole_is_filled() {
    for anew in [false, true] {
        let holed = holed();
        assert!(!holed.is_served("one") && holed.is_served("two"));
        if anew {
            holed.store.rebuild_index().unwrap();
        } else {
            holed.store.verify(|_| {}).unwrap();
        }
        assert_eq!(holed.held(), 1, "built anew: {anew}");
        assert!(holed.is_served("one") && !holed.is_served("two"), "built anew: {anew}");
        assert_eq!(holed.store.verify_deep(look(&holed.author)).unwrap().wrong, 0, "built anew: {anew}");
        let middle = holed.whole.batches(holed.log, 1, 0).unwrap().swap_remove(0);
        assert_eq!(middle.head.head.len, 2);
        append(&holed.store, middle);
        assert_eq!(holed.held(), 3, "what is whole behind it need not come again; built anew: {anew}");
        assert!(!holed.is_served("one") && holed.is_served("two"), "built anew: {anew}");
    }
}

/// A peer's batches end where it likes. Whoever follows what arrives misses nothing of them, and what the damaged one left in the index goes.
#[test]
fn what_comes_again_in_other_batches_than_the_damaged_ones_leaves_nothing_of_those_behind() {
    for anew in [false, true] {
        let mut holed = holed();
        let said = holed.author.says(holed.log.feed, vec![publish("three", "1", b"three")]);
        holed.whole.append(&[said]).unwrap();
        let read = holed.store.facts(holed.log.feed, "two", "1");
        assert!(matches!(read, Err(ReadError::CorruptRecord { .. })));
        if anew {
            holed.store.rebuild_index().unwrap();
        }
        holed.store.look_into_damage().unwrap();
        let entries = || holed.store.batches_reaching(holed.log, 0).collect::<Result<Vec<_>, _>>().unwrap();
        assert_eq!(entries().len(), 2, "the first and the last; built anew: {anew}");
        let before = holed.store.newest_generation().unwrap();
        let rest = holed.whole.view(look(&holed.author)).run(holed.log, 1, usize::MAX).unwrap().unwrap();
        assert_eq!((rest.first, rest.head.head.len), (1, 4));
        append(&holed.store, rest);
        let arrived = |after| holed.store.arrived(after, u64::MAX, usize::MAX, |_| true).unwrap().1.len();
        assert_eq!((entries().len(), arrived(before)), (3, 3), "built anew: {anew}");
        holed.store.mend(look(&holed.author)).unwrap();
        let deep = holed.store.verify_deep(look(&holed.author)).unwrap();
        assert_eq!((deep.wrong, deep.index_left_out.as_ref()), (0, None), "{deep:?}; built anew: {anew}");
    }
}

/// The packs do not say how long the log was whose last batch rotted.
#[test]
fn an_index_that_is_built_anew_over_damage_lets_nothing_be_signed_and_asks_peers_anew() {
    let holed = holed();
    let peer = SiteId([9; 32]);
    holed.store.remember(peer, "link", &protocol::session::Memory::default()).unwrap();
    assert_eq!(holed.store.records(Shelf::Cursors, &[], &[], 9).unwrap().len(), 1);
    holed.store.rebuild_index().unwrap();
    holed.store.look_after_rebuild().unwrap();
    let awakening = holed.store.awakening().unwrap().unwrap();
    assert_eq!(awakening.cause, Cause::SetBack);
    assert!(holed.store.records(Shelf::Cursors, &[], &[], 9).unwrap().is_empty());
    holed.store.look_after_rebuild().unwrap();
    assert_eq!(holed.store.awakening().unwrap(), Some(awakening), "once for each time");
    let Holed { disk, engine, store, .. } = holed;
    drop(store);
    let store = open(&disk, &engine);
    assert_eq!(store.awakening().unwrap(), Some(awakening), "an index that was kept is believed");
}

/// The index is built anew in the midst of all, as after a sync that failed, before anybody found the damage: what was read before is forgotten.
#[test]
fn rights_that_rotted_are_known_no_more_once_the_index_is_built_anew() {
    let (disk, engine, mut author) = (FakeDisk::new(), InMemory::default(), Author::new(71));
    let store = open(&disk, &engine);
    let feed = store.put_feed(&record(&author)).unwrap();
    let grantee = SiteId([9; 32]);
    let rights = Rights { publish: true, ..Rights::default() };
    let grant = Grant { grantee, label: String::new(), rights, prefix: "granted".to_owned(), expires: None };
    store.append(&[author.says(feed, vec![Body::Grant(grant)])]).unwrap();
    let is_author = || store.authority(feed).unwrap().unwrap().is_author(grantee);
    assert!(is_author());
    store.lose_spares();
    disk.damage(1, |pack| {
        let at = pack.windows(7).position(|part| part == b"granted").unwrap();
        pack[at] ^= 1;
    });
    store.rebuild_index().unwrap();
    assert!(!is_author());
}

/// A reader of an op holds locks, and what it came upon is looked into after that.
#[test]
fn an_op_that_a_reader_finds_damaged_is_wanted_again_at_once() {
    let holed = holed();
    let read = || holed.store.facts(holed.log.feed, "two", "1");
    assert!(matches!(read(), Err(ReadError::CorruptRecord { .. })));
    assert_eq!(holed.held(), 3);
    let loss = holed.store.look_into_damage().unwrap();
    assert_eq!((loss.places.len(), loss.logs.as_slice(), holed.held()), (1, &[holed.log][..], 1));
    assert!(read().unwrap().is_empty());
    assert_eq!(holed.store.open_damage(look(&holed.author)).unwrap().logs, [holed.log]);
}

/// The author had signed two histories and the end that rotted does not count: nobody sends it, and nothing waits for it.
#[test]
fn what_rots_behind_the_place_where_a_log_was_cut_is_not_waited_for() {
    let (disk, mut origin, mut author) = (FakeDisk::new(), Author::new(73), Author::new(74));
    let store = open(&disk, &InMemory::default());
    let feed = store.put_feed(&record(&origin)).unwrap();
    let log = author.log(feed);
    for name in ["one", "two", "three"] {
        store.append(&[author.says(feed, vec![publish(name, "1", name.as_bytes())])]).unwrap();
    }
    let head = store.batches(log, 1, 0).unwrap().swap_remove(0).head;
    store.lose_spares();
    disk.damage(1, |pack| {
        let at = pack.windows(5).position(|part| part == b"three").unwrap();
        pack[at] ^= 1;
    });
    store.verify(|_| {}).unwrap();
    let at = look(&origin);
    let open = || store.open_damage(at).unwrap();
    assert_eq!((open().logs, open().places.len()), (vec![log], 1));
    assert_eq!(store.lacking_logs_of(feed, log.author).unwrap(), [(log, 1)]);
    let (len, root) = (head.head.len, head.head.root);
    let cut = Cut {
        tip: Tip { author: log.author, epoch: log.epoch, len, root },
        signed: head.head.time,
        succession: head.succession,
        signature: head.signature.0.to_vec(),
        reason: String::new(),
    };
    assert_eq!(len, 2);
    store.append(&[origin.says(feed, vec![Body::Cut(cut)])]).unwrap();
    assert!(open().logs.is_empty() && store.lacking_logs_of(feed, log.author).unwrap().is_empty());
    assert_eq!(store.mend(at).unwrap().packs, 1);
    assert!(open().is_nothing());
}

/// A peer's batch ends where a whole one does that begins later, and then packs are written anew: neither hides the other, and no log goes on
/// beyond the hole by that.
#[test]
fn batches_with_one_end_that_are_written_again_leave_the_log_whole() {
    for anew in [false, true] {
        let holed = holed();
        holed.store.verify(|_| {}).unwrap();
        for pack in holed.store.inner.packs.numbers() {
            holed.store.write_anew(pack).unwrap();
        }
        assert_eq!(holed.held(), 1, "what lies behind the hole was written again");
        assert!(holed.is_served("one") && !holed.is_served("two"));
        let rest = holed.whole.view(look(&holed.author)).run(holed.log, 1, usize::MAX).unwrap().unwrap();
        assert_eq!((rest.first, rest.head.head.len), (1, 3));
        // What lies behind the hole is written once more, after what fills it.
        let earlier = holed.store.inner.packs.numbers();
        earlier.iter().for_each(|pack| holed.store.inner.packs.close(*pack).unwrap());
        append(&holed.store, rest);
        for pack in earlier {
            holed.store.write_anew(pack).unwrap();
        }
        if anew {
            holed.store.rebuild_index().unwrap();
        }
        assert!(holed.store.verify(|_| {}).unwrap().logs_set_back.is_empty(), "built anew: {anew}");
        let deep = holed.store.verify_deep(look(&holed.author)).unwrap();
        assert_eq!((deep.wrong, holed.held()), (0, 3), "{deep:?}; built anew: {anew}");
        assert!(!holed.is_served("one") && holed.is_served("two"), "built anew: {anew}");
    }
}

/// The same where power goes before the index is durable, and nothing was said after what filled the hole.
#[test]
fn what_lies_behind_a_filled_hole_is_held_again_at_a_start() {
    use crate::store::engine::tests::Lagging;
    for more in [true, false] {
        let (disk, engine, mut author) = (FakeDisk::new(), Lagging::default(), Author::new(70));
        let store = open(&disk, &engine);
        let feed = store.put_feed(&record(&author)).unwrap();
        let log = author.log(feed);
        let mut batches = Vec::new();
        for name in ["one", "two", "three"] {
            let said = author.says(feed, vec![publish(name, "1", name.as_bytes())]);
            batches.push(said.inner().to_batch());
            store.append(&[said]).unwrap();
        }
        let entry = store
            .with_index(|index| index.page(Tree::Batch, &keys::log(log), &keys::batch(log, 1), 1))
            .unwrap();
        let at = keys::decode::<BatchEntry>(&entry[0].1).unwrap().at;
        store.lose_spares();
        disk.damage(at.pack, |pack| pack[usize::try_from(at.offset + at.bytes).unwrap() + 63] ^= 1);
        store.verify(|_| {}).unwrap();
        let held = |store: &Store| store.log_state(log).unwrap().map_or(0, |state| state.after.len());
        assert_eq!(held(&store), 1);
        store.checkpoint().unwrap();
        append(&store, batches[1].clone());
        assert_eq!(held(&store), 3);
        if more {
            let said = author.says(feed, vec![publish("four", "1", b"four")]);
            store.append(&[said]).unwrap();
        }
        let before = held(&store);
        drop(store);
        engine.cut_power();
        let store = open(&disk, &engine);
        assert_eq!(held(&store), before, "more: {more}");
        let item = store.item(feed, "three", "1", look(&author)).unwrap();
        assert!(item.is_some_and(|item| item.winner.is_some()), "more: {more}");
    }
}
