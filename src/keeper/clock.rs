//! The stamps that a site gave and saw: what it says next comes after all of them, and a stamp of the future joins them once it is due.

use std::collections::BTreeSet;

use protocol::grant::Authority;
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
            let authority = authority.as_deref();
            let closed = authority.and_then(|authority| authority.closed_at(log)).flatten();
            let ends = [Some(len), closed.map(|end| end.len)].into_iter().flatten();
            let mut last = Vec::new();
            for end in ends {
                last.extend(last_before(store, log, end)?);
            }
            // Behind one that waits, others may wait that are due sooner.
            let waits = last.iter().any(|(_, stamp)| stamp.is_ahead_of(look.now));
            clock.see(last, authority, look);
            if waits {
                clock.see_all(store, log, authority, look)?;
            }
        }
        // What lies behind damage is held again once that is mended, and nobody sends it.
        for log in store.short_logs()? {
            let authority = store.authority(log.feed)?;
            clock.see(stamps(&store.behind_hole(log)?, log), authority.as_deref(), look);
        }
        Ok(clock)
    }

    fn see_all(
        &mut self,
        store: &Store,
        log: LogId,
        authority: Option<&Authority>,
        look: Look,
    ) -> Result<(), ReadError> {
        let mut from = 0;
        loop {
            let batches = store.batches(log, from, LOOKED_AT_BYTES)?;
            let Some(last) = batches.last() else { return Ok(()) };
            from = last.head.head.len;
            self.see(stamps(&batches, log), authority, look);
        }
    }

    /// Takes in the stamps of ops. This site's own count however far ahead they are, but for what `authority` knows to be said by an older key of
    /// this site beyond its end: that key may be in other hands.
    pub fn see(
        &mut self,
        stamps: impl IntoIterator<Item = (Place, Hlc)>,
        authority: Option<&Authority>,
        look: Look,
    ) {
        for (place, stamp) in stamps {
            let closed = authority.is_some_and(|authority| authority.is_closed(place.log, place.seq));
            if (place.log.author != look.me || closed) && stamp.is_ahead_of(look.now) {
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

/// The stamps of what was said last of a log before a position, with one signature. What comes last may be known by its hash alone.
fn last_before(store: &Store, log: LogId, mut end: u64) -> Result<Vec<(Place, Hlc)>, ReadError> {
    while let Some(last) = end.checked_sub(1) {
        let batches = store.batches(log, last, 0)?;
        let said: Vec<_> = stamps(&batches, log).collect();
        if !said.is_empty() {
            return Ok(said);
        }
        end = batches.first().map_or(0, |batch| batch.first.min(last));
    }
    Ok(Vec::new())
}

fn stamps(batches: &[Batch], log: LogId) -> impl Iterator<Item = (Place, Hlc)> {
    batches.iter().flat_map(move |batch| {
        let mut seq = batch.first;
        batch.entries.iter().filter_map(move |entry| {
            let place = Place { log, seq };
            seq = seq.saturating_add(entry.span());
            let Entry::Op(statement) = entry else { return None };
            Op::decode_statement(place, statement).ok().map(|op| (place, op.stamp))
        })
    })
}
