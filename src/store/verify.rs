//! Reading everything that is kept and checking it against its hash.

use std::collections::BTreeSet;

use protocol::id::{BlobId, LogId};
use protocol::outline::Cv;

use super::engine::Broken;
use super::keys::{self, BatchEntry, BlobEntry, Tree};
use super::packs::record::Kind;
use super::packs::scan::Found;
use super::packs::{Damage, footer::Place};
use super::{ReadError, Store};

/// Blobs looked at under one hold of the index.
const PAGE_BLOBS: usize = 256;

/// How far a verification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    pub bytes_done: u64,
    pub bytes_total: u64,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Verified {
    pub packs: u64,
    /// Records whose header and payload are whole.
    pub records: u64,
    /// Bytes of packs read.
    pub bytes: u64,
    /// Blobs held whole.
    pub blobs: u64,
    /// Bytes that are not what was written.
    pub damage: Vec<Damage>,
    /// Blobs that counted as whole and are not: they are marked missing and a sync brings them again.
    pub blobs_lost: Vec<BlobId>,
    /// Logs of which a batch is damaged: they are set back to before it and a sync brings the rest again.
    pub logs_set_back: Vec<LogId>,
}

impl Store {
    /// Reads every record and checks every blob; marks what is damaged as missing. `progress` is called after each record.
    ///
    /// # Errors
    /// When the disk fails other than by giving wrong bytes.
    pub fn verify(&self, mut progress: impl FnMut(Progress)) -> Result<Verified, ReadError> {
        let mut verified = Verified::default();
        let packs = self.inner.packs.all();
        let mut told = Progress::default();
        for (_, file, end) in &packs {
            let bytes = file.bytes().map_err(|error| self.unreadable(error))?;
            told.bytes_total = told.bytes_total.saturating_add(end.unwrap_or(bytes));
        }
        for (number, file, end) in packs {
            let mut spoilt = Vec::new();
            let check = self.inner.packs.check(number, &*file, end, |found| {
                let span = match found {
                    Found::Record { place } => {
                        verified.records = verified.records.saturating_add(1);
                        place.header.span()
                    }
                    Found::Spoilt { place } => {
                        spoilt.push(*place);
                        place.header.span()
                    }
                    Found::Hole { offset, end } => end.saturating_sub(*offset),
                };
                verified.damage.extend(Damage::of(number, found));
                verified.bytes = verified.bytes.saturating_add(span);
                told.bytes_done = told.bytes_done.saturating_add(span).min(told.bytes_total);
                progress(told);
            });
            check.map_err(|error| self.unreadable(error))?;
            verified.packs = verified.packs.saturating_add(1);
            for place in spoilt {
                self.mark_spoilt(number, &place, &mut verified)?;
            }
        }
        self.verify_blobs(&mut verified)?;
        self.reopen_gaps(&verified.damage)?;
        for log in self.damaged_logs(&verified.damage)? {
            if self.set_back(log).is_ok() {
                verified.logs_set_back.push(log);
            }
        }
        progress(Progress { bytes_done: told.bytes_total, ..told });
        Ok(verified)
    }

    fn mark_spoilt(&self, pack: u32, place: &Place, verified: &mut Verified) -> Result<(), ReadError> {
        let (id, at) = (place.header.id, place.location(pack));
        match place.header.kind {
            Kind::Extent => self.mark_extent_missing(&Cv(id), at),
            Kind::Blob | Kind::Outline => {
                let blob = BlobId(id);
                let before = self.blob_entry(blob)?;
                self.mark_blob_missing(blob, at)?;
                if before != self.blob_entry(blob)? {
                    verified.blobs_lost.push(blob);
                }
                Ok(())
            }
            Kind::Ops | Kind::Meta | Kind::Drop => Ok(()),
        }
    }

    /// The logs of which a batch lies in damaged bytes and that are held beyond it.
    fn damaged_logs(&self, damage: &[Damage]) -> Result<BTreeSet<LogId>, ReadError> {
        let mut logs = BTreeSet::new();
        let mut from = Vec::new();
        while !damage.is_empty() {
            let page = self.with_index(|index| {
                let page = index.page(Tree::Batch, &[], &from, PAGE_BLOBS)?;
                let entry = |(key, value): (Vec<u8>, Vec<u8>)| {
                    Ok((keys::log_of(&key)?, keys::decode::<BatchEntry>(&value)?, key))
                };
                page.into_iter().map(entry).collect::<Result<Vec<_>, Broken>>()
            })?;
            let Some((_, _, last)) = page.last() else { break };
            from = keys::after(last);
            for (log, BatchEntry { at, .. }, _) in page {
                if damage.iter().any(|damage| damage.covers(at)) {
                    logs.insert(log);
                }
            }
        }
        // Damage that was mended stays in its pack and harms nobody.
        let mut broken = BTreeSet::new();
        for log in logs {
            if self.batches(log, 0, u64::MAX).is_err() {
                broken.insert(log);
            }
        }
        Ok(broken)
    }

    fn verify_blobs(&self, verified: &mut Verified) -> Result<(), ReadError> {
        let mut from = Vec::new();
        loop {
            let page = self.with_index(|index| {
                let page = index.page(Tree::Blob, &[], &from, PAGE_BLOBS)?;
                let entry = |(key, value): (Vec<u8>, Vec<u8>)| {
                    Ok((keys::blob_of(&key)?, keys::decode::<BlobEntry>(&value)?))
                };
                page.into_iter().map(entry).collect::<Result<Vec<_>, _>>()
            })?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            from = keys::after(last.as_bytes());
            for (blob, entry) in page {
                self.verify_blob(blob, entry, verified)?;
            }
        }
    }

    fn verify_blob(&self, blob: BlobId, entry: BlobEntry, verified: &mut Verified) -> Result<(), ReadError> {
        let (whole, counted) = match entry {
            BlobEntry::Small { at } => {
                let whole = self.holds(Kind::Blob, blob.0, at)?;
                if !whole {
                    self.mark_blob_missing(blob, at)?;
                }
                // Where no damage lies, a loss of power took it before it was acknowledged.
                (whole, verified.damage.iter().any(|damage| damage.covers(at)))
            }
            BlobEntry::Large { complete, outline, .. } if self.holds(Kind::Outline, blob.0, outline)? => {
                let whole = self.missing(blob)?.is_empty();
                if complete && !whole {
                    self.mark_complete(blob, false)?;
                }
                (whole, complete)
            }
            BlobEntry::Large { complete, outline, .. } => {
                self.mark_blob_missing(blob, outline)?;
                (false, complete)
            }
        };
        if whole {
            verified.blobs = verified.blobs.saturating_add(1);
        } else if counted {
            verified.blobs_lost.push(blob);
        }
        Ok(())
    }
}
