//! Running links, what their runs did, and the overview.

use protocol::fault::{Outcome, Reason};
use protocol::id::{BlobId, FeedId, RunId};
use protocol::package::Coordinate;
use protocol::session::tally::{Moved, Tally};
use protocol::switches::Verdict;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::carried::parked_by_quota;
use super::overview::verdict_word;
use super::problem::{not_found, outcome_words, reason_word, usage};
use super::sessions::{Watch, tell};
use super::{Node, locked};
use crate::api::{self, Problem};
use crate::keeper::wall_clock;
use crate::scheduler::{Due, Runs, Wanted};
use crate::store::{RunFeed, RunRecord, Trigger};
use crate::transport::pump::Command;

/// A step of something long: what, how much is done, of how much where that is known.
pub type Step = (String, u64, Option<u64>);

/// How a run can have ended, in words.
const OUTCOMES: [&str; 7] = ["done", "refused", "misbehaved", "interrupted", "disk-full", "fault", "running"];
/// Runs read at once while some are looked for.
const PAGE_RUNS: usize = 100;

impl Runs for Node {
    fn due(&self, link: &str) -> Option<Due> {
        let links = locked(&self.inner.links);
        links.get(link).map(|state| Due {
            every_ms: state.link.every_ms,
            record: state.record,
            severed: self.is_severed(state, &links),
            wanted: match state.wanted {
                None => None,
                Some(_) if state.outside => Some(Wanted::OutsideWindow),
                Some(Trigger::Manual) => Some(Wanted::Manual),
                Some(_) => Some(Wanted::News),
            },
            paused: state.link.paused,
            hours: super::hours::hours(&state.link, wall_clock()),
            wake: std::sync::Arc::clone(&state.wake),
        })
    }

    fn announce(&self, link: &str, in_ms: Option<u64>) {
        let next = in_ms.map(|ms| protocol::time::Timestamp(wall_clock().0.saturating_add(ms)));
        self.with_link(link, |state| state.next_run = next);
    }

    fn keep_pace(&self, link: &str) {
        self.pace_link(link);
    }

    fn cut(&self, link: &str) {
        tracing::info!(link, "the link's window closes: the run is ended and goes on in the next one");
        self.with_link(link, |state| {
            if let Some(commands) = &state.commands {
                tell(commands, Command::Close(Outcome::Interrupted));
            }
        });
    }

    async fn run(&self, link: &str) {
        // Taken before the run begins: who asks from here on asks for another run.
        let watch = self.with_link(link, |state| {
            state.begun_by = state.wanted.take();
            state.outside = false;
            state.begins = state.begins.saturating_add(1);
            state.watch.subscribe()
        });
        let Some(watch) = watch else { return };
        if self.run_by_twin(link).await {
            return;
        }
        match self.session(link).await {
            Ok(commands) => {
                self.with_link(link, |state| state.awaited = true);
                if commands.send(Command::Run).is_ok() {
                    ended(watch, 0, None).await;
                }
            }
            Err(error) => {
                tracing::info!(link, %error, "the other site was not reached");
                self.not_reached(link, &error);
            }
        }
    }
}

