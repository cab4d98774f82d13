//! Refs (tags, dist-tags): the last writer wins, and taking a ref away is a value like any other.

use crate::grant::Verb;
use crate::id::{OpId, SiteId};
use crate::ledger::Ledger;
use crate::log::NamedOp;
use crate::op::{Body, Target};
use crate::time::{Hlc, Timestamp};

#[cfg(test)]
mod tests;

/// Where one ref points, and by which op.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub name: String,
    pub target: Target,
    pub op: OpId,
    /// Whether only this site sees it so.
    pub local: bool,
    pub set: Timestamp,
}

/// The refs that the ops about one package, in any order, amount to, in order of name. A site without the right to publish sets refs for itself.
#[must_use]
pub fn references(ops: &[NamedOp], ledger: &Ledger, me: SiteId, now: Timestamp) -> Vec<Reference> {
    let mut last: std::collections::BTreeMap<&str, ((bool, Hlc, OpId), &Option<Target>)> =
        std::collections::BTreeMap::new();
    for named in ops.iter().filter(|named| !named.op.stamp.is_ahead_of(now)) {
        let Body::SetRef(set) = &named.op.body else { continue };
        let (place, stamp) = (named.op.place, named.op.stamp);
        let counts = ledger.authority().allows(place.log, place.seq, stamp, Verb::Publish, &set.package);
        if !counts && !ledger.authority().is_own(place, me) {
            continue;
        }
        let rank = (counts, stamp, named.id);
        let held = last.entry(&set.name).or_insert((rank, &set.target));
        if held.0 < rank {
            *held = (rank, &set.target);
        }
    }
    let told = last.into_iter().filter_map(|(name, ((counts, stamp, op), target))| {
        let target = target.clone()?;
        Some(Reference { name: name.to_owned(), target, op, local: !counts, set: stamp.wall() })
    });
    told.collect()
}
