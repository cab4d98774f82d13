//! What goes, what stays, and what comes back from the disk.

use std::sync::Arc;
use std::time::Duration;

use protocol::filter::Filter;
use protocol::id::{FeedId, SiteId};
use protocol::limits::EXTENT_BYTES;
use protocol::time::Timestamp;

use super::*;
use crate::store::disk::fake::FakeDisk;
use crate::store::engine::tests::Lagging;
use crate::store::engine::{Engine, InMemory};
use crate::store::ops::tests::{Author, delete, look, publish, record};
use crate::store::tests::{Dice, id, ingest, open, read};
use crate::store::{BlobState, Options, Shelf};

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
        let author = Author::new(40);
        let feed = store.put_feed(&record(&author)).unwrap();
        Self { disk, engine, store, author, feed }
    }

    fn publish(&mut self, name: &str, bytes: &[u8]) -> OpId {
        ingest(&self.store, bytes).unwrap();
        let said = self.author.says(self.feed, vec![publish(name, "1", bytes)]);
        let op = said.inner().ops()[0].id;
        self.store.append(&[said]).unwrap();
        op
    }

    fn delete(&mut self, name: &str, saw: OpId) {
        let said = self.author.says(self.feed, vec![delete(name, "1", vec![saw])]);
        self.store.append(&[said]).unwrap();
    }

    fn sweep(&self) -> Swept {
        self.store.sweep(look(&self.author), false, |_, _| false).unwrap()
    }

    fn sweep_keeping(&self, keep: impl Fn(BlobId) -> bool) {
        self.store.sweep(look(&self.author), false, |blob, _| keep(blob)).unwrap();
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

#[test]
fn a_deleted_version_goes_a_served_one_stays_and_no_rebuild_brings_it_back() {
    let mut site = Site::new();
    let (kept, gone) = (Dice::new(1).bytes(700_000), Dice::new(2).bytes(800_000));
    site.publish("kept", &kept);
    let op = site.publish("gone", &gone);
    site.publish("small", b"small and kept");
    let small = site.publish("small-gone", b"small and gone");
    site.delete("gone", op);
    site.delete("small-gone", small);
    assert_eq!(site.sweep(), Swept::default(), "it was just stored");
    assert_eq!(site.sweep(), Swept::default(), "it was stored since the sweep before the last");
    let dry = site.store.sweep(look(&site.author), true, |_, _| false).unwrap();
    let held_back = site.store.sweep(look(&site.author), true, |_, _| true).unwrap();
    assert_eq!(held_back, Swept::default());
    let swept = site.sweep();
    assert_eq!(swept, dry);
    assert_eq!((swept.blobs, swept.extents), (2, 4));
    for keep_index in [true, false] {
        site = site.reopen(keep_index);
        assert_eq!(site.store.blob_state(id(&gone)).unwrap(), BlobState::Missing);
        assert_eq!(site.store.blob_state(id(b"small and gone")).unwrap(), BlobState::Missing);
        assert_eq!(read(&site.store, id(&kept)).unwrap(), kept);
        assert_eq!(read(&site.store, id(b"small and kept")).unwrap(), b"small and kept");
        assert_eq!(site.sweep(), Swept::default());
    }
    ingest(&site.store, &gone).unwrap();
    assert_eq!(read(&site.reopen(false).store, id(&gone)).unwrap(), gone);
}

/// A sweep of a large store takes minutes: between dropping a blob and looking for loose extents somebody may publish it again.
#[test]
fn what_is_published_again_after_a_sweep_under_way_dropped_it_keeps_its_bytes() {
    let mut site = Site::new();
    let early = |seed: &u64| id(&Dice::new(*seed).bytes(700_000)).0[0] < 16;
    let large = Dice::new((1..).find(early).unwrap()).bytes(700_000);
    let bodies = |n: usize| format!("small {n}").into_bytes();
    let mut said = vec![publish("large", "1", &large)];
    said.extend((0..2 * BLOBS_AT_ONCE).map(|n| publish(&format!("small{n}"), "1", &bodies(n))));
    ingest(&site.store, &large).unwrap();
    for n in 0..2 * BLOBS_AT_ONCE {
        site.store.put_small(id(&bodies(n)), &bodies(n)).unwrap();
    }
    let ops: Vec<OpId> = {
        let said = site.author.says(site.feed, said);
        let ops = said.inner().ops().iter().map(|named| named.id).collect();
        site.store.append(&[said]).unwrap();
        ops
    };
    let names =
        std::iter::once("large".to_owned()).chain((0..2 * BLOBS_AT_ONCE).map(|n| format!("small{n}")));
    let deleted: Vec<_> = names.zip(&ops).map(|(name, op)| delete(&name, "1", vec![*op])).collect();
    let deleted = site.author.says(site.feed, deleted);
    site.store.append(&[deleted]).unwrap();
    site.sweep_keeping(|_| true);
    site.sweep_keeping(|_| true);
    let mut again = None;
    let (store, look) = (site.store.clone(), look(&site.author));
    store
        .sweep(look, false, |blob, _| {
            let dropped = store.blob_state(id(&large)).unwrap() == BlobState::Missing;
            if dropped && again.is_none() {
                ingest(&store, &large).unwrap();
                let name = publish("again", "1", &large);
                again = Some(site.author.says(site.feed, vec![name]));
                store.append(again.as_slice()).unwrap();
            }
            blob != id(&large)
        })
        .unwrap();
    assert!(again.is_some(), "it was dropped while the sweep went on");
    assert_eq!(store.blob_state(id(&large)).unwrap(), BlobState::Complete { size: 700_000 });
    assert_eq!(read(&store, id(&large)).unwrap(), large);
}

/// A deletion that counts no more brings a version back: what a sweep dropped of it is wanted, also where power went before the index knew.
#[test]
fn what_a_sweep_dropped_is_wanted_again_after_a_loss_of_power() {
    let mut site = Site::new();
    let op = site.publish("gone", b"gone");
    let wants = |site: &Site| {
        site.store.with_index(|index| index.page(Tree::Want, site.feed.as_bytes(), &[], 2)).unwrap().len()
    };
    assert!(site.store.missing_blobs(site.feed, look(&site.author), &Filter::default()).unwrap().is_empty());
    assert_eq!(wants(&site), 0, "it is here");
    site.store.checkpoint().unwrap();
    site.delete("gone", op);
    let swept: u64 = (0..3).map(|_| site.sweep().blobs).sum();
    assert_eq!((swept, wants(&site)), (1, 1));
    site.engine.cut_power();
    let site = site.reopen(true);
    assert_eq!(site.store.blob_state(id(b"gone")).unwrap(), BlobState::Missing);
    assert_eq!(wants(&site), 1);
}

/// The note that a blob was dropped may lie in the pack that goes with it: the index is durable by then.
#[test]
fn what_was_reclaimed_is_not_taken_for_whole_after_a_loss_of_power_and_comes_again() {
    let mut site = Site::new();
    let bytes = Dice::new(9).bytes(800_000);
    let op = site.publish("gone", &bytes);
    assert_eq!(site.store.blob_state(id(&bytes)).unwrap(), BlobState::Complete { size: 800_000 });
    site.store.checkpoint().unwrap();
    site.delete("gone", op);
    site.store.empty_trash(look(&site.author)).unwrap();
    assert_eq!(site.store.reclaim(100).unwrap().packs, 1);
    site.disk.cut_power(|| true);
    site.engine.cut_power();
    let site = site.reopen(true);
    assert_eq!(site.store.blob_state(id(&bytes)).unwrap(), BlobState::Missing);
    ingest(&site.store, &bytes).unwrap();
    assert_eq!(read(&site.store, id(&bytes)).unwrap(), bytes);
}

#[test]
fn extents_that_a_kept_blob_shares_stay_and_those_of_an_abandoned_ingest_go() {
    let mut site = Site::new();
    let first = Dice::new(3).bytes(3 * EXTENT_BYTES);
    let mut second = first.clone();
    second[2 * EXTENT_BYTES..].fill(9);
    let op = site.publish("first", &first);
    site.publish("second", &second);
    site.delete("first", op);
    let mut abandoned = site.store.ingest();
    abandoned.write(&Dice::new(4).bytes(2 * EXTENT_BYTES + 1)).unwrap();
    drop(abandoned);
    site = site.reopen(true);
    let swept = site.sweep();
    assert_eq!((swept.blobs, swept.extents), (1, 3), "one extent of the first and two of the abandoned");
    assert_eq!(read(&site.store, id(&second)).unwrap(), second);
}

#[test]
fn reclaiming_gives_the_space_back_and_keeps_everything_else() {
    let mut site = Site::new();
    let mut kept = Vec::new();
    for n in 0..24_u64 {
        let bytes = Dice::new(100 + n).bytes(300_000);
        let op = site.publish(&format!("p{n}"), &bytes);
        site.store.put_record(Shelf::Settings, b"always", &[u8::try_from(n).unwrap()]).unwrap();
        site.store.put_record(Shelf::Settings, format!("k{n}").as_bytes(), &[1; 3000]).unwrap();
        if n % 2 == 0 {
            site.store.remove_record(Shelf::Settings, format!("k{n}").as_bytes()).unwrap();
        }
        if n % 4 == 0 {
            kept.push(bytes);
        } else {
            site.delete(&format!("p{n}"), op);
        }
    }
    site = site.reopen(true);
    assert_eq!(site.sweep().blobs, 18);
    let used = site.disk.used();
    let reclaimed = site.store.reclaim(60).unwrap();
    assert!(reclaimed.packs >= 5, "{reclaimed:?}");
    assert!(site.disk.used() < used / 2, "{} of {used}", site.disk.used());
    let log = site.author.log(site.feed);
    let batches = site.store.batches(log, 0, u64::MAX).unwrap();
    let generation = site.store.newest_generation().unwrap();
    let state = site.store.log_state(log).unwrap();
    for keep_index in [true, false] {
        for bytes in &kept {
            assert_eq!(&read(&site.store, id(bytes)).unwrap(), bytes);
        }
        assert_eq!(site.store.batches(log, 0, u64::MAX).unwrap(), batches);
        assert_eq!(site.store.log_state(log).unwrap(), state);
        assert_eq!(site.store.newest_generation().unwrap(), generation);
        assert_eq!(site.store.record(Shelf::Settings, b"always").unwrap().unwrap(), [23]);
        for n in 0..24_u8 {
            let found = site.store.record(Shelf::Settings, format!("k{n}").as_bytes()).unwrap();
            assert_eq!(found.is_some(), n % 2 == 1, "k{n}");
        }
        let verified = site.store.verify(|_| {}).unwrap();
        assert_eq!((verified.blobs, verified.damage.len(), verified.blobs_lost.len()), (6, 0, 0));
        site = site.reopen(keep_index);
    }
    assert_eq!(site.sweep(), Swept::default());
}

#[test]
fn sweeping_and_reclaiming_between_power_cuts_loses_nothing_acknowledged() {
    let mut site = Site::new();
    let mut held: Vec<Vec<u8>> = Vec::new();
    let mut generation = 0;
    for round in 0..40_u64 {
        let mut dice = Dice::new(500 + round);
        for n in 0..dice.roll(4) {
            let size = if dice.roll(2) == 0 { 9_000 } else { EXTENT_BYTES + 5_000 };
            let bytes = dice.bytes(size);
            let name = format!("p{round}-{n}");
            let op = site.publish(&name, &bytes);
            if dice.roll(2) == 0 {
                site.delete(&name, op);
            } else {
                held.push(bytes);
            }
            generation = site.store.newest_generation().unwrap();
        }
        site.sweep();
        site.store.reclaim(70).unwrap();
        site.disk.cut_power(|| dice.roll(2) == 0);
        if dice.roll(2) == 0 {
            site.engine.cut_power();
        }
        site = site.reopen(dice.roll(4) > 0);
        assert_eq!(site.store.newest_generation().unwrap(), generation, "round {round}");
        for bytes in &held {
            assert_eq!(&read(&site.store, id(bytes)).unwrap(), bytes, "round {round}");
        }
    }
    assert!(held.len() > 20);
}

#[test]
fn readers_are_not_disturbed_while_packs_are_reclaimed() {
    let mut site = Site::new();
    let mut kept = Vec::new();
    for n in 0..24_u64 {
        let bytes = Dice::new(900 + n).bytes(300_000);
        let op = site.publish(&format!("p{n}"), &bytes);
        if n % 3 == 0 { kept.push(bytes) } else { site.delete(&format!("p{n}"), op) }
    }
    site = site.reopen(true);
    site.sweep();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (store, kept, done) = (&site.store, &kept, &done);
        let reader = scope.spawn(move || {
            let mut rounds = 0_u64;
            while !done.load(std::sync::atomic::Ordering::SeqCst) || rounds == 0 {
                for bytes in kept {
                    assert_eq!(&read(store, id(bytes)).unwrap(), bytes);
                }
                rounds += 1;
            }
        });
        let reclaimed = store.reclaim(90).unwrap();
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(reclaimed.packs > 3, "{reclaimed:?}");
        reader.join().unwrap();
    });
}

