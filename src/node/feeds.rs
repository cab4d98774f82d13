//! Feeds and packages as the API tells them.

use std::sync::Arc;
use std::time::Duration;

use protocol::feed::{Item, Standing};
use protocol::grant::Verb;
use protocol::id::{BlobId, FeedId, OpId};
use protocol::manifest;
use protocol::op::{Body, Genesis, Offer};
use protocol::package::{Coordinate, FeedKind, check_feed_name};

use super::carried::{self, Away};
use super::overview::Counts;
use super::problem::{not_found, usage};
use super::{Node, random};
use crate::api::{self, Problem};
use crate::events::Event;
use crate::keeper::{SiteStore, wall_clock};
use crate::publish::{NewVersion, counts_elsewhere, delete, publish};
use crate::store::{BlobState, FeedRecord, ReadError};

/// Who asks whether a site is ready is answered within this: balancers give up after some seconds.
const READS_WITHIN: Duration = Duration::from_secs(1);

/// A feed's name here, or the start of its id.
pub(super) fn label(site: &SiteStore, feed: FeedId) -> Result<String, ReadError> {
    Ok(site.store().feed(feed)?.map_or_else(|| feed.short(), |record| record.name))
}

/// The feed of that name, or of that id: a feed that was merged into another leads there.
pub(super) fn named(site: &SiteStore, name: &str) -> Result<(FeedId, FeedRecord), Problem> {
    if let Ok(feed) = name.parse::<FeedId>() {
        let feed = site.store().merged_into(feed)?.unwrap_or(feed);
        if let Some(record) = site.store().feed(feed)? {
            return Ok((feed, record));
        }
    }
    site.store().feed_named(name)?.ok_or_else(|| {
        not_found("feed", name).hint("`packetboat feed list` names them, `packetboat feed create` makes one")
    })
}

impl Node {
    /// Whether anything can be told of what is kept here.
    ///
    /// # Errors
    /// The disk fails, no index can be built, or one is being built.
    pub async fn reads_its_store(&self) -> Result<(), Problem> {
        let reading = async {
            // Whoever asks over and over has one thread wait, and not one each time.
            let alone = Arc::clone(&self.inner.reading).lock_owned().await;
            let reading = self.blocking(move |site| {
                let feeds = site.store().feeds();
                drop(alone);
                Ok(feeds?)
            });
            reading.await.map(drop)
        };
        tokio::time::timeout(READS_WITHIN, reading).await.unwrap_or_else(|_elapsed| {
            let detail = "its index is being built anew, or its disk hangs";
            Err(Problem::new(503, "busy", "The store does not answer", detail).hint("ask again in a while"))
        })
    }

    /// Makes a feed whose origin is this site.
    ///
    /// # Errors
    /// The name is taken or not allowed, or the disk refuses.
    pub async fn create_feed(&self, new: api::NewFeed) -> Result<api::Feed, Problem> {
        let kind: FeedKind = new.kind.parse().map_err(|error| usage(format!("{error}")))?;
        check_feed_name(&new.name)?;
        let nonce = random::<16>()
            .map_err(|error| Problem::new(500, "random", "No randomness", error.to_string()))?;
        let counts = self.inner.counts.clone();
        let made = self.blocking(move |site| {
            if site.store().feed_named(&new.name)?.is_some() {
                let detail = format!("there is a feed {:?} at this site already", new.name);
                return Err(Problem::new(409, "conflict", "The feed exists", detail));
            }
            let genesis = Genesis {
                kind,
                name: new.name.clone(),
                origin: site.me(),
                second_origin: None,
                reuse: false,
                overwrite: false,
                created: wall_clock(),
                nonce,
            };
            let record = FeedRecord {
                genesis,
                name: new.name,
                strict: false,
                local_wins: false,
                open_reads: new.open_reads,
            };
            // Nobody can have said anything in it, so even a site that waits to learn what it said writes here.
            site.store().write_in(record.genesis.feed_id(), 1)?;
            let feed = site.store().put_feed(&record)?;
            described(site, &counts, feed, &record)
        });
        let made = made.await?;
        self.event(Event::FeedTakenUp { feed: made.name.clone(), id: made.id.clone(), link: None });
        self.spread_feeds().await;
        Ok(made)
    }

