//! Damage, from its finding to its end: what it took is noted and wanted again, and once everything is back its packs are written anew.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use protocol::id::{BlobId, FeedId, LogId, SiteId};
use protocol::outline::Cv;
use protocol::time::Timestamp;

use super::keys::{self, BatchEntry, BlobEntry, Location, Tree};
use super::packs::Damage;
use super::packs::footer::Place;
use super::packs::record::Kind;
use super::records::Shelf;
use super::sweep::{Dropped, plus};
use super::{BlobState, Cause, Look, ReadError, Store, SweepError, locked, spares, walk};

/// Findings kept for whoever asks what was found; more than that is a disk to be replaced.
const FINDINGS_MAX: usize = 1024;

/// What damage took.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Loss {
    /// Bytes that are not what was written, and were not noted before.
    pub places: Vec<Damage>,
    /// Blobs that counted as whole and are not.
    pub blobs: Vec<BlobId>,
    /// Logs that were set back to before a damaged batch.
    pub logs: Vec<LogId>,
}

/// What damage has taken and what has not come back yet.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Open {
    /// Damaged bytes that still lie in the packs.
    pub places: Vec<Damage>,
    /// Blobs that something here needs.
    pub blobs: Vec<BlobId>,
    /// Logs that are shorter than they were.
    pub logs: Vec<LogId>,
}

impl Open {
    /// Whether nothing is to be mended.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        self.places.is_empty() && self.blobs.is_empty() && self.logs.is_empty()
    }
}

/// What mending came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Mended {
    /// Blobs that are whole again.
    pub blobs: u64,
    /// Packs that were written anew without the damaged bytes.
    pub packs: u64,
}

/// Places remembered at which readers came upon damage. What is read there again is remembered again.
const SUSPECTS_MAX: usize = 256;

/// Findings that nobody was told of yet, and places at which a reader could not read and that nobody looked into yet.
#[derive(Debug, Default)]
pub(super) struct Findings {
    untold: Vec<Damage>,
    suspects: Vec<Location>,
}

fn place_key(pack: u32, offset: u64) -> Vec<u8> {
    keys::joined(&[&pack.to_be_bytes(), &offset.to_be_bytes()])
}

impl Store {
    /// What was found damaged since the last call.
    #[must_use]
    pub fn damage_found(&self) -> Vec<Damage> {
        std::mem::take(&mut locked(&self.inner.findings).untold)
    }

    /// A reader of ops or of a record found other bytes there than were written. It may hold locks, so that what they took is found out
    /// later, by [`Store::look_into_damage`].
    pub(super) fn suspect(&self, at: Location) {
        let mut findings = locked(&self.inner.findings);
        if findings.suspects.len() < SUSPECTS_MAX && !findings.suspects.contains(&at) {
            findings.suspects.push(at);
        }
    }

    /// Looks into what readers of ops came upon since the last call: what is damaged is noted and wanted again, as if a scrub had found it. Packs
    /// that somebody removed under this process are written anew.
    ///
    /// # Errors
    /// As [`Store::verify`].
    pub fn look_into_damage(&self) -> Result<Loss, SweepError> {
        self.look_after_rebuild()?;
        for (pack, bytes) in self.write_removed_anew()? {
            self.tell(&[Damage { pack, offset: 0, bytes, record: None }]);
        }
        let suspects = std::mem::take(&mut locked(&self.inner.findings).suspects);
        if suspects.is_empty() { Ok(Loss::default()) } else { self.checked_at(&suspects) }
    }

    /// Notes what is damaged and not noted yet, and has everything wanted again that it took.
    pub(super) fn condemn(&self, found: Vec<Damage>, spoilt: &[(u32, Place)]) -> Result<Loss, SweepError> {
        let unknown = self.with_index(|index| Ok(spares::leave_unknown(index, &found)))?;
        self.write_spares(&found)?;
        let mut loss = Loss::default();
        for damage in &found {
            if self.record(Shelf::Damage, &place_key(damage.pack, damage.offset))?.is_none()
                && self.inner.packs.has(damage.pack)
            {
                loss.places.push(damage.clone());
            }
        }
        if loss.places.is_empty() {
            // The notes outlive a loss of power, and the index may have forgotten what they took out of it.
            self.reopen_gaps(&found)?;
            loss.logs = self.set_back_damaged(&found)?;
            return Ok(loss);
        }
        (loss.blobs, loss.logs) = self.take_out(&loss.places, spoilt, unknown)?;
        self.note_damage(&loss.places)?;
        Ok(loss)
    }

