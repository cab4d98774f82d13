//! What a feed's ops come to as a whole, kept in memory from one look to the next, until something takes ops away again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use protocol::id::FeedId;

use super::locked;

/// Of some feeds what was read last.
#[derive(Debug)]
pub(super) struct Derived<T> {
    kept: Mutex<Kept<T>>,
    /// Feeds of which it is kept. What another one's ops come to is read again when it is asked for.
    feeds_max: usize,
}

#[derive(Debug)]
struct Kept<T> {
    by_feed: BTreeMap<FeedId, Arc<T>>,
    /// Rises with each change, so that what was read before is not kept after.
    turn: u64,
    /// How often the index had been built anew: after that it may know less.
    rebuilds: u64,
}

impl<T> Kept<T> {
    fn clear(&mut self) {
        self.by_feed.clear();
        self.turn = self.turn.saturating_add(1);
    }
}

impl<T> Derived<Arc<[T]>> {
    /// The list that is kept of a feed, or that `read` gives.
    pub(super) fn list<E>(
        &self,
        feed: FeedId,
        rebuilds: u64,
        read: impl FnOnce() -> Result<Vec<T>, E>,
    ) -> Result<Arc<[T]>, E> {
        let list = self.get(feed, rebuilds, || read().map(|read| Some(read.into())))?;
        Ok(list.map(Arc::unwrap_or_clone).unwrap_or_default())
    }
}

impl<T: Clone> Derived<T> {
    pub(super) const fn new(feeds_max: usize) -> Self {
        let kept = Kept { by_feed: BTreeMap::new(), turn: 0, rebuilds: 0 };
        Self { kept: Mutex::new(kept), feeds_max }
    }

    /// What is kept of a feed, or what `read` gives. `rebuilds` is how often the index was built anew by now.
    pub(super) fn get<E>(
        &self,
        feed: FeedId,
        rebuilds: u64,
        read: impl FnOnce() -> Result<Option<T>, E>,
    ) -> Result<Option<Arc<T>>, E> {
        let turn = {
            let mut kept = locked(&self.kept);
            if kept.rebuilds != rebuilds {
                kept.clear();
                kept.rebuilds = rebuilds;
            }
            if let Some(found) = kept.by_feed.get(&feed) {
                return Ok(Some(Arc::clone(found)));
            }
            kept.turn
        };
        let Some(found) = read()?.map(Arc::new) else { return Ok(None) };
        let mut kept = locked(&self.kept);
        if kept.turn == turn {
            if kept.by_feed.len() >= self.feeds_max {
                kept.by_feed.pop_first();
            }
            kept.by_feed.insert(feed, Arc::clone(&found));
        }
        Ok(Some(found))
    }

    /// Forgets what is kept of a feed.
    pub(super) fn forget(&self, feed: FeedId) {
        let mut kept = locked(&self.kept);
        kept.by_feed.remove(&feed);
        kept.turn = kept.turn.saturating_add(1);
    }

    /// Forgets what is kept of every feed.
    pub(super) fn forget_all(&self) {
        locked(&self.kept).clear();
    }

    /// Changes what is kept of a feed, if it is.
    pub(super) fn change(&self, feed: FeedId, change: impl FnOnce(&mut T)) {
        let mut kept = locked(&self.kept);
        kept.turn = kept.turn.saturating_add(1);
        if let Some(found) = kept.by_feed.get_mut(&feed) {
            change(Arc::make_mut(found));
        }
    }
}
