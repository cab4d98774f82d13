//! The event loop: time moves only here, from one event to the next. Faults on, nothing may be wrong; healed, everything must arrive.

mod acts;
mod again;
mod cheats;
mod doubles;
mod keys;
mod making;
mod room;
mod rot;
mod rulings;

use std::collections::{BTreeMap, BTreeSet};

use protocol::fault::{Outcome, Reason};
use protocol::id::{FeedId, OpId};

use crate::check::trash::Bin;
use crate::check::{self, Fault, by};
use crate::entropy::Entropy;
use crate::net::{Passed, SECOND};
use crate::options::{Act, Layer, Options};
use crate::oracle::{Oracle, Seen};
use crate::quic::{Heard, Quic};
use crate::site::{Site, genesis};
use crate::topology::{NAMES, Shape};
use acts::Fall;
use cheats::Cheat;
use doubles::Double;

/// Two clocks wrong in opposite ways hold an op back for up to twice the skew; beyond that, so many beats.
const HEAL_BEATS_MAX: u64 = 60;
const HEAL_SKEW: u64 = 2 * 3600 * SECOND;
/// Events of a run: many times what any seed takes.
const STEPS_MAX: u64 = 20_000_000;
/// Beats between two looks at what may never be wrong.
const LOOK_BEATS: u64 = 15;
/// Links that run less often than this close their connection in between.
const HANG_UP_BEAT: u64 = 600 * SECOND;
/// How long after a run began its connection is closed there.
const HANG_UP_AFTER: u64 = 300 * SECOND;

/// How a run came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub digest: String,
    /// Ops that people caused.
    pub facts: usize,
    /// Nanoseconds from healing until everything had arrived.
    pub healed_in: u64,
    pub passed: Passed,
    pub runs: usize,
    pub content_bytes: u64,
    pub published_bytes: u64,
    /// Bits flipped and mended.
    pub flips: u64,
    /// Sessions that a rule ended, at all sites.
    pub refused: BTreeMap<Reason, usize>,
    /// Names at which several builds stand, and packages that were followed under a seal, at all sites.
    pub clashes: usize,
    pub sealed: usize,
    /// The most bytes that waited on one lane, and that were held of one stream.
    pub waiting_peak: usize,
    pub held_peak: usize,
    pub lines: Vec<String>,
}

/// A promise that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}: {fault}")]
pub struct Broken {
    pub seed: u64,
    pub fault: Fault,
    pub lines: Vec<String>,
}

/// Sites, lines and links of one seed.
#[derive(Debug)]
pub struct World {
    options: Options,
    /// Sites and links as they are now.
    shape: Shape,
    now: u64,
    quic: Quic,
    sites: Vec<Site>,
    feed: FeedId,
    /// What is still to happen, the next last.
    acts: Vec<(u64, Act)>,
    /// When each link runs next, and when its connection is closed after.
    runs: Vec<(u64, Option<u64>)>,
    looked_at: u64,
    runs_seen: Vec<usize>,
    entropy: Entropy,
    oracle: Oracle,
    /// The words about rights that each site knows.
    known: Vec<BTreeSet<OpId>>,
    interruptions: u64,
    /// Sites at which bits have rotted.
    rotted: BTreeSet<usize>,
    /// What is known of the trash of each site that keeps one.
    bins: BTreeMap<usize, Bin>,
    /// Sites whose machine was set back or ran twice.
    set_back: BTreeSet<usize>,
    /// Second machines that run now, and how many ever did.
    doubles: Vec<Double>,
    doubles_made: usize,
    /// The machine that keeps no rules.
    cheat: Option<Cheat>,
    /// Sites whose first key a thief used.
    robbed: BTreeSet<usize>,
    steps: u64,
}

/// Plays a seed to its end.
///
/// # Errors
/// The promise that did not hold.
pub fn play(options: Options) -> Result<Report, Broken> {
    let mut world = World::new(options);
    match world.run() {
        Ok(report) => Ok(report),
        Err(fault) => Err(world.broken(fault)),
    }
}

