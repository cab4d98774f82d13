//! From records to index: what each record of the packs means for the index, whether it was just written or is read again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use protocol::id::BlobId;
use serde::de::DeserializeOwned;

use super::engine::{Broken, Change, Index};
use super::gaps::Gap;
use super::keys::{self, BatchEntry, BlobEntry, Location, LogEntry, OpEntry, Tree};
use super::packs::record::{self, Kind};
use super::packs::{Packs, Start, footer::Place};
use super::view::want_again;
use super::{holes, ops, records, spares, strays, sweep};

/// Changes gathered before they are applied in sorted order: sled takes sorted keys twice as fast.
const CHANGES_MAX: usize = 1 << 15;

/// Bytes of values gathered before they are applied.
const CHANGES_BYTES_MAX: usize = 16 << 20;

/// Why a replay stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// Whether a record's meaning is in its payload and not in its header alone.
pub(crate) const fn needs_payload(kind: Kind) -> bool {
    match kind {
        Kind::Blob | Kind::Extent => false,
        Kind::Outline | Kind::Ops | Kind::Meta | Kind::Drop => true,
    }
}

/// Whether a record tells what somebody said, or what this site noted.
const fn is_word(kind: Kind) -> bool {
    matches!(kind, Kind::Ops | Kind::Meta)
}

/// Changes by key: a later one replaces an earlier one.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    by_key: BTreeMap<(Tree, Vec<u8>), Step>,
    /// Bytes of the values that were set.
    bytes: usize,
    /// Blobs that were dropped: each feed that names one wants it, should it be needed again.
    dropped: BTreeSet<BlobId>,
    /// The pack and the offset up to which everything is durable and, once this is applied, in the index.
    reach: Option<(u32, u64)>,
}

#[derive(Debug)]
enum Step {
    Set(Vec<u8>),
    Remove,
    /// Remove the key if its value says that the bytes lie there.
    RemoveAt(Location),
    /// Set a log's entry unless a longer one is known: a batch may have been written again, behind its successors.
    Raise {
        len: u64,
        value: Vec<u8>,
    },
    /// Set what lies at the end of a batch unless a batch is known there that begins earlier. After damage was mended batches overlap, and may
    /// be written again in any order: the longest of those with one end covers the others.
    Cover {
        first: u64,
        value: Vec<u8>,
    },
}

/// What an index keeps under a name in [`Tree::About`].
pub(crate) fn about<T: DeserializeOwned>(index: &dyn Index, name: &[u8]) -> Result<Option<T>, Broken> {
    index.value(Tree::About, name)?.map(|value| keys::decode(&value)).transpose()
}

impl Changes {
    pub(crate) const fn reach(&mut self, end: Option<(u32, u64)>) {
        self.reach = end;
    }

    pub(crate) fn set(&mut self, tree: Tree, key: Vec<u8>, value: Vec<u8>) {
        self.bytes = self.bytes.saturating_add(value.len());
        self.by_key.insert((tree, key), Step::Set(value));
    }

    pub(crate) fn remove(&mut self, tree: Tree, key: Vec<u8>) {
        self.by_key.insert((tree, key), Step::Remove);
    }

    pub(crate) fn remove_at(&mut self, tree: Tree, key: Vec<u8>, at: Location) {
        let step = match self.by_key.remove(&(tree, key.clone())) {
            Some(Step::Set(value)) if keys::location(tree, &value).ok().flatten() == Some(at) => Step::Remove,
            Some(step @ (Step::Set(_) | Step::Remove | Step::Raise { .. } | Step::Cover { .. })) => step,
            Some(Step::RemoveAt(_)) | None => Step::RemoveAt(at),
        };
        self.by_key.insert((tree, key), step);
    }

    pub(crate) fn drop_blob(&mut self, blob: BlobId, at: Location) {
        self.remove_at(Tree::Blob, keys::blob(blob), at);
        self.dropped.insert(blob);
    }

