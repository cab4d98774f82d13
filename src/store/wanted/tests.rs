//! What a filter leaves to be fetched: names, newest versions, sizes, ages.

use super::*;
use crate::store::disk::fake::FakeDisk;
use crate::store::engine::InMemory;
use crate::store::ops::tests::{Author, delete, look, publish, record};
use crate::store::tests::open;

fn wanted(store: &Store, author: &Author, feed: FeedId, filter: &str) -> Vec<u64> {
    let filter = filter.parse().unwrap();
    let missing = store.missing_blobs(feed, look(author), &filter).unwrap();
    let mut sizes: Vec<u64> = missing.iter().map(|one| one.size).collect();
    sizes.sort_unstable();
    sizes
}

#[test]
fn a_filter_narrows_what_is_fetched_and_the_next_newest_takes_a_deleted_ones_place() {
    let store = open(&FakeDisk::new(), &InMemory::default());
    let mut author = Author::new(1);
    let feed = store.put_feed(&record(&author)).unwrap();
    for (name, version, size) in [("a", "1", 10), ("a", "2", 20), ("a", "3", 30), ("b", "1", 1_000)] {
        store.append(&[author.says(feed, vec![publish(name, version, &vec![7; size])])]).unwrap();
    }
    assert_eq!(wanted(&store, &author, feed, "none"), [10, 20, 30, 1_000]);
    assert_eq!(wanted(&store, &author, feed, "name=a"), [10, 20, 30]);
    assert_eq!(wanted(&store, &author, feed, "size=20"), [10, 20]);
    assert_eq!(wanted(&store, &author, feed, "latest=1"), [30, 1_000]);
    assert_eq!(wanted(&store, &author, feed, "latest=2,name=a"), [20, 30]);
    assert_eq!(wanted(&store, &author, feed, "age=59s"), [0_u64; 0]);
    assert_eq!(wanted(&store, &author, feed, "age=61s").len(), 4);
    store.append(&[author.says(feed, vec![delete("a", "3", Vec::new())])]).unwrap();
    assert_eq!(wanted(&store, &author, feed, "latest=1"), [20, 1_000]);
    let (newest, older) = ([7_u8; 20], [7_u8; 10]);
    let one: Filter = "latest=1".parse().unwrap();
    let carries = |bytes: &[u8]| {
        store.carries(feed, BlobId(*blake3::hash(bytes).as_bytes()), look(&author), &one, None).unwrap()
    };
    assert!(carries(&newest) && !carries(&older));
    assert_eq!(
        Timestamp(look(&author).now.0 - 60_000),
        store.missing_blobs(feed, look(&author), &one).unwrap()[0].published
    );
}

/// [P-13] [P-45] What counts at its own site alone leaves it never, nor do its bytes, whoever knows their hash.
#[test]
fn the_bytes_of_what_counts_at_its_own_site_alone_are_carried_nowhere() {
    let store = open(&FakeDisk::new(), &InMemory::default());
    let (mut origin, mut other) = (Author::new(1), Author::new(2));
    let feed = store.put_feed(&record(&origin)).unwrap();
    store.append(&[origin.says(feed, vec![publish("a", "1", b"shared")])]).unwrap();
    store
        .append(&[other.says(feed, vec![publish("b", "1", b"secret"), publish("c", "1", b"shared")])])
        .unwrap();
    for filter in ["none", "name=*"] {
        let filter: Filter = filter.parse().unwrap();
        let carries = |bytes: &[u8], also| {
            let blob = BlobId(*blake3::hash(bytes).as_bytes());
            store.carries(feed, blob, look(&other), &filter, also).unwrap()
        };
        assert!(carries(b"shared", None));
        assert!(!carries(b"secret", None));
        assert!(carries(b"secret", Some(other.site())), "who only pushes offers its own log");
    }
}
