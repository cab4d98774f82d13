//! A cap on bytes a second, shared by all bulk lanes of a link: a token bucket with time as an argument.

use std::time::Duration;

#[cfg(test)]
mod tests;

/// The cap of one link in one direction. Callers pass the time since any fixed moment, never going back.
#[derive(Debug, Clone)]
pub struct Cap {
    bytes_per_second: u64,
    burst_bytes: u64,
    /// Byte-nanoseconds: one byte is `NANOS` of them, so that no rounding is lost between two calls.
    /// Below zero the link owes.
    credit: i128,
    refilled: Duration,
}

const NANOS: i128 = 1_000_000_000;

/// How much of a second's bytes may pass at once after a pause.
const BURST_PARTS_OF_SECOND: u64 = 10;

impl Cap {
    /// A cap with a full bucket. At least one byte a second; a burst is a tenth of a second.
    #[must_use]
    pub fn new(bytes_per_second: u64, now: Duration) -> Self {
        let bytes_per_second = bytes_per_second.max(1);
        let burst_bytes = (bytes_per_second / BURST_PARTS_OF_SECOND).max(1);
        Self { bytes_per_second, burst_bytes, credit: i128::from(burst_bytes) * NANOS, refilled: now }
    }

    /// Asks for `bytes` to pass now: `None` and they are taken, or the wait after which to ask again.
    /// More than the bucket holds may pass once it is full; the debt is then waited off by whoever
    /// asks next, so no request is too large to be served.
    pub fn take(&mut self, bytes: u64, now: Duration) -> Option<Duration> {
        self.refill(now);
        let needed = i128::from(bytes.min(self.burst_bytes)) * NANOS;
        if self.credit >= needed {
            self.credit -= i128::from(bytes) * NANOS;
            return None;
        }
        let rate = i128::from(self.bytes_per_second);
        let wait = (needed - self.credit + rate - 1) / rate;
        Some(Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)))
    }

    /// Lets `bytes` pass now whatever the bucket holds. Who asks next waits the debt off.
    pub fn spend(&mut self, bytes: u64, now: Duration) {
        self.refill(now);
        self.credit -= i128::from(bytes) * NANOS;
    }

    /// Changes the rate from now on; what was saved up or is owed stays.
    pub fn set_rate(&mut self, bytes_per_second: u64, now: Duration) {
        self.refill(now);
        self.bytes_per_second = bytes_per_second.max(1);
        self.burst_bytes = (self.bytes_per_second / BURST_PARTS_OF_SECOND).max(1);
        self.credit = self.credit.min(i128::from(self.burst_bytes) * NANOS);
    }

    fn refill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.refilled);
        let passed = i128::from(u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX));
        let full = i128::from(self.burst_bytes) * NANOS;
        self.credit = (self.credit + passed * i128::from(self.bytes_per_second)).min(full);
        self.refilled = self.refilled.max(now);
    }
}
