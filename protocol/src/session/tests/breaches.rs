//! What a sender may not do with ops: each breach ends the session by its name, and nothing of it is kept.

use super::endings::closed_with;
use super::*;
use crate::limits::{FORKS_HEARD_MAX, FORKS_PER_FRAME_MAX};

/// A puller that was just told of news, and the frames of the ops stream that the sender has for it.
fn told_of_news(mode: Switches) -> (Wire, Site, Site, Vec<Vec<u8>>) {
    let (mut ny, mut la) = (Site::new(1), Site::new(2));
    ny.grant(&la);
    let mut wire = connect(&la, &ny, mode, Switches::MIRROR);
    wire.sync(&mut la, &mut ny);
    ny.publish("a", b"a");
    la.publish("b", b"b");
    wire.dialler.run(Instant(1), &la);
    for frame in drain(&mut wire.dialler, &mut la) {
        wire.listener.handle(Instant(1), WALL, Input::Control(&frame), &ny);
    }
    for frame in drain(&mut wire.listener, &mut ny) {
        wire.dialler.handle(Instant(1), WALL, Input::Control(&frame), &la);
    }
    let ops = std::iter::from_fn(|| wire.listener.poll_ops(&ny)).collect();
    (wire, la, ny, ops)
}

fn batch_in(frames: &[Vec<u8>]) -> Batch {
    let mut batches = frames.iter().filter_map(|frame| match OpsFrame::decode(frame).unwrap() {
        OpsFrame::Ops(batch) => Some(batch),
        OpsFrame::End => None,
    });
    batches.next_back().expect("a batch")
}

fn ends_with(change: impl FnOnce(&mut Batch), fault: Misbehaved) {
    let (mut wire, la, _, ops) = told_of_news(Switches::PULL);
    let mut batch = batch_in(&ops);
    change(&mut batch);
    wire.dialler.handle(Instant(2), WALL, Input::Ops(&OpsFrame::Ops(batch).encode()), &la);
    assert_eq!(closed_with(&mut wire.dialler), Outcome::Misbehaved(fault));
}

#[test]
fn ops_that_do_not_add_up_or_are_of_another_feed_are_named() {
    ends_with(|batch| drop(batch.entries.pop()), Misbehaved::BatchInvalid);
    ends_with(|batch| batch.head.head.log.feed = FeedId([9; 32]), Misbehaved::FeedNotAgreed);
}

/// [P-11] A deletion that comes although the link holds deletions back is refused by the receiver.
#[test]
fn a_deletion_over_a_link_for_additions_is_a_breach() {
    let adds = Switches { in_add: true, in_delete: false, out_add: false, out_delete: false };
    let (mut wire, mut la, mut ny, ops) = told_of_news(adds);
    let addition = OpsFrame::Ops(batch_in(&ops)).encode();
    wire.dialler.handle(Instant(2), WALL, Input::Ops(&addition), &la);
    drain(&mut wire.dialler, &mut la);
    ny.delete("a");
    let log = ny.own_log();
    let batch = ny.run(log, la.log(log).unwrap().len(), 0).unwrap().unwrap();
    wire.dialler.handle(Instant(2), WALL, Input::Ops(&OpsFrame::Ops(batch).encode()), &la);
    assert_eq!(closed_with(&mut wire.dialler), Outcome::Misbehaved(Misbehaved::OpsNotPermitted));
}

/// [P-11] A link for deletions alone carries them, and the publishes stay where they are.
#[test]
fn a_link_for_deletions_alone_holds_publishes_back() {
    let (mut ny, mut la) = (Site::new(1), Site::new(2));
    ny.publish("a", b"a");
    let deletes = Switches { in_add: false, in_delete: true, out_add: false, out_delete: false };
    let mut wire = connect(&la, &ny, deletes, deletes.flip());
    ny.delete("a");
    let (outcome, tally) = wire.sync(&mut la, &mut ny);
    assert_eq!((outcome, tally.came.deletes), (Outcome::Done, 1));
    assert_eq!(la.ops().len(), 1, "the delete, and not the publish");
}

/// [P-44] What was told and does not come is asked for once.
#[test]
fn a_sender_that_ends_twice_without_what_it_told_contradicts_itself() {
    let (mut wire, mut la, ..) = told_of_news(Switches::PULL);
    let end = OpsFrame::End.encode();
    wire.dialler.handle(Instant(2), WALL, Input::Ops(&end), &la);
    let asked = drain(&mut wire.dialler, &mut la);
    assert!(asked.iter().any(|frame| matches!(Frame::decode(frame), Ok(Frame::WantOps(_)))), "{asked:?}");
    wire.dialler.handle(Instant(3), WALL, Input::Ops(&end), &la);
    assert_eq!(closed_with(&mut wire.dialler), Outcome::Misbehaved(Misbehaved::RootContradicted));
}