/// Power goes at each single call of the disk that a sweep and the writing anew of packs make; what stands is there after, with the index as it
/// was and without, and what was deleted does not come back.
#[test]
fn power_that_goes_at_any_call_of_a_compaction_takes_nothing() {
    let (mut call, mut cut) = (1, 0);
    loop {
        let mut site = Site::new();
        let (mut kept, mut gone) = (Vec::new(), Vec::new());
        for n in 0..16_u64 {
            let bytes = Dice::new(70 + n).bytes(if n % 5 == 0 { 300_000 } else { 90_001 });
            let op = site.publish(&format!("p{n}"), &bytes);
            site.store.put_record(Shelf::Settings, &[u8::try_from(n).unwrap()], &bytes[..30]).unwrap();
            if n % 3 == 0 {
                kept.push(bytes);
            } else {
                site.delete(&format!("p{n}"), op);
                gone.push(bytes);
            }
        }
        site = site.reopen(true);
        let root = site.store.heads(site.feed).unwrap()[0].head.root;
        site.disk.fail_call(call);
        let swept = site.store.sweep(look(&site.author), false, |_, _| false);
        let reclaimed = swept.is_ok().then(|| site.store.reclaim(90));
        let over = !site.disk.has_failed();
        site.disk.fail_call(0);
        let mut dice = Dice::new(call);
        site.disk.cut_power(|| dice.roll(2) == 0);
        for keep_index in [true, false] {
            site = site.reopen(keep_index);
            assert_eq!(site.store.heads(site.feed).unwrap()[0].head.root, root, "call {call}");
            for bytes in &kept {
                assert_eq!(&read(&site.store, id(bytes)).unwrap(), bytes, "call {call}");
            }
            for n in 0..16_u8 {
                let held = site.store.record(Shelf::Settings, &[n]).unwrap();
                assert_eq!(held.map(|value| value.len()), Some(30), "call {call}");
            }
            site.sweep();
            site.store.reclaim(90).unwrap();
            for bytes in &gone {
                assert_eq!(site.store.blob_state(id(bytes)).unwrap(), BlobState::Missing, "call {call}");
            }
            assert!(site.store.verify(|_| {}).unwrap().blobs_lost.is_empty(), "call {call}");
        }
        if over {
            assert!(matches!(reclaimed, Some(Ok(Reclaimed { packs: 1.., .. }))), "{reclaimed:?}");
            break;
        }
        cut += 1;
        call += 1;
    }
    assert!(cut > 50, "only {cut} calls");
}

