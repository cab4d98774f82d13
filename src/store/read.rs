//! Reading blobs back: every byte is checked against its hash on every read.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use protocol::id::BlobId;
use protocol::limits::EXTENT_BYTES;
use protocol::outline::Cv;

use super::engine::Change;
use super::keys::{self, BlobEntry, Location, Tree};
use super::packs::record::Kind;
use super::{RebuildError, Store, WriteError};

/// Why bytes were not read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// Nothing is held of the blob, or not this part of it.
    #[error("blob {blob} is not here, or not whole; a sync with a site that has it brings it")]
    Missing { blob: BlobId },
    /// The disk gave back other bytes than were written. The part is marked missing, so that a sync brings it again.
    #[error("blob {blob} is damaged on disk; the damaged part counts as missing and a sync brings it again")]
    Corrupt {
        blob: BlobId,
        /// The extent; `None` when the blob has but one record, or its outline is damaged.
        extent: Option<u32>,
    },
    /// A record that is not a blob's is damaged.
    #[error("a record in {folder} is damaged: pack {pack} at {offset}")]
    CorruptRecord { folder: String, pack: u32, offset: u64 },
    /// A record is whole and says nothing this program understands.
    #[error("a record in {folder} is not understood; a newer packetboat may have written it")]
    Unreadable { folder: String, source: super::engine::Broken },
    /// The disk failed.
    #[error("the disk of {folder} failed while reading")]
    Disk { folder: String, source: Arc<io::Error> },
    /// The bytes are there and could not be made durable, so they do not count yet.
    #[error("a blob's bytes could not be made durable")]
    Incomplete(#[source] WriteError),
    /// The index broke and could not be built again.
    #[error("the index could not be rebuilt")]
    Index(#[from] RebuildError),
}

/// A blob being read from one place to another. Each chunk is checked before it is given out.
#[derive(Debug)]
pub struct BlobReader {
    store: Store,
    blob: BlobId,
    size: u64,
    next: u64,
    end: u64,
}

impl BlobReader {
    /// Bytes of the whole blob.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The next bytes, at most one extent; `None` at the end of the range.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        if self.next >= self.end {
            return Ok(None);
        }
        let (index, within) = split(self.next);
        let mut bytes = self.store.read_extent(self.blob, index)?;
        let wanted = usize::try_from(self.end.saturating_sub(self.next)).unwrap_or(usize::MAX);
        bytes.drain(..within.min(bytes.len()));
        bytes.truncate(wanted);
        if bytes.is_empty() {
            return Err(ReadError::Missing { blob: self.blob });
        }
        self.next = self.next.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(Some(bytes))
    }
}

impl Store {
    /// Reads a blob from `range.start` to `range.end` or its end, whichever comes first. A blob that is there in part can be read
    /// as far as it goes.
    ///
    /// # Errors
    /// [`ReadError::Missing`] when nothing is held of it.
    pub fn reader(&self, blob: BlobId, range: Range<u64>) -> Result<BlobReader, ReadError> {
        let size = match self.blob_entry(blob)? {
            Some(BlobEntry::Small { at }) => at.bytes,
            Some(BlobEntry::Large { size, .. }) => size,
            None => return Err(ReadError::Missing { blob }),
        };
        Ok(BlobReader { store: self.clone(), blob, size, next: range.start, end: range.end.min(size) })
    }

