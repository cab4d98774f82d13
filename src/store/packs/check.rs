//! Checking every byte of a pack, in one go or bit by bit: its front, each record with its padding, and its footer.

use std::io;

use super::super::disk::PackFile;
use super::footer::{self, Footer};
use super::record::{Binding, HEADER_BYTES};
use super::scan::{Found, Walk};
use super::sectors::Patient;
use super::{Packs, front};

impl Packs {
    /// Checks a pack from `from` on, and gives where to go on once `bytes_max` were read; nothing when it is through. `end` is where
    /// what is durable ends in a pack that is not sealed.
    pub(crate) fn check(
        &self,
        number: u32,
        file: &dyn PackFile,
        end: Option<u64>,
        (from, bytes_max): (u64, u64),
        mut visit: impl FnMut(&Found),
    ) -> io::Result<Option<u64>> {
        let file = &Patient(file);
        let length = file.bytes()?;
        let sealed = if end.is_none() { footer::end(file, length)? } else { None };
        let end = end.or(sealed).unwrap_or(length).min(length);
        if from == 0 && !has_front(number, file, length)? {
            visit(&Found::Hole { offset: 0, end: length.min(HEADER_BYTES as u64) });
        }
        let start = from.max(HEADER_BYTES as u64);
        let binding = Binding { salt: self.salt, pack: number };
        let mut walk = Walk::new(file, binding, start, end, true);
        while let Some(found) = walk.step()? {
            visit(&found);
            if let Some(found) = walk.soiled() {
                visit(&found);
            }
            if walk.offset() < end && walk.offset().saturating_sub(start) >= bytes_max {
                return Ok(Some(walk.offset()));
            }
        }
        if sealed.is_some() && matches!(footer::read(file, length)?, Footer::Damaged { .. }) {
            visit(&Found::Hole { offset: end, end: length });
        }
        Ok(None)
    }
}

fn has_front(number: u32, file: &dyn PackFile, length: u64) -> io::Result<bool> {
    let wanted = front(number);
    let mut bytes = vec![0; wanted.len()];
    if length < HEADER_BYTES as u64 {
        return Ok(false);
    }
    file.read_at(0, &mut bytes)?;
    Ok(bytes == wanted)
}
