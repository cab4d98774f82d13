//! Room on this site's disk: sweeping, the trash, and what is told when there is too little.

use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use protocol::feed::Standing;
use protocol::id::FeedId;
use protocol::op::{Body, Publish};
use protocol::package::Coordinate;
use protocol::time::Hlc;

use super::feeds::{named, package};
use super::problem::not_found;
use super::sessions::tell;
use super::{Inner, Node, locked};
use crate::api::ruling::Version;
use crate::api::space::{Space, Sweeping, Trash, Trashed};
use crate::api::{self, Problem};
use crate::events::Event;
use crate::keeper::SiteStore;
use crate::publish::{NewVersion, publish};
use crate::store::{BlobState, FeedRecord, ReadError, Reclaimed, Store, SweepError, Swept};
use crate::transport::pump::Command;

/// How often what nothing needs is dropped. Uploads that no version names go at the third sweep.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// A pack of which no more than this is live is written anew: rewriting a fuller one costs more than it gives.
const LIVE_PERCENT_MAX: u64 = 60;

/// The same on a full disk, where what was dropped must make room: a hundredth of a pack is a large package.
const LIVE_PERCENT_FULL_MAX: u64 = 99;

/// Versions in the trash that one answer names.
const VERSIONS_MAX: usize = 1000;

/// How the disk was when it was looked at last.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// That it is low was told, and it is still so.
    low: AtomicBool,
    /// Something was not taken in for want of room, and nobody went on since.
    full: AtomicBool,
}

/// Sweeps until the node is gone.
pub(super) async fn sweep_now_and_then(inner: Weak<Inner>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let Some(inner) = inner.upgrade() else { return };
        match (Node { inner }).sweep(false).await {
            Ok(Sweeping { bytes: 0, packs: 0, .. }) => {}
            Ok(swept) => tracing::info!(bytes = swept.bytes, packs = swept.packs, "swept"),
            Err(problem) => tracing::warn!(problem = problem.detail, "the sweep could not go on"),
        }
    }
}

/// Gives the disk back what is dead, where that is much of a pack; of a full disk, whatever there is.
fn reclaimed(site: &SiteStore) -> Result<Reclaimed, SweepError> {
    let store = site.store();
    store.reclaim(if store.is_full() { LIVE_PERCENT_FULL_MAX } else { LIVE_PERCENT_MAX })
}

fn told(swept: Swept, reclaimed: Reclaimed, trash: (u64, u64), dry_run: bool) -> Sweeping {
    Sweeping {
        dry_run,
        blobs: swept.blobs,
        bytes: swept.bytes,
        packs: reclaimed.packs,
        bytes_moved: reclaimed.bytes_moved,
        bytes_freed: reclaimed.bytes_freed,
        bytes_lacking: reclaimed.bytes_lacking,
        trash_blobs: trash.0,
        trash_bytes: trash.1,
    }
}

impl Node {
    fn grace_ms(&self) -> u64 {
        u64::try_from(self.inner.keeping.trash.as_millis()).unwrap_or(u64::MAX)
    }

