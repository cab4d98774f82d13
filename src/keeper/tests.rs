//! Where a site's clock goes on after a start and after ops of the future, and when a site that waits writes again.

mod home;

use std::collections::BTreeSet;

use protocol::fault::{Outcome, Reason};
use protocol::filter::Filter;
use protocol::frame::Openness;
use protocol::id::StoreId;
use protocol::link::Dial;
use protocol::log::Entry;
use protocol::op::{Closing, Genesis, Grant, Op, OpenEpoch, Revoke, Rights, SetRef, Tip};
use protocol::package::{Coordinate, FeedKind};
use protocol::session::tally::Tally;
use protocol::session::{Agreed, AgreedFeed};
use protocol::switches::{Switches, Verdict};

use super::*;
use crate::store::disk::fake::FakeDisk;
use crate::store::{FeedRecord, KeysOf, Options, engine};

const HOUR_MS: u64 = 3_600_000;

fn moved() -> Body {
    Body::SetRef(SetRef { package: "a".to_owned(), name: "stable".to_owned(), target: None })
}

fn changes_key(site: &SiteStore, seed: u8) {
    site.change_key(|_store, newest| Ok::<_, AuthorError>(newest.followed_by(&[seed; 32]))).unwrap();
}

pub(crate) fn a_feed() -> (SiteKey, Store, FeedId) {
    a_feed_on(Arc::new(FakeDisk::new()))
}

pub(super) fn a_feed_on(disk: Arc<FakeDisk>) -> (SiteKey, Store, FeedId) {
    a_feed_where(disk, false)
}

/// The same, where a version may be built anew.
pub(super) fn a_feed_where(disk: Arc<FakeDisk>, overwrite: bool) -> (SiteKey, Store, FeedId) {
    let key = SiteKey::from_seed(&[1; 32]);
    let genesis = Genesis {
        kind: FeedKind::Raw,
        name: "tools".to_owned(),
        origin: key.site_id(),
        second_origin: None,
        reuse: false,
        overwrite,
        created: wall_clock(),
        nonce: [0; 16],
    };
    let feed = genesis.feed_id();
    let index = engine::InMemory::default();
    let store = Store::open_on(disk, Box::new(index), Options::new(1)).unwrap();
    let name = "tools".to_owned();
    let record = FeedRecord { name, genesis, strict: false, local_wins: false, open_reads: false };
    store.put_feed(&record).unwrap();
    (key, store, feed)
}

/// A second feed of the same site.
fn another_feed(store: &Store, feed: FeedId) -> FeedId {
    let mut record = store.feed(feed).unwrap().unwrap();
    (record.name, record.genesis.nonce) = ("other".to_owned(), [1; 16]);
    store.put_feed(&record).unwrap()
}

/// A clock that was an hour fast is set right, and the program starts again. What the site says next is later than what it said before:
/// else a tag that is moved would stay where it was.
#[test]
fn after_a_start_a_stamp_is_above_every_one_given_before() {
    let (key, store, feed) = a_feed();
    let log = LogId { feed, author: key.site_id(), epoch: 1 };
    let fast = Timestamp(wall_clock().0 + HOUR_MS);
    let (mut held, mut clock) = (Mmr::default(), Hlc::default());
    for wall in [fast, wall_clock()] {
        let said = Verified::author(key.signing_key(), log, &held, vec![moved()], clock, wall);
        (held, clock) = (said.after().clone(), said.ops()[0].op.stamp);
        store.append(&[Permitted::local(said, false).unwrap()]).unwrap();
    }
    let site = SiteStore::new(store, key);
    let next = site.author(feed, vec![moved()]).unwrap();
    assert!(next[0].op.stamp > clock);
}

