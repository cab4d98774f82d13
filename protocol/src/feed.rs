//! The fold: from the set of ops about one coordinate to what stands there. Arrival order and clocks never matter.

mod overwrite;
mod sorted;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{LogId, OpId, SiteId};
use crate::ledger::Ledger;
use crate::log::NamedOp;
use crate::op::{Offer, Place, Publish};
use crate::time::{Hlc, Timestamp};
use sorted::{Sorted, sort};

/// What the fold of one feed takes as given.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    pub ledger: &'a Ledger,
    /// The site that looks: its own ops without rights are its overlay, anyone else's are nothing.
    pub me: SiteId,
    /// Stamps too far ahead of this wait until they are due.
    pub now: Timestamp,
    /// Whether a local package is served instead of an authorised one of the same coordinate.
    pub local_wins: bool,
    /// Deletes that wait at this site for a person to approve them.
    pub held: &'a Held,
}

/// Stretches of logs whose deletes wait for approval at one site.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Held {
    stretches: BTreeMap<LogId, Vec<(u64, u64)>>,
}

impl Held {
    /// Holds the deletes of `log` at positions `from..to`.
    pub fn add(&mut self, log: LogId, from: u64, to: u64) {
        self.stretches.entry(log).or_default().push((from, to));
    }

    /// Whether a delete at `place` waits.
    #[must_use]
    pub fn holds(&self, place: Place) -> bool {
        self.stretches
            .get(&place.log)
            .is_some_and(|held| held.iter().any(|(from, to)| (*from..*to).contains(&place.seq)))
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stretches.is_empty()
    }
}

/// What stands at a coordinate, before asking whether the bytes are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Standing {
    /// One publish is served.
    Served,
    /// The coordinate, or all bytes published there, are blocked.
    Blocked,
    /// Every publish was removed by a delete that had seen it.
    Deleted,
    /// A delete removed a publish that it had not seen, or what came back has other bytes: its publisher may want to restore it.
    Suppressed,
    /// This site hides it; other sites are not affected. What was deleted everywhere is not hidden.
    Hidden,
    /// Its publishers were revoked, and the revoke does not accept these publishes.
    Held,
    /// The only ops about it carry stamps of the future.
    Parked,
    /// Its publishers may not write in this feed.
    NotAuthorised,
    /// Nothing is known of it.
    Absent,
}

/// What the ops about one coordinate amount to, and which of them decide it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    pub standing: Standing,
    /// The publish that is served.
    pub winner: Option<OpId>,
    /// Whether the winner is this site's own overlay, which is never passed on.
    pub local: bool,
    /// Standing publishes of the winner's bytes by others, or again.
    pub twins: Vec<OpId>,
    /// Authorised publishes of other bytes that lost to the winner.
    pub clash: Vec<OpId>,
    /// Local publishes behind an authorised one, or the reverse where local wins.
    pub shadowed: Vec<OpId>,
    /// The deletes that decide: those that remove something.
    pub deletes: Vec<OpId>,
    /// Publishes removed by a delete that had not seen them.
    pub suppressed: Vec<OpId>,
    /// Publishes over a delete with bytes that had not stood there before, in a feed that does not allow that.
    pub reused: Vec<OpId>,
    /// Blocks that keep something here from being served.
    pub blocks: Vec<OpId>,
    /// Publishes of revoked authors that the revoke does not accept.
    pub held: Vec<OpId>,
    /// Deletes that wait at this site for approval.
    pub held_deletes: Vec<OpId>,
    /// Publishes of sites that may not write here.
    pub unauthorised: Vec<OpId>,
    /// The op by which a person chose the winner.
    pub resolved: Option<OpId>,
    /// The seal that covers the winner. Kept with an item that no seal decides, it may be older than the seal that came since.
    pub seal: Option<u64>,
    /// Whether a further seal could change the winner.
    pub seal_matters: bool,
    /// How the version is offered to clients.
    pub offer: Offer,
    /// The earliest stamp among publishes of the winner's bytes: the publish date that people see.
    pub published: Option<Hlc>,
    /// The stamp at which a parked op is due and the fold must be made again.
    pub due: Option<Timestamp>,
}

type Build<'a> = (&'a NamedOp, &'a Publish);

/// What is left of the publishes once blocks, deletes and hides are applied.
#[derive(Debug, Default)]
struct Left<'a> {
    authorised: Vec<Build<'a>>,
    local: Vec<Build<'a>>,
    deletes: Vec<OpId>,
    suppressed: Vec<OpId>,
    reused: Vec<OpId>,
    blocks: Vec<OpId>,
    hidden: bool,
}

/// The item that the ops about one coordinate, in any order, amount to.
#[must_use]
pub fn decide(ops: &[NamedOp], rules: Rules<'_>) -> Item {
    amount(&sort(ops, rules), rules)
}

/// The item that they would amount to if all blocks were lifted: what is blocked may come back, and is then as it would have been.
#[must_use]
pub fn decide_unblocked(ops: &[NamedOp], rules: Rules<'_>) -> Item {
    amount(&sort(ops, rules).unblocked(), rules)
}

