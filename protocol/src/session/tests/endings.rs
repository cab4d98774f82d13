//! How a session ends: refused in the handshake, broken off for a rule, given up, or short of disk.

use super::*;

fn refused(dialler: &Site, listener: &Site, asks: Switches, change: impl FnOnce(&mut Config)) -> Outcome {
    let mut listening = config(Side::Listener, listener, dialler, Switches::PUSH);
    change(&mut listening);
    let mut wire = connect(dialler, listener, asks, Switches::PUSH);
    wire.listener = Session::new(listening, Instant(0), WALL);
    let (mut one, mut two) = (Site::new(9), Site::new(8));
    wire.settle(&mut one, &mut two);
    assert!(wire.dialler.is_closed() && wire.listener.is_closed());
    let mut session = connect(dialler, listener, asks, Switches::PUSH).dialler;
    let frame = greeting_refusal(dialler, listener, asks, &wire.listener.config);
    session.handle(Instant(1), WALL, Input::Control(&frame), &one);
    closed_with(&mut session)
}

fn greeting_refusal(dialler: &Site, listener: &Site, asks: Switches, listening: &Config) -> Vec<u8> {
    let asking = config(Side::Dialler, dialler, listener, asks);
    let hello = greeting::hello(&asking, WALL);
    match greeting::welcome(listening, &hello, WALL) {
        Err(Stop::Refused(reason)) | Ok((_, Err(reason))) => Frame::Refuse(reason).encode(),
        other => panic!("not refused: {other:?}"),
    }
}

/// [P-12] Every cause that makes a link invalid is told in the handshake, before any op moves.
#[test]
fn a_link_that_cannot_work_is_refused_with_the_reason_at_both_ends() {
    let (one, two) = (Site::new(1), Site::new(2));
    let check = |asks, change: fn(&mut Config), reason| {
        assert_eq!(refused(&one, &two, asks, change), Outcome::Refused(reason));
    };
    check(Switches::PUSH, |_| {}, Reason::NothingAllowed);
    check(Switches::OFF, |_| {}, Reason::NothingAsked);
    check(Switches::PULL, |config| config.refuses = Some(Reason::LinkPaused), Reason::LinkPaused);
    check(Switches::PULL, |config| config.refuses = Some(Reason::OutsideWindow), Reason::OutsideWindow);
    check(Switches::PULL, |config| config.terms[0].expires = Some(WALL), Reason::GrantExpired);
    check(Switches::PULL, |config| config.terms[0].filter.latest = Some(0), Reason::FiltersApart);
    check(Switches::PULL, |config| config.terms.clear(), Reason::FeedUnknown);
    check(Switches::PULL, |config| config.terms[0].kind = FeedKind::Npm, Reason::KindDiffers);
    check(Switches::PULL, |config| config.peer = config.me, Reason::SameSite);
}

/// [P-12] Where it is a matter of the feeds' terms, both ends learn the other's all the same.
#[test]
fn a_refused_link_tells_both_ends_what_the_other_states() {
    let (one, two) = (Site::new(1), Site::new(2));
    let mut wire = connect(&one, &two, Switches::PUSH, Switches::PUSH);
    let stated = |session: &mut Session| {
        let mut sent = Vec::new();
        let mut stated = Vec::new();
        while let Some(output) = session.poll() {
            if let Output::Stated(said) = output {
                stated = said;
            } else if let Output::Send(frame) = output {
                sent.push(frame);
            }
        }
        (sent, stated.into_iter().filter_map(|on| on.said.ok()).map(|said| said.switches).collect::<Vec<_>>())
    };
    let (hello, _) = stated(&mut wire.dialler);
    wire.listener.handle(Instant(1), WALL, Input::Control(&hello[0]), &two);
    let (answers, asked) = stated(&mut wire.listener);
    assert_eq!(asked, [Switches::PUSH]);
    assert!(wire.listener.is_closed());
    wire.dialler.handle(Instant(1), WALL, Input::Control(&answers[0]), &one);
    let (_, allowed) = stated(&mut wire.dialler);
    assert_eq!(allowed, [Switches::PULL], "in the dialler's terms");
    assert!(wire.dialler.is_closed());
}

