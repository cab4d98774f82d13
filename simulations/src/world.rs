//! The event loop: time moves only here, from one event to the next. Faults on, nothing may be wrong; healed, everything must arrive.

use protocol::id::FeedId;
use protocol::session::Side;

use crate::check;
use crate::entropy::Entropy;
use crate::net::{Line, Passed, SECOND};
use crate::options::{Act, Fault, Options, contested};
use crate::oracle::{Oracle, Seen};
use crate::quic::{Heard, Quic};
use crate::site::{LinkEnd, Site, Unsaid, genesis};
use crate::topology::NAMES;

/// Two clocks wrong in opposite ways hold an op back for up to twice the skew; beyond that, so many beats.
const HEAL_BEATS_MAX: u64 = 60;
const HEAL_SKEW: u64 = 2 * 3600 * SECOND;
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
    /// Names at which several builds stand, and packages that were followed under a seal, at all sites.
    pub clashes: usize,
    pub sealed: usize,
    pub lines: Vec<String>,
}

/// A promise that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}: {what}")]
pub struct Broken {
    pub seed: u64,
    pub what: String,
    pub lines: Vec<String>,
}

/// Sites, lines and links of one seed.
#[derive(Debug)]
pub struct World {
    options: Options,
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
    interruptions: u64,
    rotted: bool,
}

/// Plays a seed to its end.
///
/// # Errors
/// The promise that did not hold.
pub fn play(options: Options) -> Result<Report, Broken> {
    let mut world = World::new(options);
    match world.run() {
        Ok(report) => Ok(report),
        Err(what) => Err(world.broken(what)),
    }
}

impl World {
    fn new(options: Options) -> Self {
        let entropy = Entropy::new(options.seed);
        let mut quic = Quic::new(entropy.fork("quic"));
        let named = NAMES.iter().take(options.shape.sites()).enumerate();
        let mut sites: Vec<Site> = named.map(|(host, name)| Site::new(name, host, &entropy)).collect();
        for site in &mut sites {
            quic.boot(site.host, &site.key);
            site.hangs_up = options.beat >= HANG_UP_BEAT;
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
            interruptions: 0,
            rotted: false,
            options,
        };
        world.link(&entropy);
        world.pair();
        world.spoil();
        world
    }

    fn link(&mut self, entropy: &Entropy) {
        let mut entropy = entropy.fork("lines");
        for (at, link) in self.options.shape.links.iter().enumerate() {
            let delay = SECOND / 1000 * (10 + entropy.below(290));
            self.quic.net.lay(link.dialler, link.listener, Line { delay, ..Line::default() });
            let ids = [link.dialler, link.listener].map(|host| self.sites.get(host).map(Site::id));
            let [Some(dialler), Some(listener)] = ids else { continue };
            let ends = [
                (link.dialler, link.listener, listener, link.ask, Side::Dialler),
                (link.listener, link.dialler, dialler, link.allow, Side::Listener),
            ];
            for (host, peer_host, peer, switches, side) in ends {
                let name = format!("link-{at}");
                if let Some(site) = self.sites.get_mut(host) {
                    site.links.push(LinkEnd { name, peer_host, peer, switches, side });
                }
            }
        }
    }

    /// The origin lets the others write, and what it says of that is handed over as at pairing.
    fn pair(&mut self) {
        let Some((origin, others)) = self.sites.split_first_mut() else { return };
        for other in &*others {
            if self.options.shape.authors.get(other.host) == Some(&true) {
                origin.grant(0, self.feed, other.id());
            }
        }
        for other in others {
            other.adopt(self.feed, origin);
        }
    }

