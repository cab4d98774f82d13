//! The room that sites give a feed: in some seeds a trash whose bytes stay for a while, in some a quota.

use super::{Act, Options};
use crate::entropy::Entropy;
use crate::net::SECOND;

/// Nanoseconds of a millisecond.
const MILLISECOND: u64 = SECOND / 1000;
/// Sweeps of a site within a run, as a node does them each hour.
const SWEEPS: u64 = 14;
/// Times at which people delete something at a site with a trash and take it back, or delete it again.
const CHANGES_MAX: u64 = 8;
/// The least quota, and how often it is doubled at most.
const QUOTA_BYTES: u64 = 15_000;
const QUOTA_DOUBLINGS: u64 = 6;

impl Options {
    /// Sites that take part: one at least, and each of the others or not.
    fn some_sites(&self, entropy: &mut Entropy) -> Vec<usize> {
        let first = entropy.index(self.shape.sites());
        (0..self.shape.sites()).filter(|site| *site == first || entropy.chance(300_000)).collect()
    }

    fn sweeps_of(&self, site: usize, entropy: &mut Entropy) -> Vec<(u64, Act)> {
        let every = self.healed_at / SWEEPS;
        (0..SWEEPS).map(|at| (at * every + entropy.below(every), Act::Sweep { site })).collect()
    }

    /// In some seeds; at a few sites what is deleted then stays for a part of the run, and people want some of it back.
    pub(super) fn some_trash(&self, entropy: &mut Entropy) -> Vec<(u64, Act)> {
        let mut acts = Vec::new();
        if !entropy.chance(250_000) {
            return acts;
        }
        for site in self.some_sites(entropy) {
            let grace = self.healed_at / (2 + entropy.below(8));
            acts.push((0, Act::KeepTrash { site, grace_ms: grace / MILLISECOND }));
            acts.extend(self.sweeps_of(site, entropy));
            for _ in 0..entropy.below(CHANGES_MAX) {
                let (at, pick) = (entropy.below(self.healed_at), entropy.next());
                let later = at + entropy.below(grace + grace / 2);
                acts.push((at, Act::Delete { site, pick }));
                acts.push((later, Act::Restore { site, pick }));
                if entropy.chance(400_000) {
                    acts.push((later + entropy.below(2 * self.beat), Act::Delete { site, pick }));
                }
            }
            if entropy.chance(300_000) {
                acts.push((entropy.below(self.healed_at), Act::EmptyTrash { site }));
            }
        }
        acts.retain(|(at, _)| *at < self.healed_at);
        acts
    }

    /// In some seeds; at a few sites people set a quota, of which some is raised or taken away again.
    pub(super) fn some_quotas(&self, entropy: &mut Entropy) -> Vec<(u64, Act)> {
        let mut acts = Vec::new();
        if !entropy.chance(250_000) {
            return acts;
        }
        for site in self.some_sites(entropy) {
            let bytes = (QUOTA_BYTES << entropy.below(QUOTA_DOUBLINGS)) + entropy.below(QUOTA_BYTES);
            let from = entropy.below(self.healed_at / 2);
            acts.push((from, Act::Quota { site, bytes: Some(bytes) }));
            let changed = match entropy.below(4) {
                0 => Some(None),
                1 => Some(Some(bytes * 4)),
                _ => None,
            };
            if let Some(bytes) = changed {
                acts.push((from + entropy.below(self.healed_at - from), Act::Quota { site, bytes }));
            }
            for _ in 0..entropy.below(CHANGES_MAX) {
                let (at, pick) = (from + entropy.below(self.healed_at - from), entropy.next());
                let act = match entropy.below(4) {
                    0 => Act::Delete { site, pick },
                    1 => Act::EmptyTrash { site },
                    _ => Act::Publish { site, contested: None, bytes: 1 + pick % (2 * QUOTA_BYTES) },
                };
                acts.push((at, act));
            }
            acts.extend(self.sweeps_of(site, entropy).into_iter().filter(|(at, _)| *at > from).step_by(3));
        }
        acts
    }
}
