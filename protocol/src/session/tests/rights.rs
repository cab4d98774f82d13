//! What a site learns of a feed whose ops do not flow to it: who may write, and what became of what it pushed.

use super::endings::closed_with;
use super::*;
use crate::frame::{Rights as Proofs, WantRights};
use crate::op::Revoke;

/// A hub that granted a shop the right to write after other ops of its own, and their link, by which the shop only pushes.
fn pushing() -> (Wire, Site, Site) {
    let (mut hub, shop) = (Site::new(1), Site::new(2));
    for name in ["a", "b", "c", "d", "e"] {
        hub.publish(name, name.as_bytes());
    }
    hub.grant(&shop);
    hub.publish("f", b"f");
    let wire = connect(&shop, &hub, Switches::PUSH, Switches::PUSH.flip());
    (wire, shop, hub)
}

fn link_up(wire: &mut Wire, shop: &mut Site, hub: &mut Site) {
    wire.settle(shop, hub);
    assert!(wire.dialler.agreed().is_some());
}

/// [P-15] The grant comes with its origin's signature and without the log it stands in; a revoke follows with the next run.
#[test]
fn a_site_that_only_pushes_learns_its_rights_and_that_they_were_taken_back() {
    let (mut wire, mut shop, mut hub) = pushing();
    assert_eq!(shop.authority.rights(shop.id()), Rights::default());
    link_up(&mut wire, &mut shop, &mut hub);
    assert_eq!(shop.authority.rights(shop.id()), Rights::WRITE);
    assert!(shop.runs.is_empty(), "nothing of the hub's log flows");
    hub.say(Body::Revoke(Revoke { grantee: shop.id(), accepted: vec![], reason: String::new() }));
    wire.sync(&mut shop, &mut hub);
    assert_eq!(shop.authority.rights(shop.id()), Rights::default());
}

/// [P-13] Who only pushes offers a log of its own without a grant, and the peer refuses it: nobody says then that the peer has it. With the
/// grant the same is said of the same log.
#[test]
fn nothing_is_said_to_be_there_that_the_peer_refused() {
    let (mut hub, mut shop) = (Site::new(1), Site::new(2));
    shop.publish("a", b"a");
    for granted in [false, true] {
        if granted {
            hub.grant(&shop);
        }
        let mut wire = connect(&shop, &hub, Switches::PUSH, Switches::PUSH.flip());
        for _ in 0..2 {
            let (outcome, _) = wire.sync(&mut shop, &mut hub);
            assert_eq!(outcome, Outcome::Done);
            let here = hub.log(shop.own_log()).unwrap().len();
            let told: Vec<(LogId, u64)> = granted.then_some((shop.own_log(), 1)).into_iter().collect();
            assert_eq!((here, &shop.there), (u64::from(granted), &told));
        }
    }
}

/// What gave an author its rights rotted here, and is back by the next run: what was refused meanwhile is asked for again.
#[test]
fn a_log_that_was_refused_while_its_authors_rights_were_lost_is_asked_for_again() {
    let (mut hub, mut shop, mut tokyo) = (Site::new(1), Site::new(2), Site::new(3));
    let relays = |hub: &mut Site, from: &Site| {
        let (_, said) = from.runs[&from.own_log()].last().unwrap();
        hub.append(Permitted::local(said.clone(), false).unwrap());
        hub.blobs.extend(from.blobs.clone());
    };
    hub.grant(&tokyo);
    tokyo.publish("one", b"one");
    relays(&mut hub, &tokyo);
    let mut wire = connect(&shop, &hub, Switches::PULL, Switches::MIRROR);
    assert_eq!(wire.sync(&mut shop, &mut hub).0, Outcome::Done);
    tokyo.publish("two", b"two");
    relays(&mut hub, &tokyo);
    let known = std::mem::replace(&mut shop.authority, Authority::new(&genesis()));
    let (_, tally) = wire.sync(&mut shop, &mut hub);
    assert_eq!(shop.log(tokyo.own_log()).unwrap().len(), 1, "{tally:?}");
    let (_, tally) = wire.sync(&mut shop, &mut hub);
    assert!(tally.refused.is_empty(), "before they are back it is not asked for: {tally:?}");
    shop.authority = known;
    assert_eq!(wire.sync(&mut shop, &mut hub).0, Outcome::Done);
    assert_eq!(shop.log(tokyo.own_log()).unwrap().len(), 2);
    assert_eq!(shop.served(), hub.served());
}

/// [P-15] What is known costs no proofs again.
#[test]
fn rights_that_are_known_are_not_proved_again() {
    let (mut wire, mut shop, mut hub) = pushing();
    link_up(&mut wire, &mut shop, &mut hub);
    let known = shop.authority.digest();
    wire.dialler.run(Instant(1), &shop);
    let asked = drain(&mut wire.dialler, &mut shop);
    let want = Frame::WantRights(WantRights { feed: 0, known });
    assert!(asked.contains(&want.encode()), "a run asks with what is known");
    wire.listener.handle(Instant(1), WALL, Input::Control(&want.encode()), &hub);
    let answers = drain(&mut wire.listener, &mut hub);
    assert_eq!(answers, [Frame::Rights(Proofs { feed: 0, proofs: vec![] }).encode()]);
}

