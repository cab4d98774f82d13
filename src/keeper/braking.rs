//! The brake on mass deletion over one link: counts what it takes away within an hour, and holds it once it is too much.

use std::collections::BTreeSet;

use protocol::brake::trips;
use protocol::feed::Standing;
use protocol::id::{FeedId, LogId};
use protocol::limits::BRAKE_DELETES_MIN;
use protocol::log::NamedOp;
use protocol::op::Body;
use protocol::time::Timestamp;

use super::SiteStore;
use crate::store::{HOLD_NAMES_MAX, Hold, ReadError, WriteError};

/// Why deletes could not be held.
#[derive(Debug, thiserror::Error)]
pub(super) enum BrakeError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("no random bytes for a hold's name: {0}")]
    Randomness(getrandom::Error),
}

/// Looks at ops before they are appended. Once the brake trips a hold is durable before they are, and it covers all that the link took
/// away within the window. Gives the hold's name where it tripped with these.
pub(super) fn before(
    site: &SiteStore,
    link: &str,
    log: LogId,
    (first, end): (u64, u64),
    ops: &[NamedOp],
    now: Timestamp,
) -> Result<Option<[u8; 8]>, BrakeError> {
    let feed = log.feed;
    if !ops.iter().any(|named| matches!(named.op.body, Body::Delete(_))) {
        return Ok(None);
    }
    let store = site.store();
    let taken = taken(site, feed, ops)?;
    let open = store.open_holds(Some(feed))?;
    let mut braked = store.braked(feed, link)?;
    // A hold that is gone was approved, and what it covered counts no more.
    if braked.hold.is_some_and(|(id, _)| !open.iter().any(|(held, _)| *held == id)) {
        braked = crate::store::Braked::default();
    }
    braked.recent.pass(now);
    if braked.recent.deletions() == 0 {
        braked.names.clear();
    }
    let before = braked.recent.deletions();
    braked.recent.add(now, count(taken.len()), (log, first, end));
    let room = HOLD_NAMES_MAX.saturating_sub(braked.names.len());
    braked.names.extend(taken.into_iter().take(room).map(|(name, version)| format!("{name}@{version}")));
    let deletes = braked.recent.deletions();
    let mut tripped = None;
    if braked.hold.is_none() && deletes > BRAKE_DELETES_MIN {
        let stood = standing(site, feed)?.saturating_add(before);
        if trips(deletes, stood) {
            let mut id = [0; 8];
            getrandom::fill(&mut id).map_err(BrakeError::Randomness)?;
            braked.hold = Some((id, stood));
            tripped = Some(id);
        }
    }
    if let Some((id, standing)) = braked.hold {
        let held = open.into_iter().find(|(held, _)| *held == id).map(|(_, hold)| hold);
        let mut stretches = held.as_ref().map_or_else(Vec::new, |hold| hold.stretches.clone());
        for (log, first, end) in braked.recent.stretches() {
            stretches.retain(|(of, from, to)| *of != log || *from < first || *to > end);
            stretches.push((log, first, end));
        }
        let more = deletes.saturating_sub(before);
        let hold = Hold {
            feed,
            link: link.to_owned(),
            since: held.as_ref().map_or(now, |hold| hold.since),
            stretches,
            deletes: held.as_ref().map_or(deletes, |hold| hold.deletes.saturating_add(more)),
            standing,
            names: held.map_or_else(|| braked.names.clone(), |hold| hold.names),
        };
        store.put_hold(id, &hold)?;
    }
    store.put_braked(feed, link, &braked)?;
    Ok(tripped)
}

/// Versions that stand and that the ops would take away.
fn taken(site: &SiteStore, feed: FeedId, ops: &[NamedOp]) -> Result<BTreeSet<(String, String)>, ReadError> {
    let mut taken = BTreeSet::new();
    for named in ops {
        let Body::Delete(delete) = &named.op.body else { continue };
        let at = &delete.coordinate;
        let item = site.store().item(feed, &at.name, &at.version, site.look())?;
        if item.is_some_and(|item| item.standing == Standing::Served) {
            taken.insert((at.name.clone(), at.version.clone()));
        }
    }
    Ok(taken)
}

fn count(of: usize) -> u64 {
    u64::try_from(of).unwrap_or(u64::MAX)
}

/// Versions of a feed that are served.
fn standing(site: &SiteStore, feed: FeedId) -> Result<u64, ReadError> {
    let mut served = 0;
    site.store().each_item(feed, site.look(), |_, item| {
        served += u64::from(item.standing == Standing::Served);
        Ok::<_, ReadError>(())
    })?;
    Ok(served)
}
