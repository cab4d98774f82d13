//! The packs as they are at one moment, for whoever copies them while the store is in use.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use data_encoding::HEXLOWER;

use super::disk::{Folder, PackFile};
use super::life::Life;
use super::packs::footer;
use super::{Store, WriteError};

/// The file in a store's folder that says it was made from a backup, and of when.
pub const RESTORED: &str = "RESTORED";

/// Everything a copy of a store is made of. What is read from it stays as it is: packs grow only at their end, and one that is removed
/// meanwhile is still read.
#[derive(Debug)]
pub struct Snapshot {
    pub packs: Vec<SnapshotPack>,
    /// The bytes of FORMAT.
    pub format: Vec<u8>,
    /// The store's life.
    pub life: String,
    /// Packs of which bytes are known not to be what was written.
    pub damaged: BTreeSet<u32>,
    /// Packs that were removed because nothing in them was needed any more.
    pub reclaimed: BTreeSet<u32>,
}

/// One pack of a snapshot.
#[derive(Debug)]
pub struct SnapshotPack {
    pub number: u32,
    pub file: Arc<dyn PackFile>,
    /// Bytes that are of the snapshot.
    pub bytes: u64,
    /// Where its records end: the rest is the list of them.
    pub records_end: u64,
}

impl Store {
    /// The packs as they are now, all of it durable.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn snapshot(&self) -> Result<Snapshot, WriteError> {
        loop {
            let packs = self.inner.packs.all();
            // What was taken back by a failed sync meanwhile is looked at anew.
            match self.sync() {
                Ok(()) => {}
                Err(WriteError::TakenBack { .. }) => continue,
                Err(error) => return Err(error),
            }
            let pack = |(number, file, end): (u32, Arc<dyn PackFile>, Option<u64>)| {
                let bytes = match end {
                    Some(end) => end,
                    None => {
                        file.bytes().map_err(|error| self.inner.packs.fault("measuring a pack", error))?
                    }
                };
                let sealed = if end.is_none() { footer::end(&*file, bytes) } else { Ok(None) };
                let sealed = sealed.map_err(|error| self.inner.packs.fault("reading a pack", error))?;
                Ok(SnapshotPack { number, file, bytes, records_end: sealed.unwrap_or(bytes).min(bytes) })
            };
            let packs = packs.into_iter().map(pack).collect::<Result<_, WriteError>>()?;
            let (damaged, reclaimed) = self.packs_noted();
            return Ok(Snapshot {
                packs,
                damaged,
                reclaimed,
                format: self.inner.life.encode().into_bytes(),
                life: HEXLOWER.encode(&self.inner.life.generation.to_be_bytes()),
            });
        }
    }
}

/// What FORMAT says of a copied store that begins a life of its own: its packs are read as before, and peers tell it apart.
#[must_use]
pub fn new_life(format: &[u8], generation: u128) -> Option<Vec<u8>> {
    let life = Life::decode(format).ok()?;
    Some(Life { generation, ..life }.encode().into_bytes())
}

/// Gives the copy of a store in a folder a life of its own. Of one whose life cannot be told, opening it tells why.
///
/// # Errors
/// When the disk fails.
pub fn begin_life(folder: &Path, generation: u128) -> io::Result<()> {
    let disk = Folder::new(folder)?;
    match Life::read(&disk) {
        Ok(Some((life, _))) => Life { generation, ..life }.write(&disk),
        Ok(None) | Err(_) => Ok(()),
    }
}