    /// All feeds.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn feeds(&self) -> Result<api::Feeds, Problem> {
        let counts = self.inner.counts.clone();
        self.blocking(move |site| {
            let mut feeds = Vec::new();
            for (feed, record) in site.store().feeds()? {
                feeds.push(described(site, &counts, feed, &record)?);
            }
            feeds.sort_by(|one, other| one.name.cmp(&other.name));
            Ok(api::Feeds { feeds })
        })
        .await
    }

    /// One feed.
    ///
    /// # Errors
    /// There is none of that name, or the disk fails.
    pub async fn feed(&self, name: &str) -> Result<api::Feed, Problem> {
        let name = name.to_owned();
        let counts = self.inner.counts.clone();
        self.blocking(move |site| {
            let (feed, record) = named(site, &name)?;
            described(site, &counts, feed, &record)
        })
        .await
    }

    /// Whether package clients may read a feed without a token.
    pub async fn reads_open(&self, name: &str) -> bool {
        let name = name.to_owned();
        self.blocking(move |site| Ok(named(site, &name)?.1.open_reads)).await.unwrap_or(false)
    }

    /// The id of the feed of that name, if there is one.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn feed_id(&self, name: &str) -> Result<Option<String>, Problem> {
        let name = name.to_owned();
        let found = self.blocking(move |site| named(site, &name)).await;
        match found {
            Ok((feed, _)) => Ok(Some(feed.to_string())),
            Err(problem) if problem.status == 404 => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    /// A page of a feed's versions. `pattern` is a prefix of the package's name; a `*` at its end may be left out.
    ///
    /// # Errors
    /// There is no such feed, or the disk fails.
    pub async fn packages(
        &self,
        feed: &str,
        pattern: Option<String>,
        after: Option<String>,
        limit: usize,
    ) -> Result<api::Packages, Problem> {
        let name = feed.to_owned();
        self.blocking(move |site| {
            let (feed, record) = named(site, &name)?;
            let prefix = pattern.as_deref().unwrap_or("").trim_end_matches('*').to_owned();
            let after = after.as_deref().and_then(|after| after.rsplit_once('@'));
            let page = site.store().items(feed, &prefix, after, limit, site.look())?;
            let next = (page.len() >= limit).then(|| page.last().map(|(at, _)| at.to_string())).flatten();
            let mut packages = Vec::with_capacity(page.len());
            for (coordinate, item) in page {
                packages.push(package(site, feed, &record, coordinate, &item)?);
            }
            Ok(api::Packages { feed: name, packages, next })
        })
        .await
    }

    /// One version.
    ///
    /// # Errors
    /// Nothing is known of it, or the disk fails.
    pub async fn package(&self, feed: &str, name: &str, version: &str) -> Result<api::Package, Problem> {
        let (feed, name, version) = (feed.to_owned(), name.to_owned(), version.to_owned());
        let (id, at, mut told) = self
            .blocking(move |site| {
                let (id, record) = named(site, &feed)?;
                let at = Coordinate::new(record.genesis.kind, &name, &version)?;
                let item = site.store().item(id, &at.name, &at.version, site.look())?;
                let item = item.ok_or_else(|| not_found("version", &at.to_string()))?;
                let told = package(site, id, &record, at.clone(), &item)?;
                Ok((id, at, told))
            })
            .await?;
        told.downloads = told.downloads.saturating_add(self.downloads_untold(id, &at));
        Ok(told)
    }

    /// Publishes a version from bytes that were uploaded.
    ///
    /// # Errors
    /// A rule refuses it, or the disk does.
    pub async fn publish(&self, feed: &str, new: api::NewPackage) -> Result<api::Package, Problem> {
        let (feed, sums) = (feed.to_owned(), self.inner.sums.clone());
        let published = self
            .blocking(move |site| {
                let (id, record) = named(site, &feed)?;
                let coordinate = Coordinate::new(record.genesis.kind, &new.name, &new.version)?;
                let files = new.files.iter().map(file).collect::<Result<Vec<_>, _>>()?;
                let manifest = manifest::Manifest::of(files)?;
                sums.check(site.store(), &manifest)?;
                let version = NewVersion { coordinate, manifest, restore: new.restore, provenance: None };
                let published = publish(site, id, &record, version)?;
                let at = published.coordinate;
                let item = site.store().item(id, &at.name, &at.version, site.look())?;
                let item = item.ok_or_else(|| not_found("version", &at.to_string()))?;
                package(site, id, &record, at, &item)
            })
            .await?;
        self.news(None);
        Ok(published)
    }

    /// Deletes a version; without the right to delete in the feed it is hidden at this site only.
    ///
    /// # Errors
    /// There is nothing to delete, or the disk refuses.
    pub async fn delete(
        &self,
        feed: &str,
        name: &str,
        version: &str,
        reason: String,
        unseen: bool,
    ) -> Result<api::Deleted, Problem> {
        let (feed, name, version) = (feed.to_owned(), name.to_owned(), version.to_owned());
        let deleted = self
            .blocking(move |site| {
                let (id, record) = named(site, &feed)?;
                let coordinate = Coordinate::new(record.genesis.kind, &name, &version)?;
                let deletion = delete(site, id, coordinate, reason, unseen)?;
                let authority = site.store().authority(id)?;
                let name = &deletion.coordinate.name;
                let wide = authority.is_some_and(|authority| {
                    counts_elsewhere(&authority, (id, site.look().now), site.me(), Verb::DeleteWide, name)
                });
                Ok(api::Deleted {
                    feed,
                    name: deletion.coordinate.name.clone(),
                    version: deletion.coordinate.version.clone(),
                    op: deletion.op.to_string(),
                    local: !wide,
                    removed: deletion.removed as u64,
                })
            })
            .await?;
        self.news(None);
        Ok(deleted)
    }
}

