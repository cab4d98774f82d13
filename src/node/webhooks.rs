//! Webhooks of this site: made, listed, tried and removed; each one's deliveries are a task of its own.

mod delivery;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock};

use data_encoding::HEXLOWER;
use hyper::Uri;
use protocol::limits::WEBHOOKS_MAX;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::events::{Awaited, kept_from};
use super::problem::{not_found, usage};
use super::{Node, asked_for, locked, random};
use crate::api::Problem;
use crate::api::webhooks::{Made, NewWebhook, Tested, Webhook, Webhooks};
use crate::events::Selection;
use crate::keeper::wall_clock;
use crate::store::{ReadError, Shelf, Store, WriteError};
use crate::webhook::post::{PostError, Poster};
use crate::webhook::secret::Secret;
use crate::webhook::target::target;

use delivery::Message;

/// A webhook as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    url: String,
    events: Vec<String>,
    feed: Option<String>,
    plain_http: bool,
    created_ms: u64,
}

/// How far a webhook is, as it is kept: written with each message that is delivered or given up.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Progress {
    cursor: u64,
    lost: u64,
    given_up: u64,
    failing_since_ms: Option<u64>,
    delivered_ms: Option<u64>,
}

/// A webhook at work.
#[derive(Debug)]
struct Hook {
    id: String,
    record: Record,
    to: Uri,
    secret_file: PathBuf,
    awaited: Arc<Awaited>,
    standing: Mutex<Standing>,
    /// True once it is removed or the node stops.
    gone: watch::Sender<bool>,
    /// True once it is removed. Held while its progress is written.
    removed: Mutex<bool>,
}

#[derive(Debug, Clone, Default)]
struct Standing {
    progress: Progress,
    error: Option<String>,
}

impl Hook {
    fn host(&self) -> String {
        self.to.host().unwrap_or_default().to_owned()
    }

    fn cursor(&self) -> u64 {
        self.awaited.cursor.load(Ordering::Relaxed)
    }

    fn told(&self, store: &Store) -> Result<Webhook, ReadError> {
        let events = kept_from(store, self.cursor().saturating_add(1), u64::MAX)?;
        let waiting = events.iter().filter(|recorded| self.awaited.selection.takes(recorded)).count();
        let Standing { progress, error } = locked(&self.standing).clone();
        let state = match (progress.failing_since_ms, &error) {
            (Some(_), _) => "failing",
            (None, Some(_)) => "retrying",
            (None, None) => "ok",
        };
        Ok(Webhook {
            id: self.id.clone(),
            url: self.record.url.clone(),
            events: self.record.events.clone(),
            feed: self.record.feed.clone(),
            created_ms: self.record.created_ms,
            state: state.to_owned(),
            error,
            failing_since_ms: progress.failing_since_ms,
            delivered_ms: progress.delivered_ms,
            waiting: waiting as u64,
            given_up: progress.given_up,
            lost: self.awaited.lost.load(Ordering::Relaxed),
        })
    }
}

/// All webhooks while the node runs.
#[derive(Debug)]
pub(super) struct Hooks {
    /// Where the secrets lie.
    folder: PathBuf,
    running: Mutex<BTreeMap<String, Arc<Hook>>>,
    poster: OnceLock<Poster>,
    /// Held while one is made or removed.
    edits: tokio::sync::Mutex<()>,
}

impl Hooks {
    /// None yet. `folder` is for the owner alone.
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            running: Mutex::default(),
            poster: OnceLock::new(),
            edits: tokio::sync::Mutex::default(),
        }
    }

    fn secret_file(&self, id: &str) -> PathBuf {
        self.folder.join(format!("webhook-{id}.secret"))
    }

    fn poster(&self) -> Poster {
        self.poster.get_or_init(Poster::new).clone()
    }

    fn hook(&self, id: &str) -> Result<Arc<Hook>, Problem> {
        let missing = || not_found("webhook", id).hint("`packetboat webhook list` shows all");
        locked(&self.running).get(id).cloned().ok_or_else(missing)
    }

    fn all(&self) -> Vec<Arc<Hook>> {
        locked(&self.running).values().cloned().collect()
    }

    /// Ends all deliveries; what is under way is repeated in the next life.
    pub(super) fn stop(&self) {
        for hook in std::mem::take(&mut *locked(&self.running)).into_values() {
            hook.gone.send_replace(true);
        }
    }
}

