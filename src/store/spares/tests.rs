//! One copy of what was said is enough: damage of a pack takes nothing that the index has too, and the other way round.

mod rot;

use protocol::id::FeedId;

use super::*;
use crate::store::Shelf;
use crate::store::disk::Disk;
use crate::store::disk::fake::FakeDisk;
use crate::store::engine::tests::Lagging;
use crate::store::engine::{Engine, InMemory};
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
        let batches = self.store.batches(log, 0, u64::MAX).unwrap_or_else(|error| panic!("{when}: {error}"));
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
        // In the header; in the payload, where an outline has its blob's name; where it has its size, which no hash covers.
        for (behind, anew) in [(20, false), (20, true), (64 + 9, false), (64 + 33, false), (64 + 33, true)] {
            let (alone, when) = (alone(), format!("{kind:?} {number}, byte {behind}, anew: {anew}"));
            if anew {
                alone.store.rebuild_index().unwrap();
            }
            alone.rot_at(&alone.kept_twice()[number], behind);
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

impl Alone {
    fn stop(&mut self) {
        drop(std::mem::replace(&mut self.store, open(&FakeDisk::new(), &InMemory::default())));
    }

    fn start(&mut self) {
        self.store = open(&self.disk, &self.engine);
    }

    /// Flips a bit of the first record of a kind that is kept twice, that far behind its beginning.
    fn rot(&self, kind: Kind, behind: usize) {
        let kept = self.kept_twice();
        self.rot_at(kept.iter().find(|(_, place)| place.header.kind == kind).unwrap(), behind);
    }

    fn rot_at(&self, (pack, place): &(u32, Place), behind: usize) {
        let byte = usize::try_from(place.offset).unwrap() + behind;
        self.disk.damage(*pack, |pack| pack[byte] ^= 4);
    }
}

/// The disk that rots is the one whose syncs fail, and then the index is built anew.
#[test]
fn a_sync_that_fails_while_damage_is_healed_takes_no_second_copy() {
    for (kind, behind) in [(Kind::Ops, 64 + 9), (Kind::Ops, 20), (Kind::Meta, 64 + 9), (Kind::Outline, 20)] {
        let (alone, when) = (alone(), format!("{kind:?}, byte {behind}"));
        alone.rot(kind, behind);
        alone.disk.fail_next_sync();
        drop(alone.store.verify(|_| {}));
        alone.assert_whole(&when);
        assert!(alone.store.index_rebuilds() > 0, "{when}");
        alone.store.verify(|_| {}).unwrap();
        alone.assert_healed(&when);
    }
}

#[test]
fn a_comparison_before_anybody_found_the_damage_takes_no_second_copy() {
    let alone = alone();
    alone.rot(Kind::Ops, 64 + 9);
    let deep = alone.store.verify_deep(look(&alone.author)).unwrap();
    assert!(deep.wrong == 0 && deep.index_left_out.is_some(), "{deep:?}");
    alone.assert_whole("compared");
    alone.store.verify(|_| {}).unwrap();
    alone.assert_healed("compared and verified");
}

/// In the newest pack a start steps over it, and its record is in no list of what lies there.
#[test]
fn a_pack_that_is_given_up_before_anybody_found_its_damage_takes_no_second_copy() {
    let mut alone = alone();
    alone.stop();
    alone.start();
    alone.rot(Kind::Ops, 20);
    alone.stop();
    alone.start();
    for pack in alone.store.inner.packs.numbers() {
        alone.store.inner.packs.close(pack).unwrap();
    }
    assert!(alone.store.reclaim(100).unwrap().packs > 0);
    alone.assert_whole("reclaimed");
    alone.store.rebuild_index().unwrap();
    alone.assert_whole("reclaimed, and the index built anew");
}

/// The last record of the newest pack looks like one that was never finished when it rots behind the last checkpoint, and is cut off.
#[test]
fn what_was_said_last_outlives_its_rot_and_the_loss_of_its_pack() {
    for loses_pack in [false, true] {
        let mut alone = alone();
        let said = alone.author.says(alone.feed, vec![publish("late", "1", b"late")]);
        alone.store.append(&[said]).unwrap();
        let (pack, place) = alone.kept_twice().pop().unwrap();
        assert_eq!(place.header.kind, Kind::Ops);
        alone.stop();
        if loses_pack {
            alone.disk.remove_pack(pack).unwrap();
        } else {
            alone.rot_at(&(pack, place), 64 + 9);
        }
        alone.start();
        let held =
            |alone: &Alone| alone.store.log_state(alone.author.log(alone.feed)).unwrap().unwrap().after.len();
        assert_eq!(held(&alone), 94);
        let said = alone.author.says(alone.feed, vec![publish("later", "1", b"later")]);
        alone.store.append(&[said]).unwrap();
        for anew in [false, true] {
            if anew {
                alone.store.rebuild_index().unwrap();
            }
            assert_eq!(held(&alone), 95, "loses its pack: {loses_pack}, index anew: {anew}");
            assert_eq!(alone.store.batches(alone.author.log(alone.feed), 0, u64::MAX).unwrap().len(), 6);
        }
    }
}

/// No word tells how far the pack went that ends with it.
#[test]
fn an_outline_that_came_last_outlives_its_rot_and_what_is_written_in_its_place() {
    let mut alone = alone();
    let other = Dice::new(11).bytes(600_000);
    ingest(&alone.store, &other).unwrap();
    alone.store.sync().unwrap();
    let (pack, place) = alone.kept_twice().pop().unwrap();
    assert_eq!(place.header.kind, Kind::Outline);
    alone.stop();
    alone.rot_at(&(pack, place), 64 + 9);
    alone.start();
    ingest(&alone.store, &Dice::new(12).bytes(600_000)).unwrap();
    assert_eq!(read(&alone.store, id(&other)).unwrap(), other);
    alone.store.rebuild_index().unwrap();
    assert_eq!(read(&alone.store, id(&other)).unwrap(), other);
}

#[test]
fn a_sector_that_cannot_be_read_is_damage_like_any_other() {
    for (kind, behind) in
        [(Kind::Ops, 64 + 9), (Kind::Ops, 20), (Kind::Outline, 64 + 9), (Kind::Extent, 64 + 9)]
    {
        let (mut alone, when) = (alone(), format!("{kind:?}, byte {behind}"));
        alone.stop();
        alone.start();
        let places = alone.store.inner.packs.contents(1).unwrap().places;
        let place = places.iter().find(|place| place.header.kind == kind).unwrap();
        alone.disk.spoil_sector(1, place.offset + behind);
        if kind != Kind::Extent {
            alone.assert_whole(&when);
        }
        let verified = alone.store.verify(|_| {}).unwrap();
        assert!(!verified.damage.is_empty() && verified.logs_set_back.is_empty(), "{when}: {verified:?}");
        ingest(&alone.store, &alone.large).unwrap();
        ingest(&alone.store, b"one").unwrap();
        alone.assert_whole(&when);
        alone.stop();
        alone.start();
        alone.assert_whole(&format!("{when}, after a start"));
        alone.assert_healed(&when);
    }
}

/// Both copies of a word are gone: nobody may sign as if it had never been said.
#[test]
fn a_site_that_lost_an_index_and_a_record_of_its_newest_pack_waits_until_it_heard_what_it_said() {
    for behind in [0, 20, 64 + 9] {
        let mut alone = alone();
        let kept = alone.kept_twice();
        alone.rot_at(kept.iter().rfind(|(_, place)| place.header.kind == Kind::Ops).unwrap(), behind);
        alone.stop();
        alone.engine.set_aside().unwrap();
        alone.start();
        assert!(alone.store.waits(alone.feed).unwrap().is_some(), "byte {behind}");
    }
}

/// Behind the last checkpoint damage may be of what was never synced. Where the index that could tell is gone too, a record that others follow may
/// have been acknowledged.
#[test]
fn a_killed_site_that_lost_an_index_and_a_record_behind_the_checkpoint_waits_until_it_heard_what_it_said() {
    for (behind, follows) in [(20, true), (64 + 9, true), (64 + 9, false)] {
        let mut alone = alone();
        let said = alone.author.says(alone.feed, vec![publish("late", "1", b"late")]);
        alone.store.append(&[said]).unwrap();
        let newest = alone.store.inner.packs.numbers().pop().unwrap();
        let places = alone.store.inner.packs.contents(newest).unwrap().places;
        let place = *places.iter().rfind(|place| place.header.kind == Kind::Ops).unwrap();
        if follows {
            alone.store.put_record(Shelf::Settings, b"after", b"all").unwrap();
        }
        alone.rot_at(&(newest, place), behind);
        // No checkpoint is written at the end, as where a process is killed.
        alone.stop();
        alone.engine.set_aside().unwrap();
        alone.start();
        // Without anything behind it, it is a torn end as a loss of power leaves it.
        assert_eq!(alone.store.waits(alone.feed).unwrap().is_some(), follows, "byte {behind}");
    }
}

/// The index that was built anew never knew that the blob was whole.
#[test]
fn a_blob_whose_outline_rots_beside_a_lost_index_is_told_as_lost_until_it_is_back() {
    for behind in [20, 64 + 9, 64 + 33] {
        let mut alone = alone();
        alone.rot(Kind::Outline, behind);
        alone.stop();
        alone.engine.set_aside().unwrap();
        alone.start();
        alone.store.verify(|_| {}).unwrap();
        for mended in [false, true] {
            if mended {
                alone.store.mend(look(&alone.author)).unwrap();
            }
            let open = alone.store.open_damage(look(&alone.author)).unwrap();
            assert!(open.blobs.contains(&id(&alone.large)), "byte {behind}, mended: {mended}: {open:?}");
        }
        ingest(&alone.store, &alone.large).unwrap();
        assert!(!alone.store.open_damage(look(&alone.author)).unwrap().blobs.contains(&id(&alone.large)));
    }
}

/// A folder that was copied has an index of another life, as had one whose CHECKPOINT is gone: of these very packs all the same.
#[test]
fn an_index_that_is_not_used_gives_its_second_copies_to_the_one_that_is_built() {
    for (kind, behind) in [(Kind::Ops, 64 + 9), (Kind::Ops, 20), (Kind::Outline, 20), (Kind::Meta, 64 + 9)] {
        let (mut alone, when) = (alone(), format!("{kind:?}, byte {behind}"));
        // So that what rots is not the end, which a start without a CHECKPOINT takes for torn.
        alone.store.put_record(Shelf::Settings, b"after", b"all").unwrap();
        alone.rot(kind, behind);
        alone.stop();
        alone.disk.write_small("CHECKPOINT", b"").unwrap();
        alone.start();
        alone.assert_whole(&when);
        alone.store.verify(|_| {}).unwrap();
        alone.assert_healed(&when);
    }
}

/// Power goes while an index is built anew, and a deletion rots before the next start: what of it is in the half that was built is not taken for all
/// that it means.
#[test]
fn half_of_an_index_is_never_gone_on_with() {
    let mut half = 0;
    loop {
        let (disk, engine, mut author) = (FakeDisk::new(), Lagging::default(), Author::new(91));
        let store = open(&disk, &engine);
        let feed = store.put_feed(&record(&author)).unwrap();
        store.append(&[author.says(feed, vec![publish("one", "1", b"one")])]).unwrap();
        let first = store.facts(feed, "one", "1").unwrap()[0].id;
        let deletes = author.says(feed, vec![delete("one", "1", vec![first])]);
        let deleted = deletes.inner().ops()[0].id;
        store.append(&[deletes, author.says(feed, vec![publish("two", "1", b"two")])]).unwrap();
        store.checkpoint().unwrap();
        store.rebuild_index().unwrap();
        let entry = |index: &dyn Index| index.value(Tree::Op, &deleted.0);
        let entry = store.with_index(entry).unwrap().unwrap();
        let at = keys::decode::<keys::OpEntry>(&entry).unwrap().batch;
        drop(store);
        if half > engine.unflushed() {
            break;
        }
        engine.cut_power_after(half);
        disk.damage(at.pack, |pack| pack[usize::try_from(at.offset).unwrap() + 64 + 9] ^= 4);
        let store = open(&disk, &engine);
        let held = store.op(deleted).unwrap().is_some();
        let known = store.facts(feed, "one", "1").unwrap().iter().any(|fact| fact.id == deleted);
        assert_eq!(held, known, "{half} changes of the index were there");
        assert!(known || store.waits(feed).unwrap().is_some(), "{half} changes of the index were there");
        half += 1;
    }
    assert!(half > 20, "{half}");
}
