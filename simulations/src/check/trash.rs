//! What was served at a site stays there for the grace of its trash, whatever is deleted, swept and taken back; after it a sweep gives its
//! room back.

use std::collections::BTreeMap;

use protocol::id::{BlobId, FeedId};
use protocol::time::Timestamp;

use crate::site::Site;

/// Sweeps before which a blob may count as just stored, and the first that notes it.
const SWEEPS_FIRST: usize = 3;

/// What is known of the bytes at a site whose trash has a grace.
#[derive(Debug, Default)]
pub struct Bin {
    life: (u64, u64),
    /// The most that the site's clock told: what was noted of the trash before that is set back holds on.
    latest: Timestamp,
    blobs: BTreeMap<BlobId, Lain>,
}

/// A blob that is held whole.
#[derive(Debug, Default)]
struct Lain {
    /// The least that the site's clock told since it was served last.
    served: Option<Timestamp>,
    /// Whether it was served at the last look.
    stands: bool,
    /// Publishes that name it.
    named: usize,
    /// The latest that the clock had told when sweeps found it deleted, since it was named last.
    swept: Vec<Timestamp>,
}

impl Bin {
    /// Looks at what is held at a moment.
    ///
    /// # Errors
    /// What went before its time.
    pub fn look(&mut self, site: &Site, now: u64, feed: FeedId) -> Result<(), String> {
        let Some(grace_ms) = site.grace_ms() else { return Ok(()) };
        let (held, wall) = (site.held(now, feed), site.wall(now));
        self.latest = self.latest.max(wall);
        let is_whole = |blob: &BlobId| held.get(blob).is_some_and(|one| one.whole);
        // What was not durable is gone with the power or a sync that failed: what a peer was told of is another check's.
        let life = site.life_of_bytes();
        let anew = std::mem::replace(&mut self.life, life) != life;
        if anew {
            self.blobs.retain(|blob, _| is_whole(blob));
        }
        // An op that the disk refused may have taken out of the trash what it was to name.
        if anew || site.disk().is_bounded() {
            self.begin_anew();
        }
        for (blob, lain) in &self.blobs {
            let since = lain.served.map(|at| wall.0.saturating_sub(at.0));
            if let Some(since) = since.filter(|since| *since < grace_ms)
                && !is_whole(blob)
            {
                return Err(format!(
                    "{} lacks bytes that were served there {} s ago, and keeps what is deleted for {} s",
                    site.name,
                    since / 1000,
                    grace_ms / 1000
                ));
            }
        }
        self.blobs.retain(|blob, _| is_whole(blob));
        for (blob, one) in held.iter().filter(|(_, one)| one.whole) {
            let lain = self.blobs.entry(*blob).or_default();
            lain.served = if one.served { Some(wall) } else { lain.served.map(|at| at.min(wall)) };
            if !one.gone || lain.named != one.named {
                lain.swept.clear();
            }
            (lain.stands, lain.named) = (one.served, one.named);
        }
        Ok(())
    }

    /// What lies here may lie in the trash from the next sweep on alone.
    fn begin_anew(&mut self) {
        self.blobs.values_mut().for_each(|lain| lain.swept.clear());
    }

    /// Looks at what a sweep left that came to its end.
    ///
    /// # Errors
    /// What went before its time, and what stays beyond it.
    pub fn swept(&mut self, site: &Site, now: u64, feed: FeedId) -> Result<(), String> {
        self.look(site, now, feed)?;
        let (Some(grace_ms), wall) = (site.grace_ms(), site.wall(now)) else { return Ok(()) };
        let held = site.held(now, feed);
        for (blob, lain) in self.blobs.iter_mut().filter(|_| !site.disk().is_bounded()) {
            if !held.get(blob).is_some_and(|one| one.gone) {
                continue;
            }
            let first = lain.swept.get(..SWEEPS_FIRST).and_then(|first| first.iter().max());
            if first.is_some_and(|noted| noted.0.saturating_add(grace_ms) <= wall.0) {
                return Err(format!(
                    "{} swept, and keeps bytes that were deleted for longer than its trash keeps any",
                    site.name
                ));
            }
            lain.swept.push(self.latest);
        }
        Ok(())
    }

    /// People threw away what is in the trash, as far as the disk let them.
    ///
    /// # Errors
    /// What is served and went, and what was to go and stays.
    pub fn emptied(&mut self, site: &Site, now: u64, feed: FeedId, done: bool) -> Result<(), String> {
        let held = site.held(now, feed);
        if done && held.values().any(|one| one.gone && one.whole) {
            return Err(format!("{} emptied its trash and keeps bytes that were deleted", site.name));
        }
        // What they threw away went by their will; what is served did not.
        self.blobs.retain(|blob, lain| lain.stands || held.get(blob).is_some_and(|one| one.whole));
        self.look(site, now, feed)
    }
}
