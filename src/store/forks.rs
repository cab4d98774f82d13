//! Proofs that an author signed two histories of its log, and what a history held here tells of another.

use std::sync::Arc;

use protocol::fork::{Fork, ForkProof};
use protocol::id::{FeedId, LogId};
use protocol::limits::FORK_TAIL_OPS;
use protocol::limits::FORKS_PER_FEED_MAX;
use protocol::log::{Mmr, Run, SignedHead};

use super::keys;
use super::{ReadError, Shelf, Store, WriteError};

/// Feeds whose proofs are kept in memory. Those of another are read and checked again when they are asked for.
pub(super) const PROVED_FEEDS_MAX: usize = 64;

/// Bytes of a log's statements read under one look, where only their hashes are of use.
const PAGE_BYTES: u64 = 1 << 20;

fn key(log: LogId) -> Vec<u8> {
    keys::joined(&[log.feed.as_bytes(), log.author.as_bytes(), &log.epoch.to_be_bytes()])
}

impl Store {
    /// Keeps a proof, one a log: that of the shortest length at which its histories differ. Durable when this returns. Tells whether it is
    /// kept.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn put_fork(&self, proof: &ForkProof) -> Result<bool, WriteError> {
        let log = proof.log();
        let kept = self.forks(log.feed).unwrap_or_default();
        let there = kept.iter().find(|kept| kept.log() == log);
        let room = there.is_some() || kept.len() < FORKS_PER_FEED_MAX;
        if !room || there.is_some_and(|kept| kept.len() <= proof.len()) {
            return Ok(false);
        }
        self.put_record(Shelf::Forks, &key(log), &keys::encode(proof.fork()))?;
        self.inner.proved.forget(log.feed);
        Ok(true)
    }

    /// The forks that are proved in a feed. They are asked for with every batch that comes, and checked once.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn forks(&self, feed: FeedId) -> Result<Arc<[ForkProof]>, ReadError> {
        self.inner.proved.list(feed, self.index_rebuilds(), || self.read_forks(feed.as_bytes()))
    }

    /// The forks that are proved in all feeds.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn all_forks(&self) -> Result<Vec<ForkProof>, ReadError> {
        self.read_forks(&[])
    }

    /// One that does not check, by damage, is passed over: it can be shown again.
    fn read_forks(&self, prefix: &[u8]) -> Result<Vec<ForkProof>, ReadError> {
        let kept = self.records(Shelf::Forks, prefix, &[], usize::MAX)?;
        let proof = |(_, value): (Vec<u8>, Vec<u8>)| {
            keys::decode::<Fork>(&value).ok().and_then(|fork| ForkProof::check(fork).ok())
        };
        Ok(kept.into_iter().filter_map(proof).collect())
    }

    /// The root of a log where it had `len` ops; none where that is not known here.
    ///
    /// # Errors
    /// When the disk fails, or the bytes of a batch are damaged.
    pub fn root_at(&self, log: LogId, len: u64) -> Result<Option<[u8; 32]>, ReadError> {
        let Some(state) = self.log_state(log)? else { return Ok(None) };
        if len >= state.after.len() {
            return Ok((len == state.after.len()).then(|| state.after.root()));
        }
        let mut history = self.before(log, len)?;
        self.each_run(log, history.len(), |run| {
            history.len() < len && history.push_subtree(run.height, run.hash).is_ok()
        })?;
        Ok((history.len() == len).then(|| history.root()))
    }

    /// What a head of a log proves against the log as it is held; none where it is of the same history, or of a longer one.
    ///
    /// # Errors
    /// When the disk fails, or the bytes of a batch are damaged.
    pub fn fork_by(&self, head: &SignedHead) -> Result<Option<ForkProof>, ReadError> {
        let (log, len) = (head.head.log, head.head.len);
        let Some(state) = self.log_state(log)?.filter(|state| state.after.len() >= len) else {
            return Ok(None);
        };
        if self.root_at(log, len)? == Some(head.head.root) {
            return Ok(None);
        }
        let before = self.before(log, len.saturating_sub(FORK_TAIL_OPS.saturating_add(1)))?;
        let mut rest: Vec<Run> = Vec::new();
        self.each_run(log, before.len(), |run| {
            rest.push(run);
            true
        })?;
        Ok(ForkProof::between(head.clone(), state.head, &before, &rest))
    }

    /// How far the log as it is held goes along with the longer history of a proof.
    ///
    /// # Errors
    /// When the disk fails, or the bytes of a batch are damaged.
    pub fn in_common(&self, proof: &ForkProof) -> Result<u64, ReadError> {
        let mut ops = Vec::new();
        self.each_run(proof.log(), 0, |run| {
            if run.height == 0 {
                ops.push(protocol::id::OpId(run.hash));
            }
            run.height == 0
        })?;
        proof.in_common(|at, height| {
            let from = usize::try_from(at).unwrap_or(usize::MAX);
            let to = 1_usize.checked_shl(u32::from(height)).and_then(|span| from.checked_add(span));
            Ok(to.and_then(|to| ops.get(from..to)).and_then(Mmr::subtree))
        })
    }

    /// The longest head of a log, of at most `most` ops, that its author signed and that is held here.
    ///
    /// # Errors
    /// When the disk fails, or the bytes of a batch are damaged.
    pub fn head_within(&self, log: LogId, most: u64) -> Result<Option<SignedHead>, ReadError> {
        let (mut found, mut at) = (None, 0);
        loop {
            let batches = self.batches(log, at, PAGE_BYTES)?;
            if batches.is_empty() {
                return Ok(found);
            }
            for batch in batches {
                if batch.head.head.len > most {
                    return Ok(found);
                }
                at = batch.head.head.len;
                found = Some(batch.head);
            }
        }
    }

    /// The log as it was at the last end of a batch that does not lie beyond `len`, or at its beginning.
    fn before(&self, log: LogId, len: u64) -> Result<Mmr, ReadError> {
        if let Some(there) = self.after_batch(log, len)? {
            return Ok(there);
        }
        let Ok((batch, _)) = self.batch_at(log, len.saturating_sub(1))? else { return Ok(Mmr::default()) };
        Ok(self.after_batch(log, batch.first)?.unwrap_or_default())
    }

    /// Shows the ops of a log from `from` on, by their hashes, until `go_on` says no.
    fn each_run(&self, log: LogId, from: u64, mut go_on: impl FnMut(Run) -> bool) -> Result<(), ReadError> {
        let mut at = from;
        loop {
            let batches = self.batches(log, at, PAGE_BYTES)?;
            if batches.is_empty() {
                return Ok(());
            }
            for batch in batches {
                at = batch.head.head.len;
                for run in batch.runs() {
                    if !go_on(run) {
                        return Ok(());
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
