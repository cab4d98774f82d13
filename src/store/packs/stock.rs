//! Taking stock of packs: which there are and how long, so that one that is gone or cut short is noticed.

use std::io;
use std::sync::Arc;

use super::footer;
use super::recover::{Start, between};
use super::{Damage, PackFile, Packs, WriteError, locked};

/// A pack and how many bytes of it are durable.
pub(crate) type Stock = Vec<(u32, u64)>;

impl Packs {
    /// What tells these packs from those of other stores, and not from a copy of them.
    pub(crate) fn mark(&self) -> [u8; 16] {
        let hash = blake3::derive_key("packetboat 2026 store packs mark", &self.salt);
        hash.first_chunk().copied().unwrap_or_default()
    }

    /// The packs as they are durable now, but for those that are about to be removed.
    pub(crate) fn stock(&self) -> io::Result<Stock> {
        let leaving = locked(&self.leaving).clone();
        let bytes = |(number, file, end): (u32, Arc<dyn PackFile>, Option<u64>)| {
            Ok((number, end.map_or_else(|| file.bytes(), Ok)?))
        };
        self.all().into_iter().filter(|pack| !leaving.contains(&pack.0)).map(bytes).collect()
    }

    /// The packs that are open here and gone from the folder, with their lengths. Only while nobody removes one.
    pub(crate) fn removed(&self) -> io::Result<Stock> {
        let open = self.all();
        let there = self.disk.packs()?;
        let gone = open.into_iter().filter(|(number, ..)| !there.contains(number));
        gone.map(|(number, file, end)| Ok((number, end.map_or_else(|| file.bytes(), Ok)?))).collect()
    }

    /// What is not there any more of what once was.
    pub(crate) fn lost_of(&self, stock: &[(u32, u64)]) -> io::Result<Vec<Damage>> {
        let mut lost = Vec::new();
        for &(pack, known) in stock {
            let here = self.good_bytes(pack, known)?;
            if here < known {
                lost.push(Damage { pack, offset: here, bytes: known.saturating_sub(here), record: None });
            }
        }
        Ok(lost)
    }

    /// Whether less is there than was durable at a checkpoint.
    pub(crate) fn are_short_of(&self, start: Start) -> io::Result<bool> {
        Ok(self.good_bytes(start.pack, start.offset)? < start.offset)
    }

    /// Where the last whole record of a pack ends that is shorter than `known`; its length where it is not.
    fn good_bytes(&self, number: u32, known: u64) -> io::Result<u64> {
        {
            let tail = locked(&self.tail);
            if tail.open.as_ref().is_some_and(|pack| pack.number == number) {
                return Ok(tail.bytes);
            }
        }
        let Some(file) = self.file(number) else { return Ok(0) };
        let length = file.bytes()?;
        if length >= known { Ok(length) } else { Ok(self.contents(number)?.good_end.min(length)) }
    }

    /// Appends to none of these packs from here on, and gives none of their numbers again: what still points into them must not come upon other
    /// records there.
    pub(crate) fn leave(&self, lost: &[Damage]) -> Result<(), WriteError> {
        let Some(last) = lost.iter().map(|damage| damage.pack).max() else { return Ok(()) };
        self.lead(|| {
            {
                let mut tail = locked(&self.tail);
                if tail.newest > last {
                    return Ok(());
                }
                if let Some(pack) = tail.open.clone() {
                    self.seal(&mut tail, &pack)?;
                    tail.open = None;
                }
                tail.newest = last;
            }
            self.roll(last)
        })
    }
}

impl Packs {
    /// The stretches of a pack in which no record is known. One that is not sealed has an end that nobody knows: it may have been longer.
    pub(crate) fn unlisted(&self, number: u32) -> io::Result<Vec<(u64, u64)>> {
        let Some(file) = self.file(number) else { return Ok(Vec::new()) };
        let length = file.bytes()?;
        let end = footer::end(&*file, length)?.unwrap_or_else(|| length.saturating_add(1));
        Ok(between(&self.contents(number)?.places, end))
    }
}