/// Damage that is found in mid run sets a log back. Whoever brought what it took is not to blame.
#[test]
fn what_came_and_was_lost_since_is_no_breach_of_who_brought_it() {
    let (mut ny, mut la) = (Site::new(1), Site::new(2));
    ny.publish("a", b"a");
    connect(&la, &ny, Switches::PULL, Switches::MIRROR).sync(&mut la, &mut ny);
    // After a restore there the two compare, and all is asked for.
    ny.store = StoreId([99; 8]);
    ny.publish("b", b"b");
    let mut wire = connect(&la, &ny, Switches::PULL, Switches::MIRROR);
    wire.settle(&mut la, &mut ny);
    wire.dialler.run(Instant(1), &la);
    let mut ops = Vec::new();
    while ops.is_empty() {
        for frame in drain(&mut wire.dialler, &mut la) {
            wire.listener.handle(Instant(1), WALL, Input::Control(&frame), &ny);
        }
        for frame in drain(&mut wire.listener, &mut ny) {
            wire.dialler.handle(Instant(1), WALL, Input::Control(&frame), &la);
        }
        ops.extend(std::iter::from_fn(|| wire.listener.poll_ops(&ny)));
    }
    for frame in ops {
        if OpsFrame::decode(&frame).unwrap() == OpsFrame::End {
            la.runs.clear();
        }
        wire.dialler.handle(Instant(2), WALL, Input::Ops(&frame), &la);
        drain(&mut wire.dialler, &mut la);
    }
    assert_eq!(la.closed, [Outcome::Fault]);
    let mut again = connect(&la, &ny, Switches::PULL, Switches::MIRROR);
    assert_eq!(again.sync(&mut la, &mut ny).0, Outcome::Done);
    assert_eq!(la.served(), ny.served());
}

/// [P-43] The dialler answers the listener's pull when the ops it pulled itself are in, and not before.
#[test]
fn the_dialler_pulls_before_it_supplies() {
    let (mut wire, mut la, _, ops) = told_of_news(Switches::MIRROR);
    let supplies =
        |frames: &[Vec<u8>]| frames.iter().any(|frame| matches!(Frame::decode(frame), Ok(Frame::Supply(_))));
    assert!(!supplies(&drain(&mut wire.dialler, &mut la)));
    let mut sent = Vec::new();
    for frame in ops {
        assert!(!supplies(&sent), "before the last of the ops");
        wire.dialler.handle(Instant(2), WALL, Input::Ops(&frame), &la);
        sent.extend(drain(&mut wire.dialler, &mut la));
    }
    assert!(supplies(&sent));
}

/// What asks for nothing is counted nowhere: a peer that reads none of it could have any number of asks wait here, or each of them make this site
/// look at every head it told of.
#[test]
fn questions_and_wants_of_nothing_are_breaches() {
    let blob = BlobId([7; 32]);
    let nothing = crate::transfer::Ask::Extents { blob, from: 5, to: 5 };
    let salt = crate::reconcile::Salt([1; 8]);
    for (what, flood) in [
        Frame::Want(vec![nothing; crate::limits::WANTED_ITEMS_MAX]),
        Frame::HeadsOf(vec![]),
        Frame::Questions(crate::reconcile::Questions { salt, questions: vec![] }),
        Frame::WantOps(vec![]),
    ]
    .iter()
    .enumerate()
    {
        let (mut wire, _, mut ny, _) = told_of_news(Switches::PULL);
        for _ in 0..3 {
            wire.listener.handle(Instant(2), WALL, Input::Control(&flood.encode()), &ny);
        }
        assert!(wire.listener.is_closed(), "number {what}");
        drain(&mut wire.listener, &mut ny);
    }
}

/// Each costs two signatures to check, and an honest site has as many as there are forks.
#[test]
fn a_peer_that_shows_heads_without_end_floods() {
    let (mut wire, mut la, ny, _) = told_of_news(Switches::PULL);
    let head = la.runs[&ny.own_log()][0].1.head().clone();
    let shown = |count: usize| {
        let heads = vec![head.clone(); count];
        Frame::Forks(crate::frame::Forks { heads, forks: vec![] }).encode()
    };
    for _ in 0..FORKS_HEARD_MAX / FORKS_PER_FRAME_MAX {
        wire.dialler.handle(Instant(2), WALL, Input::Control(&shown(FORKS_PER_FRAME_MAX)), &la);
    }
    drain(&mut wire.dialler, &mut la);
    assert!(!wire.dialler.is_closed(), "{:?}", la.closed);
    wire.dialler.handle(Instant(2), WALL, Input::Control(&shown(1)), &la);
    assert_eq!(closed_with(&mut wire.dialler), Outcome::Misbehaved(Misbehaved::WantsFlooded));
}
