//! Blocks, seals, holds, revocation, resolve, offers and overwriting, each by the rule that it shows.

use super::*;

fn sealed(index: u64, tips: &[(u8, u64)]) -> NamedOp {
    let tip = |(author, len): &(u8, u64)| Tip { author: site(*author), epoch: 1, len: *len, root: [0; 32] };
    let frontier = tips.iter().map(tip).collect();
    said(ORIGIN, 100 + index, Body::Seal(Seal { index, frontier, state_root: [0; 32] }))
}

fn blocked(author: u8, seq: u64, target: Blocked) -> NamedOp {
    said(author, seq, Body::Block(Block { target, reason: "malware".to_owned() }))
}

fn revoked(seq: u64, accepted: u64) -> NamedOp {
    let tip = Tip { author: site(MEMBER), epoch: 1, len: accepted, root: [0; 32] };
    let revoke = Revoke { grantee: site(MEMBER), accepted: vec![tip], reason: String::new() };
    said(ORIGIN, seq, Body::Revoke(revoke))
}

/// [P-26] R1: a block of the coordinate wins over everything, until it is lifted.
#[test]
fn a_blocked_coordinate_is_not_served_until_the_block_is_lifted() {
    let build = publish(MEMBER, 1, 1, &[]);
    let block = blocked(ORIGIN, 2, Blocked::Coordinate(coordinate()));
    let item = seen_by(LEAF, &[&build, &block]);
    assert_eq!((item.standing, item.winner, item.blocks), (Standing::Blocked, None, vec![block.id]));
    let again = publish(ORIGIN, 3, 1, &[]);
    assert_eq!(seen_by(LEAF, &[&build, &block, &again]).standing, Standing::Blocked);
    let lift = said(ORIGIN, 4, Body::Unblock(Unblock { block: block.id, reason: String::new() }));
    assert_eq!(seen_by(LEAF, &[&lift, &build, &block]).winner, Some(build.id));
}

/// [P-26] R1: blocked bytes are served under no coordinate; other bytes of the version are.
#[test]
fn blocked_bytes_give_way_to_another_build() {
    let bad = publish(MEMBER, 1, 1, &[]);
    let good = publish(ORIGIN, 2, 2, &[]);
    let block = blocked(ORIGIN, 3, Blocked::Blob(BlobId([1; 32])));
    assert_eq!(seen_by(LEAF, &[&bad, &block]).standing, Standing::Blocked);
    let item = seen_by(LEAF, &[&bad, &good, &block]);
    assert_eq!((item.winner, item.clash.len(), item.blocks), (Some(good.id), 0, vec![block.id]));
}

/// Bytes are kept by what would stand if the blocks were lifted.
#[test]
fn without_its_blocks_a_version_is_what_it_would_have_been() {
    let (build, other) = (publish(MEMBER, 1, 1, &[]), publish(ORIGIN, 2, 2, &[]));
    let gone = delete(ORIGIN, 3, &[&build]);
    for target in [Blocked::Coordinate(coordinate()), Blocked::Blob(BlobId([1; 32]))] {
        let block = blocked(ORIGIN, 4, target);
        let looking = Looking::from(LEAF);
        for ops in [vec![&build], vec![&build, &other], vec![&build, &gone]] {
            let with: Vec<_> = ops.iter().copied().chain([&block]).collect();
            assert_eq!(looking.unblocked_at(&with), looking.at(&ops));
            assert!(!looking.at(&with).blocks.is_empty());
        }
    }
}

#[test]
fn a_site_without_the_right_blocks_for_itself_only() {
    let build = publish(MEMBER, 1, 1, &[]);
    let own = blocked(LEAF, 0, Blocked::Coordinate(coordinate()));
    assert_eq!(seen_by(LEAF, &[&build, &own]).standing, Standing::Blocked);
    assert_eq!(seen_by(MEMBER, &[&build, &own]).winner, Some(build.id));
    let member = blocked(MEMBER, 2, Blocked::Coordinate(coordinate()));
    assert_eq!(seen_by(LEAF, &[&build, &member]).winner, Some(build.id));
}

