//! Frames, ops and proofs that no honest site sends: the words of the cheat of the rig, and of the one in the worlds.

use ed25519_dalek::SigningKey;
use protocol::fork::Fork;
use protocol::frame::{Applied, Exports, Forks, Frame, HeadNote, Polled, Rights, Supply, WantOps};
use protocol::id::{BlobId, FeedId, LogId, SiteId};
use protocol::log::{Batch, Entry, Head, Mmr, Reach, SignedHead, Verified};
use protocol::manifest::{File, Manifest};
use protocol::op::{Body, Delete, Op, Place, Publish};
use protocol::package::{Coordinate, FeedKind};
use protocol::range::Range;
use protocol::reconcile::{Print, Question, Questions, Salt};
use protocol::time::{Hlc, Timestamp};
use protocol::transfer::Ask;

/// A length that no frame may have.
pub const TOO_LONG: [u8; 4] = 0x8020_0000_u32.to_be_bytes();
/// A frame that does not decode.
pub const MALFORMED: [u8; 3] = [0x19, 0xff, 0xff];
/// A frame of no known type.
pub const UNKNOWN: [u8; 1] = [0x7f];

/// The name of bytes.
#[must_use]
pub fn blob(bytes: &[u8]) -> BlobId {
    BlobId(*blake3::hash(bytes).as_bytes())
}

/// A version of a package.
///
/// # Panics
/// When the name is none.
#[must_use]
pub fn coordinate(name: &str) -> Coordinate {
    Coordinate::new(FeedKind::Raw, name, "1").expect("a plain name")
}

/// Publishes a package of one file.
///
/// # Panics
/// When the name is none.
#[must_use]
pub fn publish(name: &str, bytes: &[u8]) -> Body {
    let file = File { name: "file".to_owned(), blob: blob(bytes), size: bytes.len() as u64, sha256: [0; 32] };
    let manifest = Manifest::of(vec![file]).expect("one file");
    Body::Publish(Publish { coordinate: coordinate(name), manifest, supersedes: vec![], provenance: None })
}

/// Deletes a package without a look at what stands there.
///
/// # Panics
/// When the name is none.
#[must_use]
pub fn delete(name: &str) -> Body {
    Body::Delete(Delete { coordinate: coordinate(name), saw: vec![], reason: String::new() })
}

/// A key that nobody was told of.
#[must_use]
pub fn stranger() -> SigningKey {
    SigningKey::from_bytes(&[77; 32])
}

/// A log of somebody to whom nothing was granted.
#[must_use]
pub fn foreign(feed: FeedId) -> Batch {
    let key = stranger();
    let log = LogId { feed, author: SiteId(key.verifying_key().to_bytes()), epoch: 1 };
    let wall = Timestamp(1_795_000_000_000);
    Verified::author(&key, log, &Mmr::default(), vec![publish("x", b"x")], Hlc::default(), wall).to_batch()
}

/// Ops in a log of somebody else's, after what is held of it, under a signature of another key. All but the signature is right.
#[must_use]
pub fn in_the_name_of(log: LogId, held: &Mmr, bodies: Vec<Body>, key: &SigningKey, wall: Timestamp) -> Batch {
    let (mut after, mut stamp) = (held.clone(), Hlc::default());
    let mut entries = Vec::new();
    for body in bodies {
        stamp = stamp.next(wall);
        let op = Op { place: Place { log, seq: after.len() }, stamp, body };
        let statement = op.encode_statement();
        after.push(Op::id_of(op.place, &statement));
        entries.push(Entry::Op(statement));
    }
    let head = Head { log, len: after.len(), root: after.root(), time: wall }.sign(key);
    Batch { first: held.len(), entries, head }
}

/// A batch whose head was changed under its signature.
#[must_use]
pub fn changed(mut batch: Batch) -> Batch {
    batch.head.head.time.0 += 1;
    batch
}

/// A batch without its last op.
#[must_use]
pub fn shortened(mut batch: Batch) -> Batch {
    batch.entries.pop();
    batch
}

/// A batch of what is no op.
#[must_use]
pub fn garbled(mut batch: Batch) -> Batch {
    batch.entries = vec![Entry::Op(vec![1, 2, 3])];
    batch
}

/// A note of a batch's head.
#[must_use]
pub const fn note(batch: &Batch) -> HeadNote {
    let head = batch.head.head;
    let (author, epoch) = (head.log.author, head.log.epoch);
    HeadNote { feed: 0, author, epoch, reach: Reach { len: head.len, root: head.root, gaps: 0 } }
}

/// More questions about ranges than a run has.
#[must_use]
pub fn ranges_without_end() -> Vec<Frame> {
    let questions = vec![Question::Print(Range::ALL, Print([0; 8])); 1024];
    vec![Frame::Questions(Questions { salt: Salt([0; 8]), questions }); 65]
}

/// More heads than a frame may ask for.
#[must_use]
pub fn heads_without_end() -> Frame {
    Frame::HeadsOf(vec![[0; 32]; 1024])
}

/// One log, again and again.
#[must_use]
pub fn log_without_end(author: SiteId) -> Frame {
    Frame::WantOps(vec![WantOps { feed: 0, author, epoch: 1, from: 0 }; 1000])
}

/// More bytes than may be open.
#[must_use]
pub fn wants_without_end() -> Frame {
    Frame::Want(vec![Ask::Extents { blob: BlobId([1; 32]), from: 0, to: u32::MAX }; 4])
}

/// Says of two heads of an author, of which the other is real, that no history has both.
#[must_use]
pub fn fork_of_nobody(real: &SignedHead, history: &Mmr) -> Frame {
    let mut one = real.clone();
    one.head.root = [9; 32];
    let fork = Fork { one, other: real.clone(), path: history.runs() };
    Frame::Forks(Forks { heads: Vec::new(), forks: vec![fork] })
}

/// Shows what an origin did not say of who may write.
#[must_use]
pub fn rights_of_nobody(proof: Batch) -> Frame {
    Frame::Rights(Rights { feed: 0, proofs: vec![proof] })
}

/// An answer that nobody asked for, or a word that is not so: one of several.
#[must_use]
pub fn unasked(pick: u64, blobs: &[BlobId]) -> Frame {
    let exports = Some(Exports { generation: pick, root: [7; 16] });
    let asks = || blobs.iter().map(|blob| Ask::Small { blob: *blob }).collect();
    match pick % 8 {
        0 => Frame::Applied(Applied { exports, refused: vec![], unserved: vec![] }),
        1 => Frame::Held(blobs.to_vec()),
        2 => Frame::Finished { missing: 0 },
        3 => Frame::NotHave(asks()),
        4 => Frame::Polled(Polled { supply: Supply::Same, pull: None }),
        5 => Frame::Heads(Vec::new()),
        6 => Frame::Nudge { asked: true },
        _ => Frame::Supply(Supply::Nothing),
    }
}
