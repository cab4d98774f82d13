//! The store as its users see it, on memory and on real files, through crashes, cuts, damage and a full disk.

use std::fs;
use std::sync::atomic::Ordering;

use protocol::id::BlobId;
use protocol::outline::{Cv, Outline, extent_cv};

use super::disk::fake::FakeDisk;
use super::engine::tests::Lagging;
use super::engine::{Change, Entry, InMemory};
use super::*;

mod io_errors;

const EXTENT: usize = EXTENT_BYTES;

/// A small generator, so that a failing round can be run again.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    pub(super) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let seed = self.roll(u64::MAX).to_le_bytes();
        blake3::Hasher::new().update(&seed).finalize_xof().fill(&mut bytes);
        bytes
    }
}

pub(super) fn small_options() -> Options {
    Options {
        pack_bytes: 1 << 20,
        reserve_bytes: 0,
        checkpoint_bytes: 1 << 20,
        unnamed_kept: Duration::ZERO,
        ..Options::new(77)
    }
}

pub(super) fn open(disk: &FakeDisk, engine: &(impl Engine + Clone + 'static)) -> Store {
    Store::open_on(Arc::new(disk.clone()), Box::new(engine.clone()), small_options()).unwrap()
}

/// What happens to the index when power is lost.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Lost,
    SetBack,
    Ahead,
}

pub(super) fn ingest(store: &Store, bytes: &[u8]) -> Result<Stored, WriteError> {
    let mut ingest = store.ingest();
    for part in bytes.chunks(70_001) {
        ingest.write(part)?;
    }
    ingest.finish()
}

pub(super) fn read(store: &Store, blob: BlobId) -> Result<Vec<u8>, ReadError> {
    store.read_at(blob, 0, usize::MAX)
}

pub(super) fn id(bytes: &[u8]) -> BlobId {
    BlobId(*blake3::hash(bytes).as_bytes())
}

pub(super) fn outline_of(bytes: &[u8]) -> Outline {
    let cvs: Vec<Cv> = (0..).zip(bytes.chunks(EXTENT)).map(|(n, part)| extent_cv(n, part).unwrap()).collect();
    Outline::build(bytes.len() as u64, cvs).unwrap()
}

fn missing(ranges: &[(u32, u32)], size: usize) -> BlobState {
    let missing = ranges.iter().map(|&(start, end)| start..end).collect();
    BlobState::Partial { size: size as u64, missing }
}

/// [P-1] A blob is the blake3 hash of its bytes.
#[test]
fn a_blob_of_any_size_is_stored_under_its_hash_and_read_back() {
    let store = open(&FakeDisk::new(), &InMemory::default());
    let mut dice = Dice::new(1);
    for size in [0, 1, 1000, EXTENT - 1, EXTENT, EXTENT + 1, 2 * EXTENT, 3 * EXTENT + 77, 9 * EXTENT] {
        let bytes = dice.bytes(size);
        let stored = ingest(&store, &bytes).unwrap();
        assert_eq!((stored.blob, stored.size), (id(&bytes), size as u64));
        use sha2::Digest;
        assert_eq!(stored.sha256, <[u8; 32]>::from(sha2::Sha256::digest(&bytes)));
        assert_eq!(store.blob_state(stored.blob).unwrap(), BlobState::Complete { size: size as u64 });
        assert_eq!(read(&store, stored.blob).unwrap(), bytes);
        for (from, length) in [(0, 10), (size / 2, EXTENT), (size.saturating_sub(3), 10), (size + 5, 1)] {
            let expected = &bytes[from.min(size)..(from + length).min(size).max(from.min(size))];
            assert_eq!(store.read_at(stored.blob, from as u64, length).unwrap(), expected);
        }
    }
}

#[test]
fn bytes_that_are_held_are_not_written_again() {
    let disk = FakeDisk::new();
    let store = open(&disk, &InMemory::default());
    let bytes = Dice::new(2).bytes(5 * EXTENT + 9);
    ingest(&store, &bytes).unwrap();
    ingest(&store, b"small").unwrap();
    let used = disk.used();
    ingest(&store, &bytes).unwrap();
    ingest(&store, b"small").unwrap();
    assert_eq!(disk.used(), used);
    let mut longer = bytes.clone();
    longer.extend_from_slice(&bytes[..EXTENT]);
    ingest(&store, &longer).unwrap();
    assert!(disk.used() - used < 3 * EXTENT as u64, "the same extents at the same place are shared");
    assert_eq!(read(&store, id(&longer)).unwrap(), longer);
}

