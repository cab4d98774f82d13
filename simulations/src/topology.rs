//! Who is linked to whom, who dials, what each end allows, and how far an op gets by that: the named shapes.

use std::collections::BTreeSet;

use protocol::switches::{Switches, Verdict};

use crate::entropy::Entropy;

/// What sites are called, the origin first.
pub const NAMES: [&str; 12] = [
    "Los Angeles",
    "New York",
    "Tokyo",
    "Berlin",
    "London",
    "Sydney",
    "Santiago",
    "Nairobi",
    "Oslo",
    "Lima",
    "Pune",
    "Perth",
];

/// A named shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Topology {
    /// Two sites mirror each other.
    Pair,
    /// All mirror with one.
    Hub,
    /// Each pulls from the one before; none but the first may write.
    Chain,
    /// One pushes to another and takes nothing.
    Contributor,
    /// Each pulls from the next, in a ring, and all may write.
    Ring,
    /// One pulls from the origin, and many from that one.
    Global,
    /// Two mirror each other, the others pull from either.
    Partial,
    /// Anything.
    Random,
}

/// All of them.
pub const TOPOLOGIES: [Topology; 8] = [
    Topology::Pair,
    Topology::Hub,
    Topology::Chain,
    Topology::Contributor,
    Topology::Ring,
    Topology::Global,
    Topology::Partial,
    Topology::Random,
];

/// One link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub dialler: usize,
    pub listener: usize,
    /// What the dialler asks, in its own terms.
    pub ask: Switches,
    /// What the listener allows, in its own terms.
    pub allow: Switches,
    /// It runs every so many beats.
    pub every: u64,
}

impl Link {
    /// What flows, in the dialler's terms.
    #[must_use]
    pub fn effective(&self) -> Switches {
        Verdict::of(self.allow.flip(), self.ask).effective()
    }
}

/// Sites and links. Site 0 is the feed's origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    pub links: Vec<Link>,
    /// Which sites may write in the feed.
    pub authors: Vec<bool>,
}

fn link(dialler: usize, listener: usize, ask: Switches) -> Link {
    Link { dialler, listener, ask, allow: ask.flip(), every: 1 }
}

impl Topology {
    /// The shape, with its random choices made.
    #[must_use]
    pub fn shape(self, entropy: &mut Entropy) -> Shape {
        let mut some = |from: u64, to: u64| usize::try_from(from + entropy.below(to - from + 1)).unwrap_or(2);
        let (mirror, pull) = (Switches::MIRROR, Switches::PULL);
        let mut shape = match self {
            Self::Pair => Shape { links: vec![link(1, 0, mirror)], authors: vec![true; 2] },
            Self::Hub => {
                let sites = some(3, 5);
                let links = (1..sites).map(|leaf| link(leaf, 0, mirror)).collect();
                Shape { links, authors: vec![true; sites] }
            }
            Self::Chain => {
                let links = vec![link(1, 0, pull), link(2, 1, pull)];
                Shape { links, authors: vec![true, false, false] }
            }
            Self::Contributor => Shape { links: vec![link(1, 0, Switches::PUSH)], authors: vec![true; 2] },
            Self::Ring => {
                let sites = some(3, 5);
                let links = (0..sites).map(|at| link(at, (at + 1) % sites, pull)).collect();
                Shape { links, authors: vec![true; sites] }
            }
            Self::Global => {
                let links = vec![link(1, 0, pull), link(2, 1, pull), link(3, 1, pull), link(4, 1, pull)];
                Shape { links, authors: vec![true, false, false, false, false] }
            }
            Self::Partial => {
                let sites = some(3, 6);
                let mut links = vec![link(1, 0, mirror)];
                links.extend((2..sites).map(|leaf| link(leaf, leaf % 2, pull)));
                let authors = (0..sites).map(|at| at < 2).collect();
                Shape { links, authors }
            }
            Self::Random => random(some(2, 6) + some(0, 1) * some(0, 6), entropy),
        };
        let trees = matches!(self, Self::Chain | Self::Global | Self::Partial);
        for link in &mut shape.links {
            link.every = 1 + entropy.below(3);
            // Deletions then stop here, and at whoever pulls from here.
            if trees && link.ask == pull && entropy.chance(200_000) {
                link.ask = pull.adds_only();
            }
        }
        shape
    }
}

