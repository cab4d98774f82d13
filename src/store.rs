//! Everything on disk: blobs, logs, feeds and this site's own records, in packs with a disposable index beside them.

pub mod disk;
pub mod engine;

mod arrivals;
mod blobs;
mod brakes;
mod cursors;
mod damage;
mod derived;
mod evict;
mod feeds;
mod forks;
mod gaps;
mod holds;
mod holes;
mod index;
mod ingest;
mod keys;
mod life;
mod links;
mod merges;
mod ops;
mod packs;
mod peers;
mod quotas;
mod read;
mod reclaimed;
mod records;
mod regained;
mod replay;
mod runs;
mod snapshot;
mod spares;
mod strays;
mod successions;
mod sweep;
mod told;
mod trash;
mod underway;
mod usage;
mod verify;
mod view;
mod walk;
mod wanted;
mod writing;

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use protocol::fork::ForkProof;
use protocol::grant::RightsProof;
use protocol::id::StoreId;
use protocol::ledger::Ledger;
use protocol::limits::EXTENT_BYTES;
use protocol::statistics::Figures;

use derived::Derived;
use disk::{Disk, Folder, Held};
use engine::{Broken, Engine, Index, Sled};
use index::IndexRoom;
use keys::Location;
use life::{Checkpoint, Copies, FormatError, Life};
use packs::record::Draft;
use packs::{Packs, Start, Ticket};
use replay::Changes;

pub use arrivals::Changed;
pub use blobs::{BlobState, PutError};
pub use brakes::Braked;
pub use damage::{Loss, Mended, Open};
pub use evict::Evicting;
pub use feeds::{FeedRecord, Look};
pub use holds::{HOLD_NAMES_MAX, Hold};
pub use index::RebuildError;
pub use ingest::{Ingest, Stored};
pub use keys::Tree;
pub use life::FORMAT_FILES;
pub use merges::Merge;
pub use ops::{AppendError, LogState, Topic};
pub use packs::{Damage, WriteError};
pub use peers::PeerState;
pub use read::{BlobReader, ReadError};
pub use records::{RECORD_BYTES_MAX, Shelf};
pub use runs::{RUNS_MAX, RunFeed, RunRecord, Trigger};
pub use snapshot::{RESTORED, Snapshot, SnapshotPack, begin_life, new_life};
pub use successions::KeysOf;
pub use sweep::{Reclaimed, SweepError, Swept};
pub use told::FateThere;
pub use trash::InTrash;
pub use verify::{Deep, Progress, ScrubPlace, Scrubbed, Verified};
pub use view::SiteView;
pub use writing::{Awakening, Cause, Writing};

/// Bytes at which a pack is sealed and the next begun: a rebuild reads one footer for each.
const PACK_BYTES: u64 = 256 << 20;

/// Packs for which a disk should have room when the store is opened: what is live in one is written elsewhere before its room comes back, so on a
/// small disk packs are smaller.
const PACKS_FREE_MIN: u64 = 32;

/// Packs are no smaller than this: 16 extents.
const PACK_BYTES_MIN: u64 = 4 << 20;

/// Of the reserve so much is taken at once, where no other program can take it: room for thousands of deletions, the index beside them, and for what
/// lives in a pack to be moved so that the rest can go.
const ROOM_BYTES_MAX: u64 = 32 << 20;
const ROOM_OF_RESERVE: u64 = 4;

/// Bytes of the disk that blobs may not fill, so that deletes, logs and the index still find room.
const RESERVE_BYTES: u64 = 64 << 20;

/// Bytes appended between two checkpoints: what a start after a crash reads again.
const CHECKPOINT_BYTES: u64 = 64 << 20;

/// A version of many large files is uploaded over a slow line in a day.
const UNNAMED_KEPT: Duration = Duration::from_secs(24 * 3600);

/// What a store can be opened with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The life of a folder that is still empty. Random, and never used twice.
    pub generation: u128,
    /// Bytes at which a pack is sealed, at most.
    pub pack_bytes: u64,
    /// Bytes of the disk that blobs may not fill.
    pub reserve_bytes: u64,
    /// Bytes appended between two checkpoints.
    pub checkpoint_bytes: u64,
    /// How long bytes are kept at least that were stored and that no op names yet, on a disk that is not full. One that names many may take as
    /// long.
    pub unnamed_kept: Duration,
}

