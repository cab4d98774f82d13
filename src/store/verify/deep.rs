//! What is derived, worked out again from what it derives from: logs against their signatures, the index against the packs, what stands against a
//! fresh fold.

#[cfg(test)]
mod tests;

use std::sync::PoisonError;

use protocol::id::{BlobId, FeedId, LogId, OpId};
use protocol::log::Mmr;
use protocol::op::{Body, Publish};
use serde::Serialize;

use super::super::engine::{Broken, Change, Entry, Index, MemoryIndex};
use super::super::keys::{self, BlobEntry, Location, Tree};
use super::super::packs::Start;
use super::super::packs::footer::Place;
use super::super::packs::record::Kind;
use super::super::replay::{self, Acknowledged, ReplayError};
use super::super::sweep::plus;
use super::super::{BlobState, Look, ReadError, RebuildError, Store, SweepError, locked};

/// Entries of an index compared at once.
const PAGE_ENTRIES: usize = 512;

/// Bytes of a log that are read and checked at once.
const LOG_BYTES: u64 = 8 << 20;

/// Things found wrong that are named; the rest is counted.
const NAMED_MAX: usize = 20;

/// The trees that follow from the packs alone. What was found missing or whole, wanted or worked out, follows from more.
const FROM_PACKS: [Tree; 10] = [
    Tree::Blob,
    Tree::Extent,
    Tree::Record,
    Tree::Log,
    Tree::Batch,
    Tree::Op,
    Tree::Fact,
    Tree::Ref,
    Tree::Said,
    Tree::Use,
];

/// What was compared, and what was another than it should be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Deep {
    pub logs: u64,
    pub ops: u64,
    /// Entries of the index that follow from the packs.
    pub entries: u64,
    /// Versions that were worked out anew.
    pub versions: u64,
    /// How many things were wrong. Each was mended: a log is set back, an index built anew, an item worked out again.
    pub wrong: u64,
    /// The first of them.
    pub named: Vec<String>,
    /// Why the index was not compared.
    pub index_left_out: Option<String>,
}

impl Deep {
    fn note(&mut self, what: impl FnOnce() -> String) {
        plus(&mut self.wrong, 1);
        if self.named.len() < NAMED_MAX {
            self.named.push(what());
        }
    }
}

/// An index in memory that leaves out what is kept twice: that is compared with the packs one by one, and may be as large as they are.
#[derive(Debug, Default)]
struct WithoutSpares(MemoryIndex);

