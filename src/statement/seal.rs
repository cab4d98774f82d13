//! Seals: the origin fixes what stands, so that a site that comes back later cannot change bytes others use.

use protocol::id::FeedId;
use protocol::ledger::Ledger;
use protocol::limits::OPS_NAMED_MAX;
use protocol::log::{Entry, SignedHead};
use protocol::op::{Body, Op, Place, Seal, Tip};

use super::StatementError;
use crate::keeper::SiteStore;
use crate::store::{ReadError, Store};

/// Bytes of ops looked at for whether any of them is worth a seal.
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
            if head.len > ledger.sealed_len(head.log) && authority.is_author(head.log.author) {
                worth = worth || is_worth_sealing(store, &ledger, &signed)?;
                frontier.push(Tip {
                    author: head.log.author,
                    epoch: head.log.epoch,
                    len: head.len,
                    root: head.root,
                });
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

/// Whether anything beyond seals and figures was said since the last seal.
fn is_worth_sealing(store: &Store, ledger: &Ledger, signed: &SignedHead) -> Result<bool, ReadError> {
    let log = signed.head.log;
    for batch in store.batches(log, ledger.sealed_len(log), LOOKED_AT_BYTES)? {
        let mut seq = batch.first;
        for entry in &batch.entries {
            if let Entry::Op(statement) = entry {
                let op = Op::decode_statement(Place { log, seq }, statement);
                let plain = op.is_ok_and(|op| matches!(op.body, Body::Seal(_) | Body::Statistics(_)));
                if !plain {
                    return Ok(true);
                }
            }
            seq = seq.saturating_add(entry.span());
        }
    }
    Ok(false)
}
