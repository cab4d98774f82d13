//! Bits that rot in mid-run, packs that are lost, and scrubs that may find them before anybody reads them.

use super::{Act, Back, Options, Ruling};
use crate::entropy::Entropy;

/// Times at which bits rot in a run, the bits of each, and scrubs beside the last one.
const ROTS_MAX: u64 = 4;
const BITS_MAX: u64 = 3;
const SCRUBS_MAX: u64 = 4;
/// Packs that are lost in a run.
const LOST_PACKS_MAX: u64 = 2;

impl Options {
    /// What two histories of a log come to where a part of one rotted is another tale, and so is what an origin rules that forgot what it ruled
    /// before.
    fn is_another_tale(&self) -> bool {
        self.acts.iter().any(|(_, act)| {
            let of_a_link = matches!(act, Act::Rule(Ruling::Link { .. }));
            let two = matches!(act, Act::Double { .. } | Act::SetBack { how: Back::Hasty, .. });
            two || (matches!(act, Act::Rule(_)) && !of_a_link)
        })
    }

    /// In some seeds; in each of them once or twice, at one site: what two sites lose wholly may be nowhere. Not beside machines that are set back:
    /// what one lost for good before, and knows no more that it had, nobody can tell of.
    pub(super) fn some_lost_packs(&self, entropy: &mut Entropy) -> Vec<(u64, Act)> {
        let mut acts = Vec::new();
        let another = |(_, act): &(u64, Act)| matches!(act, Act::Rot { .. } | Act::SetBack { .. });
        if self.acts.iter().any(another) || self.is_another_tale() || !entropy.chance(250_000) {
            return acts;
        }
        let site = entropy.index(self.shape.sites());
        for _ in 0..=entropy.below(LOST_PACKS_MAX) {
            let at = entropy.below(self.healed_at);
            acts.push((at, Act::LosePack { site, pick: entropy.next() }));
        }
        acts
    }

    /// In some seeds; in each of them at a few sites.
    pub(super) fn some_rot(&self, entropy: &mut Entropy) -> Vec<(u64, Act)> {
        let mut acts = Vec::new();
        if self.is_another_tale() || !entropy.chance(400_000) {
            return acts;
        }
        for _ in 0..=entropy.below(ROTS_MAX) {
            let (at, site) = (entropy.below(self.healed_at), entropy.index(self.shape.sites()));
            acts.push((at, Act::Rot { site, pick: entropy.next(), bits: 1 + entropy.below(BITS_MAX) }));
        }
        for _ in 0..entropy.below(SCRUBS_MAX) {
            let (at, site) = (entropy.below(self.healed_at), entropy.index(self.shape.sites()));
            acts.push((at, Act::Scrub { site }));
        }
        acts
    }
}
