//! The brake on mass deletion: counts what a link takes away within an hour, and others beside it, and holds it once it is too much.
//!
//! What was never this site's to lose is not taken away: a version that came in the same run or in earlier ones that were cut short before all ops were
//! in, and deletions that were here before, which damage or a restore took. To hold those would serve what was deleted. A version that stood before the
//! run is taken away also where the run brings another build of it first; and so it is by a deletion that a link left out until it was widened.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER;
use protocol::brake::{Stretch, bounded, trips};
use protocol::feed::{Held, Item, Standing};
use protocol::id::{FeedId, LogId};
use protocol::limits::BRAKE_DELETES_MIN;
use protocol::log::NamedOp;
use protocol::op::{Body, Delete, Place};
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
    let Some(Taken { places, versions: taken }) = taken(site, log, ops, brought, &counted)? else {
        return Ok(None);
    };
    let before = braked.recent.deletions();
    braked.recent.add(now, count(taken.len()), log, &places);
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
        let before = held.as_ref().map_or_else(Vec::new, |hold| hold.stretches.clone());
        let all = before.into_iter().chain(braked.recent.stretches()).chain(others.stretches);
        let hold = Hold {
            feed,
            link: link.to_owned(),
            since: held.as_ref().map_or(now, |hold| hold.since),
            stretches: bounded(all.collect()),
            deletes: held.as_ref().map_or(deletes, |hold| hold.deletes.saturating_add(more)),
            standing,
            names: held.map_or_else(|| braked.names.clone(), |hold| hold.names),
        };
        store.put_hold(id, &hold)?;
    }
    store.put_braked(feed, link, &braked)?;
    Ok(tripped)
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
    /// Where the deletes stand that would.
    places: Vec<(u64, u64)>,
    /// What stands of it and was not counted yet, as name and version.
    versions: BTreeSet<(String, String)>,
}

impl Taken {
    fn note(&mut self, seq: u64) {
        let after = seq.saturating_add(1);
        match self.places.last_mut().filter(|(_, end)| *end == seq) {
            Some((_, end)) => *end = after,
            None => self.places.push((seq, after)),
        }
    }
}

/// What deletes among the ops would take away, if there are any that can: what stood here before the run, or would stand if all that was counted
/// waited. What was counted is counted once: another link brings it just now as well, or brought it and its run was cut short before it was kept; or
/// somebody else takes the same version away.
fn taken(
    site: &SiteStore,
    log: LogId,
    ops: &[NamedOp],
    brought: &Brought,
    counted: &[Stretch],
) -> Result<Option<Taken>, ReadError> {
    let (store, look) = (site.store(), site.look());
    let known = store.log_longest(log)?;
    // Of what lies before that damage took what is in no gap, and may have taken what is in one.
    let damaged = store.is_damage_noted()?;
    let mut waiting = Held::default();
    counted.iter().for_each(|(log, from, to)| waiting.add(*log, *from, *to));
    let came_along = |place: Place| brought.get(&place.log).is_some_and(|from| place.seq >= *from);
    let (mut taken, mut followed) = (Taken::default(), BTreeMap::new());
    for named in ops {
        let Body::Delete(Delete { coordinate: at, .. }) = &named.op.body else { continue };
        let seq = named.op.place.seq;
        if seq < known && (damaged || store.gap(log, seq)? != Some(named.id)) {
            continue;
        }
        let mut facts = store.facts(log.feed, &at.name, &at.version)?;
        let is_counted =
            |named: &NamedOp| matches!(named.op.body, Body::Delete(_)) && waiting.holds(named.op.place);
        let again = waiting.holds(named.op.place) || facts.iter().any(is_counted);
        facts.retain(|named| !came_along(named.op.place));
        let item = store.item_of(log.feed, &facts, look, &waiting)?;
        let Some(item) = item.filter(|item| item.standing == Standing::Served) else { continue };
        if let Some(publish) = won(store, &item)?
            && !was_had(site, &publish, &mut followed)?
        {
            continue;
        }
        taken.note(seq);
        if !again {
            taken.versions.insert((at.name.clone(), at.version.clone()));
        }
    }
    Ok((!taken.places.is_empty()).then_some(taken))
}

/// The publish that is served.
fn won(store: &Store, item: &Item) -> Result<Option<NamedOp>, ReadError> {
    Ok(item.winner.map(|winner| store.op(winner)).transpose()?.flatten())
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
