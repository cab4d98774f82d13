//! Every bit that flips is found, what it took is told and wanted again, and once all is back no trace of it is left.

use protocol::filter::Filter;
use protocol::grant::Permitted;
use protocol::log::Mmr;

use std::sync::Arc;

use super::*;
use crate::store::ScrubPlace;
use crate::store::disk::Disk;
use crate::store::disk::fake::FakeDisk;
use crate::store::engine::InMemory;
use crate::store::engine::tests::Lagging;
use crate::store::ops::tests::{Author, delete, look, publish, record};
use crate::store::tests::{Dice, id, ingest, open, read, small_options};

/// Flips in `cargo test`; `PACKETBOAT_FLIPS` asks for more.
const FLIPS: u64 = 20;

/// Where the payload of the first record of a pack lies.
const FIRST: usize = 64 + 64;

/// A feed with versions of one file each, records and drops, over several packs.
struct Kept {
    disk: FakeDisk,
    engine: InMemory,
    store: Store,
    author: Author,
    feed: FeedId,
    contents: Vec<Vec<u8>>,
}

fn kept(seed: u64) -> Kept {
    let (disk, engine) = (FakeDisk::new(), InMemory::default());
    let store = open(&disk, &engine);
    let author = Author::new(50);
    let mut dice = Dice::new(seed);
    let sizes = [90_003, 700_000, 101, 300_001, 40_005];
    let contents: Vec<Vec<u8>> = sizes.into_iter().map(|size| dice.bytes(size)).collect();
    ingest(&store, &contents[0]).unwrap();
    let feed = store.put_feed(&record(&author)).unwrap();
    let mut kept = Kept { disk, engine, store, author, feed, contents };
    for (n, bytes) in kept.contents.clone().iter().enumerate() {
        ingest(&kept.store, bytes).unwrap();
        kept.say(vec![publish(&format!("package-{n}"), "1", bytes)]);
        let key = format!("key-{n}");
        kept.store.put_record(Shelf::Settings, key.as_bytes(), &dice.bytes(50)).unwrap();
        kept.store.put_record(Shelf::Settings, b"changed", &dice.bytes(5)).unwrap();
    }
    kept.store.put_record(Shelf::Settings, b"removed", b"value").unwrap();
    kept.store.remove_record(Shelf::Settings, b"removed").unwrap();
    kept
}

impl Kept {
    fn say(&mut self, bodies: Vec<protocol::op::Body>) {
        let said = self.author.says(self.feed, bodies);
        self.store.append(&[said]).unwrap();
    }

    fn first(&self) -> BlobId {
        id(&self.contents[0])
    }

    fn root(&self) -> [u8; 32] {
        self.store.heads(self.feed).unwrap()[0].head.root
    }

    fn scrub_all(&self) -> Vec<Damage> {
        let mut found = Vec::new();
        let mut from = ScrubPlace::default();
        loop {
            let scrubbed = self.store.scrub(from, 100_000).unwrap();
            found.extend(scrubbed.loss.places);
            let Some(next) = scrubbed.next else { return found };
            from = next;
        }
    }

    /// Flips one bit somewhere in the packs, and tells where.
    fn flip(&self, dice: &mut Dice) -> (u32, usize) {
        let packs = self.store.inner.packs.all();
        let sizes: Vec<u64> = packs.iter().map(|(_, file, _)| file.bytes().unwrap()).collect();
        let mut at = dice.roll(sizes.iter().sum());
        for ((pack, ..), bytes) in packs.iter().zip(sizes) {
            if at < bytes {
                let (at, bit) = (usize::try_from(at).unwrap(), dice.roll(8));
                self.disk.damage(*pack, |pack| pack[at] ^= 1 << bit);
                return (*pack, at);
            }
            at -= bytes;
        }
        unreachable!("the place lies in some pack")
    }

    /// Puts back what is lacking, as runs of a link would.
    fn heal(&self, from: &Self) {
        let log = self.author.log(self.feed);
        let held = || self.store.log_state(log).unwrap().map_or_else(Mmr::default, |state| state.after);
        for batch in from.store.batches(log, held().len(), u64::MAX).unwrap() {
            if let Some(batch) = batch.beyond(held().len()) {
                let verified = batch.verify(&held()).unwrap();
                self.store.append(&[Permitted::local(verified, false).unwrap()]).unwrap();
            }
        }
        for bytes in &self.contents {
            if !matches!(self.store.blob_state(id(bytes)).unwrap(), BlobState::Complete { .. }) {
                ingest(&self.store, bytes).unwrap();
            }
        }
        self.store.sync().unwrap();
    }

