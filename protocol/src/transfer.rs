//! The receiver's side of moving bytes: which blob or extent to ask for next, and whether what arrives is right.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::fault::Misbehaved;
use crate::id::BlobId;
use crate::limits::{EXTENT_BYTES, OUTLINES_OPEN_EXTENTS_MAX, WANTED_BYTES_MAX, WANTED_ITEMS_MAX};
use crate::outline::{Outline, extent_count, extent_cv, extent_len};

/// Extents in one ask: long enough that asks are rare, short enough that several blobs take turns.
const EXTENTS_PER_ASK: u32 = 16;

/// A request for bytes, by hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Ask {
    /// A blob of at most one extent, whole.
    Small { blob: BlobId },
    /// The outline of a larger one.
    Outline { blob: BlobId },
    /// Its extents `from..to`.
    Extents { blob: BlobId, from: u32, to: u32 },
}

impl Ask {
    /// The blob asked for.
    #[must_use]
    pub const fn blob(&self) -> BlobId {
        match self {
            Self::Small { blob } | Self::Outline { blob } | Self::Extents { blob, .. } => *blob,
        }
    }

    /// Pieces it stands for.
    #[must_use]
    pub fn items(&self) -> usize {
        match self {
            Self::Small { .. } | Self::Outline { .. } => 1,
            Self::Extents { from, to, .. } => usize::try_from(to.saturating_sub(*from)).unwrap_or(usize::MAX),
        }
    }
}

/// Bytes that came from the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrived {
    Small { blob: BlobId, bytes: Vec<u8> },
    Outline { outline: Outline },
    Extent { blob: BlobId, index: u32, bytes: Vec<u8> },
}

/// Bytes that are right and are to be stored, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    Small {
        blob: BlobId,
        bytes: Vec<u8>,
    },
    Outline {
        outline: Outline,
    },
    Extent {
        blob: BlobId,
        index: u32,
        bytes: Vec<u8>,
    },
    /// All of a large blob's extents have been handed out.
    Complete {
        blob: BlobId,
    },
}

#[derive(Debug)]
struct Large {
    size: u64,
    urgency: u64,
    outline: Option<Outline>,
    outline_asked: bool,
    /// Extents nobody was asked for yet.
    unasked: BTreeSet<u32>,
    asked: BTreeSet<u32>,
    /// Extents that came before the outline they are checked with.
    early: BTreeMap<u32, Vec<u8>>,
}

/// What is wanted, what was asked, and what is still to come.
#[derive(Debug, Default)]
pub struct Transfer {
    /// Small blobs not asked for yet, the most urgent first, with their sizes.
    small: BTreeMap<(u64, BlobId), u64>,
    small_asked: BTreeMap<BlobId, u64>,
    large: BTreeMap<BlobId, Large>,
    /// Large blobs that are as urgent as each other take turns in this order; a more urgent one comes before.
    turns: VecDeque<BlobId>,
    open_bytes: u64,
    open_items: usize,
    /// Extents of the outlines that were asked for and have not come.
    outlines_open: u64,
    asked: bool,
    first_told: bool,
}

impl Transfer {
    /// Nothing wanted.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Wants a blob of `size` bytes. The lower `urgency` is asked for first; small blobs always come before large ones. `held` is what an
    /// earlier run left: its outline and the extents still missing.
    pub fn want(&mut self, blob: BlobId, size: u64, urgency: u64, held: Option<(Outline, Vec<u32>)>) {
        if self.small_asked.contains_key(&blob) || self.large.contains_key(&blob) {
            return;
        }
        if size <= EXTENT_BYTES as u64 {
            self.small.insert((urgency, blob), size);
            return;
        }
        let (outline, unasked) =
            match held.filter(|(outline, _)| extent_count(outline.size) == extent_count(size)) {
                Some((outline, missing)) => (Some(outline), missing.into_iter().collect()),
                None => (None, (0..extent_count(size)).collect()),
            };
        let outline_asked = outline.is_some();
        let large = Large {
            size,
            urgency,
            outline,
            outline_asked,
            unasked,
            asked: BTreeSet::new(),
            early: BTreeMap::new(),
        };
        self.large.insert(blob, large);
        self.queue(blob, urgency);
    }

    /// Puts a large blob behind those that are as urgent.
    fn queue(&mut self, blob: BlobId, urgency: u64) {
        let later = |turn: &BlobId| self.large.get(turn).is_some_and(|other| other.urgency > urgency);
        let at = self.turns.iter().position(later).unwrap_or(self.turns.len());
        self.turns.insert(at, blob);
    }

    /// The next request, as far as the window allows.
    pub fn poll(&mut self) -> Option<Ask> {
        if self.open_bytes >= WANTED_BYTES_MAX || self.open_items >= WANTED_ITEMS_MAX {
            return None;
        }
        if let Some(((_, blob), size)) = self.small.pop_first() {
            self.small_asked.insert(blob, size);
            self.open(size);
            return Some(Ask::Small { blob });
        }
        for at in 0..self.turns.len() {
            let blob = *self.turns.get(at)?;
            let Some(large) = self.large.get_mut(&blob) else { continue };
            if !large.outline_asked {
                let open = self.outlines_open.saturating_add(extent_count(large.size).into());
                if self.outlines_open > 0 && open > OUTLINES_OPEN_EXTENTS_MAX {
                    continue;
                }
                self.outlines_open = open;
                large.outline_asked = true;
                // Its extents are asked for in the same breath, so it keeps its turn.
                self.open(0);
                return Some(Ask::Outline { blob });
            }
            let Some(from) = large.unasked.first().copied() else { continue };
            let mut to = from;
            let mut bytes = 0;
            while to < from.saturating_add(EXTENTS_PER_ASK) && large.unasked.remove(&to) {
                large.asked.insert(to);
                bytes += extent_len(large.size, to).unwrap_or(0) as u64;
                self.open_items += 1;
                to += 1;
            }
            let urgency = large.urgency;
            self.open_bytes += bytes;
            self.asked = true;
            self.turns.remove(at);
            self.queue(blob, urgency);
            return Some(Ask::Extents { blob, from, to });
        }
        None
    }

