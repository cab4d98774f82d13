//! Evicting: a version's bytes leave this site and are not fetched again until somebody asks for them. What stands in the feed stays as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use protocol::feed::Standing;
use protocol::id::{BlobId, FeedId, OpId};
use protocol::limits::EXTENT_BYTES;
use protocol::log::NamedOp;
use protocol::op::{Body, Publish};
use protocol::package::Coordinate;
use protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::keys::{self, BlobEntry, Location, Tree};
use super::records::Shelf;
use super::sweep::{Dropped, needs, plus};
use super::{BlobState, Look, ReadError, Store, SweepError, Swept, locked};

/// The publishes of one coordinate whose bytes were dropped here on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Evicted {
    at: Timestamp,
    ops: Vec<OpId>,
}

/// Blobs that are about to be dropped, and by how many evictions. While one is, this site does not say that it keeps it: two
/// sites that ask each other at the same time must not both let go.
pub(super) type Going = BTreeMap<BlobId, u32>;

/// A version that is about to be evicted. Dropped without [`Evicting::confirm`], everything stays.
#[derive(Debug)]
pub struct Evicting {
    store: Store,
    feed: FeedId,
    coordinate: Coordinate,
    look: Look,
    ops: Vec<OpId>,
    /// What no other version here needs.
    blobs: BTreeSet<BlobId>,
}

impl Drop for Evicting {
    fn drop(&mut self) {
        let mut going = locked(&self.store.inner.going);
        for blob in &self.blobs {
            match going.get_mut(blob) {
                Some(count) if *count > 1 => *count -= 1,
                Some(_) | None => drop(going.remove(blob)),
            }
        }
    }
}

impl Evicting {
    /// The blobs that are whole here and would be dropped: whoever evicts makes sure first that others have them.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn last_here(&self) -> Result<Vec<BlobId>, ReadError> {
        let mut whole = Vec::new();
        for &blob in &self.blobs {
            if matches!(self.store.blob_state(blob)?, BlobState::Complete { .. }) {
                whole.push(blob);
            }
        }
        Ok(whole)
    }

    /// Remembers that the version is evicted and drops those of `blobs` that nothing else here needs. Durable when this returns.
    ///
    /// # Errors
    /// See [`SweepError`]. What was remembered by then holds, and a sweep drops what was not.
    pub fn confirm(self, blobs: &[BlobId]) -> Result<Swept, SweepError> {
        let store = &self.store;
        let _one_at_a_time = locked(&store.inner.sweeping);
        let record = Evicted { at: self.look.now, ops: self.ops.clone() };
        let key = keys::view(self.feed, &self.coordinate.name, &self.coordinate.version);
        store.put_record(Shelf::Evictions, &key, &keys::encode(&record))?;
        let mut swept = Swept::default();
        let _naming = store.inner.naming.write().unwrap_or_else(PoisonError::into_inner);
        let _watch = store.watch();
        let (mut drops, mut going, mut loose) = (Vec::new(), BTreeSet::new(), BTreeMap::new());
        for &blob in blobs.iter().filter(|blob| self.blobs.contains(blob)) {
            // Another version that needs it may have come meanwhile.
            let Some(entry) = store.blob_entry(blob)? else { continue };
            if store.is_needed(blob, self.look)? {
                continue;
            }
            let at = match entry {
                BlobEntry::Small { at } => at,
                BlobEntry::Large { outline, .. } => {
                    store.extents_of(blob, &mut loose)?;
                    outline
                }
            };
            plus(&mut swept.blobs, 1);
            plus(&mut swept.bytes, at.bytes);
            drops.push(Dropped { extent: false, id: blob.0, at });
            going.insert(blob);
        }
        store.write_drops(&drops)?;
        for &blob in &going {
            store.forget_blob(blob)?;
        }
        for &blob in &self.blobs {
            store.unwant_evicted(blob)?;
        }
        store.strike_named(&mut loose, &going)?;
        let extents: Vec<_> = loose.into_iter().map(|(id, at)| Dropped { extent: true, id, at }).collect();
        store.drop_extents(&extents, false, &mut swept)?;
        Ok(swept)
    }
}

impl Store {
    /// Begins to evict a version that is served; nothing where none is.
    ///
    /// # Errors
    /// When the disk fails, or the bytes of an op are damaged.
    pub fn begin_eviction(
        &self,
        feed: FeedId,
        coordinate: &Coordinate,
        look: Look,
    ) -> Result<Option<Evicting>, ReadError> {
        let (name, version) = (&coordinate.name, &coordinate.version);
        let items = self.with_and_without_blocks(feed, (name, version), look)?;
        if items.first().is_none_or(|item| item.standing != Standing::Served) {
            return Ok(None);
        }
        let (mut ops, mut named) = (Vec::new(), BTreeSet::new());
        for NamedOp { id, op, .. } in self.facts(feed, name, version)? {
            if let Body::Publish(publish) = op.body
                && items.iter().any(|item| needs(item, id))
            {
                ops.push(id);
                named.extend(publish.manifest.files.iter().map(|file| file.blob));
            }
        }
        let coordinate = coordinate.clone();
        let mut evicting =
            Evicting { store: self.clone(), feed, coordinate, look, ops, blobs: BTreeSet::new() };
        for blob in named {
            if !self.is_needed_but(blob, look, &evicting.ops)? {
                let mut going = locked(&self.inner.going);
                let count = going.entry(blob).or_default();
                *count = count.saturating_add(1);
                evicting.blobs.insert(blob);
            }
        }
        Ok(Some(evicting))
    }