/// Waits for the end of a run that is counted after the first `after`, telling its steps meanwhile.
pub(super) async fn ended(
    mut watch: Receiver<Watch>,
    after: u64,
    steps: Option<&mpsc::Sender<Step>>,
) -> Option<(RunId, RunRecord)> {
    loop {
        match watch.recv().await {
            Ok(Watch::Ended(run, record, begins)) if begins > after => return Some((run, record)),
            Ok(Watch::Ended(..) | Watch::Forecast(_) | Watch::Up) => {}
            Ok(Watch::Progress(tally)) => {
                if let Some(steps) = steps {
                    let done = tally.content_in_bytes.saturating_add(tally.content_out_bytes);
                    // A step nobody has room for is followed by another.
                    drop(steps.try_send(("bytes".to_owned(), done, None)));
                }
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

impl Node {
    /// Runs one link, or all outgoing ones, and waits for their ends.
    ///
    /// # Errors
    /// There is no such link, it is paused, or it is incoming and the other site is not connected.
    pub async fn sync(
        &self,
        link: Option<String>,
        feed: Option<String>,
        outside_window: bool,
        steps: mpsc::Sender<Step>,
    ) -> Result<api::Runs, Problem> {
        let feed = match feed {
            Some(name) => Some(self.blocking(move |site| Ok(super::feeds::named(site, &name)?.0)).await?),
            None => None,
        };
        let mut names: Vec<String> = match link {
            Some(name) => vec![self.known_link(&name)?.name],
            None => self.runnable()?,
        };
        if let Some(feed) = feed {
            names.retain(|name| self.known_link(name).is_ok_and(|link| link.switches(feed).is_some()));
            if names.is_empty() {
                return Err(usage("no link that would run carries that feed")
                    .hint("`packetboat link show LINK` tells what a link carries"));
            }
        }
        let mut runs = Vec::new();
        for name in names {
            let _sent = steps.try_send((name.clone(), 0, None));
            let (run, record) = self.sync_one(&name, outside_window, &steps).await?;
            runs.push(self.with_quotas(run_told(run, &record)).await?);
        }
        Ok(api::Runs { runs })
    }

    /// A run that ended just now, with what quotas keep out of what its link brings.
    async fn with_quotas(&self, mut run: api::Run) -> Result<api::Run, Problem> {
        // One whose link was removed meanwhile brings nothing more.
        let Ok(link) = self.known_link(&run.link) else { return Ok(run) };
        let parked = self.blocking(move |site| Ok(parked_by_quota(site, &link)?)).await?;
        run.blobs_over_quota = parked;
        if parked > 0 && run.reason.is_none() {
            run.reason =
                Some(format!("{parked} blobs wait, for which a feed's quota at this site has no room"));
        }
        Ok(run)
    }

    /// The names of the links that run by themselves.
    ///
    /// # Errors
    /// There is none, or all are paused.
    pub(super) fn outgoing(&self) -> Result<Vec<String>, Problem> {
        let outgoing = self.link_names().into_values().filter(protocol::link::Link::is_outgoing);
        let (paused, run): (Vec<_>, Vec<_>) = outgoing.partition(|link| link.paused);
        if !run.is_empty() {
            return Ok(run.into_iter().map(|link| link.name).collect());
        }
        if paused.is_empty() {
            return Err(usage("this site dials no link")
                .hint("`packetboat pair accept TICKET` makes one that it dials"));
        }
        let paused: Vec<_> = paused.into_iter().map(|link| link.name).collect();
        let text = format!("all links that this site dials are paused: {}", paused.join(", "));
        Err(usage(text).hint("let one run again: packetboat link resume LINK"))
    }

    /// The links that run where none is named: those that this site dials, and where it dials none those that it is called over.
    fn runnable(&self) -> Result<Vec<String>, Problem> {
        let (dialled, called): (Vec<_>, Vec<_>) =
            self.link_names().into_values().partition(protocol::link::Link::is_outgoing);
        let called: Vec<_> = called.into_iter().filter(|link| !link.paused).map(|link| link.name).collect();
        if dialled.is_empty() && !called.is_empty() { Ok(called) } else { self.outgoing() }
    }

    pub(super) async fn sync_one(
        &self,
        name: &str,
        outside_window: bool,
        steps: &mpsc::Sender<Step>,
    ) -> Result<(RunId, RunRecord), Problem> {
        let link = self.known_link(name)?;
        let hours = super::hours::hours(&link, wall_clock());
        if !hours.open && !outside_window {
            let opens = hours.changes_in_minutes().map_or_else(String::new, |minutes| {
                format!("; it opens in {} h {} min", minutes / 60, minutes % 60)
            });
            let detail = format!("link {name:?} is outside its window{opens}");
            return Err(Problem::new(409, "refused", "The link's window is closed", detail)
                .hint("add --outside-window to run it all the same"));
        }
        if link.paused {
            let detail = format!("link {name:?} is paused");
            return Err(Problem::new(409, "refused", "The link is paused", detail)
                .hint(format!("packetboat link resume {name}")));
        }
        let watch = self.with_link(name, |state| (state.watch.subscribe(), state.begins));
        let (watch, after) = watch.ok_or_else(|| not_found("link", name))?;
        let twin = self.twin(name).filter(|_| {
            !link.is_outgoing() && self.with_link(name, |state| state.agreed.is_none()) == Some(true)
        });
        if let Some(twin) = twin {
            return Box::pin(self.sync_one(&twin.name, outside_window, steps)).await;
        }
        if link.is_outgoing() {
            self.with_link(name, |state| {
                state.outside = state.outside || outside_window;
                state.want(Trigger::Manual);
            });
        } else {
            let commands = self.with_link(name, |state| state.commands.clone()).flatten();
            let told = commands.is_some_and(|commands| commands.send(Command::Run).is_ok());
            if !told {
                let detail =
                    format!("{} opens the connection of link {name:?} and is not connected", link.peer_name);
                return Err(Problem::new(503, "unreachable", "The other site is not connected", detail)
                    .hint("run `packetboat sync` there"));
            }
        }
        ended(watch, after, Some(steps)).await.ok_or_else(|| {
            Problem::new(409, "conflict", "The link was removed", format!("link {name:?} is gone"))
        })
    }

    /// The newest runs, of one link or all, with one outcome or any.
    ///
    /// # Errors
    /// The outcome is none, or the disk fails.
    pub async fn runs(
        &self,
        link: Option<String>,
        outcome: Option<String>,
        limit: usize,
    ) -> Result<api::Runs, Problem> {
        if let Some(outcome) = &outcome
            && !OUTCOMES.contains(&outcome.as_str())
        {
            return Err(usage(format!("{outcome:?} is no outcome: use {}", OUTCOMES.join(", "))));
        }
        self.blocking(move |site| {
            let mut runs = Vec::new();
            let mut before = None;
            while runs.len() < limit {
                let page = site.store().runs(before, PAGE_RUNS)?;
                let Some((last, _)) = page.last() else { break };
                before = Some(*last);
                let of_link =
                    page.iter().filter(|(_, record)| link.as_ref().is_none_or(|link| *link == record.link));
                let told = of_link.map(|(run, record)| run_told(*run, record));
                runs.extend(
                    told.filter(|run| outcome.as_ref().is_none_or(|outcome| *outcome == run.outcome)),
                );
            }
            runs.truncate(limit);
            Ok(api::Runs { runs })
        })
        .await
    }

    /// One run.
    ///
    /// # Errors
    /// There is none of that id, or the disk fails.
    pub async fn run_record(&self, id: &str) -> Result<api::Run, Problem> {
        let run: RunId = id.parse().map_err(|error| usage(format!("{error}")))?;
        self.blocking(move |site| {
            let record = site.store().run(run)?.ok_or_else(|| not_found("run", &run.to_string()))?;
            Ok(run_told(run, &record))
        })
        .await
    }

    /// Pairing attempts of the last minute, this one included.
    pub(super) fn attempts_in_last_minute(&self) -> usize {
        let now = wall_clock().0;
        let mut attempts = locked(&self.inner.attempts);
        attempts.retain(|at| now.saturating_sub(*at) < 60_000);
        attempts.push(now);
        attempts.len()
    }
}

fn refusals(refused: &std::collections::BTreeMap<Reason, u64>) -> Vec<api::Refusal> {
    refused.iter().map(|(reason, ops)| api::Refusal { reason: reason_word(*reason), ops: *ops }).collect()
}

fn feed_told(on: &RunFeed) -> api::run::RunFeed {
    let reason = match on.verdict {
        Some(Verdict::Invalid(reason)) => Some(reason.to_string()),
        Some(Verdict::Warning { effective }) => Some(format!("only {effective} is allowed of what is asked")),
        Some(Verdict::NothingAsked | Verdict::Valid { .. }) | None => None,
    };
    api::run::RunFeed {
        feed: on.name.clone(),
        verdict: on.verdict.map(|verdict| verdict_word(verdict).to_owned()),
        reason,
        root_before: BlobId(on.before).to_string(),
        root_after: BlobId(on.after).to_string(),
    }
}

/// Names as `FEED/NAME@VERSION`, the feed by the name it had when the run began.
fn moved(record: &RunRecord, moved: &Moved) -> api::run::Moved {
    let named = |(feed, at): &(FeedId, Coordinate)| {
        let on = record.feeds.iter().find(|on| on.feed == *feed);
        format!("{}/{at}", on.map_or_else(|| feed.short(), |on| on.name.clone()))
    };
    api::run::Moved {
        adds: moved.adds,
        deletes: moved.deletes,
        other: moved.other,
        added: moved.added.iter().map(named).collect(),
        deleted: moved.deleted.iter().map(named).collect(),
    }
}

/// What the API tells of a run.
pub(super) fn run_told(id: RunId, record: &RunRecord) -> api::Run {
    let note = (!record.notes.is_empty()).then(|| record.notes.join("; "));
    let unfinished = || ("running".to_owned(), None);
    let words = |outcome: Outcome| outcome_words(outcome, note.as_deref());
    let (outcome, mut reason) = record.outcome.map_or_else(unfinished, words);
    let Tally { blobs_missing, .. } = record.tally;
    if blobs_missing > 0 {
        reason =
            Some(format!("{blobs_missing} blobs could not be had from the other site; they stay wanted"));
    }
    let tally = &record.tally;
    if outcome == "done" && tally.blobs_missing_there > 0 {
        reason = Some(format!(
            "{} blobs that the other site wants are not there: its quota has no room for them, or they are not here either",
            tally.blobs_missing_there
        ));
    }
    api::Run {
        id: id.to_string(),
        link: record.link.clone(),
        peer: record.peer.to_string(),
        trigger: match record.trigger {
            Trigger::Manual => "manual",
            Trigger::Interval => "interval",
            Trigger::Peer => "peer",
            Trigger::Live => "live",
            Trigger::Window => "window",
        }
        .to_owned(),
        started_ms: record.started.0,
        duration_ms: record.ended.map_or(0, |ended| ended.0.saturating_sub(record.started.0)),
        outcome,
        reason,
        feeds: record.feeds.iter().map(feed_told).collect(),
        ops_in: tally.ops_in,
        deletes_in: tally.came.deletes,
        ops_out: tally.ops_out,
        came: moved(record, &tally.came),
        went: moved(record, &tally.went),
        blobs_in: tally.blobs_in,
        blobs_missing,
        blobs_over_quota: 0,
        blobs_missing_there: tally.blobs_missing_there,
        content_in_bytes: tally.content_in_bytes,
        content_out_bytes: tally.content_out_bytes,
        frames_in_bytes: tally.frames_in_bytes,
        frames_out_bytes: tally.frames_out_bytes,
        round_trips: tally.round_trips,
        rtt_ms: record.rtt_ms,
        refused: refusals(&tally.refused),
        refused_there: refusals(&tally.refused_there),
    }
}
