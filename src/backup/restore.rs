//! A data folder made from a backup: every byte is checked on the way, and the folder is a new life of the site.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{CHUNK_BYTES, Entry, FORMAT, KEY, Manifest, ManifestError, OLDER_KEY, SETTINGS, hashed};
use crate::identity::{LoadKeyError, SiteKey, owner_only};
use crate::store::{FORMAT_FILES, RESTORED, new_life};

/// Where the store is put together before it takes its place.
const UNFINISHED: &str = "store.restoring";

/// A restore into a folder that was not finished, if there is one: where its store is put together. Whoever began another site beside it
/// would keep it from ever being finished.
#[must_use]
pub fn unfinished(data: &Path) -> Option<PathBuf> {
    Some(data.join(UNFINISHED)).filter(|place| place.exists())
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("{} is not empty; restore into a new folder (--data)", .folder.display())]
    Occupied { folder: PathBuf },
    #[error("{} in the backup is damaged: {why}; nothing was restored, try an earlier backup", .path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("the backup has no key: give the site's key with --key FILE")]
    NoKey,
    #[error("the key is that of site {found}, and the backup is of site {wanted}")]
    OtherKey { found: String, wanted: String },
    #[error(
        "the backup is of a site with a newer key than {}: nobody may take the older one for the site any more, and no node would start with \
         it; give the newest key, or leave --key out where the backup has it",
        .given.display()
    )]
    OlderKey { given: PathBuf },
    #[error(transparent)]
    Key(#[from] LoadKeyError),
    #[error("cannot write {}", .path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    pub manifest: Manifest,
    pub bytes: u64,
}

/// Makes an empty data folder that of the site in a backup. `key` is the site's key file where the backup has none; `generation` is random
/// and never used twice. A restore that is cut short leaves nothing that a node would start on.
///
/// # Errors
/// See [`RestoreError`].
pub fn restore(
    from: &Path,
    data: &Path,
    key: Option<&Path>,
    generation: u128,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Restored, RestoreError> {
    let manifest = Manifest::read(from)?.ok_or_else(|| ManifestError::None { folder: from.to_owned() })?;
    let key = key_of(from, key, &manifest)?;
    let older = older_key_of(from, &key, &manifest);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| RestoreError::Write { path, source }
    };
    owner_only::make_directory(data).map_err(failed(data))?;
    if !is_free(data).map_err(failed(data))? {
        return Err(RestoreError::Occupied { folder: data.to_owned() });
    }
    let unfinished = data.join(UNFINISHED);
    drop(fs::remove_dir_all(&unfinished));
    owner_only::make_directory(&unfinished.join("packs")).map_err(failed(&unfinished))?;
    let total = manifest.files.iter().map(|entry| entry.bytes).sum();
    let mut done = 0;
    for entry in &manifest.files {
        let place = match entry.path.as_str() {
            KEY | OLDER_KEY => continue,
            SETTINGS => unfinished.join(SETTINGS),
            path => unfinished.join(path.trim_start_matches("store/")),
        };
        copied(from, entry, &place, &mut |bytes| progress(done + bytes, total))?;
        done += entry.bytes;
    }
    let format = unfinished.join("FORMAT");
    let old = fs::read(&format).map_err(failed(&format))?;
    let new = new_life(&old, generation).ok_or_else(|| RestoreError::Damaged {
        path: from.join(FORMAT),
        why: "it does not say which life it is of".to_owned(),
    })?;
    for name in FORMAT_FILES {
        let place = unfinished.join(name);
        written(&place, &new).map_err(failed(&place))?;
    }
    let marker = unfinished.join(RESTORED);
    written(&marker, manifest.made_ms.to_string().as_bytes()).map_err(failed(&marker))?;
    for folder in [unfinished.join("packs"), unfinished.clone()] {
        owner_only::sync_directory(&folder).map_err(failed(&folder))?;
    }
    let settings = unfinished.join(SETTINGS);
    if settings.exists() {
        fs::rename(&settings, data.join(SETTINGS)).map_err(failed(&settings))?;
    }
    fs::rename(&unfinished, data.join("store")).map_err(failed(&unfinished))?;
    owner_only::sync_directory(data).map_err(failed(data))?;
    if let Some(older) = older {
        let place = data.join(OLDER_KEY);
        older.copy_to(&place).map_err(failed(&place))?;
    }
    // The key last: without it no node starts on the folder.
    let place = data.join(KEY);
    key.copy_to(&place).map_err(failed(&place))?;
    Ok(Restored { bytes: total, manifest })
}

