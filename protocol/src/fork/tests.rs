//! Proofs of forks: what they prove, how exactly, and what proves nothing.

use ed25519_dalek::SigningKey;

use super::*;
use crate::id::{FeedId, OpId, SiteId};
use crate::log::Head;
use crate::time::Timestamp;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[3; 32])
}

fn log(epoch: u64) -> LogId {
    LogId { feed: FeedId([1; 32]), author: SiteId(key().verifying_key().to_bytes()), epoch }
}

/// The ops of a history that leaves the common one at `apart`.
fn ops(len: u64, apart: u64, salt: u8) -> Vec<OpId> {
    let name =
        |seq: u64| blake3::hash(&[&seq.to_le_bytes()[..], &[if seq < apart { 0 } else { salt }]].concat());
    (0..len).map(|seq| OpId(*name(seq).as_bytes())).collect()
}

fn mmr(ops: &[OpId]) -> Mmr {
    let mut mmr = Mmr::default();
    for op in ops {
        mmr.push(*op);
    }
    mmr
}

fn signed(ops: &[OpId]) -> SignedHead {
    let mmr = mmr(ops);
    Head { log: log(1), len: mmr.len(), root: mmr.root(), time: Timestamp(1) }.sign(&key())
}

fn singles(ops: &[OpId]) -> Vec<Run> {
    ops.iter().map(|op| Run { height: 0, hash: op.0 }).collect()
}

fn proof(one: &[OpId], other: &[OpId], known: usize) -> Option<ForkProof> {
    ForkProof::between(signed(one), signed(other), &mmr(&other[..known]), &singles(&other[known..]))
}

fn common(proof: &ForkProof, ops: &[OpId]) -> u64 {
    let run = |at: u64, height: u8| {
        let at = usize::try_from(at).unwrap();
        Ok::<_, ()>(ops.get(at..at + (1_usize << height)).and_then(Mmr::subtree))
    };
    proof.in_common(run).unwrap()
}

/// [P-53] Whatever the two lengths, where the histories part, and how much of the longer one is known by its peaks alone.
#[test]
fn two_histories_of_one_log_are_proved_and_told_apart_to_the_op() {
    for (len_one, len_other, apart) in
        [(1, 1, 0), (1, 7, 0), (9, 9, 8), (100, 1000, 90), (1000, 1001, 937), (257, 300, 256), (64, 128, 0)]
    {
        let (one, other) = (ops(len_one, apart, 1), ops(len_other, apart, 2));
        let known = usize::try_from(len_one.saturating_sub(64)).unwrap();
        for known in [0, known / 2, known] {
            let proof = proof(&one, &other, known).unwrap();
            assert!(proof.fork().path.len() <= FORK_PATH_MAX, "{}", proof.fork().path.len());
            assert_eq!(ForkProof::check(proof.fork().clone()), Ok(proof.clone()));
            assert_eq!(common(&proof, &one), apart, "{len_one} {len_other} {known}");
            assert_eq!(common(&proof, &other), len_other);
        }
    }
}

#[test]
fn where_histories_part_long_before_the_shorter_head_the_common_part_is_told_in_runs() {
    let (one, other) = (ops(1000, 700, 1), ops(2000, 700, 2));
    let proof = proof(&one, &other, 0).unwrap();
    let told = common(&proof, &one);
    assert!((512..=700).contains(&told), "{told}");
}

#[test]
fn what_is_no_fork_proves_none() {
    let (one, other) = (ops(5, 3, 1), ops(8, 3, 2));
    let good = proof(&one, &other, 0).unwrap().fork().clone();
    let check = |change: &dyn Fn(&mut Fork)| {
        let mut fork = good.clone();
        change(&mut fork);
        ForkProof::check(fork).unwrap_err()
    };
    assert_eq!(proof(&other[..5], &other, 0), None, "the shorter head of the same history");
    assert!(matches!(
        check(&|fork| fork.one.head.root[0] ^= 1),
        Unproved::Head(BatchError::BadSignature { .. })
    ));
    assert!(matches!(
        check(&|fork| fork.other.head.time.0 += 1),
        Unproved::Head(BatchError::BadSignature { .. })
    ));
    assert_eq!(check(&|fork| fork.path[0].hash[0] ^= 1), Unproved::OtherPath);
    assert_eq!(check(&|fork| fork.path.truncate(3)), Unproved::OtherPath);
    assert_eq!(check(&|fork| std::mem::swap(&mut fork.one, &mut fork.other)), Unproved::LogsDiffer);
    assert_eq!(check(&|fork| fork.one = signed(&other[..5])), Unproved::Agree);
    let eight = Mmr::subtree(&other).unwrap();
    assert_eq!(check(&|fork| fork.path = vec![Run { height: 3, hash: eight }]), Unproved::NoBoundary);
    assert!(matches!(
        check(&|fork| fork.path = vec![Run { height: 3, hash: eight }; FORK_PATH_MAX + 1]),
        Unproved::LongPath { .. }
    ));
    assert!(matches!(
        check(&|fork| fork.path = vec![Run { height: 0, hash: eight }, Run { height: 200, hash: eight }]),
        Unproved::Head(BatchError::Misaligned(_))
    ));
    assert_eq!(check(&|fork| fork.one.head.log.epoch = 2), Unproved::LogsDiffer);
}

/// [P-54] The author's later epochs wait too, or a fork would be got round by opening one; an origin's do not, for it resolves the fork.
#[test]
fn a_fork_freezes_its_author_until_a_cut_below_it() {
    let proof = proof(&ops(5, 3, 1), &ops(8, 3, 2), 0).unwrap();
    for (epoch, cut, is_origin, frozen) in [
        (1, None, false, true),
        (1, Some(5), false, true),
        (1, Some(4), false, false),
        (2, None, false, true),
        (2, None, true, false),
        (0, None, false, false),
        (1, None, true, true),
    ] {
        assert_eq!(proof.freezes(log(epoch), cut, is_origin), frozen, "{epoch} {cut:?} {is_origin}");
    }
    let elsewhere = LogId { feed: FeedId([2; 32]), ..log(1) };
    assert!(!proof.freezes(elsewhere, None, false));
    let other_author = LogId { author: SiteId([9; 32]), ..log(1) };
    assert!(!proof.freezes(other_author, None, false));
}
