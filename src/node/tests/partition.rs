//! Sites that are apart for long and go on working.

use protocol::id::BlobId;
use protocol::manifest::{File, Manifest};
use protocol::op::{Body, Delete, Publish};
use protocol::package::{Coordinate, FeedKind};

use super::*;

/// Ops of each side while they are apart, a tenth of them deletes of what the other side had published.
const APART: usize = 10_000;
const DELETED: usize = 1_000;
/// Ops of one statement.
const AT_ONCE: usize = 1_000;

/// The one content of all packages.
const CONTENT: &[u8] = b"the same bytes";

fn coordinate(name: &str) -> Coordinate {
    Coordinate::new(FeedKind::Raw, name, "1.0").unwrap()
}

fn publishes(prefix: &str, count: usize) -> Vec<Body> {
    let blob = BlobId(*blake3::hash(CONTENT).as_bytes());
    let file = File { name: "file.bin".to_owned(), blob, size: CONTENT.len() as u64, sha256: [0; 32] };
    let manifest = Manifest::of(vec![file]).unwrap();
    let publish = |n: usize| Publish {
        coordinate: coordinate(&format!("{prefix}-{n}")),
        manifest: manifest.clone(),
        supersedes: vec![],
        provenance: None,
    };
    (0..count).map(|n| Body::Publish(publish(n))).collect()
}

fn deletes(prefix: &str, count: usize) -> Vec<Body> {
    let delete = |n: usize| Delete {
        coordinate: coordinate(&format!("{prefix}-{n}")),
        saw: vec![],
        reason: "withdrawn".to_owned(),
    };
    (0..count).map(|n| Body::Delete(delete(n))).collect()
}

async fn says(node: &Node, feed: FeedId, bodies: Vec<Body>) {
    for some in bodies.chunks(AT_ONCE) {
        let some = some.to_vec();
        node.blocking(move |site| Ok(site.author(feed, some)?)).await.unwrap();
    }
    node.news(None);
}

async fn root(node: &Node, feed: FeedId) -> [u8; 32] {
    node.blocking(move |site| Ok(site.store().state_root(feed, site.look())?.0)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sites_that_were_apart_with_ten_thousand_ops_each_agree_after_two_runs_and_no_deletion_comes_undone()
{
    let (ny, la) = (lab("New York").await, lab("Los Angeles").await);
    feed(&ny.node, "tools").await;
    publish(&ny.node, "seed", CONTENT).await.unwrap();
    pair(&ny.node, &la.node, "mirror").await;
    sync(&la.node).await;
    let (id, _) = ny.node.inner.site.store().feeds().unwrap().remove(0);
    says(&ny.node, id, publishes("of-ny", DELETED)).await;
    says(&la.node, id, publishes("of-la", DELETED)).await;
    settle(&la.node).await;

    pause(&la.node, true).await;
    for (node, own, others) in [(&ny.node, "ny-apart", "of-la"), (&la.node, "la-apart", "of-ny")] {
        says(node, id, publishes(own, APART - DELETED)).await;
        says(node, id, deletes(others, DELETED)).await;
    }
    pause(&la.node, false).await;
    let runs = [sync(&la.node).await, sync(&la.node).await];
    assert!(runs.iter().all(|run| run.outcome == "done"), "{runs:?}");
    assert_eq!(root(&ny.node, id).await, root(&la.node, id).await);
    let expected = 1 + 2 * (APART - DELETED);
    for node in [&ny.node, &la.node] {
        let mut served = BTreeSet::new();
        node.blocking(move |site| {
            site.store().each_item(id, site.look(), |at, item| -> Result<(), Problem> {
                if item.winner.is_some() {
                    served.insert(at.name);
                }
                Ok(())
            })?;
            assert_eq!(served.len(), expected);
            assert!(!served.iter().any(|name| name.starts_with("of-")), "a deletion came undone");
            Ok(())
        })
        .await
        .unwrap();
    }
}
