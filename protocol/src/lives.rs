//! Two nodes with one key, told apart by the lives of their stores: a life that comes back after another one was seen has a double.

use std::collections::BTreeMap;

use crate::fault::{Outcome, Reason};
use crate::id::{SiteId, StoreId};
use crate::limits::{SITE_LIVES_MAX, SITE_LIVES_MS};
use crate::time::Timestamp;

#[cfg(test)]
mod tests;

/// The lives of which sites called lately.
#[derive(Debug, Clone, Default)]
pub struct Lives {
    sites: BTreeMap<SiteId, Seen>,
}

#[derive(Debug, Clone, Default)]
struct Seen {
    /// In the order in which each was first seen, with when it was last.
    lives: Vec<(StoreId, Timestamp)>,
    /// When two were last known to run side by side.
    doubled: Option<Timestamp>,
}

impl Seen {
    fn forget(&mut self, now: Timestamp) {
        let recent = |at: Timestamp| now.0.saturating_sub(at.0) < SITE_LIVES_MS;
        self.lives.retain(|(_, last)| recent(*last));
        self.doubled = self.doubled.filter(|at| recent(*at) && self.lives.len() > 1);
    }
}

impl Lives {
    /// A site called with this life.
    pub fn saw(&mut self, site: SiteId, life: StoreId, now: Timestamp) {
        let seen = self.sites.entry(site).or_default();
        seen.forget(now);
        if let Some((_, last)) = seen.lives.iter_mut().find(|(known, _)| *known == life) {
            *last = now;
        } else {
            seen.lives.push((life, now));
            let more = seen.lives.len().saturating_sub(SITE_LIVES_MAX);
            seen.lives.drain(..more);
        }
    }

    /// The lives that are not listened to: those that another one followed, and all of a site of which two run. A restored site is a new
    /// life, and the old one is over; only if that calls again are there two. [P-57]
    #[must_use]
    pub fn barred(&self, site: SiteId, now: Timestamp) -> Vec<StoreId> {
        let Some(seen) = self.sites.get(&site) else { return Vec::new() };
        let mut seen = seen.clone();
        seen.forget(now);
        let spared = usize::from(seen.doubled.is_none());
        let barred = seen.lives.len().saturating_sub(spared);
        seen.lives.iter().take(barred).map(|(life, _)| *life).collect()
    }

    /// Whether two lives of a site are known to run side by side.
    #[must_use]
    pub fn is_doubled(&self, site: SiteId, now: Timestamp) -> bool {
        self.sites.get(&site).is_some_and(|seen| {
            let mut seen = seen.clone();
            seen.forget(now);
            seen.doubled.is_some()
        })
    }

    /// Whether the end of a session with a site says that another node has this one's key: the site listens to neither of the two. Where
    /// it is the other one that has a double, this end said so itself.
    #[must_use]
    pub fn is_told_of_own(&self, closed: Outcome, site: SiteId, now: Timestamp) -> bool {
        closed == Outcome::Refused(Reason::SiteCopied) && !self.is_doubled(site, now)
    }

    /// A barred life of a site called. Tells whether that is news.
    pub fn doubled(&mut self, site: SiteId, now: Timestamp) -> bool {
        let seen = self.sites.entry(site).or_default();
        seen.forget(now);
        seen.doubled.replace(now).is_none()
    }
}