/// Where additions alone flow, the end of another site's log is known by its hash: what lies before it has a stamp all the same.
#[test]
fn a_start_sees_the_stamps_before_ops_that_did_not_flow_here() {
    let (key, store, feed) = a_feed();
    let other = SiteKey::from_seed(&[2; 32]);
    let log = LogId { feed, author: other.site_id(), epoch: 1 };
    let now = wall_clock();
    let (mut held, mut given) = (Mmr::default(), Vec::new());
    for hidden in [false, true, true] {
        let body = vec![moved()];
        let said = Verified::author(other.signing_key(), log, &held, body, Hlc::default(), now);
        let id = said.ops()[0].id;
        let mut batch = said.to_batch();
        given.push(said.ops()[0].op.stamp);
        if hidden {
            batch.entries = vec![Entry::Skip { height: 0, hash: id.0 }];
        }
        let said = batch.verify(&held).unwrap();
        held = said.after().clone();
        store.append(&[Permitted::local(said, false).unwrap()]).unwrap();
    }
    let look = Look { me: key.site_id(), now };
    assert_eq!(Clock::after_start(&store, look).unwrap().newest(look), given[0]);
}

/// Another site's clock is an hour fast. Its op waits, and counts from fifty minutes on: what this site says of it then comes after it, or a
/// tag that was moved in its knowledge would stay where it was. That holds after a start as well.
#[test]
fn what_is_said_once_an_op_of_the_future_is_due_is_stamped_after_it() {
    let (key, store, feed) = a_feed();
    let fast = SiteKey::from_seed(&[2; 32]);
    let log = LogId { feed, author: fast.site_id(), epoch: 1 };
    let now = wall_clock();
    let at = |ms: u64| Look { me: key.site_id(), now: Timestamp(now.0 + ms) };
    let mut clock = Clock::after_start(&store, at(0)).unwrap();
    let mut held = Mmr::default();
    let mut given = Hlc::default();
    for wall in [at(HOUR_MS).now, at(3 * HOUR_MS).now] {
        let said = Verified::author(fast.signing_key(), log, &held, vec![moved()], given, wall);
        (held, given) = (said.after().clone(), said.ops()[0].op.stamp);
        clock.see(stamps(said.ops()), None, at(0));
        store.append(&[Permitted::local(said, false).unwrap()]).unwrap();
    }
    for mut clock in [clock, Clock::after_start(&store, at(0)).unwrap()] {
        assert!(clock.newest(at(0)).wall() < at(HOUR_MS).now);
        assert_eq!(clock.newest(at(HOUR_MS - 600_000)).wall(), at(HOUR_MS).now);
        assert_eq!(clock.newest(at(3 * HOUR_MS)), given);
    }
}

/// [P-8] A thief of a key that its site changed goes on with the log and stamps what it says as it likes. What the site itself said last is
/// seen after a start as well.
#[test]
fn what_a_thief_adds_to_a_closed_log_hides_no_stamps_after_a_start() {
    let (key, store, feed) = a_feed();
    let other = SiteKey::from_seed(&[2; 32]);
    let log = LogId { feed, author: other.site_id(), epoch: 1 };
    let now = wall_clock();
    let look = Look { me: key.site_id(), now };
    let say = |signer: &SiteKey, log, held: &Mmr, body, wall| {
        let signer = (signer.signing_key(), signer.succession().clone());
        let said = Verified::author_as(signer, log, held, vec![body], Hlc::default(), wall);
        store.append(&[Permitted::local(said.clone(), false).unwrap()]).unwrap();
        said
    };
    let first = say(&other, log, &Mmr::default(), moved(), now);
    let last = say(&other, log, first.after(), moved(), Timestamp(now.0 + HOUR_MS));
    let later = other.followed_by(&[3; 32]);
    let (len, root) = (last.after().len(), last.after().root());
    let accepted = vec![Tip { author: other.site_id(), epoch: 1, len, root }];
    let closes = Some(Closing { key: later.public(), accepted });
    let epoch = protocol::succession::first_epoch(1);
    let opens = Body::OpenEpoch(OpenEpoch { known: None, closes });
    let hour_ago = Timestamp(now.0 - HOUR_MS);
    say(&later, LogId { epoch, ..log }, &Mmr::default(), opens, hour_ago);
    say(&other, log, last.after(), moved(), hour_ago);
    let mut clock = Clock::after_start(&store, look).unwrap();
    assert_eq!(clock.newest(look), first.ops()[0].op.stamp, "the last waits, and hides not the one before");
    let due = Look { now: Timestamp(now.0 + HOUR_MS), ..look };
    assert_eq!(clock.newest(due), last.ops()[0].op.stamp);
}

