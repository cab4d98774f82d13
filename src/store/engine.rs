//! The ordered index behind the store: a small trait, sled behind it, and a twin in memory.
//!
//! This is the only file that names sled. An index is disposable: everything in it can be read
//! again from the packs, so every failure of it is one error, [`Broken`], and the answer is a rebuild.

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::keys::Tree;

/// Bytes of one value. sled keeps 16 entries in a page and writes pages over 128 KiB to files it
/// never syncs, so values stay far below.
pub const VALUE_BYTES_MAX: usize = 4096;

/// Entries applied at once. sled's memory grows three to four times with batches of a thousand.
pub const BATCH_ENTRIES_MAX: usize = 64;

/// Bytes of sled's page cache. Its default is 1 GiB.
const CACHE_BYTES: u64 = 32 << 20;

/// How often sled's own thread flushes. It is the only one that cleans sled's log, so it stays on.
const CLEANING_MS: u64 = 500;

/// Broken indexes kept for whoever wants to know why. Each may take hundreds of MiB.
const ASIDE_MAX: u32 = 2;

/// The index cannot be used. Nothing is lost: it is set aside and built again from the packs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the index is broken: {what}")]
pub struct Broken {
    what: String,
    why: Why,
}

/// What is the matter with an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Defect,
    TakenBack,
    AskedFor,
}

impl Broken {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), why: Why::Defect }
    }

    /// It works, and tells of records that were taken back since: there is no going on with it.
    pub(crate) fn taken_back() -> Self {
        Self { what: "records were taken back".to_owned(), why: Why::TakenBack }
    }

    /// Nothing is wrong with it.
    pub(crate) fn asked_for() -> Self {
        Self { what: "a rebuild was asked for".to_owned(), why: Why::AskedFor }
    }

    pub(crate) fn is_taken_back(&self) -> bool {
        self.why == Why::TakenBack
    }

    /// Whether what it has of this site's notes can be believed.
    pub(crate) fn is_sound(&self) -> bool {
        self.why != Why::Defect
    }
}

/// One change to the index: a value for a key, or the key's removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub tree: Tree,
    pub key: Vec<u8>,
    /// `None` removes the key.
    pub value: Option<Vec<u8>>,
}

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// An ordered map from (tree, key) to value. All calls may block on the disk.
pub trait Index: fmt::Debug + Send + Sync {
    /// The value of `key`.
    ///
    /// # Errors
    /// [`Broken`], after which this index is not used again. So with every call.
    fn value(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Broken>;

    /// Applies the changes in order, up to [`BATCH_ENTRIES_MAX`] at a time; each such batch is seen whole or not at all.
    ///
    /// # Errors
    /// [`Broken`]; also for a value over [`VALUE_BYTES_MAX`].
    fn apply(&self, changes: &[Change]) -> Result<(), Broken>;

    /// At most `limit` entries, in order, whose key begins with `prefix` and is not below `from`.
    ///
    /// # Errors
    /// [`Broken`].
    fn page(&self, tree: Tree, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Entry>, Broken>;

    /// The last entry whose key begins with `prefix`.
    ///
    /// # Errors
    /// [`Broken`].
    fn last(&self, tree: Tree, prefix: &[u8]) -> Result<Option<Entry>, Broken>;

    /// Entries of a tree. Counts them.
    ///
    /// # Errors
    /// [`Broken`].
    fn count(&self, tree: Tree) -> Result<u64, Broken>;

    /// Makes everything applied so far survive a loss of power.
    ///
    /// # Errors
    /// [`Broken`].
    fn flush_durable(&self) -> Result<(), Broken>;
}

/// Opens indexes in one place, and clears that place of broken ones.
pub trait Engine: fmt::Debug + Send + Sync {
    /// Opens the index, or makes an empty one.
    ///
    /// # Errors
    /// [`Broken`] when what is there cannot be used.
    fn open(&self) -> Result<Arc<dyn Index>, Broken>;

    /// Moves what is there out of the way, so that the next [`Engine::open`] makes an empty index.
    ///
    /// # Errors
    /// When the disk refuses.
    fn set_aside(&self) -> io::Result<()>;
}

/// sled in the folder `index` of a store.
#[derive(Debug, Clone)]
pub struct Sled {
    folder: PathBuf,
}

impl Sled {
    /// An engine for the store in `folder`.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf() }
    }

    fn index(&self) -> PathBuf {
        self.folder.join("index")
    }
}

impl Engine for Sled {
    fn open(&self) -> Result<Arc<dyn Index>, Broken> {
        let folder = self.index();
        let db = guarded(|| {
            sled::Config::new()
                .path(&folder)
                .cache_capacity(CACHE_BYTES)
                .flush_every_ms(Some(CLEANING_MS))
                .open()
        })?;
        Ok(Arc::new(SledIndex { db, file: folder.join("db") }))
    }

