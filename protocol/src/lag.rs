//! How far a site is behind another: ops, from what each side's logs hold.

use std::collections::BTreeMap;

use crate::id::LogId;

/// Ops that `theirs` has and `ours` lacks. Both map a log to its length in ops.
#[must_use]
pub fn ops_behind(ours: &BTreeMap<LogId, u64>, theirs: &BTreeMap<LogId, u64>) -> u64 {
    theirs.iter().fold(0, |sum: u64, (log, len)| {
        sum.saturating_add(len.saturating_sub(ours.get(log).copied().unwrap_or(0)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{FeedId, SiteId};

    #[test]
    fn only_what_the_other_has_more_of_counts() {
        let log = |n| LogId { feed: FeedId([0; 32]), author: SiteId([n; 32]), epoch: 1 };
        let ours = BTreeMap::from([(log(1), 5), (log(2), 9)]);
        let theirs = BTreeMap::from([(log(1), 7), (log(2), 3), (log(3), 4)]);
        assert_eq!(ops_behind(&ours, &theirs), 6);
        assert_eq!(ops_behind(&theirs, &ours), 6);
        assert_eq!(ops_behind(&ours, &ours), 0);
    }
}
