//! The event loop and the scenarios: time moves only here, from one event to the next.

use protocol::id::FeedId;
use protocol::session::Side;
use protocol::switches::Switches;

use crate::entropy::Entropy;
use crate::net::{Line, Passed, SECOND};
use crate::quic::{Heard, Quic};
use crate::site::{LinkEnd, Site, genesis};

const MINUTE: u64 = 60 * SECOND;
/// How often each link runs.
const EVERY: u64 = MINUTE;
/// When faults end and everything must arrive.
const HEALED_AT: u64 = 150 * MINUTE;
/// When it must have arrived: two clocks wrong in opposite ways hold an op back for up to twice the skew.
const DEADLINE: u64 = 200 * MINUTE;
/// What users do in a run.
const ACTS: u64 = 60;

/// What is wrong with the world until it heals.
#[derive(Debug, Clone)]
pub struct Faults {
    /// Packets lost of a million.
    pub loss_per_million: u32,
    /// Cut the line between New York and Tokyo for two hours.
    pub long_cut: bool,
    /// Times a random site loses power.
    pub power_losses: u64,
    /// The most a site's clock is wrong, in milliseconds.
    pub skew_ms: u64,
}

impl Default for Faults {
    fn default() -> Self {
        Self { loss_per_million: 20_000, long_cut: true, power_losses: 3, skew_ms: 1_200_000 }
    }
}

/// How a run came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub digest: String,
    /// Packages that stand at the end.
    pub packages: usize,
    /// Nanoseconds from healing until all sites agreed.
    pub healed_in: u64,
    pub passed: Passed,
    pub runs: usize,
    pub content_bytes: u64,
    pub published_bytes: u64,
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

#[derive(Debug)]
enum Act {
    Publish { site: usize, size: usize },
    Delete { site: usize },
    Sync { site: usize, link: usize },
    PowerLoss { site: usize },
}

/// Three sites: Los Angeles and New York mirror each other, Tokyo pulls from New York.
#[derive(Debug)]
pub struct World {
    seed: u64,
    now: u64,
    quic: Quic,
    sites: Vec<Site>,
    feed: FeedId,
    acts: Vec<(u64, Act)>,
    entropy: Entropy,
    published_bytes: u64,
    /// What was acknowledged: name and whether it was deleted since.
    oracle: std::collections::BTreeMap<String, bool>,
}

const LA: usize = 0;
const NY: usize = 1;
const TOKYO: usize = 2;

/// Runs the three sites of a seed to their end.
///
/// # Errors
/// The promise that did not hold, with the seed that shows it.
pub fn three_sites(seed: u64, faults: &Faults) -> Result<Report, Broken> {
    let mut world = World::new(seed, faults);
    world.run()
}

impl World {
    fn new(seed: u64, faults: &Faults) -> Self {
        let entropy = Entropy::new(seed);
        let mut quic = Quic::new(entropy.fork("quic"));
        let mut sites: Vec<Site> = ["Los Angeles", "New York", "Tokyo"]
            .into_iter()
            .enumerate()
            .map(|(host, name)| Site::new(name, host, &entropy))
            .collect();
        let mut choices = entropy.fork("world");
        for site in &mut sites {
            quic.boot(site.host, &site.key);
            let skew = i64::try_from(choices.below(2 * faults.skew_ms + 1)).unwrap_or(0);
            site.clock_ahead_ms = skew - i64::try_from(faults.skew_ms).unwrap_or(0);
        }
        let ids: Vec<_> = sites.iter().map(Site::id).collect();
        let (Some(la), Some(ny), Some(tokyo)) = (ids.first(), ids.get(NY), ids.get(TOKYO)) else {
            unreachable!("three sites were made")
        };
        let origin = genesis(*la);
        let feed = origin.feed_id();
        let end = |name, peer_host, peer: &protocol::id::SiteId, switches, side| LinkEnd {
            name,
            peer_host,
            peer: *peer,
            switches,
            side,
        };
        let links = [
            vec![end("new-york", NY, ny, Switches::MIRROR, Side::Listener)],
            vec![
                end("los-angeles", LA, la, Switches::MIRROR, Side::Dialler),
                end("tokyo", TOKYO, tokyo, Switches::PUSH, Side::Listener),
            ],
            vec![end("new-york", NY, ny, Switches::PULL, Side::Dialler)],
        ];
        for (site, links) in sites.iter_mut().zip(links) {
            site.join(origin.clone());
            site.links = links;
        }
        let mut world = Self {
            seed,
            now: 0,
            quic,
            sites,
            feed,
            acts: Vec::new(),
            entropy: choices,
            published_bytes: 0,
            oracle: std::collections::BTreeMap::new(),
        };
        world.lay_lines(faults);
        let ny = *ny;
        if let Some(la) = world.sites.get_mut(LA) {
            la.grant(0, feed, ny);
        }
        world.plan(faults);
        world
    }