    fn token(&self) -> Option<Vec<u8>> {
        self.store.record(Shelf::Tokens, b"token").unwrap()
    }

    fn settings(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.store.records(Shelf::Settings, &[], &[], usize::MAX).unwrap()
    }
}

/// Each single flipped bit, in sealed packs and in the open one, in payloads, headers, padding, fronts and footers, is found by a scrub and
/// told once; what it took comes back; then no bit of the packs is wrong, with this index and with one that is built anew.
#[test]
fn every_flipped_bit_is_found_and_healed_without_a_trace() {
    let flips = std::env::var("PACKETBOAT_FLIPS").map_or(FLIPS, |flips| flips.parse().unwrap());
    let whole = kept(1);
    let settings = whole.settings();
    let mut dice = Dice::new(99);
    for flip in 0..flips {
        let kept = kept(1);
        let (pack, at) = kept.flip(&mut dice);
        let here = format!("flip {flip}: pack {pack} at {at}");
        let found = kept.scrub_all();
        assert_eq!(found.len(), 1, "{here}: {found:?}");
        let lies = (found[0].offset..found[0].offset + found[0].bytes).contains(&(at as u64));
        assert!(found[0].pack == pack && lies, "{here}: {found:?}");
        assert!(kept.scrub_all().is_empty(), "{here} was told twice");
        assert_eq!(kept.store.damage_found().len(), 1);
        assert!(!kept.store.open_damage(look(&kept.author)).unwrap().is_nothing());
        kept.heal(&whole);
        kept.store.mend(look(&kept.author)).unwrap();
        assert!(kept.store.open_damage(look(&kept.author)).unwrap().is_nothing(), "{here}");
        for again in [false, true] {
            if again {
                kept.store.rebuild_index().unwrap();
            }
            let verified = kept.store.verify(|_| {}).unwrap();
            assert_eq!((verified.damage.len(), verified.blobs_lost.len()), (0, 0), "{here}");
            assert_eq!(kept.store.verify_deep(look(&kept.author)).unwrap().wrong, 0, "{here}");
            assert_eq!(kept.settings(), settings, "{here}, index built anew: {again}");
            assert_eq!(kept.root(), whole.root(), "{here}, index built anew: {again}");
            for bytes in &kept.contents {
                assert_eq!(&read(&kept.store, id(bytes)).unwrap(), bytes, "{here}");
            }
        }
    }
}

/// Each record is bound to its store, and stands where the index says or nowhere.
#[test]
fn packs_that_somebody_swaps_or_brings_from_another_store_are_damage_and_nothing_wrong_is_read() {
    let (whole, other) = (kept(1), kept(3));
    for from_another in [false, true] {
        let kept = kept(1);
        let pack = |of: &Kept, number| {
            let mut bytes = Vec::new();
            of.disk.damage(number, |pack| bytes.clone_from(pack));
            bytes
        };
        let (one, two) = (pack(&kept, 1), pack(if from_another { &other } else { &kept }, 2));
        kept.disk.damage(1, |pack| *pack = two);
        if !from_another {
            kept.disk.damage(2, |pack| *pack = one);
        }
        let Kept { disk, engine, store, author, feed, contents } = kept;
        drop(store);
        let kept = Kept { store: open(&disk, &engine), disk, engine, author, feed, contents };
        for bytes in &kept.contents {
            if let Ok(read) = read(&kept.store, id(bytes)) {
                assert_eq!(&read, bytes, "from another: {from_another}");
            }
        }
        let verified = kept.store.verify(|_| {}).unwrap();
        assert!(!verified.damage.is_empty(), "from another: {from_another}");
        assert!(!kept.store.open_damage(look(&kept.author)).unwrap().is_nothing());
        kept.heal(&whole);
        for bytes in &kept.contents {
            assert_eq!(&read(&kept.store, id(bytes)).unwrap(), bytes, "from another: {from_another}");
        }
        assert_eq!(kept.root(), whole.root());
    }
}

