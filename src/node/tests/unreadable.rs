//! A site whose store cannot be read any more, as its peers and clients see it.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use protocol::limits::OFFERS_OPEN_MAX;

use super::*;
use crate::store::Tree;
use crate::store::disk::Folder;
use crate::store::engine::{Broken, Change, Engine, Entry, Index, Sled};

/// An index on a disk that fails once it is told to.
#[derive(Debug, Clone)]
struct Failing {
    whole: Sled,
    fails: Arc<AtomicBool>,
    lists: Lists,
}

/// Lists of feeds alone fail, and are counted.
#[derive(Debug, Clone, Default)]
struct Lists {
    fail: Arc<AtomicBool>,
    failed: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct FailingIndex {
    whole: Arc<dyn Index>,
    fails: Arc<AtomicBool>,
    lists: Lists,
}

/// The shelf of feeds.
const FEEDS: &[u8] = &[1];

fn unless(fails: &AtomicBool) -> Result<(), Broken> {
    if fails.load(Ordering::SeqCst) { Err(Broken::new("the disk is read-only")) } else { Ok(()) }
}

impl Engine for Failing {
    fn open(&self) -> Result<Arc<dyn Index>, Broken> {
        unless(&self.fails)?;
        let (fails, lists) = (Arc::clone(&self.fails), self.lists.clone());
        Ok(Arc::new(FailingIndex { whole: self.whole.open()?, fails, lists }))
    }

    fn set_aside(&self) -> io::Result<()> {
        unless(&self.fails).map_err(io::Error::other)?;
        self.whole.set_aside()
    }
}

impl Index for FailingIndex {
    fn value(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Broken> {
        unless(&self.fails).and_then(|()| self.whole.value(tree, key))
    }

    fn apply(&self, changes: &[Change]) -> Result<(), Broken> {
        unless(&self.fails).and_then(|()| self.whole.apply(changes))
    }

    fn page(&self, tree: Tree, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Entry>, Broken> {
        if tree == Tree::Record && prefix == FEEDS && unless(&self.lists.fail).is_err() {
            self.lists.failed.fetch_add(1, Ordering::SeqCst);
            return unless(&self.lists.fail).and(Ok(Vec::new()));
        }
        unless(&self.fails).and_then(|()| self.whole.page(tree, prefix, from, limit))
    }

    fn last(&self, tree: Tree, prefix: &[u8]) -> Result<Option<Entry>, Broken> {
        unless(&self.fails).and_then(|()| self.whole.last(tree, prefix))
    }

    fn count(&self, tree: Tree) -> Result<u64, Broken> {
        unless(&self.fails).and_then(|()| self.whole.count(tree))
    }

    fn flush_durable(&self) -> Result<(), Broken> {
        unless(&self.fails).and_then(|()| self.whole.flush_durable())
    }
}

/// An engine that opens no index while its door is closed.
#[derive(Debug, Clone)]
struct Slow {
    whole: Sled,
    closed: Arc<Mutex<()>>,
}

impl Engine for Slow {
    fn open(&self) -> Result<Arc<dyn Index>, Broken> {
        drop(locked(&self.closed));
        self.whole.open()
    }

    fn set_aside(&self) -> io::Result<()> {
        self.whole.set_aside()
    }
}

/// A balancer is told, and is not kept waiting; and who asks over and over keeps one thread alone.
#[test]
fn a_site_is_not_ready_while_its_index_is_built_anew() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let closed = Arc::new(Mutex::new(()));
    let door = Arc::clone(&closed);
    let open = move |folder: &Path, options| {
        let engine = Slow { whole: Sled::new(folder), closed: door };
        Store::open_on(Arc::new(Folder::new(folder).unwrap()), Box::new(engine), options)
    };
    let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let starts = Node::start_on(folder.path(), Some("LA"), loopback, Keeping::default(), open);
    let la = runtime.block_on(starts).unwrap();
    runtime.block_on(la.reads_its_store()).unwrap();
    let shut = locked(&closed);
    let store = la.inner.site.clone();
    let building = std::thread::spawn(move || store.store().rebuild_index());
    let refused = loop {
        if let Err(refused) = runtime.block_on(la.reads_its_store()) {
            break refused;
        }
        assert!(!building.is_finished(), "the index cannot be opened");
    };
    assert_eq!((refused.status, refused.code.as_str()), (503, "busy"));
    drop(shut);
    building.join().unwrap().unwrap();
    runtime.block_on(la.reads_its_store()).unwrap();
}

/// Nobody may take it for a site that has everything, nor its clients for strangers.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_whose_store_cannot_be_read_is_in_step_with_nobody_and_says_that_it_fails() {
    let (ny, folder) = (lab("New York").await, tempfile::tempdir().unwrap());
    let fails = Arc::new(AtomicBool::new(false));
    let failing = Arc::clone(&fails);
    let open = move |folder: &Path, options| {
        let engine = Failing { whole: Sled::new(folder), fails: failing, lists: Lists::default() };
        Store::open_on(Arc::new(Folder::new(folder).unwrap()), Box::new(engine), options)
    };
    let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let la = Node::start_on(folder.path(), Some("LA"), loopback, Keeping::default(), open).await.unwrap();
    feed(&la, "tools").await;
    pair(&la, &ny.node, "mirror").await;
    settle(&ny.node).await;
    let new = api::NewToken { label: "ci".to_owned(), feeds: Vec::new(), write: true, admin: false };
    let token = la.create_token(new).await.unwrap().token;
    assert!(la.check_token(&token).await.unwrap().is_some());
    la.reads_its_store().await.unwrap();