impl World {
    fn new(options: Options) -> Self {
        let entropy = Entropy::new(options.seed);
        let mut quic = match options.layer {
            Layer::Pipes => Quic::pipes(entropy.fork("quic")),
            Layer::Quic => Quic::new(entropy.fork("quic")),
        };
        let named = NAMES.iter().take(options.shape.sites()).enumerate();
        let mut sites: Vec<Site> = named.map(|(host, name)| Site::new(name, host, &entropy)).collect();
        for site in &mut sites {
            quic.boot(site.host, &site.key);
            site.hangs_up = options.beat >= HANG_UP_BEAT;
            site.plant(options.plant);
        }
        let origin = genesis(sites.first().map_or(protocol::id::SiteId([0; 32]), Site::id));
        let feed = origin.feed_id();
        for site in &mut sites {
            site.join(origin.clone());
        }
        let mut acts = options.acts.clone();
        acts.reverse();
        let runs = options.shape.links.iter().enumerate();
        let runs = runs.map(|(at, _)| (SECOND + at as u64 * options.beat / 7, None)).collect();
        let mut world = Self {
            now: 0,
            runs_seen: vec![0; sites.len()],
            quic,
            sites,
            feed,
            acts,
            runs,
            looked_at: 0,
            entropy: entropy.fork("world"),
            oracle: Oracle::default(),
            known: Vec::new(),
            interruptions: 0,
            rotted: BTreeSet::new(),
            bins: BTreeMap::new(),
            set_back: BTreeSet::new(),
            doubles: Vec::new(),
            doubles_made: 0,
            cheat: None,
            robbed: BTreeSet::new(),
            steps: 0,
            shape: options.shape.clone(),
            options,
        };
        world.link(&entropy);
        world.admit_cheat(&entropy);
        world.pair();
        world.spoil();
        world
    }

    fn run(&mut self) -> Result<Report, Fault> {
        self.until_faults_end()?;
        self.heal();
        self.scrub_all();
        self.resolve_forks()?;
        self.until_all_arrived()?;
        let healed_in = self.now - self.options.healed_at;
        by("ready", check::ready::check(self.seen()))?;
        self.go_on()?;
        self.write_beyond_quotas()?;
        let flips = self.flip_bits()?;
        self.report(healed_in, flips)
    }

    fn until_faults_end(&mut self) -> Result<(), Fault> {
        while self.now < self.options.healed_at {
            self.step()?;
            if self.now >= self.looked_at + LOOK_BEATS * self.options.beat {
                self.looked_at = self.now;
                self.take_stock();
                self.always()?;
                by("queues", check::queues::under_way(self.quic.net.under_way()))?;
            }
        }
        Ok(())
    }

    /// Lines are whole, disks have room and sync. Clocks stay as wrong as they are.
    fn heal(&mut self) {
        self.quic.net.heal();
        self.acts.clear();
        self.switch_off(u64::MAX);
        self.send_cheat_away();
        for site in &mut self.sites {
            site.disk().heal();
            site.sync_nanos = 0;
            site.stop_after(None);
        }
        self.quic.trace.line(self.now, "everything heals");
    }

    fn until_all_arrived(&mut self) -> Result<(), Fault> {
        let begun = self.now;
        let mut deadline = begun + HEAL_SKEW + HEAL_BEATS_MAX * self.options.beat;
        loop {
            // The longer it takes, the rarer the look.
            let next_look = self.now + self.options.beat.max((self.now - begun) / 4);
            while self.now < next_look {
                self.step()?;
            }
            self.take_stock();
            // What a machine that was set back unnoticed seals by itself may be the first that contradicts what it said.
            if self.forked().is_some() {
                self.resolve_forks()?;
                deadline = self.now + HEAL_SKEW + HEAL_BEATS_MAX * self.options.beat;
                continue;
            }
            match check::at_rest(self.seen()) {
                Ok(()) => return Ok(()),
                Err(Fault { check, what }) if self.now > deadline => {
                    return Err(Fault { check, what: format!("after all that time: {what}") });
                }
                Err(_) => self.always()?,
            }
        }
    }

