//! What a peer may try over real QUIC, and what an honest site makes of it: the breach is named, nothing of it is kept, others go on.

use protocol::fault::{Misbehaved, Outcome, Reason};
use protocol::frame::{Frame, OpsFrame, Piece, Polled, Supply};
use protocol::id::FeedId;
use protocol::log::Batch;
use protocol::reconcile::answer;
use protocol::switches::Switches;
use protocol::transfer::Ask;
use simulations::cheat::Rig;
use simulations::forgery::{
    MALFORMED, TOO_LONG, UNKNOWN, blob, changed, delete, foreign, garbled, heads_without_end,
    log_without_end, note, publish, ranges_without_end, shortened, unasked, wants_without_end,
};
use simulations::net::SECOND;
use simulations::options::{Fault, Layer, Options};
use simulations::world::play;

const YEAR_MS: u64 = 365 * 24 * 3_600_000;

/// What the honest site keeps of it.
#[derive(Debug, PartialEq, Eq)]
enum Kept {
    /// Nothing at all: the same root, the same logs.
    Nothing,
    /// Ops that are in order; what was wrong came after.
    Ops,
}

struct Case {
    name: &'static str,
    /// What the honest site lets flow on the link, in its own terms.
    allow: Switches,
    /// Whether the cheat may write in the feed.
    author: bool,
    act: fn(&mut Rig),
    ends: Ends,
    kept: Kept,
}

#[derive(Debug, Clone, Copy)]
enum Ends {
    /// The session ends, and the breach has a name.
    By(Misbehaved),
    /// The run goes well, and its record counts what was not taken and why.
    Refusing(Reason),
    /// The run goes well, and what was sent makes no difference.
    Done,
    /// The run goes well, and the fork is told to a person.
    Forked,
}

/// A package whose bytes the cheat has, pushed as it should be. The honest site asks for the bytes next.
fn push_honestly(rig: &mut Rig, name: &str, bytes: &[u8]) {
    rig.begin();
    let batch = rig.batch(vec![publish(name, bytes)], 0, true);
    rig.push(&batch);
    assert!(
        rig.heard(|frame| matches!(frame, Frame::Applied(_)).then_some(())).is_some(),
        "ops are taken in"
    );
}

fn push_whole(rig: &mut Rig, name: &str, bytes: &[u8]) {
    push_honestly(rig, name, bytes);
    rig.piece(&Piece::Small { blob: blob(bytes), bytes: bytes.to_vec() });
    rig.pass(2 * SECOND);
}

fn deliver(rig: &mut Rig, batch: Batch) {
    rig.begin();
    rig.push(&batch);
    rig.pass(2 * SECOND);
}

const ADDS: Switches = Switches { in_add: true, in_delete: false, out_add: true, out_delete: true };

