//! The two gates: what a link lets through, and who may write in a feed. Only this file turns verified ops into permitted ones.

use std::collections::{BTreeMap, BTreeSet};

use crate::fault::Reason;
use crate::id::{FeedId, LogId, OpId, SiteId};
use crate::limits::{BATCH_BYTES_MAX, OPS_PER_FRAME_MAX};
use crate::log::{Filling, Mmr, NamedOp, Verified};
use crate::op::{Body, Closing, Genesis, Grant, Op, OpenEpoch, Place, Revoke, Rights, Tip};
use crate::succession::{Succession, generation_of};
use crate::switches::Switches;
use crate::time::Hlc;

mod closed;
mod cut;
mod home;
mod proof;
mod unsayable;
mod words;

use closed::Closed;
pub use cut::CutAt;
pub use proof::RightsProof;
pub use unsayable::Unsayable;
use words::{Word, Words};

/// What an author wants to do, as far as rights tell it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Publish,
    DeleteOwn,
    DeleteWide,
    Block,
    Admin,
}

/// Who may write in one feed: a pure function of the feed's genesis and its grant and revoke ops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    origins: Vec<SiteId>,
    /// Grant and revoke ops in the order (stamp, id), so that arrival order does not matter.
    said: BTreeMap<(Hlc, OpId), (Place, Said)>,
    /// What each site was granted, in order; a grant that follows a revoke begins a term.
    terms: BTreeMap<SiteId, Vec<Term>>,
    /// The grants and revokes that count, about each site and in order.
    heard: BTreeMap<SiteId, Vec<(Hlc, OpId, Said)>>,
    /// Every site that is or may have been an admin, origins aside: what others say of rights changes nothing.
    admins: BTreeSet<SiteId>,
    cuts: BTreeMap<LogId, CutAt>,
    closed: Closed,
    /// The keys of other sites, as this one knows them beside what is said in the feed.
    known: BTreeMap<SiteId, Succession>,
    /// Logs that leave this site never.
    overlay: BTreeSet<LogId>,
    /// The keys that lead to logs of later ones.
    lineages: BTreeMap<LogId, Succession>,
}

/// Grants to one site that stand or fall together: those between two revokes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Term {
    grants: Vec<Grant>,
    /// The revoke that took them back, the newest where several did.
    ended: Option<Revoke>,
}

/// Whether what is stamped `stamp` and does `verb` to the package `name` may be done by a grant.
fn covers(grant: &Grant, stamp: Hlc, verb: Verb, name: &str) -> bool {
    grant.rights.holds(verb)
        && name.starts_with(&grant.prefix)
        && grant.expires.is_none_or(|expires| stamp.wall() < expires)
}

/// How far a revoke lets a log count.
fn accepted_of(revoke: &Revoke, log: LogId) -> u64 {
    let of = |tip: &&Tip| tip.author == log.author && tip.epoch == log.epoch;
    revoke.accepted.iter().filter(of).map(|tip| tip.len).max().unwrap_or(0)
}

impl Term {
    fn covers(&self, stamp: Hlc, verb: Verb, name: &str) -> bool {
        self.grants.iter().any(|grant| covers(grant, stamp, verb, name))
    }

    /// How far the revoke that ended it, if one did, lets a log count.
    fn accepted_len(&self, log: LogId) -> Option<u64> {
        self.ended.as_ref().map(|revoke| accepted_of(revoke, log))
    }

    fn accepts(&self, log: LogId, seq: u64) -> bool {
        self.accepted_len(log).is_none_or(|len| seq < len)
    }
}

/// A grant, and whether it was taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held<'a> {
    pub grant: &'a Grant,
    pub revoked: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Grant(Grant),
    Revoke(Revoke),
    Cut(LogId, CutAt),
    Closing(Closing),
}

impl Said {
    /// The site whose rights change.
    const fn about(&self) -> Option<SiteId> {
        match self {
            Self::Grant(grant) => Some(grant.grantee),
            Self::Revoke(revoke) => Some(revoke.grantee),
            Self::Cut(..) | Self::Closing(_) => None,
        }
    }
}

