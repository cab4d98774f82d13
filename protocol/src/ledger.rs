//! What a feed's ops say about the feed as a whole: who may write, what is sealed, which bytes are blocked.
//!
//! Like everything that stands it follows from the set of ops alone. Rights, seals and blocks count whatever their stamp:
//! the sites that may say them are trusted with the whole feed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use crate::grant::{Authority, Verb};
use crate::id::{BlobId, LogId, OpId, SiteId};
use crate::limits::{SEAL_FRESH_MS, SEAL_STALE_MS};
use crate::log::NamedOp;
use crate::op::{Blocked, Body, Genesis, Place, Seal};
use crate::succession::Succession;
use crate::time::{Hlc, Timestamp};

#[cfg(test)]
mod tests;

/// An op by which something is blocked or let go again: whose, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word {
    place: Place,
    stamp: Hlc,
}

/// The ops of rights and blocks that were taken in.
#[derive(Debug, Clone, Default)]
struct Ruled {
    ops: BTreeSet<OpId>,
    /// Worked out when it is asked for: anyone may say any number of words, and a batch of them is one change.
    digest: OnceLock<[u8; 16]>,
}

impl PartialEq for Ruled {
    fn eq(&self, other: &Self) -> bool {
        self.ops == other.ops
    }
}

impl Eq for Ruled {}

/// One feed's ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    genesis: Genesis,
    /// Shared with those who ask who may write: it changes far less often than it is read.
    authority: Arc<Authority>,
    /// For each log, lengths that seals reach, each with the lowest index that reaches it; both rise.
    sealed: BTreeMap<LogId, BTreeMap<u64, u64>>,
    seals: BTreeSet<(u64, Hlc, OpId)>,
    /// Blocks of bytes.
    blocks: BTreeMap<BlobId, BTreeMap<OpId, Word>>,
    /// Every unblock, by the block it lifts.
    unblocks: BTreeMap<OpId, Vec<Word>>,
    ruled: Ruled,
}

impl Ledger {
    /// The ledger of a feed in which nothing was said.
    #[must_use]
    pub fn new(genesis: &Genesis) -> Self {
        Self {
            authority: Arc::new(Authority::new(genesis)),
            genesis: genesis.clone(),
            sealed: BTreeMap::new(),
            seals: BTreeSet::new(),
            blocks: BTreeMap::new(),
            unblocks: BTreeMap::new(),
            ruled: Ruled::default(),
        }
    }

    /// Takes an op in. Tells whether it was about the feed as a whole.
    pub fn apply(&mut self, named: &NamedOp) -> bool {
        let word = Word { place: named.op.place, stamp: named.op.stamp };
        match &named.op.body {
            body if body.is_about_rights() => {
                Arc::make_mut(&mut self.authority).apply(named);
            }
            Body::Block(block) => match block.target {
                Blocked::Blob(blob) => {
                    self.blocks.entry(blob).or_default().insert(named.id, word);
                }
                Blocked::Coordinate(_) => return false,
            },
            Body::Unblock(unblock) => self.unblocks.entry(unblock.block).or_default().push(word),
            Body::Seal(seal) => {
                self.seal(named, seal);
                return true;
            }
            Body::Publish(_)
            | Body::Delete(_)
            | Body::SetState(_)
            | Body::SetRef(_)
            | Body::Resolve(_)
            | Body::Statistics(_)
            | Body::OpenEpoch(_)
            | Body::Grant(_)
            | Body::Revoke(_)
            | Body::Cut(_)
            | Body::Unknown { .. } => return false,
        }
        if self.ruled.ops.insert(named.id) {
            self.ruled.digest = OnceLock::new();
        }
        true
    }

    fn seal(&mut self, named: &NamedOp, seal: &Seal) {
        let place = named.op.place;
        if !self.authority.is_origin(place.log.author) || self.authority.is_cut_off(place.log, place.seq) {
            return;
        }
        self.seals.insert((seal.index, named.op.stamp, named.id));
        for tip in &seal.frontier {
            let log = LogId { feed: self.genesis.feed_id(), author: tip.author, epoch: tip.epoch };
            let reached = self.sealed.entry(log).or_default();
            // A longer reach by a lower or equal index makes this one say nothing.
            let said = reached.range(tip.len..).next().is_some_and(|(_, index)| *index <= seal.index);
            if !said {
                reached.insert(tip.len, seal.index);
                let shorter: Vec<u64> = reached
                    .range(..tip.len)
                    .filter(|(_, index)| **index >= seal.index)
                    .map(|(len, _)| *len)
                    .collect();
                for len in shorter {
                    reached.remove(&len);
                }
            }
        }
    }

    /// The feed's genesis.
    #[must_use]
    pub const fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// Takes in which logs of this site's own leave it never ([`Authority::keep_home`]).
    pub fn keep_home(&mut self, logs: impl IntoIterator<Item = LogId>) {
        Arc::make_mut(&mut self.authority).keep_home(logs);
    }

