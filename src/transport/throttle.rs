//! The pace of one link in one direction: lanes wait here together for their turn, and the rate may change while they wait.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::rate::Cap;

#[cfg(test)]
mod tests;

/// Bytes that pass at once. Small against a second of the slowest cap, so that a capped link is steady.
pub(crate) const CHUNK_BYTES: usize = 4 << 10;

/// One direction of one link. No cap lets everything pass at once.
#[derive(Debug)]
pub(crate) struct Throttle {
    cap: Mutex<Option<Cap>>,
    began: Instant,
    changed: Notify,
}

impl Throttle {
    pub(crate) fn new() -> Self {
        Self { cap: Mutex::new(None), began: Instant::now(), changed: Notify::new() }
    }

    fn cap(&self) -> MutexGuard<'_, Option<Cap>> {
        self.cap.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the rate from now on, for those too who wait already.
    pub(crate) fn set(&self, bytes_per_s: Option<u64>) {
        let now = self.began.elapsed();
        {
            let mut cap = self.cap();
            match (&mut *cap, bytes_per_s) {
                (Some(cap), Some(rate)) => cap.set_rate(rate, now),
                (cap, rate) => *cap = rate.map(|rate| Cap::new(rate, now)),
            }
        }
        self.changed.notify_waiters();
    }

    /// Waits until `bytes` may pass.
    pub(crate) async fn pass(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        loop {
            let changed = self.changed.notified();
            let wait = self.cap().as_mut().and_then(|cap| cap.take(bytes, self.began.elapsed()));
            let Some(wait) = wait else { return };
            // Timers count whole milliseconds.
            let wait = wait.max(Duration::from_millis(1));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = changed => {}
            }
        }
    }

    /// Counts `bytes` that do not wait: ops go before bytes, and what they take the bytes make up for.
    pub(crate) fn count(&self, bytes: usize) {
        if let Some(cap) = self.cap().as_mut() {
            cap.spend(u64::try_from(bytes).unwrap_or(u64::MAX), self.began.elapsed());
        }
    }
}
