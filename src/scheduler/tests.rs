//! A timetable on a clock that moves only while all wait.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use protocol::fault::Outcome;

use super::*;

/// A link whose runs take `takes`, and a window that is open in a part of each hour.
struct Clockwork {
    began: time::Instant,
    every_ms: Option<u64>,
    severed: AtomicBool,
    wanted: Mutex<Option<Wanted>>,
    wake: Arc<Notify>,
    takes: Duration,
    /// Open in the first so many minutes of each hour.
    open_minutes: u64,
    record: Mutex<Record>,
    runs: Mutex<Vec<(u64, bool)>>,
    running: AtomicBool,
    cut: Notify,
    removed_after: AtomicU64,
}

impl Clockwork {
    fn new(every_ms: Option<u64>, open_minutes: u64, takes: Duration) -> Self {
        Self {
            began: time::Instant::now(),
            every_ms,
            severed: AtomicBool::new(false),
            wanted: Mutex::new(None),
            wake: Arc::new(Notify::new()),
            takes,
            open_minutes,
            record: Mutex::new(Record::default()),
            runs: Mutex::new(Vec::new()),
            running: AtomicBool::new(false),
            cut: Notify::new(),
            removed_after: AtomicU64::new(u64::MAX),
        }
    }

    fn minutes(&self) -> u64 {
        self.began.elapsed().as_secs() / 60
    }

    fn want(&self, wanted: Wanted) {
        *self.wanted.lock().unwrap() = Some(wanted);
        self.wake.notify_one();
    }

    /// Minutes at which runs began, and whether they were cut.
    fn began_at(&self) -> Vec<(u64, bool)> {
        self.runs.lock().unwrap().clone()
    }
}

impl Runs for Clockwork {
    fn due(&self, _link: &str) -> Option<Due> {
        let of_hour_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap() % 3_600_000;
        let open_ms = self.open_minutes * 60_000;
        let open = of_hour_ms < open_ms;
        let changes = if open { open_ms - of_hour_ms } else { 3_600_000 - of_hour_ms };
        let changes = (self.open_minutes < 60).then_some(changes);
        (self.minutes() < self.removed_after.load(Ordering::Relaxed)).then(|| Due {
            every_ms: self.every_ms,
            record: *self.record.lock().unwrap(),
            severed: self.severed.load(Ordering::Relaxed),
            wanted: *self.wanted.lock().unwrap(),
            paused: false,
            hours: Hours { open, changes_in_ms: changes, cap_bytes_per_s: None },
            wake: Arc::clone(&self.wake),
        })
    }

    fn announce(&self, _link: &str, _in_ms: Option<u64>) {}

    fn keep_pace(&self, _link: &str) {}

    async fn run(&self, _link: &str) {
        assert!(!self.running.swap(true, Ordering::Relaxed), "two runs at once");
        *self.wanted.lock().unwrap() = None;
        self.severed.store(false, Ordering::Relaxed);
        let began = self.minutes();
        let cut = tokio::select! {
            () = passed(self.takes) => false,
            () = self.cut.notified() => true,
        };
        self.runs.lock().unwrap().push((began, cut));
        let mut record = self.record.lock().unwrap();
        *record = record.after(if cut { Outcome::Interrupted } else { Outcome::Done });
        drop(record);
        self.running.store(false, Ordering::Relaxed);
    }

    fn cut(&self, _link: &str) {
        self.cut.notify_one();
    }
}

/// Time of the clock that moves while all wait.
async fn passed(span: Duration) {
    drop(time::timeout(span, std::future::pending::<()>()).await);
}

async fn virtual_minutes(link: &Clockwork, minutes: u64) {
    drop(time::timeout(Duration::from_secs(minutes * 60), keep(link, "link")).await);
}

#[tokio::test(start_paused = true)]
async fn a_link_runs_at_its_interval_however_often_its_hours_are_looked_at() {
    let link = Clockwork::new(Some(60 * 60_000), 60, Duration::from_secs(1));
    virtual_minutes(&link, 5 * 60).await;
    let began = link.began_at();
    assert!((5..=6).contains(&began.len()), "{began:?}");
}

#[tokio::test(start_paused = true)]
async fn a_link_runs_in_its_window_only_and_is_cut_when_that_closes() {
    let link = Clockwork::new(Some(5 * 60_000), 20, Duration::from_secs(12 * 60));
    virtual_minutes(&link, 4 * 60).await;
    let began = link.began_at();
    assert!(began.iter().all(|(at, _)| at % 60 < 20), "{began:?}");
    assert!(began.iter().any(|(_, cut)| *cut) && began.iter().any(|(_, cut)| !*cut), "{began:?}");
    assert!(
        began.iter().filter(|(at, _)| at % 60 == 0).count() >= 3,
        "each opening is used at once: {began:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_person_may_run_a_link_outside_its_window() {
    let link = Clockwork::new(None, 10, Duration::from_secs(60));
    virtual_minutes(&link, 30).await;
    link.want(Wanted::Manual);
    virtual_minutes(&link, 5).await;
    assert_eq!(link.began_at(), []);
    link.want(Wanted::OutsideWindow);
    virtual_minutes(&link, 5).await;
    assert_eq!(link.began_at(), [(35, false)]);
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_news_is_a_few_runs_and_the_last_news_is_never_left_out() {
    let link = Arc::new(Clockwork::new(None, 60, Duration::from_millis(20)));
    let burst = Arc::clone(&link);
    let news = tokio::spawn(async move {
        for _ in 0..300 {
            burst.want(Wanted::News);
            passed(Duration::from_millis(1)).await;
        }
    });
    virtual_minutes(&link, 1).await;
    news.await.unwrap();
    let runs = link.began_at().len();
    assert!((1..=8).contains(&runs), "{runs} runs");
    assert_eq!(*link.wanted.lock().unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_link_without_an_interval_runs_again_once_its_session_ended() {
    let link = Clockwork::new(None, 60, Duration::from_secs(1));
    virtual_minutes(&link, 30).await;
    assert_eq!(link.began_at(), []);
    link.severed.store(true, Ordering::Relaxed);
    virtual_minutes(&link, 30).await;
    assert_eq!(link.began_at(), [(30, false)]);
}