/// [P-27] R6: what is sealed beats what is not, whatever the stamps; of two sealed builds the earlier seal's stands.
#[test]
fn a_sealed_build_is_never_replaced_by_one_that_comes_later() {
    let late = publish(MEMBER, 1, 1, &[]);
    let served = publish(ORIGIN, 50, 2, &[]);
    assert_eq!(seen_by(LEAF, &[&late, &served]).winner, Some(late.id));
    let seal = sealed(1, &[(ORIGIN, 51)]);
    let item = seen_by(LEAF, &[&late, &served, &seal]);
    assert_eq!((item.winner, item.seal, item.clash), (Some(served.id), Some(1), vec![late.id]));
    let next = sealed(2, &[(ORIGIN, 51), (MEMBER, 2)]);
    assert_eq!(seen_by(LEAF, &[&next, &late, &served, &seal]).winner, Some(served.id));
    assert_eq!(seen_by(LEAF, &[&next, &late, &served]).winner, Some(late.id));
}

#[test]
fn a_seal_by_anyone_but_an_origin_is_nothing() {
    let late = publish(MEMBER, 1, 1, &[]);
    let served = publish(ORIGIN, 50, 2, &[]);
    let tip = Tip { author: site(ORIGIN), epoch: 1, len: 51, root: [0; 32] };
    let forged = said(MEMBER, 9, Body::Seal(Seal { index: 1, frontier: vec![tip], state_root: [0; 32] }));
    assert_eq!(seen_by(LEAF, &[&late, &served, &forged]).winner, Some(late.id));
}

/// [P-24] A person with admin rights chooses among the builds of a clash, by an op that counts everywhere.
#[test]
fn a_clash_is_resolved_by_an_op_of_someone_who_may() {
    let one = publish(MEMBER, 1, 1, &[]);
    let other = publish(ORIGIN, 2, 2, &[]);
    let choose =
        |author, seq, winner| said(author, seq, Body::Resolve(Resolve { coordinate: coordinate(), winner }));
    let chosen = choose(ORIGIN, 5, other.id);
    let item = seen_by(LEAF, &[&one, &other, &chosen]);
    assert_eq!((item.winner, item.resolved, item.clash), (Some(other.id), Some(chosen.id), vec![one.id]));
    let not_allowed = choose(MEMBER, 9, one.id);
    assert_eq!(seen_by(LEAF, &[&one, &other, &chosen, &not_allowed]).winner, Some(other.id));
    let gone = delete(ORIGIN, 6, &[&other]);
    let back = publish(MEMBER, 7, 1, &[&gone]);
    assert_eq!(seen_by(LEAF, &[&one, &other, &chosen, &gone, &back]).winner, Some(back.id));
}

/// [P-28] R7: what comes back over a delete has bytes that stood there, unless the feed allows others.
#[test]
fn other_bytes_over_a_delete_are_suppressed_unless_the_feed_allows_them() {
    let first = publish(ORIGIN, 1, 1, &[]);
    let gone = delete(ORIGIN, 2, &[&first]);
    let other = publish(MEMBER, 3, 2, &[&gone]);
    let item = seen_by(LEAF, &[&first, &gone, &other]);
    assert_eq!(
        (item.standing, item.reused, item.deletes),
        (Standing::Suppressed, vec![other.id], vec![gone.id])
    );
    let free = Looking { genesis: Genesis { reuse: true, ..genesis() }, ..Looking::from(LEAF) };
    // Another genesis is another feed, so the ops are said anew in it.
    let again = |named: &NamedOp| {
        let log = LogId { feed: free.genesis.feed_id(), ..named.op.place.log };
        NamedOp { op: Op { place: Place { log, ..named.op.place }, ..named.op.clone() }, ..named.clone() }
    };
    let ops = [again(&first), again(&gone), again(&other)];
    assert_eq!(free.at(&ops.iter().collect::<Vec<_>>()).winner, Some(other.id));
}

