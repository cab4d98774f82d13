//! A site in memory that a pump can keep: logs, blobs, and what it remembers of its peer. No package is ever deleted here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use ed25519_dalek::SigningKey;
use protocol::filter::Filter;
use protocol::fork::ForkProof;
use protocol::frame::Fate;
use protocol::grant::{Authority, Permitted, RightsProof};
use protocol::id::{BlobId, FeedId, LogId, OpId, SiteId, StoreId};
use protocol::limits::EXTENT_BYTES;
use protocol::log::{Batch, Filling, Mmr, Reach, SignedHead, Verified};
use protocol::manifest::{File, Manifest};
use protocol::op::{Body, Genesis, Grant, Publish, Rights};
use protocol::outline::{Outline, OutlineBuilder, extent_count};
use protocol::package::{Coordinate, FeedKind};
use protocol::session::Memory;
use protocol::session::view::{Growth, Holding, LogState, Missing, Unreadable, View};
use protocol::time::{Hlc, Timestamp};
use protocol::transfer::Stored;
use tokio::sync::watch;

use super::super::{KeepError, Keeper};

const WALL: Timestamp = Timestamp(1_795_000_000_000);

pub(super) fn genesis() -> Genesis {
    Genesis {
        kind: FeedKind::Raw,
        name: "tools".to_owned(),
        origin: SiteId(SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes()),
        second_origin: None,
        reuse: false,
        overwrite: false,
        created: WALL,
        nonce: [0; 16],
    }
}

/// What the store does when bytes are to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disk {
    Sound,
    Full,
    Failing,
    Panicking,
}

#[derive(Debug)]
pub(super) struct State {
    runs: BTreeMap<LogId, Vec<(u64, Verified)>>,
    generation: u64,
    authority: Authority,
    sizes: BTreeMap<BlobId, u64>,
    pub(super) blobs: BTreeMap<BlobId, Vec<u8>>,
    outlines: BTreeMap<BlobId, Outline>,
    pub(super) extents: BTreeMap<(BlobId, u32), Vec<u8>>,
    pub(super) memory: Memory,
    pub(super) disk: Disk,
}

/// A handle on a site's state, which its tests and its pumps share.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) seed: u8,
    state: Arc<Mutex<State>>,
    /// Pieces kept so far.
    pub(super) kept: watch::Sender<u64>,
}