/// An upload that takes longer than the time between two sweeps is not told that the disk failed.
#[test]
fn no_sweep_takes_what_an_upload_under_way_counts_on() {
    let store = open(&FakeDisk::new(), &InMemory::default());
    let look = Look { me: SiteId([1; 32]), now: Timestamp(1) };
    let bytes = Dice::new(8).bytes(3 * EXTENT_BYTES + 5);
    let mut uploads = [store.ingest(), store.ingest()];
    for part in bytes.chunks(100_000) {
        for upload in &mut uploads {
            upload.write(part).unwrap();
            store.sweep(look, false, |_, _| false).unwrap();
        }
        store.empty_trash(look).unwrap();
    }
    let [kept, given_up] = uploads;
    drop(given_up);
    assert_eq!(store.sweep(look, false, |_, _| false).unwrap().extents, 0);
    let stored = kept.finish().unwrap();
    assert!(read(&store, stored.blob).unwrap() == bytes);
    drop(store.ingest());
    let mut given_up = store.ingest();
    given_up.write(&Dice::new(9).bytes(2 * EXTENT_BYTES)).unwrap();
    drop(given_up);
    assert_eq!(store.sweep(look, false, |_, _| true).unwrap().extents, 1, "nobody counts on it any more");
}

/// A version of many files is named once all of them are here.
#[test]
fn what_no_op_names_yet_outlives_sweeps_for_its_time() {
    for unnamed_kept in [Duration::ZERO, Duration::from_secs(3600)] {
        let options = Options { unnamed_kept, ..Options::new(1) };
        let (disk, engine) = (FakeDisk::new(), Box::new(InMemory::default()));
        let store = Store::open_on(Arc::new(disk.clone()), engine, options).unwrap();
        let look = Look { me: SiteId([1; 32]), now: Timestamp(1) };
        let blob = ingest(&store, b"a file of many").unwrap().blob;
        for _ in 0..5 {
            store.sweep(look, false, |_, _| false).unwrap();
        }
        let is_gone = || store.blob_state(blob).unwrap() == BlobState::Missing;
        assert_eq!(is_gone(), unnamed_kept.is_zero());
        disk.hold_at_most(disk.used() + (1 << 20));
        store.sweep(look, false, |_, _| false).unwrap();
        assert!(is_gone(), "on a full disk nothing could be taken in that names it");
    }
}

