//! The brake on mass deletion: whether what one run brings would take too much of a feed away at once.

use crate::limits::{BRAKE_DELETES_MIN, BRAKE_PERCENT};

/// Whether deletions of one run wait for a person: they would take away more than [`BRAKE_DELETES_MIN`] versions and more than
/// [`BRAKE_PERCENT`] of a hundred of the `standing` ones, counted before the run.
#[must_use]
pub const fn trips(deletions: u64, standing: u64) -> bool {
    deletions > BRAKE_DELETES_MIN && deletions as u128 * 100 > standing as u128 * BRAKE_PERCENT as u128
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
