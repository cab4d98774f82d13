//! The order in which ops arrived here: each takes the next number, its generation.

use std::collections::BTreeMap;

use protocol::id::{LogId, OpId};
use protocol::log::NamedOp;

use super::engine::Broken;
use super::keys::{self, Arrival, BatchEntry, Tree};
use super::ops::{Parts, newest, take_apart};
use super::{ReadError, Store};

/// Entries of the index looked at under one hold of it.
const PAGE_ENTRIES: usize = 512;

/// What has arrived since some generation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changed {
    /// The generation of the newest op. Ask again with this.
    pub generation: u64,
    /// Each log that has grown, and the first position that is new.
    pub logs: BTreeMap<LogId, u64>,
}

impl Store {
    /// The generation of the newest op: each op that arrives, from wherever, takes the next.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn newest_generation(&self) -> Result<u64, ReadError> {
        let last = self.with_index(|index| index.last(Tree::Arrival, &[]))?;
        let newest = last.and_then(|(key, _)| key.try_into().ok()).map(u64::from_be_bytes);
        Ok(newest.unwrap_or(0))
    }

    /// The logs that have grown since `generation` was the newest.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn changed_since(&self, generation: u64) -> Result<Changed, ReadError> {
        let mut changed = Changed { generation, logs: BTreeMap::new() };
        let newest = self.newest_generation()?;
        loop {
            let page = self.arrivals(changed.generation, newest)?;
            if page.is_empty() {
                return Ok(changed);
            }
            for (arrived, Arrival { log, first, .. }) in page {
                let since = changed.logs.entry(log).or_insert(first);
                *since = first.min(*since);
                changed.generation = changed.generation.max(arrived);
            }
        }
    }

    /// The ops that arrived after the generation `after` and that `takes` takes, in the order of arrival, each with its generation; at most
    /// `most`, after looking at `looked_max` generations or a little more. The first number says up to which generation was looked at.
    ///
    /// # Errors
    /// When the disk fails, or the bytes of an op are damaged.
    pub fn arrived(
        &self,
        after: u64,
        looked_max: u64,
        most: usize,
        takes: impl Fn(&NamedOp) -> bool,
    ) -> Result<(u64, Vec<(u64, NamedOp)>), ReadError> {
        let (mut seen, mut found) = (after, Vec::new());
        let newest = self.newest_generation()?;
        loop {
            let page = self.arrivals(seen, newest)?;
            if page.is_empty() {
                return Ok((seen, found));
            }
            for (last, arrival) in page {
                let ops = if arrival.late {
                    self.op_at(arrival)?.map(|op| (last, op)).into_iter().collect()
                } else {
                    self.ops_of(last, arrival)?
                };
                for (generation, op) in ops.into_iter().filter(|(generation, _)| *generation > after) {
                    if let Some(named) = self.op(op)?.filter(|named| takes(named)) {
                        found.push((generation, named));
                    }
                }
                seen = last;
                if found.len() >= most || seen.saturating_sub(after) >= looked_max {
                    return Ok((seen, found));
                }
            }
        }
    }

    /// Some arrivals after a generation and up to another that was the newest before. Whoever walks on beside an append may pass a place
    /// just before its entry is there and see the next one: up to what was there before the walk nothing is missed.
    fn arrivals(&self, after: u64, newest: u64) -> Result<Vec<(u64, Arrival)>, ReadError> {
        let from = after.saturating_add(1).to_be_bytes();
        let page = self.with_index(|index| {
            let page = index.page(Tree::Arrival, &[], &from, PAGE_ENTRIES)?;
            let entry = |(key, value): (Vec<u8>, Vec<u8>)| {
                let generation = key.try_into().map_or(u64::MAX, u64::from_be_bytes);
                Ok((generation, keys::decode::<Arrival>(&value)?))
            };
            page.into_iter().map(entry).collect::<Result<Vec<_>, Broken>>()
        })?;
        Ok(page.into_iter().filter(|(generation, _)| *generation <= newest).collect())
    }

    /// The ops of the batch whose last one arrived with the generation `last`, each with its generation. After damage was mended batches
    /// overlap, and others may end before it.
    fn ops_of(&self, last: u64, arrival: Arrival) -> Result<Vec<(u64, OpId)>, ReadError> {
        for batch in self.batches_reaching(arrival.log, arrival.first) {
            let (_, BatchEntry { first, at }) = batch?;
            if first != arrival.first {
                continue;
            }
            let payload = self.read_location(at)?;
            let Some(Parts { prelude, ops }) = payload.as_deref().and_then(take_apart) else { continue };
            if newest(prelude.generation, ops.len()) == last {
                return Ok((prelude.generation..).zip(ops.into_iter().map(|(id, ..)| id)).collect());
            }
        }
        Ok(Vec::new())
    }

    /// The op that came for the gap at a position.
    fn op_at(&self, arrival: Arrival) -> Result<Option<OpId>, ReadError> {
        for batch in self.batches(arrival.log, arrival.first, 0)? {
            let first = batch.entries.first();
            if let Some(protocol::log::Entry::Op(statement)) = first {
                let place = protocol::op::Place { log: arrival.log, seq: arrival.first };
                return Ok(Some(protocol::op::Op::id_of(place, statement)));
            }
        }
        Ok(None)
    }
}