fn unkept(error: WriteError) -> ReadError {
    ReadError::Incomplete(error)
}

fn put_progress(store: &Store, id: &str, progress: &Progress) -> Result<(), WriteError> {
    let value = serde_json::to_vec(progress).unwrap_or_default();
    store.put_record(Shelf::Deliveries, id.as_bytes(), &value)
}

impl Node {
    /// Takes up the webhooks of an earlier life.
    pub(super) fn start_webhooks(&self) -> Result<(), ReadError> {
        let store = self.inner.site.store();
        for (key, value) in store.records(Shelf::Webhooks, &[], &[], WEBHOOKS_MAX)? {
            let (Ok(id), Ok(record)) = (String::from_utf8(key), serde_json::from_slice::<Record>(&value))
            else {
                tracing::warn!("a webhook of another release is passed over");
                continue;
            };
            let progress = store.record(Shelf::Deliveries, id.as_bytes())?;
            let progress = progress.and_then(|value| serde_json::from_slice(&value).ok());
            if let Err(problem) = self.start_webhook(&id, record, progress) {
                tracing::warn!(webhook = id, problem = problem.detail, "a webhook could not be taken up");
            }
        }
        Ok(())
    }

    /// Begins deliveries: from now on, or where an earlier life ended.
    fn start_webhook(
        &self,
        id: &str,
        record: Record,
        earlier: Option<Progress>,
    ) -> Result<Arc<Hook>, Problem> {
        let to = target(&record.url, record.plain_http).map_err(|error| usage(error.to_string()))?;
        let selection =
            Selection { feed: record.feed.clone(), ..asked_for(None, &record.events.join(","), None)? };
        let from = earlier.as_ref().map(|progress| (progress.cursor, progress.lost));
        let awaited = self.inner.events.await_for(id, selection, from);
        let cursor = awaited.cursor.load(Ordering::Relaxed);
        let progress = earlier.unwrap_or_else(|| Progress { cursor, ..Progress::default() });
        let hook = Arc::new(Hook {
            id: id.to_owned(),
            record,
            to,
            secret_file: self.inner.hooks.secret_file(id),
            awaited,
            standing: Mutex::new(Standing { progress, error: None }),
            gone: watch::channel(false).0,
            removed: Mutex::new(false),
        });
        locked(&self.inner.hooks.running).insert(id.to_owned(), Arc::clone(&hook));
        tokio::spawn(delivery::deliver(
            Arc::downgrade(&self.inner),
            Arc::clone(&hook),
            self.inner.events.written(),
        ));
        Ok(hook)
    }

    /// Makes a webhook. A secret that the node made is told this once.
    ///
    /// # Errors
    /// The URL, a kind, the feed or the secret is none, there are too many, or the disk refuses.
    pub(crate) async fn add_webhook(&self, new: NewWebhook) -> Result<Made, Problem> {
        let _one_at_a_time = self.inner.hooks.edits.lock().await;
        target(&new.url, new.plain_http).map_err(|error| usage(error.to_string()))?;
        asked_for(None, &new.events.join(","), None)?;
        if let Some(feed) = new.feed.clone() {
            self.blocking(move |site| super::feeds::named(site, &feed).map(drop)).await?;
        }
        if locked(&self.inner.hooks.running).len() >= WEBHOOKS_MAX {
            let detail = format!("this site has {WEBHOOKS_MAX} webhooks, which is as many as it may have");
            return Err(Problem::new(409, "conflict", "Too many webhooks", detail)
                .hint("remove one: packetboat webhook remove ID"));
        }
        let drawn = |error: getrandom::Error| Problem::new(500, "random", "No randomness", error.to_string());
        let given = new.secret.as_deref().map(Secret::parse).transpose();
        let given = given.map_err(|error| usage(error.to_string()))?;
        let shown = given.is_none();
        let secret = given.map_or_else(Secret::draw, Ok).map_err(drawn)?;
        let id = HEXLOWER.encode(&random::<8>().map_err(drawn)?);
        let path = self.inner.hooks.secret_file(&id);
        let record = Record {
            url: new.url,
            events: new.events,
            feed: new.feed,
            plain_http: new.plain_http,
            created_ms: wall_clock().0,
        };
        let text = secret.text();
        let hook = self.start_webhook(&id, record.clone(), None)?;
        let (key, progress) = (id.clone(), locked(&hook.standing).progress.clone());
        let kept = self.blocking(move |site| {
            secret.save(&path).map_err(|error| {
                Problem::new(
                    500,
                    "disk",
                    "The disk failed",
                    format!("cannot write {}: {error}", path.display()),
                )
            })?;
            put_progress(site.store(), &key, &progress)?;
            let value = serde_json::to_vec(&record).unwrap_or_default();
            Ok(site.store().put_record(Shelf::Webhooks, key.as_bytes(), &value)?)
        });
        if let Err(problem) = kept.await {
            self.drop_webhook(&hook).await?;
            return Err(problem);
        }
        let told = Arc::clone(&hook);
        let webhook = self.blocking(move |site| Ok(told.told(site.store())?)).await?;
        Ok(Made { secret: shown.then(|| text.to_string()), webhook })
    }

