//! What is deleted stays for its time, comes back by naming it again, and goes after.

use protocol::id::FeedId;
use protocol::op::Publish;
use protocol::time::Hlc;

use super::*;
use crate::store::disk::fake::FakeDisk;
use crate::store::engine::InMemory;
use crate::store::ops::tests::{Author, delete, look, publish, record};
use crate::store::tests::{Dice, id, ingest, open, read};

const DAY_MS: u64 = 86_400_000;

struct Site {
    store: Store,
    author: Author,
    feed: FeedId,
}

impl Site {
    fn new() -> Self {
        let store = open(&FakeDisk::new(), &InMemory::default());
        let author = Author::new(60);
        let feed = store.put_feed(&record(&author)).unwrap();
        Self { store, author, feed }
    }

    fn say(&mut self, body: Body) -> protocol::id::OpId {
        let said = self.author.says(self.feed, vec![body]);
        let op = said.inner().ops()[0].id;
        self.store.append(&[said]).unwrap();
        op
    }

    fn deleted(&mut self, name: &str, bytes: &[u8]) -> protocol::id::OpId {
        ingest(&self.store, bytes).unwrap();
        let op = self.say(publish(name, "1", bytes));
        self.say(delete(name, "1", vec![op]))
    }

    fn after(&self, days: u64) -> Look {
        let look = look(&self.author);
        Look { now: Timestamp(look.now.0 + days * DAY_MS), ..look }
    }

    fn sweep(&self, days: u64) -> (Swept, InTrash) {
        self.store.sweep_after(self.after(days), 7 * DAY_MS, false).unwrap()
    }
}

#[test]
fn deleted_bytes_stay_for_their_time_and_bytes_that_no_op_names_do_not() {
    let mut site = Site::new();
    let bytes = Dice::new(1).bytes(90_000);
    site.deleted("tool", &bytes);
    ingest(&site.store, b"an upload that came to nothing").unwrap();
    assert_eq!(site.sweep(0), (Swept::default(), InTrash::default()), "all of it was just stored");
    assert_eq!(site.sweep(0), (Swept::default(), InTrash::default()));
    let (swept, trash) = site.sweep(0);
    assert_eq!((swept.blobs, trash), (1, InTrash { blobs: 1, bytes: 90_000 }));
    assert_eq!(site.store.in_trash().unwrap(), trash);
    assert_eq!(site.sweep(6).1, trash);
    let dry = site.store.sweep_after(site.after(7), 7 * DAY_MS, true).unwrap();
    assert_eq!((dry.0.blobs, read(&site.store, id(&bytes)).unwrap().len()), (1, 90_000));
    assert_eq!(site.sweep(7), dry);
    assert_eq!(site.store.blob_state(id(&bytes)).unwrap(), BlobState::Missing);
    assert_eq!(site.store.in_trash().unwrap(), InTrash::default());
}

#[test]
fn what_was_taken_back_begins_a_time_of_its_own_when_it_is_deleted_again() {
    let mut site = Site::new();
    let bytes = Dice::new(2).bytes(90_000);
    let deleted = site.deleted("tool", &bytes);
    for _ in 0..3 {
        site.sweep(0);
    }
    let Body::Publish(again) = publish("tool", "1", &bytes) else { unreachable!("it is a publish") };
    let restored = site.say(Body::Publish(Publish { supersedes: vec![deleted], ..again }));
    assert_eq!(site.sweep(5), (Swept::default(), InTrash::default()));
    site.say(delete("tool", "1", vec![restored]));
    assert_eq!(site.sweep(9).1.blobs, 1, "its first stay in the trash counts for nothing");
    assert_eq!(site.sweep(15).1.blobs, 1);
    assert_eq!(site.sweep(16).0.blobs, 1);
}

/// No sweep comes between the two: only the publish itself tells that the bytes were needed.
#[test]
fn what_was_taken_back_and_deleted_again_before_a_sweep_saw_it_stays_for_its_whole_time() {
    let mut site = Site::new();
    let bytes = Dice::new(5).bytes(90_000);
    let deleted = site.deleted("tool", &bytes);
    for _ in 0..3 {
        site.sweep(0);
    }
    let Body::Publish(again) = publish("tool", "1", &bytes) else { unreachable!("it is a publish") };
    let restored = site.say(Body::Publish(Publish { supersedes: vec![deleted], ..again }));
    site.say(delete("tool", "1", vec![restored]));
    assert_eq!(site.sweep(9).1.blobs, 1, "its first stay in the trash counts for nothing");
    assert_eq!(site.sweep(16).0.blobs, 1);
}

/// At the moment at which a stamp of the future falls due no op comes that could take the bytes out of the trash.
#[test]
fn what_an_op_may_bring_back_that_is_not_due_yet_is_not_in_the_trash() {
    let mut site = Site::new();
    let bytes = Dice::new(6).bytes(90_000);
    let deleted = site.deleted("tool", &bytes);
    let keeper = Author::new(61).site();
    site.author.clock = Hlc::default().next(site.after(1).now);
    let Body::Publish(again) = publish("tool", "1", &bytes) else { unreachable!("it is a publish") };
    let restored = site.say(Body::Publish(Publish { supersedes: vec![deleted], ..again }));
    let sweep = |site: &Site, days| {
        let look = Look { me: keeper, ..site.after(days) };
        site.store.sweep_after(look, 7 * DAY_MS, false).unwrap()
    };
    for _ in 0..3 {
        assert_eq!(sweep(&site, 0), (Swept::default(), InTrash::default()), "its author's stamp waits");
    }
    site.say(delete("tool", "1", vec![restored]));
    assert_eq!(sweep(&site, 9).1.blobs, 1, "only since then does nothing need it");
    assert_eq!(sweep(&site, 16).0.blobs, 1);
}

#[test]
fn the_trash_is_emptied_at_once_and_uploads_under_way_stay() {
    let mut site = Site::new();
    let bytes = Dice::new(3).bytes(90_000);
    site.deleted("tool", &bytes);
    ingest(&site.store, b"an upload under way").unwrap();
    let swept = site.store.empty_trash(site.after(0)).unwrap();
    assert_eq!((swept.blobs, swept.bytes), (1, 90_000));
    assert_eq!(read(&site.store, id(b"an upload under way")).unwrap(), b"an upload under way");
    assert_eq!(site.store.in_trash().unwrap(), InTrash::default());
}

/// A clock that was set back makes nothing go early.
#[test]
fn a_clock_set_back_keeps_the_trash() {
    let mut site = Site::new();
    site.deleted("tool", &Dice::new(4).bytes(9_000));
    for _ in 0..3 {
        site.sweep(5);
    }
    assert_eq!(site.sweep(0).1.blobs, 1);
    assert_eq!(site.sweep(11).1.blobs, 1);
    assert_eq!(site.sweep(12).0.blobs, 1);
}

/// What lies on disk is read by every later version.
#[test]
fn a_note_of_trash_is_these_bytes() {
    let note = Trashed { since: Timestamp(1_000), bytes: 300 };
    assert_eq!(keys::encode(&note), [1, 0xe8, 7, 0xac, 2]);
}
