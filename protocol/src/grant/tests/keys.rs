//! What counts of an author who has a new key, and of a thief of the old one.

use super::*;
use crate::log::{Batch, BatchError, Head};
use crate::op::Cut;
use crate::succession::first_epoch;

/// Site 2 hands its key over to this one.
const SECOND: u8 = 102;
/// A thief of its first key hands it over to this one.
const THIEF: u8 = 202;

fn successor(to: u8) -> Succession {
    Succession::NONE.followed_by(site(2), &key(2), site(to))
}

fn log(epoch: u64) -> LogId {
    LogId { feed: genesis().feed_id(), author: site(2), epoch }
}

/// The first op of an epoch of `by`, the second key of `author`'s, which lets the author's first log count up to `len`.
fn closing(author: u8, by: u8, epoch: u64, len: u64) -> Verified {
    let tip = Tip { author: site(author), epoch: 1, len, root: [0; 32] };
    let accepted = if len == 0 { vec![] } else { vec![tip.clone()] };
    let closes = Some(Closing { key: site(by), accepted });
    let log = LogId { feed: genesis().feed_id(), author: site(author), epoch };
    let succession = Succession::NONE.followed_by(site(author), &key(author), site(by));
    let body = Body::OpenEpoch(OpenEpoch { known: Some(tip), closes });
    Verified::author_as((&key(by), succession), log, &Mmr::default(), vec![body], Hlc::default(), NOW)
}

fn granted() -> Authority {
    let mut authority = Authority::new(&genesis());
    authority.apply(&written(1, grant(2, Rights::WRITE)).ops()[0]);
    authority
}

fn counts(authority: &Authority, log: LogId, seq: u64) -> bool {
    authority.allows(log, seq, Hlc(NOW.0 << 16), Verb::Publish, "a")
}

/// [P-59] The new key has the rights of the old one, and says how far the old one's logs count.
#[test]
fn a_new_key_writes_on_and_nothing_that_the_old_one_says_later_counts() {
    let mut authority = granted();
    assert!(counts(&authority, log(1), 7));
    assert!(authority.apply(&closing(2, SECOND, first_epoch(1), 5).ops()[0]));
    assert!(counts(&authority, log(1), 4) && counts(&authority, log(first_epoch(1)), 9));
    assert!(!counts(&authority, log(1), 5), "what the old key says in its log after the handover");
    assert!(!counts(&authority, log(2), 0), "nor in an epoch that the new key knows nothing of");
    assert!(authority.contested().is_empty());
}

/// [P-59] A site that was restored after it changed its key, and lost the first epoch of the new one, knows less than it did.
#[test]
fn an_epoch_that_knows_less_takes_nothing_back() {
    let (full, poor) = (closing(2, SECOND, first_epoch(1), 5), closing(2, SECOND, first_epoch(1) + 9, 2));
    for order in [[&full, &poor], [&poor, &full]] {
        let mut authority = granted();
        for run in order {
            authority.apply(&run.ops()[0]);
        }
        assert!(counts(&authority, log(1), 4) && !counts(&authority, log(1), 5));
    }
}

/// [P-59] A thief of the old key names a key of its own: nobody can tell which of the two is the site's, so neither counts until an
/// origin says so.
#[test]
fn two_keys_that_claim_to_be_the_same_one_both_wait_for_the_origin() {
    let (real, theft) = (closing(2, SECOND, first_epoch(1), 5), closing(2, THIEF, first_epoch(1) + 7, 0));
    for order in [[&real, &theft], [&theft, &real]] {
        let mut authority = granted();
        for run in order {
            authority.apply(&run.ops()[0]);
        }
        assert!(authority.contested().contains(&site(2)));
        assert!(
            !counts(&authority, log(first_epoch(1)), 1) && !counts(&authority, log(first_epoch(1) + 7), 1)
        );
        assert!(counts(&authority, log(1), 4), "what was there before the theft is not taken away by it");
        authority.apply(&written(1, cut(2, first_epoch(1) + 7)).ops()[0]);
        assert!(authority.contested().is_empty());
        assert!(counts(&authority, log(first_epoch(1)), 1) && !counts(&authority, log(1), 5));
        assert!(!counts(&authority, log(first_epoch(1) + 7), 1));
    }
}

/// [P-59] Whoever has the old key of an origin cuts, grants and revokes nothing with it.
#[test]
fn a_thief_of_an_origins_old_key_rules_nothing() {
    let mut authority = granted();
    authority.apply(&closing(1, 101, first_epoch(1), 1).ops()[0]);
    for body in [cut(2, 1), grant(4, Rights::ALL)] {
        authority.apply(&origin(3, 0, body));
    }
    assert!(counts(&authority, log(1), 7) && !authority.is_author(site(4)));
    assert!(authority.is_author(site(2)), "what the origin granted before its log was closed stands");
}