    /// Bits rot at a site that holds nothing of its own alone. What rots is found and comes again.
    fn flip_bits(&mut self) -> Result<u64, Fault> {
        let shape = &self.shape;
        // What the site says must come back to it: its bytes are then at one from which it takes them.
        let comes_back = |at: usize| {
            [false, true].into_iter().all(|deletes| {
                let reached = shape.reach(at, deletes);
                shape.feeders(at).iter().any(|feeder| reached.contains(feeder))
            })
        };
        let authors = shape.authors.iter().enumerate().filter(|(_, may)| **may);
        let can: Vec<usize> = authors.map(|(at, _)| at).filter(|at| comes_back(*at)).collect();
        let pick = self.entropy.index(can.len());
        let Some(at) = can.get(pick).copied() else { return Ok(0) };
        let mut flips = 0;
        for _ in 0..self.options.flips {
            let Some(site) = self.sites.get_mut(at) else { continue };
            if let Some((pack, offset)) = site.flip_bit() {
                flips += 1;
                self.rotted.insert(at);
                let text = format!("{} finds a bit flipped in pack {pack} at {offset}", site.name);
                self.quic.trace.line(self.now, &text);
            }
        }
        if flips > 0 {
            self.until_all_arrived().map_err(|Fault { check, what }| Fault {
                check,
                what: format!("after bits were flipped: {what}"),
            })?;
        }
        Ok(flips)
    }

