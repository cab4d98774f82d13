//! Ops that were left out of a log and are known by their hash alone, and those that came for them later.
//!
//! What came later is a record of its own: the batch in which an op was left out stays as it was signed and stored, and its hash there
//! says which op belongs in the place.

use protocol::grant::Permitted;
use protocol::id::{LogId, OpId};
use protocol::log::{Batch, Entry, Filling, NamedOp};
use protocol::op::{Op, Place};
use serde::{Deserialize, Serialize};

use super::engine::Change;
use super::keys::{self, Arrival, Location, OpEntry, Tree};
use super::ops::{self, AppendError};
use super::packs::Damage;
use super::packs::record::{Draft, Kind};
use super::replay::Changes;
use super::{ReadError, Store, locked, walk};

/// The first byte of such a record.
const LAYOUT: u8 = 2;

/// Whether a record is of ops that came later than their places.
pub(super) fn is_filling(payload: &[u8]) -> bool {
    payload.first() == Some(&LAYOUT)
}

/// What stands in a log for ops that were left out: how many (two to the power of `height`), and their hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Gap {
    pub(super) height: u8,
    pub(super) hash: [u8; 32],
}

/// What precedes the statements in the record.
#[derive(Debug, Serialize, Deserialize)]
struct Prelude {
    /// The generation of the first op; the others follow one by one.
    generation: u64,
    log: LogId,
    /// Each op's position, name and statement's length.
    ops: Vec<(u64, OpId, u32)>,
}

fn encode(filling: &Filling, places: &[(u64, OpId)], generation: u64) -> Vec<u8> {
    let chosen = || filling.ops().iter().filter(|named| places.contains(&(named.op.place.seq, named.id)));
    let ops = chosen()
        .map(|named| (named.op.place.seq, named.id, u32::try_from(named.statement.len()).unwrap_or(u32::MAX)))
        .collect();
    let prelude = keys::encode(&Prelude { generation, log: filling.log(), ops });
    let mut payload = vec![LAYOUT];
    payload.extend_from_slice(&u32::try_from(prelude.len()).unwrap_or(u32::MAX).to_le_bytes());
    payload.extend_from_slice(&prelude);
    for named in chosen() {
        payload.extend_from_slice(&named.statement);
    }
    payload
}

