//! SHA-256 of bytes that are here: what a publish signs beside a blob's own hash is what those bytes have.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use protocol::id::BlobId;
use protocol::manifest::Manifest;
use sha2::{Digest as _, Sha256};

use super::locked;
use super::problem::usage;
use crate::api::Problem;
use crate::store::{ReadError, Store};

/// Sums that are remembered from upload to publish: those of the files of many versions at once. One that is forgotten costs a reading of the bytes.
const SUMS_MAX: usize = 4096;

/// Sums of what was uploaded lately.
#[derive(Debug, Clone, Default)]
pub(super) struct Sums(Arc<Mutex<BTreeMap<BlobId, [u8; 32]>>>);

impl Sums {
    /// Notes what an upload came to.
    pub(super) fn note(&self, blob: BlobId, sha256: [u8; 32]) {
        let mut sums = locked(&self.0);
        if sums.len() >= SUMS_MAX {
            sums.clear();
        }
        sums.insert(blob, sha256);
    }

    /// Checks what somebody says of bytes that are here. Of what is not here nothing is said: it cannot be published.
    ///
    /// # Errors
    /// A file has another sum, or cannot be read.
    pub(super) fn check(&self, store: &Store, manifest: &Manifest) -> Result<(), Problem> {
        for file in &manifest.files {
            let noted = locked(&self.0).get(&file.blob).copied();
            let sha256 = match noted {
                Some(sha256) => sha256,
                None => match read(store, file.blob) {
                    Ok(sha256) => {
                        self.note(file.blob, sha256);
                        sha256
                    }
                    Err(ReadError::Missing { .. }) => continue,
                    Err(error) => return Err(error.into()),
                },
            };
            if sha256 != file.sha256 {
                let (has, said) = (BlobId(sha256), BlobId(file.sha256));
                return Err(usage(format!(
                    "file {:?}: its bytes have SHA-256 {has}, and the request says {said}",
                    file.name
                )));
            }
        }
        Ok(())
    }
}

fn read(store: &Store, blob: BlobId) -> Result<[u8; 32], ReadError> {
    let mut sha256 = Sha256::new();
    let mut reader = store.reader(blob, 0..u64::MAX)?;
    while let Some(chunk) = reader.next_chunk()? {
        sha256.update(&chunk);
    }
    Ok(sha256.finalize().into())
}
