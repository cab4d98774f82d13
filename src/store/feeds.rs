//! Feeds: what each is called and set to here, and what stands at each of its coordinates.
//!
//! What stands is a pure function of the ops ([`protocol::feed`]). It is worked out when it is asked for and kept until an op about
//! the coordinate arrives, the feed's rules change, or a parked op falls due.

use std::sync::{Arc, PoisonError};

use protocol::feed::{Held, Item, Rules, decide, decide_unblocked};
use protocol::grant::Authority;
use protocol::id::{FeedId, SiteId};
use protocol::ledger::Ledger;
use protocol::limits::STAMP_AHEAD_MS_MAX;
use protocol::log::NamedOp;
use protocol::op::Genesis;
use protocol::package::{Coordinate, FeedKind};
use protocol::succession::generation_of;
use protocol::summary::{self, Digest};
use protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::engine::VALUE_BYTES_MAX;
use super::keys::{self, Tree, ViewEntry};
use super::ops::Topic;
use super::records::Shelf;
use super::{ReadError, Store, WriteError};

/// Coordinates looked at under one hold of the index.
const PAGE_ITEMS: usize = 512;

/// Feeds whose ledgers are kept in memory. Another is read again when it is asked for.
pub(super) const LEDGERS_MAX: usize = 256;

/// A feed as it is at this site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedRecord {
    pub genesis: Genesis,
    /// This site's name for it, unique here.
    pub name: String,
    /// Whether this site takes no local changes in it.
    pub strict: bool,
    /// Whether a local package is served instead of an authorised one of the same coordinate.
    pub local_wins: bool,
    /// Whether package clients read without a token.
    pub open_reads: bool,
}

/// Who looks at a feed, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    pub me: SiteId,
    pub now: Timestamp,
}

