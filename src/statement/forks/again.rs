//! What a feed's origin says again when it cuts a forked log: what it holds of that log behind the cut, so that nothing which counted is undone.

use std::collections::{BTreeMap, BTreeSet};

use protocol::feed::{Item, Standing};
use protocol::grant::Verb;
use protocol::id::{FeedId, LogId, OpId};
use protocol::ledger::Ledger;
use protocol::limits::OPS_FRAME_BYTES_TARGET;
use protocol::log::NamedOp;
use protocol::op::{Blocked, Body, Delete, Publish, Resolve};
use protocol::package::Coordinate;
use protocol::reference::references;

use super::super::StatementError;
use super::behind::{Behind, Last};
use crate::store::{Look, ReadError, Store};

/// Ops of one batch: well below what a frame may hold, an opening of an epoch included.
const PART_OPS: usize = 1000;
/// Bytes of the statement of a choice, but for those of a very long name.
const CHOICE_BYTES: usize = 256;

/// What is said again of an author's logs.
#[derive(Debug, Default)]
pub(super) struct Again {
    /// In the order in which it was said first, each with the bytes of its statement.
    bodies: Vec<(Body, usize)>,
    /// The versions of which another build might be served once the one that is served counts for nothing, with those builds.
    chosen: Vec<(Coordinate, Winner)>,
}

/// The build that is served now.
#[derive(Debug)]
enum Winner {
    /// An op that goes on counting.
    Stays(OpId),
    /// An op that is said again, by the place of its body among those.
    Again(usize),
}

impl Again {
    /// What is said in one batch each.
    pub(super) fn in_parts(&self) -> Vec<Vec<Body>> {
        in_parts(self.bodies.iter().map(|(body, bytes)| (body.clone(), *bytes)))
    }

    /// The choices that keep what is served, once the bodies were said as `said`.
    #[must_use]
    pub(super) fn choices(&self, said: &[OpId]) -> Vec<Vec<Body>> {
        let choice = |(coordinate, winner): &(Coordinate, Winner)| {
            let winner = match winner {
                Winner::Stays(op) => *op,
                Winner::Again(at) => *said.get(*at)?,
            };
            Some(Body::Resolve(Resolve { coordinate: coordinate.clone(), winner }))
        };
        in_parts(self.chosen.iter().filter_map(choice).map(|body| (body, CHOICE_BYTES)))
    }

    /// How many versions are published again, how many deleted again, and how much else is said again.
    #[must_use]
    pub(super) fn counts(&self) -> (u64, u64, u64) {
        let (mut publishes, mut deletes, mut others) = (0_u64, 0_u64, 0_u64);
        for (body, _) in &self.bodies {
            let count = if matches!(body, Body::Publish(_)) {
                &mut publishes
            } else if matches!(body, Body::Delete(_)) {
                &mut deletes
            } else {
                &mut others
            };
            *count = count.saturating_add(1);
        }
        (publishes, deletes, others)
    }
}

/// What fits into one frame each, by the bytes of the statements and their number.
fn in_parts(bodies: impl Iterator<Item = (Body, usize)>) -> Vec<Vec<Body>> {
    let (mut parts, mut bytes) = (Vec::<Vec<Body>>::new(), 0_usize);
    for (body, size) in bodies {
        bytes = bytes.saturating_add(size);
        match parts.last_mut().filter(|part| bytes <= OPS_FRAME_BYTES_TARGET && part.len() < PART_OPS) {
            Some(part) => part.push(body),
            None => {
                bytes = size;
                parts.push(vec![body]);
            }
        }
    }
    parts
}

/// What a site looks at to say again what lies behind cuts.
struct Saying<'a> {
    store: &'a Store,
    feed: FeedId,
    look: Look,
    ledger: &'a Ledger,
    behind: &'a Behind,
}

