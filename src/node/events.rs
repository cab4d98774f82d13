//! Events of this site: numbered, kept in memory, what matters on disk as well, and told to whoever listens.

mod kept;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use protocol::fault::{Outcome, Reason};
use protocol::id::{FeedId, LogId, RunId};
use protocol::limits::READER_BEHIND_MAX;
use protocol::link::Link;
use protocol::session::Agreed;
use protocol::switches::Verdict;
use tokio::sync::broadcast;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use super::overview::{switch_list, verdict_word};
use super::problem::{outcome_words, usage};
use super::{Node, locked};
use crate::api::Problem;
use crate::api::events as shapes;
use crate::events::{Event, KINDS, Recorded, Ring, Selection, Severity};
use crate::keeper::{SiteStore, wall_clock};
use crate::store::{ReadError, RunRecord, Shelf};

use kept::{AllAwaited, Keep, NUMBERS, is_kept, put_numbers};
pub(super) use kept::{Awaited, Keeping, kept_from, kept_page};

/// Numbers set aside with one write, which a restart may leave out.
const NUMBERS_AT_ONCE: u64 = 1024;

/// The site's events while the node runs.
#[derive(Debug)]
pub(super) struct Events {
    order: Mutex<Order>,
    told: broadcast::Sender<Arc<Recorded>>,
    /// To the one task that writes events.
    keep: UnboundedSender<Keep>,
    /// What webhooks wait for.
    awaited: AllAwaited,
    /// The number of the newest event on disk, while anything was written in this life.
    written: watch::Sender<u64>,
    /// True once readers are to leave.
    closing: watch::Sender<bool>,
}

#[derive(Debug)]
struct Order {
    next: u64,
    ring: Ring,
    /// How the last run of each link failed.
    failures: BTreeMap<String, Outcome>,
}

/// What a caller asks of events, in words.
///
/// # Errors
/// The severity or a kind is none.
pub(crate) fn asked_for(
    severity: Option<&str>,
    kinds: &str,
    link: Option<String>,
) -> Result<Selection, Problem> {
    let severity = severity.map(str::parse).transpose().map_err(|error| usage(format!("{error}")))?;
    let kinds: Vec<String> =
        kinds.split(',').map(str::trim).filter(|kind| !kind.is_empty()).map(Into::into).collect();
    if let Some(unknown) = kinds.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
        return Err(usage(format!("{unknown:?} is no kind of event: there are {}", KINDS.join(", "))));
    }
    Ok(Selection { severity, kinds, link, feed: None })
}

/// A reader of events that goes on: what it missed, then what comes.
#[derive(Debug)]
pub(crate) struct EventReader {
    pub(crate) missed: Vec<Arc<Recorded>>,
    /// Everything after the number asked for is in `missed`, severe or not.
    pub(crate) whole: bool,
    pub(crate) coming: broadcast::Receiver<Arc<Recorded>>,
    pub(crate) closing: watch::Receiver<bool>,
}

impl Events {
    /// Takes up the numbers where the last life of the node left them.
    pub(super) fn open(site: &SiteStore) -> Result<(Self, Keeping), ReadError> {
        let store = site.store();
        let set_aside = store.record(Shelf::Settings, NUMBERS)?;
        let next = set_aside.and_then(|value| value.try_into().ok()).map_or(1, u64::from_be_bytes);
        // Twice as many, because later writes are not waited for.
        let until = next.saturating_add(NUMBERS_AT_ONCE.saturating_mul(2));
        put_numbers(store, until).map_err(ReadError::Incomplete)?;
        let (keep, work) = unbounded_channel();
        let (awaited, written) = (AllAwaited::default(), watch::channel(0).0);
        let order = Order { next, ring: Ring::new(next), failures: BTreeMap::new() };
        let events = Self {
            order: Mutex::new(order),
            told: broadcast::channel(READER_BEHIND_MAX).0,
            keep,
            awaited: Arc::clone(&awaited),
            written: written.clone(),
            closing: watch::channel(false).0,
        };
        Ok((events, Keeping { store: store.clone(), work, awaited, written }))
    }

