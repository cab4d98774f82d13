//! Who can write where, from what sites tell of their links: side paths around one-way links, and where deletes stop.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::id::{FeedId, SiteId};
use crate::switches::Switches;
use crate::time::Timestamp;

#[cfg(test)]
mod tests;

/// How long a note counts that its teller does not stand by again: longer than a line is out of order, shorter than people remember a
/// site that was given up.
pub const NOTE_LIFE_MS: u64 = 30 * 24 * 3600 * 1000;

/// How often a teller stands by what it told of a link that is up.
pub const NOTE_RENEWED_MS: u64 = 24 * 3600 * 1000;

/// What a site tells of one of its links for one feed. It is unsigned and proves nothing: people are advised by it, no rule uses it.
/// One whose switches are all off takes back what was told before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LinkNote {
    pub teller: SiteId,
    pub teller_name: String,
    pub peer: SiteId,
    pub peer_name: String,
    pub feed: FeedId,
    /// The teller's name for the feed.
    pub feed_name: String,
    /// What flows, in the teller's terms.
    pub effective: Switches,
    /// When the teller last knew it to be so.
    pub told: Timestamp,
}

impl LinkNote {
    /// Whether it counts at `now`.
    #[must_use]
    pub const fn holds(&self, now: Timestamp) -> bool {
        now.0 <= self.told.0.saturating_add(NOTE_LIFE_MS)
    }

    /// Whether it says something else than an earlier one of the same link and feed, or stands by it after some time: worth passing on.
    #[must_use]
    pub fn is_news_after(&self, held: &Self) -> bool {
        let renewed = self.told.0 >= held.told.0.saturating_add(NOTE_RENEWED_MS);
        self.told > held.told && (self.effective != held.effective || renewed)
    }
}

/// What flows between the sites of one feed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topology {
    /// From, to: whether additions flow, whether deletions do.
    flows: BTreeMap<(SiteId, SiteId), (bool, bool)>,
}

/// A one-way link that another path leads around.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bypass {
    /// Content flows from this site…
    pub from: SiteId,
    /// …to this one, and over that link not back.
    pub to: SiteId,
    /// The way by which it comes back all the same, from `to` to `from`.
    pub path: Vec<SiteId>,
}

impl Topology {
    /// What the notes of one feed amount to. Where both ends of a link tell of it only what both say flows.
    #[must_use]
    pub fn of(notes: &[LinkNote]) -> Self {
        let mut told: BTreeMap<(SiteId, SiteId), Vec<(SiteId, (bool, bool))>> = BTreeMap::new();
        for note in notes {
            let Switches { in_add, in_delete, out_add, out_delete } = note.effective;
            let mut say = |from, to, flow| told.entry((from, to)).or_default().push((note.teller, flow));
            say(note.teller, note.peer, (out_add, out_delete));
            say(note.peer, note.teller, (in_add, in_delete));
        }
        let mut topology = Self::default();
        for ((from, to), words) in told {
            // Several links between two sites add up at each end.
            let mut by_teller: BTreeMap<SiteId, (bool, bool)> = BTreeMap::new();
            for (teller, (add, delete)) in words {
                let sum = by_teller.entry(teller).or_default();
                *sum = (sum.0 || add, sum.1 || delete);
            }
            let both = by_teller.values().fold((true, true), |all, one| (all.0 && one.0, all.1 && one.1));
            topology.flow(from, to, both.0, both.1);
        }
        topology
    }

    /// Says that content flows from one site to another.
    pub fn flow(&mut self, from: SiteId, to: SiteId, adds: bool, deletes: bool) {
        if adds || deletes {
            self.flows.insert((from, to), (adds, deletes));
        }
    }

    /// All sites that anything flows from or to.
    #[must_use]
    pub fn sites(&self) -> BTreeSet<SiteId> {
        self.flows.keys().flat_map(|(from, to)| [*from, *to]).collect()
    }

    /// The shortest way by which additions get from one site to another, without the sites in `but`.
    fn path(&self, from: SiteId, to: SiteId, but: Option<SiteId>) -> Option<Vec<SiteId>> {
        let mut came: BTreeMap<SiteId, SiteId> = BTreeMap::new();
        let mut next = VecDeque::from([from]);
        while let Some(at) = next.pop_front() {
            if at == to {
                let mut path = vec![to];
                while let Some(before) = path.last().and_then(|last| came.get(last)) {
                    path.push(*before);
                    if *before == from {
                        break;
                    }
                }
                path.reverse();
                return Some(path);
            }
            let onward = self.flows.iter().filter(|((out, _), (adds, _))| *out == at && *adds);
            for ((_, site), _) in onward {
                if *site != from && Some(*site) != but && !came.contains_key(site) {
                    came.insert(*site, at);
                    next.push_back(*site);
                }
            }
        }
        None
    }

    /// The one-way links that a side path leads around. Gate 2 holds all the same where the far site has no rights; where it was
    /// granted some, its packages come back this way.
    #[must_use]
    pub fn bypasses(&self) -> Vec<Bypass> {
        let one_way = self.flows.iter().filter(|((from, to), (adds, _))| {
            *adds && !self.flows.get(&(*to, *from)).is_some_and(|(back, _)| *back)
        });
        one_way
            .filter_map(|((from, to), _)| {
                let path = self.path(*to, *from, None)?;
                Some(Bypass { from: *from, to: *to, path })
            })
            .collect()
    }

    /// Flows that carry additions on and hold deletions back: deletes stop at the first site.
    #[must_use]
    pub fn stops(&self) -> Vec<(SiteId, SiteId)> {
        let holds = self.flows.iter().filter(|(_, (adds, deletes))| *adds && !*deletes);
        holds.map(|(ends, _)| *ends).collect()
    }

    /// Sites without which some others, that have a way to each other now, would have none.
    #[must_use]
    pub fn single_relays(&self) -> Vec<SiteId> {
        let sites = self.sites();
        let cuts = |relay: &SiteId| {
            let others: Vec<SiteId> = sites.iter().filter(|site| *site != relay).copied().collect();
            others.iter().any(|from| {
                others.iter().any(|to| {
                    from != to
                        && self.path(*from, *to, None).is_some()
                        && self.path(*from, *to, Some(*relay)).is_none()
                })
            })
        };
        sites.iter().filter(|site| cuts(site)).copied().collect()
    }
}