#[test]
fn what_a_reader_comes_upon_is_noted_like_what_a_scrub_finds() {
    let kept = kept(2);
    kept.disk.damage(1, |pack| pack[FIRST + 100] ^= 1);
    assert!(matches!(read(&kept.store, kept.first()), Err(ReadError::Corrupt { .. })));
    assert_eq!(kept.store.damage_found().len(), 1);
    let open = kept.store.open_damage(look(&kept.author)).unwrap();
    assert_eq!((open.places.len(), open.blobs), (1, vec![kept.first()]));
    kept.store.rebuild_index().unwrap();
    assert_eq!(kept.store.blob_state(kept.first()).unwrap(), BlobState::Missing, "a new index knows it too");
    assert!(kept.scrub_all().is_empty());
}

/// Damage that nobody heals stays where it is, and goes once its version does.
#[test]
fn damaged_packs_stay_until_nothing_in_them_is_lacking() {
    let mut kept = kept(3);
    kept.disk.damage(1, |pack| pack[FIRST + 100] ^= 1);
    assert_eq!(kept.scrub_all().len(), 1);
    assert_eq!(kept.store.mend(look(&kept.author)).unwrap(), Mended::default());
    assert_eq!(kept.store.verify(|_| {}).unwrap().damage.len(), 1);
    let op = kept.store.ops_under(Tree::Use, kept.first().as_bytes()).unwrap()[0].id;
    kept.say(vec![delete("package-0", "1", vec![op])]);
    assert_eq!(kept.store.mend(look(&kept.author)).unwrap(), Mended { blobs: 0, packs: 1 });
    assert_eq!(kept.store.verify(|_| {}).unwrap().damage.len(), 0);
    assert!(kept.store.open_damage(look(&kept.author)).unwrap().is_nothing());
}

/// A token that was revoked does not come back because the bytes that say so rotted.
#[test]
fn a_removed_record_stays_removed_though_its_removal_rots() {
    let kept = kept(4);
    kept.store.put_record(Shelf::Tokens, b"token", b"a hash").unwrap();
    let (pack, end) = kept.store.inner.packs.end();
    kept.store.remove_record(Shelf::Tokens, b"token").unwrap();
    let at = usize::try_from(end).unwrap() + 64 + 3;
    kept.disk.damage(pack, |pack| pack[at] ^= 8);
    assert_eq!(kept.scrub_all().len(), 1);
    kept.store.rebuild_index().unwrap();
    assert_eq!(kept.store.record(Shelf::Tokens, b"token").unwrap(), None);
}

#[test]
fn a_pack_that_is_gone_is_told_as_the_blobs_it_held() {
    let kept = kept(5);
    kept.store.checkpoint().unwrap();
    let (lost, Kept { disk, engine, store, author, .. }) = (kept.first(), kept);
    drop(store);
    disk.remove_pack(1).unwrap();
    let store = open(&disk, &engine);
    assert!(store.open_damage(look(&author)).unwrap().blobs.contains(&lost));
}

/// Packs that are gone or were cut short while the node was down: what this site noted in them holds, with any index, and all else comes back.
#[test]
fn what_lost_packs_held_is_noted_again_or_wanted_again() {
    let cut: [(&str, fn(&FakeDisk, u32)); 4] = [
        ("gone", |disk, pack| disk.remove_pack(pack).unwrap()),
        ("emptied", |disk, pack| disk.damage(pack, Vec::clear)),
        ("cut to its front", |disk, pack| disk.damage(pack, |pack| pack.truncate(64))),
        ("cut in half", |disk, pack| disk.damage(pack, |pack| pack.truncate(pack.len() / 2))),
    ];
    let whole = kept(8);
    let (settings, packs) = (whole.settings(), whole.store.inner.packs.numbers());
    for (how, cut) in cut {
        for lost in &packs {
            let here = format!("pack {lost} of {} {how}", packs.len());
            let mut kept = kept(8);
            kept.store.put_record(Shelf::Tokens, b"token", b"a hash").unwrap();
            kept.store.remove_record(Shelf::Tokens, b"token").unwrap();
            kept.store.checkpoint().unwrap();
            let Kept { disk, engine, store, .. } = kept;
            drop(store);
            cut(&disk, *lost);
            kept = Kept { store: open(&disk, &engine), disk, engine, ..kept };
            assert_eq!(kept.store.damage_found().len(), 1, "{here}");
            assert_eq!((kept.settings(), kept.token()), (settings.clone(), None), "{here}");
            kept.store.verify(|_| {}).unwrap();
            assert!(!kept.store.open_damage(look(&kept.author)).unwrap().is_nothing(), "{here}");
            kept.heal(&whole);
            kept.store.mend(look(&kept.author)).unwrap();
            assert!(kept.store.open_damage(look(&kept.author)).unwrap().is_nothing(), "{here}");
            for again in [false, true] {
                if again {
                    kept.store.rebuild_index().unwrap();
                }
                let deep = kept.store.verify_deep(look(&kept.author)).unwrap();
                assert_eq!((deep.wrong, deep.index_left_out.clone()), (0, None), "{here}: {deep:?}");
                assert_eq!((kept.settings(), kept.token()), (settings.clone(), None), "{here}");
                assert_eq!(kept.root(), whole.root(), "{here}, index built anew: {again}");
                for bytes in &kept.contents {
                    assert_eq!(&read(&kept.store, id(bytes)).unwrap(), bytes, "{here}");
                }
            }
            drop(kept.store);
            assert!(open(&kept.disk, &kept.engine).damage_found().is_empty(), "{here} was told twice");
        }
    }
}

