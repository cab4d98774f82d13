//! A second copy, in the index, of what nobody else may have: batches of ops, outlines, and records whose values are too large to lie in the
//! index anyway. Damage of a pack takes none of it, and an index that is lost is built again from the packs: it takes both to lose a word.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::engine::{Broken, Change, Index};
use super::keys::{self, Location, Tree};
use super::packs::Damage;
use super::packs::footer::Place;
use super::packs::record::{self, Draft, HEADER_BYTES, Header, Kind};
use super::replay::Changes;
use super::sweep::MOVED_AT_ONCE_BYTES;
use super::{ReadError, Store, SweepError, locked, records, sweep};

/// Bytes of a payload in one value: with what precedes them they stay below what a value may have.
const PIECE_BYTES: usize = 4000;

/// Pieces read under one hold of the index.
const PIECES_AT_ONCE: usize = 512;

/// Whether a record is kept twice.
fn is_kept(kind: Kind, payload: &[u8]) -> bool {
    match kind {
        Kind::Ops | Kind::Outline => true,
        Kind::Meta => records::is_kept_twice(payload),
        // Bytes of blobs are too many, and what was dropped may be dropped again.
        Kind::Blob | Kind::Extent | Kind::Drop => false,
    }
}

fn key(pack: u32, offset: u64, piece: u32) -> Vec<u8> {
    keys::joined(&[&pack.to_be_bytes(), &offset.to_be_bytes(), &piece.to_be_bytes()])
}

/// The offset in a key, and the piece's number.
fn place_of(key: &[u8]) -> Result<(u64, u32), Broken> {
    let parts = key.get(4..).and_then(|rest| rest.split_first_chunk::<8>());
    let parts = parts.and_then(|(offset, piece)| Some((*offset, <[u8; 4]>::try_from(piece).ok()?)));
    let (offset, piece) = parts.ok_or_else(|| Broken::new("a spare's key has no place"))?;
    Ok((u64::from_be_bytes(offset), u32::from_be_bytes(piece)))
}

/// Keeps a record that lies at `at` a second time, if it is of those that are.
pub(super) fn keep(changes: &mut Changes, kind: Kind, at: Location, payload: &[u8]) {
    if !is_kept(kind, payload) {
        return;
    }
    let hash = *blake3::hash(payload).as_bytes();
    for (number, piece) in (0..).zip(payload.chunks(PIECE_BYTES)) {
        let value = keys::joined(&[&[kind.code()], &hash, piece]);
        changes.set(Tree::Spare, key(at.pack, at.offset, number), value);
    }
}

/// What is kept of a record: whole, or not at all.
fn kept(index: &dyn Index, pack: u32, offset: u64) -> Result<Option<(Header, Vec<u8>)>, Broken> {
    let prefix = keys::joined(&[&pack.to_be_bytes(), &offset.to_be_bytes()]);
    let (mut payload, mut told) = (Vec::new(), None);
    let mut from = Vec::new();
    loop {
        let page = index.page(Tree::Spare, &prefix, &from, PIECES_AT_ONCE)?;
        let Some((last, _)) = page.last() else { break };
        from = keys::after(last);
        for (_, value) in &page {
            let Some((&kind, rest)) = value.split_first() else { return Ok(None) };
            let Some((hash, piece)) = rest.split_first_chunk::<32>() else { return Ok(None) };
            // What a loss of power took here may have been longer than what came in its place.
            if *told.get_or_insert((kind, *hash)) != (kind, *hash) {
                break;
            }
            payload.extend_from_slice(piece);
        }
    }
    let Some((kind, hash)) = told else { return Ok(None) };
    let header = match Kind::from_code(kind) {
        _ if *blake3::hash(&payload).as_bytes() != hash => None,
        Some(Kind::Outline) => {
            record::decode_outline(&payload).map(|outline| Draft::outline(outline.blob, &payload).header())
        }
        Some(kind) => Some(Draft::hashed(kind, &payload).header()),
        None => None,
    };
    Ok(header.map(|header| (header, payload)))
}

/// What an index that is to be replaced keeps of a record. One that is broken keeps nothing.
pub(super) fn of(index: &dyn Index, pack: u32, place: &Place) -> Option<Vec<u8>> {
    let (header, payload) = kept(index, pack, place.offset).ok()??;
    (header == place.header).then_some(payload)
}

