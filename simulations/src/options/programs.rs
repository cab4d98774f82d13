//! Programs that stop in the midst of something, and programs of several releases side by side.

use super::{Act, Fault, Options};
use crate::entropy::Entropy;

/// Events of sessions until a program stops.
const EVENTS_MAX: u64 = 400;
/// Times at which programs stop in a run.
const KILLS_MAX: u64 = 6;
/// Ranges of versions of one release before this, this and later ones: some meet and some do not.
const RANGES: [(u16, u16); 5] = [(1, 1), (0, 1), (1, 2), (2, 2), (2, 3)];

impl Options {
    pub(super) fn some_kills(&self, entropy: &mut Entropy) -> Vec<(u64, Act)> {
        let kills = if entropy.chance(400_000) { 1 + entropy.below(KILLS_MAX) } else { 0 };
        let mut kill = || {
            let (site, after) = (entropy.index(self.shape.sites()), entropy.below(EVENTS_MAX));
            (entropy.below(self.healed_at), Act::Kill { site, after })
        };
        (0..kills).map(|_| kill()).collect()
    }

    /// Some sites speak other versions, and most of them get a program in mid-run that every other one understands.
    pub(super) fn mix_versions(&mut self, entropy: &mut Entropy) {
        // A machine that was set back waits until it heard of everything, which is another tale.
        let set_back = self
            .acts
            .iter()
            .any(|(_, act)| matches!(act, Act::SetBack { .. } | Act::Double { .. } | Act::NewKey { .. }));
        if set_back || !entropy.chance(200_000) {
            return;
        }
        for site in 0..self.shape.sites() {
            if entropy.chance(500_000) {
                continue;
            }
            let (min, max) = RANGES.get(entropy.index(RANGES.len())).copied().unwrap_or((1, 1));
            self.faults.push(Fault::Versions { site, min, max });
            if entropy.chance(800_000) {
                let at = entropy.below(self.healed_at);
                self.acts.push((at, Act::Upgrade { site, min: 0, max: 3 }));
            }
        }
    }
}
