//! What admins say of rights, and who of them says it rightly.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const ADMIN: Rights = Rights { admin: true, ..NONE };
const NONE: Rights =
    Rights { publish: false, delete_own: false, delete_wide: false, block: false, admin: false };

fn log(of: u8) -> LogId {
    LogId { feed: genesis().feed_id(), author: site(of), epoch: 1 }
}

fn at(ms: u64) -> Hlc {
    Hlc((NOW.0 + ms) << 16)
}

/// What the site `author` says at that place of its log, stamped so many milliseconds later.
fn by(author: u8, seq: u64, ms: u64, body: Body) -> NamedOp {
    let op = Op { place: Place { log: log(author), seq }, stamp: at(ms), body };
    NamedOp { id: op.id(), statement: op.encode_statement(), op }
}

fn authority(words: &[NamedOp]) -> Authority {
    let mut authority = Authority::new(&genesis());
    for word in words {
        authority.apply(word);
    }
    authority
}

/// Site 2 is an admin, and then its rights are taken back by the origin, which accepts two ops of its.
fn revoked() -> [NamedOp; 2] {
    [by(1, 0, 10, grant(2, Rights::ALL)), by(1, 1, 1_000, revoke(2, 2))]
}

/// [P-14] An admin's key is stolen, and its rights are taken back. The thief signs a grant with a stamp of before, and puts it where the revoke
/// accepts nothing.
#[test]
fn a_revoked_admin_makes_nobody_an_author_by_a_stamp_of_before() {
    let mut authority = authority(&revoked());
    authority.apply(&by(2, 7, 500, grant(4, Rights::ALL)));
    assert_eq!(authority.weigh(log(2), 7, at(500), Verb::Admin, ""), Weight::Held);
    assert!(!authority.is_author(site(4)));
    assert_eq!(authority.rights(site(4)), NONE);
    authority.apply(&by(2, 1, 400, grant(5, Rights::WRITE)));
    assert_eq!(authority.rights(site(5)), Rights::WRITE, "what the revoke accepts stands");
}

#[test]
fn a_revoked_admin_does_not_come_back_by_an_accomplice() {
    let mut authority = authority(&revoked());
    authority.apply(&by(2, 7, 500, grant(4, Rights::ALL)));
    authority.apply(&by(4, 0, 2_000, grant(2, Rights::ALL)));
    assert!(!authority.allows(log(2), 8, at(3_000), Verb::DeleteWide, "any"));
    assert_eq!(authority.rights(site(2)), NONE);
}

#[test]
fn a_revoked_admin_takes_nobodys_rights_by_a_stamp_of_before() {
    let mut authority = authority(&revoked());
    authority.apply(&by(1, 2, 20, grant(3, Rights::WRITE)));
    authority.apply(&by(2, 7, 500, revoke(3, 0)));
    assert!(authority.allows(log(3), 0, at(30), Verb::Publish, "any"));
}

#[test]
fn what_an_admin_said_counts_though_it_came_before_what_made_it_an_admin() {
    let mut authority = authority(&[by(3, 0, 500, grant(4, ADMIN)), by(4, 0, 600, grant(5, Rights::WRITE))]);
    assert!(!authority.is_author(site(4)));
    authority.apply(&by(2, 0, 400, grant(3, ADMIN)));
    authority.apply(&by(1, 0, 10, grant(2, ADMIN)));
    assert!(authority.is_admin(site(3)) && authority.is_admin(site(4)) && authority.is_author(site(5)));
}

/// Publishes that waited count again once rights are given anew [P-29]; words do not: their author says them again.
#[test]
fn a_new_grant_brings_no_word_back_that_a_revoke_did_not_accept() {
    let mut authority = authority(&revoked());
    authority.apply(&by(2, 7, 500, grant(4, Rights::WRITE)));
    authority.apply(&by(1, 2, 2_000, grant(2, Rights::ALL)));
    assert!(authority.is_admin(site(2)) && !authority.is_author(site(4)));
    authority.apply(&by(2, 8, 2_500, grant(4, Rights::WRITE)));
    assert!(authority.is_author(site(4)));
}

/// [P-14] A grant holds for stamps before its expiry.
#[test]
fn an_admin_whose_grant_expired_grants_nothing() {
    let Body::Grant(grant_of_two) = grant(2, ADMIN) else { panic!("a grant") };
    let until = Body::Grant(Grant { expires: Some(Timestamp(NOW.0 + 100)), ..grant_of_two });
    let mut authority = authority(&[by(1, 0, 10, until)]);
    authority.apply(&by(2, 0, 5_000, grant(4, Rights::ALL)));
    assert!(!authority.is_author(site(4)));
    authority.apply(&by(2, 1, 50, grant(5, Rights::WRITE)));
    assert!(authority.is_author(site(5)));
}

