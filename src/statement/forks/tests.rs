//! What counts before a fork is resolved counts after it, and nothing else does, whoever signs what behind the cut.

mod left_out;

use std::sync::Arc;

use protocol::feed::Standing;
use protocol::grant::{Permitted, Verb};
use protocol::id::BlobId;
use protocol::log::{Mmr, NamedOp, Verified};
use protocol::manifest::{File, Manifest};
use protocol::op::{Block, Blocked, Delete, Genesis, Grant, Publish, Revoke, Rights, Unblock};
use protocol::package::{Coordinate, FeedKind};
use protocol::time::{Hlc, Timestamp};

use super::*;
use crate::identity::SiteKey;
use crate::keeper::wall_clock;
use crate::store::disk::fake::FakeDisk;
use crate::store::{Hold, Options, engine};

struct Peer {
    key: SiteKey,
    epoch: u64,
    mmr: Mmr,
    ms: u64,
}

struct Lab {
    site: SiteStore,
    feed: FeedId,
    record: FeedRecord,
    base: u64,
}

fn lab(reuse: bool, overwrite: bool) -> Lab {
    let key = SiteKey::from_seed(&[1; 32]);
    let genesis = Genesis {
        kind: FeedKind::Raw,
        name: "tools".to_owned(),
        origin: key.site_id(),
        second_origin: None,
        reuse,
        overwrite,
        created: wall_clock(),
        nonce: [0; 16],
    };
    let feed = genesis.feed_id();
    let index = engine::InMemory::default();
    let store = Store::open_on(Arc::new(FakeDisk::new()), Box::new(index), Options::new(1)).unwrap();
    let record =
        FeedRecord { name: "tools".to_owned(), genesis, strict: false, local_wins: false, open_reads: false };
    store.put_feed(&record).unwrap();
    Lab { site: SiteStore::new(store, key), feed, record, base: wall_clock().0 - 3_600_000 }
}

impl Peer {
    fn new(n: u8) -> Self {
        Self { key: SiteKey::from_seed(&[n; 32]), epoch: 1, mmr: Mmr::default(), ms: 0 }
    }
    fn id(&self) -> SiteId {
        self.key.site_id()
    }
    fn log(&self, lab: &Lab) -> LogId {
        LogId { feed: lab.feed, author: self.id(), epoch: self.epoch }
    }
    fn signs(&self, lab: &Lab, at_ms: u64, bodies: Vec<Body>) -> Verified {
        let now = Timestamp(lab.base + at_ms);
        Verified::author(self.key.signing_key(), self.log(lab), &self.mmr, bodies, Hlc::default(), now)
    }
    /// Says it at that time after the start; the origin hears it.
    fn say(&mut self, lab: &Lab, at_ms: u64, bodies: Vec<Body>) -> Vec<NamedOp> {
        let said = self.signs(lab, at_ms, bodies);
        self.mmr = said.after().clone();
        self.ms = at_ms;
        lab.hear(&said);
        said.ops().to_vec()
    }
    /// Another history from here on: what it is proved by once this one is as long.
    fn other(&self, lab: &Lab) -> SignedHead {
        self.signs(lab, self.ms + 1, vec![publish("elsewhere", "1", b"e")]).head().clone()
    }
}