#[rustfmt::skip]
const CASES: [Case; 27] = [
    Case { name: "pushes without a grant: heads it may not tell of", allow: Switches::PUSH, author: true, ends: Ends::By(Misbehaved::FeedNotAgreed), kept: Kept::Nothing,
        act: |rig| { let batch = rig.batch(vec![publish("a", b"a")], 0, true); rig.begin_pulling(); rig.push(&batch); } },
    Case { name: "pushes without a grant: ops that it did not tell of", allow: Switches::PUSH, author: true, ends: Ends::By(Misbehaved::OpsNotPermitted), kept: Kept::Nothing,
        act: |rig| { let batch = rig.batch(vec![publish("a", b"a")], 0, true); rig.begin_pulling(); rig.supply(vec![]); rig.ops(&OpsFrame::Ops(batch)); } },
    Case { name: "pushes ops outside of any run", allow: Switches::MIRROR, author: true, ends: Ends::By(Misbehaved::FrameUnexpected), kept: Kept::Nothing,
        act: |rig| { let batch = rig.batch(vec![publish("a", b"a")], 0, true); rig.dial(); rig.hello("Cheat"); rig.ops(&OpsFrame::Ops(batch)); } },
    Case { name: "deletes where only additions are allowed", allow: ADDS, author: true, ends: Ends::By(Misbehaved::OpsNotPermitted), kept: Kept::Nothing,
        act: |rig| { let batch = rig.batch(vec![delete("honest")], 0, true); deliver(rig, batch); } },
    Case { name: "replays an old batch", allow: Switches::MIRROR, author: true, ends: Ends::Done, kept: Kept::Ops,
        act: |rig| { rig.begin(); let batch = rig.batch(vec![publish("a", b"a")], 0, true); rig.push(&batch);
            rig.piece(&Piece::Small { blob: blob(b"a"), bytes: b"a".to_vec() }); rig.pass(2 * SECOND); deliver(rig, batch); } },
    Case { name: "forks its log: two heads of one length", allow: Switches::MIRROR, author: true, ends: Ends::Forked, kept: Kept::Ops,
        act: |rig| { push_whole(rig, "a", b"a"); let other = rig.first_batch(vec![publish("b", b"b")]); deliver(rig, other); } },
    Case { name: "forks its log: a longer history over another beginning", allow: Switches::MIRROR, author: true, ends: Ends::Forked, kept: Kept::Ops,
        act: |rig| { push_whole(rig, "a", b"a"); let other = rig.first_batch(vec![publish("b", b"b"), publish("c", b"c")]); deliver(rig, other); } },
    Case { name: "tells a root that its heads do not add up to", allow: Switches::MIRROR, author: true, ends: Ends::By(Misbehaved::RootContradicted), kept: Kept::Ops,
        act: |rig| { let batch = rig.batch(vec![publish("a", b"a")], 0, true); rig.begin();
            rig.supply_under(vec![note(&batch)], [3; 32]); rig.ops(&OpsFrame::Ops(batch.clone())); rig.ops(&OpsFrame::End);
            let mut set = rig.set_of(&[note(&batch)]);
            while let Some(asked) = rig.heard(|frame| if let Frame::Questions(asked) = frame { Some(asked.clone()) } else { None }) {
                let answers = answer(&mut set, &asked).expect("honest questions"); rig.say(&Frame::Answers(answers)); } } },
    Case { name: "tells a longer log than it has", allow: Switches::MIRROR, author: true, ends: Ends::By(Misbehaved::RootContradicted), kept: Kept::Ops,
        act: |rig| { let batch = rig.batch(vec![publish("a", b"a")], 0, true); rig.begin();
            let mut note = note(&batch); note.reach.len = 10; rig.supply(vec![note]);
            rig.ops(&OpsFrame::Ops(batch)); rig.ops(&OpsFrame::End); rig.ops(&OpsFrame::End); } },
    Case { name: "sends an op of another feed", allow: Switches::MIRROR, author: true, ends: Ends::By(Misbehaved::FeedNotAgreed), kept: Kept::Nothing,
        act: |rig| { rig.begin(); rig.supply(vec![]); rig.ops(&OpsFrame::Ops(foreign(FeedId([5; 32])))) } },
    Case { name: "relays an author without rights", allow: Switches::MIRROR, author: true, ends: Ends::Refusing(Reason::AuthorNotAllowed), kept: Kept::Nothing,
        act: |rig| { let batch = foreign(rig.feed()); deliver(rig, batch); } },
    Case { name: "writes without rights", allow: Switches::MIRROR, author: false, ends: Ends::Refusing(Reason::AuthorNotAllowed), kept: Kept::Nothing,
        act: |rig| { let batch = rig.batch(vec![delete("honest")], 0, true); deliver(rig, batch); } },
    Case { name: "changes an op under a signature", allow: Switches::MIRROR, author: true, ends: Ends::By(Misbehaved::BatchInvalid), kept: Kept::Nothing,
        act: |rig| { let batch = rig.batch(vec![publish("a", b"a")], 0, true); deliver(rig, changed(batch)); } },
    Case { name: "leaves an op out of a batch", allow: Switches::MIRROR, author: true, ends: Ends::By(Misbehaved::BatchInvalid), kept: Kept::Nothing,
        act: |rig| { let batch = rig.batch(vec![publish("a", b"a"), delete("a")], 0, true); deliver(rig, shortened(batch)); } },
    Case { name: "sends an op that is no op", allow: Switches::MIRROR, author: true, ends: Ends::By(Misbehaved::BatchInvalid), kept: Kept::Nothing,
        act: |rig| { let batch = rig.batch(vec![publish("a", b"a")], 0, true); deliver(rig, garbled(batch)); } },
    Case { name: "stamps an op a year ahead", allow: Switches::MIRROR, author: true, ends: Ends::Done, kept: Kept::Ops,
        act: |rig| { rig.begin(); let batch = rig.batch(vec![delete("honest")], YEAR_MS, true); rig.push(&batch); rig.pass(2 * SECOND); } },
    Case { name: "sends other bytes than were asked for", allow: Switches::MIRROR, author: true, ends: Ends::By(Misbehaved::BytesWrong), kept: Kept::Ops,
        act: |rig| { push_honestly(rig, "a", b"right"); rig.piece(&Piece::Small { blob: blob(b"right"), bytes: b"wrong".to_vec() }); } },
    Case { name: "sends bytes that nobody asked for", allow: Switches::MIRROR, author: true, ends: Ends::By(Misbehaved::BytesUnasked), kept: Kept::Ops,
        act: |rig| { push_honestly(rig, "a", b"right"); rig.piece(&Piece::Small { blob: blob(b"other"), bytes: b"other".to_vec() }); } },
    Case { name: "floods ranges", allow: Switches::MIRROR, author: true, ends: Ends::By(Misbehaved::RangesFlooded), kept: Kept::Nothing,
        act: |rig| { rig.begin(); for frame in ranges_without_end() { rig.say(&frame) } } },
    Case { name: "asks for heads without end", allow: Switches::MIRROR, author: true, ends: Ends::By(Misbehaved::RangesFlooded), kept: Kept::Nothing,
        act: |rig| { rig.begin(); rig.say(&heads_without_end()) } },
    Case { name: "asks for one log again and again", allow: Switches::MIRROR, author: true, ends: Ends::By(Misbehaved::WantsFlooded), kept: Kept::Nothing,
        act: |rig| { rig.begin(); let author = rig.honest().id(); rig.say(&log_without_end(author)) } },
    Case { name: "floods wants", allow: Switches::MIRROR, author: true, ends: Ends::By(Misbehaved::WantsFlooded), kept: Kept::Nothing,
        act: |rig| { rig.begin(); rig.say(&wants_without_end()) } },
    Case { name: "announces a frame over the limit", allow: Switches::MIRROR, author: true, ends: Ends::By(Misbehaved::FrameTooLong), kept: Kept::Nothing,
        act: |rig| { rig.begin(); rig.control_bytes(&TOO_LONG); } },
    Case { name: "sends a frame that does not decode", allow: Switches::MIRROR, author: true, ends: Ends::By(Misbehaved::FrameMalformed), kept: Kept::Nothing,
        act: |rig| { rig.begin(); rig.control_frame(&MALFORMED); } },
    Case { name: "sends a frame of no known type", allow: Switches::MIRROR, author: true, ends: Ends::By(Misbehaved::FrameUnknown), kept: Kept::Nothing,
        act: |rig| { rig.begin(); rig.control_frame(&UNKNOWN); } },
    Case { name: "answers what was not asked", allow: Switches::MIRROR, author: true, ends: Ends::By(Misbehaved::FrameUnexpected), kept: Kept::Nothing,
        act: |rig| { rig.dial(); rig.say(&unasked(0, &[])); } },
    Case { name: "opens a run and says nothing more", allow: Switches::MIRROR, author: true, ends: Ends::By(Misbehaved::Stalled), kept: Kept::Nothing,
        act: |rig| { rig.begin(); rig.pass(70 * SECOND); } },
];

