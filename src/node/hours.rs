//! Where a link stands in its windows: the wall clock in each window's time zone, and the pace of the hour.

use jiff::tz::TimeZone;
use protocol::fault::{Outcome, Reason};
use protocol::link::{Caps, Link};
use protocol::time::Timestamp;
use protocol::timetable::{Hours, LocalTime};

use super::Node;
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

fn local(name: &str, now: Timestamp) -> LocalTime {
    // A zone is checked when it is set; one that a newer database lost counts as this machine's own.
    let zone = zone(name).unwrap_or_else(|_gone| TimeZone::system());
    let at = i64::try_from(now.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let at = at.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_zoned(zone);
    let weekday = u8::try_from(at.weekday().to_monday_zero_offset()).unwrap_or(0);
    let minute = u16::try_from(i32::from(at.hour()) * 60 + i32::from(at.minute())).unwrap_or(0);
    LocalTime { weekday, minute }
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

impl Node {
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