impl Lab {
    fn me(&self) -> SiteId {
        self.site.me()
    }
    fn hear(&self, said: &Verified) {
        self.site.store().append(&[Permitted::local(said.clone(), false).unwrap()]).unwrap();
    }
    fn says(&self, bodies: Vec<Body>) -> Vec<NamedOp> {
        a_while();
        self.site.author(self.feed, bodies).unwrap()
    }
    /// What the origin itself would sign from its log's present end on, in another history.
    fn own_other(&self) -> SignedHead {
        let log = LogId { feed: self.feed, author: self.me(), epoch: 1 };
        let held = self.site.store().log_state(log).unwrap().map_or_else(Mmr::default, |state| state.after);
        let key = self.site.key();
        let body = vec![publish("elsewhere", "1", b"e")];
        Verified::author(key.signing_key(), log, &held, body, Hlc::default(), wall_clock()).head().clone()
    }
    fn proved(&self, other: &SignedHead) {
        let proof = self.site.store().fork_by(other).unwrap().expect("a fork");
        assert!(self.site.store().put_fork(&proof).unwrap());
    }
    fn resolve(&self, author: SiteId) -> Resolved {
        a_while();
        resolve(&self.site, self.feed, &self.record, author, &Wish::default()).unwrap()
    }
    fn item(&self, name: &str) -> Item {
        self.site.store().item(self.feed, name, "1", self.site.look()).unwrap().expect("known")
    }
    fn blob(&self, name: &str) -> Option<BlobId> {
        let winner = self.item(name).winner?;
        let Body::Publish(publish) = self.site.store().op(winner).unwrap()?.op.body else { return None };
        Some(publish.manifest.files[0].blob)
    }
    fn is_admin(&self, site: SiteId) -> bool {
        self.site.store().authority(self.feed).unwrap().unwrap().is_admin(site)
    }
    fn may(&self, site: SiteId, verb: Verb) -> bool {
        let log = LogId { feed: self.feed, author: site, epoch: 1 };
        let stamp = Hlc::default().next(wall_clock());
        self.site.store().authority(self.feed).unwrap().unwrap().allows(log, 1_000, stamp, verb, "x")
    }
}

use protocol::feed::Item;

/// Until the clock has moved on, so that stamps differ.
fn a_while() {
    let begun = wall_clock();
    while wall_clock().0 <= begun.0 + 2 {
        std::hint::spin_loop();
    }
}

fn file(content: &[u8]) -> BlobId {
    BlobId(*blake3::hash(content).as_bytes())
}

fn publish_over(name: &str, version: &str, content: &[u8], supersedes: Vec<OpId>) -> Body {
    let file =
        File { name: "file".to_owned(), blob: file(content), size: content.len() as u64, sha256: [0; 32] };
    Body::Publish(Publish {
        coordinate: Coordinate::new(FeedKind::Raw, name, version).unwrap(),
        manifest: Manifest::of(vec![file]).unwrap(),
        supersedes,
        provenance: None,
    })
}

fn publish(name: &str, version: &str, content: &[u8]) -> Body {
    publish_over(name, version, content, Vec::new())
}

fn delete(name: &str, saw: Vec<OpId>) -> Body {
    let coordinate = Coordinate::new(FeedKind::Raw, name, "1").unwrap();
    Body::Delete(Delete { coordinate, saw, reason: String::new() })
}

fn grant(grantee: SiteId, rights: Rights) -> Body {
    Body::Grant(Grant { grantee, label: String::new(), rights, prefix: String::new(), expires: None })
}

fn revoke(grantee: SiteId) -> Body {
    Body::Revoke(Revoke { grantee, accepted: vec![], reason: String::new() })
}

const WRITER: Rights =
    Rights { publish: true, delete_own: true, delete_wide: true, block: false, admin: false };
const CAREFUL: Rights =
    Rights { publish: true, delete_own: true, delete_wide: false, block: false, admin: false };
const BUILDER: Rights =
    Rights { publish: true, delete_own: false, delete_wide: false, block: false, admin: false };

fn block(target: Blocked) -> Body {
    Body::Block(Block { target, reason: String::new() })
}

#[test]
fn a_site_that_may_only_publish_makes_nobody_an_admin_by_its_fork() {
    let lab = lab(false, false);
    let (mut a, c) = (Peer::new(2), Peer::new(3));
    lab.says(vec![grant(a.id(), CAREFUL)]);
    a.say(&lab, 10, vec![publish("first", "1", b"1")]);
    let other = a.other(&lab);
    a.say(&lab, 20, vec![grant(a.id(), Rights::ALL), grant(c.id(), Rights::ALL)]);
    assert!(!lab.is_admin(a.id()) && !lab.may(c.id(), Verb::Publish));
    lab.proved(&other);
    lab.resolve(a.id());
    assert!(!lab.is_admin(a.id()), "a publisher made itself an admin");
    assert!(!lab.may(c.id(), Verb::Publish), "and let its friend in");
}