#[test]
fn every_cheat_is_named_and_changes_nothing_and_others_go_on() {
    for case in CASES {
        let mut rig = Rig::new(case.allow, case.author);
        let before = rig.state();
        (case.act)(&mut rig);
        rig.pass(2 * SECOND);
        let honest = rig.honest();
        let (ended, closed) = (honest.ended.last(), honest.closed.last());
        let about = format!("{}: {ended:?}, {closed:?}", case.name);
        match case.ends {
            Ends::By(fault) => {
                assert_eq!(closed, Some(&Outcome::Misbehaved(fault)), "{about}");
                let record = ended.map(|(outcome, _)| *outcome);
                assert!(record.is_none_or(|outcome| outcome == Outcome::Misbehaved(fault)), "{about}");
            }
            Ends::Refusing(reason) => {
                let (outcome, tally) = ended.expect("the run has a record");
                assert_eq!((*outcome, tally.refused.contains_key(&reason)), (Outcome::Done, true), "{about}");
            }
            Ends::Done => assert_eq!(ended.map(|(outcome, _)| *outcome), Some(Outcome::Done), "{about}"),
            Ends::Forked => {
                assert_eq!(ended.map(|(outcome, _)| *outcome), Some(Outcome::Done), "{about}");
                assert_eq!(honest.forks.len(), 1, "{about}");
            }
        }
        if case.kept == Kept::Nothing {
            assert_eq!(before, rig.state(), "{about}");
        }
        let item = rig.honest().item(100 * SECOND, rig.feed(), "honest").unwrap();
        assert!(item.winner.is_some(), "{}: what was there is served", case.name);
        assert!(rig.others_go_on(), "{}: the others go on", case.name);
    }
}