impl Saying<'_> {
    /// Whether an op behind the cuts counted for what it says.
    fn may(&self, named: &NamedOp, verb: Verb, name: &str) -> bool {
        let (place, stamp) = (named.op.place, named.op.stamp);
        self.ledger.authority().allows(place.log, place.seq, stamp, verb, name)
    }

    fn has(&self, id: OpId) -> bool {
        self.behind.has(id)
    }

    /// Those by which an item is what it is: the build that is served, or the deletes where nothing is, and the offer. Not what an author says that
    /// deletes no more than its own: what it says of it later does not reach what this site says, and this site's delete reaches more.
    fn decide(&self, item: &Item, last: Last) -> Vec<OpId> {
        // What is blocked is served once it is unblocked.
        let blocked = last.stands.filter(|_| item.standing == Standing::Blocked && item.deletes.is_empty());
        // A local build is said by nobody for others.
        let winner = item.winner.filter(|_| !item.local).or(blocked);
        let deletes = item.deletes.iter().copied().filter(|_| item.winner.is_none());
        let mut ops: Vec<OpId> = winner.into_iter().chain(deletes).collect();
        ops.retain(|id| {
            let named = self.behind.ops.get(id);
            named.is_some_and(|named| {
                let (Body::Publish(Publish { coordinate, .. }) | Body::Delete(Delete { coordinate, .. })) =
                    &named.op.body
                else {
                    return false;
                };
                let may = |verb| self.may(named, verb, &coordinate.name);
                may(Verb::DeleteWide) || may(Verb::Publish) && !may(Verb::DeleteOwn)
            })
        });
        let stands = |id: &OpId| match self.behind.ops.get(id) {
            Some(named) => matches!(&named.op.body, Body::SetState(set)
                if set.offer == item.offer && self.may(named, Verb::Publish, &set.coordinate.name)),
            None => false,
        };
        ops.extend(last.offer.filter(stands));
        ops
    }

    /// Whether another build might be served than is once the ops behind the cuts count no more.
    fn contests(&self, item: &Item) -> bool {
        let lost = item.deletes.iter().chain(&item.resolved).any(|id| self.has(*id));
        // Said again it is under no seal, and later.
        let moved = item.winner.is_some_and(|winner| self.has(winner));
        !item.local && item.winner.is_some() && (lost || moved || !item.clash.is_empty())
    }

    /// Those by which refs point where they do, or nowhere where they would point somewhere without them.
    fn point(&self) -> Result<BTreeSet<OpId>, ReadError> {
        let mut packages: BTreeMap<&str, BTreeMap<&str, OpId>> = BTreeMap::new();
        for id in &self.behind.order {
            if let Some(Body::SetRef(set)) = self.behind.body(*id) {
                packages.entry(&set.package).or_default().insert(&set.name, *id);
            }
        }
        let mut pointing = BTreeSet::new();
        for (package, last) in packages {
            let ops = self.store.ref_ops(self.feed, package)?;
            let refs = references(&ops, self.ledger, self.look.me, self.look.now);
            let elsewhere: BTreeSet<&str> =
                ops.iter().filter(|named| !self.has(named.id)).filter_map(name_of).collect();
            for (name, id) in last {
                let stands = refs.iter().find(|one| one.name == name);
                let taken_away =
                    matches!(self.behind.body(id), Some(Body::SetRef(set)) if set.target.is_none());
                if stands
                    .map_or_else(|| taken_away && elsewhere.contains(name), |one| one.op == id && !one.local)
                {
                    pointing.insert(id);
                }
            }
        }
        Ok(pointing)
    }

    /// Whether one is said again, rights aside. Only what counted, for what this site says counts. Figures are not, which their author gives
    /// again, nor seals.
    fn travels(&self, named: &NamedOp, kept: &BTreeSet<OpId>) -> bool {
        let (id, place, stamp) = (named.id, named.op.place, named.op.stamp);
        match &named.op.body {
            Body::Publish(_) | Body::Delete(_) | Body::SetState(_) => kept.contains(&id),
            Body::SetRef(set) => kept.contains(&id) && self.may(named, Verb::Publish, &set.package),
            Body::Block(block) => {
                let name = match &block.target {
                    Blocked::Coordinate(coordinate) => coordinate.name.as_str(),
                    Blocked::Blob(_) => "",
                };
                self.may(named, Verb::Block, name)
                    && self.ledger.block_stands(id, place, stamp, name, self.look.me)
            }
            Body::Unblock(unblock) => self.may(named, Verb::Block, "") && !self.has(unblock.block),
            // An origin's cuts count wherever they stand.
            Body::Grant(_)
            | Body::Revoke(_)
            | Body::Cut(_)
            | Body::Resolve(_)
            | Body::Seal(_)
            | Body::Statistics(_)
            | Body::OpenEpoch(_)
            | Body::Unknown { .. } => false,
        }
    }

    /// The words about rights that counted, from the first one on that is lost: what was said after it, by whomever, must come after it again.
    fn rights(&self) -> Result<Vec<NamedOp>, ReadError> {
        let words = self.ledger.authority().words().into_iter();
        words.skip_while(|id| !self.has(*id)).filter_map(|id| self.store.op(id).transpose()).collect()
    }

    /// Every build that is served before another: what a seal or a right made of them may be lost.
    fn all_contested(&self) -> Result<Vec<OpId>, ReadError> {
        let mut contested = Vec::new();
        self.store.each_item(self.feed, self.look, |_, item| {
            contested.extend(item.winner.filter(|_| !item.local && !item.clash.is_empty()));
            Ok::<_, ReadError>(())
        })?;
        Ok(contested)
    }
}

