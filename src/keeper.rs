//! This site's store as sessions read and write it, and as its own ops are appended: one author, one clock, one list of missing bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use protocol::feed::Standing;
use protocol::grant::{Authority, Permitted};
use protocol::id::{BlobId, FeedId, LogId, SiteId};
use protocol::log::{Batch, Mmr, NamedOp, Verified};
use protocol::op::Body;
use protocol::outline::Outline;
use protocol::package::Coordinate;
use protocol::session::Memory;
use protocol::session::view::{Growth, Holding, LogState, Unreadable, View};
use protocol::time::{Hlc, Timestamp};
use protocol::transfer::Stored;

use crate::identity::SiteKey;
use crate::store::{AppendError, BlobState, Look, PutError, ReadError, Store, WriteError};
use crate::transport::{KeepError, Keeper};

/// Coordinates looked at in one page when the list of missing bytes is made.
const PAGE_ITEMS: usize = 512;

/// The wall clock.
#[must_use]
pub fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Why this site's own ops were not appended.
#[derive(Debug, thiserror::Error)]
pub enum AuthorError {
    /// The feed takes no local changes here.
    #[error("this site is a strict replica of the feed and takes no local changes in it")]
    Strict,
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// What each feed still lacks, by coordinate, as far as it was looked at.
#[derive(Debug, Default)]
struct Lacking {
    by_feed: BTreeMap<FeedId, BTreeMap<Coordinate, Vec<(BlobId, u64)>>>,
}

/// The store with this site's key in front of it. Clones share everything.
#[derive(Debug, Clone)]
pub struct SiteStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    key: SiteKey,
    lacking: Mutex<Lacking>,
    /// The last stamp given or seen. Held while an op is authored, so that a log has one writer.
    clock: Mutex<Hlc>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SiteStore {
    /// This site's store.
    #[must_use]
    pub fn new(store: Store, key: SiteKey) -> Self {
        let inner = Inner { store, key, lacking: Mutex::default(), clock: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// This site.
    #[must_use]
    pub fn me(&self) -> SiteId {
        self.inner.key.site_id()
    }

    /// This site's key.
    #[must_use]
    pub fn key(&self) -> &SiteKey {
        &self.inner.key
    }

    /// The store itself, for reading and for records.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// How this site looks at a feed at this moment.
    #[must_use]
    pub fn look(&self) -> Look {
        Look { me: self.me(), now: wall_clock() }
    }

    /// Signs and appends ops of this site's own, one head for all. They are durable when this returns.
    ///
    /// # Errors
    /// The feed is a strict replica here, or the disk failed or is full.
    pub fn author(&self, feed: FeedId, bodies: Vec<Body>) -> Result<Vec<NamedOp>, AuthorError> {
        let store = self.store();
        let strict = store.feed(feed)?.is_some_and(|record| record.strict);
        let mut clock = locked(&self.inner.clock);
        let own = store.heads(feed)?.into_iter().map(|head| head.head.log).filter(|log| log.author == self.me());
        let epoch = own.map(|log| log.epoch).max().unwrap_or(1);
        let log = LogId { feed, author: self.me(), epoch };
        let state = store.log_state(log)?;
        let held = state.as_ref().map_or_else(Mmr::default, |state| state.after.clone());
        let now = wall_clock();
        let last = state.map_or(0, |state| state.head.head.time.0);
        let floor = (*clock).max(Hlc(last << 16));
        let said = Verified::author(self.inner.key.signing_key(), log, &held, bodies, floor, now);
        let ops = said.ops().to_vec();
        let permitted = Permitted::local(said, strict).map_err(|_reason| AuthorError::Strict)?;
        store.append(&[permitted])?;
        if let Some(last) = ops.last() {
            *clock = last.op.stamp;
        }
        drop(clock);
        self.looked_at(feed, &ops);
        Ok(ops)
    }

    /// Takes new ops into account: the clock, and what is lacking at their coordinates.
    fn looked_at(&self, feed: FeedId, ops: &[NamedOp]) {
        let mut lacking = locked(&self.inner.lacking);
        for named in ops {
            match named.op.body.coordinate() {
                // Rights decide what stands anywhere in the feed: everything is looked at again.
                None if matches!(named.op.body, Body::Grant(_) | Body::Revoke(_)) => {
                    lacking.by_feed.remove(&feed);
                    return;
                }
                None => {}
                Some(coordinate) => {
                    if let Some(known) = lacking.by_feed.get_mut(&feed) {
                        match self.lacks(feed, coordinate) {
                            Ok(blobs) if blobs.is_empty() => drop(known.remove(coordinate)),
                            Ok(blobs) => drop(known.insert(coordinate.clone(), blobs)),
                            Err(error) => {
                                tracing::error!(%feed, %coordinate, %error, "cannot tell which bytes are missing");
                                lacking.by_feed.remove(&feed);
                                return;
                            }
                        }
                    }
                }
            }
        }
    }

    /// The blobs that what stands at a coordinate needs and that are not whole here.
    fn lacks(&self, feed: FeedId, at: &Coordinate) -> Result<Vec<(BlobId, u64)>, ReadError> {
        let store = self.store();
        let Some(item) = store.item(feed, &at.name, &at.version, self.look())? else { return Ok(Vec::new()) };
        let (Standing::Served, Some(winner)) = (item.standing, item.winner) else { return Ok(Vec::new()) };
        let Some(NamedOp { op, .. }) = store.op(winner)? else { return Ok(Vec::new()) };
        let Body::Publish(publish) = op.body else { return Ok(Vec::new()) };
        let mut blobs = Vec::new();
        for file in &publish.manifest.files {
            if !matches!(store.blob_state(file.blob)?, BlobState::Complete { .. }) {
                blobs.push((file.blob, file.size));
            }
        }
        Ok(blobs)
    }

    /// The blobs a feed lacks, each once.
    ///
    /// # Errors
    /// The disk fails.
    pub fn missing_in(&self, feed: FeedId) -> Result<Vec<(BlobId, u64)>, ReadError> {
        let store = self.store();
        let mut lacking = locked(&self.inner.lacking);
        if !lacking.by_feed.contains_key(&feed) {
            let found = self.look_through(feed)?;
            lacking.by_feed.insert(feed, found);
        }
        let Some(known) = lacking.by_feed.get_mut(&feed) else { return Ok(Vec::new()) };
        let mut missing = BTreeSet::new();
        let mut whole = Vec::new();
        for (coordinate, blobs) in known.iter() {
            let mut any = false;
            for (blob, size) in blobs {
                if !matches!(store.blob_state(*blob)?, BlobState::Complete { .. }) {
                    missing.insert((*blob, *size));
                    any = true;
                }
            }
            if !any {
                whole.push(coordinate.clone());
            }
        }
        for coordinate in whole {
            known.remove(&coordinate);
        }
        Ok(missing.into_iter().collect())
    }

    fn look_through(&self, feed: FeedId) -> Result<BTreeMap<Coordinate, Vec<(BlobId, u64)>>, ReadError> {
        let mut found = BTreeMap::new();
        let mut after: Option<(String, String)> = None;
        loop {
            let from = after.as_ref().map(|(name, version)| (name.as_str(), version.as_str()));
            let page = self.store().items(feed, "", from, PAGE_ITEMS, self.look())?;
            let Some((last, _)) = page.last() else { return Ok(found) };
            after = Some((last.name.clone(), last.version.clone()));
            for (coordinate, _) in page {
                let blobs = self.lacks(feed, &coordinate)?;
                if !blobs.is_empty() {
                    found.insert(coordinate, blobs);
                }
            }
        }
    }

    /// Bytes were found damaged or came in by another way: what is lacking is found out anew.
    pub fn forget_lacking(&self) {
        locked(&self.inner.lacking).by_feed.clear();
    }

    /// The store as one link's session sees it.
    #[must_use]
    pub fn keeper(&self, memory_key: Vec<u8>) -> LinkKeeper {
        LinkKeeper { site: self.clone(), memory_key }
    }
}

/// The store behind one link's session.
#[derive(Debug)]
pub struct LinkKeeper {
    site: SiteStore,
    memory_key: Vec<u8>,
}

fn unreadable(error: ReadError) -> Unreadable {
    tracing::error!(%error, "this site's store cannot be read");
    Unreadable(error.to_string())
}

impl View for LinkKeeper {
    fn generation(&self) -> u64 {
        self.site.store().newest_generation().unwrap_or(0)
    }

    fn logs(&self, feed: FeedId) -> Result<Vec<LogState>, Unreadable> {
        let heads = self.site.store().heads(feed).map_err(unreadable)?;
        let state = |signed: protocol::log::SignedHead| {
            LogState { log: signed.head.log, len: signed.head.len, root: signed.head.root }
        };
        Ok(heads.into_iter().map(state).collect())
    }

    fn log(&self, log: LogId) -> Result<Mmr, Unreadable> {
        let state = self.site.store().log_state(log).map_err(unreadable)?;
        Ok(state.map_or_else(Mmr::default, |state| state.after))
    }

    fn authority(&self, feed: FeedId) -> Result<Option<Authority>, Unreadable> {
        let authority = self.site.store().authority(feed).map_err(unreadable)?;
        Ok(authority.map(|authority| authority.as_ref().clone()))
    }

    fn grown_since(&self, feed: FeedId, generation: u64) -> Result<Vec<Growth>, Unreadable> {
        let changed = self.site.store().changed_since(generation).map_err(unreadable)?;
        let here = |(log, first): (LogId, u64)| (log.feed == feed).then_some(Growth { log, first });
        Ok(changed.logs.into_iter().filter_map(here).collect())
    }

    fn run(&self, log: LogId, from: u64, bytes_target: usize) -> Result<Option<Batch>, Unreadable> {
        let bytes = u64::try_from(bytes_target).unwrap_or(u64::MAX);
        let batches = self.site.store().batches(log, from, bytes).map_err(unreadable)?;
        Ok(joined(batches))
    }

    fn missing(&self, feed: FeedId) -> Result<Vec<(BlobId, u64)>, Unreadable> {
        self.site.missing_in(feed).map_err(unreadable)
    }

    fn holding(&self, blob: BlobId) -> Result<Holding, Unreadable> {
        let store = self.site.store();
        match store.blob_state(blob).map_err(unreadable)? {
            BlobState::Missing => Ok(Holding::Missing),
            BlobState::Complete { .. } => Ok(Holding::Complete),
            BlobState::Partial { missing, .. } => match store.outline(blob).map_err(unreadable)? {
                None => Ok(Holding::Missing),
                Some(outline) => {
                    let missing = missing.into_iter().flatten().collect();
                    Ok(Holding::Partial { outline: outline.as_ref().clone(), missing })
                }
            },
        }
    }

    fn names(&self, feed: FeedId, blob: BlobId) -> Result<bool, Unreadable> {
        let uses = self.site.store().uses_in(feed, blob).map_err(unreadable)?;
        Ok(uses)
    }

    fn small(&self, blob: BlobId) -> Result<Option<Vec<u8>>, Unreadable> {
        let store = self.site.store();
        match store.blob_state(blob).map_err(unreadable)? {
            BlobState::Complete { size } => {
                let length = usize::try_from(size).unwrap_or(usize::MAX);
                served(store.read_at(blob, 0, length.min(protocol::limits::EXTENT_BYTES)))
            }
            BlobState::Missing | BlobState::Partial { .. } => Ok(None),
        }
    }

    fn outline(&self, blob: BlobId) -> Result<Option<Outline>, Unreadable> {
        let outline = self.site.store().outline(blob).map_err(unreadable)?;
        Ok(outline.map(|outline| outline.as_ref().clone()))
    }

    fn extent(&self, blob: BlobId, index: u32) -> Result<Option<Vec<u8>>, Unreadable> {
        served(self.site.store().read_extent(blob, index))
    }
}

/// Several batches of one log as one run that ends at the last one's head: one signature for all.
fn joined(batches: Vec<Batch>) -> Option<Batch> {
    batches.into_iter().reduce(|mut run, next| {
        run.entries.extend(next.entries);
        run.head = next.head;
        run
    })
}

/// Bytes for a peer: damaged or missing ones are not had, any other failure is this site's own.
fn served(read: Result<Vec<u8>, ReadError>) -> Result<Option<Vec<u8>>, Unreadable> {
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_about_bytes() => {
            tracing::warn!(%error, "a peer asked for bytes that are not whole here");
            Ok(None)
        }
        Err(error) => Err(unreadable(error)),
    }
}

fn write_failed(error: WriteError) -> KeepError {
    tracing::error!(%error, "cannot store what a peer sent");
    if matches!(error, WriteError::DiskFull { .. }) { KeepError::Full } else { KeepError::Failed }
}

impl Keeper for LinkKeeper {
    fn append(&mut self, run: Permitted<Verified>) -> Result<(), KeepError> {
        let ops = run.inner().ops().to_vec();
        let feed = run.inner().log().feed;
        match self.site.store().append(&[run]) {
            Ok(_generation) => {}
            // Another session brought the same ops first: the next input is checked against what is held then.
            Err(AppendError::Moved { .. }) => return Ok(()),
            Err(AppendError::Write(error)) => return Err(write_failed(error)),
            Err(AppendError::Read(error)) => {
                tracing::error!(%error, "cannot append what a peer sent");
                return Err(KeepError::Failed);
            }
        }
        let now = wall_clock();
        let mut clock = locked(&self.site.inner.clock);
        *clock = ops.iter().fold(*clock, |clock, named| clock.seen(named.op.stamp, now));
        drop(clock);
        self.site.looked_at(feed, &ops);
        Ok(())
    }

    fn keep(&mut self, stored: Stored) -> Result<(), KeepError> {
        let store = self.site.store();
        let put = match stored {
            Stored::Small { blob, bytes } => store.put_small(blob, &bytes),
            Stored::Outline { outline } => store.put_outline(&outline),
            Stored::Extent { blob, index, bytes } => store.put_extent(blob, index, &bytes),
            Stored::Complete { .. } => Ok(()),
        };
        put.map_err(|error| match error {
            PutError::Write(error) => write_failed(error),
            PutError::Mismatch { .. } | PutError::NoOutline { .. } | PutError::Read(_) => {
                tracing::error!(%error, "cannot store what a peer sent");
                KeepError::Failed
            }
        })
    }

    fn settle(&mut self) -> Result<(), KeepError> {
        self.site.store().sync().map_err(write_failed)
    }

    fn remember(&mut self, memory: Memory) {
        if let Err(error) = self.site.store().put_memory(&self.memory_key, &memory) {
            tracing::warn!(%error, "cannot remember what the peer has: the next run compares from the start");
        }
    }
}
