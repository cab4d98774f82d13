//! Tests of single rules of the law, a round at a time.

use super::super::*;

const MTU: u64 = 1_000;

fn steady(window: u64) -> (Flow, Instant) {
    let now = Instant::now();
    let mut flow = Flow::new(now, 1_000);
    flow.phase = Phase::Steady;
    flow.window = window;
    flow.base.observe(now, Duration::from_millis(100));
    (flow, now)
}

fn round(flow: &mut Flow, now: Instant, rtt_ms: u64, acked: u64, limited: u64) {
    flow.round = Round::new(now);
    flow.round.acked = acked;
    flow.round.acked_limited = limited;
    flow.round.least = Duration::from_millis(rtt_ms);
    flow.round.peak = flow.round.least;
    flow.end_round(now);
}

#[test]
fn the_window_grows_below_the_target_and_shrinks_above_it() {
    let (mut flow, now) = steady(100 * MTU);
    round(&mut flow, now, 100, 100 * MTU, 0);
    assert!(flow.window > 100 * MTU);
    let (mut flow, now) = steady(100 * MTU);
    round(&mut flow, now, 150, 100 * MTU, 0);
    assert!(flow.window <= 90 * MTU && flow.window >= 80 * MTU, "{}", flow.window);
}

#[test]
fn a_round_the_application_did_not_fill_grows_nothing() {
    let (mut flow, now) = steady(100 * MTU);
    round(&mut flow, now, 100, 10 * MTU, 10 * MTU);
    assert_eq!(flow.window, 100 * MTU);
}

#[test]
fn seven_percent_loss_is_ignored_and_nine_is_not() {
    for (lost, ignored) in [(7, true), (9, false)] {
        let (mut flow, now) = steady(100 * MTU);
        flow.loss.lost = lost * MTU;
        round(&mut flow, now, 100, (100 - lost) * MTU, 0);
        assert_eq!(flow.window > 100 * MTU, ignored, "{lost}");
        assert!(ignored || flow.window == 70 * MTU);
    }
}

#[test]
fn the_window_never_falls_below_four_packets() {
    let (mut flow, now) = steady(5 * MTU);
    for _ in 0..20 {
        round(&mut flow, now, 500, 4 * MTU, 0);
    }
    assert_eq!(flow.window, WINDOW_PACKETS_MIN * MTU);
}

#[test]
fn the_base_forgets_after_five_minutes() {
    let start = Instant::now();
    let mut base = Base::default();
    base.observe(start, Duration::from_millis(10));
    for second in 1..=300 {
        base.observe(start + Duration::from_secs(second), Duration::from_millis(50));
        assert_eq!(base.least(), Some(Duration::from_millis(if second < 300 { 10 } else { 50 })), "{second}");
    }
}
