//! Which grants and revokes count: those of origins, and of admins as far as nobody who may takes back their right to say them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Said, Verb, accepted_of, covers};
use crate::id::{OpId, SiteId};
use crate::op::{Grant, Place, Revoke};
use crate::time::Hlc;

/// A word's place in the order that every site replays them in.
pub(super) type At = (Hlc, OpId);

/// One grant or revoke.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word<'a> {
    pub(super) at: At,
    pub(super) place: &'a Place,
    pub(super) said: &'a Said,
}

impl Word<'_> {
    /// The package names that its author must be an admin of. A revoke takes back everything, so that it needs the whole feed.
    fn prefix(&self) -> &str {
        if let Said::Grant(grant) = self.said { &grant.prefix } else { "" }
    }
}

/// Words in their order.
#[derive(Debug, Clone, Default)]
pub(super) struct Words<'a>(Vec<Word<'a>>);

impl<'a> Words<'a> {
    /// Those that may count, whatever takes them back.
    pub(super) fn possible(origins: &[SiteId], words: impl Iterator<Item = Word<'a>>) -> Self {
        Self(words.collect()).let_count(origins, &Self::default())
    }

    /// The sites that one of them makes an admin.
    pub(super) fn admins(&self) -> BTreeSet<SiteId> {
        let made = |word: &Word<'_>| match word.said {
            Said::Grant(grant) if grant.rights.admin => Some(grant.grantee),
            Said::Grant(_) | Said::Revoke(_) | Said::Cut(..) | Said::Closing(_) => None,
        };
        self.0.iter().filter_map(made).collect()
    }

    /// Those that count. What lets one count is a grant before it that counts, if every revoke that follows the grant and counts accepts the
    /// word. So it hangs on words before it that let it count and on words after it that do not, and those may hang on it in turn: two admins
    /// revoke each other, or one revokes whom it has its right from. Nobody can tell then which of them was said first, for stamps are their
    /// authors' word. Until an origin tells, such revokes count and such grants do not: no right comes from it.
    pub(super) fn counting(self, origins: &[SiteId]) -> Vec<Word<'a>> {
        // More than what counts; what outlives all of that is less than what counts. The two close in on each other.
        let mut most = self;
        loop {
            let least = most.let_count(origins, &most);
            let fewer = most.let_count(origins, &least);
            if fewer.0.len() == most.0.len() {
                let sure: BTreeSet<At> = least.0.iter().map(|word| word.at).collect();
                most.0.retain(|word| matches!(word.said, Said::Revoke(_)) || sure.contains(&word.at));
                return most.0;
            }
            most = fewer;
        }
    }

    /// Those that count if the revokes among `against` are all that takes anything back.
    fn let_count(&self, origins: &[SiteId], against: &Self) -> Self {
        let mut revokes: BTreeMap<SiteId, Vec<(At, &Revoke)>> = BTreeMap::new();
        for word in &against.0 {
            if let Said::Revoke(revoke) = word.said {
                revokes.entry(revoke.grantee).or_default().push((word.at, revoke));
            }
        }
        let mut grants: BTreeMap<SiteId, Vec<(At, &Grant)>> = BTreeMap::new();
        let mut counting = Vec::new();
        for word in &self.0 {
            let Place { log, seq } = *word.place;
            // Only a grant from after the newest revoke that does not accept the word lets it count.
            let refusing = revokes.get(&log.author).into_iter().flatten();
            let refused =
                refusing.filter(|(_, revoke)| seq >= accepted_of(revoke, log)).map(|(at, _)| *at).max();
            let by = |(at, grant): &(At, &Grant)| {
                Some(*at) > refused && covers(grant, word.at.0, Verb::Admin, word.prefix())
            };
            if origins.contains(&log.author)
                || grants.get(&log.author).is_some_and(|given| given.iter().any(by))
            {
                if let Said::Grant(grant) = word.said {
                    grants.entry(grant.grantee).or_default().push((word.at, grant));
                }
                counting.push(*word);
            }
        }
        Self(counting)
    }
}
