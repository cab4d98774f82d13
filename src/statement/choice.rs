//! Choices a person makes about builds: which of a clash is served, which local one is taken back.

use protocol::grant::Verb;
use protocol::id::{FeedId, OpId};
use protocol::op::{Body, Delete, Resolve};
use protocol::package::Coordinate;

use super::{Spoken, StatementError, say};
use crate::keeper::SiteStore;
use crate::publish::counts_elsewhere;
use crate::store::FeedRecord;

/// Chooses the build that is served of a version on which sites clashed.
///
/// # Errors
/// This site may not choose for others, there is no such build, or the disk refused.
pub fn resolve(
    site: &SiteStore,
    feed: FeedId,
    record: &FeedRecord,
    coordinate: Coordinate,
    winner: OpId,
) -> Result<Spoken, StatementError> {
    if !site.store().authority(feed)?.is_some_and(|authority| authority.is_admin(site.me())) {
        return Err(StatementError::NotAllowed { feed: record.name.clone(), what: "resolve a clash" });
    }
    let item = site.store().item(feed, &coordinate.name, &coordinate.version, site.look())?;
    let builds = item
        .map_or_else(Vec::new, |item| item.winner.into_iter().chain(item.clash).chain(item.twins).collect());
    if !builds.contains(&winner) {
        return Err(StatementError::NoBuild { coordinate, op: winner });
    }
    let name = coordinate.name.clone();
    say(site, feed, Body::Resolve(Resolve { coordinate, winner }), Verb::Admin, &name)
}

/// Takes this site's own builds of a version back, so that what other sites publish shows, or nothing.
///
/// # Errors
/// This site has no build of its own there, or the disk refused.
pub fn revert_local(
    site: &SiteStore,
    feed: FeedId,
    coordinate: Coordinate,
) -> Result<Spoken, StatementError> {
    let store = site.store();
    let item = store.item(feed, &coordinate.name, &coordinate.version, site.look())?;
    let mut own = Vec::new();
    if let Some(item) = item {
        let local_wins = item.local;
        let candidates = item.shadowed.into_iter().chain(item.winner.filter(|_| local_wins));
        for op in candidates.chain(item.clash).chain(item.twins) {
            let mine = store.op(op)?.is_some_and(|named| named.op.place.log.author == site.me());
            if mine {
                own.push(op);
            }
        }
    }
    // A delete that counts elsewhere would take along what others published.
    let counts = store.authority(feed)?.is_some_and(|authority| {
        let counts =
            |verb| counts_elsewhere(&authority, (feed, site.look().now), site.me(), verb, &coordinate.name);
        counts(Verb::Publish) || counts(Verb::DeleteWide)
    });
    if own.is_empty() || counts {
        return Err(StatementError::NothingLocal { coordinate });
    }
    let name = coordinate.name.clone();
    let body = Delete { coordinate, saw: own, reason: "local build taken back".to_owned() };
    say(site, feed, Body::Delete(body), Verb::DeleteWide, &name)
}
