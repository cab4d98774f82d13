//! The index as the store uses it: always there, because a broken one is set aside and built again from the packs.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::engine::{Broken, Change, Engine, Index};
use super::holes;
use super::keys::{self, RecordEntry, Tree};
use super::life::Checkpoint;
use super::packs::{Damage, INDEX_BYTES_MIN, Packs, Start};
use super::records::Shelf;
use super::replay::{self, Acknowledged, Changes, ReplayError, Unread};

/// Times one call rebuilds the index before it gives up.
const REBUILDS_MAX: u32 = 3;

/// The index broke and building it again failed as well. Nothing is lost; the next call tries again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RebuildError {
    /// The disk failed while the packs were read or the old index was moved away.
    #[error("the index of {folder} could not be rebuilt: the disk failed")]
    Disk { folder: String, source: Arc<io::Error> },
    /// There is no room for an index, without which nothing is found.
    #[error(
        "the disk of {folder} is full: {free_bytes} bytes are free, and the index needs {needed_bytes} to be opened; free some, and start again"
    )]
    NoRoom { folder: String, free_bytes: u64, needed_bytes: u64 },
    /// Each new index broke in turn.
    #[error("the index of {folder} breaks each time it is built")]
    Broken { folder: String, source: Broken },
}

#[derive(Debug)]
pub(crate) struct IndexRoom {
    engine: Box<dyn Engine>,
    generation: u128,
    current: RwLock<Current>,
    rebuilds: AtomicU64,
    /// Words may have been stepped over that could not be read, and nobody looked after that yet.
    stepped_over: AtomicBool,
    /// What was in the packs when the index was made durable, and is not any more; as long as nobody looked after that.
    lost: Mutex<Vec<Damage>>,
    /// Packs that were gone or cut short at the start, and with the index whoever knew what was in them.
    gone_unknown: Option<Damage>,
}

#[derive(Debug)]
struct Current {
    index: Option<Arc<dyn Index>>,
    /// The packs' era that this index reflects: when undurable records are taken back, the index knows too much.
    era: u64,
}

impl IndexRoom {
    /// Opens what is there, if it belongs to this life and has seen the checkpoint; brings it up to the packs' end, or builds it anew.
    pub(crate) fn open(
        engine: Box<dyn Engine>,
        generation: u128,
        checkpoint: Option<Checkpoint>,
        packs: &Packs,
    ) -> Result<Self, RebuildError> {
        let mut room = Self {
            engine,
            generation,
            current: RwLock::new(Current { index: None, era: packs.era() }),
            rebuilds: AtomicU64::new(0),
            stepped_over: AtomicBool::new(false),
            lost: Mutex::default(),
            gone_unknown: None,
        };
        packs.find_room();
        let fits = checkpoint.filter(|checkpoint| checkpoint.generation == generation);
        let (mut of_before, mut is_gone) = (None, false);
        let usable = room.engine.open().and_then(|index| {
            if let Some(checkpoint) = fits
                && room.has_seen(&*index, checkpoint.number)?
            {
                return Ok(Some((index, checkpoint.start)));
            }
            if index.last(Tree::About, b"")?.is_none() {
                is_gone = true;
                return Ok(Some((index, Start::default())));
            }
            // That of another life of these packs, as where the folder was copied, one of before a checkpoint, or one that is half built: what it
            // has of records that rotted meanwhile is neither whole nor taken away by what is read now.
            if index.value(Tree::About, keys::PACKS)? == Some(keys::encode(&packs.mark())) {
                of_before = Some(index);
            }
            Ok(None)
        });
        let caught_up = usable.map_err(ReplayError::from).and_then(|usable| {
            let Some((index, start)) = usable else { return Ok(None) };
            let start = room.take_stock(&*index, packs, start)?;
            room.fill(&*index, packs, start, None)?;
            Ok(Some(index))
        });
        if let Some(checkpoint) = fits
            && room.lost().is_empty()
            && packs.are_short_of(checkpoint.start).map_err(|error| disk_failed(packs, error))?
        {
            let (pack, bytes) = (checkpoint.start.pack, checkpoint.start.offset);
            tracing::error!(
                folder = packs.disk().folder(),
                pack,
                "packs that were here are gone or were cut short"
            );
            room.stepped_over.store(true, Ordering::Relaxed);
            room.gone_unknown = Some(Damage { pack, offset: 0, bytes, record: None });
        }
        // So is one of which no more than a beginning was built.
        let begun = |before: &dyn Index| Acknowledged::by(Some(before)) == Acknowledged::Unknown;
        is_gone |= of_before.as_deref().is_some_and(begun);
        match caught_up {
            Ok(Some(index)) => {
                room.current.write().unwrap_or_else(PoisonError::into_inner).index = Some(index);
            }
            Ok(None) => room.build(packs, of_before.as_deref())?,
            Err(ReplayError::Broken(broken)) => {
                // A disk without room breaks none, and what this one alone knows would be gone with it.
                if let Some(no_room) = lacks_room(packs) {
                    return Err(no_room);
                }
                tracing::warn!(%broken, "the index cannot be used and is built again from the packs");
                is_gone = true;
                room.build(packs, None)?;
            }
            Err(ReplayError::Io(error)) => return Err(disk_failed(packs, error)),
        }
        room.ask_for_the_end(packs, fits.map(|checkpoint| checkpoint.start), is_gone)?;
        Ok(room)
    }

