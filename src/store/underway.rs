//! What is on its way in while a sweep goes on: uploads count on extents that nothing names yet, and outlines come that name extents which were
//! found loose a moment before. Neither may be swept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::MutexGuard;

use protocol::outline::Cv;

use super::{Store, locked};

/// Extents that are not loose, whatever the outlines say that a sweep read.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    /// Those of uploads under way, each with how many count on it.
    extents: BTreeMap<[u8; 32], u64>,
    sweeping: bool,
    /// Those that were counted on or came to be named since the sweep began.
    since: BTreeSet<[u8; 32]>,
}

impl UnderWay {
    pub(super) fn counts_on(&self, extent: &[u8; 32]) -> bool {
        self.extents.contains_key(extent) || self.since.contains(extent)
    }

    /// An outline is written that names them; to be held until the index has it.
    pub(super) fn name(&mut self, extents: &[Cv]) {
        if self.sweeping {
            self.since.extend(extents.iter().map(|cv| cv.0));
        }
    }
}

/// The extents that one upload counts on, until it ends.
#[derive(Debug)]
pub(super) struct Counted {
    store: Store,
    extents: Vec<Cv>,
}

impl Counted {
    pub(super) const fn none(store: Store) -> Self {
        Self { store, extents: Vec::new() }
    }

    /// From here on no sweep takes the extent. To be called before anybody looks whether it is here.
    pub(super) fn add(&mut self, extent: Cv) {
        let mut under_way = self.store.under_way();
        let uploads = under_way.extents.entry(extent.0).or_default();
        *uploads = uploads.saturating_add(1);
        drop(under_way);
        self.extents.push(extent);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut under_way = self.store.under_way();
        under_way.name(&self.extents);
        for Cv(extent) in &self.extents {
            let Some(uploads) = under_way.extents.get_mut(extent) else { continue };
            *uploads = uploads.saturating_sub(1);
            if *uploads == 0 {
                under_way.extents.remove(extent);
            }
        }
    }
}

/// A sweep that goes on, from before it looks for loose extents until they are dropped.
pub(super) struct Watch<'a>(&'a Store);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let mut under_way = self.0.under_way();
        under_way.sweeping = false;
        under_way.since.clear();
    }
}

impl Store {
    pub(super) fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        locked(&self.inner.under_way)
    }

    /// Notes from here on what comes to be counted on or named. Only while nobody else sweeps.
    pub(super) fn watch(&self) -> Watch<'_> {
        self.under_way().sweeping = true;
        Watch(self)
    }
}