    fn set_aside(&self) -> io::Result<()> {
        let index = self.index();
        if !index.exists() {
            return Ok(());
        }
        let place = |number: u32| self.folder.join(format!("index.bad-{number}"));
        let free = (1..=ASIDE_MAX).map(place).find(|aside| !aside.exists());
        let aside = match free {
            Some(aside) => aside,
            None => {
                fs::remove_dir_all(place(1))?;
                place(1)
            }
        };
        fs::rename(&index, aside)
    }
}

/// Runs a call into sled: its panics are errors like any other.
fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, Broken> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Broken::new(error.to_string())),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(Broken::new(format!("sled panicked: {}", said.unwrap_or("without a word"))))
        }
    }
}

struct SledIndex {
    db: sled::Db,
    file: PathBuf,
}

impl fmt::Debug for SledIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledIndex").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Index for SledIndex {
    fn value(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Broken> {
        guarded(|| Ok(self.db.get(whole(tree, key))?.map(|value| value.to_vec())))
    }

    fn apply(&self, changes: &[Change]) -> Result<(), Broken> {
        check(changes)?;
        for part in changes.chunks(BATCH_ENTRIES_MAX) {
            let mut batch = sled::Batch::default();
            for change in part {
                let key = whole(change.tree, &change.key);
                match &change.value {
                    Some(value) => batch.insert(key, value.as_slice()),
                    None => batch.remove(key),
                }
            }
            guarded(|| self.db.apply_batch(batch))?;
        }
        Ok(())
    }

    fn page(&self, tree: Tree, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Entry>, Broken> {
        let (start, prefix) = (whole(tree, from.max(prefix)), whole(tree, prefix));
        guarded(|| {
            let mut page = Vec::new();
            for entry in self.db.range(start..).take(limit) {
                let (key, value) = entry?;
                if !key.starts_with(&prefix) {
                    break;
                }
                page.push((bare(&key), value.to_vec()));
            }
            Ok(page)
        })
    }

    fn last(&self, tree: Tree, prefix: &[u8]) -> Result<Option<Entry>, Broken> {
        let prefix = whole(tree, prefix);
        guarded(|| {
            let entry = self.db.scan_prefix(&prefix).next_back().transpose()?;
            Ok(entry.map(|(key, value)| (bare(&key), value.to_vec())))
        })
    }

    fn count(&self, tree: Tree) -> Result<u64, Broken> {
        guarded(|| {
            let mut count: u64 = 0;
            for entry in self.db.scan_prefix([tree.tag()]).keys() {
                let _key = entry?;
                count = count.saturating_add(1);
            }
            Ok(count)
        })
    }

    /// sled's own flush writes without a sync of the file's length, so a loss of power would take
    /// everything since the file last grew: the sync is ours.
    fn flush_durable(&self) -> Result<(), Broken> {
        guarded(|| self.db.flush())?;
        let file = OpenOptions::new().read(true).write(true).open(&self.file);
        file.and_then(|file: File| file.sync_all()).map_err(|error| Broken::new(error.to_string()))
    }
}

impl Drop for SledIndex {
    /// sled flushes when its last handle goes, and may panic on a damaged file.
    fn drop(&mut self) {
        let db = self.db.clone();
        if let Err(broken) = guarded(move || db.flush()) {
            tracing::warn!(%broken, "the index did not close cleanly and is rebuilt if it must be");
        }
    }
}

/// An index in memory, which the simulations use and which the parity suite holds to sled's behaviour.
#[derive(Debug, Default)]
pub struct MemoryIndex {
    entries: RwLock<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl MemoryIndex {
    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<Vec<u8>, Vec<u8>>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index for MemoryIndex {
    fn value(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Broken> {
        Ok(self.read().get(&whole(tree, key)).cloned())
    }

    fn apply(&self, changes: &[Change]) -> Result<(), Broken> {
        check(changes)?;
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            let key = whole(change.tree, &change.key);
            match &change.value {
                Some(value) => entries.insert(key, value.clone()),
                None => entries.remove(&key),
            };
        }
        Ok(())
    }

    fn page(&self, tree: Tree, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Entry>, Broken> {
        let (start, prefix) = (whole(tree, from.max(prefix)), whole(tree, prefix));
        let entries = self.read();
        let range = entries.range(start..).take_while(|(key, _)| key.starts_with(&prefix));
        Ok(range.take(limit).map(|(key, value)| (bare(key), value.clone())).collect())
    }

    fn last(&self, tree: Tree, prefix: &[u8]) -> Result<Option<Entry>, Broken> {
        let prefix = whole(tree, prefix);
        let entries = self.read();
        let range = (Bound::Included(prefix.clone()), above(&prefix));
        let last = entries.range(range).next_back();
        Ok(last.map(|(key, value)| (bare(key), value.clone())))
    }

    fn count(&self, tree: Tree) -> Result<u64, Broken> {
        let count = self.read().keys().filter(|key| key.first() == Some(&tree.tag())).count();
        Ok(u64::try_from(count).unwrap_or(u64::MAX))
    }

    fn flush_durable(&self) -> Result<(), Broken> {
        Ok(())
    }
}

/// One index in memory that outlives the store that opened it, as a file would. Cheap to clone: every clone is the same.
#[derive(Debug, Clone, Default)]
pub struct InMemory {
    index: Arc<Mutex<Arc<MemoryIndex>>>,
}

impl Engine for InMemory {
    fn open(&self) -> Result<Arc<dyn Index>, Broken> {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::<MemoryIndex>::clone(&index))
    }

    fn set_aside(&self) -> io::Result<()> {
        *self.index.lock().unwrap_or_else(PoisonError::into_inner) = Arc::default();
        Ok(())
    }
}

fn check(changes: &[Change]) -> Result<(), Broken> {
    let oversize =
        changes.iter().filter_map(|change| change.value.as_ref()).find(|v| v.len() > VALUE_BYTES_MAX);
    oversize.map_or(Ok(()), |value| Err(Broken::new(format!("a value of {} bytes", value.len()))))
}

/// The key on disk: the tree's tag and the key.
fn whole(tree: Tree, key: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(key.len().saturating_add(1));
    whole.push(tree.tag());
    whole.extend_from_slice(key);
    whole
}

fn bare(whole: &[u8]) -> Vec<u8> {
    whole.get(1..).unwrap_or_default().to_vec()
}

/// The least bound above every key that begins with `prefix`.
fn above(prefix: &[u8]) -> Bound<Vec<u8>> {
    let mut next = prefix.to_vec();
    while let Some(last) = next.pop() {
        if let Some(raised) = last.checked_add(1) {
            next.push(raised);
            return Bound::Excluded(next);
        }
    }
    Bound::Unbounded
}
