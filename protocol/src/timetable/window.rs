//! Windows of the week in which a link may run, and the pace it keeps in them. Local time is an argument: no zone is looked up here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

const DAY_MINUTES: u16 = 24 * 60;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const EVERY_DAY: u8 = 0x7f;

/// A minute of the week where somebody's clock hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalTime {
    /// Monday is 0, Sunday 6.
    pub weekday: u8,
    /// Minutes after midnight, 0 to 1,439.
    pub minute: u16,
}

/// A clock on a wall at some moment: what it shows, and when it is put forward or back next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WallClock {
    pub shows: LocalTime,
    /// Milliseconds since that minute began, below 60,000.
    pub past_ms: u64,
    /// Summer time begins or ends.
    pub set: Option<ClockSet>,
}

/// A clock that is put forward or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockSet {
    pub in_ms: u64,
    /// What it shows from then on.
    pub shows: LocalTime,
    /// Milliseconds since that minute began, below 60,000.
    pub past_ms: u64,
}

/// A part of the week in which a link may run, in a named time zone, and the pace it keeps then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Monday is the lowest of seven bits. The day is that on which the window opens.
    pub days: u8,
    /// Minutes after local midnight at which it opens, 0 to 1,439.
    pub from_minute: u16,
    /// Minutes after local midnight at which it closes, 0 to 1,439; not above `from_minute` means on the next day.
    pub to_minute: u16,
    /// The zone's name in the tz database, such as `Asia/Tokyo`; empty is the zone of the site's own clock.
    pub zone: String,
    /// Bytes a second each way while it is open; none: the link's own caps.
    pub cap_bytes_per_s: Option<u64>,
}

/// Why a text is no window or rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    #[error("{0:?} is no window: use `22:00-06:00`, `mon-fri 22:00-06:00` or `sat,sun 00:00-24:00@2mbit`")]
    Form(String),
    #[error("{0:?} is no rate: use 500kbit, 2mbit, 1gbit, 500KB or 2MB, a second")]
    Rate(String),
}

/// How a link stands to its windows at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    /// Whether it may run.
    pub open: bool,
    /// Milliseconds until that changes; none if it never does.
    pub changes_in_ms: Option<u64>,
    /// Bytes a second that an open window allows each way; none: the link's own caps alone count.
    pub cap_bytes_per_s: Option<u64>,
}

impl Window {
    fn length(&self) -> u16 {
        let length = (DAY_MINUTES + self.to_minute - self.from_minute) % DAY_MINUTES;
        if length == 0 { DAY_MINUTES } else { length }
    }

    const fn opens_on(&self, weekday: u8) -> bool {
        self.days >> (weekday % 7) & 1 == 1
    }

    /// Minutes until it closes, if it is open.
    #[must_use]
    pub fn closes_in(&self, at: LocalTime) -> Option<u32> {
        let since_midnight = |days_back: u8| {
            let opened = self.opens_on((at.weekday + 7 - days_back) % 7);
            let now = u32::from(at.minute) + u32::from(DAY_MINUTES) * u32::from(days_back);
            let (from, to) =
                (u32::from(self.from_minute), u32::from(self.from_minute) + u32::from(self.length()));
            (opened && from <= now && now < to).then(|| to - now)
        };
        [since_midnight(0), since_midnight(1)].into_iter().flatten().max()
    }

    /// Minutes until it opens next, whether it is open or not. None if it opens on no day.
    #[must_use]
    pub fn opens_in(&self, at: LocalTime) -> Option<u32> {
        let day = u32::from(DAY_MINUTES);
        let openings = (0..=7_u8).filter(|days| self.opens_on(at.weekday + days)).map(|days| {
            let opening = u32::from(days) * day + u32::from(self.from_minute);
            opening.checked_sub(u32::from(at.minute)).filter(|minutes| *minutes > 0)
        });
        openings.flatten().min()
    }
}

impl Window {
    /// Milliseconds until it opens or closes next, while the clock is not set.
    fn turns_in(&self, at: LocalTime, past_ms: u64) -> Option<u64> {
        // One that follows itself at once opens anew without having closed.
        let minutes = [self.closes_in(at), self.opens_in(at)].into_iter().flatten().min()?;
        Some((u64::from(minutes) * 60_000).saturating_sub(past_ms))
    }

    /// Milliseconds until it opens or closes next. It is open when the clock shows so: where the clock jumps over an opening or a closing
    /// that takes place at the jump, and an hour that comes twice is met twice.
    #[must_use]
    pub fn changes_in(&self, clock: &WallClock) -> Option<u64> {
        let turns = self.turns_in(clock.shows, clock.past_ms);
        let Some(set) = clock.set.filter(|set| turns.is_none_or(|turns| turns >= set.in_ms)) else {
            return turns;
        };
        let (before, after) = (self.closes_in(clock.shows), self.closes_in(set.shows));
        if before.is_some() != after.is_some() {
            return Some(set.in_ms);
        }
        Some(set.in_ms.saturating_add(self.turns_in(set.shows, set.past_ms)?))
    }
}

