//! The brake on mass deletion over one link: counts what a run takes away, and holds it once it is too much.

use std::collections::{BTreeMap, BTreeSet};

use protocol::brake::trips;
use protocol::feed::Standing;
use protocol::id::{FeedId, LogId};
use protocol::limits::BRAKE_DELETES_MIN;
use protocol::log::NamedOp;
use protocol::op::Body;

use super::SiteStore;
use crate::store::{HOLD_NAMES_MAX, Hold, ReadError, WriteError};

/// What one run took away of one feed so far.
#[derive(Debug, Default)]
struct Taken {
    /// Coordinates that stood and would vanish.
    names: BTreeSet<(String, String)>,
    stretches: Vec<(LogId, u64, u64)>,
    /// What stood before the run, counted once it matters.
    standing: Option<u64>,
    hold: Option<[u8; 8]>,
}

/// One link's run.
#[derive(Debug, Default)]
pub(super) struct Braking {
    taken: BTreeMap<FeedId, Taken>,
}

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

impl Braking {
    /// A run begins: what earlier ones took away counts no more.
    pub(super) fn begin(&mut self) {
        self.taken.clear();
    }

    /// Looks at a run of ops before it is appended. Once the brake trips a hold is durable before they are, and it covers all that the
    /// run brought. Gives the hold's name where it tripped with this one.
    pub(super) fn before(
        &mut self,
        site: &SiteStore,
        link: &str,
        log: LogId,
        (first, end): (u64, u64),
        ops: &[NamedOp],
    ) -> Result<Option<[u8; 8]>, BrakeError> {
        let feed = log.feed;
        if !ops.iter().any(|named| matches!(named.op.body, Body::Delete(_))) {
            return Ok(None);
        }
        let look = site.look();
        let taken = self.taken.entry(feed).or_default();
        let gone_already = taken.names.len();
        for named in ops {
            let Body::Delete(delete) = &named.op.body else { continue };
            let at = &delete.coordinate;
            let item = site.store().item(feed, &at.name, &at.version, look)?;
            if item.is_some_and(|item| item.standing == Standing::Served) {
                taken.names.insert((at.name.clone(), at.version.clone()));
            }
        }
        taken.stretches.push((log, first, end));
        let deletes = count(taken.names.len());
        if deletes <= BRAKE_DELETES_MIN {
            return Ok(None);
        }
        let standing = match taken.standing {
            Some(standing) => standing,
            None => *taken.standing.insert(standing(site, feed)?.saturating_add(count(gone_already))),
        };
        let tripped = match taken.hold {
            None if !trips(deletes, standing) => return Ok(None),
            None => {
                let mut id = [0; 8];
                getrandom::fill(&mut id).map_err(BrakeError::Randomness)?;
                taken.hold = Some(id);
                Some(id)
            }
            Some(_) => None,
        };
        let names =
            taken.names.iter().take(HOLD_NAMES_MAX).map(|(name, version)| format!("{name}@{version}"));
        let hold = Hold {
            feed,
            link: link.to_owned(),
            since: look.now,
            stretches: taken.stretches.clone(),
            deletes,
            standing,
            names: names.collect(),
        };
        if let Some(id) = taken.hold {
            site.store().put_hold(id, &hold)?;
        }
        Ok(tripped)
    }
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