/// [P-14] A grant holds for package names with its prefix: an admin of some names grants for those, and takes nobody's rights back.
#[test]
fn an_admin_of_a_prefix_gives_no_rights_beyond_it() {
    let of_acme = |to: u8, prefix: &str| {
        let Body::Grant(whole) = grant(to, Rights::ALL) else { panic!("a grant") };
        Body::Grant(Grant { prefix: prefix.to_owned(), ..whole })
    };
    let mut authority =
        authority(&[by(1, 0, 10, of_acme(2, "acme-")), by(1, 1, 20, grant(3, Rights::WRITE))]);
    assert!(!authority.is_admin(site(2)));
    authority.apply(&by(2, 0, 5_000, grant(2, Rights::ALL)));
    assert!(!authority.allows(log(2), 1, at(9_000), Verb::DeleteWide, "other"), "it gave it itself");
    authority.apply(&by(2, 1, 5_000, revoke(3, 0)));
    assert!(authority.allows(log(3), 0, at(30), Verb::Publish, "other"));
    authority.apply(&by(2, 2, 5_000, of_acme(4, "acme-tools-")));
    let allows = |name| authority.allows(log(4), 0, at(9_000), Verb::Publish, name);
    assert!(allows("acme-tools-x") && !allows("acme-x"));
}

/// Two admins revoke each other and neither accepts the other's word: stamps do not tell which of them is the thief, so both are out until an
/// origin tells.
#[test]
fn of_two_admins_that_revoke_each_other_neither_holds_a_right_until_the_origin_speaks() {
    let words = [
        by(1, 0, 10, grant(2, Rights::ALL)),
        by(1, 1, 20, grant(3, Rights::ALL)),
        by(2, 4, 900, revoke(3, 2)),
        by(2, 5, 800, grant(4, Rights::ALL)),
        by(3, 4, 1_000, revoke(2, 2)),
        by(3, 1, 100, grant(5, Rights::WRITE)),
    ];
    let mut authority = authority(&words);
    assert_eq!((authority.rights(site(2)), authority.rights(site(3))), (NONE, NONE));
    assert!(!authority.is_author(site(4)), "a word of which nobody can tell whether it was taken back");
    assert!(authority.is_author(site(5)), "both accept it");
    authority.apply(&by(1, 2, 2_000, revoke(2, 2)));
    assert_eq!(authority.rights(site(3)), Rights::ALL);
    assert!(!authority.is_author(site(4)));
}

#[test]
fn an_admin_that_revokes_whom_it_has_its_right_from_takes_both_out() {
    let made = by(2, 3, 500, grant(3, Rights::ALL));
    let mut authority = authority(&[by(1, 0, 10, grant(2, Rights::ALL)), made, by(3, 0, 900, revoke(2, 2))]);
    assert_eq!((authority.rights(site(2)), authority.rights(site(3))), (NONE, NONE));
    authority.apply(&by(1, 1, 950, revoke(2, 4)));
    assert!(authority.rights(site(2)) == NONE && !authority.is_admin(site(3)), "its revoke goes on counting");
    authority.apply(&by(1, 2, 960, grant(3, Rights::ALL)));
    assert!(authority.is_admin(site(3)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    /// [P-14] Whatever else was said, in whichever order: of a site that an origin revoked last nothing counts beyond what was accepted.
    #[test]
    fn what_a_revoke_does_not_accept_of_an_admins_words_changes_nothing(
        said in vec((1_u8..6, 0_u64..8, 0_u64..100, 1_u8..6, any::<(bool, bool)>(), 0_u64..8), 1..30),
        accepted in 0_u64..8,
    ) {
        let word = |(author, seq, ms, about, (grants, admin), len): (u8, u64, u64, u8, (bool, bool), u64)| {
            let rights = if admin { Rights::ALL } else { Rights::WRITE };
            by(author, seq, ms, if grants { grant(about, rights) } else { revoke(about, len) })
        };
        let mut words: Vec<NamedOp> = said.into_iter().map(word).collect();
        words.push(by(1, 99, 200, revoke(2, accepted)));
        let of_two = |word: &NamedOp| word.op.place.log == log(2) && word.op.place.seq >= accepted;
        let (refused, others): (Vec<NamedOp>, Vec<NamedOp>) = words.iter().cloned().partition(of_two);
        let (all, without) = (authority(&words), authority(&others));
        prop_assert_eq!(all.words(), without.words());
        prop_assert_eq!(all.grants(), without.grants());
        let turned: Vec<NamedOp> = refused.into_iter().chain(others.into_iter().rev()).collect();
        prop_assert_eq!(all, authority(&turned));
    }
}