#[test]
fn a_site_that_may_only_publish_cuts_blocks_and_revokes_nothing_by_its_fork() {
    let lab = lab(false, false);
    let (mut a, mut b) = (Peer::new(2), Peer::new(3));
    lab.says(vec![grant(a.id(), CAREFUL), grant(b.id(), WRITER)]);
    b.say(&lab, 5, vec![publish("x", "1", b"x"), publish("y", "1", b"y")]);
    a.say(&lab, 10, vec![publish("first", "1", b"1")]);
    let other = a.other(&lab);
    let tip = Tip { author: b.id(), epoch: 1, len: 0, root: [0; 32] };
    let (succession, signature) = (Succession::NONE, Vec::new());
    let cut = Body::Cut(Cut { tip, signed: Timestamp(0), succession, signature, reason: String::new() });
    a.say(&lab, 20, vec![block(Blocked::Blob(file(b"y"))), cut, revoke(b.id())]);
    let (x, y) = (lab.item("x").standing, lab.item("y").standing);
    assert_eq!((x, y), (Standing::Served, Standing::Served));
    lab.proved(&other);
    lab.resolve(a.id());
    assert_eq!((lab.item("x").standing, lab.item("y").standing), (x, y));
    assert!(lab.may(b.id(), Verb::Publish), "b was revoked by one that may not");
}

#[test]
fn what_a_site_published_that_may_delete_nothing_is_said_again_and_its_deletes_are_not() {
    let lab = lab(false, false);
    let mut a = Peer::new(2);
    lab.says(vec![grant(a.id(), BUILDER), publish("ours", "1", b"ours")]);
    a.say(&lab, 10, vec![publish("first", "1", b"1")]);
    let other = a.other(&lab);
    a.say(&lab, 20, vec![publish("x", "1", b"x"), delete("ours", vec![])]);
    lab.proved(&other);
    lab.resolve(a.id());
    assert_eq!((lab.blob("x"), lab.blob("ours")), (Some(file(b"x")), Some(file(b"ours"))));
}

#[test]
fn who_was_revoked_stays_out() {
    let lab = lab(false, false);
    let (mut a, b) = (Peer::new(2), Peer::new(3));
    lab.says(vec![grant(a.id(), Rights::ALL)]);
    a_while();
    a.say(&lab, wall_clock().0 - lab.base, vec![publish("first", "1", b"1")]);
    let other = a.other(&lab);
    a_while();
    a.say(&lab, wall_clock().0 - lab.base, vec![grant(b.id(), WRITER)]);
    assert!(lab.may(b.id(), Verb::Publish));
    a_while();
    lab.says(vec![revoke(b.id())]);
    assert!(!lab.may(b.id(), Verb::Publish));
    lab.proved(&other);
    lab.resolve(a.id());
    assert!(!lab.may(b.id(), Verb::Publish), "a revoked site may write again");
}

#[test]
fn who_is_revoked_between_two_proofs_stays_out() {
    let lab = lab(false, false);
    let (mut a, b) = (Peer::new(2), Peer::new(3));
    lab.says(vec![grant(a.id(), Rights::ALL)]);
    a_while();
    let first = a.signs(&lab, wall_clock().0 - lab.base, vec![publish("first", "1", b"other")]);
    a.say(&lab, wall_clock().0 - lab.base, vec![publish("first", "1", b"1")]);
    a.say(&lab, wall_clock().0 - lab.base, vec![publish("second", "1", b"1")]);
    let other = a.other(&lab);
    a_while();
    a.say(&lab, wall_clock().0 - lab.base, vec![grant(b.id(), WRITER)]);
    lab.proved(&other);
    lab.resolve(a.id());
    assert!(lab.may(b.id(), Verb::Publish));
    lab.says(vec![revoke(b.id())]);
    assert!(!lab.may(b.id(), Verb::Publish));
    // A proof that opens it again, from whoever has a's key; what resolve_once_more does then.
    lab.proved(first.head());
    lab.resolve(a.id());
    assert!(!lab.may(b.id(), Verb::Publish), "a revoked site may write again, and nobody asked");
}