    /// Packs that are gone or were cut short: what they held is wanted again, and what this site noted in them is written anew as the index has
    /// it. Without that an index that is built from what is left would know no more that a token was revoked or a feed made.
    pub(super) fn bear_losses(&self) -> Result<(), SweepError> {
        let places = self.inner.index.lost();
        if places.is_empty() {
            return Ok(());
        }
        self.inner.packs.leave(&places)?;
        // The stock is of the last checkpoint: nobody knows how far beyond it the pack went.
        let beyond = |place: &Damage| Damage { bytes: u64::MAX, ..place.clone() };
        let beyond: Vec<Damage> = places.iter().map(beyond).collect();
        self.mistrust_lost(&beyond)?;
        self.write_spares(&beyond)?;
        self.take_out(&places, &[], true)?;
        self.set_back_damaged(&beyond)?;
        self.note_damage(&places)?;
        self.inner.index.losses_are_borne();
        Ok(())
    }

    /// Where a batch lay in packs that are gone: the index knows how long logs were. Should it be lost as well nothing else would: of rot the damaged
    /// bytes are left to tell of it. And it may know less than the packs said, as does one that was built anew since.
    pub(super) fn mistrust_lost(&self, places: &[Damage]) -> Result<(), SweepError> {
        if !self.inner.index.lost().is_empty() && (self.is_over_damage()? || self.batch_lies_in(places)?) {
            self.awaken(Cause::SetBack, Timestamp::default())?;
        }
        Ok(())
    }

    /// Whether the index was built from packs of which a part could not be read or was gone.
    fn is_over_damage(&self) -> Result<bool, ReadError> {
        Ok(self.with_index(|index| index.value(Tree::About, keys::OVER_DAMAGE))?.is_some())
    }