/// [P-58] The epoch says which key signs, and the head brings the proof that it is the author's.
#[test]
fn a_head_is_signed_by_the_key_that_its_epoch_asks_for() {
    let run = closing(2, SECOND, first_epoch(1), 5).to_batch();
    assert!(run.clone().verify(&Mmr::default()).is_ok());
    let head = run.head.head;
    let wrong = BatchError::WrongKey { author: site(2), len: 1 };
    // The old key in an epoch of the new one, and the other way round.
    assert_eq!(head.sign(&key(2)).verify(), Err(wrong.clone()));
    let early = Head { log: log(1), ..head };
    assert_eq!(early.sign_as(&key(SECOND), successor(SECOND)).verify(), Err(wrong));
    // A key that nobody named, and one that another site's key named.
    assert!(matches!(
        head.sign_as(&key(SECOND), successor(THIEF)).verify(),
        Err(BatchError::BadSignature { .. })
    ));
    let foreign = Succession::NONE.followed_by(site(3), &key(3), site(SECOND));
    assert!(matches!(head.sign_as(&key(SECOND), foreign).verify(), Err(BatchError::Succession(_))));
}

/// [P-58] A thief cannot close logs in the name of the key that it is not.
#[test]
fn a_closing_names_the_key_that_signs_it() {
    let run = closing(2, SECOND, first_epoch(1), 5).to_batch();
    let stolen = Batch { head: run.head.head.sign_as(&key(THIEF), successor(THIEF)), ..run };
    let wrong = BatchError::WrongKey { author: site(2), len: 1 };
    assert_eq!(stolen.clone().verify(&Mmr::default()).unwrap_err(), wrong);
    let lacking = OpId(*blake3::hash(b"left out").as_bytes());
    let id = closing(2, SECOND, first_epoch(1), 5).ops()[0].id;
    let filled = stolen.filling(|_| Ok::<_, BatchError>(Some(id)));
    assert_eq!(filled.unwrap_err(), wrong);
    assert!(stolen.filling(|_| Ok::<_, BatchError>(Some(lacking))).is_err());
}

/// A fork of an older key's log holds nothing of the newer one's back: the newer one said how far the older one's logs count.
#[test]
fn a_fork_under_the_old_key_does_not_freeze_the_new_one() {
    let one = written(2, grant(5, Rights::WRITE));
    let other = written(2, grant(6, Rights::WRITE));
    let path = other.to_batch().runs();
    let fork = crate::fork::Fork { one: one.head().clone(), other: other.head().clone(), path };
    let proof = crate::fork::ForkProof::check(fork).unwrap();
    assert!(proof.freezes(log(1), None, false) && proof.freezes(log(2), None, false));
    assert!(!proof.freezes(log(first_epoch(1)), None, false));
}

/// [P-59] What a thief signs is not the site's own word, at the site itself either.
#[test]
fn a_site_takes_nothing_for_its_own_that_its_old_key_signs_later() {
    let mut authority = granted();
    authority.apply(&closing(2, SECOND, first_epoch(1), 5).ops()[0]);
    let own = |log, seq| authority.is_own(Place { log, seq }, site(2));
    assert!(own(log(1), 4) && own(log(first_epoch(1)), 9));
    assert!(!own(log(1), 5) && !own(log(2), 0));
}

/// What the origin says at that place: in a first epoch, with its first key.
fn origin(epoch: u64, seq: u64, body: Body) -> NamedOp {
    let place = Place { log: LogId { author: site(1), ..log(epoch) }, seq };
    let op = Op { place, stamp: Hlc(NOW.0 << 16), body };
    NamedOp { id: op.id(), statement: op.encode_statement(), op }
}

/// Nothing of that log counts.
fn cut(author: u8, epoch: u64) -> Body {
    let tip = Tip { author: site(author), epoch, len: 0, root: [0; 32] };
    let (signed, succession) = (NOW, Succession::NONE);
    Body::Cut(Cut { tip, signed, succession, signature: vec![], reason: String::new() })
}

/// An origin whose first key granted site 2 something, whose second key lets one op of the first count, and a thief of the first, whose
/// own key lets `len` of them count.
fn contested_origin(genesis: &Genesis, len: u64) -> Authority {
    let mut authority = Authority::new(genesis);
    authority.apply(&origin(1, 0, grant(2, Rights::WRITE)));
    authority.apply(&closing(1, 101, first_epoch(1), 1).ops()[0]);
    authority.apply(&closing(1, 201, first_epoch(1) + 7, len).ops()[0]);
    assert!(authority.contested().contains(&site(1)));
    authority
}

/// [P-59] Where the thief's key accepts what the thief said with the old one, too.
#[test]
fn a_thief_of_an_origins_old_key_rules_nothing_by_contesting_the_new_one() {
    for len in [1, 1_000] {
        let mut authority = contested_origin(&genesis(), len);
        authority.apply(&origin(1, 6, grant(4, Rights::ALL)));
        authority.apply(&origin(1, 7, revoke(2, 0)));
        authority.apply(&origin(3, 0, grant(5, Rights::ALL)));
        assert!(!authority.is_author(site(4)) && !authority.is_author(site(5)));
        assert!(counts(&authority, log(1), 7), "what both keys accept of the old one's words stands");
    }
}

