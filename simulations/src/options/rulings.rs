//! What people rule while traffic flows: who may write, and what a link lets through.

use protocol::switches::Switches;

use super::{Act, Options};
use crate::entropy::Entropy;

/// Rulings of one kind in a run.
const RULINGS_MAX: u64 = 6;
/// A link that was changed is as it was after so many beats at most.
const CHANGED_BEATS_MAX: u64 = 30;

/// How much a site may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Publish, and delete whatever stands.
    All,
    /// Publish, and delete what it published.
    Own,
    Publish,
    /// Everything, of the packages that several sites publish.
    Contested,
}

/// What becomes of one end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Pause,
    Resume,
    Remove,
    PairAgain,
    /// It asks, or allows, something else, in its own terms.
    Mode(Switches),
    /// It asks, or allows, what it did at first.
    FirstMode,
}

/// Something that a person decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// The origin lets a site write, for so long, beside what it may or instead of that.
    Grant { site: usize, share: Share, lasts_ms: Option<u64>, instead: bool },
    /// The origin takes back what a site may, and accepts what is sealed or all that it holds.
    Revoke { site: usize, all_held: bool },
    /// Somebody changes one end of a link: 0 is the dialler's.
    Link { link: usize, end: usize, change: Change },
    /// A site lets the key at the other end of a link in no more.
    RevokeKey { link: usize, end: usize },
    /// It does again, and the link is made anew.
    ReadmitKey { link: usize, end: usize },
}

impl Options {
    pub(super) fn some_rulings(&self, entropy: &mut Entropy) -> Vec<(u64, Act)> {
        let mut acts = Vec::new();
        // What was lost with a machine, or said under another key, is another tale, told by seeds of their own.
        if self
            .acts
            .iter()
            .any(|(_, act)| matches!(act, Act::SetBack { .. } | Act::Double { .. } | Act::NewKey { .. }))
        {
            return acts;
        }
        if entropy.chance(450_000) {
            for _ in 0..=entropy.below(RULINGS_MAX) {
                let at = self.soon_after_an_act(entropy);
                acts.push((at, self.some_grant(entropy)));
            }
        }
        if entropy.chance(350_000) {
            for _ in 0..=entropy.below(RULINGS_MAX) {
                self.change_a_link(&mut acts, entropy);
            }
        }
        acts
    }

    /// A transfer may be under way then.
    fn soon_after_an_act(&self, entropy: &mut Entropy) -> u64 {
        let acts = self.acts.get(entropy.index(self.acts.len())).map(|(at, _)| *at);
        let at = acts.filter(|_| entropy.chance(500_000)).unwrap_or_else(|| entropy.below(self.healed_at));
        (at + entropy.below(self.beat)).min(self.healed_at.saturating_sub(1))
    }

    fn some_grant(&self, entropy: &mut Entropy) -> Act {
        let site = entropy.index(self.shape.sites());
        let beat_ms = self.beat / 1_000_000;
        let lasts_ms = entropy.chance(300_000).then(|| beat_ms * entropy.below(40));
        let share = [Share::All, Share::Own, Share::Publish, Share::Contested];
        let share = share.get(entropy.index(4)).copied().unwrap_or(Share::All);
        let all_held = entropy.chance(500_000);
        Act::Rule(match entropy.below(10) {
            0..3 => Ruling::Revoke { site, all_held },
            3..6 => Ruling::Grant { site, share: Share::All, lasts_ms, instead: false },
            _ => Ruling::Grant { site, share, lasts_ms, instead: true },
        })
    }

    /// One end is changed, and mostly changed back.
    fn change_a_link(&self, acts: &mut Vec<(u64, Act)>, entropy: &mut Entropy) {
        let (link, end) = (entropy.index(self.shape.links.len()), entropy.index(2));
        let at = self.soon_after_an_act(entropy);
        let until = at + entropy.below(CHANGED_BEATS_MAX * self.beat);
        let modes = [Switches::MIRROR, Switches::PULL, Switches::PUSH, Switches::MIRROR.adds_only()];
        let mode = modes.get(entropy.index(4)).copied().unwrap_or(Switches::MIRROR);
        let change = |change| Ruling::Link { link, end, change };
        let (first, back) = match entropy.below(5) {
            0 => (change(Change::Pause), change(Change::Resume)),
            1 => (change(Change::Remove), change(Change::PairAgain)),
            2 => (Ruling::RevokeKey { link, end }, Ruling::ReadmitKey { link, end }),
            _ => (change(Change::Mode(mode)), change(Change::FirstMode)),
        };
        acts.push((at, Act::Rule(first)));
        if until < self.healed_at || entropy.chance(500_000) {
            acts.push((until.min(self.healed_at.saturating_sub(1)), Act::Rule(back)));
        }
    }
}
