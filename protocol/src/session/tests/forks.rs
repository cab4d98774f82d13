//! Authors that signed two histories: the proof reaches both ends, the log waits, and a cut of the origin's lets it go on.

use super::*;
use crate::op::{Cut, Tip};

/// Two sites with the same key and the same first ops, each of which then said something else.
fn copied(site: &Site) -> Site {
    let mut copy = Site::new(9);
    copy.key = site.key.clone();
    copy.runs = site.runs.clone();
    copy.generation = site.generation;
    copy.authority = site.authority.clone();
    copy.blobs = site.blobs.clone();
    copy
}

fn cut(of: &Site, log: LogId, len: u64) -> Body {
    let held = of.runs[&log].iter().find(|(_, run)| run.after().len() == len).unwrap();
    let head = held.1.head();
    let tip = Tip { author: log.author, epoch: log.epoch, len, root: head.head.root };
    let signature = head.signature.0.to_vec();
    Body::Cut(Cut {
        tip,
        signed: head.head.time,
        succession: head.succession.clone(),
        signature,
        reason: String::new(),
    })
}

fn names(site: &Site) -> Vec<String> {
    site.served().into_keys().collect()
}

/// New York is the origin; Los Angeles published one package and was then copied.
fn scene() -> (Site, Site, Site) {
    let (mut ny, mut la) = (Site::new(1), Site::new(2));
    ny.grant(&la);
    la.publish("before", b"0");
    connect(&la, &ny, Switches::MIRROR, Switches::MIRROR).sync(&mut la, &mut ny);
    let copy = copied(&la);
    (ny, la, copy)
}

/// [P-53] Whichever end notices, and whichever history is longer: both ends hold the proof after one run, and nobody is called a cheat.
#[test]
fn a_fork_is_proved_at_both_ends_whichever_way_ops_flow() {
    for (ours, theirs) in [(1, 1), (1, 3), (3, 1)] {
        for (asks, allows) in [
            (Switches::MIRROR, Switches::MIRROR),
            (Switches::PUSH, Switches::PULL),
            (Switches::PULL, Switches::PUSH),
        ] {
            let (mut ny, mut la, mut copy) = scene();
            for n in 0..ours {
                la.publish(&format!("la-{n}"), b"1");
            }
            connect(&la, &ny, Switches::MIRROR, Switches::MIRROR).sync(&mut la, &mut ny);
            for n in 0..theirs {
                copy.publish(&format!("copy-{n}"), b"2");
            }
            let (outcome, _) = connect(&copy, &ny, asks, allows).sync(&mut copy, &mut ny);
            let about = format!("{ours} and {theirs}, {asks}");
            assert_eq!(outcome, Outcome::Done, "{about}");
            for site in [&ny, &copy] {
                assert_eq!(site.forks.len(), 1, "{about}");
                assert_eq!(site.forks[0].log(), la.own_log(), "{about}");
                assert_eq!(site.notes, [Event::Forked { log: la.own_log() }], "{about}");
            }
            assert_eq!(names(&ny).iter().filter(|name| name.starts_with("copy")).count(), 0, "{about}");
        }
    }
}

/// [P-54] Sites that only hear of it stop passing the log on and taking it in, and hear of it once.
#[test]
fn a_proof_travels_and_the_log_waits_everywhere() {
    let (mut ny, mut la, mut copy) = scene();
    la.publish("la", b"1");
    connect(&la, &ny, Switches::MIRROR, Switches::MIRROR).sync(&mut la, &mut ny);
    copy.publish("copy", b"2");
    connect(&copy, &ny, Switches::MIRROR, Switches::MIRROR).sync(&mut copy, &mut ny);
    let mut tokyo = Site::new(3);
    // A site of these tests remembers one peer.
    ny.memory = Memory::default();
    let mut wire = connect(&tokyo, &ny, Switches::PULL, Switches::PUSH);
    assert_eq!(wire.sync(&mut tokyo, &mut ny).0, Outcome::Done);
    assert_eq!((tokyo.forks.len(), tokyo.notes.len()), (1, 1));
    assert!(names(&tokyo).is_empty(), "a log with two histories is not passed on");
    wire.sync(&mut tokyo, &mut ny);
    connect(&tokyo, &ny, Switches::PULL, Switches::PUSH).sync(&mut tokyo, &mut ny);
    assert_eq!(tokyo.notes.len(), 1, "a person is told once");
    la.publish("more", b"3");
    let (outcome, tally) = connect(&la, &ny, Switches::MIRROR, Switches::MIRROR).sync(&mut la, &mut ny);
    assert_eq!((outcome, la.forks.len()), (Outcome::Done, 1));
    assert_eq!(tally.ops_out, 0, "its author hears of it before it sends more");
    assert_eq!(names(&ny), ["before", "la"], "what came before it was noticed stays");
}