/// The newest pack lost its end while the node was down. No checkpoint tells how long it was; the index does.
#[test]
fn what_the_newest_pack_lost_since_the_last_checkpoint_is_told_and_what_was_taken_away_stays_away() {
    for (bytes, extra) in [(0, 0), (0, 37), (5_000, 0), (5_000, 2_000), (400_000, 0), (400_000, 300_000)] {
        let here = format!("{bytes} published, {extra} left");
        let mut kept = kept(8);
        kept.store.put_record(Shelf::Tokens, b"token", b"a hash").unwrap();
        let (pack, end) = kept.store.inner.packs.end();
        let content = Dice::new(9).bytes(bytes);
        if bytes > 0 {
            ingest(&kept.store, &content).unwrap();
            kept.say(vec![publish("last", "1", &content)]);
        }
        kept.store.remove_record(Shelf::Tokens, b"token").unwrap();
        assert_eq!(kept.store.inner.packs.end().0, pack, "{here}: all of it is in one pack");
        let Kept { disk, engine, store, .. } = kept;
        drop(store);
        disk.damage(pack, |pack| pack.truncate(usize::try_from(end).unwrap() + extra));
        kept = Kept { store: open(&disk, &engine), disk, engine, ..kept };
        assert_eq!(kept.store.damage_found().len(), 1, "{here}");
        let lost = kept.store.open_damage(look(&kept.author)).unwrap().blobs;
        assert_eq!(lost.contains(&id(&content)), bytes > 0, "{here}");
        for again in [false, true] {
            if again {
                kept.store.rebuild_index().unwrap();
            }
            assert_eq!(kept.token(), None, "{here}, index built anew: {again}");
            let item = kept.store.item(kept.feed, "last", "1", look(&kept.author)).unwrap();
            assert_eq!(item.is_some(), bytes > 0, "{here}");
        }
        if bytes > 0 {
            ingest(&kept.store, &content).unwrap();
            kept.store.sync().unwrap();
        }
        kept.store.mend(look(&kept.author)).unwrap();
        assert!(kept.store.open_damage(look(&kept.author)).unwrap().is_nothing(), "{here}");
        let deep = kept.store.verify_deep(look(&kept.author)).unwrap();
        assert_eq!((deep.wrong, deep.index_left_out.clone()), (0, None), "{here}: {deep:?}");
        assert_eq!(kept.token(), None, "{here}");
        drop(kept.store);
        assert!(open(&kept.disk, &kept.engine).damage_found().is_empty(), "{here} was told twice");
    }
}

/// A pack that the store itself removed is missed by nobody, also where it is killed right after.
#[test]
fn a_pack_that_was_reclaimed_is_not_missed() {
    let mut kept = kept(9);
    let op = kept.store.ops_under(Tree::Use, kept.first().as_bytes()).unwrap()[0].id;
    kept.say(vec![delete("package-0", "1", vec![op])]);
    kept.store.sweep(look(&kept.author), false, |_, _| false).unwrap();
    let before = kept.store.inner.packs.numbers();
    kept.store.reclaim(100).unwrap();
    let Kept { disk, engine, store, .. } = kept;
    assert!(store.inner.packs.numbers().first() != before.first(), "something was reclaimed");
    drop(store);
    assert!(open(&disk, &engine).damage_found().is_empty());
}