#[test]
fn a_thief_of_an_origins_old_key_cuts_nothing_by_contesting_the_new_one() {
    for len in [1, 1_000] {
        let mut authority = contested_origin(&genesis(), len);
        authority.apply(&origin(1, 6, cut(1, first_epoch(1))));
        authority.apply(&origin(3, 0, cut(2, 1)));
        assert_eq!(authority.cuts().count(), 0);
        assert!(authority.contested().contains(&site(1)));
    }
}

/// [P-59] What the other origin says of the contest holds, and the key that is left rules as the origin did.
#[test]
fn a_second_origin_ends_a_contest_about_the_first_ones_key() {
    let mut authority = contested_origin(&Genesis { second_origin: Some(site(3)), ..genesis() }, 1_000);
    authority.apply(&origin(first_epoch(1), 1, cut(5, 1)));
    authority.apply(&origin(first_epoch(1), 2, grant(4, Rights::WRITE)));
    assert!(!authority.is_author(site(4)) && authority.cuts().count() == 0);
    authority.apply(&written(3, cut(1, first_epoch(1) + 7)).ops()[0]);
    assert!(authority.contested().is_empty() && authority.is_author(site(4)));
    assert_eq!(authority.cuts().count(), 2);
}

/// [P-59] A member's old key, closed at five ops, writes no more while it is not clear which key follows it.
#[test]
fn an_old_key_says_nothing_more_while_its_succession_is_contested() {
    let (real, theft) = (closing(2, SECOND, first_epoch(1), 5), closing(2, THIEF, first_epoch(1) + 7, 0));
    let mut authority = granted();
    authority.apply(&real.ops()[0]);
    authority.apply(&theft.ops()[0]);
    assert!(counts(&authority, log(1), 4));
    assert!(!counts(&authority, log(1), 5), "beyond what any closing accepts, in the old log");
    assert!(!counts(&authority, log(2), 0), "in a new epoch of the old key");
}

/// [P-59] A thief of the second key contests the third: what the second one said stands, and what it closed stays closed.
#[test]
fn a_contest_about_a_later_key_leaves_what_the_earlier_one_said() {
    const THIRD: u8 = 103;
    let third = |by: u8, epoch: u64| {
        let tip = |epoch, len| Tip { author: site(2), epoch, len, root: [0; 32] };
        let accepted = vec![tip(1, 5), tip(first_epoch(1), 4)];
        let closes = Some(Closing { key: site(by), accepted });
        let succession = successor(SECOND).followed_by(site(2), &key(SECOND), site(by));
        let body = Body::OpenEpoch(OpenEpoch { known: None, closes });
        let signs = (&key(by), succession);
        Verified::author_as(signs, log(epoch), &Mmr::default(), vec![body], Hlc::default(), NOW)
    };
    let mut authority = granted();
    authority.apply(&closing(2, SECOND, first_epoch(1), 5).ops()[0]);
    authority.apply(&third(THIRD, first_epoch(2)).ops()[0]);
    authority.apply(&third(203, first_epoch(2) + 7).ops()[0]);
    assert!(authority.contested().contains(&site(2)));
    assert!(counts(&authority, log(first_epoch(1)), 3) && !counts(&authority, log(first_epoch(1)), 4));
    assert!(counts(&authority, log(1), 4) && !counts(&authority, log(1), 5));
    assert!(!counts(&authority, log(first_epoch(2)), 1) && !counts(&authority, log(first_epoch(2) + 7), 1));
}

/// [P-59] A thief of the first key passes a number over, so that nobody else claims the one by which its log closes the others.
#[test]
fn a_thief_who_passes_a_number_over_contests_the_one_that_it_passed() {
    let real = closing(2, SECOND, first_epoch(1), 5);
    let third = THIEF + 1;
    let keys = successor(THIEF).followed_by(site(2), &key(THIEF), site(third));
    let stolen = log(first_epoch(2));
    let closes = Some(Closing { key: site(third), accepted: vec![] });
    let body = Body::OpenEpoch(OpenEpoch { known: None, closes });
    let signer = (&key(third), keys);
    let theft = Verified::author_as(signer, stolen, &Mmr::default(), vec![body], Hlc::default(), NOW);
    let mut authority = granted();
    let heads = [real.head(), theft.head()];
    authority.descend(heads.map(|signed| (signed.head.log, signed.succession.clone())));
    for run in [&real, &theft] {
        authority.apply(&run.ops()[0]);
    }
    assert!(authority.contested().contains(&site(2)));
    assert!(!counts(&authority, stolen, 1) && !counts(&authority, log(first_epoch(1)), 1));
    assert!(counts(&authority, log(1), 4), "what was there before the theft is not taken away by it");
    authority.apply(&written(1, cut(2, first_epoch(2))).ops()[0]);
    assert!(authority.contested().is_empty());
    assert!(counts(&authority, log(first_epoch(1)), 1) && !counts(&authority, stolen, 1));
}