/// A copy of this site went on in a later epoch, as copies do, and its ops came here before this site ever said anything.
#[test]
fn a_site_that_never_wrote_does_not_go_on_in_the_epoch_of_its_copy() {
    let (key, store, feed) = a_feed();
    let log = LogId { feed, author: key.site_id(), epoch: 7 };
    let held = Mmr::default();
    let said = Verified::author(key.signing_key(), log, &held, vec![moved()], Hlc::default(), wall_clock());
    store.append(&[Permitted::local(said, false).unwrap()]).unwrap();
    let site = SiteStore::new(store, key);
    let mut epochs = BTreeSet::new();
    for _ in 0..2 {
        epochs.insert(site.author(feed, vec![moved()]).unwrap().last().unwrap().op.place.log.epoch);
    }
    assert!(epochs.len() == 1 && epochs.first() > Some(&7), "{epochs:?}");
}

/// A feed that no link carries waits since the first time.
#[test]
fn a_site_that_is_set_back_again_in_one_feed_waits_there_again_though_it_still_waits_in_another() {
    let (key, store, feed) = a_feed();
    let mut record = store.feed(feed).unwrap().unwrap();
    (record.name, record.genesis.nonce) = ("apart".to_owned(), [1; 16]);
    store.put_feed(&record).unwrap();
    let site = SiteStore::new(store, key);
    site.author(feed, vec![moved()]).unwrap();
    assert!(site.awaken(Cause::SetBack, wall_clock()).unwrap());
    assert!(!site.awaken(Cause::SetBack, wall_clock()).unwrap(), "it waits everywhere");
    site.resume(feed, Grounds::Heard { set_backs: None }).unwrap().unwrap();
    site.author(feed, vec![moved()]).unwrap();
    assert!(site.awaken(Cause::SetBack, wall_clock()).unwrap());
    let refused = site.author(feed, vec![moved()]).unwrap_err();
    assert!(matches!(refused, AuthorError::Restored { .. }), "{refused}");
}

/// The power went between the choice of an epoch for the newer key and what it was to say there first, and the older key was put back.
#[test]
fn nothing_is_signed_with_an_older_key_in_an_epoch_of_a_newer_one() {
    let (key, store, feed) = a_feed();
    let newer = key.followed_by(&[7; 32]);
    own_log::next(&store, &newer, feed, false, || Ok(3)).unwrap();
    let refused = SiteStore::new(store.clone(), key).author(feed, vec![moved()]).unwrap_err();
    assert!(matches!(refused, AuthorError::Superseded), "{refused}");
    SiteStore::new(store, newer).author(feed, vec![moved()]).unwrap();
}

/// The clock of a restored site is an hour slow, so that its feed seems to have been made after the restore.
#[test]
fn a_restored_site_waits_whatever_its_clock_says() {
    let (key, store, feed) = a_feed();
    store.awaken(Cause::Restored { made: Timestamp(0) }, Timestamp(wall_clock().0 - HOUR_MS)).unwrap();
    let site = SiteStore::new(store, key);
    let refused = site.author(feed, vec![moved()]).unwrap_err();
    assert!(matches!(refused, AuthorError::Restored { .. }), "{refused}");
    assert!(site.resume(feed, Grounds::Told).unwrap().is_some_and(|epoch| epoch > 1));
    site.author(feed, vec![moved()]).unwrap();
}

