//! Records whose bytes are damaged, written again as far as the index still knows them.

use std::collections::{BTreeMap, BTreeSet};

use super::super::engine::Change;
use super::super::keys::{self, RecordEntry, Tree};
use super::super::packs::record::Kind;
use super::super::{ReadError, Store, SweepError, locked, walk};
use super::{INLINE_BYTES_MAX, Written};

/// What a key comes to: its value as the index keeps it, or that it was removed.
type Told = BTreeMap<Vec<u8>, Option<RecordEntry>>;

impl Store {
    /// Makes the packs say of each record what the index says: a damaged record would otherwise come back as it was before, or a removed one
    /// at all, once the index is built anew. A value that only the damaged bytes held is what it was before. Gives how many were written.
    pub(in crate::store) fn mend_records(&self) -> Result<u64, SweepError> {
        // Nobody writes one between reading and writing again.
        let _order = locked(&self.inner.records);
        let packed = self.packed_records()?;
        let (mut again, mut seen) = (Vec::new(), BTreeSet::new());
        for record in self.walk(Tree::Record, &[], walk::keyed) {
            let (key, entry): (_, RecordEntry) = record?;
            seen.insert(key.clone());
            match &entry {
                RecordEntry::Inline(value) => {
                    if packed.get(&key).cloned().flatten().as_ref() != Some(&entry) {
                        again.extend(written(&key, Some(value.clone())));
                    }
                }
                RecordEntry::At(at) => {
                    if self.read_location(*at)?.is_none() {
                        self.fall_back(key.clone(), packed.get(&key).cloned().flatten())?;
                    }
                }
            }
        }
        let kept = packed.iter().filter(|(key, entry)| entry.is_some() && !seen.contains(*key));
        again.extend(kept.filter_map(|(key, _)| written(key, None)));
        let count = u64::try_from(again.len()).unwrap_or(u64::MAX);
        self.write_in_order(again.into_iter())?;
        Ok(count)
    }

    /// What the packs alone tell of each key.
    fn packed_records(&self) -> Result<Told, SweepError> {
        let mut told = Told::new();
        for number in self.inner.packs.numbers() {
            let places = self.inner.packs.contents(number).map_err(|error| self.unreadable(error))?.places;
            for place in places.into_iter().filter(|place| place.header.kind == Kind::Meta) {
                let at = place.location(number);
                let read = self.inner.packs.read(at).map_err(|error| self.unreadable(error))?;
                let Some((_, payload)) = read else { continue };
                let Ok(Written { shelf, key, value }) = keys::decode(&payload) else { continue };
                let entry = value.map(|value| match value.len() {
                    0..=INLINE_BYTES_MAX => RecordEntry::Inline(value),
                    _ => RecordEntry::At(at),
                });
                told.insert(keys::record(shelf, &key), entry);
            }
        }
        Ok(told)
    }

    fn fall_back(&self, key: Vec<u8>, before: Option<RecordEntry>) -> Result<(), ReadError> {
        let value = before.map(|entry| keys::encode(&entry));
        let change = [Change { tree: Tree::Record, key, value }];
        self.with_index(|index| index.apply(&change))?;
        // What was read from it is not here any more, and is to be kept again when it is told again.
        self.inner.proved.forget_all();
        self.inner.told.forget_all();
        self.inner.ledgers.forget_all();
        Ok(())
    }
}

fn written(key: &[u8], value: Option<Vec<u8>>) -> Option<Written> {
    let (&shelf, key) = key.split_first()?;
    Some(Written { shelf, key: key.to_vec(), value })
}