/// A shop whose link just came up and whose question was not answered yet.
fn unanswered() -> (Wire, Site, Site) {
    let (mut wire, mut shop, mut hub) = pushing();
    for frame in drain(&mut wire.dialler, &mut shop) {
        wire.listener.handle(Instant(1), WALL, Input::Control(&frame), &hub);
    }
    for frame in drain(&mut wire.listener, &mut hub) {
        wire.dialler.handle(Instant(1), WALL, Input::Control(&frame), &shop);
    }
    drain(&mut wire.dialler, &mut shop);
    (wire, shop, hub)
}

/// [P-15] A proof is its author's signature over the whole log: other ops, other feeds and forged heads end the session.
#[test]
fn proofs_that_prove_nothing_are_a_breach_and_change_nothing() {
    let changes: [(fn(&mut Batch), Misbehaved); 4] = [
        (|proof| proof.head.head.log.feed = FeedId([9; 32]), Misbehaved::FeedNotAgreed),
        (|proof| proof.head.head.len += 1, Misbehaved::BatchInvalid),
        (|proof| drop(proof.entries.remove(0)), Misbehaved::BatchInvalid),
        (
            |proof| {
                let key = SigningKey::from_bytes(&[7; 32]);
                proof.head = proof.head.head.sign(&key);
            },
            Misbehaved::BatchInvalid,
        ),
    ];
    for (change, fault) in changes {
        let (mut wire, shop, hub) = unanswered();
        let mut proofs = hub.rights(genesis().feed_id(), usize::MAX).unwrap();
        change(&mut proofs[0]);
        let answer = Frame::Rights(Proofs { feed: 0, proofs }).encode();
        wire.dialler.handle(Instant(1), WALL, Input::Control(&answer), &shop);
        assert_eq!(closed_with(&mut wire.dialler), Outcome::Misbehaved(fault));
        assert_eq!(shop.authority.rights(shop.id()), Rights::default());
    }
}

/// [P-15] A proof holds grants and revokes alone.
#[test]
fn a_proof_with_other_ops_in_it_is_a_breach() {
    let (mut wire, shop, hub) = unanswered();
    let whole = hub.runs[&hub.own_log()][0].1.to_batch();
    assert!(matches!(whole.entries[0], Entry::Op(_)), "a publish, proved in full");
    let answer = Frame::Rights(Proofs { feed: 0, proofs: vec![whole] }).encode();
    wire.dialler.handle(Instant(1), WALL, Input::Control(&answer), &shop);
    assert_eq!(closed_with(&mut wire.dialler), Outcome::Misbehaved(Misbehaved::BatchInvalid));
}

/// [P-15] Rights are told once for each question, and only where nothing flows.
#[test]
fn answers_that_nobody_asked_for_and_questions_without_end_are_breaches() {
    let (mut wire, mut shop, mut hub) = pushing();
    link_up(&mut wire, &mut shop, &mut hub);
    let unasked = Frame::Rights(Proofs { feed: 0, proofs: vec![] }).encode();
    wire.dialler.handle(Instant(1), WALL, Input::Control(&unasked), &shop);
    assert_eq!(closed_with(&mut wire.dialler), Outcome::Misbehaved(Misbehaved::FrameUnexpected));

    let (mut wire, mut shop, mut hub) = pushing();
    link_up(&mut wire, &mut shop, &mut hub);
    let want = Frame::WantRights(WantRights { feed: 0, known: [0; 16] }).encode();
    for _ in 0..2 {
        wire.listener.handle(Instant(1), WALL, Input::Control(&want), &hub);
    }
    assert_eq!(closed_with(&mut wire.listener), Outcome::Misbehaved(Misbehaved::WantsFlooded));

    let (mut ny, mut la) = (Site::new(1), Site::new(2));
    ny.grant(&la);
    let mut wire = connect(&la, &ny, Switches::MIRROR, Switches::MIRROR);
    wire.settle(&mut la, &mut ny);
    wire.listener.handle(Instant(1), WALL, Input::Control(&want), &ny);
    assert_eq!(closed_with(&mut wire.listener), Outcome::Misbehaved(Misbehaved::FrameUnexpected));
}

/// E13, [P-16] The answer to a push names the delete by which a publish does not stand.
#[test]
fn a_pusher_is_told_of_the_delete_that_its_publish_meets() {
    let (mut wire, mut shop, mut hub) = pushing();
    hub.delete("gone");
    shop.publish("gone", b"again");
    shop.publish("new", b"new");
    let (outcome, _) = wire.sync(&mut shop, &mut hub);
    assert_eq!(outcome, Outcome::Done);
    let [told] = &shop.unserved[..] else { panic!("one publish: {:?}", shop.unserved) };
    let delete = hub.ops().into_iter().find(|named| matches!(named.op.body, Body::Delete(_))).unwrap();
    assert_eq!((told.fate, told.by.as_slice()), (Fate::Deleted, &[delete.id][..]));
    assert_eq!(told.publish, shop.ops()[0].id);

    let mut la = Site::new(3);
    hub.grant(&la);
    la.publish("gone", b"by a mirror");
    let mut wire = connect(&la, &hub, Switches::MIRROR, Switches::MIRROR);
    wire.sync(&mut la, &mut hub);
    assert!(la.unserved.is_empty(), "a mirror takes the delete in and sees for itself");
}
