//! Seals: the origin fixes what stands, so that a site that comes back later cannot change bytes others use.

use protocol::id::{FeedId, LogId};
use protocol::ledger::Ledger;
use protocol::log::{Batch, Entry};
use protocol::op::{Body, Op, Place, Seal, Tip};

use super::StatementError;
use crate::keeper::SiteStore;
use crate::store::{Look, ReadError, Store};

/// Bytes of ops looked at at a time.
const LOOKED_AT_BYTES: u64 = 256 << 10;

/// Seals what has come since the last seal, where this site is the feed's origin and a seal is due. Tells whether it did.
///
/// # Errors
/// The disk refused.
pub fn seal(site: &SiteStore, feed: FeedId) -> Result<bool, StatementError> {
    let look = site.look();
    let said = site.author_if(feed, |store| {
        let seal = due(store, feed, look)?;
        Ok::<_, StatementError>(seal.map(Body::Seal).into_iter().collect())
    })?;
    Ok(!said.is_empty())
}

/// The seal that the site which looks owes the feed: none where it is not an origin, or nothing new is worth one.
///
/// A feed in which nobody else may write cannot clash, and gets a seal only once a day, as every feed in which nothing is new.
///
/// # Errors
/// The disk refused.
pub fn due(store: &Store, feed: FeedId, look: Look) -> Result<Option<Seal>, ReadError> {
    let Some(ledger) = store.ledger(feed)? else { return Ok(None) };
    let authority = ledger.authority();
    let owed = ledger.needs_fresh_seal(look.now);
    if !authority.is_origin(look.me) || authority.grants().is_empty() && !owed {
        return Ok(None);
    }
    let mut frontier = Vec::new();
    let mut worth = false;
    let heads = if authority.grants().is_empty() { Vec::new() } else { store.heads(feed)? };
    for signed in heads {
        let head = signed.head;
        if head.len > ledger.sealed_len(head.log)
            && authority.is_author(head.log.author)
            && let Some(reach) = reach(store, &ledger, head.log, look)?
        {
            worth = worth || reach.worth;
            frontier.push(reach.tip);
        }
    }
    // The rest is new at the next seal.
    let frontier = Tip::those_that_fit(frontier);
    if !worth && !owed {
        return Ok(None);
    }
    let index = ledger.newest_seal().map_or(1, |(index, _)| index.saturating_add(1));
    let state_root = store.state_root(feed, look)?.0;
    Ok(Some(Seal { index, frontier, state_root }))
}

/// How far a log can be sealed, and whether anything beyond seals and figures is in that.
struct Reach {
    tip: Tip,
    worth: bool,
}

/// A log reaches to the head before the first op that waits here until it is due: sealed now, it would displace later what stands meanwhile.
fn reach(store: &Store, ledger: &Ledger, log: LogId, look: Look) -> Result<Option<Reach>, ReadError> {
    let mut reach: Option<Reach> = None;
    let mut from = ledger.sealed_len(log);
    loop {
        let batches = store.batches(log, from, LOOKED_AT_BYTES)?;
        if batches.is_empty() {
            return Ok(reach);
        }
        for batch in batches {
            let Some(worth) = is_worth_sealing(&batch, look) else { return Ok(reach) };
            let head = batch.head.head;
            from = head.len;
            let tip = Tip { author: log.author, epoch: log.epoch, len: head.len, root: head.root };
            reach = Some(Reach { tip, worth: worth || reach.is_some_and(|reach| reach.worth) });
        }
    }
}

/// Whether anything beyond seals and figures is said in a batch; nothing where a part of it is not due.
fn is_worth_sealing(batch: &Batch, look: Look) -> Option<bool> {
    let log = batch.head.head.log;
    let mut worth = false;
    let mut seq = batch.first;
    for entry in &batch.entries {
        if let Entry::Op(statement) = entry
            && let Ok(op) = Op::decode_statement(Place { log, seq }, statement)
        {
            if log.author != look.me && op.stamp.is_ahead_of(look.now) {
                return None;
            }
            worth = worth || !matches!(op.body, Body::Seal(_) | Body::Statistics(_));
        }
        seq = seq.saturating_add(entry.span());
    }
    Some(worth)
}

#[cfg(test)]
mod tests;