    fn lay_lines(&mut self, faults: &Faults) {
        let mut line = Line { loss_per_million: faults.loss_per_million, ..Line::default() };
        line.delay = SECOND / 1000 * (10 + self.entropy.below(290));
        self.quic.net.lay(LA, NY, line.clone());
        line.delay = SECOND / 1000 * (10 + self.entropy.below(290));
        if faults.long_cut {
            let from = MINUTE * (5 + self.entropy.below(20));
            line.cuts.push((from, from + 120 * MINUTE));
        }
        self.quic.net.lay(NY, TOKYO, line);
    }

    fn plan(&mut self, faults: &Faults) {
        for _ in 0..ACTS {
            let at = self.entropy.below(HEALED_AT);
            let site = usize::try_from(self.entropy.below(3)).unwrap_or(0);
            let act = if self.entropy.chance(250_000) {
                Act::Delete { site }
            } else {
                let large = self.entropy.chance(100_000);
                let most = if large { 2_000_000 } else { 40_000 };
                Act::Publish { site, size: usize::try_from(self.entropy.below(most)).unwrap_or(0) }
            };
            self.acts.push((at, act));
        }
        for _ in 0..faults.power_losses {
            let site = usize::try_from(self.entropy.below(3)).unwrap_or(0);
            self.acts.push((self.entropy.below(HEALED_AT), Act::PowerLoss { site }));
        }
        let mut at = SECOND;
        while at < DEADLINE {
            self.acts.push((at, Act::Sync { site: NY, link: 0 }));
            self.acts.push((at + 7 * SECOND, Act::Sync { site: TOKYO, link: 0 }));
            at += EVERY;
        }
        self.acts.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    }