impl Site {
    pub(super) fn new(seed: u8) -> Self {
        let state = State {
            runs: BTreeMap::new(),
            generation: 0,
            authority: Authority::new(&genesis()),
            sizes: BTreeMap::new(),
            blobs: BTreeMap::new(),
            outlines: BTreeMap::new(),
            extents: BTreeMap::new(),
            memory: Memory::default(),
            disk: Disk::Sound,
        };
        Self { seed, state: Arc::new(Mutex::new(state)), kept: watch::Sender::new(0) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn key(&self) -> SigningKey {
        SigningKey::from_bytes(&[self.seed; 32])
    }

    pub(super) fn id(&self) -> SiteId {
        SiteId(self.key().verifying_key().to_bytes())
    }

    pub(super) fn store(&self) -> StoreId {
        StoreId([self.seed; 8])
    }

    /// Handles on this state, held by tests and pumps.
    pub(super) fn holders(&self) -> usize {
        Arc::strong_count(&self.state)
    }

    fn say(&self, body: Body) {
        let log = LogId { feed: genesis().feed_id(), author: self.id(), epoch: 1 };
        let held = self.log(log).unwrap();
        let clock = Hlc((WALL.0 << 16) + self.generation());
        let said = Verified::author(&self.key(), log, &held, vec![body], clock, WALL);
        self.state().append(Permitted::local(said, false).unwrap());
    }

    pub(super) fn grant(&self, to: &Self) {
        self.say(Body::Grant(Grant {
            grantee: to.id(),
            label: String::new(),
            rights: Rights::WRITE,
            prefix: String::new(),
            expires: None,
        }));
    }

    /// Publishes `size` bytes that no other name has.
    pub(super) fn publish(&self, name: &str, size: usize) -> BlobId {
        let mut bytes = vec![0; size];
        blake3::Hasher::new().update(name.as_bytes()).finalize_xof().fill(&mut bytes);
        let mut builder = OutlineBuilder::new();
        builder.push(&bytes).unwrap();
        let (blob, size, outline) = builder.finish();
        let mut state = self.state();
        if let Some(outline) = outline {
            for (index, extent) in (0..).zip(bytes.chunks(EXTENT_BYTES)) {
                state.extents.insert((blob, index), extent.to_vec());
            }
            state.outlines.insert(blob, outline);
        } else {
            state.blobs.insert(blob, bytes);
        }
        drop(state);
        let file = File { name: "file".to_owned(), blob, size, sha256: [0; 32] };
        let coordinate = Coordinate::new(FeedKind::Raw, name, "1").unwrap();
        let manifest = Manifest::of(vec![file]).unwrap();
        self.say(Body::Publish(Publish { coordinate, manifest, supersedes: vec![], provenance: None }));
        blob
    }

    /// Whether both have the same ops and the same bytes, and all of them.
    pub(super) fn equals(&self, other: &Self) -> bool {
        let (one, two) = (self.state(), other.state());
        let lens = |state: &State| -> Vec<(LogId, [u8; 32])> {
            state.runs.iter().map(|(log, runs)| (*log, runs.last().unwrap().1.after().root())).collect()
        };
        lens(&one) == lens(&two) && one.blobs == two.blobs && one.extents == two.extents && one.is_whole()
    }

    pub(super) fn published(&self) -> usize {
        self.state().sizes.len()
    }
}

impl State {
    fn append(&mut self, run: Permitted<Verified>) {
        let run = run.into_inner();
        self.generation += 1;
        for named in run.ops() {
            self.authority.apply(named);
            if let Body::Publish(publish) = &named.op.body {
                self.sizes.extend(publish.manifest.files.iter().map(|file| (file.blob, file.size)));
            }
        }
        self.runs.entry(run.log()).or_default().push((self.generation, run));
    }

    fn holding(&self, blob: BlobId) -> Holding {
        if self.blobs.contains_key(&blob) {
            return Holding::Complete;
        }
        let Some(outline) = self.outlines.get(&blob) else { return Holding::Missing };
        let missing: Vec<u32> =
            (0..extent_count(outline.size)).filter(|at| !self.extents.contains_key(&(blob, *at))).collect();
        if missing.is_empty() {
            return Holding::Complete;
        }
        Holding::Partial { outline: outline.clone(), missing }
    }

    fn is_whole(&self) -> bool {
        self.sizes.keys().all(|blob| self.holding(*blob) == Holding::Complete)
    }
}

impl View for Site {
    fn generation(&self) -> u64 {
        self.state().generation
    }

    fn logs(&self, _feed: FeedId) -> Result<Vec<LogState>, Unreadable> {
        let state = |(log, runs): (&LogId, &Vec<(u64, Verified)>)| {
            let after = runs.last().unwrap().1.after();
            LogState { log: *log, reach: Reach { len: after.len(), root: after.root(), gaps: 0 } }
        };
        Ok(self.state().runs.iter().map(state).collect())
    }

    fn log(&self, log: LogId) -> Result<Mmr, Unreadable> {
        let after = |runs: &Vec<(u64, Verified)>| runs.last().unwrap().1.after().clone();
        Ok(self.state().runs.get(&log).map_or_else(Mmr::default, after))
    }

    fn gap(&self, _log: LogId, _seq: u64) -> Result<Option<OpId>, Unreadable> {
        Ok(None)
    }

    fn first_gap(&self, _log: LogId) -> Result<Option<u64>, Unreadable> {
        Ok(None)
    }

    fn authority(&self, _feed: FeedId) -> Result<Option<Authority>, Unreadable> {
        Ok(Some(self.state().authority.clone()))
    }

    fn rights(&self, _feed: FeedId, _bytes_max: usize) -> Result<Vec<Batch>, Unreadable> {
        Ok(Vec::new())
    }

    fn fate(
        &self,
        _feed: FeedId,
        _at: &Coordinate,
        _publish: OpId,
    ) -> Result<Option<(Fate, Vec<OpId>)>, Unreadable> {
        Ok(None)
    }

    fn grown_since(&self, _feed: FeedId, generation: u64) -> Result<Vec<Growth>, Unreadable> {
        let first = |runs: &Vec<(u64, Verified)>| {
            runs.iter().find(|(at, _)| *at > generation).map(|(_, run)| run.first())
        };
        let state = self.state();
        let grown =
            state.runs.iter().filter_map(|(log, runs)| Some(Growth { log: *log, first: first(runs)? }));
        Ok(grown.collect())
    }

    fn run(&self, log: LogId, from: u64, _bytes_target: usize) -> Result<Option<Batch>, Unreadable> {
        let state = self.state();
        let runs = state.runs.get(&log).map_or(&[][..], Vec::as_slice);
        Ok(runs.iter().map(|(_, run)| run.to_batch()).find(|batch| batch.head.head.len > from))
    }

    fn root_at(&self, _log: LogId, _len: u64) -> Result<Option<[u8; 32]>, Unreadable> {
        Ok(None)
    }

    fn fork(&self, _head: &SignedHead) -> Result<Option<ForkProof>, Unreadable> {
        Ok(None)
    }

    fn forks(&self, _feed: FeedId) -> Result<Arc<[ForkProof]>, Unreadable> {
        Ok(Arc::default())
    }

    fn missing(&self, _feed: FeedId, _filter: &Filter) -> Result<Vec<Missing>, Unreadable> {
        let state = self.state();
        let lacks = |blob: &BlobId| state.holding(*blob) != Holding::Complete;
        Ok(state
            .sizes
            .iter()
            .filter(|(blob, _)| lacks(blob))
            .map(|(blob, size)| Missing { blob: *blob, size: *size, published: Timestamp(0) })
            .collect())
    }

    fn holding(&self, blob: BlobId) -> Result<Holding, Unreadable> {
        Ok(self.state().holding(blob))
    }

    fn carries(
        &self,
        _feed: FeedId,
        blob: BlobId,
        _filter: &Filter,
        _also: Option<SiteId>,
    ) -> Result<bool, Unreadable> {
        Ok(self.state().sizes.contains_key(&blob))
    }

    fn keeps(&self, blob: BlobId) -> Result<Option<u64>, Unreadable> {
        let whole = self.state().holding(blob) == Holding::Complete;
        Ok(self.state().sizes.get(&blob).copied().filter(|_| whole))
    }

    fn small(&self, blob: BlobId) -> Result<Option<Vec<u8>>, Unreadable> {
        Ok(self.state().blobs.get(&blob).cloned())
    }

    fn outline(&self, blob: BlobId) -> Result<Option<Outline>, Unreadable> {
        Ok(self.state().outlines.get(&blob).cloned())
    }

    fn extent(&self, blob: BlobId, index: u32) -> Result<Option<Vec<u8>>, Unreadable> {
        Ok(self.state().extents.get(&(blob, index)).cloned())
    }
}

impl Keeper for Site {
    fn append(&mut self, run: Permitted<Verified>) -> Result<(), KeepError> {
        self.state().append(run);
        Ok(())
    }

    fn keep(&mut self, stored: Stored) -> Result<(), KeepError> {
        let disk = self.state().disk;
        match disk {
            Disk::Sound => {}
            Disk::Full => return Err(KeepError::Full),
            Disk::Failing => return Err(KeepError::Failed),
            Disk::Panicking => std::panic::panic_any("a bug in the store, on purpose"),
        }
        let mut state = self.state();
        match stored {
            Stored::Small { blob, bytes } => drop(state.blobs.insert(blob, bytes)),
            Stored::Outline { outline } => drop(state.outlines.insert(outline.blob, outline)),
            Stored::Extent { blob, index, bytes } => drop(state.extents.insert((blob, index), bytes)),
            Stored::Complete { .. } => {}
        }
        drop(state);
        self.kept.send_modify(|kept| *kept += 1);
        Ok(())
    }

    fn settle(&mut self) -> Result<(), KeepError> {
        Ok(())
    }

    /// No link of these tests holds anything back.
    fn fill(&mut self, _filling: &Permitted<Filling>) -> Result<(), KeepError> {
        Err(KeepError::Failed)
    }

    fn learn(&mut self, proof: &RightsProof) -> Result<(), KeepError> {
        for named in proof.ops() {
            self.state().authority.apply(named);
        }
        Ok(())
    }

    fn keep_fork(&mut self, _proof: &ForkProof) -> Result<(), KeepError> {
        Ok(())
    }

    fn remember(&mut self, memory: Memory) {
        self.state().memory = memory;
    }

    fn set_backs(&self) -> u64 {
        0
    }
}
