//! Logs of which damage took a part. Such a log ends before the hole: what lies behind it is not held until it is back, so that what stands
//! follows from the same ops whether the index was kept or built anew.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use protocol::id::LogId;
use protocol::log::{Batch, Mmr, NamedOp};
use protocol::time::Timestamp;

use super::engine::{Broken, Change, Index};
use super::keys::{self, BatchEntry, LogEntry, OpEntry, Tree, ViewEntry};
use super::ops::{self, AppendError, take_apart};
use super::packs::Packs;
use super::replay::{Changes, ReplayError};
use super::walk::each;
use super::{Cause, ReadError, Shelf, Store, SweepError, locked};

/// Ends logs in the index: their ops from there on are taken out of it, and what those are about is to be worked out anew. All in one step,
/// what says that it is done last, for whoever keeps an index that may forget the end of it.
pub(super) fn end_logs(index: &dyn Index, ends: &BTreeMap<LogId, LogEntry>) -> Result<(), Broken> {
    let (mut changes, mut gone) = (Vec::new(), BTreeMap::new());
    each(index, Tree::Op, &[], |key, value| {
        let OpEntry { place, .. } = keys::decode(value)?;
        if ends.get(&place.log).is_some_and(|entry| place.seq >= entry.after.len()) {
            gone.extend(key.last_chunk::<32>().map(|op| (*op, key.to_vec())));
        }
        Ok(())
    })?;
    each(index, Tree::Fact, &[], |key, _| {
        // A zero stands between the coordinate and the op's name.
        let Some((at, op)) = key.split_last_chunk::<32>() else { return Ok(()) };
        if let (true, Some((_, at))) = (gone.contains_key(op), at.split_last()) {
            let value = Some(keys::encode(&ViewEntry::Stale));
            changes.push(Change { tree: Tree::View, key: at.to_vec(), value });
        }
        Ok(())
    })?;
    changes.extend(gone.into_values().map(|key| Change { tree: Tree::Op, key, value: None }));
    for (log, entry) in ends {
        let end = keys::batch(*log, entry.after.len());
        each(index, Tree::Gap, &keys::log(*log), |key, _| {
            if key >= end.as_slice() {
                changes.push(Change { tree: Tree::Gap, key: key.to_vec(), value: None });
            }
            Ok(())
        })?;
    }
    let shorter = |(log, entry): (&LogId, &LogEntry)| Change {
        tree: Tree::Log,
        key: keys::log(*log),
        value: Some(keys::encode(entry)),
    };
    changes.extend(ends.iter().map(shorter));
    index.apply(&changes)
}

/// How far the batches that the index knows cover a log without a hole, and the ends of those, the last one last.
fn covered(index: &dyn Index, log: LogId) -> Result<(u64, Vec<BatchEntry>), Broken> {
    let (mut next, mut ends) = (0, Vec::new());
    each(index, Tree::Batch, &keys::log(log), |key, value| {
        let entry: BatchEntry = keys::decode(value)?;
        let last = key.last_chunk::<8>().map_or(0, |last| u64::from_be_bytes(*last));
        if entry.first <= next && last >= next {
            next = last.saturating_add(1);
            ends.push(entry);
        }
        Ok(())
    })?;
    Ok((next, ends))
}

/// The logs with a hole before their ends, and the batches before it.
fn holed(index: &dyn Index) -> Result<Vec<(LogId, LogEntry, Vec<BatchEntry>)>, Broken> {
    let mut logs = Vec::new();
    each(index, Tree::Log, &[], |key, value| {
        logs.push((keys::log_of(key)?, keys::decode::<LogEntry>(value)?));
        Ok(())
    })?;
    let mut found = Vec::new();
    for (log, entry) in logs {
        let (next, batches) = covered(index, log)?;
        if next < entry.after.len() {
            found.push((log, entry, batches));
        }
    }
    Ok(found)
}

/// Ends each log before its first hole, after an index was filled from packs in which something is damaged: of what is whole behind it each
/// batch said how long the log is.
pub(super) fn cut(index: &dyn Index, packs: &Packs) -> Result<(), ReplayError> {
    let mut ends = BTreeMap::new();
    for (log, entry, batches) in holed(index)? {
        let (mut head, mut after) = (None, Mmr::default());
        for BatchEntry { at, .. } in batches.into_iter().rev() {
            let payload = packs.read(at)?.map(|(_, payload)| payload);
            if let Some(parts) = payload.as_deref().and_then(take_apart) {
                (head, after) = parts.end();
                break;
            }
        }
        let held = entry.after.len();
        tracing::warn!(author = %log.author, held, good = after.len(), "a log has a hole: damage took a part of it");
        ends.insert(log, LogEntry { head, after, longest: entry.longest.max(held) });
    }
    if !ends.is_empty() {
        end_logs(index, &ends)?;
    }
    Ok(())
}

