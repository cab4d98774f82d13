//! What one version is made of: its files, their sizes and the blobs that hold their bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::BlobId;
use crate::limits::{BLOB_BYTES_MAX, FILES_PER_VERSION_MAX, METADATA_ENTRIES_MAX};
use crate::package::{BadName, check_file_name};

/// One file of a version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct File {
    pub name: String,
    pub blob: BlobId,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the bytes, which every package client asks for.
    pub sha256: [u8; 32],
}

/// A version's files, ascending by name without repetition, and what else its kind's index needs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Manifest {
    pub files: Vec<File>,
    /// Facts for the kind's index (a packument's version object, a `Requires-Python`), by name.
    pub metadata: BTreeMap<String, Vec<u8>>,
}

/// Why a manifest is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::module_name_repetitions, reason = "callers hold errors of several rooms side by side")]
pub enum ManifestError {
    #[error("{found} files, and at most {FILES_PER_VERSION_MAX} are allowed in a version")]
    TooManyFiles { found: usize },
    #[error("files are not in ascending order of their names, or a name is there twice: {name:?}")]
    Order { name: String },
    #[error("file {name:?} says it has {size} bytes, and at most {BLOB_BYTES_MAX} are allowed")]
    TooLarge { name: String, size: u64 },
    #[error("{found} metadata entries, and at most {METADATA_ENTRIES_MAX} are allowed")]
    TooMuchMetadata { found: usize },
    #[error(transparent)]
    Name(#[from] BadName),
}

impl Manifest {
    /// A manifest of these files, in order.
    ///
    /// # Errors
    /// What [`Manifest::check`] refuses.
    pub fn of(mut files: Vec<File>) -> Result<Self, ManifestError> {
        files.sort();
        let manifest = Self { files, metadata: BTreeMap::new() };
        manifest.check()?;
        Ok(manifest)
    }

    /// Checks counts, order, names and sizes.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check(&self) -> Result<(), ManifestError> {
        if self.files.len() > FILES_PER_VERSION_MAX {
            return Err(ManifestError::TooManyFiles { found: self.files.len() });
        }
        if self.metadata.len() > METADATA_ENTRIES_MAX {
            return Err(ManifestError::TooMuchMetadata { found: self.metadata.len() });
        }
        let mut last: Option<&str> = None;
        for file in &self.files {
            check_file_name(&file.name)?;
            if last.is_some_and(|last| last >= file.name.as_str()) {
                return Err(ManifestError::Order { name: file.name.clone() });
            }
            if file.size > BLOB_BYTES_MAX {
                return Err(ManifestError::TooLarge { name: file.name.clone(), size: file.size });
            }
            last = Some(&file.name);
        }
        Ok(())
    }

    /// Whether two versions hold the same bytes under the same names.
    #[must_use]
    pub fn same_bytes(&self, other: &Self) -> bool {
        self.files == other.files
    }

    /// Bytes of all files.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.size))
    }

    /// The file of that name.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&File> {
        self.files.iter().find(|file| file.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> File {
        File { name: name.to_owned(), blob: BlobId([1; 32]), size: 3, sha256: [2; 32] }
    }

    #[test]
    fn files_are_kept_in_one_order_and_never_twice() {
        let manifest = Manifest::of(vec![file("b"), file("a")]).unwrap();
        assert_eq!(manifest.files[0].name, "a");
        assert_eq!(manifest.size(), 6);
        assert!(matches!(Manifest::of(vec![file("a"), file("a")]), Err(ManifestError::Order { .. })));
        let unsorted = Manifest { files: vec![file("b"), file("a")], ..Manifest::default() };
        assert!(matches!(unsorted.check(), Err(ManifestError::Order { .. })));
    }

    #[test]
    fn a_size_above_the_limit_is_refused() {
        let mut large = file("a");
        large.size = BLOB_BYTES_MAX + 1;
        assert!(matches!(Manifest::of(vec![large]), Err(ManifestError::TooLarge { .. })));
    }

    #[test]
    fn as_many_files_and_entries_as_are_allowed_are_taken_and_not_one_more() {
        let files = |count: usize| (0..count).map(|n| file(&format!("{n:03}"))).collect();
        let metadata = |count: usize| (0..count).map(|n| (n.to_string(), vec![])).collect();
        let of = |files_count: usize, entries: usize| Manifest {
            files: files(files_count),
            metadata: metadata(entries),
        };
        assert_eq!(of(FILES_PER_VERSION_MAX, METADATA_ENTRIES_MAX).check(), Ok(()));
        let found = FILES_PER_VERSION_MAX + 1;
        assert_eq!(of(found, 0).check(), Err(ManifestError::TooManyFiles { found }));
        assert_eq!(Manifest::of(files(found)), Err(ManifestError::TooManyFiles { found }));
        let found = METADATA_ENTRIES_MAX + 1;
        assert_eq!(of(1, found).check(), Err(ManifestError::TooMuchMetadata { found }));
    }
}
