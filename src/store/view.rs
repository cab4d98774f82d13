//! The store as a session sees it.

use std::sync::Arc;

use protocol::filter::Filter;
use protocol::fork::ForkProof;
use protocol::frame::Fate;
use protocol::grant::Authority;
use protocol::id::{BlobId, FeedId, LogId, OpId, SiteId};
use protocol::log::{Batch, Mmr, Reach, SignedHead};
use protocol::outline::Outline;
use protocol::package::Coordinate;
use protocol::session::view::{Growth, Holding, LogState, Missing, Unreadable, View};
use protocol::transfer;

use super::engine::{Broken, Change, Index};
use super::keys::{self, BlobEntry, Tree};
use super::walk::each;
use super::{BlobState, Look, PutError, ReadError, Store};

/// Notes in an index that every feed that names a blob needs it.
pub(super) fn want_again(index: &dyn Index, blob: BlobId) -> Result<(), Broken> {
    let mut wants = Vec::new();
    each(index, Tree::Use, blob.as_bytes(), |key, _| {
        let key = keys::want(keys::feed_of_use(key)?, blob);
        wants.push(Change { tree: Tree::Want, key, value: Some(Vec::new()) });
        Ok(())
    })?;
    index.apply(&wants)
}

/// A store with the site that looks and the time: what a session reads.
#[derive(Debug, Clone)]
pub struct SiteView {
    store: Store,
    look: Look,
}

impl Store {
    /// This store for a session.
    #[must_use]
    pub fn view(&self, look: Look) -> SiteView {
        SiteView { store: self.clone(), look }
    }

    /// Stores what a session hands out. Seen at once, durable after [`Store::sync`].
    ///
    /// # Errors
    /// See [`PutError`].
    pub fn keep(&self, stored: &transfer::Stored) -> Result<(), PutError> {
        match stored {
            transfer::Stored::Small { blob, bytes } => self.put_small(*blob, bytes),
            transfer::Stored::Outline { outline } => self.put_outline(outline),
            transfer::Stored::Extent { blob, index, bytes } => self.put_extent(*blob, *index, bytes),
            transfer::Stored::Complete { blob } => Ok(self.blob_state(*blob).map(drop)?),
        }
    }

    /// Drops a want, unless the blob was found damaged meanwhile.
    pub(super) fn unwant(&self, feed: FeedId, blob: BlobId) -> Result<(), ReadError> {
        self.change(Tree::Want, keys::want(feed, blob), None)?;
        if !matches!(self.blob_state(blob)?, BlobState::Complete { .. }) {
            self.want_again(blob)?;
        }
        Ok(())
    }

    /// Notes that a blob which was here is needed again by every feed that names it.
    pub(super) fn want_again(&self, blob: BlobId) -> Result<(), ReadError> {
        Ok(self.with_index(|index| want_again(index, blob))?)
    }
}

impl SiteView {
    /// Looks into damage that a session came upon, so that the next one need not fail of it.
    fn look_into(&self, error: &ReadError) {
        if matches!(error, ReadError::CorruptRecord { .. })
            && let Err(error) = self.store.look_into_damage()
        {
            tracing::warn!(%error, "damage could not be noted");
        }
    }

    /// What a session is told of a failure: its whole story in one line.
    fn told(&self, error: &ReadError) -> Unreadable {
        self.look_into(error);
        let mut text = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        // The session ends with no more than the word that it was this site's fault.
        tracing::error!(reason = text, "a session ends: this site's store cannot be read");
        Unreadable(text)
    }

    /// Bytes that are not here, or are here and bad, are for the session simply not here.
    fn absent<T>(&self, read: Result<T, ReadError>) -> Result<Option<T>, Unreadable> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(ReadError::Missing { .. } | ReadError::Corrupt { .. }) => Ok(None),
            Err(
                error @ (ReadError::CorruptRecord { .. }
                | ReadError::Unreadable { .. }
                | ReadError::Disk { .. }
                | ReadError::Incomplete(_)
                | ReadError::Index(_)),
            ) => Err(self.told(&error)),
        }
    }
}

impl View for SiteView {
    /// An index that cannot be read is told by the next question; zero only makes the peer compare.
    fn generation(&self) -> u64 {
        self.store.newest_generation().unwrap_or(0)
    }

    fn logs(&self, feed: FeedId) -> Result<Vec<LogState>, Unreadable> {
        let heads = self.store.heads(feed).map_err(|error| self.told(&error))?;
        let state = |signed: SignedHead| {
            let head = signed.head;
            let (gaps, _) = self.store.gaps(head.log)?;
            Ok(LogState { log: head.log, reach: Reach { len: head.len, root: head.root, gaps } })
        };
        heads.into_iter().map(state).collect::<Result<_, ReadError>>().map_err(|error| self.told(&error))
    }

    fn log(&self, log: LogId) -> Result<Mmr, Unreadable> {
        let state = self.store.log_state(log).map_err(|error| self.told(&error))?;
        Ok(state.map(|state| state.after).unwrap_or_default())
    }

    fn gap(&self, log: LogId, seq: u64) -> Result<Option<OpId>, Unreadable> {
        self.store.gap(log, seq).map_err(|error| self.told(&error))
    }