/// A random tree with some links more. A site may write if something flows from it; one that hangs on a single link may get additions alone.
fn random(sites: usize, entropy: &mut Entropy) -> Shape {
    let mut pairs: BTreeSet<(usize, usize)> = BTreeSet::new();
    for at in 1..sites {
        pairs.insert((usize::try_from(entropy.below(at as u64)).unwrap_or(0), at));
    }
    for _ in 0..sites / 3 {
        let one = usize::try_from(entropy.below(sites as u64)).unwrap_or(0);
        let other = usize::try_from(entropy.below(sites as u64)).unwrap_or(0);
        if one != other {
            pairs.insert((one.min(other), one.max(other)));
        }
    }
    let hangs = |at: usize| pairs.iter().filter(|(one, other)| *one == at || *other == at).count() == 1;
    let modes = |near: usize, far: usize, entropy: &mut Entropy| match entropy.below(10) {
        0..5 => (far, near, Switches::MIRROR, Switches::MIRROR),
        5..7 => (far, near, Switches::PULL, Switches::MIRROR),
        7 if hangs(far) => (far, near, Switches::PULL.adds_only(), Switches::PUSH),
        8 => (near, far, Switches::PUSH, Switches::PULL),
        _ => (near, far, Switches::MIRROR, Switches::MIRROR),
    };
    let links: Vec<Link> = pairs
        .iter()
        .map(|(near, far)| {
            let (dialler, listener, ask, allow) = modes(*near, *far, entropy);
            Link { dialler, listener, ask, allow, every: 1 }
        })
        .collect();
    let writes = |at: usize| {
        let out = |link: &Link| {
            let effective = link.effective();
            let own = if link.dialler == at { effective } else { effective.flip() };
            (link.dialler == at || link.listener == at) && own.out_add && own.out_delete
        };
        at == 0 || links.iter().any(out)
    };
    let authors = (0..sites).map(writes).collect();
    Shape { links, authors }
}

impl Shape {
    /// Sites.
    #[must_use]
    pub fn sites(&self) -> usize {
        self.authors.len()
    }

    /// The sites from which a site takes additions.
    #[must_use]
    pub fn feeders(&self, at: usize) -> BTreeSet<usize> {
        let feeder = |link: &Link| {
            let effective = link.effective();
            if link.dialler == at && effective.in_add {
                Some(link.listener)
            } else if link.listener == at && effective.out_add {
                Some(link.dialler)
            } else {
                None
            }
        };
        self.links.iter().filter_map(feeder).collect()
    }

    /// Where an op of a site gets to, itself among them: by links that let additions through, or those that let deletions through.
    #[must_use]
    pub fn reach(&self, from: usize, deletes: bool) -> BTreeSet<usize> {
        let writes = self.authors.get(from).copied().unwrap_or(false);
        let from = BTreeSet::from([from]);
        if writes { self.closure(from, deletes) } else { from }
    }

    /// Whether some link brings a site everything of the feed.
    #[must_use]
    pub fn hears_all(&self, at: usize) -> bool {
        self.links.iter().any(|link| {
            let effective = link.effective();
            let own = if link.dialler == at { effective } else { effective.flip() };
            (link.dialler == at || link.listener == at) && own.in_add && own.in_delete
        })
    }

    /// Where that gets to which is at some sites, whoever said it.
    #[must_use]
    pub fn closure(&self, from: BTreeSet<usize>, deletes: bool) -> BTreeSet<usize> {
        self.beyond(from, |on| if deletes { on.in_delete } else { on.in_add })
    }

    /// The sites to which a chain of links leads, each of which lets something in by its receiver's switches.
    #[must_use]
    pub fn beyond(
        &self,
        mut reached: BTreeSet<usize>,
        lets_in: impl Fn(Switches) -> bool,
    ) -> BTreeSet<usize> {
        loop {
            let before = reached.len();
            for link in &self.links {
                let effective = link.effective();
                if lets_in(effective) && reached.contains(&link.listener) {
                    reached.insert(link.dialler);
                }
                if lets_in(effective.flip()) && reached.contains(&link.dialler) {
                    reached.insert(link.listener);
                }
            }
            if reached.len() == before {
                return reached;
            }
        }
    }
}
