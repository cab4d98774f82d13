//! Random histories of the merge rules without wires: many, because they are cheap, and by the real fold, ledger and gates.

mod promises;
pub mod shapes;
mod site;

use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};

use ed25519_dalek::SigningKey;
use protocol::feed::Standing;
use protocol::id::SiteId;
use protocol::op::{Body, Delete, Grant, Rights};
use protocol::switches::Switches;
use protocol::time::Timestamp;

use crate::entropy::Entropy;
use crate::site::{WALL_START_MS, genesis};
pub use promises::Counts;
use promises::Watch;
use site::{Site, build, coordinate};

const MINUTE_MS: u64 = 60_000;
/// Steps of a minute each.
const STEPS: u64 = 60;
/// How likely a step lets one random direction sync, in a million.
const SYNC_PER_MILLION: u32 = 250_000;
/// How likely a step has a site publish or delete, in a million.
const ACT_PER_MILLION: u32 = 300_000;
/// How likely whoever finds a version deleted brings it back, in a million.
const RESTORE_PER_MILLION: u32 = 300_000;
/// The packages that all sites fight over.
const NAMES: [&str; 3] = ["a", "b", "c"];
/// Rest comes when every stamp is due: the fastest clock is an hour ahead.
const REST_MS: u64 = 3 * 60 * MINUTE_MS;

/// Who syncs with whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Pair,
    Hub,
    Chain,
    Contributor,
    Ring,
}

/// The five shapes.
pub const FORMS: [Form; 5] = [Form::Pair, Form::Hub, Form::Chain, Form::Contributor, Form::Ring];

/// How wrong the clock of one site is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    Exact,
    FiveMinutes,
    Hour,
}

/// The three clocks.
pub const CLOCKS: [Clock; 3] = [Clock::Exact, Clock::FiveMinutes, Clock::Hour];

impl Clock {
    const fn ahead_ms(self) -> u64 {
        match self {
            Self::Exact => 0,
            Self::FiveMinutes => 5 * MINUTE_MS,
            Self::Hour => 60 * MINUTE_MS,
        }
    }

    /// For the table.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Exact => "clocks exact",
            Self::FiveMinutes => "one 5 min fast",
            Self::Hour => "one 1 h fast",
        }
    }
}

impl Form {
    const fn sites(self) -> usize {
        match self {
            Self::Pair | Self::Contributor => 2,
            Self::Hub | Self::Chain | Self::Ring => 3,
        }
    }

    /// From whom to whom ops flow.
    const fn flows(self) -> &'static [(usize, usize)] {
        match self {
            Self::Pair => &[(0, 1), (1, 0)],
            Self::Hub => &[(0, 1), (1, 0), (0, 2), (2, 0)],
            Self::Chain => &[(0, 1), (1, 2)],
            Self::Contributor => &[(1, 0)],
            Self::Ring => &[(0, 1), (1, 2), (2, 0)],
        }
    }

    /// Whether sites other than the origin may write.
    const fn shares(self) -> bool {
        !matches!(self, Self::Chain)
    }
}

/// A promise that a history broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("history {seed} of {form:?}, {}: {what}", .clock.words())]
pub struct Broken {
    pub seed: u64,
    pub form: Form,
    pub clock: Clock,
    pub what: String,
}

struct History {
    form: Form,
    sites: Vec<Site>,
    now: Timestamp,
    entropy: Entropy,
    bytes: u64,
    watch: Watch,
}

/// Plays one history to its rest.
///
/// # Errors
/// The promise it broke.
pub fn history(seed: u64, form: Form, clock: Clock) -> Result<Counts, Broken> {
    let mut history = History::new(seed, form, clock);
    let played = history.play();
    played.map(|()| history.watch.counts).map_err(|what| Broken { seed, form, clock, what })
}

/// Histories that one thread plays before it takes the next stretch.
const STRETCH: u64 = 50;

/// Plays one cell of the table: as many histories as said of each shape, on all cores.
///
/// # Errors
/// A promise broken.
pub fn cell(from: u64, histories: u64, clock: Clock) -> Result<Counts, Broken> {
    let stretches = histories.div_ceil(STRETCH);
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let play = || {
        let mut counts = Counts::default();
        loop {
            let stretch = next.fetch_add(1, Ordering::Relaxed);
            let form = usize::try_from(stretch / stretches.max(1)).ok().and_then(|nth| FORMS.get(nth));
            let Some(form) = form.filter(|_| stretches > 0) else { return Ok(counts) };
            let first = stretch % stretches * STRETCH;
            for seed in first..histories.min(first + STRETCH) {
                counts.add(&history(from.saturating_add(seed), *form, clock)?);
            }
        }
    };
    std::thread::scope(|scope| {
        let playing: Vec<_> = (0..threads).map(|_| scope.spawn(play)).collect();
        let mut all = Counts::default();
        for played in playing {
            all.add(&played.join().expect("a history does not panic")?);
        }
        Ok(all)
    })
}

