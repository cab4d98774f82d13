//! One suite for every index, so that the one in memory cannot drift from sled.

use super::*;

fn set(tree: Tree, key: &[u8], value: &[u8]) -> Change {
    Change { tree, key: key.to_vec(), value: Some(value.to_vec()) }
}

fn keys(page: &[Entry]) -> Vec<Vec<u8>> {
    page.iter().map(|(key, _)| key.clone()).collect()
}

macro_rules! parity {
    ($($room:ident => $engine:expr;)*) => {$(
        mod $room {
            use super::*;

            #[test]
            fn a_value_is_read_back_and_removed() {
                let folder = tempfile::tempdir().unwrap();
                let index = $engine(folder.path()).open().unwrap();
                index.apply(&[set(Tree::Blob, b"a", b"1"), set(Tree::Extent, b"a", b"2")]).unwrap();
                assert_eq!(index.value(Tree::Blob, b"a").unwrap().unwrap(), b"1");
                let gone = Change { tree: Tree::Blob, key: b"a".to_vec(), value: None };
                index.apply(&[gone]).unwrap();
                assert_eq!(index.value(Tree::Blob, b"a").unwrap(), None);
                assert_eq!(index.value(Tree::Extent, b"a").unwrap().unwrap(), b"2");
            }

            #[test]
            fn a_later_change_of_one_call_wins_across_batches() {
                let folder = tempfile::tempdir().unwrap();
                let index = $engine(folder.path()).open().unwrap();
                let changes: Vec<_> = (0..200_u8).map(|n| set(Tree::Blob, b"k", &[n])).collect();
                index.apply(&changes).unwrap();
                assert_eq!(index.value(Tree::Blob, b"k").unwrap().unwrap(), [199]);
            }

            #[test]
            fn pages_cover_a_prefix_in_order_and_nothing_else() {
                let folder = tempfile::tempdir().unwrap();
                let index = $engine(folder.path()).open().unwrap();
                let changes: Vec<_> = (0..=255_u8).map(|n| set(Tree::Blob, &[n / 100, n], b"")).collect();
                index.apply(&changes).unwrap();
                index.apply(&[set(Tree::Extent, &[1, 1], b"")]).unwrap();
                let (mut from, mut seen) = (Vec::new(), Vec::new());
                loop {
                    let page = index.page(Tree::Blob, &[1], &from, 7).unwrap();
                    assert!(page.len() <= 7);
                    let Some((last, _)) = page.last() else { break };
                    from = crate::store::keys::after(last);
                    seen.extend(keys(&page));
                }
                assert_eq!(seen, (100..200_u8).map(|n| vec![1, n]).collect::<Vec<_>>());
                assert_eq!(index.count(Tree::Blob).unwrap(), 256);
            }

            #[test]
            fn a_page_starts_at_the_key_it_is_given() {
                let folder = tempfile::tempdir().unwrap();
                let index = $engine(folder.path()).open().unwrap();
                index.apply(&[set(Tree::Blob, b"a1", b""), set(Tree::Blob, b"a3", b"")]).unwrap();
                assert_eq!(keys(&index.page(Tree::Blob, b"a", b"a2", 9).unwrap()), [b"a3"]);
                assert_eq!(keys(&index.page(Tree::Blob, b"", b"a3", 9).unwrap()), [b"a3"]);
                assert!(index.page(Tree::Blob, b"a", b"b", 9).unwrap().is_empty());
            }

            #[test]
            fn the_last_of_a_prefix_is_found_at_the_edges_too() {
                let folder = tempfile::tempdir().unwrap();
                let index = $engine(folder.path()).open().unwrap();
                index.apply(&[set(Tree::Blob, &[255, 255, 3], b"x"), set(Tree::Extent, &[0], b"")]).unwrap();
                assert_eq!(index.last(Tree::Blob, &[255, 255]).unwrap().unwrap().0, [255, 255, 3]);
                assert_eq!(index.last(Tree::Blob, &[]).unwrap().unwrap().1, b"x");
                assert_eq!(index.last(Tree::Blob, &[254]).unwrap(), None);
            }

            #[test]
            fn a_value_over_the_limit_is_refused_whole() {
                let folder = tempfile::tempdir().unwrap();
                let index = $engine(folder.path()).open().unwrap();
                let changes = [set(Tree::Blob, b"a", b"1"), set(Tree::Blob, b"b", &[0; VALUE_BYTES_MAX + 1])];
                assert!(index.apply(&changes).is_err());
                assert_eq!(index.value(Tree::Blob, b"a").unwrap(), None);
                index.apply(&[set(Tree::Blob, b"b", &[0; VALUE_BYTES_MAX])]).unwrap();
            }

            #[test]
            fn an_index_set_aside_is_empty_when_opened_again() {
                let folder = tempfile::tempdir().unwrap();
                let engine = $engine(folder.path());
                let index = engine.open().unwrap();
                index.apply(&[set(Tree::Blob, b"a", b"1")]).unwrap();
                index.flush_durable().unwrap();
                drop(index);
                assert!(engine.open().unwrap().value(Tree::Blob, b"a").unwrap().is_some());
                engine.set_aside().unwrap();
                assert_eq!(engine.open().unwrap().value(Tree::Blob, b"a").unwrap(), None);
            }
        }
    )*};
}

