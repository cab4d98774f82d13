//! The brake on mass deletion: whether what one link takes away within an hour is too much of a feed.

use serde::{Deserialize, Serialize};

use crate::id::LogId;
use crate::limits::{BRAKE_DELETES_MIN, BRAKE_PERCENT, BRAKE_SLOT_MS, BRAKE_STRETCHES_MAX, BRAKE_WINDOW_MS};
use crate::time::Timestamp;

/// Whether deletions wait for a person: they would take away more than [`BRAKE_DELETES_MIN`] versions and more than
/// [`BRAKE_PERCENT`] of a hundred of the `standing` ones, counted before the first of them.
#[must_use]
pub const fn trips(deletions: u64, standing: u64) -> bool {
    deletions > BRAKE_DELETES_MIN && deletions as u128 * 100 > standing as u128 * BRAKE_PERCENT as u128
}

/// Positions of a log, from the first to before the last.
pub type Stretch = (LogId, u64, u64);

/// What one link took away of one feed within a few moments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Slot {
    began: Timestamp,
    deletions: u64,
    /// One a log where it went on: what lies between two of its deletions may be in it, and is none itself. Many where places were filled.
    stretches: Vec<Stretch>,
}

/// What one link took away of one feed within [`BRAKE_WINDOW_MS`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Recent {
    slots: Vec<Slot>,
    /// The newest stretch, as it came: after a crash it comes again.
    last: Option<Stretch>,
}

impl Recent {
    /// Forgets what is longer ago than the window. A clock that was set back keeps nothing for longer than that.
    pub fn pass(&mut self, now: Timestamp) {
        for slot in &mut self.slots {
            slot.began = slot.began.min(now);
        }
        self.slots.retain(|slot| now.0.saturating_sub(slot.began.0) < BRAKE_WINDOW_MS);
    }

    /// Counts deletions that come in a stretch of a log. The stretch that came last counts once.
    pub fn add(&mut self, now: Timestamp, deletions: u64, stretch: Stretch) {
        self.pass(now);
        if self.last == Some(stretch) {
            return;
        }
        self.last = Some(stretch);
        let fits = |slot: &&mut Slot| now.0.saturating_sub(slot.began.0) < BRAKE_SLOT_MS;
        let Some(slot) = self.slots.last_mut().filter(fits) else {
            self.slots.push(Slot { began: now, deletions, stretches: vec![stretch] });
            return;
        };
        slot.deletions = slot.deletions.saturating_add(deletions);
        let (log, first, end) = stretch;
        match slot.stretches.iter_mut().find(|(of, ..)| *of == log) {
            Some(held) => (held.1, held.2) = (held.1.min(first), held.2.max(end)),
            None => slot.stretches.push(stretch),
        }
    }

    /// Counts deletions in places that had been left out of logs. What lies between two of them took effect long ago, so it is in no stretch
    /// of theirs while there are not too many.
    pub fn add_scattered(&mut self, now: Timestamp, deletions: u64, log: LogId, mut places: Vec<(u64, u64)>) {
        self.pass(now);
        let held: usize = self.slots.iter().map(|slot| slot.stretches.len()).sum();
        if held.saturating_add(places.len()) > BRAKE_STRETCHES_MAX {
            let (first, end) = (places.first().map(|place| place.0), places.last().map(|place| place.1));
            places = first.zip(end).into_iter().collect();
        }
        let stretches = places.into_iter().map(|(first, end)| (log, first, end)).collect();
        self.slots.push(Slot { began: now, deletions, stretches });
        // What a log goes on with begins stretches of its own.
        self.slots.push(Slot { began: now, deletions: 0, stretches: Vec::new() });
    }

    /// Versions that were taken away within the window.
    #[must_use]
    pub fn deletions(&self) -> u64 {
        self.slots.iter().fold(0, |sum, slot| sum.saturating_add(slot.deletions))
    }