/// [P-53] [P-54] An author shows two faces at the two ends of a chain of four sites: wherever they meet, whichever way ops flow and in whatever
/// order the links run, all four hold the proof, their people are told once, and both machines of the author hear of it.
#[test]
fn the_proof_of_an_author_with_two_faces_reaches_every_site_of_a_chain() {
    for (down, orders) in [Switches::MIRROR, Switches::PULL, Switches::PUSH]
        .into_iter()
        .flat_map(|down| [(down, [0, 1, 2]), (down, [2, 1, 0]), (down, [1, 0, 2])])
    {
        let about = format!("{down}, links in order {orders:?}");
        let (ny, mut la, mut copy) = scene();
        let log = la.own_log();
        let mut chain = [ny, Site::new(3), Site::new(4), Site::new(5)];
        // The grant, by which all of them know the author.
        for at in 0..3 {
            meet(&mut chain, at, Switches::MIRROR);
        }
        la.publish("one face", b"1");
        copy.publish("other face", b"2");
        show(&mut la, &mut chain[0]);
        show(&mut copy, &mut chain[3]);
        assert!(chain.iter().all(|site| site.forks.is_empty()), "{about}: nobody saw both faces");
        // They meet in the first round, and what proves it goes over one link more in each, at the worst.
        for at in [orders; 3].into_iter().flatten() {
            meet(&mut chain, at, down);
        }
        show(&mut la, &mut chain[0]);
        show(&mut copy, &mut chain[3]);
        for site in chain.iter().chain([&la, &copy]) {
            assert_eq!(site.forks.iter().map(ForkProof::log).collect::<Vec<_>>(), [log], "{about}");
            assert_eq!(site.notes, [Event::Forked { log }], "{about}");
            assert!(site.closed.is_empty(), "{about}: {:?}", site.closed);
        }
    }
}

/// A run over the link from a site of a chain to the next. A site of these tests remembers one peer.
fn meet(chain: &mut [Site; 4], at: usize, asks: Switches) {
    let [one, next] = chain.get_disjoint_mut([at, at + 1]).unwrap();
    (one.memory, next.memory) = (Memory::default(), Memory::default());
    let (outcome, _) = connect(next, one, asks, asks.flip()).sync(next, one);
    assert_eq!(outcome, Outcome::Done);
}

/// An author meets a site, as if it had done so never before.
fn show(author: &mut Site, site: &mut Site) {
    (author.memory, site.memory) = (Memory::default(), Memory::default());
    let (outcome, _) = connect(author, site, Switches::MIRROR, Switches::MIRROR).sync(author, site);
    assert_eq!(outcome, Outcome::Done);
}

/// [P-48] What waits for a cut is not asked for by those who lack ops of it: their peer, which told of it before, tells of it no more.
#[test]
fn a_log_that_waits_is_asked_for_by_nobody_who_lacks_a_part_of_it() {
    let (mut ny, mut la, mut copy) = scene();
    let mut leaf = Site::new(3);
    ny.memory = Memory::default();
    let mut wire = connect(&leaf, &ny, Switches::PULL, Switches::MIRROR);
    assert_eq!(wire.sync(&mut leaf, &mut ny).0, Outcome::Done);
    let of_ny = std::mem::take(&mut leaf.memory);
    la.publish("more", b"1");
    la.delete("before");
    let adds = Switches::PULL.adds_only();
    connect(&leaf, &la, adds, adds.flip()).sync(&mut leaf, &mut la);
    assert_eq!(leaf.gaps(la.own_log()).len(), 1);
    ny.memory = Memory::default();
    la.memory = Memory::default();
    connect(&la, &ny, Switches::MIRROR, Switches::MIRROR).sync(&mut la, &mut ny);
    ny.memory = Memory::default();
    copy.publish("copy", b"2");
    connect(&copy, &ny, Switches::MIRROR, Switches::MIRROR).sync(&mut copy, &mut ny);
    assert_eq!(ny.forks.len(), 1);
    leaf.memory = of_ny;
    ny.memory = Memory::default();
    let (outcome, _) = connect(&leaf, &ny, Switches::PULL, Switches::MIRROR).sync(&mut leaf, &mut ny);
    assert_eq!((outcome, leaf.forks.len(), ny.closed.as_slice()), (Outcome::Done, 1, &[][..]));
}

