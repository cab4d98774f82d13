//! The ops of this site in the order in which they arrived, and what each does here; and the level of the log lines.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::grant::Authority;
use protocol::id::{FeedId, SiteId};
use protocol::log::NamedOp;
use protocol::op::Body;

use super::Node;
use super::feeds::named;
use super::problem::usage;
use super::why::{By, role};
use crate::api::Problem;
use crate::api::log as shapes;
use crate::keeper::SiteStore;
use crate::logs::{self, LevelError, Logs};

/// Arrivals that one question looks through for what it asks for.
const LOOKED_AT_MAX: u64 = 100_000;

/// What a caller asks of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpsAsked {
    pub(crate) feed: Option<String>,
    /// A site's id, its beginning, or its name.
    pub(crate) author: Option<String>,
    /// Only what arrived after this number; none: the newest.
    pub(crate) after: Option<u64>,
    pub(crate) limit: usize,
    /// How long to wait where there is nothing yet.
    pub(crate) wait_ms: u64,
}

impl Node {
    /// Ops as they arrived, the newest last.
    ///
    /// # Errors
    /// There is no such feed or author, or the disk fails.
    pub(crate) async fn ops(&self, asked: OpsAsked) -> Result<shapes::Ops, Problem> {
        let deadline = tokio::time::Instant::now() + Duration::from_millis(asked.wait_ms);
        let mut grew = self.inner.grew.subscribe();
        loop {
            let (names, asked_now) = (self.site_names(), asked.clone());
            let found = self.blocking(move |site| read(site, &asked_now, &names)).await?;
            let waits = found.ops.is_empty() && asked.wait_ms > 0;
            if !waits || tokio::time::timeout_at(deadline, grew.changed()).await.is_err() {
                return Ok(found);
            }
        }
    }

    /// The level of the log lines.
    ///
    /// # Errors
    /// This process writes none of its own.
    pub(crate) fn log_level(&self) -> Result<shapes::Level, Problem> {
        let level = of_this_process()?.level();
        let left_ms = level.left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        Ok(shapes::Level { configured: level.configured, now: level.now, left_ms })
    }

    /// Changes it for a while.
    ///
    /// # Errors
    /// The level is none, or the time too long.
    pub(crate) fn raise_log_level(&self, asked: &shapes::RaiseRequest) -> Result<shapes::Level, Problem> {
        let raised = of_this_process()?.raise(&asked.level, Duration::from_millis(asked.for_ms));
        raised.map_err(|error| match error {
            LevelError::Filter(_) | LevelError::TooLong => usage(error.to_string()),
            LevelError::Apply(_) => {
                Problem::new(500, "failed", "The level was not changed", error.to_string())
            }
        })?;
        self.log_level()
    }

    /// Goes back to the level of the settings.
    ///
    /// # Errors
    /// This process writes no log lines of its own.
    pub(crate) fn reset_log_level(&self) -> Result<shapes::Level, Problem> {
        of_this_process()?.reset();
        self.log_level()
    }
}

fn of_this_process() -> Result<&'static Logs, Problem> {
    logs::running().ok_or_else(|| {
        Problem::new(409, "usage", "No log lines", "this process does not write the node's log lines itself")
    })
}

fn read(
    site: &SiteStore,
    asked: &OpsAsked,
    names: &BTreeMap<SiteId, String>,
) -> Result<shapes::Ops, Problem> {
    let feed = asked.feed.as_ref().map(|feed| named(site, feed)).transpose()?.map(|(id, _)| id);
    let author = asked.author.as_ref().map(|author| author_of(author, site.me(), names)).transpose()?;
    let takes = |named: &NamedOp| {
        let log = named.op.place.log;
        feed.is_none_or(|feed| feed == log.feed) && author.is_none_or(|author| author == log.author)
    };
    let newest = site.store().newest_generation()?;
    let (mut seen, mut found) = match asked.after {
        Some(after) => site.store().arrived(after, LOOKED_AT_MAX, asked.limit, takes)?,
        None => {
            // Ever further back, until there is enough.
            let mut back = u64::try_from(asked.limit).unwrap_or(u64::MAX);
            loop {
                let from = newest.saturating_sub(back);
                let page = site.store().arrived(from, LOOKED_AT_MAX, usize::MAX, takes)?;
                if page.1.len() >= asked.limit || from == 0 || back >= LOOKED_AT_MAX {
                    break page;
                }
                back = back.saturating_mul(8).min(LOOKED_AT_MAX);
            }
        }
    };
    seen = seen.max(asked.after.unwrap_or(0));
    let skip = found.len().saturating_sub(asked.limit);
    let mut feeds = BTreeMap::new();
    let mut ops = Vec::with_capacity(asked.limit.min(found.len()));
    for (number, named) in found.drain(..).skip(skip) {
        ops.push(logged(site, number, &named, names, &mut feeds)?);
    }
    Ok(shapes::Ops { ops, seen })
}

pub(super) fn author_of(text: &str, me: SiteId, names: &BTreeMap<SiteId, String>) -> Result<SiteId, Problem> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let known = names.iter().map(|(id, name)| (*id, name.as_str())).chain([(me, "me")]);
    let meant: Vec<SiteId> = known
        .filter(|(id, name)| *name == text || id.to_string().starts_with(text))
        .map(|(id, _)| id)
        .collect();
    match meant.as_slice() {
        [one] => Ok(*one),
        [] => Err(usage(format!("no site known here is called {text:?}: give its id"))),
        _ => Err(usage(format!("several sites are called {text:?}: give the id"))),
    }
}

type Feeds = BTreeMap<FeedId, (String, Option<std::sync::Arc<Authority>>)>;

fn logged(
    site: &SiteStore,
    number: u64,
    named: &NamedOp,
    names: &BTreeMap<SiteId, String>,
    feeds: &mut Feeds,
) -> Result<shapes::LoggedOp, Problem> {
    let place = named.op.place;
    let (feed, author) = (place.log.feed, place.log.author);
    if let std::collections::btree_map::Entry::Vacant(empty) = feeds.entry(feed) {
        let name = site.store().feed(feed)?.map_or_else(|| feed.short(), |record| record.name);
        empty.insert((name, site.store().authority(feed)?));
    }
    let (label, authority) = feeds.get(&feed).cloned().unwrap_or_default();
    let at = named.op.body.coordinate();
    let item =
        at.map(|at| site.store().item(feed, &at.name, &at.version, site.look())).transpose()?.flatten();
    let by = authority.as_deref().map(|authority| By { authority, look: site.look() });
    let silent = by.is_some_and(|by| by.is_silent(author));
    let role = match (&named.op.body, item) {
        (Body::Unknown { .. }, _) => "of a kind this release does not know: kept and passed on",
        (_, Some(item)) => role(named, &item, by),
        (_, None) if silent && author != site.me() => "its author may not write in this feed",
        (_, None) if silent => "counts at this site only",
        (_, None) => "counts",
    };
    Ok(shapes::LoggedOp {
        number,
        op: named.id.to_string(),
        feed: label,
        author: author.to_string(),
        author_name: names.get(&author).cloned(),
        epoch: place.log.epoch,
        seq: place.seq,
        stamp_ms: named.op.stamp.wall().0,
        kind: named.op.body.kind_name().to_owned(),
        version: at.map(|at| format!("{}@{}", at.name, at.version)),
        role: role.to_owned(),
    })
}
