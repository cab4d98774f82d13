//! Evicting versions at this site, and fetching what was evicted or has not come.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::id::{BlobId, FeedId};
use protocol::limits::{KEPT_READ_BYTES_MAX, WANTED_ITEMS_MAX};
use protocol::link::Link;
use protocol::op::{Body, Publish};
use protocol::package::Coordinate;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::carried;
use super::feeds::named;
use super::held::Keeps;
use super::problem::not_found;
use super::{Node, locked};
use crate::api::evict as shapes;
use crate::api::{self, Problem, ruling};
use crate::keeper::SiteStore;
use crate::store::{BlobState, ReadError};

/// How long other sites have to say what they keep. They read all of it before: a slow disk gives some 100 MB a second.
const ASKED_WITHIN: Duration = Duration::from_secs(120);

/// Blobs in as many questions as one site reads for one answer each.
fn questions(site: &SiteStore, blobs: &[BlobId]) -> Result<Vec<Vec<BlobId>>, ReadError> {
    let (mut questions, mut bytes) = (vec![Vec::new()], 0_u64);
    for &blob in blobs {
        let size = match site.store().blob_state(blob)? {
            BlobState::Complete { size } => size,
            BlobState::Partial { .. } | BlobState::Missing => 0,
        };
        let full = |question: &Vec<BlobId>| {
            question.len() >= WANTED_ITEMS_MAX
                || (!question.is_empty() && bytes.saturating_add(size) > KEPT_READ_BYTES_MAX)
        };
        if questions.last().is_some_and(full) {
            questions.push(Vec::new());
            bytes = 0;
        }
        bytes = bytes.saturating_add(size);
        if let Some(question) = questions.last_mut() {
            question.push(blob);
        }
    }
    Ok(questions)
}

/// Why a version is not evicted, of which nobody keeps so many of so many blobs for this site.
fn not_kept(
    at: &Coordinate,
    (all, left): (usize, usize),
    answered: bool,
    bring_nothing: BTreeSet<String>,
) -> Problem {
    let hint = "run `packetboat sync` first, or add --force and risk that the bytes are lost";
    if bring_nothing.is_empty() && !answered {
        let detail = format!("no other site that carries the feed could be asked whether it keeps {at}");
        return Problem::new(503, "unreachable", "No other site answers", detail).hint(hint);
    }
    let mut detail = format!("of {all} blobs of {at}, no other site says that it keeps {left} for this one");
    if bring_nothing.is_empty() {
        return Problem::new(409, "last-copy", "The last copy is not evicted", detail).hint(hint);
    }
    let peers = bring_nothing.into_iter().collect::<Vec<_>>().join(", ");
    detail = format!(
        "{detail}; the link with {peers} brings no packages of this feed here, so what is kept there would not come back"
    );
    let hint = "have both ends of a link let packages come here (`packetboat link show LINK` tells what each states), or add --force and \
                risk that the bytes are lost";
    Problem::new(409, "last-copy", "The last copy is not evicted", detail).hint(hint)
}

/// Publishes of one blob in one feed that are looked at for one that was evicted.
const USES_LOOKED_AT: usize = 64;

/// Lets the versions of a feed that have these bytes be fetched again. Tells whether any was evicted.
fn ends_evictions_of(site: &SiteStore, feed: FeedId, blob: BlobId) -> Result<bool, Problem> {
    let (store, mut ended) = (site.store(), false);
    for op in store.uses_in(feed, blob, USES_LOOKED_AT)? {
        let Some(Body::Publish(Publish { coordinate: at, .. })) = store.op(op)?.map(|named| named.op.body)
        else {
            continue;
        };
        ended |= store.is_evicted(feed, &at.name, &at.version, op)?
            && store.end_eviction(feed, &at.name, &at.version)?;
    }
    Ok(ended)
}

/// The bytes of a version that are to be fetched. Those that no link lets pass are refused, and a version that was evicted then stays so.
fn to_fetch(site: &SiteStore, feed: FeedId, at: &Coordinate) -> Result<Vec<BlobId>, Problem> {
    let item = site.store().item(feed, &at.name, &at.version, site.look())?;
    let winner = item.and_then(|item| item.winner);
    let winner = winner.ok_or_else(|| not_found("served version", &at.to_string()))?;
    let mut missing = Vec::new();
    if let Some(Body::Publish(publish)) = site.store().op(winner)?.map(|named| named.op.body) {
        for file in &publish.manifest.files {
            if !matches!(site.store().blob_state(file.blob)?, BlobState::Complete { .. }) {
                missing.push(file.blob);
            }
        }
        if !missing.is_empty() {
            carried::refuse_left_out(site, feed, winner, &publish)?;
        }
    }
    Ok(missing)
}