    /// Whether a publish's bytes were evicted here.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn is_evicted(&self, feed: FeedId, name: &str, version: &str, op: OpId) -> Result<bool, ReadError> {
        Ok(self.evicted(feed, name, version)?.is_some_and(|evicted| evicted.ops.contains(&op)))
    }

    fn evicted(&self, feed: FeedId, name: &str, version: &str) -> Result<Option<Evicted>, ReadError> {
        let value = self.record(Shelf::Evictions, &keys::view(feed, name, version))?;
        value.map(|value| self.understood(&value)).transpose()
    }

    /// Lets the bytes of a version be fetched again. Tells whether they were evicted.
    ///
    /// # Errors
    /// When the disk is full or fails; the version then stays evicted.
    pub fn end_eviction(&self, feed: FeedId, name: &str, version: &str) -> Result<bool, SweepError> {
        let _stay_wanted = locked(&self.inner.ending);
        if self.evicted(feed, name, version)?.is_none() {
            return Ok(false);
        }
        for NamedOp { op, .. } in self.facts(feed, name, version)? {
            let Body::Publish(publish) = op.body else { continue };
            for file in &publish.manifest.files {
                self.want_again(file.blob)?;
            }
        }
        // The wants are in the index alone, which must have reached the disk before nothing else tells of them.
        self.checkpoint()?;
        self.remove_record(Shelf::Evictions, &keys::view(feed, name, version))?;
        Ok(true)
    }

    /// Reads a blob that is whole here and stays, and gives its size: something that stands here needs it, and it is not about to be evicted. One
    /// that rotted, which nobody may have noticed yet, is none, and is wanted again.
    ///
    /// # Errors
    /// When the disk fails, or the bytes of an op are damaged.
    pub fn keeps(&self, blob: BlobId, look: Look) -> Result<Option<u64>, ReadError> {
        let stays = || -> Result<bool, ReadError> {
            Ok(!locked(&self.inner.going).contains_key(&blob) && self.is_needed(blob, look)?)
        };
        let BlobState::Complete { size } = self.blob_state(blob)? else { return Ok(None) };
        if !(stays()? && self.reads_whole(blob, size)?) {
            return Ok(None);
        }
        // Whoever asks may let the last other copy go. What came just now is no copy until the disk has it, nor is what a failed sync took back.
        let is_durable = self.sync().is_ok() && matches!(self.blob_state(blob)?, BlobState::Complete { .. });
        // Once more behind the reading, which takes a while: an eviction may have begun.
        Ok((is_durable && stays()?).then_some(size))
    }

    fn reads_whole(&self, blob: BlobId, size: u64) -> Result<bool, ReadError> {
        for index in 0..size.div_ceil(EXTENT_BYTES as u64).max(1) {
            match self.read_extent(blob, u32::try_from(index).unwrap_or(u32::MAX)) {
                Ok(_) => {}
                Err(
                    ReadError::Missing { .. } | ReadError::Corrupt { .. } | ReadError::CorruptRecord { .. },
                ) => return Ok(false),
                Err(
                    error @ (ReadError::Unreadable { .. }
                    | ReadError::Disk { .. }
                    | ReadError::Incomplete(_)
                    | ReadError::Index(_)),
                ) => return Err(error),
            }
        }
        Ok(true)
    }

    /// The extents of a large blob that are held, with where they lie.
    fn extents_of(&self, blob: BlobId, extents: &mut BTreeMap<[u8; 32], Location>) -> Result<(), SweepError> {
        // An outline that cannot be read names nothing; a sweep finds the extents.
        let outline = match self.outline(blob) {
            Ok(outline) => outline,
            Err(ReadError::Corrupt { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        for cv in outline.iter().flat_map(|outline| &outline.extents) {
            if let Some(at) = self.extent_at(cv)? {
                extents.insert(cv.0, at);
            }
        }
        Ok(())
    }

    /// Drops the wants of a blob in feeds where only evicted versions name it, so that polls need not look at them.
    fn unwant_evicted(&self, blob: BlobId) -> Result<(), ReadError> {
        // What an eviction that ends just now wants again may be this blob: a want too many costs polls a look.
        let Ok(_none_ends) = self.inner.ending.try_lock() else { return Ok(()) };
        // Nor may an op that names it come between the look and the change.
        let _no_append = locked(&self.inner.generation);
        let mut feeds: BTreeMap<FeedId, bool> = BTreeMap::new();
        for using in self.each_use(blob) {
            let (feed, op) = using?;
            let evicted = match self.op(op)?.map(|named| named.op.body) {
                Some(Body::Publish(Publish { coordinate: at, .. })) => {
                    self.is_evicted(feed, &at.name, &at.version, op)?
                }
                Some(_) | None => false,
            };
            let all = feeds.entry(feed).or_insert(true);
            *all = *all && evicted;
        }
        for (feed, _) in feeds.into_iter().filter(|(_, all)| *all) {
            self.change(Tree::Want, keys::want(feed, blob), None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
