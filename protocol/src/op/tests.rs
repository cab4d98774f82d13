//! The canonical bytes of every kind of op, and what is refused.

use std::collections::BTreeMap;

use super::*;
use crate::limits::{FILES_PER_VERSION_MAX, METADATA_ENTRIES_MAX};
use crate::manifest::File;

pub(crate) fn log_id() -> LogId {
    LogId { feed: FeedId([0xfe; 32]), author: SiteId([0xa0; 32]), epoch: 3 }
}

fn place() -> Place {
    Place { log: log_id(), seq: 300 }
}

fn coordinate() -> Coordinate {
    Coordinate::new(FeedKind::Npm, "@acme/left-pad", "1.3.0").unwrap()
}

fn manifest() -> Manifest {
    let file = File {
        name: "left-pad-1.3.0.tgz".to_owned(),
        blob: BlobId([0xb1; 32]),
        size: 70_000,
        sha256: [0x25; 32],
    };
    Manifest { files: vec![file], metadata: BTreeMap::from([("license".to_owned(), b"MIT".to_vec())]) }
}

fn every_kind() -> Vec<Body> {
    let tip = Tip { author: SiteId([0xa1; 32]), epoch: 1, len: 9, root: [7; 32] };
    vec![
        Body::Publish(Publish {
            coordinate: coordinate(),
            manifest: manifest(),
            supersedes: vec![OpId([1; 32])],
            provenance: Some(Provenance { feed: FeedId([2; 32]), op: OpId([3; 32]) }),
        }),
        Body::Delete(Delete {
            coordinate: coordinate(),
            saw: vec![OpId([4; 32])],
            reason: "broken build".to_owned(),
        }),
        Body::SetState(SetState {
            coordinate: coordinate(),
            offer: Offer::Yanked { reason: "CVE".to_owned() },
        }),
        Body::SetRef(SetRef {
            package: "@acme/left-pad".to_owned(),
            name: "latest".to_owned(),
            target: Some(Target::Version("1.3.0".to_owned())),
        }),
        Body::Block(Block { target: Blocked::Blob(BlobId([5; 32])), reason: "malware".to_owned() }),
        Body::Unblock(Unblock { block: OpId([6; 32]), reason: "false alarm".to_owned() }),
        Body::Resolve(Resolve { coordinate: coordinate(), winner: OpId([7; 32]) }),
        Body::Grant(Grant {
            grantee: SiteId([8; 32]),
            label: "London".to_owned(),
            rights: Rights::WRITE,
            prefix: "@acme/".to_owned(),
            expires: Some(Timestamp(1_800_000_000_000)),
        }),
        Body::Revoke(Revoke {
            grantee: SiteId([8; 32]),
            accepted: vec![tip.clone()],
            reason: "left".to_owned(),
        }),
        Body::Seal(Seal { index: 1, frontier: vec![tip.clone()], state_root: [9; 32] }),
        Body::Statistics(Statistics {
            uses: vec![Use { coordinate: coordinate(), downloads: 12, last_used: Timestamp(5) }],
        }),
        Body::OpenEpoch(OpenEpoch {
            known: Some(tip.clone()),
            closes: Some(Closing { key: SiteId([10; 32]), accepted: vec![tip.clone()] }),
        }),
        Body::Cut(Cut {
            succession: Succession::NONE,
            tip,
            signed: Timestamp(1_800_000_000_001),
            signature: vec![12; 64],
            reason: "copied".to_owned(),
        }),
        Body::Unknown { kind: 900, body: vec![1, 2, 3] },
    ]
}

fn op(body: Body) -> Op {
    Op { place: place(), stamp: Hlc(0x0190_0000_0000_0001), body }
}

/// [P-7] A kind this version does not know is kept as it is.
#[test]
fn every_kind_of_op_decodes_to_itself() {
    for body in every_kind() {
        let op = op(body);
        let bytes = op.encode_statement();
        assert_eq!(Op::decode_statement(place(), &bytes), Ok(op));
    }
}

/// [P-3] The bytes are signed and kept for ever: a change here is a break of every feed in use.
#[test]
fn the_canonical_bytes_of_every_kind_are_those_of_the_vectors() {
    let mut found = String::new();
    for body in every_kind() {
        let op = op(body);
        let statement = data_encoding::HEXLOWER.encode(&op.encode_statement());
        found.push_str(&format!("{} {statement} {}\n", op.body.kind_name(), op.id()));
    }
    let genesis = Genesis {
        kind: FeedKind::Raw,
        name: "tools".to_owned(),
        origin: SiteId([1; 32]),
        second_origin: None,
        reuse: false,
        overwrite: false,
        created: Timestamp(1_795_000_000_000),
        nonce: [2; 16],
    };
    let bytes = data_encoding::HEXLOWER.encode(&genesis.encode());
    found.push_str(&format!("genesis {bytes} {}\n", genesis.feed_id()));
    assert_eq!(Genesis::decode(&genesis.encode()), Ok(genesis));
    assert_eq!(found, include_str!("../../vectors/ops.txt"), "found:\n{found}");
}