    fn add(&self, event: Event) -> Arc<Recorded> {
        let mut order = locked(&self.order);
        let number = order.next;
        order.next = number.saturating_add(1);
        if order.next.is_multiple_of(NUMBERS_AT_ONCE) {
            self.write(Keep::Numbers(order.next.saturating_add(NUMBERS_AT_ONCE.saturating_mul(2))));
        }
        let severity = event.severity();
        let recorded = Arc::new(Recorded { number, at_ms: wall_clock().0, severity, event });
        order.ring.push(Arc::clone(&recorded));
        if is_kept(&recorded, &self.awaited) {
            self.write(Keep::Event(Arc::clone(&recorded)));
        }
        // Nobody listening is no failure. Told under the lock, so that a reader misses none between its backlog and this.
        drop(self.told.send(Arc::clone(&recorded)));
        recorded
    }

    fn write(&self, work: Keep) {
        if self.keep.send(work).is_err() {
            tracing::error!("the task that keeps events is gone: events stay in memory only");
        }
    }

    /// From now on, every event that is asked for goes to disk. `from`: the cursor and count of lost events of an earlier life.
    pub(super) fn await_for(
        &self,
        webhook: &str,
        selection: Selection,
        from: Option<(u64, u64)>,
    ) -> Arc<Awaited> {
        // Under the lock, so that no event comes between the cursor and the promise.
        let order = locked(&self.order);
        let (cursor, lost) = from.unwrap_or_else(|| (order.next.saturating_sub(1), 0));
        let (cursor, lost) = (AtomicU64::new(cursor), AtomicU64::new(lost));
        let awaited = Arc::new(Awaited { selection, cursor, lost });
        locked(&self.awaited).insert(webhook.to_owned(), Arc::clone(&awaited));
        awaited
    }

    /// A webhook is done with an event.
    pub(super) fn delivered(&self, recorded: Arc<Recorded>) {
        self.write(Keep::Delivered(recorded));
    }

    /// Nobody waits any longer.
    pub(super) fn forget_awaited(&self, webhook: &str) {
        locked(&self.awaited).remove(webhook);
    }

    /// Changes with each event that goes to disk.
    pub(super) fn written(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    /// Whether a run failed as the one before it on the link did.
    fn repeats(&self, link: &str, outcome: Outcome) -> bool {
        let mut order = locked(&self.order);
        if outcome == Outcome::Done {
            order.failures.remove(link);
            return false;
        }
        order.failures.insert(link.to_owned(), outcome) == Some(outcome)
    }
}

impl Node {
    /// Records something that happened and tells whoever listens. Never waits for the disk.
    pub(crate) fn event(&self, event: Event) {
        let recorded = self.inner.events.add(event);
        let (event, number, kind) = (recorded.event.sentence(), recorded.number, recorded.event.kind());
        match recorded.severity {
            Severity::Info => tracing::info!(number, kind, "{event}"),
            Severity::Warning => tracing::warn!(number, kind, "{event}"),
            Severity::Error => tracing::error!(number, kind, "{event}"),
        }
    }

    /// Follows the events after a number; none means from now on.
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) async fn read_events(&self, after: Option<u64>) -> Result<EventReader, Problem> {
        let (backlog, begins, coming) = {
            let order = locked(&self.inner.events.order);
            let after = after.unwrap_or(u64::MAX);
            (order.ring.after(after), order.ring.begins(), self.inner.events.told.subscribe())
        };
        let closing = self.inner.events.closing.subscribe();
        let mut missed = Vec::new();
        if let (Some(after), false) = (after, backlog.whole) {
            let from = after.saturating_add(1);
            missed = self.blocking(move |site| Ok(kept_from(site.store(), from, begins)?)).await?;
        }
        missed.extend(backlog.events);
        Ok(EventReader { missed, whole: backlog.whole, coming, closing })
    }