/// [P-12] A grant that ends while the session stands is noticed at the next poll.
#[test]
fn a_grant_that_ends_meanwhile_ends_the_session() {
    let (mut one, mut two) = (Site::new(1), Site::new(2));
    let mut wire = connect(&one, &two, Switches::PULL, Switches::PUSH);
    let mut listening = config(Side::Listener, &two, &one, Switches::PUSH);
    let over = Timestamp(WALL.0 + 10);
    listening.terms[0].expires = Some(over);
    wire.listener = Session::new(listening, Instant(0), WALL);
    wire.settle(&mut one, &mut two);
    assert!(wire.listener.agreed().is_some(), "not yet over");
    wire.dialler.run(Instant(1), &one);
    let poll = drain(&mut wire.dialler, &mut one);
    wire.listener.handle(Instant(2), over, Input::Control(&poll[0]), &two);
    assert_eq!(closed_with(&mut wire.listener), Outcome::Refused(Reason::GrantExpired));
}

#[test]
fn versions_that_do_not_meet_are_refused() {
    let (one, two) = (Site::new(1), Site::new(2));
    let mut hello = greeting::hello(&config(Side::Dialler, &one, &two, Switches::PULL), WALL);
    hello.version_min = 2;
    hello.version_max = 7;
    let listening = config(Side::Listener, &two, &one, Switches::PUSH);
    assert_eq!(greeting::welcome(&listening, &hello, WALL), Err(Stop::Refused(Reason::VersionsApart)));
}

/// Every frame a peer may send at the wrong time or in the wrong form ends the session with its name and changes nothing.
#[test]
fn a_peer_that_breaks_the_rules_is_named() {
    let (mut ny, mut la) = (Site::new(1), Site::new(2));
    ny.publish("a", b"a");
    let up = |ny: &mut Site, la: &mut Site| {
        let mut wire = connect(la, ny, Switches::PULL, Switches::PUSH);
        wire.settle(la, ny);
        wire.listener
    };
    let ops = |batch: Batch| OpsFrame::Ops(batch).encode();
    let pushed = ops(ny.run(ny.own_log(), 0, 0).unwrap().unwrap());
    let small = Piece::Small { blob: BlobId([0; 32]), bytes: vec![] }.encode();
    let flood =
        vec![crate::transfer::Ask::Small { blob: BlobId([0; 32]) }; crate::limits::WANTED_ITEMS_MAX + 1];
    let cases: Vec<(Input<'_>, Misbehaved)> = vec![
        (Input::Control(&[]), Misbehaved::FrameMalformed),
        (Input::Control(&[0xff]), Misbehaved::FrameUnknown),
        (Input::Control(&[0x10, 9]), Misbehaved::FrameMalformed),
        (Input::Control(&[0x1c, 0, 0]), Misbehaved::FrameMalformed),
        (Input::Broken(Misbehaved::FrameTooLong), Misbehaved::FrameTooLong),
        (Input::Broken(Misbehaved::FrameTruncated), Misbehaved::FrameTruncated),
        (Input::Ops(&pushed), Misbehaved::FrameUnexpected),
        (Input::Piece(&small), Misbehaved::BytesUnasked),
    ];
    for (input, fault) in cases {
        let mut listener = up(&mut ny, &mut la);
        listener.handle(Instant(1), WALL, input, &ny);
        assert_eq!(closed_with(&mut listener), Outcome::Misbehaved(fault));
    }
    let mut listener = up(&mut ny, &mut la);
    let finished = Frame::Finished { missing: 0 }.encode();
    listener.handle(Instant(1), WALL, Input::Control(&finished), &ny);
    assert_eq!(closed_with(&mut listener), Outcome::Misbehaved(Misbehaved::FrameUnexpected));
    assert_eq!(Frame::decode(&Frame::Want(flood).encode()), Err(Misbehaved::WantsFlooded));
}

pub(super) fn closed_with(session: &mut Session) -> Outcome {
    let close = std::iter::from_fn(|| session.poll()).find_map(|output| {
        let Output::Close(outcome) = output else { return None };
        Some(outcome)
    });
    close.expect("the session closed")
}

#[test]
fn a_silent_peer_is_given_up_and_called_a_cheat_only_in_a_run() {
    let (one, two) = (Site::new(1), Site::new(2));
    let mut session = connect(&one, &two, Switches::PULL, Switches::PUSH).listener;
    session.handle(Instant(HELLO_MS_MAX - 1), WALL, Input::Tick, &two);
    assert!(!session.is_closed());
    session.handle(Instant(HELLO_MS_MAX), WALL, Input::Tick, &two);
    assert_eq!(closed_with(&mut session), Outcome::Interrupted);
    let (mut one, mut two) = (Site::new(1), Site::new(2));
    let mut wire = connect(&one, &two, Switches::PULL, Switches::PUSH);
    wire.settle(&mut one, &mut two);
    let mut session = wire.dialler;
    session.run(Instant(1), &one);
    while session.poll().is_some() {}
    session.handle(Instant(1 + PROGRESS_MS_MAX), WALL, Input::Tick, &one);
    assert_eq!(closed_with(&mut session), Outcome::Misbehaved(Misbehaved::Stalled));
}