/// Takes in the next word about a site.
fn hear(terms: &mut Vec<Term>, said: &Said) {
    match said {
        Said::Grant(grant) => match terms.last_mut().filter(|term| term.ended.is_none()) {
            Some(term) => term.grants.push(grant.clone()),
            None => terms.push(Term { grants: vec![grant.clone()], ended: None }),
        },
        Said::Revoke(revoke) => match terms.last_mut() {
            Some(term) => term.ended = Some(revoke.clone()),
            None => terms.push(Term { grants: Vec::new(), ended: Some(revoke.clone()) }),
        },
        Said::Cut(..) | Said::Closing(_) => {}
    }
}

/// What the words about its author make of an op.
fn weigh_by(terms: &[Term], log: LogId, seq: u64, stamp: Hlc, verb: Verb, name: &str) -> Weight {
    let (mut weight, mut accepted) = (Weight::Nothing, true);
    // The newest term first: what a later revoke does not accept no earlier grant lets count.
    for term in terms.iter().rev() {
        accepted = accepted && term.accepts(log, seq);
        if term.covers(stamp, verb, name) {
            if accepted {
                return Weight::Counts;
            }
            weight = Weight::Held;
        }
    }
    weight
}

impl Authority {
    /// At the start only the origin may write.
    #[must_use]
    pub fn new(genesis: &Genesis) -> Self {
        let mut origins = vec![genesis.origin];
        origins.extend(genesis.second_origin);
        Self {
            origins,
            said: BTreeMap::new(),
            terms: BTreeMap::new(),
            heard: BTreeMap::new(),
            admins: BTreeSet::new(),
            cuts: BTreeMap::new(),
            closed: Closed::default(),
            known: BTreeMap::new(),
            lineages: BTreeMap::new(),
            overlay: BTreeSet::new(),
        }
    }

    /// Those keys of each log that has some.
    pub fn lineages(&self) -> impl Iterator<Item = (&LogId, &Succession)> {
        self.lineages.iter()
    }

    /// Whether a site is known here by later keys than its first.
    #[must_use]
    pub fn knows(&self, site: SiteId) -> bool {
        self.known.contains_key(&site)
    }

    /// By which keys, one after the other, logs of later keys come from their authors' first ones, as their heads prove. Two that part claim the
    /// same number, though one of them closed nothing by that. [P-59]
    pub fn descend(&mut self, lineages: impl IntoIterator<Item = (LogId, Succession)>) {
        self.lineages.extend(lineages.into_iter().filter(|(_, keys)| keys.generation() > 0));
        self.settle();
    }

    /// The same at a site that knows another by these keys: by its own word, on a connection that it alone can have.
    #[must_use]
    pub fn knowing(mut self, site: SiteId, keys: Succession) -> Self {
        self.known.insert(site, keys);
        self
    }

    /// Whether these keys are not those of the site that is known here by that id: an older key of its, in other hands, named others. [P-59]
    #[must_use]
    pub fn contradicts(&self, site: SiteId, keys: &Succession) -> bool {
        self.known.get(&site).is_some_and(|known| known.longer(keys).is_none())
    }

    /// Takes in a grant, revoke, cut or closing op. Tells whether it was one, in which case the feed's items may all stand differently.
    pub fn apply(&mut self, named: &NamedOp) -> bool {
        let said = match &named.op.body {
            Body::Grant(grant) => Said::Grant(grant.clone()),
            Body::Revoke(revoke) => Said::Revoke(revoke.clone()),
            Body::Cut(cut) => match CutAt::of(cut, named.op.place.log.feed) {
                Some((log, at)) => Said::Cut(log, at),
                None => return false,
            },
            Body::OpenEpoch(OpenEpoch { closes: Some(closing), .. })
                if generation_of(named.op.place.log.epoch) > 0 =>
            {
                Said::Closing(closing.clone())
            }
            Body::Publish(_)
            | Body::Delete(_)
            | Body::SetState(_)
            | Body::SetRef(_)
            | Body::Block(_)
            | Body::Unblock(_)
            | Body::Resolve(_)
            | Body::Seal(_)
            | Body::Statistics(_)
            | Body::OpenEpoch(_)
            | Body::Unknown { .. } => return false,
        };
        let decides = self.may_decide(named.op.place.log.author, &said);
        self.said.insert((named.op.stamp, named.id), (named.op.place, said));
        if decides {
            self.settle();
        }
        true
    }