    /// The newest events of a kind, newest first: all that are in memory, and the warnings and errors before them.
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) async fn recent_events(
        &self,
        selection: Selection,
        limit: usize,
    ) -> Result<shapes::Events, Problem> {
        let reader = self.read_events(Some(0)).await?;
        let taken = reader.missed.iter().rev().filter(|recorded| selection.takes(recorded)).take(limit);
        Ok(shapes::Events { events: taken.map(|recorded| self.event_told(recorded)).collect() })
    }

    /// What the API tells of an event.
    pub(crate) fn event_told(&self, recorded: &Recorded) -> shapes::Event {
        let json = serde_json::to_value(&recorded.event).unwrap_or_default();
        shapes::Event {
            number: recorded.number,
            at_ms: recorded.at_ms,
            severity: recorded.severity.word().to_owned(),
            kind: recorded.event.kind().to_owned(),
            site: self.me().to_string(),
            site_name: self.inner.name.clone(),
            text: recorded.event.sentence(),
            fields: json.get("fields").cloned().unwrap_or_default(),
        }
    }

    /// Sends readers away, so that their open answers do not hold up the stop.
    pub(crate) fn end_event_readers(&self) {
        self.inner.events.closing.send_replace(true);
    }

    /// Waits until every warning and error so far is on disk.
    pub(crate) async fn events_kept(&self) {
        let (told, done) = tokio::sync::oneshot::channel();
        self.inner.events.write(Keep::Flushed(told));
        if done.await.is_err() {
            tracing::warn!("the last events may not be on disk");
        }
    }

    /// A run ended.
    pub(super) fn run_is_over(&self, run: RunId, record: &RunRecord) {
        let Some(outcome) = record.outcome else { return };
        let repeated = self.inner.events.repeats(&record.link, outcome);
        let (link, run, tally) = (record.link.clone(), run.to_string(), &record.tally);
        let feeds = record.feeds.iter().map(|on| on.name.clone()).collect();
        if outcome == Outcome::Done {
            return self.event(Event::RunEnded {
                link,
                run,
                feeds,
                ops_in: tally.ops_in,
                deletes_in: tally.came.deletes,
                ops_out: tally.ops_out,
                blobs_in: tally.blobs_in,
                blobs_missing: tally.blobs_missing,
                content_in_bytes: tally.content_in_bytes,
                content_out_bytes: tally.content_out_bytes,
                duration_ms: record.ended.map_or(0, |ended| ended.0.saturating_sub(record.started.0)),
            });
        }
        let note = (!record.notes.is_empty()).then(|| record.notes.join("; "));
        let (outcome, reason) = outcome_words(outcome, note.as_deref());
        self.event(Event::RunFailed { link, run, feeds, outcome, reason, repeated });
    }

    /// Both ends of a link agreed.
    pub(super) fn link_is_up(&self, link: &str, agreed: &Agreed) {
        let peer = self.with_link(link, |state| state.link.peer.to_string()).unwrap_or_default();
        let peer_name = agreed.peer_name.clone();
        self.event(Event::LinkUp { link: link.to_owned(), peer, peer_name });
    }

    /// A link's session is over.
    pub(super) fn link_is_down(&self, link: &Link, closed: Outcome) {
        if closed == Outcome::Refused(Reason::GrantWithdrawn) {
            self.forget_notes(link);
        }
        let (word, reason) = outcome_words(closed, None);
        let outcome = reason.map_or_else(|| word.clone(), |reason| format!("{word}, {reason}"));
        self.event(Event::LinkDown { link: link.name.clone(), outcome });
    }

    /// An author's two histories came to light.
    pub(super) fn fork_seen(&self, link: &str, log: LogId) {
        let (link, author) = (link.to_owned(), log.author.to_string());
        self.event(Event::ForkSeen { link, feed: self.feed_label(log.feed), author });
    }

    /// A feed's name here, or the start of its id.
    pub(super) fn feed_label(&self, feed: FeedId) -> String {
        super::feeds::label(&self.inner.site, feed).unwrap_or_else(|_unreadable| feed.short())
    }

    /// What may flow of a feed is not what it was.
    pub(super) fn verdict_changed(&self, link: &str, feed: FeedId, from: Option<Verdict>, to: Verdict) {
        let reason = match to {
            Verdict::Invalid(reason) => Some(reason.to_string()),
            Verdict::Warning { effective } => Some(format!("only {} is allowed", switch_list(effective))),
            Verdict::Valid { .. } | Verdict::NothingAsked => None,
        };
        self.event(Event::VerdictChanged {
            link: link.to_owned(),
            feed: self.feed_label(feed),
            from: from.map(|from| verdict_word(from).to_owned()),
            to: verdict_word(to).to_owned(),
            reason,
        });
    }
}