/// Bytes of a version that is kept and not served are fetched again too, once they were here.
#[test]
fn rotted_bytes_of_a_version_that_is_not_served_are_wanted_again() {
    let kept = kept(6);
    let mut leaf = Author::new(51);
    // A site without rights hides the version at that site alone: there the bytes are kept, and not served.
    let op = kept.store.ops_under(Tree::Use, kept.first().as_bytes()).unwrap()[0].id;
    let hides = leaf.says(kept.feed, vec![delete("package-0", "1", vec![op])]);
    kept.store.append(&[hides]).unwrap();
    let look = look(&leaf);
    let item = kept.store.item(kept.feed, "package-0", "1", look).unwrap().unwrap();
    assert_eq!(item.winner, None, "{item:?}");
    let wanted = || kept.store.missing_blobs(kept.feed, look, &Filter::default()).unwrap();
    assert!(wanted().is_empty());
    kept.disk.damage(1, |pack| pack[FIRST + 100] ^= 1);
    assert_eq!(kept.scrub_all().len(), 1);
    assert_eq!(wanted().iter().map(|one| one.blob).collect::<Vec<_>>(), [kept.first()]);
    ingest(&kept.store, &kept.contents[0]).unwrap();
    assert!(wanted().is_empty());
}

/// Where the pack of a large blob's outline was written anew, nobody has looked whether all of it is there when an extent elsewhere rots.
#[test]
fn a_blob_of_which_an_extent_rots_is_wanted_again_after_its_outline_was_moved() {
    let kept = kept(7);
    let (blob, look) = (id(&kept.contents[1]), look(&kept.author));
    let wanted = || kept.store.missing_blobs(kept.feed, look, &Filter::default()).unwrap();
    assert!(wanted().is_empty());
    let cv = kept.store.outline(blob).unwrap().unwrap().extents[1];
    let extent = || {
        let value = kept.store.with_index(|index| index.value(Tree::Extent, &cv.0)).unwrap().unwrap();
        keys::decode::<Location>(&value).unwrap()
    };
    let Some(BlobEntry::Large { outline, .. }) = kept.store.blob_entry(blob).unwrap() else {
        panic!("it has extents")
    };
    kept.store.write_anew(outline.pack).unwrap();
    let at = extent();
    let byte = usize::try_from(at.offset).unwrap() + 64 + 100;
    kept.disk.damage(at.pack, |pack| pack[byte] ^= 1);
    let loss = kept.store.checked_at(&[at]).unwrap();
    assert_eq!((loss.places.len(), loss.blobs.as_slice()), (1, &[blob][..]));
    assert_eq!(wanted().iter().map(|one| one.blob).collect::<Vec<_>>(), [blob]);
    ingest(&kept.store, &kept.contents[1]).unwrap();
    assert!(wanted().is_empty());
}

/// The note of damage lies in the packs; that a log was set back for it only the index knows, and that is as it was before.
#[test]
fn a_damaged_pack_stays_though_a_loss_of_power_made_the_index_forget_what_it_took() {
    let (disk, engine, mut author) = (FakeDisk::new(), Lagging::default(), Author::new(52));
    let store = open(&disk, &engine);
    let feed = store.put_feed(&record(&author)).unwrap();
    for name in ["one", "two"] {
        let said = author.says(feed, vec![publish(name, "1", name.as_bytes())]);
        store.append(&[said]).unwrap();
    }
    let held = |store: &Store| store.log_state(author.log(feed)).unwrap().unwrap().after.len();
    store.lose_spares();
    store.checkpoint().unwrap();
    disk.damage(1, |pack| {
        let at = pack.windows(3).rposition(|part| part == b"two").unwrap();
        pack[at] ^= 1;
    });
    assert_eq!((store.verify(|_| {}).unwrap().damage.len(), held(&store)), (1, 1));
    drop(store);
    disk.cut_power(|| true);
    engine.cut_power();
    let store = open(&disk, &engine);
    assert_eq!((store.open_damage(look(&author)).unwrap().places.len(), held(&store)), (1, 2));
    assert_eq!(store.mend(look(&author)).unwrap(), Mended::default());
    assert_eq!(held(&store), 1);
    let open = store.open_damage(look(&author)).unwrap();
    assert_eq!((open.places.len(), open.logs.as_slice()), (1, &[author.log(feed)][..]));
}

