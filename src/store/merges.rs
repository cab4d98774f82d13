//! Feeds whose contents are brought into another one, so that one name leads to both.

use protocol::id::FeedId;
use protocol::op::Genesis;
use protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::keys;
use super::{ReadError, Shelf, Store, WriteError};

/// One feed that was merged into another, or is about to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merge {
    pub old: FeedId,
    /// The feed it is merged into, which may not be known here yet.
    pub into: Genesis,
    /// The name that the old feed had and the other one gets.
    pub name: String,
    /// The link that brings the other feed: its first run comes before the contents. None: it is here already.
    pub link: Option<String>,
    /// When it was asked for, by this site's clock.
    pub since: Timestamp,
    /// Ops of the old feed when its contents were last brought in whole; none: they never were.
    pub brought_ops: Option<u64>,
}

impl Store {
    /// Keeps a merge, or how far it is. Durable when this returns.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn put_merge(&self, merge: &Merge) -> Result<(), WriteError> {
        self.put_record(Shelf::Merges, merge.old.as_bytes(), &keys::encode(merge))
    }

    /// All merges of this site.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn merges(&self) -> Result<Vec<Merge>, ReadError> {
        let merges = self.records(Shelf::Merges, &[], &[], usize::MAX)?;
        merges.iter().map(|(_, value)| self.understood(value)).collect()
    }

    /// The feed that a feed was merged into, over as many merges as there were; none where it was not.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn merged_into(&self, feed: FeedId) -> Result<Option<FeedId>, ReadError> {
        let merges = self.merges()?;
        let mut at = feed;
        // Each merge is followed once, so that a circle of them ends.
        for _ in 0..merges.len() {
            let Some(merge) = merges.iter().find(|merge| merge.old == at) else { break };
            at = merge.into.feed_id();
        }
        Ok((at != feed).then_some(at))
    }
}
