//! Restores, which are let through, and doubles, which are not.

use super::*;

const SITE: SiteId = SiteId([1; 32]);
const OLD: StoreId = StoreId([1; 8]);
const NEW: StoreId = StoreId([2; 8]);

/// [P-57] A site may begin a new life; the one before must not come back beside it.
#[test]
fn a_new_life_is_let_in_and_the_one_before_is_not() {
    let mut lives = Lives::default();
    lives.saw(SITE, OLD, Timestamp(0));
    assert_eq!(lives.barred(SITE, Timestamp(1)), []);
    lives.saw(SITE, NEW, Timestamp(2));
    assert_eq!(lives.barred(SITE, Timestamp(3)), [OLD]);
    assert_eq!(lives.barred(SiteId([9; 32]), Timestamp(3)), []);
}

/// [P-57] Once both have called, neither is listened to, until one of them has been silent for long enough.
#[test]
fn of_two_that_call_in_turn_neither_is_let_in_until_one_is_silent() {
    let mut lives = Lives::default();
    lives.saw(SITE, OLD, Timestamp(0));
    lives.saw(SITE, NEW, Timestamp(10));
    lives.saw(SITE, OLD, Timestamp(20));
    assert!(lives.doubled(SITE, Timestamp(20)));
    assert!(!lives.doubled(SITE, Timestamp(30)), "told once");
    assert_eq!(lives.barred(SITE, Timestamp(30)), [OLD, NEW]);
    lives.saw(SITE, NEW, Timestamp(SITE_LIVES_MS));
    assert_eq!(lives.barred(SITE, Timestamp(SITE_LIVES_MS + 1)), [OLD, NEW]);
    assert_eq!(lives.barred(SITE, Timestamp(SITE_LIVES_MS + 20)), [], "the old one is silent");
    assert!(lives.doubled(SITE, Timestamp(SITE_LIVES_MS * 3)), "told again much later");
}

#[test]
fn lives_that_a_site_makes_up_take_no_room() {
    let mut lives = Lives::default();
    for n in 0..100 {
        lives.saw(SITE, StoreId([n; 8]), Timestamp(u64::from(n)));
    }
    assert_eq!(lives.barred(SITE, Timestamp(100)).len(), SITE_LIVES_MAX - 1);
}

/// [P-57] Both ends of a refused session see the same end of it: the one that refused knows that it is the other's key that is doubled.
#[test]
fn of_a_session_that_ended_for_a_double_the_end_that_refused_is_not_the_doubled_one() {
    let mut lives = Lives::default();
    let (copied, other) = (Outcome::Refused(Reason::SiteCopied), Outcome::Refused(Reason::LinkPaused));
    assert!(lives.is_told_of_own(copied, SITE, Timestamp(0)));
    assert!(!lives.is_told_of_own(other, SITE, Timestamp(0)));
    lives.saw(SITE, OLD, Timestamp(0));
    lives.saw(SITE, NEW, Timestamp(1));
    lives.doubled(SITE, Timestamp(2));
    assert!(!lives.is_told_of_own(copied, SITE, Timestamp(2)));
}
