//! A task per outgoing link: when it runs. It decides nothing (`protocol::timetable` does), it only waits.

use std::sync::Arc;
use std::time::Duration;

use protocol::time::Instant;
use protocol::timetable::{Record, next_run};
use tokio::sync::Notify;

/// What a link's timetable is kept by.
#[derive(Debug, Clone)]
pub struct Due {
    /// Milliseconds between runs; none: only when told.
    pub every_ms: Option<u64>,
    pub record: Record,
    /// Somebody asked for a run.
    pub wanted: bool,
    pub paused: bool,
    pub wake: Arc<Notify>,
}

/// The link whose runs are kept.
pub trait Runs: Sync {
    /// How the link is set and how it went; nothing once it is removed.
    fn due(&self, link: &str) -> Option<Due>;

    /// Tells when the next run is due, in milliseconds from now, for people.
    fn announce(&self, link: &str, in_ms: Option<u64>);

    /// Runs the link once, to its end.
    fn run(&self, link: &str) -> impl Future<Output = ()> + Send;
}

/// Runs a link by its timetable until it is removed. One run at a time, however often it is asked for.
pub async fn keep(runs: &impl Runs, link: &str) {
    let mut spread: u64 = 0x9e37_79b9_7f4a_7c15;
    while let Some(due) = runs.due(link) {
        // The spread needs to differ from site to site, not to be unguessable.
        spread = spread.rotate_left(17).wrapping_mul(0x2545_f491_4f6c_dd1d) ^ u64::from(std::process::id());
        let wait_ms = if due.paused {
            None
        } else if due.wanted {
            Some(0)
        } else {
            next_run(Instant(0), due.every_ms, due.record, spread).map(|at| at.0)
        };
        runs.announce(link, wait_ms);
        let waited = match wait_ms {
            Some(0) => true,
            Some(ms) => tokio::time::timeout(Duration::from_millis(ms), due.wake.notified()).await.is_err(),
            None => {
                due.wake.notified().await;
                false
            }
        };
        if waited {
            runs.run(link).await;
        }
    }
}
