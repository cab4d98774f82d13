//! What was said, by whom and whether it was acknowledged: a list of facts. It draws no conclusions.

use std::collections::{BTreeMap, BTreeSet};

use protocol::id::{FeedId, LogId, OpId, SiteId};
use protocol::log::NamedOp;
use protocol::op::{Body, Delete, Place, Publish};

use crate::site::Site;
use crate::topology::Shape;

/// One op that people caused.
#[derive(Debug, Clone)]
pub struct Fact {
    pub site: usize,
    pub id: OpId,
    pub body: Body,
    /// Whether it was acknowledged. What was not may exist or not; its author's store knows.
    pub certain: bool,
    /// Its author's machine was set back to before it. It exists where anybody has it, and these sites, which had it then, must not lose it.
    pub witnesses: Option<BTreeSet<usize>>,
    /// Where in which log it is.
    pub place: Place,
    /// It lies behind the cut of a forked log: it counts at its author's alone.
    pub cut_off: bool,
}

impl Fact {
    /// The publish it is, if it is one.
    #[must_use]
    pub const fn publish(&self) -> Option<&Publish> {
        if let Body::Publish(publish) = &self.body { Some(publish) } else { None }
    }

    /// The delete it is, if it is one.
    #[must_use]
    pub const fn delete(&self) -> Option<&Delete> {
        if let Body::Delete(delete) = &self.body { Some(delete) } else { None }
    }

    /// The name it is about.
    #[must_use]
    pub fn name(&self) -> &str {
        self.body.coordinate().map_or("", |at| at.name.as_str())
    }
}

/// All facts.
#[derive(Debug, Default)]
pub struct Oracle {
    facts: Vec<Fact>,
    pub published_bytes: u64,
    /// The ops that each site's packages stood under a seal by, by site and name.
    pub sealed: BTreeMap<(usize, String), OpId>,
    /// Authors that run twice, or were set back and went on at once: these alone may be shown to have two histories.
    pub doubled: BTreeSet<SiteId>,
    /// How far forked logs count of which the origin said that.
    pub cuts: BTreeMap<LogId, u64>,
}

impl Oracle {
    /// Notes an op.
    pub fn note(&mut self, site: usize, named: NamedOp, certain: bool) {
        if let Body::Publish(publish) = &named.op.body {
            self.published_bytes += publish.manifest.size();
        }
        let (place, witnesses) = (named.op.place, None);
        let body = named.op.body;
        self.facts.push(Fact { site, id: named.id, body, certain, witnesses, place, cut_off: false });
    }

    /// Notes an op of a second machine with a site's key: it exists where anybody else has it.
    pub fn note_double(&mut self, site: usize, named: NamedOp) {
        self.note(site, named, false);
        if let Some(fact) = self.facts.last_mut() {
            fact.witnesses = Some(BTreeSet::new());
        }
    }

    /// The origin said how far a forked log counts. What stood under a seal may have been behind that.
    pub fn cut(&mut self, log: LogId, len: u64) {
        for fact in &mut self.facts {
            fact.cut_off |= fact.place.log == log && fact.place.seq >= len;
        }
        self.sealed.clear();
        self.cuts.insert(log, len);
    }

    /// A machine was set back: what it said since and lost is known to those alone that have it.
    pub fn taken_back(&mut self, at: usize, sites: &[Site]) {
        let Some(site) = sites.get(at) else { return };
        for fact in self.facts.iter_mut().filter(|fact| !site.holds(fact.id)) {
            if let Some(witnesses) = &mut fact.witnesses {
                witnesses.remove(&at);
            } else if fact.site == at {
                let has = |(at, site): (usize, &Site)| site.holds(fact.id).then_some(at);
                fact.witnesses = Some(sites.iter().enumerate().filter_map(has).collect());
            }
        }
        self.sealed.retain(|(under, _), _| *under != at);
    }

    /// The facts that exist: those acknowledged that no machine was set back from, and of the others those that somebody holds.
    pub fn facts<'a>(&'a self, sites: &'a [Site]) -> impl Iterator<Item = &'a Fact> {
        self.facts.iter().filter(move |fact| {
            let stands = fact.certain && fact.witnesses.is_none();
            stands || sites.iter().any(|site| site.holds(fact.id))
        })
    }

    /// What must be at a site in the end, by the links alone.
    #[must_use]
    pub fn due<'a>(&'a self, at: usize, sites: &'a [Site], shape: &Shape) -> Vec<&'a Fact> {
        let reach: Vec<[BTreeSet<usize>; 2]> =
            (0..shape.sites()).map(|site| [shape.reach(site, false), shape.reach(site, true)]).collect();
        self.facts(sites)
            .filter(|fact| {
                let deletes = fact.delete().is_some();
                if fact.cut_off {
                    return at == fact.site && sites.get(at).is_some_and(|site| site.holds(fact.id));
                }
                if fact.witnesses.is_some() {
                    let mut holders = sites.iter().enumerate().filter(|(_, site)| site.holds(fact.id));
                    return holders.any(|(from, _)| shape.flow(from, deletes).contains(&at));
                }
                let Some([adds, both]) = reach.get(fact.site) else { return false };
                let reached = if deletes { both } else { adds };
                reached.contains(&at)
            })
            .collect()
    }
}

/// What the checks look at.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    pub now: u64,
    pub feed: FeedId,
    pub shape: &'a Shape,
    pub sites: &'a [Site],
    pub oracle: &'a Oracle,
    /// Whether bits have rotted on a disk.
    pub rotted: bool,
}

impl Seen<'_> {
    /// Whether a fact counts beyond its author's.
    #[must_use]
    pub fn counts(&self, fact: &Fact) -> bool {
        self.is_author(fact.site) && !fact.cut_off
    }

    /// Whether a site may write in the feed.
    #[must_use]
    pub fn is_author(&self, site: usize) -> bool {
        self.shape.authors.get(site).copied().unwrap_or(false)
    }
}