#[test]
fn extents_come_in_any_order_and_the_last_one_makes_the_blob_whole() {
    let disk = FakeDisk::new();
    let engine = InMemory::default();
    let store = open(&disk, &engine);
    let bytes = Dice::new(3).bytes(6 * EXTENT + 5);
    let outline = outline_of(&bytes);
    let blob = outline.blob;
    let parts: Vec<_> = bytes.chunks(EXTENT).collect();
    assert!(matches!(store.put_extent(blob, 0, parts[0]), Err(PutError::NoOutline { .. })));
    let mut forged = outline.clone();
    forged.extents.swap(0, 1);
    assert!(matches!(store.put_outline(&forged), Err(PutError::Mismatch { .. })));
    store.put_outline(&outline).unwrap();
    store.put_outline(&outline).unwrap();
    assert_eq!(store.blob_state(blob).unwrap(), missing(&[(0, 7)], bytes.len()));
    for index in [6_u32, 2, 3, 0] {
        store.put_extent(blob, index, parts[index as usize]).unwrap();
        store.put_extent(blob, index, parts[index as usize]).unwrap();
    }
    assert!(matches!(store.put_extent(blob, 1, parts[2]), Err(PutError::Mismatch { .. })));
    assert!(matches!(store.put_extent(blob, 7, parts[2]), Err(PutError::Mismatch { .. })));
    assert_eq!(store.blob_state(blob).unwrap(), missing(&[(1, 2), (4, 6)], bytes.len()));
    assert_eq!(store.read_extent(blob, 3).unwrap(), parts[3]);
    store.sync().unwrap();
    drop(store);
    engine.set_aside().unwrap();
    let store = open(&disk, &engine);
    assert_eq!(store.blob_state(blob).unwrap(), missing(&[(1, 2), (4, 6)], bytes.len()));
    for index in [1_u32, 4, 5] {
        store.put_extent(blob, index, parts[index as usize]).unwrap();
    }
    assert_eq!(store.blob_state(blob).unwrap(), BlobState::Complete { size: bytes.len() as u64 });
    assert_eq!(read(&store, blob).unwrap(), bytes);
}

#[test]
fn a_small_blob_with_other_bytes_is_refused() {
    let store = open(&FakeDisk::new(), &InMemory::default());
    assert!(matches!(store.put_small(id(b"a"), b"b"), Err(PutError::Mismatch { .. })));
    store.put_small(id(b"a"), b"a").unwrap();
    assert_eq!(store.blob_state(id(b"b")).unwrap(), BlobState::Missing);
    assert!(matches!(read(&store, id(b"b")), Err(ReadError::Missing { .. })));
}

#[test]
fn records_are_replaced_removed_and_listed_and_survive_the_loss_of_the_index() {
    let disk = FakeDisk::new();
    let engine = InMemory::default();
    let store = open(&disk, &engine);
    let long = vec![5; 100_000];
    for n in 0..10_u8 {
        store.put_record(Shelf::Links, &[1, n], &[n]).unwrap();
        store.put_record(Shelf::Links, &[1, n], &[n, n]).unwrap();
    }
    store.put_record(Shelf::Links, &[2], &long).unwrap();
    store.put_record(Shelf::Runs, &[1, 3], b"a run").unwrap();
    store.remove_record(Shelf::Links, &[1, 4]).unwrap();
    let used = disk.used();
    store.remove_record(Shelf::Links, &[1, 4]).unwrap();
    assert_eq!(disk.used(), used, "removing nothing writes nothing");
    drop(store);
    for lose in [false, true] {
        if lose {
            engine.set_aside().unwrap();
        }
        let store = open(&disk, &engine);
        assert_eq!(store.record(Shelf::Links, &[1, 7]).unwrap().unwrap(), [7, 7]);
        assert_eq!(store.record(Shelf::Links, &[1, 4]).unwrap(), None);
        assert_eq!(store.record(Shelf::Links, &[2]).unwrap().unwrap(), long);
        let listed = store.records(Shelf::Links, &[1], &[1, 2], 4).unwrap();
        let listed: Vec<_> = listed.into_iter().map(|(key, _)| key[1]).collect();
        assert_eq!(listed, [2, 3, 5, 6]);
    }
}