    fn open(&mut self, bytes: u64) {
        self.open_bytes += bytes;
        self.open_items += 1;
        self.asked = true;
    }

    const fn close(&mut self, bytes: u64) {
        self.open_bytes = self.open_bytes.saturating_sub(bytes);
        self.open_items = self.open_items.saturating_sub(1);
    }

    /// True once, after the first request: the wait for bytes costs one round trip a run.
    pub const fn asked_first(&mut self) -> bool {
        self.asked && !std::mem::replace(&mut self.first_told, true)
    }

    /// Whether nothing is wanted or asked for any more.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.small.is_empty() && self.small_asked.is_empty() && self.large.is_empty()
    }

    /// Whether the outline of this blob was asked for and has not come.
    #[must_use]
    pub fn awaits_outline(&self, blob: BlobId) -> bool {
        self.large.get(&blob).is_some_and(|large| large.outline_asked && large.outline.is_none())
    }

    /// Whether an outline is that of its blob, and who published the blob said a size that has another number of extents: nobody can give it.
    #[must_use]
    pub fn is_of_another_size(&self, outline: &Outline) -> bool {
        let wanted = self.large.get(&outline.blob).map(|large| extent_count(large.size));
        wanted.is_some_and(|count| count != extent_count(outline.size)) && outline.verify().is_ok()
    }

    /// Takes bytes in. What it returns is verified: bytes have the hash that they were asked by. Sizes are not in it, and whoever said a wrong one,
    /// in an op or in an outline, spoils nothing by that.
    ///
    /// # Errors
    /// The bytes were not asked for or do not have the hash they were asked by. Nothing is lost: they stay wanted.
    pub fn handle(&mut self, arrived: Arrived) -> Result<Vec<Stored>, Misbehaved> {
        match arrived {
            Arrived::Small { blob, bytes } => {
                let size = *self.small_asked.get(&blob).ok_or(Misbehaved::BytesUnasked)?;
                if bytes.len() > EXTENT_BYTES || blake3::hash(&bytes).as_bytes() != &blob.0 {
                    return Err(Misbehaved::BytesWrong);
                }
                self.small_asked.remove(&blob);
                self.close(size);
                Ok(vec![Stored::Small { blob, bytes }])
            }
            Arrived::Outline { outline } => self.outline(outline),
            Arrived::Extent { blob, index, bytes } => self.extent(blob, index, bytes),
        }
    }

    fn outline(&mut self, mut outline: Outline) -> Result<Vec<Stored>, Misbehaved> {
        let blob = outline.blob;
        let large = self.large.get_mut(&blob).ok_or(Misbehaved::BytesUnasked)?;
        if large.outline.is_some() || !large.outline_asked {
            return Err(Misbehaved::BytesUnasked);
        }
        // The peer may say what it likes of the size, as may who published: the hash is of neither.
        outline.size = large.size;
        if outline.verify().is_err() {
            return Err(Misbehaved::BytesWrong);
        }
        large.outline = Some(outline.clone());
        self.outlines_open = self.outlines_open.saturating_sub(extent_count(large.size).into());
        let early = std::mem::take(&mut large.early);
        self.close(0);
        let mut stored = vec![Stored::Outline { outline }];
        for (index, bytes) in early {
            stored.extend(self.extent(blob, index, bytes)?);
        }
        Ok(stored)
    }

    fn extent(&mut self, blob: BlobId, index: u32, bytes: Vec<u8>) -> Result<Vec<Stored>, Misbehaved> {
        let large = self.large.get_mut(&blob).ok_or(Misbehaved::BytesUnasked)?;
        if !large.asked.contains(&index) || large.early.contains_key(&index) {
            return Err(Misbehaved::BytesUnasked);
        }
        if bytes.len() > EXTENT_BYTES {
            return Err(Misbehaved::BytesWrong);
        }
        let Some(outline) = &large.outline else {
            large.early.insert(index, bytes);
            return Ok(Vec::new());
        };
        let position = usize::try_from(index).map_err(|_wide| Misbehaved::BytesUnasked)?;
        if extent_cv(index, &bytes).is_none_or(|cv| outline.extents.get(position) != Some(&cv)) {
            return Err(Misbehaved::BytesWrong);
        }
        large.asked.remove(&index);
        let announced = extent_len(large.size, index).unwrap_or(0) as u64;
        let whole = large.asked.is_empty() && large.unasked.is_empty();
        if whole {
            self.large.remove(&blob);
            self.turns.retain(|turn| *turn != blob);
        }
        self.close(announced);
        let mut stored = vec![Stored::Extent { blob, index, bytes }];
        stored.extend(whole.then_some(Stored::Complete { blob }));
        Ok(stored)
    }

    /// The peer cannot give this blob. Tells whether it was wanted; another peer may have it.
    pub fn not_have(&mut self, blob: BlobId) -> bool {
        if let Some(size) = self.small_asked.remove(&blob) {
            self.close(size);
            return true;
        }
        let Some(large) = self.large.remove(&blob) else { return false };
        self.turns.retain(|turn| *turn != blob);
        if large.outline.is_none() && large.outline_asked {
            self.outlines_open = self.outlines_open.saturating_sub(extent_count(large.size).into());
            self.close(0);
        }
        for index in large.asked {
            self.close(extent_len(large.size, index).unwrap_or(0) as u64);
        }
        true
    }
}

#[cfg(test)]
mod tests;
