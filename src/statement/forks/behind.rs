//! The ops of forked logs that lie behind the cuts of those logs, as far as they are here.

use std::collections::BTreeMap;

use protocol::grant::Authority;
use protocol::id::{LogId, OpId};
use protocol::log::{Batch, Entry, NamedOp};
use protocol::op::{Body, Delete, Op, Place, Publish, Resolve, SetState};
use protocol::package::Coordinate;

use crate::store::{ReadError, Store};

/// Bytes of a log that are looked through at a time.
const PAGE_BYTES: u64 = 1 << 20;

/// The last of them about one version.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Last {
    /// That publishes or deletes it.
    pub(super) stands: Option<OpId>,
    /// That says how it is offered.
    pub(super) offer: Option<OpId>,
}

/// What lies behind the cuts.
#[derive(Default)]
pub(super) struct Behind {
    pub(super) ops: BTreeMap<OpId, NamedOp>,
    /// As they were said.
    pub(super) order: Vec<OpId>,
    /// The versions they are about.
    pub(super) about: BTreeMap<(String, String), Last>,
}

impl Behind {
    /// With an `authority` only those that no cut took before.
    pub(super) fn of(
        store: &Store,
        cuts: &[(LogId, u64)],
        authority: Option<&Authority>,
    ) -> Result<Self, ReadError> {
        let mut behind = Self::default();
        for (log, counts) in cuts {
            let mut at = *counts;
            loop {
                let batches = store.batches(*log, at, PAGE_BYTES)?;
                let Some(last) = batches.last() else { break };
                at = last.head.head.len;
                for (place, statement) in batches.iter().flat_map(|batch| statements(*log, batch)) {
                    let is_gone = authority.is_some_and(|authority| authority.is_cut_off(*log, place.seq));
                    if place.seq < *counts || is_gone {
                        continue;
                    }
                    let named = store.op(Op::id_of(place, statement))?;
                    named.into_iter().for_each(|named| behind.take(named));
                }
            }
        }
        Ok(behind)
    }

    fn take(&mut self, named: NamedOp) {
        match &named.op.body {
            Body::Publish(Publish { coordinate, .. }) | Body::Delete(Delete { coordinate, .. }) => {
                self.about.entry(key(coordinate)).or_default().stands = Some(named.id);
            }
            Body::SetState(SetState { coordinate, .. }) => {
                self.about.entry(key(coordinate)).or_default().offer = Some(named.id);
            }
            Body::Resolve(Resolve { coordinate, .. }) => {
                self.about.entry(key(coordinate)).or_default();
            }
            Body::SetRef(_)
            | Body::Block(_)
            | Body::Unblock(_)
            | Body::Grant(_)
            | Body::Revoke(_)
            | Body::Seal(_)
            | Body::Statistics(_)
            | Body::OpenEpoch(_)
            | Body::Cut(_)
            | Body::Unknown { .. } => {}
        }
        self.order.push(named.id);
        self.ops.insert(named.id, named);
    }

    pub(super) fn body(&self, id: OpId) -> Option<&Body> {
        self.ops.get(&id).map(|named| &named.op.body)
    }

    pub(super) fn has(&self, id: OpId) -> bool {
        self.ops.contains_key(&id)
    }
}

/// The ops of a batch that are known, each by its place and its statement.
fn statements(log: LogId, batch: &Batch) -> impl Iterator<Item = (Place, &[u8])> {
    let mut next = batch.first;
    batch.entries.iter().filter_map(move |entry| {
        let seq = next;
        next = next.saturating_add(entry.span());
        match entry {
            Entry::Op(statement) => Some((Place { log, seq }, statement.as_slice())),
            Entry::Skip { .. } => None,
        }
    })
}

fn key(coordinate: &Coordinate) -> (String, String) {
    (coordinate.name.clone(), coordinate.version.clone())
}