/// The logs that are held less far than they were, with how far.
pub(super) fn short(index: &dyn Index) -> Result<Vec<(LogId, u64)>, Broken> {
    let mut logs = Vec::new();
    each(index, Tree::Log, &[], |key, value| {
        let entry: LogEntry = keys::decode(value)?;
        if entry.longest > entry.after.len() {
            logs.push((keys::log_of(key)?, entry.after.len()));
        }
        Ok(())
    })?;
    Ok(logs)
}

/// Holds again what lies behind the ends of logs that were short and go further now. That they were held again was noted in no pack: an index
/// that was caught up from the packs lacks what they say, though what was appended later makes the logs long again.
pub(super) fn hold_again(
    index: &dyn Index,
    packs: &Packs,
    short: &[(LogId, u64)],
) -> Result<(), ReplayError> {
    for (log, before) in short {
        let held = index.value(Tree::Log, &keys::log(*log))?;
        let held = held.map(|value| keys::decode::<LogEntry>(&value)).transpose()?;
        let held = held.map_or(0, |entry| entry.after.len());
        let mut behind = Vec::new();
        each(index, Tree::Batch, &keys::log(*log), |key, value| {
            let entry: BatchEntry = keys::decode(value)?;
            let last = key.last_chunk::<8>().map_or(0, |last| u64::from_be_bytes(*last));
            if entry.first < held && last >= *before {
                behind.push(entry.at);
            }
            Ok(())
        })?;
        for at in behind {
            let Some((_, payload)) = packs.read(at)? else { continue };
            let mut changes = Changes::default();
            ops::replay(&mut changes, at, &payload);
            changes.apply(index)?;
        }
    }
    Ok(())
}

/// Whether damage is noted that was not mended yet.
pub(super) fn is_damage_noted(index: &dyn Index) -> Result<bool, Broken> {
    Ok(!index.page(Tree::Record, &keys::record(Shelf::Damage.code(), &[]), &[], 1)?.is_empty())
}

