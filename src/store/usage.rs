//! What sites told of downloads in a feed, kept in memory from one look to the next.

use std::sync::Arc;

use protocol::id::FeedId;
use protocol::log::NamedOp;
use protocol::op::Body;
use protocol::statistics::Figures;

use super::ops::Topic;
use super::{ReadError, Store};

/// Feeds whose figures are kept in memory.
pub(super) const FIGURES_MAX: usize = 64;

impl Store {
    /// What all sites told of downloads in a feed.
    ///
    /// # Errors
    /// When the disk fails, or the bytes of an op are damaged.
    pub fn figures(&self, feed: FeedId) -> Result<Arc<Figures>, ReadError> {
        let found = self.inner.counted.get(feed, self.inner.index.rebuilds(), || {
            let mut figures = Figures::default();
            for named in self.ops_about(feed, Topic::Statistics)? {
                figures.apply(&named);
            }
            Ok::<_, ReadError>(Some(figures))
        })?;
        Ok(found.unwrap_or_default())
    }

    /// Takes ops that were just indexed into their feed's figures, if those are in memory.
    pub(super) fn count(&self, feed: FeedId, ops: &[NamedOp]) {
        let told = |named: &&NamedOp| matches!(named.op.body, Body::Statistics(_));
        let mut told = ops.iter().filter(told).peekable();
        if told.peek().is_none() {
            return;
        }
        self.inner.counted.change(feed, |figures| {
            for named in told {
                figures.apply(named);
            }
        });
    }
}
