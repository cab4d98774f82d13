//! What no history may break, told by facts alone: which op was said, which names which. The fold is not made a second time here.

use std::collections::BTreeMap;

use protocol::feed::{Item, Standing};
use protocol::id::{OpId, SiteId};
use protocol::log::NamedOp;
use protocol::op::{Body, Delete, Publish};
use protocol::package::Coordinate;
use protocol::time::Timestamp;

use super::NAMES;
use super::site::{Site, coordinate};

/// How often a promise was put to the test, and what came of what is not promised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub histories: u64,
    /// Pairs of sites that hold the same and were compared.
    pub compared: u64,
    /// Deletes, each looked at where it was said.
    pub deletes: u64,
    /// Coordinates at a site whose newest op is a delete that counts.
    pub newest_deleted: u64,
    /// Local packages at a leaf that a delete from elsewhere reached.
    pub row_20: u64,
    /// Coordinates whose newest op is a publish, and how many of those publishes do not stand.
    pub newest_published: u64,
    pub suppressed: u64,
    /// Of these, hidden by the site itself.
    pub hidden: u64,
    /// Sealed packages followed from step to step.
    pub sealed: u64,
    /// Coordinates at rest at which two builds stand.
    pub clashes: u64,
}

impl Counts {
    pub(super) const fn add(&mut self, other: &Self) {
        self.histories += other.histories;
        self.compared += other.compared;
        self.deletes += other.deletes;
        self.newest_deleted += other.newest_deleted;
        self.row_20 += other.row_20;
        self.newest_published += other.newest_published;
        self.suppressed += other.suppressed;
        self.hidden += other.hidden;
        self.sealed += other.sealed;
        self.clashes += other.clashes;
    }
}

/// What was seen so far.
#[derive(Default)]
pub(super) struct Watch {
    pub(super) counts: Counts,
    /// What each site served at a coordinate when a seal covered it.
    sealed: BTreeMap<(SiteId, &'static str), OpId>,
}

/// Every publish of a coordinate that a site holds.
pub(super) fn publishes<'a>(site: &'a Site, at: &Coordinate) -> Vec<(&'a NamedOp, &'a Publish)> {
    let of = |named: &'a NamedOp| {
        if let Body::Publish(publish) = &named.op.body { Some((named, publish)) } else { None }
    };
    site.facts(at).iter().filter_map(of).collect()
}

/// Deletes of authors: those that remove whatever they do not know.
fn wide<'a>(site: &'a Site, at: &Coordinate) -> Vec<(&'a NamedOp, &'a Delete)> {
    let of = |named: &'a NamedOp| {
        let Body::Delete(delete) = &named.op.body else { return None };
        site.ledger.authority().is_author(named.op.place.log.author).then_some((named, delete))
    };
    site.facts(at).iter().filter_map(of).collect()
}

impl Watch {
    /// A delete takes effect where it is said, at once.
    pub(super) fn deleted(&mut self, site: &Site, now: Timestamp, said: &NamedOp) -> Result<(), String> {
        self.counts.deletes += 1;
        let Some(at) = said.op.body.coordinate() else { return Ok(()) };
        let item = site.item(now, at);
        if item.standing == Standing::Served {
            return Err(format!("{} was deleted and is served at the same site", at.name));
        }
        Ok(())
    }

    /// What must hold at every moment.
    pub(super) fn step(&mut self, sites: &[Site], now: Timestamp) -> Result<(), String> {
        for site in sites {
            for name in NAMES {
                let at = coordinate(name);
                let item = site.item(now, &at);
                self.seal_holds(site, name, &item)?;
                row_20(site, now, &at, &item)?;
                let mut reversed = site.facts(&at).to_vec();
                reversed.reverse();
                if site.item_of(now, &reversed) != item {
                    return Err(format!("what stands at {name} depends on the order of arrival"));
                }
            }
        }
        Ok(())
    }

    /// What was served under a seal never loses to other bytes while it stands.
    fn seal_holds(&mut self, site: &Site, name: &'static str, item: &Item) -> Result<(), String> {
        let key = (site.id(), name);
        if let Some(sealed) = self.sealed.get(&key) {
            self.counts.sealed += 1;
            if item.clash.contains(sealed) {
                return Err(format!("{name} was served under a seal and gave way to other bytes"));
            }
        }
        if let (Some(winner), Some(_)) = (item.winner, item.seal)
            && !item.local
        {
            self.sealed.insert(key, winner);
        }
        Ok(())
    }

    /// What must hold when nothing moves any more.
    pub(super) fn rest(&mut self, sites: &[Site], now: Timestamp) -> Result<(), String> {
        self.counts.histories += 1;
        for (nth, one) in sites.iter().enumerate() {
            for other in sites.iter().skip(nth + 1).filter(|other| other.shared() == one.shared()) {
                self.counts.compared += 1;
                NAMES.iter().try_for_each(|name| alike(one, other, now, &coordinate(name)))?;
            }
            for name in NAMES {
                self.at_rest(one, now, &coordinate(name))?;
            }
        }
        Ok(())
    }

