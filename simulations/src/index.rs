//! An index in memory that, like sled, may forget what was not flushed when power goes. The packs it is made from lie on their own disk.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use packetboat::store::Tree;
use packetboat::store::engine::{Broken, Change, Engine, Entry, InMemory, Index};

use crate::plant::Plant;

type Entries = BTreeMap<(Tree, Vec<u8>), Vec<u8>>;

/// Every entry as it was at the last flush, and what was changed since.
#[derive(Debug, Default)]
struct Flushed {
    flushed: Entries,
    since: Vec<Change>,
    /// A bug of whoever keeps an index, put in on purpose.
    plant: Option<Plant>,
}

/// The names under which an index keeps how far it reaches, and what is gone of that.
const BESIDE: [&[u8]; 2] = [b"reach", b"losses"];
/// Bytes of a coordinate's entry that is to be worked out anew.
const STALE_BYTES: usize = 2;
/// Bytes of an op's name, and the zero before it, behind a coordinate.
const FACT_BYTES: usize = 33;
/// Where the key of what is said of a feed names the topic, and the topics of rights and of seals.
const TOPIC: usize = 32;
const RIGHTS: u8 = 1;
const SEALS: u8 = 2;

/// An engine whose index forgets. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Forgetful {
    live: InMemory,
    kept: Arc<RwLock<Flushed>>,
}

#[derive(Debug)]
struct Watched {
    live: Arc<dyn Index>,
    kept: Arc<RwLock<Flushed>>,
}

fn locked(kept: &RwLock<Flushed>) -> RwLockWriteGuard<'_, Flushed> {
    kept.write().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a change is of what the index has beside what it is made of: second copies, and how far it reaches.
fn is_beside(tree: Tree, key: &[u8]) -> bool {
    tree == Tree::Spare || (tree == Tree::About && BESIDE.contains(&key))
}

impl Flushed {
    /// Takes the first changes since the last flush over into it. What is beside them goes with what was changed before.
    fn flush(&mut self, changes: usize) {
        let mut left = changes;
        for Change { tree, key, value } in self.since.drain(..) {
            if !is_beside(tree, &key) {
                let Some(fewer) = left.checked_sub(1) else { break };
                left = fewer;
            }
            match value {
                Some(value) => self.flushed.insert((tree, key), value),
                None => self.flushed.remove(&(tree, key)),
            };
        }
        self.since.clear();
    }
}

impl Forgetful {
    /// Changes since the last flush, but for what is beside them.
    #[must_use]
    pub fn unflushed(&self) -> usize {
        locked(&self.kept).since.iter().filter(|change| !is_beside(change.tree, &change.key)).count()
    }

    /// Whether power that goes takes what was kept a second time.
    #[must_use]
    pub fn has_unflushed_second_copies(&self) -> bool {
        let is_copy = |change: &Change| change.tree == Tree::Spare && change.value.is_some();
        locked(&self.kept).since.iter().any(is_copy)
    }

    /// Only the packs have everything from here on, as where an index was built anew beside damage.
    pub fn lose_second_copies(&self) {
        let mut kept = locked(&self.kept);
        kept.flushed.retain(|(tree, _), _| *tree != Tree::Spare);
        kept.since.retain(|change| change.tree != Tree::Spare);
        // An index in memory does not fail.
        let Ok(index) = self.live.open() else { return };
        let Ok(all) = index.page(Tree::Spare, &[], &[], usize::MAX) else { return };
        let gone = all.into_iter().map(|(key, _)| Change { tree: Tree::Spare, key, value: None });
        drop(index.apply(&gone.collect::<Vec<_>>()));
    }

    /// Puts a bug into whoever keeps an index here.
    pub fn plant(&self, plant: Option<Plant>) {
        locked(&self.kept).plant = plant;
    }

    /// Another index, as this one would be left if power went.
    #[must_use]
    pub fn imaged(&self) -> Self {
        let flushed = locked(&self.kept).flushed.clone();
        let kept = Flushed { flushed, ..Flushed::default() };
        let mut copy = Self { live: InMemory::default(), kept: Arc::new(RwLock::new(kept)) };
        copy.lose_power(0);
        copy
    }

    /// One op about a package is forgotten.
    fn forget_a_fact(index: &dyn Index) -> Result<(), Broken> {
        let Some((fact, _)) = index.last(Tree::Fact, &[])? else { return Ok(()) };
        let at = fact.get(..fact.len().saturating_sub(FACT_BYTES)).unwrap_or_default().to_vec();
        index.apply(&[
            Change { tree: Tree::Fact, key: fact, value: None },
            Change { tree: Tree::View, key: at, value: Some(vec![1, 0]) },
        ])
    }

