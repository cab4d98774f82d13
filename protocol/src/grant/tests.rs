//! What a link lets through, and who may write.

mod keys;
mod words;

use ed25519_dalek::SigningKey;

use super::*;
use crate::log::Mmr;
use crate::op::{Delete, Unblock};
use crate::package::{Coordinate, FeedKind};
use crate::time::Timestamp;

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

fn written(author: u8, body: Body) -> Verified {
    let log = LogId { feed: genesis().feed_id(), author: site(author), epoch: 1 };
    Verified::author(&key(author), log, &Mmr::default(), vec![body], Hlc::default(), NOW)
}

fn delete() -> Body {
    let coordinate = Coordinate::new(FeedKind::Raw, "a", "1").unwrap();
    Body::Delete(Delete { coordinate, saw: vec![], reason: String::new() })
}

fn grant(to: u8, rights: Rights) -> Body {
    Body::Grant(Grant {
        grantee: site(to),
        label: String::new(),
        rights,
        prefix: String::new(),
        expires: None,
    })
}

#[test]
fn a_pull_link_lets_no_ops_in_from_the_puller() {
    let mut authority = Authority::new(&genesis());
    let run = written(1, delete());
    let feed = genesis().feed_id();
    let received = |run: &Verified, effective, authority: &Authority| {
        Permitted::received(run.clone(), feed, effective, authority, site(9)).map(|_ok| ())
    };
    assert_eq!(received(&run, Switches::PULL.flip(), &authority), Err(Reason::AddsHeldBack));
    assert_eq!(received(&run, Switches::PULL, &authority), Ok(()));
    let adds = Switches { in_delete: false, ..Switches::PULL };
    assert_eq!(received(&run, adds, &authority), Err(Reason::DeletesHeldBack));

    let own = Permitted::received(run.clone(), feed, adds, &authority, run.log().author).map(|_ok| ());
    assert_eq!(own, Ok(()), "[P-49] nothing is held back of what a site said itself");

    let stranger = written(2, delete());
    assert_eq!(received(&stranger, Switches::MIRROR, &authority), Err(Reason::AuthorNotAllowed));
    assert!(authority.apply(&written(1, grant(2, Rights::WRITE)).ops()[0]));
    assert_eq!(received(&stranger, Switches::MIRROR, &authority), Ok(()));

    let elsewhere = Permitted::received(run, FeedId([9; 32]), Switches::MIRROR, &authority, site(9));
    assert_eq!(elsewhere.unwrap_err(), Reason::FeedUnknown);
}

#[test]
fn a_strict_replica_takes_no_local_ops() {
    let run = written(2, delete());
    assert_eq!(Permitted::local(run.clone(), true).unwrap_err(), Unsayable::Strict);
    assert!(Permitted::local(run, false).is_ok());
}

/// [P-13] A right comes from the origin by a chain of admins.
#[test]
fn only_an_admin_can_grant_and_order_of_arrival_does_not_matter() {
    let by_stranger = written(3, grant(4, Rights::ALL));
    let by_origin = written(1, grant(3, Rights::ALL));
    let mut one = Authority::new(&genesis());
    one.apply(&by_stranger.ops()[0]);
    assert!(!one.is_author(site(4)));
    one.apply(&by_origin.ops()[0]);
    let mut other = Authority::new(&genesis());
    other.apply(&by_origin.ops()[0]);
    other.apply(&by_stranger.ops()[0]);
    assert_eq!(one, other);
    assert!(
        !other.apply(
            &written(1, Body::Unblock(Unblock { block: OpId([0; 32]), reason: String::new() })).ops()[0]
        )
    );
}

/// [P-14] A grant has a prefix and an end.
#[test]
fn a_grant_holds_for_its_prefix_and_until_it_expires() {
    let mut authority = Authority::new(&genesis());
    let limited = Body::Grant(Grant {
        grantee: site(2),
        label: String::new(),
        rights: Rights::WRITE,
        prefix: "acme-".to_owned(),
        expires: Some(Timestamp(NOW.0 + 10)),
    });
    authority.apply(&written(1, limited).ops()[0]);
    let log = LogId { feed: genesis().feed_id(), author: site(2), epoch: 1 };
    let at = |ms: u64| Hlc((NOW.0 + ms) << 16);
    assert!(authority.allows(log, 0, at(9), Verb::Publish, "acme-x"));
    assert!(!authority.allows(log, 0, at(10), Verb::Publish, "acme-x"));
    assert!(!authority.allows(log, 0, at(9), Verb::Publish, "other"));
    assert!(!authority.allows(log, 0, at(9), Verb::Block, "acme-x"));
}

