//! What the origin said of who may write, and what follows from it where some of it is known: the rule of rights, told a second time.

use std::collections::BTreeSet;

use protocol::grant::Verb;
use protocol::id::{OpId, SiteId};
use protocol::op::{Grant, Place};
use protocol::time::Hlc;

/// What one word says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    Grant(Grant),
    /// How far each epoch of the site's log still counts.
    Revoke {
        accepted: Vec<(u64, u64)>,
    },
}

/// One word about a site's rights, as it was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    pub id: OpId,
    pub about: SiteId,
    pub said: Said,
    /// Whether it was acknowledged. What was not may exist or not; the origin's store knows.
    pub certain: bool,
}

/// All words, in the order in which they were said.
#[derive(Debug, Default)]
pub struct Words {
    all: Vec<Word>,
}

impl Words {
    /// Notes a word.
    pub fn note(&mut self, word: Word) {
        self.all.push(word);
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Word> {
        self.all.iter()
    }

    /// Whether a site was ever granted something, by the words that are known.
    #[must_use]
    pub fn granted(&self, known: &BTreeSet<OpId>, about: SiteId) -> bool {
        let grants = |word: &&Word| word.about == about && matches!(word.said, Said::Grant(_));
        self.all.iter().filter(grants).any(|word| known.contains(&word.id))
    }

    /// Whether a site's rights were ever taken back.
    #[must_use]
    pub fn took_back(&self, about: SiteId) -> bool {
        self.all.iter().any(|word| word.about == about && matches!(word.said, Said::Revoke { .. }))
    }

    /// How far the last word about a site, of those that are held, accepts an epoch of its log, if that word took its rights back.
    #[must_use]
    pub fn accepted(&self, about: SiteId, epoch: u64, is_held: impl Fn(OpId) -> bool) -> Option<u64> {
        match &self.all.iter().rev().find(|word| word.about == about && is_held(word.id))?.said {
            Said::Grant(_) => None,
            Said::Revoke { accepted } => Some(reach(accepted, epoch)),
        }
    }

    /// Whether an op of a site that is no origin may do something to a package, by the words that are known.
    #[must_use]
    pub fn let_count(
        &self,
        known: &BTreeSet<OpId>,
        (place, stamp): (Place, Hlc),
        verb: Verb,
        name: &str,
    ) -> bool {
        let about = |word: &&Word| word.about == place.log.author && known.contains(&word.id);
        let words: Vec<&Word> = self.all.iter().filter(about).collect();
        (0..words.len()).any(|at| {
            let (Some(word), Some(later)) = (words.get(at), words.get(at + 1..)) else { return false };
            matches!(&word.said, Said::Grant(grant) if covers(grant, stamp, verb, name))
                && outlives(later, place)
        })
    }
}

fn reach(accepted: &[(u64, u64)], epoch: u64) -> u64 {
    accepted.iter().filter(|(of, _)| *of == epoch).map(|(_, len)| *len).max().unwrap_or(0)
}

fn covers(grant: &Grant, stamp: Hlc, verb: Verb, name: &str) -> bool {
    let rights = grant.rights;
    let holds = match verb {
        Verb::Publish => rights.publish,
        Verb::DeleteOwn => rights.delete_own || rights.delete_wide,
        Verb::DeleteWide => rights.delete_wide,
        Verb::Block => rights.block,
        Verb::Admin => rights.admin,
    };
    holds && name.starts_with(&grant.prefix) && grant.expires.is_none_or(|end| stamp.wall() < end)
}

/// Whether what a grant lets count still does after the words that followed it: of revokes in a row the last one holds.
fn outlives(later: &[&Word], place: Place) -> bool {
    let accepts = |word: &Word| match &word.said {
        Said::Grant(_) => true,
        Said::Revoke { accepted } => place.seq < reach(accepted, place.log.epoch),
    };
    later.iter().enumerate().all(|(at, word)| {
        let replaced = later.get(at + 1).is_some_and(|next| matches!(next.said, Said::Revoke { .. }));
        replaced || accepts(word)
    })
}