#[test]
fn who_was_let_in_again_stays_in() {
    let lab = lab(false, false);
    let (mut a, b) = (Peer::new(2), Peer::new(3));
    lab.says(vec![grant(a.id(), Rights::ALL), grant(b.id(), WRITER)]);
    a_while();
    a.say(&lab, wall_clock().0 - lab.base, vec![publish("first", "1", b"1")]);
    let other = a.other(&lab);
    a_while();
    a.say(&lab, wall_clock().0 - lab.base, vec![revoke(b.id())]);
    a_while();
    lab.says(vec![grant(b.id(), WRITER)]);
    assert!(lab.may(b.id(), Verb::Publish));
    lab.proved(&other);
    lab.resolve(a.id());
    assert!(lab.may(b.id(), Verb::Publish), "an old revoke was said again after the grant");
}

#[test]
fn what_another_site_unblocked_stays_unblocked() {
    let lab = lab(false, false);
    let (mut a, mut b) = (Peer::new(2), Peer::new(3));
    lab.says(vec![grant(a.id(), Rights::ALL), grant(b.id(), WRITER)]);
    b.say(&lab, 5, vec![publish("x", "1", b"x")]);
    a.say(&lab, 10, vec![publish("first", "1", b"1")]);
    let other = a.other(&lab);
    let blocked = a.say(&lab, 20, vec![block(Blocked::Blob(file(b"x")))]);
    assert_eq!(lab.item("x").standing, Standing::Blocked);
    lab.says(vec![Body::Unblock(Unblock { block: blocked[0].id, reason: String::new() })]);
    assert_eq!(lab.item("x").standing, Standing::Served);
    lab.proved(&other);
    lab.resolve(a.id());
    assert_eq!(lab.item("x").standing, Standing::Served, "what was unblocked is blocked again");
}

/// The origin's own fork.
#[test]
fn what_an_admin_granted_and_took_back_stands_when_the_origins_own_fork_is_resolved() {
    let lab = lab(false, false);
    let (mut b, mut c, mut d) = (Peer::new(3), Peer::new(4), Peer::new(5));
    let now = || {
        a_while();
        wall_clock().0 - lab.base
    };
    lab.says(vec![publish("first", "1", b"1"), grant(d.id(), WRITER)]);
    let other = lab.own_other();
    lab.says(vec![grant(b.id(), Rights::ALL)]);
    b.say(&lab, now(), vec![grant(c.id(), WRITER), revoke(d.id())]);
    c.say(&lab, now(), vec![publish("x", "1", b"x")]);
    d.say(&lab, now(), vec![publish("y", "1", b"y")]);
    assert_eq!((lab.item("x").standing, lab.item("y").standing), (Standing::Served, Standing::Held));
    assert!(!lab.may(d.id(), Verb::Publish));
    lab.proved(&other);
    lab.resolve(lab.me());
    let after = (lab.item("x").standing, lab.item("y").standing);
    assert_eq!(after, (Standing::Served, Standing::Held), "by the same rights");
}

#[test]
fn what_the_origin_sealed_keeps_its_bytes_when_its_own_fork_is_resolved() {
    let lab = lab(false, false);
    let (mut b, mut c) = (Peer::new(3), Peer::new(4));
    lab.says(vec![grant(b.id(), WRITER), grant(c.id(), WRITER)]);
    let other = lab.own_other();
    b.say(&lab, 20, vec![publish("x", "1", b"used by all")]);
    a_while();
    assert!(crate::statement::seal::seal(&lab.site, lab.feed).unwrap());
    // Comes late, said earlier.
    c.say(&lab, 10, vec![publish("x", "1", b"other bytes")]);
    a_while();
    crate::statement::seal::seal(&lab.site, lab.feed).unwrap();
    assert_eq!(lab.blob("x"), Some(file(b"used by all")));
    lab.proved(&other);
    lab.resolve(lab.me());
    assert_eq!(lab.blob("x"), Some(file(b"used by all")), "sealed bytes were changed");
    a_while();
    crate::statement::seal::seal(&lab.site, lab.feed).unwrap();
    assert_eq!(lab.blob("x"), Some(file(b"used by all")), "sealed bytes were changed");
}