impl Options {
    /// The usual sizes, and `generation` for a new folder.
    #[must_use]
    pub const fn new(generation: u128) -> Self {
        Self {
            generation,
            pack_bytes: PACK_BYTES,
            reserve_bytes: RESERVE_BYTES,
            checkpoint_bytes: CHECKPOINT_BYTES,
            unnamed_kept: UNNAMED_KEPT,
        }
    }
}

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{folder} is in use by another packetboat; stop that one or choose another folder with --data")]
    InUse { folder: String },
    /// The disk failed.
    #[error("{folder} cannot be opened: the disk failed while {doing}")]
    Disk { folder: String, doing: &'static str, source: io::Error },
    /// There are packs and no FORMAT, or one that is damaged, and no spare of it.
    #[error(
        "{folder} has packs and neither a whole FORMAT file nor a whole FORMAT.spare; copy store/FORMAT of a backup of this folder there"
    )]
    Format { folder: String },
    /// A newer program wrote it.
    #[error("{folder} has format {found}, which this version of packetboat does not know; use a newer one")]
    Version { folder: String, found: u32 },
    /// The index could not be built.
    #[error(transparent)]
    Index(#[from] RebuildError),
}

/// One site's store. Cheap to clone; all clones are the same. All calls block on the disk.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: Options,
    life: Life,
    format_mended: bool,
    index: IndexRoom,
    packs: Packs,
    /// Read by whoever appends and indexes, written by a checkpoint: what lies before it is indexed.
    settled: RwLock<()>,
    checkpoint: Mutex<Taken>,
    records: Mutex<()>,
    runs: Mutex<()>,
    /// Held while ops are appended: the newest generation given.
    generation: Mutex<Option<u64>>,
    /// Read by whoever works out what stands at a coordinate, written while ops are indexed.
    folding: RwLock<()>,
    ledgers: Derived<Ledger>,
    set_backs: AtomicU64,
    counted: Derived<Figures>,
    proved: Derived<Arc<[ForkProof]>>,
    told: Derived<Arc<[RightsProof]>>,
    partials: Mutex<blobs::Partials>,
    /// Held while one record of bytes is looked for and written, each for a quarter of all ids.
    putting: [Mutex<()>; 4],
    sweeping: Mutex<()>,
    touched: Mutex<sweep::Touched>,
    under_way: Mutex<underway::UnderWay>,
    going: Mutex<evict::Going>,
    /// Held while an eviction ends, from before its bytes are wanted again until nothing says any more that they are evicted.
    ending: Mutex<()>,
    /// Read by whoever looks whether bytes are here and then names them in an op, written while bytes are dropped.
    naming: RwLock<()>,
    held: Mutex<quotas::Held>,
    damage: Mutex<Vec<Damage>>,
    findings: Mutex<damage::Findings>,
    _held: Box<dyn Held>,
}

#[derive(Debug)]
struct Taken {
    number: u64,
    position: u64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Opens the store in a folder, or makes one there, with a sled index.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(folder: &Path, options: Options) -> Result<Self, OpenError> {
        let disk = Folder::new(folder).map_err(|source| OpenError::Disk {
            folder: folder.display().to_string(),
            doing: "making the folder",
            source,
        })?;
        let fits = disk.free_bytes().map_or(PACK_BYTES, |free| (free / PACKS_FREE_MIN).max(PACK_BYTES_MIN));
        let options = Options { pack_bytes: options.pack_bytes.min(fits), ..options };
        Self::open_on(Arc::new(disk), Box::new(Sled::new(folder)), options)
    }

