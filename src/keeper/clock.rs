//! The stamps that a site gave and saw: what it says next comes after all of them, and a stamp of the future joins them once it is due.

use std::collections::BTreeSet;

use protocol::id::LogId;
use protocol::log::{Batch, Entry};
use protocol::op::{Op, Place};
use protocol::time::Hlc;

use crate::store::{Look, ReadError, Store};

/// Stamps of the future that are remembered, the nearest first: an author with a wrong clock has a few, and one that forges them gains
/// nothing by more.
const WAITING_MAX: usize = 1024;

/// Bytes of ops looked at at a time.
const LOOKED_AT_BYTES: u64 = 256 << 10;

/// Times at which a start looks into damage that it comes upon, one place each, before it goes by the clock on the wall alone.
const READS_MAX: usize = 16;

/// A site's clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clock {
    newest: Hlc,
    /// Seen, and too far in the future to count: their ops wait as well.
    waiting: BTreeSet<Hlc>,
}

impl Clock {
    /// Where the clock goes on after a start: above everything this site said itself, whatever its wall clock says now, and above what it
    /// had seen of others. Damage that it comes upon is looked into.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn after_start(store: &Store, look: Look) -> Result<Self, ReadError> {
        let mut read = Self::read(store, look);
        for _ in 1..READS_MAX {
            if !matches!(read, Err(ReadError::CorruptRecord { .. })) {
                break;
            }
            if let Err(error) = store.look_into_damage() {
                tracing::warn!(%error, "damage could not be noted");
            }
            read = Self::read(store, look);
        }
        read
    }

    fn read(store: &Store, look: Look) -> Result<Self, ReadError> {
        let mut clock = Self::default();
        // Damage may have taken the record of a feed as well.
        for signed in store.all_heads()? {
            let (log, len) = (signed.head.log, signed.head.len);
            // Whoever found an old key goes on with its log and gives any stamps.
            let authority = store.authority(log.feed)?;
            let closed = authority.as_ref().and_then(|authority| authority.closed_at(log)).flatten();
            let ends = [Some(len), closed.map(|end| end.len)].into_iter().flatten();
            let mut newest = None;
            for end in ends {
                newest = newest.max(last_before(store, log, end)?);
            }
            clock.see(log, newest, look);
            // Behind one that waits, others may wait that are due sooner.
            if newest.is_some_and(|stamp| stamp.is_ahead_of(look.now)) {
                clock.see_all(store, log, look)?;
            }
        }
        // What lies behind damage is held again once that is mended, and nobody sends it.
        for log in store.short_logs()? {
            clock.see(log, stamps(&store.behind_hole(log)?, log), look);
        }
        Ok(clock)
    }

    fn see_all(&mut self, store: &Store, log: LogId, look: Look) -> Result<(), ReadError> {
        let mut from = 0;
        loop {
            let batches = store.batches(log, from, LOOKED_AT_BYTES)?;
            let Some(last) = batches.last() else { return Ok(()) };
            from = last.head.head.len;
            self.see(log, stamps(&batches, log), look);
        }
    }

    /// Takes in stamps of one log. This site's own count however far ahead they are.
    pub fn see(&mut self, log: LogId, stamps: impl IntoIterator<Item = Hlc>, look: Look) {
        for stamp in stamps {
            if log.author != look.me && stamp.is_ahead_of(look.now) {
                self.waiting.insert(stamp);
                if self.waiting.len() > WAITING_MAX {
                    self.waiting.pop_last();
                }
            } else {
                self.newest = self.newest.max(stamp);
            }
        }
    }

    /// The newest stamp that counts by now.
    #[must_use]
    pub fn newest(&mut self, look: Look) -> Hlc {
        while let Some(due) = self.waiting.first().copied().filter(|stamp| !stamp.is_ahead_of(look.now)) {
            self.waiting.remove(&due);
            self.newest = self.newest.max(due);
        }
        self.newest
    }
}

/// The stamp of the last op of a log before a position. What comes last may be known by its hash alone.
fn last_before(store: &Store, log: LogId, mut end: u64) -> Result<Option<Hlc>, ReadError> {
    while let Some(last) = end.checked_sub(1) {
        let batches = store.batches(log, last, 0)?;
        let newest = stamps(&batches, log).max();
        if newest.is_some() {
            return Ok(newest);
        }
        end = batches.first().map_or(0, |batch| batch.first.min(last));
    }
    Ok(None)
}

fn stamps(batches: &[Batch], log: LogId) -> impl Iterator<Item = Hlc> {
    batches.iter().flat_map(move |batch| {
        let mut seq = batch.first;
        batch.entries.iter().filter_map(move |entry| {
            let place = Place { log, seq };
            seq = seq.saturating_add(entry.span());
            let Entry::Op(statement) = entry else { return None };
            Op::decode_statement(place, statement).ok().map(|op| op.stamp)
        })
    })
}