#[test]
fn a_second_store_on_one_folder_is_refused_and_told_which() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Options::new(1)).unwrap();
    let refused = Store::open(folder.path(), Options::new(1)).unwrap_err();
    assert!(matches!(&refused, OpenError::InUse { folder: named } if *named == store.folder()));
    let id = store.id();
    drop(store);
    assert_eq!(Store::open(folder.path(), Options::new(2)).unwrap().id(), id);
}

#[test]
fn a_folder_without_its_format_or_with_a_newer_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    ingest(&Store::open(folder.path(), Options::new(1)).unwrap(), b"bytes").unwrap();
    fs::write(folder.path().join("FORMAT"), "packetboat-store 9\n").unwrap();
    let newer = Store::open(folder.path(), Options::new(1)).unwrap_err();
    assert!(matches!(newer, OpenError::Version { found: 9, .. }), "{newer}");
    for name in FORMAT_FILES {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    let lost = Store::open(folder.path(), Options::new(1)).unwrap_err();
    assert!(matches!(lost, OpenError::Format { .. }), "{lost}");
}

/// Without its salt no record can be told from other bytes.
#[test]
fn a_store_whose_format_rotted_opens_with_its_spare_and_is_in_the_same_life() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Options::new(7 << 64)).unwrap();
    ingest(&store, b"bytes").unwrap();
    let life = store.id();
    drop(store);
    for name in FORMAT_FILES {
        let path = folder.path().join(name);
        let good = fs::read(&path).unwrap();
        for at in [17, 40, 90, good.len() - 5] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, bad).unwrap();
            let store = Store::open(folder.path(), Options::new(1)).unwrap();
            assert_eq!(store.id(), life);
            assert!(store.format_mended_at_open(), "it is told");
            assert_eq!(read(&store, id(b"bytes")).unwrap(), b"bytes");
            drop(store);
            assert_eq!(fs::read(&path).unwrap(), good, "byte {at} of {name} is back");
            assert!(!Store::open(folder.path(), Options::new(1)).unwrap().format_mended_at_open());
        }
    }
}

#[test]
fn a_deleted_or_garbage_index_is_built_again_and_nothing_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice::new(4);
    let mut held: Vec<Vec<u8>> = Vec::new();
    for round in 0..6 {
        let store = Store::open(folder.path(), small_options()).unwrap();
        for bytes in &held {
            assert_eq!(&read(&store, id(bytes)).unwrap(), bytes, "round {round}");
        }
        for size in [10, 5_000, 2 * EXTENT + 3] {
            let bytes = dice.bytes(size);
            ingest(&store, &bytes).unwrap();
            held.push(bytes);
        }
        drop(store);
        let blobs = folder.path().join("index").join("blobs");
        assert!(!blobs.exists() || fs::read_dir(blobs).unwrap().next().is_none());
        match round % 3 {
            0 => fs::remove_dir_all(folder.path().join("index")).unwrap(),
            1 => fs::write(folder.path().join("index").join("db"), dice.bytes(200_000)).unwrap(),
            _ => fs::remove_file(folder.path().join("CHECKPOINT")).unwrap(),
        }
    }
}

/// An index that breaks after so many calls, as sled may long after a good open.
#[derive(Debug)]
struct Brittle {
    inner: Arc<dyn Index>,
    left: Arc<AtomicU64>,
}

impl Brittle {
    fn wear(&self) -> Result<(), Broken> {
        let worn = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        worn.map(drop).map_err(|_none| Broken::new("worn out by the test"))
    }
}