    /// Opens a store on any disk with any index.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        engine: Box<dyn Engine>,
        options: Options,
    ) -> Result<Self, OpenError> {
        let folder = disk.folder();
        let failed = |doing| {
            let folder = folder.clone();
            move |source| OpenError::Disk { folder, doing, source }
        };
        let held = disk.lock().map_err(|source| match source.kind() == io::ErrorKind::WouldBlock {
            true => OpenError::InUse { folder: folder.clone() },
            false => OpenError::Disk { folder: folder.clone(), doing: "taking the lock", source },
        })?;
        let (life, format_mended) = read_life(&*disk, &options)?;
        let checkpoint = Checkpoint::read(&*disk).map_err(failed("reading CHECKPOINT"))?;
        let trusted = checkpoint.filter(|checkpoint| checkpoint.generation == life.generation);
        let start = trusted.map(|checkpoint| checkpoint.start).unwrap_or_default();
        let (packs, mut damage) =
            Packs::open(disk, life.salt, options.pack_bytes, start).map_err(failed("reading the packs"))?;
        for damage in &damage {
            tracing::warn!(?damage, "bytes of a pack are damaged and were stepped over");
        }
        let index = IndexRoom::open(engine, life.generation, trusted, &packs)?;
        damage.extend(index.gone_unknown());
        let number = checkpoint.map_or(0, |checkpoint| checkpoint.number);
        let taken = Taken { number, position: packs.position() };
        let store = Self {
            inner: Arc::new(Inner {
                options,
                life,
                format_mended,
                index,
                packs,
                settled: RwLock::new(()),
                checkpoint: Mutex::new(taken),
                records: Mutex::new(()),
                runs: Mutex::new(()),
                generation: Mutex::new(None),
                folding: RwLock::new(()),
                set_backs: AtomicU64::new(0),
                ledgers: Derived::new(feeds::LEDGERS_MAX),
                counted: Derived::new(usage::FIGURES_MAX),
                proved: Derived::new(forks::PROVED_FEEDS_MAX),
                told: Derived::new(told::TOLD_FEEDS_MAX),
                partials: Mutex::new(blobs::Partials::default()),
                putting: Default::default(),
                sweeping: Mutex::new(()),
                touched: Mutex::new(sweep::Touched::default()),
                under_way: Mutex::default(),
                going: Mutex::new(evict::Going::default()),
                ending: Mutex::default(),
                naming: RwLock::new(()),
                held: Mutex::default(),
                damage: Mutex::new(damage),
                findings: Mutex::default(),
                _held: held,
            }),
        };
        if let Err(error) = store.regain_at_start() {
            tracing::warn!(%error, "what is gone from the end of the packs could not be written again");
        }
        // A disk that refuses is asked again before anything is signed.
        if let Err(error) = store.look_after_rebuild() {
            tracing::warn!(%error, "it could not be noted that damage was stepped over");
        }
        // A full disk keeps nobody from reading: the old checkpoint still holds.
        if let Err(error) = store.checkpoint() {
            tracing::warn!(%error, "no checkpoint could be written; the next start takes longer");
        }
        store.keep_room();
        if store.inner.packs.disk().read_small(RESTORED).map_err(failed("reading RESTORED"))?.is_some()
            && let Err(error) = store.regain()
        {
            tracing::warn!(%error, "not all could be regained that was damaged before the restore");
        }
        Ok(store)
    }

    /// The life this store is in. Cursors into another life are void.
    #[must_use]
    pub fn id(&self) -> StoreId {
        self.inner.life.id()
    }

    /// What a person calls this store; for messages.
    #[must_use]
    pub fn folder(&self) -> String {
        self.inner.packs.disk().folder()
    }

    /// Bytes free on the disk of this store.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn free_bytes(&self) -> io::Result<u64> {
        self.inner.packs.disk().free_bytes()
    }

    /// What was found damaged and stepped over when this store was opened, as long as nobody has verified all of it since.
    #[must_use]
    pub fn damage_at_open(&self) -> Vec<Damage> {
        locked(&self.inner.damage).clone()
    }

    /// Whether FORMAT or its spare was damaged when this store was opened, and the whole one written over it.
    #[must_use]
    pub fn format_mended_at_open(&self) -> bool {
        self.inner.format_mended
    }

    /// How often the index was built anew since this store was opened.
    #[must_use]
    pub fn index_rebuilds(&self) -> u64 {
        self.inner.index.rebuilds()
    }

    /// Makes everything written so far survive a loss of power. Calls at the same time share one sync.
    ///
    /// # Errors
    /// When the disk fails; nothing since the last success may then be relied on.
    pub fn sync(&self) -> Result<(), WriteError> {
        self.wait(self.inner.packs.ticket())
    }

    /// Bytes of the disk that blobs may not fill.
    #[must_use]
    pub fn reserve_bytes(&self) -> u64 {
        self.inner.options.reserve_bytes
    }

    /// Keeps some room for the day on which others fill the disk, unless that day has come: then records and deletions are written in it.
    pub fn keep_room(&self) {
        let bytes = ROOM_BYTES_MAX.min(self.reserve_bytes() / ROOM_OF_RESERVE);
        if bytes > 0
            && !self.is_full()
            && let Err(error) = self.inner.packs.disk().keep_room(bytes)
        {
            tracing::debug!(%error, "no room could be kept for a full disk");
        }
    }

    /// Whether not even one extent would be taken in for want of room. A system that does not say how much is free has room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let least = self.reserve_bytes().saturating_add(EXTENT_BYTES as u64);
        self.free_bytes().is_ok_and(|free| free < least)
    }

    /// While this is held no bytes are dropped: whoever finds them here may name them in an op.
    pub fn naming(&self) -> RwLockReadGuard<'_, ()> {
        self.inner.naming.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody keeps bytes from being dropped.
    #[cfg(test)]
    pub(crate) fn is_naming(&self) -> bool {
        self.inner.naming.try_write().is_err()
    }

    /// Bytes written so far: the same number again means that nothing was written between.
    pub(crate) fn written(&self) -> u64 {
        self.inner.packs.position()
    }

    /// Rises each time a failed sync took back what was not durable yet. Who wrote, synced, and finds it risen must write again.
    #[must_use]
    pub fn era(&self) -> u64 {
        self.inner.packs.era()
    }

    /// Notes how far the index is whole, so that the next start need not read further back.
    /// Done by itself each [`Options::checkpoint_bytes`]; the node also calls it at times and at its end.
    ///
    /// # Errors
    /// When the disk is full or fails; the older checkpoint then holds.
    pub fn checkpoint(&self) -> Result<(), WriteError> {
        let mut taken = locked(&self.inner.checkpoint);
        let (ticket, (pack, offset), position) = {
            let _settled = self.inner.settled.write().unwrap_or_else(PoisonError::into_inner);
            (self.inner.packs.ticket(), self.inner.packs.end(), self.inner.packs.position())
        };
        self.wait(ticket)?;
        let number = taken.number.saturating_add(1);
        let start = Start { pack, offset };
        self.inner.index.mark(&self.inner.packs, number, start)?;
        let generation = self.inner.life.generation;
        let checkpoint = Checkpoint { generation, number, start };
        let disk = self.inner.packs.disk();
        checkpoint.write(disk).map_err(|error| self.inner.packs.fault("writing CHECKPOINT", error))?;
        *taken = Taken { number, position };
        Ok(())
    }

    /// Sets the index aside and builds it from the packs.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn rebuild_index(&self) -> Result<(), RebuildError> {
        self.inner.index.rebuild_now(&self.inner.packs, Broken::asked_for())
    }

    /// Builds an index anew that was found to have lost something.
    pub(crate) fn rebuild_lossy_index(&self) -> Result<(), RebuildError> {
        self.inner.index.rebuild_now(&self.inner.packs, Broken::new("it lost something"))
    }

    fn with_index<T>(&self, work: impl Fn(&dyn Index) -> Result<T, Broken>) -> Result<T, RebuildError> {
        self.inner.index.with(&self.inner.packs, work)
    }

    fn wait(&self, ticket: Ticket) -> Result<(), WriteError> {
        self.inner.packs.wait_durable(ticket)
    }

    /// Appends records and indexes them at once: seen before they are durable.
    fn commit(&self, drafts: &[Draft<'_>]) -> Result<Vec<Location>, WriteError> {
        let locations = {
            let _settled = self.inner.settled.read().unwrap_or_else(PoisonError::into_inner);
            let appended = self.inner.packs.append(drafts)?;
            self.note(drafts, &appended.locations)?;
            appended.locations
        };
        self.checkpoint_if_due();
        Ok(locations)
    }

    /// Appends records, waits until they are durable, and only then indexes them.
    fn commit_durable(&self, drafts: &[Draft<'_>]) -> Result<(), WriteError> {
        {
            let _settled = self.inner.settled.read().unwrap_or_else(PoisonError::into_inner);
            let appended = self.inner.packs.append(drafts)?;
            self.wait(appended.ticket)?;
            self.note_durable(drafts, &appended.locations)?;
        }
        self.checkpoint_if_due();
        Ok(())
    }

    fn note(&self, drafts: &[Draft<'_>], locations: &[Location]) -> Result<(), WriteError> {
        Ok(self.with_index(|index| noted(drafts, locations).apply(index))?)
    }

    /// The same of what is durable: should the packs end before it at a start, something took it.
    fn note_durable(&self, drafts: &[Draft<'_>], locations: &[Location]) -> Result<(), WriteError> {
        // As long as a loss is not looked after what the index reached before is what tells of it.
        let reaches = self.inner.index.lost().is_empty();
        let end = locations.iter().map(|at| (at.pack, at.end())).max().filter(|_| reaches);
        self.with_index(|index| {
            let mut changes = noted(drafts, locations);
            changes.reach(end);
            changes.apply(index)
        })?;
        Ok(())
    }

    fn checkpoint_if_due(&self) {
        // Somebody who holds it is taking one.
        let Ok(taken) = self.inner.checkpoint.try_lock().map(|taken| taken.position) else { return };
        let appended = self.inner.packs.position().saturating_sub(taken);
        if appended >= self.inner.options.checkpoint_bytes
            && let Err(error) = self.checkpoint()
        {
            tracing::warn!(%error, "no checkpoint could be written; the next start takes longer");
        }
    }

    /// Decodes a record's value.
    fn understood<T: serde::de::DeserializeOwned>(&self, value: &[u8]) -> Result<T, ReadError> {
        keys::decode(value).map_err(|source| ReadError::Unreadable { folder: self.folder(), source })
    }

    /// The payload at a location, if an undamaged record is there or it is kept twice.
    fn read_location(&self, at: Location) -> Result<Option<Vec<u8>>, ReadError> {
        let read = self.inner.packs.read(at);
        let read =
            read.map_err(|source| ReadError::Disk { folder: self.folder(), source: Arc::new(source) })?;
        if let Some((_, payload)) = read {
            return Ok(Some(payload));
        }
        let spare = self.spare(at)?;
        if spare.is_some() {
            self.suspect(at);
        }
        Ok(spare)
    }
}

fn noted(drafts: &[Draft<'_>], locations: &[Location]) -> Changes {
    let mut changes = Changes::default();
    for (draft, &at) in drafts.iter().zip(locations) {
        replay::record(&mut changes, draft.kind, draft.id, at, draft.payload);
    }
    changes
}

/// The life of a folder, and whether one of the two files that tell it was damaged and is written anew.
fn read_life(disk: &dyn Disk, options: &Options) -> Result<(Life, bool), OpenError> {
    let folder = disk.folder();
    let failed = |doing| {
        let folder = folder.clone();
        move |source| OpenError::Disk { folder, doing, source }
    };
    match Life::read(disk) {
        Ok(Some((life, copies))) => {
            let rotted = copies == Copies::Rotted;
            if rotted {
                tracing::warn!(
                    folder,
                    "FORMAT or FORMAT.spare was damaged and is written anew from the other"
                );
            }
            // What is whole is enough to start on.
            if copies != Copies::Whole
                && let Err(error) = life.write(disk)
            {
                tracing::warn!(%error, folder, "FORMAT and FORMAT.spare could not be written anew");
            }
            Ok((life, rotted))
        }
        Ok(None) if disk.packs().map_err(failed("listing the packs"))?.is_empty() => {
            let life = Life::new(options.generation);
            life.write(disk).map_err(failed("writing FORMAT"))?;
            Ok((life, false))
        }
        Ok(None) | Err(FormatError::Damaged) => Err(OpenError::Format { folder }),
        Err(FormatError::Version(found)) => Err(OpenError::Version { folder, found }),
        Err(FormatError::Io(source)) => Err(OpenError::Disk { folder, doing: "reading FORMAT", source }),
    }
}