    fn at_rest(&mut self, site: &Site, now: Timestamp, at: &Coordinate) -> Result<(), String> {
        let (item, me) = (site.item(now, at), site.id());
        let (publishes, wide) = (publishes(site, at), wide(site, at));
        self.counts.clashes += u64::from(!item.clash.is_empty());
        let local =
            |named: &NamedOp| named.op.place.log.author == me && !site.ledger.authority().is_author(me);
        self.counts.row_20 += u64::from(!wide.is_empty() && publishes.iter().any(|(named, _)| local(named)));
        for (named, publish) in &publishes {
            let over: Vec<_> = wide.iter().filter(|(by, _)| !publish.supersedes.contains(&by.id)).collect();
            let served = item.winner == Some(named.id) || item.twins.contains(&named.id);
            if served && !over.is_empty() {
                return Err(format!("{} is served over a delete that it does not name", at.name));
            }
            let unseen = !over.is_empty() && !over.iter().any(|(_, delete)| delete.saw.contains(&named.id));
            if unseen && !local(named) && !item.suppressed.contains(&named.id) {
                return Err(format!("a publish of {} is suppressed and nobody is told", at.name));
            }
        }
        let newest = site.facts(at).iter().filter(|named| !is_hide(site, named));
        let Some(newest) = newest.max_by_key(|named| (named.op.stamp, named.id)) else { return Ok(()) };
        if let Body::Delete(_) = &newest.op.body {
            self.counts.newest_deleted += 1;
            // A restore at a site with a slower clock has a lower stamp, and names the delete.
            let restored = publishes
                .iter()
                .any(|(named, by)| Some(named.id) == item.winner && by.supersedes.contains(&newest.id));
            if item.standing == Standing::Served && !item.local && !restored {
                return Err(format!("{} was deleted last and is served", at.name));
            }
        } else if !local(newest) {
            self.newest_published(site, newest, &item)?;
        }
        Ok(())
    }

    /// What was published last is served, lost to another build, or its publisher can be told why it is not.
    fn newest_published(&mut self, site: &Site, newest: &NamedOp, item: &Item) -> Result<(), String> {
        self.counts.newest_published += 1;
        let known = item.winner == Some(newest.id)
            || item.twins.contains(&newest.id)
            || item.clash.contains(&newest.id)
            // A stamp may be above that of a delete which saw it: it was ahead of the clock there.
            || named_by_a_delete(site, newest);
        if item.suppressed.contains(&newest.id) {
            self.counts.suppressed += 1;
        } else if item.standing == Standing::Hidden {
            self.counts.hidden += 1;
        } else if !known && item.reused.is_empty() {
            return Err("the newest publish is gone and nobody is told".to_owned());
        }
        Ok(())
    }
}

/// Whether a delete or hide that is held says that it saw this publish.
fn named_by_a_delete(site: &Site, publish: &NamedOp) -> bool {
    let Some(at) = publish.op.body.coordinate() else { return false };
    site.facts(at)
        .iter()
        .any(|named| matches!(&named.op.body, Body::Delete(delete) if delete.saw.contains(&publish.id)))
}

/// Whether an op is a delete of a site that may not delete: it hides, there alone.
fn is_hide(site: &Site, named: &NamedOp) -> bool {
    matches!(named.op.body, Body::Delete(_)) && !site.ledger.authority().is_author(named.op.place.log.author)
}

/// A delete from elsewhere removes a leaf's own package of that coordinate, seen or not.
fn row_20(site: &Site, now: Timestamp, at: &Coordinate, item: &Item) -> Result<(), String> {
    if site.is_author() || !item.local {
        return Ok(());
    }
    let winner = publishes(site, at).into_iter().find(|(named, _)| Some(named.id) == item.winner);
    let Some((_, publish)) = winner else { return Ok(()) };
    let wall = site.wall(now);
    let over = wide(site, at)
        .into_iter()
        .any(|(by, _)| !by.op.stamp.is_ahead_of(wall) && !publish.supersedes.contains(&by.id));
    if over {
        Err(format!("a leaf serves its own {} though it was deleted upstream", at.name))
    } else {
        Ok(())
    }
}

/// Two sites that hold the same logs serve the same, but for what each says for itself alone.
fn alike(one: &Site, other: &Site, now: Timestamp, at: &Coordinate) -> Result<(), String> {
    let own = |site: &Site| {
        let me = site.id();
        !site.is_author() && site.facts(at).iter().any(|named| named.op.place.log.author == me)
    };
    if own(one) || own(other) {
        return Ok(());
    }
    let told = |site: &Site| {
        let item = site.item(now, at);
        (item.standing, item.winner, item.clash, item.suppressed)
    };
    if told(one) == told(other) {
        Ok(())
    } else {
        Err(format!(
            "two sites that hold the same differ about {}: {:?} and {:?}",
            at.name,
            told(one),
            told(other)
        ))
    }
}
