//! A site's data folder copied while it is in use, checked, and made into a folder again.
//!
//! Packs only grow at their end and are never changed, so a backup takes over what an earlier one in the same place has. The manifest is
//! replaced last: a backup that was cut short leaves the one before as it was.

mod manifest;
mod packs;
mod restore;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::identity::owner_only;
use crate::store::{Snapshot, WriteError};

pub use manifest::{Entry, Manifest, ManifestError};
pub use restore::{RestoreError, Restored, restore, unfinished};

/// Bytes copied at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Where things lie in a backup, and in a data folder.
pub(crate) const KEY: &str = "key/site.key";
/// The key before that, as long as not all sites have heard of the newer one.
const OLDER_KEY: &str = "key/site.old";
const SETTINGS: &str = "packetboat.toml";
const FORMAT: &str = "store/FORMAT";
const DRAFT: &str = "draft";

/// Why no backup was made.
#[derive(Debug, thiserror::Error)]
#[expect(clippy::module_name_repetitions, reason = "callers hold errors of several rooms side by side")]
pub enum BackupError {
    #[error("{} is not a whole path: a backup's folder is named from the root on", .path.display())]
    Relative { path: PathBuf },
    #[error("{} holds other things than a backup of this site; choose an empty folder", .path.display())]
    Occupied { path: PathBuf },
    #[error(
        "{} holds a backup of another life of this site, from before a restore; choose an empty folder and keep that one",
        .path.display()
    )]
    OtherLife { path: PathBuf },
    #[error("another backup into {} is under way", .path.display())]
    UnderWay { path: PathBuf },
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("cannot write {}", .path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read {}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("this site's store could not be brought to rest")]
    Store(#[from] WriteError),
}

/// What is backed up beside the store, and of which site.
#[derive(Debug, Clone)]
pub struct Source<'a> {
    /// The data folder.
    pub data: &'a Path,
    pub site: String,
    /// The number of the key with which it signs.
    pub key_number: u64,
    pub name: String,
    pub now_ms: u64,
    /// Whether the site's key goes along: whoever has the backup is then the site.
    pub with_key: bool,
}

/// What a backup came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Backed {
    pub files: u64,
    pub bytes: u64,
    /// What of it was not there from an earlier backup.
    pub copied_bytes: u64,
    /// Each pack of this site that is damaged or gone, and what became of it in the backup.
    pub damaged: Vec<String>,
}

