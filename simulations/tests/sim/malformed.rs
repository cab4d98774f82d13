//! The classes of malformed input, one by one: each is refused with a name, and nothing of it counts.

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use protocol::fault::{Misbehaved, Reason};
use protocol::feed::{Held, Item, Rules, Standing, decide};
use protocol::filter::Filter;
use protocol::frame::{FeedAsk, Frame, Hello, Openness, OpsFrame, Piece};
use protocol::grant::Permitted;
use protocol::id::{BlobId, FeedId, LogId, SiteId, StoreId};
use protocol::ledger::Ledger;
use protocol::limits::STAMP_AHEAD_MS_MAX;
use protocol::log::{Batch, BatchError, Mmr, Verified};
use protocol::manifest::{File, Manifest};
use protocol::op::{Body, DecodeError, Genesis, Op, Place, Publish, Revoke};
use protocol::package::{Coordinate, FeedKind, NameRule, check_file_name};
use protocol::signature::Signature;
use protocol::switches::Switches;
use protocol::time::{Hlc, Timestamp};
use protocol::transfer::{Arrived, Transfer};

const NOW: Timestamp = Timestamp(1_795_000_000_000);

fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

fn site(n: u8) -> SiteId {
    SiteId(key(n).verifying_key().to_bytes())
}

fn genesis() -> Genesis {
    Genesis {
        kind: FeedKind::Raw,
        name: "tools".to_owned(),
        origin: site(1),
        second_origin: None,
        reuse: false,
        overwrite: false,
        created: NOW,
        nonce: [0; 16],
    }
}

fn log(author: u8) -> LogId {
    LogId { feed: genesis().feed_id(), author: site(author), epoch: 1 }
}

fn publish(name: &str) -> Body {
    let file = File { name: "file".to_owned(), blob: BlobId([1; 32]), size: 3, sha256: [0; 32] };
    let coordinate = Coordinate::new(FeedKind::Raw, name, "1").expect("a plain name");
    let manifest = Manifest::of(vec![file]).expect("one file");
    Body::Publish(Publish { coordinate, manifest, supersedes: vec![], provenance: None })
}

fn said(author: u8, clock: Hlc, wall: Timestamp) -> Verified {
    Verified::author(
        &key(author),
        log(author),
        &Mmr::default(),
        vec![publish("a"), publish("b")],
        clock,
        wall,
    )
}

fn batch() -> Batch {
    said(1, Hlc::default(), NOW).to_batch()
}

fn hello() -> Vec<u8> {
    let ask = FeedAsk {
        feed: genesis().feed_id(),
        kind: FeedKind::Raw,
        ask: Switches::PULL,
        filter: Filter::default(),
    };
    Frame::Hello(Hello {
        version_min: 1,
        version_max: 1,
        store: StoreId([1; 8]),
        name: "Tokyo".to_owned(),
        now: NOW,
        feeds: vec![ask],
        new_feeds: Openness::default(),
        twins: vec![],
        succession: Default::default(),
    })
    .encode()
}

fn frame(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut bytes = hello();
    change(&mut bytes);
    format!("{:?}", Frame::decode(&bytes).expect_err("a malformed frame"))
}

fn statement(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let op = Op { place: Place { log: log(1), seq: 0 }, stamp: Hlc(5), body: publish("a") };
    let mut bytes = op.encode_statement();
    change(&mut bytes);
    format!("{:?}", Op::decode_statement(op.place, &bytes).expect_err("a malformed op"))
}

fn refused(change: impl FnOnce(&mut Batch), held: &Mmr) -> BatchError {
    let mut batch = batch();
    change(&mut batch);
    batch.verify(held).expect_err("a malformed batch")
}

fn named(name: &str) -> NameRule {
    Coordinate::new(FeedKind::Raw, name, "1").expect_err("a bad name").rule
}

fn item(ops: &Verified, ledger: &Ledger) -> Item {
    let held = Held::default();
    let rules = Rules { ledger, me: site(9), now: NOW, local_wins: false, held: &held };
    decide(ops.ops().get(..1).expect("an op"), rules)
}

