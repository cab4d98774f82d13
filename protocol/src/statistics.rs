//! Downloads and last use: each site tells its own figures, which are summed. A later op of a site replaces its earlier figures.

use std::collections::BTreeMap;

use crate::id::SiteId;
use crate::log::NamedOp;
use crate::op::Body;
use crate::package::Coordinate;
use crate::time::Timestamp;

#[cfg(test)]
mod tests;

/// What all sites together tell of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    pub downloads: u64,
    /// The latest over all sites.
    pub last_used: Option<Timestamp>,
}

/// The newest figures of each site for each version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Figures {
    told: BTreeMap<(Coordinate, SiteId), ((u64, u64), u64, Timestamp)>,
}

impl Figures {
    /// Takes an op in; what is no statistics says nothing. In any order, and again, the result is the same.
    pub fn apply(&mut self, named: &NamedOp) {
        let Body::Statistics(statistics) = &named.op.body else { return };
        let (author, at) = (named.op.place.log.author, (named.op.place.log.epoch, named.op.place.seq));
        for used in &statistics.uses {
            let key = (used.coordinate.clone(), author);
            let newer = self.told.get(&key).is_none_or(|(held, _, _)| *held < at);
            if newer {
                self.told.insert(key, (at, used.downloads, used.last_used));
            }
        }
    }

    /// What all sites together tell of a version.
    #[must_use]
    pub fn usage(&self, coordinate: &Coordinate) -> Usage {
        let (first, last) = (SiteId([0; 32]), SiteId([0xff; 32]));
        let sites = self.told.range((coordinate.clone(), first)..=(coordinate.clone(), last));
        sites.fold(Usage::default(), |sum, (_, (_, downloads, last_used))| Usage {
            downloads: sum.downloads.saturating_add(*downloads),
            last_used: sum.last_used.max(Some(*last_used)),
        })
    }

    /// What one site told of a version last.
    #[must_use]
    pub fn told_by(&self, site: SiteId, coordinate: &Coordinate) -> Option<(u64, Timestamp)> {
        self.told.get(&(coordinate.clone(), site)).map(|(_, downloads, last)| (*downloads, *last))
    }
}
