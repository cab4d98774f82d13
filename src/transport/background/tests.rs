//! Tests of the law on a modelled link in virtual time: real quinn-proto connections share one bottleneck.

mod lab;
mod law;

use std::time::Duration;

use super::super::settings::Pace;
use lab::{Link, run};

const MBIT: f64 = 1e6;
const ALONE: &[(Pace, u64)] = &[(Pace::Background, 0)];

const fn ms(span: u64) -> Duration {
    Duration::from_millis(span)
}

#[test]
fn two_percent_loss_at_200_ms_leaves_the_pipe_full_and_the_queue_short() {
    let seen = run(&Link { loss: 0.02, ..Link::default() }, ALONE, 40);
    assert!(seen.goodput(0, 10, 40) > 15.0 * MBIT, "{seen:?}");
    assert!(seen.overflow_share() < 0.03, "{seen:?}");
    assert!(seen.queued_ms(10, 40) < 40, "{seen:?}");
}

#[test]
fn five_percent_loss_is_borne_near_and_far() {
    for rtt in [ms(50), ms(200)] {
        let seen = run(&Link { rtt, queue: rtt, loss: 0.05, ..Link::default() }, ALONE, 40);
        assert!(seen.goodput(0, 10, 40) > 14.0 * MBIT, "{rtt:?} {seen:?}");
        assert!(seen.overflow_share() < 0.03, "{rtt:?} {seen:?}");
    }
}

#[test]
fn a_satellite_link_with_one_percent_loss_is_filled() {
    let seen = run(&Link { rtt: ms(600), queue: ms(600), loss: 0.01, ..Link::default() }, ALONE, 60);
    assert!(seen.goodput(0, 15, 60) > 15.0 * MBIT, "{seen:?}");
    assert!(seen.overflow_share() < 0.03, "{seen:?}");
}

/// The whole transfer, from the handshake to its last byte.
#[test]
fn ten_megabytes_at_200_ms_and_one_percent_loss_are_there_within_eight_seconds() {
    const CONTENT: u64 = 10_000_000;
    let seen = run(&Link { loss: 0.01, content: CONTENT, ..Link::default() }, ALONE, 8);
    assert_eq!(seen.came(0, 8), CONTENT, "{seen:?}");
}

#[test]
fn a_late_flow_gets_its_share_beside_another_of_its_kind() {
    for (rtt, queue) in [(ms(200), ms(200)), (ms(50), ms(100))] {
        let flows = [(Pace::Background, 0), (Pace::Background, 15)];
        let seen = run(&Link { rtt, queue, ..Link::default() }, &flows, 120);
        let (first, late) = (seen.goodput(0, 60, 120), seen.goodput(1, 60, 120));
        assert!(first + late > 16.0 * MBIT, "{first} {late}");
        assert!(first < 2.5 * late && late < 2.5 * first, "{first} {late}");
    }
}

#[test]
fn other_traffic_takes_precedence() {
    for queue in [ms(200), ms(50)] {
        let seen = run(&Link { queue, ..Link::default() }, &[(Pace::Background, 0), (Pace::Fair, 10)], 60);
        assert!(seen.goodput(1, 30, 60) > 14.0 * MBIT, "{queue:?} {seen:?}");
    }
}

#[test]
fn a_longer_route_is_accepted_within_half_a_minute_and_a_shorter_one_at_once() {
    let seen = run(&Link { reroute: Some((20, ms(300))), ..Link::default() }, ALONE, 65);
    assert!(seen.goodput(0, 50, 65) > 15.0 * MBIT, "{seen:?}");
    let seen = run(&Link { reroute: Some((20, ms(100))), ..Link::default() }, ALONE, 40);
    assert!(seen.goodput(0, 22, 40) > 15.0 * MBIT, "{seen:?}");
}

/// The weak case: a queue of a tenth of the round trip gives too little delay to steer by.
#[test]
fn a_shallow_queue_is_overrun_by_no_more_than_a_tenth() {
    let seen = run(&Link { queue: ms(20), ..Link::default() }, ALONE, 60);
    assert!(seen.goodput(0, 10, 60) > 14.0 * MBIT, "{seen:?}");
    assert!(seen.overflow_share() < 0.10, "{seen:?}");
}

#[test]
fn a_fixed_rate_is_kept_under_loss_and_not_exceeded() {
    let pace = Pace::Fixed { bytes_per_second: 1_000_000 };
    let seen = run(&Link { loss: 0.02, ..Link::default() }, &[(pace, 0)], 40);
    let goodput = seen.goodput(0, 10, 40);
    assert!(goodput > 7.0 * MBIT && goodput <= 8.0 * MBIT, "{goodput}");
}

#[test]
fn fair_is_the_slow_one_on_a_long_lossy_link() {
    let seen = run(&Link { loss: 0.02, ..Link::default() }, &[(Pace::Fair, 0)], 40);
    assert!(seen.goodput(0, 10, 40) < 2.0 * MBIT, "{seen:?}");
}