/// Copies a site into a folder, or what is new of it; its `snapshot` is taken once no other backup into that folder is under way. Durable when
/// this returns. Of a pack that is damaged at the site, or gone without having
/// been given back, the backup keeps the good copy it has: no later backup restores to less than an earlier one in its folder.
///
/// # Errors
/// See [`BackupError`]; an earlier backup in the folder is then still whole.
pub fn backup(
    to: &Path,
    from: &Source<'_>,
    snapshot: impl FnOnce() -> Result<Snapshot, WriteError>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Backed, BackupError> {
    let _alone = Alone::make(to)?;
    let snapshot = &snapshot()?;
    let before = ready(to, from, snapshot)?;
    let total = snapshot.packs.iter().map(|pack| pack.bytes).sum();
    let mut made = Making { to, before, entries: Vec::new(), copied_bytes: 0, damaged: BTreeMap::new() };
    let mut done = 0;
    for pack in &snapshot.packs {
        made.pack(pack, &mut |bytes| progress(done + bytes, total))?;
        done += pack.bytes;
    }
    made.gone(snapshot);
    made.known_damaged(snapshot);
    made.small(FORMAT, &snapshot.format)?;
    if let Some(settings) = optional(&from.data.join(SETTINGS))? {
        made.small(SETTINGS, &settings)?;
    }
    if from.with_key {
        let place = to.join("key");
        owner_only::make_directory(&place).map_err(|source| BackupError::Write { path: place, source })?;
        let path = from.data.join(KEY);
        let key = fs::read(&path).map_err(|source| BackupError::Read { path, source })?;
        made.small(KEY, &key)?;
        if let Some(older) = optional(&from.data.join(OLDER_KEY))? {
            made.small(OLDER_KEY, &older)?;
        }
    }
    let backed = Backed {
        files: u64::try_from(made.entries.len()).unwrap_or(u64::MAX),
        bytes: made.entries.iter().map(|entry| entry.bytes).sum(),
        copied_bytes: made.copied_bytes,
        damaged: made.damaged.into_values().collect(),
    };
    let manifest = Manifest {
        site: from.site.clone(),
        name: from.name.clone(),
        made_ms: from.now_ms,
        life: snapshot.life.clone(),
        key_number: from.key_number,
        files: made.entries,
    };
    manifest.write(to)?;
    sweep(to, &manifest, made.before.as_ref());
    Ok(backed)
}

/// Reads a whole backup again. Gives what is not as the manifest says.
///
/// # Errors
/// There is no readable manifest.
pub fn check(
    folder: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Manifest, Vec<String>), ManifestError> {
    let manifest =
        Manifest::read(folder)?.ok_or_else(|| ManifestError::None { folder: folder.to_owned() })?;
    let total = manifest.files.iter().map(|entry| entry.bytes).sum();
    let (mut done, mut bad) = (0, Vec::new());
    for entry in &manifest.files {
        let from = entry.lies_in(folder);
        let copied = File::open(&from).and_then(|mut file| {
            hashed(&mut file, &mut io::sink(), entry.bytes, &mut |bytes| progress(done + bytes, total))
        });
        match copied {
            Ok(hash) if hash == entry.blake3 => {}
            Ok(_other) => bad.push(format!("{}: other bytes than were backed up", entry.path)),
            Err(error) => bad.push(format!("{}: {error}", entry.path)),
        }
        done += entry.bytes;
    }
    Ok((manifest, bad))
}

/// A folder into which nobody else backs up meanwhile: one would remove what the manifest of the other names. A site's store is open in one
/// program alone, and a folder has backups of one site alone.
#[derive(Debug)]
struct Alone {
    folder: PathBuf,
}

static UNDER_WAY: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn under_way() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Alone {
    /// Makes the folder where it is not there yet.
    fn make(to: &Path) -> Result<Self, BackupError> {
        if !to.is_absolute() {
            return Err(BackupError::Relative { path: to.to_owned() });
        }
        let write = |source| BackupError::Write { path: to.to_owned(), source };
        owner_only::make_directory(to).map_err(write)?;
        let folder = fs::canonicalize(to).map_err(write)?;
        if !under_way().insert(folder.clone()) {
            return Err(BackupError::UnderWay { path: to.to_owned() });
        }
        Ok(Self { folder })
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        under_way().remove(&self.folder);
    }
}

/// Looks at what is in the folder.
fn ready(to: &Path, from: &Source<'_>, snapshot: &Snapshot) -> Result<Option<Manifest>, BackupError> {
    let write = |source| BackupError::Write { path: to.to_owned(), source };
    let before = Manifest::read(to)?;
    match &before {
        Some(before) if before.site != from.site => {
            return Err(BackupError::Occupied { path: to.to_owned() });
        }
        Some(before) if before.life != snapshot.life => {
            return Err(BackupError::OtherLife { path: to.to_owned() });
        }
        Some(_) => {}
        None => {
            if !is_unfinished(to).map_err(write)? {
                return Err(BackupError::Occupied { path: to.to_owned() });
            }
        }
    }
    owner_only::make_directory(&to.join("store/packs")).map_err(write)?;
    Ok(before)
}

/// Whether there is nothing in a folder but what a backup leaves that was cut short before its first manifest: packs, and places for more. What a node
/// ever ran on has more than that in its store, and what was restored has settings or a key.
fn is_unfinished(folder: &Path) -> io::Result<bool> {
    let only = |place: &Path, names: &[&str]| match fs::read_dir(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
        Ok(entries) => {
            let mut there = entries.filter_map(Result::ok).map(|entry| entry.file_name());
            Ok(there.all(|name| name.to_str().is_some_and(|name| names.contains(&name))))
        }
    };
    Ok(only(folder, &["store", "key", "lost+found"])?
        && only(&folder.join("key"), &[])?
        && only(&folder.join("store"), &["packs", "FORMAT", "FORMAT.draft"])?)
}

struct Making<'a> {
    to: &'a Path,
    before: Option<Manifest>,
    entries: Vec<Entry>,
    copied_bytes: u64,
    /// By number: what is wrong with a pack.
    damaged: BTreeMap<u32, String>,
}