    pub(crate) fn raise(&mut self, key: Vec<u8>, entry: &LogEntry) {
        let len = entry.after.len();
        let known = self.by_key.get(&(Tree::Log, key.clone()));
        if !matches!(known, Some(Step::Raise { len: other, .. }) if *other > len) {
            self.by_key.insert((Tree::Log, key), Step::Raise { len, value: keys::encode(entry) });
        }
    }

    pub(crate) fn cover(&mut self, key: Vec<u8>, entry: BatchEntry) {
        let first = entry.first;
        let known = self.by_key.get(&(Tree::Batch, key.clone()));
        if !matches!(known, Some(Step::Cover { first: other, .. }) if *other < first) {
            self.by_key.insert((Tree::Batch, key), Step::Cover { first, value: keys::encode(&entry) });
        }
    }

    /// Leaves of these changes what follows from records that were here before and are written again: no log gets longer by that, and ops
    /// that are not held, for a log was set back to before them, are not held again.
    pub(crate) fn keep_to_what_is_held(&mut self, index: &dyn Index) -> Result<(), Broken> {
        let mut absent = BTreeSet::new();
        for (tree, key) in self.by_key.keys() {
            if *tree == Tree::Log || (*tree == Tree::Op && index.value(*tree, key)?.is_none()) {
                absent.insert((*tree, key.clone()));
            }
        }
        self.by_key.retain(|at, _| !absent.contains(at));
        Ok(())
    }

    /// Whether an index that knows a log so far lacks what these changes, of a record of ops of that log, once made it say. What lies behind a place to
    /// which the log was set back it says no more.
    pub(crate) fn are_lost(&self, index: &dyn Index, log: &LogEntry) -> Result<bool, Broken> {
        let held = log.after.len();
        let mut lost = false;
        for ((tree, key), step) in &self.by_key {
            match (tree, step) {
                (Tree::Log, Step::Raise { len, .. }) if log.longest < *len => return Ok(true),
                (Tree::Log, Step::Raise { len, .. }) if held < *len => return Ok(false),
                (Tree::Op, Step::Set(value)) if keys::decode::<OpEntry>(value)?.place.seq >= held => {
                    return Ok(false);
                }
                (Tree::Op | Tree::Fact | Tree::Ref | Tree::Said | Tree::Use | Tree::View, Step::Set(_)) => {
                    lost = lost || index.value(*tree, key)?.is_none();
                }
                _ => {}
            }
        }
        Ok(lost)
    }

    /// Whether the op that a gap stands for came later: the batch may be replayed once more, behind it.
    fn is_filled(&self, index: &dyn Index, gap: &[u8]) -> Result<bool, Broken> {
        let Gap { height, hash } = keys::decode(gap)?;
        let comes = || self.by_key.contains_key(&(Tree::Op, hash.to_vec()));
        Ok(height == 0 && (comes() || index.value(Tree::Op, &hash)?.is_some()))
    }

