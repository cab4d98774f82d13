//! What sites told of downloads in a feed, kept in memory from one look to the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::id::FeedId;
use protocol::log::NamedOp;
use protocol::op::Body;
use protocol::statistics::Figures;

use super::ops::Topic;
use super::{ReadError, Store, locked};

/// Feeds whose figures are kept in memory.
const FIGURES_MAX: usize = 64;

/// The figures of the feeds that were looked at.
#[derive(Debug, Default)]
pub(super) struct Counted {
    by_feed: BTreeMap<FeedId, Arc<Figures>>,
    /// Rises with each change, so that what was read before is not kept after.
    turn: u64,
}

impl Store {
    /// What all sites told of downloads in a feed.
    ///
    /// # Errors
    /// When the disk fails, or the bytes of an op are damaged.
    pub fn figures(&self, feed: FeedId) -> Result<Arc<Figures>, ReadError> {
        let turn = {
            let counted = locked(&self.inner.counted);
            if let Some(found) = counted.by_feed.get(&feed) {
                return Ok(Arc::clone(found));
            }
            counted.turn
        };
        let mut figures = Figures::default();
        for named in self.ops_about(feed, Topic::Statistics)? {
            figures.apply(&named);
        }
        let found = Arc::new(figures);
        let mut counted = locked(&self.inner.counted);
        if counted.turn == turn {
            if counted.by_feed.len() >= FIGURES_MAX {
                counted.by_feed.pop_first();
            }
            counted.by_feed.insert(feed, Arc::clone(&found));
        }
        Ok(found)
    }

    /// Forgets the figures of a feed.
    pub(super) fn forget_figures(&self, feed: FeedId) {
        locked(&self.inner.counted).by_feed.remove(&feed);
    }

    /// Takes ops that were just indexed into their feed's figures, if those are in memory.
    pub(super) fn count(&self, feed: FeedId, ops: &[NamedOp]) {
        let told = |named: &&NamedOp| matches!(named.op.body, Body::Statistics(_));
        let mut told = ops.iter().filter(told).peekable();
        if told.peek().is_none() {
            return;
        }
        let mut counted = locked(&self.inner.counted);
        counted.turn = counted.turn.saturating_add(1);
        if let Some(figures) = counted.by_feed.get_mut(&feed) {
            let figures = Arc::make_mut(figures);
            for named in told {
                figures.apply(named);
            }
        }
    }
}
