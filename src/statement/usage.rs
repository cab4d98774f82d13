//! Downloads of this site's clients, told as ops that replace this site's earlier figures.

use std::collections::BTreeMap;

use protocol::id::FeedId;
use protocol::op::{Body, Statistics, Use};
use protocol::package::Coordinate;
use protocol::time::Timestamp;

use super::StatementError;
use crate::keeper::SiteStore;

/// Versions told in one op, and with one signature: a hundred of the longest names and versions take 38 KB, and a thousand fit into a frame.
const USES_PER_OP: usize = 100;
const USES_PER_BATCH: usize = 1000;

/// What was downloaded since it was told last.
pub type Downloads = BTreeMap<Coordinate, (u64, Timestamp)>;

/// Tells what was downloaded. A site that takes no local changes in the feed tells nothing.
///
/// # Errors
/// The disk refused; what was told before that is told.
pub fn tell(site: &SiteStore, feed: FeedId, downloads: Downloads) -> Result<(), StatementError> {
    let strict = site.store().feed(feed)?.is_none_or(|record| record.strict);
    if strict || downloads.is_empty() {
        return Ok(());
    }
    let me = site.me();
    let downloads: Vec<_> = downloads.into_iter().collect();
    for some in downloads.chunks(USES_PER_BATCH) {
        site.author_if(feed, |store| {
            let figures = store.figures(feed)?;
            let uses = some.iter().map(|(coordinate, (more, last))| {
                let (held, held_last) =
                    figures.told_by(me, coordinate).unwrap_or_else(|| (0, Timestamp::default()));
                let (downloads, last_used) = (held.saturating_add(*more), held_last.max(*last));
                Use { downloads, last_used, coordinate: coordinate.clone() }
            });
            let uses: Vec<Use> = uses.collect();
            let op = |uses: &[Use]| Body::Statistics(Statistics { uses: uses.to_vec() });
            Ok::<_, StatementError>(uses.chunks(USES_PER_OP).map(op).collect())
        })?;
    }
    Ok(())
}
