//! Which bytes to ask for next, and whether those that came are right. Nothing is stored here: what to store is returned.
//!
//! One transfer speaks with one peer. What the peer has not got, or got wrong, stays wanted and can
//! be handed to the transfer of another.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::id::BlobId;
use crate::limits::{BLOB_BYTES_MAX, PROGRESS_MS_MAX, WANTED_BYTES_MAX, WANTED_ITEMS_MAX};
use crate::outline::{Cv, Outline, extent_count, extent_cv, extent_len};
use crate::time::Instant;

/// Extents of one blob asked for in a row before another large blob has its turn: 1 MiB.
const EXTENTS_PER_TURN: u32 = 4;

/// What to ask the peer for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// The bytes of a blob of up to one extent.
    Small { blob: BlobId },
    /// The outline of a larger one.
    Outline { blob: BlobId },
    /// Extents `from` to before `to`.
    Extents { blob: BlobId, from: u32, to: u32 },
}

/// What the peer sent, unverified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrived {
    Small { blob: BlobId, bytes: Vec<u8> },
    Outline(Outline),
    Extent { blob: BlobId, index: u32, bytes: Vec<u8> },
    NotHave { blob: BlobId },
}

/// What is verified and to be stored, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    Small {
        blob: BlobId,
        bytes: Vec<u8>,
    },
    Outline(Outline),
    Extent {
        blob: BlobId,
        index: u32,
        bytes: Vec<u8>,
    },
    /// Every byte of the blob has been returned or was held.
    Complete {
        blob: BlobId,
    },
}

/// What the peer did wrong. The piece stays wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The bytes are not those of the small blob.
    #[error("the peer sent wrong bytes for blob {blob}")]
    WrongBytes { blob: BlobId },
    /// The outline is not the blob's, or gives it another size.
    #[error("the peer sent a wrong outline for blob {blob}")]
    WrongOutline { blob: BlobId },
    /// The bytes are not those of the extent.
    #[error("the peer sent wrong bytes for extent {index} of blob {blob}")]
    WrongExtent { blob: BlobId, index: u32 },
    /// The blob was never wanted from this peer, or is not of this kind.
    #[error("the peer sent a piece of blob {blob} that nobody wants")]
    Unwanted { blob: BlobId },
    /// More came before the outline than a receiver holds.
    #[error("the peer sent more of blob {blob} ahead of its outline than fits")]
    Overrun { blob: BlobId },
    /// The peer owes bytes and none that verify have come.
    #[error("no verified bytes came from the peer for {waited_ms} ms")]
    Stalled { waited_ms: u64 },
}

/// A blob over [`BLOB_BYTES_MAX`] cannot be wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("blob {blob} of {size} bytes is over the limit of {BLOB_BYTES_MAX}")]
pub struct TooLarge {
    pub blob: BlobId,
    pub size: u64,
}

/// How far a transfer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Blobs wanted and those complete.
    pub blobs_wanted: u64,
    pub blobs_complete: u64,
    /// Bytes of content that were missing when wanted, and those verified since.
    pub bytes_wanted: u64,
    pub bytes_verified: u64,
    /// Bytes of content and outlines asked for.
    pub bytes_asked: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Missing,
    Asked,
    Held,
}

#[derive(Debug)]
struct Large {
    size: u64,
    outline: Option<Outline>,
    outline_asked: bool,
    /// One byte an extent.
    pieces: Vec<Piece>,
    missing: u32,
    /// No extent before this one is missing unless something was given back.
    next: u32,
    /// Extents that came before their outline.
    early: BTreeMap<u32, Vec<u8>>,
}

#[derive(Debug)]
enum Want {
    Small { size: u64, asked: bool },
    Large(Large),
}

/// The blobs wanted from one peer.
#[derive(Debug, Default)]
pub struct Transfer {
    wants: BTreeMap<BlobId, Want>,
    small: VecDeque<BlobId>,
    /// Large blobs with something to ask, in turn.
    large: VecDeque<BlobId>,
    complete: BTreeSet<BlobId>,
    refused: BTreeMap<BlobId, u64>,
    outstanding_bytes: u64,
    outstanding_items: usize,
    early_bytes: u64,
    /// When the peer last began to owe or gave something that verified.
    moved: Instant,
    progress: Progress,
}

