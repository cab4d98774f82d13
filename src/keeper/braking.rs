//! The brake on mass deletion: counts what a link takes away within an hour, and others beside it, and holds it once it is too much.
//!
//! What was never this site's to lose is not taken away: a version that came in the same run or in earlier ones that were cut short before all ops were
//! in, and deletions that were here before, which damage or a restore took. To hold those would serve what was deleted. A version that stood before the
//! run is taken away also where the run brings another build of it first; and so it is by a deletion that a link left out until it was widened.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER;
use protocol::brake::{Stretch, trips};
use protocol::feed::{Item, Standing};
use protocol::id::{FeedId, LogId};
use protocol::limits::BRAKE_DELETES_MIN;
use protocol::log::NamedOp;
use protocol::op::{Body, Place};
use protocol::time::Timestamp;

use super::{SiteStore, locked};
use crate::store::{BlobState, Braked, HOLD_NAMES_MAX, Hold, ReadError, Store, SweepError, WriteError};

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

/// For each log of which a run brought something, from which position on.
pub(super) type Brought = BTreeMap<LogId, u64>;

/// Looks at ops before they are appended. Once the brake trips a hold is durable before they are, and it covers all that the link took
/// away within the window. Gives the hold's name where it tripped with these.
pub(super) fn before(
    site: &SiteStore,
    link: &str,
    log: LogId,
    ops: &[NamedOp],
    brought: &Brought,
    now: Timestamp,
) -> Result<Option<[u8; 8]>, BrakeError> {
    if !ops.iter().any(|named| matches!(named.op.body, Body::Delete(_))) {
        return Ok(None);
    }
    let feed = log.feed;
    let store = site.store();
    if log.author == site.me() || store.waits(feed)?.is_some() {
        return Ok(None);
    }
    let _one_at_a_time = locked(&site.inner.brakes);
    let open = store.open_holds(Some(feed))?;
    let is_open =
        |hold: Option<([u8; 8], u64)>| hold.filter(|(id, _)| open.iter().any(|(held, _)| held == id));
    let mut braked = store.braked(feed, link)?;
    // A hold that is gone was approved, and what it covered counts no more.
    if braked.hold.is_some() && is_open(braked.hold).is_none() {
        braked = Braked::default();
    }
    braked.recent.pass(now);
    if braked.recent.deletions() == 0 {
        braked.names.clear();
    }
    let others = elsewhere(store, (feed, link), now)?;
    // While a person is asked about deletions of the feed, what comes over another link of them waits with those.
    braked.hold = braked.hold.or_else(|| others.holds.iter().find_map(|hold| is_open(Some(*hold))));
    let held = open.iter().flat_map(|(_, hold)| hold.stretches.iter().copied());
    let counted: Vec<Stretch> =
        held.chain(braked.recent.stretches()).chain(others.stretches.iter().copied()).collect();
    let Some(Taken { went_on, filled, versions: taken }) = taken(site, log, ops, brought, &counted)? else {
        return Ok(None);
    };
    let before = braked.recent.deletions();
    count_in(&mut braked, now, log, (went_on, filled), count(taken.len()));
    let room = HOLD_NAMES_MAX.saturating_sub(braked.names.len());
    braked.names.extend(taken.into_iter().take(room).map(|(name, version)| format!("{name}@{version}")));
    let more = braked.recent.deletions().saturating_sub(before);
    let deletes = braked.recent.deletions().saturating_add(others.deletions);
    let mut tripped = None;
    if braked.hold.is_none() && deletes > BRAKE_DELETES_MIN {
        let stood = standing(site, feed)?.saturating_add(deletes.saturating_sub(more));
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
        for (log, first, end) in braked.recent.stretches().into_iter().chain(others.stretches) {
            stretches.retain(|(of, from, to)| *of != log || *from < first || *to > end);
            stretches.push((log, first, end));
        }
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

/// Counts deletions with which a log went on and those in places that had been left out.
fn count_in(
    braked: &mut Braked,
    now: Timestamp,
    log: LogId,
    (went_on, filled): (Option<(u64, u64)>, Vec<(u64, u64)>),
    deletions: u64,
) {
    if filled.is_empty() {
        went_on.into_iter().for_each(|(first, end)| braked.recent.add(now, deletions, (log, first, end)));
    } else {
        braked.recent.add_scattered(now, deletions, log, filled.into_iter().chain(went_on).collect());
    }
}

impl SiteStore {
    /// Lets the deletes of a hold take effect, by its name in hexadecimal. What it was, where it is open.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn approve(&self, name: &str) -> Result<Option<([u8; 8], Hold)>, SweepError> {
        let _one_at_a_time = locked(&self.inner.brakes);
        let store = self.store();
        let found = store.open_holds(None)?.into_iter().find(|(id, _)| HEXLOWER.encode(id) == name);
        let Some((id, hold)) = found else { return Ok(None) };
        store.remove_hold(hold.feed, id)?;
        store.release_brakes(hold.feed)?;
        Ok(Some((id, hold)))
    }
}

/// What other links took away within the window and no hold covers, and the holds that cover what they did.
#[derive(Default)]
struct Elsewhere {
    deletions: u64,
    stretches: Vec<Stretch>,
    holds: Vec<([u8; 8], u64)>,
}

/// In a mesh the deletions of one hand come over several links, a part over each.
fn elsewhere(store: &Store, (feed, link): (FeedId, &str), now: Timestamp) -> Result<Elsewhere, ReadError> {
    let mut all = Elsewhere::default();
    for mut braked in store.braked_elsewhere(feed, link)? {
        braked.recent.pass(now);
        if let Some(hold) = braked.hold {
            all.holds.push(hold);
        } else {
            all.deletions = all.deletions.saturating_add(braked.recent.deletions());
            all.stretches.extend(braked.recent.stretches());
        }
    }
    Ok(all)
}

/// What ops would take away.
#[derive(Default)]
struct Taken {
    /// From the first of the deletes with which the log goes on to the position after the last.
    went_on: Option<(u64, u64)>,
    /// Where deletes stand that had been left out.
    filled: Vec<(u64, u64)>,
    /// What stands of it, as name and version.
    versions: BTreeSet<(String, String)>,
}

impl Taken {
    fn note(&mut self, seq: u64, fills: bool) {
        let after = seq.saturating_add(1);
        if !fills {
            let first = self.went_on.map_or(seq, |(first, _)| first);
            self.went_on = Some((first, after));
        } else if let Some((_, end)) = self.filled.last_mut().filter(|(_, end)| *end == seq) {
            *end = after;
        } else {
            self.filled.push((seq, after));
        }
    }
}

/// What deletes among the ops would take away, if there are any that can. Those in stretches that were counted are: another link brings them just now
/// as well, or brought them and its run was cut short before they were kept.
fn taken(
    site: &SiteStore,
    log: LogId,
    ops: &[NamedOp],
    brought: &Brought,
    counted: &[Stretch],
) -> Result<Option<Taken>, ReadError> {
    let store = site.store();
    let known = store.log_longest(log)?;
    // Of what lies before that damage took what is in no gap, and may have taken what is in one.
    let damaged = store.is_damage_noted()?;
    let came_along = |place: Place| brought.get(&place.log).is_some_and(|from| place.seq >= *from);
    let (mut taken, mut followed) = (Taken::default(), BTreeMap::new());
    for named in ops {
        let Body::Delete(delete) = &named.op.body else { continue };
        let (at, seq) = (&delete.coordinate, named.op.place.seq);
        let fills = seq < known;
        if fills && (damaged || store.gap(log, seq)? != Some(named.id)) {
            continue;
        }
        let mut item = store.item(log.feed, &at.name, &at.version, site.look())?;
        let mut winner = won(store, item.as_ref())?;
        if winner.as_ref().is_some_and(|publish| came_along(publish.op.place)) {
            item = store.item_of_some(log.feed, at, site.look(), |place| !came_along(place))?;
            winner = won(store, item.as_ref())?;
            if winner.is_none() {
                continue;
            }
        }
        if let Some(publish) = winner
            && !was_had(site, &publish, &mut followed)?
        {
            continue;
        }
        taken.note(seq, fills);
        let is_counted = |(of, from, to): &Stretch| *of == log && (*from..*to).contains(&seq);
        if !counted.iter().any(is_counted) && item.is_some_and(|item| item.standing == Standing::Served) {
            taken.versions.insert((at.name.clone(), at.version.clone()));
        }
    }
    let any = taken.went_on.is_some() || !taken.filled.is_empty();
    Ok(any.then_some(taken))
}

/// The publish that is served.
fn won(store: &Store, item: Option<&Item>) -> Result<Option<NamedOp>, ReadError> {
    let winner = item.and_then(|item| item.winner).map(|winner| store.op(winner)).transpose()?;
    Ok(winner.flatten())
}

/// Whether a version was ever whole here: this site said it, or its bytes are here, which come once all ops of a run are in, or a run over some link
/// was told of it and ended with all ops in.
fn was_had(
    site: &SiteStore,
    publish: &NamedOp,
    followed: &mut BTreeMap<LogId, u64>,
) -> Result<bool, ReadError> {
    let (store, Place { log, seq }) = (site.store(), publish.op.place);
    if log.author == site.me() {
        return Ok(true);
    }
    if let Body::Publish(body) = &publish.op.body {
        let mut whole = true;
        for file in &body.manifest.files {
            whole = whole && matches!(store.blob_state(file.blob)?, BlobState::Complete { .. });
        }
        if whole {
            return Ok(true);
        }
    }
    // How far a log was followed says nothing of what was left out of it.
    if store.came_late(publish)? {
        return Ok(false);
    }
    let known = match followed.get(&log) {
        Some(known) => *known,
        None => store.followed(log)?,
    };
    followed.insert(log, known);
    Ok(known > seq)
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
