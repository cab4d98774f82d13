//! A second copy, in the index, of what nobody else may have: batches of ops, outlines, and records whose values are too large to lie in the
//! index anyway. Damage of a pack takes none of it, and an index that is lost is built again from the packs: it takes both to lose a word.

#[cfg(test)]
mod tests;

use super::engine::{Broken, Change, Index};
use super::keys::{self, Location, Tree};
use super::packs::Damage;
use super::packs::footer::Place;
use super::packs::record::{Header, Kind};
use super::records::INLINE_BYTES_MAX;
use super::replay::Changes;
use super::sweep::MOVED_AT_ONCE_BYTES;
use super::{ReadError, Store, SweepError, locked, sweep};

/// Bytes of a payload in one value: with what precedes them they stay below what a value may have.
const PIECE_BYTES: usize = 4000;

/// Pieces read under one hold of the index.
const PIECES_AT_ONCE: usize = 512;

/// Whether a record is kept twice.
fn is_kept(kind: Kind, payload: &[u8]) -> bool {
    match kind {
        Kind::Ops | Kind::Outline => true,
        Kind::Meta => payload.len() > INLINE_BYTES_MAX,
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
pub(super) fn keep(changes: &mut Changes, kind: Kind, id: [u8; 32], at: Location, payload: &[u8]) {
    if !is_kept(kind, payload) {
        return;
    }
    for (number, piece) in (0..).zip(payload.chunks(PIECE_BYTES)) {
        let value = keys::joined(&[&[kind.code()], &id, piece]);
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
            let Some((id, piece)) = rest.split_first_chunk::<32>() else { return Ok(None) };
            // What a loss of power took here may have been longer than what came in its place.
            if *told.get_or_insert((kind, *id)) != (kind, *id) {
                break;
            }
            payload.extend_from_slice(piece);
        }
    }
    let header = told.and_then(|(kind, id)| {
        let bytes = u64::try_from(payload.len()).ok()?;
        Some(Header { kind: Kind::from_code(kind)?, aux: 0, bytes, id })
    });
    Ok(header.filter(|header| header.matches(&payload)).map(|header| (header, payload)))
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
            let (mut moved, mut bytes) = (Vec::new(), 0_u64);
            let mut done = Vec::new();
            for offset in self.spares_in(damage)? {
                let kept = self.with_index(|index| kept(index, damage.pack, offset))?;
                let Some((header, payload)) = kept else { continue };
                let at = Location { pack: damage.pack, offset, bytes: header.bytes };
                if self.inner.packs.read(at).map_err(|error| self.unreadable(error))?.is_some() {
                    continue;
                }
                done.push(at);
                let place = Place { header, offset };
                if header.kind == Kind::Meta {
                    let _order = locked(&self.inner.records);
                    if self.is_live(damage.pack, &place)? {
                        self.commit_durable(&[sweep::draft(&header, &payload)])?;
                    }
                    continue;
                }
                if !self.is_live(damage.pack, &place)? {
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
                tracing::info!(
                    pack = at.pack,
                    offset = at.offset,
                    "what damage took was kept twice and is written again"
                );
                self.forget_spare(at)?;
            }
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
            keep(&mut changes, header.kind, header.id, at, &payload);
            changes.apply(index)
        })?;
        Ok(true)
    }

    /// Where records that are kept twice begin in damaged bytes.
    fn spares_in(&self, damage: &Damage) -> Result<Vec<u64>, ReadError> {
        let (pack, end) = (damage.pack.to_be_bytes(), damage.offset.saturating_add(damage.bytes));
        let mut offsets = Vec::new();
        let walk =
            self.walk_from(Tree::Spare, &pack, key(damage.pack, damage.offset, 0), |key, _| place_of(key));
        for place in walk {
            let (offset, piece) = place?;
            if offset >= end {
                break;
            }
            if piece == 0 {
                offsets.push(offset);
            }
        }
        Ok(offsets)
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
