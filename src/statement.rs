//! What this site says of a feed beside publishing and deleting: offers, refs, blocks, choices, rights, seals, figures.

pub mod choice;
pub mod forks;
pub mod rights;
pub mod seal;
pub mod usage;

use std::sync::Arc;

use protocol::grant::{Authority, Verb};
use protocol::id::{FeedId, OpId, SiteId};
use protocol::limits::{NAME_BYTES_MAX, REASON_BYTES_MAX};
use protocol::log::NamedOp;
use protocol::op::{Block, Blocked, Body, Offer, SetRef, SetState, Target, Unblock};
use protocol::package::{BadName, Coordinate, check_label};
use protocol::reference::references;

use crate::keeper::own_log::may_have_rights_unheard;
use crate::keeper::{AuthorError, SiteStore};
use crate::publish::counts_elsewhere;
use crate::store::{ReadError, Store};

/// Why something was not said.
#[derive(Debug, thiserror::Error)]
#[expect(clippy::module_name_repetitions, reason = "callers hold errors of several rooms side by side")]
pub enum StatementError {
    #[error(transparent)]
    Name(#[from] BadName),
    #[error("the text has {found} bytes, and at most {REASON_BYTES_MAX} are allowed")]
    LongText { found: usize },
    #[error("the prefix has {found} bytes, and a name has {NAME_BYTES_MAX} at most")]
    LongPrefix { found: usize },
    #[error("package {package:?} has no ref {name:?} here")]
    NoRef { package: String, name: String },
    #[error(
        "{what} was said by a site with the right to say it in this feed, and this site has none: what it says at home would change nothing"
    )]
    Overruled { what: String },
    #[error("{coordinate} is not here")]
    Absent { coordinate: Coordinate },
    #[error("there is no op {op} of that kind in the feed")]
    NoSuchOp { op: String },
    #[error("only feed {feed:?}'s origin or an admin may {what}")]
    NotAllowed { feed: String, what: &'static str },
    #[error("{coordinate} has no build {op}: `packetboat conflicts` lists them")]
    NoBuild { coordinate: Coordinate, op: OpId },
    #[error("{coordinate} has no local build here")]
    NothingLocal { coordinate: Coordinate },
    #[error("no fork of a log of {author} in feed {feed:?} waits to be resolved")]
    NoFork { feed: String, author: SiteId },
    #[error("only the origin of feed {feed:?} may say how far a forked log counts")]
    NotOrigin { feed: String },
    #[error("a deletion of {name}@{version} in the forked log waits for a person here")]
    DeleteWaits { name: String, version: String },
    #[error(transparent)]
    Author(#[from] AuthorError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl StatementError {
    /// Whether it is a matter of one feed: in others this site can say something all the same.
    pub(crate) const fn is_of_one_feed(&self) -> bool {
        matches!(
            self,
            Self::Author(
                AuthorError::Strict
                    | AuthorError::SetBack { .. }
                    | AuthorError::Forked
                    | AuthorError::Restored { .. }
                    | AuthorError::EpochsSpent
                    | AuthorError::Superseded
            )
        )
    }
}

/// Something that was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spoken {
    pub op: OpId,
    /// Whether it counts at this site only, because this site has no right to say it for others.
    pub local: bool,
}

/// Whether what this site says of that kind counts elsewhere.
fn counts(site: &SiteStore, feed: FeedId, verb: Verb, name: &str) -> Result<bool, ReadError> {
    let at = (feed, site.look().now);
    let counts = |authority: Arc<Authority>| counts_elsewhere(&authority, at, site.me(), verb, name);
    Ok(site.store().authority(feed)?.is_some_and(counts))
}

/// Refuses to say for this site alone what would change nothing here: of a ref, and of how a version is offered, the last word of a site with the
/// right goes before any of one without.
fn must_not_be_overruled(
    site: &SiteStore,
    feed: FeedId,
    said: &[NamedOp],
    name: &str,
    what: impl FnOnce() -> String,
) -> Result<(), StatementError> {
    let (store, look) = (site.store(), site.look());
    if counts(site, feed, Verb::Publish, name)? || may_have_rights_unheard(store, look.me, feed)? {
        return Ok(());
    }
    let Some(authority) = store.authority(feed)? else { return Ok(()) };
    let overrules = |named: &NamedOp| {
        let (place, stamp) = (named.op.place, named.op.stamp);
        !stamp.is_ahead_of(look.now) && authority.allows(place.log, place.seq, stamp, Verb::Publish, name)
    };
    if said.iter().any(overrules) { Err(StatementError::Overruled { what: what() }) } else { Ok(()) }
}

/// Says one thing and tells whether it counts elsewhere.
fn say(site: &SiteStore, feed: FeedId, body: Body, verb: Verb, name: &str) -> Result<Spoken, StatementError> {
    let counts = counts(site, feed, verb, name)?;
    let said = site.author(feed, vec![body])?;
    let op = said.first().map_or(OpId([0; 32]), |named| named.id);
    Ok(Spoken { op, local: !counts })
}

