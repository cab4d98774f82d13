//! One site of a history: signed logs in memory, the real ledger and fold, and the real gates between it and its neighbours.

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use protocol::fault::Reason;
use protocol::feed::{Held, Item, Rules, decide};
use protocol::grant::Permitted;
use protocol::id::{BlobId, LogId, OpId, SiteId};
use protocol::ledger::Ledger;
use protocol::log::{Batch, Mmr, NamedOp, Verified};
use protocol::manifest::{File, Manifest};
use protocol::op::{Body, Genesis, Publish, Seal, Tip};
use protocol::package::{Coordinate, FeedKind};
use protocol::switches::Switches;
use protocol::time::{Hlc, Timestamp};

/// Why a stretch of a log did not get through.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stopped {
    #[error("an honest site's ops did not verify: {0}")]
    Log(#[from] protocol::log::BatchError),
    #[error("a gate refused an honest site's ops: {0}")]
    Gate(Reason),
}

/// A site and everything it holds of the one feed.
pub(super) struct Site {
    pub(super) key: SigningKey,
    genesis: Genesis,
    pub(super) ledger: Ledger,
    logs: BTreeMap<LogId, Vec<Verified>>,
    facts: BTreeMap<Coordinate, Vec<NamedOp>>,
    clock: Hlc,
    /// How far its clock is ahead.
    pub(super) ahead_ms: u64,
}

/// The coordinate of a package of one version.
pub(super) fn coordinate(name: &str) -> Coordinate {
    Coordinate::new(FeedKind::Raw, name, "1").expect("a plain name")
}

/// The package that holds these bytes under a coordinate.
pub(super) fn build(name: &str, bytes: u64, supersedes: Vec<OpId>) -> Publish {
    let blob = BlobId(*blake3::hash(&bytes.to_le_bytes()).as_bytes());
    let file = File { name: "file".to_owned(), blob, size: 8, sha256: [0; 32] };
    let manifest = Manifest::of(vec![file]).expect("one file");
    Publish { coordinate: coordinate(name), manifest, supersedes, provenance: None }
}

impl Site {
    pub(super) fn new(key: SigningKey, genesis: Genesis, ahead_ms: u64) -> Self {
        let ledger = Ledger::new(&genesis);
        let (logs, facts) = (BTreeMap::new(), BTreeMap::new());
        Self { key, genesis, ledger, logs, facts, clock: Hlc::default(), ahead_ms }
    }

    pub(super) fn id(&self) -> SiteId {
        SiteId(self.key.verifying_key().to_bytes())
    }

    /// The clock on its wall, when the world's shows `now`.
    pub(super) const fn wall(&self, now: Timestamp) -> Timestamp {
        Timestamp(now.0.saturating_add(self.ahead_ms))
    }

    fn held(&self, log: LogId) -> Mmr {
        self.logs.get(&log).and_then(|runs| runs.last()).map_or_else(Mmr::default, |run| run.after().clone())
    }

    /// Signs and keeps one op.
    pub(super) fn say(&mut self, now: Timestamp, body: Body) -> NamedOp {
        let log = LogId { feed: self.genesis.feed_id(), author: self.id(), epoch: 1 };
        let said = Verified::author(&self.key, log, &self.held(log), vec![body], self.clock, self.wall(now));
        let named = said.ops().last().cloned().expect("one op was said");
        self.keep(now, Permitted::local(said, false).expect("no replica here is strict"));
        named
    }

    fn keep(&mut self, now: Timestamp, run: Permitted<Verified>) {
        let run = run.into_inner();
        let wall = self.wall(now);
        for named in run.ops() {
            self.clock = self.clock.seen(named.op.stamp, wall);
            self.ledger.apply(named);
            if let Some(at) = named.op.body.coordinate() {
                self.facts.entry(at.clone()).or_default().push(named.clone());
            }
        }
        self.logs.entry(run.log()).or_default().push(run);
    }

    /// Takes in what `from` lets flow here. Tells whether anything was new.
    pub(super) fn pull(&mut self, now: Timestamp, from: &Self, effective: Switches) -> Result<bool, Stopped> {
        let authority = from.ledger.authority();
        let logs = from.logs.keys().copied().filter(|log| authority.is_author(log.author)).collect();
        self.take(now, from, logs, effective)
    }