    /// Whether a word may change what counts. Anyone may say any number of those that do not: they are kept, and cost no more than that.
    fn may_decide(&self, author: SiteId, said: &Said) -> bool {
        match said {
            Said::Grant(_) | Said::Revoke(_) => {
                self.origins.contains(&author) || self.admins.contains(&author)
            }
            Said::Cut(..) => self.origins.contains(&author),
            Said::Closing(_) => true,
        }
    }

    /// Works out from all that was said what counts of it.
    fn settle(&mut self) {
        let said = std::mem::take(&mut self.said);
        self.terms.clear();
        self.heard.clear();
        (self.cuts, self.closed) = cut::settle(&self.origins, &said, &self.lineages);
        let words = said.iter().filter_map(|(at, (place, said))| {
            let weighed = said.about().is_some()
                && !self.is_cut_off(place.log, place.seq)
                && !self.closed.doubts(place.log, place.seq);
            weighed.then_some(Word { at: *at, place, said })
        });
        let words = Words::possible(&self.origins, words);
        self.admins = words.admins();
        for word in words.counting(&self.origins) {
            if let Some(about) = word.said.about() {
                let (stamp, id) = word.at;
                hear(self.terms.entry(about).or_default(), word.said);
                self.heard.entry(about).or_default().push((stamp, id, word.said.clone()));
            }
        }
        self.said = said;
    }

    /// How far a log counts where its author signed two histories of it: the lowest that an origin said.
    #[must_use]
    pub fn cut(&self, log: LogId) -> Option<CutAt> {
        self.cuts.get(&log).cloned()
    }

    /// All cuts, with the logs they are of.
    pub fn cuts(&self) -> impl Iterator<Item = (LogId, &CutAt)> {
        self.cuts.iter().map(|(log, at)| (*log, at))
    }

    /// Whether an op lies beyond what counts of a log: of one with two histories, or of one that a later key of its author closed.
    #[must_use]
    pub fn is_cut_off(&self, log: LogId, seq: u64) -> bool {
        self.cuts.get(&log).is_some_and(|cut| seq >= cut.len()) || self.closed.leaves_out(log, seq)
    }

    /// Whether an op lies in a log that a later key of its author closed, beyond what that key accepts: an older key in other hands may have
    /// signed it. [P-59]
    #[must_use]
    pub fn is_closed(&self, log: LogId, seq: u64) -> bool {
        self.closed.leaves_out(log, seq)
    }

    /// How far a log of an earlier key counts, as a later key of its author said: none of it, where that one did not name it. Nothing for a
    /// log that is not closed.
    #[must_use]
    pub fn closed_at(&self, log: LogId) -> Option<Option<&Tip>> {
        self.closed.end(log)
    }

    /// Whether `me` said it: what a site says counts there, with a right to it or without.
    #[must_use]
    pub fn is_own(&self, place: Place, me: SiteId) -> bool {
        place.log.author == me && !self.is_closed(place.log, place.seq)
    }

    /// Authors of whom two keys claim to be the same one: nothing said by a later key of theirs counts until an origin cuts the false one. [P-59]
    #[must_use]
    pub const fn contested(&self) -> &BTreeSet<SiteId> {
        &self.closed.contested
    }

    /// Whether the site may grant and revoke in the whole feed, as far as nothing took that back; until when, the grant says.
    #[must_use]
    pub fn is_admin(&self, site: SiteId) -> bool {
        let whole = |grant: &Grant| grant.rights.admin && grant.prefix.is_empty();
        self.origins.contains(&site) || self.standing(site).iter().any(whole)
    }

    fn terms(&self, site: SiteId) -> &[Term] {
        self.terms.get(&site).map_or(&[], Vec::as_slice)
    }

    /// The grants to a site that nothing took back.
    fn standing(&self, site: SiteId) -> &[Grant] {
        let term = self.terms(site).last().filter(|term| term.ended.is_none());
        term.map_or(&[], |term| term.grants.as_slice())
    }

    /// The feed's first origin.
    #[must_use]
    pub fn origin(&self) -> Option<SiteId> {
        self.origins.first().copied()
    }

    /// Whether the site's logs travel at all: it was granted something, at whatever time.
    #[must_use]
    pub fn is_author(&self, site: SiteId) -> bool {
        self.origins.contains(&site) || self.terms(site).iter().any(|term| !term.grants.is_empty())
    }