    fn step(&mut self) -> Result<(), Fault> {
        let act = self.acts.last().map(|(at, _)| *at);
        let run = self.runs.iter().flat_map(|(at, hang_up)| [Some(*at), *hang_up]).flatten().min();
        let timer = self.sites.iter().filter_map(Site::wake_at).min();
        let due = self.quic.next_due(self.now);
        let doubles = self.doubles.iter().filter_map(Double::due).min();
        let cheat = self.cheat.as_ref().and_then(Cheat::due);
        let next = [act, run, timer, due, doubles, cheat].into_iter().flatten().min().unwrap_or(u64::MAX);
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return Err(Fault { check: "rest", what: format!("{STEPS_MAX} events, and no end") });
        }
        // A timer in the past fires now; time never runs backwards.
        self.now = next.max(self.now + 1);
        while self.acts.last().is_some_and(|(at, _)| *at <= self.now) {
            if let Some((_, act)) = self.acts.pop() {
                self.act(act)?;
                self.look_into_trash()?;
            }
        }
        self.timetable();
        self.run_doubles();
        self.run_cheat();
        self.quic.step(self.now);
        self.listen();
        self.note_cheat();
        self.look_after()
    }

    fn timetable(&mut self) {
        for at in 0..self.runs.len() {
            let Some(link) = self.shape.links.get(at) else { continue };
            let (dialler, every) = (link.dialler, link.every);
            let Some((run, hang_up)) = self.runs.get_mut(at) else { continue };
            let (runs, closes) = (*run <= self.now, hang_up.is_some_and(|at| at <= self.now));
            if closes {
                *hang_up = None;
            }
            if runs {
                *run = self.now + self.options.beat * every;
                *hang_up = hang_up_at(self.now, self.options.beat);
            }
            let Some(site) = self.sites.get_mut(dialler) else { continue };
            if closes {
                site.hang_up(self.now, &mut self.quic);
            }
            if !runs {
                continue;
            }
            let name = format!("link-{at}");
            if let Some(link) = site.links.iter().position(|end| end.name == name) {
                site.sync(self.now, &mut self.quic, link);
            }
        }
    }

    fn listen(&mut self) {
        let doubles = self.doubles.iter_mut().map(|double| &mut double.site);
        let cheat = self.cheat.as_mut().and_then(Cheat::present);
        for site in self.sites.iter_mut().chain(doubles).chain(cheat) {
            let mut stirred = site.wake_at().is_some_and(|due| due <= self.now);
            while let Some(heard) = self.quic.hear(site.host) {
                match heard {
                    Heard::Connected(talk) => site.connected(self.now, &mut self.quic, talk, None),
                    Heard::Accepted(talk, from) => site.connected(self.now, &mut self.quic, talk, Some(from)),
                    Heard::Lost(talk) => site.lost(self.now, &mut self.quic, talk),
                    Heard::Stirred(_) => stirred = true,
                }
            }
            if stirred {
                site.pump(self.now, &mut self.quic);
            }
        }
    }

    /// Power that went inside a sync comes back; what stands under a seal is followed from run to run.
    fn look_after(&mut self) -> Result<(), Fault> {
        if self.sites.iter().any(check::words::has_spoken) {
            let forgetful = self.set_back.union(&self.rotted).copied().collect();
            by("words", check::words::check(&mut self.sites, &self.oracle.doubled, &forgetful))?;
        }
        for at in 0..self.sites.len() {
            if self.sites.get(at).is_some_and(|site| site.disk().is_dark()) {
                self.fall(at, Fall::PowerInAWrite)?;
            } else if self.sites.get(at).is_some_and(Site::is_stopped) {
                self.fall(at, Fall::Program)?;
            }
            self.put_off(at);
            let Some(site) = self.sites.get(at) else { continue };
            let ended = site.ended.len();
            if self.runs_seen.get(at) != Some(&ended) {
                if let Some(seen) = self.runs_seen.get_mut(at) {
                    *seen = ended;
                }
                self.look_after_rot(at);
                self.look_into_trash_of(at)?;
                if !self.forgets_seals(at) {
                    by(
                        "seals",
                        check::seals::follow(at, &self.sites, self.now, self.feed, &mut self.oracle),
                    )?;
                }
            }
        }
        Ok(())
    }

    fn seen(&self) -> Seen<'_> {
        Seen {
            now: self.now,
            feed: self.feed,
            shape: &self.shape,
            sites: &self.sites,
            oracle: &self.oracle,
            known: &self.known,
            rotted: &self.rotted,
            set_back: &self.set_back,
            cheat: self.cheat.as_ref().map(|cheat| &cheat.site),
        }
    }

    fn report(&mut self, healed_in: u64, flips: u64) -> Result<Report, Fault> {
        by("bytes", check::bytes::check(self.seen(), self.interruptions + u64::from(flips > 0)))?;
        let tallies = || self.sites.iter().flat_map(|site| &site.ended);
        let most = |peak: fn(&Site) -> usize| self.sites.iter().map(peak).max().unwrap_or(0);
        let items = self.sites.iter().flat_map(|site| site.items(self.now, self.feed));
        let clashes = items.filter(|(_, item)| !item.clash.is_empty()).count();
        Ok(Report {
            digest: self.quic.trace.digest(),
            facts: self.oracle.facts(&self.sites).count(),
            healed_in,
            passed: self.quic.net.passed,
            runs: tallies().count(),
            content_bytes: tallies().map(|(_, tally)| tally.content_in_bytes).sum(),
            published_bytes: self.oracle.published_bytes,
            flips,
            refused: self.refused(),
            clashes,
            sealed: self.oracle.sealed.len(),
            waiting_peak: most(|site| site.waiting_bytes_peak),
            held_peak: most(|site| site.held_bytes_peak),
            lines: self.quic.trace.lines().to_vec(),
        })
    }

    fn refused(&self) -> BTreeMap<Reason, usize> {
        let mut refused = BTreeMap::new();
        for outcome in self.sites.iter().flat_map(|site| &site.closed) {
            if let Outcome::Refused(reason) = outcome {
                *refused.entry(*reason).or_default() += 1;
            }
        }
        refused
    }

    fn broken(&self, fault: Fault) -> Broken {
        let mut lines = self.quic.trace.lines().to_vec();
        for site in &self.sites {
            let served =
                site.items(self.now, self.feed).into_iter().filter(|(_, item)| item.winner.is_some());
            let names: Vec<String> = served.map(|(name, _)| name).collect();
            let minutes = self.now / SECOND / 60;
            lines.push(format!("at {minutes} min {} serves {}", site.name, names.join(" ")));
            let heads = site.store().heads(self.feed).unwrap_or_default().into_iter();
            let logs = heads.map(|signed| {
                let (author, len) = (signed.head.log.author, signed.head.len);
                let of = self.sites.iter().find(|site| site.id() == author).map_or("?", |site| site.name);
                format!("{of} {len}")
            });
            lines.push(format!("  and holds {}", logs.collect::<Vec<_>>().join(", ")));
        }
        Broken { seed: self.options.seed, fault, lines }
    }
}

/// When a run's connection is closed that is not needed before the next one for long.
fn hang_up_at(now: u64, beat: u64) -> Option<u64> {
    (beat >= HANG_UP_BEAT).then_some(now + HANG_UP_AFTER)
}
