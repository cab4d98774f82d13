//! Windows against a clock that is stepped minute by minute.

use proptest::prelude::*;

use super::*;

fn at(weekday: u8, hour: u16, minute: u16) -> LocalTime {
    LocalTime { weekday, minute: hour * 60 + minute }
}

fn after(time: LocalTime, minutes: u32) -> LocalTime {
    let whole = u32::from(time.weekday) * 1440 + u32::from(time.minute) + minutes;
    LocalTime {
        weekday: u8::try_from(whole / 1440 % 7).unwrap(),
        minute: u16::try_from(whole % 1440).unwrap(),
    }
}

/// A clock that nobody sets.
fn clock(shows: LocalTime) -> WallClock {
    WallClock { shows, past_ms: 0, set: None }
}

#[test]
fn a_window_over_midnight_belongs_to_the_day_it_opens_on() {
    let night: Window = "fri 22:00-06:00".parse().unwrap();
    assert_eq!(night.closes_in(at(4, 23, 0)), Some(7 * 60));
    assert_eq!(night.closes_in(at(5, 5, 59)), Some(1));
    assert_eq!(night.closes_in(at(5, 6, 0)), None);
    assert_eq!(night.closes_in(at(4, 5, 0)), None);
    assert_eq!(night.opens_in(at(4, 21, 58)), Some(2));
    assert_eq!(night.opens_in(at(5, 22, 0)), Some(6 * 1440));
}

#[test]
fn windows_are_read_as_people_write_them_and_print_to_themselves() {
    for (text, days, from, to) in [
        ("22:00-06:00", 0x7f, 1320, 360),
        ("mon-fri 08:30-17:00", 0x1f, 510, 1020),
        ("sat,sun 00:00-24:00", 0x60, 0, 0),
        ("fri-mon 01:00-02:00@2mbit", 0x71, 60, 120),
    ] {
        let window: Window = text.parse().unwrap();
        assert_eq!((window.days, window.from_minute, window.to_minute), (days, from, to), "{text}");
        assert_eq!(window.to_string().parse(), Ok(window));
    }
    for bad in [
        "",
        "22:00",
        "22-06",
        "25:00-26:00",
        "noday 22:00-06:00",
        "22:00-06:00@fast",
        "22:60-23:00",
        "@2mbit",
    ] {
        assert!(bad.parse::<Window>().is_err(), "{bad:?}");
    }
}

#[test]
fn rates_are_bits_or_bytes_a_second() {
    assert_eq!(parse_rate("2mbit"), Ok(250_000));
    assert_eq!(parse_rate("500KB/s"), Ok(500_000));
    assert_eq!(parse_rate("64kbit"), Ok(8_000));
    assert_eq!(parse_rate("1gbit"), Ok(125_000_000));
    for bad in ["", "2", "0mbit", "2 parsecs", "-1mbit", "99999999999999999999gbit"] {
        assert!(parse_rate(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn the_most_generous_open_window_sets_the_pace_and_the_links_own_cap_bounds_it() {
    let (day, night): (Window, Window) =
        ("08:00-20:00@1mbit".parse().unwrap(), "18:00-06:00".parse().unwrap());
    let hours = |hour| Hours::of(&[(&day, clock(at(0, hour, 0))), (&night, clock(at(0, hour, 0)))]);
    assert_eq!((hours(9).cap(None), hours(9).cap(Some(1_000))), (Some(125_000), Some(1_000)));
    assert_eq!((hours(19).cap(None), hours(19).cap(Some(9_000_000))), (None, Some(9_000_000)));
    assert_eq!(hours(7), Hours { open: false, changes_in_ms: Some(3_600_000), cap_bytes_per_s: None });
    assert_eq!(Hours::of(&[]), Hours { open: true, changes_in_ms: None, cap_bytes_per_s: None });
}

#[test]
fn a_change_is_told_to_the_millisecond() {
    let window: Window = "08:00-09:00".parse().unwrap();
    let late = WallClock { past_ms: 59_999, ..clock(at(0, 7, 59)) };
    assert_eq!(window.changes_in(&late), Some(1));
}

/// In the night to Sunday at two the clock is put to three, or at three to two.
#[test]
fn a_window_in_a_night_when_the_clock_is_set_opens_and_closes_by_what_the_clock_shows() {
    let hour = 3_600_000;
    let from_one = |to: u16, in_hours: u64| WallClock {
        set: Some(ClockSet { in_ms: in_hours * hour, shows: at(6, to, 0), past_ms: 0 }),
        ..clock(at(6, 1, 0))
    };
    let (spring, autumn) = (from_one(3, 1), from_one(2, 2));
    for (text, in_spring, in_autumn) in [
        // Opens at the jump; opens by the first time that the clock shows it.
        ("02:30-05:00", hour, hour * 3 / 2),
        // Open now: closes an hour of the clock early or late.
        ("00:00-05:00", 3 * hour, 5 * hour),
        // Lies before the jump, and closes at it where its end does not exist.
        ("00:30-02:30", hour, hour * 3 / 2),
        // Lies in the hour that does not exist: opens a day later.
        ("02:00-03:00", 24 * hour, hour),
        ("06:00-07:00", 4 * hour, 6 * hour),
    ] {
        let window: Window = text.parse().unwrap();
        assert_eq!(window.changes_in(&spring), Some(in_spring), "{text} in spring");
        assert_eq!(window.changes_in(&autumn), Some(in_autumn), "{text} in autumn");
    }
    let early = WallClock { shows: at(5, 1, 0), ..spring };
    let window: Window = "02:30-05:00".parse().unwrap();
    assert_eq!(window.changes_in(&early), Some(hour), "the clock is set after that, here a day too early");
}

proptest! {
    #[test]
    fn what_is_told_of_the_next_change_is_what_a_clock_meets(
        days in 0_u8..128, from_minute in 0_u16..1440, to_minute in 0_u16..1440, weekday in 0_u8..7, minute in 0_u16..1440,
    ) {
        let window = Window { days, from_minute, to_minute, zone: String::new(), cap_bytes_per_s: None };
        let start = LocalTime { weekday, minute };
        let hours = Hours::of(&[(&window, clock(start))]);
        let open = |minutes| window.closes_in(after(start, minutes)).is_some();
        prop_assert_eq!(hours.open, open(0));
        let met = (1..=14 * 1440).find(|minutes| open(*minutes) != hours.open).map(|met| u64::from(met) * 60_000);
        match (hours.open, met) {
            // A window that follows itself at once opens anew without having closed.
            (true, Some(met)) => prop_assert!(hours.changes_in_ms.is_some_and(|told| told <= met)),
            (true, None) => {}
            (false, met) => prop_assert_eq!(hours.changes_in_ms, met),
        }
    }
}
