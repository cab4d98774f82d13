//! Events on disk: warnings, errors and what webhooks wait for, in order and bounded.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{oneshot, watch};

use crate::events::{Recorded, Selection, Severity};
use crate::node::locked;
use crate::store::{ReadError, Shelf, Store, WriteError};

/// Events kept on disk: a hundred a day for three months. One that matters to nobody but webhooks goes once they all have it.
const EVENTS_KEPT_MAX: usize = 10_000;
/// Old ones removed with each new one, so that a lowered limit is reached by and by.
const REMOVED_AT_ONCE: usize = 4;
/// Records read in one page.
const PAGE_EVENTS: usize = 512;

/// The setting that holds the first number that was never set aside.
pub(super) const NUMBERS: &[u8] = b"event-numbers";

/// Work for the writing task.
#[derive(Debug)]
pub(super) enum Keep {
    Event(Arc<Recorded>),
    /// A webhook is done with it.
    Delivered(Arc<Recorded>),
    /// Numbers below this are set aside.
    Numbers(u64),
    /// Told once everything before it is written.
    Flushed(oneshot::Sender<()>),
}

/// What one webhook waits for, and how far it is.
#[derive(Debug)]
pub(in crate::node) struct Awaited {
    pub(in crate::node) selection: Selection,
    /// Every event up to this number was delivered, given up or not asked for.
    pub(in crate::node) cursor: AtomicU64,
    /// Events that made room on disk for newer ones before they were delivered.
    pub(in crate::node) lost: AtomicU64,
}

impl Awaited {
    fn lacks(&self, recorded: &Recorded) -> bool {
        recorded.number > self.cursor.load(Ordering::Relaxed) && self.selection.takes(recorded)
    }
}

/// What all webhooks wait for, by their ids.
pub(super) type AllAwaited = Arc<Mutex<BTreeMap<String, Arc<Awaited>>>>;

/// Whether an event goes to disk.
pub(super) fn is_kept(recorded: &Recorded, awaited: &AllAwaited) -> bool {
    recorded.severity >= Severity::Warning
        || locked(awaited).values().any(|awaited| awaited.selection.takes(recorded))
}

pub(super) fn put_numbers(store: &Store, until: u64) -> Result<(), WriteError> {
    store.put_record(Shelf::Settings, NUMBERS, &until.to_be_bytes())
}

/// Writes events down, in order.
#[derive(Debug)]
pub(in crate::node) struct Keeping {
    pub(super) store: Store,
    pub(super) work: UnboundedReceiver<Keep>,
    pub(super) awaited: AllAwaited,
    /// Rises with each event on disk: its number.
    pub(super) written: watch::Sender<u64>,
}

impl Keeping {
    /// Writes until the node is gone.
    pub(in crate::node) async fn keep(mut self) {
        // Events on disk, once counted.
        let mut count = None;
        while let Some(work) = self.work.recv().await {
            let (store, awaited) = (self.store.clone(), Arc::clone(&self.awaited));
            let done = tokio::task::spawn_blocking(move || {
                let number = done_with(&store, &awaited, work, &mut count)?;
                Ok::<_, ReadError>((number, count))
            });
            match done.await {
                Ok(Ok((number, counted))) => {
                    count = counted;
                    if let Some(number) = number {
                        self.written.send_replace(number);
                    }
                }
                Ok(Err(error)) => tracing::warn!(%error, "an event could not be kept on disk"),
                Err(panic) => tracing::error!(%panic, "keeping an event panicked"),
            }
        }
    }
}

/// Does the work; gives the number of the event that is on disk by then.
fn done_with(
    store: &Store,
    awaited: &AllAwaited,
    work: Keep,
    count: &mut Option<usize>,
) -> Result<Option<u64>, ReadError> {
    let recorded = match work {
        Keep::Numbers(until) => {
            put_numbers(store, until).map_err(ReadError::Incomplete)?;
            return Ok(None);
        }
        Keep::Flushed(told) => {
            if told.send(()).is_err() {
                tracing::debug!("whoever waited for the events has left");
            }
            return Ok(None);
        }
        Keep::Delivered(recorded) => {
            let lacked = locked(awaited).values().any(|awaited| awaited.lacks(&recorded));
            if recorded.severity < Severity::Warning && !lacked {
                let key = recorded.number.to_be_bytes();
                store.remove_record(Shelf::Events, &key).map_err(ReadError::Incomplete)?;
                *count = count.map(|count| count.saturating_sub(1));
            }
            return Ok(None);
        }
        Keep::Event(recorded) => recorded,
    };
    let held = match *count {
        Some(count) => count,
        None => kept_from(store, 0, u64::MAX)?.len(),
    };
    let value = serde_json::to_vec(&*recorded).unwrap_or_default();
    let key = recorded.number.to_be_bytes();
    store.put_record(Shelf::Events, &key, &value).map_err(ReadError::Incomplete)?;
    let held = held.saturating_add(1);
    let over = held.saturating_sub(EVENTS_KEPT_MAX).min(REMOVED_AT_ONCE);
    for (key, value) in store.records(Shelf::Events, &[], &[], over)? {
        store.remove_record(Shelf::Events, &key).map_err(ReadError::Incomplete)?;
        let Ok(gone) = serde_json::from_slice::<Recorded>(&value) else { continue };
        for awaited in locked(awaited).values().filter(|awaited| awaited.lacks(&gone)) {
            awaited.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
    *count = Some(held.saturating_sub(over));
    Ok(Some(recorded.number))
}

/// The kept events with numbers from `from` on and below `below`, in order.
pub(in crate::node) fn kept_from(
    store: &Store,
    from: u64,
    below: u64,
) -> Result<Vec<Arc<Recorded>>, ReadError> {
    let mut events = Vec::new();
    let mut from = Some(from);
    while let Some(begin) = from {
        let (page, next) = kept_page(store, begin)?;
        if page.last().is_some_and(|last| last.number >= below) {
            events.extend(page.into_iter().take_while(|recorded| recorded.number < below));
            return Ok(events);
        }
        events.extend(page);
        from = next;
    }
    Ok(events)
}

/// Some kept events with numbers from `from` on, in order, and the number that the next page begins at; none where this was the last.
pub(in crate::node) fn kept_page(
    store: &Store,
    from: u64,
) -> Result<(Vec<Arc<Recorded>>, Option<u64>), ReadError> {
    // A walk beside the writer may pass a place just before its event is there and see the one after it. Events are written in order: what
    // lies before the last one seen is on disk by now, so a second walk up to that one misses nothing.
    let read = || store.records(Shelf::Events, &[], &from.to_be_bytes(), PAGE_EVENTS);
    let newest = read()?.pop().map(|(key, _)| key);
    let mut page = read()?;
    page.retain(|(key, _)| newest.as_ref().is_some_and(|newest| key <= newest));
    let last = page.last().and_then(|(key, _)| key.as_slice().try_into().ok()).map(u64::from_be_bytes);
    // One of a kind that this release does not know is passed over.
    let events = page.iter().filter_map(|(_, value)| serde_json::from_slice(value).ok()).map(Arc::new);
    Ok((events.collect(), last.map(|last| last.saturating_add(1))))
}