/// Bytes that were lost with the machine are nowhere, and no run brings them: ops are what a site has to know before it says more.
#[test]
fn a_site_that_waits_has_heard_all_once_a_run_lacks_nothing_but_bytes() {
    let feed = FeedId([1; 32]);
    let agreed = |effective| Agreed {
        peer_succession: Default::default(),
        version: 1,
        peer_store: StoreId([1; 8]),
        peer_name: String::new(),
        clock_ahead_ms: 0,
        feeds: vec![AgreedFeed {
            feed,
            verdict: Verdict::of(Switches::MIRROR, effective),
            effective,
            filter: Filter::default(),
            pushes: None,
        }],
        peer_new_feeds: Openness::default(),
    };
    let lacking = Tally { blobs_missing: 1, ..Tally::default() };
    let cases = [
        (Switches::PULL, Outcome::Done, Tally::default(), true),
        (Switches::PULL, Outcome::Interrupted, lacking.clone(), true),
        (Switches::PULL, Outcome::Interrupted, Tally::default(), false),
        (Switches::PULL.adds_only(), Outcome::Done, Tally::default(), false),
        (Switches::PUSH, Outcome::Done, lacking, false),
    ];
    for (flows, outcome, tally, all) in cases {
        let heard = own_log::wholly_heard(&agreed(flows), outcome, &tally);
        assert_eq!(heard == [feed], all, "{flows} {outcome:?} {tally:?}");
    }
}

/// What damage took of this site's own log was signed, and others may hold it: signing on from before it would be a second history.
#[test]
fn a_site_whose_own_log_lost_its_end_signs_nothing_before_that_is_back() {
    let disk = Arc::new(FakeDisk::new());
    let (key, store, feed) = a_feed_on(Arc::clone(&disk));
    let site = SiteStore::new(store.clone(), key);
    site.author(feed, vec![moved(), moved()]).unwrap();
    store.lose_spares();
    disk.damage(1, |pack| {
        let at = pack.windows(6).position(|part| part == b"stable").unwrap();
        pack[at] ^= 1;
    });
    store.verify(|_| {}).unwrap();
    let refused = site.author(feed, vec![moved()]);
    assert!(matches!(refused, Err(AuthorError::SetBack { lost: 2 })), "{refused:?}");
    // The first word under a new key says how far the older log counts.
    changes_key(&site, 2);
    let refused = site.author(feed, vec![moved()]);
    assert!(matches!(refused, Err(AuthorError::SetBack { lost: 2 })), "{refused:?}");
}

/// Damage took the note of which log the site goes on in, and that log: it does not go on in the one before.
#[test]
fn a_site_that_lost_its_newest_log_and_the_note_of_it_does_not_go_back_to_an_older_one() {
    let disk = Arc::new(FakeDisk::new());
    let (key, store, feed) = a_feed_on(Arc::clone(&disk));
    three_batches(&key, &store, feed);
    let site = SiteStore::new(store.clone(), key);
    changes_key(&site, 2);
    site.author(feed, vec![moved()]).unwrap();
    let newest = store.writing(feed).unwrap().unwrap().epoch;
    store.write_in(feed, 1).unwrap();
    store.lose_spares();
    damage(&disk, 3);
    store.verify(|_| {}).unwrap();
    let refused = site.author(feed, vec![moved()]);
    assert!(matches!(refused, Err(AuthorError::SetBack { lost: 2 })), "{refused:?}");
    assert!(site.resume(feed, Grounds::Told).unwrap().is_some_and(|epoch| epoch > newest));
    site.author(feed, vec![moved()]).unwrap();
}