    /// The rights granted to the site, as far as they stand, for people.
    #[must_use]
    pub fn rights(&self, site: SiteId) -> Rights {
        if self.origins.contains(&site) {
            return Rights::ALL;
        }
        self.standing(site).iter().fold(Rights::default(), |all, grant| all.or(grant.rights))
    }

    /// Whether an op at `log`/`seq`, stamped `stamp`, may do `verb` to the package `name`.
    #[must_use]
    pub fn allows(&self, log: LogId, seq: u64, stamp: Hlc, verb: Verb, name: &str) -> bool {
        self.weigh(log, seq, stamp, verb, name) == Weight::Counts
    }

    /// What an op at `log`/`seq`, stamped `stamp`, that does `verb` to the package `name` weighs. What lets it count is a grant that
    /// stands, or one that was taken back by a revoke that accepts the op, as every revoke after it does. What was granted once and accepts
    /// it no more lets it wait, until a later grant covers it. What lies behind a cut waits for ever. [P-55]
    #[must_use]
    pub fn weigh(&self, log: LogId, seq: u64, stamp: Hlc, verb: Verb, name: &str) -> Weight {
        if self.is_cut_off(log, seq) {
            return Weight::Held;
        }
        if self.stays_home(log) {
            return Weight::Nothing;
        }
        if self.origins.contains(&log.author) {
            return Weight::Counts;
        }
        weigh_by(self.terms(log.author), log, seq, stamp, verb, name)
    }

    /// Since when an op counts without a break: the stamp of the grant by which it does. Nothing for one that does not count now.
    #[must_use]
    pub fn counts_since(&self, log: LogId, seq: u64, stamp: Hlc, verb: Verb, name: &str) -> Option<Hlc> {
        if !self.allows(log, seq, stamp, verb, name) {
            return None;
        }
        let mut since = None;
        let mut terms = Vec::new();
        for (said, _, what) in self.heard.get(&log.author).map_or(&[][..], Vec::as_slice) {
            hear(&mut terms, what);
            let counts = weigh_by(&terms, log, seq, stamp, verb, name) == Weight::Counts;
            since = if counts { since.or(Some(*said)) } else { None };
        }
        Some(since.unwrap_or_default())
    }

    /// How far a log of an author whose rights are taken back counts; nothing of one who holds some.
    #[must_use]
    pub fn accepted_len(&self, log: LogId) -> Option<u64> {
        self.terms(log.author).last()?.accepted_len(log)
    }

    /// Whether the site is an origin: it alone, or the second one that was named at the feed's creation, seals.
    #[must_use]
    pub fn is_origin(&self, site: SiteId) -> bool {
        self.origins.contains(&site)
    }

    /// What tells apart two sets of grants and revokes.
    #[must_use]
    pub fn digest(&self) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new();
        for (_, op) in self.said.keys() {
            hasher.update(&op.0);
        }
        let mut digest = [0; 16];
        hasher.finalize_xof().fill(&mut digest);
        digest
    }

    /// The grants and revokes that count, in order.
    #[must_use]
    pub fn words(&self) -> Vec<OpId> {
        let mut words: Vec<(Hlc, OpId)> =
            self.heard.values().flatten().map(|(stamp, id, _)| (*stamp, *id)).collect();
        words.sort_unstable();
        words.into_iter().map(|(_, id)| id).collect()
    }

    /// Everyone who holds or held a grant, with what stands of it, for people.
    #[must_use]
    pub fn grants(&self) -> Vec<(SiteId, Vec<Held<'_>>)> {
        let mut all = Vec::with_capacity(self.terms.len());
        for (site, terms) in &self.terms {
            let mut held = Vec::new();
            for term in terms {
                let revoked = term.ended.is_some();
                held.extend(term.grants.iter().map(|grant| Held { grant, revoked }));
            }
            if !held.is_empty() {
                all.push((*site, held));
            }
        }
        all
    }
}

/// What comes of an op by its author's rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    Counts,
    /// Its author was revoked and the revoke does not accept it, or it lies behind a cut.
    Held,
    /// Its author never had the right.
    Nothing,
}

impl Rights {
    const fn holds(self, verb: Verb) -> bool {
        match verb {
            Verb::Publish => self.publish,
            Verb::DeleteOwn => self.delete_own || self.delete_wide,
            Verb::DeleteWide => self.delete_wide,
            Verb::Block => self.block,
            Verb::Admin => self.admin,
        }
    }

