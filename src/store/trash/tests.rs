//! What is deleted stays for its time, comes back by naming it again, and goes after.

use protocol::feed::Standing;
use protocol::filter::Filter;
use protocol::id::FeedId;
use protocol::op::{Block, Blocked, Publish, Unblock};
use protocol::package::{Coordinate, FeedKind};
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

    fn block(&mut self, target: Blocked) -> protocol::id::OpId {
        self.say(Body::Block(Block { target, reason: String::new() }))
    }

    fn unblock(&mut self, block: protocol::id::OpId) {
        self.say(Body::Unblock(Unblock { block, reason: String::new() }));
    }

    fn standing(&self, name: &str) -> Standing {
        self.store.item(self.feed, name, "1", look(&self.author)).unwrap().unwrap().standing
    }

    fn missing(&self) -> Vec<BlobId> {
        let missing = self.store.missing_blobs(self.feed, look(&self.author), &Filter::default()).unwrap();
        missing.into_iter().map(|one| one.blob).collect()
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

fn both_blocks(name: &str, bytes: &[u8]) -> [Blocked; 2] {
    let at = Coordinate::new(FeedKind::Raw, name, "1").unwrap();
    [Blocked::Coordinate(at), Blocked::Blob(id(bytes))]
}

/// A block may be lifted, and every site may have swept by then.
#[test]
fn blocked_bytes_stay_out_of_the_trash_until_the_block_is_lifted_or_the_version_deleted() {
    let bytes = Dice::new(6).bytes(90_000);
    for target in both_blocks("tool", &bytes) {
        let mut site = Site::new();
        ingest(&site.store, &bytes).unwrap();
        let op = site.say(publish("tool", "1", &bytes));
        let block = site.block(target);
        for anew in [false, true] {
            if anew {
                site.store.rebuild_index().unwrap();
            }
            for days in [0, 0, 0, 30] {
                assert_eq!(site.sweep(days), (Swept::default(), InTrash::default()), "index anew: {anew}");
            }
            assert_eq!(site.store.empty_trash(site.after(30)).unwrap(), Swept::default());
            assert_eq!(site.standing("tool"), Standing::Blocked);
        }
        site.unblock(block);
        assert_eq!(site.standing("tool"), Standing::Served);
        assert_eq!(read(&site.store, id(&bytes)).unwrap(), bytes);
        site.block(both_blocks("tool", &bytes)[0].clone());
        site.say(delete("tool", "1", vec![op]));
        assert_eq!(site.standing("tool"), Standing::Blocked);
        let (swept, trash) = site.sweep(31);
        assert_eq!((swept.blobs, trash.blobs), (0, 1), "what is deleted goes to the trash, blocked or not");
        assert_eq!(site.store.empty_trash(site.after(31)).unwrap().blobs, 1);
    }
}

#[test]
fn a_build_that_a_block_took_out_of_a_clash_keeps_its_bytes() {
    let mut site = Site::new();
    for bytes in [b"first", b"other"] {
        ingest(&site.store, bytes).unwrap();
        site.say(publish("tool", "1", bytes));
    }
    site.block(Blocked::Blob(id(b"first")));
    assert_eq!(site.standing("tool"), Standing::Served);
    assert_eq!(site.store.empty_trash(site.after(30)).unwrap(), Swept::default());
    assert_eq!(read(&site.store, id(b"first")).unwrap(), b"first");
}

#[test]
fn bytes_of_a_blocked_version_that_are_not_here_are_wanted_once_the_block_is_lifted() {
    for target in both_blocks("tool", b"elsewhere") {
        let mut site = Site::new();
        site.say(publish("tool", "1", b"elsewhere"));
        let block = site.block(target);
        assert_eq!(site.missing(), []);
        site.unblock(block);
        assert_eq!(site.missing(), [id(b"elsewhere")]);
    }
}