/// What a later key said of a log stands, also once its own copy of that log is damaged.
#[test]
fn a_third_key_closes_the_first_ones_log_where_the_second_did_whatever_is_left_of_it_here() {
    let disk = Arc::new(FakeDisk::new());
    let (key, store, feed) = a_feed_on(Arc::clone(&disk));
    let (log, _) = three_batches(&key, &store, feed);
    let site = SiteStore::new(store.clone(), key);
    let mut closings = Vec::new();
    for seed in [2, 3] {
        changes_key(&site, seed);
        assert!(site.open_for_key(feed).unwrap());
        let newest = own_log::heads(&store, site.me(), feed).unwrap().pop().unwrap().log;
        let batch = store.batches(newest, 0, 0).unwrap().swap_remove(0);
        let Some(Entry::Op(statement)) = batch.entries.first() else { panic!("{batch:?}") };
        let first = Op::decode_statement(Place { log: newest, seq: 0 }, statement).unwrap();
        let Body::OpenEpoch(OpenEpoch { closes: Some(closes), .. }) = first.body else { panic!("{first:?}") };
        let tip = closes.accepted.iter().find(|tip| tip.epoch == log.epoch).unwrap();
        closings.push((tip.len, tip.root));
        store.lose_spares();
        damage(&disk, 1);
        store.verify(|_| {}).unwrap();
        assert_eq!(store.log_state(log).unwrap().unwrap().after.len(), 1);
    }
    assert_eq!(closings[0].0, 3);
    assert_eq!(closings[0], closings[1]);
}

/// Three ops of a feed in batches of their own, the last stamped an hour ahead. Gives that stamp.
fn three_batches(key: &SiteKey, store: &Store, feed: FeedId) -> (LogId, Hlc) {
    let log = LogId { feed, author: key.site_id(), epoch: 1 };
    let (mut held, mut given) = (Mmr::default(), Hlc::default());
    for ahead_ms in [0, 0, HOUR_MS] {
        let wall = Timestamp(wall_clock().0 + ahead_ms);
        let said = Verified::author(key.signing_key(), log, &held, vec![moved()], given, wall);
        (held, given) = (said.after().clone(), said.ops()[0].op.stamp);
        store.append(&[Permitted::local(said, false).unwrap()]).unwrap();
    }
    (log, given)
}

fn damage(disk: &FakeDisk, batch: usize) {
    disk.damage(1, |pack| {
        let all = pack.windows(6).enumerate().filter(|(_, part)| part == b"stable");
        let at = all.map(|(at, _)| at).nth(batch).unwrap();
        pack[at] ^= 1;
    });
}

/// Damage took the middle of a log, what lies behind it is held again once that is back, and nobody sends it: what is said next comes after it
/// all the same, whatever the clock on the wall says by then.
#[test]
fn a_start_sees_the_stamps_behind_a_hole_of_a_log() {
    let disk = Arc::new(FakeDisk::new());
    let (key, store, feed) = a_feed_on(Arc::clone(&disk));
    let (log, newest) = three_batches(&key, &store, feed);
    let look = Look { me: key.site_id(), now: wall_clock() };
    for held in [1, 0] {
        store.lose_spares();
        damage(&disk, held);
        store.verify(|_| {}).unwrap();
        assert_eq!(store.log_state(log).unwrap().map_or(0, |state| state.after.len()), held as u64);
        assert_eq!(Clock::after_start(&store, look).unwrap().newest(look), newest);
    }
}

/// One log's end is damaged and nobody knows it yet, and of another one the feed's record is gone.
#[test]
fn a_start_that_comes_upon_damage_sees_what_is_whole() {
    let disk = Arc::new(FakeDisk::new());
    let (key, store, feed) = a_feed_on(Arc::clone(&disk));
    let (log, _) = three_batches(&key, &store, feed);
    let (_, newest) = three_batches(&key, &store, FeedId([9; 32]));
    store.lose_spares();
    damage(&disk, 2);
    let look = Look { me: key.site_id(), now: wall_clock() };
    assert_eq!(Clock::after_start(&store, look).unwrap().newest(look), newest);
    assert_eq!(store.log_state(log).unwrap().unwrap().after.len(), 2);
}

