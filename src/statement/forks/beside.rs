//! What lies behind the cut of a forked log, or the end of a closed one, beside publishes and deletes: offers, tags and lifted blocks of one who may
//! say them, and about what stands.

use std::collections::BTreeMap;

use protocol::feed::Item;
use protocol::grant::Authority;
use protocol::id::{FeedId, SiteId};
use protocol::log::NamedOp;
use protocol::op::{Blocked, Body, Offer, SetRef, Target, Unblock};
use protocol::reference::references;

use super::behind::Behind;
use super::left::Left;
use crate::store::{Look, ReadError, Store};

/// An offer of what is served that stands otherwise, and about which nobody said anything since.
pub(super) fn offer_left(
    store: &Store,
    feed: FeedId,
    authority: &Authority,
    behind: &Behind,
    last: &NamedOp,
    item: &Item,
) -> Result<Option<Left>, ReadError> {
    let Body::SetState(state) = &last.op.body else { return Ok(None) };
    let might = authority.rights_on(last.op.place.log.author, &state.coordinate.name).publish;
    if !might || item.winner.is_none() || item.offer == state.offer {
        return Ok(None);
    }
    let since = |other: &NamedOp| {
        matches!(other.op.body, Body::SetState(_)) && !behind.has(other.id) && other.op.stamp > last.op.stamp
    };
    let at = &state.coordinate;
    let settled = store.facts(feed, &at.name, &at.version)?.iter().any(since);
    let word = match state.offer {
        Offer::Listed => "listed",
        Offer::Unlisted => "unlisted",
        Offer::Yanked { .. } => "yanked",
        Offer::Deprecated { .. } => "deprecated",
    };
    let left = || Left::Offer { name: at.name.clone(), version: at.version.clone(), word };
    Ok((!settled).then(left))
}

/// Tags that point elsewhere, and about which nobody said anything since.
pub(super) fn tags_left(
    store: &Store,
    feed: FeedId,
    look: Look,
    authority: &Authority,
    behind: &Behind,
) -> Result<Vec<Left>, ReadError> {
    let mut last: BTreeMap<(&str, &str), (&NamedOp, &SetRef)> = BTreeMap::new();
    for id in &behind.order {
        if let Some(named) = behind.ops.get(id)
            && let Body::SetRef(set) = &named.op.body
            && authority.rights_on(named.op.place.log.author, &set.package).publish
        {
            last.insert((&set.package, &set.name), (named, set));
        }
    }
    let mut left = Vec::new();
    if last.is_empty() {
        return Ok(left);
    }
    let ledger = store.ledger(feed)?;
    for ((package, name), (said, set)) in last {
        let ops = store.ref_ops(feed, package)?;
        let since = |other: &NamedOp| {
            matches!(&other.op.body, Body::SetRef(other) if other.name == name)
                && !behind.has(other.id)
                && other.op.stamp > said.op.stamp
        };
        let now =
            ledger.as_deref().map_or_else(Vec::new, |ledger| references(&ops, ledger, look.me, look.now));
        let now = now.into_iter().find(|one| one.name == name && !one.local).map(|one| one.target);
        if now != set.target && !ops.iter().any(since) && could_point(store, feed, look, set)? {
            left.push(Left::Tag { package: package.to_owned(), name: name.to_owned() });
        }
    }
    Ok(left)
}

/// Whether what a tag is to point to stands.
fn could_point(store: &Store, feed: FeedId, look: Look, set: &SetRef) -> Result<bool, ReadError> {
    let Some(Target::Version(version)) = &set.target else { return Ok(true) };
    Ok(store.item(feed, &set.package, version, look)?.is_some_and(|item| item.winner.is_some()))
}

/// A block that stands, though this lifts it, whose author might do so.
pub(super) fn unblock_left(
    store: &Store,
    feed: FeedId,
    look: Look,
    author: SiteId,
    unblock: &Unblock,
) -> Result<Option<Left>, ReadError> {
    let (Some(ledger), Some(block)) = (store.ledger(feed)?, store.op(unblock.block)?) else {
        return Ok(None);
    };
    let Body::Block(said) = &block.op.body else { return Ok(None) };
    let (name, what) = match &said.target {
        Blocked::Coordinate(at) => (at.name.as_str(), at.to_string()),
        Blocked::Blob(blob) => ("", blob.to_string()),
    };
    // A site lifts for itself what it said for itself.
    let own = author == look.me && block.op.place.log.author == look.me;
    if !own && !ledger.authority().rights_on(author, name).block {
        return Ok(None);
    }
    let stands = ledger.block_stands(block.id, block.op.place, block.op.stamp, name, look.me);
    Ok(stands.then_some(Left::Unblock(what)))
}