fn amount(sorted: &Sorted<'_>, rules: Rules<'_>) -> Item {
    let left =
        if rules.ledger.genesis().overwrite { overwrite::left(sorted, rules) } else { left(sorted, rules) };
    let local_first = rules.local_wins || left.authorised.is_empty();
    let local = local_first && !left.local.is_empty();
    let (served, behind) =
        if local { (&left.local, &left.authorised) } else { (&left.authorised, &left.local) };
    let (winner, resolved) = winner(served, sorted, rules);
    let same = |build: &&Build<'_>| {
        winner.is_some_and(|(won, publish)| {
            build.0.id != won.id && build.1.manifest.same_bytes(&publish.manifest)
        })
    };
    let differs = |build: &&Build<'_>| {
        winner.is_some_and(|(_, publish)| !build.1.manifest.same_bytes(&publish.manifest))
    };
    let stamps = winner.into_iter().chain(served.iter().filter(same).copied());
    let published = stamps.map(|(named, _)| named.op.stamp).min();
    Item {
        standing: standing(winner.is_some(), sorted, &left),
        winner: winner.map(|(named, _)| named.id),
        local: local && winner.is_some(),
        twins: ascending(served.iter().filter(same).map(|(named, _)| named.id)),
        clash: ascending(served.iter().filter(differs).map(|(named, _)| named.id)),
        shadowed: ascending(behind.iter().map(|(named, _)| named.id)),
        deletes: ascending(left.deletes),
        suppressed: ascending(left.suppressed),
        reused: ascending(left.reused),
        blocks: ascending(left.blocks),
        held: ascending(sorted.held.iter().map(|(named, _)| named.id)),
        held_deletes: ascending(sorted.held_deletes.iter().copied()),
        unauthorised: ascending(sorted.strangers.iter().copied()),
        resolved,
        seal: winner.and_then(|build| seal_of(build, rules)),
        seal_matters: served.len() > 1 || sorted.due.is_some(),
        offer: sorted.offer(),
        published,
        due: sorted.due,
    }
}

/// What is left where versions never change: a delete removes every publish that does not name it.
fn left<'a>(sorted: &Sorted<'a>, rules: Rules<'_>) -> Left<'a> {
    let mut left = Left::default();
    let coordinate_blocked = !sorted.blocks.is_empty();
    left.blocks.extend(&sorted.blocks);
    for (local, list) in [(false, &sorted.authorised), (true, &sorted.local)] {
        for (named, publish) in list {
            let blocks = sorted.blocks_of(publish, rules);
            let removers = sorted.removers(named, publish);
            let removes = |id| removers.iter().any(|(by, _)| by.id == id);
            let hides = sorted.hides.iter().filter(|(_, hide)| hide.saw.contains(&named.id));
            let hides: Vec<OpId> = hides.filter(|(by, _)| !removes(by.id)).map(|(by, _)| by.id).collect();
            if coordinate_blocked || !blocks.is_empty() {
                left.blocks.extend(blocks);
                continue;
            }
            let is_hidden = !hides.is_empty();
            // Beside what removes it everywhere: whoever brings it back here has to name both.
            left.deletes.extend(hides);
            if !removers.is_empty() {
                if !local && !removers.iter().any(|(_, delete)| delete.saw.contains(&named.id)) {
                    left.suppressed.push(named.id);
                }
                left.deletes.extend(removers.iter().map(|(by, _)| by.id));
            } else if !local && sorted.is_reuse(publish, rules.ledger.genesis()) {
                left.reused.push(named.id);
                left.deletes.extend(publish.supersedes.iter().filter(|id| sorted.is_delete(**id)));
            } else if is_hidden {
                left.hidden = true;
            } else if local {
                left.local.push((*named, *publish));
            } else {
                left.authorised.push((*named, *publish));
            }
        }
    }
    if left.authorised.is_empty() && left.local.is_empty() {
        left.deletes.extend(sorted.wide.iter().map(|(by, _)| by.id));
    }
    left
}

/// The publish that is served: the one a person chose, else the lowest by (seal, stamp, id).
fn winner<'a>(
    served: &[Build<'a>],
    sorted: &Sorted<'a>,
    rules: Rules<'_>,
) -> (Option<Build<'a>>, Option<OpId>) {
    let mut chosen: Vec<_> = sorted.resolves.iter().collect();
    chosen.sort_by_key(|(named, _)| std::cmp::Reverse((named.op.stamp, named.id)));
    for (named, resolve) in chosen {
        if let Some(build) = served.iter().find(|(publish, _)| publish.id == resolve.winner) {
            return (Some(*build), Some(named.id));
        }
    }
    if rules.ledger.genesis().overwrite {
        return (served.iter().max_by_key(|(named, _)| (named.op.stamp, named.id)).copied(), None);
    }
    let order = |build: &&Build<'a>| {
        let (seal, named) = (seal_of(**build, rules), build.0);
        (seal.unwrap_or(u64::MAX), named.op.stamp, named.id)
    };
    (served.iter().min_by_key(order).copied(), None)
}

fn seal_of((named, publish): Build<'_>, rules: Rules<'_>) -> Option<u64> {
    rules.ledger.fixing_seal(named.op.place, named.op.stamp, &publish.coordinate.name)
}

fn standing(served: bool, sorted: &Sorted<'_>, left: &Left<'_>) -> Standing {
    if served {
        Standing::Served
    } else if !left.blocks.is_empty() {
        Standing::Blocked
    } else if left.hidden {
        Standing::Hidden
    } else if !left.suppressed.is_empty() || !left.reused.is_empty() {
        Standing::Suppressed
    } else if !left.deletes.is_empty() {
        Standing::Deleted
    } else if !sorted.held.is_empty() {
        Standing::Held
    } else if sorted.due.is_some() {
        Standing::Parked
    } else if !sorted.strangers.is_empty() {
        Standing::NotAuthorised
    } else {
        Standing::Absent
    }
}

fn ascending(ops: impl IntoIterator<Item = OpId>) -> Vec<OpId> {
    let set: std::collections::BTreeSet<OpId> = ops.into_iter().collect();
    set.into_iter().collect()
}

#[cfg(test)]
mod tests;
