//! What befalls whole machines: they are set back to what was kept of them.

use super::{Act, Options};
use crate::entropy::Entropy;

impl Options {
    /// In some seeds one machine or two are set back, each once.
    pub(super) fn some_set_backs(&self, entropy: &mut Entropy) -> Vec<(u64, Act)> {
        let mut acts = Vec::new();
        if !entropy.chance(300_000) {
            return acts;
        }
        let sites = self.shape.sites();
        let first = entropy.index(sites);
        let second = (first + 1 + entropy.index(sites - 1)) % sites;
        let both = entropy.chance(300_000);
        for site in [Some(first), both.then_some(second)].into_iter().flatten() {
            let kept = entropy.below(self.healed_at * 2 / 3);
            let back = kept + entropy.below(self.healed_at - kept);
            acts.push((kept, Act::BackUp { site }));
            acts.push((back, Act::SetBack { site, in_place: entropy.chance(400_000) }));
        }
        acts
    }
}
