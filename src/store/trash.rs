//! Trash: bytes that nothing here needs any more stay for a grace time, so that a deletion can be taken back without sending them again.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use protocol::id::BlobId;
use protocol::log::NamedOp;
use protocol::op::Body;
use protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::keys;
use super::records::Shelf;
use super::sweep::{SweepError, Swept, plus};
use super::{AppendError, BlobState, Look, ReadError, Store, locked};

/// Since when a blob lies in the trash, by this site's clock.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Trashed {
    since: Timestamp,
    bytes: u64,
}

/// What lies in the trash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct InTrash {
    pub blobs: u64,
    pub bytes: u64,
}

impl Store {
    /// A sweep that drops nothing that lies in the trash for less than `grace_ms`. What an op names goes to the trash first; bytes
    /// that no op ever named have no use there.
    ///
    /// # Errors
    /// See [`SweepError`].
    pub fn sweep_after(
        &self,
        look: Look,
        grace_ms: u64,
        dry_run: bool,
    ) -> Result<(Swept, InTrash), SweepError> {
        let known = self.trashed()?;
        let (mut new, mut held, mut kept) = (Vec::new(), InTrash::default(), BTreeMap::new());
        let mut failed = None;
        let swept = self.sweep(look, dry_run, |blob, bytes| {
            match self.uses(blob, 1) {
                Ok(uses) if uses.is_empty() => return false,
                Ok(_) => {}
                Err(error) => {
                    failed = Some(error);
                    return true;
                }
            }
            let note = known.get(&blob).copied().unwrap_or(Trashed { since: look.now, bytes });
            let keep = look.now < note.since || look.now.0.saturating_sub(note.since.0) < grace_ms;
            if keep {
                plus(&mut held.blobs, 1);
                plus(&mut held.bytes, bytes);
                kept.insert(blob, ());
                if !known.contains_key(&blob) {
                    new.push((blob.as_bytes().to_vec(), Some(keys::encode(&note))));
                }
            }
            keep
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        if !dry_run {
            // What was dropped, and what something needs again: a later deletion begins a time of its own.
            let over = known.keys().filter(|blob| !kept.contains_key(*blob));
            new.extend(over.map(|blob| (blob.as_bytes().to_vec(), None)));
            self.write_records(Shelf::Trash, new)?;
        }
        Ok((swept, held))
    }

    /// Drops everything that nothing needs and that some op names, however short it was there.
    ///
    /// # Errors
    /// See [`SweepError`].
    pub fn empty_trash(&self, look: Look) -> Result<Swept, SweepError> {
        {
            // An upload that no op names yet is not trash. Of one that an op does name, a publish that is under way holds the blob.
            let mut touched = locked(&self.inner.touched);
            for blob in touched.all() {
                if !self.uses(blob, 1)?.is_empty() {
                    touched.forget(blob);
                }
            }
        }
        let mut failed = None;
        let swept = self.sweep(look, false, |blob, _| match self.uses(blob, 1) {
            Ok(uses) => uses.is_empty(),
            Err(error) => {
                failed = Some(error);
                true
            }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        let over = self.trashed()?.into_keys().map(|blob| (blob.as_bytes().to_vec(), None));
        self.write_records(Shelf::Trash, over.collect::<Vec<_>>())?;
        Ok(swept)
    }

    /// What ops name that are about to be stored leaves the trash: a delete that follows before the next sweep begins a time of its own.
    pub(super) fn leave_trash<'a>(&self, ops: impl Iterator<Item = &'a NamedOp>) -> Result<(), AppendError> {
        if self.last_record_key(Shelf::Trash)?.is_none() {
            return Ok(());
        }
        let mut over = Vec::new();
        for named in ops {
            let Body::Publish(publish) = &named.op.body else { continue };
            for file in &publish.manifest.files {
                if self.record(Shelf::Trash, file.blob.as_bytes())?.is_some() {
                    over.push((file.blob.as_bytes().to_vec(), None));
                }
            }
        }
        Ok(self.write_records(Shelf::Trash, over)?)
    }

    /// When bytes went to the trash, if they were seen there.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn trashed_since(&self, blob: BlobId) -> Result<Option<Timestamp>, ReadError> {
        let value = self.record(Shelf::Trash, blob.as_bytes())?;
        Ok(value.map(|value| self.understood::<Trashed>(&value)).transpose()?.map(|note| note.since))
    }

    /// What lay in the trash at the last sweep and still does.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn in_trash(&self) -> Result<InTrash, ReadError> {
        let mut held = InTrash::default();
        for (blob, note) in self.trashed()? {
            if self.blob_state(blob)? != BlobState::Missing {
                plus(&mut held.blobs, 1);
                plus(&mut held.bytes, note.bytes);
            }
        }
        Ok(held)
    }

    fn trashed(&self) -> Result<BTreeMap<BlobId, Trashed>, ReadError> {
        let mut trashed = BTreeMap::new();
        for (key, value) in self.records(Shelf::Trash, &[], &[], usize::MAX)? {
            if let Ok(blob) = keys::blob_of(&key) {
                trashed.insert(blob, self.understood(&value)?);
            }
        }
        Ok(trashed)
    }
}
