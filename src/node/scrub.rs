//! Reading everything that is kept again, a little at a time, so that rot is found while other sites still have the bytes.

#[cfg(test)]
mod tests;

use std::sync::Weak;
use std::time::Duration;

use protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Inner, Node, locked};
use crate::api::Problem;
use crate::api::keeping::Scrub;
use crate::config::Keeping;
use crate::keeper::{SiteStore, wall_clock};
use crate::store::{Loss, ReadError, ScrubPlace, Shelf};

/// A start has better to do than to read old bytes.
const AFTER_START: Duration = Duration::from_secs(600);

/// How often it is seen whether a pass is due.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// Bytes read at once: enough for a disk to be quick, little enough to leave it to others in between.
const STEP_BYTES_MAX: u64 = 4 << 20;

/// Bytes after which it is noted how far the pass is: a restart reads at most so much twice.
const NOTED_EVERY_BYTES: u64 = 256 << 20;

/// The record's key among the settings.
const KEY: &[u8] = b"scrub";

/// How far the scrub is, over restarts.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Pass {
    /// When the last whole pass ended.
    ended: Option<Timestamp>,
    /// The pass that is going on: when it began, where it goes on, bytes read.
    going: Option<(Timestamp, ScrubPlace, u64)>,
}

/// Scrubs until the node is gone.
pub(super) async fn scrub(inner: Weak<Inner>, keeping: Keeping) {
    let Some(rate) = keeping.scrub_bytes_per_s else { return };
    if let Some(inner) = inner.upgrade() {
        Node { inner }.remember_scrub().await;
    }
    tokio::time::sleep(AFTER_START).await;
    loop {
        let Some(inner) = inner.upgrade() else { return };
        let node = Node { inner };
        let wait = node.scrub_some(rate, keeping.scrub_every).await;
        drop(node);
        tokio::time::sleep(wait).await;
    }
}

impl Node {
    /// Reads how far the pass was before the last stop.
    async fn remember_scrub(&self) {
        match self.blocking(|site| Ok(noted(site)?)).await {
            Ok(pass) => *locked(&self.inner.scrub) = pass,
            Err(problem) => tracing::warn!(problem = problem.detail, "how far the scrub was cannot be read"),
        }
    }

    /// Reads some more, if a pass is going on or due, and gives how long to wait.
    pub(super) async fn scrub_some(&self, rate: u64, every: Duration) -> Duration {
        let mut pass = *locked(&self.inner.scrub);
        if pass.going.is_none() {
            let every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
            let due = pass.ended.map_or(0, |ended| ended.0.saturating_add(every_ms));
            if wall_clock().0 < due {
                return LOOK_EVERY;
            }
            pass.going = Some((wall_clock(), ScrubPlace::default(), 0));
        }
        let bytes_max = rate.clamp(1, STEP_BYTES_MAX);
        match self.blocking(move |site| step(site, pass, bytes_max)).await {
            Ok((pass, read, loss)) => {
                *locked(&self.inner.scrub) = pass;
                if loss != Loss::default() {
                    self.look_after_damage().await;
                    self.wake_links_in(None);
                }
                let ms = read.saturating_mul(1000).checked_div(rate).unwrap_or_default();
                if pass.going.is_none() { LOOK_EVERY } else { Duration::from_millis(ms.max(1)) }
            }
            Err(problem) => {
                tracing::error!(
                    problem = problem.detail,
                    "the scrub could not go on; it tries again in an hour"
                );
                LOOK_EVERY
            }
        }
    }

    /// How far the scrub is.
    pub(super) fn scrub_told(&self) -> Scrub {
        let pass = *locked(&self.inner.scrub);
        Scrub {
            ended_ms: pass.ended.map(|at| at.0),
            began_ms: pass.going.map(|(at, ..)| at.0),
            bytes: pass.going.map_or(0, |(.., bytes)| bytes),
        }
    }
}

fn noted(site: &SiteStore) -> Result<Pass, ReadError> {
    let value = site.store().record(Shelf::Settings, KEY)?;
    // One that cannot be read begins anew.
    Ok(value.and_then(|value| postcard::from_bytes(&value).ok()).unwrap_or_default())
}

fn step(site: &SiteStore, pass: Pass, bytes_max: u64) -> Result<(Pass, u64, Loss), Problem> {
    let Some((began, from, before)) = pass.going else { return Ok((pass, 0, Loss::default())) };
    let scrubbed = site.store().scrub(from, bytes_max)?;
    let bytes = before.saturating_add(scrubbed.bytes);
    let pass = match scrubbed.next {
        Some(next) => Pass { going: Some((began, next, bytes)), ..pass },
        None => Pass { ended: Some(wall_clock()), going: None },
    };
    let marks = |bytes: u64| bytes / NOTED_EVERY_BYTES;
    if pass.going.is_none() || marks(bytes) > marks(before) {
        let value = postcard::to_allocvec(&pass).unwrap_or_default();
        site.store().put_record(Shelf::Settings, KEY, &value)?;
    }
    Ok((pass, scrubbed.bytes, scrubbed.loss))
}