    /// The same from a site that offers what it should keep to itself.
    pub(super) fn pull_everything(
        &mut self,
        now: Timestamp,
        from: &Self,
        effective: Switches,
    ) -> Result<bool, Stopped> {
        self.take(now, from, from.logs.keys().copied().collect(), effective)
    }

    fn take(
        &mut self,
        now: Timestamp,
        from: &Self,
        mut logs: Vec<LogId>,
        effective: Switches,
    ) -> Result<bool, Stopped> {
        let origin = self.genesis.origin;
        logs.sort_by_key(|log| (log.author != origin, *log));
        let mut new = false;
        for log in logs {
            let held = self.held(log);
            let Some(batch) = from.stretch(log, held.len(), effective.flip().out_delete) else { continue };
            let verified = batch.verify(&held)?;
            let feed = self.genesis.feed_id();
            let authority = self.ledger.authority();
            match Permitted::received(verified, feed, effective, authority, self.id()) {
                Ok(permitted) => self.keep(now, permitted),
                Err(reason) => return Err(Stopped::Gate(reason)),
            }
            new = true;
        }
        Ok(new)
    }

    /// What of a log lies beyond `held`, as one run.
    fn stretch(&self, log: LogId, held: u64, deletes: bool) -> Option<Batch> {
        let runs = self.logs.get(&log)?;
        let mut rest = runs.iter().filter(|run| run.head().head.len > held);
        let mut batch = rest.next()?.to_batch();
        for run in rest {
            let next = run.to_batch();
            batch.entries.extend(next.entries);
            batch.head = next.head;
        }
        debug_assert!(deletes, "no link of these histories holds deletes back");
        Some(batch)
    }

    /// Seals what this site, the origin, holds and has not sealed.
    pub(super) fn seal(&mut self, now: Timestamp) {
        let wall = self.wall(now);
        let logs = self.logs.iter().filter(|(log, _)| self.ledger.authority().is_author(log.author));
        let tips = logs.filter_map(|(log, runs)| {
            // What waits here until it is due is not sealed, nor what follows it in its log.
            let due = |run: &&Verified| !run.ops().iter().any(|named| named.op.stamp.is_ahead_of(wall));
            let head = runs.iter().take_while(due).last()?.head().head;
            let new = head.len > self.ledger.sealed_len(*log);
            new.then_some(Tip { author: log.author, epoch: log.epoch, len: head.len, root: head.root })
        });
        let frontier: Vec<Tip> = tips.collect();
        let index = self.ledger.newest_seal().map_or(1, |(index, _)| index + 1);
        self.say(now, Body::Seal(Seal { index, frontier, state_root: [0; 32] }));
    }

    /// What is held about a coordinate.
    pub(super) fn facts(&self, at: &Coordinate) -> &[NamedOp] {
        self.facts.get(at).map_or(&[], Vec::as_slice)
    }

    /// What stands at a coordinate.
    pub(super) fn item(&self, now: Timestamp, at: &Coordinate) -> Item {
        self.item_of(now, self.facts(at))
    }

    /// What a set of ops amounts to here.
    pub(super) fn item_of(&self, now: Timestamp, ops: &[NamedOp]) -> Item {
        let held = Held::default();
        let rules = Rules {
            ledger: &self.ledger,
            me: self.id(),
            now: self.wall(now),
            local_wins: false,
            held: &held,
        };
        decide(ops, rules)
    }

    /// Whether the site may write in the feed, or only in its own overlay.
    pub(super) fn is_author(&self) -> bool {
        self.ledger.authority().is_author(self.id())
    }

    /// What it holds of the logs that travel.
    pub(super) fn shared(&self) -> BTreeMap<LogId, u64> {
        let travel = self.logs.iter().filter(|(log, _)| self.ledger.authority().is_author(log.author));
        travel.filter_map(|(log, runs)| Some((*log, runs.last()?.head().head.len))).collect()
    }
}
