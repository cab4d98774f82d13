//! The whole outside world of a store's durable part: pack files, small files, one lock, free space.
//!
//! What a [`Disk`] must promise is little, so that a simulation can keep exactly that and no more:
//! bytes written to a pack are readable at once, and they survive a loss of power only after
//! [`PackFile::sync`] has returned; a pack's *name* survives only after [`Disk::create_pack`] has
//! returned; a small file is replaced whole or not at all.

mod file;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::Arc;

pub use file::Folder;

/// A place that holds packs and small files. Object-safe; shared by all threads of a store.
pub trait Disk: fmt::Debug + Send + Sync {
    /// What a person calls this place; for messages only.
    fn folder(&self) -> String;

    /// Takes the place for this process until the returned guard is dropped.
    ///
    /// # Errors
    /// `WouldBlock` if another holder has it; anything else is the disk's fault.
    fn lock(&self) -> io::Result<Box<dyn Held>>;

    /// The numbers of all packs, in any order.
    ///
    /// # Errors
    /// When the folder cannot be read.
    fn packs(&self) -> io::Result<Vec<u32>>;

    /// Makes an empty pack. Its name is durable when this returns.
    ///
    /// # Errors
    /// When it exists already or cannot be made.
    fn create_pack(&self, pack: u32) -> io::Result<Arc<dyn PackFile>>;

    /// Opens a pack for reading and writing.
    ///
    /// # Errors
    /// When it does not exist or cannot be opened.
    fn open_pack(&self, pack: u32) -> io::Result<Arc<dyn PackFile>>;

    /// Removes a pack, durably. Removing one that does not exist is no error.
    ///
    /// # Errors
    /// When the disk refuses.
    fn remove_pack(&self, pack: u32) -> io::Result<()>;

    /// The whole of a small file, or nothing if there is none of that name.
    ///
    /// # Errors
    /// When it exists and cannot be read.
    fn read_small(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Replaces a small file: after a loss of power it holds the old bytes or the new, and the new once this returned.
    ///
    /// # Errors
    /// When the disk refuses; the old bytes are then still there.
    fn write_small(&self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Bytes that can still be written here.
    ///
    /// # Errors
    /// When the file system does not tell.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Keeps room for just so many bytes that nothing else on the disk can take.
    ///
    /// # Errors
    /// When there is no such room, or the disk cannot keep it or fails.
    fn keep_room(&self, bytes: u64) -> io::Result<()>;

    /// Gives up the room that is kept, and tells whether there was any.
    ///
    /// # Errors
    /// When the disk refuses.
    fn give_room(&self) -> io::Result<bool>;
}

/// Keeps a [`Disk`] taken while it lives.
pub trait Held: fmt::Debug + Send + Sync {}

/// One pack. Written only past what was written before, except after [`PackFile::truncate`].
pub trait PackFile: fmt::Debug + Send + Sync {
    /// Bytes in the file.
    ///
    /// # Errors
    /// When the disk refuses.
    fn bytes(&self) -> io::Result<u64>;

    /// Writes all of `bytes` at `offset`. After an error any part of them may be in the file.
    ///
    /// # Errors
    /// `StorageFull` or `QuotaExceeded` when there is no space; anything else is the disk's fault.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Makes everything written so far, and the file's length, survive a loss of power.
    ///
    /// # Errors
    /// After an error nothing written since the last success may be relied on.
    fn sync(&self) -> io::Result<()>;

    /// Cuts the file to `bytes`, and makes that durable.
    ///
    /// # Errors
    /// When the disk refuses.
    fn truncate(&self, bytes: u64) -> io::Result<()>;
}

/// What systems say of a part of a disk that cannot be read any more: EIO and ENODATA; on Windows a wrong checksum, a sector that is not found, and
/// a device error.
const UNREADABLE: &[i32] = if cfg!(windows) { &[23, 27, 1117] } else { &[5, 61] };

/// Whether an error says that a part of the disk cannot be read.
#[must_use]
pub fn is_bad_sector(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| UNREADABLE.contains(&code))
}

/// Whether an error says that there is no space left.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == io::ErrorKind::StorageFull
        || kind == io::ErrorKind::QuotaExceeded
        || kind == io::ErrorKind::FileTooLarge
}
