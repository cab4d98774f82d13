//! What a link held back comes when a link lets it in, and only then.

use super::*;

const ADDS: Switches = Switches { in_add: true, in_delete: false, out_add: false, out_delete: false };

/// A leaf that took a publish over a link without deletions, and not the delete that followed.
fn left_out() -> (Site, Site) {
    let (mut ny, mut leaf) = (Site::new(1), Site::new(2));
    ny.publish("a", b"a");
    ny.publish("b", b"b");
    ny.delete("a");
    let mut wire = connect(&leaf, &ny, ADDS, ADDS.flip());
    assert_eq!(wire.sync(&mut leaf, &mut ny).0, Outcome::Done);
    assert_eq!((leaf.served().len(), ny.served().len()), (2, 1));
    (leaf, ny)
}

/// [P-48] A grant that is widened later brings the deletions that it held back, though the author has said nothing new.
#[test]
fn a_wider_link_brings_what_the_narrow_one_left_out() {
    let (mut leaf, mut ny) = left_out();
    let mut wire = connect(&leaf, &ny, Switches::PULL, Switches::MIRROR);
    let (outcome, tally) = wire.sync(&mut leaf, &mut ny);
    assert_eq!((outcome, tally.came.deletes, tally.ops_in), (Outcome::Done, 1, 1));
    assert_eq!(leaf.served(), ny.served());
    assert!(leaf.gaps(ny.own_log()).is_empty());
    let (_, tally) = wire.sync(&mut leaf, &mut ny);
    assert_eq!((tally.ops_in, tally.round_trips), (0, 1), "then there is nothing left to ask");
}

/// [P-48] The same with news in between: they come by themselves, and the gap is asked for once.
#[test]
fn what_was_left_out_comes_beside_what_is_new() {
    let (mut leaf, mut ny) = left_out();
    ny.publish("c", b"c");
    let mut wire = connect(&leaf, &ny, Switches::PULL, Switches::MIRROR);
    let (outcome, tally) = wire.sync(&mut leaf, &mut ny);
    assert_eq!((outcome, tally.came.deletes, tally.ops_in), (Outcome::Done, 1, 2));
    assert_eq!(leaf.served(), ny.served());
}

/// E15, [P-48] Below a site that takes additions only, deletions do not arrive; once it takes them too, they do.
#[test]
fn a_gap_that_is_filled_is_filled_further_down() {
    let (mut middle, mut top) = left_out();
    let mut below = Site::new(3);
    let mut down = connect(&below, &middle, Switches::PULL, Switches::MIRROR);
    assert_eq!(down.sync(&mut below, &mut middle).0, Outcome::Done);
    assert_eq!(below.served().len(), 2, "deletes stop at the middle");
    let (outcome, tally) = down.sync(&mut below, &mut middle);
    assert_eq!((outcome, tally.round_trips), (Outcome::Done, 1), "what the middle lacks is not asked of it");
    let mut up = connect(&middle, &top, Switches::PULL, Switches::MIRROR);
    up.sync(&mut middle, &mut top);
    let (outcome, tally) = down.sync(&mut below, &mut middle);
    assert_eq!((outcome, tally.came.deletes), (Outcome::Done, 1));
    assert_eq!(below.served(), top.served());
}

/// [P-48] A link that still holds deletions back asks for none.
#[test]
fn a_narrow_link_leaves_gaps_alone() {
    let (mut leaf, mut ny) = left_out();
    let mut wire = connect(&leaf, &ny, ADDS, ADDS.flip());
    let (outcome, tally) = wire.sync(&mut leaf, &mut ny);
    assert_eq!((outcome, tally.round_trips, tally.ops_in), (Outcome::Done, 1, 0));
    assert_eq!(leaf.served().len(), 2);
}

/// [P-49] A site that lost its log is given all of it back, the deletions too, by whoever has them, though the link holds those of others back. Where
/// one that lacks them came first, they come once another one has them.
#[test]
fn what_a_site_said_itself_comes_back_whole_over_a_link_that_holds_deletions_back() {
    let (leaf, mut ny) = left_out();
    let mut hub = Site::new(3);
    connect(&hub, &ny, Switches::PULL, Switches::MIRROR).sync(&mut hub, &mut ny);
    for mut first in [None, Some(leaf)] {
        let mut again = Site::new(1);
        if let Some(leaf) = &mut first {
            connect(&again, leaf, Switches::PULL, Switches::MIRROR).sync(&mut again, leaf);
            assert_eq!(again.gaps(ny.own_log()).len(), 1, "it has what the leaf has");
        }
        let mut wire = connect(&again, &hub, ADDS, ADDS.flip());
        assert_eq!(wire.sync(&mut again, &mut hub).0, Outcome::Done);
        assert!(again.gaps(ny.own_log()).is_empty(), "after a leaf: {}", first.is_some());
        assert_eq!(again.served(), ny.served());
    }
}