    pub(crate) fn apply(&self, index: &dyn Index) -> Result<(), Broken> {
        let mut changes = Vec::with_capacity(self.by_key.len());
        for ((tree, key), step) in &self.by_key {
            let value = match step {
                Step::Set(value) if *tree == Tree::Gap && self.is_filled(index, value)? => continue,
                Step::Set(value) => Some(value.clone()),
                Step::Remove => None,
                Step::RemoveAt(at) => {
                    let now = index.value(*tree, key)?;
                    let now = now.map(|value| keys::location(*tree, &value)).transpose()?.flatten();
                    if now != Some(*at) {
                        continue;
                    }
                    None
                }
                Step::Cover { first, value } => {
                    let now = index.value(*tree, key)?;
                    let now = now.map(|value| keys::decode::<BatchEntry>(&value)).transpose()?;
                    if now.is_some_and(|now| now.first < *first) {
                        continue;
                    }
                    Some(value.clone())
                }
                Step::Raise { len, value } => {
                    let now = index.value(*tree, key)?;
                    let now = now.map(|value| keys::decode::<LogEntry>(&value)).transpose()?;
                    match now {
                        Some(now) if now.after.len() > *len => continue,
                        Some(now) if now.longest > *len => {
                            let entry = LogEntry { longest: now.longest, ..keys::decode(value)? };
                            Some(keys::encode(&entry))
                        }
                        Some(_) | None => Some(value.clone()),
                    }
                }
            };
            changes.push(Change { tree: *tree, key: key.clone(), value });
        }
        // Last: an index that lost its end is never taken to reach further than it does.
        if let Some(end) = self.reach
            && about::<(u32, u64)>(index, keys::REACH)?.is_none_or(|known| known < end)
        {
            let value = Some(keys::encode(&end));
            changes.push(Change { tree: Tree::About, key: keys::REACH.to_vec(), value });
        }
        index.apply(&changes)?;
        for blob in &self.dropped {
            // The mark of a want may have gone before the drop, and its op may be of long before what is replayed.
            if index.value(Tree::Blob, &keys::blob(*blob))?.is_none() {
                want_again(index, *blob)?;
            }
        }
        Ok(())
    }
}

/// Adds what a record means. `payload` is empty for kinds that do not need it.
pub(crate) fn record(changes: &mut Changes, kind: Kind, id: [u8; 32], at: Location, payload: &[u8]) {
    spares::keep(changes, kind, at, payload);
    match kind {
        Kind::Blob => changes.set(Tree::Blob, id.to_vec(), keys::encode(&BlobEntry::Small { at })),
        Kind::Extent => changes.set(Tree::Extent, id.to_vec(), keys::encode(&at)),
        Kind::Outline => {
            if let Some(size) = record::outline_size(payload) {
                let entry = BlobEntry::Large { size, outline: at, complete: false };
                changes.set(Tree::Blob, id.to_vec(), keys::encode(&entry));
            }
        }
        Kind::Ops => ops::replay(changes, at, payload),
        Kind::Meta => records::replay(changes, at, payload),
        Kind::Drop => sweep::replay(changes, payload),
    }
}

/// What could not be read while an index was filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Unread {
    pub(crate) records: u64,
    /// Ops or what this site noted may be among them.
    pub(crate) words: bool,
    /// There are holes that were looked after before.
    pub(crate) known: bool,
}

/// How far damage in the packs took what was acknowledged, where the packs do not know it: behind their last checkpoint it may be of what was never
/// synced, and lie in pieces where power went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acknowledged {
    /// The index has what lies behind the checkpoint, or it was looked after what that lacks.
    InIndex,
    /// An index that is gone had seen that much of them, from one end on to another. What lies before was looked after when it was built.
    Between((u32, u64), (u32, u64)),
    /// No index is left that could tell. All of it may have been.
    Unknown,
}

impl Acknowledged {
    /// What an index that is built from all packs goes by, from the one before it. Where that was built over damage itself, it was looked after
    /// then what lay in the packs by then.
    pub(crate) fn by(before: Option<&dyn Index>) -> Self {
        let Some(before) = before else { return Self::Unknown };
        let looked_after = about::<(u32, u64)>(before, keys::OVER_DAMAGE).ok().flatten().unwrap_or_default();
        match about::<(u32, u64)>(before, keys::REACH) {
            Ok(Some(end)) => Self::Between(looked_after, end),
            Ok(None) | Err(_) => Self::Unknown,
        }
    }

    fn reaches(self, pack: u32, offset: u64) -> bool {
        match self {
            Self::InIndex => false,
            Self::Between(from, to) => (from..to).contains(&(pack, offset)),
            Self::Unknown => true,
        }
    }
}