    /// Where the deletions stand that were counted.
    #[must_use]
    pub fn stretches(&self) -> Vec<Stretch> {
        self.slots.iter().flat_map(|slot| slot.stretches.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{FeedId, SiteId};

    const LOG: LogId = LogId { feed: FeedId([1; 32]), author: SiteId([2; 32]), epoch: 1 };

    /// E27
    #[test]
    fn a_run_that_takes_away_much_of_a_feed_trips_the_brake() {
        for (deletions, standing, trip) in [
            (100, 100, false),
            (101, 101, true),
            (101, 1_009, true),
            (101, 1_010, false),
            (1_000, 10_000, false),
            (1_001, 10_000, true),
            (u64::MAX, u64::MAX, true),
            (0, 0, false),
        ] {
            assert_eq!(trips(deletions, standing), trip, "{deletions} of {standing}");
        }
    }

    /// E27: a trickle adds up within the window, and what is older counts no more.
    #[test]
    fn deletions_are_counted_over_an_hour() {
        let mut recent = Recent::default();
        let minute = |n: u64| Timestamp(1_000_000 + n * 60_000);
        for n in 0..59 {
            recent.add(minute(n), 2, (LOG, n * 10, n * 10 + 2));
        }
        assert_eq!(recent.deletions(), 118);
        recent.add(minute(89), 0, (LOG, 900, 901));
        assert_eq!(recent.deletions(), 58, "of the minutes 30 to 58");
        assert_eq!(recent.stretches()[0], (LOG, 300, 302));
        recent.pass(minute(500));
        assert_eq!((recent.deletions(), recent.stretches()), (0, Vec::new()));
    }

    #[test]
    fn what_comes_within_a_slot_is_one_stretch_a_log_and_what_comes_again_counts_once() {
        let mut recent = Recent::default();
        recent.add(Timestamp(5), 3, (LOG, 7, 10));
        recent.add(Timestamp(6), 3, (LOG, 7, 10));
        recent.add(Timestamp(7), 1, (LOG, 12, 13));
        assert_eq!((recent.deletions(), recent.stretches()), (4, vec![(LOG, 7, 13)]));
        let other = LogId { epoch: 2, ..LOG };
        recent.add(Timestamp(8), 1, (other, 0, 1));
        assert_eq!(recent.stretches(), [(LOG, 7, 13), (other, 0, 1)]);
    }

    /// What stood between deletions that were left out took effect before, and would be undone by a hold over it.
    #[test]
    fn deletions_in_places_that_were_left_out_are_counted_place_by_place() {
        let mut recent = Recent::default();
        recent.add(Timestamp(5), 1, (LOG, 90, 91));
        recent.add_scattered(Timestamp(6), 3, LOG, vec![(3, 5), (8, 9)]);
        recent.add(Timestamp(7), 1, (LOG, 93, 94));
        assert_eq!(recent.deletions(), 5);
        assert_eq!(recent.stretches(), [(LOG, 90, 91), (LOG, 3, 5), (LOG, 8, 9), (LOG, 93, 94)]);
        let places = |from: u64| (from..from + 2_000).map(|n| (n * 2, n * 2 + 1)).collect();
        for turn in 1..5 {
            recent.add_scattered(Timestamp(8), 2_000, LOG, places(turn * 10_000));
        }
        assert!(recent.stretches().len() <= BRAKE_STRETCHES_MAX, "{}", recent.stretches().len());
        assert_eq!(recent.stretches().last(), Some(&(LOG, 80_000, 83_999)), "too many are one");
        recent.pass(Timestamp(9 + BRAKE_WINDOW_MS));
        assert_eq!((recent.deletions(), recent.stretches()), (0, Vec::new()));
    }

    #[test]
    fn a_clock_that_was_set_back_holds_nothing_for_longer_than_the_window() {
        let mut recent = Recent::default();
        recent.add(Timestamp(u64::MAX), 50, (LOG, 0, 50));
        recent.pass(Timestamp(10));
        assert_eq!(recent.deletions(), 50);
        recent.pass(Timestamp(10 + BRAKE_WINDOW_MS));
        assert_eq!(recent.deletions(), 0);
    }
}