fn gate(ops: Verified, feed: FeedId) -> Reason {
    let ledger = Ledger::new(&genesis());
    Permitted::<Verified>::received(ops, feed, Switches::PULL, ledger.authority(), site(9))
        .expect_err("the gate")
}

fn transfer() -> (Transfer, BlobId) {
    let blob = BlobId(*blake3::hash(b"abc").as_bytes());
    let mut transfer = Transfer::new();
    transfer.want(blob, 3, 0, None);
    assert!(transfer.poll().is_some(), "the bytes are asked for");
    (transfer, blob)
}

/// What each class was refused as.
#[derive(Default)]
struct Refusals {
    names: BTreeMap<&'static str, String>,
    /// What this process took before the class that comes next, in KiB, where that is looked at.
    before: Option<u64>,
}

impl Refusals {
    fn saw(&mut self, class: &'static str, name: String) {
        assert!(self.names.insert(class, name).is_none(), "{class} twice");
        if let Some(before) = self.before {
            let most = memory("VmHWM:").expect("the kernel told of it before");
            assert!(most.saturating_sub(before) <= GROWN_KIB_MAX, "{class}: from {before} KiB to {most}");
            self.before = memory("VmRSS:");
        }
    }

    fn are(&self, class: &str, name: &str) {
        assert_eq!(self.names.get(class).map(String::as_str), Some(name), "{class}");
    }

    fn tell(&self, class: &str, part: &str) {
        assert!(self.names.get(class).is_some_and(|name| name.contains(part)), "{class}: {:?}", self.names);
    }
}

#[test]
fn each_class_of_malformed_input_is_refused_by_its_name() {
    refuse_all(Refusals::default());
}

/// The most that one class may cost a process, in KiB.
const GROWN_KIB_MAX: u64 = 8 << 10;
/// Set where the test below runs in a process of its own.
const ALONE: &str = "PACKETBOAT_TEST_ALONE";

/// What the kernel tells of this process's memory, in KiB; nothing where it is not Linux.
fn memory(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// For four billion bytes that somebody says he sent no room is made. The kernel tells the most that a whole process ever took, and other tests
/// play worlds here: so the classes are refused once more in a process that does nothing else.
#[test]
fn no_class_of_malformed_input_takes_more_than_8_mib() {
    let Some(before) = memory("VmRSS:") else { return };
    if std::env::var_os(ALONE).is_some() {
        return refuse_all(Refusals { before: Some(before), ..Refusals::default() });
    }
    let this = std::env::current_exe().expect("a test program");
    let name = "malformed::no_class_of_malformed_input_takes_more_than_8_mib";
    let run = std::process::Command::new(this).args([name, "--exact"]).env(ALONE, "1").output();
    let run = run.expect("the program starts a second time");
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && told.contains("1 passed"), "{told}");
}

fn refuse_all(mut seen: Refusals) {
    encodings(&mut seen);
    names(&mut seen);
    places_and_signatures(&mut seen);
    histories(&mut seen);
    stamps(&mut seen);
    authors(&mut seen);
    contents(&mut seen);
    assert_eq!(seen.names.len(), 24);
}

