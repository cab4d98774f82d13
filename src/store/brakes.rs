//! What each link took away of each feed lately, so that a trickle of deletions is noticed over sessions and restarts.

use protocol::brake::Recent;
use protocol::id::FeedId;
use serde::{Deserialize, Serialize};

use super::keys;
use super::{ReadError, Shelf, Store, SweepError, WriteError};

/// What the brake remembers of one link and feed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Braked {
    pub recent: Recent,
    /// The first of the versions that were taken away, as NAME@VERSION.
    pub names: Vec<String>,
    /// The hold that is open, and what stood before the first deletion that it covers.
    pub hold: Option<([u8; 8], u64)>,
}

fn key(feed: FeedId, link: &str) -> Vec<u8> {
    keys::joined(&[feed.as_bytes(), link.as_bytes()])
}

impl Store {
    /// Keeps what a link took away of a feed. Durable when this returns.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn put_braked(&self, feed: FeedId, link: &str, braked: &Braked) -> Result<(), WriteError> {
        self.put_record(Shelf::Brakes, &key(feed, link), &keys::encode(braked))
    }

    /// What a link took away of a feed lately.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn braked(&self, feed: FeedId, link: &str) -> Result<Braked, ReadError> {
        let value = self.record(Shelf::Brakes, &key(feed, link))?;
        value.map_or_else(|| Ok(Braked::default()), |value| self.understood(&value))
    }

    /// What every other link took away of a feed lately.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn braked_elsewhere(&self, feed: FeedId, link: &str) -> Result<Vec<Braked>, ReadError> {
        let all = self.records(Shelf::Brakes, feed.as_bytes(), &[], usize::MAX)?.into_iter();
        let others = all.filter(|(of, _)| *of != key(feed, link));
        others.map(|(_, value)| self.understood(&value)).collect()
    }

    /// Begins to count anew for every link of a feed. Durable when this returns.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn release_brakes(&self, feed: FeedId) -> Result<(), SweepError> {
        for (key, _) in self.records(Shelf::Brakes, feed.as_bytes(), &[], usize::MAX)? {
            self.remove_record(Shelf::Brakes, &key)?;
        }
        Ok(())
    }
}