impl Making<'_> {
    fn small(&mut self, path: &str, bytes: &[u8]) -> Result<(), BackupError> {
        self.set_aside(path, bytes)?;
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.place(path.to_owned(), size, &mut io::Cursor::new(bytes), &mut |_| {})
    }

    /// A file that is replaced as a whole is what the manifest lists that is there until the new one is: it is kept beside its place.
    fn set_aside(&self, path: &str, bytes: &[u8]) -> Result<(), BackupError> {
        let listed = self.before.iter().flat_map(|before| &before.files).find(|entry| entry.path == path);
        let changed = listed.filter(|entry| blake3::hash(bytes).to_hex().as_str() != entry.blake3);
        let Some(entry) = changed else { return Ok(()) };
        let (place, aside) = (entry.path_in(self.to), entry.set_aside_in(self.to));
        // Another backup that was cut short has done so.
        if !entry.is_at(&place) {
            return Ok(());
        }
        let kept = fs::rename(&place, &aside)
            .and_then(|()| place.parent().map_or(Ok(()), owner_only::sync_directory));
        kept.map_err(|source| BackupError::Write { path: aside, source })
    }

    /// Writes a file beside its place and puts it there whole. An older copy of a pack is the beginning of the new one, so the manifest
    /// that is there still holds.
    fn place(
        &mut self,
        path: String,
        bytes: u64,
        from: &mut dyn Read,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), BackupError> {
        let mut draft = Drafting::begin(self.to, path)?;
        draft.take(from, bytes, progress)?;
        self.put(draft)
    }

    fn put(&mut self, draft: Drafting) -> Result<(), BackupError> {
        self.copied_bytes += draft.bytes;
        self.entries.push(draft.put()?);
        Ok(())
    }
}

/// A file that is written beside its place.
struct Drafting {
    path: String,
    place: PathBuf,
    draft: PathBuf,
    file: File,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Drafting {
    fn begin(to: &Path, path: String) -> Result<Self, BackupError> {
        let place = to.join(&path);
        let draft = place.with_extension(DRAFT);
        drop(fs::remove_file(&draft));
        match owner_only::create_file(&draft) {
            Ok(file) => Ok(Self { path, place, draft, file, hasher: blake3::Hasher::new(), bytes: 0 }),
            Err(source) => Err(BackupError::Write { path: draft, source }),
        }
    }

    /// What was written so far must not fill the disk that it did not fit on.
    fn failed(&self, source: io::Error) -> BackupError {
        drop(fs::remove_file(&self.draft));
        BackupError::Write { path: self.draft.clone(), source }
    }

    /// Copies so many bytes more. Gives the hash of all so far.
    fn take(
        &mut self,
        from: &mut dyn Read,
        bytes: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<String, BackupError> {
        let before = self.bytes;
        let copied = copy(from, &mut self.file, bytes, &mut self.hasher, &mut |done| progress(before + done));
        copied.map_err(|source| self.failed(source))?;
        self.bytes += bytes;
        Ok(self.hasher.finalize().to_hex().to_string())
    }

    /// What cannot be removed is written over by the next draft.
    fn discard(self) {
        drop(fs::remove_file(&self.draft));
    }

    /// Puts it in its place, durably.
    fn put(self) -> Result<Entry, BackupError> {
        let put = self.file.sync_all().and_then(|()| fs::rename(&self.draft, &self.place));
        let put = put.and_then(|()| self.place.parent().map_or(Ok(()), owner_only::sync_directory));
        put.map_err(|source| self.failed(source))?;
        Ok(Entry { blake3: self.hasher.finalize().to_hex().to_string(), bytes: self.bytes, path: self.path })
    }
}

/// Copies just so many bytes and gives their hash.
fn hashed(
    from: &mut dyn Read,
    to: &mut dyn Write,
    bytes: u64,
    progress: &mut dyn FnMut(u64),
) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    copy(from, to, bytes, &mut hasher, progress)?;
    Ok(hasher.finalize().to_hex().to_string())
}

fn copy(
    from: &mut dyn Read,
    to: &mut dyn Write,
    bytes: u64,
    hasher: &mut blake3::Hasher,
    progress: &mut dyn FnMut(u64),
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut done: u64 = 0;
    while done < bytes {
        let most = usize::try_from(bytes - done).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        let Some(room) = buffer.get_mut(..most) else { break };
        let read = from.read(room)?;
        let Some(part) = room.get(..read).filter(|part| !part.is_empty()) else {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        };
        hasher.update(part);
        to.write_all(part)?;
        done += u64::try_from(read).unwrap_or(u64::MAX);
        progress(done);
    }
    Ok(())
}

fn optional(path: &Path) -> Result<Option<Vec<u8>>, BackupError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(BackupError::Read { path: path.to_owned(), source }),
    }
}

/// Removes what the backup before had and this one has not. What cannot be removed only takes room.
fn sweep(to: &Path, now: &Manifest, before: Option<&Manifest>) {
    for entry in before.map_or(&[][..], |before| before.files.as_slice()) {
        let gone = !now.files.iter().any(|kept| kept.path == entry.path);
        let old = [entry.set_aside_in(to), entry.path_in(to)].into_iter().take(1 + usize::from(gone));
        for path in old.filter(|path| path.exists()) {
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(%error, path = %path.display(), "an old file of a backup could not be removed");
            }
        }
    }
}

#[cfg(test)]
mod tests;
