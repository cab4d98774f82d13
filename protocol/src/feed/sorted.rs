//! The ops about one coordinate, sorted by what each may do there.

use super::Rules;
use crate::grant::{Verb, Weight};
use crate::id::{OpId, SiteId};
use crate::log::NamedOp;
use crate::op::{Block, Blocked, Body, Delete, Genesis, Offer, Publish, Resolve, SetState};
use crate::time::Timestamp;

/// Ops by what they may do. What is parked is in none of the lists.
#[derive(Debug)]
pub(super) struct Sorted<'a> {
    me: SiteId,
    pub(super) authorised: Vec<(&'a NamedOp, &'a Publish)>,
    /// This site's own publishes without the right.
    pub(super) local: Vec<(&'a NamedOp, &'a Publish)>,
    /// Publishes of revoked authors beyond what is accepted.
    pub(super) held: Vec<(&'a NamedOp, &'a Publish)>,
    pub(super) strangers: Vec<OpId>,
    pub(super) wide: Vec<(&'a NamedOp, &'a Delete)>,
    pub(super) own: Vec<(&'a NamedOp, &'a Delete)>,
    /// This site's own deletes that do not reach everybody's publishes.
    pub(super) hides: Vec<(&'a NamedOp, &'a Delete)>,
    pub(super) held_deletes: Vec<OpId>,
    /// Blocks of the coordinate that stand.
    pub(super) blocks: Vec<OpId>,
    /// Whether blocks count for nothing.
    unblocked: bool,
    pub(super) resolves: Vec<(&'a NamedOp, &'a Resolve)>,
    states: Vec<(&'a NamedOp, &'a SetState, bool)>,
    pub(super) due: Option<Timestamp>,
}

impl<'a> Sorted<'a> {
    /// The same as if all blocks were lifted.
    pub(super) fn unblocked(self) -> Self {
        Self { blocks: Vec::new(), unblocked: true, ..self }
    }

    /// The blocks of any of a publish's bytes.
    pub(super) fn blocks_of(&self, publish: &Publish, rules: Rules<'_>) -> Vec<OpId> {
        let files = publish.manifest.files.iter().filter(|_| !self.unblocked);
        files.flat_map(|file| rules.ledger.blocks_of(file.blob, rules.me)).collect()
    }

    /// The deletes that remove a publish: wide ones whoever made it, own ones the same author's, unless it supersedes them.
    pub(super) fn removers(&self, named: &NamedOp, publish: &Publish) -> Vec<(&'a NamedOp, &'a Delete)> {
        let author = named.op.place.log.author;
        let own = self.own.iter().filter(|(by, _)| by.op.place.log.author == author);
        self.wide.iter().chain(own).filter(|(by, _)| !publish.supersedes.contains(&by.id)).copied().collect()
    }

    /// Whether an op is a delete that counts here.
    pub(super) fn is_delete(&self, id: OpId) -> bool {
        self.wide.iter().chain(&self.own).any(|(by, _)| by.id == id)
    }

    /// Whether a publish brings other bytes back over a delete where the feed does not allow that: something its deletes removed stood
    /// there, and nothing of it had these bytes.
    pub(super) fn is_reuse(&self, publish: &Publish, genesis: &Genesis) -> bool {
        if genesis.reuse || !publish.supersedes.iter().any(|id| self.is_delete(*id)) {
            return false;
        }
        let overruled = |(named, removed): &&(&NamedOp, &Publish)| {
            self.removers(named, removed).iter().any(|(by, _)| publish.supersedes.contains(&by.id))
        };
        let mut before = self.authorised.iter().filter(overruled).peekable();
        before.peek().is_some() && !before.any(|(_, removed)| removed.manifest.same_bytes(&publish.manifest))
    }

    /// How the version is offered: what was said last by a site that may, else by this site for itself.
    pub(super) fn offer(&self) -> Offer {
        let last = self.states.iter().max_by_key(|(named, _, counts)| (*counts, named.op.stamp, named.id));
        last.map_or(Offer::Listed, |(_, state, _)| state.offer.clone())
    }