/// A site that may delete its own, as the careful option is, goes on in a later epoch and deletes what it published before.
#[test]
fn what_its_author_deleted_in_a_later_epoch_is_gone() {
    for resolved in [false, true] {
        let lab = lab(false, false);
        let mut a = Peer::new(2);
        lab.says(vec![grant(a.id(), CAREFUL)]);
        a.say(&lab, 10, vec![publish("first", "1", b"1")]);
        let other = a.other(&lab);
        let said = a.say(&lab, 20, vec![publish("x", "1", b"x")]);
        assert_eq!(lab.item("x").standing, Standing::Served);
        if resolved {
            lab.proved(&other);
            lab.resolve(a.id());
        }
        // It was said before the resolving and waited behind the fork.
        (a.epoch, a.mmr) = (2, Mmr::default());
        a.say(&lab, 30, vec![delete("x", vec![said[0].id])]);
        assert_eq!(lab.item("x").winner, None, "resolved: {resolved}");
    }
}

/// A site that may delete its own alone takes nothing of anybody else's.
#[test]
fn a_careful_delete_takes_nobody_elses_version() {
    for resolved in [false, true] {
        let lab = lab(false, false);
        let (mut a, mut b) = (Peer::new(2), Peer::new(3));
        lab.says(vec![grant(a.id(), CAREFUL), grant(b.id(), WRITER)]);
        let said = a.say(&lab, 10, vec![publish("x", "1", b"x")]);
        let other = a.other(&lab);
        a.say(&lab, 20, vec![delete("x", vec![said[0].id])]);
        assert_eq!(lab.item("x").winner, None);
        if resolved {
            lab.proved(&other);
            lab.resolve(a.id());
        }
        // Of the same time, heard later.
        b.say(&lab, 15, vec![publish("x", "1", b"x of b")]);
        assert_eq!(lab.item("x").standing, Standing::Served, "resolved: {resolved}");
    }
}

#[test]
fn where_the_last_word_holds_a_delete_that_was_said_last_holds() {
    for resolved in [false, true] {
        let lab = lab(false, true);
        let (mut a, mut b) = (Peer::new(2), Peer::new(3));
        lab.says(vec![grant(a.id(), WRITER), grant(b.id(), WRITER)]);
        a.say(&lab, 10, vec![publish("first", "1", b"1")]);
        let other = a.other(&lab);
        a.say(&lab, 20, vec![publish("x", "1", b"x")]);
        if resolved {
            lab.proved(&other);
            lab.resolve(a.id());
        }
        // b heard of it, deleted it, and the origin hears that later.
        b.say(&lab, 30, vec![delete("x", vec![])]);
        assert_eq!(lab.item("x").winner, None, "resolved: {resolved}");
    }
}

#[test]
fn what_is_blocked_meanwhile_comes_back_once_it_is_unblocked() {
    let lab = lab(false, false);
    let mut a = Peer::new(2);
    lab.says(vec![grant(a.id(), WRITER)]);
    a.say(&lab, 10, vec![publish("first", "1", b"1")]);
    let other = a.other(&lab);
    a.say(&lab, 20, vec![publish("x", "1", b"x")]);
    let blocked = lab.says(vec![block(Blocked::Blob(file(b"x")))]);
    lab.proved(&other);
    lab.resolve(a.id());
    lab.says(vec![Body::Unblock(Unblock { block: blocked[0].id, reason: String::new() })]);
    assert_eq!(lab.item("x").standing, Standing::Served);
}

