//! Downloads of this site's clients, told as ops that replace this site's earlier figures.

use std::collections::BTreeMap;

use protocol::id::FeedId;
use protocol::op::{Body, Statistics, Use};
use protocol::package::Coordinate;
use protocol::time::Timestamp;

use super::StatementError;
use crate::keeper::SiteStore;

/// Versions told in one op: two hundred of the longest names stay under the size of an op.
const USES_PER_OP: usize = 100;

/// What was downloaded since it was told last.
pub type Downloads = BTreeMap<Coordinate, (u64, Timestamp)>;

/// Tells what was downloaded. A site that takes no local changes in the feed tells nothing.
///
/// # Errors
/// The disk refused; nothing was told.
pub fn tell(site: &SiteStore, feed: FeedId, downloads: Downloads) -> Result<(), StatementError> {
    let strict = site.store().feed(feed)?.is_none_or(|record| record.strict);
    if strict || downloads.is_empty() {
        return Ok(());
    }
    let me = site.me();
    site.author_if(feed, |store| {
        let figures = store.figures(feed)?;
        let uses: Vec<Use> = downloads
            .into_iter()
            .map(|(coordinate, (more, last))| {
                let (held, held_last) =
                    figures.told_by(me, &coordinate).unwrap_or_else(|| (0, Timestamp::default()));
                Use { downloads: held.saturating_add(more), last_used: last.max(held_last), coordinate }
            })
            .collect();
        let op = |uses: &[Use]| Body::Statistics(Statistics { uses: uses.to_vec() });
        Ok::<_, StatementError>(uses.chunks(USES_PER_OP).map(op).collect())
    })?;
    Ok(())
}