/// Applies every record from `start` on. Records that cannot be read are damage: where the index `before` this one has them a second time that is
/// applied; else they are stepped over and counted, and a log ends before them.
pub(crate) fn all(
    index: &dyn Index,
    packs: &Packs,
    start: Start,
    before: Option<&dyn Index>,
    acknowledged: Acknowledged,
) -> Result<Unread, ReplayError> {
    let mut unread = Unread::default();
    let mut changes = Changes::default();
    let noted_from =
        if acknowledged == Acknowledged::InIndex { noted_from(index, packs, start)? } else { None };
    for number in packs.numbers().into_iter().filter(|&number| number >= start.pack) {
        let contents = packs.contents(number)?;
        let follows = |offset| number > start.pack || offset >= start.offset;
        let mut places = contents.places;
        for hole in contents.damage.iter().filter(|damage| follows(damage.offset)) {
            let kept = before.map_or_else(Vec::new, |before| spares::places_in(before, hole));
            let known = hole.offset < contents.known_to;
            let counts = known || acknowledged.reaches(number, hole.offset);
            unread.known |= !counts;
            if counts {
                unread.records = unread.records.saturating_add(1);
                // Behind the checkpoint a record whose payload alone is damaged is not among the places.
                let spoilt = !known && hole.record.is_some();
                // Its header says what it was.
                let bytes_alone =
                    hole.record.is_some() && !packs.kind_at(number, hole.offset)?.is_none_or(is_word);
                let lost = if spoilt { kept.is_empty() } else { !spares::fill(hole, &kept) };
                unread.words |= lost && !bytes_alone;
            }
            places.extend(kept);
        }
        places.sort_by_key(|place| place.offset);
        for place in places {
            let is_known = place.header.kind == Kind::Meta
                && noted_from.is_some_and(|from| (number, place.offset) < from);
            if is_known || !follows(place.offset) {
                continue;
            }
            if !one(&mut changes, packs, number, &place, before)? {
                unread.records = unread.records.saturating_add(1);
                unread.words |= is_word(place.header.kind);
            }
            if changes.by_key.len() >= CHANGES_MAX || changes.bytes >= CHANGES_BYTES_MAX {
                std::mem::take(&mut changes).apply(index)?;
            }
        }
    }
    changes.apply(index)?;
    strays::settle(index, packs)?;
    // A batch may be replayed that lies behind one which was found damaged before.
    if unread.words || holes::is_damage_noted(index)? {
        holes::cut(index, packs)?;
    }
    Ok(unread)
}

/// From where on what this site noted is applied to an index that has what lies before: what stands there is said again, and where one record of that
/// cannot be read an older word would take back a newer one. Nothing where all can be read, for not all of it may have come to the index.
fn noted_from(index: &dyn Index, packs: &Packs, start: Start) -> Result<Option<(u32, u64)>, ReplayError> {
    let Some(reach) = about::<(u32, u64)>(index, keys::REACH)? else { return Ok(None) };
    for number in packs.numbers().into_iter().filter(|&number| number >= start.pack) {
        let contents = packs.contents(number)?;
        let follows = |offset| (start.pack, start.offset) <= (number, offset);
        if contents.damage.iter().any(|hole| follows(hole.offset)) {
            return Ok(Some(reach));
        }
        for place in contents.places {
            let is_known = place.header.kind == Kind::Meta && follows(place.offset);
            if is_known && (number, place.offset) < reach && packs.read(place.location(number))?.is_none() {
                return Ok(Some(reach));
            }
        }
    }
    Ok(None)
}

fn one(
    changes: &mut Changes,
    packs: &Packs,
    pack: u32,
    place: &Place,
    before: Option<&dyn Index>,
) -> io::Result<bool> {
    let at = place.location(pack);
    let payload = if needs_payload(place.header.kind) {
        let spare = || before.and_then(|before| spares::of(before, pack, place));
        let Some(payload) = packs.read(at)?.map(|(_, payload)| payload).or_else(spare) else {
            return Ok(false);
        };
        payload
    } else {
        Vec::new()
    };
    record(changes, place.header.kind, place.header.id, at, &payload);
    Ok(true)
}
