//! Forks resolved: the feed's origin says how far a log with two histories counts, so that its author can go on.

use protocol::fork::ForkProof;
use protocol::id::{FeedId, OpId, SiteId};
use protocol::log::SignedHead;
use protocol::op::{Body, Cut, Tip};
use protocol::succession::Succession;

use super::{Spoken, StatementError, fitting};
use crate::keeper::SiteStore;
use crate::store::{FeedRecord, ReadError, Store};

/// The forks of an author in a feed, or of all, that no cut resolves.
///
/// # Errors
/// The store cannot be read.
pub fn unresolved(store: &Store, feed: FeedId, author: Option<SiteId>) -> Result<Vec<ForkProof>, ReadError> {
    let authority = store.authority(feed)?;
    let open = |fork: &&ForkProof| {
        let cut = authority.as_ref().and_then(|authority| authority.cut(fork.log())).map(|cut| cut.len());
        author.is_none_or(|author| fork.log().author == author) && fork.freezes(fork.log(), cut, false)
    };
    Ok(store.forks(feed)?.iter().filter(open).cloned().collect())
}

/// Says how far the forked logs of an author count: as far as the histories are known to go together, or less, with `most`.
///
/// # Errors
/// There is no such fork, this site is not the feed's origin, the reason is too long, or the disk refused.
pub fn resolve(
    site: &SiteStore,
    feed: FeedId,
    record: &FeedRecord,
    author: SiteId,
    most: Option<u64>,
    reason: String,
) -> Result<Spoken, StatementError> {
    let cuts = cuts(site.store(), site.me(), feed, record, author, most, &reason)?;
    // The origin's own forked log takes nothing more; what it says of itself begins its next epoch.
    let said = if author == site.me() { site.author_anew(feed, cuts)? } else { site.author(feed, cuts)? };
    let op = said.last().map_or(OpId([0; 32]), |named| named.id);
    Ok(Spoken { op, local: false })
}

/// What this site, as the feed's origin, says of the forked logs of an author.
///
/// # Errors
/// As [`resolve`], but for what signing them may meet.
pub fn cuts(
    store: &Store,
    me: SiteId,
    feed: FeedId,
    record: &FeedRecord,
    author: SiteId,
    most: Option<u64>,
    reason: &str,
) -> Result<Vec<Body>, StatementError> {
    fitting(reason)?;
    let is_origin = store.authority(feed)?.is_some_and(|authority| authority.is_origin(me));
    if !is_origin {
        return Err(StatementError::NotOrigin { feed: record.name.clone() });
    }
    let mut cuts = Vec::new();
    for fork in unresolved(store, feed, Some(author))? {
        let before = fork.len().saturating_sub(1);
        let counts = store.in_common(&fork)?.min(before).min(most.unwrap_or(u64::MAX));
        cuts.push(Body::Cut(cut(&fork, store.head_within(fork.log(), counts)?, reason.to_owned())));
    }
    if cuts.is_empty() {
        return Err(StatementError::NoFork { feed: record.name.clone(), author });
    }
    Ok(cuts)
}

fn cut(fork: &ForkProof, at: Option<SignedHead>, reason: String) -> Cut {
    let log = fork.log();
    let tip = |len, root| Tip { author: log.author, epoch: log.epoch, len, root };
    match at {
        None => {
            let (signed, signature) = (protocol::time::Timestamp(0), Vec::new());
            Cut { tip: tip(0, [0; 32]), signed, succession: Succession::NONE, signature, reason }
        }
        Some(SignedHead { head, succession, signature }) => {
            let signature = signature.0.to_vec();
            Cut { tip: tip(head.len, head.root), signed: head.time, succession, signature, reason }
        }
    }
}
