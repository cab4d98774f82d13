//! Seals: the origin fixes what stands, so that a site that comes back later cannot change bytes others use.

use protocol::id::{FeedId, LogId};
use protocol::ledger::Ledger;
use protocol::limits::OPS_NAMED_MAX;
use protocol::log::{Batch, Entry};
use protocol::op::{Body, Op, Place, Seal, Tip};
use protocol::time::Timestamp;

use super::StatementError;
use crate::keeper::SiteStore;
use crate::store::{ReadError, Store};

/// Bytes of ops looked at at a time.
const LOOKED_AT_BYTES: u64 = 256 << 10;

/// Seals what has come since the last seal, where this site is the feed's origin and others write in it too. Tells whether it did.
///
/// A feed in which nobody else may write cannot clash, and gets no seals.
///
/// # Errors
/// The disk refused.
pub fn seal(site: &SiteStore, feed: FeedId) -> Result<bool, StatementError> {
    let look = site.look();
    let said = site.author_if(feed, |store| {
        let Some(ledger) = store.ledger(feed)? else { return Ok(Vec::new()) };
        let authority = ledger.authority();
        if !authority.is_origin(site.me()) || authority.grants().is_empty() {
            return Ok(Vec::new());
        }
        let mut frontier = Vec::new();
        let mut worth = false;
        for signed in store.heads(feed)? {
            let head = signed.head;
            if head.len > ledger.sealed_len(head.log)
                && authority.is_author(head.log.author)
                && let Some(reach) = reach(store, &ledger, head.log, look.now)?
            {
                worth = worth || reach.worth;
                frontier.push(reach.tip);
            }
        }
        frontier.truncate(OPS_NAMED_MAX);
        if !worth {
            return Ok(Vec::new());
        }
        let index = ledger.newest_seal().map_or(1, |(index, _)| index.saturating_add(1));
        let state_root = store.state_root(feed, look)?.0;
        Ok::<_, StatementError>(vec![Body::Seal(Seal { index, frontier, state_root })])
    })?;
    Ok(!said.is_empty())
}

/// How far a log can be sealed, and whether anything beyond seals and figures is in that.
struct Reach {
    tip: Tip,
    worth: bool,
}

/// A log reaches to the head before the first op that waits here until it is due: sealed now, it would displace later what stands meanwhile.
fn reach(store: &Store, ledger: &Ledger, log: LogId, now: Timestamp) -> Result<Option<Reach>, ReadError> {
    let mut reach: Option<Reach> = None;
    let mut from = ledger.sealed_len(log);
    loop {
        let batches = store.batches(log, from, LOOKED_AT_BYTES)?;
        if batches.is_empty() {
            return Ok(reach);
        }
        for batch in batches {
            let Some(worth) = is_worth_sealing(&batch, now) else { return Ok(reach) };
            let head = batch.head.head;
            from = head.len;
            let tip = Tip { author: log.author, epoch: log.epoch, len: head.len, root: head.root };
            reach = Some(Reach { tip, worth: worth || reach.is_some_and(|reach| reach.worth) });
        }
    }
}

/// Whether anything beyond seals and figures is said in a batch; nothing where a part of it is not due.
fn is_worth_sealing(batch: &Batch, now: Timestamp) -> Option<bool> {
    let log = batch.head.head.log;
    let mut worth = false;
    let mut seq = batch.first;
    for entry in &batch.entries {
        if let Entry::Op(statement) = entry
            && let Ok(op) = Op::decode_statement(Place { log, seq }, statement)
        {
            if op.stamp.is_ahead_of(now) {
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
