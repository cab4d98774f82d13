//! Deliveries of one webhook: in order, each until it is taken or given up, from a cursor that outlives the process.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Hook, Node, Progress, put_progress, unkept};
use crate::api::Schema;
use crate::events::{Event, Recorded};
use crate::keeper::wall_clock;
use crate::node::events::kept_page;
use crate::node::{Inner, locked, random};
use crate::store::ReadError;
use crate::webhook::pace::{Next, after_failure};
use crate::webhook::post::{PostError, Poster};
use crate::webhook::secret::{LoadSecretError, Secret};

/// How long a webhook waits after the disk failed under it.
const DISK_PAUSE: Duration = Duration::from_secs(30);

/// A message as it is sent, with the same id at every attempt, in a later life of the node too.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) id: String,
    body: Bytes,
}

impl Message {
    fn new(hook: &Hook, number: &str, kind: &str, at_ms: u64, data: &serde_json::Value) -> Self {
        let at = i64::try_from(at_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        let body = json!({ "type": kind, "timestamp": at.unwrap_or_default().to_string(), "data": data });
        Self { id: format!("msg_{}_{number}", hook.id), body: Bytes::from(body.to_string()) }
    }

    fn of_event(node: &Node, hook: &Hook, recorded: &Recorded) -> Self {
        let data = serde_json::to_value(node.event_told(recorded).answer()).unwrap_or_default();
        Self::new(hook, &recorded.number.to_string(), recorded.event.kind(), recorded.at_ms, &data)
    }

    /// A message that tells of nothing.
    pub(super) fn test(node: &Node, hook: &Hook, number: &str) -> Self {
        let site = node.site();
        let data = json!({ "site": site.id, "site_name": site.name, "webhook": hook.id });
        Self::new(hook, &format!("test_{number}"), "webhook-test", wall_clock().0, &data)
    }

    pub(super) async fn send(
        &self,
        poster: &Poster,
        hook: &Hook,
        secret: &Secret,
    ) -> Result<StatusCode, PostError> {
        poster.post(&hook.to, secret, &self.id, wall_clock().0 / 1000, self.body.clone()).await
    }
}

/// Why an attempt came to nothing.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error(transparent)]
    Secret(#[from] LoadSecretError),
    #[error(transparent)]
    Post(#[from] PostError),
    #[error("the node is busy: {0}")]
    Worker(#[from] tokio::task::JoinError),
}

/// What a webhook keeps in mind between attempts.
#[derive(Debug, Default)]
struct Run {
    /// Attempts in a row that failed, and when the first of them did.
    failures: u32,
    since: Option<Instant>,
}

/// Delivers until the webhook is removed or the node stops. Holds the node only while it reads or writes.
pub(super) async fn deliver(inner: Weak<Inner>, hook: Arc<Hook>, mut written: watch::Receiver<u64>) {
    let mut run = Run::default();
    while one_round(&inner, &hook, &mut written, &mut run).await {}
}

/// Nothing where the webhook is gone first.
async fn unless_gone<T>(hook: &Hook, work: impl Future<Output = T>) -> Option<T> {
    let mut gone = hook.gone.subscribe();
    tokio::select! {
        biased;
        _ = gone.wait_for(|gone| *gone) => None,
        done = work => Some(done),
    }
}

/// Delivers what a page of the record holds, else waits for more. False: it is over, as everywhere here.
async fn one_round(
    inner: &Weak<Inner>,
    hook: &Arc<Hook>,
    written: &mut watch::Receiver<u64>,
    run: &mut Run,
) -> bool {
    // Before the read, so that what is written during it is seen by the next one.
    written.borrow_and_update();
    let page = match read_page(inner, hook.cursor()).await {
        None => return false,
        Some(Ok(page)) => page,
        Some(Err(error)) => {
            tracing::warn!(webhook = hook.id, %error, "the events for a webhook cannot be read");
            return unless_gone(hook, tokio::time::sleep(DISK_PAUSE)).await.is_some();
        }
    };
    let (events, next) = page;
    for recorded in events {
        if hook.awaited.selection.takes(&recorded) && !until_done(inner, hook, &recorded, run).await {
            return false;
        }
        hook.awaited.cursor.fetch_max(recorded.number, Ordering::Relaxed);
    }
    next.is_some() || matches!(unless_gone(hook, written.changed()).await, Some(Ok(())))
}

type Page = Result<(Vec<Arc<Recorded>>, Option<u64>), ReadError>;

async fn read_page(inner: &Weak<Inner>, cursor: u64) -> Option<Page> {
    let store = inner.upgrade()?.site.store().clone();
    tokio::task::spawn_blocking(move || kept_page(&store, cursor.saturating_add(1))).await.ok()
}

/// Offers one event until it is taken or given up.
async fn until_done(inner: &Weak<Inner>, hook: &Arc<Hook>, recorded: &Arc<Recorded>, run: &mut Run) -> bool {
    loop {
        let Some(sending) = inner.upgrade() else { return false };
        let poster = sending.hooks.poster();
        let message = Message::of_event(&Node { inner: sending }, hook, recorded);
        let error = match unless_gone(hook, attempt(&poster, hook, &message)).await {
            None => return false,
            Some(Ok(())) => {
                *run = Run::default();
                return done(inner, hook, recorded, None).await;
            }
            Some(Err(error)) => error,
        };
        let next = run.failed(recorded.at_ms);
        tracing::debug!(webhook = hook.id, message = message.id, %error, wait_ms = next.wait_ms, "not delivered");
        if !note_failure(inner, hook, &error.to_string(), next).await {
            return false;
        }
        if next.give_up && !done(inner, hook, recorded, Some(&error)).await {
            return false;
        }
        let slept = unless_gone(hook, tokio::time::sleep(Duration::from_millis(next.wait_ms))).await;
        if slept.is_none() || next.give_up {
            return slept.is_some();
        }
    }
}

impl Run {
    fn failed(&mut self, at_ms: u64) -> Next {
        self.failures = self.failures.saturating_add(1);
        let since = *self.since.get_or_insert_with(Instant::now);
        let failing_for_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let chance = random::<8>().map_or(0, u64::from_le_bytes);
        after_failure(self.failures, failing_for_ms, wall_clock().0.saturating_sub(at_ms), chance)
    }
}

async fn attempt(poster: &Poster, hook: &Arc<Hook>, message: &Message) -> Result<(), AttemptError> {
    let file = hook.secret_file.clone();
    let secret = tokio::task::spawn_blocking(move || Secret::load(&file)).await??;
    message.send(poster, hook, &secret).await?;
    Ok(())
}

/// Takes note that the receiver has a message, or never will.
async fn done(
    inner: &Weak<Inner>,
    hook: &Arc<Hook>,
    recorded: &Arc<Recorded>,
    given_up: Option<&AttemptError>,
) -> bool {
    let Some(inner) = inner.upgrade() else { return false };
    let node = Node { inner };
    hook.awaited.cursor.fetch_max(recorded.number, Ordering::Relaxed);
    let (progress, recovered) = {
        let mut standing = locked(&hook.standing);
        standing.progress.cursor = recorded.number;
        standing.progress.lost = hook.awaited.lost.load(Ordering::Relaxed);
        let mut recovered = false;
        if let Some(error) = given_up {
            tracing::warn!(webhook = hook.id, event = recorded.number, %error, "an event is not offered again");
            standing.progress.given_up = standing.progress.given_up.saturating_add(1);
        } else {
            standing.progress.delivered_ms = Some(wall_clock().0);
            recovered = standing.progress.failing_since_ms.take().is_some();
            standing.error = None;
        }
        (standing.progress.clone(), recovered)
    };
    keep(&node, hook, progress).await;
    node.inner.events.delivered(Arc::clone(recorded));
    if recovered {
        node.event(Event::WebhookRecovered { webhook: hook.id.clone(), host: hook.host() });
    }
    true
}

/// Tells that the receiver is failing, once.
async fn note_failure(inner: &Weak<Inner>, hook: &Arc<Hook>, error: &str, next: Next) -> bool {
    let Some(inner) = inner.upgrade() else { return false };
    let node = Node { inner };
    let progress = {
        let mut standing = locked(&hook.standing);
        standing.error = Some(error.to_owned());
        if !next.failing || standing.progress.failing_since_ms.is_some() {
            return true;
        }
        standing.progress.failing_since_ms = Some(wall_clock().0);
        standing.progress.clone()
    };
    keep(&node, hook, progress).await;
    let (webhook, host, reason) = (hook.id.clone(), hook.host(), error.to_owned());
    node.event(Event::WebhookFailing { webhook, host, reason });
    true
}

/// Writes down how far the webhook is. Where that fails the receiver gets a message again after a restart.
async fn keep(node: &Node, hook: &Arc<Hook>, progress: Progress) {
    let (store, kept) = (node.inner.site.store().clone(), Arc::clone(hook));
    let kept = tokio::task::spawn_blocking(move || {
        // A removed webhook leaves nothing behind.
        let removed = locked(&kept.removed);
        if *removed { Ok(()) } else { put_progress(&store, &kept.id, &progress).map_err(unkept) }
    });
    match kept.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(webhook = hook.id, %error, "a webhook's progress is not on disk"),
        Err(panic) => tracing::error!(%panic, "keeping a webhook's progress panicked"),
    }
}
