//! What befalls the keys of sites: they change, and a thief finds one that was changed.

use super::{Act, Options};
use crate::entropy::Entropy;

impl Options {
    /// In some seeds sites change their keys, some of them twice, and in half of those somebody uses a first one.
    pub(super) fn some_new_keys(&self, entropy: &mut Entropy) -> Vec<(u64, Act)> {
        let mut acts = Vec::new();
        if !entropy.chance(400_000) {
            return acts;
        }
        let stolen = entropy.chance(500_000);
        for _ in 0..=entropy.below(3) {
            let (at, site) = (entropy.below(self.healed_at), entropy.index(self.shape.sites()));
            acts.push((at, Act::NewKey { site }));
            if stolen {
                let (later, there) =
                    (at + entropy.below(self.healed_at - at), entropy.index(self.shape.sites()));
                acts.push((later, Act::UseOldKey { site, there }));
            }
        }
        acts
    }
}