/// [P-4] One statement has one form: an over-long integer would give one op two names.
#[test]
fn a_statement_in_another_form_is_refused() {
    let bytes = op(Body::Unblock(Unblock { block: OpId([6; 32]), reason: String::new() })).encode_statement();
    assert!(Op::decode_statement(place(), &bytes).is_ok());
    let mut trailing = bytes.clone();
    trailing.push(0);
    assert_eq!(Op::decode_statement(place(), &trailing), Err(DecodeError::Trailing));
    let truncated = &bytes[..bytes.len() - 1];
    assert_eq!(Op::decode_statement(place(), truncated), Err(DecodeError::Malformed));
    // The reason's length, 0, written as the two bytes 80 00 in a body one byte longer.
    let mut long = bytes.clone();
    let body_len = long.iter().position(|byte| *byte == 33).unwrap();
    long[body_len] += 1;
    let last = long.len() - 1;
    long[last] = 0x80;
    long.push(0);
    assert_eq!(Op::decode_statement(place(), &long), Err(DecodeError::NotCanonical));
}

#[test]
fn an_op_over_its_limits_is_refused() {
    let long = "x".repeat(REASON_BYTES_MAX + 1);
    let delete = |saw: usize, reason: String| {
        op(Body::Delete(Delete { coordinate: coordinate(), saw: vec![OpId([0; 32]); saw], reason }))
            .encode_statement()
    };
    assert_eq!(
        Op::decode_statement(place(), &delete(0, long)),
        Err(DecodeError::LongReason { found: REASON_BYTES_MAX + 1 })
    );
    assert_eq!(
        Op::decode_statement(place(), &delete(OPS_NAMED_MAX + 1, String::new())),
        Err(DecodeError::NamesTooMany { found: OPS_NAMED_MAX + 1 })
    );
    assert!(matches!(
        Op::decode_statement(place(), &vec![0; OP_BYTES_MAX + 1]),
        Err(DecodeError::TooLong { .. })
    ));
}

/// A peer's op is looked at as closely as one that is made here.
#[test]
fn a_publish_of_more_files_or_metadata_than_a_version_may_have_is_refused() {
    let publish = |files: usize, entries: usize| {
        let mut manifest = manifest();
        let name = |n: usize| File { name: format!("{n:03}"), ..manifest.files[0].clone() };
        manifest.files = (0..files).map(name).collect();
        manifest.metadata = (0..entries).map(|n| (n.to_string(), vec![])).collect();
        let body = Publish { coordinate: coordinate(), manifest, supersedes: vec![], provenance: None };
        Op::decode_statement(place(), &op(Body::Publish(body)).encode_statement())
    };
    assert!(publish(FILES_PER_VERSION_MAX, METADATA_ENTRIES_MAX).is_ok());
    let files = publish(FILES_PER_VERSION_MAX + 1, 0);
    assert!(matches!(files, Err(DecodeError::Manifest(ManifestError::TooManyFiles { .. }))), "{files:?}");
    let metadata = publish(1, METADATA_ENTRIES_MAX + 1);
    assert!(
        matches!(metadata, Err(DecodeError::Manifest(ManifestError::TooMuchMetadata { .. }))),
        "{metadata:?}"
    );
}

#[test]
fn a_coordinate_outside_its_normal_form_is_refused() {
    let mut sly = coordinate();
    sly.name = "@ACME/left-pad".to_owned();
    let bytes = op(Body::Resolve(Resolve { coordinate: sly, winner: OpId([0; 32]) })).encode_statement();
    assert!(matches!(Op::decode_statement(place(), &bytes), Err(DecodeError::Name(_))));
}

#[test]
fn the_same_statement_elsewhere_is_another_op() {
    let statement = op(Body::Unknown { kind: 900, body: vec![] }).encode_statement();
    let mut other = place();
    other.log.feed = FeedId([0; 32]);
    assert_ne!(Op::id_of(place(), &statement), Op::id_of(other, &statement));
}

/// [P-2] A feed's id commits to the whole genesis record.
#[test]
fn any_change_of_the_genesis_makes_another_feed() {
    let genesis = Genesis {
        kind: FeedKind::Raw,
        name: "tools".to_owned(),
        origin: SiteId([1; 32]),
        second_origin: None,
        reuse: false,
        overwrite: false,
        created: Timestamp(7),
        nonce: [0; 16],
    };
    let id = blake3::derive_key("packetboat 2026-11 genesis v1", &genesis.encode());
    assert_eq!(genesis.feed_id(), FeedId(id));
    for other in [
        Genesis { kind: FeedKind::Npm, ..genesis.clone() },
        Genesis { name: "tool".to_owned(), ..genesis.clone() },
        Genesis { origin: SiteId([2; 32]), ..genesis.clone() },
        Genesis { second_origin: Some(SiteId([1; 32])), ..genesis.clone() },
        Genesis { reuse: true, ..genesis.clone() },
        Genesis { overwrite: true, ..genesis.clone() },
        Genesis { created: Timestamp(8), ..genesis.clone() },
        Genesis { nonce: [1; 16], ..genesis.clone() },
    ] {
        assert_ne!(other.feed_id(), genesis.feed_id(), "{other:?}");
    }
}
