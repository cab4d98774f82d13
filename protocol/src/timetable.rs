//! When a link runs next: its interval with jitter, and how long to wait after each kind of ending.

mod window;

pub use window::{ClockSet, Hours, LocalTime, WallClock, Window, WindowError, parse_rate};

use crate::fault::Outcome;
use crate::time::Instant;

/// The first wait after an interrupted run: a flapping link comes back within seconds.
pub const INTERRUPTED_BACKOFF_MS: u64 = 5_000;
/// The longest wait after interrupted runs.
pub const INTERRUPTED_BACKOFF_MS_MAX: u64 = 5 * 60_000;
/// The first wait after a refusal: somebody has to change a setting.
pub const REFUSED_BACKOFF_MS: u64 = 60_000;
/// The longest wait after refusals, faults and broken rules.
pub const REFUSED_BACKOFF_MS_MAX: u64 = 60 * 60_000;

/// How a link's last runs went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Record {
    /// The last outcome, none before the first run.
    pub last: Option<Outcome>,
    /// Runs since the last one that was done.
    pub failures: u32,
}

impl Record {
    /// The record after one more run.
    #[must_use]
    pub const fn after(self, outcome: Outcome) -> Self {
        let failures = match outcome {
            Outcome::Done => 0,
            Outcome::Refused(_) | Outcome::Misbehaved(_) | Outcome::Interrupted | Outcome::Fault => {
                self.failures.saturating_add(1)
            }
        };
        Self { last: Some(outcome), failures }
    }
}

/// When a link runs next, or never by itself. `random` is any number; it spreads runs over a tenth
/// of the wait, so that fifty sites restarted together do not call together.
#[must_use]
pub fn next_run(now: Instant, every_ms: Option<u64>, record: Record, random: u64) -> Option<Instant> {
    let every_ms = every_ms?;
    let wait_ms = match record.last {
        None => return Some(now),
        Some(Outcome::Done) => every_ms,
        Some(Outcome::Interrupted) => backoff_ms(record),
        Some(Outcome::Refused(_) | Outcome::Misbehaved(_) | Outcome::Fault) => {
            backoff_ms(record).max(every_ms)
        }
    };
    Some(spread(now, wait_ms, random))
}

/// When a link over which news are to come at once is dialled again, where no session of it stands. Soon, and never at once: the other end may
/// close each session as soon as it is up.
#[must_use]
pub fn next_dial(now: Instant, record: Record, random: u64) -> Instant {
    spread(now, backoff_ms(record), random)
}

/// How long a link that did not end its last run waits before it tries again; where it did, as long as after a first interruption.
fn backoff_ms(record: Record) -> u64 {
    match record.last {
        None | Some(Outcome::Done) => INTERRUPTED_BACKOFF_MS,
        Some(Outcome::Interrupted) => {
            doubled(INTERRUPTED_BACKOFF_MS, record.failures).min(INTERRUPTED_BACKOFF_MS_MAX)
        }
        Some(Outcome::Refused(_) | Outcome::Misbehaved(_) | Outcome::Fault) => {
            doubled(REFUSED_BACKOFF_MS, record.failures).min(REFUSED_BACKOFF_MS_MAX)
        }
    }
}

fn spread(now: Instant, wait_ms: u64, random: u64) -> Instant {
    let spread_ms = (wait_ms / 10).max(1);
    now.after_ms(wait_ms - spread_ms / 2 + random % spread_ms)
}

fn doubled(base_ms: u64, failures: u32) -> u64 {
    base_ms.saturating_mul(1_u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Misbehaved, Reason};

    fn wait_ms(every_ms: u64, record: Record) -> u64 {
        next_run(Instant(0), Some(every_ms), record, 0).unwrap().0
    }

    #[test]
    fn a_link_without_an_interval_never_runs_by_itself() {
        assert_eq!(next_run(Instant(0), None, Record::default(), 0), None);
    }

    #[test]
    fn a_link_whose_session_ended_is_dialled_again_soon_and_ever_later_while_that_fails() {
        let wait_ms = |record| next_dial(Instant(0), record, 0).0;
        assert!((4_000..6_000).contains(&wait_ms(Record::default())));
        assert!((4_000..6_000).contains(&wait_ms(Record::default().after(Outcome::Done))));
        let away = (0..99).fold(Record::default(), |record, _| record.after(Outcome::Interrupted));
        assert!((4 * 60_000..=INTERRUPTED_BACKOFF_MS_MAX).contains(&wait_ms(away)));
        assert!(wait_ms(Record::default().after(Outcome::Refused(Reason::LinkPaused))) >= 57_000);
    }

    #[test]
    fn a_new_link_runs_at_once_and_then_at_its_interval_give_or_take() {
        assert_eq!(next_run(Instant(7), Some(60_000), Record::default(), 3), Some(Instant(7)));
        let done = Record::default().after(Outcome::Done);
        for random in 0..20_000 {
            let next = next_run(Instant(0), Some(60_000), done, random).unwrap().0;
            assert!((57_000..63_000).contains(&next), "{next}");
        }
    }

    #[test]
    fn an_interruption_is_tried_again_soon_and_a_refusal_later() {
        let mut record = Record::default();
        let mut last = 0;
        for _ in 0..12 {
            record = record.after(Outcome::Interrupted);
            let next = wait_ms(900_000, record);
            assert!(next >= last && next <= INTERRUPTED_BACKOFF_MS_MAX);
            last = next;
        }
        let refused = Record::default().after(Outcome::Refused(Reason::NothingAllowed));
        assert!(wait_ms(1_000, refused) >= 57_000);
        let bad = (0..99)
            .fold(Record::default(), |record, _| record.after(Outcome::Misbehaved(Misbehaved::Stalled)));
        assert!(wait_ms(1_000, bad) <= REFUSED_BACKOFF_MS_MAX);
        assert_eq!(bad.after(Outcome::Done).failures, 0);
    }
}
