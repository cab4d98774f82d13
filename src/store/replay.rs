//! From records to index: what each record of the packs means for the index, whether it was just written or is read again.

use std::collections::BTreeMap;
use std::io;

use super::engine::{Broken, Change, Index};
use super::keys::{self, BlobEntry, Location, Tree};
use super::packs::record::{self, Kind};
use super::packs::{Packs, Start, footer::Place};
use super::{ops, records};

/// Changes gathered before they are applied in sorted order: sled takes sorted keys twice as fast.
const CHANGES_MAX: usize = 1 << 15;

/// Why a replay stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// Whether a record's meaning is in its payload and not in its header alone.
pub(crate) const fn needs_payload(kind: Kind) -> bool {
    match kind {
        Kind::Blob | Kind::Extent => false,
        Kind::Outline | Kind::Ops | Kind::Meta => true,
    }
}

/// Changes by key: a later one replaces an earlier one.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    by_key: BTreeMap<(Tree, Vec<u8>), Option<Vec<u8>>>,
}

impl Changes {
    pub(crate) fn set(&mut self, tree: Tree, key: Vec<u8>, value: Vec<u8>) {
        self.by_key.insert((tree, key), Some(value));
    }

    pub(crate) fn remove(&mut self, tree: Tree, key: Vec<u8>) {
        self.by_key.insert((tree, key), None);
    }

    pub(crate) fn apply(self, index: &dyn Index) -> Result<(), Broken> {
        let change = |((tree, key), value)| Change { tree, key, value };
        index.apply(&self.by_key.into_iter().map(change).collect::<Vec<_>>())
    }
}

/// Adds what a record means. `payload` is empty for kinds that do not need it.
pub(crate) fn record(changes: &mut Changes, kind: Kind, id: [u8; 32], at: Location, payload: &[u8]) {
    match kind {
        Kind::Blob => changes.set(Tree::Blob, id.to_vec(), keys::encode(&BlobEntry::Small { at })),
        Kind::Extent => changes.set(Tree::Extent, id.to_vec(), keys::encode(&at)),
        Kind::Outline => {
            if let Some(size) = record::outline_size(payload) {
                let entry = BlobEntry::Large { size, outline: at, complete: false };
                changes.set(Tree::Blob, id.to_vec(), keys::encode(&entry));
            }
        }
        Kind::Ops => ops::replay(changes, at, payload),
        Kind::Meta => records::replay(changes, at, payload),
    }
}

/// Applies every record from `start` on. Records that cannot be read are damage: they are stepped over and counted.
pub(crate) fn all(index: &dyn Index, packs: &Packs, start: Start) -> Result<u64, ReplayError> {
    let mut unreadable: u64 = 0;
    let mut changes = Changes::default();
    for number in packs.numbers().into_iter().filter(|&number| number >= start.pack) {
        let contents = packs.contents(number)?;
        unreadable = unreadable.saturating_add(contents.damage.len().try_into().unwrap_or(u64::MAX));
        for place in contents.places {
            if number == start.pack && place.offset < start.offset {
                continue;
            }
            if !one(&mut changes, packs, number, &place)? {
                unreadable = unreadable.saturating_add(1);
            }
            if changes.by_key.len() >= CHANGES_MAX {
                std::mem::take(&mut changes).apply(index)?;
            }
        }
    }
    changes.apply(index)?;
    Ok(unreadable)
}

fn one(changes: &mut Changes, packs: &Packs, pack: u32, place: &Place) -> io::Result<bool> {
    let at = place.location(pack);
    let payload = if needs_payload(place.header.kind) {
        let Some((_, payload)) = packs.read(at)? else { return Ok(false) };
        payload
    } else {
        Vec::new()
    };
    record(changes, place.header.kind, place.header.id, at, &payload);
    Ok(true)
}
