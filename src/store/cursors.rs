//! How far another site's store was followed, and how far that site followed this one.

use protocol::id::{FeedId, SiteId, StoreId};
use serde::{Deserialize, Serialize};

use super::keys;
use super::{ReadError, Shelf, Store, WriteError};

/// A generation in one life of one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Whose generation it is. In another life of that store it means nothing.
    pub store: StoreId,
    pub generation: u64,
}

/// Which way the followed ops flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// What this site has taken from the peer's store.
    In,
    /// What the peer said it has taken from this store.
    Out,
}

fn key(peer: SiteId, feed: FeedId, way: Way) -> Vec<u8> {
    let way = match way {
        Way::In => 1,
        Way::Out => 2,
    };
    keys::joined(&[peer.as_bytes(), feed.as_bytes(), &[way]])
}

impl Store {
    /// Moves a cursor. Durable when this returns, after everything written before it. Moving it to where it is writes nothing.
    ///
    /// # Errors
    /// When the disk is full or fails; the old cursor then holds.
    pub fn put_cursor(
        &self,
        peer: SiteId,
        feed: FeedId,
        way: Way,
        cursor: Cursor,
    ) -> Result<(), WriteError> {
        let (key, value) = (key(peer, feed, way), keys::encode(&cursor));
        if self.record(Shelf::Cursors, &key).is_ok_and(|now| now.as_ref() == Some(&value)) {
            return Ok(());
        }
        self.put_record(Shelf::Cursors, &key, &value)
    }

    /// Where a cursor stands.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn cursor(&self, peer: SiteId, feed: FeedId, way: Way) -> Result<Option<Cursor>, ReadError> {
        let value = self.record(Shelf::Cursors, &key(peer, feed, way))?;
        value.map(|value| self.understood(&value)).transpose()
    }

    /// Forgets a cursor, so that the next run compares everything.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn remove_cursor(&self, peer: SiteId, feed: FeedId, way: Way) -> Result<(), WriteError> {
        self.remove_record(Shelf::Cursors, &key(peer, feed, way))
    }
}