    /// Drops what nothing needs and what lay in the trash long enough, and gives the disk back what is dead.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn sweep(&self, dry_run: bool) -> Result<Sweeping, Problem> {
        let grace_ms = self.grace_ms();
        self.blocking(move |site| {
            let (swept, trash) = site.store().sweep_after(site.look(), grace_ms, dry_run)?;
            let reclaimed = if dry_run { Reclaimed::default() } else { reclaimed(site)? };
            Ok(told(swept, reclaimed, (trash.blobs, trash.bytes), dry_run))
        })
        .await
    }

    /// Versions that were deleted and whose bytes are all still here.
    ///
    /// # Errors
    /// There is no such feed, or the disk fails.
    pub async fn trash(&self, feed: Option<String>) -> Result<Trash, Problem> {
        let grace_ms = self.grace_ms();
        self.blocking(move |site| {
            let feeds = match feed {
                Some(name) => vec![named(site, &name)?],
                None => site.store().feeds()?,
            };
            let mut trash = Trash { grace_ms, more: false, versions: Vec::new() };
            for (id, record) in feeds {
                site.store().each_item(id, site.look(), |at, item| {
                    if !is_gone(item.standing) || trash.more {
                        return Ok(());
                    }
                    let Some((_, publish)) = whole(site, id, &at)? else { return Ok(()) };
                    if trash.versions.len() >= VERSIONS_MAX {
                        trash.more = true;
                        return Ok(());
                    }
                    trash.versions.push(trashed(site, &record, at, &publish, grace_ms)?);
                    Ok::<_, ReadError>(())
                })?;
            }
            Ok(trash)
        })
        .await
    }

    /// Publishes a deleted version again from the bytes that are still here.
    ///
    /// # Errors
    /// Nothing of it is in the trash, a rule refuses the publish, or the disk does.
    pub async fn restore_from_trash(&self, feed: &str, asked: Version) -> Result<api::Package, Problem> {
        let feed = feed.to_owned();
        let restored = self
            .blocking(move |site| {
                let (id, record) = named(site, &feed)?;
                let at = Coordinate::new(record.genesis.kind, &asked.name, &asked.version)?;
                let (_, held) = whole(site, id, &at)?.ok_or_else(|| {
                    let hint = "publish its files again: packetboat publish --restore";
                    not_found("version in the trash", &at.to_string()).hint(hint)
                })?;
                let Publish { manifest, provenance, .. } = held;
                let version = NewVersion { coordinate: at.clone(), manifest, restore: true, provenance };
                publish(site, id, &record, version)?;
                let item = site.store().item(id, &at.name, &at.version, site.look())?;
                let item = item.ok_or_else(|| not_found("version", &at.to_string()))?;
                package(site, id, &record, at, &item)
            })
            .await?;
        self.news(None);
        Ok(restored)
    }

    /// Drops everything in the trash now.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn empty_trash(&self) -> Result<Sweeping, Problem> {
        self.blocking(|site| {
            let swept = site.store().empty_trash(site.look())?;
            let reclaimed = reclaimed(site)?;
            Ok(told(swept, reclaimed, (0, 0), false))
        })
        .await
    }

    /// How much room there is.
    pub(super) async fn space(&self) -> Space {
        self.blocking(|site| Ok(space_of(site.store()))).await.unwrap_or_default()
    }

    /// Why a run ended for want of room, where it was this site's, which then goes on once there is some.
    pub(super) fn want_of_room(&self) -> Option<String> {
        let store = self.inner.site.store();
        let (free, reserve) = (store.free_bytes().ok()?, store.reserve_bytes());
        let full = format!(
            "this site's disk is full: {free} bytes are free and {reserve} are kept; free space on it, or here: packetboat \
             trash empty, packetboat evict, then packetboat sweep"
        );
        if free >= self.disk_low_bytes() {
            return None;
        }
        self.inner.room.full.store(true, Ordering::Relaxed);
        Some(full)
    }

    /// Free bytes below which somebody should hear of it: at half of it nothing more is taken in.
    pub(super) fn disk_low_bytes(&self) -> u64 {
        self.inner.site.store().reserve_bytes().saturating_mul(2)
    }

    /// Tells once that the disk has less free than `floor_bytes`, until it has more again.
    pub(super) async fn look_at_disk(&self, floor_bytes: u64) {
        // A system that does not say how much is free has nothing to be told of.
        let found = self.blocking(|site| {
            let space = space_of(site.store());
            // What it asks of the disk may fail, and is asked again at the next look.
            site.store().keep_room();
            Ok(space)
        });
        let Space { free_bytes: Some(free_bytes), full, .. } = found.await.unwrap_or_default() else {
            return;
        };
        let low = free_bytes < floor_bytes;
        if low && !self.inner.room.low.swap(low, Ordering::Relaxed) {
            self.event(Event::DiskLow { free_bytes, floor_bytes });
        } else if !low {
            self.inner.room.low.store(low, Ordering::Relaxed);
        }
        // Runs that stopped for want of room need not wait as long as refused ones do.
        if !full && self.inner.room.full.swap(full, Ordering::Relaxed) {
            self.wake_links_in(None);
        } else if full {
            self.inner.room.full.store(full, Ordering::Relaxed);
        }
    }

    /// The links that bring something of this feed, or of any, run now, as far as their windows let them; the other site is asked for those that
    /// it dials.
    pub(super) fn wake_links_in(&self, feed: Option<FeedId>) {
        for state in locked(&self.inner.links).values_mut() {
            let brings = |on: &protocol::link::LinkFeed| {
                on.switches.flows_in() && feed.is_none_or(|feed| feed == on.feed)
            };
            if state.link.paused || !state.link.feeds.iter().any(brings) {
                continue;
            }
            if state.link.is_outgoing() {
                // News alone would wait as long as failed runs do.
                state.want(crate::store::Trigger::Manual);
            } else if let Some(commands) = &state.commands {
                tell(commands, Command::Run);
            }
        }
    }
}

fn space_of(store: &Store) -> Space {
    Space { free_bytes: store.free_bytes().ok(), reserve_bytes: store.reserve_bytes(), full: store.is_full() }
}

const fn is_gone(standing: Standing) -> bool {
    matches!(standing, Standing::Deleted | Standing::Suppressed | Standing::Hidden)
}

/// The newest publish of a version whose bytes are all here.
fn whole(site: &SiteStore, feed: FeedId, at: &Coordinate) -> Result<Option<(Hlc, Publish)>, ReadError> {
    let mut newest: Option<(Hlc, Publish)> = None;
    for named in site.store().facts(feed, &at.name, &at.version)? {
        let Body::Publish(publish) = named.op.body else { continue };
        let mut here = true;
        for file in &publish.manifest.files {
            here = here && matches!(site.store().blob_state(file.blob)?, BlobState::Complete { .. });
        }
        if here && newest.as_ref().is_none_or(|(stamp, _)| *stamp < named.op.stamp) {
            newest = Some((named.op.stamp, publish));
        }
    }
    Ok(newest)
}

fn trashed(
    site: &SiteStore,
    record: &FeedRecord,
    at: Coordinate,
    publish: &Publish,
    grace_ms: u64,
) -> Result<Trashed, ReadError> {
    let mut until_ms: Option<u64> = None;
    for file in &publish.manifest.files {
        if let Some(since) = site.store().trashed_since(file.blob)? {
            let until = since.0.saturating_add(grace_ms);
            until_ms = Some(until_ms.map_or(until, |first| first.min(until)));
        }
    }
    let (feed, bytes) = (record.name.clone(), publish.manifest.size());
    Ok(Trashed { feed, name: at.name, version: at.version, bytes, until_ms })
}
