//! Instants of a monotonic clock, wall-clock stamps and the hybrid logical clock. Arithmetic only: nothing here reads a clock.

use serde::{Deserialize, Serialize};

use crate::limits::STAMP_AHEAD_MS_MAX;

/// Milliseconds since an arbitrary start. Unlike the standard library's, it can start at zero and be printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(pub u64);

impl Instant {
    /// This instant and `ms` milliseconds more.
    #[must_use]
    pub const fn after_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this instant, zero if it is later.
    #[must_use]
    pub const fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Milliseconds since the Unix epoch, as some site's clock told it. Never trusted for order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Timestamp(pub u64);

/// A hybrid logical clock's stamp: 48 bits of wall-clock milliseconds, 16 bits of counter.
///
/// It orders an op after everything its author had seen, whatever the clocks say. It breaks ties
/// between publishes; it never decides whether a package is visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The stamp's wall-clock part.
    #[must_use]
    pub const fn wall(self) -> Timestamp {
        Timestamp(self.0 >> 16)
    }

    /// The next stamp at a site whose clock says `now` and whose last stamp, given or seen, was `self`.
    #[must_use]
    pub const fn next(self, now: Timestamp) -> Self {
        let wall = now.0 << 16;
        if wall > self.0 { Self(wall) } else { Self(self.0.saturating_add(1)) }
    }

    /// The clock after seeing `other`. A stamp too far ahead of `now` does not advance it, so one
    /// forged far-future stamp cannot drag every site's clock along.
    #[must_use]
    pub fn seen(self, other: Self, now: Timestamp) -> Self {
        if other.is_ahead_of(now) { self } else { self.max(other) }
    }

    /// Whether this stamp lies so far in the future of `now` that its op waits until it is due.
    #[must_use]
    pub const fn is_ahead_of(self, now: Timestamp) -> bool {
        self.wall().0 > now.0.saturating_add(STAMP_AHEAD_MS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [P-8] A stamp is above every one given before, even when the clock goes back.
    #[test]
    fn a_stamp_always_follows_the_last_one() {
        let first = Hlc::default().next(Timestamp(1_000));
        let second = first.next(Timestamp(1_000));
        let third = second.next(Timestamp(500));
        assert!(first < second && second < third);
        assert_eq!(third.wall(), Timestamp(1_000));
    }

    #[test]
    fn a_far_future_stamp_does_not_advance_the_clock() {
        let now = Timestamp(1_000_000);
        let forged = Hlc(u64::MAX);
        assert!(forged.is_ahead_of(now));
        assert_eq!(Hlc(5).seen(forged, now), Hlc(5));
        let near = Hlc((now.0 + STAMP_AHEAD_MS_MAX) << 16);
        assert!(!near.is_ahead_of(now));
        assert_eq!(Hlc(5).seen(near, now), near);
    }
}