impl Index for Brittle {
    fn value(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Broken> {
        self.wear()?;
        self.inner.value(tree, key)
    }

    fn apply(&self, changes: &[Change]) -> Result<(), Broken> {
        self.wear()?;
        self.inner.apply(changes)
    }

    fn page(&self, tree: Tree, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Entry>, Broken> {
        self.wear()?;
        self.inner.page(tree, prefix, from, limit)
    }

    fn last(&self, tree: Tree, prefix: &[u8]) -> Result<Option<Entry>, Broken> {
        self.wear()?;
        self.inner.last(tree, prefix)
    }

    fn count(&self, tree: Tree) -> Result<u64, Broken> {
        self.inner.count(tree)
    }

    fn flush_durable(&self) -> Result<(), Broken> {
        self.wear()
    }
}

#[derive(Debug)]
struct BrittleEngine {
    inner: InMemory,
    calls: u64,
    left: Arc<AtomicU64>,
}

impl Engine for BrittleEngine {
    fn open(&self) -> Result<Arc<dyn Index>, Broken> {
        self.left.store(self.calls, Ordering::SeqCst);
        Ok(Arc::new(Brittle { inner: self.inner.open()?, left: Arc::clone(&self.left) }))
    }

    fn set_aside(&self) -> io::Result<()> {
        self.inner.set_aside()
    }
}

#[test]
fn an_index_that_breaks_long_after_opening_costs_a_rebuild_and_nothing_else() {
    let disk = FakeDisk::new();
    let engine = BrittleEngine { inner: InMemory::default(), calls: 250, left: Arc::new(AtomicU64::new(0)) };
    let store = Store::open_on(Arc::new(disk), Box::new(engine), small_options()).unwrap();
    let mut dice = Dice::new(5);
    let mut held: Vec<Vec<u8>> = Vec::new();
    for n in 0..120_u8 {
        let bytes = dice.bytes(if n % 10 == 0 { 2 * EXTENT } else { 300 });
        ingest(&store, &bytes).unwrap();
        store.put_record(Shelf::Cursors, &[n], &[n]).unwrap();
        held.push(bytes);
    }
    for (n, bytes) in (0..).zip(&held) {
        assert_eq!(&read(&store, id(bytes)).unwrap(), bytes);
        assert_eq!(store.record(Shelf::Cursors, &[n]).unwrap().unwrap(), [n]);
    }
    assert!(store.index_rebuilds() >= 3, "{} rebuilds", store.index_rebuilds());
}

#[test]
fn a_flipped_bit_is_told_on_reading_marked_missing_and_healed_by_putting_it_again() {
    let disk = FakeDisk::new();
    let store = open(&disk, &InMemory::default());
    let bytes = Dice::new(6).bytes(3 * EXTENT);
    let blob = ingest(&store, &bytes).unwrap().blob;
    ingest(&store, b"a small one").unwrap();
    let flip = 64 + 64 + EXTENT + 64 + 100;
    disk.damage(1, |pack| pack[flip] ^= 4);
    disk.damage(1, |pack| {
        let at = pack.windows(11).position(|part| part == b"a small one").unwrap();
        pack[at] ^= 1;
    });
    let told = read(&store, blob).unwrap_err();
    assert!(matches!(told, ReadError::Corrupt { extent: Some(1), .. }), "{told:?}");
    assert_eq!(store.blob_state(blob).unwrap(), missing(&[(1, 2)], bytes.len()));
    let told = read(&store, id(b"a small one")).unwrap_err();
    assert!(matches!(told, ReadError::Corrupt { extent: None, .. }), "{told:?}");
    assert_eq!(store.blob_state(id(b"a small one")).unwrap(), BlobState::Missing);
    store.put_extent(blob, 1, &bytes[EXTENT..2 * EXTENT]).unwrap();
    store.put_small(id(b"a small one"), b"a small one").unwrap();
    assert_eq!(read(&store, blob).unwrap(), bytes);
    assert_eq!(read(&store, id(b"a small one")).unwrap(), b"a small one");
}

#[test]
fn verify_finds_each_damaged_blob_in_sealed_packs_too() {
    let disk = FakeDisk::new();
    let store = open(&disk, &InMemory::default());
    let mut dice = Dice::new(7);
    let blobs: Vec<_> = (0..12).map(|_| ingest(&store, &dice.bytes(2 * EXTENT + 99)).unwrap().blob).collect();
    let clean = store.verify(|_| {}).unwrap();
    assert_eq!((clean.blobs, clean.damage.len(), clean.blobs_lost.len()), (12, 0, 0));
    assert!(clean.packs > 4);
    assert_eq!(clean.records, 12 * 4);
    disk.damage(2, |pack| pack[64 + 64 + 1000] ^= 1);
    let mut told = Progress::default();
    let found = store.verify(|progress| told = progress).unwrap();
    assert_eq!(told.bytes_done, told.bytes_total);
    assert_eq!((found.blobs, found.damage.len()), (11, 1));
    assert_eq!(found.blobs_lost.len(), 1);
    assert!(matches!(store.blob_state(found.blobs_lost[0]).unwrap(), BlobState::Partial { .. }));
    assert!(blobs.contains(&found.blobs_lost[0]));
    let again = store.verify(|_| {}).unwrap();
    assert_eq!((again.damage.len(), again.blobs_lost.len()), (1, 0), "what is missing is lost but once");
}

#[test]
fn a_full_disk_refuses_blobs_keeps_what_it_has_and_takes_them_again_later() {
    let disk = FakeDisk::new();
    let options = Options { reserve_bytes: 500_000, ..small_options() };
    let store = Store::open_on(Arc::new(disk.clone()), Box::new(InMemory::default()), options).unwrap();
    let mut dice = Dice::new(8);
    let first = dice.bytes(3 * EXTENT);
    ingest(&store, &first).unwrap();
    disk.hold_at_most(disk.used() + 700_000);
    let second = dice.bytes(5 * EXTENT);
    let refused = ingest(&store, &second).unwrap_err();
    assert!(matches!(refused, WriteError::DiskFull { reserve_bytes: 500_000, .. }), "{refused:?}");
    assert!(refused.to_string().contains("a disk in memory"));
    store.put_record(Shelf::Links, b"still", b"written").unwrap();
    assert_eq!(read(&store, id(&first)).unwrap(), first);
    disk.hold_at_most(1 << 30);
    ingest(&store, &second).unwrap();
    assert_eq!(read(&store, id(&second)).unwrap(), second);
}

/// Goal 7 of the safety work: others may fill the disk to its last byte; the room that was kept then is for records and deletions, also of a
/// store that is opened only then.
#[test]
fn a_disk_that_others_filled_takes_records_in_the_room_that_was_kept() {
    let (disk, index) = (FakeDisk::new(), InMemory::default());
    let options = Options { reserve_bytes: 4 << 20, ..small_options() };
    let open = || Store::open_on(Arc::new(disk.clone()), Box::new(index.clone()), options.clone()).unwrap();
    let store = open();
    ingest(&store, &Dice::new(9).bytes(EXTENT)).unwrap();
    disk.hold_at_most(disk.used() + (1 << 20));
    assert_eq!(store.free_bytes().unwrap(), 0, "a quarter of the reserve is kept, and nothing else is left");
    store.put_record(Shelf::Links, b"a", &[7; 1000]).unwrap();
    assert!(store.free_bytes().unwrap() > 0, "the room was given up");
    store.keep_room();
    assert!(store.free_bytes().unwrap() > 0, "and is not kept again while the disk is full");
    drop(store);
    disk.hold_at_most(1 << 30);
    let store = open();
    disk.hold_at_most(disk.used() + (1 << 20));
    drop(store);
    let store = open();
    store.put_record(Shelf::Links, b"b", &[7; 1000]).unwrap();
    assert_eq!(store.record(Shelf::Links, b"a").unwrap().unwrap().len(), 1000);
}

#[test]
fn a_failed_sync_is_told_and_the_same_bytes_can_be_written_again() {
    let disk = FakeDisk::new();
    let store = open(&disk, &InMemory::default());
    ingest(&store, b"before").unwrap();
    disk.fail_next_sync();
    let told = ingest(&store, b"during").unwrap_err();
    assert!(matches!(told, WriteError::Disk { .. }), "{told:?}");
    assert_eq!(store.blob_state(id(b"during")).unwrap(), BlobState::Missing);
    ingest(&store, b"during").unwrap();
    assert_eq!(read(&store, id(b"during")).unwrap(), b"during");
    assert_eq!(read(&store, id(b"before")).unwrap(), b"before");
}

/// A checkpoint that comes due inside a put syncs on its own account; what its failure takes back must not be acknowledged.
#[test]
fn bytes_that_anothers_failed_sync_took_back_are_not_acknowledged() {
    let disk = FakeDisk::new();
    let options = Options { checkpoint_bytes: 1, ..small_options() };
    let store = Store::open_on(Arc::new(disk.clone()), Box::new(InMemory::default()), options).unwrap();
    ingest(&store, b"before").unwrap();
    disk.fail_next_sync();
    let told = ingest(&store, b"during").unwrap_err();
    assert!(matches!(told, WriteError::TakenBack { .. } | WriteError::Disk { .. }), "{told:?}");
    ingest(&store, b"during").unwrap();
    assert_eq!(read(&store, id(b"during")).unwrap(), b"during");
}

/// One life between two power cuts: what was acknowledged is added to `held`.
fn live(store: &Store, dice: &mut Dice, held: &mut Vec<Vec<u8>>, records: &mut Vec<(u8, Vec<u8>)>) {
    for _ in 0..=dice.roll(12) {
        match dice.roll(5) {
            0 => {
                let size = EXTENT + 1 + usize::try_from(dice.roll(2 * EXTENT as u64)).unwrap();
                let bytes = dice.bytes(size);
                ingest(store, &bytes).unwrap();
                held.push(bytes);
            }
            1 => {
                let (key, value) = (u8::try_from(dice.roll(20)).unwrap(), dice.bytes(50));
                store.put_record(Shelf::Settings, &[key], &value).unwrap();
                records.retain(|(other, _)| *other != key);
                records.push((key, value));
            }
            2 => {
                // Not acknowledged: written and never synced, later perhaps found again.
                let bytes = dice.bytes(3000);
                store.put_small(id(&bytes), &bytes).unwrap();
            }
            3 if !held.is_empty() => {
                let known = usize::try_from(dice.roll(held.len() as u64)).unwrap();
                ingest(store, &held[known].clone()).unwrap();
            }
            _ => {
                let size = usize::try_from(dice.roll(9000)).unwrap();
                let bytes = dice.bytes(size);
                ingest(store, &bytes).unwrap();
                held.push(bytes);
            }
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_in_a_hundred_power_cuts() {
    for fate in [Fate::Lost, Fate::SetBack, Fate::Ahead] {
        let disk = FakeDisk::new();
        let engine = Lagging::default();
        let (mut held, mut records): (Vec<Vec<u8>>, _) = (Vec::new(), Vec::new());
        for round in 0..100 {
            let mut dice = Dice::new(1000 + round);
            let store = open(&disk, &engine);
            live(&store, &mut dice, &mut held, &mut records);
            drop(store);
            disk.cut_power(|| dice.roll(3) == 0);
            match fate {
                Fate::Lost => engine.set_aside().unwrap(),
                Fate::SetBack => engine.cut_power(),
                Fate::Ahead => {}
            }
            let store = open(&disk, &engine);
            for bytes in &held {
                let state = store.blob_state(id(bytes)).unwrap();
                assert_eq!(state, BlobState::Complete { size: bytes.len() as u64 }, "{fate:?} round {round}");
            }
            for bytes in held.iter().rev().take(5) {
                assert_eq!(&read(&store, id(bytes)).unwrap(), bytes, "round {round}");
            }
            for (key, value) in &records {
                let found = store.record(Shelf::Settings, &[*key]).unwrap();
                assert_eq!(found.as_ref(), Some(value), "round {round}");
            }
        }
        let store = open(&disk, &engine);
        for bytes in &held {
            assert_eq!(&read(&store, id(bytes)).unwrap(), bytes);
        }
        let lost = store.verify(|_| {}).unwrap().blobs_lost;
        assert!(held.iter().all(|bytes| !lost.contains(&id(bytes))), "{lost:?}");
    }
}

#[test]
fn a_blob_that_was_seen_and_not_durable_before_a_cut_is_written_again() {
    let disk = FakeDisk::new();
    let engine = InMemory::default();
    let store = open(&disk, &engine);
    store.put_small(id(b"unsynced"), b"unsynced").unwrap();
    drop(store);
    disk.cut_power(|| false);
    let store = open(&disk, &engine);
    assert_eq!(store.blob_state(id(b"unsynced")).unwrap(), BlobState::Missing);
    ingest(&store, b"unsynced").unwrap();
    drop(store);
    disk.cut_power(|| false);
    assert_eq!(read(&open(&disk, &engine), id(b"unsynced")).unwrap(), b"unsynced");
}

#[test]
fn many_writers_at_once_all_keep_their_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), small_options()).unwrap();
    let held: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8_u64)
            .map(|n| {
                let store = &store;
                scope.spawn(move || {
                    let mut dice = Dice::new(50 + n);
                    let write = |size| {
                        let bytes = dice.bytes(size);
                        ingest(store, &bytes).unwrap();
                        bytes
                    };
                    [100, 70_000, 2 * EXTENT, 500].map(write).to_vec()
                })
            })
            .collect();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    drop(store);
    let store = Store::open(folder.path(), small_options()).unwrap();
    for bytes in &held {
        assert_eq!(&read(&store, id(bytes)).unwrap(), bytes);
    }
    store.rebuild_index().unwrap();
    assert_eq!(store.verify(|_| {}).unwrap().blobs, held.len() as u64);
}