/// Whether nothing is in a folder but what a restore leaves that was cut short before the store took its place.
fn is_free(data: &Path) -> io::Result<bool> {
    let begun = unfinished(data).is_some();
    let mut there = fs::read_dir(data)?.filter_map(Result::ok);
    Ok(there.all(|entry| match entry.file_name().to_str() {
        Some(UNFINISHED | "lost+found") => true,
        // The settings take their place before the store does.
        Some(SETTINGS) => begun,
        _ => false,
    }))
}

fn key_of(from: &Path, given: Option<&Path>, manifest: &Manifest) -> Result<SiteKey, RestoreError> {
    let key = match given {
        Some(given) => SiteKey::load(given)?,
        None => held_key(from, KEY, manifest)?.ok_or(RestoreError::NoKey)?,
    };
    let found = key.site_id().to_string();
    if found != manifest.site {
        return Err(RestoreError::OtherKey { found, wanted: manifest.site.clone() });
    }
    let Some(given) = given else { return Ok(key) };
    // One that is damaged is no reason to refuse: the one that is given is to take its place.
    let held = held_key(from, KEY, manifest).ok().flatten().map_or(0, |held| held.succession().generation());
    if manifest.key_number.max(held) > key.succession().generation() {
        return Err(RestoreError::OlderKey { given: given.to_owned() });
    }
    Ok(key)
}

/// The newest key in a backup that came before the site's one. Nothing hangs on it but by which key sites know this one that have not heard of
/// the newer one.
fn older_key_of(from: &Path, key: &SiteKey, manifest: &Manifest) -> Option<SiteKey> {
    let held = [KEY, OLDER_KEY].into_iter().filter_map(|name| {
        held_key(from, name, manifest).unwrap_or_else(|error| {
            tracing::warn!(%error, "a key cannot be restored; sites that know no newer one must be paired with again");
            None
        })
    });
    let newest = key.succession();
    let precedes = |older: &SiteKey| {
        older.succession().is_start_of(newest) && older.succession().generation() < newest.generation()
    };
    held.filter(precedes).max_by_key(|older| older.succession().generation())
}

/// A key that lies in a backup.
fn held_key(from: &Path, name: &str, manifest: &Manifest) -> Result<Option<SiteKey>, RestoreError> {
    let Some(entry) = manifest.files.iter().find(|entry| entry.path == name) else { return Ok(None) };
    let path = entry.lies_in(from);
    let damaged = |why: String| RestoreError::Damaged { path: path.clone(), why };
    let bytes = fs::read(&path).map_err(|error| damaged(error.to_string()))?;
    if blake3::hash(&bytes).to_hex().as_str() != entry.blake3 {
        return Err(damaged("other bytes than were backed up".to_owned()));
    }
    Ok(Some(SiteKey::load(&path)?))
}

fn copied(
    from: &Path,
    entry: &Entry,
    place: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<(), RestoreError> {
    let path = entry.lies_in(from);
    let damaged = |why: String| RestoreError::Damaged { path: path.clone(), why };
    let write = |source| RestoreError::Write { path: place.to_owned(), source };
    let mut source = File::open(&path).map_err(|error| damaged(error.to_string()))?;
    let file = owner_only::create_file(place).map_err(write)?;
    let mut buffered = io::BufWriter::with_capacity(CHUNK_BYTES, file);
    let hash = hashed(&mut source, &mut buffered, entry.bytes, progress).map_err(|error| {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            damaged("it is too short".to_owned())
        } else {
            write(error)
        }
    })?;
    if hash != entry.blake3 {
        return Err(damaged("other bytes than were backed up".to_owned()));
    }
    buffered.flush().map_err(write)?;
    buffered.get_ref().sync_all().map_err(write)
}

fn written(path: &Path, bytes: &[u8]) -> io::Result<()> {
    drop(fs::remove_file(path));
    let mut file = owner_only::create_file(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
