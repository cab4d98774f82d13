//! Checking every byte of this site, and having damaged ones back from other sites.

use std::collections::BTreeSet;

use protocol::id::BlobId;
use protocol::op::Body;
use tokio::sync::mpsc::Sender;

use super::overview::Counts;
use super::runs::Step;
use super::{Node, locked};
use crate::api::Problem;
use crate::api::keeping::{Damage, Deep, Healed, Verification};
use crate::events::Event;
use crate::keeper::SiteStore;
use crate::store::{Loss, Mended, Open, ReadError};

/// Versions named of all that lack bytes.
const VERSIONS_NAMED_MAX: usize = 100;

/// Publishes looked at for the versions that need a blob.
const USES_MAX: usize = 10;

/// What a check does beyond reading every byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Thorough {
    /// Has what is damaged fetched from other sites.
    pub heal: bool,
    /// Works out again what is derived: logs, index, what stands, counts.
    pub deep: bool,
}

/// Checks every byte of a site.
pub(super) fn verified(
    site: &SiteStore,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Verification, Problem> {
    let found = site.store().verify(|step| progress(step.bytes_done, step.bytes_total))?;
    let mut damaged: Vec<String> = found.damage.iter().map(ToString::to_string).collect();
    if found.format_mended {
        damaged.push("FORMAT was not what it should be, and was written again".to_owned());
    }
    Ok(Verification {
        records: found.records,
        bytes: found.bytes,
        damaged,
        blobs_damaged: found.blobs_lost.len() as u64,
        logs_damaged: found.logs_set_back.len() as u64,
        open: damage(site)?,
        healed: None,
        deep: None,
    })
}

/// Works out again what is derived, and puts right what is another.
pub(super) fn verified_deeply(site: &SiteStore, counts: &Counts) -> Result<Deep, Problem> {
    let found = site.store().verify_deep(site.look())?;
    let mut deep = Deep {
        logs: found.logs,
        ops: found.ops,
        index_entries: found.entries,
        versions: found.versions,
        feeds: 0,
        wrong: found.wrong,
        named: found.named,
        index_left_out: found.index_left_out,
    };
    for (feed, record) in site.store().feeds()? {
        deep.feeds += 1;
        let before = site.store().newest_generation()?;
        let kept = counts.of(site, feed, &record)?;
        counts.forget(feed);
        if counts.of(site, feed, &record)? != kept && site.store().newest_generation()? == before {
            deep.wrong += 1;
            deep.named.push(format!("feed {}: its count and root were not what stands", record.name));
        }
    }
    Ok(deep)
}

/// What is left to mend.
pub(super) fn damage(site: &SiteStore) -> Result<Damage, ReadError> {
    let open = site.store().open_damage(site.look())?;
    let mut versions = BTreeSet::new();
    for &blob in &open.blobs {
        if versions.len() >= VERSIONS_NAMED_MAX {
            break;
        }
        versions.extend(named_by(site, blob)?);
    }
    Ok(Damage {
        places: open.places.len() as u64,
        blobs: open.blobs.len() as u64,
        logs: open.logs.len() as u64,
        versions: versions.into_iter().take(VERSIONS_NAMED_MAX).collect(),
    })
}

fn named_by(site: &SiteStore, blob: BlobId) -> Result<Vec<String>, ReadError> {
    let mut named = Vec::new();
    for (feed, op) in site.store().uses(blob, USES_MAX)? {
        // The op itself may be damaged: it is pulled again before the bytes are.
        let Ok(Some(op)) = site.store().op(op) else { continue };
        if let (Body::Publish(publish), Some(record)) = (op.op.body, site.store().feed(feed)?) {
            named.push(format!("{}/{}", record.name, publish.coordinate));
        }
    }
    Ok(named)
}

impl Node {
    /// Checks every byte of the store, and what is asked beyond that.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn verify(
        &self,
        Thorough { heal, deep }: Thorough,
        steps: Sender<Step>,
    ) -> Result<Verification, Problem> {
        let progress = steps.clone();
        let mut found = self
            .blocking(move |site| {
                verified(site, &mut |done, of| {
                    // A step nobody has room for is followed by another.
                    drop(progress.try_send(("verify".to_owned(), done, Some(of))));
                })
            })
            .await?;
        self.tell_damage();
        if heal {
            found.healed = Some(self.heal(&steps).await?);
            found.open = self.blocking(|site| Ok(damage(site)?)).await?;
        }
        if deep {
            let counts = self.inner.counts.clone();
            found.deep = Some(self.blocking(move |site| verified_deeply(site, &counts)).await?);
        }
        Ok(found)
    }

    /// Has what damage took fetched by every link that could bring it, and writes damaged packs anew.
    async fn heal(&self, steps: &Sender<Step>) -> Result<Healed, Problem> {
        let mut healed = Healed::default();
        let open = self.want_damaged().await?;
        if !open.blobs.is_empty() || !open.logs.is_empty() {
            for name in self.links_in() {
                match self.sync_one(&name, false, steps).await {
                    Ok(_) => healed.links.push(name),
                    Err(problem) => healed.links_failed.push(format!("link {name}: {}", problem.detail)),
                }
            }
        }
        let Mended { blobs, packs } = self.mend().await?;
        Ok(Healed { blobs, packs, ..healed })
    }

    /// Links that bring something of some feed.
    fn links_in(&self) -> Vec<String> {
        let links = locked(&self.inner.links);
        let brings =
            |link: &protocol::link::Link| !link.paused && link.feeds.iter().any(|on| on.switches.flows_in());
        links.values().filter(|state| brings(&state.link)).map(|state| state.link.name.clone()).collect()
    }

    /// Has links that fetch on demand fetch what damage took, too.
    async fn want_damaged(&self) -> Result<Open, Problem> {
        self.blocking(|site| {
            let open = site.store().open_damage(site.look())?;
            for &blob in &open.blobs {
                site.ask_for(blob);
            }
            Ok(open)
        })
        .await
    }

    /// Notes what is back, writes packs anew once nothing is lacking, and tells it.
    async fn mend(&self) -> Result<Mended, Problem> {
        let (mended, open) = self
            .blocking(|site| {
                let mended = site.store().mend(site.look())?;
                Ok((mended, site.store().open_damage(site.look())?))
            })
            .await?;
        if mended != Mended::default() {
            let Mended { blobs, packs } = mended;
            let left = open.places.len() + open.blobs.len() + open.logs.len();
            self.event(Event::DamageHealed { blobs, packs, left: left as u64 });
        }
        Ok(mended)
    }

    /// Tells what was found since the last time.
    pub(super) fn tell_damage(&self) {
        for damage in self.inner.site.store().damage_found() {
            self.event(Event::DamageFound { place: damage.to_string() });
        }
    }

    /// Tells new damage, has it healed by the next runs, and notes what is back.
    pub(super) async fn look_after_damage(&self) {
        match self.blocking(|site| Ok(site.store().look_into_damage()?)).await {
            Ok(loss) if loss != Loss::default() => self.wake_links_in(None),
            Ok(_) => {}
            Err(problem) => tracing::warn!(problem = problem.detail, "damage could not be looked into"),
        }
        self.tell_damage();
        let after = async {
            let open = self.want_damaged().await?;
            if open.is_nothing() { Ok(Mended::default()) } else { self.mend().await }
        };
        if let Err(problem) = after.await {
            tracing::warn!(problem = problem.detail, "damage could not be looked after");
        }
    }
}