/// What lies on disk is read by every later version.
#[test]
fn a_note_of_damage_is_these_bytes() {
    let damage = Damage { pack: 7, offset: 64, bytes: 100, record: Some("ab".to_owned()) };
    assert_eq!(keys::encode(&damage), [1, 7, 64, 100, 1, 2, b'a', b'b']);
    assert_eq!(keys::decode::<Damage>(&[1, 7, 64, 100, 0]).unwrap(), Damage { record: None, ..damage });
    assert_eq!(place_key(7, 64), [0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 64]);
}

/// One call of the disk fails while it is looked after what the newest pack lost, and then the node is killed, or the machine goes.
fn cut_short(killed: bool) {
    let mut forgotten = Vec::new();
    for call in 1.. {
        let mut kept = kept(8);
        for n in 0..40 {
            kept.store.put_record(Shelf::Settings, format!("many-{n}").as_bytes(), b"x").unwrap();
        }
        kept.store.put_record(Shelf::Tokens, b"token", b"a hash").unwrap();
        let (pack, end) = kept.store.inner.packs.end();
        kept.store.remove_record(Shelf::Tokens, b"token").unwrap();
        assert_eq!(kept.store.inner.packs.end().0, pack);
        let Kept { disk, engine, store, .. } = kept;
        drop(store);
        disk.damage(pack, |pack| pack.truncate(usize::try_from(end).unwrap()));
        disk.fail_call(call);
        let options = crate::store::Options {
            pack_bytes: 1 << 20,
            reserve_bytes: 0,
            checkpoint_bytes: 1 << 20,
            unnamed_kept: std::time::Duration::ZERO,
            ..crate::store::Options::new(77)
        };
        let opened = Store::open_on(Arc::new(disk.clone()), Box::new(engine.clone()), options);
        let over = !disk.has_failed();
        disk.fail_call(0);
        let (was, still) =
            opened.as_ref().map_or((0, 0), |store| (store.index_rebuilds(), store.inner.index.lost().len()));
        if killed {
            disk.cut_power(|| false);
        }
        drop(opened);
        kept = Kept { store: open(&disk, &engine), disk, engine, ..kept };
        let first = kept.token().is_some();
        let found = kept.store.damage_found().len();
        kept.store.rebuild_index().unwrap();
        if kept.token().is_some() || first {
            forgotten.push((call, was, still, found, first, kept.token().is_some()));
        }
        if over {
            break;
        }
    }
    assert!(
        forgotten.is_empty(),
        "the revoked token counts again (call, rebuilds, unborne, told, at once, once rebuilt): {forgotten:?}"
    );
}

#[test]
fn what_the_newest_pack_lost_is_not_forgotten_where_a_node_is_killed_that_looks_after_it() {
    cut_short(false);
}

#[test]
fn what_the_newest_pack_lost_is_not_forgotten_where_power_goes_while_it_is_looked_after() {
    cut_short(true);
}

/// A disk that lost the end of a pack fails once more while that is looked after, the index is built anew from what is left, and the program starts
/// again: that index knows of no batch that lay there.
#[test]
fn what_packs_lost_is_heard_again_before_anything_is_signed_though_the_index_was_built_anew_since() {
    let mut rebuilt = 0;
    for call in 1..200 {
        let kept = kept(8);
        kept.store.checkpoint().unwrap();
        kept.store.lose_spares();
        let (pack, _) = kept.store.inner.packs.end();
        let Kept { disk, engine, store, .. } = kept;
        drop(store);
        disk.damage(pack, |pack| pack.truncate(64));
        disk.fail_call(call);
        if let Ok(store) = Store::open_on(Arc::new(disk.clone()), Box::new(engine.clone()), small_options()) {
            rebuilt += store.index_rebuilds();
        }
        let ended = !disk.has_failed();
        disk.fail_call(0);
        let store = open(&disk, &engine);
        assert!(store.awakening().unwrap().is_some(), "call {call} failed");
        if ended {
            break;
        }
    }
    assert!(rebuilt > 0);
}