    const fn or(self, other: Self) -> Self {
        Self {
            publish: self.publish || other.publish,
            delete_own: self.delete_own || other.delete_own,
            delete_wide: self.delete_wide || other.delete_wide,
            block: self.block || other.block,
            admin: self.admin || other.admin,
        }
    }
}

/// Proof that a gate was passed. The store takes nothing else, so a forgotten check does not compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permitted<T> {
    inner: T,
}

impl<T> Permitted<T> {
    /// What was permitted.
    #[must_use]
    pub const fn inner(&self) -> &T {
        &self.inner
    }

    /// What was permitted, by value.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.inner
    }
}

impl Permitted<Filling> {
    /// Ops that fill gaps of a log, which came over a link: both gates, as for a run. Only a link that lets everything in fills gaps; those in what
    /// `me` said itself, any that lets something in.
    ///
    /// # Errors
    /// The feed is not the link's, the link holds something back, or the author has no rights in the feed.
    pub fn filled(
        filling: Filling,
        feed: FeedId,
        effective: Switches,
        authority: &Authority,
        me: SiteId,
    ) -> Result<Self, Reason> {
        if filling.log().feed != feed {
            return Err(Reason::FeedUnknown);
        }
        let author = filling.log().author;
        let effective = effective.of_author(author == me);
        if !effective.in_add {
            return Err(Reason::AddsHeldBack);
        }
        if !effective.in_delete {
            return Err(Reason::DeletesHeldBack);
        }
        if author != me && !authority.is_author(author) {
            return Err(Reason::AuthorNotAllowed);
        }
        Ok(Self { inner: filling })
    }
}

impl Permitted<Verified> {
    /// Ops that came over a link: both gates. `effective` is in this site's terms; `me` may learn its own ops back, whichever they are.
    ///
    /// # Errors
    /// The feed is not the link's, the link holds back what is in the run, its author has no rights in the feed, or is known by other keys.
    pub fn received(
        verified: Verified,
        feed: FeedId,
        effective: Switches,
        authority: &Authority,
        me: SiteId,
    ) -> Result<Self, Reason> {
        if verified.log().feed != feed {
            return Err(Reason::FeedUnknown);
        }
        if !effective.flows_in() {
            return Err(Reason::AddsHeldBack);
        }
        let author = verified.log().author;
        let effective = effective.of_author(author == me);
        for named in verified.ops() {
            let removal = named.op.body.is_removal();
            if removal && !effective.in_delete {
                return Err(Reason::DeletesHeldBack);
            }
            if !removal && !effective.in_add && matches!(named.op.body, Body::Publish(_)) {
                return Err(Reason::AddsHeldBack);
            }
        }
        if author != me && !authority.is_author(author) {
            return Err(Reason::AuthorNotAllowed);
        }
        if authority.contradicts(author, &verified.head().succession) {
            return Err(Reason::KeyContested);
        }
        Ok(Self { inner: verified })
    }

    /// What of it goes beyond a log that is held by now; nothing where it does not follow that.
    #[must_use]
    pub fn beyond(self, held: &Mmr) -> Option<Self> {
        let batch = self.inner.to_batch().beyond(held.len())?;
        batch.verify(held).ok().map(|inner| Self { inner })
    }

    /// Ops of this site's own making. Without rights in the feed they are an overlay: local, never passed on. What other sites would refuse for
    /// its form is not let in either: a log in which it stands goes nowhere any more.
    ///
    /// # Errors
    /// The feed is a strict replica here, an op has not the form that ops have, or they are too many for one frame.
    pub fn local(verified: Verified, strict: bool) -> Result<Self, Unsayable> {
        if strict {
            return Err(Unsayable::Strict);
        }
        for named in verified.ops() {
            Op::decode_statement(named.op.place, &named.statement)?;
        }
        let bytes = verified.ops().iter().map(|named| named.statement.len()).sum();
        if bytes > BATCH_BYTES_MAX || verified.ops().len() > OPS_PER_FRAME_MAX {
            return Err(Unsayable::Long { ops: verified.ops().len(), bytes });
        }
        Ok(Self { inner: verified })
    }
}

#[cfg(test)]
mod tests;