/// The end of the log is nowhere any more: nothing that was said before can be contradicted in a later epoch.
#[test]
fn a_site_whose_own_log_lost_its_end_for_good_writes_again_in_a_later_epoch() {
    let disk = Arc::new(FakeDisk::new());
    let (key, store, feed) = a_feed_on(Arc::clone(&disk));
    let site = SiteStore::new(store.clone(), key);
    site.author(feed, vec![moved(), moved()]).unwrap();
    assert_eq!(site.resume(feed, Grounds::Told).unwrap(), None, "nothing is lacking");
    store.lose_spares();
    disk.damage(1, |pack| {
        let at = pack.windows(6).position(|part| part == b"stable").unwrap();
        pack[at] ^= 1;
    });
    store.verify(|_| {}).unwrap();
    let heard = |set_backs| Grounds::Heard { set_backs };
    for before in [None, Some(0)] {
        assert_eq!(
            site.resume(feed, heard(before)).unwrap(),
            None,
            "that run may have begun before it was set back"
        );
    }
    let epoch = site.resume(feed, heard(Some(store.set_backs()))).unwrap().expect("it lacks what it said");
    let said = site.author(feed, vec![moved()]).unwrap();
    assert!(epoch > 1 && said.iter().all(|named| named.op.place.log.epoch == epoch), "{epoch}: {said:?}");
    assert!(said.len() == 1 && said[0].op.place.seq == 1, "behind the op that opens the epoch: {said:?}");
    assert_eq!(site.resume(feed, Grounds::Told).unwrap(), None, "it writes again");
}

/// [P-59] A thief of an older key goes on with its log, stamped far ahead, and what it says comes home over a link.
#[test]
fn what_a_thief_adds_to_a_closed_log_of_this_site_moves_no_clock() {
    const TEN_YEARS_MS: u64 = 10 * 365 * 24 * HOUR_MS;
    let (key, store, feed) = a_feed();
    let thief = key.clone();
    let site = SiteStore::new(store.clone(), key);
    site.author(feed, vec![moved()]).unwrap();
    let log = LogId { feed, author: site.me(), epoch: 1 };
    changes_key(&site, 2);
    assert!(site.open_for_key(feed).unwrap());
    let held = store.log_state(log).unwrap().unwrap().after;
    let ahead = Timestamp(wall_clock().0 + TEN_YEARS_MS);
    let said = Verified::author(thief.signing_key(), log, &held, vec![moved()], Hlc::default(), ahead);
    let authority = store.authority(feed).unwrap().unwrap();
    let run = Permitted::received(said, feed, Switches::MIRROR, &authority, site.me()).unwrap();
    let peer = SiteKey::from_seed(&[9; 32]).site_id();
    let link = Link::new("peer".to_owned(), peer, "peer".to_owned(), Dial::Incoming, Vec::new());
    site.keeper(&link).append(run).unwrap();
    let again = SiteStore::new(store, (*site.key()).clone());
    assert!(site.stamps_ahead_ms() < HOUR_MS && again.stamps_ahead_ms() < HOUR_MS);
    let own = site.author(feed, vec![moved()]).unwrap();
    assert!(!own[0].op.stamp.is_ahead_of(wall_clock()), "it waits at other sites for ten years");
}

