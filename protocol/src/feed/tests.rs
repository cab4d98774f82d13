//! The merge rules, one case a test, and that no order of arrival changes the outcome.

mod cases;
mod orders;
mod roles;
mod rules;

use ed25519_dalek::SigningKey;
use proptest::prelude::*;

use super::*;
use crate::id::{BlobId, LogId};
use crate::manifest::{File, Manifest};
use crate::op::{
    Block, Blocked, Body, Delete, Genesis, Grant, Op, Place, Resolve, Revoke, Rights, Seal, SetState, Tip,
    Unblock,
};
use crate::package::{Coordinate, FeedKind};
use crate::time::Hlc;

const NOW: Timestamp = Timestamp(1_795_000_000_000);
const ORIGIN: u8 = 1;
const MEMBER: u8 = 2;
const LEAF: u8 = 3;

fn site(n: u8) -> SiteId {
    SiteId(SigningKey::from_bytes(&[n; 32]).verifying_key().to_bytes())
}

fn genesis() -> Genesis {
    Genesis {
        kind: FeedKind::Raw,
        name: "tools".to_owned(),
        origin: site(ORIGIN),
        second_origin: None,
        reuse: false,
        overwrite: false,
        created: NOW,
        nonce: [0; 16],
    }
}

fn said(author: u8, seq: u64, body: Body) -> NamedOp {
    let log = LogId { feed: genesis().feed_id(), author: site(author), epoch: 1 };
    let op = Op { place: Place { log, seq }, stamp: Hlc((NOW.0 << 16) + seq), body };
    NamedOp { id: op.id(), statement: op.encode_statement(), op }
}

fn coordinate() -> Coordinate {
    Coordinate::new(FeedKind::Raw, "tool", "1.0").unwrap()
}

fn publish(author: u8, seq: u64, bytes: u8, supersedes: &[&NamedOp]) -> NamedOp {
    let file = File { name: "tool".to_owned(), blob: BlobId([bytes; 32]), size: 1, sha256: [bytes; 32] };
    said(
        author,
        seq,
        Body::Publish(Publish {
            coordinate: coordinate(),
            manifest: Manifest::of(vec![file]).unwrap(),
            supersedes: supersedes.iter().map(|named| named.id).collect(),
            provenance: None,
        }),
    )
}

fn delete(author: u8, seq: u64, saw: &[&NamedOp]) -> NamedOp {
    let saw = saw.iter().map(|named| named.id).collect();
    said(author, seq, Body::Delete(Delete { coordinate: coordinate(), saw, reason: String::new() }))
}

fn granted(member: Rights) -> NamedOp {
    let grant = Grant {
        grantee: site(MEMBER),
        label: String::new(),
        rights: member,
        prefix: String::new(),
        expires: None,
    };
    said(ORIGIN, 0, Body::Grant(grant))
}

/// A site that looks at a feed in which these ops were said.
struct Looking {
    me: u8,
    now: Timestamp,
    local_wins: bool,
    genesis: Genesis,
    member: Rights,
    held: Held,
}

impl Looking {
    fn from(me: u8) -> Self {
        Self {
            me,
            now: NOW,
            local_wins: false,
            genesis: genesis(),
            member: Rights::WRITE,
            held: Held::default(),
        }
    }

    fn at(&self, ops: &[&NamedOp]) -> Item {
        self.decided(ops, decide)
    }

    fn unblocked_at(&self, ops: &[&NamedOp]) -> Item {
        self.decided(ops, decide_unblocked)
    }