/// Uploads that end, name extents that others left loose and are named themselves while sweeps go on without a pause.
#[test]
fn what_is_published_beside_sweeps_stays() {
    let options = Options { pack_bytes: 1 << 22, reserve_bytes: 0, ..Options::new(1) };
    let store = Store::open_on(Arc::new(FakeDisk::new()), Box::new(InMemory::default()), options).unwrap();
    let done = std::sync::atomic::AtomicU64::new(0);
    let publishes = |n: u8| {
        let mut author = Author::new(100 + n);
        let feed = store.put_feed(&record(&author)).unwrap();
        let mut dice = Dice::new(u64::from(n));
        let mut published = Vec::new();
        for round in 0..30 {
            let size = EXTENT_BYTES + 1 + usize::try_from(dice.roll(2 * EXTENT_BYTES as u64)).unwrap();
            let bytes = dice.bytes(size);
            // One that was given up leaves its extents loose, and the next counts on them.
            store.ingest().write(&bytes).unwrap();
            let blob = ingest(&store, &bytes).unwrap().blob;
            {
                let _kept = store.naming();
                let state = store.blob_state(blob).unwrap();
                assert!(
                    matches!(state, BlobState::Complete { .. }),
                    "{round}: {state:?} before it was named"
                );
                store.append(&[author.says(feed, vec![publish(&format!("p{round}"), "1", &bytes)])]).unwrap();
            }
            published.push((blob, bytes));
        }
        done.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        published
    };
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3).map(|n| scope.spawn(move || publishes(n))).collect();
        let look = Look { me: SiteId([1; 32]), now: Timestamp(u64::MAX) };
        while done.load(std::sync::atomic::Ordering::SeqCst) < 3
            && !writers.iter().all(|writer| writer.is_finished())
        {
            store.sweep(look, false, |_, _| false).unwrap();
            store.empty_trash(look).unwrap();
        }
        for (blob, bytes) in writers.into_iter().flat_map(|writer| writer.join().unwrap()) {
            assert!(read(&store, blob).is_ok_and(|held| held == bytes), "{blob} is gone");
        }
    });
}