impl Transfer {
    /// A transfer that wants nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Wants a blob of `size` bytes. Whoever holds part of a large one gives its outline and the
    /// indices of the held extents; without the right outline they count for nothing. Wanting a blob
    /// twice is wanting it once; wanting one that the peer had not got asks it again. Returns whether
    /// anything is left to ask for.
    ///
    /// # Errors
    /// [`TooLarge`].
    pub fn want(
        &mut self,
        blob: BlobId,
        size: u64,
        outline: Option<Outline>,
        held: impl IntoIterator<Item = u32>,
    ) -> Result<bool, TooLarge> {
        if size > BLOB_BYTES_MAX {
            return Err(TooLarge { blob, size });
        }
        if self.complete.contains(&blob) {
            return Ok(false);
        }
        if self.wants.contains_key(&blob) {
            return Ok(true);
        }
        self.refused.remove(&blob);
        self.progress.blobs_wanted += 1;
        if extent_count(size) <= 1 {
            self.progress.bytes_wanted += size;
            self.wants.insert(blob, Want::Small { size, asked: false });
            self.small.push_back(blob);
            return Ok(true);
        }
        let outline = outline.filter(|it| it.blob == blob && it.size == size && it.verify().is_ok());
        let mut large = Large::new(size, outline);
        if large.outline.is_some() {
            for index in held {
                large.hold(index);
            }
        }
        if large.missing == 0 {
            self.complete.insert(blob);
            self.progress.blobs_complete += 1;
            return Ok(false);
        }
        self.progress.bytes_wanted += large.missing_bytes();
        self.wants.insert(blob, Want::Large(large));
        self.large.push_back(blob);
        Ok(true)
    }

    /// The next thing to ask for, if there is one and the window has room. Small blobs come first,
    /// large ones take turns.
    pub fn poll(&mut self, now: Instant) -> Option<Ask> {
        while let Some(blob) = self.small.front().copied() {
            if matches!(self.wants.get(&blob), Some(Want::Small { asked: false, .. })) {
                return self.ask_small(now, blob);
            }
            // It came unasked or was refused since it was queued.
            self.small.pop_front();
        }
        for _ in 0..self.large.len() {
            let blob = self.large.pop_front()?;
            let (bytes_free, items_free) = (self.bytes_free(), self.items_free());
            let Some(Want::Large(large)) = self.wants.get_mut(&blob) else { continue };
            let Some((ask, bytes, items)) = large.ask(blob, bytes_free, items_free) else {
                if large.idle() {
                    // It comes back with its outline or with a piece given back.
                    continue;
                }
                self.large.push_front(blob);
                return None;
            };
            self.large.push_back(blob);
            self.owe(now, bytes, items);
            return Some(ask);
        }
        None
    }

    fn ask_small(&mut self, now: Instant, blob: BlobId) -> Option<Ask> {
        let (bytes_free, items_free) = (self.bytes_free(), self.items_free());
        let Some(Want::Small { size, asked }) = self.wants.get_mut(&blob) else { return None };
        if *size > bytes_free || items_free == 0 {
            return None;
        }
        *asked = true;
        let size = *size;
        self.small.pop_front();
        self.owe(now, size, 1);
        Some(Ask::Small { blob })
    }

    fn bytes_free(&self) -> u64 {
        WANTED_BYTES_MAX.saturating_sub(self.outstanding_bytes)
    }

    fn items_free(&self) -> usize {
        WANTED_ITEMS_MAX.saturating_sub(self.outstanding_items)
    }

    fn owe(&mut self, now: Instant, bytes: u64, items: usize) {
        if self.outstanding_items == 0 {
            self.moved = now;
        }
        self.outstanding_bytes += bytes;
        self.outstanding_items += items;
        self.progress.bytes_asked += bytes;
    }

    fn settle(&mut self, bytes: u64, items: usize) {
        self.outstanding_bytes = self.outstanding_bytes.saturating_sub(bytes);
        self.outstanding_items = self.outstanding_items.saturating_sub(items);
    }

    /// Takes what arrived and returns what to store. Duplicates return nothing.
    ///
    /// # Errors
    /// [`Fault`]: the peer's; the piece stays wanted and will be asked for again.
    pub fn handle(&mut self, now: Instant, arrived: Arrived) -> Result<Vec<Stored>, Fault> {
        let stored = match arrived {
            Arrived::Small { blob, bytes } => self.small_arrived(blob, bytes),
            Arrived::Outline(outline) => self.outline_arrived(outline),
            Arrived::Extent { blob, index, bytes } => self.extent_arrived(blob, index, bytes),
            Arrived::NotHave { blob } => {
                self.not_have(blob);
                return Ok(Vec::new());
            }
        }?;
        if !stored.is_empty() {
            self.moved = now;
        }
        Ok(stored)
    }

