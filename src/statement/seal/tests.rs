//! What a seal covers: everything that is due, and nothing that is not.

use protocol::grant::Permitted;
use protocol::log::{Mmr, Verified};
use protocol::op::{Grant, Rights, SetRef};
use protocol::time::{Hlc, Timestamp};

use super::*;
use crate::identity::SiteKey;
use crate::keeper::tests::a_feed;
use crate::keeper::wall_clock;

const HOUR_MS: u64 = 3_600_000;

fn origin() -> (SiteStore, FeedId, SiteKey) {
    let (key, store, feed) = a_feed();
    let member = SiteKey::from_seed(&[2; 32]);
    let site = SiteStore::new(store, key);
    let grant = Grant {
        grantee: member.site_id(),
        label: String::new(),
        rights: Rights::WRITE,
        prefix: String::new(),
        expires: None,
    };
    site.author(feed, vec![Body::Grant(grant)]).unwrap();
    (site, feed, member)
}

/// One op of the member, by its own clock.
fn says(site: &SiteStore, feed: FeedId, member: &SiteKey, wall: Timestamp) -> LogId {
    let log = LogId { feed, author: member.site_id(), epoch: 1 };
    let held = site.store().log_state(log).unwrap().map_or_else(Mmr::default, |state| state.after);
    let body = Body::SetRef(SetRef { package: "a".to_owned(), name: "stable".to_owned(), target: None });
    let said = Verified::author(member.signing_key(), log, &held, vec![body], Hlc::default(), wall);
    site.store().append(&[Permitted::local(said, false).unwrap()]).unwrap();
    log
}

fn sealed(site: &SiteStore, feed: FeedId, log: LogId) -> u64 {
    site.store().ledger(feed).unwrap().unwrap().sealed_len(log)
}

/// A member's clock is an hour fast. What it says waits at the origin until it is due; were it sealed before, it would then displace what
/// was sealed and served meanwhile.
#[test]
fn a_seal_reaches_no_further_than_what_is_due() {
    let (site, feed, member) = origin();
    let log = says(&site, feed, &member, wall_clock());
    assert!(seal(&site, feed).unwrap());
    assert_eq!(sealed(&site, feed, log), 1);
    says(&site, feed, &member, Timestamp(wall_clock().0 + HOUR_MS));
    says(&site, feed, &member, wall_clock());
    assert!(!seal(&site, feed).unwrap(), "nothing that is due is new");
    assert_eq!(sealed(&site, feed, log), 1);
}

/// [P-27] Nothing is new, and a day has passed: the origin says so, or a relay could show the old state for ever unnoticed.
#[test]
fn an_origin_seals_once_a_day_though_nothing_is_new() {
    let (site, feed, member) = origin();
    says(&site, feed, &member, wall_clock());
    assert!(seal(&site, feed).unwrap());
    let owed = |hours: u64| {
        let look = Look { now: Timestamp(wall_clock().0 + hours * HOUR_MS), ..site.look() };
        due(site.store(), feed, look).unwrap()
    };
    assert_eq!(owed(23), None);
    let again = owed(25).expect("a seal for its age");
    assert_eq!((again.index, again.frontier.len()), (2, 1), "only the seal itself is new in a log");
}