    /// At most `length` bytes of a blob from `offset`; fewer only at its end.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read_at(&self, blob: BlobId, offset: u64, length: usize) -> Result<Vec<u8>, ReadError> {
        let end = offset.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        let mut reader = self.reader(blob, offset..end)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = reader.next_chunk()? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// One extent. A blob of at most one extent is extent 0.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read_extent(&self, blob: BlobId, index: u32) -> Result<Vec<u8>, ReadError> {
        Self::steadily(|| self.read_extent_once(blob, index))
    }

    /// A record may be moved to another pack between asking where it is and reading it there: what is
    /// not where it should be is looked for once more.
    pub(super) fn steadily<T>(read: impl Fn() -> Result<T, ReadError>) -> Result<T, ReadError> {
        read().or_else(|told| match told {
            ReadError::Corrupt { .. } | ReadError::CorruptRecord { .. } => read().or(Err(told)),
            ReadError::Missing { .. }
            | ReadError::Unreadable { .. }
            | ReadError::Disk { .. }
            | ReadError::Incomplete(_)
            | ReadError::Index(_) => Err(told),
        })
    }

    fn read_extent_once(&self, blob: BlobId, index: u32) -> Result<Vec<u8>, ReadError> {
        let absent = ReadError::Missing { blob };
        match self.blob_entry(blob)?.ok_or_else(|| absent.clone())? {
            BlobEntry::Small { at } if index == 0 => {
                let read = self.checked(Kind::Blob, blob.0, at)?;
                let Some(bytes) = read else {
                    self.condemn_at(Kind::Blob, blob.0, at)?;
                    self.mark_blob_missing(blob, at)?;
                    return Err(ReadError::Corrupt { blob, extent: None });
                };
                Ok(bytes)
            }
            BlobEntry::Small { .. } => Err(absent),
            BlobEntry::Large { .. } => {
                let outline = self.outline(blob)?.ok_or_else(|| absent.clone())?;
                let place = usize::try_from(index).ok().and_then(|index| outline.extents.get(index));
                self.read_one(blob, index, place.ok_or(absent)?)
            }
        }
    }

    fn read_one(&self, blob: BlobId, index: u32, cv: &Cv) -> Result<Vec<u8>, ReadError> {
        let at = self.with_index(|index| {
            index.value(Tree::Extent, &cv.0)?.map(|value| keys::decode::<Location>(&value)).transpose()
        })?;
        let Some(at) = at else {
            self.mark_complete(blob, false)?;
            return Err(ReadError::Missing { blob });
        };
        if let Some(bytes) = self.checked(Kind::Extent, cv.0, at)? {
            return Ok(bytes);
        }
        self.condemn_at(Kind::Extent, cv.0, at)?;
        self.mark_extent_missing(cv, at)?;
        self.mark_complete(blob, false)?;
        Err(ReadError::Corrupt { blob, extent: Some(index) })
    }

    /// The payload at a location, if it is an undamaged record of that kind and id.
    fn checked(&self, kind: Kind, id: [u8; 32], at: Location) -> Result<Option<Vec<u8>>, ReadError> {
        let read = self.inner.packs.read(at).map_err(|error| self.unreadable(error))?;
        Ok(read.filter(|(header, _)| header.kind == kind && header.id == id).map(|(_, payload)| payload))
    }

    /// Forgets where an extent lies, unless it was written elsewhere meanwhile.
    pub(super) fn mark_extent_missing(&self, cv: &Cv, at: Location) -> Result<(), ReadError> {
        Ok(self.with_index(|index| {
            let now = index.value(Tree::Extent, &cv.0)?;
            if now == Some(keys::encode(&at)) {
                index.apply(&[Change { tree: Tree::Extent, key: cv.0.to_vec(), value: None }])?;
            }
            Ok(())
        })?)
    }

    /// Forgets a blob whose record at `at` is damaged, unless it was written elsewhere meanwhile.
    pub(super) fn mark_blob_missing(&self, blob: BlobId, at: Location) -> Result<(), ReadError> {
        let places = match self.blob_entry(blob)? {
            Some(BlobEntry::Small { at }) => Some(at),
            Some(BlobEntry::Large { outline, .. }) => Some(outline),
            None => None,
        };
        if places == Some(at) {
            self.change(Tree::Blob, keys::blob(blob), None)?;
            self.want_again(blob)?;
        }
        Ok(())
    }
}

/// The extent that holds a byte, and the byte's place in it.
fn split(offset: u64) -> (u32, usize) {
    let extent = EXTENT_BYTES as u64;
    let within = offset.checked_rem(extent).unwrap_or(0);
    (
        u32::try_from(offset.checked_div(extent).unwrap_or(0)).unwrap_or(u32::MAX),
        usize::try_from(within).unwrap_or(0),
    )
}
