//! How a blob's bytes are verified piece by piece: extents against the blob's outline, groups against their extent.
//!
//! A blob of more than one extent is hashed by blake3 as a binary tree whose left subtrees are full.
//! Extents and groups are aligned powers of two of chunks, so each is a whole subtree, and the blob's
//! id is what their chaining values merge to. An outline costs 32 B per 256 KiB before the first byte,
//! group values 32 B per 16 KiB while bytes stream: 0.2 % together.

use blake3::Hasher;
use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use serde::{Deserialize, Serialize};

use crate::id::BlobId;
use crate::limits::{BLOB_BYTES_MAX, EXTENT_BYTES, GROUP_BYTES};

/// The chaining value of an extent's or group's subtree. It depends on the place in the blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cv(pub [u8; 32]);

/// Why an outline is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::module_name_repetitions, reason = "it is used beside the errors of other nouns")]
pub enum OutlineError {
    /// A blob of up to one extent is verified whole and has no outline.
    #[error("a blob of {size} bytes has no outline")]
    Small { size: u64 },
    /// The blob is larger than any site accepts.
    #[error("a blob of {size} bytes is over the limit of {BLOB_BYTES_MAX}: split it")]
    TooLarge { size: u64 },
    /// The number of extents does not follow from the size.
    #[error("a blob of {size} bytes has {expected} extents, the outline names {found}")]
    Count { size: u64, expected: u32, found: usize },
    /// The extents are not those of the blob.
    #[error("the outline's extents merge to {found}, not to blob {blob}")]
    WrongBlob { blob: BlobId, found: BlobId },
}

/// The chaining values of a large blob's extents: 32 B for every 256 KiB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    pub blob: BlobId,
    /// Bytes of the blob.
    pub size: u64,
    /// One value for each extent, in order.
    pub extents: Vec<Cv>,
}

impl Outline {
    /// The outline of the blob of `size` bytes whose extents have these chaining values.
    ///
    /// # Errors
    /// [`OutlineError::Small`], [`OutlineError::TooLarge`] or [`OutlineError::Count`].
    pub fn build(size: u64, extents: Vec<Cv>) -> Result<Self, OutlineError> {
        let blob = merged(size, &extents)?;
        Ok(Self { blob, size, extents })
    }

    /// Checks that the extents are those of the blob. An outline from a peer is nothing until then.
    ///
    /// # Errors
    /// Any [`OutlineError`].
    pub fn verify(&self) -> Result<(), OutlineError> {
        let found = merged(self.size, &self.extents)?;
        if found == self.blob { Ok(()) } else { Err(OutlineError::WrongBlob { blob: self.blob, found }) }
    }

    /// Bytes of extent `index`; `None` past the last.
    #[must_use]
    pub fn extent_len(&self, index: u32) -> Option<usize> {
        extent_len(self.size, index)
    }
}

/// How many extents a blob of `size` bytes has. One for a small blob, none for an empty one.
/// Saturates far above [`BLOB_BYTES_MAX`].
#[must_use]
pub fn extent_count(size: u64) -> u32 {
    u32::try_from(size.div_ceil(EXTENT_BYTES as u64)).unwrap_or(u32::MAX)
}

/// Bytes of extent `index` of a blob of `size` bytes; `None` past the last.
#[must_use]
pub fn extent_len(size: u64, index: u32) -> Option<usize> {
    let rest = size.checked_sub(u64::from(index) * EXTENT_BYTES as u64).filter(|rest| *rest > 0)?;
    usize::try_from(rest.min(EXTENT_BYTES as u64)).ok()
}

/// The chaining value of extent `index`; `None` unless it has 1 to [`EXTENT_BYTES`] bytes.
#[must_use]
pub fn extent_cv(index: u32, bytes: &[u8]) -> Option<Cv> {
    subtree_cv(u64::from(index) * EXTENT_BYTES as u64, bytes, EXTENT_BYTES)
}

/// The chaining values of the groups of extent `index`, at most 16; none unless it has 1 to
/// [`EXTENT_BYTES`] bytes.
#[must_use]
pub fn group_cvs(index: u32, bytes: &[u8]) -> Vec<Cv> {
    if bytes.len() > EXTENT_BYTES {
        return Vec::new();
    }
    (0..).zip(bytes.chunks(GROUP_BYTES)).filter_map(|(group, bytes)| group_cv(index, group, bytes)).collect()
}

/// Whether `groups` are those of the extent of `extent_len` bytes with this chaining value. The place
/// of the extent needs no telling: it is in the values.
#[must_use]
pub fn check_groups(extent: &Cv, extent_len: usize, groups: &[Cv]) -> bool {
    extent_len <= EXTENT_BYTES
        && groups.len() == extent_len.div_ceil(GROUP_BYTES)
        && match merge(groups) {
            Some(Merged::One(cv)) => cv == *extent,
            Some(Merged::Two(left, right)) => parent(&left, &right) == *extent,
            None => false,
        }
}

/// Whether `bytes` are group `group` of extent `index`, given the group's chaining value. The length
/// is part of the hash: a group cut short does not pass.
#[must_use]
pub fn check_group(index: u32, group: u32, bytes: &[u8], cv: &Cv) -> bool {
    group_cv(index, group, bytes).is_some_and(|found| found == *cv)
}

