//! Batches of another history than the log that is held. Damage took a part of a log, what lay whole behind it waited, and the log came again
//! as its author had signed it for somebody else.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use protocol::fork::ForkProof;
use protocol::id::LogId;
use protocol::log::{Mmr, Verified};

use super::engine::{Broken, Change, Index};
use super::holes::{cut, end_logs};
use super::keys::{self, BatchEntry, LogEntry, RecordEntry, Tree};
use super::ops::{self, AppendError, take_apart};
use super::packs::Packs;
use super::packs::record::Kind;
use super::replay::{Changes, ReplayError};
use super::walk::each;
use super::{Shelf, Store, gaps};

/// Whether a batch's record was found to be of another history.
pub(super) fn is_stray(index: &dyn Index, record: &[u8; 32]) -> Result<bool, Broken> {
    Ok(index.value(Tree::Record, &keys::record(Shelf::Strays.code(), record))?.is_some())
}

/// The records of strays, by log.
fn known(index: &dyn Index) -> Result<BTreeMap<LogId, BTreeSet<[u8; 32]>>, Broken> {
    let mut strays: BTreeMap<LogId, BTreeSet<[u8; 32]>> = BTreeMap::new();
    each(index, Tree::Record, &keys::record(Shelf::Strays.code(), &[]), |key, value| {
        if let (Some(record), RecordEntry::Inline(log)) = (key.last_chunk::<32>(), keys::decode(value)?) {
            strays.entry(keys::decode(&log)?).or_default().insert(*record);
        }
        Ok(())
    })?;
    Ok(strays)
}

/// Puts logs right that have strays, after an index was filled from packs in which those still lie: what all others say is read again.
pub(super) fn settle(index: &dyn Index, packs: &Packs) -> Result<(), ReplayError> {
    let strays = known(index)?;
    if strays.is_empty() {
        return Ok(());
    }
    let (mut ends, mut gone) = (BTreeMap::new(), Vec::new());
    for log in strays.keys() {
        each(index, Tree::Batch, &keys::log(*log), |key, _| {
            gone.push(Change { tree: Tree::Batch, key: key.to_vec(), value: None });
            Ok(())
        })?;
        ends.insert(*log, LogEntry { head: None, after: Mmr::default(), longest: 0 });
    }
    index.apply(&gone)?;
    end_logs(index, &ends)?;
    for number in packs.numbers() {
        for place in packs.contents(number)?.places {
            let at = place.location(number);
            if place.header.kind != Kind::Ops {
                continue;
            }
            let Some((header, payload)) = packs.read(at)? else { continue };
            let log =
                take_apart(&payload).map(|parts| parts.head().head.log).or_else(|| gaps::log_of(&payload));
            if log.and_then(|log| strays.get(&log)).is_some_and(|records| !records.contains(&header.id)) {
                let mut changes = Changes::default();
                ops::replay(&mut changes, at, &payload);
                changes.apply(index)?;
            }
        }
    }
    cut(index, packs)
}

impl Store {
    /// Strikes out what lies behind the hole of a log and is of another history than a batch that is about to be appended there: it would
    /// stand beside that for ever, here alone. The two heads are a proof that the author signed both. `before` is the log as it is held.
    pub(super) fn strike_strays(&self, batch: &Verified, before: &Mmr) -> Result<(), AppendError> {
        let log = batch.log();
        let Some(entry) = self.log_entry(log)?.filter(|entry| entry.longest > before.len()) else {
            return Ok(());
        };
        let runs = batch.to_batch().runs();
        let (mut longest, mut longest_stray) = (before.len(), 0);
        for found in self.batches_reaching(log, before.len()) {
            let (key, BatchEntry { at, .. }) = found?;
            let Some(payload) = self.read_location(at)? else { continue };
            let Some(head) = take_apart(&payload).map(|parts| parts.head().clone()) else { continue };
            let len = head.head.len;
            let Some(proof) = ForkProof::between(head, batch.head().clone(), before, &runs) else {
                longest = longest.max(len);
                continue;
            };
            tracing::warn!(author = %log.author, "what damage left of a log is of another history than what came again");
            self.put_fork(&proof)?;
            self.put_record(Shelf::Strays, blake3::hash(&payload).as_bytes(), &keys::encode(&log))?;
            self.change(Tree::Batch, key, None)?;
            longest_stray = longest_stray.max(len);
        }
        if longest_stray == entry.longest && longest < longest_stray {
            let shorter = keys::encode(&LogEntry { longest, ..entry });
            self.change(Tree::Log, keys::log(log), Some(shorter))?;
        }
        Ok(())
    }
}
