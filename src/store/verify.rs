//! Reading everything that is kept and checking it against its hash: all at once, or a little at a time.

mod deep;
mod words;

use protocol::id::{BlobId, LogId};
use serde::{Deserialize, Serialize};

use super::damage::Loss;
use super::keys::{BlobEntry, Location};
use super::life::{Copies, Life};
use super::packs::record::Kind;
use super::packs::scan::Found;
use super::packs::{Damage, footer::Place};
use super::{BlobState, Store, SweepError, locked};

pub use deep::Deep;

/// How far a verification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    pub bytes_done: u64,
    pub bytes_total: u64,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
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
    /// FORMAT was not what it should be, and was written again.
    pub format_mended: bool,
}

/// Where a scrub goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ScrubPlace {
    pack: u32,
    offset: u64,
}

/// One stretch of a scrub.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scrubbed {
    /// Where to go on; none where everything was read.
    pub next: Option<ScrubPlace>,
    /// Bytes read.
    pub bytes: u64,
    pub loss: Loss,
    /// The index had lost something that was said, and was built anew.
    pub index_mended: bool,
}

/// What was found in a stretch of a pack.
#[derive(Debug, Default)]
struct Findings {
    records: u64,
    bytes: u64,
    damage: Vec<Damage>,
    spoilt: Vec<(u32, Place)>,
}

impl Findings {
    fn take(&mut self, pack: u32, found: &Found) {
        let span = match found {
            Found::Record { place } => {
                self.records = self.records.saturating_add(1);
                place.header.span()
            }
            Found::Spoilt { place } => {
                self.spoilt.push((pack, *place));
                place.header.span()
            }
            Found::Hole { offset, end } => end.saturating_sub(*offset),
        };
        self.damage.extend(Damage::of(pack, found));
        self.bytes = self.bytes.saturating_add(span);
    }
}

impl Store {
    /// Reads every record and checks every blob; marks what is damaged as missing. `progress` is called after each record.
    ///
    /// # Errors
    /// When the disk fails other than by giving wrong bytes, or takes no notes of what is damaged.
    pub fn verify(&self, mut progress: impl FnMut(Progress)) -> Result<Verified, SweepError> {
        self.look_after_rebuild()?;
        let mut verified = Verified { format_mended: self.mend_format()?, ..Verified::default() };
        let packs = self.inner.packs.all();
        let mut told = Progress::default();
        for (_, file, end) in &packs {
            let bytes = file.bytes().map_err(|error| self.unreadable(error))?;
            told.bytes_total = told.bytes_total.saturating_add(end.unwrap_or(bytes));
        }
        for (number, file, end) in packs {
            let mut findings = Findings::default();
            let check = self.inner.packs.check(number, &*file, end, (0, u64::MAX), |found| {
                let before = findings.bytes;
                findings.take(number, found);
                let done = told.bytes_done.saturating_add(findings.bytes.saturating_sub(before));
                told.bytes_done = done.min(told.bytes_total);
                progress(told);
            });
            check.map_err(|error| self.unreadable(error))?;
            verified.packs = verified.packs.saturating_add(1);
            verified.records = verified.records.saturating_add(findings.records);
            verified.bytes = verified.bytes.saturating_add(findings.bytes);
            verified.damage.extend(findings.damage.iter().cloned());
            let loss = self.condemn(findings.damage, &findings.spoilt)?;
            verified.blobs_lost.extend(loss.blobs);
            verified.logs_set_back.extend(loss.logs);
        }
        let (whole, gone) = self.verify_blobs()?;
        verified.blobs = whole;
        verified.blobs_lost.extend(gone);
        verified.logs_set_back.extend(self.set_back_damaged(&[])?);
        // Whatever was stepped over is noted by now, or is not there any more.
        locked(&self.inner.damage).clear();
        progress(Progress { bytes_done: told.bytes_total, ..told });
        Ok(verified)
    }

    /// Reads and checks some more, about `bytes_max`, from where a scrub goes on, and whether the index has what was said there. At the end of all
    /// packs the blobs are looked over too.
    ///
    /// # Errors
    /// As [`Store::verify`].
    pub fn scrub(&self, from: ScrubPlace, bytes_max: u64) -> Result<Scrubbed, SweepError> {
        self.look_after_rebuild()?;
        let packs = self.inner.packs.all();
        let Some((number, file, end)) = packs.into_iter().find(|pack| pack.0 >= from.pack) else {
            let (_, blobs) = self.verify_blobs()?;
            self.mend_format()?;
            let loss = Loss { blobs, logs: self.set_back_damaged(&[])?, ..Loss::default() };
            return Ok(Scrubbed { loss, ..Scrubbed::default() });
        };
        let offset = if number == from.pack { from.offset } else { 0 };
        let (mut findings, mut ops) = (Findings::default(), Vec::new());
        let next = self.inner.packs.check(number, &*file, end, (offset, bytes_max), |found| {
            findings.take(number, found);
            if let Found::Record { place } = found
                && place.header.kind == Kind::Ops
            {
                ops.push(*place);
            }
        });
        let next = match next.map_err(|error| self.unreadable(error))? {
            Some(offset) => ScrubPlace { pack: number, offset },
            None => ScrubPlace { pack: number.saturating_add(1), offset: 0 },
        };
        let loss = self.condemn(findings.damage, &findings.spoilt)?;
        let index_mended = self.look_for_lost_words(number, &ops)?;
        Ok(Scrubbed { next: Some(next), bytes: findings.bytes, loss, index_mended })
    }

    /// Reads and checks single records.
    pub(super) fn checked_at(&self, places: &[Location]) -> Result<Loss, SweepError> {
        let packs = self.inner.packs.all();
        let mut findings = Findings::default();
        for at in places {
            let Some((number, file, end)) = packs.iter().find(|pack| pack.0 == at.pack) else { continue };
            let check = self.inner.packs.check(*number, &**file, *end, (at.offset, 1), |found| {
                findings.take(*number, found);
            });
            check.map_err(|error| self.unreadable(error))?;
        }
        self.condemn(findings.damage, &findings.spoilt)
    }

    /// Looks for each blob's records. Gives how many are whole, and those that counted as whole though a pack of theirs is gone.
    fn verify_blobs(&self) -> Result<(u64, Vec<BlobId>), SweepError> {
        let (mut whole, mut gone) = (0_u64, Vec::new());
        for blob in self.blobs() {
            let (blob, entry) = blob?;
            // Where its pack is there and nothing damaged lies in it, a loss of power took it before it was acknowledged.
            let counted = match entry {
                BlobEntry::Small { at } => !self.inner.packs.has(at.pack),
                BlobEntry::Large { complete, .. } => complete,
            };
            if matches!(self.looked_over(blob, entry)?, BlobState::Complete { .. }) {
                whole = whole.saturating_add(1);
            } else if counted {
                gone.push(blob);
            }
        }
        self.note_lost(&gone)?;
        Ok((whole, gone))
    }

    /// Writes FORMAT and its spare again where one is not what this store was opened with: without it no record can be told from other bytes.
    fn mend_format(&self) -> Result<bool, SweepError> {
        let disk = self.inner.packs.disk();
        if matches!(Life::read(disk), Ok(Some((life, Copies::Whole))) if life == self.inner.life) {
            return Ok(false);
        }
        tracing::error!(folder = self.folder(), "FORMAT or FORMAT.spare was damaged and is written again");
        let written = self.inner.life.write(disk);
        written.map_err(|error| self.inner.packs.fault("writing FORMAT", error))?;
        Ok(true)
    }
}