    fn decided(&self, ops: &[&NamedOp], decide: fn(&[NamedOp], Rules<'_>) -> Item) -> Item {
        let mut ledger = Ledger::new(&self.genesis);
        ledger.apply(&granted(self.member));
        let ops: Vec<NamedOp> = ops.iter().map(|named| (*named).clone()).collect();
        for named in &ops {
            ledger.apply(named);
        }
        let rules = Rules {
            ledger: &ledger,
            me: site(self.me),
            now: self.now,
            local_wins: self.local_wins,
            held: &self.held,
        };
        // What is about the feed as a whole is not among the ops about a coordinate.
        let about: Vec<NamedOp> =
            ops.into_iter().filter(|named| named.op.body.coordinate().is_some()).collect();
        decide(&about, rules)
    }
}

fn seen_by(me: u8, ops: &[&NamedOp]) -> Item {
    Looking::from(me).at(ops)
}

#[test]
fn nothing_stands_where_nothing_was_said() {
    assert_eq!(seen_by(ORIGIN, &[]).standing, Standing::Absent);
}

/// [P-20] R2: a delete removes every publish of its coordinate, seen or not, whoever made it.
#[test]
fn a_delete_removes_publishes_it_saw_and_those_it_did_not() {
    let first = publish(ORIGIN, 1, 1, &[]);
    let gone = delete(MEMBER, 1, &[&first]);
    let item = seen_by(ORIGIN, &[&first, &gone]);
    assert_eq!((item.standing, item.winner), (Standing::Deleted, None));
    assert_eq!(item.deletes, vec![gone.id]);

    let unseen = publish(ORIGIN, 9, 2, &[]);
    let item = seen_by(LEAF, &[&unseen, &first, &gone]);
    assert_eq!(item.standing, Standing::Suppressed);
    assert_eq!(item.suppressed, vec![unseen.id]);
}

#[test]
fn a_publish_that_supersedes_the_delete_stands() {
    let first = publish(ORIGIN, 1, 1, &[]);
    let gone = delete(MEMBER, 1, &[&first]);
    let again = publish(ORIGIN, 2, 1, &[&gone]);
    assert_eq!(seen_by(LEAF, &[&first, &gone, &again]).winner, Some(again.id));
    let more = delete(ORIGIN, 3, &[]);
    assert_eq!(seen_by(LEAF, &[&first, &gone, &again, &more]).standing, Standing::Suppressed);
}

/// [P-21] R3: without the right to delete, a delete hides what it names, here only.
#[test]
fn a_leafs_delete_hides_at_the_leaf_and_nowhere_else() {
    let first = publish(ORIGIN, 1, 1, &[]);
    let hide = delete(LEAF, 0, &[&first]);
    assert_eq!(seen_by(LEAF, &[&first, &hide]).standing, Standing::Hidden);
    assert_eq!(seen_by(ORIGIN, &[&first, &hide]).winner, Some(first.id));
    let later = publish(ORIGIN, 5, 2, &[]);
    assert_eq!(seen_by(LEAF, &[&first, &hide, &later]).winner, Some(later.id));
}

/// The member's clock is an hour fast and the origin's as well: what it sealed counts at once where clocks are right, so that it does not
/// displace later what a later seal covers.
#[test]
fn what_the_origin_sealed_waits_for_no_clock() {
    let mut early = publish(MEMBER, 0, 1, &[]);
    early.op.stamp = Hlc((NOW.0 + 3_600_000) << 16);
    early.id = early.op.id();
    let late = publish(ORIGIN, 1, 2, &[]);
    let tip = |author, len| Tip { author: site(author), epoch: 1, len, root: [0; 32] };
    let seal =
        |index, frontier| said(ORIGIN, index, Body::Seal(Seal { index, frontier, state_root: [0; 32] }));
    let (one, two) = (seal(2, vec![tip(MEMBER, 1)]), seal(3, vec![tip(ORIGIN, 2)]));
    assert_eq!(seen_by(LEAF, &[&granted(Rights::WRITE), &early, &late]).winner, Some(late.id));
    let item = seen_by(LEAF, &[&granted(Rights::WRITE), &early, &late, &one, &two]);
    assert_eq!((item.winner, item.seal), (Some(early.id), Some(2)));
}

/// A leaf hid what came from upstream and, once it had its own package in the way, hid both: both hides are told, whichever is read first.
#[test]
fn every_hide_of_a_publish_is_told_whatever_the_order() {
    let (upstream, first) = (publish(ORIGIN, 0, 1, &[]), publish(LEAF, 0, 2, &[]));
    let (one, two) = (delete(LEAF, 1, &[&upstream, &first]), delete(LEAF, 2, &[&upstream, &first]));
    let item = seen_by(LEAF, &[&upstream, &first, &one, &two]);
    assert_eq!(item, seen_by(LEAF, &[&two, &one, &first, &upstream]));
    assert_eq!(item.deletes.len(), 2);
}

/// [P-22] R4: an authorised publish stands before a local one; the local one is kept and told.
#[test]
fn an_authorised_publish_shadows_a_local_one() {
    let local = publish(LEAF, 0, 9, &[]);
    let item = seen_by(LEAF, &[&local]);
    assert_eq!((item.winner, item.local), (Some(local.id), true));
    assert_eq!(seen_by(ORIGIN, &[&local]).standing, Standing::NotAuthorised);

    let upstream = publish(ORIGIN, 7, 1, &[]);
    let item = seen_by(LEAF, &[&local, &upstream]);
    assert_eq!((item.winner, item.local), (Some(upstream.id), false));
    assert_eq!(item.shadowed, vec![local.id]);

    let item = Looking { local_wins: true, ..Looking::from(LEAF) }.at(&[&upstream, &local]);
    assert_eq!((item.winner, item.shadowed), (Some(local.id), vec![upstream.id]));
}

/// [P-23] The delete reaches a local package of the same coordinate too.
#[test]
fn an_upstream_delete_removes_a_leafs_own_upload() {
    let local = publish(LEAF, 0, 9, &[]);
    let gone = delete(ORIGIN, 1, &[]);
    assert_eq!(seen_by(LEAF, &[&local, &gone]).standing, Standing::Deleted);
}

/// [P-24] R5: of several builds the earliest stamp wins at every site, the others are a clash.
#[test]
fn of_two_builds_the_earlier_wins_and_the_other_is_told() {
    let one = publish(MEMBER, 4, 1, &[]);
    let other = publish(ORIGIN, 5, 2, &[]);
    let same = publish(ORIGIN, 6, 1, &[]);
    let item = seen_by(LEAF, &[&other, &one, &same]);
    assert_eq!((item.winner, item.clash), (Some(one.id), vec![other.id]));
}

#[test]
fn a_delete_of_ones_own_leaves_others_alone() {
    let careful = Rights { publish: true, delete_own: true, ..Rights::default() };
    let hers = publish(MEMBER, 1, 1, &[]);
    let ours = publish(ORIGIN, 2, 2, &[]);
    let gone = delete(MEMBER, 2, &[&hers, &ours]);
    let item = Looking { member: careful, ..Looking::from(LEAF) }.at(&[&hers, &ours, &gone]);
    assert_eq!(item.winner, Some(ours.id));
}

/// [P-25] R9: a stamp of the far future waits; it neither wins nor is lost.
#[test]
fn an_op_stamped_far_ahead_waits_until_it_is_due() {
    let mut future = publish(ORIGIN, 1, 1, &[]);
    future.op.stamp = Hlc((NOW.0 + 3_600_000) << 16);
    let item = seen_by(LEAF, &[&future]);
    assert_eq!((item.standing, item.due), (Standing::Parked, Some(Timestamp(NOW.0 + 3_600_000))));
    assert_eq!(
        seen_by(ORIGIN, &[&future]).standing,
        Standing::Served,
        "it said so itself, and its clock was set back"
    );
    let later = Looking { now: Timestamp(NOW.0 + 3_600_000), ..Looking::from(LEAF) };
    assert_eq!(later.at(&[&future]).standing, Standing::Served);
}

proptest! {
    #[test]
    fn no_order_of_arrival_changes_what_stands(order in Just((0..7_usize).collect::<Vec<_>>()).prop_shuffle(), kept in any::<u8>()) {
        let first = publish(ORIGIN, 1, 1, &[]);
        let gone = delete(MEMBER, 1, &[&first]);
        let all = [
            publish(MEMBER, 4, 3, &[&gone]), publish(LEAF, 2, 4, &[]), publish(ORIGIN, 3, 2, &[&gone]),
            delete(ORIGIN, 6, &[]), delete(LEAF, 7, &[&first]), first, gone,
        ];
        let pick = |indices: &[usize]| -> Vec<&NamedOp> {
            indices.iter().filter(|at| kept >> **at & 1 == 1).filter_map(|at| all.get(*at)).collect()
        };
        let shuffled = seen_by(LEAF, &pick(&order));
        let sorted = seen_by(LEAF, &pick(&[0, 1, 2, 3, 4, 5, 6]));
        prop_assert_eq!(shuffled, sorted);
    }
}
