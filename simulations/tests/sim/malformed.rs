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
use protocol::log::{Batch, BatchError, Mmr, Signature, Verified};
use protocol::manifest::{File, Manifest};
use protocol::op::{Body, DecodeError, Genesis, Op, Place, Publish, Revoke};
use protocol::package::{Coordinate, FeedKind, NameRule, check_file_name};
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
    decide(&ops.ops()[..1], rules)
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

#[test]
fn each_class_of_malformed_input_is_refused_by_its_name() {
    let mut found: BTreeMap<&str, String> = BTreeMap::new();
    let mut saw = |class: &'static str, name: String| {
        assert!(found.insert(class, name).is_none(), "{class} twice");
    };
    saw("truncated", frame(|bytes| drop(bytes.pop())));
    saw("trailing bytes", frame(|bytes| bytes.push(0)));
    // The stamp's one byte, 5, in two bytes: the same number, another op.
    saw("over-long integer", statement(|bytes| drop(bytes.splice(0..1, [0x85, 0x00]))));
    saw("overflowing integer", statement(|bytes| drop(bytes.splice(0..1, [0xff; 11]))));
    saw("unknown variant", frame(|bytes| bytes[0] = 0x7f));
    saw("huge length", frame(|bytes| bytes.truncate(3 + 8)));
    saw("more items than bytes", {
        let bytes = [&[0x1a][..], &[0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
        format!("{:?}", Frame::decode(&bytes).expect_err("four billion asks in six bytes"))
    });
    saw("nesting without end", {
        let deep = "a = ".to_owned() + &"[".repeat(100_000);
        let config = packetboat::config::Config::of_text(&deep, std::path::Path::new("config"));
        config.expect_err("brackets alone").to_string()
    });
    saw(
        "not UTF-8",
        frame(|bytes| bytes.iter_mut().filter(|byte| **byte == b'T').for_each(|byte| *byte = 0xff)),
    );
    saw("not NFC", {
        let coordinate =
            Coordinate { kind: FeedKind::Raw, name: "cafe\u{301}".to_owned(), version: "1".to_owned() };
        format!("{:?}", coordinate.check().expect_err("two forms of one name").rule)
    });
    saw("a path for a name", format!("{:?} {:?}", named("../a"), named("a/../b")));
    saw("a reserved name", format!("{:?}", check_file_name("nul.txt").expect_err("a device").rule));
    saw("another feed", format!("{:?}", gate(said(1, Hlc::default(), NOW), FeedId([7; 32]))));
    saw("another context", {
        use ed25519_dalek::Signer;
        let mut batch = batch();
        let head = postcard_of(&batch);
        batch.head.signature = Signature(key(1).sign(&head).to_bytes());
        format!("{:?}", batch.verify(&Mmr::default()).expect_err("a signature over the head's bytes alone"))
    });
    saw("a bad signature", format!("{:?}", refused(|batch| batch.head.signature.0[5] ^= 1, &Mmr::default())));
    saw("a weak key", {
        let weak = |batch: &mut Batch| batch.head.head.log.author = SiteId([0; 32]);
        format!("{:?}", refused(weak, &Mmr::default()))
    });
    saw("a position used twice", {
        let clock = Hlc::default();
        let other = said(1, clock, Timestamp(NOW.0 + 1)).to_batch();
        let first = batch().verify(&Mmr::default()).expect("a good batch");
        assert_ne!(other.head.head.root, first.head().head.root);
        let longer = Verified::author(
            &key(1),
            log(1),
            other.clone().verify(&Mmr::default()).expect("good").after(),
            vec![publish("c")],
            clock,
            NOW,
        );
        format!("{:?}", longer.to_batch().verify(first.after()).expect_err("the other history"))
    });
    saw("a gap in a log", format!("{:?}", refused(|batch| batch.first = 4, &Mmr::default())));
    let ledger = Ledger::new(&genesis());
    let ahead = Timestamp(NOW.0 + STAMP_AHEAD_MS_MAX + 60_000);
    saw("a stamp of the future", format!("{:?}", item(&said(1, Hlc::default(), ahead), &ledger).standing));
    saw("the last stamp there is", {
        let last = said(1, Hlc(u64::MAX - 4), NOW);
        assert_eq!(Hlc::default().seen(last.ops()[0].op.stamp, NOW), Hlc::default(), "it moves no clock");
        format!("{:?}", item(&last, &ledger).standing)
    });
    saw("an unknown author", format!("{:?}", gate(said(5, Hlc::default(), NOW), genesis().feed_id())));
    saw("a revoked author", {
        let mut ledger = Ledger::new(&genesis());
        let rights = protocol::op::Rights::WRITE;
        let (label, prefix) = (String::new(), String::new());
        let grant = protocol::op::Grant { grantee: site(5), label, rights, prefix, expires: None };
        let revoke = Revoke { grantee: site(5), accepted: vec![], reason: String::new() };
        let bodies = vec![Body::Grant(grant), Body::Revoke(revoke)];
        let rights = Verified::author(&key(1), log(1), &Mmr::default(), bodies, Hlc::default(), NOW);
        rights.ops().iter().for_each(|named| drop(ledger.apply(named)));
        format!("{:?}", item(&said(5, Hlc::default(), NOW), &ledger).standing)
    });
    saw("bytes of another hash", {
        let (mut transfer, blob) = transfer();
        format!(
            "{:?}",
            transfer.handle(Arrived::Small { blob, bytes: b"abd".to_vec() }).expect_err("other bytes")
        )
    });
    saw("more bytes than declared", {
        let (mut transfer, blob) = transfer();
        format!(
            "{:?}",
            transfer.handle(Arrived::Small { blob, bytes: b"abcd".to_vec() }).expect_err("more bytes")
        )
    });
    let malformed = format!("{:?}", Misbehaved::FrameMalformed);
    for class in ["truncated", "trailing bytes", "huge length", "more items than bytes", "not UTF-8"] {
        assert_eq!(found[class], malformed, "{class}");
    }
    let expected = [
        ("over-long integer", format!("{:?}", DecodeError::NotCanonical)),
        ("overflowing integer", format!("{:?}", DecodeError::Malformed)),
        ("unknown variant", format!("{:?}", Misbehaved::FrameUnknown)),
        ("not NFC", format!("{:?}", NameRule::NotNormal)),
        ("a path for a name", format!("{:?} {:?}", NameRule::Separator, NameRule::Separator)),
        ("a reserved name", format!("{:?}", NameRule::Reserved)),
        ("another feed", format!("{:?}", Reason::FeedUnknown)),
        ("a gap in a log", format!("{:?}", BatchError::Gap { first: 4, held: 0 })),
        ("a stamp of the future", format!("{:?}", Standing::Parked)),
        ("the last stamp there is", format!("{:?}", Standing::Parked)),
        ("an unknown author", format!("{:?}", Reason::AuthorNotAllowed)),
        ("a revoked author", format!("{:?}", Standing::Held)),
        ("bytes of another hash", format!("{:?}", Misbehaved::BytesWrong)),
        ("more bytes than declared", format!("{:?}", Misbehaved::BytesWrong)),
    ];
    for (class, name) in expected {
        assert_eq!(found[class], name, "{class}");
    }
    for (class, name) in [
        ("another context", "BadSignature"),
        ("a bad signature", "BadSignature"),
        ("a position used twice", "Forked"),
    ] {
        assert!(found[class].starts_with(name), "{class}: {}", found[class]);
    }
    assert!(
        ["WeakKey", "BadSignature"].iter().any(|name| found["a weak key"].starts_with(name)),
        "{found:?}"
    );
    assert!(found["nesting without end"].contains("is not TOML"), "{found:?}");
    assert_eq!(found.len(), 24);
}

/// The head's bytes as they are signed, but for the context in front.
fn postcard_of(batch: &Batch) -> Vec<u8> {
    let encoded = Batch { first: 0, entries: vec![], head: batch.head }.encode();
    // first, no entries, then head and signature.
    encoded[2..encoded.len() - 64].to_vec()
}

/// A blob that is a piece of what was asked is taken; what comes unasked is not.
#[test]
fn frames_of_other_streams_are_not_taken_for_each_other() {
    let piece = Piece::Small { blob: BlobId([1; 32]), bytes: b"abc".to_vec() }.encode();
    assert!(Frame::decode(&piece).is_err() && OpsFrame::decode(&piece).is_err());
    assert!(Piece::decode(&hello()).is_err() && OpsFrame::decode(&hello()).is_err());
}
