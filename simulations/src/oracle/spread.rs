//! How far ops may have come while links were changed: by what each link let through at each time.

use std::collections::{BTreeMap, BTreeSet};

use protocol::id::OpId;

use super::Fact;
use crate::topology::Shape;

/// The sites at which each op and each log may be.
#[derive(Debug, Default)]
pub struct Spread {
    ops: BTreeMap<OpId, BTreeSet<usize>>,
    logs: BTreeMap<usize, BTreeSet<usize>>,
}

impl Spread {
    /// Everything gets as far as it does while links are as they are.
    pub(super) fn flow(&mut self, shape: &Shape, facts: &[Fact]) {
        let travels = |site: usize| shape.authors.get(site) == Some(&true);
        for site in 0..shape.sites() {
            let log = self.logs.entry(site).or_insert_with(|| BTreeSet::from([site]));
            if travels(site) && log.len() < shape.sites() {
                *log = shape.beyond(std::mem::take(log), |on| on.in_add || on.in_delete);
            }
        }
        for fact in facts {
            let reached = self.ops.entry(fact.id).or_insert_with(|| BTreeSet::from([fact.site]));
            if travels(fact.site) && reached.len() < shape.sites() {
                *reached = shape.closure(std::mem::take(reached), fact.body.is_removal());
            }
        }
    }

    /// Whether an op may be at a site.
    #[must_use]
    pub fn op_may_be_at(&self, op: OpId, at: usize) -> bool {
        self.ops.get(&op).is_some_and(|reached| reached.contains(&at))
    }

    /// To how many other sites an op may have come.
    #[must_use]
    pub fn receivers(&self, op: OpId) -> usize {
        self.ops.get(&op).map_or(0, |reached| reached.len().saturating_sub(1))
    }

    /// Whether anything of a site's log may be at another.
    #[must_use]
    pub fn log_may_be_at(&self, author: usize, at: usize) -> bool {
        self.logs.get(&author).is_some_and(|reached| reached.contains(&at))
    }
}
