//! Outlines put together from the parts in which they come, whichever lane brings which first, within what one peer may have kept here.

use std::collections::BTreeMap;

use crate::fault::Misbehaved;
use crate::id::BlobId;
use crate::limits::{BLOB_BYTES_MAX, OUTLINE_PART_EXTENTS_MIN, OUTLINES_HELD_EXTENTS_MAX};
use crate::outline::{Cv, Outline, extent_count};

/// What of one outline came.
#[derive(Debug, Default)]
struct Parts {
    size: u64,
    held: usize,
    /// By their first extent.
    parts: BTreeMap<u32, Vec<Cv>>,
}

/// Outlines of which only parts came yet.
#[derive(Debug, Default)]
pub(super) struct Outlines {
    by_blob: BTreeMap<BlobId, Parts>,
    held: usize,
}

/// What a part brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// More of it is to come.
    Part,
    Whole(Outline),
    /// There is no room for it beside the others: whoever published it, or who gives it, says that it is larger than it was asked for as.
    NoRoom,
}

impl Outlines {
    /// Takes a part in.
    ///
    /// # Errors
    /// It is not of what came before, or of no outline that there can be.
    pub(super) fn take(
        &mut self,
        blob: BlobId,
        size: u64,
        first: u32,
        extents: Vec<Cv>,
    ) -> Result<Came, Misbehaved> {
        let of = self.by_blob.entry(blob).or_insert_with(|| Parts { size, ..Parts::default() });
        let count = usize::try_from(extent_count(size)).unwrap_or(usize::MAX);
        let came = extents.len();
        let end = usize::try_from(first).unwrap_or(usize::MAX).saturating_add(came);
        let small = came < OUTLINE_PART_EXTENTS_MIN && end != count;
        if of.size != size || size > BLOB_BYTES_MAX || came == 0 || end > count || small {
            return Err(Misbehaved::BytesWrong);
        }
        if of.parts.insert(first, extents).is_some() {
            return Err(Misbehaved::BytesWrong);
        }
        of.held = of.held.saturating_add(came);
        self.held = self.held.saturating_add(came);
        if of.held >= count {
            return self.whole(blob).map(Came::Whole);
        }
        if self.held > OUTLINES_HELD_EXTENTS_MAX {
            self.forget(blob);
            return Ok(Came::NoRoom);
        }
        Ok(Came::Part)
    }

    fn whole(&mut self, blob: BlobId) -> Result<Outline, Misbehaved> {
        let Parts { size, held, parts } = self.taken_out(blob);
        let mut extents = Vec::with_capacity(held);
        for (first, part) in parts {
            if usize::try_from(first) != Ok(extents.len()) {
                return Err(Misbehaved::BytesWrong);
            }
            extents.extend(part);
        }
        Ok(Outline { blob, size, extents })
    }

    /// Lets go of what came of an outline.
    pub(super) fn forget(&mut self, blob: BlobId) {
        drop(self.taken_out(blob));
    }

    fn taken_out(&mut self, blob: BlobId) -> Parts {
        let gone = self.by_blob.remove(&blob).unwrap_or_default();
        self.held = self.held.saturating_sub(gone.held);
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGEST_EXTENTS: usize = 1 << 18;

    fn part(extents: usize) -> Vec<Cv> {
        vec![Cv([9; 32]); extents]
    }

    /// Each is all of one but for its last extent.
    #[test]
    fn what_peers_say_of_sizes_takes_so_much_room_and_no_more() {
        let mut outlines = Outlines::default();
        let came: Vec<Came> = (0..9_u8)
            .map(|n| outlines.take(BlobId([n; 32]), BLOB_BYTES_MAX, 0, part(LARGEST_EXTENTS - 1)).unwrap())
            .collect();
        assert_eq!(came.iter().filter(|came| **came == Came::NoRoom).count(), 5);
        assert!(outlines.held <= OUTLINES_HELD_EXTENTS_MAX);
        for n in 0..4 {
            outlines.forget(BlobId([n; 32]));
        }
        assert_eq!((outlines.held, outlines.by_blob.len()), (0, 0));
    }
}
