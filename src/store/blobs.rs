//! Blobs: what is held of one, and putting whole ones, outlines and extents.
//!
//! A blob up to one extent is one record. A larger one is extents, found by their chaining value, and an
//! outline that names them; blobs that share bytes at the same place share extents. An index may
//! have survived a loss of power that took the record it points to, so a blob is believed only
//! after the header at its place was read, or when it was marked complete after a sync.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::{Arc, MutexGuard};

use protocol::id::BlobId;
use protocol::limits::EXTENT_BYTES;
use protocol::outline::{self, Cv, Outline};

use super::engine::Change;
use super::keys::{self, BlobEntry, Location, Tree};
use super::packs::record::{self, Draft, Kind};
use super::{ReadError, Store, WriteError, locked};

/// Extents of all outlines kept in memory: 16 MiB of chaining values.
const CACHED_EXTENTS_MAX: usize = 1 << 19;

/// Extents looked up under one hold of the index.
const LOOKUPS_AT_ONCE: usize = 256;

/// What this store holds of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobState {
    /// Nothing.
    Missing,
    /// Its outline, and all extents but those in `missing`.
    Partial { size: u64, missing: Vec<Range<u32>> },
    /// All of it.
    Complete { size: u64 },
}

/// Why a piece of a blob was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The bytes are not what they were said to be: whoever sent them is at fault.
    #[error("the bytes sent for blob {blob} do not have its hash")]
    Mismatch { blob: BlobId },
    /// An extent came before the outline that says what it must be.
    #[error("an extent of blob {blob} came before its outline")]
    NoOutline { blob: BlobId },
    /// The disk could not take it.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// What is already held could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Outlines in use, with what is missing where that was asked.
#[derive(Debug, Default)]
pub(super) struct Partials {
    by_blob: BTreeMap<BlobId, Partial>,
    extents: usize,
}

#[derive(Debug, Clone)]
struct Partial {
    outline: Arc<Outline>,
    /// Indexes of extents not held; `None` until they were looked up.
    missing: Option<BTreeSet<u32>>,
}

impl Partials {
    fn insert(&mut self, outline: &Arc<Outline>) {
        while self.extents.saturating_add(outline.extents.len()) > CACHED_EXTENTS_MAX {
            let Some((_, dropped)) = self.by_blob.pop_first() else { break };
            self.extents = self.extents.saturating_sub(dropped.outline.extents.len());
        }
        let partial = Partial { outline: Arc::clone(outline), missing: None };
        if self.by_blob.insert(outline.blob, partial).is_none() {
            self.extents = self.extents.saturating_add(outline.extents.len());
        }
    }

    pub(super) fn forget(&mut self, blob: BlobId) {
        if let Some(dropped) = self.by_blob.remove(&blob) {
            self.extents = self.extents.saturating_sub(dropped.outline.extents.len());
        }
    }
}

