//! Bytes that were noted as damaged and are whole in this copy of the store: a backup keeps its good copy of a pack that rotted since, beside
//! newer packs in which what lay there was dropped.

use super::keys::Tree;
use super::packs::Damage;
use super::packs::footer::Place;
use super::packs::record::Kind;
use super::packs::scan::Found;
use super::{ReadError, Shelf, Store, SweepError};

/// What lies at a place that was noted as damaged.
#[derive(Debug, Default)]
struct Again {
    places: Vec<Place>,
    /// Something there is still damaged.
    damaged: bool,
}

impl Store {
    /// Looks again at each place that is noted as damaged or lost, writes what is whole there anew, so that no DROP names it, and forgets the notes of
    /// places of which all is whole.
    pub(super) fn regain(&self) -> Result<(), SweepError> {
        for shelf in [Shelf::Damage, Shelf::LostPacks] {
            self.regain_noted(shelf)?;
        }
        Ok(())
    }

    fn regain_noted(&self, shelf: Shelf) -> Result<(), SweepError> {
        let mut over = Vec::new();
        for (key, value) in self.records(shelf, &[], &[], usize::MAX)? {
            let noted: Damage = self.understood(&value)?;
            let Some(Again { places, damaged }) = self.looked_at_again(&noted)? else { continue };
            let mut lacking = Vec::new();
            for place in places {
                if self.is_lacking(&place)? {
                    lacking.push(place);
                }
            }
            self.move_away(noted.pack, &lacking)?;
            if !damaged {
                over.push((key, None));
            }
        }
        Ok(self.write_records(shelf, over)?)
    }

    fn looked_at_again(&self, noted: &Damage) -> Result<Option<Again>, ReadError> {
        let packs = self.inner.packs.all();
        let Some((number, file, end)) = packs.into_iter().find(|pack| pack.0 == noted.pack) else {
            return Ok(None);
        };
        let (from, until) = (self.begin_of(noted)?, noted.offset.saturating_add(noted.bytes));
        let bytes_max = until.saturating_sub(from);
        let mut again = Again::default();
        let check = self.inner.packs.check(number, &*file, end, (from, bytes_max), |found| match found {
            Found::Record { place } if place.offset < until => again.places.push(*place),
            Found::Spoilt { place: Place { offset, .. } } | Found::Hole { offset, .. } if *offset < until => {
                again.damaged = true;
            }
            Found::Record { .. } | Found::Spoilt { .. } | Found::Hole { .. } => {}
        });
        check.map_err(|error| self.unreadable(error))?;
        Ok(Some(again))
    }

    /// Where the record begins in which a noted place lies: a pack may have been cut within one.
    fn begin_of(&self, noted: &Damage) -> Result<u64, ReadError> {
        let contents = self.inner.packs.contents(noted.pack).map_err(|error| self.unreadable(error))?;
        let holds = |place: &Place| place.offset.saturating_add(place.header.span()) > noted.offset;
        let before = contents.places.into_iter().rev().find(|place| place.offset <= noted.offset);
        Ok(before.filter(holds).map_or(noted.offset, |place| place.offset))
    }

    /// Whether a part of a blob lies there that the index has nowhere. Ops and records are found by an index that is built from the packs.
    fn is_lacking(&self, place: &Place) -> Result<bool, ReadError> {
        let tree = match place.header.kind {
            Kind::Blob | Kind::Outline => Tree::Blob,
            Kind::Extent => Tree::Extent,
            Kind::Ops | Kind::Meta | Kind::Drop => return Ok(false),
        };
        Ok(self.with_index(|index| Ok(index.value(tree, &place.header.id)?.is_none()))?)
    }
}
