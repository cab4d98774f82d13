//! What lies behind the cut of a forked log, or the end of a closed one, and counts nowhere else: its author or somebody else says it again where it is wanted.

use std::collections::BTreeSet;

use protocol::feed::Item;
use protocol::grant::Authority;
use protocol::id::{FeedId, LogId, SiteId};
use protocol::log::NamedOp;
use protocol::op::{Blocked, Body, Publish};

use super::behind::{Behind, Last};
use super::beside::{offer_left, tags_left, unblock_left};
use crate::store::{Look, ReadError, Store, Topic};

/// Something that a log says behind its cut and that stands otherwise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    Published { name: String, version: String },
    Deleted { name: String, version: String },
    Offer { name: String, version: String, word: &'static str },
    Tag { package: String, name: String },
    RightsOf(SiteId),
    Block(String),
    Unblock(String),
}

impl std::fmt::Display for Left {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Published { name, version } => write!(out, "{name}@{version} published"),
            Self::Deleted { name, version } => write!(out, "{name}@{version} deleted"),
            Self::Offer { name, version, word } => write!(out, "{name}@{version} {word}"),
            Self::Tag { package, name } => write!(out, "the tag {name} of {package}"),
            Self::RightsOf(site) => write!(out, "rights of {}", site.short()),
            Self::Block(what) => write!(out, "a block of {what}"),
            Self::Unblock(what) => write!(out, "a block of {what} lifted"),
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
    left_behind(store, feed, look, &authority, &cuts)
}

/// What this site has otherwise than its own logs of older keys say beyond the ends that its later keys accept, and about which nobody said
/// anything since.
///
/// # Errors
/// The store cannot be read.
pub fn left_by_closing(store: &Store, feed: FeedId, look: Look) -> Result<Vec<Left>, ReadError> {
    let Some(authority) = store.authority(feed)? else { return Ok(Vec::new()) };
    let own =
        store.heads(feed)?.into_iter().map(|signed| signed.head).filter(|head| head.log.author == look.me);
    let beyond = own.filter_map(|head| {
        let counts = authority.closed_at(head.log)?.map_or(0, |end| end.len);
        (counts < head.len).then_some((head.log, counts))
    });
    let beyond: Vec<_> = beyond.collect();
    left_behind(store, feed, look, &authority, &beyond)
}

fn left_behind(
    store: &Store,
    feed: FeedId,
    look: Look,
    authority: &Authority,
    ends: &[(LogId, u64)],
) -> Result<Vec<Left>, ReadError> {
    let behind = Behind::of(store, ends, None)?;
    let mut found = BTreeSet::new();
    for ((name, version), Last { stands, offer }) in &behind.about {
        let Some(item) = store.item(feed, name, version, look)? else { continue };
        if let Some(said) = offer.and_then(|id| behind.ops.get(&id)) {
            found.extend(offer_left(store, feed, authority, &behind, said, &item)?);
        }
        let Some(last) = stands.and_then(|id| behind.ops.get(&id)) else { continue };
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
    found.extend(tags_left(store, feed, look, authority, &behind)?);
    for named in behind.ops.values() {
        if let Body::Unblock(unblock) = &named.op.body {
            let author = named.op.place.log.author;
            found.extend(unblock_left(store, feed, look, author, unblock)?);
        }
    }
    let mut rulings = behind
        .ops
        .values()
        .filter(|named| named.op.body.is_about_rights() || blocked(named).is_some())
        .peekable();
    if rulings.peek().is_some() {
        let said = Said {
            rights: store.ops_about(feed, Topic::Rights)?,
            blocks: store.ops_about(feed, Topic::Blocks)?,
        };
        for named in rulings {
            found.extend(said.left(store, feed, &behind, authority, named)?);
        }
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

/// What was said of rights, and of blocks of bytes, in a feed.
struct Said {
    rights: Vec<NamedOp>,
    blocks: Vec<NamedOp>,
}

impl Said {
    /// A word about rights, or a block, of one who might say it, that nobody said anything about since.
    fn left(
        &self,
        store: &Store,
        feed: FeedId,
        behind: &Behind,
        authority: &Authority,
        named: &NamedOp,
    ) -> Result<Option<Left>, ReadError> {
        let author = named.op.place.log.author;
        if let Some(site) = grantee(named).filter(|_| authority.is_admin(author)) {
            let since = |other: &NamedOp| !behind.has(other.id) && other.op.stamp > named.op.stamp;
            let settled = self.rights.iter().any(|other| since(other) && grantee(other) == Some(site));
            return Ok((!settled).then_some(Left::RightsOf(site)));
        }
        let Some(target) = blocked(named).filter(|_| authority.rights(author).block) else { return Ok(None) };
        let again = |other: &NamedOp| !behind.has(other.id) && blocked(other) == Some(target);
        let (settled, what) = match target {
            Blocked::Coordinate(at) => {
                (store.facts(feed, &at.name, &at.version)?.iter().any(again), at.to_string())
            }
            Blocked::Blob(blob) => (self.blocks.iter().any(again), blob.to_string()),
        };
        Ok((!settled).then_some(Left::Block(what)))
    }
}

/// The site whose rights an op gives or takes.
fn grantee(named: &NamedOp) -> Option<SiteId> {
    if let Body::Grant(grant) = &named.op.body {
        return Some(grant.grantee);
    }
    if let Body::Revoke(revoke) = &named.op.body { Some(revoke.grantee) } else { None }
}

/// What an op blocks.
fn blocked(named: &NamedOp) -> Option<&Blocked> {
    if let Body::Block(block) = &named.op.body { Some(&block.target) } else { None }
}
