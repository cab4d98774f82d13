//! How far logs count of which their authors signed two histories, or that a later key of theirs closed.

use std::collections::BTreeMap;

use super::Said;
use super::closed::Closed;
use crate::id::{FeedId, LogId, SiteId};
use crate::log::{Head, SignedHead};
use crate::op::{Cut, Place, Tip};
use crate::signature::Signature;
use crate::succession::Succession;

/// How far a log counts of which its author signed two histories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CutAt {
    /// Not at all.
    Nothing,
    Head(Box<SignedHead>),
}

impl CutAt {
    /// Ops.
    #[must_use]
    pub const fn len(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Head(signed) => signed.head.len,
        }
    }

    /// Whether nothing of the log counts.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What an op says, where the author of the cut log did sign that state.
    pub(super) fn of(cut: &Cut, feed: FeedId) -> Option<(LogId, Self)> {
        let Tip { author, epoch, len, root } = cut.tip;
        let log = LogId { feed, author, epoch };
        if len == 0 {
            return Some((log, Self::Nothing));
        }
        let signature = Signature(cut.signature.as_slice().try_into().ok()?);
        let succession = cut.succession.clone();
        let head = Head { log, len, root, time: cut.signed };
        let signed = SignedHead { head, succession, signature };
        signed.verify().is_ok().then_some((log, Self::Head(Box::new(signed))))
    }
}

/// The cuts that count, the lowest of each log, and what is closed where they hold.
pub(super) fn settle<Key>(
    origins: &[SiteId],
    said: &BTreeMap<Key, (Place, Said)>,
    lineages: &BTreeMap<LogId, Succession>,
) -> (BTreeMap<LogId, CutAt>, Closed) {
    let mut cuts: BTreeMap<LogId, CutAt> = BTreeMap::new();
    loop {
        // A cut of a key that should not be takes that key's claim away.
        let stands = |place: &Place| cuts.get(&place.log).is_none_or(|cut| place.seq < cut.len());
        let closings = said.values().filter_map(|(place, what)| match what {
            Said::Closing(closing) => stands(place).then_some((place, closing)),
            Said::Grant(_) | Said::Revoke(_) | Said::Cut(..) => None,
        });
        let closed =
            Closed::of(closings, lineages.iter().filter(|(log, _)| stands(&Place { log: **log, seq: 0 })));
        let mut lower = cuts.clone();
        for (place, what) in said.values() {
            // Whoever has an old key of an origin cuts nothing with it, by contesting the new one either.
            if let Said::Cut(log, at) = what
                && origins.contains(&place.log.author)
                && !closed.leaves_out(place.log, place.seq)
                && !closed.doubts(place.log, place.seq)
            {
                let lowest = lower.entry(*log).or_insert_with(|| at.clone());
                if at.len() < lowest.len() {
                    lowest.clone_from(at);
                }
            }
        }
        // Once one origin's cut ends a contest about another one's key, that key's cuts count too. None that counted is given up for it.
        if lower == cuts {
            return (cuts, closed);
        }
        cuts = lower;
    }
}