parity! {
    sled => |folder: &Path| Sled::new(folder);
    memory => |_folder: &Path| InMemory::default();
}

#[test]
fn garbage_where_sled_keeps_its_log_is_broken_and_never_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Sled::new(folder.path());
    let index = engine.open().unwrap();
    let changes: Vec<_> = (0..2000_u32).map(|n| set(Tree::Blob, &n.to_be_bytes(), &[7; 40])).collect();
    index.apply(&changes).unwrap();
    index.flush_durable().unwrap();
    drop(index);
    let db = folder.path().join("index").join("db");
    let mut bytes = fs::read(&db).unwrap();
    bytes.fill(0xa5);
    fs::write(&db, bytes).unwrap();
    if let Ok(index) = engine.open() {
        assert_ne!(index.count(Tree::Blob), Ok(2000));
    }
    engine.set_aside().unwrap();
    assert!(folder.path().join("index.bad-1").is_dir());
}

/// What is done once, in the midst of something else.
#[derive(Clone, Default)]
struct Meanwhile(Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>);

impl fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meanwhile")
    }
}

/// An index in memory that a loss of power sets back to its last durable state.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lagging {
    now: InMemory,
    durable: Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>,
    since: Arc<Mutex<Vec<Change>>>,
    meanwhile: Meanwhile,
}

impl Lagging {
    /// Does something while the index is made durable the next time.
    pub(crate) fn at_the_next_flush(&self, work: impl FnOnce() + Send + 'static) {
        *self.meanwhile.0.lock().unwrap() = Some(Box::new(work));
    }

    pub(crate) fn cut_power(&self) {
        self.cut_power_after(0);
    }

    /// The same where some of the first changes after that state are there as well.
    pub(crate) fn cut_power_after(&self, changes: usize) {
        let index = MemoryIndex { entries: RwLock::new(self.durable.lock().unwrap().clone()) };
        let since = std::mem::take(&mut *self.since.lock().unwrap());
        index.apply(&since[..changes]).unwrap();
        *self.now.index.lock().unwrap() = Arc::new(index);
    }

    /// Changes after the last durable state.
    pub(crate) fn unflushed(&self) -> usize {
        self.since.lock().unwrap().len()
    }
}

impl Engine for Lagging {
    fn open(&self) -> Result<Arc<dyn Index>, Broken> {
        let now = Arc::<MemoryIndex>::clone(&self.now.index.lock().unwrap_or_else(PoisonError::into_inner));
        let (durable, meanwhile) = (Arc::clone(&self.durable), self.meanwhile.clone());
        Ok(Arc::new(LaggingIndex { now, durable, since: Arc::clone(&self.since), meanwhile }))
    }

    fn set_aside(&self) -> io::Result<()> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.since.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.now.set_aside()
    }
}

#[derive(Debug)]
struct LaggingIndex {
    now: Arc<MemoryIndex>,
    durable: Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>,
    since: Arc<Mutex<Vec<Change>>>,
    meanwhile: Meanwhile,
}

impl Index for LaggingIndex {
    fn value(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Broken> {
        self.now.value(tree, key)
    }

    fn apply(&self, changes: &[Change]) -> Result<(), Broken> {
        self.now.apply(changes)?;
        self.since.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(changes);
        Ok(())
    }

    fn page(&self, tree: Tree, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Entry>, Broken> {
        self.now.page(tree, prefix, from, limit)
    }

    fn last(&self, tree: Tree, prefix: &[u8]) -> Result<Option<Entry>, Broken> {
        self.now.last(tree, prefix)
    }

    fn count(&self, tree: Tree) -> Result<u64, Broken> {
        self.now.count(tree)
    }

    fn flush_durable(&self) -> Result<(), Broken> {
        let meanwhile = self.meanwhile.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        meanwhile.into_iter().for_each(|work| work());
        self.durable.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&self.now.read());
        self.since.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }
}
