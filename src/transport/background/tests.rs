//! Tests of the law on a modelled link in virtual time: real quinn-proto connections share one bottleneck.

mod lab;

use std::time::Duration;

use super::super::settings::Pace;
use lab::{Link, run};

const MBIT: f64 = 1e6;

#[test]
fn two_percent_loss_at_200_ms_leaves_the_pipe_full_and_the_queue_dry() {
    let link = Link { rtt: Duration::from_millis(200), loss: 0.02, ..Link::default() };
    let seen = run(&link, &[(Pace::Background, 0)], 40);
    println!("{seen:?}");
    assert!(seen.goodput(0, 10, 40) > 15.0 * MBIT, "{seen:?}");
    assert!(seen.overflow_share() < 0.03, "{seen:?}");
}
