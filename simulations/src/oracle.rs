//! What was said, by whom and whether it was acknowledged: a list of facts. It draws no conclusions.

mod spread;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use protocol::grant::Verb;
use protocol::id::{FeedId, LogId, OpId, SiteId};
use protocol::log::NamedOp;
use protocol::op::{Body, Closing, Delete, Place, Publish};
use protocol::time::Hlc;

use crate::site::Site;
use crate::topology::Shape;
pub use spread::Spread;
pub use words::{Said, Word, Words};

/// Further ahead no clock of an honest site is of another's.
const FAR_MS: u64 = 24 * 3_600_000;

/// One op that people caused.
#[derive(Debug, Clone)]
pub struct Fact {
    pub site: usize,
    pub id: OpId,
    pub place: Place,
    pub stamp: Hlc,
    pub body: Body,
    /// Whether it was acknowledged. What was not may exist or not; its author's store knows.
    pub certain: bool,
    /// Its author's machine was set back to before it. It exists where anybody has it, and these sites, which had it then, must not lose it.
    pub witnesses: Option<BTreeSet<usize>>,
    /// Rot took it at its author, for a while or for good.
    pub rotted: bool,
    /// It lies behind the cut of a forked log: it counts at its author's alone.
    pub cut_off: bool,
    /// It is said again of what another site said, whose bytes may not have come.
    pub again: bool,
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

    /// A site has lost it.
    fn is_lost(&mut self, at: usize, sites: &[Site]) {
        if let Some(witnesses) = &mut self.witnesses {
            witnesses.remove(&at);
        } else if self.site == at {
            let has = |(at, site): (usize, &Site)| site.holds(self.id).then_some(at);
            self.witnesses = Some(sites.iter().enumerate().filter_map(has).collect());
        }
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
    /// Names of which the origin said again what it serves: of a log with two histories other sites may have served something else under a seal.
    pub chosen_again: BTreeSet<String>,
    /// How far forked logs count of which the origin said that.
    pub cuts: BTreeMap<LogId, u64>,
    /// Who may write.
    pub words: Words,
    /// How far everything may have come.
    pub spread: Spread,
    /// Whether something was ruled, so that ops may be where rights and links of now would not bring them, or not be where they would.
    pub ruled: bool,
}

impl Oracle {
    /// Notes an op.
    pub fn note(&mut self, site: usize, named: NamedOp, certain: bool) {
        if let Body::Publish(publish) = &named.op.body {
            self.published_bytes += publish.manifest.size();
        }
        let (place, stamp) = (named.op.place, named.op.stamp);
        let (id, body) = (named.id, named.op.body);
        let (witnesses, rotted, cut_off, again) = (None, false, false, false);
        self.facts.push(Fact { site, id, place, stamp, body, certain, witnesses, rotted, cut_off, again });
    }

