//! What befalls whole machines: they are set back to what was kept of them, or run twice.

use super::{Act, CONTESTED, Options};
use crate::entropy::Entropy;

/// How a machine is set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Back {
    /// To its backup, as the node restores it.
    Restored,
    /// In its place to a snapshot, of which the program knows nothing. Its people write nothing until each link ran.
    InPlace,
    /// The same, and its people go on at once.
    Hasty,
}

/// Beats for which a site runs twice, at most.
const DOUBLE_BEATS: u64 = 40;

impl Options {
    /// In some seeds one machine or two are set back, each once; in some others one runs twice for a while.
    pub(super) fn some_machines(&self, entropy: &mut Entropy) -> Vec<(u64, Act)> {
        match entropy.below(10) {
            0..3 => self.some_set_backs(entropy),
            3..5 => self.a_double(entropy),
            _ => Vec::new(),
        }
    }

    fn some_set_backs(&self, entropy: &mut Entropy) -> Vec<(u64, Act)> {
        let mut acts = Vec::new();
        let sites = self.shape.sites();
        let first = entropy.index(sites);
        let second = (first + 1 + entropy.index(sites - 1)) % sites;
        let both = entropy.chance(300_000);
        for site in [Some(first), both.then_some(second)].into_iter().flatten() {
            let kept = entropy.below(self.healed_at * 2 / 3);
            let back = kept + entropy.below(self.healed_at - kept);
            let how = match entropy.below(10) {
                0..5 => Back::Restored,
                5..8 => Back::InPlace,
                _ => Back::Hasty,
            };
            acts.push((kept, Act::BackUp { site }));
            acts.push((back, Act::SetBack { site, how }));
        }
        acts
    }

    /// Of a site that dials: nobody dials the second machine.
    fn a_double(&self, entropy: &mut Entropy) -> Vec<(u64, Act)> {
        let diallers: Vec<usize> = self.shape.links.iter().map(|link| link.dialler).collect();
        let Some(site) = diallers.get(entropy.index(diallers.len())).copied() else { return Vec::new() };
        let from = entropy.below(self.healed_at * 2 / 3);
        let until = (from + self.beat * (3 + entropy.below(DOUBLE_BEATS))).min(self.healed_at);
        let mut acts = vec![(from, Act::Double { site, until, noticed: entropy.chance(500_000) })];
        for _ in 0..1 + entropy.below(5) {
            let (at, pick) = (from + entropy.below(until - from), entropy.next());
            let act = match entropy.below(4) {
                0 => Act::DoubleDeletes { pick },
                1 => Act::DoublePublishes { contested: Some(pick % CONTESTED), bytes: 1 + pick % 20_000 },
                _ => Act::DoublePublishes { contested: None, bytes: 1 + pick % 20_000 },
            };
            acts.push((at, act));
        }
        acts
    }
}
