//! Giving space back: dropping blobs that nothing needs, extents that no blob names, and packs that are mostly dead.
//!
//! What is dropped is written to the packs first, so that a rebuild does not bring it back. Nothing is
//! dropped that was stored since the sweep before the last: its op may still be on its way.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::Instant;

use protocol::feed::{Item, Standing};
use protocol::id::{BlobId, OpId};
use protocol::op::Body;
use serde::{Deserialize, Serialize};

use super::keys::{self, BlobEntry, Location, Tree};
use super::packs::footer::Place;
use super::packs::record::{Draft, Header, Kind};
use super::replay::Changes;
use super::{Look, ReadError, Store, WriteError, locked, records, replay, strays};

/// Blobs looked at while nothing new may name them.
const BLOBS_AT_ONCE: usize = 512;

/// Records dropped by one record.
const DROPS_AT_ONCE: usize = 4096;

/// Extents looked at in one pass over all outlines: about 30 MiB.
const EXTENTS_AT_ONCE: usize = 1 << 18;

/// Bytes of live records that are written elsewhere with one sync.
pub(super) const MOVED_AT_ONCE_BYTES: u64 = 8 << 20;

/// A newest pack is left alone below this part of a whole one: so little is not worth a pack of its own.
const OPEN_PACK_PARTS: u64 = 16;

/// Blobs remembered as just stored: about 8 MiB.
const TOUCHED_MAX: usize = 1 << 17;

/// Why a sweep stopped. What it had dropped stays dropped.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The disk could not take what must be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// What is held could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<super::RebuildError> for SweepError {
    fn from(error: super::RebuildError) -> Self {
        Self::Read(ReadError::Index(error))
    }
}

/// What a sweep dropped, or would drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Swept {
    pub blobs: u64,
    /// Extents that no blob names, those of dropped blobs among them.
    pub extents: u64,
    /// Bytes of what was dropped. The disk has them again once their packs are reclaimed.
    pub bytes: u64,
}

/// What reclaiming gave back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Reclaimed {
    pub packs: u64,
    pub bytes_moved: u64,
    pub bytes_freed: u64,
    /// Bytes that must be free beside what is, before the next pack can be written anew; zero where none waits for room.
    pub bytes_lacking: u64,
}

/// Blobs stored since the last sweep, and since the one before.
#[derive(Debug, Default)]
pub(super) struct Touched {
    since: BTreeSet<BlobId>,
    before: BTreeSet<BlobId>,
    /// When each was stored, as long as it may still wait for the op that names it.
    unnamed: BTreeMap<BlobId, Instant>,
}

impl Touched {
    pub(super) fn all(&self) -> Vec<BlobId> {
        self.since.union(&self.before).copied().collect()
    }

    pub(super) fn forget(&mut self, blob: BlobId) {
        self.since.remove(&blob);
        self.before.remove(&blob);
    }
}

/// One record that is dropped.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Dropped {
    pub(super) extent: bool,
    pub(super) id: [u8; 32],
    pub(super) at: Location,
}

/// What dropped records mean for the index: an entry goes only if it points to that very record.
pub(super) fn replay(changes: &mut Changes, payload: &[u8]) {
    let Ok(dropped) = keys::decode::<Vec<Dropped>>(payload) else { return };
    for Dropped { extent, id, at } in dropped {
        if extent {
            changes.remove_at(Tree::Extent, id.to_vec(), at);
        } else {
            changes.drop_blob(BlobId(id), at);
        }
    }
}

pub(super) fn plus(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more);
}

impl Store {
    pub(super) fn touch(&self, blob: BlobId) {
        let mut touched = locked(&self.inner.touched);
        if touched.since.len() >= TOUCHED_MAX {
            touched.before = std::mem::take(&mut touched.since);
        }
        touched.since.insert(blob);
        if touched.unnamed.len() >= TOUCHED_MAX {
            touched.unnamed.pop_first();
        }
        touched.unnamed.insert(blob, Instant::now());
    }

