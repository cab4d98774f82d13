//! What a feed's origin says again when it cuts a forked log: what it holds of that log behind the cut, so that nothing which counted is undone.

use std::collections::{BTreeMap, BTreeSet};

use protocol::feed::Item;
use protocol::grant::Verb;
use protocol::id::{FeedId, LogId, OpId, SiteId};
use protocol::ledger::Ledger;
use protocol::limits::OPS_FRAME_BYTES_TARGET;
use protocol::log::NamedOp;
use protocol::op::{Blocked, Body, Resolve};
use protocol::package::Coordinate;
use protocol::reference::references;

use super::behind::Behind;
use crate::store::{Look, ReadError, Store};

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
        let (mut parts, mut bytes) = (Vec::<Vec<Body>>::new(), 0_usize);
        for (body, size) in &self.bodies {
            bytes = bytes.saturating_add(*size);
            match parts.last_mut().filter(|_| bytes <= OPS_FRAME_BYTES_TARGET) {
                Some(part) => part.push(body.clone()),
                None => {
                    bytes = *size;
                    parts.push(vec![body.clone()]);
                }
            }
        }
        parts
    }

    /// The choices that keep what is served, once the bodies were said as `said`.
    #[must_use]
    pub(super) fn choices(&self, said: &[OpId]) -> Vec<Body> {
        let choice = |(coordinate, winner): &(Coordinate, Winner)| {
            let winner = match winner {
                Winner::Stays(op) => *op,
                Winner::Again(at) => *said.get(*at)?,
            };
            Some(Body::Resolve(Resolve { coordinate: coordinate.clone(), winner }))
        };
        self.chosen.iter().filter_map(choice).collect()
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

impl Behind {
    /// Those by which an item is what it is: the build that is served, or the deletes where nothing is, and the offer.
    fn decide<'a>(&'a self, item: &'a Item, offer: Option<OpId>) -> impl Iterator<Item = OpId> + 'a {
        // A local build is said by nobody for others.
        let winner = item.winner.filter(|_| !item.local);
        let deletes = item.deletes.iter().copied().filter(|_| item.winner.is_none());
        let stands =
            |id: &OpId| matches!(self.body(*id), Some(Body::SetState(set)) if set.offer == item.offer);
        winner.into_iter().chain(deletes).filter(|id| self.has(*id)).chain(offer.filter(stands))
    }

    /// Whether another build might be served where they count no more.
    fn contests(&self, item: &Item) -> bool {
        let lost = item.deletes.iter().chain(&item.resolved).any(|id| self.has(*id));
        !item.local && item.winner.is_some() && (lost || !item.clash.is_empty())
    }

    /// Those by which refs point where they do, or nowhere.
    fn point(
        &self,
        store: &Store,
        feed: FeedId,
        look: Look,
        ledger: &Ledger,
    ) -> Result<BTreeSet<OpId>, ReadError> {
        let mut last: BTreeMap<(&str, &str), OpId> = BTreeMap::new();
        for id in &self.order {
            if let Some(Body::SetRef(set)) = self.body(*id) {
                last.insert((&set.package, &set.name), *id);
            }
        }
        let mut pointing = BTreeSet::new();
        for ((package, name), id) in last {
            let refs = references(&store.ref_ops(feed, package)?, ledger, look.me, look.now);
            let stands = refs.iter().find(|one| one.name == name);
            let taken_away = matches!(self.body(id), Some(Body::SetRef(set)) if set.target.is_none());
            if stands.map_or(taken_away, |one| one.op == id) {
                pointing.insert(id);
            }
        }
        Ok(pointing)
    }

    /// Whether one is said again, rights aside. Only what counted, for what this site says counts. Figures are not, which their author gives
    /// again, nor seals, whose successors fix as much.
    fn travels(&self, named: &NamedOp, kept: &BTreeSet<OpId>, ledger: &Ledger, me: SiteId) -> bool {
        let (id, place, stamp) = (named.id, named.op.place, named.op.stamp);
        let may = |verb, name: &str| ledger.authority().allows(place.log, place.seq, stamp, verb, name);
        match &named.op.body {
            Body::Publish(_) | Body::Delete(_) => kept.contains(&id),
            Body::SetState(set) => kept.contains(&id) && may(Verb::Publish, &set.coordinate.name),
            Body::SetRef(set) => kept.contains(&id) && may(Verb::Publish, &set.package),
            Body::Block(block) => {
                let name = match &block.target {
                    Blocked::Coordinate(coordinate) => coordinate.name.as_str(),
                    Blocked::Blob(_) => "",
                };
                may(Verb::Block, name) && ledger.block_stands(id, place, stamp, name, me)
            }
            Body::Unblock(unblock) => may(Verb::Block, "") && !self.has(unblock.block),
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

    /// The words about the rights of each site about which one is lost, from that one on: what was said after it must come after it again.
    fn rights(&self, store: &Store, ledger: &Ledger) -> Result<Vec<NamedOp>, ReadError> {
        let about = |id: &OpId| match self.body(*id) {
            Some(Body::Grant(grant)) => Some(grant.grantee),
            Some(Body::Revoke(revoke)) => Some(revoke.grantee),
            Some(_) | None => None,
        };
        let sites: BTreeSet<SiteId> = self.order.iter().filter_map(about).collect();
        let words = sites
            .into_iter()
            .flat_map(|site| ledger.authority().words_about(site).skip_while(|id| !self.has(*id)));
        words.filter_map(|id| store.op(id).transpose()).collect()
    }
}

/// What this site must say itself so that all that counts here by ops behind the cuts goes on counting.
///
/// # Errors
/// The store cannot be read.
pub(super) fn again(
    store: &Store,
    feed: FeedId,
    look: Look,
    cuts: &[(LogId, u64)],
) -> Result<Again, ReadError> {
    let Some(ledger) = store.ledger(feed)? else { return Ok(Again::default()) };
    let behind = Behind::of(store, cuts)?;
    let mut kept = behind.point(store, feed, look, &ledger)?;
    let mut contested = Vec::new();
    for ((name, version), last) in &behind.about {
        let Some(item) = store.item(feed, name, version, look)? else { continue };
        kept.extend(behind.decide(&item, last.offer));
        contested.extend(item.winner.filter(|_| behind.contests(&item)));
    }
    let (mut said, mut places) = (Again::default(), BTreeMap::new());
    let ops = behind.order.iter().filter_map(|id| behind.ops.get(id));
    for named in ops.filter(|named| behind.travels(named, &kept, &ledger, look.me)) {
        places.insert(named.id, said.bodies.len());
        said.bodies.push((named.op.body.clone(), named.statement.len()));
    }
    let rights = behind.rights(store, &ledger)?.into_iter();
    said.bodies.extend(rights.map(|named| (named.op.body, named.statement.len())));
    for winner in contested {
        let Some(Body::Publish(publish)) = store.op(winner)?.map(|named| named.op.body) else { continue };
        let build = places.get(&winner).map_or(Winner::Stays(winner), |at| Winner::Again(*at));
        said.chosen.push((publish.coordinate, build));
    }
    Ok(said)
}