fn group_cv(index: u32, group: u32, bytes: &[u8]) -> Option<Cv> {
    let offset = u64::from(index) * EXTENT_BYTES as u64 + u64::from(group) * GROUP_BYTES as u64;
    subtree_cv(offset, bytes, GROUP_BYTES)
}

fn subtree_cv(offset: u64, bytes: &[u8], bytes_max: usize) -> Option<Cv> {
    // blake3 panics on an empty subtree and on one that outgrows its place.
    if bytes.is_empty() || bytes.len() > bytes_max {
        return None;
    }
    Some(Cv(Hasher::new().set_input_offset(offset).update(bytes).finalize_non_root()))
}

fn parent(left: &Cv, right: &Cv) -> Cv {
    Cv(merge_subtrees_non_root(&left.0, &right.0, Mode::Hash))
}

/// What is left of a list of subtrees before the last merge, which differs at the root.
enum Merged {
    One(Cv),
    Two(Cv, Cv),
}

/// Merges equally large subtrees, the last perhaps shorter, in blake3's shape: every left subtree is
/// the largest power of two that leaves something for the right.
fn merge(subtrees: &[Cv]) -> Option<Merged> {
    let (last, full) = subtrees.split_last()?;
    let mut stack: Vec<Cv> = Vec::new();
    for (done, cv) in (1_u64..).zip(full) {
        let mut cv = *cv;
        for _ in 0..done.trailing_zeros() {
            if let Some(left) = stack.pop() {
                cv = parent(&left, &cv);
            }
        }
        stack.push(cv);
    }
    let mut right = *last;
    while let Some(left) = stack.pop() {
        if stack.is_empty() {
            return Some(Merged::Two(left, right));
        }
        right = parent(&left, &right);
    }
    Some(Merged::One(right))
}

fn merged(size: u64, extents: &[Cv]) -> Result<BlobId, OutlineError> {
    if size > BLOB_BYTES_MAX {
        return Err(OutlineError::TooLarge { size });
    }
    let expected = extent_count(size);
    if usize::try_from(expected) != Ok(extents.len()) {
        return Err(OutlineError::Count { size, expected, found: extents.len() });
    }
    match merge(extents) {
        Some(Merged::Two(left, right)) => {
            Ok(BlobId(*merge_subtrees_root(&left.0, &right.0, Mode::Hash).as_bytes()))
        }
        Some(Merged::One(_)) | None => Err(OutlineError::Small { size }),
    }
}

/// Hashes a blob as it streams by: its id, its size, and its outline if it is large.
#[derive(Debug, Clone)]
#[expect(clippy::module_name_repetitions, reason = "a builder of what must be said where it is used")]
pub struct OutlineBuilder {
    size: u64,
    /// Over the extent under way; for the first one also over the whole of a small blob.
    hasher: Hasher,
    extents: Vec<Cv>,
}

impl OutlineBuilder {
    /// A builder that has seen no byte.
    #[must_use]
    pub fn new() -> Self {
        Self { size: 0, hasher: Hasher::new(), extents: Vec::new() }
    }

    /// Takes the next bytes, any number of them, and returns the extents they began to follow: an
    /// extent is complete when a byte after it arrives or at the end, for only then is it known
    /// whether the blob is large. The last extent is in the outline alone.
    ///
    /// # Errors
    /// [`OutlineError::TooLarge`], having taken nothing.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<(u32, Cv)>, OutlineError> {
        let size = self.size.saturating_add(bytes.len() as u64);
        if size > BLOB_BYTES_MAX {
            return Err(OutlineError::TooLarge { size });
        }
        let mut completed = Vec::new();
        while !bytes.is_empty() {
            if self.hasher.count() == EXTENT_BYTES as u64 {
                completed.push(self.complete());
            }
            let room = (EXTENT_BYTES as u64).saturating_sub(self.hasher.count());
            let room = usize::try_from(room).unwrap_or(EXTENT_BYTES);
            let (head, rest) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            self.hasher.update(head);
            bytes = rest;
        }
        self.size = size;
        Ok(completed)
    }

    fn complete(&mut self) -> (u32, Cv) {
        let cv = Cv(self.hasher.finalize_non_root());
        let index = extent_count(self.extents.len() as u64 * EXTENT_BYTES as u64);
        self.extents.push(cv);
        self.hasher = Hasher::new();
        self.hasher.set_input_offset(self.extents.len() as u64 * EXTENT_BYTES as u64);
        (index, cv)
    }

    /// The blob's id and size in bytes, and its outline if it has more than one extent.
    #[must_use]
    pub fn finish(mut self) -> (BlobId, u64, Option<Outline>) {
        if self.extents.is_empty() {
            return (BlobId(*self.hasher.finalize().as_bytes()), self.size, None);
        }
        // An extent is only ever completed by a byte after it, so the one under way is not empty.
        self.extents.push(Cv(self.hasher.finalize_non_root()));
        let size = self.size;
        match Outline::build(size, self.extents) {
            Ok(outline) => (outline.blob, size, Some(outline)),
            Err(error) => unreachable!("counted extents have an outline: {error}"),
        }
    }
}

impl Default for OutlineBuilder {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