    /// Drops every blob that nothing standing in any feed needs and that `keep` does not keep (it is given the blob and its
    /// bytes), and every extent that no blob names. Drops nothing if `dry_run` is set.
    ///
    /// # Errors
    /// See [`SweepError`].
    pub fn sweep(
        &self,
        look: Look,
        dry_run: bool,
        mut keep: impl FnMut(BlobId, u64) -> bool,
    ) -> Result<Swept, SweepError> {
        let _one_at_a_time = locked(&self.inner.sweeping);
        let (touched, unnamed) = {
            let mut touched = locked(&self.inner.touched);
            let both: BTreeSet<BlobId> = touched.since.union(&touched.before).copied().collect();
            if !dry_run {
                touched.before = std::mem::take(&mut touched.since);
            }
            touched.unnamed.retain(|_, stored| stored.elapsed() < self.inner.options.unnamed_kept);
            // On a full disk nothing could be taken in that names them.
            (both, if self.is_full() { BTreeMap::new() } else { touched.unnamed.clone() })
        };
        let mut swept = Swept::default();
        let mut going = BTreeSet::new();
        let mut blobs = self.blobs();
        loop {
            let some = blobs.by_ref().take(BLOBS_AT_ONCE).collect::<Result<Vec<_>, _>>()?;
            if some.is_empty() {
                break;
            }
            let mut drops = Vec::new();
            let _naming = self.inner.naming.write().unwrap_or_else(PoisonError::into_inner);
            for (blob, entry) in some {
                let (at, size) = match entry {
                    BlobEntry::Small { at } => (at, at.bytes),
                    BlobEntry::Large { size, outline, .. } => (outline, size),
                };
                let waits = unnamed.contains_key(&blob) && self.uses(blob, 1)?.is_empty();
                // What was stored since this sweep began is in neither.
                let new = locked(&self.inner.touched).since.contains(&blob);
                if new || touched.contains(&blob) || waits || self.is_needed(blob, look)? || keep(blob, size)
                {
                    continue;
                }
                plus(&mut swept.blobs, 1);
                plus(&mut swept.bytes, at.bytes);
                if dry_run {
                    going.insert(blob);
                }
                drops.push(Dropped { extent: false, id: blob.0, at });
            }
            if !dry_run {
                self.write_drops(&drops)?;
                for Dropped { id, .. } in drops {
                    self.forget_blob(BlobId(id))?;
                }
            }
        }
        self.sweep_extents(&going, dry_run, &mut swept)?;
        Ok(swept)
    }

    pub(super) fn write_drops(&self, drops: &[Dropped]) -> Result<(), WriteError> {
        for part in drops.chunks(DROPS_AT_ONCE) {
            let payload = keys::encode(&part);
            self.commit_durable(&[Draft::hashed(Kind::Drop, &payload)])?;
        }
        Ok(())
    }

    /// Whether a publish that stands, or could stand again without its bytes being sent, names the blob: a block is lifted by one word. One
    /// that is evicted here needs no bytes.
    pub(super) fn is_needed(&self, blob: BlobId, look: Look) -> Result<bool, ReadError> {
        self.is_needed_but(blob, look, &[])
    }

