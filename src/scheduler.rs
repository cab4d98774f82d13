//! A task per outgoing link: when it runs. It decides nothing (`protocol::timetable` does), it only waits.

use std::sync::Arc;
use std::time::Duration;

use protocol::time::Instant;
use protocol::timetable::{Hours, Record, next_dial, next_run};
use tokio::sync::Notify;
use tokio::time;

#[cfg(test)]
mod tests;

/// How long what hangs on the machine's clock is trusted: somebody may set it.
const LOOK_AGAIN: Duration = Duration::from_secs(15 * 60);

/// How long a run that is set off by news waits for more of it, so that a burst of publishes is a few runs.
const GATHER: Duration = Duration::from_millis(50);

/// Why somebody asked for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Something is new. More may follow at once.
    News,
    /// A person waits.
    Manual,
    /// A person waits and said that the windows do not count.
    OutsideWindow,
}

/// What a link's timetable is kept by.
#[derive(Debug, Clone)]
pub struct Due {
    /// Milliseconds between runs; none: only when told, or when there is news.
    pub every_ms: Option<u64>,
    pub record: Record,
    /// News are to come at once, and there is no session over which they would.
    pub severed: bool,
    pub wanted: Option<Wanted>,
    pub paused: bool,
    pub hours: Hours,
    pub wake: Arc<Notify>,
}

/// The link whose runs are kept.
pub trait Runs: Sync {
    /// How the link is set and how it went; nothing once it is removed.
    fn due(&self, link: &str) -> Option<Due>;

    /// Tells when the next run is due, in milliseconds from now, for people.
    fn announce(&self, link: &str, in_ms: Option<u64>);

    /// Lets the link keep the pace of this hour.
    fn keep_pace(&self, link: &str);

    /// Runs the link once, to its end.
    fn run(&self, link: &str) -> impl Future<Output = ()> + Send;

    /// Ends the run that is going on: its window has closed.
    fn cut(&self, link: &str);
}

/// What comes next.
enum Next {
    Run,
    /// Run after that, unless something changes.
    RunIn(Duration),
    /// Nothing before that; look again then.
    LookIn(Duration),
    /// Nothing until somebody asks.
    Never,
}

/// When the interval is over, and what that follows from.
#[derive(Default)]
struct Interval {
    from: Option<(Option<u64>, Record, bool)>,
    ends: Option<time::Instant>,
    /// Until when more news are waited for.
    gathers: Option<time::Instant>,
}

impl Interval {
    /// Time left, counted from when the link's record last changed or its session ended.
    fn left(&mut self, due: &Due, spread: u64) -> Option<Duration> {
        // A link without an interval that was not reached is tried again after a while all the same, if there is news for it.
        let news = due.wanted == Some(Wanted::News) && due.record.failures > 0;
        let every_ms = due.every_ms.or_else(|| news.then_some(0));
        let from = (every_ms, due.record, due.severed);
        if self.from != Some(from) {
            let run = next_run(Instant(0), every_ms, due.record, spread);
            let dial = due.severed.then(|| next_dial(Instant(0), due.record, spread));
            let wait = run.into_iter().chain(dial).min();
            self.ends = wait.map(|at| time::Instant::now() + Duration::from_millis(at.0));
            self.from = Some(from);
        }
        self.ends.map(|ends| ends.saturating_duration_since(time::Instant::now()))
    }

    /// Time left to wait for more news, counted from the first.
    fn gathering(&mut self) -> Duration {
        let until = *self.gathers.get_or_insert_with(|| time::Instant::now() + GATHER);
        until.saturating_duration_since(time::Instant::now())
    }
}

fn next(due: &Due, left: Option<Duration>, interval: &mut Interval) -> Next {
    let hours = due.hours;
    let changes = hours.changes_in_ms.map(Duration::from_millis);
    let look = changes.unwrap_or(LOOK_AGAIN).min(LOOK_AGAIN);
    match (due.paused, due.wanted, left) {
        (true, _, _) => Next::Never,
        (false, Some(Wanted::OutsideWindow), _) => Next::Run,
        (false, _, _) if !hours.open => Next::LookIn(look),
        (false, Some(Wanted::Manual), _) => Next::Run,
        // A site that is away is not called for each piece of news.
        (false, Some(Wanted::News), Some(left)) if due.record.failures > 0 => Next::RunIn(left),
        (false, Some(Wanted::News), _) => Next::RunIn(interval.gathering()),
        (false, None, Some(left)) if left.is_zero() => Next::Run,
        (false, None, Some(left)) if changes.is_none() || left <= look => Next::RunIn(left),
        (false, None, None) if changes.is_none() => Next::Never,
        (false, None, _) => Next::LookIn(look),
    }
}

/// Runs a link by its timetable until it is removed. One run at a time, however often it is asked for.
pub async fn keep(runs: &impl Runs, link: &str) {
    let mut spread: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut interval = Interval::default();
    while let Some(due) = runs.due(link) {
        // The spread needs to differ from site to site, not to be unguessable.
        spread = spread.rotate_left(17).wrapping_mul(0x2545_f491_4f6c_dd1d) ^ u64::from(std::process::id());
        let left = interval.left(&due, spread);
        runs.announce(link, announced(&due, left));
        runs.keep_pace(link);
        let ready = match next(&due, left, &mut interval) {
            Next::Run => true,
            Next::RunIn(wait) => time::timeout(wait, due.wake.notified()).await.is_err(),
            Next::LookIn(wait) => {
                drop(time::timeout(wait, due.wake.notified()).await);
                false
            }
            Next::Never => {
                due.wake.notified().await;
                false
            }
        };
        if ready {
            within_hours(runs, link, due.wanted == Some(Wanted::OutsideWindow)).await;
            // The next interval counts from the end of this run, whatever came of it.
            interval = Interval::default();
        }
    }
}

/// Runs the link, and ends the run when its window closes.
async fn within_hours(runs: &impl Runs, link: &str, outside: bool) {
    let mut run = std::pin::pin!(runs.run(link));
    loop {
        let changes = runs.due(link).and_then(|due| due.hours.changes_in_ms);
        let look = changes.map_or(LOOK_AGAIN, Duration::from_millis);
        if time::timeout(look.min(LOOK_AGAIN), &mut run).await.is_ok() {
            return;
        }
        runs.keep_pace(link);
        if !outside && runs.due(link).is_some_and(|due| !due.hours.open) {
            runs.cut(link);
            return run.await;
        }
    }
}

/// Milliseconds until the next run that the timetable makes by itself.
fn announced(due: &Due, left: Option<Duration>) -> Option<u64> {
    if due.paused {
        return None;
    }
    let wait = if due.wanted.is_some() { Duration::ZERO } else { left? };
    let opens = match (due.hours.open, due.hours.changes_in_ms) {
        (true, _) => Duration::ZERO,
        (false, Some(ms)) => Duration::from_millis(ms),
        (false, None) => return None,
    };
    Some(u64::try_from(wait.max(opens).as_millis()).unwrap_or(u64::MAX))
}