    /// All webhooks, without their secrets.
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) async fn webhooks(&self) -> Result<Webhooks, Problem> {
        let hooks = self.inner.hooks.all();
        self.blocking(move |site| {
            let told = hooks.iter().map(|hook| hook.told(site.store()));
            Ok(Webhooks { webhooks: told.collect::<Result<_, _>>()? })
        })
        .await
    }

    /// Removes a webhook and its secret. Nothing is sent to it from then on.
    ///
    /// # Errors
    /// There is none of that id, or the disk refuses.
    pub(crate) async fn remove_webhook(&self, id: &str) -> Result<(), Problem> {
        let _one_at_a_time = self.inner.hooks.edits.lock().await;
        let hook = self.inner.hooks.hook(id)?;
        self.drop_webhook(&hook).await
    }

    async fn drop_webhook(&self, hook: &Arc<Hook>) -> Result<(), Problem> {
        let going = Arc::clone(hook);
        // First the record: after a crash half-way there is no webhook whose secret is gone.
        let removed = self.blocking(move |site| {
            let (id, path) = (going.id.as_bytes(), &going.secret_file);
            let mut removed = locked(&going.removed);
            site.store().remove_record(Shelf::Webhooks, id)?;
            *removed = true;
            site.store().remove_record(Shelf::Deliveries, id)?;
            Secret::forget(path).map_err(|error| {
                let detail = format!("cannot remove {}: {error}", path.display());
                Problem::new(500, "disk", "The disk failed", detail)
            })
        });
        removed.await?;
        hook.gone.send_replace(true);
        locked(&self.inner.hooks.running).remove(&hook.id);
        self.inner.events.forget_awaited(&hook.id);
        Ok(())
    }

    /// Sends a message of kind `webhook-test`, once, and tells what the receiver answered.
    ///
    /// # Errors
    /// There is no such webhook, or the receiver did not take the message.
    pub(crate) async fn test_webhook(&self, id: &str) -> Result<Tested, Problem> {
        let hook = self.inner.hooks.hook(id)?;
        let number =
            random::<8>().map_err(|error| Problem::new(500, "random", "No randomness", error.to_string()))?;
        let message = Message::test(self, &hook, &HEXLOWER.encode(&number));
        let began = std::time::Instant::now();
        let file = hook.secret_file.clone();
        let secret = self.blocking(move |_site| {
            Secret::load(&file)
                .map_err(|error| Problem::new(500, "disk", "The secret is not there", error.to_string()))
        });
        let secret = secret.await?;
        let sent = message.send(&self.inner.hooks.poster(), &hook, &secret).await;
        let status = sent.map_err(|error| undelivered(&error))?;
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Tested { webhook: id.to_owned(), message: message.id, status: status.as_u16(), took_ms })
    }
}

fn undelivered(error: &PostError) -> Problem {
    let detail = error.to_string();
    match error {
        PostError::Unreached(_) | PostError::Cut(_) | PostError::Slow => {
            Problem::new(503, "unreachable", "The receiver is not reached", detail)
        }
        PostError::Redirected(_) | PostError::Refused(_) | PostError::Unsendable => {
            Problem::new(502, "undelivered", "The receiver did not take the message", detail)
        }
    }
}