    fn small_arrived(&mut self, blob: BlobId, bytes: Vec<u8>) -> Result<Vec<Stored>, Fault> {
        if self.over(&blob) {
            return Ok(Vec::new());
        }
        let Some(Want::Small { size, asked }) = self.wants.get_mut(&blob) else {
            return Err(Fault::Unwanted { blob });
        };
        let (size, was_asked) = (*size, std::mem::replace(asked, false));
        if was_asked {
            self.settle(size, 1);
        }
        if bytes.len() as u64 != size || blake3::hash(&bytes).as_bytes() != blob.as_bytes() {
            if was_asked {
                self.small.push_back(blob);
            }
            return Err(Fault::WrongBytes { blob });
        }
        self.wants.remove(&blob);
        self.progress.bytes_verified += size;
        Ok(vec![Stored::Small { blob, bytes }, self.completed(blob)])
    }

    fn outline_arrived(&mut self, outline: Outline) -> Result<Vec<Stored>, Fault> {
        let blob = outline.blob;
        if self.over(&blob) {
            return Ok(Vec::new());
        }
        let Some(Want::Large(large)) = self.wants.get_mut(&blob) else {
            return Err(Fault::Unwanted { blob });
        };
        if large.outline.is_some() {
            return Ok(Vec::new());
        }
        let was_asked = std::mem::replace(&mut large.outline_asked, false);
        let right = outline.size == large.size && outline.verify().is_ok();
        let early = std::mem::take(&mut large.early);
        let owed = large.outline_bytes();
        if right {
            large.outline = Some(outline.clone());
        }
        if was_asked {
            self.settle(owed, 1);
        }
        self.early_bytes -= early.values().map(|bytes| bytes.len() as u64).sum::<u64>();
        self.turn(blob);
        if !right {
            return Err(Fault::WrongOutline { blob });
        }
        let mut stored = vec![Stored::Outline(outline)];
        for (index, bytes) in early {
            // A wrong one among them is dropped: it is missing still, and the right ones are stored.
            if let Ok(more) = self.extent_arrived(blob, index, bytes) {
                stored.extend(more);
            }
        }
        Ok(stored)
    }

    fn extent_arrived(&mut self, blob: BlobId, index: u32, bytes: Vec<u8>) -> Result<Vec<Stored>, Fault> {
        if self.over(&blob) {
            return Ok(Vec::new());
        }
        let Some(Want::Large(large)) = self.wants.get_mut(&blob) else {
            return Err(Fault::Unwanted { blob });
        };
        let Some(expected) = extent_len(large.size, index) else {
            return Err(Fault::WrongExtent { blob, index });
        };
        let Some(cv) = large.cv(index) else {
            let early_bytes = self.early_bytes + bytes.len() as u64;
            if bytes.len() != expected {
                return Err(Fault::WrongExtent { blob, index });
            }
            if large.early.contains_key(&index) {
                return Ok(Vec::new());
            }
            if early_bytes > WANTED_BYTES_MAX {
                return Err(Fault::Overrun { blob });
            }
            large.early.insert(index, bytes);
            self.early_bytes = early_bytes;
            return Ok(Vec::new());
        };
        let before = large.piece(index);
        if before == Some(Piece::Held) {
            return Ok(Vec::new());
        }
        let right = bytes.len() == expected && extent_cv(index, &bytes) == Some(cv);
        if right {
            large.hold(index);
        } else {
            large.give_back(index);
        }
        let complete = large.missing == 0;
        if before == Some(Piece::Asked) {
            self.settle(expected as u64, 1);
        }
        if !right {
            self.turn(blob);
            return Err(Fault::WrongExtent { blob, index });
        }
        self.progress.bytes_verified += expected as u64;
        let mut stored = vec![Stored::Extent { blob, index, bytes }];
        if complete {
            self.wants.remove(&blob);
            stored.push(self.completed(blob));
        }
        Ok(stored)
    }

    /// Whether what comes for this blob is late and harmless.
    fn over(&self, blob: &BlobId) -> bool {
        self.complete.contains(blob) || self.refused.contains_key(blob)
    }

    fn completed(&mut self, blob: BlobId) -> Stored {
        self.complete.insert(blob);
        self.progress.blobs_complete += 1;
        Stored::Complete { blob }
    }

    fn turn(&mut self, blob: BlobId) {
        if !self.large.contains(&blob) {
            self.large.push_back(blob);
        }
    }

    fn not_have(&mut self, blob: BlobId) {
        let Some(want) = self.wants.remove(&blob) else { return };
        let (size, bytes, items) = match want {
            Want::Small { size, asked } => (size, if asked { size } else { 0 }, usize::from(asked)),
            Want::Large(large) => {
                self.early_bytes -= large.early.values().map(|bytes| bytes.len() as u64).sum::<u64>();
                let (bytes, items) = large.owed();
                (large.size, bytes, items)
            }
        };
        self.settle(bytes, items);
        self.large.retain(|it| *it != blob);
        self.refused.insert(blob, size);
    }

