//! What the runs of this site's links did: the executions log, bounded.

use protocol::fault::Outcome;
use protocol::id::{FeedId, RunId, SiteId};
use protocol::session::tally::Tally;
use protocol::switches::Verdict;
use protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::keys;
use super::{ReadError, Shelf, Store, WriteError, locked};

/// Runs kept. At a run each minute this is a week.
pub const RUNS_MAX: u64 = 10_000;

/// Old runs removed with each new one, so that a lowered limit is reached by and by.
const REMOVED_AT_ONCE: usize = 4;

/// Newest runs among which a start looks for those that a kill cut short: each link has one under way at most.
const UNFINISHED_LOOKED_AT: usize = 256;

/// What sets off a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trigger {
    /// A person or script asked for it here.
    Manual,
    /// The link's interval.
    Interval,
    /// The other site.
    Peer,
    /// Something was appended and the link is live.
    Live,
    /// A window of the link opened.
    Window,
}

/// One run of one link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// This site's name for the link.
    pub link: String,
    pub peer: SiteId,
    pub started: Timestamp,
    /// Nothing while it runs. After a kill the next start notes its own time.
    pub ended: Option<Timestamp>,
    pub outcome: Option<Outcome>,
    pub trigger: Trigger,
    pub feeds: Vec<RunFeed>,
    pub tally: Tally,
    /// The connection's round-trip time at the end, in milliseconds; none where there was no connection.
    pub rtt_ms: Option<u64>,
    /// What a person should know of it.
    pub notes: Vec<String>,
}

/// One feed in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFeed {
    pub feed: FeedId,
    /// Its name here when the run began.
    pub name: String,
    /// Whether it could flow; none where the two never came to speak of it.
    pub verdict: Option<Verdict>,
    /// The root of the heads that may travel, before and after: equal at two sites that hold the same ops.
    pub before: [u8; 32],
    pub after: [u8; 32],
}

impl Store {
    /// Records the beginning of a run and gives it its id; ids rise. The oldest runs beyond [`RUNS_MAX`] are forgotten.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn begin_run(&self, record: &RunRecord) -> Result<RunId, ReadError> {
        let _one_at_a_time = locked(&self.inner.runs);
        let last = self.last_record_key(Shelf::Runs)?;
        let last = last.and_then(|key| key.try_into().ok()).map_or(0, u64::from_be_bytes);
        let number = last.saturating_add(1);
        let run = RunId(number.to_be_bytes());
        self.put_run(run, record).map_err(ReadError::Incomplete)?;
        for (key, _) in self.records(Shelf::Runs, &[], &[], REMOVED_AT_ONCE)? {
            let old = key.as_slice().try_into().map_or(0, u64::from_be_bytes);
            if old.saturating_add(RUNS_MAX) <= number {
                self.remove_record(Shelf::Runs, &key).map_err(ReadError::Incomplete)?;
            }
        }
        Ok(run)
    }

    /// Replaces what is recorded of a run.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn put_run(&self, run: RunId, record: &RunRecord) -> Result<(), WriteError> {
        self.put_record(Shelf::Runs, run.as_bytes(), &keys::encode(record))
    }

    /// Notes that runs which were under way ended with their program. A disk that refuses leaves them as they are.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn end_interrupted_runs(&self, now: Timestamp) -> Result<(), ReadError> {
        for (run, record) in self.runs(None, UNFINISHED_LOOKED_AT)? {
            if record.ended.is_none() {
                let ended = Some(now.max(record.started));
                let interrupted = RunRecord { ended, outcome: Some(Outcome::Interrupted), ..record };
                if let Err(error) = self.put_run(run, &interrupted) {
                    tracing::warn!(%error, "the end of a run could not be noted");
                }
            }
        }
        Ok(())
    }

    /// One run.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn run(&self, run: RunId) -> Result<Option<RunRecord>, ReadError> {
        self.record(Shelf::Runs, run.as_bytes())?.map(|value| self.understood(&value)).transpose()
    }

    /// At most `limit` runs, newest first, older than `before` if it is given.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn runs(&self, before: Option<RunId>, limit: usize) -> Result<Vec<(RunId, RunRecord)>, ReadError> {
        let last = self.last_record_key(Shelf::Runs)?;
        let newest = last.and_then(|key| key.try_into().ok()).map_or(0, u64::from_be_bytes);
        let end = before.map_or_else(|| newest.saturating_add(1), |run| u64::from_be_bytes(run.0));
        let mut runs = Vec::new();
        let mut number = end;
        // Ids are given one by one, so counting down meets each run that is kept.
        while runs.len() < limit && number > newest.saturating_sub(RUNS_MAX).max(1) {
            number = number.saturating_sub(1);
            let run = RunId(number.to_be_bytes());
            if let Some(record) = self.run(run)? {
                runs.push((run, record));
            }
        }
        Ok(runs)
    }
}