/// [P-29] E26: a revoked author's ops count as far as the revoke accepts them; the others wait.
#[test]
fn a_revoked_authors_later_ops_wait_and_a_new_grant_lets_them_count() {
    let before = publish(MEMBER, 1, 1, &[]);
    let revoke = revoked(5, 2);
    assert_eq!(seen_by(LEAF, &[&before, &revoke]).winner, Some(before.id));
    let after = publish(MEMBER, 2, 1, &[]);
    let item = seen_by(LEAF, &[&after, &revoke]);
    assert_eq!((item.standing, item.held), (Standing::Held, vec![after.id]));
    let gone = delete(MEMBER, 3, &[&before]);
    assert_eq!(seen_by(LEAF, &[&before, &revoke, &gone]).winner, Some(before.id));
    let mut again = granted(Rights::WRITE);
    again.op.stamp = Hlc((NOW.0 << 16) + 50);
    again.id = again.op.id();
    assert_eq!(seen_by(LEAF, &[&after, &revoke, &again]).winner, Some(after.id));
}

/// [P-27] What waited while a seal was said, its author's rights taken back, does not displace what was served under a later seal meanwhile.
#[test]
fn an_op_that_waited_under_a_seal_displaces_nothing_once_it_counts_again() {
    let (waits, serves) = (publish(MEMBER, 1, 1, &[]), publish(ORIGIN, 4, 2, &[]));
    let tip = |author, len| Tip { author: site(author), epoch: 1, len, root: [0; 32] };
    let seal =
        |seq, index, frontier| said(ORIGIN, seq, Body::Seal(Seal { index, frontier, state_root: [0; 32] }));
    let (one, two) = (seal(3, 1, vec![tip(MEMBER, 2)]), seal(5, 2, vec![tip(ORIGIN, 5)]));
    let mut again = granted(Rights::WRITE);
    again.op.stamp = Hlc((NOW.0 << 16) + 6);
    again.id = again.op.id();
    let three = seal(7, 3, vec![]);
    let item = |accepted, more: &[&NamedOp]| {
        let revoke = revoked(2, accepted);
        let mut ops = vec![&waits, &serves, &revoke, &one, &two];
        ops.extend(more);
        let item = seen_by(LEAF, &ops);
        (item.winner, item.seal, item.clash)
    };
    assert_eq!(item(0, &[]), (Some(serves.id), Some(2), vec![]));
    assert_eq!(item(0, &[&again]), (Some(serves.id), Some(2), vec![waits.id]));
    assert_eq!(item(0, &[&again, &three]), (Some(serves.id), Some(2), vec![waits.id]));
    // What the revoke accepted was served when it was sealed.
    assert_eq!(item(2, &[]), (Some(waits.id), Some(1), vec![serves.id]));
    assert_eq!(item(2, &[&again]), (Some(waits.id), Some(1), vec![serves.id]));
}

/// E27: deletes that wait for approval remove nothing at this site, and are told.
#[test]
fn deletes_that_are_held_here_remove_nothing() {
    let build = publish(ORIGIN, 1, 1, &[]);
    let gone = delete(MEMBER, 7, &[&build]);
    let mut held = Held::default();
    held.add(gone.op.place.log, 5, 8);
    let item = Looking { held, ..Looking::from(LEAF) }.at(&[&build, &gone]);
    assert_eq!((item.winner, item.held_deletes), (Some(build.id), vec![gone.id]));
    let mut elsewhere = Held::default();
    elsewhere.add(gone.op.place.log, 8, 9);
    assert_eq!(Looking { held: elsewhere, ..Looking::from(LEAF) }.at(&[&build, &gone]).winner, None);
}

#[test]
fn a_version_is_offered_as_was_said_last_by_a_site_that_may() {
    let build = publish(ORIGIN, 1, 1, &[]);
    let state =
        |author, seq, offer| said(author, seq, Body::SetState(SetState { coordinate: coordinate(), offer }));
    let yanked = state(MEMBER, 2, Offer::Yanked { reason: "broken".to_owned() });
    let own = state(LEAF, 9, Offer::Unlisted);
    assert_eq!(seen_by(LEAF, &[&build, &yanked, &own]).offer, Offer::Yanked { reason: "broken".to_owned() });
    assert_eq!(seen_by(LEAF, &[&build, &own]).offer, Offer::Unlisted);
    assert_eq!(seen_by(MEMBER, &[&build, &own]).offer, Offer::Listed);
    let back = state(ORIGIN, 3, Offer::Listed);
    assert_eq!(seen_by(LEAF, &[&back, &build, &yanked]).offer, Offer::Listed);
}

