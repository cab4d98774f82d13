//! What is noted of packs that were removed, so that a backup can tell them from packs that were lost.

use std::collections::BTreeSet;

use super::packs::Damage;
use super::packs::footer::Place;
use super::{ReadError, Shelf, Store, SweepError, WriteError, locked};

impl Store {
    /// The packs that are known to be damaged, and those that were removed because nothing in them was needed. A note that cannot be read
    /// makes a backup keep what it has.
    pub(super) fn packs_noted(&self) -> (BTreeSet<u32>, BTreeSet<u32>) {
        let noted = |shelf| {
            let notes = self.records(shelf, &[], &[], usize::MAX).unwrap_or_else(|error| {
                tracing::warn!(%error, "what is noted of packs cannot be read");
                Vec::new()
            });
            let packs = notes.into_iter().filter_map(|(key, _)| key.first_chunk::<4>().copied());
            packs.map(u32::from_be_bytes).collect::<BTreeSet<_>>()
        };
        let (mut damaged, reclaimed) = (noted(Shelf::Damage), noted(Shelf::Reclaimed));
        damaged.extend(locked(&self.inner.damage).iter().map(|damage| damage.pack));
        (damaged.difference(&reclaimed).copied().collect(), reclaimed)
    }

    /// Whether bytes of a pack are noted that are not what was written.
    pub(super) fn is_damage_noted_in(&self, pack: u32) -> Result<bool, ReadError> {
        Ok(!self.records(Shelf::Damage, &pack.to_be_bytes(), &[], 1)?.is_empty())
    }

    /// Notes that a pack is removed because nothing in it is needed any more; where bytes of it may be damaged that nobody found yet a backup
    /// keeps its copy instead.
    pub(super) fn note_reclaimed(&self, pack: u32, unread: &[Place]) -> Result<(), SweepError> {
        if !self.is_accounted_for(pack, unread)? {
            return Ok(());
        }
        match self.put_record(Shelf::Reclaimed, &pack.to_be_bytes(), &[]) {
            // A backup that keeps a pack for nothing is no reason to keep it on a full disk.
            Err(error @ WriteError::DiskFull { .. }) => {
                tracing::warn!(%error, pack, "it could not be noted that a pack was removed");
                Ok(())
            }
            noted => Ok(noted?),
        }
    }

    /// Whether each byte of a pack lies in a record that was read or is needed no more, or where damage is noted.
    fn is_accounted_for(&self, pack: u32, unread: &[Place]) -> Result<bool, ReadError> {
        let mut gaps = self.inner.packs.unlisted(pack).map_err(|error| self.unreadable(error))?;
        gaps.extend(
            unread.iter().map(|place| (place.offset, place.offset.saturating_add(place.header.span()))),
        );
        let mut noted = Vec::new();
        for (_, value) in self.records(Shelf::Damage, &pack.to_be_bytes(), &[], usize::MAX)? {
            noted.push(self.understood::<Damage>(&value)?);
        }
        // They are in order, and one stretch may take several of them.
        let reached = |from: u64| {
            noted.iter().fold(from, |at, one| match one.offset <= at {
                true => at.max(one.offset.saturating_add(one.bytes)),
                false => at,
            })
        };
        Ok(gaps.iter().all(|(from, end)| reached(*from) >= *end))
    }
}
