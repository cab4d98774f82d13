//! One copy of what was said is enough: damage of a pack takes nothing that the index has too, and the other way round.

use protocol::id::FeedId;

use super::*;
use crate::store::Shelf;
use crate::store::disk::Disk;
use crate::store::disk::fake::FakeDisk;
use crate::store::engine::InMemory;
use crate::store::ops::tests::{Author, delete, look, publish, record};
use crate::store::tests::{Dice, id, ingest, open, read};

impl Store {
    /// Only the packs have everything from here on, as where an index was built anew beside damage.
    pub(crate) fn lose_spares(&self) {
        self.forget_spares_under(&[]).unwrap();
    }

    fn spares(&self) -> usize {
        self.with_index(|index| index.count(Tree::Spare)).unwrap().try_into().unwrap()
    }
}

/// A site that stands alone.
struct Alone {
    disk: FakeDisk,
    engine: InMemory,
    store: Store,
    author: Author,
    feed: FeedId,
    large: Vec<u8>,
}

/// A publish, a batch of many, the publish of a large blob, a delete of the first, and a value that lies in the packs alone.
fn alone() -> Alone {
    let (disk, engine, mut author) = (FakeDisk::new(), InMemory::default(), Author::new(90));
    let store = open(&disk, &engine);
    let feed = store.put_feed(&record(&author)).unwrap();
    let large = Dice::new(9).bytes(600_000);
    ingest(&store, b"one").unwrap();
    ingest(&store, &large).unwrap();
    let many = (0..90_u8).map(|n| publish(&format!("many-{n}"), "1", &[n])).collect();
    for bodies in [vec![publish("one", "1", b"one")], many, vec![publish("large", "1", &large)]] {
        store.append(&[author.says(feed, bodies)]).unwrap();
    }
    let first = store.facts(feed, "one", "1").unwrap()[0].id;
    store.append(&[author.says(feed, vec![delete("one", "1", vec![first])])]).unwrap();
    store.put_record(Shelf::Settings, b"large", &large[..5000]).unwrap();
    store.checkpoint().unwrap();
    Alone { disk, engine, store, author, feed, large }
}

impl Alone {
    /// Everything that was said and noted is here and counts.
    fn assert_whole(&self, when: &str) {
        let served = |name: &str| {
            let item = self.store.item(self.feed, name, "1", look(&self.author)).unwrap();
            item.is_some_and(|item| item.winner.is_some())
        };
        assert!(!served("one") && served("large") && (0..90).all(|n| served(&format!("many-{n}"))), "{when}");
        let log = self.author.log(self.feed);
        let batches = self.store.batches(log, 0, u64::MAX).unwrap();
        let mut held = protocol::log::Mmr::default();
        for batch in batches {
            held = batch.verify(&held).unwrap().after().clone();
        }
        assert_eq!((held.len(), self.store.log_longest(log).unwrap()), (93, 93), "{when}");
        assert_eq!(
            self.store.record(Shelf::Settings, b"large").unwrap().unwrap(),
            self.large[..5000],
            "{when}"
        );
        assert_eq!(read(&self.store, id(&self.large)).unwrap(), self.large, "{when}");
    }

    fn assert_healed(&self, when: &str) {
        self.store.mend(look(&self.author)).unwrap();
        assert!(self.store.open_damage(look(&self.author)).unwrap().is_nothing(), "{when}");
        for anew in [false, true] {
            if anew {
                self.store.rebuild_index().unwrap();
            }
            self.assert_whole(when);
            let deep = self.store.verify_deep(look(&self.author)).unwrap();
            assert_eq!(
                (deep.wrong, deep.index_left_out.as_ref()),
                (0, None),
                "{when}, anew {anew}: {deep:?}"
            );
        }
        let damage = self.store.verify(|_| {}).unwrap().damage;
        assert!(damage.is_empty(), "{when}: {damage:?}");
    }