/// The records that an index which is to be replaced keeps of damaged bytes.
pub(super) fn places_in(index: &dyn Index, damage: &Damage) -> Vec<Place> {
    let offsets = offsets_in(index, damage).unwrap_or_default();
    let place = |offset| kept(index, damage.pack, offset).ok()?.map(|(header, _)| Place { header, offset });
    offsets.into_iter().filter_map(place).collect()
}

/// Whether those records are all that lay in damaged bytes. In less than a header's no record lay, nor in the front of a pack.
pub(super) fn fill(damage: &Damage, places: &[Place]) -> bool {
    let kept: u64 = places.iter().map(|place| place.header.span()).sum();
    damage.record.is_some()
        || damage.offset == 0 && damage.bytes == HEADER_BYTES as u64
        || damage.bytes.saturating_sub(kept) < HEADER_BYTES as u64
}

/// Whether nobody knows all that lay in damaged bytes.
pub(super) fn leave_unknown(index: &dyn Index, damage: &[Damage]) -> bool {
    damage.iter().any(|hole| !fill(hole, &places_in(index, hole)))
}

/// Where records that are kept twice begin in damaged bytes.
fn offsets_in(index: &dyn Index, damage: &Damage) -> Result<Vec<u64>, Broken> {
    let (pack, end) = (damage.pack.to_be_bytes(), damage.offset.saturating_add(damage.bytes));
    let (mut offsets, mut from) = (Vec::new(), key(damage.pack, damage.offset, 0));
    loop {
        let page = index.page(Tree::Spare, &pack, &from, PIECES_AT_ONCE)?;
        let Some((last, _)) = page.last() else { return Ok(offsets) };
        from = keys::after(last);
        for (key, _) in &page {
            let (offset, piece) = place_of(key)?;
            if offset >= end {
                return Ok(offsets);
            }
            if piece == 0 {
                offsets.push(offset);
            }
        }
    }
}

/// The first record that is kept twice from a place on.
fn next_spare(index: &dyn Index, pack: u32, offset: u64) -> Result<Option<(u32, u64)>, Broken> {
    let page = index.page(Tree::Spare, &[], &key(pack, offset, 0), 1)?;
    let Some((key, _)) = page.first() else { return Ok(None) };
    let pack = key.first_chunk::<4>().copied().map_or(u32::MAX, u32::from_be_bytes);
    Ok(Some((pack, place_of(key)?.0)))
}

impl Store {
    /// The payload of the record that was written at a location, as the index keeps it.
    pub(super) fn spare(&self, at: Location) -> Result<Option<Vec<u8>>, ReadError> {
        let kept = self.with_index(|index| kept(index, at.pack, at.offset))?;
        Ok(kept.filter(|(header, _)| header.bytes == at.bytes).map(|(_, payload)| payload))
    }

    /// Writes again what lay in damaged bytes and is kept twice, and is needed.
    pub(super) fn write_spares(&self, damage: &[Damage]) -> Result<(), SweepError> {
        for damage in damage {
            let mut lost = Vec::new();
            for offset in self.with_index(|index| offsets_in(index, damage))? {
                if !self.is_whole_at(damage.pack, offset)? {
                    lost.push(offset);
                }
            }
            self.write_spares_at(damage.pack, &lost)?;
        }
        Ok(())
    }

    /// At a start: the same of what lay where packs end now, or in packs that are gone, before anything is written in its place. Rot may have made a
    /// record look like one that was never finished.
    pub(super) fn write_spares_beyond(&self) -> Result<(), SweepError> {
        let stock = self.inner.packs.stock().map_err(|error| self.unreadable(error))?;
        let ends: BTreeMap<u32, u64> = stock.into_iter().collect();
        let (mut beyond, mut pack) = (Vec::new(), 0);
        while let Some((next, _)) = self.with_index(|index| next_spare(index, pack, 0))? {
            let end = ends.get(&next).copied().unwrap_or(0);
            if let Some((_, offset)) =
                self.with_index(|index| next_spare(index, next, end))?.filter(|(pack, _)| *pack == next)
            {
                beyond.push(Damage { pack: next, offset, bytes: u64::MAX, record: None });
            }
            let Some(following) = next.checked_add(1) else { break };
            pack = following;
        }
        if beyond.is_empty() {
            return Ok(());
        }
        tracing::error!(
            folder = self.folder(),
            ?beyond,
            "records are gone from where packs end; they were kept twice"
        );
        self.inner.packs.leave(&beyond)?;
        self.mistrust_lost(&beyond)?;
        self.write_spares(&beyond)
    }