    /// Notes what the origin says again of what lies behind a cut.
    pub fn note_again(&mut self, named: NamedOp) {
        self.chosen_again.extend(named.op.body.coordinate().map(|at| at.name.clone()));
        self.note(0, named, true);
        if let Some(fact) = self.facts.last_mut() {
            fact.again = true;
        }
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

    /// Everything gets as far as it does while links are as they are.
    pub fn flow(&mut self, shape: &Shape) {
        self.spread.flow(shape, &self.facts);
    }

    /// A machine was set back: what it said since and lost is known to those alone that have it.
    pub fn taken_back(&mut self, at: usize, sites: &[Site]) {
        let Some(site) = sites.get(at) else { return };
        for fact in self.facts.iter_mut().filter(|fact| !site.holds(fact.id)) {
            fact.is_lost(at, sites);
        }
        self.sealed.retain(|(under, _), _| *under != at);
    }

    /// Rot took what a machine held: what that said is known to those alone that have it.
    pub fn lost_to_rot(&mut self, at: usize, sites: &[Site]) {
        let Some(site) = sites.get(at) else { return };
        for fact in self.facts.iter_mut().filter(|fact| !site.holds(fact.id)) {
            fact.rotted |= fact.site == at && fact.witnesses.is_none();
            fact.is_lost(at, sites);
        }
    }

    /// What rot took at a site of what it had acknowledged, for a while or for good.
    pub fn rotted_at(&self, at: usize) -> impl Iterator<Item = &Fact> {
        self.facts.iter().filter(move |fact| fact.site == at && fact.certain && fact.rotted)
    }

    /// The facts that exist: those acknowledged that no machine was set back from, and of the others those that somebody holds.
    pub fn facts<'a>(&'a self, sites: &'a [Site]) -> impl Iterator<Item = &'a Fact> {
        self.facts.iter().filter(move |fact| {
            let stands = fact.certain && fact.witnesses.is_none();
            stands || sites.iter().any(|site| site.holds(fact.id))
        })
    }

    /// Each fact with the sites at which it must be in the end: where links bring it from those that hold it.
    #[must_use]
    pub fn due<'a>(&'a self, seen: Seen<'a>) -> Vec<(&'a Fact, BTreeSet<usize>)> {
        let Seen { sites, shape, .. } = seen;
        let reach: Vec<[BTreeSet<usize>; 2]> =
            (0..shape.sites()).map(|site| [shape.reach(site, false), shape.reach(site, true)]).collect();
        // That somebody may write is the origin's word, which rot may have taken from it: it takes in nothing of that site then.
        let forgotten = |fact: &Fact| {
            let author = fact.place.log.author;
            let writes = fact.site > 0 && shape.authors.get(fact.site) == Some(&true);
            writes && seen.known.first().is_some_and(|known| !self.words.granted(known, author))
        };
        let due = |fact: &'a Fact| {
            let deletes = fact.body.is_removal();
            if fact.cut_off {
                let at_home = sites.get(fact.site).filter(|site| site.holds(fact.id)).map(|_| fact.site);
                return (fact, at_home.into_iter().collect());
            }
            if !self.ruled && fact.witnesses.is_none() && !forgotten(fact) {
                let reach =
                    reach.get(fact.site).map(|[adds, removals]| if deletes { removals } else { adds });
                return (fact, reach.cloned().unwrap_or_default());
            }
            let holds = |at: &usize| sites.get(*at).is_some_and(|site| site.holds(fact.id));
            let holders: BTreeSet<usize> = (0..sites.len()).filter(holds).collect();
            // Who has not heard that the author may write passes nothing of it on.
            let known = |at: &usize| {
                let known = seen.known.get(*at);
                fact.site == 0 || known.is_some_and(|known| self.words.granted(known, fact.place.log.author))
            };
            // Nor does who has the proof of two histories, where the origin is not shown it.
            let log = fact.place.log;
            let waits = |at: &usize| {
                let proofs = sites.get(*at).and_then(|site| site.store().forks(seen.feed).ok());
                let cut = self.cuts.get(&log).copied();
                proofs.unwrap_or_default().iter().any(|proof| proof.freezes(log, cut, fact.site == 0))
            };
            let passing = holders.iter().copied().filter(known).filter(|at| !waits(at));
            let passing = passing.filter(|_| !forgotten(fact));
            let mut reached = shape.closure(passing.collect(), deletes);
            reached.extend(holders);
            (fact, reached)
        };
        self.facts(sites).map(due).collect()
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
    /// The words about rights that each site knows.
    pub known: &'a [BTreeSet<OpId>],
    /// The sites at which bits have rotted.
    pub rotted: &'a BTreeSet<usize>,
    /// The sites whose machines were set back.
    pub set_back: &'a BTreeSet<usize>,
    /// The site that keeps no rules, if there is one. Facts of its are of the site after the last.
    pub cheat: Option<&'a Site>,
}

/// Whether a later key accepts what an earlier one signed in a place.
#[must_use]
pub fn accepts(closing: &Closing, place: Place) -> bool {
    let Place { log, seq } = place;
    let mut tips = closing.accepted.iter();
    tips.any(|tip| tip.author == log.author && tip.epoch == log.epoch && seq < tip.len)
}

impl Seen<'_> {
    /// Whether an op may do something, by the words that a site knows. The origin may everything.
    fn may(&self, at: usize, fact: &Fact, verb: Verb) -> bool {
        let by_words =
            |known| self.oracle.words.let_count(known, (fact.place, fact.stamp), verb, fact.name());
        !self.is_closed(at, fact)
            && !self.waits(at, fact)
            && (fact.site == 0 || self.known.get(at).is_some_and(by_words))
    }

    /// Whether an op of the cheat's is stamped so far ahead that it waits for good. What others say is due before a world ends, and so is what is
    /// sealed: at a place of which it signed two ops, both are.
    fn waits(&self, at: usize, fact: &Fact) -> bool {
        let site = self.sites.get(at).filter(|_| fact.site == self.sites.len());
        let is_sealed = |site: &Site| {
            let ledger = site.reads(|store| store.ledger(self.feed)).flatten();
            ledger.is_some_and(|ledger| ledger.seal_of(fact.place).is_some())
        };
        let is_far = |site: &Site| fact.stamp.wall().0 > site.wall(self.now).0.saturating_add(FAR_MS);
        site.is_some_and(|site| is_far(site) && !is_sealed(site))
    }

    /// Whether a site knows that a later key of a fact's author accepts its log only up to before it, for the author lost it with its machine.
    #[must_use]
    pub fn is_closed(&self, at: usize, fact: &Fact) -> bool {
        let site = self.sites.get(at).filter(|_| fact.witnesses.is_some());
        let closings = site.map(|site| site.closings(fact.place.log)).unwrap_or_default();
        !closings.is_empty() && !closings.iter().any(|closing| accepts(closing, fact.place))
    }

    /// Whether a publish counts for everybody, or a delete removes what anybody published, as far as a site knows.
    #[must_use]
    pub fn counts(&self, at: usize, fact: &Fact) -> bool {
        let verb = if fact.delete().is_some() { Verb::DeleteWide } else { Verb::Publish };
        !fact.cut_off && self.may(at, fact, verb)
    }

    /// Whether one fact is a delete that at a site removes the publish that the other one is.
    #[must_use]
    pub fn removes(&self, at: usize, by: &Fact, of: &Fact) -> bool {
        let Some(publish) = of.publish().filter(|_| by.delete().is_some() && by.name() == of.name()) else {
            return false;
        };
        let own = || by.site == of.site && !by.cut_off && self.may(at, by, Verb::DeleteOwn);
        !publish.supersedes.contains(&by.id) && (self.counts(at, by) || own())
    }

    /// Whether a publish brings back, over deletes that count, bytes that were not what they had removed.
    #[must_use]
    pub fn reuses(&self, at: usize, fact: &Fact, among: &[&Fact]) -> bool {
        let Some(publish) = fact.publish() else { return false };
        let overruled = |of: &&&Fact| {
            let removes = |by: &&&Fact| publish.supersedes.contains(&by.id) && self.removes(at, by, of);
            self.counts(at, of) && among.iter().any(|by| removes(&by))
        };
        let mut before = among.iter().filter(overruled).filter_map(|of| of.publish()).peekable();
        before.peek().is_some() && !before.any(|of| of.manifest.same_bytes(&publish.manifest))
    }
}