/// [P-14] A revoke says how far the author's logs still count.
#[test]
fn a_revoked_author_keeps_only_what_was_accepted() {
    let mut authority = Authority::new(&genesis());
    let log = LogId { feed: genesis().feed_id(), author: site(2), epoch: 1 };
    authority.apply(&written(1, grant(2, Rights::WRITE)).ops()[0]);
    let mut later = written(
        1,
        Body::Revoke(Revoke {
            grantee: site(2),
            accepted: vec![Tip { author: site(2), epoch: 1, len: 5, root: [0; 32] }],
            reason: String::new(),
        }),
    );
    let mut named = later.ops()[0].clone();
    named.op.stamp = Hlc((NOW.0 + 1) << 16);
    authority.apply(&named);
    assert!(authority.allows(log, 4, Hlc(0), Verb::Publish, "a"));
    assert!(!authority.allows(log, 5, Hlc(0), Verb::Publish, "a"));
    assert_eq!(authority.rights(site(2)), Rights::default());
    later = written(1, grant(2, Rights::WRITE));
    let mut again = later.ops()[0].clone();
    again.op.stamp = Hlc((NOW.0 + 2) << 16);
    again.id = OpId([77; 32]);
    authority.apply(&again);
    assert!(authority.allows(log, 5, Hlc(0), Verb::Publish, "a"));
}

/// An op of the origin's, said so many milliseconds later.
fn later(ms: u64, body: Body) -> NamedOp {
    let mut named = written(1, body).ops()[0].clone();
    named.op.stamp = Hlc((NOW.0 + ms) << 16);
    named.id = OpId([u8::try_from(ms).unwrap(); 32]);
    named
}

fn revoke(of: u8, accepted_len: u64) -> Body {
    let accepted = vec![Tip { author: site(of), epoch: 1, len: accepted_len, root: [0; 32] }];
    Body::Revoke(Revoke { grantee: site(of), accepted, reason: String::new() })
}

/// Less is given by taking all back and giving less anew: what was granted before stays taken back, and what was accepted of it stands. [P-29]
#[test]
fn a_narrower_grant_after_a_revoke_does_not_bring_the_wider_one_back() {
    let mut authority = Authority::new(&genesis());
    let log = LogId { feed: genesis().feed_id(), author: site(2), epoch: 1 };
    let publish = Rights { publish: true, ..Rights::default() };
    for said in [
        later(0, grant(2, Rights { admin: true, ..Rights::WRITE })),
        later(1, revoke(2, 5)),
        later(2, grant(2, publish)),
    ] {
        authority.apply(&said);
    }
    let weigh = |authority: &Authority, seq, verb| authority.weigh(log, seq, Hlc(0), verb, "a");
    assert_eq!(weigh(&authority, 4, Verb::DeleteWide), Weight::Counts);
    assert_eq!(weigh(&authority, 5, Verb::DeleteWide), Weight::Held);
    assert_eq!(weigh(&authority, 5, Verb::Publish), Weight::Counts);
    assert_eq!(weigh(&authority, 5, Verb::Block), Weight::Nothing);
    assert!(!authority.is_admin(site(2)));
    assert_eq!(authority.rights(site(2)), publish);
    let grants = authority.grants();
    let taken_back: Vec<bool> = grants[0].1.iter().map(|held| held.revoked).collect();
    assert_eq!(taken_back, [true, false]);

    // A later revoke that accepts less takes from what the first one had accepted, too.
    authority.apply(&later(3, revoke(2, 3)));
    assert_eq!(weigh(&authority, 4, Verb::DeleteWide), Weight::Held);
    assert_eq!(weigh(&authority, 2, Verb::DeleteWide), Weight::Counts);
}
