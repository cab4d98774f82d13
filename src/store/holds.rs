//! Holds: stretches of logs whose deletes wait at this site for a person, because a link would have taken too much away within an hour.

use protocol::feed::Held;
use protocol::id::{FeedId, LogId};
use protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::keys;
use super::{ReadError, Shelf, Store, WriteError};

/// Names of versions that a hold keeps for people.
pub const HOLD_NAMES_MAX: usize = 20;

/// Deletes of one link that wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub feed: FeedId,
    /// The link they came over.
    pub link: String,
    pub since: Timestamp,
    /// Log, first position, position after the last.
    pub stretches: Vec<(LogId, u64, u64)>,
    /// Versions that would vanish.
    pub deletes: u64,
    /// Versions that stood before the first of them.
    pub standing: u64,
    /// The first of them, as NAME@VERSION.
    pub names: Vec<String>,
}

impl Store {
    /// Keeps a hold, or replaces what is kept of it. Durable when this returns.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn put_hold(&self, id: [u8; 8], hold: &Hold) -> Result<(), WriteError> {
        self.put_record(Shelf::Holds, &keys::joined(&[hold.feed.as_bytes(), &id]), &keys::encode(hold))
    }

    /// Forgets a hold, so that its deletes take effect. Durable when this returns.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn remove_hold(&self, feed: FeedId, id: [u8; 8]) -> Result<(), WriteError> {
        self.remove_record(Shelf::Holds, &keys::joined(&[feed.as_bytes(), &id]))
    }

    /// The holds of a feed, or of all.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn open_holds(&self, feed: Option<FeedId>) -> Result<Vec<([u8; 8], Hold)>, ReadError> {
        let prefix = feed.map_or_else(Vec::new, |feed| feed.as_bytes().to_vec());
        let mut holds = Vec::new();
        for (key, value) in self.records(Shelf::Holds, &prefix, &[], usize::MAX)? {
            if let Some(id) = key.last_chunk::<8>() {
                holds.push((*id, self.understood::<Hold>(&value)?));
            }
        }
        Ok(holds)
    }

    /// The deletes that wait in a feed.
    pub(super) fn held(&self, feed: FeedId) -> Result<Held, ReadError> {
        let mut held = Held::default();
        for (_, hold) in self.open_holds(Some(feed))? {
            for (log, from, to) in hold.stretches {
                held.add(log, from, to);
            }
        }
        Ok(held)
    }
}
