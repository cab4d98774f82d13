//! Publishes that come together.

use std::sync::mpsc;
use std::time::Duration;

use protocol::manifest::File;
use protocol::package::FeedKind;

use super::*;
use crate::keeper;

/// Longer than a publish takes to get to where it waits for another one.
const WITHIN: Duration = Duration::from_millis(300);

fn a_feed() -> (SiteStore, FeedId, FeedRecord) {
    let (key, store, feed) = keeper::tests::a_feed();
    let record = store.feed(feed).unwrap().unwrap();
    (SiteStore::new(store, key), feed, record)
}

fn version(site: &SiteStore, name: &str, content: &[u8]) -> NewVersion {
    let mut ingest = site.store().ingest();
    ingest.write(content).unwrap();
    let stored = ingest.finish().unwrap();
    let file = File { name: "file".to_owned(), blob: stored.blob, size: stored.size, sha256: stored.sha256 };
    let coordinate = Coordinate::new(FeedKind::Raw, name, "1").unwrap();
    NewVersion { coordinate, manifest: Manifest::of(vec![file]).unwrap(), restore: false, provenance: None }
}

/// Each of the two has room alone. The second one begins before the first is said, and is said after it.
#[test]
fn of_two_publishes_that_come_together_one_finds_the_room_of_the_quota_taken() {
    let (site, feed, record) = a_feed();
    let [first, second] = [b"first".repeat(1000), b"other".repeat(1000)];
    let (first, second) = (version(&site, "first", &first), version(&site, "second", &second));
    site.store().set_quota(feed, Some(7_000)).unwrap();
    let (begun, begins) = mpsc::channel();
    let (done, ends) = mpsc::channel();
    let other = site.clone();
    let mut late = None;
    let said = site.author_if(feed, |_store| {
        late = Some(std::thread::spawn(move || {
            begun.send(()).unwrap();
            let published = publish(&other, feed, &record, second);
            done.send(()).unwrap();
            published
        }));
        begins.recv().unwrap();
        assert_eq!(ends.recv_timeout(WITHIN), Err(mpsc::RecvTimeoutError::Timeout));
        let (coordinate, manifest) = (first.coordinate, first.manifest);
        let body = Publish { coordinate, manifest, supersedes: Vec::new(), provenance: None };
        Ok::<_, PublishError>(vec![Body::Publish(body)])
    });
    said.unwrap();
    let refused = late.unwrap().join().unwrap().unwrap_err();
    assert!(matches!(refused, PublishError::Quota { quota: 7_000, over: 3_000, .. }), "{refused}");
}