pub(crate) const fn fitting(text: &str) -> Result<(), StatementError> {
    if text.len() > REASON_BYTES_MAX { Err(StatementError::LongText { found: text.len() }) } else { Ok(()) }
}

/// Says how a version is offered to clients. Durable when this returns, as everything here is.
///
/// # Errors
/// Nothing is known of the version, a site with the right said how it is offered, the text is too long, or the disk refused.
pub fn offer(
    site: &SiteStore,
    feed: FeedId,
    coordinate: Coordinate,
    offer: Offer,
) -> Result<Spoken, StatementError> {
    match &offer {
        Offer::Yanked { reason: text } | Offer::Deprecated { text } => fitting(text)?,
        Offer::Listed | Offer::Unlisted => {}
    }
    let item = site.store().item(feed, &coordinate.name, &coordinate.version, site.look())?;
    if item.is_none_or(|item| item.winner.is_none()) {
        return Err(StatementError::Absent { coordinate });
    }
    let name = coordinate.name.clone();
    let mut said = site.store().facts(feed, &name, &coordinate.version)?;
    said.retain(|named| matches!(named.op.body, Body::SetState(_)));
    must_not_be_overruled(site, feed, &said, &name, || format!("how {coordinate} is offered"))?;
    say(site, feed, Body::SetState(SetState { coordinate, offer }), Verb::Publish, &name)
}

/// Points a ref (a tag) of a package at a version, or takes it away.
///
/// # Errors
/// The name is not allowed, there is no such version or none such ref to take away, a site with the right to set it did, or the disk refused.
pub fn point(
    site: &SiteStore,
    feed: FeedId,
    package: &str,
    name: &str,
    version: Option<Coordinate>,
) -> Result<Spoken, StatementError> {
    check_label("ref", name)?;
    if let Some(coordinate) = &version {
        let item = site.store().item(feed, &coordinate.name, &coordinate.version, site.look())?;
        if item.is_none_or(|item| item.winner.is_none()) {
            return Err(StatementError::Absent { coordinate: coordinate.clone() });
        }
    }
    let mut said = site.store().ref_ops(feed, package)?;
    said.retain(|named| matches!(&named.op.body, Body::SetRef(set) if set.name == name));
    if version.is_none() {
        let (ledger, look) = (site.store().ledger(feed)?, site.look());
        let stands = ledger.is_some_and(|ledger| !references(&said, &ledger, look.me, look.now).is_empty());
        if !stands {
            return Err(StatementError::NoRef { package: package.to_owned(), name: name.to_owned() });
        }
    }
    must_not_be_overruled(site, feed, &said, package, || format!("ref {name:?} of {package}"))?;
    let target = version.map(|coordinate| Target::Version(coordinate.version));
    let body = SetRef { package: package.to_owned(), name: name.to_owned(), target };
    say(site, feed, Body::SetRef(body), Verb::Publish, package)
}

/// Keeps a version, or bytes under whatever version, from being served.
///
/// # Errors
/// The reason is too long, or the disk refused.
pub fn block(
    site: &SiteStore,
    feed: FeedId,
    target: Blocked,
    reason: String,
) -> Result<Spoken, StatementError> {
    fitting(&reason)?;
    let name = match &target {
        Blocked::Coordinate(coordinate) => coordinate.name.clone(),
        Blocked::Blob(_) => String::new(),
    };
    say(site, feed, Body::Block(Block { target, reason }), Verb::Block, &name)
}

/// Lifts a block.
///
/// # Errors
/// There is no such block, it is another site's and this one may lift none, the reason is too long, or the disk refused.
pub fn unblock(
    site: &SiteStore,
    feed: FeedId,
    block: OpId,
    reason: String,
) -> Result<Spoken, StatementError> {
    fitting(&reason)?;
    let Some(name) = blocked_name(site.store(), feed, block)? else {
        return Err(StatementError::NoSuchOp { op: block.to_string() });
    };
    // A site lifts for itself only what it said for itself.
    let own = site.store().op(block)?.is_some_and(|named| named.op.place.log.author == site.me());
    let lifts = own || counts(site, feed, Verb::Block, &name)?;
    if !lifts && !may_have_rights_unheard(site.store(), site.me(), feed)? {
        return Err(StatementError::Overruled { what: format!("block {block}") });
    }
    say(site, feed, Body::Unblock(Unblock { block, reason }), Verb::Block, &name)
}

/// The package that a block names, empty for a block of bytes; nothing where the op is no block of the feed.
fn blocked_name(store: &Store, feed: FeedId, block: OpId) -> Result<Option<String>, ReadError> {
    let named = store.op(block)?.filter(|named| named.op.place.log.feed == feed);
    Ok(named.and_then(|named| {
        let Body::Block(Block { target, .. }) = named.op.body else { return None };
        Some(match target {
            Blocked::Coordinate(at) => at.name,
            Blocked::Blob(_) => String::new(),
        })
    }))
}