    fn batch_lies_in(&self, places: &[Damage]) -> Result<bool, ReadError> {
        for batch in self.walk(Tree::Batch, &[], walk::keyed) {
            let (_, BatchEntry { at, .. }): (Vec<u8>, _) = batch?;
            if places.iter().any(|place| place.covers(at)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Has everything wanted again that lay in those places. Gives the blobs that counted as whole, and the logs that were set back. It may
    /// be `unknown` what lay there.
    fn take_out(
        &self,
        places: &[Damage],
        spoilt: &[(u32, Place)],
        unknown: bool,
    ) -> Result<(Vec<BlobId>, Vec<LogId>), SweepError> {
        let mut gone: Vec<Dropped> = Vec::new();
        for (pack, place) in spoilt {
            let extent = place.header.kind == Kind::Extent;
            if extent || matches!(place.header.kind, Kind::Blob | Kind::Outline) {
                gone.push(Dropped { extent, id: place.header.id, at: place.location(*pack) });
            }
        }
        let holes: Vec<&Damage> = places.iter().filter(|damage| damage.record.is_none()).collect();
        if !holes.is_empty() {
            gone.extend(self.pointed_into(Tree::Blob, &holes)?);
            gone.extend(self.pointed_into(Tree::Extent, &holes)?);
        }
        let mut blobs = self.forget_places(&gone)?;
        blobs.extend(self.never_known(&gone, unknown)?);
        // So that an index built anew does not take the damaged bytes for whole.
        self.write_drops(&gone)?;
        let meta = spoilt.iter().any(|(_, place)| place.header.kind == Kind::Meta) || !holes.is_empty();
        if meta {
            self.mend_records()?;
        }
        self.reopen_gaps(places)?;
        let logs = self.set_back_damaged(places)?;
        self.note_lost(&blobs)?;
        Ok((blobs, logs))
    }

    /// Blobs that an index which was built anew over the damage never knew to be here: those whose records are spoilt; and where it is unknown what
    /// lay there, all that are wanted.
    fn never_known(&self, gone: &[Dropped], unknown: bool) -> Result<Vec<BlobId>, ReadError> {
        if !self.is_over_damage()? {
            return Ok(Vec::new());
        }
        let named: BTreeSet<BlobId> =
            gone.iter().filter(|dropped| !dropped.extent).map(|dropped| BlobId(dropped.id)).collect();
        let mut lost = BTreeSet::new();
        for blob in self.walk(Tree::Want, &[], |key, _| keys::blob_of_want(key)) {
            let blob = blob?;
            if (unknown || named.contains(&blob)) && self.blob_state(blob)? == BlobState::Missing {
                lost.insert(blob);
            }
        }
        Ok(lost.into_iter().collect())
    }

    /// Notes damaged places until they are mended. Of a pack that is gone there is nothing to be written anew; but a backup may have it.
    fn note_damage(&self, places: &[Damage]) -> Result<(), SweepError> {
        let note = |damage: &Damage| (place_key(damage.pack, damage.offset), Some(keys::encode(damage)));
        let (here, gone): (Vec<_>, Vec<_>) =
            places.iter().partition(|damage| self.inner.packs.has(damage.pack));
        self.write_records(Shelf::Damage, here.into_iter().map(note))?;
        self.write_records(Shelf::LostPacks, gone.into_iter().map(note))?;
        self.tell(places);
        Ok(())
    }

    fn tell(&self, found: &[Damage]) {
        let mut findings = locked(&self.inner.findings);
        let room = FINDINGS_MAX.saturating_sub(findings.untold.len());
        findings.untold.extend(found.iter().take(room).cloned());
    }

    /// Notes blobs that are not whole any more: their bytes are wanted whatever stands of what names them.
    pub(super) fn note_lost(&self, blobs: &[BlobId]) -> Result<(), SweepError> {
        let note = |blob: &BlobId| (blob.as_bytes().to_vec(), Some(Vec::new()));
        Ok(self.write_records(Shelf::Lost, blobs.iter().map(note))?)
    }

    /// Whether a blob was here and its bytes were lost.
    pub(super) fn was_lost(&self, blob: BlobId) -> Result<bool, ReadError> {
        Ok(self.record(Shelf::Lost, blob.as_bytes())?.is_some())
    }

    /// What the index says lies in those bytes.
    fn pointed_into(&self, tree: Tree, holes: &[&Damage]) -> Result<Vec<Dropped>, ReadError> {
        let read: fn(&[u8], &[u8]) -> _ = if tree == Tree::Blob {
            |key, value| Ok((keys::blob_of(key)?.0, keys::location(Tree::Blob, value)?))
        } else {
            |key, value| Ok((keys::blob_of(key)?.0, keys::location(Tree::Extent, value)?))
        };
        let mut inside = Vec::new();
        for entry in self.walk(tree, &[], read) {
            if let (id, Some(at)) = entry?
                && holes.iter().any(|hole| hole.covers(at))
            {
                inside.push(Dropped { extent: tree == Tree::Extent, id, at });
            }
        }
        Ok(inside)
    }

    /// Takes places out of the index and has what lay there fetched again. Gives the blobs that were whole until now.
    fn forget_places(&self, gone: &[Dropped]) -> Result<Vec<BlobId>, ReadError> {
        let mut lost = Vec::new();
        let mut extents = BTreeSet::new();
        for Dropped { extent, id, at } in gone {
            if *extent {
                self.mark_extent_missing(&Cv(*id), *at)?;
                extents.insert(*id);
                continue;
            }
            let blob = BlobId(*id);
            let whole = match self.blob_entry(blob)? {
                Some(BlobEntry::Small { at: now }) => now == *at,
                Some(BlobEntry::Large { outline, complete, .. }) => outline == *at && complete,
                None => false,
            };
            locked(&self.inner.partials).forget(blob);
            self.mark_blob_missing(blob, *at)?;
            if whole {
                lost.push(blob);
            }
        }
        if !extents.is_empty() {
            for blob in self.blobs() {
                let (blob, entry) = blob?;
                let BlobEntry::Large { complete, .. } = entry else { continue };
                // One whose pack was written anew is not marked as whole before somebody looks.
                if !matches!(self.looked_over(blob, entry)?, BlobState::Complete { .. })
                    && (complete || self.lacks_only(blob, &extents)?)
                {
                    lost.push(blob);
                }
            }
        }
        Ok(lost)
    }

    /// Whether a blob would be whole with these extents.
    fn lacks_only(&self, blob: BlobId, extents: &BTreeSet<[u8; 32]>) -> Result<bool, ReadError> {
        let Some(outline) = self.outline(blob)? else { return Ok(false) };
        let cv = |index: u32| outline.extents.get(usize::try_from(index).ok()?);
        Ok(self.missing(blob)?.into_iter().all(|index| cv(index).is_some_and(|cv| extents.contains(&cv.0))))
    }

    /// What is held of a blob, by looking for each of its records, and marking as missing what is not there.
    pub(super) fn looked_over(&self, blob: BlobId, entry: BlobEntry) -> Result<BlobState, ReadError> {
        match entry {
            BlobEntry::Small { at } if !self.holds(Kind::Blob, blob.0, at)? => {
                self.mark_blob_missing(blob, at)?;
            }
            BlobEntry::Large { outline, .. } if !self.holds(Kind::Outline, blob.0, outline)? => {
                locked(&self.inner.partials).forget(blob);
                self.mark_blob_missing(blob, outline)?;
            }
            BlobEntry::Large { complete, .. } => {
                if !self.missing(blob)?.is_empty() {
                    if complete {
                        self.mark_complete(blob, false)?;
                    } else {
                        self.want_again(blob)?;
                    }
                }
            }
            BlobEntry::Small { .. } => {}
        }
        self.blob_state(blob)
    }

    /// Sets back the logs of which a batch lies in damaged bytes, or in a pack that is gone, and that cannot be read to their end.
    pub(super) fn set_back_damaged(&self, damage: &[Damage]) -> Result<Vec<LogId>, ReadError> {
        let (mut logs, mut batches) = (BTreeSet::new(), Vec::new());
        for batch in self.walk(Tree::Batch, &[], walk::keyed) {
            let (key, BatchEntry { at, .. }): (Vec<u8>, _) = batch?;
            if damage.iter().any(|damage| damage.covers(at)) || !self.inner.packs.has(at.pack) {
                logs.insert(self.with_index(|_| keys::log_of(&key))?);
                batches.push(key);
            }
        }
        logs.extend(self.holed_logs()?);
        // Damage that was mended stays in its pack and harms nobody.
        let mut back = Vec::new();
        for log in logs {
            if self.batches(log, 0, u64::MAX).is_err() && self.set_back(log).is_ok() {
                back.push(log);
            }
        }
        self.forget_damaged_batches(&batches)?;
        Ok(back)
    }

    /// Whether something here needs a blob. Where the op that says so is itself damaged, it counts as needed.
    fn is_still_needed(&self, blob: BlobId, look: Look) -> Result<bool, ReadError> {
        match self.is_needed(blob, look) {
            Err(ReadError::CorruptRecord { .. }) => Ok(true),
            needed => needed,
        }
    }

    /// What damage has taken and what has not come back.
    ///
    /// # Errors
    /// When the disk fails, or the bytes of an op are damaged.
    pub fn open_damage(&self, look: Look) -> Result<Open, ReadError> {
        let mut open = Open::default();
        for (_, value) in self.records(Shelf::Damage, &[], &[], usize::MAX)? {
            let damage: Damage = self.understood(&value)?;
            if self.inner.packs.has(damage.pack) {
                open.places.push(damage);
            }
        }
        for (key, _) in self.records(Shelf::Lost, &[], &[], usize::MAX)? {
            let Ok(blob) = keys::blob_of(&key) else { continue };
            if !matches!(self.blob_state(blob)?, BlobState::Complete { .. })
                && self.is_still_needed(blob, look)?
            {
                open.blobs.push(blob);
            }
        }
        open.logs = self.lacking_under(&[])?.into_iter().map(|(log, _)| log).collect();
        Ok(open)
    }

    /// The logs of which less is held than once was.
    ///
    /// # Errors
    /// The disk failed.
    pub fn short_logs(&self) -> Result<Vec<LogId>, ReadError> {
        self.short_under(&[]).map(|short| short.map(|(log, ..)| log)).collect()
    }

    /// The logs under a prefix of which an end is lacking that may come back, in order, each with the number of ops. What lies behind the
    /// place where a log was cut counts nowhere, and nobody sends it.
    ///
    /// # Errors
    /// The disk failed, or the bytes of an op about rights are damaged.
    fn lacking_under(&self, prefix: &[u8]) -> Result<Vec<(LogId, u64)>, ReadError> {
        let mut lacking = Vec::new();
        for short in self.short_under(prefix) {
            let (log, held, longest) = short?;
            let cut = self.authority(log.feed)?.and_then(|authority| authority.cut(log));
            let ops = cut.map_or(longest, |cut| cut.len().min(longest)).saturating_sub(held);
            if ops > 0 {
                lacking.push((log, ops));
            }
        }
        Ok(lacking)
    }

    /// The logs of an author in a feed of which an end is lacking that may come back, in order of their epochs, each with the number of ops.
    ///
    /// # Errors
    /// The disk failed, or the bytes of an op about rights are damaged.
    pub fn lacking_logs_of(&self, feed: FeedId, author: SiteId) -> Result<Vec<(LogId, u64)>, ReadError> {
        self.lacking_under(&keys::joined(&[feed.as_bytes(), author.as_bytes()]))
    }

    /// The logs that are shorter than they were: how far they are held, and how far they were once.
    fn short_under(&self, prefix: &[u8]) -> impl Iterator<Item = Result<(LogId, u64, u64), ReadError>> {
        let logs = self.walk(Tree::Log, prefix, |key, value| {
            let entry: keys::LogEntry = keys::decode(value)?;
            Ok((keys::log_of(key)?, entry.after.len(), entry.longest))
        });
        logs.filter(|log| log.as_ref().map_or(true, |(_, held, longest)| held < longest))
    }

    /// Forgets what has come back. Once nothing is missing any more, the packs with damaged bytes are written anew without them: until then
    /// they stay, for whoever can read more out of them.
    ///
    /// # Errors
    /// See [`SweepError`]; also when the disk has no room for what must be moved.
    pub fn mend(&self, look: Look) -> Result<Mended, SweepError> {
        let mut mended = Mended::default();
        let mut back = Vec::new();
        for (key, _) in self.records(Shelf::Lost, &[], &[], usize::MAX)? {
            let Ok(blob) = keys::blob_of(&key) else { continue };
            if matches!(self.blob_state(blob)?, BlobState::Complete { .. }) {
                plus(&mut mended.blobs, 1);
                back.push((key, None));
            } else if !self.is_still_needed(blob, look)? {
                back.push((key, None));
            }
        }
        if !back.is_empty() {
            // They are durable before it is forgotten that they were lost.
            self.sync()?;
            self.write_records(Shelf::Lost, back)?;
        }
        let open = self.open_damage(look)?;
        // A loss of power may have made the index forget that logs were set back.
        self.reopen_gaps(&open.places)?;
        let again = self.set_back_damaged(&open.places)?;
        if open.blobs.is_empty() && open.logs.is_empty() && again.is_empty() {
            let packs: BTreeSet<u32> = open.places.iter().map(|damage| damage.pack).collect();
            for pack in packs {
                self.write_anew(pack)?;
                plus(&mut mended.packs, 1);
            }
        }
        let over = self.records(Shelf::Damage, &[], &[], usize::MAX)?.into_iter().filter(|(key, _)| {
            let pack = key.first_chunk::<4>().map(|pack| u32::from_be_bytes(*pack));
            pack.is_none_or(|pack| !self.inner.packs.has(pack))
        });
        let over: Vec<_> = over.map(|(key, _)| (key, None)).collect();
        if !over.is_empty() {
            self.write_records(Shelf::Damage, over)?;
        }
        Ok(mended)
    }

    /// Whether a record lies there whose header holds and whose payload does not: an index may also point to what a loss of power took.
    pub(super) fn is_spoilt(&self, kind: Kind, id: [u8; 32], at: Location) -> Result<bool, ReadError> {
        let read = self.inner.packs.read(at).map_err(|error| self.unreadable(error))?;
        Ok(read.is_none() && self.holds(kind, id, at)?)
    }

    /// A reader came upon damage.
    pub(super) fn condemn_at(&self, kind: Kind, id: [u8; 32], at: Location) -> Result<(), ReadError> {
        if !self.is_spoilt(kind, id, at)? {
            return Ok(());
        }
        let Some(header) = self.inner.packs.header(at).map_err(|error| self.unreadable(error))? else {
            return Ok(());
        };
        let place = Place { header, offset: at.offset };
        let damage = Damage::of(at.pack, &super::packs::scan::Found::Spoilt { place });
        // A disk that takes no notes is no reason to read no further: a scrub finds the damage again.
        if let Err(error) = self.condemn(damage.into_iter().collect(), &[(at.pack, place)]) {
            tracing::warn!(%error, "damage could not be noted");
        }
        Ok(())
    }
}