    /// Everything is wrong that is to be wrong from the start.
    fn spoil(&mut self) {
        let links = self.options.shape.links.clone();
        let ends = |at: usize| links.get(at).map(|link| (link.dialler, link.listener));
        for fault in self.options.faults.clone() {
            let every = |change: &dyn Fn(&mut Line), quic: &mut Quic| {
                for at in 0..links.len() {
                    if let Some((one, other)) = ends(at)
                        && let Some(line) = quic.net.line(one, other)
                    {
                        change(line);
                    }
                }
            };
            match fault {
                Fault::Loss { per_million } => {
                    every(&|line| line.loss_per_million = per_million, &mut self.quic);
                }
                Fault::Jitter { most } => every(&|line| line.jitter = most, &mut self.quic),
                Fault::Doubled { per_million } => {
                    every(&|line| line.doubled_per_million = per_million, &mut self.quic);
                }
                Fault::Slow { link, bits_per_s } => {
                    if let Some((one, other)) = ends(link)
                        && let Some(line) = self.quic.net.line(one, other)
                    {
                        line.rate = bits_per_s;
                    }
                }
                Fault::Cut { link, cut } => {
                    self.interruptions += 1;
                    if let Some((one, other)) = ends(link)
                        && let Some(line) = self.quic.net.line(one, other)
                    {
                        line.cuts.push(cut);
                    }
                }
                Fault::Skew { site, ahead_ms } => {
                    if let Some(site) = self.sites.get_mut(site) {
                        site.clock_ahead_ms = ahead_ms;
                    }
                }
                Fault::SlowSync { nanos } => {
                    for site in &mut self.sites {
                        site.sync_nanos = nanos;
                    }
                }
            }
        }
    }

    fn run(&mut self) -> Result<Report, String> {
        self.until_faults_end()?;
        self.heal();
        self.until_all_arrived()?;
        let healed_in = self.now - self.options.healed_at;
        let flips = self.flip_bits()?;
        self.report(healed_in, flips)
    }

    fn until_faults_end(&mut self) -> Result<(), String> {
        while self.now < self.options.healed_at {
            self.step()?;
            if self.now >= self.looked_at + LOOK_BEATS * self.options.beat {
                self.looked_at = self.now;
                check::always(self.seen())?;
                check::queues::under_way(self.quic.net.under_way())?;
            }
        }
        Ok(())
    }

    /// Lines are whole, disks have room and sync. Clocks stay as wrong as they are.
    fn heal(&mut self) {
        self.quic.net.heal();
        self.acts.clear();
        for site in &mut self.sites {
            site.disk().fail_syncs(0);
            site.disk().limit(None);
            site.sync_nanos = 0;
        }
        self.quic.trace.line(self.now, "everything heals");
    }

    fn until_all_arrived(&mut self) -> Result<(), String> {
        let begun = self.now;
        let deadline = begun + HEAL_SKEW + HEAL_BEATS_MAX * self.options.beat;
        loop {
            // The longer it takes, the rarer the look.
            let next_look = self.now + self.options.beat.max((self.now - begun) / 4);
            while self.now < next_look {
                self.step()?;
            }
            match check::at_rest(self.seen()) {
                Ok(()) => return Ok(()),
                Err(what) if self.now > deadline => return Err(format!("after all that time: {what}")),
                Err(_) => check::always(self.seen())?,
            }
        }
    }

