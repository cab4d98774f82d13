//! A disk of which parts cannot be read: what lies there is damaged like what reads otherwise, and no reason to read nothing else.

use std::io;

use super::super::disk::{PackFile, is_bad_sector};

/// Bytes that are tried one by one where a larger read fails.
const SECTOR_BYTES: u64 = 4096;

/// A pack whose unreadable parts read as zeros, of which no record consists. Not for what is about to be cut off for what it reads as.
#[derive(Debug)]
pub(super) struct Patient<'a>(pub(super) &'a dyn PackFile);

impl PackFile for Patient<'_> {
    fn bytes(&self) -> io::Result<u64> {
        self.0.bytes()
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self.0.read_at(offset, buffer) {
            Err(error) if is_bad_sector(&error) => {
                tracing::error!(offset, bytes = buffer.len(), %error, "a part of a pack cannot be read");
            }
            read => return read,
        }
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let within = SECTOR_BYTES.saturating_sub(at.checked_rem(SECTOR_BYTES).unwrap_or(0));
            let count = usize::try_from(within).unwrap_or(rest.len()).min(rest.len());
            let (sector, behind) = rest.split_at_mut(count);
            match self.0.read_at(at, sector) {
                Err(error) if is_bad_sector(&error) => sector.fill(0),
                read => read?,
            }
            at = at.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
            rest = behind;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.0.truncate(bytes)
    }
}
