//! Tests of the cap.

use super::*;

const RATE: u64 = 250_000;

/// Bytes that several lanes get through in `seconds`, each asking for `piece` bytes and waiting as told.
fn passed(pieces: &[u64], seconds: u64) -> u64 {
    let end = Duration::from_secs(seconds);
    let mut cap = Cap::new(RATE, Duration::ZERO);
    let mut lanes = vec![Duration::ZERO; pieces.len()];
    let mut total = 0;
    loop {
        let next = (0..lanes.len()).min_by_key(|lane| lanes[*lane]).unwrap();
        if lanes[next] >= end {
            return total;
        }
        match cap.take(pieces[next], lanes[next]) {
            None => total += pieces[next],
            Some(wait) => {
                assert!(wait > Duration::ZERO);
                lanes[next] += wait;
            }
        }
    }
}

#[test]
fn lanes_together_get_the_rate_and_one_burst() {
    for pieces in [&[1_200][..], &[16 << 10, 1_000, 777], &[1 << 20, 64 << 10]] {
        let total = passed(pieces, 60);
        let largest = *pieces.iter().max().unwrap();
        assert!(total >= RATE * 60 - largest, "{pieces:?}: {total}");
        assert!(total <= RATE * 60 + RATE / 10 + largest, "{pieces:?}: {total}");
    }
}

#[test]
fn a_pause_saves_up_no_more_than_one_burst() {
    let mut cap = Cap::new(RATE, Duration::ZERO);
    let later = Duration::from_secs(3600);
    assert_eq!(cap.take(RATE / 10, later), None);
    assert!(cap.take(1, later).is_some());
}

#[test]
fn the_wait_is_exactly_long_enough() {
    let mut cap = Cap::new(1_000, Duration::ZERO);
    assert_eq!(cap.take(100, Duration::ZERO), None);
    let wait = cap.take(50, Duration::ZERO).unwrap();
    assert_eq!(wait, Duration::from_millis(50));
    assert!(cap.take(50, wait - Duration::from_nanos(1)).is_some());
    assert_eq!(cap.take(50, wait), None);
}

#[test]
fn a_debt_outlives_a_change_of_rate() {
    let mut cap = Cap::new(1_000, Duration::ZERO);
    assert_eq!(cap.take(1_100, Duration::ZERO), None);
    cap.set_rate(10_000, Duration::ZERO);
    assert!(cap.take(1, Duration::from_millis(100)).is_some());
    assert_eq!(cap.take(1, Duration::from_millis(101)), None);
}

#[test]
fn time_that_goes_back_gives_nothing() {
    let mut cap = Cap::new(1_000, Duration::from_secs(5));
    assert_eq!(cap.take(100, Duration::from_secs(5)), None);
    assert!(cap.take(100, Duration::from_secs(1)).is_some());
    assert!(cap.take(100, Duration::from_secs(5)).is_some());
}