/// An author that does not care sends on all the same: it is refused, by that reason.
#[test]
fn what_a_frozen_author_sends_on_is_refused_as_a_fork() {
    let (mut ny, mut la, mut copy) = scene();
    la.publish("la", b"1");
    connect(&la, &ny, Switches::MIRROR, Switches::MIRROR).sync(&mut la, &mut ny);
    copy.publish("copy", b"2");
    connect(&copy, &ny, Switches::MIRROR, Switches::MIRROR).sync(&mut copy, &mut ny);
    la.publish("more", b"3");
    la.deaf = true;
    let (outcome, tally) = connect(&la, &ny, Switches::MIRROR, Switches::MIRROR).sync(&mut la, &mut ny);
    assert_eq!((outcome, tally.refused_there.get(&Reason::Fork)), (Outcome::Done, Some(&1)));
    assert_eq!(names(&ny), ["before", "la"]);
}

/// [P-55] After the cut every site serves the same: what both histories had, and what the author says in its next epoch.
#[test]
fn a_cut_by_the_origin_lets_the_author_go_on_in_a_later_epoch() {
    let (mut ny, mut la, mut copy) = scene();
    la.publish("la", b"1");
    copy.publish("copy", b"2");
    copy.publish("copy-2", b"2");
    connect(&la, &ny, Switches::MIRROR, Switches::MIRROR).sync(&mut la, &mut ny);
    connect(&copy, &ny, Switches::MIRROR, Switches::MIRROR).sync(&mut copy, &mut ny);
    let log = la.own_log();
    ny.say(cut(&ny, log, 1));
    for (site, epoch) in [(&mut la, 2), (&mut copy, 1)] {
        connect(site, &ny, Switches::MIRROR, Switches::MIRROR).sync(site, &mut ny);
        site.epoch = epoch;
    }
    la.publish("after", b"4");
    connect(&la, &ny, Switches::MIRROR, Switches::MIRROR).sync(&mut la, &mut ny);
    let mut tokyo = Site::new(3);
    ny.memory = Memory::default();
    let mut wire = connect(&tokyo, &ny, Switches::PULL, Switches::PUSH);
    assert_eq!(wire.sync(&mut tokyo, &mut ny).0, Outcome::Done);
    let (outcome, tally) = wire.sync(&mut tokyo, &mut ny);
    assert_eq!((outcome, tally.round_trips), (Outcome::Done, 1), "the two agree on what travels");
    assert_eq!(names(&tokyo), ["after", "before"]);
    assert_eq!(names(&ny), ["after", "before"], "what lies behind the cut counts nowhere else");
    assert_eq!(tokyo.log(log).unwrap().len(), 1, "nor does it travel");
    // The copy goes on with the epoch that was cut.
    copy.deaf = true;
    copy.publish("copy-3", b"5");
    connect(&copy, &ny, Switches::MIRROR, Switches::MIRROR).sync(&mut copy, &mut ny);
    assert_eq!(names(&ny), ["after", "before"]);
}

/// [P-55] The peer takes the origin's log for known here, so that the log that was cut comes before the cut does: it is asked for again.
#[test]
fn a_log_that_was_refused_before_its_cut_came_is_asked_for_again() {
    let (mut ny, mut la, mut copy) = scene();
    la.publish("la", b"1");
    copy.publish("copy", b"2");
    connect(&la, &ny, Switches::MIRROR, Switches::MIRROR).sync(&mut la, &mut ny);
    connect(&copy, &ny, Switches::MIRROR, Switches::MIRROR).sync(&mut copy, &mut ny);
    let (log, origins, mut tokyo) = (la.own_log(), ny.own_log(), Site::new(3));
    // It heard of the proof elsewhere.
    tokyo.forks.clone_from(&ny.forks);
    ny.say(cut(&ny, log, 1));
    let told = Reach { len: ny.log(origins).unwrap().len(), root: [0; 32], gaps: 0 };
    ny.memory = Memory { known: None, heads: vec![(origins, told)] };
    let mut wire = connect(&tokyo, &ny, Switches::PULL, Switches::PUSH);
    let (outcome, tally) = wire.sync(&mut tokyo, &mut ny);
    assert_eq!((outcome, tally.refused.get(&Reason::Fork)), (Outcome::Done, Some(&1)));
    assert!(names(&tokyo).is_empty());
    assert_eq!(wire.sync(&mut tokyo, &mut ny).0, Outcome::Done);
    assert_eq!(names(&tokyo), ["before"]);
    let (_, tally) = wire.sync(&mut tokyo, &mut ny);
    assert_eq!((tally.refused.len(), tally.round_trips), (0, 1), "and nothing more");
}

