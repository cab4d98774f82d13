//! What a node does by itself now and then: seals of its feeds, figures of downloads.

use std::collections::BTreeSet;
use std::sync::Weak;
use std::time::Duration;

use protocol::id::FeedId;
use protocol::package::Coordinate;
use protocol::time::Timestamp;

use super::feeds::named;
use super::{Inner, Node, locked};
use crate::api::Problem;
use crate::events::Event;
use crate::keeper::{SiteStore, wall_clock};
use crate::statement::usage::Downloads;
use crate::statement::{seal, usage};

/// How often what was appended here is sealed, at the origin of a feed. What came over a link is sealed when its run ends.
const SEAL_EVERY: Duration = Duration::from_secs(60);

/// How often downloads are told as an op: a count each hour keeps the log small, and a stop tells the rest.
const TELL_EVERY: Duration = Duration::from_secs(3600);

/// Versions whose downloads are counted between two tellings. Beyond it the rest is told early.
const COUNTED_MAX: usize = 10_000;

/// Seals and tells until the node is gone.
pub(super) async fn keep_up(inner: Weak<Inner>) {
    let mut sealing = tokio::time::interval(SEAL_EVERY);
    let mut telling = tokio::time::interval(TELL_EVERY);
    sealing.tick().await;
    telling.tick().await;
    loop {
        let tell = tokio::select! {
            biased;
            _ = telling.tick() => true,
            _ = sealing.tick() => false,
        };
        let Some(inner) = inner.upgrade() else { return };
        let node = Node { inner };
        if tell {
            node.tell_downloads().await;
            node.renew_notes(wall_clock());
        } else {
            node.renew_untold().await;
            node.seal_feeds().await;
            node.look_at_disk(node.disk_low_bytes()).await;
            node.look_at_feeds(wall_clock()).await;
            node.look_after_damage().await;
        }
    }
}

/// Feeds of other sites whose origin says nothing any more, and when it was heard last. A link by which its log never comes tells nothing.
pub(super) fn stale_feeds(site: &SiteStore, now: Timestamp) -> Result<Vec<(String, Timestamp)>, Problem> {
    let mut stale = Vec::new();
    for (feed, record) in site.store().feeds()? {
        let Some(ledger) = site.store().ledger(feed)? else { continue };
        if !ledger.authority().is_origin(site.me()) && ledger.newest_seal().is_some() && ledger.is_stale(now)
        {
            stale.push((record.name, ledger.heard_of_origin()));
        }
    }
    Ok(stale)
}

impl Node {
    /// Seals every feed whose origin is this site, as far as there is something to seal.
    pub(super) async fn seal_feeds(&self) {
        let sealed = self
            .blocking(|site| {
                let mut any = false;
                for (feed, record) in site.store().feeds()? {
                    if record.genesis.origin == site.me() || record.genesis.second_origin == Some(site.me()) {
                        // One that waits to learn what it said says nothing meanwhile.
                        if site.store().waits(feed)?.is_some() {
                            continue;
                        }
                        match seal::seal(site, feed) {
                            Ok(sealed) => any = any || sealed,
                            Err(error) if error.is_of_one_feed() => {
                                tracing::warn!(%error, feed = record.name, "a feed could not be sealed");
                            }
                            Err(error) => return Err(error.into()),
                        }
                    }
                }
                Ok(any)
            })
            .await;
        match sealed {
            Ok(true) => self.news(None),
            Ok(false) => {}
            Err(problem) => tracing::warn!(problem = problem.detail, "a feed could not be sealed"),
        }
    }

    /// Tells once of each feed of another site's whose origin is not heard of any more, until it is again.
    pub(super) async fn look_at_feeds(&self, now: Timestamp) {
        let stale = self.blocking(move |site| stale_feeds(site, now)).await;
        let Ok(stale) = stale else { return };
        let names: BTreeSet<String> = stale.iter().map(|(feed, _)| feed.clone()).collect();
        let told = std::mem::replace(&mut *locked(&self.inner.feeds_stale), names);
        for (feed, heard) in stale {
            if !told.contains(&feed) {
                self.event(Event::FeedStale { feed, sealed_ms: heard.0 });
            }
        }
    }

    /// A client has begun to download a file of a version.
    pub(crate) async fn downloaded(&self, feed: &str, name: &str, version: &str) {
        let (feed, name, version) = (feed.to_owned(), name.to_owned(), version.to_owned());
        let found = self.blocking(move |site| {
            let (id, record) = named(site, &feed)?;
            Ok((id, Coordinate::new(record.genesis.kind, &name, &version)?))
        });
        let Ok((feed, at)) = found.await else { return };
        let full = {
            let mut counted = locked(&self.inner.downloads);
            let used = counted.entry(feed).or_default().entry(at).or_default();
            *used = (used.0.saturating_add(1), wall_clock());
            counted.values().map(Downloads::len).sum::<usize>() > COUNTED_MAX
        };
        if full {
            self.tell_downloads().await;
        }
    }

    /// Downloads counted here and not told yet.
    pub(super) fn downloads_untold(&self, feed: FeedId, at: &Coordinate) -> u64 {
        locked(&self.inner.downloads).get(&feed).and_then(|of| of.get(at)).map_or(0, |(count, _)| *count)
    }

    /// Tells what was downloaded as ops of this site.
    pub(super) async fn tell_downloads(&self) {
        let counted = std::mem::take(&mut *locked(&self.inner.downloads));
        if counted.is_empty() {
            return;
        }
        let told = self.blocking(move |site| {
            for (feed, downloads) in counted {
                match usage::tell(site, feed, downloads) {
                    Err(error) if !error.is_of_one_feed() => return Err(error.into()),
                    Err(error) => tracing::warn!(%error, "downloads of one feed could not be told"),
                    Ok(()) => {}
                }
            }
            Ok(())
        });
        match told.await {
            Ok(()) => self.news(None),
            Err(problem) => tracing::warn!(problem = problem.detail, "downloads could not be told"),
        }
    }
}