/// [P-59] A thief of an older key names a key of its own, or one after that, in the place of the site's newer one.
#[test]
fn whose_keys_are_known_here_nobody_else_closes_logs_for() {
    let (key, store, feed) = a_feed();
    let origin = SiteStore::new(store.clone(), key.clone());
    origin.author(feed, vec![moved()]).unwrap();
    let next = key.followed_by(&[2; 32]);
    for here in [key.followed_by(&[2; 32]), SiteKey::from_seed(&[9; 32])] {
        let site = SiteStore::new(store.clone(), here);
        if site.me() != key.site_id() {
            let known = KeysOf { succession: next.succession().clone(), ..KeysOf::default() };
            store.put_keys_of(key.site_id(), &known).unwrap();
        }
        let link = Link::new("peer".to_owned(), key.site_id(), "peer".to_owned(), Dial::Incoming, Vec::new());
        let mut keeper = site.keeper(&link);
        let first = key.followed_by(&[66; 32]);
        for thief in [first.clone(), first.followed_by(&[67; 32])] {
            let (number, keys) = (thief.succession().generation(), thief.succession().clone());
            let log = LogId { feed, author: key.site_id(), epoch: protocol::succession::first_epoch(number) };
            let closing = Closing { key: thief.public(), accepted: Vec::new() };
            let opening = Body::OpenEpoch(OpenEpoch { known: None, closes: Some(closing) });
            let signer = (thief.signing_key(), keys);
            let (held, clock) = (Mmr::default(), Hlc::default());
            let said = Verified::author_as(signer, log, &held, vec![opening], clock, wall_clock());
            let proof = RightsProof::check(said.to_batch(), feed).unwrap();
            keeper.learn(&proof).unwrap();
            let authority = keeper.authority(feed).unwrap().unwrap();
            assert!(!authority.is_closed(origin_log(feed, &key), 0), "key number {number}");
            let taken = Permitted::received(said, feed, Switches::MIRROR, &authority, site.me());
            assert_eq!(taken.unwrap_err(), Reason::KeyContested, "key number {number}");
        }
    }
}

/// What one session verified another one began to append, in other batches: a peer that gave it would else be asked for it over and over, and in
/// the end be called one that tells what it has not.
#[test]
fn of_what_two_sessions_bring_at_once_in_different_batches_all_is_taken_in() {
    let (key, store, feed) = a_feed();
    let log = origin_log(feed, &key);
    let say = |held: &Mmr| {
        Verified::author(key.signing_key(), log, held, vec![moved()], Hlc::default(), wall_clock())
    };
    let first = say(&Mmr::default());
    let second = say(first.after());
    let mut both = first.to_batch();
    both.entries.extend(second.to_batch().entries);
    both.head = second.head().clone();
    let site = SiteStore::new(store.clone(), SiteKey::from_seed(&[9; 32]));
    let authority = store.authority(feed).unwrap().unwrap();
    let came = |run| Permitted::received(run, feed, Switches::MIRROR, &authority, site.me()).unwrap();
    let link = Link::new("peer".to_owned(), key.site_id(), "peer".to_owned(), Dial::Incoming, Vec::new());
    let (mut one, mut other) = (site.keeper(&link), site.keeper(&link));
    let both = came(both.verify(&Mmr::default()).unwrap());
    other.append(came(first)).unwrap();
    one.append(both).unwrap();
    assert_eq!(store.log_state(log).unwrap().unwrap().after.len(), 2);
    one.append(came(second)).unwrap();
    assert_eq!(store.log_state(log).unwrap().unwrap().after.len(), 2);
}

fn origin_log(feed: FeedId, key: &SiteKey) -> LogId {
    LogId { feed, author: key.site_id(), epoch: 1 }
}

/// The other end of a link may tell words of anybody's.
#[test]
fn of_strangers_words_about_rights_some_are_kept_and_no_more() {
    let (key, store, feed) = a_feed();
    let site = SiteStore::new(store.clone(), key.clone());
    let link = Link::new("peer".to_owned(), key.site_id(), "peer".to_owned(), Dial::Incoming, Vec::new());
    let mut keeper = site.keeper(&link);
    let begun = wall_clock();
    let told = |by: &SiteKey, grantee, after_ms: u64| {
        let (label, prefix) = (String::new(), String::new());
        let grant = Body::Grant(Grant { grantee, label, rights: Rights::ALL, prefix, expires: None });
        let log = LogId { feed, author: by.site_id(), epoch: 1 };
        let (held, clock) = (Mmr::default(), Hlc::default());
        let wall = Timestamp(begun.0 + after_ms);
        let said = Verified::author(by.signing_key(), log, &held, vec![grant], clock, wall);
        RightsProof::check(said.to_batch(), feed).unwrap()
    };
    let stranger = |n: usize| SiteKey::from_seed(blake3::hash(&n.to_le_bytes()).as_bytes());
    for n in 0..2 * STRANGERS_WORDS_MAX {
        keeper.learn(&told(&stranger(n), stranger(n).site_id(), 0)).unwrap();
    }
    assert_eq!(store.words_of_strangers(feed).unwrap(), STRANGERS_WORDS_MAX);
    let late = stranger(2 * STRANGERS_WORDS_MAX);
    keeper.learn(&told(&key, late.site_id(), 1)).unwrap();
    keeper.learn(&told(&late, SiteId([7; 32]), 2)).unwrap();
    assert!(
        store.authority(feed).unwrap().unwrap().is_author(SiteId([7; 32])),
        "who was let in may let others in"
    );
}