/// [P-44] What was told before a lower cut was heard of is sent all the same: whoever knows of the cut takes no more of it, and whoever does not would
/// take this site for one that told what it has not.
#[test]
fn a_cut_that_is_heard_of_in_mid_run_makes_nobody_a_cheat() {
    for len in [0, 1, 2] {
        let (mut ny, mut la, _) = scene();
        let (log, mut tokyo) = (la.own_log(), Site::new(3));
        la.publish("told", b"1");
        connect(&la, &ny, Switches::MIRROR, Switches::MIRROR).sync(&mut la, &mut ny);
        ny.memory = Memory::default();
        let mut wire = connect(&tokyo, &ny, Switches::PULL, Switches::PUSH);
        wire.settle(&mut tokyo, &mut ny);
        wire.dialler.run(Instant(1), &tokyo);
        for frame in drain(&mut wire.dialler, &mut tokyo) {
            wire.listener.handle(Instant(1), WALL, Input::Control(&frame), &ny);
        }
        let told = drain(&mut wire.listener, &mut ny);
        // Two other sessions bring more of the log, and then the cut. A store gives what was said in several batches as one run.
        la.publish("more", b"2");
        let (_, more) = la.runs[&log].last().unwrap().clone();
        let (_, told_run) = ny.runs.get_mut(&log).unwrap().pop().unwrap();
        let mut run = told_run.to_batch();
        run.entries.extend(more.to_batch().entries);
        run.head = more.head().clone();
        let run = run.verify(&ny.log(log).unwrap()).unwrap();
        ny.append(Permitted::local(run, false).unwrap());
        ny.blobs.extend(la.blobs.clone());
        let said = if len == 0 {
            let Body::Cut(mut nothing) = cut(&la, log, 1) else { unreachable!() };
            nothing.tip.len = 0;
            Body::Cut(nothing)
        } else {
            cut(&la, log, len)
        };
        ny.say(said);
        for frame in told {
            wire.dialler.handle(Instant(1), WALL, Input::Control(&frame), &tokyo);
            drain(&mut wire.dialler, &mut tokyo);
        }
        let sent: Vec<_> = std::iter::from_fn(|| wire.listener.poll_ops(&ny)).take(100).collect();
        assert!(sent.len() < 10, "cut at {len}: it sends without end");
        for frame in sent {
            wire.dialler.handle(Instant(1), WALL, Input::Ops(&frame), &tokyo);
            for frame in drain(&mut wire.dialler, &mut tokyo) {
                wire.listener.handle(Instant(1), WALL, Input::Control(&frame), &ny);
            }
        }
        wire.settle(&mut tokyo, &mut ny);
        assert_eq!((tokyo.closed.as_slice(), ny.closed.as_slice()), (&[][..], &[][..]), "cut at {len}");
        assert_eq!(tokyo.ended.last().map(|(outcome, _)| *outcome), Some(Outcome::Done), "cut at {len}");
        ny.memory = Memory::default();
        let (outcome, _) = wire.sync(&mut tokyo, &mut ny);
        assert_eq!(outcome, Outcome::Done, "cut at {len}");
        assert_eq!(names(&tokyo), names(&ny), "cut at {len}");
    }
}