/// The leaf asks for a run, and the other end says what it has: its ops are awaited then.
fn awaiting(leaf: &mut Site, ny: &mut Site) -> Wire {
    let mut wire = connect(leaf, ny, Switches::PULL, Switches::MIRROR);
    wire.settle(leaf, ny);
    wire.dialler.run(Instant(1), leaf);
    for frame in drain(&mut wire.dialler, leaf) {
        wire.listener.handle(Instant(1), WALL, Input::Control(&frame), ny);
    }
    for frame in drain(&mut wire.listener, ny) {
        wire.dialler.handle(Instant(1), WALL, Input::Control(&frame), leaf);
    }
    drain(&mut wire.dialler, leaf);
    wire
}

/// [P-48] Only the op that was left out fits its place.
#[test]
fn another_op_in_the_place_of_one_left_out_is_not_taken() {
    let (mut leaf, mut ny) = left_out();
    let mut wire = awaiting(&mut leaf, &mut ny);
    let mut forged = Site::new(1);
    forged.publish("a", b"a");
    forged.publish("b", b"b");
    forged.publish("evil", b"evil");
    let batch = forged.run(ny.own_log(), 2, 0).unwrap().unwrap();
    wire.dialler.handle(Instant(1), WALL, Input::Ops(&OpsFrame::Ops(batch).encode()), &leaf);
    drain(&mut wire.dialler, &mut leaf);
    assert!(leaf.filled.is_empty(), "nothing of it is handed out to be stored");
    assert!(!leaf.served().contains_key("evil"));
    assert_eq!(leaf.gaps(ny.own_log()).len(), 1);
}

/// [P-48] Nor does another where the batch goes on beyond what is held, to a head that is right: whoever passes it on chose what lies before.
#[test]
fn a_relay_puts_no_other_op_in_the_place_of_one_left_out_under_a_head_that_is_right() {
    let (mut leaf, mut ny) = left_out();
    ny.publish("c", b"c");
    let mut wire = awaiting(&mut leaf, &mut ny);
    let mut forged = Site::new(1);
    forged.publish("a", b"a");
    forged.publish("b", b"b");
    forged.publish("evil", b"evil");
    let mut batch = forged.run(ny.own_log(), 2, 0).unwrap().unwrap();
    let next = ny.run(ny.own_log(), 3, 0).unwrap().unwrap();
    batch.entries.extend(next.entries);
    batch.head = next.head;
    assert_eq!((batch.first, batch.head.head.len, batch.entries.len()), (2, 4, 2));
    wire.dialler.handle(Instant(1), WALL, Input::Ops(&OpsFrame::Ops(batch).encode()), &leaf);
    drain(&mut wire.dialler, &mut leaf);
    assert!(leaf.filled.is_empty(), "nothing of it is handed out to be stored");
    assert_eq!(leaf.gaps(ny.own_log()).len(), 1);
}

/// [P-6] Of several ops under one hash none can be asked for: a relay that leaves two deletions out so would keep them from a site for good.
#[test]
fn a_relay_that_leaves_several_ops_out_under_one_hash_is_refused_and_they_come_from_elsewhere() {
    let (mut ny, mut leaf, mut relay) = (Site::new(1), Site::new(2), Site::new(3));
    ny.publish("a", b"a");
    ny.publish("b", b"b");
    ny.delete("a");
    ny.delete("b");
    let said: Vec<Batch> = ny.runs[&ny.own_log()].iter().map(|(_, run)| run.to_batch()).collect();
    let ids: Vec<OpId> = ny.runs[&ny.own_log()][2..].iter().map(|(_, run)| run.ops()[0].id).collect();
    let left_out = Entry::Skip { height: 1, hash: Mmr::subtree(&ids).unwrap() };
    let entries = vec![said[0].entries[0].clone(), said[1].entries[0].clone(), left_out];
    let thin = Batch { first: 0, entries, head: said[3].head.clone() };
    relay.append(Permitted::local(thin.verify_proof().unwrap(), false).unwrap());
    relay.blobs = ny.blobs.clone();
    let (outcome, _) = connect(&leaf, &relay, Switches::PULL, Switches::MIRROR).sync(&mut leaf, &mut relay);
    assert_ne!(outcome, Outcome::Done);
    assert_eq!(leaf.closed.last(), Some(&Outcome::Misbehaved(Misbehaved::BatchInvalid)));
    let mut wire = connect(&leaf, &ny, Switches::PULL, Switches::MIRROR);
    assert_eq!(wire.sync(&mut leaf, &mut ny).0, Outcome::Done);
    assert!(leaf.served().is_empty() && leaf.gaps(ny.own_log()).is_empty());
}
