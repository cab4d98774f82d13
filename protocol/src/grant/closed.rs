//! What counts of the logs of an author who has a later key.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{LogId, SiteId};
use crate::op::{Closing, Place, Tip};
use crate::succession::{Succession, generation_of};

/// For each key that claims one number of an author's succession, how far it lets logs of earlier keys count.
type Claims = BTreeMap<SiteId, BTreeMap<LogId, u64>>;

/// What later keys left of the logs that earlier ones signed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Closed {
    /// For each author and number, the keys that closed logs or led to those that did.
    claims: BTreeMap<(SiteId, u64), Claims>,
    /// How far closed logs count: the furthest that any later key said.
    ends: BTreeMap<LogId, Tip>,
    /// Authors of whom two keys claim to be the same one of the succession.
    pub(super) contested: BTreeSet<SiteId>,
}

impl Closed {
    pub(super) fn of<'a>(
        closings: impl Iterator<Item = (&'a Place, &'a Closing)>,
        lineages: impl Iterator<Item = (&'a LogId, &'a Succession)>,
    ) -> Self {
        let mut closed = Self::default();
        for (log, keys) in lineages {
            for (number, key) in (0..).zip(keys.keys(log.author)).skip(1) {
                closed.claims.entry((log.author, number)).or_default().entry(key).or_default();
            }
        }
        for (place, closing) in closings {
            let (author, number) = (place.log.author, generation_of(place.log.epoch));
            let claims = closed.claims.entry((author, number)).or_default();
            let reach = claims.entry(closing.key).or_default();
            for tip in closing.accepted.iter().filter(|tip| tip.author == author) {
                let log = LogId { epoch: tip.epoch, ..place.log };
                if generation_of(log.epoch) < number {
                    let len = reach.entry(log).or_default();
                    *len = tip.len.max(*len);
                    let end = closed.ends.entry(log).or_insert_with(|| tip.clone());
                    if end.len < tip.len {
                        end.clone_from(tip);
                    }
                }
            }
        }
        let twice = closed.claims.iter().filter(|(_, claims)| claims.len() > 1);
        closed.contested = twice.map(|((author, _), _)| *author).collect();
        closed
    }

    /// Whether an op is beyond what counts of its author's keys. What a contested key and those after it say does not count; what earlier keys
    /// say does as far as any of those that claim to follow them lets it, so that no false one takes away what was there. [P-59]
    pub(super) fn leaves_out(&self, log: LogId, seq: u64) -> bool {
        let contested = self.contest(log.author).is_some_and(|number| generation_of(log.epoch) >= number);
        contested || self.end(log).is_some_and(|end| end.is_none_or(|end| seq >= end.len))
    }

    /// Whether an op counts by one of two contesting keys and not by the other, so that a thief may have let it count. Nobody rules by such
    /// an op.
    pub(super) fn doubts(&self, log: LogId, seq: u64) -> bool {
        let Some(number) = self.contest(log.author) else { return false };
        let later =
            self.claims_of(log.author).filter(|(of, _)| (generation_of(log.epoch) + 1..=number).contains(of));
        let accepts = |reach: &BTreeMap<LogId, u64>| reach.get(&log).is_some_and(|len| seq < *len);
        !later.into_iter().any(|(_, claims)| claims.values().all(accepts))
    }

    /// How far a log counts by what is said of its end: none of it, where it is closed and not named.
    pub(super) fn end(&self, log: LogId) -> Option<Option<&Tip>> {
        let (newest, _) = self.claims_of(log.author).next_back()?;
        (generation_of(log.epoch) < newest).then(|| self.ends.get(&log))
    }

    /// The lowest number that two keys of an author's claim.
    fn contest(&self, author: SiteId) -> Option<u64> {
        if !self.contested.contains(&author) {
            return None;
        }
        self.claims_of(author).find(|(_, claims)| claims.len() > 1).map(|(number, _)| number)
    }

    /// The keys that closed logs of an author's, by their numbers.
    fn claims_of(&self, author: SiteId) -> impl DoubleEndedIterator<Item = (u64, &Claims)> {
        self.claims.range((author, 0)..=(author, u64::MAX)).map(|((_, number), claims)| (*number, claims))
    }
}