impl Index for WithoutSpares {
    fn value(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Broken> {
        self.0.value(tree, key)
    }

    fn apply(&self, changes: &[Change]) -> Result<(), Broken> {
        let others: Vec<_> = changes.iter().filter(|change| change.tree != Tree::Spare).cloned().collect();
        self.0.apply(&others)
    }

    fn page(&self, tree: Tree, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Entry>, Broken> {
        self.0.page(tree, prefix, from, limit)
    }

    fn last(&self, tree: Tree, prefix: &[u8]) -> Result<Option<Entry>, Broken> {
        self.0.last(tree, prefix)
    }

    fn count(&self, tree: Tree) -> Result<u64, Broken> {
        self.0.count(tree)
    }

    fn flush_durable(&self) -> Result<(), Broken> {
        self.0.flush_durable()
    }
}

impl Store {
    /// Checks everything that is derived. Writing waits while the index is compared, and about 300 bytes of memory a record are needed for it.
    ///
    /// # Errors
    /// When the disk fails, or the bytes of an op are damaged: [`Store::verify`] looks after those first.
    pub fn verify_deep(&self, look: Look) -> Result<Deep, SweepError> {
        let mut deep = Deep::default();
        for (feed, record) in self.feeds()? {
            for signed in self.heads(feed)? {
                self.check_log(&record.name, signed.head.log, &mut deep)?;
            }
            self.check_feed(feed, &record.name, look, &mut deep)?;
        }
        self.check_wants(&mut deep)?;
        if self.open_damage(look)?.places.is_empty() {
            self.check_index(&mut deep)?;
        } else {
            deep.index_left_out = Some("damage is to be healed first".to_owned());
        }
        Ok(deep)
    }

    /// Every signature, every op in its place, and the root at the end.
    fn check_log(&self, feed: &str, log: LogId, deep: &mut Deep) -> Result<(), SweepError> {
        plus(&mut deep.logs, 1);
        let Some(state) = self.log_state(log)? else { return Ok(()) };
        let mut held = Mmr::default();
        let wrong = loop {
            if held.len() >= state.after.len() {
                let same = held.len() > state.after.len() || held == state.after;
                break (!same).then(|| "the log does not add up to its root".to_owned());
            }
            let batches = match self.batches(log, held.len(), LOG_BYTES) {
                Ok(batches) => batches,
                Err(error @ ReadError::CorruptRecord { .. }) => break Some(error.to_string()),
                Err(error) => return Err(error.into()),
            };
            if let Err(wrong) = self.check_batches(batches, &mut held, deep)? {
                break Some(wrong);
            }
        };
        if let Some(wrong) = wrong {
            let author = log.author.short();
            deep.note(|| format!("feed {feed}, log of {author}, from op {} on: {wrong}", held.len()));
            if self.set_back(log).is_err() {
                tracing::error!(%author, "a log that is wrong could not be set back");
            }
        }
        Ok(())
    }

    fn check_batches(
        &self,
        batches: Vec<protocol::log::Batch>,
        held: &mut Mmr,
        deep: &mut Deep,
    ) -> Result<Result<(), String>, SweepError> {
        let before = held.len();
        for batch in batches {
            let Some(batch) = batch.beyond(held.len()) else { continue };
            let verified = match batch.verify(held) {
                Ok(verified) => verified,
                Err(wrong) => return Ok(Err(wrong.to_string())),
            };
            for named in verified.ops() {
                plus(&mut deep.ops, 1);
                if self.op(named.id)?.as_ref() != Some(named) {
                    return Ok(Err(format!("op {} is not found by its name", named.id)));
                }
            }
            *held = verified.after().clone();
        }
        // A log that does not get on would be read for ever.
        Ok(if held.len() > before { Ok(()) } else { Err("it ends early".to_owned()) })
    }

    /// What stands, what the feed's ledger says and what was downloaded, as they are kept, against how they come out now.
    fn check_feed(&self, feed: FeedId, name: &str, look: Look, deep: &mut Deep) -> Result<(), SweepError> {
        let before = self.newest_generation()?;
        let (ledger, figures) = (self.ledger(feed)?, self.figures(feed)?);
        self.forget_derived(feed);
        let same = self.ledger(feed)? == ledger && self.figures(feed)? == figures;
        if !same && self.newest_generation()? == before {
            deep.note(|| {
                format!("feed {name}: rights, seals, blocks or downloads were not what its ops say")
            });
        }
        for coordinate in self.walk(Tree::View, feed.as_bytes(), |key, _| keys::view_of(key)) {
            let (package, version) = coordinate?;
            plus(&mut deep.versions, 1);
            if !self.is_folded(feed, &package, &version, look)? {
                deep.note(|| format!("feed {name}: {package}@{version} was not what its ops say"));
            }
        }
        Ok(())
    }

    /// What is named here and missing must be wanted: no run asks for what is not.
    fn check_wants(&self, deep: &mut Deep) -> Result<(), SweepError> {
        let uses = self.walk(Tree::Use, &[], |key, _| {
            let blob = key.first_chunk::<32>().copied().map(BlobId);
            let blob = blob.ok_or_else(|| Broken::new("a use's key does not begin with a blob"))?;
            Ok((blob, keys::feed_of_use(key)?, keys::op_of(key)?))
        });
        for using in uses {
            let (blob, feed, op) = using?;
            if !self.is_forgotten(blob, feed, op)? {
                continue;
            }
            // Whoever drops bytes or lets them be fetched again comes to want them a moment later.
            let _nothing_goes = locked(&self.inner.sweeping);
            let _none_ends = locked(&self.inner.ending);
            if self.is_forgotten(blob, feed, op)? {
                deep.note(|| format!("blob {blob} is named, is not here and was not wanted"));
                self.want_again(blob)?;
            }
        }
        Ok(())
    }

    /// Whether a blob that a publish names is not whole here and is not wanted, though it was not evicted.
    fn is_forgotten(&self, blob: BlobId, feed: FeedId, op: OpId) -> Result<bool, ReadError> {
        if matches!(self.blob_state(blob)?, BlobState::Complete { .. })
            || self.with_index(|index| index.value(Tree::Want, &keys::want(feed, blob)))?.is_some()
        {
            return Ok(false);
        }
        let Some(Body::Publish(Publish { coordinate: at, .. })) = self.op(op)?.map(|named| named.op.body)
        else {
            return Ok(false);
        };
        Ok(!self.is_evicted(feed, &at.name, &at.version, op)?)
    }

    /// The index against one that is built anew in memory.
    fn check_index(&self, deep: &mut Deep) -> Result<(), SweepError> {
        let _nothing_moves = locked(&self.inner.sweeping);
        let fresh = WithoutSpares::default();
        let replayed = |from: Start| {
            replay::all(&fresh, &self.inner.packs, from, None, Acknowledged::InIndex).map_err(|error| {
                match error {
                    ReplayError::Io(error) => SweepError::Read(self.unreadable(error)),
                    ReplayError::Broken(source) => {
                        SweepError::Read(RebuildError::Broken { folder: self.folder(), source }.into())
                    }
                }
            })
        };
        let (pack, offset) = self.noted_end();
        if replayed(Start::default())?.records > 0 {
            deep.index_left_out = Some("damage is to be found by verify and healed first".to_owned());
            return Ok(());
        }
        let before = deep.wrong;
        {
            // What was written meanwhile follows, and nothing more is written until all is compared.
            let _settled = self.inner.settled.write().unwrap_or_else(PoisonError::into_inner);
            replayed(Start { pack, offset })?;
            for tree in FROM_PACKS {
                self.compare(tree, &fresh, deep)?;
            }
        }
        if deep.wrong > before {
            self.rebuild_lossy_index()?;
        }
        self.check_spares((pack, offset), deep)
    }

    /// Where the packs end, when all before that is in the index.
    pub(super) fn noted_end(&self) -> (u32, u64) {
        let _settled = self.inner.settled.write().unwrap_or_else(PoisonError::into_inner);
        self.inner.packs.end()
    }

    /// What is kept twice against what it is a copy of.
    fn check_spares(&self, end: (u32, u64), deep: &mut Deep) -> Result<(), SweepError> {
        for number in self.inner.packs.numbers() {
            let places = self.inner.packs.contents(number).map_err(|error| self.unreadable(error))?.places;
            for Place { header, offset } in places.into_iter().filter(|place| (number, place.offset) < end) {
                let at = Location { pack: number, offset, bytes: header.bytes };
                if self.mend_spare(header.kind, at)? {
                    deep.note(|| {
                        format!("pack {number}: the second copy of the record at {offset} was not its bytes")
                    });
                }
            }
        }
        Ok(())
    }

    /// Goes through both in step.
    fn compare(&self, tree: Tree, fresh: &WithoutSpares, deep: &mut Deep) -> Result<(), SweepError> {
        let mut from = Vec::new();
        loop {
            let live = self.with_index(|index| index.page(tree, &[], &from, PAGE_ENTRIES))?;
            let told = fresh.page(tree, &[], &from, PAGE_ENTRIES);
            let told = self.with_index(|_| told.clone())?;
            // Compared as far as both pages reach.
            let upto = match (live.last(), told.last()) {
                (None, None) => return Ok(()),
                (Some((one, _)), Some((other, _))) if live.len() == told.len() => one.min(other).clone(),
                (Some((one, _)), Some((other, _))) => {
                    if live.len() == PAGE_ENTRIES {
                        one.clone()
                    } else {
                        other.clone()
                    }
                }
                (Some((one, _)), None) | (None, Some((one, _))) => one.clone(),
            };
            let within = |page: Vec<(Vec<u8>, Vec<u8>)>| {
                page.into_iter().filter(|(key, _)| *key <= upto).collect::<std::collections::BTreeMap<_, _>>()
            };
            let (live, mut told) = (within(live), within(told));
            for (key, value) in live {
                plus(&mut deep.entries, 1);
                let other = told.remove(&key);
                if other.as_ref() != Some(&value) && !self.is_as_good(tree, &key, &value, other.as_deref())? {
                    deep.note(|| wrong(tree, &key, other.is_some()));
                }
            }
            for key in told.into_keys() {
                deep.note(|| format!("the index lacks {tree:?} {}", data_encoding::HEXLOWER.encode(&key)));
            }
            from = keys::after(&upto);
        }
    }

    /// Whether an entry that is not the packs' says the same all the same, or nothing: a loss of power may have taken what it points to.
    fn is_as_good(
        &self,
        tree: Tree,
        key: &[u8],
        live: &[u8],
        fresh: Option<&[u8]>,
    ) -> Result<bool, ReadError> {
        if let (Tree::Log, Some(fresh)) = (tree, fresh) {
            // The packs do not say how long a log once was where damage took its end.
            let entry = |value| keys::decode::<keys::LogEntry>(value);
            let (Ok(live), Ok(fresh)) = (entry(live), entry(fresh)) else { return Ok(false) };
            return Ok((live.head, live.after) == (fresh.head, fresh.after) && live.longest >= fresh.longest);
        }
        let Ok(id) = <[u8; 32]>::try_from(key) else { return Ok(false) };
        let there = |kind, at| self.holds(kind, id, at);
        let plain = |value: &[u8]| -> Result<BlobEntry, Broken> {
            Ok(match keys::decode(value)? {
                BlobEntry::Large { size, outline, .. } => BlobEntry::Large { size, outline, complete: false },
                small @ BlobEntry::Small { .. } => small,
            })
        };
        match (tree, fresh) {
            (Tree::Blob, Some(fresh)) => {
                let (live, fresh) = (plain(live), plain(fresh));
                Ok(live.is_ok() && live == fresh)
            }
            (Tree::Blob, None) => match keys::decode(live) {
                Ok(BlobEntry::Small { at }) => Ok(!there(Kind::Blob, at)?),
                Ok(BlobEntry::Large { outline, .. }) => Ok(!there(Kind::Outline, outline)?),
                Err(_broken) => Ok(false),
            },
            (Tree::Extent, None) => match keys::decode::<Location>(live) {
                Ok(at) => Ok(!there(Kind::Extent, at)?),
                Err(_broken) => Ok(false),
            },
            _ => Ok(false),
        }
    }
}

fn wrong(tree: Tree, key: &[u8], known: bool) -> String {
    let key = data_encoding::HEXLOWER.encode(key);
    let how = if known { "says something else than the packs of" } else { "knows and the packs do not" };
    format!("the index {how} {tree:?} {key}")
}
