//! Publishes that come together.

use std::sync::mpsc;
use std::time::Duration;

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

/// The log in which it stood would go nowhere any more, with all that is said after it.
#[test]
fn a_version_that_no_op_can_say_is_refused_and_what_is_published_after_it_travels() {
    let (site, feed, record) = a_feed();
    let one = version(&site, "tool", b"the bytes of each").manifest.files.remove(0);
    let files = (0..256).map(|n| File { name: format!("{n:0>200}.txt"), ..one.clone() }).collect();
    let coordinate = Coordinate::new(FeedKind::Raw, "many", "1").unwrap();
    let many = NewVersion { coordinate, manifest: Manifest::of(files).unwrap(), ..version(&site, "x", b"") };
    let refused = publish(&site, feed, &record, many).unwrap_err();
    assert!(matches!(refused, PublishError::Author(AuthorError::Unsayable(_))), "{refused}");
    assert!(refused.to_string().contains("65536"), "{refused}");
    assert_eq!(site.store().item(feed, "many", "1", site.look()).unwrap(), None);
    let after = version(&site, "after", b"after");
    publish(&site, feed, &record, after).unwrap();
    assert_eq!(as_a_peer_reads_it(&site, feed), 1);
}

#[test]
fn what_was_deleted_more_often_than_an_op_can_name_is_not_brought_back_in_vain() {
    let (site, feed, record) = a_feed();
    let new = version(&site, "tool", b"bytes");
    publish(&site, feed, &record, new.clone()).unwrap();
    let at = new.coordinate.clone();
    let gone = |_| Body::Delete(Delete { coordinate: at.clone(), saw: Vec::new(), reason: String::new() });
    for deletes in [600, 600] {
        site.author(feed, (0..deletes).map(gone).collect()).unwrap();
    }
    let refused = publish(&site, feed, &record, NewVersion { restore: true, ..new }).unwrap_err();
    assert!(refused.to_string().contains("1200"), "{refused}");
    assert_eq!(as_a_peer_reads_it(&site, feed), 1201);
}

/// How much of the site's log another one takes.
fn as_a_peer_reads_it(site: &SiteStore, feed: FeedId) -> u64 {
    let log = LogId { feed, author: site.me(), epoch: 1 };
    let mut held = protocol::log::Mmr::default();
    for batch in site.store().batches(log, 0, u64::MAX).unwrap() {
        held = batch.verify(&held).unwrap().after().clone();
    }
    held.len()
}