impl History {
    fn new(seed: u64, form: Form, clock: Clock) -> Self {
        let mut entropy = Entropy::new(seed).fork("history");
        let keys: Vec<SigningKey> =
            (0..form.sites()).map(|_| SigningKey::from_bytes(&entropy.key())).collect();
        let id = |key: &SigningKey| SiteId(key.verifying_key().to_bytes());
        let origin = genesis(keys.first().map(id).unwrap_or(SiteId([0; 32])));
        let fast = entropy.index(form.sites());
        let ahead = |at: usize| if at == fast { clock.ahead_ms() } else { 0 };
        let sites = keys.into_iter().enumerate().map(|(at, key)| Site::new(key, origin.clone(), ahead(at)));
        let mut history = Self {
            form,
            sites: sites.collect(),
            now: Timestamp(WALL_START_MS),
            entropy,
            bytes: 0,
            watch: Watch::default(),
        };
        history.grant();
        history
    }

    /// The origin lets the others write, where the shape says so, and all know it before anything else is said.
    fn grant(&mut self) {
        let Some((origin, others)) = self.sites.split_first_mut() else { return };
        for other in others.iter().filter(|_| self.form.shares()) {
            let grant = Grant {
                grantee: other.id(),
                label: String::new(),
                rights: Rights::WRITE,
                prefix: String::new(),
                expires: None,
            };
            origin.say(self.now, Body::Grant(grant));
        }
        for other in others {
            other.pull(self.now, origin, Switches::PULL).expect("grants pass every gate");
        }
    }

    fn play(&mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            self.now.0 += MINUTE_MS;
            if self.entropy.chance(ACT_PER_MILLION) {
                self.act()?;
            }
            if self.entropy.chance(SYNC_PER_MILLION) {
                let flows = self.form.flows();
                if let Some(flow) = flows.get(self.entropy.index(flows.len())) {
                    self.sync(*flow)?;
                }
            }
            self.watch.step(&self.sites, self.now)?;
        }
        self.rest()
    }

    /// A random site publishes, deletes or brings back a random package, as far as the node would let it.
    fn act(&mut self) -> Result<(), String> {
        let at = self.entropy.index(self.sites.len());
        let Some(name) = NAMES.get(self.entropy.index(NAMES.len())).copied() else { return Ok(()) };
        let wants_delete = self.entropy.chance(400_000);
        let restores = self.entropy.chance(RESTORE_PER_MILLION);
        let now = self.now;
        let Some(site) = self.sites.get_mut(at) else { return Ok(()) };
        let item = site.item(now, &coordinate(name));
        match item.standing {
            Standing::Served if wants_delete => {
                let publishes =
                    site.facts(&coordinate(name)).iter().filter(|op| matches!(op.op.body, Body::Publish(_)));
                let saw = publishes.map(|op| op.id).collect();
                let delete = Delete { coordinate: coordinate(name), saw, reason: String::new() };
                let said = site.say(now, Body::Delete(delete));
                return self.watch.deleted(site, now, &said);
            }
            Standing::Deleted | Standing::Suppressed | Standing::Hidden if restores => {
                let at = coordinate(name);
                let old = promises::publishes(site, &at).first().map(|(_, publish)| (*publish).clone());
                let Some(mut again) = old else { return Ok(()) };
                again.supersedes = item.deletes;
                site.say(now, Body::Publish(again));
            }
            Standing::Absent | Standing::Parked | Standing::NotAuthorised if !wants_delete => {
                self.bytes += 1;
                let publish = build(name, self.bytes, Vec::new());
                site.say(now, Body::Publish(publish));
            }
            Standing::Served
            | Standing::Blocked
            | Standing::Deleted
            | Standing::Suppressed
            | Standing::Hidden
            | Standing::Held
            | Standing::Parked
            | Standing::NotAuthorised
            | Standing::Absent => {}
        }
        Ok(())
    }

    /// One direction of one link. Tells whether anything moved.
    fn sync(&mut self, (from, to): (usize, usize)) -> Result<bool, String> {
        let Some(mut taker) = (to < self.sites.len()).then(|| self.sites.swap_remove(to)) else {
            return Ok(false);
        };
        // The last site took the taker's place for the time being.
        let giver = if from == self.sites.len() { to } else { from };
        let moved = match self.sites.get(giver) {
            Some(giver) => taker.pull(self.now, giver, Switches::PULL).map_err(|stopped| stopped.to_string()),
            None => Ok(false),
        };
        if to == 0 && self.form.shares() && moved == Ok(true) {
            taker.seal(self.now);
        }
        self.sites.push(taker);
        let last = self.sites.len() - 1;
        self.sites.swap(to, last);
        moved
    }

    /// Everything syncs until nothing moves; stamps of fast clocks are due by then.
    fn rest(&mut self) -> Result<(), String> {
        self.now.0 += REST_MS;
        let mut rounds = 0;
        loop {
            let mut moved = false;
            for flow in self.form.flows() {
                moved |= self.sync(*flow)?;
            }
            self.watch.step(&self.sites, self.now)?;
            rounds += 1;
            if !moved {
                break;
            }
            if rounds > 20 {
                return Err("syncs never came to rest".to_owned());
            }
        }
        self.watch.rest(&self.sites, self.now)
    }
}