impl Hours {
    /// How a link stands to its windows, each with the clock of its zone. No windows is always open. Of several open windows the
    /// most generous one sets the pace.
    #[must_use]
    pub fn of(windows: &[(&Window, WallClock)]) -> Self {
        if windows.is_empty() {
            return Self { open: true, changes_in_ms: None, cap_bytes_per_s: None };
        }
        let open: Vec<&Window> = windows
            .iter()
            .filter(|(window, clock)| window.closes_in(clock.shows).is_some())
            .map(|(window, _)| *window)
            .collect();
        let caps = open.iter().map(|window| window.cap_bytes_per_s);
        let unbounded = open.iter().any(|window| window.cap_bytes_per_s.is_none());
        let cap_bytes_per_s = if unbounded { None } else { caps.flatten().max() };
        // While one is open the next opening or closing of any may change the pace.
        let changes = windows.iter().filter_map(|(window, clock)| window.changes_in(clock));
        Self { open: !open.is_empty(), changes_in_ms: changes.min(), cap_bytes_per_s }
    }

    /// The same in whole minutes, for people: it has changed once they are over.
    #[must_use]
    pub fn changes_in_minutes(&self) -> Option<u32> {
        self.changes_in_ms.map(|ms| u32::try_from(ms.div_ceil(60_000)).unwrap_or(u32::MAX))
    }

    /// The cap in force, given the link's own.
    #[must_use]
    pub fn cap(&self, own_bytes_per_s: Option<u64>) -> Option<u64> {
        match (self.cap_bytes_per_s, own_bytes_per_s) {
            (Some(window), Some(own)) => Some(window.min(own)),
            (window, own) => window.or(own),
        }
    }
}

/// Bytes a second of `500kbit`, `2mbit`, `1gbit`, `500KB`, `2MB`, with or without `/s`.
///
/// # Errors
/// The text is none of these, or nothing at all.
pub fn parse_rate(text: &str) -> Result<u64, WindowError> {
    const UNITS: [(&str, u64, u64); 6] = [
        ("kbit", 1_000, 8),
        ("mbit", 1_000_000, 8),
        ("gbit", 1_000_000_000, 8),
        ("KB", 1_000, 1),
        ("MB", 1_000_000, 1),
        ("GB", 1_000_000_000, 1),
    ];
    let bad = || WindowError::Rate(text.to_owned());
    let plain = text.trim().trim_end_matches("/s");
    let digits = plain.len() - plain.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = plain.split_at(digits);
    let (_, factor, part) = UNITS.iter().find(|(name, ..)| *name == unit.trim()).ok_or_else(bad)?;
    let rate = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor)).ok_or_else(bad)?;
    if rate < *part { Err(bad()) } else { Ok(rate / part) }
}

fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    let whole = hours.checked_mul(60)?.checked_add(minutes)?;
    (minutes < 60 && whole <= DAY_MINUTES).then_some(whole % DAY_MINUTES)
}

fn days(text: &str) -> Option<u8> {
    let day = |name: &str| DAYS.iter().position(|day| *day == name).and_then(|at| u8::try_from(at).ok());
    let mut bits = 0;
    for part in text.split(',') {
        match part.split_once('-') {
            None => bits |= 1 << day(part)?,
            Some((first, last)) => {
                let (first, last) = (day(first)?, day(last)?);
                let mut at = first;
                loop {
                    bits |= 1 << at;
                    if at == last {
                        break;
                    }
                    at = (at + 1) % 7;
                }
            }
        }
    }
    Some(bits)
}

impl FromStr for Window {
    type Err = WindowError;

    /// `[DAYS ]FROM-TO[@RATE]`, in the zone of the site's own clock.
    fn from_str(text: &str) -> Result<Self, WindowError> {
        let bad = || WindowError::Form(text.to_owned());
        let (when, cap_bytes_per_s) = match text.trim().split_once('@') {
            Some((when, rate)) => (when, Some(parse_rate(rate)?)),
            None => (text.trim(), None),
        };
        let (on, hours) = match when.rsplit_once(' ') {
            Some((on, hours)) => (days(&on.trim().to_lowercase()).ok_or_else(bad)?, hours),
            None => (EVERY_DAY, when),
        };
        let (from, to) = hours.split_once('-').ok_or_else(bad)?;
        let (from_minute, to_minute) = (minute(from).ok_or_else(bad)?, minute(to).ok_or_else(bad)?);
        Ok(Self { days: on, from_minute, to_minute, zone: String::new(), cap_bytes_per_s })
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days & EVERY_DAY != EVERY_DAY {
            let on =
                DAYS.iter().enumerate().filter(|(at, _)| self.days >> at & 1 == 1).map(|(_, name)| *name);
            write!(f, "{} ", on.collect::<Vec<_>>().join(","))?;
        }
        let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        write!(f, "{}-{}", clock(self.from_minute), clock(self.to_minute))?;
        if let Some(cap) = self.cap_bytes_per_s {
            write!(f, "@{}kbit", cap.saturating_mul(8) / 1_000)?;
        }
        if self.zone.is_empty() { Ok(()) } else { write!(f, " {}", self.zone) }
    }
}
