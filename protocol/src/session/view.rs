//! What a session may ask of the site's own state: a small, synchronous, read-only list of questions.

use std::sync::Arc;

use crate::filter::Filter;
use crate::fork::ForkProof;
use crate::frame::Fate;
use crate::grant::Authority;
use crate::id::{BlobId, FeedId, LogId, OpId, SiteId};
use crate::log::{Batch, Mmr, Reach, SignedHead};
use crate::outline::Outline;
use crate::package::Coordinate;
use crate::time::Timestamp;

/// This site's store cannot be read. The session ends as this site's own fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this site's store cannot be read: {0}")]
pub struct Unreadable(pub String);

/// One log as it stands here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogState {
    pub log: LogId,
    pub reach: Reach,
}

/// One log that grew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growth {
    pub log: LogId,
    /// The position of the first op that is new.
    pub first: u64,
}

/// How much of a blob is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holding {
    Missing,
    /// The outline and some extents; these indices are missing, ascending.
    Partial {
        outline: Outline,
        missing: Vec<u32>,
    },
    Complete,
}

/// A blob that a served version needs and that is not whole here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    pub blob: BlobId,
    /// Bytes.
    pub size: u64,
    /// When the version was published.
    pub published: Timestamp,
}

/// The site's state, read as the session goes.
pub trait View {
    /// The store's generation: it rises with every op appended.
    fn generation(&self) -> u64;

    /// All logs of a feed.
    ///
    /// # Errors
    /// The store cannot be read.
    fn logs(&self, feed: FeedId) -> Result<Vec<LogState>, Unreadable>;

    /// One log, empty if there is none.
    ///
    /// # Errors
    /// The store cannot be read.
    fn log(&self, log: LogId) -> Result<Mmr, Unreadable>;

    /// The hash of the op that was left out at a position of a log and is still lacking; none if nothing lacks there.
    ///
    /// # Errors
    /// The store cannot be read.
    fn gap(&self, log: LogId, seq: u64) -> Result<Option<OpId>, Unreadable>;

    /// The first position of a log at which an op is lacking.
    ///
    /// # Errors
    /// The store cannot be read.
    fn first_gap(&self, log: LogId) -> Result<Option<u64>, Unreadable>;

    /// Who may write in a feed; none if the feed is not here.
    ///
    /// # Errors
    /// The store cannot be read.
    fn authority(&self, feed: FeedId) -> Result<Option<Authority>, Unreadable>;

    /// The feed's grants and revokes, each proved by its author's signed head, of about `bytes_max` bytes together.
    ///
    /// # Errors
    /// The store cannot be read.
    fn rights(&self, feed: FeedId, bytes_max: usize) -> Result<Vec<Batch>, Unreadable>;

    /// Why a publish that is here is not served, and the ops that decide; none if it is served, by itself or by one of the same bytes.
    ///
    /// # Errors
    /// The store cannot be read.
    fn fate(
        &self,
        feed: FeedId,
        at: &Coordinate,
        publish: OpId,
    ) -> Result<Option<(Fate, Vec<OpId>)>, Unreadable>;

    /// The logs of a feed that grew after a generation.
    ///
    /// # Errors
    /// The store cannot be read.
    fn grown_since(&self, feed: FeedId, generation: u64) -> Result<Vec<Growth>, Unreadable>;

    /// A run of a log that begins at `from` and ends at a signed head, of about `bytes_target` bytes; none at the end.
    ///
    /// # Errors
    /// The store cannot be read.
    fn run(&self, log: LogId, from: u64, bytes_target: usize) -> Result<Option<Batch>, Unreadable>;

    /// The root of a log where it had that many ops; none where that is not known.
    ///
    /// # Errors
    /// The store cannot be read.
    fn root_at(&self, log: LogId, len: u64) -> Result<Option<[u8; 32]>, Unreadable>;

    /// What a signed head of a log proves against the log as it is held; none where it is of the same history, or of a longer one.
    ///
    /// # Errors
    /// The store cannot be read.
    fn fork(&self, head: &SignedHead) -> Result<Option<ForkProof>, Unreadable>;

    /// The forks in a feed that are proved here, at most one a log.
    ///
    /// # Errors
    /// The store cannot be read.
    fn forks(&self, feed: FeedId) -> Result<Arc<[ForkProof]>, Unreadable>;

    /// The blobs that what stands in a feed and passes the filter needs and that are not whole here.
    ///
    /// # Errors
    /// The store cannot be read.
    fn missing(&self, feed: FeedId, filter: &Filter) -> Result<Vec<Missing>, Unreadable>;

    /// Those of the missing blobs that a run may ask for: which this site has room for that it may take.
    ///
    /// # Errors
    /// The store cannot be read.
    fn with_room(&self, _feed: FeedId, missing: Vec<Missing>) -> Result<Vec<Missing>, Unreadable> {
        Ok(missing)
    }

    /// How much of a blob is here.
    ///
    /// # Errors
    /// The store cannot be read.
    fn holding(&self, blob: BlobId) -> Result<Holding, Unreadable>;

    /// Whether a peer may have the blob: an op of the feed names it that may travel, of a version that passes the filter. Ops of `also` travel
    /// beside those of authors with rights.
    ///
    /// # Errors
    /// The store cannot be read.
    fn carries(
        &self,
        feed: FeedId,
        blob: BlobId,
        filter: &Filter,
        also: Option<SiteId>,
    ) -> Result<bool, Unreadable>;

    /// Reads a blob that is whole here and stays, and gives its size: others rely on it when they let theirs go. Nothing where it is not so, or its
    /// bytes are bad.
    ///
    /// # Errors
    /// The store cannot be read.
    fn keeps(&self, blob: BlobId) -> Result<Option<u64>, Unreadable>;

    /// A blob of at most one extent; none if it is not here or its bytes are bad.
    ///
    /// # Errors
    /// The store cannot be read.
    fn small(&self, blob: BlobId) -> Result<Option<Vec<u8>>, Unreadable>;

    /// A large blob's outline.
    ///
    /// # Errors
    /// The store cannot be read.
    fn outline(&self, blob: BlobId) -> Result<Option<Outline>, Unreadable>;

    /// One extent of a large blob; none if it is not here or its bytes are bad.
    ///
    /// # Errors
    /// The store cannot be read.
    fn extent(&self, blob: BlobId, index: u32) -> Result<Option<Vec<u8>>, Unreadable>;
}
