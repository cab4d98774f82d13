//! What a seed expands to: the shape, what goes wrong, and what people do, each of which can be left out to find what matters.

mod cheats;
mod keys;
mod machines;
mod programs;
mod room;
mod rot;
mod rulings;

use std::fmt;

use crate::entropy::Entropy;
use crate::net::{Cut, SECOND};
use crate::plant::Plant;
use crate::topology::{NAMES, Shape, TOPOLOGIES, Topology};
pub use cheats::{Aside, Break, BytesTrick, CheatLink, Lie, OpsTrick, Relayed, Signed, Trick};
pub use machines::Back;
pub use rulings::{Change, Ruling, Share};

/// Beats until faults end. A link runs every beat or two.
const BEATS: u64 = 150;
/// The same where many short runs are played.
const BEATS_SHORT: u64 = 40;
const MINUTE: u64 = 60 * SECOND;
/// What people do in a run.
const ACTS: u64 = 70;
const ACTS_SHORT: u64 = 24;
/// Names that several sites publish, so that they clash.
pub const CONTESTED: u64 = 12;
/// A sync that power goes in is one of so many.
const SYNCS_BETWEEN: u64 = 4;
/// A write that power goes in is one of so many.
const WRITES_BETWEEN: u64 = 12;
/// The most a clock is wrong.
const SKEW_MS_MAX: u64 = 3_600_000;

/// Something that is wrong with the world until it heals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    Loss {
        per_million: u32,
    },
    Jitter {
        most: u64,
    },
    Doubled {
        per_million: u32,
    },
    Slow {
        link: usize,
        bits_per_s: u64,
    },
    Cut {
        link: usize,
        cut: Cut,
    },
    /// A clock that is wrong, for good.
    Skew {
        site: usize,
        ahead_ms: i64,
    },
    /// Disks take this long to sync.
    SlowSync {
        nanos: u64,
    },
    /// A site's program speaks these protocol versions.
    Versions {
        site: usize,
        min: u16,
        max: u16,
    },
    /// A machine more, with a key and links, that keeps no rules.
    Cheat {
        /// What it may write.
        share: Option<Share>,
        links: Vec<CheatLink>,
    },
}

/// Something that happens at a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Publishes a fresh package, or one of those that all fight over.
    Publish {
        site: usize,
        contested: Option<u64>,
        bytes: u64,
    },
    Delete {
        site: usize,
        pick: u64,
    },
    Restore {
        site: usize,
        pick: u64,
    },
    PowerLoss {
        site: usize,
    },
    /// Once so many syncs more are done.
    PowerLossInSync {
        site: usize,
        after: u64,
    },
    /// Once so many writes more are done.
    PowerLossInWrite {
        site: usize,
        after: u64,
    },
    Restart {
        site: usize,
    },
    ClockJump {
        site: usize,
        ms: i64,
    },
    FailSyncs {
        site: usize,
        count: u32,
    },
    DiskFull {
        site: usize,
        room: u64,
    },
    DiskFree {
        site: usize,
    },
    /// Drops what nobody needs, and gives its room back.
    Sweep {
        site: usize,
    },
    /// From here on what is deleted stays in its trash for so long.
    KeepTrash {
        site: usize,
        grace_ms: u64,
    },
    /// People throw away what is in its trash.
    EmptyTrash {
        site: usize,
    },
    /// People set the most that the feed may take there, or none.
    Quota {
        site: usize,
        bytes: Option<u64>,
    },
    /// Bits flip on its disk.
    Rot {
        site: usize,
        pick: u64,
        bits: u64,
    },
    /// While it is down a pack is lost, or the end of one.
    LosePack {
        site: usize,
        pick: u64,
    },
    /// Reads everything that it keeps again.
    Scrub {
        site: usize,
    },
    /// Changes its key.
    NewKey {
        site: usize,
    },
    /// A thief signs with its first key, at the disk of a site.
    UseOldKey {
        site: usize,
        there: usize,
    },
    /// Keeps what is on a machine.
    BackUp {
        site: usize,
    },
    /// Sets a machine back to what was kept of it.
    SetBack {
        site: usize,
        how: Back,
    },
    /// A second machine with a site's key starts, from a copy of its folder or, unnoticed, of its whole machine.
    Double {
        site: usize,
        until: u64,
        noticed: bool,
    },
    /// Somebody publishes at the second machine.
    DoublePublishes {
        contested: Option<u64>,
        bytes: u64,
    },
    /// Somebody deletes there.
    DoubleDeletes {
        pick: u64,
    },
    /// The program stops in the midst of a session, once so many events more of it are done.
    Kill {
        site: usize,
        after: u64,
    },
    /// The program stops, and another one starts that speaks these protocol versions.
    Upgrade {
        site: usize,
        min: u16,
        max: u16,
    },
    /// A person rules who may write, or what a link lets through.
    Rule(Ruling),
    /// The machine that keeps no rules does this, on one of its links.
    Cheat {
        link: usize,
        trick: Trick,
        pick: u64,
    },
}

