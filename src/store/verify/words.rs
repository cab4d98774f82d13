//! Whether the index still has what was said: of the records of ops that a scrub passes, what each means for what stands.
//!
//! A bit of the index's own files that flips may cost it an entry without a sign. What is lost of bytes is fetched again; what is lost of a deletion
//! or a right would undo it.

#[cfg(test)]
mod tests;

use std::sync::PoisonError;

use super::super::engine::{Broken, Index};
use super::super::keys::{self, Location, Tree};
use super::super::packs::footer::Place;
use super::super::replay::Changes;
use super::super::{SweepError, gaps, ops, strays};
use super::Store;

/// Whether the index lacks a part of what a record of ops means, which it had once it held the log so far.
fn is_lost(index: &dyn Index, at: Location, payload: &[u8]) -> Result<bool, Broken> {
    let Some(log) = gaps::log_of(payload).or_else(|| Some(ops::take_apart(payload)?.head().head.log)) else {
        return Ok(false);
    };
    if strays::is_stray(index, blake3::hash(payload).as_bytes())? {
        return Ok(false);
    }
    let mut changes = Changes::default();
    ops::replay(&mut changes, at, payload);
    let Some(entry) = index.value(Tree::Log, &keys::log(log))? else { return Ok(true) };
    changes.are_lost(index, &keys::decode(&entry)?)
}

impl Store {
    /// Looks whether the index has what records of ops in a pack mean, and builds it anew where it lost something.
    pub(super) fn look_for_lost_words(&self, pack: u32, ops: &[Place]) -> Result<bool, SweepError> {
        // What damage took is not in the index either, and an index that is built over it knows less.
        if ops.is_empty() || self.is_damage_noted()? {
            return Ok(false);
        }
        let end = self.noted_end();
        for place in ops.iter().filter(|place| (pack, place.offset) < end) {
            let at = place.location(pack);
            let read = self.inner.packs.read(at).map_err(|error| self.unreadable(error))?;
            let Some((_, payload)) = read else { continue };
            let lost = || self.with_index(|index| is_lost(index, at, &payload));
            // A log may be set back while it is looked at.
            let settled = || self.inner.settled.write().unwrap_or_else(PoisonError::into_inner);
            if lost()? && (settled(), lost()?).1 {
                tracing::error!(
                    folder = self.folder(),
                    pack,
                    offset = place.offset,
                    "the index lost a part of what was said: it is built anew from the packs"
                );
                self.rebuild_lossy_index()?;
                return Ok(true);
            }
        }
        Ok(false)
    }
}
