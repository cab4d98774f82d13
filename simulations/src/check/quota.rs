//! A quota holds: no publish takes a feed beyond it, one that would is refused and leaves nothing behind, and where there is room none is.

use std::collections::BTreeSet;

use protocol::id::{FeedId, OpId};

use crate::site::Site;

/// Bytes that a feed takes at a site, by what its ops say: a blob of which a part is here takes its whole room.
#[must_use]
pub fn taken(site: &Site, now: u64, feed: FeedId) -> u64 {
    site.held(now, feed).values().map(|one| one.size).sum()
}

/// Whether the quota of a site has no room for what it lacks of a publish.
#[must_use]
pub fn parks(site: &Site, now: u64, feed: FeedId, publish: OpId) -> bool {
    let Some(quota) = site.quota(feed) else { return false };
    let held = site.held(now, feed);
    let mut taken: u64 = held.values().map(|one| one.size).sum();
    // What an op named that damage took keeps its room, for the op may come back.
    if site.has_short_logs(now) {
        taken = taken.max(site.store().bytes_held(feed).unwrap_or_default());
    }
    let mut lacking = site.lacks(publish).into_iter().filter(|(blob, _)| !held.contains_key(blob));
    lacking.any(|(_, size)| taken.saturating_add(size) > quota)
}

/// A site just before somebody publishes there.
#[derive(Debug)]
pub struct Before {
    quota: u64,
    taken: u64,
    refused: usize,
    ops: BTreeSet<(protocol::id::LogId, u64)>,
    serves: String,
}

fn ops(site: &Site, feed: FeedId) -> BTreeSet<(protocol::id::LogId, u64)> {
    let heads = site.store().heads(feed).unwrap_or_default().into_iter();
    heads.map(|signed| (signed.head.log, signed.head.len)).collect()
}

fn serves(site: &Site, now: u64, feed: FeedId) -> String {
    format!("{:?}", site.store().state_root(feed, site.look(now)))
}

impl Before {
    /// How things are at a site whose feed has a quota.
    #[must_use]
    pub fn of(site: &Site, now: u64, feed: FeedId) -> Option<Self> {
        let quota = site.quota(feed)?;
        let (taken, refused) = (taken(site, now, feed), site.refused_for_room());
        Some(Self { quota, taken, refused, ops: ops(site, feed), serves: serves(site, now, feed) })
    }

    /// Looks at what became of a publish of new bytes.
    ///
    /// # Errors
    /// A quota that was passed over, or a refusal that was wrong or left something behind.
    pub fn after(&self, site: &Site, now: u64, feed: FeedId, bytes: u64, said: bool) -> Result<(), String> {
        let (quota, was, name) = (self.quota, self.taken, site.name);
        let is = taken(site, now, feed);
        let refused = site.refused_for_room() > self.refused;
        if said && is > quota {
            return Err(format!("{name} published {bytes} bytes, and holds {is} where its quota is {quota}"));
        }
        if refused && was.saturating_add(bytes) <= quota {
            return Err(format!("{name} refuses {bytes} bytes, and holds {was} where its quota is {quota}"));
        }
        if refused
            && (said || is != was || ops(site, feed) != self.ops || serves(site, now, feed) != self.serves)
        {
            return Err(format!("{name} refused a publish over its quota, and something of it is left"));
        }
        Ok(())
    }
}
