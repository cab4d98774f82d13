//! Where a link stands in its windows: the wall clock in each window's time zone, and the pace of the hour.

use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::tz::TimeZone;
use protocol::fault::{Outcome, Reason};
use protocol::link::{Caps, Link};
use protocol::time::Timestamp;
use protocol::timetable::{ClockSet, Hours, LocalTime, WallClock};

use super::{Inner, Node};
use crate::api::Problem;
use crate::keeper::wall_clock;
use crate::node::problem::usage;
use crate::transport::pump::Command;

/// The zone of that name; empty is that of this machine.
///
/// # Errors
/// There is none in the tz database.
pub(super) fn zone(name: &str) -> Result<TimeZone, Problem> {
    if name.is_empty() {
        return Ok(TimeZone::system());
    }
    TimeZone::get(name).map_err(|_unknown| {
        usage(format!("there is no time zone {name:?}"))
            .hint("zones are named like Asia/Tokyo, Europe/Berlin, UTC")
    })
}

fn local(name: &str, now: Timestamp) -> WallClock {
    // A zone is checked when it is set; one that a newer database lost counts as this machine's own.
    let zone = zone(name).unwrap_or_else(|_gone| TimeZone::system());
    let at = i64::try_from(now.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let at = at.unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let set = zone.following(at).next().and_then(|transition| {
        let in_ms = transition.timestamp().as_millisecond().checked_sub(at.as_millisecond())?;
        let (shows, past_ms) = shown(transition.timestamp().to_zoned(zone.clone()));
        Some(ClockSet { in_ms: u64::try_from(in_ms).ok()?, shows, past_ms })
    });
    let (shows, past_ms) = shown(at.to_zoned(zone));
    WallClock { shows, past_ms, set }
}

fn shown(at: jiff::Zoned) -> (LocalTime, u64) {
    let weekday = u8::try_from(at.weekday().to_monday_zero_offset()).unwrap_or(0);
    let minute = u16::try_from(i32::from(at.hour()) * 60 + i32::from(at.minute())).unwrap_or(0);
    let past_ms = i32::from(at.second()) * 1000 + i32::from(at.millisecond());
    (LocalTime { weekday, minute }, u64::try_from(past_ms).unwrap_or(0))
}

/// How a link stands to its windows at `now`.
pub(super) fn hours(link: &Link, now: Timestamp) -> Hours {
    let windows: Vec<_> = link.windows.iter().map(|window| (window, local(&window.zone, now))).collect();
    Hours::of(&windows)
}

/// What a link may carry at `now`.
pub(super) fn caps(link: &Link, now: Timestamp) -> Caps {
    let hours = hours(link, now);
    Caps {
        in_bytes_per_s: hours.cap(link.caps.in_bytes_per_s),
        out_bytes_per_s: hours.cap(link.caps.out_bytes_per_s),
    }
}

/// How long the machine's clock is trusted: somebody may set it.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Keeps the windows of incoming links, to the moment, until the node is gone.
pub(super) async fn keep_windows(inner: Weak<Inner>) {
    loop {
        let Some(node) = inner.upgrade().map(|inner| Node { inner }) else { return };
        let edited = Arc::clone(&node.inner.windows_edited);
        node.keep_windows();
        let wait = node.incoming_windows_change_in().map_or(LOOK_AGAIN, Duration::from_millis);
        drop(node);
        // Woken by a change of settings or by the time: either way it looks again.
        drop(tokio::time::timeout(wait.min(LOOK_AGAIN), edited.notified()).await);
    }
}

impl Node {
    /// Milliseconds until a window of an incoming link opens or closes.
    fn incoming_windows_change_in(&self) -> Option<u64> {
        let now = wall_clock();
        let incoming = self.link_names().into_values().filter(|link| !link.is_outgoing());
        incoming.filter_map(|link| hours(&link, now).changes_in_ms).min()
    }

    /// Ends the sessions of incoming links whose window has closed, and lets the others keep the pace of this hour. Outgoing links have a
    /// timetable that does.
    pub(super) fn keep_windows(&self) {
        let now = wall_clock();
        for (name, link) in self.link_names().into_iter().filter(|(_, link)| !link.is_outgoing()) {
            if hours(&link, now).open {
                self.pace_link(&name);
                continue;
            }
            self.with_link(&name, |state| {
                if let Some(commands) = &state.commands {
                    let outcome = Outcome::Refused(Reason::OutsideWindow);
                    super::sessions::tell(commands, Command::Close(outcome));
                }
            });
        }
    }

    /// Lets a standing session keep the pace of this hour.
    pub(super) fn pace_link(&self, name: &str) {
        self.with_link(name, |state| {
            let caps = caps(&state.link, wall_clock());
            if let Some(commands) = &state.commands {
                super::sessions::tell(commands, Command::Pace(caps));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin(utc: &str) -> WallClock {
        let at: jiff::Timestamp = utc.parse().unwrap();
        local("Europe/Berlin", Timestamp(u64::try_from(at.as_millisecond()).unwrap()))
    }

    #[test]
    fn a_clock_tells_to_the_millisecond_when_summer_time_begins_and_ends() {
        let spring = berlin("2026-03-29T00:59:59.250Z");
        assert_eq!(spring.shows, LocalTime { weekday: 6, minute: 119 });
        let three = LocalTime { weekday: 6, minute: 180 };
        assert_eq!(
            (spring.past_ms, spring.set),
            (59_250, Some(ClockSet { in_ms: 750, shows: three, past_ms: 0 }))
        );
        let window = "02:30-05:00".parse::<protocol::timetable::Window>().unwrap();
        assert_eq!(window.changes_in(&spring), Some(750), "opens when the clock jumps over its beginning");
        let autumn = berlin("2026-10-25T00:59:00Z");
        let two = LocalTime { weekday: 6, minute: 120 };
        assert_eq!(autumn.set, Some(ClockSet { in_ms: 60_000, shows: two, past_ms: 0 }));
        assert_eq!(local("UTC", Timestamp(0)).set, None);
    }
}