#[test]
fn a_fork_is_not_resolved_while_a_delete_of_it_waits_for_approval() {
    let lab = lab(false, false);
    let (mut a, mut b) = (Peer::new(2), Peer::new(3));
    lab.says(vec![grant(a.id(), WRITER), grant(b.id(), WRITER)]);
    let x = b.say(&lab, 5, vec![publish("x", "1", b"x")]);
    a.say(&lab, 10, vec![publish("first", "1", b"1")]);
    let other = a.other(&lab);
    let hold = Hold {
        feed: lab.feed,
        link: "l".to_owned(),
        since: Timestamp(0),
        stretches: vec![(a.log(&lab), 1, 2)],
        deletes: 1,
        standing: 1,
        names: vec![],
    };
    lab.site.store().put_hold([1; 8], &hold).unwrap();
    a.say(&lab, 20, vec![delete("x", vec![x[0].id])]);
    assert_eq!(lab.item("x").held_deletes.len(), 1);
    lab.proved(&other);
    let refused = resolve(&lab.site, lab.feed, &lab.record, a.id(), &Wish::default()).unwrap_err();
    assert!(matches!(refused, StatementError::DeleteWaits { .. }), "{refused}");
    lab.site.store().remove_hold(lab.feed, [1; 8]).unwrap();
    lab.resolve(a.id());
    assert_eq!(lab.item("x").winner, None, "an approved delete takes effect");
}

/// Bytes under a seal are not replaced by what comes later.
#[test]
fn what_was_sealed_and_is_said_again_loses_to_nothing_that_comes_later() {
    for resolved in [false, true] {
        let lab = lab(false, false);
        let (mut a, mut b) = (Peer::new(2), Peer::new(3));
        lab.says(vec![grant(a.id(), WRITER), grant(b.id(), WRITER)]);
        a.say(&lab, 10, vec![publish("first", "1", b"1")]);
        let other = a.other(&lab);
        a.say(&lab, 20, vec![publish("x", "1", b"used by all")]);
        a_while();
        assert!(crate::statement::seal::seal(&lab.site, lab.feed).unwrap());
        if resolved {
            lab.proved(&other);
            lab.resolve(a.id());
        }
        b.say(&lab, 15, vec![publish("x", "1", b"other bytes")]);
        a_while();
        crate::statement::seal::seal(&lab.site, lab.feed).unwrap();
        assert_eq!(lab.blob("x"), Some(file(b"used by all")), "resolved: {resolved}");
    }
}

/// A copy of the second site: what it deleted behind the cut, and nobody said again, is listed; what it blocked and whom it revoked is not.
#[test]
fn rights_and_blocks_that_a_cut_took_are_listed() {
    let lab = lab(false, false);
    let (mut a, b) = (Peer::new(2), Peer::new(3));
    lab.says(vec![grant(a.id(), Rights::ALL), grant(b.id(), WRITER)]);
    a.say(&lab, 10, vec![publish("first", "1", b"1")]);
    let other = a.other(&lab);
    a_while();
    a.say(&lab, wall_clock().0 - lab.base, vec![revoke(b.id()), block(Blocked::Blob(file(b"x")))]);
    assert!(!lab.may(b.id(), Verb::Publish));
    lab.proved(&other);
    let wish = Wish { drop: true, ..Wish::default() };
    resolve(&lab.site, lab.feed, &lab.record, a.id(), &wish).unwrap();
    assert!(lab.may(b.id(), Verb::Publish), "the revoke is undone");
    let left = left(lab.site.store(), lab.feed, lab.site.look()).unwrap();
    assert!(!left.is_empty(), "and doctor says nothing of it");
}

