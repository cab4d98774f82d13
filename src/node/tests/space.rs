//! Too little room, quotas and the trash between real nodes.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::api::ruling::{FeedChange, Version};
use crate::store::disk::{Disk, Folder, Held, PackFile};
use crate::store::engine::Sled;

fn at(name: &str) -> Version {
    Version { name: name.to_owned(), version: "1.0".to_owned() }
}

async fn quota(node: &Node, size: &str) -> api::Feed {
    let change = FeedChange { quota: Some(size.to_owned()), ..FeedChange::default() };
    node.change_feed("tools", change).await.unwrap()
}

async fn state(node: &Node, name: &str) -> String {
    node.package("tools", name, "1.0").await.unwrap().state
}

async fn delete(node: &Node, name: &str) {
    node.delete("tools", name, "1.0", String::new(), false).await.unwrap();
}

/// Item 4 of the safety work: a publish over the quota is refused, says by how much, and goes once the quota is raised.
#[tokio::test(flavor = "multi_thread")]
async fn a_publish_over_the_quota_is_refused_and_goes_once_it_is_raised() {
    let la = lab("Los Angeles").await;
    feed(&la.node, "tools").await;
    publish(&la.node, "first", &[1; 60_000]).await.unwrap();
    let feed = quota(&la.node, "100KB").await;
    assert_eq!((feed.quota_bytes, feed.held_bytes), (Some(100_000), Some(60_000)));
    let refused = publish(&la.node, "second", &[2; 60_000]).await.unwrap_err();
    assert_eq!((refused.status, refused.code.as_str()), (507, "quota"));
    assert!(refused.detail.contains("100000") && refused.detail.contains("20000"), "{refused:?}");
    publish(&la.node, "first", &[1; 60_000]).await.unwrap();
    quota(&la.node, "200KB").await;
    publish(&la.node, "second", &[2; 60_000]).await.unwrap();
    assert_eq!(quota(&la.node, "none").await.quota_bytes, None);
    let wrong = FeedChange { quota: Some("plenty".to_owned()), ..FeedChange::default() };
    assert_eq!(la.node.change_feed("tools", wrong).await.unwrap_err().status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_twice_is_told_as_deleted_and_not_as_unknown() {
    let la = lab("Los Angeles").await;
    feed(&la.node, "tools").await;
    publish(&la.node, "first", b"1").await.unwrap();
    let again = |name: &'static str| la.node.delete("tools", name, "1.0", String::new(), false);
    again("first").await.unwrap();
    let (twice, unknown) = (again("first").await.unwrap_err(), again("second").await.unwrap_err());
    assert_eq!((twice.status, unknown.status), (404, 404));
    assert!(twice.detail.contains("deleted already") && unknown.detail.contains("not here"), "{twice:?}");
    assert!(twice.hint.is_some_and(|hint| hint.contains("trash restore")));
}

/// What the quota has no room for waits, says so, and comes by itself once there is.
#[tokio::test(flavor = "multi_thread")]
async fn a_pull_over_the_quota_waits_and_goes_on_when_it_is_raised() {
    let (la, ny) = (lab("Los Angeles").await, lab("New York").await);
    feed(&la.node, "tools").await;
    publish(&la.node, "first", &[1; 60_000]).await.unwrap();
    pair(&la.node, &ny.node, "pull").await;
    settle(&ny.node).await;
    quota(&ny.node, "100KB").await;
    publish(&la.node, "second", &[2; 60_000]).await.unwrap();
    delete(&la.node, "first").await;
    settle(&ny.node).await;
    let run = sync(&ny.node).await;
    assert_eq!((run.outcome.as_str(), run.blobs_over_quota), ("done", 1));
    assert!(run.reason.is_some_and(|reason| reason.contains("quota")));
    assert_eq!(state(&ny.node, "second").await, "over-quota");
    assert_eq!(state(&ny.node, "first").await, "deleted", "deletions go on");
    assert!(ny.node.why("tools", "second", "1.0").await.unwrap().because.contains("quota"));
    let findings = ny.node.doctor().await.unwrap().findings;
    assert!(findings.iter().any(|finding| finding.kind == "quota"), "{findings:?}");
    let status = ny.node.status(None).await.unwrap();
    assert!(status.links[0].as_of_ms < status.links[0].last_run.as_ref().map(|run| run.started_ms));
    quota(&ny.node, "200KB").await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while state(&ny.node, "second").await != "ready" {
        assert!(tokio::time::Instant::now() < deadline, "it never came");
        tokio::task::yield_now().await;
    }
    settle(&ny.node).await;
    assert!(ny.node.doctor().await.unwrap().findings.iter().all(|finding| finding.kind != "quota"));
}

/// Whose quota is full does not have what it has no room for, and neither end says so.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_quota_keeps_out_is_missing_there_for_whoever_sends_it() {
    for may in ["push", "mirror", "pull"] {
        let (la, ny) = (lab("Los Angeles").await, lab("New York").await);
        feed(&la.node, "tools").await;
        pair(&la.node, &ny.node, may).await;
        settle(&ny.node).await;
        let (full, source) = if may == "pull" { (&ny, &la) } else { (&la, &ny) };
        quota(&full.node, "1KB").await;
        publish(&source.node, "tool", &[7; 90_000]).await.unwrap();
        for _ in 0..2 {
            settle(&ny.node).await;
            assert_eq!(state(&full.node, "tool").await, "over-quota", "{may}");
            // The end that was called notes a run a moment later.
            let deadline = tokio::time::Instant::now() + PATIENCE;
            let (there, run) = loop {
                let there = only_link(&source.node).await;
                let run = there.last_run.clone().unwrap();
                if (run.outcome.as_str(), run.blobs_missing_there) == ("done", 1) {
                    break (there, run);
                }
                assert!(tokio::time::Instant::now() < deadline, "{may}: {run:?}");
                tokio::task::yield_now().await;
            };
            assert!(run.reason.as_ref().is_some_and(|reason| reason.contains("quota")), "{may}: {run:?}");
            assert!(there.peer_as_of_ms < Some(run.started_ms), "{may}: {there:?}");
            // A run that goes on by itself tells nothing before its end.
            eventually("it is told by status", async || source.node.status(None).await.unwrap().verdict == 3)
                .await;
            let told = async || {
                let findings = source.node.doctor().await.unwrap().findings;
                findings.iter().any(|finding| finding.kind == "not-there")
            };
            eventually("it is told by doctor", told).await;
        }
        quota(&full.node, "1MB").await;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while state(&full.node, "tool").await != "ready" {
            assert!(tokio::time::Instant::now() < deadline, "{may}: it never came");
            sync(&ny.node).await;
        }
        loop {
            assert!(tokio::time::Instant::now() < deadline, "{may}: it is told for ever");
            let there = only_link(&source.node).await;
            let run = there.last_run.clone().unwrap();
            if run.blobs_missing_there == 0 && there.peer_as_of_ms == Some(run.started_ms) {
                break;
            }
            sync(&ny.node).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_is_taken_back_from_the_trash_at_every_site() {
    let (la, ny) = (lab("Los Angeles").await, lab("New York").await);
    feed(&la.node, "tools").await;
    publish(&la.node, "tool", &[7; 300_000]).await.unwrap();
    pair(&la.node, &ny.node, "pull").await;
    settle(&ny.node).await;
    delete(&la.node, "tool").await;
    settle(&ny.node).await;
    let trash = ny.node.trash(None).await.unwrap();
    let told: Vec<_> = trash.versions.iter().map(|one| (one.name.as_str(), one.bytes)).collect();
    assert_eq!((told, trash.grace_ms), (vec![("tool", 300_000)], 14 * 86_400_000));
    for _ in 0..4 {
        assert_eq!(la.node.sweep(false).await.unwrap().blobs, 0, "its grace is not over");
    }
    assert!(la.node.trash(Some("tools".to_owned())).await.unwrap().versions[0].until_ms.is_some());
    let restored = la.node.restore_from_trash("tools", at("tool")).await.unwrap();
    assert_eq!(restored.state, "ready");
    settle(&ny.node).await;
    assert_eq!(state(&ny.node, "tool").await, "ready");
    assert!(la.node.trash(None).await.unwrap().versions.is_empty());
    delete(&la.node, "tool").await;
    let emptied = la.node.empty_trash().await.unwrap();
    assert_eq!(emptied.blobs, 1, "{emptied:?}");
    assert_eq!(la.node.restore_from_trash("tools", at("tool")).await.unwrap_err().status, 404);
}

/// A folder on a disk that has as much room as a test says.
#[derive(Debug)]
struct Tight {
    folder: Folder,
    free_bytes: Arc<AtomicU64>,
}

impl Disk for Tight {
    fn folder(&self) -> String {
        self.folder.folder()
    }

    fn lock(&self) -> io::Result<Box<dyn Held>> {
        self.folder.lock()
    }

    fn packs(&self) -> io::Result<Vec<u32>> {
        self.folder.packs()
    }

    fn create_pack(&self, pack: u32) -> io::Result<Arc<dyn PackFile>> {
        self.folder.create_pack(pack)
    }

    fn open_pack(&self, pack: u32) -> io::Result<Arc<dyn PackFile>> {
        self.folder.open_pack(pack)
    }

    fn remove_pack(&self, pack: u32) -> io::Result<()> {
        self.folder.remove_pack(pack)
    }

    fn read_small(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.folder.read_small(name)
    }

    fn write_small(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.folder.write_small(name, bytes)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.free_bytes.load(Ordering::SeqCst))
    }

    fn keep_room(&self, _bytes: u64) -> io::Result<()> {
        Ok(())
    }

    fn give_room(&self) -> io::Result<bool> {
        Ok(false)
    }
}

async fn tight(folder: &Path, name: &str, free_bytes: &Arc<AtomicU64>) -> Node {
    let free_bytes = Arc::clone(free_bytes);
    let open = move |folder: &Path, options| {
        let disk = Tight { folder: Folder::new(folder).unwrap(), free_bytes };
        Store::open_on(Arc::new(disk), Box::new(Sled::new(folder)), options)
    };
    let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
    Node::start_on(folder, Some(name), loopback, Keeping::default(), open).await.unwrap()
}

/// Item 4 of the safety work: below the reserve nothing is taken in, and whoever tries is told the figures and what to do; reading and deleting go on; once
/// there is room, what stopped goes on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_takes_nothing_in_reads_and_deletes_and_recovers_by_itself() {
    let (la, folder) = (lab("Los Angeles").await, tempfile::tempdir().unwrap());
    let free = Arc::new(AtomicU64::new(10_000_000_000));
    let ny = tight(folder.path(), "New York", &free).await;
    feed(&la.node, "tools").await;
    for name in ["first", "second", "third"] {
        publish(&la.node, name, name.as_bytes()).await.unwrap();
    }
    pair(&la.node, &ny, "mirror").await;
    settle(&ny).await;
    free.store(999_999_999, Ordering::SeqCst);
    publish(&la.node, "late", &[9; 60_000]).await.unwrap();
    delete(&la.node, "first").await;
    let run = sync(&ny).await;
    assert_eq!(run.outcome, "disk-full", "{run:?}");
    let reason = run.reason.unwrap();
    assert!(reason.contains("999999999") && reason.contains("trash empty"), "{reason}");
    assert_eq!((state(&ny, "late").await, state(&ny, "first").await), ("pending".into(), "deleted".into()));
    let mut upload = ny.begin_upload();
    let refused = match upload.write(Bytes::from(vec![3; 300_000])).await {
        Ok(()) => upload.finish().await.unwrap_err(),
        Err(refused) => refused,
    };
    assert_eq!((refused.status, refused.code.as_str()), (507, "disk-full"));
    assert!(refused.detail.contains("999999999") && refused.detail.contains("1000000000"), "{refused:?}");
    assert_eq!(ny.open_file("tools", "second", "1.0", "file.bin").await.unwrap().size, 6);
    delete(&ny, "third").await;
    assert_eq!(state(&ny, "third").await, "deleted");
    assert!(ny.status(None).await.unwrap().space.full);
    let findings = ny.doctor().await.unwrap().findings;
    assert!(findings.iter().any(|found| found.kind == "disk" && found.severity == "error"), "{findings:?}");
    ny.look_at_disk(ny.disk_low_bytes()).await;
    // There is room again, and the disk is still low.
    free.store(1_100_000_000, Ordering::SeqCst);
    ny.look_at_disk(ny.disk_low_bytes()).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while state(&ny, "late").await != "ready" {
        assert!(tokio::time::Instant::now() < deadline, "it never went on");
        tokio::task::yield_now().await;
    }
    publish(&ny, "mine", b"mine").await.unwrap();
}

/// What is dead in packs that are nearly whole is not worth moving the rest, unless the room is needed.
#[tokio::test]
async fn a_full_disk_gets_back_all_that_is_dead() {
    let folder = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(10_000_000_000));
    let ny = tight(folder.path(), "New York", &free).await;
    feed(&ny, "tools").await;
    publish(&ny, "stays", &[1; 18 << 20]).await.unwrap();
    publish(&ny, "goes", &[2; 2 << 20]).await.unwrap();
    delete(&ny, "goes").await;
    let emptied = ny.empty_trash().await.unwrap();
    assert_eq!((emptied.blobs, emptied.packs), (1, 0), "{emptied:?}");
    // What stays is written elsewhere before the pack goes; without room for that somebody has to make some, and is told how much.
    free.store(10_000_000, Ordering::SeqCst);
    let swept = ny.sweep(false).await.unwrap();
    assert!(swept.packs == 0 && (8 << 20..10 << 20).contains(&swept.bytes_lacking), "{swept:?}");
    free.store(999_999_999, Ordering::SeqCst);
    let swept = ny.sweep(false).await.unwrap();
    assert_eq!(swept.bytes_lacking, 0);
    assert!(swept.packs == 1 && swept.bytes_freed >= 2 << 20, "{swept:?}");
    assert_eq!(ny.open_file("tools", "stays", "1.0", "file.bin").await.unwrap().size, 18 << 20);
}