    /// With the index went whoever knew how far packs went that were written to behind their last checkpoint: of one that was cut between two records
    /// nothing tells. Where other sites may have what this one said there, it asks them before it says more.
    fn ask_for_the_end(
        &self,
        packs: &Packs,
        checkpoint: Option<Start>,
        is_gone: bool,
    ) -> Result<(), RebuildError> {
        let end = packs.end();
        let is_known = checkpoint.is_some_and(|start| (start.pack, start.offset) >= end);
        if is_gone && !is_known {
            let linked = self.with(packs, is_linked)?;
            self.stepped_over.fetch_or(linked, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Builds an index where there is none yet.
    fn build(&self, packs: &Packs, before: Option<&dyn Index>) -> Result<(), RebuildError> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        self.build_in(&mut current, packs, (before, false))
    }

    /// Brings an index from `start` to the packs' end. Of which packs it is it says first of all, so that one whose building was cut short is not
    /// taken for an empty one; of which life last of all, so that it is not taken for a whole one.
    fn fill(
        &self,
        index: &dyn Index,
        packs: &Packs,
        start: Start,
        before: Option<&dyn Index>,
    ) -> Result<Unread, ReplayError> {
        let short = if start == Start::default() { Vec::new() } else { holes::short(index)? };
        if start == Start::default() && index.last(Tree::About, b"")?.is_none() {
            index.apply(&[about(keys::PACKS, &packs.mark())])?;
        }
        let anew = start == Start::default();
        let acknowledged = if anew { Acknowledged::by(before) } else { Acknowledged::InIndex };
        let unread = replay::all(index, packs, start, before, acknowledged)?;
        holes::hold_again(index, packs, &short)?;
        if unread.records > 0 {
            tracing::warn!(unreadable = unread.records, "records in the packs cannot be read");
        }
        let gone = acknowledged == Acknowledged::Unknown && lacks_packs(index, packs)?;
        self.stepped_over.fetch_or(unread.words || gone, Ordering::Relaxed);
        let looked_after = || before.and_then(|before| replay::about(before, keys::OVER_DAMAGE).ok()?);
        let over_damage = match unread.records {
            0 if unread.known => looked_after(),
            0 => None,
            _ => Some(packs.end()),
        };
        if let Some(upto) = over_damage.filter(|_| anew) {
            index.apply(&[about(keys::OVER_DAMAGE, &upto)])?;
        }
        if index.value(Tree::About, keys::GENERATION)?.is_none() {
            index.apply(&[
                about(keys::PACKS, &packs.mark()),
                about(keys::CHECKPOINT, &0_u64),
                about(keys::GENERATION, &self.generation),
            ])?;
        }
        Ok(unread)
    }

    /// Notes what the index knows of and the packs lack. Gives the place from which it is to be filled.
    fn take_stock(&self, index: &dyn Index, packs: &Packs, start: Start) -> Result<Start, ReplayError> {
        let stock: Vec<(u32, u64)> = replay::about(index, keys::STOCK)?.unwrap_or_default();
        let mut lost = packs.lost_of(&stock)?;
        let reach: Option<(u32, u64)> = replay::about(index, keys::REACH)?;
        // One that was reclaimed is gone, and never the newest.
        let numbers = packs.numbers();
        let reach =
            reach.filter(|(pack, _)| numbers.contains(pack) || numbers.iter().all(|there| there < pack));
        let short = reach.map(|end| packs.lost_of(&[end])).transpose()?.unwrap_or_default();
        let mut start = start;
        for damage in short {
            // What is left would take back what the lost end said of it: the index has all of it.
            start = start.max(Start { pack: damage.pack, offset: u64::MAX });
            lost.retain(|known| known.pack != damage.pack);
            lost.push(damage);
        }
        let noted: Option<(Vec<Damage>, (u32, u64))> = replay::about(index, keys::LOSSES)?;
        if let Some((known, (pack, offset))) = noted {
            start = start.max(Start { pack, offset });
            lost.retain(|new| known.iter().all(|known| known.pack != new.pack));
            lost.extend(known);
        }
        if !lost.is_empty() {
            index.apply(&[about(keys::LOSSES, &(&lost, (start.pack, start.offset)))])?;
            index.flush_durable()?;
        }
        for damage in &lost {
            tracing::error!(folder = packs.disk().folder(), ?damage, "a pack is gone or was cut short");
        }
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = lost;
        Ok(start)
    }

    /// What packs lost while nobody looked, until [`Self::losses_are_borne`].
    pub(crate) fn lost(&self) -> Vec<Damage> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was gone at the start together with the index that knew of it.
    pub(crate) fn gone_unknown(&self) -> Option<Damage> {
        self.gone_unknown.clone()
    }

    /// Somebody looked after what packs lost.
    pub(crate) fn losses_are_borne(&self) {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn has_seen(&self, index: &dyn Index, checkpoint: u64) -> Result<bool, Broken> {
        let Some(generation) = replay::about::<u128>(index, keys::GENERATION)? else { return Ok(false) };
        let Some(number) = replay::about::<u64>(index, keys::CHECKPOINT)? else { return Ok(false) };
        Ok(generation == self.generation && number >= checkpoint)
    }

    /// Whether words that could not be read were stepped over, and nobody looked after that yet.
    pub(crate) fn has_stepped_over(&self) -> bool {
        self.stepped_over.load(Ordering::Relaxed)
    }

    /// Somebody looked after what was stepped over.
    pub(crate) fn stepped_over_is_looked_after(&self) {
        self.stepped_over.store(false, Ordering::Relaxed);
    }

    /// How often this index was built anew since it was opened.
    pub(crate) fn rebuilds(&self) -> u64 {
        self.rebuilds.load(Ordering::Relaxed)
    }

    /// Runs `work` on the index. `work` must not call this again; it runs once more after each rebuild.
    pub(crate) fn with<T>(
        &self,
        packs: &Packs,
        work: impl Fn(&dyn Index) -> Result<T, Broken>,
    ) -> Result<T, RebuildError> {
        let mut attempts: u32 = 0;
        loop {
            let broken = {
                let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
                match &current.index {
                    Some(index) if current.era == packs.era() => match work(&**index) {
                        Ok(value) => return Ok(value),
                        Err(broken) => Some((Arc::clone(index), broken)),
                    },
                    Some(index) => Some((Arc::clone(index), Broken::taken_back())),
                    None => None,
                }
            };
            attempts = attempts.saturating_add(1);
            if let (Some((_, source)), true) = (&broken, attempts > REBUILDS_MAX) {
                return Err(broke(packs, source.clone()));
            }
            self.rebuild(packs, broken)?;
        }
    }

    /// Sets the index aside and builds it from all packs; unless another thread already replaced `broken`.
    fn rebuild(&self, packs: &Packs, broken: Option<(Arc<dyn Index>, Broken)>) -> Result<(), RebuildError> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let (mut before, mut is_sound) = (None, false);
        if let Some((index, broken)) = broken {
            if current.index.as_ref().is_none_or(|now| !Arc::ptr_eq(now, &index)) {
                return Ok(());
            }
            // One that a full disk refused is whole, and knows what it alone has.
            packs.find_room();
            if let Some(no_room) = lacks_room(packs).filter(|_| !broken.is_taken_back()) {
                return Err(no_room);
            }
            tracing::warn!(%broken, "the index is set aside and built again from the packs");
            is_sound = broken.is_sound();
            before = Some(index);
        } else if current.index.is_some() {
            return Ok(());
        }
        self.build_in(&mut current, packs, (before.as_deref(), is_sound))
    }

    /// Sets what is there aside and builds the index from all packs, and from what one before it keeps a second time of what they lost. A sound one
    /// was in use, and nothing is wrong with it.
    fn build_in(
        &self,
        current: &mut Current,
        packs: &Packs,
        (before, is_sound): (Option<&dyn Index>, bool),
    ) -> Result<(), RebuildError> {
        current.index = None;
        packs.find_room();
        self.engine.set_aside().map_err(|error| disk_failed(packs, error))?;
        let index = self.engine.open().map_err(|source| broke(packs, source))?;
        let era = packs.era();
        let unread = match self.fill(&*index, packs, Start::default(), before) {
            Ok(unread) => unread,
            Err(ReplayError::Io(error)) => return Err(disk_failed(packs, error)),
            Err(ReplayError::Broken(source)) => return Err(broke(packs, source)),
        };
        if let Some(before) = before.filter(|_| is_sound && unread.records > 0)
            && let Err(error) = take_over_notes(before, &*index)
        {
            tracing::warn!(%error, "what the index before had of this site's notes cannot be read");
        }
        if let Some(before) = before.filter(|_| !self.lost().is_empty()) {
            take_over(packs, before, &*index).map_err(|source| broke(packs, source))?;
        }
        self.rebuilds.fetch_add(1, Ordering::Relaxed);
        *current = Current { index: Some(index), era };
        Ok(())
    }

    /// Builds the index again for that reason.
    pub(crate) fn rebuild_now(&self, packs: &Packs, why: Broken) -> Result<(), RebuildError> {
        let index = self.current.read().unwrap_or_else(PoisonError::into_inner).index.clone();
        self.rebuild(packs, index.map(|index| (index, why)))
    }

    /// Makes the index durable and marks it as having seen checkpoint `number`, and all that lies before `upto`.
    pub(crate) fn mark(&self, packs: &Packs, number: u64, upto: Start) -> Result<(), RebuildError> {
        let mut notes = vec![about(keys::CHECKPOINT, &number)];
        // As long as a loss is not looked after the older stock is what tells of it.
        let is_whole = self.lost().is_empty();
        if is_whole {
            let stock = packs.stock().map_err(|error| disk_failed(packs, error))?;
            notes.push(about(keys::STOCK, &stock));
            notes.push(Change { tree: Tree::About, key: keys::LOSSES.to_vec(), value: None });
        }
        self.with(packs, |index| {
            index.apply(&notes)?;
            let mut reached = Changes::default();
            reached.reach(Some((upto.pack, upto.offset)).filter(|_| is_whole));
            reached.apply(index)?;
            index.flush_durable()
        })
    }
}

/// Whether others may have what this site said: it has a link.
fn is_linked(index: &dyn Index) -> Result<bool, Broken> {
    Ok(!index.page(Tree::Record, &keys::record(Shelf::Links.code(), &[]), &[], 1)?.is_empty())
}

/// Whether packs of a site with links are gone of which no note says that this store removed or lost them. One that went with damage in it has none.
fn lacks_packs(index: &dyn Index, packs: &Packs) -> Result<bool, Broken> {
    if !is_linked(index)? {
        return Ok(false);
    }
    let there = packs.numbers();
    for number in (1..there.last().copied().unwrap_or_default()).filter(|number| !there.contains(number)) {
        let mut noted = false;
        for shelf in [Shelf::Reclaimed, Shelf::LostPacks] {
            let key = keys::record(shelf.code(), &number.to_be_bytes());
            noted = noted || !index.page(Tree::Record, &key, &[], 1)?.is_empty();
        }
        if !noted {
            tracing::error!(folder = packs.disk().folder(), number, "a pack is gone, and nothing says why");
            return Ok(true);
        }
    }
    Ok(false)
}

/// What makes this site's notes in an index those of the one before it, of which only some are handed on.
fn notes_of(
    before: &dyn Index,
    index: &dyn Index,
    goes_on: impl Fn(&[u8]) -> Result<bool, Broken>,
) -> Result<Vec<Change>, Broken> {
    let noted = before.page(Tree::Record, &[], &[], usize::MAX)?;
    let there: BTreeSet<&[u8]> = noted.iter().map(|(key, _)| key.as_slice()).collect();
    let mut others = index.page(Tree::Record, &[], &[], usize::MAX)?;
    others.retain(|(key, _)| !there.contains(key.as_slice()));
    let change = |key, value| Change { tree: Tree::Record, key, value };
    let mut changes: Vec<Change> = others.into_iter().map(|(key, _)| change(key, None)).collect();
    for (key, value) in noted {
        if goes_on(&value)? {
            changes.push(change(key, Some(value)));
        }
    }
    Ok(changes)
}

/// What this site noted, as the index has it that is replaced: words of it rotted in the packs. What is too large to lie in an index is kept twice.
fn take_over_notes(before: &dyn Index, index: &dyn Index) -> Result<(), Broken> {
    let lies_here = |value: &[u8]| Ok(matches!(keys::decode(value)?, RecordEntry::Inline(_)));
    index.apply(&notes_of(before, index, lies_here)?)
}

/// What this site noted, and how far that reached, as the index before has it: the packs lost a part of it, and nobody looked after that yet.
fn take_over(packs: &Packs, before: &dyn Index, index: &dyn Index) -> Result<(), Broken> {
    let mut changes = notes_of(before, index, |_| Ok(true))?;
    for key in [keys::REACH, keys::STOCK, keys::LOSSES] {
        let value = before.value(Tree::About, key)?;
        changes.extend(value.map(|value| Change {
            tree: Tree::About,
            key: key.to_vec(),
            value: Some(value),
        }));
    }
    // What the lost part held is in the index before alone, which is gone now.
    changes.push(about(keys::OVER_DAMAGE, &packs.end()));
    index.apply(&changes)
}

fn about<T: serde::Serialize>(key: &[u8], value: &T) -> Change {
    Change { tree: Tree::About, key: key.to_vec(), value: Some(keys::encode(value)) }
}

/// On a full disk no index can be had, and none is to blame.
fn broke(packs: &Packs, source: Broken) -> RebuildError {
    lacks_room(packs).unwrap_or_else(|| RebuildError::Broken { folder: packs.disk().folder(), source })
}

fn lacks_room(packs: &Packs) -> Option<RebuildError> {
    let free_bytes = packs.disk().free_bytes().ok().filter(|free_bytes| *free_bytes < INDEX_BYTES_MIN)?;
    Some(RebuildError::NoRoom { folder: packs.disk().folder(), free_bytes, needed_bytes: INDEX_BYTES_MIN })
}

fn disk_failed(packs: &Packs, error: io::Error) -> RebuildError {
    RebuildError::Disk { folder: packs.disk().folder(), source: Arc::new(error) }
}