    /// Whether a publish other than these needs the blob.
    pub(super) fn is_needed_but(&self, blob: BlobId, look: Look, but: &[OpId]) -> Result<bool, ReadError> {
        for using in self.each_use(blob) {
            let (feed, op) = using?;
            if but.contains(&op) {
                continue;
            }
            // One that damage took comes back, and needs its bytes then.
            let Some(named) = self.op(op)? else { return Ok(true) };
            let Body::Publish(publish) = &named.op.body else { continue };
            let (name, version) = (&publish.coordinate.name, &publish.coordinate.version);
            let items = self.with_and_without_blocks(feed, (name, version), look)?;
            // Until an op that waits is due, nobody knows what it brings back.
            if items.iter().any(|item| item.due.is_some() || needs(item, op))
                && !self.is_evicted(feed, name, version, op)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Drops the extents that no outline names and on which no upload counts. `going` are blobs that a sweep would have dropped by now: one that was
    /// dropped may be here again.
    fn sweep_extents(
        &self,
        going: &BTreeSet<BlobId>,
        dry_run: bool,
        swept: &mut Swept,
    ) -> Result<(), SweepError> {
        let _watch = self.watch();
        let mut extents =
            self.walk(Tree::Extent, &[], |key, value| Ok((keys::blob_of(key)?.0, keys::decode(value)?)));
        loop {
            let mut loose = extents
                .by_ref()
                .take(EXTENTS_AT_ONCE)
                .collect::<Result<BTreeMap<[u8; 32], Location>, _>>()?;
            if loose.is_empty() {
                return Ok(());
            }
            self.strike_named(&mut loose, going)?;
            let drop = |(id, at): (&[u8; 32], &Location)| Dropped { extent: true, id: *id, at: *at };
            let drops: Vec<_> = loose.iter().map(drop).collect();
            self.drop_extents(&drops, dry_run, swept)?;
        }
    }

    /// Drops loose extents but those that came to be counted on or named since the sweep began.
    pub(super) fn drop_extents(
        &self,
        loose: &[Dropped],
        dry_run: bool,
        swept: &mut Swept,
    ) -> Result<(), SweepError> {
        for part in loose.chunks(DROPS_AT_ONCE) {
            // Held until they are dropped: who comes to count on one meanwhile looks for it afterwards, and writes it again.
            let under_way = self.under_way();
            let part: Vec<_> =
                part.iter().filter(|dropped| !under_way.counts_on(&dropped.id)).cloned().collect();
            plus(&mut swept.extents, u64::try_from(part.len()).unwrap_or(u64::MAX));
            plus(&mut swept.bytes, part.iter().map(|dropped| dropped.at.bytes).sum());
            if !dry_run {
                self.write_drops(&part)?;
            }
        }
        Ok(())
    }

    /// Takes out what an outline names that stays.
    pub(super) fn strike_named(
        &self,
        loose: &mut BTreeMap<[u8; 32], Location>,
        going: &BTreeSet<BlobId>,
    ) -> Result<(), ReadError> {
        for blob in self.blobs() {
            let (blob, entry) = blob?;
            if matches!(entry, BlobEntry::Small { .. }) || going.contains(&blob) {
                continue;
            }
            // An outline that cannot be read is marked missing and comes again; its extents may go.
            let outline = match self.outline(blob) {
                Ok(outline) => outline,
                Err(ReadError::Corrupt { .. }) => None,
                Err(error) => return Err(error),
            };
            for cv in outline.iter().flat_map(|outline| &outline.extents) {
                loose.remove(&cv.0);
            }
        }
        Ok(())
    }

    /// Writes what is live in packs of which at most `live_percent_max` is live elsewhere, and removes those packs.
    ///
    /// # Errors
    /// See [`SweepError`]; also when the disk has no room for what must be moved.
    pub fn reclaim(&self, live_percent_max: u64) -> Result<Reclaimed, SweepError> {
        let _one_at_a_time = locked(&self.inner.sweeping);
        let (mut reclaimed, mut dead) = (Reclaimed::default(), Vec::new());
        self.close_if_dead(live_percent_max)?;
        // The newest pack stays, so that no number is ever given twice.
        let (newest, _) = self.inner.packs.end();
        for (number, file, _) in self.inner.packs.all().into_iter().filter(|pack| pack.0 < newest) {
            let bytes = file.bytes().map_err(|error| self.unreadable(error))?;
            let (_, live_bytes) = self.live_in(number)?;
            if live_bytes.saturating_mul(100) <= bytes.saturating_mul(live_percent_max) {
                dead.push((live_bytes, number, bytes));
            }
        }
        // Those first of which least must be moved: on a full disk they make the room for the others.
        dead.sort_unstable();
        for (_, number, bytes) in dead {
            let (live, live_bytes) = self.live_in(number)?;
            match self.inner.packs.makes_room(live_bytes) {
                // What was given back before is some room for the next time; where it was nothing, somebody has to make some.
                Err(WriteError::DiskFull { free_bytes, .. }) => {
                    reclaimed.bytes_lacking = live_bytes.saturating_sub(free_bytes);
                    break;
                }
                room => room?,
            }
            // Of what is damaged or could not be read a backup may have a good copy, and nothing says that it came back.
            let unread = self.move_away(number, &live)?;
            if !self.is_damage_noted_in(number)? {
                self.note_reclaimed(number, &unread)?;
            }
            self.discard(number)?;
            plus(&mut reclaimed.packs, 1);
            plus(&mut reclaimed.bytes_moved, live_bytes);
            plus(&mut reclaimed.bytes_freed, bytes.saturating_sub(live_bytes));
        }
        Ok(reclaimed)
    }

    /// Seals the newest pack where much of it is dead: on a small disk it is all there is.
    fn close_if_dead(&self, live_percent_max: u64) -> Result<(), SweepError> {
        let (newest, bytes) = self.inner.packs.end();
        if bytes < self.inner.options.pack_bytes / OPEN_PACK_PARTS {
            return Ok(());
        }
        let (_, live_bytes) = self.live_in(newest)?;
        if live_bytes.saturating_mul(100) <= bytes.saturating_mul(live_percent_max) {
            self.inner.packs.close(newest)?;
        }
        Ok(())
    }

    /// Writes what is live in a pack at the end of the newest one and removes the pack; the newest is sealed first.
    pub(super) fn write_anew(&self, number: u32) -> Result<(), SweepError> {
        let _one_at_a_time = locked(&self.inner.sweeping);
        if self.inner.packs.has(number) { self.write_alone(number) } else { Ok(()) }
    }

    /// Writes anew, from what this process has open still, packs that somebody removed from the folder: the next start would miss them. Gives
    /// them with their lengths; none while somebody sweeps.
    pub(super) fn write_removed_anew(&self) -> Result<Vec<(u32, u64)>, SweepError> {
        let Ok(_one_at_a_time) = self.inner.sweeping.try_lock() else { return Ok(Vec::new()) };
        let removed = self.inner.packs.removed().map_err(|error| self.unreadable(error))?;
        for (number, _) in &removed {
            let folder = self.folder();
            tracing::error!(folder, pack = number, "a pack is gone from the folder and is written anew");
            self.write_alone(*number)?;
        }
        Ok(removed)
    }

    /// Only while nobody else sweeps.
    fn write_alone(&self, number: u32) -> Result<(), SweepError> {
        self.inner.packs.close(number)?;
        let (live, live_bytes) = self.live_in(number)?;
        self.inner.packs.has_room(live_bytes, 0)?;
        let unread = self.move_away(number, &live)?;
        self.note_reclaimed(number, &unread)?;
        self.discard(number)
    }

    /// Removes a pack of which nothing is live. What was dropped is noted in packs of which this may be one: an index that has not reached
    /// the disk by then, and is set back by a loss of power, would count as whole what lay here.
    fn discard(&self, number: u32) -> Result<(), SweepError> {
        self.write_unlisted_spares(number)?;
        self.inner.packs.is_to_go(number);
        self.forget_spares_of(number)?;
        self.checkpoint()?;
        Ok(self.inner.packs.discard(number)?)
    }

    fn live_in(&self, number: u32) -> Result<(Vec<Place>, u64), ReadError> {
        let places = self.inner.packs.contents(number).map_err(|error| self.unreadable(error))?.places;
        let mut live = Vec::new();
        for place in places {
            if self.is_live(number, &place)? {
                live.push(place);
            }
        }
        let live_bytes = live.iter().map(|place| place.header.span()).sum::<u64>();
        Ok((live, live_bytes))
    }

    /// Writes records again and points the index to them once they are durable there. Gives those that could not be read.
    pub(super) fn move_away(&self, pack: u32, live: &[Place]) -> Result<Vec<Place>, SweepError> {
        let mut unread = Vec::new();
        let mut moved: Vec<(Header, Vec<u8>)> = Vec::new();
        let mut bytes: u64 = 0;
        for place in live {
            // Records are one per key: what holds may not change between reading it and writing it again.
            if place.header.kind == Kind::Meta {
                let _order = locked(&self.inner.records);
                if self.is_live(pack, place)?
                    && let Some((header, payload)) = self.read_place(pack, place)?
                {
                    self.commit_durable(&[draft(&header, &payload)])?;
                }
                continue;
            }
            let Some(record) = self.read_place(pack, place)? else {
                unread.push(*place);
                continue;
            };
            plus(&mut bytes, record.0.span());
            moved.push(record);
            if bytes >= MOVED_AT_ONCE_BYTES {
                self.commit_moved(&moved)?;
                moved.clear();
                bytes = 0;
            }
        }
        self.commit_moved(&moved)?;
        Ok(unread)
    }

    pub(super) fn commit_moved(&self, moved: &[(Header, Vec<u8>)]) -> Result<(), WriteError> {
        if moved.is_empty() {
            return Ok(());
        }
        let drafts: Vec<_> = moved.iter().map(|(header, payload)| draft(header, payload)).collect();
        {
            // No log may get longer or shorter between the look at what is held and what is changed.
            let _no_append = locked(&self.inner.generation);
            let _settled = self.inner.settled.read().unwrap_or_else(PoisonError::into_inner);
            let appended = self.inner.packs.append(&drafts)?;
            self.wait(appended.ticket)?;
            self.with_index(|index| {
                let mut changes = Changes::default();
                for (draft, &at) in drafts.iter().zip(&appended.locations) {
                    replay::record(&mut changes, draft.kind, draft.id, at, draft.payload);
                }
                changes.keep_to_what_is_held(index)?;
                changes.apply(index)
            })?;
        }
        self.checkpoint_if_due();
        Ok(())
    }

    /// A damaged record that is not kept twice is not moved: it counts as missing from here on.
    fn read_place(&self, pack: u32, place: &Place) -> Result<Option<(Header, Vec<u8>)>, ReadError> {
        let at = place.location(pack);
        let read = self.inner.packs.read(at).map_err(|error| self.unreadable(error))?;
        let spare = || Ok(self.spare(at)?.map(|payload| (place.header, payload)));
        read.map_or_else(spare, |record| Ok(Some(record)))
    }

    /// Whether the index points to a record, or a rebuild needs it.
    pub(super) fn is_live(&self, pack: u32, place: &Place) -> Result<bool, ReadError> {
        let (header, at) = (place.header, place.location(pack));
        let points = |tree| {
            self.with_index(|index| {
                let now = index.value(tree, &header.id)?;
                let now = now.map(|value| keys::location(tree, &value)).transpose()?.flatten();
                Ok(now == Some(at))
            })
        };
        match header.kind {
            Kind::Blob | Kind::Outline => Ok(points(Tree::Blob)?),
            Kind::Extent => Ok(points(Tree::Extent)?),
            Kind::Ops => Ok(!self.with_index(|index| strays::is_stray(index, &header.id))?),
            Kind::Meta => {
                let Some((_, payload)) = self.read_place(pack, place)? else { return Ok(false) };
                Ok(self.with_index(|index| records::holds(index, at, &payload))?)
            }
            Kind::Drop => {
                let Some((_, payload)) = self.read_place(pack, place)? else { return Ok(false) };
                let dropped = keys::decode::<Vec<Dropped>>(&payload).unwrap_or_default();
                // Once the record it names is gone from the disk, there is nothing to keep dropped.
                let there =
                    |dropped: &Dropped| dropped.at.pack != pack && self.inner.packs.has(dropped.at.pack);
                Ok(dropped.iter().any(there))
            }
        }
    }
}

pub(super) fn draft<'a>(header: &Header, payload: &'a [u8]) -> Draft<'a> {
    Draft { kind: header.kind, aux: header.aux, id: header.id, payload }
}

/// Whether an item needs the bytes of one of its publishes.
pub(super) fn needs(item: &Item, op: OpId) -> bool {
    match item.standing {
        Standing::Hidden | Standing::Parked | Standing::Held => true,
        Standing::Served
        | Standing::Blocked
        | Standing::Deleted
        | Standing::Suppressed
        | Standing::NotAuthorised
        | Standing::Absent => {
            item.winner == Some(op)
                || item.twins.contains(&op)
                || item.clash.contains(&op)
                || item.reused.contains(&op)
                || item.shadowed.contains(&op)
                || item.suppressed.contains(&op)
        }
    }
}