    fn delete(&mut self, named: &'a NamedOp, delete: &'a Delete, rules: Rules<'_>) {
        let (place, name) = (named.op.place, delete.coordinate.name.as_str());
        let may = |verb| {
            rules.ledger.authority().weigh(place.log, place.seq, named.op.stamp, verb, name) == Weight::Counts
        };
        let (wide, own) = (may(Verb::DeleteWide), may(Verb::DeleteOwn));
        if (wide || own) && rules.held.holds(place) {
            self.held_deletes.push(named.id);
        } else if wide {
            self.wide.push((named, delete));
        } else {
            if own {
                self.own.push((named, delete));
            }
            // What the right does not reach goes at this site all the same.
            if rules.ledger.authority().is_own(place, self.me) {
                self.hides.push((named, delete));
            }
        }
    }

    fn publish(&mut self, named: &'a NamedOp, publish: &'a Publish, rules: Rules<'_>) {
        let (place, name) = (named.op.place, publish.coordinate.name.as_str());
        let weight =
            rules.ledger.authority().weigh(place.log, place.seq, named.op.stamp, Verb::Publish, name);
        match weight {
            Weight::Counts => self.authorised.push((named, publish)),
            Weight::Held | Weight::Nothing if rules.ledger.authority().is_own(place, self.me) => {
                self.local.push((named, publish));
            }
            Weight::Held => self.held.push((named, publish)),
            Weight::Nothing => self.strangers.push(named.id),
        }
    }
}

/// Sorts the ops about one coordinate.
pub(super) fn sort<'a>(ops: &'a [NamedOp], rules: Rules<'_>) -> Sorted<'a> {
    let mut sorted = Sorted {
        me: rules.me,
        authorised: Vec::new(),
        local: Vec::new(),
        held: Vec::new(),
        strangers: Vec::new(),
        wide: Vec::new(),
        own: Vec::new(),
        hides: Vec::new(),
        held_deletes: Vec::new(),
        blocks: Vec::new(),
        unblocked: false,
        resolves: Vec::new(),
        states: Vec::new(),
        due: None,
    };
    for named in ops {
        // What this site says counts here at once, though its clock was set back. What the origin sealed was due there: to wait for it here
        // would let it displace, later, what stands under a later seal.
        let place = named.op.place;
        let own = rules.ledger.authority().is_own(place, rules.me);
        let waits = !own && rules.ledger.seal_of(place).is_none();
        if waits && named.op.stamp.is_ahead_of(rules.now) {
            let due = named.op.stamp.wall();
            sorted.due = Some(sorted.due.map_or(due, |first: Timestamp| first.min(due)));
        } else {
            sort_one(&mut sorted, named, rules);
        }
    }
    sorted
}

fn sort_one<'a>(sorted: &mut Sorted<'a>, named: &'a NamedOp, rules: Rules<'_>) {
    let (place, stamp) = (named.op.place, named.op.stamp);
    let may = |verb, name: &str| rules.ledger.authority().allows(place.log, place.seq, stamp, verb, name);
    match &named.op.body {
        Body::Publish(publish) => sorted.publish(named, publish, rules),
        Body::Delete(delete) => sorted.delete(named, delete, rules),
        Body::SetState(state) => {
            let counts = may(Verb::Publish, &state.coordinate.name);
            if counts || rules.ledger.authority().is_own(place, rules.me) {
                sorted.states.push((named, state, counts));
            }
        }
        Body::Block(Block { target: Blocked::Coordinate(at), .. }) => {
            if rules.ledger.block_stands(named.id, place, stamp, &at.name, rules.me) {
                sorted.blocks.push(named.id);
            }
        }
        Body::Resolve(resolve) if may(Verb::Admin, &resolve.coordinate.name) => {
            sorted.resolves.push((named, resolve));
        }
        Body::Resolve(_)
        | Body::Block(_)
        | Body::SetRef(_)
        | Body::Unblock(_)
        | Body::Grant(_)
        | Body::Revoke(_)
        | Body::Seal(_)
        | Body::Statistics(_)
        | Body::OpenEpoch(_)
        | Body::Cut(_)
        | Body::Unknown { .. } => {}
    }
}