#[test]
fn a_full_disk_ends_the_run_with_its_reason() {
    let (mut ny, mut la) = (Site::new(1), Site::new(2));
    let mut wire = connect(&la, &ny, Switches::PULL, Switches::PUSH);
    wire.settle(&mut la, &mut ny);
    wire.dialler.handle(Instant(1), WALL, Input::Refused(Reason::DiskFull), &la);
    assert_eq!(closed_with(&mut wire.dialler), Outcome::Refused(Reason::DiskFull));
}

/// Damage takes a feed's record while its ops come: no peer is called a cheat for that.
#[test]
fn a_feed_whose_record_goes_in_a_run_is_its_own_sites_fault() {
    let (mut ny, mut la) = (Site::new(1), Site::new(2));
    let mut wire = connect(&la, &ny, Switches::PULL, Switches::PUSH);
    assert_eq!(wire.sync(&mut la, &mut ny).0, Outcome::Done);
    ny.publish("one", b"one");
    la.forgot = true;
    wire.settle(&mut la, &mut ny);
    wire.dialler.run(Instant(1), &la);
    wire.settle(&mut la, &mut ny);
    assert_eq!(la.closed, [Outcome::Fault]);
}

#[test]
fn the_listener_can_ask_for_a_run() {
    let (mut ny, mut la) = (Site::new(1), Site::new(2));
    let mut wire = connect(&la, &ny, Switches::PULL, Switches::PUSH);
    wire.settle(&mut la, &mut ny);
    wire.listener.run(Instant(1), &ny);
    let Some(Output::Send(frame)) = wire.listener.poll() else { panic!("a nudge") };
    wire.dialler.handle(Instant(1), WALL, Input::Control(&frame), &la);
    assert!(matches!(wire.dialler.poll(), Some(Output::Nudged { asked: true })));
}

/// Damage took the end of a log while a connection stood. The peer has nothing new, and brings again what is lost.
#[test]
fn a_log_that_was_set_back_comes_again_over_the_same_connection() {
    let (mut ny, mut la) = (Site::new(1), Site::new(2));
    ny.publish("a", b"a");
    ny.publish("b", b"b");
    let mut wire = connect(&la, &ny, Switches::PULL, Switches::MIRROR);
    wire.sync(&mut la, &mut ny);
    let log = ny.own_log();
    for left in [1, 0] {
        la.runs.entry(log).or_default().truncate(left);
        la.runs.retain(|_, runs| !runs.is_empty());
        wire.sync(&mut la, &mut ny);
        assert_eq!(la.log(log).unwrap(), ny.log(log).unwrap());
    }
    let (outcome, tally) = wire.sync(&mut la, &mut ny);
    assert_eq!((outcome, tally.ops_in), (Outcome::Done, 0));
}

/// What was told and rotted before it was sent ends the run by the fault of the site that lost it: nobody is called a cheat.
#[test]
fn a_log_that_rots_once_it_was_told_ends_the_run_by_its_own_sites_fault() {
    let (mut hub, mut shop) = (Site::new(1), Site::new(2));
    hub.publish("one", b"one");
    let mut wire = connect(&shop, &hub, Switches::PULL, Switches::MIRROR);
    assert_eq!(wire.sync(&mut shop, &mut hub).0, Outcome::Done);
    hub.publish("two", b"two");
    wire.dialler.run(Instant(1), &shop);
    for frame in drain(&mut wire.dialler, &mut shop) {
        wire.listener.handle(Instant(1), WALL, Input::Control(&frame), &hub);
    }
    let told = drain(&mut wire.listener, &mut hub);
    assert!(!told.is_empty() && wire.listener.is_running());
    hub.runs.get_mut(&hub.own_log()).unwrap().pop();
    for frame in told {
        wire.dialler.handle(Instant(1), WALL, Input::Control(&frame), &shop);
    }
    wire.settle(&mut shop, &mut hub);
    assert_eq!(hub.closed, [Outcome::Fault]);
    let breach = |outcome: &Outcome| matches!(outcome, Outcome::Misbehaved(_));
    assert!(!shop.closed.iter().any(breach) && !shop.ended.iter().any(|(outcome, _)| breach(outcome)));
}