/// One feed's closing came over a link, and another feed's is still to come: what is said there meanwhile counts nowhere once it does.
#[test]
fn an_older_key_says_nothing_in_any_feed_once_one_tells_of_the_newer() {
    let (key, store, feed) = a_feed();
    let other = another_feed(&store, feed);
    let newer = SiteStore::new(store.clone(), key.followed_by(&[7; 32]));
    let site = SiteStore::new(store, key);
    site.author(other, vec![moved()]).unwrap();
    newer.author(feed, vec![moved()]).unwrap();
    site.inner.is_newest.store(false, Ordering::SeqCst);
    for feed in [feed, other] {
        let refused = site.author(feed, vec![moved()]);
        assert!(matches!(refused, Err(AuthorError::Superseded)), "{refused:?}");
    }
}

/// The other end of a link brings what this site said with its newer key.
#[test]
fn what_comes_of_a_newer_key_in_one_feed_silences_the_older_one_in_others() {
    let (key, store, feed) = a_feed();
    let other = another_feed(&store, feed);
    let (_, elsewhere, _) = a_feed();
    elsewhere.put_feed(&store.feed(feed).unwrap().unwrap()).unwrap();
    let there = SiteStore::new(elsewhere.clone(), key.followed_by(&[7; 32]));
    there.author(feed, vec![moved()]).unwrap();
    let site = SiteStore::new(store, key);
    site.author(other, vec![moved()]).unwrap();
    let link = Link::new("peer".to_owned(), site.me(), "peer".to_owned(), Dial::Incoming, Vec::new());
    let mut keeper = site.keeper(&link);
    for head in own_log::heads(&elsewhere, site.me(), feed).unwrap() {
        let batch = elsewhere.batches(head.log, 0, 0).unwrap().swap_remove(0);
        let authority = site.store().authority(feed).unwrap().unwrap();
        let said = batch.verify(&Mmr::default()).unwrap();
        let run = Permitted::received(said, feed, Switches::MIRROR, &authority, site.me()).unwrap();
        keeper.append(run).unwrap();
    }
    let refused = site.author(other, vec![moved()]);
    assert!(matches!(refused, Err(AuthorError::Superseded)), "{refused:?}");
}

/// Whoever would tell this site to wait, or would sign, is kept until the key is changed, so that what was asked before is so still.
#[test]
fn nothing_is_signed_and_nobody_is_told_to_wait_while_a_key_is_changed() {
    let (key, store, feed) = a_feed();
    let site = SiteStore::new(store, key);
    let clock = || site.inner.clock.try_lock().is_ok();
    let mut free = vec![clock()];
    let changed = site.change_key(|_store, newest| {
        free.push(clock());
        Ok::<_, AuthorError>(newest.followed_by(&[2; 32]))
    });
    changed.unwrap();
    assert_eq!((free, site.key().succession().generation()), (vec![true, false], 1));
    let refused = site.change_key(|_store, _newest| Err(AuthorError::Superseded));
    assert!(matches!(refused, Err(AuthorError::Superseded)));
    assert_eq!(site.key().succession().generation(), 1, "the key stays");
    assert!(site.awaken(Cause::SetBack, wall_clock()).unwrap());
    assert!(site.author(feed, vec![moved()]).is_err());
}
