//! Lanes on a clock that only moves when all wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::JoinSet;

use super::*;

const RATE: u64 = 250_000;

/// Lanes that pass chunks until they are dropped, and what they passed together.
fn lanes(throttle: &Arc<Throttle>, count: usize) -> (JoinSet<()>, Arc<AtomicU64>) {
    let passed = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let (throttle, passed) = (Arc::clone(throttle), Arc::clone(&passed));
        tasks.spawn(async move {
            loop {
                throttle.pass(CHUNK_BYTES).await;
                passed.fetch_add(CHUNK_BYTES as u64, Ordering::Relaxed);
            }
        });
    }
    (tasks, passed)
}

async fn virtual_seconds(seconds: u64) {
    tokio::time::timeout(Duration::from_secs(seconds), std::future::pending::<()>()).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn lanes_together_keep_the_cap_and_use_it() {
    for count in [1, 8] {
        let throttle = Arc::new(Throttle::new());
        throttle.set(Some(RATE));
        let (tasks, passed) = lanes(&throttle, count);
        virtual_seconds(20).await;
        let passed = passed.load(Ordering::Relaxed);
        assert!(
            (RATE * 20 * 85 / 100..=RATE * 20 * 105 / 100).contains(&passed),
            "{count} lanes passed {passed}"
        );
        drop(tasks);
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_rate_holds_at_once_for_those_who_wait() {
    let throttle = Arc::new(Throttle::new());
    throttle.set(Some(8));
    let (tasks, passed) = lanes(&throttle, 4);
    virtual_seconds(10).await;
    let slow = passed.load(Ordering::Relaxed);
    throttle.set(Some(RATE));
    virtual_seconds(10).await;
    let fast = passed.load(Ordering::Relaxed) - slow;
    // What was let pass on credit before is paid off first, at the new rate.
    assert!(slow <= 2 * CHUNK_BYTES as u64 && fast >= RATE * 10 * 85 / 100, "{slow} then {fast}");
    drop(tasks);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_wait_is_made_up_for_by_what_does() {
    let throttle = Arc::new(Throttle::new());
    throttle.set(Some(RATE));
    throttle.count(usize::try_from(RATE * 5).unwrap());
    let (tasks, passed) = lanes(&throttle, 2);
    virtual_seconds(10).await;
    let passed = passed.load(Ordering::Relaxed);
    assert!((RATE * 4..=RATE * 6).contains(&passed), "{passed}");
    drop(tasks);
}
