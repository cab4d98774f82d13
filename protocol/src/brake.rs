//! The brake on mass deletion: whether what one link takes away within an hour is too much of a feed.

use std::collections::BTreeMap;

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

/// From the first to the last place of each log.
fn one_a_log(stretches: Vec<Stretch>) -> Vec<Stretch> {
    let mut logs: BTreeMap<LogId, (u64, u64)> = BTreeMap::new();
    for (log, first, end) in stretches {
        let whole = logs.entry(log).or_insert((first, end));
        *whole = (whole.0.min(first), whole.1.max(end));
    }
    logs.into_iter().map(|(log, (first, end))| (log, first, end)).collect()
}

/// The same places in as few stretches as may be, in order; where those are more than [`BRAKE_STRETCHES_MAX`], with what lies between.
#[must_use]
pub fn bounded(stretches: Vec<Stretch>) -> Vec<Stretch> {
    let joined = joined(stretches);
    if joined.len() > BRAKE_STRETCHES_MAX { one_a_log(joined) } else { joined }
}

fn joined(mut stretches: Vec<Stretch>) -> Vec<Stretch> {
    stretches.sort_unstable();
    let mut joined: Vec<Stretch> = Vec::with_capacity(stretches.len());
    for (log, first, end) in stretches {
        match joined.last_mut().filter(|(of, _, reach)| *of == log && *reach >= first) {
            Some((_, _, reach)) => *reach = end.max(*reach),
            None => joined.push((log, first, end)),
        }
    }
    joined
}

/// What one link took away of one feed within a few moments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Slot {
    began: Timestamp,
    deletions: u64,
    stretches: Vec<Stretch>,
}

/// What one link took away of one feed within [`BRAKE_WINDOW_MS`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Recent {
    slots: Vec<Slot>,
    /// From the first to the last of the newest places: after a crash they come again.
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

    /// Counts deletions at places of a log: from the first to before the last position of each, in order. The same places once more are the ones
    /// that came last. What lies between two of them was no deletion, or took effect long ago, so it is in no stretch while there are not too many.
    pub fn add(&mut self, now: Timestamp, deletions: u64, log: LogId, places: &[(u64, u64)]) {
        self.pass(now);
        let (Some((first, _)), Some((_, end))) = (places.first(), places.last()) else { return };
        let whole = (log, *first, *end);
        if self.last == Some(whole) {
            return;
        }
        self.last = Some(whole);
        let fits = |slot: &Slot| now.0.saturating_sub(slot.began.0) < BRAKE_SLOT_MS;
        if !self.slots.last().is_some_and(fits) {
            self.slots.push(Slot { began: now, deletions: 0, stretches: Vec::new() });
        }
        let Some(slot) = self.slots.last_mut() else { return };
        slot.deletions = slot.deletions.saturating_add(deletions);
        slot.stretches.extend(places.iter().map(|(first, end)| (log, *first, *end)));
        let own = bounded(std::mem::take(&mut slot.stretches));
        let others: usize = self.slots.iter().map(|slot| slot.stretches.len()).sum();
        let Some(slot) = self.slots.last_mut() else { return };
        slot.stretches =
            if others.saturating_add(own.len()) > BRAKE_STRETCHES_MAX { one_a_log(own) } else { own };
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
            recent.add(minute(n), 2, LOG, &[(n * 10, n * 10 + 2)]);
        }
        assert_eq!(recent.deletions(), 118);
        recent.add(minute(89), 0, LOG, &[(900, 901)]);
        assert_eq!(recent.deletions(), 58, "of the minutes 30 to 58");
        assert_eq!(recent.stretches()[0], (LOG, 300, 302));
        recent.pass(minute(500));
        assert_eq!((recent.deletions(), recent.stretches()), (0, Vec::new()));
    }

    /// What stood between them was no deletion, or one that took effect before, and would be undone by a hold over it.
    #[test]
    fn deletions_are_counted_place_by_place_and_what_comes_again_counts_once() {
        let mut recent = Recent::default();
        recent.add(Timestamp(5), 3, LOG, &[(7, 10)]);
        recent.add(Timestamp(6), 3, LOG, &[(7, 10)]);
        recent.add(Timestamp(7), 2, LOG, &[(10, 11), (13, 14)]);
        assert_eq!((recent.deletions(), recent.stretches()), (5, vec![(LOG, 7, 11), (LOG, 13, 14)]));
        let other = LogId { epoch: 2, ..LOG };
        recent.add(Timestamp(8), 2, other, &[(0, 1), (3, 4)]);
        assert_eq!(recent.stretches(), [(LOG, 7, 11), (LOG, 13, 14), (other, 0, 1), (other, 3, 4)]);
        recent.add(Timestamp(8 + BRAKE_SLOT_MS), 1, LOG, &[(3, 4)]);
        assert_eq!(recent.stretches().last(), Some(&(LOG, 3, 4)), "of another slot");
    }

    /// A live link makes a run of each deletion, and the record is written with each.
    #[test]
    fn of_too_many_places_all_that_come_together_are_one() {
        let mut one_by_one = Recent::default();
        for n in 0..5_000 {
            one_by_one.add(Timestamp(n * 500), 1, LOG, &[(n * 2, n * 2 + 1)]);
        }
        assert!(one_by_one.stretches().len() <= BRAKE_STRETCHES_MAX + 60, "{}", one_by_one.stretches().len());
        assert_eq!(one_by_one.deletions(), 5_000);
        let mut recent = Recent::default();
        let places = |from: u64| -> Vec<_> { (from..from + 2_000).map(|n| (n * 2, n * 2 + 1)).collect() };
        for turn in 1..5 {
            recent.add(Timestamp(8), 2_000, LOG, &places(turn * 10_000));
        }
        assert_eq!(recent.deletions(), 8_000);
        assert!(recent.stretches().len() <= BRAKE_STRETCHES_MAX, "{}", recent.stretches().len());
        assert_eq!(recent.stretches(), [(LOG, 20_000, 83_999)]);
    }

    #[test]
    fn a_clock_that_was_set_back_holds_nothing_for_longer_than_the_window() {
        let mut recent = Recent::default();
        recent.add(Timestamp(u64::MAX), 50, LOG, &[(0, 50)]);
        recent.pass(Timestamp(10));
        assert_eq!(recent.deletions(), 50);
        recent.pass(Timestamp(10 + BRAKE_WINDOW_MS));
        assert_eq!(recent.deletions(), 0);
    }
}