    /// Bits rot at a site that holds nothing of its own alone. What rots is found and comes again.
    fn flip_bits(&mut self) -> Result<u64, String> {
        let shape = &self.options.shape;
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
                self.rotted = true;
                let text = format!("{} finds a bit flipped in pack {pack} at {offset}", site.name);
                self.quic.trace.line(self.now, &text);
            }
        }
        if flips > 0 {
            self.until_all_arrived().map_err(|what| format!("after bits were flipped: {what}"))?;
        }
        Ok(flips)
    }

    fn step(&mut self) -> Result<(), String> {
        let act = self.acts.last().map(|(at, _)| *at);
        let run = self.runs.iter().flat_map(|(at, hang_up)| [Some(*at), *hang_up]).flatten().min();
        let timer = self.sites.iter().filter_map(Site::wake_at).min();
        let due = self.quic.next_due(self.now);
        let next = [act, run, timer, due].into_iter().flatten().min().unwrap_or(u64::MAX);
        // A timer in the past fires now; time never runs backwards.
        self.now = next.max(self.now + 1);
        while self.acts.last().is_some_and(|(at, _)| *at <= self.now) {
            if let Some((_, act)) = self.acts.pop() {
                self.act(act)?;
            }
        }
        self.timetable();
        self.quic.step(self.now);
        self.listen();
        self.look_after()
    }

    fn timetable(&mut self) {
        for at in 0..self.runs.len() {
            let Some(link) = self.options.shape.links.get(at) else { continue };
            let (dialler, every) = (link.dialler, link.every);
            let Some((run, hang_up)) = self.runs.get_mut(at) else { continue };
            let (runs, closes) = (*run <= self.now, hang_up.is_some_and(|at| at <= self.now));
            if closes {
                *hang_up = None;
            }
            if runs {
                *run = self.now + self.options.beat * every;
                *hang_up = (self.options.beat >= HANG_UP_BEAT).then_some(self.now + HANG_UP_AFTER);
            }
            let Some(site) = self.sites.get_mut(dialler) else { continue };
            if closes {
                site.hang_up(self.now, &mut self.quic);
            }
            let name = format!("link-{at}");
            if let Some(link) = site.links.iter().position(|end| end.name == name).filter(|_| runs) {
                site.sync(self.now, &mut self.quic, link);
            }
        }
    }

    fn listen(&mut self) {
        for site in &mut self.sites {
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
    fn look_after(&mut self) -> Result<(), String> {
        for at in 0..self.sites.len() {
            if self.sites.get(at).is_some_and(|site| site.disk().is_dark()) {
                self.lose_power(at, false)?;
            }
            let Some(site) = self.sites.get(at) else { continue };
            let ended = site.ended.len();
            if self.runs_seen.get(at) != Some(&ended) {
                if let Some(seen) = self.runs_seen.get_mut(at) {
                    *seen = ended;
                }
                check::seals::follow(at, site, self.now, self.feed, &mut self.oracle)?;
            }
        }
        Ok(())
    }

    fn act(&mut self, act: Act) -> Result<(), String> {
        let (now, feed) = (self.now, self.feed);
        match act {
            Act::Publish { site, contested: shared, bytes } => {
                let name = shared.map_or_else(|| format!("p{now}-{site}"), contested);
                let content = self.entropy.bytes(usize::try_from(bytes).unwrap_or(0));
                let Some(at) = self.sites.get_mut(site) else { return Ok(()) };
                let said = at.publish(now, feed, &name, &content);
                self.said(site, &format!("publishes {name}, {bytes} bytes"), said);
            }
            Act::Delete { site, pick } => self.delete(site, pick)?,
            Act::Restore { site, pick } => {
                let Some(at) = self.sites.get_mut(site) else { return Ok(()) };
                let items = at.items(now, feed);
                let gone: Vec<_> = items.into_iter().filter(|(_, item)| !item.deletes.is_empty()).collect();
                let Some((name, _)) = gone.get(Entropy::new(pick).index(gone.len())) else { return Ok(()) };
                let said = at.restore(now, feed, name);
                self.said(site, &format!("restores {name}"), said);
            }
            Act::PowerLoss { site } => self.lose_power(site, true)?,
            Act::PowerLossInSync { site } => {
                self.with(site, |at| at.disk().cut_in_sync());
            }
            Act::Restart { site } => {
                self.interruptions += 1;
                self.quic.trace.line(now, &format!("{} restarts", NAMES.get(site).unwrap_or(&"?")));
                if let Some(at) = self.sites.get_mut(site) {
                    at.restart(now, &mut self.quic);
                }
            }
            Act::ClockJump { site, ms } => self.with(site, |at| {
                at.was_set_back |= ms < at.clock_ahead_ms;
                at.clock_ahead_ms = ms;
            }),
            Act::FailSyncs { site, count } => {
                self.interruptions += 1;
                self.with(site, |at| at.disk().fail_syncs(count));
            }
            Act::DiskFull { site, room } => {
                self.interruptions += 1;
                self.with(site, |at| at.disk().leave_room(room));
            }
            Act::DiskFree { site } => self.with(site, |at| at.disk().limit(None)),
            Act::Sweep { site } => self.with(site, |at| at.sweep(now)),
        }
        Ok(())
    }

    fn with(&mut self, site: usize, change: impl FnOnce(&mut Site)) {
        if let Some(site) = self.sites.get_mut(site) {
            change(site);
        }
    }

    fn delete(&mut self, site: usize, pick: u64) -> Result<(), String> {
        let (now, feed) = (self.now, self.feed);
        let Some(at) = self.sites.get_mut(site) else { return Ok(()) };
        let items = at.items(now, feed);
        let served: Vec<_> = items.into_iter().filter(|(_, item)| item.winner.is_some()).collect();
        let Some((name, _)) = served.get(Entropy::new(pick).index(served.len())) else { return Ok(()) };
        let said = at.delete(now, feed, name);
        let done = said.is_ok();
        let left = at.item(now, feed, name).is_some_and(|item| item.winner.is_some());
        self.said(site, &format!("deletes {name}"), said.map(Some));
        if done && left {
            return Err(format!("{name} was deleted and is served at the same site"));
        }
        Ok(())
    }

    fn said(&mut self, site: usize, what: &str, said: Result<Option<protocol::log::NamedOp>, Unsaid>) {
        let name = NAMES.get(site).unwrap_or(&"?");
        match said {
            Ok(Some(named)) => {
                self.quic.trace.line(self.now, &format!("{name} {what}: {}", named.id));
                self.oracle.note(site, named, true);
            }
            Ok(None) => {}
            Err(Unsaid { doubtful }) => {
                self.quic.trace.line(self.now, &format!("{name} {what}, and its disk refuses"));
                if let Some(named) = doubtful {
                    self.oracle.note(site, *named, false);
                }
            }
        }
    }

    /// What was acknowledged before is there after.
    fn lose_power(&mut self, site: usize, whole: bool) -> Result<(), String> {
        self.interruptions += 1;
        let (now, feed) = (self.now, self.feed);
        let Some(at) = self.sites.get_mut(site) else { return Ok(()) };
        let lengths = |at: &Site| {
            let heads = at.store().heads(feed).unwrap_or_default();
            heads.into_iter().map(|signed| (signed.head.log, signed.head.len)).collect::<Vec<_>>()
        };
        let root = |at: &Site| format!("{:?}", at.store().state_root(feed, at.look(now)));
        let (before, root_before) = (lengths(at), root(at));
        at.lose_power(now, &mut self.quic);
        let (after, root_after) = (lengths(at), root(at));
        self.quic.trace.line(now, &format!("{} loses power", at.name));
        let shorter = before.iter().any(|(log, len)| {
            after.iter().find(|(other, _)| other == log).is_none_or(|(_, left)| left < len)
        });
        // What was served before a clock was set back may have to wait again once it is worked out anew.
        let same = before == after && !at.was_set_back;
        if shorter || (whole && same && root_before != root_after) {
            return Err("a loss of power changed what had been acknowledged".to_owned());
        }
        Ok(())
    }

    fn seen(&self) -> Seen<'_> {
        Seen {
            now: self.now,
            feed: self.feed,
            shape: &self.options.shape,
            sites: &self.sites,
            oracle: &self.oracle,
            rotted: self.rotted,
        }
    }

    fn report(&mut self, healed_in: u64, flips: u64) -> Result<Report, String> {
        check::bytes::check(self.seen(), self.interruptions + u64::from(flips > 0))?;
        let tallies = || self.sites.iter().flat_map(|site| &site.ended);
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
            clashes,
            sealed: self.oracle.sealed.len(),
            lines: self.quic.trace.lines().to_vec(),
        })
    }

    fn broken(&self, what: String) -> Broken {
        let mut lines = self.quic.trace.lines().to_vec();
        for site in &self.sites {
            let served =
                site.items(self.now, self.feed).into_iter().filter(|(_, item)| item.winner.is_some());
            let names: Vec<String> = served.map(|(name, _)| name).collect();
            let minutes = self.now / SECOND / 60;
            lines.push(format!("at {minutes} min {} serves {}", site.name, names.join(" ")));
        }
        Broken { seed: self.options.seed, what, lines }
    }
}