    fn first_gap(&self, log: LogId) -> Result<Option<u64>, Unreadable> {
        Ok(self.store.gaps(log).map_err(|error| self.told(&error))?.1)
    }

    fn authority(&self, feed: FeedId) -> Result<Option<Authority>, Unreadable> {
        let authority = self.store.authority(feed).map_err(|error| self.told(&error))?;
        let Some(authority) = authority else { return Ok(None) };
        let known = self.store.known_keys().map_err(|error| self.told(&error))?.into_iter();
        Ok(Some(
            known.fold(Authority::clone(&authority), |authority, (site, keys)| authority.knowing(site, keys)),
        ))
    }

    fn rights(&self, feed: FeedId, bytes_max: usize) -> Result<Vec<Batch>, Unreadable> {
        self.store.rights_proofs(feed, bytes_max).map_err(|error| self.told(&error))
    }

    fn fate(
        &self,
        feed: FeedId,
        at: &Coordinate,
        publish: OpId,
    ) -> Result<Option<(Fate, Vec<OpId>)>, Unreadable> {
        self.store.fate(feed, at, publish, self.look).map_err(|error| self.told(&error))
    }

    fn grown_since(&self, feed: FeedId, generation: u64) -> Result<Vec<Growth>, Unreadable> {
        let changed = self.store.changed_since(generation).map_err(|error| self.told(&error))?;
        let of_feed = changed.logs.into_iter().filter(|(log, _)| log.feed == feed);
        Ok(of_feed.map(|(log, first)| Growth { log, first }).collect())
    }

    fn run(&self, log: LogId, from: u64, bytes_target: usize) -> Result<Option<Batch>, Unreadable> {
        let bytes_max = u64::try_from(bytes_target).unwrap_or(u64::MAX);
        let batches = match self.store.batches(log, from, bytes_max) {
            Ok(batches) => batches,
            // A damaged log is not served further, and is pulled again from whoever has it: the next session tells how long it is.
            Err(error) => {
                let told = self.told(&error);
                drop(self.store.set_back(log));
                return Err(told);
            }
        };
        // The last head signs everything before it, so the batches are one run, unless what was left out spans the end of one.
        let mut batches = batches.into_iter();
        let Some(mut run) = batches.next() else { return Ok(None) };
        for next in batches {
            if next.first != run.head.head.len {
                break;
            }
            run.entries.extend(next.entries);
            run.head = next.head;
        }
        Ok(Some(run))
    }

    fn root_at(&self, log: LogId, len: u64) -> Result<Option<[u8; 32]>, Unreadable> {
        self.store.root_at(log, len).map_err(|error| self.told(&error))
    }

    fn fork(&self, head: &SignedHead) -> Result<Option<ForkProof>, Unreadable> {
        self.store.fork_by(head).map_err(|error| self.told(&error))
    }

    fn forks(&self, feed: FeedId) -> Result<Arc<[ForkProof]>, Unreadable> {
        self.store.forks(feed).map_err(|error| self.told(&error))
    }

    fn missing(&self, feed: FeedId, filter: &Filter) -> Result<Vec<Missing>, Unreadable> {
        self.store.missing_blobs(feed, self.look, filter).map_err(|error| self.told(&error))
    }

    fn holding(&self, blob: BlobId) -> Result<Holding, Unreadable> {
        let state = self.store.blob_state(blob).map_err(|error| self.told(&error))?;
        let missing = match state {
            BlobState::Missing => return Ok(Holding::Missing),
            BlobState::Complete { .. } => return Ok(Holding::Complete),
            BlobState::Partial { missing, .. } => missing.into_iter().flatten().collect(),
        };
        let outline = self.absent(self.store.outline(blob))?.flatten();
        Ok(outline.map_or(Holding::Missing, |outline| Holding::Partial {
            outline: Outline::clone(&outline),
            missing,
        }))
    }

    fn carries(
        &self,
        feed: FeedId,
        blob: BlobId,
        filter: &Filter,
        also: Option<SiteId>,
    ) -> Result<bool, Unreadable> {
        self.store.carries(feed, blob, self.look, filter, also).map_err(|error| self.told(&error))
    }

    fn keeps(&self, blob: BlobId) -> Result<Option<u64>, Unreadable> {
        self.store.keeps(blob, self.look).map_err(|error| self.told(&error))
    }

    fn small(&self, blob: BlobId) -> Result<Option<Vec<u8>>, Unreadable> {
        match self.store.blob_entry(blob).map_err(|error| self.told(&error))? {
            Some(BlobEntry::Small { .. }) => self.absent(self.store.read_extent(blob, 0)),
            Some(BlobEntry::Large { .. }) | None => Ok(None),
        }
    }

    fn outline(&self, blob: BlobId) -> Result<Option<Outline>, Unreadable> {
        let outline = self.absent(self.store.outline(blob))?.flatten();
        Ok(outline.map(|outline| Outline::clone(&outline)))
    }

    fn extent(&self, blob: BlobId, index: u32) -> Result<Option<Vec<u8>>, Unreadable> {
        match self.store.blob_entry(blob).map_err(|error| self.told(&error))? {
            Some(BlobEntry::Large { .. }) => self.absent(self.store.read_extent(blob, index)),
            Some(BlobEntry::Small { .. }) | None => Ok(None),
        }
    }
}
