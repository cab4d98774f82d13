//! What counts of the logs of an author who has a later key.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{LogId, SiteId};
use crate::op::{Closing, Place, Tip};
use crate::succession::generation_of;

/// What later keys left of the logs that earlier ones signed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Closed {
    /// For each author, the newest key that closed logs: its number.
    newest: BTreeMap<SiteId, u64>,
    /// How far closed logs count: the furthest that any later key said.
    ends: BTreeMap<LogId, Tip>,
    /// Authors of whom two keys claim to be the same one of the succession.
    pub(super) contested: BTreeSet<SiteId>,
}

impl Closed {
    pub(super) fn of<'a>(closings: impl Iterator<Item = (&'a Place, &'a Closing)>) -> Self {
        let mut closed = Self::default();
        let mut keys = BTreeMap::new();
        for (place, closing) in closings {
            let (author, generation) = (place.log.author, generation_of(place.log.epoch));
            if *keys.entry((author, generation)).or_insert(closing.key) != closing.key {
                closed.contested.insert(author);
            }
            let newest = closed.newest.entry(author).or_default();
            *newest = (*newest).max(generation);
            for tip in closing.accepted.iter().filter(|tip| tip.author == author) {
                let log = LogId { epoch: tip.epoch, ..place.log };
                if generation_of(log.epoch) < generation {
                    let end = closed.ends.entry(log).or_insert_with(|| tip.clone());
                    if end.len < tip.len {
                        end.clone_from(tip);
                    }
                }
            }
        }
        closed
    }

    /// Whether an op is beyond what counts of its author's keys. [P-59]
    pub(super) fn leaves_out(&self, log: LogId, seq: u64) -> bool {
        let generation = generation_of(log.epoch);
        if self.contested.contains(&log.author) {
            return generation > 0;
        }
        self.end(log).is_some_and(|end| end.is_none_or(|end| seq >= end.len))
    }

    /// How far a log counts by what is said of its end: none of it, where it is closed and not named.
    pub(super) fn end(&self, log: LogId) -> Option<Option<&Tip>> {
        let later = self.newest.get(&log.author).is_some_and(|newest| generation_of(log.epoch) < *newest);
        later.then(|| self.ends.get(&log))
    }
}