/// What the sites speak over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// Plain streams, in runs that are short: ten thousand of them take minutes.
    Pipes,
    /// Real QUIC.
    Quic,
}

/// One seed, expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    pub seed: u64,
    pub layer: Layer,
    pub topology: Topology,
    pub shape: Shape,
    /// Nanoseconds of a beat.
    pub beat: u64,
    /// When faults end.
    pub healed_at: u64,
    pub faults: Vec<Fault>,
    /// In order of time.
    pub acts: Vec<(u64, Act)>,
    /// Flip bits in a site's packs once all has arrived, and see them mended.
    pub flips: u64,
    /// A bug that is put in on purpose.
    pub plant: Option<Plant>,
}

/// Which of a seed's faults and acts to leave in; all if none is named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    pub faults: Option<Vec<usize>>,
    pub acts: Option<Vec<usize>>,
}

/// Which faults or acts are named in a list of numbers with commas between them; none in an empty one.
///
/// # Errors
/// Something in it is no number.
pub fn numbers(list: &str) -> Result<Vec<usize>, std::num::ParseIntError> {
    list.split(',').filter(|one| !one.is_empty()).map(str::parse).collect()
}

impl Options {
    /// What a seed means, on the shape it names itself or on the given one.
    #[must_use]
    pub fn of(seed: u64, topology: Option<Topology>) -> Self {
        Self::over(Layer::Quic, seed, topology)
    }

    /// What a seed means where sites speak over something.
    #[must_use]
    pub fn over(layer: Layer, seed: u64, topology: Option<Topology>) -> Self {
        let entropy = Entropy::new(seed);
        let own = usize::try_from(seed).unwrap_or(0) % TOPOLOGIES.len();
        let topology = topology.or_else(|| TOPOLOGIES.get(own).copied()).unwrap_or(Topology::Pair);
        let shape = topology.shape(&mut entropy.fork("shape"));
        let mut choices = entropy.fork("options");
        // Minutes in half of the seeds, else hours, or half days: then a cut lasts for weeks.
        let beat = MINUTE * [1, 1, 60, 720].get(choices.index(4)).copied().unwrap_or(1);
        let mut options = Self {
            seed,
            layer,
            topology,
            shape,
            beat,
            healed_at: if layer == Layer::Pipes { BEATS_SHORT * beat } else { BEATS * beat },
            faults: Vec::new(),
            acts: Vec::new(),
            flips: choices.below(4),
            plant: None,
        };
        options.faults = options.some_faults(&mut entropy.fork("faults"));
        options.acts = options.some_acts(&mut entropy.fork("acts"));
        options.acts.extend(options.some_accidents(&mut entropy.fork("accidents")));
        options.acts.extend(options.some_sweeps(&mut entropy.fork("sweeps")));
        options.acts.extend(options.some_cut_writes(&mut entropy.fork("cut writes")));
        options.acts.extend(options.some_machines(&mut entropy.fork("machines")));
        options.acts.extend(options.some_new_keys(&mut entropy.fork("new keys")));
        options.acts.extend(options.some_kills(&mut entropy.fork("kills")));
        options.mix_versions(&mut entropy.fork("versions"));
        let rulings = options.some_rulings(&mut entropy.fork("rulings"));
        options.acts.extend(rulings);
        options.acts.extend(options.some_rot(&mut entropy.fork("rot")));
        options.acts.extend(options.some_lost_packs(&mut entropy.fork("lost packs")));
        options.acts.extend(options.some_trash(&mut entropy.fork("trash")));
        options.acts.extend(options.some_quotas(&mut entropy.fork("quotas")));
        let tricks = options.some_cheats(&mut entropy.fork("cheats"));
        options.acts.extend(tricks);
        options.acts.sort_by_key(|(at, _)| *at);
        options
    }