fn encodings(seen: &mut Refusals) {
    let malformed = format!("{:?}", Misbehaved::FrameMalformed);
    seen.saw("truncated", frame(|bytes| bytes.truncate(bytes.len() - 1)));
    seen.saw("trailing bytes", frame(|bytes| bytes.push(0)));
    // Type, two versions and the store stand before the name. Its length alone is another one: four billion.
    let (name_at, four_billion) = (3 + 8, [0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert_eq!(hello().get(name_at..name_at + 6), Some(&b"\x05Tokyo"[..]));
    seen.saw("huge length", frame(|bytes| drop(bytes.splice(name_at..=name_at, four_billion))));
    seen.saw("more items than bytes", {
        let bytes = [&[0x1a][..], &four_billion].concat();
        format!("{:?}", Frame::decode(&bytes).expect_err("four billion asks in six bytes"))
    });
    let every_t =
        |bytes: &mut Vec<u8>| bytes.iter_mut().filter(|byte| **byte == b'T').for_each(|byte| *byte = 0xff);
    seen.saw("not UTF-8", frame(every_t));
    for class in ["truncated", "trailing bytes", "huge length", "more items than bytes", "not UTF-8"] {
        seen.are(class, &malformed);
    }
    seen.saw("unknown variant", frame(|bytes| drop(bytes.splice(0..1, [0x7f]))));
    seen.are("unknown variant", &format!("{:?}", Misbehaved::FrameUnknown));
    // The stamp's one byte, 5, in two bytes: the same number, another op.
    seen.saw("over-long integer", statement(|bytes| drop(bytes.splice(0..1, [0x85, 0x00]))));
    seen.are("over-long integer", &format!("{:?}", DecodeError::NotCanonical));
    seen.saw("overflowing integer", statement(|bytes| drop(bytes.splice(0..1, [0xff; 11]))));
    seen.are("overflowing integer", &format!("{:?}", DecodeError::Malformed));
    seen.saw("nesting without end", {
        let deep = "a = ".to_owned() + &"[".repeat(100_000);
        let config = packetboat::config::Config::of_text(&deep, std::path::Path::new("config"));
        config.expect_err("brackets alone").to_string()
    });
    seen.tell("nesting without end", "is not TOML");
}

fn names(seen: &mut Refusals) {
    seen.saw("not NFC", {
        let coordinate =
            Coordinate { kind: FeedKind::Raw, name: "cafe\u{301}".to_owned(), version: "1".to_owned() };
        format!("{:?}", coordinate.check().expect_err("two forms of one name").rule)
    });
    seen.are("not NFC", &format!("{:?}", NameRule::NotNormal));
    seen.saw("a path for a name", format!("{:?} {:?}", named("../a"), named("a/../b")));
    seen.are("a path for a name", &format!("{:?} {:?}", NameRule::Separator, NameRule::Separator));
    seen.saw("a reserved name", format!("{:?}", check_file_name("nul.txt").expect_err("a device").rule));
    seen.are("a reserved name", &format!("{:?}", NameRule::Reserved));
}

fn places_and_signatures(seen: &mut Refusals) {
    seen.saw("another feed", format!("{:?}", gate(said(1, Hlc::default(), NOW), FeedId([7; 32]))));
    seen.are("another feed", &format!("{:?}", Reason::FeedUnknown));
    seen.saw("another context", {
        use ed25519_dalek::Signer;
        let mut batch = batch();
        let head = postcard_of(&batch);
        batch.head.signature = Signature(key(1).sign(&head).to_bytes());
        format!("{:?}", batch.verify(&Mmr::default()).expect_err("a signature over the head's bytes alone"))
    });
    seen.saw(
        "a bad signature",
        format!("{:?}", refused(|batch| batch.head.signature.0[5] ^= 1, &Mmr::default())),
    );
    for class in ["another context", "a bad signature"] {
        seen.tell(class, "BadSignature");
    }
    // The point at nothing: anybody can sign for it anything at all, as here, and a lax check would take it.
    seen.saw("a weak key", {
        let mut nobody = [0; 32];
        nobody[0] = 1;
        let mut anything = [0x66; 64];
        anything[0] = 0x58;
        anything[32..].fill(0);
        anything[32] = 1;
        let weak = |batch: &mut Batch| {
            batch.head.head.log.author = SiteId(nobody);
            batch.head.signature = Signature(anything);
        };
        format!("{:?}", refused(weak, &Mmr::default()))
    });
    seen.tell("a weak key", "BadSignature");
}

fn histories(seen: &mut Refusals) {
    seen.saw("a position used twice", {
        let clock = Hlc::default();
        let other = said(1, clock, Timestamp(NOW.0 + 1)).to_batch();
        let first = batch().verify(&Mmr::default()).expect("a good batch");
        assert_ne!(other.head.head.root, first.head().head.root);
        let other = other.verify(&Mmr::default()).expect("good");
        let longer = Verified::author(&key(1), log(1), other.after(), vec![publish("c")], clock, NOW);
        format!("{:?}", longer.to_batch().verify(first.after()).expect_err("the other history"))
    });
    seen.tell("a position used twice", "Forked");
    seen.saw("a gap in a log", format!("{:?}", refused(|batch| batch.first = 4, &Mmr::default())));
    seen.are("a gap in a log", &format!("{:?}", BatchError::Gap { first: 4, held: 0 }));
}

fn stamps(seen: &mut Refusals) {
    let ledger = Ledger::new(&genesis());
    let ahead = Timestamp(NOW.0 + STAMP_AHEAD_MS_MAX + 60_000);
    seen.saw(
        "a stamp of the future",
        format!("{:?}", item(&said(1, Hlc::default(), ahead), &ledger).standing),
    );
    seen.saw("the last stamp there is", {
        let last = said(1, Hlc(u64::MAX - 4), NOW);
        let stamp = last.ops().first().expect("an op").op.stamp;
        assert_eq!(Hlc::default().seen(stamp, NOW), Hlc::default(), "it moves no clock");
        format!("{:?}", item(&last, &ledger).standing)
    });
    for class in ["a stamp of the future", "the last stamp there is"] {
        seen.are(class, &format!("{:?}", Standing::Parked));
    }
}

fn authors(seen: &mut Refusals) {
    seen.saw("an unknown author", format!("{:?}", gate(said(5, Hlc::default(), NOW), genesis().feed_id())));
    seen.are("an unknown author", &format!("{:?}", Reason::AuthorNotAllowed));
    seen.saw("a revoked author", {
        let mut ledger = Ledger::new(&genesis());
        let rights = protocol::op::Rights::WRITE;
        let (label, prefix) = (String::new(), String::new());
        let grant = protocol::op::Grant { grantee: site(5), label, rights, prefix, expires: None };
        let revoke = Revoke { grantee: site(5), accepted: vec![], reason: String::new() };
        let bodies = vec![Body::Grant(grant), Body::Revoke(revoke)];
        let rights = Verified::author(&key(1), log(1), &Mmr::default(), bodies, Hlc::default(), NOW);
        for named in rights.ops() {
            assert!(ledger.apply(named), "the origin's own words");
        }
        format!("{:?}", item(&said(5, Hlc::default(), NOW), &ledger).standing)
    });
    seen.are("a revoked author", &format!("{:?}", Standing::Held));
}

fn contents(seen: &mut Refusals) {
    for (class, bytes) in
        [("bytes of another hash", b"abd".to_vec()), ("more bytes than declared", b"abcd".to_vec())]
    {
        let (mut transfer, blob) = transfer();
        let refused = transfer.handle(Arrived::Small { blob, bytes }).expect_err("not what was asked for");
        seen.saw(class, format!("{refused:?}"));
        seen.are(class, &format!("{:?}", Misbehaved::BytesWrong));
    }
}

/// The head's bytes as they are signed, but for the context in front.
fn postcard_of(batch: &Batch) -> Vec<u8> {
    let encoded = Batch { first: 0, entries: vec![], head: batch.head.clone() }.encode();
    // first, no entries, then head and signature.
    encoded.get(2..encoded.len() - 64).expect("a head and its signature").to_vec()
}

/// A blob that is a piece of what was asked is taken; what comes unasked is not.
#[test]
fn frames_of_other_streams_are_not_taken_for_each_other() {
    let piece = Piece::Small { blob: BlobId([1; 32]), bytes: b"abc".to_vec() }.encode();
    assert!(Frame::decode(&piece).is_err() && OpsFrame::decode(&piece).is_err());
    assert!(Piece::decode(&hello()).is_err() && OpsFrame::decode(&hello()).is_err());
}