    /// The records that are kept twice.
    fn kept_twice(&self) -> Vec<(u32, Place)> {
        let packs = &self.store.inner.packs;
        let places = packs.numbers().into_iter().flat_map(|number| {
            packs.contents(number).unwrap().places.into_iter().map(move |place| (number, place))
        });
        let kept = |(pack, place): &(u32, Place)| self.store.spare(place.location(*pack)).unwrap().is_some();
        places.filter(kept).collect()
    }
}

#[test]
fn what_rots_at_a_site_that_stands_alone_goes_on_counting_and_is_written_again() {
    let kinds: Vec<_> = alone().kept_twice().iter().map(|(_, place)| place.header.kind).collect();
    let count = |kind| kinds.iter().filter(|other| **other == kind).count();
    assert_eq!((count(Kind::Ops), count(Kind::Outline), count(Kind::Meta), kinds.len()), (4, 1, 1, 6));
    for (number, kind) in kinds.iter().enumerate() {
        for behind in [20, 64 + 9] {
            let (alone, when) = (alone(), format!("{kind:?} {number}, byte {behind}"));
            let (pack, place) = alone.kept_twice().swap_remove(number);
            let byte = usize::try_from(place.offset).unwrap() + behind;
            alone.disk.damage(pack, |pack| pack[byte] ^= 4);
            alone.assert_whole(&format!("{when}, before anybody looked"));
            let verified = alone.store.verify(|_| {}).unwrap();
            assert_eq!(verified.damage.len(), 1, "{when}");
            assert!(
                verified.logs_set_back.is_empty() && verified.blobs_lost.is_empty(),
                "{when}: {verified:?}"
            );
            alone.assert_whole(&format!("{when}, after it was found"));
            alone.assert_healed(&when);
        }
    }
}

#[test]
fn what_lay_in_a_lost_pack_and_is_kept_twice_is_here_after_a_start_alone() {
    let mut alone = alone();
    let packs = alone.store.inner.packs.numbers();
    drop(std::mem::replace(&mut alone.store, open(&FakeDisk::new(), &InMemory::default())));
    for pack in packs {
        alone.disk.remove_pack(pack).unwrap();
    }
    alone.store = open(&alone.disk, &alone.engine);
    ingest(&alone.store, &alone.large).unwrap();
    alone.assert_whole("all packs are gone");
    alone.store.rebuild_index().unwrap();
    alone.assert_whole("and then the index");
}

/// What is kept of a pack goes with it, and what is moved is kept where it is now.
#[test]
fn a_second_copy_moves_with_the_first() {
    let alone = alone();
    let before = alone.store.spares();
    assert!(before > alone.kept_twice().len(), "a large one is kept in pieces");
    for pack in alone.store.inner.packs.numbers() {
        alone.store.write_anew(pack).unwrap();
    }
    assert_eq!((alone.store.spares(), alone.kept_twice().len()), (before, 6));
    alone.store.rebuild_index().unwrap();
    assert_eq!((alone.store.spares(), alone.kept_twice().len()), (before, 6));
}

#[test]
fn a_second_copy_that_is_not_what_was_written_is_not_believed_and_is_mended() {
    let alone = alone();
    let (pack, place) = alone.kept_twice().swap_remove(0);
    let spoil = |index: &dyn Index| {
        let (key, mut value) = index.page(Tree::Spare, &pack.to_be_bytes(), &[], 1)?.swap_remove(0);
        *value.last_mut().unwrap() ^= 1;
        index.apply(&[Change { tree: Tree::Spare, key, value: Some(value) }])
    };
    alone.store.with_index(spoil).unwrap();
    assert_eq!(alone.store.spare(place.location(pack)).unwrap(), None);
    let deep = alone.store.verify_deep(look(&alone.author)).unwrap();
    assert_eq!(deep.wrong, 1, "{deep:?}");
    assert!(alone.store.spare(place.location(pack)).unwrap().is_some());
    assert_eq!(alone.store.verify_deep(look(&alone.author)).unwrap().wrong, 0);
}