    /// A history as the model plays them, over real QUIC: an hour on one of five shapes, clean lines, one clock wrong or none, and three
    /// packages that all fight over.
    #[must_use]
    pub fn history(seed: u64) -> Self {
        let shapes = TOPOLOGIES.get(..5).unwrap_or_default();
        let topology = shapes.get(usize::try_from(seed).unwrap_or(0) % 5).copied();
        let mut options = Self::of(seed, topology);
        let mut entropy = Entropy::new(seed).fork("history over QUIC");
        options.beat = MINUTE;
        options.healed_at = 60 * MINUTE;
        options.flips = 0;
        let ahead_ms = [0, 300_000, 3_600_000].get(entropy.index(3)).copied().unwrap_or(0);
        options.faults = vec![Fault::Skew { site: entropy.index(options.shape.sites()), ahead_ms }];
        for link in &mut options.shape.links {
            link.every = 2 + entropy.below(6);
        }
        let act = |entropy: &mut Entropy| {
            let (site, pick) = (entropy.index(options.shape.sites()), entropy.next());
            match entropy.below(10) {
                0..3 => Act::Delete { site, pick },
                3..5 => Act::Restore { site, pick },
                _ => Act::Publish { site, contested: Some(entropy.below(3)), bytes: 100 },
            }
        };
        options.acts = (0..40).map(|_| (entropy.below(options.healed_at), act(&mut entropy))).collect();
        options.acts.sort_by_key(|(at, _)| *at);
        options
    }

    /// The same seed with nothing wrong: clean lines, right clocks, sound disks.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.faults.clear();
        self.flips = 0;
        let people =
            |act: &Act| matches!(act, Act::Publish { .. } | Act::Delete { .. } | Act::Restore { .. });
        self.acts.retain(|(_, act)| people(act));
        // The same people in a third of the time: there is nothing to wait for.
        self.healed_at /= 3;
        for (at, _) in &mut self.acts {
            *at /= 3;
        }
        self
    }

    /// The same seed with only some of its faults and acts.
    #[must_use]
    pub fn only(mut self, kept: &Kept) -> Self {
        fn pick<T: Clone>(all: &[T], kept: Option<&Vec<usize>>) -> Vec<T> {
            kept.map_or_else(
                || all.to_vec(),
                |kept| kept.iter().filter_map(|at| all.get(*at).cloned()).collect(),
            )
        }
        self.faults = pick(&self.faults, kept.faults.as_ref());
        self.acts = pick(&self.acts, kept.acts.as_ref());
        self
    }

    /// Each kind of fault is in one seed and not in another.
    fn some_faults(&self, entropy: &mut Entropy) -> Vec<Fault> {
        let mut faults = Vec::new();
        let (links, sites) = (self.shape.links.len(), self.shape.sites());
        let half = |entropy: &mut Entropy| entropy.chance(500_000);
        if half(entropy) {
            let most = 100_000;
            faults.push(Fault::Loss { per_million: u32::try_from(entropy.below(most)).unwrap_or(0) });
        }
        if half(entropy) {
            faults.push(Fault::Jitter { most: entropy.below(SECOND / 5) });
        }
        if half(entropy) {
            faults.push(Fault::Doubled { per_million: u32::try_from(entropy.below(100_000)).unwrap_or(0) });
        }
        if half(entropy) {
            let bits_per_s = 256_000 + entropy.below(2_000_000);
            faults.push(Fault::Slow { link: entropy.index(links), bits_per_s });
        }
        if half(entropy) {
            for _ in 0..=entropy.below(3) {
                let link = entropy.index(links);
                let from = entropy.below(self.healed_at);
                let to = from + self.beat * (2 + entropy.below(120));
                let ends = self.shape.links.get(link).map(|link| [link.dialler, link.listener]);
                let one_way = entropy.chance(300_000).then(|| entropy.index(2));
                let only_from = one_way.and_then(|end| ends.and_then(|ends| ends.get(end).copied()));
                faults.push(Fault::Cut { link, cut: Cut { from, to, only_from } });
            }
        }
        if half(entropy) {
            for site in 0..sites {
                if half(entropy) {
                    faults.push(Fault::Skew { site, ahead_ms: skew(entropy) });
                }
            }
        }
        if half(entropy) {
            faults.push(Fault::SlowSync { nanos: entropy.below(10 * SECOND) });
        }
        faults
    }

    fn some_acts(&self, entropy: &mut Entropy) -> Vec<(u64, Act)> {
        let mut acts = Vec::new();
        for _ in 0..if self.layer == Layer::Pipes { ACTS_SHORT } else { ACTS } {
            let (at, site, pick) =
                (entropy.below(self.healed_at), entropy.index(self.shape.sites()), entropy.next());
            let most = if entropy.chance(80_000) { 1_500_000 } else { 20_000 };
            let bytes = 1 + entropy.below(most);
            match entropy.below(10) {
                0..2 => acts.push((at, Act::Delete { site, pick })),
                2 => acts.push((at, Act::Restore { site, pick })),
                3..6 => {
                    // Two publish the same within a beat, and one of them may be cut off for long.
                    let contested = Some(at * CONTESTED / self.healed_at);
                    acts.push((at, Act::Publish { site, contested, bytes }));
                    let (at, site) = (at + entropy.below(self.beat), entropy.index(self.shape.sites()));
                    acts.push((at, Act::Publish { site, contested, bytes: bytes + 1 }));
                }
                _ => acts.push((at, Act::Publish { site, contested: None, bytes })),
            }
        }
        acts
    }

    fn some_sweeps(&self, entropy: &mut Entropy) -> Vec<(u64, Act)> {
        let sweeps = if entropy.chance(500_000) { 1 + entropy.below(8) } else { 0 };
        let mut sweep = || {
            let site = entropy.index(self.shape.sites());
            (entropy.below(self.healed_at), Act::Sweep { site })
        };
        (0..sweeps).map(|_| sweep()).collect()
    }

    fn some_cut_writes(&self, entropy: &mut Entropy) -> Vec<(u64, Act)> {
        let cuts = if entropy.chance(400_000) { 1 + entropy.below(4) } else { 0 };
        let mut cut = || {
            let (site, after) = (entropy.index(self.shape.sites()), entropy.below(WRITES_BETWEEN));
            (entropy.below(self.healed_at), Act::PowerLossInWrite { site, after })
        };
        (0..cuts).map(|_| cut()).collect()
    }

    fn some_accidents(&self, entropy: &mut Entropy) -> Vec<(u64, Act)> {
        let mut accidents = Vec::new();
        let mut kinds = [false; 6];
        for kind in &mut kinds {
            *kind = entropy.chance(500_000);
        }
        for kind in kinds.iter().enumerate().filter_map(|(kind, on)| on.then_some(kind)) {
            for _ in 0..=entropy.below(3) {
                let (at, site) = (entropy.below(self.healed_at), entropy.index(self.shape.sites()));
                let act = match kind {
                    0 => Act::PowerLoss { site },
                    1 => Act::PowerLossInSync { site, after: at % SYNCS_BETWEEN },
                    2 => Act::Restart { site },
                    3 => Act::ClockJump { site, ms: skew(entropy) },
                    4 => Act::FailSyncs { site, count: 1 + u32::try_from(entropy.below(3)).unwrap_or(0) },
                    _ => {
                        let until = at + self.beat * (1 + entropy.below(10));
                        accidents.push((until, Act::DiskFree { site }));
                        Act::DiskFull { site, room: entropy.below(100_000) }
                    }
                };
                accidents.push((at, act));
            }
        }
        accidents
    }
}

