//! What becomes of each pack of an earlier backup: taken over, brought up to date, kept because this site's own is damaged, or let go.
//!
//! Packs grow only at their end and no number is given twice. Of two copies of a pack of which one is not the beginning of the other, one is
//! therefore damaged; the manifest tells whether it is the backup's.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::{BackupError, Drafting, Entry, Making, hashed};
use crate::store::disk::PackFile;
use crate::store::{Snapshot, SnapshotPack};

/// Bytes at the end of a pack that are compared before an earlier copy of it is taken over: more than a pack's footer begins with.
const ENDING_BYTES: u64 = 64 << 10;

const PLACE: &str = "store/packs/";
const ENDING: &str = ".pak";

fn path_of(number: u32) -> String {
    format!("{PLACE}{number:08}{ENDING}")
}

fn number_of(path: &str) -> Option<u32> {
    path.strip_prefix(PLACE)?.strip_suffix(ENDING)?.parse().ok()
}

impl Making<'_> {
    pub(super) fn pack(
        &mut self,
        pack: &SnapshotPack,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), BackupError> {
        let path = path_of(pack.number);
        let there = self.before.as_ref().and_then(|before| before.files.iter().find(|one| one.path == path));
        let Some(there) = there.cloned() else { return self.whole(path, pack, progress) };
        if there.bytes == pack.bytes && ends_alike(&there.path_in(self.to), &*pack.file, pack.bytes) {
            self.entries.push(there);
            return Ok(());
        }
        if there.bytes <= pack.bytes {
            let mut draft = Drafting::begin(self.to, path.clone())?;
            let mut from = Reading { file: &*pack.file, at: 0, end: pack.bytes };
            if draft.take(&mut from, there.bytes, progress)? == there.blake3 {
                draft.take(&mut from, pack.bytes - there.bytes, progress)?;
                return self.put(draft);
            }
            draft.discard();
        }
        if !is_sound(self.to, &there) {
            // The backup's copy is the one that rotted.
            return self.whole(path, pack, progress);
        }
        self.keep(there, pack, progress)
    }

    fn whole(
        &mut self,
        path: String,
        pack: &SnapshotPack,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), BackupError> {
        self.place(path, pack.bytes, &mut Reading { file: &*pack.file, at: 0, end: pack.bytes }, progress)
    }

    /// Keeps the copy that is there, and what this site wrote behind it since. The list of records at the end of a sealed pack is left out: it
    /// names those alone that could still be read, and without it a start looks for all of them.
    fn keep(
        &mut self,
        there: Entry,
        pack: &SnapshotPack,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), BackupError> {
        self.damaged.insert(
            pack.number,
            format!(
                "pack {}: what was backed up is not here any more; the backup keeps its copy of {} bytes",
                pack.number, there.bytes
            ),
        );
        let behind = pack.records_end.saturating_sub(there.bytes);
        if behind == 0 {
            self.entries.push(there);
            return Ok(());
        }
        let from = there.path_in(self.to);
        let mut kept = File::open(&from).map_err(|source| BackupError::Read { path: from, source })?;
        let mut draft = Drafting::begin(self.to, there.path)?;
        draft.take(&mut kept, there.bytes, progress)?;
        let mut from = Reading { file: &*pack.file, at: there.bytes, end: pack.records_end };
        draft.take(&mut from, behind, progress)?;
        self.put(draft)
    }

    /// Keeps the packs that are gone and were not given back by the store itself.
    pub(super) fn gone(&mut self, snapshot: &Snapshot) {
        for entry in self.before.as_ref().map_or(&[][..], |before| before.files.as_slice()) {
            let Some(number) = number_of(&entry.path) else { continue };
            let here = snapshot.packs.iter().any(|pack| pack.number == number);
            if here || snapshot.reclaimed.contains(&number) {
                continue;
            }
            self.entries.push(entry.clone());
            self.damaged.insert(number, format!("pack {number}: gone; the backup keeps its copy"));
        }
    }

    /// Tells of what this site knows to be damaged already.
    pub(super) fn known_damaged(&mut self, snapshot: &Snapshot) {
        for &number in &snapshot.damaged {
            self.damaged
                .entry(number)
                .or_insert_with(|| format!("pack {number}: bytes of it are damaged here"));
        }
    }
}

/// A pack's bytes from one place to another, as a stream.
struct Reading<'a> {
    file: &'a dyn PackFile,
    at: u64,
    end: u64,
}

impl Read for Reading<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let size = buffer.len().min(left);
        let Some(part) = buffer.get_mut(..size).filter(|part| !part.is_empty()) else { return Ok(0) };
        self.file.read_at(self.at, part)?;
        self.at += u64::try_from(size).unwrap_or(u64::MAX);
        Ok(size)
    }
}

/// Whether an earlier copy of a pack is of these bytes, by its end: a pack's footer names all its records.
fn ends_alike(copy: &Path, file: &dyn PackFile, bytes: u64) -> bool {
    let from = bytes.saturating_sub(ENDING_BYTES);
    let size = usize::try_from(bytes.saturating_sub(from)).unwrap_or(0);
    let (mut ours, mut theirs) = (vec![0; size], vec![0; size]);
    let read = File::open(copy)
        .and_then(|mut copy| copy.seek(SeekFrom::Start(from)).and_then(|_| copy.read_exact(&mut theirs)));
    read.is_ok() && file.read_at(from, &mut ours).is_ok() && ours == theirs
}

/// Whether a file of the backup is still what the manifest says.
fn is_sound(folder: &Path, entry: &Entry) -> bool {
    let read = File::open(entry.path_in(folder))
        .and_then(|mut file| hashed(&mut file, &mut io::sink(), entry.bytes, &mut |_| {}));
    read.is_ok_and(|hash| hash == entry.blake3)
}
