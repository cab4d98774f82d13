//! What a backup is made of: each file with its size and hash, and a hash over the whole list.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::identity::owner_only;

const NAME: &str = "MANIFEST";
const SCHEMA: &str = "packetboat.backup/1";

/// Why a manifest is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("there is no backup in {}: it has no {NAME}", .folder.display())]
    None { folder: PathBuf },
    #[error("{} is damaged: its bytes do not have the hash in its last line", .path.display())]
    Damaged { path: PathBuf },
    #[error("{} is not of this version's form; use a newer packetboat", .path.display())]
    Form { path: PathBuf },
    #[error("cannot read {}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}", .path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it lies, in the backup as in a data folder.
    pub path: String,
    /// So many of its first bytes; a copy that was cut short may have left more.
    pub bytes: u64,
    pub blake3: String,
}

impl Entry {
    pub(super) fn path_in(&self, folder: &Path) -> PathBuf {
        folder.join(&self.path)
    }

    /// Where a small file lies while a later backup has put another one in its place and its manifest is not there yet.
    pub(super) fn set_aside_in(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.before", self.path))
    }

    /// Whether a small file is this one.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        fs::read(path).is_ok_and(|bytes| blake3::hash(&bytes).to_hex().as_str() == self.blake3)
    }

    /// Where it is to be read. A backup that was cut short may have put a newer one in its place.
    pub(super) fn lies_in(&self, folder: &Path) -> PathBuf {
        let (place, aside) = (self.path_in(folder), self.set_aside_in(folder));
        if aside.exists() && !self.is_at(&place) { aside } else { place }
    }
}

/// A whole backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub site: String,
    pub name: String,
    pub made_ms: u64,
    /// The life of the store: a restore begins another, whose packs are others.
    pub life: String,
    /// The number of the key with which the site signed then: no node starts on the store with an older one. Manifests of before do not say.
    #[serde(default)]
    pub key_number: u64,
    pub files: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Written {
    schema: String,
    #[serde(flatten)]
    manifest: Manifest,
}

impl Manifest {
    /// The manifest in a folder, if one is there.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn read(folder: &Path) -> Result<Option<Self>, ManifestError> {
        let path = folder.join(NAME);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(ManifestError::Damaged { path });
            }
            Err(source) => return Err(ManifestError::Read { path, source }),
        };
        Self::of_text(&text, &path).map(Some)
    }

    /// What the text of the file at `path` says.
    ///
    /// # Errors
    /// It is damaged, or of a newer form.
    pub fn of_text(text: &str, path: &Path) -> Result<Self, ManifestError> {
        let lines = text.trim_end().rsplit_once('\n');
        let body = lines.filter(|(body, hash)| blake3::hash(body.as_bytes()).to_hex().as_str() == *hash);
        let Some((body, _)) = body else { return Err(ManifestError::Damaged { path: path.to_owned() }) };
        match serde_json::from_str::<Written>(body) {
            Ok(written) if written.schema == SCHEMA && written.manifest.is_inside() => Ok(written.manifest),
            Ok(_) | Err(_) => Err(ManifestError::Form { path: path.to_owned() }),
        }
    }

    /// The text of its file.
    ///
    /// # Errors
    /// There is no form for it: a defect.
    pub fn to_text(&self) -> serde_json::Result<String> {
        let written = Written { schema: SCHEMA.to_owned(), manifest: self.clone() };
        let body = serde_json::to_string_pretty(&written)?;
        Ok(format!("{body}\n{}\n", blake3::hash(body.as_bytes()).to_hex()))
    }

    /// Puts the manifest into a folder, whole or not at all, and durably.
    pub(super) fn write(&self, folder: &Path) -> Result<(), ManifestError> {
        let path = folder.join(NAME);
        let draft = path.with_extension("draft");
        let failed = |source| ManifestError::Write { path: path.clone(), source };
        let text = self.to_text().map_err(|error| failed(error.into()))?;
        drop(fs::remove_file(&draft));
        let mut file = owner_only::create_file(&draft).map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&draft, &path).map_err(failed)?;
        owner_only::sync_directory(folder).map_err(failed)
    }

    /// Whether every file lies in the folder: a manifest is read from where others may have written.
    fn is_inside(&self) -> bool {
        self.files.iter().all(|entry| {
            let known =
                [super::KEY, super::OLDER_KEY, super::SETTINGS, super::FORMAT].contains(&entry.path.as_str());
            let pack = entry.path.strip_prefix("store/packs/").and_then(|name| name.strip_suffix(".pak"));
            known || pack.is_some_and(|number| number.len() >= 8 && number.parse::<u32>().is_ok())
        })
    }
}