fn name_of(named: &NamedOp) -> Option<&str> {
    if let Body::SetRef(set) = &named.op.body { Some(set.name.as_str()) } else { None }
}

/// What this site must say itself so that all that counts here by ops behind the cuts goes on counting. Nothing where the last word about a
/// version holds: said again it would be later than what was said after it elsewhere.
///
/// # Errors
/// The store cannot be read, or a delete behind the cuts waits for a person here.
pub(super) fn again(
    store: &Store,
    feed: FeedId,
    look: Look,
    cuts: &[(LogId, u64)],
) -> Result<Again, StatementError> {
    let mut said = Again::default();
    let Some(ledger) = store.ledger(feed)?.filter(|ledger| !ledger.genesis().overwrite) else {
        return Ok(said);
    };
    let behind = Behind::of(store, cuts, Some(ledger.authority()))?;
    let saying = Saying { store, feed, look, ledger: &ledger, behind: &behind };
    let mut kept = saying.point()?;
    let mut contested = BTreeSet::new();
    for ((name, version), last) in &behind.about {
        let Some(item) = store.item(feed, name, version, look)? else { continue };
        if item.held_deletes.iter().any(|id| behind.has(*id)) {
            return Err(StatementError::DeleteWaits { name: name.clone(), version: version.clone() });
        }
        kept.extend(saying.decide(&item, *last));
        contested.extend(item.winner.filter(|_| saying.contests(&item)));
    }
    let mut places = BTreeMap::new();
    let ops = behind.order.iter().filter_map(|id| behind.ops.get(id));
    for named in ops.filter(|named| saying.travels(named, &kept)) {
        places.insert(named.id, said.bodies.len());
        said.bodies.push((named.op.body.clone(), named.statement.len()));
    }
    let rights = saying.rights()?;
    let seals = behind.ops.values().any(|named| matches!(named.op.body, Body::Seal(_)));
    if seals || !rights.is_empty() {
        contested.extend(saying.all_contested()?);
    }
    said.bodies.extend(rights.into_iter().map(|named| (named.op.body, named.statement.len())));
    for winner in contested {
        let Some(Body::Publish(publish)) = store.op(winner)?.map(|named| named.op.body) else { continue };
        match places.get(&winner) {
            Some(at) => said.chosen.push((publish.coordinate, Winner::Again(*at))),
            None if !behind.has(winner) => said.chosen.push((publish.coordinate, Winner::Stays(winner))),
            None => {}
        }
    }
    Ok(said)
}
