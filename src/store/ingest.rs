//! Bytes of unknown length and hash become a blob while they arrive, in constant memory.

use protocol::id::BlobId;
use protocol::limits::{BLOB_BYTES_MAX, EXTENT_BYTES};
use protocol::outline::{self, Cv, Outline};
use sha2::{Digest, Sha256};

use super::underway::Counted;
use super::{BlobState, PutError, ReadError, Store, WriteError};

/// A blob that was taken in whole, and is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    pub blob: BlobId,
    /// Bytes.
    pub size: u64,
    /// Many ecosystems' indexes name files by it.
    pub sha256: [u8; 32],
}

/// A blob that is arriving. Dropping it leaves extents that no blob names.
#[derive(Debug)]
pub struct Ingest {
    store: Store,
    sha256: Sha256,
    /// The extent that is being filled.
    buffer: Vec<u8>,
    extents: Vec<Cv>,
    /// Those that were kept: until the end nothing else names them.
    counted: Counted,
    size: u64,
}

impl Store {
    /// Begins a blob.
    #[must_use]
    pub fn ingest(&self) -> Ingest {
        Ingest {
            store: self.clone(),
            sha256: Sha256::new(),
            buffer: Vec::new(),
            extents: Vec::new(),
            counted: Counted::none(self.clone()),
            size: 0,
        }
    }
}

impl Ingest {
    /// Takes the next bytes. Whole extents go to disk as they fill.
    ///
    /// # Errors
    /// [`WriteError::TooLarge`], or when the disk is full or fails. What was written is then left to a later sweep.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), WriteError> {
        self.size = self.size.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if self.size > BLOB_BYTES_MAX {
            return Err(WriteError::TooLarge { bytes: self.size, limit_bytes: BLOB_BYTES_MAX });
        }
        self.sha256.update(bytes);
        while !bytes.is_empty() {
            if self.buffer.len() == EXTENT_BYTES {
                self.keep_buffer()?;
            }
            let room = EXTENT_BYTES.saturating_sub(self.buffer.len()).min(bytes.len());
            let Some((taken, rest)) = bytes.split_at_checked(room) else { break };
            self.buffer.extend_from_slice(taken);
            bytes = rest;
        }
        Ok(())
    }

    /// Ends the blob. It is durable and readable when this returns.
    ///
    /// # Errors
    /// When the disk is full or fails; nothing is then held that any blob names.
    pub fn finish(mut self) -> Result<Stored, WriteError> {
        let blob = if self.extents.is_empty() { self.finish_small() } else { self.finish_large() };
        let blob = blob.map_err(|error| self.fault(error))?;
        Ok(Stored { blob, size: self.size, sha256: self.sha256.finalize().into() })
    }

    fn finish_small(&self) -> Result<BlobId, PutError> {
        let blob = BlobId(*blake3::hash(&self.buffer).as_bytes());
        self.store.touch(blob);
        self.store.put_small(blob, &self.buffer)?;
        // Also when the bytes were there already: whoever wrote them may not have waited yet.
        self.store.sync()?;
        self.still_whole(blob)
    }

    /// A sync that failed for somebody else, between the append and our own, took the bytes back and left ours nothing to fail on.
    fn still_whole(&self, blob: BlobId) -> Result<BlobId, PutError> {
        match self.store.blob_state(blob)? {
            BlobState::Complete { .. } => Ok(blob),
            BlobState::Missing | BlobState::Partial { .. } => {
                Err(PutError::Write(WriteError::TakenBack { folder: self.store.folder() }))
            }
        }
    }

    fn finish_large(&mut self) -> Result<BlobId, PutError> {
        self.keep_buffer()?;
        let built = Outline::build(self.size, std::mem::take(&mut self.extents));
        let outline = built.map_err(|_over| {
            PutError::Write(WriteError::TooLarge { bytes: self.size, limit_bytes: BLOB_BYTES_MAX })
        })?;
        let blob = outline.blob;
        self.store.touch(blob);
        self.store.put_outline(&outline)?;
        self.still_whole(blob)?;
        self.store.sync()?;
        self.still_whole(blob)
    }

    fn keep_buffer(&mut self) -> Result<(), WriteError> {
        let index = u32::try_from(self.extents.len()).unwrap_or(u32::MAX);
        if let Some(cv) = outline::extent_cv(index, &self.buffer) {
            self.counted.add(cv);
            self.store.keep_extent(index, &cv, &self.buffer)?;
            self.extents.push(cv);
        }
        self.buffer.clear();
        Ok(())
    }

    /// The bytes are hashed here, so nothing but the disk can be at fault.
    fn fault(&self, error: PutError) -> WriteError {
        match error {
            PutError::Write(error) | PutError::Read(ReadError::Incomplete(error)) => error,
            PutError::Read(ReadError::Index(error)) => WriteError::Index(error),
            PutError::Read(ReadError::Disk { folder, source }) => {
                WriteError::Disk { folder, doing: "reading back", source }
            }
            PutError::Mismatch { .. } | PutError::NoOutline { .. } | PutError::Read(_) => {
                WriteError::TakenBack { folder: self.store.folder() }
            }
        }
    }
}