impl Store {
    /// What is held of a blob.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn blob_state(&self, blob: BlobId) -> Result<BlobState, ReadError> {
        match self.blob_entry(blob)? {
            None => Ok(BlobState::Missing),
            Some(BlobEntry::Small { at }) if self.holds(Kind::Blob, blob.0, at)? => {
                Ok(BlobState::Complete { size: at.bytes })
            }
            Some(BlobEntry::Large { size, complete: true, .. }) => Ok(BlobState::Complete { size }),
            Some(BlobEntry::Large { size, outline, complete: false })
                if self.has_outline(blob, outline)? =>
            {
                let missing = self.missing(blob)?;
                if missing.is_empty() {
                    // Its size may have been put right.
                    return self.blob_state(blob);
                }
                Ok(BlobState::Partial { size, missing: ranges(&missing) })
            }
            Some(BlobEntry::Small { .. } | BlobEntry::Large { .. }) => Ok(BlobState::Missing),
        }
    }

    /// Whether an outline is where the index says, or is kept twice.
    fn has_outline(&self, blob: BlobId, at: Location) -> Result<bool, ReadError> {
        if self.holds(Kind::Outline, blob.0, at)? {
            return Ok(true);
        }
        let outline = self.spare(at)?.and_then(|payload| record::decode_outline(&payload));
        let is_it = outline.is_some_and(|outline| outline.blob == blob);
        if is_it {
            self.suspect(at);
        }
        Ok(is_it)
    }

    /// The outline of a large blob that is held in whole or in part.
    ///
    /// # Errors
    /// When the disk fails or the outline is damaged.
    pub fn outline(&self, blob: BlobId) -> Result<Option<Arc<Outline>>, ReadError> {
        if let Some(partial) = locked(&self.inner.partials).by_blob.get(&blob) {
            return Ok(Some(Arc::clone(&partial.outline)));
        }
        let Some(BlobEntry::Large { outline: at, .. }) = self.blob_entry(blob)? else { return Ok(None) };
        let payload = self.read_location(at)?;
        let read = payload.and_then(|payload| record::decode_outline(&payload));
        let Some(outline) = read.filter(|outline| outline.blob == blob) else {
            self.condemn_at(Kind::Outline, blob.0, at)?;
            self.mark_blob_missing(blob, at)?;
            return Err(ReadError::Corrupt { blob, extent: None });
        };
        let outline = Arc::new(outline);
        locked(&self.inner.partials).insert(&outline);
        Ok(Some(outline))
    }

    /// Takes a blob of at most one extent. Seen at once, durable after [`Store::sync`].
    ///
    /// # Errors
    /// [`PutError::Mismatch`] when the bytes are not that blob's; [`PutError::Write`].
    pub fn put_small(&self, blob: BlobId, bytes: &[u8]) -> Result<(), PutError> {
        if bytes.len() > EXTENT_BYTES || *blake3::hash(bytes).as_bytes() != blob.0 {
            return Err(PutError::Mismatch { blob });
        }
        let _once = self.putting(&blob.0);
        if matches!(self.blob_state(blob)?, BlobState::Complete { .. }) {
            return Ok(());
        }
        self.has_room(bytes.len())?;
        self.commit(&[Draft { kind: Kind::Blob, aux: 0, id: blob.0, payload: bytes }])?;
        Ok(())
    }

    /// Takes the outline of a large blob, after which its extents are taken. Seen at once, durable after [`Store::sync`].
    ///
    /// # Errors
    /// [`PutError::Mismatch`] when it is not one; [`PutError::Write`].
    pub fn put_outline(&self, outline: &Outline) -> Result<(), PutError> {
        let blob = outline.blob;
        outline.verify().map_err(|_wrong| PutError::Mismatch { blob })?;
        let _once = self.putting(&blob.0);
        if self.blob_state(blob)? != BlobState::Missing {
            return Ok(());
        }
        locked(&self.inner.partials).forget(blob);
        let payload = record::encode_outline(outline);
        self.has_room(payload.len())?;
        // Extents that it names may be here, and loose until the index knows it.
        let mut under_way = self.under_way();
        under_way.name(&outline.extents);
        self.commit(&[Draft::outline(blob, &payload)])?;
        drop(under_way);
        Ok(())
    }

    /// Takes one extent of a blob whose outline is held. The blob is complete when this returns for the last one:
    /// then, and only then, this waits for the disk.
    ///
    /// # Errors
    /// [`PutError::NoOutline`], [`PutError::Mismatch`], [`PutError::Write`].
    pub fn put_extent(&self, blob: BlobId, index: u32, bytes: &[u8]) -> Result<(), PutError> {
        let outline = self.outline(blob)?.ok_or(PutError::NoOutline { blob })?;
        let place = usize::try_from(index).ok().and_then(|index| outline.extents.get(index));
        let cv = outline::extent_cv(index, bytes).filter(|cv| place == Some(cv));
        let cv = cv.ok_or(PutError::Mismatch { blob })?;
        self.keep_extent(index, &cv, bytes)?;
        let left = self.missing_but(blob, &outline, index)?;
        if left == 0 {
            self.complete(blob)?;
        }
        Ok(())
    }

    /// Writes an extent unless it is held.
    pub(super) fn keep_extent(&self, index: u32, cv: &Cv, bytes: &[u8]) -> Result<(), WriteError> {
        let _once = self.putting(&cv.0);
        if self.extent_at(cv)?.is_some() {
            return Ok(());
        }
        self.has_room(bytes.len())?;
        self.commit(&[Draft { kind: Kind::Extent, aux: index, id: cv.0, payload: bytes }])?;
        Ok(())
    }

    /// Held from the look whether a record is here until it is written and indexed. Of two that bring the same bytes one writes them: the index
    /// could come to point to the first of two records, where one that is built anew points to the second.
    fn putting(&self, id: &[u8; 32]) -> MutexGuard<'_, ()> {
        let [first, ..] = *id;
        let [a, b, c, d] = &self.inner.putting;
        locked(match first & 3 {
            0 => a,
            1 => b,
            2 => c,
            _ => d,
        })
    }

    fn has_room(&self, bytes: usize) -> Result<(), WriteError> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.inner.packs.has_room(bytes, self.inner.options.reserve_bytes)
    }

    /// Where an extent lies, if its record is there.
    pub(super) fn extent_at(&self, cv: &Cv) -> Result<Option<Location>, WriteError> {
        let at = self.with_index(|index| {
            index.value(Tree::Extent, &cv.0)?.map(|value| keys::decode::<Location>(&value)).transpose()
        })?;
        let Some(at) = at else { return Ok(None) };
        let held = self.inner.packs.header(at).map_err(|error| self.inner.packs.fault("reading", error))?;
        Ok(held.filter(|header| header.kind == Kind::Extent && header.id == cv.0).map(|_| at))
    }

    pub(super) fn blob_entry(&self, blob: BlobId) -> Result<Option<BlobEntry>, ReadError> {
        Ok(self.with_index(|index| {
            index.value(Tree::Blob, blob.as_bytes())?.map(|value| keys::decode(&value)).transpose()
        })?)
    }

    /// Whether a record of that kind and id is where the index says.
    pub(super) fn holds(&self, kind: Kind, id: [u8; 32], at: Location) -> Result<bool, ReadError> {
        let header = self.inner.packs.header(at).map_err(|error| self.unreadable(error))?;
        Ok(header.is_some_and(|header| header.kind == kind && header.id == id))
    }

    pub(super) fn unreadable(&self, error: io::Error) -> ReadError {
        ReadError::Disk { folder: self.folder(), source: Arc::new(error) }
    }

    pub(super) fn change(&self, tree: Tree, key: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), ReadError> {
        let change = [Change { tree, key, value }];
        Ok(self.with_index(|index| index.apply(&change))?)
    }

    /// The extents of a blob that are not held; marks the blob complete when there are none.
    pub(super) fn missing(&self, blob: BlobId) -> Result<BTreeSet<u32>, ReadError> {
        let Some(outline) = self.outline(blob)? else { return Ok(BTreeSet::new()) };
        let missing = self.look_up(&outline, 0..outline::extent_count(outline.size))?;
        if missing.is_empty() {
            self.complete(blob)?;
        } else if let Some(partial) = locked(&self.inner.partials).by_blob.get_mut(&blob) {
            partial.missing = Some(missing.clone());
        }
        Ok(missing)
    }

    /// How many extents are missing once `index` is there.
    fn missing_but(&self, blob: BlobId, outline: &Arc<Outline>, index: u32) -> Result<usize, ReadError> {
        {
            let mut partials = locked(&self.inner.partials);
            let missing = partials.by_blob.get_mut(&blob).and_then(|partial| partial.missing.as_mut());
            if let Some(missing) = missing {
                missing.remove(&index);
                // Another blob may have brought extents of this one: looked up again before it counts as whole.
                if !missing.is_empty() {
                    return Ok(missing.len());
                }
            }
        }
        let missing = self.look_up(outline, 0..outline::extent_count(outline.size))?;
        let left = missing.len();
        if let Some(partial) = locked(&self.inner.partials).by_blob.get_mut(&blob) {
            partial.missing = Some(missing);
        }
        Ok(left)
    }

    fn look_up(&self, outline: &Outline, indexes: Range<u32>) -> Result<BTreeSet<u32>, ReadError> {
        let mut missing = BTreeSet::new();
        let extents: Vec<_> = indexes.zip(&outline.extents).collect();
        for part in extents.chunks(LOOKUPS_AT_ONCE) {
            let places = self.with_index(|index| {
                let place = |(_, cv): &(u32, &Cv)| {
                    let value = index.value(Tree::Extent, &cv.0)?;
                    value.map(|value| keys::decode::<Location>(&value)).transpose()
                };
                part.iter().map(place).collect::<Result<Vec<_>, _>>()
            })?;
            for ((index, cv), at) in part.iter().zip(places) {
                let held = match at {
                    Some(at) => self.holds(Kind::Extent, cv.0, at)?,
                    None => false,
                };
                if !held {
                    missing.insert(*index);
                }
            }
        }
        Ok(missing)
    }

    /// Forgets what is remembered of a blob that was dropped. Should it be needed again, it is wanted.
    pub(super) fn forget_blob(&self, blob: BlobId) -> Result<(), ReadError> {
        locked(&self.inner.partials).forget(blob);
        self.want_again(blob)
    }

    /// Marks a blob whose extents are all there. They are durable first, so the mark can be believed for ever.
    fn complete(&self, blob: BlobId) -> Result<(), ReadError> {
        self.put_size_right(blob)?;
        self.sync().map_err(ReadError::Incomplete)?;
        self.mark_complete(blob, true)
    }

    /// An outline says how large its blob is, and nothing in the blob's hash does: whoever wrote or sent it may have said another size. The last
    /// extent has the length that its hash is of.
    fn put_size_right(&self, blob: BlobId) -> Result<(), ReadError> {
        let Some(outline) = self.outline(blob)? else { return Ok(()) };
        let Some(last) = outline.extents.last() else { return Ok(()) };
        let Some(at) = self.extent_at(last).map_err(ReadError::Incomplete)? else { return Ok(()) };
        let full = outline::extent_count(outline.size).saturating_sub(1);
        let size = u64::from(full).saturating_mul(EXTENT_BYTES as u64).saturating_add(at.bytes);
        if size == outline.size {
            return Ok(());
        }
        tracing::warn!(%blob, said = outline.size, size, "an outline said another size than its blob has");
        locked(&self.inner.partials).forget(blob);
        let payload = record::encode_outline(&Outline { size, ..Outline::clone(&outline) });
        self.commit(&[Draft::outline(blob, &payload)]).map_err(ReadError::Incomplete)?;
        Ok(())
    }

    pub(super) fn mark_complete(&self, blob: BlobId, complete: bool) -> Result<(), ReadError> {
        if let Some(BlobEntry::Large { size, outline, .. }) = self.blob_entry(blob)? {
            let entry = BlobEntry::Large { size, outline, complete };
            self.change(Tree::Blob, keys::blob(blob), Some(keys::encode(&entry)))?;
        }
        if complete {
            locked(&self.inner.partials).forget(blob);
            return Ok(());
        }
        if let Some(partial) = locked(&self.inner.partials).by_blob.get_mut(&blob) {
            partial.missing = None;
        }
        self.want_again(blob)
    }
}

/// Indexes as ranges, in order.
fn ranges(indexes: &BTreeSet<u32>) -> Vec<Range<u32>> {
    let mut ranges: Vec<Range<u32>> = Vec::new();
    for &index in indexes {
        match ranges.last_mut() {
            Some(last) if last.end == index => last.end = index.saturating_add(1),
            Some(_) | None => ranges.push(index..index.saturating_add(1)),
        }
    }
    ranges
}