    fails.store(true, Ordering::SeqCst);
    publish(&ny.node, "late", b"late").await.unwrap();
    for _ in 0..5 {
        let run = sync(&ny.node).await;
        assert_ne!(run.outcome, "done", "{run:?}");
    }
    assert!(la.check_token(&token).await.unwrap_err().status >= 500);
    assert!(la.reads_its_store().await.unwrap_err().status >= 500);

    fails.store(false, Ordering::SeqCst);
    settle(&ny.node).await;
    assert_eq!(la.package("tools", "late", "1.0").await.unwrap().state, "ready");
    assert!(la.check_token(&token).await.unwrap().is_some());
}

/// An offer that is not answered stays open, and so many may be open in a session and no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_could_not_take_up_what_it_was_offered_takes_up_what_it_is_offered_later() {
    let (ny, folder) = (lab("New York").await, tempfile::tempdir().unwrap());
    let (fails, lists) = (Arc::new(AtomicBool::new(false)), Lists::default());
    let failing = lists.clone();
    let open = move |folder: &Path, options| {
        let engine = Failing { whole: Sled::new(folder), fails, lists: failing };
        Store::open_on(Arc::new(Folder::new(folder).unwrap()), Box::new(engine), options)
    };
    let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let la = Node::start_on(folder.path(), Some("LA"), loopback, Keeping::default(), open).await.unwrap();
    let request = InviteRequest {
        feeds: vec!["*".to_owned()],
        peer_may: "pull".to_owned(),
        expires_ms: wall_clock().0 + 60_000,
        grant_life_ms: None,
        addresses: vec![ny.node.listen_address().to_string()],
    };
    let ticket = ny.node.invite(request).await.unwrap().ticket;
    la.accept(accept(&ticket)).await.unwrap();
    feed(&ny.node, "tools").await;
    publish(&ny.node, "one", b"1").await.unwrap();
    new_feeds::arrives(&la, "tools", "one").await;

    lists.fail.store(true, Ordering::SeqCst);
    let failed = async |least: usize| {
        let count = || lists.failed.load(Ordering::SeqCst);
        new_feeds::until("an offer fails", async || (count() >= least).then_some(())).await;
        drop(la.inner.link_edits.lock().await);
        count()
    };
    feed(&ny.node, "early").await;
    let mut count = failed(1).await;
    // One after the other, or one offer tells of several.
    for n in 1..OFFERS_OPEN_MAX {
        feed(&ny.node, &format!("early{n}")).await;
        count = failed(count + 1).await;
    }
    lists.fail.store(false, Ordering::SeqCst);
    feed(&ny.node, "late").await;
    new_feeds::until("late at LA", async || la.feed("late").await.ok()).await;
}