/// What precedes the statements, and those.
fn take_apart(payload: &[u8]) -> Option<(Prelude, &[u8])> {
    let (length, rest) = payload.strip_prefix(&[LAYOUT])?.split_first_chunk::<4>()?;
    let (prelude, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    Some((keys::decode(prelude).ok()?, rest))
}

/// The log in which ops of the record have their places.
pub(super) fn log_of(payload: &[u8]) -> Option<LogId> {
    take_apart(payload).map(|(prelude, _)| prelude.log)
}

/// What the record means for the index.
pub(super) fn replay(changes: &mut Changes, at: Location, payload: &[u8]) {
    let Some((Prelude { generation, log, ops }, mut rest)) = take_apart(payload) else { return };
    let mut start = u64::try_from(payload.len().saturating_sub(rest.len())).unwrap_or(u64::MAX);
    for (generation, (seq, id, bytes)) in (generation..).zip(ops) {
        let arrival = Arrival { log, first: seq, late: true };
        changes.set(Tree::Arrival, generation.to_be_bytes().to_vec(), keys::encode(&arrival));
        let Some((statement, behind)) = rest.split_at_checked(usize::try_from(bytes).unwrap_or(usize::MAX))
        else {
            return;
        };
        let place = Place { log, seq };
        let entry = OpEntry { place, batch: at, start, bytes: u64::from(bytes) };
        changes.set(Tree::Op, id.0.to_vec(), keys::encode(&entry));
        changes.remove(Tree::Gap, keys::batch(log, seq));
        if let Ok(op) = Op::decode_statement(place, statement) {
            ops::note_body(changes, log.feed, id, &op.body);
        }
        rest = behind;
        start = start.saturating_add(u64::from(bytes));
    }
}

impl Store {
    /// Puts ops in the places where they were left out. They are durable, and only then seen, when this returns. What is here already is
    /// passed over.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn fill(&self, filling: &Permitted<Filling>) -> Result<u64, AppendError> {
        let filling = filling.inner();
        let mut newest = locked(&self.inner.generation);
        let generation = match *newest {
            Some(generation) => generation,
            None => self.newest_generation()?,
        };
        let mut places = Vec::with_capacity(filling.ops().len());
        for named in filling.ops() {
            if self.gap(filling.log(), named.op.place.seq)? == Some(named.id) {
                places.push((named.op.place.seq, named.id));
            }
        }
        if places.is_empty() {
            return Ok(generation);
        }
        self.leave_trash(filling.ops().iter())?;
        let payload = encode(filling, &places, generation.saturating_add(1));
        let draft =
            Draft { kind: Kind::Ops, aux: 0, id: *blake3::hash(&payload).as_bytes(), payload: &payload };
        *newest = None;
        self.commit_ops(&[draft])?;
        let generation = generation.saturating_add(u64::try_from(places.len()).unwrap_or(u64::MAX));
        *newest = Some(generation);
        let (feed, ops) = (filling.log().feed, filling.ops());
        self.enter(feed, ops);
        self.count(feed, ops);
        Ok(generation)
    }

    /// The hash of the op that is lacking at a position; none where nothing lacks, or more than one op was left out under one hash.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn gap(&self, log: LogId, seq: u64) -> Result<Option<OpId>, ReadError> {
        let key = keys::batch(log, seq);
        let gap = self.with_index(|index| {
            index.value(Tree::Gap, &key)?.map(|value| keys::decode::<Gap>(&value)).transpose()
        })?;
        Ok(gap.filter(|gap| gap.height == 0).map(|gap| OpId(gap.hash)))
    }

    /// Whether an op came later than its place, in which it had been left out.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn came_late(&self, named: &NamedOp) -> Result<bool, ReadError> {
        let entry: Option<OpEntry> = self.with_index(|index| {
            index.value(Tree::Op, &named.id.0)?.map(|value| keys::decode(&value)).transpose()
        })?;
        entry.map_or(Ok(false), |entry| Ok(!self.lies_in_batch(named.op.place, entry.batch)?))
    }

    /// The ops that are lacking in a log, and the first position that can be asked for.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn gaps(&self, log: LogId) -> Result<(u64, Option<u64>), ReadError> {
        let (mut ops, mut first) = (0_u64, None);
        for gap in self.walk(Tree::Gap, &keys::log(log), walk::keyed) {
            let (key, gap): (_, Gap) = gap?;
            ops = ops.saturating_add(1_u64.checked_shl(u32::from(gap.height)).unwrap_or(u64::MAX));
            if gap.height == 0 {
                first = first.or_else(|| key.last_chunk::<8>().copied().map(u64::from_be_bytes));
            }
        }
        Ok((ops, first))
    }

    /// Puts ops that came later in their places in a batch. One that cannot be read stays left out.
    pub(super) fn put_in_place(&self, batch: &mut Batch) {
        for entry in &mut batch.entries {
            if let Entry::Skip { height: 0, hash } = entry
                && let Ok(Some(named)) = self.op(OpId(*hash))
            {
                *entry = Entry::Op(named.statement);
            }
        }
    }

    /// Ops that came later and lie in damaged bytes are lacking again, so that they are asked for again.
    pub(super) fn reopen_gaps(&self, damage: &[Damage]) -> Result<(), ReadError> {
        if damage.is_empty() {
            return Ok(());
        }
        for op in self.walk(Tree::Op, &[], |key, value| Ok((keys::op_of(key)?, keys::decode(value)?))) {
            let (OpId(hash), OpEntry { place, batch: at, .. }) = op?;
            // An op in its own batch is the business of that batch's log.
            if !damage.iter().any(|damage| damage.covers(at)) || self.lies_in_batch(place, at)? {
                continue;
            }
            let gap = Change {
                tree: Tree::Gap,
                key: keys::batch(place.log, place.seq),
                value: Some(keys::encode(&Gap { height: 0, hash })),
            };
            let changes = [gap, Change { tree: Tree::Op, key: hash.to_vec(), value: None }];
            self.with_index(|index| index.apply(&changes))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