fn file(file: &api::File) -> Result<manifest::File, Problem> {
    let blob: BlobId = file.blake3.parse().map_err(|error| usage(format!("{error}")))?;
    let sha256: BlobId = file.sha256.parse().map_err(|error| usage(format!("{error}")))?;
    Ok(manifest::File { name: file.name.clone(), blob, size: file.size, sha256: sha256.0 })
}

/// What the API tells of a file.
pub(super) fn file_told(file: &manifest::File) -> api::File {
    api::File {
        name: file.name.clone(),
        size: file.size,
        blake3: file.blob.to_string(),
        sha256: BlobId(file.sha256).to_string(),
    }
}

/// What the API tells of a version.
pub(super) fn package(
    site: &SiteStore,
    feed: FeedId,
    record: &FeedRecord,
    at: Coordinate,
    item: &Item,
) -> Result<api::Package, Problem> {
    let winner = match item.winner {
        Some(winner) => site.store().op(winner)?,
        None => None,
    };
    let mut files = Vec::new();
    let mut away = None;
    if let (Some(op), Some(Body::Publish(publish))) =
        (item.winner, winner.as_ref().map(|named| &named.op.body))
    {
        let mut pending = false;
        for file in &publish.manifest.files {
            pending = pending || !matches!(site.store().blob_state(file.blob)?, BlobState::Complete { .. });
            files.push(file_told(file));
        }
        if pending {
            away = Some(carried::away(site, feed, op, publish)?);
        }
    }
    debug_assert_eq!(feed, record.genesis.feed_id(), "a record is that of its feed");
    let usage = site.store().figures(feed)?.usage(&at);
    let (offer, offer_text) = offer_words(&item.offer);
    let provenance = winner.as_ref().and_then(|named| {
        let Body::Publish(publish) = &named.op.body else { return None };
        publish.provenance.as_ref()
    });
    Ok(api::Package {
        feed: record.name.clone(),
        name: at.name,
        version: at.version,
        state: state_word(item.standing, away).to_owned(),
        local: item.local,
        clashes: item.clash.len() as u64,
        offer: offer.to_owned(),
        offer_text,
        downloads: usage.downloads,
        last_used_ms: usage.last_used.map(|at| at.0),
        promoted_from: provenance.map(|from| format!("{}/{}", from.feed, from.op)),
        files,
        author: winner.as_ref().map(|named| named.op.place.log.author.to_string()),
        published_ms: item.published.map(|at| at.wall().0),
        op: item.winner.map(|op: OpId| op.to_string()),
    })
}

fn offer_words(offer: &Offer) -> (&'static str, Option<String>) {
    match offer {
        Offer::Listed => ("listed", None),
        Offer::Unlisted => ("unlisted", None),
        Offer::Yanked { reason } => ("yanked", Some(reason.clone())),
        Offer::Deprecated { text } => ("deprecated", Some(text.clone())),
    }
}

/// The state's name in commands, pages and documents.
pub(super) const fn state_word(standing: Standing, away: Option<Away>) -> &'static str {
    match (standing, away) {
        (Standing::Served, Some(Away::Pending)) => "pending",
        (Standing::Served, Some(Away::OnDemand)) => "on-demand",
        (Standing::Served, Some(Away::FilteredOut)) => "filtered-out",
        (Standing::Served, Some(Away::Evicted)) => "evicted-here",
        (Standing::Served, Some(Away::OverQuota)) => "over-quota",
        (Standing::Served, None) => "ready",
        (Standing::Blocked, _) => "blocked",
        (Standing::Held, _) => "held",
        (Standing::Deleted, _) => "deleted",
        (Standing::Suppressed, _) => "suppressed",
        (Standing::Hidden, _) => "hidden-here",
        (Standing::Parked, _) => "parked-future",
        (Standing::NotAuthorised, _) => "author-not-authorised",
        (Standing::Absent, _) => "absent",
    }
}

/// What the API tells of a feed.
pub(super) fn described(
    site: &SiteStore,
    counts: &Counts,
    feed: FeedId,
    record: &FeedRecord,
) -> Result<api::Feed, Problem> {
    let store = site.store();
    let (packages, state_root) = counts.of(site, feed, record)?;
    let pending = counts.pending(site, feed)?;
    let quota_bytes = store.quota(feed)?;
    let held_bytes = quota_bytes.map(|_| store.bytes_held(feed)).transpose()?;
    let authority = store.authority(feed)?;
    let may = |verb| {
        let counts = authority.as_ref().is_some_and(|authority| {
            counts_elsewhere(authority, (feed, site.look().now), site.me(), verb, "")
        });
        counts && !record.strict
    };
    Ok(api::Feed {
        id: feed.to_string(),
        name: record.name.clone(),
        kind: record.genesis.kind.to_string(),
        open_reads: record.open_reads,
        origin: record.genesis.origin.to_string(),
        strict: record.strict,
        local_wins: record.local_wins,
        may_publish: may(Verb::Publish),
        may_delete: may(Verb::DeleteWide),
        packages,
        ops: store.heads(feed)?.iter().map(|signed| signed.head.len).sum(),
        missing_blobs: pending.blobs,
        missing_bytes: pending.bytes,
        state_root,
        quota_bytes,
        held_bytes,
    })
}
