//! What ops that came from other sites did here that somebody should hear of: clashes, publishes that a deletion removes, deletions that wait.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER;
use protocol::feed::Item;
use protocol::id::FeedId;
use protocol::log::NamedOp;
use protocol::op::Body;
use protocol::package::Coordinate;

use super::Node;
use super::feeds::label;
use crate::api::Problem;
use crate::events::Event;
use crate::keeper::SiteStore;
use crate::store::{Hold, ReadError, Shelf};

/// The setting that holds the generation up to which ops were looked at, so that a kill hides nothing.
const LOOKED_AT: &[u8] = b"events-looked-at";
/// The setting that holds the names of the open holds that were told, each of eight bytes.
const HOLDS_TOLD: &[u8] = b"events-holds-told";
/// Arrivals and ops of one step: what is found is told step by step.
const ARRIVALS_AT_ONCE: u64 = 10_000;
const OPS_AT_ONCE: usize = 1_000;
/// Versions of one step that are told by name. More of them are a matter of the feed as a whole, and `conflicts` lists them.
const TOLD_AT_ONCE: usize = 100;

/// What one step found.
#[derive(Debug, Default)]
struct Step {
    events: Vec<Event>,
    /// What was found beyond the events, for each feed.
    untold: BTreeMap<FeedId, u64>,
    more: bool,
}

impl Node {
    /// Looks at all ops that came since the last look.
    pub(super) async fn look_at_arrivals(&self) {
        let _one_at_a_time = self.inner.looking.lock().await;
        loop {
            let step = match self.blocking(step).await {
                Ok(step) => step,
                Err(problem) => {
                    tracing::warn!(problem = problem.detail, "what came could not be looked at for events");
                    return;
                }
            };
            for event in step.events {
                self.event(event);
            }
            for (feed, versions) in step.untold {
                let feed = self.feed_label(feed);
                tracing::warn!(feed, versions, "more versions clash or are removed than are told one by one");
            }
            if !step.more {
                return;
            }
        }
    }
}

/// Holds that are open and were not told.
fn opened(site: &SiteStore) -> Result<Vec<Event>, Problem> {
    let store = site.store();
    let told = store.record(Shelf::Settings, HOLDS_TOLD)?.unwrap_or_default();
    let open = store.open_holds(None)?;
    let names: Vec<u8> = open.iter().flat_map(|(id, _)| *id).collect();
    let mut events = Vec::new();
    for (id, hold) in open {
        if !told.chunks(id.len()).any(|one| one == id) {
            let feed = label(site, hold.feed)?;
            let Hold { link, deletes, .. } = hold;
            events.push(Event::HoldOpened { hold: HEXLOWER.encode(&id), link, feed, deletes });
        }
    }
    if names != told {
        store.put_record(Shelf::Settings, HOLDS_TOLD, &names)?;
    }
    Ok(events)
}

fn step(site: &SiteStore) -> Result<Step, Problem> {
    let store = site.store();
    let events = opened(site)?;
    let newest = store.newest_generation()?;
    let looked_at = store.record(Shelf::Settings, LOOKED_AT)?;
    let looked_at = looked_at.and_then(|value| value.try_into().ok()).map(u64::from_be_bytes);
    // A site that never looked begins with what comes next.
    let after = looked_at.unwrap_or(newest);
    let others = |named: &NamedOp| {
        named.op.place.log.author != site.me() && matches!(named.op.body, Body::Publish(_) | Body::Delete(_))
    };
    let (seen, came) = store.arrived(after, ARRIVALS_AT_ONCE, OPS_AT_ONCE, others)?;
    let mut step = Step { events, more: after < seen && seen < newest, ..Step::default() };
    let mut looked: BTreeSet<(FeedId, &Coordinate)> = BTreeSet::new();
    for (_, named) in &came {
        let feed = named.op.place.log.feed;
        let Some(at) = named.op.body.coordinate() else { continue };
        if looked.contains(&(feed, at)) {
            continue;
        }
        let Some(item) = store.item(feed, &at.name, &at.version, site.look())? else { continue };
        let Some(event) = found(site, feed, at, named, &item)? else { continue };
        looked.insert((feed, at));
        if step.events.len() < TOLD_AT_ONCE {
            step.events.push(event);
        } else {
            let untold = step.untold.entry(feed).or_default();
            *untold = untold.saturating_add(1);
        }
    }
    if seen > after || looked_at.is_none() {
        store.put_record(Shelf::Settings, LOOKED_AT, &seen.to_be_bytes())?;
    }
    Ok(step)
}

/// What is to be told of an op that came, if anything.
fn found(
    site: &SiteStore,
    feed: FeedId,
    at: &Coordinate,
    named: &NamedOp,
    item: &Item,
) -> Result<Option<Event>, ReadError> {
    let op = &named.id;
    let removed = |op| item.suppressed.contains(op) || item.reused.contains(op);
    let clashes = !item.clash.is_empty() && (item.winner.as_ref() == Some(op) || item.clash.contains(op));
    let suppresses = if matches!(named.op.body, Body::Delete(_)) {
        !item.suppressed.is_empty() && item.deletes.contains(op)
    } else {
        removed(op)
    };
    if !clashes && !suppresses {
        return Ok(None);
    }
    let feed = label(site, feed)?;
    let package = format!("{}@{}", at.name, at.version);
    Ok(Some(if clashes {
        Event::ClashFound { feed, package, others: item.clash.len() as u64 }
    } else {
        Event::PublishSuppressed { feed, package }
    }))
}
