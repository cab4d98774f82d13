//! The fold: from the set of ops about one coordinate to what stands there. Arrival order and clocks never matter.

use serde::{Deserialize, Serialize};

use crate::grant::{Authority, Verb};
use crate::id::{OpId, SiteId};
use crate::log::NamedOp;
use crate::op::{Body, Delete, Publish};
use crate::time::Timestamp;

/// What the fold of one feed takes as given.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    pub authority: &'a Authority,
    /// The site that looks: its own ops without rights are its overlay, anyone else's are nothing.
    pub me: SiteId,
    /// Stamps too far ahead of this wait until they are due.
    pub now: Timestamp,
    /// Whether a local package is served instead of an authorised one of the same coordinate.
    pub local_wins: bool,
}

/// What stands at a coordinate, before asking whether the bytes are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Standing {
    /// One publish is served.
    Served,
    /// Every publish was removed by a delete that had seen it.
    Deleted,
    /// A delete removed a publish that it had not seen: its publisher may want to restore it.
    Suppressed,
    /// This site hides it; other sites are not affected.
    Hidden,
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
    /// Authorised publishes of other bytes that lost to the winner.
    pub clash: Vec<OpId>,
    /// Local publishes behind an authorised one, or the reverse where local wins.
    pub shadowed: Vec<OpId>,
    /// The deletes that decide: those that remove something.
    pub deletes: Vec<OpId>,
    /// Publishes removed by a delete that had not seen them.
    pub suppressed: Vec<OpId>,
    /// The stamp at which a parked op is due and the fold must be made again.
    pub due: Option<Timestamp>,
}

struct Sorted<'a> {
    authorised: Vec<(&'a NamedOp, &'a Publish)>,
    local: Vec<(&'a NamedOp, &'a Publish)>,
    strangers: usize,
    wide: Vec<(&'a NamedOp, &'a Delete)>,
    own: Vec<(&'a NamedOp, &'a Delete)>,
    hides: Vec<(&'a NamedOp, &'a Delete)>,
    due: Option<Timestamp>,
}

/// The item that the ops about one coordinate, in any order, amount to.
#[must_use]
pub fn decide(ops: &[NamedOp], rules: Rules<'_>) -> Item {
    let sorted = sort(ops, rules);
    let mut deletes = Vec::new();
    let mut suppressed = Vec::new();
    let mut hidden = false;
    let mut left = Vec::new();
    let mut left_local = Vec::new();
    for (local, list) in [(false, &sorted.authorised), (true, &sorted.local)] {
        for (named, publish) in list {
            let removers = removers(named, publish, &sorted);
            if let Some(hide) = sorted.hides.iter().find(|(_, hide)| hide.saw.contains(&named.id)) {
                hidden = true;
                deletes.push(hide.0.id);
            } else if removers.is_empty() {
                if local { left_local.push((*named, *publish)) } else { left.push((*named, *publish)) }
            } else {
                if !local && !removers.iter().any(|(_, delete)| delete.saw.contains(&named.id)) {
                    suppressed.push(named.id);
                }
                deletes.extend(removers.iter().map(|(by, _)| by.id));
            }
        }
    }
    deletes
        .extend(sorted.wide.iter().map(|(by, _)| by.id).filter(|_| left.is_empty() && left_local.is_empty()));
    let local_first = rules.local_wins || left.is_empty();
    let (served, behind) =
        if local_first && !left_local.is_empty() { (left_local, left) } else { (left, left_local) };
    let winner = served.iter().min_by_key(|(named, _)| (named.op.stamp, named.id)).copied();
    let clash = winner.map_or_else(Vec::new, |(_, won)| {
        let other = |(_, publish): &&(&NamedOp, &Publish)| !publish.manifest.same_bytes(&won.manifest);
        ascending(served.iter().filter(other).map(|(named, _)| named.id))
    });
    let standing = if winner.is_some() {
        Standing::Served
    } else if hidden {
        Standing::Hidden
    } else if !suppressed.is_empty() {
        Standing::Suppressed
    } else if !deletes.is_empty() {
        Standing::Deleted
    } else if sorted.due.is_some() {
        Standing::Parked
    } else if sorted.strangers > 0 {
        Standing::NotAuthorised
    } else {
        Standing::Absent
    };
    Item {
        standing,
        winner: winner.map(|(named, _)| named.id),
        local: winner.is_some_and(|(named, _)| sorted.local.iter().any(|(own, _)| own.id == named.id)),
        clash,
        shadowed: ascending(behind.iter().map(|(named, _)| named.id)),
        deletes: ascending(deletes),
        suppressed: ascending(suppressed),
        due: sorted.due,
    }
}

fn ascending(ops: impl IntoIterator<Item = OpId>) -> Vec<OpId> {
    let set: std::collections::BTreeSet<OpId> = ops.into_iter().collect();
    set.into_iter().collect()
}

/// The deletes that remove a publish: wide ones whoever made it, own ones the same author's, unless it supersedes them.
fn removers<'a>(named: &NamedOp, publish: &Publish, sorted: &Sorted<'a>) -> Vec<(&'a NamedOp, &'a Delete)> {
    let author = named.op.place.log.author;
    let own = sorted.own.iter().filter(|(by, _)| by.op.place.log.author == author);
    sorted.wide.iter().chain(own).filter(|(by, _)| !publish.supersedes.contains(&by.id)).copied().collect()
}

fn sort<'a>(ops: &'a [NamedOp], rules: Rules<'_>) -> Sorted<'a> {
    let mut sorted = Sorted {
        authorised: Vec::new(),
        local: Vec::new(),
        strangers: 0,
        wide: Vec::new(),
        own: Vec::new(),
        hides: Vec::new(),
        due: None,
    };
    for named in ops {
        let place = named.op.place;
        if named.op.stamp.is_ahead_of(rules.now) {
            let due = named.op.stamp.wall();
            sorted.due = Some(sorted.due.map_or(due, |first: Timestamp| first.min(due)));
            continue;
        }
        let mine = place.log.author == rules.me;
        let may = |verb, name: &str| rules.authority.allows(place.log, place.seq, named.op.stamp, verb, name);
        match &named.op.body {
            Body::Publish(publish) if may(Verb::Publish, &publish.coordinate.name) => {
                sorted.authorised.push((named, publish));
            }
            Body::Publish(publish) if mine => sorted.local.push((named, publish)),
            Body::Publish(_) => sorted.strangers += 1,
            Body::Delete(delete) if may(Verb::DeleteWide, &delete.coordinate.name) => {
                sorted.wide.push((named, delete));
            }
            Body::Delete(delete) if may(Verb::DeleteOwn, &delete.coordinate.name) => {
                sorted.own.push((named, delete));
            }
            Body::Delete(delete) if mine => sorted.hides.push((named, delete)),
            Body::Delete(_)
            | Body::SetState(_)
            | Body::SetRef(_)
            | Body::Block(_)
            | Body::Unblock(_)
            | Body::Resolve(_)
            | Body::Grant(_)
            | Body::Revoke(_)
            | Body::Seal(_)
            | Body::Statistics(_)
            | Body::OpenEpoch(_)
            | Body::Unknown { .. } => {}
        }
    }
    sorted
}

#[cfg(test)]
mod tests;