/// The cheat of the worlds: everything else goes wrong beside it.
#[test]
fn a_peer_that_keeps_no_rules_harms_nobody_while_all_else_goes_wrong() {
    let admits = |options: &Options| options.faults.iter().any(|fault| matches!(fault, Fault::Cheat { .. }));
    let seeds = (0..200).map(|seed| Options::over(Layer::Pipes, seed, None));
    let with: Vec<Options> = seeds.filter(admits).take(12).collect();
    assert_eq!(with.len(), 12);
    for options in with {
        let without = options.clone().without_cheat();
        assert!(without.acts.len() < options.acts.len() && !admits(&without));
        play(options.clone()).unwrap_or_else(|broken| panic!("{broken}\n{options}"));
    }
}

/// A site that was shown two histories keeps the one it has.
#[test]
fn of_a_forked_log_the_history_that_came_first_stays() {
    let mut rig = Rig::new(Switches::MIRROR, true);
    push_whole(&mut rig, "a", b"a");
    let before = rig.state();
    let other = rig.first_batch(vec![publish("b", b"b"), publish("c", b"c")]);
    deliver(&mut rig, other);
    assert_eq!(before, rig.state());
}

/// What does not flow to a peer it does not get, whatever it asks for: no head, no op, no byte.
#[test]
fn knowing_a_hash_is_no_right_to_the_bytes() {
    let mut rig = Rig::new(Switches::PULL, true);
    rig.begin_pulling();
    let supply =
        rig.heard(|frame| if let Frame::Polled(polled) = frame { Some(polled.supply.clone()) } else { None });
    let told = match supply.expect("an answer to the poll") {
        Supply::Nothing | Supply::Same => 0,
        Supply::Since { heads, .. } => heads.len(),
        Supply::Ranges { .. } => usize::MAX,
    };
    assert_eq!(told, 0);
    let ask = Ask::Small { blob: blob(b"work") };
    rig.say(&Frame::Want(vec![ask]));
    let refused = rig.heard(|frame| if let Frame::NotHave(asks) = frame { Some(asks.clone()) } else { None });
    assert_eq!(refused, Some(vec![ask]));
}

/// The honest site dials. It believes a listener no more than a dialler.
#[test]
fn a_listener_that_keeps_no_rules_is_named_too() {
    let cases: [(&str, Misbehaved, fn(&mut Rig)); 4] = [
        ("welcomes more feeds than were asked for", Misbehaved::FrameMalformed, |rig| rig.welcome(2)),
        ("answers before it welcomes", Misbehaved::FrameUnexpected, |rig| {
            rig.say(&Frame::Nudge { asked: true });
        }),
        ("answers a poll twice", Misbehaved::FrameUnexpected, |rig| {
            rig.welcome(1);
            rig.say(&Frame::Polled(Polled { supply: Supply::Nothing, pull: None }));
            rig.say(&Frame::Polled(Polled { supply: Supply::Nothing, pull: None }));
        }),
        ("welcomes and then says nothing", Misbehaved::Stalled, |rig| {
            rig.welcome(1);
            rig.pass(70 * SECOND);
        }),
    ];
    for (name, fault, act) in cases {
        let mut rig = Rig::new(Switches::OFF, true);
        let before = rig.state();
        rig.be_dialled(Switches::MIRROR);
        act(&mut rig);
        rig.pass(SECOND);
        assert_eq!(rig.honest().closed.last(), Some(&Outcome::Misbehaved(fault)), "{name}");
        assert_eq!(before, rig.state(), "{name}");
        assert!(rig.others_go_on(), "{name}: the others go on");
    }
}

/// It may have been killed.
#[test]
fn a_listener_that_never_welcomes_is_given_up_and_not_blamed() {
    let mut rig = Rig::new(Switches::OFF, true);
    let before = rig.state();
    rig.be_dialled(Switches::MIRROR);
    rig.pass(7 * SECOND);
    assert_eq!(rig.honest().closed.last(), Some(&Outcome::Interrupted));
    assert_eq!(before, rig.state());
    assert!(rig.others_go_on());
}