/// [P-55] Where two histories are as long the origin knows of the other one's end alone, and its cut may lie behind the place where they part.
/// Then that is proved in turn, whichever way ops flow, people hear that the log is open again, and a lower cut resolves it.
#[test]
fn a_cut_behind_the_place_where_histories_part_is_proved_wrong_and_told() {
    for (asks, allows) in [(Switches::PULL, Switches::PUSH), (Switches::PUSH, Switches::PULL)] {
        let (mut ny, mut la, mut copy) = scene();
        let log = la.own_log();
        for n in 0..2 {
            la.publish(&format!("la-{n}"), b"1");
            copy.publish(&format!("copy-{n}"), b"2");
        }
        connect(&la, &ny, Switches::MIRROR, Switches::MIRROR).sync(&mut la, &mut ny);
        let meet = |copy: &mut Site, ny: &mut Site| {
            for _ in 0..2 {
                let (outcome, _) = connect(copy, ny, asks, allows).sync(copy, ny);
                assert_eq!(outcome, Outcome::Done, "{asks}");
            }
        };
        meet(&mut copy, &mut ny);
        assert_eq!(ny.forks.iter().map(ForkProof::len).collect::<Vec<_>>(), [3], "{asks}");
        ny.say(cut(&ny, log, 2));
        ny.notes.clear();
        copy.notes.clear();
        meet(&mut copy, &mut ny);
        for site in [&ny, &copy] {
            assert_eq!(site.forks.iter().map(ForkProof::len).min(), Some(2), "{asks}");
            assert_eq!(site.notes, [Event::Forked { log }], "{asks}");
        }
        ny.say(cut(&ny, log, 1));
        ny.notes.clear();
        meet(&mut copy, &mut ny);
        assert_eq!((names(&ny), ny.notes.len()), (vec!["before".to_owned()], 0), "{asks}");
    }
}

/// [P-55] A cut counts only if an origin says it and the author signed that state: else a site could cut others off.
#[test]
fn nobody_else_cuts_a_log_and_not_at_a_made_up_state() {
    let (mut ny, mut la, _) = scene();
    let log = ny.own_log();
    connect(&la, &ny, Switches::MIRROR, Switches::MIRROR).sync(&mut la, &mut ny);
    la.say(cut(&la, log, 1));
    assert_eq!(la.authority.cut(log), None);
    let Body::Cut(mut forged) = cut(&ny, log, 1) else { unreachable!() };
    forged.tip.len = 0;
    ny.say(Body::Cut(forged.clone()));
    assert_eq!(
        ny.authority.cut(log).map(|cut| cut.len()),
        Some(0),
        "none of it may be said without a signature"
    );
    let (mut other, _, _) = scene();
    forged.tip.len = 3;
    other.say(Body::Cut(forged));
    assert_eq!(other.authority.cut(log), None);
}

/// A peer that floods with proofs, or shows what proves nothing, is named.
#[test]
fn evidence_that_proves_nothing_or_comes_in_floods_ends_the_session() {
    let (mut ny, mut la, mut copy) = scene();
    la.publish("la", b"1");
    copy.publish("copy", b"2");
    connect(&la, &ny, Switches::MIRROR, Switches::MIRROR).sync(&mut la, &mut ny);
    connect(&copy, &ny, Switches::MIRROR, Switches::MIRROR).sync(&mut copy, &mut ny);
    let good = ny.forks[0].fork().clone();
    let mut forged = good.clone();
    forged.other = forged.one.clone();
    let head = good.one;
    let mut unsigned = head.clone();
    unsigned.head.len += 1;
    let mut elsewhere = head.head;
    elsewhere.log.feed = FeedId([9; 32]);
    let elsewhere = elsewhere.sign(&la.key);
    let cases = [
        (vec![crate::frame::Forks { heads: vec![], forks: vec![forged] }], Misbehaved::BatchInvalid),
        (vec![crate::frame::Forks { heads: vec![unsigned], forks: vec![] }], Misbehaved::BatchInvalid),
        (vec![crate::frame::Forks { heads: vec![elsewhere], forks: vec![] }], Misbehaved::FeedNotAgreed),
        (
            vec![crate::frame::Forks { heads: vec![head.clone(); 16], forks: vec![] }; 65],
            Misbehaved::WantsFlooded,
        ),
        (vec![crate::frame::Forks { heads: vec![head; 17], forks: vec![] }], Misbehaved::WantsFlooded),
    ];
    for (frames, fault) in cases {
        let mut wire = connect(&la, &ny, Switches::MIRROR, Switches::MIRROR);
        wire.settle(&mut la, &mut ny);
        for frame in frames {
            let bytes = Frame::Forks(frame).encode();
            wire.listener.handle(Instant(1), WALL, Input::Control(&bytes), &ny);
        }
        let mut closed = None;
        while let Some(output) = wire.listener.poll() {
            if let Output::Close(outcome) = output {
                closed = Some(outcome);
            }
        }
        assert_eq!(closed, Some(Outcome::Misbehaved(fault)));
    }
}
