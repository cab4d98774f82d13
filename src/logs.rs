//! The level of this process's log lines: set at the start, raised while the node runs, and back again by itself.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, reload};

/// How long the level may be raised at most: a day of debug lines fills a small disk.
pub const RAISED_MS_MAX: u64 = 24 * 3_600_000;

/// Takes a filter up.
type Apply = Box<dyn Fn(Targets) -> Result<(), String> + Send + Sync>;

static RUNNING: OnceLock<Logs> = OnceLock::new();

/// Why the level was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LevelError {
    #[error("{0:?} is no level: use error, warn, info, debug or trace, or TARGET=LEVEL with commas between")]
    Filter(String),
    #[error("the level can be raised for a day at most")]
    TooLong,
    #[error("the logs cannot be changed: {0}")]
    Apply(String),
}

/// What is written at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    /// As the settings say.
    pub configured: String,
    /// As it is now.
    pub now: String,
    /// For how long it stays so.
    pub left: Option<Duration>,
}

/// The log lines of this process. Clones are the same.
#[derive(Clone)]
pub struct Logs {
    inner: Arc<Inner>,
}

struct Inner {
    configured: String,
    apply: Apply,
    raised: Mutex<Option<Raised>>,
}

struct Raised {
    filter: String,
    until: tokio::time::Instant,
}

/// Reads a filter: levels, and levels of targets, with commas between. A bare word is no target, of which all would be written.
#[must_use]
pub fn parse(filter: &str) -> Option<Targets> {
    filter.split(',').try_fold(Targets::new(), |targets, part| {
        let (target, level) =
            part.split_once('=').map_or((None, part), |(target, level)| (Some(target), level));
        let (target, level) = (target.map(str::trim), level.trim());
        // The library takes no level for one, and numbers too.
        let level = level.parse::<LevelFilter>().ok().filter(|_| level.starts_with(char::is_alphabetic))?;
        match target {
            None => Some(targets.with_default(level)),
            Some("") => None,
            Some(target) => Some(targets.with_target(target, level)),
        }
    })
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logs").field("configured", &self.inner.configured).finish_non_exhaustive()
    }
}

/// Sends log lines to standard error, as far as `filter` lets them.
///
/// # Errors
/// Something else in this process takes the log lines.
pub fn start(filter: &str) -> Result<(), String> {
    let (layer, handle) = reload::Layer::new(parse(filter).unwrap_or_default());
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_target(false);
    tracing_subscriber::registry()
        .with(lines.with_filter(layer))
        .try_init()
        .map_err(|error| error.to_string())?;
    let apply = move |filter| handle.reload(filter).map_err(|error| error.to_string());
    // A second start fails above.
    RUNNING.get_or_init(|| Logs::new(filter, Box::new(apply)));
    Ok(())
}

/// The log lines of this process, where it writes any.
#[must_use]
pub fn running() -> Option<&'static Logs> {
    RUNNING.get()
}

impl Logs {
    fn new(configured: &str, apply: Apply) -> Self {
        let inner = Inner { configured: configured.to_owned(), apply, raised: Mutex::new(None) };
        Self { inner: Arc::new(inner) }
    }

    fn raised(&self) -> MutexGuard<'_, Option<Raised>> {
        self.inner.raised.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is written at this moment.
    #[must_use]
    pub fn level(&self) -> Level {
        let configured = self.inner.configured.clone();
        match &*self.raised() {
            None => Level { now: configured.clone(), configured, left: None },
            Some(raised) => {
                let left = raised.until.saturating_duration_since(tokio::time::Instant::now());
                Level { configured, now: raised.filter.clone(), left: Some(left) }
            }
        }
    }

    /// Changes the level for a while. Must be called inside a tokio runtime, which changes it back.
    ///
    /// # Errors
    /// See [`LevelError`]; the level is then as before.
    pub fn raise(&self, filter: &str, life: Duration) -> Result<(), LevelError> {
        if life > Duration::from_millis(RAISED_MS_MAX) {
            return Err(LevelError::TooLong);
        }
        let parsed = parse(filter).ok_or_else(|| LevelError::Filter(filter.to_owned()))?;
        let until = tokio::time::Instant::now() + life;
        {
            let mut raised = self.raised();
            (self.inner.apply)(parsed).map_err(LevelError::Apply)?;
            *raised = Some(Raised { filter: filter.to_owned(), until });
        }
        tracing::warn!(filter, seconds = life.as_secs(), "the log level is changed for a while");
        let logs = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(until).await;
            logs.end(|raised| raised.until == until);
        });
        Ok(())
    }

    /// Goes back to the level of the settings.
    pub fn reset(&self) {
        self.end(|_| true);
    }

    fn end(&self, which: impl Fn(&Raised) -> bool) {
        let mut raised = self.raised();
        if !raised.as_ref().is_some_and(which) {
            return;
        }
        *raised = None;
        let filter = parse(&self.inner.configured).unwrap_or_default();
        if let Err(error) = (self.inner.apply)(filter) {
            tracing::error!(error, "the log level cannot be changed back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs() -> (Logs, Arc<Mutex<Vec<String>>>) {
        let applied: Arc<Mutex<Vec<String>>> = Arc::default();
        let into = Arc::clone(&applied);
        let apply = move |filter: Targets| {
            into.lock().unwrap().push(filter.to_string());
            Ok(())
        };
        (Logs::new("warn", Box::new(apply)), applied)
    }

    /// Row 58.
    #[tokio::test(start_paused = true)]
    async fn a_raised_level_goes_back_by_itself_and_a_later_one_outlives_an_earlier_one() {
        let (logs, applied) = logs();
        logs.raise("debug", Duration::from_secs(60)).unwrap();
        assert_eq!((logs.level().now.as_str(), logs.level().configured.as_str()), ("debug", "warn"));
        logs.raise("trace", Duration::from_secs(600)).unwrap();
        tokio::time::advance(Duration::from_secs(61)).await;
        tokio::task::yield_now().await;
        assert_eq!(logs.level().now, "trace");
        tokio::time::advance(Duration::from_secs(600)).await;
        tokio::task::yield_now().await;
        assert_eq!(logs.level(), Level { configured: "warn".into(), now: "warn".into(), left: None });
        assert_eq!(*applied.lock().unwrap(), ["debug", "trace", "warn"]);
    }

    #[test]
    fn a_filter_is_levels_of_all_and_of_targets_with_blanks_or_without() {
        for blank in ["", " ", "\u{a0}", "\u{3000}\t"] {
            let filter = parse(&format!("{blank}web{blank}={blank}debug{blank},{blank}warn{blank}")).unwrap();
            assert_eq!(filter.to_string(), "web=debug,warn", "{blank:?}");
        }
        for bad in ["", "\u{a0}", "\u{a0}=", "=debug", "3", "web=", "[span{field=3}]=debug=", "debug,,warn"] {
            assert!(parse(bad).is_none(), "{bad:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_level_or_too_long_changes_nothing() {
        let (logs, applied) = logs();
        assert_eq!(logs.raise("a=b=c", Duration::from_secs(1)), Err(LevelError::Filter("a=b=c".into())));
        for bad in [" ", "loud", "packetboat=", "packetboat=loud", "debug,"] {
            assert_eq!(logs.raise(bad, Duration::from_secs(1)), Err(LevelError::Filter(bad.into())));
        }
        let long = Duration::from_millis(RAISED_MS_MAX + 1);
        assert_eq!(logs.raise("debug", long), Err(LevelError::TooLong));
        logs.reset();
        assert!(applied.lock().unwrap().is_empty());
    }
}