/// [P-35] R8: where versions may be published in place the last writer wins, and a delete is a value like any other.
#[test]
fn in_a_feed_that_may_be_overwritten_the_last_writer_wins() {
    let looking = Looking { genesis: Genesis { overwrite: true, ..genesis() }, ..Looking::from(LEAF) };
    let again = |named: NamedOp| {
        let log = LogId { feed: looking.genesis.feed_id(), ..named.op.place.log };
        let op = Op { place: Place { log, ..named.op.place }, ..named.op };
        NamedOp { id: op.id(), op, ..named }
    };
    let one = again(publish(ORIGIN, 1, 1, &[]));
    let two = again(publish(ORIGIN, 5, 2, &[]));
    let gone = again(delete(ORIGIN, 3, &[]));
    let last = again(delete(ORIGIN, 9, &[]));
    let item = looking.at(&[&one, &two, &gone]);
    assert_eq!((item.winner, item.clash.len()), (Some(two.id), 0));
    assert_eq!(looking.at(&[&one, &gone]).standing, Standing::Deleted);
    assert_eq!(looking.at(&[&one, &two, &gone, &last]).standing, Standing::Deleted);
    let local = again(publish(LEAF, 20, 3, &[]));
    assert_eq!(looking.at(&[&two, &local]).winner, Some(two.id));
}

/// What an author deleted while it had the right, brought back at home and hid there once it had none, was removed twice. Whoever brings it
/// back again has to be told of both.
#[test]
fn what_was_deleted_with_the_right_and_hidden_without_it_is_told_by_both() {
    let careful = Rights { publish: true, delete_own: true, ..Rights::default() };
    for overwrite in [false, true] {
        let genesis = Genesis { overwrite, ..genesis() };
        let seen = |ops: &[&NamedOp]| {
            Looking { member: careful, genesis: genesis.clone(), ..Looking::from(MEMBER) }.at(ops)
        };
        let first = publish(MEMBER, 0, 1, &[]);
        let gone = delete(MEMBER, 1, &[&first]);
        let revoked = revoked(1, 2);
        let again = publish(MEMBER, 2, 1, &[&gone]);
        let hidden = delete(MEMBER, 3, &[&first, &again]);
        let item = seen(&[&first, &gone, &revoked, &again, &hidden]);
        assert_eq!((item.standing, item.deletes), (Standing::Hidden, ascending([gone.id, hidden.id])));
        let back = publish(MEMBER, 4, 1, &[&gone, &hidden]);
        let item = seen(&[&first, &gone, &revoked, &again, &hidden, &back]);
        assert_eq!((item.winner, item.local), (Some(back.id), true));
    }
}

/// A site that may not delete hid it, and a site that may deleted it since: it is gone everywhere, and lifting the hide brings nothing back.
#[test]
fn what_was_hidden_here_and_deleted_everywhere_since_is_deleted() {
    for overwrite in [false, true] {
        let genesis = Genesis { overwrite, ..genesis() };
        let looking = Looking { genesis, ..Looking::from(LEAF) };
        let again = |named: NamedOp| {
            let log = LogId { feed: looking.genesis.feed_id(), ..named.op.place.log };
            let op = Op { place: Place { log, ..named.op.place }, ..named.op };
            NamedOp { id: op.id(), op, ..named }
        };
        let first = again(publish(ORIGIN, 1, 1, &[]));
        let hidden = again(delete(LEAF, 2, &[&first]));
        let gone = again(delete(ORIGIN, 3, &[&first]));
        assert_eq!(looking.at(&[&first, &hidden]).standing, Standing::Hidden);
        let item = looking.at(&[&first, &hidden, &gone]);
        assert_eq!((item.standing, item.deletes), (Standing::Deleted, ascending([hidden.id, gone.id])));
        let back = again(publish(ORIGIN, 4, 1, &[&gone]));
        assert_eq!(looking.at(&[&first, &hidden, &gone, &back]).winner, Some(back.id), "it was not hidden");
    }
}