impl Store {
    /// Whether damage is noted that was not mended yet.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn is_damage_noted(&self) -> Result<bool, ReadError> {
        Ok(self.with_index(is_damage_noted)?)
    }

    /// Sets a log back to the last position before damage, so that it is pulled again from whoever has it, and forgets how far peers
    /// were followed. Nothing is changed when no batch is damaged.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn set_back(&self, log: LogId) -> Result<(), AppendError> {
        let _no_append = locked(&self.inner.generation);
        let Some(entry) = self.log_entry(log)? else { return Ok(()) };
        let mut after = Mmr::default();
        let mut head = None;
        while after.len() < entry.after.len() {
            let Ok((batch, _)) = self.batch_at(log, after.len())? else { break };
            let Some(verified) = batch.beyond(after.len()).and_then(|batch| batch.verify(&after).ok()) else {
                break;
            };
            head = Some(verified.head().clone());
            after = verified.after().clone();
        }
        let good = after.len();
        if good == entry.after.len() {
            return Ok(());
        }
        tracing::warn!(author = %log.author, held = entry.after.len(), good, "a log is damaged");
        // First, so that a disk that refuses leaves no log shorter of which peers are believed to have told all.
        self.forget_cursors()?;
        let shorter = LogEntry { head, after, longest: entry.longest.max(entry.after.len()) };
        let ends = BTreeMap::from([(log, shorter)]);
        {
            let _folding = self.inner.folding.write().unwrap_or_else(PoisonError::into_inner);
            // Before and after, so that nobody who sees the log shorter can have counted this before.
            self.inner.set_backs.fetch_add(1, Ordering::SeqCst);
            self.with_index(|index| end_logs(index, &ends)).map_err(ReadError::from)?;
            self.inner.set_backs.fetch_add(1, Ordering::SeqCst);
        }
        self.forget_derived(log.feed);
        let behind: Result<Vec<_>, _> =
            self.batches_reaching(log, good).map(|batch| batch.map(|(key, _)| key)).collect();
        self.drop_unreadable(&behind?)?;
        Ok(())
    }

    /// Takes those of these batches out of the index that cannot be read, as an index that is built anew lacks them. What comes again in
    /// their place may end elsewhere, and would leave them there for ever. Nothing may be appended meanwhile.
    fn drop_unreadable(&self, batches: &[Vec<u8>]) -> Result<(), ReadError> {
        for key in batches {
            let Some(value) = self.with_index(|index| index.value(Tree::Batch, key))? else { continue };
            let BatchEntry { at, .. } = self.with_index(|_| keys::decode(&value))?;
            if self.read_location(at)?.as_deref().and_then(take_apart).is_some() {
                continue;
            }
            self.with_index(|index| {
                // Not one that was moved to another pack meanwhile.
                if index.value(Tree::Batch, key)?.as_ref() == Some(&value) {
                    index.apply(&[Change { tree: Tree::Batch, key: key.clone(), value: None }])?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Takes damaged batches out of the index, after their logs were set back.
    pub(super) fn forget_damaged_batches(&self, batches: &[Vec<u8>]) -> Result<(), ReadError> {
        let _no_append = locked(&self.inner.generation);
        self.drop_unreadable(batches)
    }

    /// A number that rises whenever logs are set back, or an index is built anew, which may lack a part of them: what was compared before may
    /// be here no more.
    #[must_use]
    pub fn set_backs(&self) -> u64 {
        self.inner.set_backs.load(Ordering::SeqCst).saturating_add(self.inner.index.rebuilds())
    }

    /// The logs that the index says to be longer than the batches that it knows.
    pub(super) fn holed_logs(&self) -> Result<Vec<LogId>, ReadError> {
        let found = self.with_index(holed)?;
        Ok(found.into_iter().map(|(log, ..)| log).collect())
    }

    fn forget_cursors(&self) -> Result<(), SweepError> {
        for (key, _) in self.records(Shelf::Cursors, &[], &[], usize::MAX)? {
            self.remove_record(Shelf::Cursors, &key)?;
        }
        Ok(())
    }

    /// What lies whole behind the hole of a log: it is held again, without anybody sending it, once the hole is filled.
    ///
    /// # Errors
    /// The disk failed.
    pub fn behind_hole(&self, log: LogId) -> Result<Vec<Batch>, ReadError> {
        let Some(entry) = self.log_entry(log)?.filter(|entry| entry.longest > entry.after.len()) else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for batch in self.batches_reaching(log, entry.after.len()) {
            let (_, BatchEntry { at, .. }) = batch?;
            if let Some(parts) = self.read_location(at)?.as_deref().and_then(take_apart) {
                found.push(parts.batch());
            }
        }
        Ok(found)
    }

    /// Goes on with a log behind a hole that was just filled, as far as what lies there is whole: it was held before, and is held again
    /// without anybody sending it.
    pub(super) fn reconnect(&self, log: LogId) -> Result<(), ReadError> {
        while let Some(entry) = self.log_entry(log)?.filter(|entry| entry.longest > entry.after.len()) {
            let len = entry.after.len();
            let mut found = None;
            for batch in self.batches_reaching(log, len) {
                let (_, BatchEntry { first, at }) = batch?;
                if first == len
                    && let Some(payload) = self.read_location(at)?
                    && let Some(verified) =
                        take_apart(&payload).and_then(|parts| parts.batch().verify(&entry.after).ok())
                {
                    found = Some((at, payload, verified));
                    break;
                }
            }
            let Some((at, payload, verified)) = found else { return Ok(()) };
            let ops: Vec<NamedOp> = verified.ops().to_vec();
            {
                let _folding = self.inner.folding.write().unwrap_or_else(PoisonError::into_inner);
                self.with_index(|index| {
                    let mut changes = Changes::default();
                    ops::replay(&mut changes, at, &payload);
                    changes.apply(index)
                })?;
            }
            self.enter(log.feed, &ops);
            self.count(log.feed, &ops);
        }
        Ok(())
    }

    /// At a start: writes again what is gone from the ends of packs and kept twice, and goes on with each log whose hole was filled before.
    pub(super) fn regain_at_start(&self) -> Result<(), SweepError> {
        self.write_spares_beyond()?;
        Ok(self.short_logs()?.into_iter().try_for_each(|log| self.reconnect(log))?)
    }

    /// After a start that found packs gone or cut short, what they held is wanted again. After an index was built from packs of which some records
    /// could not be read nobody knows what those said: peers are compared with anew, and this site signs nothing before it heard what it said.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn look_after_rebuild(&self) -> Result<(), SweepError> {
        self.bear_losses()?;
        if !self.inner.index.has_stepped_over() {
            return Ok(());
        }
        self.forget_cursors()?;
        // No clock is at hand here, and none decides anything.
        self.awaken(Cause::SetBack, Timestamp::default())?;
        self.inner.index.stepped_over_is_looked_after();
        Ok(())
    }
}
