//! Appending, signing and verifying, and every way a run of ops can lie.

mod mmr;

use super::*;
use crate::id::FeedId;
use crate::op::Unblock;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn log() -> LogId {
    LogId { feed: FeedId([1; 32]), author: SiteId(key().verifying_key().to_bytes()), epoch: 1 }
}

fn bodies(count: u8) -> Vec<Body> {
    (0..count).map(|n| Body::Unblock(Unblock { block: OpId([n; 32]), reason: String::new() })).collect()
}

fn authored(held: &Mmr, count: u8) -> Verified {
    Verified::author(&key(), log(), held, bodies(count), Hlc::default(), Timestamp(1_795_000_000_000))
}

#[test]
fn a_signed_run_verifies_and_goes_on_from_there() {
    let first = authored(&Mmr::default(), 5);
    let again = first.to_batch().verify(&Mmr::default()).unwrap();
    assert_eq!(again, first);
    let second = authored(first.after(), 3);
    let both = second.to_batch().verify(first.after()).unwrap();
    assert_eq!(both.after().len(), 8);
    assert_eq!(both.ops()[0].op.place.seq, 5);
    let bytes = second.to_batch().encode();
    assert_eq!(Batch::decode(&bytes), Ok(second.to_batch()));
}

/// [P-5] The head's bytes and the root's shape are signed: a change breaks every feed in use.
#[test]
fn heads_and_roots_are_those_of_the_vectors() {
    let mut found = String::new();
    let mut mmr = Mmr::default();
    for n in 0..12_u8 {
        found.push_str(&format!("root {} {}\n", mmr.len(), data_encoding::HEXLOWER.encode(&mmr.root())));
        mmr.push(OpId([n; 32]));
    }
    let head = authored(&Mmr::default(), 2).head;
    let signed = data_encoding::HEXLOWER.encode(&head.head.signed_bytes());
    found.push_str(&format!("head {signed} {}\n", data_encoding::HEXLOWER.encode(&head.signature.0)));
    assert_eq!(found, include_str!("../../vectors/log.txt"), "found:\n{found}");
}

/// [P-15] One op of a long log is proved by the log's peaks, its batch's hashes and the head, whatever the log's length.
#[test]
fn an_op_is_proved_to_one_who_holds_nothing_of_its_log() {
    let mut held = Mmr::default();
    for count in [7, 5, 3] {
        held = authored(&held, count).after().clone();
    }
    let run = authored(&held, 4);
    let chosen = run.ops()[2].op.body.clone();
    let proof = run.to_batch().proving(&held, |body| *body == chosen).unwrap();
    let verified = proof.clone().verify_proof().unwrap();
    assert_eq!(verified.ops(), &run.ops()[2..3]);
    assert_eq!(verified.after(), run.after());
    assert_eq!(proof.entries.len(), 4 + 4, "fifteen ops before it are four peaks");
    let mut moved = proof;
    moved.entries.swap(5, 6);
    assert!(matches!(moved.verify_proof(), Err(BatchError::Forked { .. })));
}

/// [P-6] A batch counts only if its head is its author's and its root is the head's.
#[test]
fn a_run_by_another_key_or_over_other_ops_is_refused() {
    let good = authored(&Mmr::default(), 4).to_batch();
    let mut forged = good.clone();
    forged.head = forged.head.head.sign(&SigningKey::from_bytes(&[8; 32]));
    assert!(matches!(forged.verify_proof(), Err(BatchError::BadSignature { .. })));

    let mut swapped = good.clone();
    swapped.entries.swap(0, 1);
    assert_eq!(swapped.verify_proof(), Err(BatchError::Forked { len: 4 }));

    let mut short = good.clone();
    short.entries.pop();
    assert_eq!(short.verify(&Mmr::default()), Err(BatchError::WrongLength { end: 3, len: 4 }));

    let mut late = good.clone();
    late.first = 2;
    assert_eq!(late.verify(&Mmr::default()), Err(BatchError::Gap { first: 2, held: 0 }));

    let mut weak = good;
    weak.head.head.log.author = SiteId([0; 32]);
    assert!(matches!(
        weak.verify(&Mmr::default()),
        Err(BatchError::BadSignature { .. } | BatchError::WeakKey { .. })
    ));
}

#[test]
fn what_is_held_already_is_left_out_of_a_run() {
    let first = authored(&Mmr::default(), 3);
    let all = authored(&Mmr::default(), 7).to_batch();
    let rest = all.clone().beyond(3).unwrap();
    assert_eq!(rest.first, 3);
    assert_eq!(rest.verify(first.after()).unwrap().ops().len(), 4);
    assert_eq!(all.beyond(7), None);
}

/// [P-6] The hash of an aligned run stands for ops that were left out.
#[test]
fn a_skipped_aligned_run_gives_the_same_root() {
    let full = authored(&Mmr::default(), 7);
    let ids: Vec<OpId> = full.ops().iter().map(|named| named.id).collect();
    let mut batch = full.to_batch();
    let skip = Entry::Skip { height: 2, hash: Mmr::subtree(&ids[..4]).unwrap() };
    batch.entries.splice(0..4, [skip]);
    let partial = batch.clone().verify_proof().unwrap();
    assert_eq!(partial.after(), full.after());
    assert_eq!(partial.ops()[0].op.place.seq, 4);

    let together = batch.clone().verify(&Mmr::default());
    assert!(
        matches!(together, Err(BatchError::LeftOutTogether { seq: 0 })),
        "as a part of a log: {together:?}"
    );

    batch.entries.swap(0, 1);
    assert!(matches!(batch.verify_proof(), Err(BatchError::Misaligned(_))));
    assert_eq!(Mmr::subtree(&ids[..3]), None);
    let mut huge = Mmr::default();
    assert!(huge.push_subtree(64, [0; 32]).is_err());
}