    fn run(&mut self) -> Result<Report, Broken> {
        loop {
            let act = self.acts.last().map(|(at, _)| *at);
            let timer = self.sites.iter().filter_map(Site::wake_at).min();
            let next = [act, timer, self.quic.next_due(self.now)].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= DEADLINE) else {
                return Err(self.broken("the sites did not agree in time"));
            };
            // A timer in the past fires now; time never runs backwards.
            self.now = next.max(self.now + 1);
            while self.acts.last().is_some_and(|(at, _)| *at <= self.now) {
                if let Some((_, act)) = self.acts.pop() {
                    self.act(act)?;
                    if self.now > HEALED_AT && self.agreed() {
                        return self.report();
                    }
                }
            }
            self.quic.step(self.now);
            self.listen();
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

    fn act(&mut self, act: Act) -> Result<(), Broken> {
        let (now, feed) = (self.now, self.feed);
        match act {
            Act::Publish { site, size } => {
                let name = format!("p{}-{site}", self.oracle.len());
                let content = self.entropy.bytes(size.max(1));
                let Some(at) = self.sites.get_mut(site) else { return Ok(()) };
                at.publish(now, feed, &name, &content);
                self.quic.trace.line(now, &format!("{} publishes {name}, {size} bytes", at.name));
                if site != TOKYO {
                    self.published_bytes += content.len() as u64;
                    self.oracle.insert(name, false);
                }
            }
            Act::Delete { site } => {
                let Some(at) = self.sites.get_mut(site) else { return Ok(()) };
                let ready = at.ready(now, feed);
                let pick = usize::try_from(self.entropy.below(ready.len() as u64)).unwrap_or(0);
                let Some(name) = ready.get(pick) else { return Ok(()) };
                at.delete(now, feed, name);
                self.quic.trace.line(now, &format!("{} deletes {name}", at.name));
                // Tokyo may not delete: what it deletes it hides from itself alone.
                if site != TOKYO {
                    self.oracle.insert(name.clone(), true);
                }
            }
            Act::Sync { site, link } => {
                if let Some(at) = self.sites.get_mut(site) {
                    at.sync(now, &mut self.quic, link);
                }
            }
            Act::PowerLoss { site } => {
                let Some(at) = self.sites.get_mut(site) else { return Ok(()) };
                let before = at.store().state_root(feed, at.look(now));
                at.lose_power(&mut self.quic);
                let after = at.store().state_root(feed, at.look(now));
                self.quic.trace.line(now, &format!("{} loses power", at.name));
                if before.is_err() || format!("{before:?}") != format!("{after:?}") {
                    return Err(self.broken("a loss of power changed what had been acknowledged"));
                }
            }
        }
        Ok(())
    }

    /// What must stand everywhere: what was published at a site that may, and not deleted at one that may.
    fn expected(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.oracle.iter().filter(|(_, deleted)| !**deleted).map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    fn agreed(&self) -> bool {
        let expected = self.expected();
        self.sites.iter().all(|site| {
            let mut ready = site.ready(self.now, self.feed);
            if site.host == TOKYO {
                // What Tokyo hides from itself is not missing.
                let served = expected.iter().filter(|name| {
                    let item = site.store().item(self.feed, name, "1", site.look(self.now));
                    item.is_ok_and(|item| {
                        item.is_some_and(|item| item.standing != protocol::feed::Standing::Hidden)
                    })
                });
                return ready == served.cloned().collect::<Vec<_>>();
            }
            ready.sort();
            ready == expected
        })
    }

    fn report(&mut self) -> Result<Report, Broken> {
        let roots: Vec<String> = [LA, NY]
            .into_iter()
            .filter_map(|at| self.sites.get(at))
            .map(|site| format!("{:?}", site.store().state_root(self.feed, site.look(self.now))))
            .collect();
        if roots.first() != roots.last() {
            return Err(self.broken("two mirrors serve the same and their state roots differ"));
        }
        for site in &self.sites {
            let verified = site.store().verify(|_step| {});
            if !verified.is_ok_and(|found| found.blobs_lost.is_empty()) {
                return Err(self.broken("a site's bytes are not what was published"));
            }
        }
        let tokyo = self.sites.get(TOKYO).map(Site::id);
        let leaked = [LA, NY].into_iter().filter_map(|at| self.sites.get(at)).any(|site| {
            let heads = site.store().heads(self.feed).unwrap_or_default();
            heads.iter().any(|signed| Some(signed.head.log.author) == tokyo)
        });
        if leaked {
            return Err(self.broken("an op of the leaf reached a site it may not reach"));
        }
        let tallies = || self.sites.iter().flat_map(|site| &site.ended);
        Ok(Report {
            digest: self.quic.trace.digest(),
            packages: self.expected().len(),
            healed_in: self.now - HEALED_AT,
            passed: self.quic.net.passed,
            runs: tallies().count(),
            content_bytes: tallies().map(|(_, tally)| tally.content_in_bytes).sum(),
            published_bytes: self.published_bytes,
            lines: self.quic.trace.lines().to_vec(),
        })
    }

    fn broken(&self, what: &str) -> Broken {
        let mut lines = self.quic.trace.lines().to_vec();
        for site in &self.sites {
            lines.push(format!("{} serves {:?}", site.name, site.ready(self.now, self.feed)));
        }
        lines.push(format!("expected {:?}", self.expected()));
        Broken { seed: self.seed, what: what.to_owned(), lines }
    }
}
