//! What a seal covers: everything that is due, and nothing that is not.

use protocol::feed::Standing;
use protocol::frame::OpsFrame;
use protocol::grant::Permitted;
use protocol::id::BlobId;
use protocol::limits::FRAME_BYTES_MAX;
use protocol::log::{Mmr, Verified};
use protocol::manifest::{File, Manifest};
use protocol::op::{Grant, Publish, Rights, SetRef};
use protocol::package::{Coordinate, FeedKind};
use protocol::switches::Switches;
use protocol::time::{Hlc, Timestamp};

use super::*;
use crate::identity::SiteKey;
use crate::keeper::tests::a_feed;
use crate::keeper::wall_clock;
use crate::statement::{choice, rights, usage};

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

/// The member opens `count` epochs of its own, one op in each.
fn opens_epochs(site: &SiteStore, feed: FeedId, member: &SiteKey, count: u64) {
    let authority = site.store().authority(feed).unwrap().unwrap();
    let opened = |n| {
        let log = LogId { feed, author: member.site_id(), epoch: (1 << 47) + n };
        let body = Body::SetRef(SetRef { package: "a".to_owned(), name: "stable".to_owned(), target: None });
        let (key, wall) = (member.signing_key(), wall_clock());
        let said = Verified::author(key, log, &Mmr::default(), vec![body], Hlc::default(), wall);
        Permitted::received(said, feed, Switches::MIRROR, &authority, site.me()).unwrap()
    };
    site.store().append(&(0..count).map(opened).collect::<Vec<_>>()).unwrap();
}

/// How much of the site's log another one takes.
fn as_a_peer_reads_it(site: &SiteStore, feed: FeedId) -> u64 {
    let log = LogId { feed, author: site.me(), epoch: 1 };
    let mut held = Mmr::default();
    for batch in site.store().batches(log, 0, u64::MAX).unwrap() {
        held = batch.verify(&held).unwrap().after().clone();
    }
    held.len()
}

#[test]
fn seals_over_more_logs_than_an_op_can_name_are_several_and_peers_take_each() {
    let (site, feed, member) = origin();
    opens_epochs(&site, feed, &member, 1_000);
    assert_eq!([(); 3].map(|()| seal(&site, feed).unwrap()), [true, true, false]);
    assert_eq!(as_a_peer_reads_it(&site, feed), 3);
    let unsealed = (0..1_000).map(|n| LogId { feed, author: member.site_id(), epoch: (1 << 47) + n });
    assert_eq!(unsealed.filter(|log| sealed(&site, feed, *log) == 0).count(), 0);
}

#[test]
fn a_revoke_over_more_logs_than_an_op_can_name_holds_and_peers_take_it() {
    let (site, feed, member) = origin();
    opens_epochs(&site, feed, &member, 1_100);
    let record = site.store().feed(feed).unwrap().unwrap();
    rights::revoke(&site, feed, &record, member.site_id(), String::new(), true).unwrap();
    let left = || site.store().authority(feed).unwrap().unwrap().rights(member.site_id());
    assert_eq!(left(), Rights::default());
    assert_eq!(as_a_peer_reads_it(&site, feed), 2);
    // What is in memory is worked out anew from what is kept.
    site.store().remove_feed(feed).unwrap();
    site.store().put_feed(&record).unwrap();
    assert_eq!(left(), Rights::default());
}

#[test]
fn a_prefix_that_is_longer_than_any_name_is_refused() {
    let (site, feed, member) = origin();
    let record = site.store().feed(feed).unwrap().unwrap();
    let grantee = (member.site_id(), String::new());
    let refused = rights::grant(&site, feed, &record, grantee, Rights::WRITE, "a".repeat(215), None);
    assert!(matches!(refused, Err(StatementError::LongPrefix { found: 215 })), "{refused:?}");
}

#[test]
fn downloads_of_ten_thousand_versions_go_in_frames_that_peers_take() {
    let (site, feed, _) = origin();
    let at = |n: u32| Coordinate::new(FeedKind::Raw, &format!("{n:0>200}"), "1").unwrap();
    usage::tell(&site, feed, (0..10_000).map(|n| (at(n), (3, wall_clock()))).collect()).unwrap();
    let log = LogId { feed, author: site.me(), epoch: 1 };
    let batches = site.store().batches(log, 1, u64::MAX).unwrap();
    assert_eq!(batches.len(), 10);
    assert!(batches.into_iter().all(|batch| OpsFrame::Ops(batch).encode().len() <= FRAME_BYTES_MAX));
    assert_eq!(site.store().figures(feed).unwrap().told_by(site.me(), &at(9_999)).unwrap().0, 3);
}

/// A site that may delete and not publish takes its own local build back.
#[test]
fn a_local_build_that_is_taken_back_takes_nothing_else_along() {
    let (key, store, feed) = a_feed();
    let site = SiteStore::new(store.clone(), SiteKey::from_seed(&[2; 32]));
    let at = Coordinate::new(FeedKind::Raw, "tool", "1").unwrap();
    let build = |n: u8| {
        let file = File { name: "f".to_owned(), blob: BlobId([n; 32]), size: 1, sha256: [n; 32] };
        let manifest = Manifest::of(vec![file]).unwrap();
        Body::Publish(Publish { coordinate: at.clone(), manifest, supersedes: vec![], provenance: None })
    };
    let rights = Rights { delete_wide: true, ..Rights::default() };
    let (grantee, label, prefix) = (site.me(), String::new(), String::new());
    let grant = Body::Grant(Grant { grantee, label, rights, prefix, expires: None });
    let log = LogId { feed, author: key.site_id(), epoch: 1 };
    let (signer, held) = (key.signing_key(), Mmr::default());
    let said = Verified::author(signer, log, &held, vec![grant, build(1)], Hlc::default(), wall_clock());
    store.append(&[Permitted::local(said, false).unwrap()]).unwrap();
    site.author(feed, vec![build(2)]).unwrap();
    let refused = choice::revert_local(&site, feed, at);
    assert!(matches!(refused, Err(StatementError::NothingLocal { .. })), "{refused:?}");
    let elsewhere = Look { me: key.site_id(), now: wall_clock() };
    assert_eq!(store.item(feed, "tool", "1", elsewhere).unwrap().unwrap().standing, Standing::Served);
}