/// The name of a package that several sites publish.
#[must_use]
pub fn contested(at: u64) -> String {
    format!("shared-{at}")
}

fn skew(entropy: &mut Entropy) -> i64 {
    let ms = i64::try_from(entropy.below(2 * SKEW_MS_MAX + 1)).unwrap_or(0);
    ms - i64::try_from(SKEW_MS_MAX).unwrap_or(0)
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |site: usize| NAMES.get(site).copied().unwrap_or("?");
        writeln!(f, "seed {}, {:?}, a beat of {} s", self.seed, self.topology, self.beat / SECOND)?;
        for (at, link) in self.shape.links.iter().enumerate() {
            writeln!(
                f,
                "  link {at}: {} dials {}, asks {}, is allowed {}, every {} beats",
                name(link.dialler),
                name(link.listener),
                link.ask,
                link.allow.flip(),
                link.every
            )?;
        }
        let authors = self.shape.authors.iter().enumerate().filter(|(_, may)| **may).map(|(at, _)| name(at));
        writeln!(f, "  may write: {}", authors.collect::<Vec<_>>().join(", "))?;
        for (at, fault) in self.faults.iter().enumerate() {
            writeln!(f, "  fault {at}: {fault:?}")?;
        }
        for (at, (time, act)) in self.acts.iter().enumerate() {
            writeln!(f, "  act {at}: {} s, {act:?}", time / SECOND)?;
        }
        if let Some(plant) = self.plant {
            writeln!(f, "  with a bug put in: {}", plant.name())?;
        }
        write!(f, "  bits flipped at the end: {}", self.flips)
    }
}
