//! Keys follow each other only by the word of the one before, in the name of one site.

use super::*;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn id(seed: u8) -> SiteId {
    SiteId(key(seed).verifying_key().to_bytes())
}

fn two() -> Succession {
    let first = Succession::NONE.followed_by(id(1), &key(1), id(2));
    first.followed_by(id(1), &key(2), id(3))
}

#[test]
fn each_key_is_named_by_the_one_before() {
    assert_eq!(Succession::NONE.check(id(1)), Ok(id(1)));
    assert_eq!(two().check(id(1)), Ok(id(3)));
    assert_eq!(two().keys(id(1)), [id(1), id(2), id(3)]);
    assert_eq!((two().generation(), generation_of(first_epoch(2)), generation_of(1)), (2, 2, 0));
}

#[test]
fn a_key_that_was_not_named_does_not_follow() {
    let site = id(1);
    let stolen = Succession(vec![Handover { key: id(9), signature: two().0[0].signature }]);
    assert_eq!(stolen.check(site), Err(Unfollowed::BadSignature { site, generation: 1 }));
    assert!(two().check(id(4)).is_err(), "the keys are another site's");
    let swapped = Succession(two().0.into_iter().rev().collect());
    assert!(swapped.check(site).is_err());
    let skipped = Succession(vec![two().0[1].clone()]);
    assert_eq!(skipped.check(site), Err(Unfollowed::BadSignature { site, generation: 1 }));
}

#[test]
fn a_later_key_alone_cannot_name_another_first_one() {
    // The second key names a third in the name of a site that it never was.
    let other = Succession::NONE.followed_by(id(2), &key(2), id(3));
    assert_eq!(other.check(id(2)), Ok(id(3)));
    assert!(other.check(id(1)).is_err());
}

#[test]
fn keys_without_end_are_refused_before_any_is_checked() {
    let long = Succession(vec![two().0[0].clone(); HANDOVERS_MAX + 1]);
    assert_eq!(long.check(id(1)), Err(Unfollowed::TooLong { found: HANDOVERS_MAX + 1 }));
}

#[test]
fn a_weak_key_names_nobody() {
    let weak = SiteId([0; 32]);
    let named = Succession::NONE.followed_by(id(1), &key(1), weak);
    let onwards = Succession(vec![named.0[0].clone(), two().0[1].clone()]);
    assert!(onwards.check(id(1)).is_err());
}

#[test]
fn a_succession_is_the_start_of_itself_and_of_what_it_grew_to() {
    let first = Succession::NONE.followed_by(id(1), &key(1), id(2));
    assert!(Succession::NONE.is_start_of(&two()) && first.is_start_of(&two()) && two().is_start_of(&two()));
    assert!(!two().is_start_of(&first));
    assert!(!Succession::NONE.followed_by(id(1), &key(1), id(9)).is_start_of(&two()));
}

/// The bytes that are signed: they never change.
#[test]
fn a_handover_has_these_bytes() {
    let said = signed_bytes(SiteId([1; 32]), 1, SiteId([2; 32]));
    let mut expected = b"packetboat 2026-11 handover v1\0".to_vec();
    expected.extend([1; 32]);
    expected.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([2; 32]);
    assert_eq!(said, expected);
}