/// What cannot be taken in by any peer keeps all that the origin says after it from everybody, the cut first of all.
fn travels(lab: &Lab) {
    let all = lab.site.store().heads(lab.feed).unwrap();
    for head in all.into_iter().filter(|head| head.head.log.author == lab.me()) {
        let mut at = 0;
        while let Some(batch) = lab.site.store().batches(head.head.log, at, 0).unwrap().into_iter().next() {
            at = batch.head.head.len;
            let ops = batch.entries.len();
            let frame = protocol::frame::OpsFrame::Ops(batch).encode();
            let read = protocol::frame::OpsFrame::decode(&frame);
            assert!(read.is_ok(), "{ops} ops of the origin in one batch, {} bytes: {read:?}", frame.len());
        }
    }
}

#[test]
fn choices_travel() {
    let lab = lab(false, false);
    let (mut a, mut b) = (Peer::new(2), Peer::new(3));
    lab.says(vec![grant(a.id(), WRITER), grant(b.id(), WRITER)]);
    a.say(&lab, 10, vec![publish("first", "1", b"1")]);
    let other = a.other(&lab);
    for from in (0..4_200).step_by(200) {
        let of = |content: &[u8]| {
            (from..from + 200).map(|n| publish(&format!("n{n}"), "1", content)).collect::<Vec<_>>()
        };
        a.say(&lab, 20 + u64::try_from(from).unwrap(), of(b"a"));
        b.say(&lab, 10_000 + u64::try_from(from).unwrap(), of(b"b"));
    }
    lab.proved(&other);
    lab.resolve(a.id());
    travels(&lab);
}

/// Each of these says nothing: there is no such ref.
#[test]
fn what_is_said_again_travels_however_small_it_is() {
    let lab = lab(false, false);
    let mut a = Peer::new(2);
    lab.says(vec![grant(a.id(), CAREFUL)]);
    a.say(&lab, 10, vec![publish("first", "1", b"1")]);
    let other = a.other(&lab);
    for from in (0..5_000).step_by(1_000) {
        let unset = |n| {
            let (package, name) = (format!("p{}", n / 50), format!("{n}"));
            Body::SetRef(protocol::op::SetRef { package, name, target: None })
        };
        a.say(&lab, 20 + from, (from..from + 1_000).map(unset).collect());
    }
    lab.proved(&other);
    lab.resolve(a.id());
    travels(&lab);
}

/// Whoever has the author's key shows one proof after the other, each a little shorter.
#[test]
fn what_is_said_again_does_not_grow_with_the_square() {
    let lab = lab(false, false);
    let mut a = Peer::new(2);
    lab.says(vec![grant(a.id(), CAREFUL)]);
    let n = 40;
    let mut others = Vec::new();
    for at in 0..n {
        others.push(a.signs(&lab, 10 + at, vec![publish("elsewhere", "1", b"e")]).head().clone());
        a.say(&lab, 10 + at, vec![block(Blocked::Blob(file(&at.to_le_bytes())))]);
    }
    let log = |epoch| LogId { feed: lab.feed, author: lab.me(), epoch };
    let before = lab.site.store().log_state(log(1)).unwrap().unwrap().after.len();
    for other in others.iter().rev() {
        lab.proved(other);
        lab.resolve(a.id());
    }
    let said = lab.site.store().log_state(log(1)).unwrap().unwrap().after.len() - before;
    assert!(said <= 4 * n, "{n} ops and {n} proofs made the origin say {said} ops");
}

#[test]
fn what_the_origin_blocked_stays_blocked_whatever_a_publisher_says() {
    let lab = lab(false, false);
    let mut a = Peer::new(2);
    lab.says(vec![grant(a.id(), CAREFUL), publish("x", "1", b"x")]);
    let blocked = lab.says(vec![block(Blocked::Blob(file(b"x")))]);
    a.say(&lab, 10, vec![publish("first", "1", b"1")]);
    let other = a.other(&lab);
    a.say(&lab, 20, vec![Body::Unblock(Unblock { block: blocked[0].id, reason: String::new() })]);
    assert_eq!(lab.item("x").standing, Standing::Blocked);
    lab.proved(&other);
    lab.resolve(a.id());
    assert_eq!(
        lab.item("x").standing,
        Standing::Blocked,
        "a site without the right lifted the origin's block"
    );
}