    /// One word about rights is forgotten.
    fn forget_a_right(index: &dyn Index) -> Result<(), Broken> {
        let said = index.page(Tree::Said, &[], &[], usize::MAX)?;
        let mut rights = said.into_iter().filter(|(key, _)| key.get(TOPIC) == Some(&RIGHTS));
        let Some((key, _)) = rights.next() else { return Ok(()) };
        index.apply(&[Change { tree: Tree::Said, key, value: None }])
    }

    /// Power goes: of what was changed since the last flush only the first `left` changes are there when the index is opened again.
    pub fn lose_power(&mut self, left: usize) {
        let mut kept = locked(&self.kept);
        if kept.plant == Some(Plant::IndexFlushSkipped) {
            kept.since.retain(|change| !is_beside(change.tree, &change.key));
            let about = kept.since.iter().skip(left).filter(|change| change.tree == Tree::About);
            let about = about.cloned().collect::<Vec<_>>();
            kept.since.truncate(left);
            kept.since.extend(about);
            let all = kept.since.len();
            kept.flush(all);
        }
        kept.flush(left);
        self.live = InMemory::default();
        let Ok(index) = self.live.open() else { return };
        let changes: Vec<Change> = kept
            .flushed
            .iter()
            .map(|((tree, key), value)| Change { tree: *tree, key: key.clone(), value: Some(value.clone()) })
            .collect();
        // An index in memory refuses only what is too long, which was refused before.
        drop(index.apply(&changes));
    }
}

impl Engine for Forgetful {
    fn open(&self) -> Result<Arc<dyn Index>, Broken> {
        let live = self.live.open()?;
        if locked(&self.kept).plant == Some(Plant::DeleteForgottenAtStart) {
            Self::forget_a_fact(&*live)?;
        }
        if locked(&self.kept).plant == Some(Plant::RightsForgottenAtStart) {
            Self::forget_a_right(&*live)?;
        }
        Ok(Arc::new(Watched { live, kept: Arc::clone(&self.kept) }))
    }

    fn set_aside(&self) -> io::Result<()> {
        let mut kept = locked(&self.kept);
        *kept = Flushed { plant: kept.plant, ..Flushed::default() };
        self.live.set_aside()
    }
}

impl Watched {
    /// Whether a bug keeps a change out of the index.
    fn drops(&self, change: &Change) -> bool {
        let stands = || self.live.value(change.tree, &change.key).ok().flatten();
        match locked(&self.kept).plant {
            Some(Plant::StaleViewServed) => {
                let stale = change.value.as_ref().is_some_and(|value| value.len() == STALE_BYTES);
                change.tree == Tree::View && stale && stands().is_some_and(|value| value.len() > STALE_BYTES)
            }
            Some(Plant::SecondCopiesDropped) => change.tree == Tree::Spare,
            Some(Plant::SealIgnored) => change.tree == Tree::Said && change.key.get(TOPIC) == Some(&SEALS),
            _ => false,
        }
    }
}

impl Index for Watched {
    fn value(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Broken> {
        self.live.value(tree, key)
    }

    fn apply(&self, changes: &[Change]) -> Result<(), Broken> {
        if locked(&self.kept).plant.is_some() {
            let kept = changes.iter().filter(|change| !self.drops(change)).cloned().collect::<Vec<_>>();
            self.live.apply(&kept)?;
            locked(&self.kept).since.extend(kept);
            return Ok(());
        }
        self.live.apply(changes)?;
        locked(&self.kept).since.extend_from_slice(changes);
        Ok(())
    }

    fn page(&self, tree: Tree, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Entry>, Broken> {
        self.live.page(tree, prefix, from, limit)
    }

    fn last(&self, tree: Tree, prefix: &[u8]) -> Result<Option<Entry>, Broken> {
        self.live.last(tree, prefix)
    }

    fn count(&self, tree: Tree) -> Result<u64, Broken> {
        self.live.count(tree)
    }

    fn flush_durable(&self) -> Result<(), Broken> {
        self.live.flush_durable()?;
        let mut kept = locked(&self.kept);
        if kept.plant != Some(Plant::IndexFlushSkipped) {
            let all = kept.since.len();
            kept.flush(all);
        }
        Ok(())
    }
}
