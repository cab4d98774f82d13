//! Logs that a site wrote for itself alone: rights that it is given later are not for what is said there.

use super::Authority;
use crate::id::LogId;

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
    pub fn stayed_home(&self, log: LogId) -> bool {
        self.stays_home(log) && self.is_author(log.author)
    }
}