impl Node {
    /// Drops a version's bytes at this site. Unless `force` is set, other sites must say that they keep them, over
    /// links by which they come back.
    ///
    /// # Errors
    /// Nothing is served there, no other site says that it keeps the bytes, or the disk fails.
    pub async fn evict(&self, feed: &str, asked: shapes::Request) -> Result<shapes::Evicted, Problem> {
        let shapes::Request { name, version, force } = asked;
        let by_feed = feed.to_owned();
        let (id, at, evicting, blobs) = self
            .blocking(move |site| {
                let (id, record) = named(site, &by_feed)?;
                let at = Coordinate::new(record.genesis.kind, &name, &version)?;
                let evicting = site.store().begin_eviction(id, &at, site.look())?;
                let evicting = evicting.ok_or_else(|| not_found("served version", &at.to_string()))?;
                let blobs = evicting.last_here()?;
                Ok((id, at, evicting, blobs))
            })
            .await?;
        let held_by =
            if force || blobs.is_empty() { Vec::new() } else { self.kept_by(id, &at, &blobs).await? };
        let swept = self.blocking(move |_| Ok(evicting.confirm(&blobs)?)).await?;
        tracing::info!(feed, version = %at, bytes = swept.bytes, force, "evicted");
        Ok(shapes::Evicted {
            feed: feed.to_owned(),
            name: at.name,
            version: at.version,
            blobs: swept.blobs,
            bytes: swept.bytes,
            held_by,
        })
    }

    /// The sites that say, just now, that they keep these blobs, over links that bring them here.
    async fn kept_by(&self, feed: FeedId, at: &Coordinate, blobs: &[BlobId]) -> Result<Vec<String>, Problem> {
        let links: Vec<(String, String)> = {
            let links = locked(&self.inner.links);
            let carrying = links.values().map(|state| &state.link);
            let carrying = carrying.filter(|link| !link.paused && link.on(feed).is_some());
            carrying.map(|link| (link.name.clone(), link.peer_name.clone())).collect()
        };
        let asked = blobs.to_vec();
        let questions = self.blocking(move |site| Ok(questions(site, &asked)?)).await?;
        let mut asking = JoinSet::new();
        for (name, peer) in links {
            let (node, questions) = (self.clone(), questions.clone());
            asking.spawn(async move {
                let held = timeout(ASKED_WITHIN, node.ask_held(&name, feed, &questions)).await.ok().flatten();
                (peer, held)
            });
        }
        let mut left: BTreeSet<BlobId> = blobs.iter().copied().collect();
        let (mut kept_by, mut bring_nothing, mut answered) = (Vec::new(), BTreeSet::new(), 0_u32);
        while let Some(joined) = asking.join_next().await {
            let (peer, held) = match joined {
                Ok((peer, Some(Keeps::These(held)))) => (peer, held),
                Ok((peer, Some(Keeps::ComesNever))) => {
                    bring_nothing.insert(peer);
                    continue;
                }
                Ok((_, None)) | Err(_) => continue,
            };
            answered = answered.saturating_add(1);
            let before = left.len();
            left.retain(|blob| !held.contains(blob));
            if left.len() < before {
                kept_by.push(peer);
            }
            if left.is_empty() {
                return Ok(kept_by);
            }
        }
        Err(not_kept(at, (blobs.len(), left.len()), answered > 0, bring_nothing))
    }

    /// Lets a version be fetched that was evicted here, and waits for its bytes as a client would.
    ///
    /// # Errors
    /// Nothing is served there, a filter leaves it out of every link, or the disk fails.
    pub async fn fetch(&self, feed: &str, at: ruling::Version) -> Result<api::Package, Problem> {
        let (by_feed, by_at) = (feed.to_owned(), at.clone());
        let (id, missing) = self
            .blocking(move |site| {
                let (id, record) = named(site, &by_feed)?;
                let at = Coordinate::new(record.genesis.kind, &by_at.name, &by_at.version)?;
                let missing = to_fetch(site, id, &at)?;
                site.store().end_eviction(id, &at.name, &at.version)?;
                missing.iter().for_each(|blob| site.ask_for(*blob));
                Ok((id, missing))
            })
            .await?;
        // The run that brings the first brings them all.
        for blob in missing {
            if !self.fetch_now(id, blob).await {
                break;
            }
        }
        self.package(feed, &at.name, &at.version).await
    }

    /// Another site asked for bytes that are not here. Where they were evicted they are fetched again, as for a client: it may have no other way
    /// to them.
    pub(super) async fn asked_by_a_site(&self, link: &Link, blob: BlobId) {
        let carried: Vec<FeedId> = link.feeds.iter().map(|on| on.feed).collect();
        let ended = self.blocking(move |site| {
            let mut feeds = Vec::new();
            for feed in carried {
                if ends_evictions_of(site, feed, blob)? {
                    feeds.push(feed);
                }
            }
            Ok(feeds)
        });
        match ended.await {
            Ok(feeds) => {
                for feed in feeds {
                    tracing::info!(%blob, link = link.name, "evicted bytes were asked for by another site and are fetched again");
                    let node = self.clone();
                    tokio::spawn(async move { node.fetch_now(feed, blob).await });
                }
            }
            // Who asked asks again at its next run.
            Err(problem) => tracing::warn!(problem = problem.detail, "an eviction could not be ended"),
        }
    }

    /// Somebody asks for a version: its eviction is over.
    pub(super) async fn end_eviction(&self, feed: FeedId, at: &Coordinate) -> Result<(), Problem> {
        let at = at.clone();
        let ended =
            self.blocking(move |site| Ok(site.store().end_eviction(feed, &at.name, &at.version)?)).await?;
        if ended {
            tracing::debug!("an evicted version was asked for");
        }
        Ok(())
    }
}
