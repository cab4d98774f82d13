//! Logs that a site wrote for itself alone: rights that it is given later are not for what is said there.

use super::Authority;
use crate::id::{LogId, SiteId};
use crate::op::Rights;
use crate::time::Timestamp;

impl Authority {
    /// Notes which of this site's own logs those are.
    pub fn keep_home(&mut self, logs: impl IntoIterator<Item = LogId>) {
        self.overlay.extend(logs);
    }

    /// Whether a log is one of those.
    #[must_use]
    pub fn stays_home(&self, log: LogId) -> bool {
        self.overlay.contains(&log)
    }

    /// Whether it is one of a site that has rights by now: said again, what is in it is said with them.
    #[must_use]
    pub fn stayed_home(&self, log: LogId, now: Timestamp) -> bool {
        self.stays_home(log) && self.holds_some(log.author, now)
    }

    /// The rights of a site that nothing took back and whose time is not over.
    #[must_use]
    pub fn rights_at(&self, site: SiteId, now: Timestamp) -> Rights {
        if self.origins.contains(&site) {
            return Rights::ALL;
        }
        let standing = self.standing(site).iter().filter(|grant| grant.expires.is_none_or(|end| now < end));
        standing.fold(Rights::default(), |all, grant| all.or(grant.rights))
    }

    /// The rights of a site that nothing took back, as far as they reach a package, or the whole feed where no name is given.
    #[must_use]
    pub fn rights_on(&self, site: SiteId, name: &str) -> Rights {
        if self.origins.contains(&site) {
            return Rights::ALL;
        }
        let reaching = self.standing(site).iter().filter(|grant| name.starts_with(&grant.prefix));
        reaching.fold(Rights::default(), |all, grant| all.or(grant.rights))
    }

    /// Whether it has any.
    #[must_use]
    pub fn holds_some(&self, site: SiteId, now: Timestamp) -> bool {
        self.rights_at(site, now) != Rights::default()
    }
}
