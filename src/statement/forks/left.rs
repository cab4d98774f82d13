//! What lies behind the cut of a forked log and counts nowhere else: its author or somebody else says it again where it is wanted.

use std::collections::BTreeSet;

use protocol::feed::Item;
use protocol::grant::Authority;
use protocol::id::{FeedId, SiteId};
use protocol::log::NamedOp;
use protocol::op::{Blocked, Body, Publish};

use super::behind::{Behind, Last};
use crate::store::{Look, ReadError, Store, Topic};

/// Something that a log says behind its cut and that stands otherwise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    Published { name: String, version: String },
    Deleted { name: String, version: String },
    RightsOf(SiteId),
    Block(String),
}

impl std::fmt::Display for Left {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Published { name, version } => write!(out, "{name}@{version} published"),
            Self::Deleted { name, version } => write!(out, "{name}@{version} deleted"),
            Self::RightsOf(site) => write!(out, "rights of {}", site.short()),
            Self::Block(what) => write!(out, "a block of {what}"),
        }
    }
}

/// What this site has otherwise than a log of which a part was cut away, and about which nobody said anything since.
///
/// # Errors
/// The store cannot be read.
pub fn left(store: &Store, feed: FeedId, look: Look) -> Result<Vec<Left>, ReadError> {
    let Some(authority) = store.authority(feed)? else { return Ok(Vec::new()) };
    let mut cuts = Vec::new();
    for fork in store.forks(feed)?.iter() {
        let counts = authority.cut(fork.log()).map(|cut| cut.len());
        cuts.extend(
            counts.filter(|_| !fork.freezes(fork.log(), counts, false)).map(|counts| (fork.log(), counts)),
        );
    }
    let behind = Behind::of(store, &cuts, None)?;
    let mut found = BTreeSet::new();
    for ((name, version), Last { stands, .. }) in &behind.about {
        let Some(last) = stands.and_then(|id| behind.ops.get(&id)) else { continue };
        let Some(item) = store.item(feed, name, version, look)? else { continue };
        if !is_settled(store, &behind, last, &item)? {
            let (name, version) = (name.clone(), version.clone());
            let deleted = matches!(last.op.body, Body::Delete(_));
            found.insert(if deleted {
                Left::Deleted { name, version }
            } else {
                Left::Published { name, version }
            });
        }
    }
    for named in behind.ops.values() {
        found.extend(ruled(store, feed, &behind, &authority, named)?);
    }
    Ok(found.into_iter().collect())
}

/// Whether a version stands as the last op about it says, or somebody said something about it since.
fn is_settled(store: &Store, behind: &Behind, last: &NamedOp, item: &Item) -> Result<bool, ReadError> {
    let stands = if let Body::Publish(publish) = &last.op.body {
        is_served(store, item, publish)?
    } else {
        item.winner.is_none() && item.deletes.iter().any(|id| !behind.has(*id))
    };
    if stands {
        return Ok(true);
    }
    for id in item.winner.iter().chain(&item.deletes).filter(|id| !behind.has(**id)) {
        if store.op(*id)?.is_some_and(|by| by.op.stamp > last.op.stamp) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether those bytes are served for all.
fn is_served(store: &Store, item: &Item, publish: &Publish) -> Result<bool, ReadError> {
    let Some(winner) = item.winner.filter(|_| !item.local) else { return Ok(false) };
    let named = store.op(winner)?;
    Ok(
        matches!(named.map(|named| named.op.body), Some(Body::Publish(served)) if served.manifest.same_bytes(&publish.manifest)),
    )
}

/// A word about rights, or a block, of one who might say it, that nobody said anything about since.
fn ruled(
    store: &Store,
    feed: FeedId,
    behind: &Behind,
    authority: &Authority,
    named: &NamedOp,
) -> Result<Option<Left>, ReadError> {
    let author = named.op.place.log.author;
    let since = |other: &NamedOp| !behind.has(other.id) && other.op.stamp > named.op.stamp;
    let about = |body: &Body| {
        if let Body::Grant(grant) = body {
            return Some(grant.grantee);
        }
        if let Body::Revoke(revoke) = body { Some(revoke.grantee) } else { None }
    };
    if let Some(site) = about(&named.op.body).filter(|_| authority.is_admin(author)) {
        let words = store.ops_about(feed, Topic::Rights)?;
        let settled = words.iter().any(|other| since(other) && about(&other.op.body) == Some(site));
        return Ok((!settled).then_some(Left::RightsOf(site)));
    }
    let Body::Block(block) = &named.op.body else { return Ok(None) };
    let (words, what) = match &block.target {
        Blocked::Coordinate(at) => (store.facts(feed, &at.name, &at.version)?, at.to_string()),
        Blocked::Blob(blob) => (store.ops_about(feed, Topic::Blocks)?, blob.to_string()),
    };
    let again = |other: &NamedOp| matches!(&other.op.body, Body::Block(said) if said.target == block.target);
    let settled = words.iter().any(|other| !behind.has(other.id) && again(other));
    Ok((authority.rights(author).block && !settled).then_some(Left::Block(what)))
}