    /// Takes in by which keys logs come from their authors' first ones ([`Authority::descend`]).
    pub fn descend(&mut self, lineages: impl IntoIterator<Item = (LogId, Succession)>) {
        Arc::make_mut(&mut self.authority).descend(lineages);
        self.ruled.digest = OnceLock::new();
    }

    /// Who may write.
    #[must_use]
    pub const fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }

    /// The lowest seal that covers the op at `place`.
    #[must_use]
    pub fn seal_of(&self, place: Place) -> Option<u64> {
        let reached = self.sealed.get(&place.log)?;
        reached.range(place.seq.saturating_add(1)..).next().map(|(_, index)| *index)
    }

    /// The lowest seal that fixes a publish of the package `name`: it covers the op, and the op counted when it was said, as it has since.
    /// One that waited meanwhile, its author's rights taken back, fixes nothing over what was served then.
    #[must_use]
    pub fn fixing_seal(&self, place: Place, stamp: Hlc, name: &str) -> Option<u64> {
        let covering = self.seal_of(place)?;
        let Some(since) = self.authority.counts_since(place.log, place.seq, stamp, Verb::Publish, name)
        else {
            return Some(covering);
        };
        let from = (covering, Hlc::default(), OpId([0; 32]));
        self.seals.range(from..).find(|(_, said, _)| *said > since).map(|(index, _, _)| *index)
    }

    /// How many ops of a log are sealed.
    #[must_use]
    pub fn sealed_len(&self, log: LogId) -> u64 {
        self.sealed.get(&log).and_then(|reached| reached.last_key_value()).map_or(0, |(len, _)| *len)
    }

    /// The newest seal: its index and op.
    #[must_use]
    pub fn newest_seal(&self) -> Option<(u64, OpId)> {
        self.seals.last().map(|(index, _, op)| (*index, *op))
    }

    /// When the newest seal was said, or the feed made where there is none.
    #[must_use]
    pub fn heard_of_origin(&self) -> Timestamp {
        self.seals.last().map_or(self.genesis.created, |(_, stamp, _)| stamp.wall())
    }

    /// Whether the origin owes the feed a seal for its age alone.
    #[must_use]
    pub fn needs_fresh_seal(&self, now: Timestamp) -> bool {
        now.0.saturating_sub(self.heard_of_origin().0) >= SEAL_FRESH_MS
    }

    /// Whether the origin's seals stopped to come: it is away, or somebody in between keeps them back.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        now.0.saturating_sub(self.heard_of_origin().0) > SEAL_STALE_MS
    }

    /// The blocks that keep these bytes from being served at the site `me`, whose own blocks count there without any right.
    #[must_use]
    pub fn blocks_of(&self, blob: BlobId, me: SiteId) -> Vec<OpId> {
        let Some(blocks) = self.blocks.get(&blob) else { return Vec::new() };
        let standing = |(id, word): (&OpId, &Word)| {
            self.block_stands(*id, word.place, word.stamp, "", me).then_some(*id)
        };
        blocks.iter().filter_map(standing).collect()
    }

    /// Whether a block, of bytes or of a coordinate of the package `name`, stands at the site `me`: said by a site with the right, or here,
    /// and not lifted by one.
    #[must_use]
    pub fn block_stands(&self, block: OpId, place: Place, stamp: Hlc, name: &str, me: SiteId) -> bool {
        let counts = |place: Place, stamp: Hlc| {
            self.authority.is_own(place, me)
                || self.authority.allows(place.log, place.seq, stamp, Verb::Block, name)
        };
        let lifted = self.unblocks.get(&block).is_some_and(|words| {
            words.iter().any(|word| {
                // A site lifts for itself only what it said for itself.
                let own = self.authority.is_own(word.place, me) && self.authority.is_own(place, me);
                own || self.authority.allows(word.place.log, word.place.seq, word.stamp, Verb::Block, name)
            })
        });
        counts(place, stamp) && !lifted
    }

    /// A digest of the rights and blocks that what stands follows from.
    #[must_use]
    pub fn rules_digest(&self) -> [u8; 16] {
        *self.ruled.digest.get_or_init(|| {
            let lineages = self.authority.lineages().map(|(log, keys)| {
                let keys = keys.keys(log.author).into_iter().flat_map(|key| key.0);
                log.epoch.to_be_bytes().into_iter().chain(keys).collect::<Vec<u8>>()
            });
            let lineages: Vec<Vec<u8>> = lineages.collect();
            let ops = self.ruled.ops.iter().map(|id| id.0.as_slice());
            digest(ops.chain(lineages.iter().map(Vec::as_slice)))
        })
    }

    /// What tells two states of the same site's growing set of seals apart. It matters only where several builds of one version stand.
    #[must_use]
    pub fn seals_digest(&self) -> [u8; 16] {
        let count = u64::try_from(self.seals.len()).unwrap_or(u64::MAX).to_le_bytes();
        let newest = self.seals.last().map_or([0; 32], |(_, _, op)| op.0);
        digest([count.as_slice(), newest.as_slice()].into_iter())
    }
}

fn digest<'a>(parts: impl Iterator<Item = &'a [u8]>) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    let mut digest = [0; 16];
    hasher.finalize_xof().fill(&mut digest);
    digest
}