    /// The same of what begins at none of the places that are known of a pack: it goes, and damage that nobody found yet may hide more of it.
    pub(super) fn write_unlisted_spares(&self, pack: u32) -> Result<(), SweepError> {
        let places = self.inner.packs.contents(pack).map_err(|error| self.unreadable(error))?.places;
        let known: BTreeSet<u64> = places.iter().map(|place| place.offset).collect();
        let whole = Damage { pack, offset: 0, bytes: u64::MAX, record: None };
        let offsets = self.with_index(|index| offsets_in(index, &whole))?;
        let unlisted: Vec<u64> = offsets.into_iter().filter(|offset| !known.contains(offset)).collect();
        self.write_spares_at(pack, &unlisted)
    }

    /// Whether what is kept twice can be read where it was written.
    fn is_whole_at(&self, pack: u32, offset: u64) -> Result<bool, ReadError> {
        let Some((header, _)) = self.with_index(|index| kept(index, pack, offset))? else { return Ok(false) };
        let read = self.inner.packs.read(Location { pack, offset, bytes: header.bytes });
        Ok(read.map_err(|error| self.unreadable(error))?.is_some())
    }

    fn write_spares_at(&self, pack: u32, offsets: &[u64]) -> Result<(), SweepError> {
        let (mut moved, mut bytes, mut done) = (Vec::new(), 0_u64, Vec::new());
        for &offset in offsets {
            let kept = self.with_index(|index| kept(index, pack, offset))?;
            let Some((header, payload)) = kept else { continue };
            let (place, at) = (Place { header, offset }, Location { pack, offset, bytes: header.bytes });
            done.push(at);
            if header.kind == Kind::Meta {
                let _order = locked(&self.inner.records);
                if self.is_live(pack, &place)? {
                    self.commit_durable(&[sweep::draft(&header, &payload)])?;
                }
                continue;
            }
            if !self.is_live(pack, &place)? {
                continue;
            }
            bytes = bytes.saturating_add(header.span());
            moved.push((header, payload));
            if bytes >= MOVED_AT_ONCE_BYTES {
                self.commit_moved(&std::mem::take(&mut moved))?;
                bytes = 0;
            }
        }
        self.commit_moved(&moved)?;
        // So that they are not written once more at the next look: the bytes lie there until all that damage took is back.
        for at in done {
            tracing::info!(pack, offset = at.offset, "what damage took was kept twice and is written again");
            self.forget_spare(at)?;
        }
        Ok(())
    }

    /// Keeps a record a second time where the second copy is not its bytes. Whether that was so.
    pub(super) fn mend_spare(&self, kind: Kind, at: Location) -> Result<bool, ReadError> {
        if matches!(kind, Kind::Blob | Kind::Extent | Kind::Drop) {
            return Ok(false);
        }
        let read = self.inner.packs.read(at).map_err(|error| self.unreadable(error))?;
        let Some((header, payload)) = read.filter(|(header, payload)| is_kept(header.kind, payload)) else {
            return Ok(false);
        };
        if self.spare(at)?.as_ref() == Some(&payload) {
            return Ok(false);
        }
        self.forget_spare(at)?;
        self.with_index(|index| {
            let mut changes = Changes::default();
            keep(&mut changes, header.kind, at, &payload);
            changes.apply(index)
        })?;
        Ok(true)
    }

    fn forget_spare(&self, at: Location) -> Result<(), ReadError> {
        self.forget_spares_under(&keys::joined(&[&at.pack.to_be_bytes(), &at.offset.to_be_bytes()]))
    }

    /// Forgets what is kept of a pack that is about to go.
    pub(super) fn forget_spares_of(&self, pack: u32) -> Result<(), ReadError> {
        self.forget_spares_under(&pack.to_be_bytes())
    }

    fn forget_spares_under(&self, prefix: &[u8]) -> Result<(), ReadError> {
        loop {
            let gone = self.with_index(|index| {
                let page = index.page(Tree::Spare, prefix, &[], PIECES_AT_ONCE)?;
                let gone = |(key, _): (Vec<u8>, Vec<u8>)| Change { tree: Tree::Spare, key, value: None };
                let gone: Vec<_> = page.into_iter().map(gone).collect();
                index.apply(&gone)?;
                Ok(gone.len())
            })?;
            if gone < PIECES_AT_ONCE {
                return Ok(());
            }
        }
    }
}