impl Store {
    /// Makes a feed known, or changes its local name and options. Durable when this returns.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn put_feed(&self, record: &FeedRecord) -> Result<FeedId, WriteError> {
        let feed = record.genesis.feed_id();
        self.put_record(Shelf::Feeds, feed.as_bytes(), &keys::encode(record))?;
        Ok(feed)
    }

    /// Forgets a feed's record. Its ops and blobs stay until they are swept.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn remove_feed(&self, feed: FeedId) -> Result<(), WriteError> {
        self.remove_record(Shelf::Feeds, feed.as_bytes())?;
        self.forget_ledger(feed);
        Ok(())
    }

    /// A feed's record.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn feed(&self, feed: FeedId) -> Result<Option<FeedRecord>, ReadError> {
        let value = self.record(Shelf::Feeds, feed.as_bytes())?;
        value.map(|value| self.understood(&value)).transpose()
    }

    /// All feeds of this site, in order of their ids.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn feeds(&self) -> Result<Vec<(FeedId, FeedRecord)>, ReadError> {
        let record = |(_, value): (_, Vec<u8>)| {
            let record: FeedRecord = self.understood(&value)?;
            Ok((record.genesis.feed_id(), record))
        };
        self.records(Shelf::Feeds, &[], &[], usize::MAX)?.into_iter().map(record).collect()
    }

    /// The feed that this site calls `name`.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn feed_named(&self, name: &str) -> Result<Option<(FeedId, FeedRecord)>, ReadError> {
        Ok(self.feeds()?.into_iter().find(|(_, record)| record.name == name))
    }

    /// Who may write in a feed, after every grant and revoke that is held. Nothing for a feed that is not known here.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn authority(&self, feed: FeedId) -> Result<Option<Arc<Authority>>, ReadError> {
        Ok(self.ledger(feed)?.map(|ledger| Arc::clone(ledger.authority())))
    }

    /// What is said about a feed as a whole: rights, seals, blocks. Nothing for a feed that is not known here.
    ///
    /// # Errors
    /// When the disk fails, or the bytes of an op are damaged.
    pub fn ledger(&self, feed: FeedId) -> Result<Option<Arc<Ledger>>, ReadError> {
        self.inner.ledgers.get(feed, self.inner.index.rebuilds(), || {
            let Some(record) = self.feed(feed)? else { return Ok(None) };
            let mut ledger = Ledger::new(&record.genesis);
            ledger.keep_home(self.overlays(feed)?);
            let heads = self.heads(feed)?.into_iter();
            let told = self.rights_told(feed)?;
            let proofs = told.iter().map(|proof| proof.batch().head.clone());
            ledger.descend(heads.chain(proofs).map(|signed| (signed.head.log, signed.succession)));
            // Rights first: they say which seals count.
            for proof in self.rights_told(feed)?.iter() {
                for named in proof.ops() {
                    ledger.apply(named);
                }
            }
            for topic in [Topic::Rights, Topic::Seals, Topic::Blocks] {
                for named in self.ops_about(feed, topic)? {
                    ledger.apply(&named);
                }
            }
            Ok(Some(ledger))
        })
    }

    /// Forgets what is kept in memory of what a feed's ops come to.
    pub(super) fn forget_derived(&self, feed: FeedId) {
        self.forget_ledger(feed);
        self.inner.counted.forget(feed);
        self.inner.proved.forget(feed);
        self.inner.told.forget(feed);
    }

    /// Whether what is kept of a coordinate is what its ops come to. Where it is not, it is worked out anew at the next look.
    pub(super) fn is_folded(
        &self,
        feed: FeedId,
        name: &str,
        version: &str,
        look: Look,
    ) -> Result<bool, ReadError> {
        let Some(eyes) = self.eyes(feed, look)? else { return Ok(true) };
        let key = keys::view(feed, name, version);
        let before = self.newest_generation()?;
        let entry = self.with_index(|index| {
            index.value(Tree::View, &key)?.map(|value| keys::decode::<ViewEntry>(&value)).transpose()
        })?;
        let Some(entry @ ViewEntry::Known { .. }) = entry else { return Ok(true) };
        let kept = self.seen(feed, (name, version), entry, &eyes)?;
        let mut worked_out = self.seen(feed, (name, version), ViewEntry::Stale, &eyes)?;
        // A seal that decides nothing leaves what is kept as it is.
        if !worked_out.seal_matters {
            worked_out.seal = kept.seal;
        }
        // Ops that came in between are no fault.
        Ok(kept == worked_out || self.newest_generation()? != before)
    }

    pub(super) fn forget_ledger(&self, feed: FeedId) {
        self.inner.ledgers.forget(feed);
    }

    /// Takes ops that were just indexed into their feed's ledger, if it is in memory.
    pub(super) fn enter(&self, feed: FeedId, ops: &[NamedOp]) {
        let wide = |named: &&NamedOp| {
            use protocol::op::Body::{Block, Seal, Unblock};
            let said = &named.op.body;
            said.is_about_rights() || matches!(said, Seal(_) | Block(_) | Unblock(_))
        };
        // The head of a log that begins tells of keys.
        let begins = |named: &NamedOp| named.op.place.seq == 0 && generation_of(named.op.place.log.epoch) > 0;
        if ops.iter().any(begins) {
            self.inner.ledgers.forget(feed);
            return;
        }
        let mut wide = ops.iter().filter(wide).peekable();
        if wide.peek().is_none() {
            return;
        }
        // What is left out of a log may have been counted: a seal, say.
        if ops.iter().any(|named| named.op.body.leaves_out()) {
            self.inner.ledgers.forget(feed);
            return;
        }
        self.inner.ledgers.change(feed, |ledger| {
            for named in wide {
                ledger.apply(named);
            }
        });
    }

    /// The ops about one coordinate, in order of their names.
    ///
    /// # Errors
    /// When the disk fails, or the bytes of one are damaged.
    pub fn facts(&self, feed: FeedId, name: &str, version: &str) -> Result<Vec<NamedOp>, ReadError> {
        self.ops_under(Tree::Fact, &keys::facts(feed, name, version))
    }

    /// What stands at a coordinate. Nothing when no op is about it, or the feed is not known here.
    ///
    /// # Errors
    /// When the disk fails, or the bytes of an op are damaged.
    pub fn item(
        &self,
        feed: FeedId,
        name: &str,
        version: &str,
        look: Look,
    ) -> Result<Option<Item>, ReadError> {
        let Some(eyes) = self.eyes(feed, look)? else { return Ok(None) };
        let key = keys::view(feed, name, version);
        let entry = self.with_index(|index| {
            index.value(Tree::View, &key)?.map(|value| keys::decode::<ViewEntry>(&value)).transpose()
        })?;
        entry.map(|entry| self.seen(feed, (name, version), entry, &eyes)).transpose()
    }

    /// What would stand at a coordinate if other deletes waited for a person than do.
    ///
    /// # Errors
    /// When the disk fails, or the bytes of an op are damaged.
    pub fn item_if(
        &self,
        feed: FeedId,
        at: &Coordinate,
        look: Look,
        held: &Held,
    ) -> Result<Option<Item>, ReadError> {
        let facts = self.facts(feed, &at.name, &at.version)?;
        self.item_of(feed, &facts, look, held)
    }

    /// What ops about a coordinate would amount to alone, and if these deletes waited for a person.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn item_of(
        &self,
        feed: FeedId,
        facts: &[NamedOp],
        look: Look,
        held: &Held,
    ) -> Result<Option<Item>, ReadError> {
        let Some(eyes) = self.eyes(feed, look)? else { return Ok(None) };
        Ok((!facts.is_empty()).then(|| decide(facts, Rules { held, ..eyes.rules() })))
    }

    /// What stands at a coordinate and, where something is blocked there, what would stand if it were not.
    pub(super) fn with_and_without_blocks(
        &self,
        feed: FeedId,
        (name, version): (&str, &str),
        look: Look,
    ) -> Result<Vec<Item>, ReadError> {
        let Some(item) = self.item(feed, name, version, look)? else { return Ok(Vec::new()) };
        if item.blocks.is_empty() {
            return Ok(vec![item]);
        }
        let Some(eyes) = self.eyes(feed, look)? else { return Ok(vec![item]) };
        let unblocked = decide_unblocked(&self.facts(feed, name, version)?, eyes.rules());
        Ok(vec![item, unblocked])
    }

    /// At most `limit` coordinates with what stands at each, in order of name and version (as bytes). Only names that begin with
    /// `prefix`; only what follows the coordinate `after`.
    ///
    /// # Errors
    /// When the disk fails, or the bytes of an op are damaged.
    pub fn items(
        &self,
        feed: FeedId,
        prefix: &str,
        after: Option<(&str, &str)>,
        limit: usize,
        look: Look,
    ) -> Result<Vec<(Coordinate, Item)>, ReadError> {
        let Some(eyes) = self.eyes(feed, look)? else { return Ok(Vec::new()) };
        let from =
            after.map_or_else(Vec::new, |(name, version)| keys::after(&keys::view(feed, name, version)));
        self.items_under(feed, &keys::joined(&[feed.as_bytes(), prefix.as_bytes()]), &from, limit, &eyes)
    }

    /// Shows every coordinate of a feed with what stands there, in order of name and version (as bytes). The index is held for one page
    /// at a time, so what is written meanwhile is seen where the walk has not been yet.
    ///
    /// # Errors
    /// When the disk fails, the bytes of an op are damaged, or `visit` fails, which ends the walk.
    pub fn each_item<E: From<ReadError>>(
        &self,
        feed: FeedId,
        look: Look,
        mut visit: impl FnMut(Coordinate, Item) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut after: Option<(String, String)> = None;
        loop {
            let from = after.as_ref().map(|(name, version)| (name.as_str(), version.as_str()));
            let page = self.items(feed, "", from, PAGE_ITEMS, look)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some((last.name.clone(), last.version.clone()));
            for (coordinate, item) in page {
                visit(coordinate, item)?;
            }
        }
    }

    /// Every version of one package with what stands at each, in order of version (as bytes).
    ///
    /// # Errors
    /// When the disk fails, or the bytes of an op are damaged.
    pub fn versions(
        &self,
        feed: FeedId,
        name: &str,
        look: Look,
    ) -> Result<Vec<(Coordinate, Item)>, ReadError> {
        let Some(eyes) = self.eyes(feed, look)? else { return Ok(Vec::new()) };
        self.items_under(feed, &keys::view(feed, name, ""), &[], usize::MAX, &eyes)
    }

    /// The root of what a feed serves: equal at every site that holds the same ops, whatever the order in which they came and whatever
    /// local packages lie over them.
    ///
    /// # Errors
    /// When the disk fails, or the bytes of an op are damaged.
    pub fn state_root(&self, feed: FeedId, look: Look) -> Result<Digest, ReadError> {
        let mut served = Vec::new();
        self.each_item(feed, look, |coordinate, item| {
            if let Some(winner) = item.winner.filter(|_| !item.local) {
                let parts = [coordinate.name.as_bytes(), &[0], coordinate.version.as_bytes(), &[0]];
                let canonical = keys::joined(&[&keys::joined(&parts), &winner.0]);
                served.push(summary::Tree::State.item(&canonical));
            }
            Ok::<_, ReadError>(())
        })?;
        Ok(summary::root_of(served))
    }

    fn items_under(
        &self,
        feed: FeedId,
        prefix: &[u8],
        from: &[u8],
        limit: usize,
        eyes: &Eyes,
    ) -> Result<Vec<(Coordinate, Item)>, ReadError> {
        let page = self.with_index(|index| {
            let page = index.page(Tree::View, prefix, from, limit)?;
            let entry = |(key, value): (Vec<u8>, Vec<u8>)| {
                Ok((keys::view_of(&key)?, keys::decode::<ViewEntry>(&value)?))
            };
            page.into_iter().map(entry).collect::<Result<Vec<_>, _>>()
        })?;
        let item = |((name, version), entry): ((String, String), ViewEntry)| {
            let item = self.seen(feed, (&name, &version), entry, eyes)?;
            Ok((Coordinate { kind: eyes.kind, name, version }, item))
        };
        page.into_iter().map(item).collect()
    }

    fn eyes(&self, feed: FeedId, look: Look) -> Result<Option<Eyes>, ReadError> {
        let Some(record) = self.feed(feed)? else { return Ok(None) };
        let Some(ledger) = self.ledger(feed)? else { return Ok(None) };
        let held = self.held(feed)?;
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(&ledger.rules_digest())
            .update(look.me.as_bytes())
            .update(&[u8::from(record.local_wins)]);
        if !held.is_empty() {
            hasher.update(&keys::encode(&held));
        }
        let mut digest = [0; 16];
        hasher.finalize_xof().fill(&mut digest);
        let seals = ledger.seals_digest();
        let (kind, local_wins) = (record.genesis.kind, record.local_wins);
        Ok(Some(Eyes { kind, local_wins, ledger, held, digest, seals, look }))
    }

    /// The item of an entry: as it was kept, or worked out and kept.
    fn seen(
        &self,
        feed: FeedId,
        (name, version): (&str, &str),
        entry: ViewEntry,
        eyes: &Eyes,
    ) -> Result<Item, ReadError> {
        if let ViewEntry::Known { rules, seals, item } = entry
            && rules == eyes.digest
            && (seals == eyes.seals || !item.seal_matters)
            && item.due.is_none_or(|due| due.0 > eyes.look.now.0.saturating_add(STAMP_AHEAD_MS_MAX))
        {
            return Ok(*item);
        }
        // No op is indexed between reading the ops and keeping what they amount to.
        let _folding = self.inner.folding.read().unwrap_or_else(PoisonError::into_inner);
        let facts = self.facts(feed, name, version)?;
        let item = decide(&facts, eyes.rules());
        let value = keys::encode(&ViewEntry::Known {
            rules: eyes.digest,
            seals: eyes.seals,
            item: Box::new(item.clone()),
        });
        if value.len() <= VALUE_BYTES_MAX {
            self.change(Tree::View, keys::view(feed, name, version), Some(value))?;
        }
        Ok(item)
    }
}

/// What an item is seen through.
struct Eyes {
    kind: FeedKind,
    local_wins: bool,
    ledger: Arc<Ledger>,
    held: Held,
    /// A digest of everything but the ops about it, the seals and the time that an item follows from.
    digest: [u8; 16],
    seals: [u8; 16],
    look: Look,
}

impl Eyes {
    fn rules(&self) -> Rules<'_> {
        Rules {
            ledger: &self.ledger,
            me: self.look.me,
            now: self.look.now,
            local_wins: self.local_wins,
            held: &self.held,
        }
    }
}