    /// Blobs that the peer said it has not got, with their sizes: to be wanted from another.
    pub fn refused(&self) -> impl Iterator<Item = (BlobId, u64)> {
        self.refused.iter().map(|(blob, size)| (*blob, *size))
    }

    /// Blobs that are wanted and not complete.
    pub fn unfinished(&self) -> impl Iterator<Item = BlobId> {
        self.wants.keys().copied()
    }

    /// Whether this peer has nothing more to give.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.wants.is_empty()
    }

    /// Bytes and pieces asked for that have not come.
    #[must_use]
    pub const fn outstanding(&self) -> (u64, usize) {
        (self.outstanding_bytes, self.outstanding_items)
    }

    /// The counters.
    #[must_use]
    pub const fn progress(&self) -> Progress {
        self.progress
    }

    /// When the peer is given up if nothing that verifies comes; `None` while it owes nothing.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        (self.outstanding_items > 0).then(|| self.moved.after_ms(PROGRESS_MS_MAX))
    }

    /// Checks the deadline.
    ///
    /// # Errors
    /// [`Fault::Stalled`] once it has passed.
    pub fn check(&self, now: Instant) -> Result<(), Fault> {
        match self.deadline() {
            Some(deadline) if now >= deadline => Err(Fault::Stalled { waited_ms: now.since_ms(self.moved) }),
            Some(_) | None => Ok(()),
        }
    }
}

impl Large {
    fn new(size: u64, outline: Option<Outline>) -> Self {
        let count = extent_count(size);
        Self {
            size,
            outline,
            outline_asked: false,
            pieces: (0..count).map(|_index| Piece::Missing).collect(),
            missing: count,
            next: 0,
            early: BTreeMap::new(),
        }
    }

    fn piece(&self, index: u32) -> Option<Piece> {
        self.pieces.get(usize::try_from(index).ok()?).copied()
    }

    fn set(&mut self, index: u32, piece: Piece) {
        if let Some(slot) = usize::try_from(index).ok().and_then(|at| self.pieces.get_mut(at)) {
            *slot = piece;
        }
    }

    fn cv(&self, index: u32) -> Option<Cv> {
        self.outline.as_ref()?.extents.get(usize::try_from(index).ok()?).copied()
    }

    fn hold(&mut self, index: u32) {
        if self.piece(index).is_some_and(|piece| piece != Piece::Held) {
            self.set(index, Piece::Held);
            self.missing -= 1;
        }
    }

    fn give_back(&mut self, index: u32) {
        self.set(index, Piece::Missing);
        self.next = self.next.min(index);
    }

    fn outline_bytes(&self) -> u64 {
        self.pieces.len() as u64 * 32
    }

    fn bytes_where(&self, wanted: impl Fn(Piece) -> bool) -> u64 {
        (0..)
            .zip(&self.pieces)
            .filter(|(_index, piece)| wanted(**piece))
            .map(|(index, _)| self.len(index))
            .sum()
    }

    fn len(&self, index: u32) -> u64 {
        extent_len(self.size, index).map_or(0, |len| len as u64)
    }

    fn missing_bytes(&self) -> u64 {
        self.bytes_where(|piece| piece != Piece::Held)
    }

    fn owed(&self) -> (u64, usize) {
        let asked = self.pieces.iter().filter(|piece| **piece == Piece::Asked).count();
        let outline = if self.outline_asked { self.outline_bytes() } else { 0 };
        (self.bytes_where(|piece| piece == Piece::Asked) + outline, asked + usize::from(self.outline_asked))
    }

    /// Whether there is nothing to ask for until something arrives.
    fn idle(&self) -> bool {
        if self.outline.is_some() { self.piece(self.next).is_none() } else { self.outline_asked }
    }

    /// The next ask with its bytes and items, if there is one and it fits.
    fn ask(&mut self, blob: BlobId, bytes_free: u64, items_free: usize) -> Option<(Ask, u64, usize)> {
        if self.outline.is_none() {
            let bytes = self.outline_bytes();
            if self.outline_asked || bytes > bytes_free || items_free == 0 {
                return None;
            }
            self.outline_asked = true;
            return Some((Ask::Outline { blob }, bytes, 1));
        }
        while self.piece(self.next).is_some_and(|piece| piece != Piece::Missing) {
            self.next += 1;
        }
        let from = self.next;
        let (mut to, mut bytes, mut items) = (from, 0, 0);
        while to - from < EXTENTS_PER_TURN && items < items_free && self.piece(to) == Some(Piece::Missing) {
            if bytes + self.len(to) > bytes_free {
                break;
            }
            bytes += self.len(to);
            items += 1;
            self.set(to, Piece::Asked);
            to += 1;
        }
        self.next = to;
        (to > from).then_some((Ask::Extents { blob, from, to }, bytes, items))
    }
}

#[cfg(test)]
mod tests;
