//! Every frame of the control stream there and back, and what is refused.

use super::*;
use crate::log::{Entry, Head};
use crate::signature::Signature;

const FEED: FeedId = FeedId([3; 32]);

fn hello(filter: Filter) -> Frame {
    let ask = FeedAsk { feed: FEED, kind: FeedKind::Raw, ask: Switches::PULL, filter };
    Frame::Hello(Hello {
        version_min: 1,
        version_max: 1,
        store: StoreId([1; 8]),
        name: "Tokyo".to_owned(),
        now: Timestamp(7),
        feeds: vec![ask],
        new_feeds: Openness { offers: false, takes: true },
        twins: vec![(0, Switches::PUSH)],
        succession: Succession::NONE,
    })
}

fn offered(name: &str) -> Offered {
    let genesis = Genesis {
        kind: FeedKind::Raw,
        name: "tools".to_owned(),
        origin: SiteId([1; 32]),
        second_origin: None,
        reuse: false,
        overwrite: false,
        created: Timestamp(5),
        nonce: [6; 16],
    };
    Offered { genesis, feed: name.to_owned(), may: Switches::PULL }
}

#[test]
fn an_offered_feed_has_a_name_that_a_feed_can_have() {
    let fine = Frame::Offer(vec![offered("tools")]).encode();
    assert!(Frame::decode(&fine).is_ok());
    for name in ["", "../x", "a\nb"] {
        let bad = Frame::Offer(vec![offered(name)]).encode();
        assert_eq!(Frame::decode(&bad), Err(Misbehaved::NameInvalid), "{name:?}");
    }
    let many = Frame::Taken(vec![Taken { feed: FEED, refused: None }; FEEDS_PER_LINK_MAX + 1]).encode();
    assert_eq!(Frame::decode(&many), Err(Misbehaved::FrameMalformed));
}

fn note(name: &str) -> LinkNote {
    LinkNote {
        teller: SiteId([1; 32]),
        teller_name: name.to_owned(),
        peer: SiteId([2; 32]),
        peer_name: String::new(),
        feed: FEED,
        feed_name: "tools".to_owned(),
        effective: Switches::MIRROR,
        told: Timestamp(9),
    }
}

#[test]
fn a_frame_decodes_to_what_was_encoded() {
    let filter: Filter = "name=acme-*,latest=3".parse().unwrap();
    let allowed = Allowed { switches: Switches::PULL, filter: filter.clone() };
    let welcome = Welcome {
        version: 1,
        store: StoreId([2; 8]),
        name: "New York".to_owned(),
        now: Timestamp(8),
        feeds: vec![Ok(allowed), Err(Reason::FeedUnknown)],
        new_feeds: Openness { offers: true, takes: false },
        twins: Vec::new(),
        succession: Succession::NONE,
    };
    let frames = [
        hello(filter),
        Frame::Welcome(welcome),
        Frame::Refuse(Reason::LinkPaused),
        Frame::Pace { bytes_per_s: Some(250_000) },
        Frame::Links(vec![note("Los Angeles")]),
        Frame::Applied(Applied {
            exports: None,
            refused: vec![(Reason::AuthorNotAllowed, 3)],
            unserved: vec![Unserved {
                feed: 1,
                publish: OpId([3; 32]),
                fate: Fate::Deleted,
                by: vec![OpId([4; 32])],
            }],
        }),
        Frame::WantRights(WantRights { feed: 0, known: [9; 16] }),
        Frame::Rights(Rights { feed: 0, proofs: Vec::new() }),
        Frame::Finished { missing: 1 },
        Frame::Nudge { asked: true },
        Frame::WhichHeld(vec![BlobId([4; 32])]),
        Frame::Held(Vec::new()),
        Frame::Offer(vec![offered("tools")]),
        Frame::Taken(vec![Taken { feed: FEED, refused: Some(Reason::NameTaken) }]),
    ];
    for frame in frames {
        let bytes = frame.encode();
        assert_eq!(Frame::decode(&bytes), Ok(frame.clone()));
        let mut more = bytes.clone();
        more.push(0);
        assert_eq!(Frame::decode(&more), Err(Misbehaved::FrameMalformed), "{frame:?}");
        assert!(Frame::decode(&bytes[..bytes.len() - 1]).is_err(), "{frame:?}");
    }
}

#[test]
fn what_is_beyond_its_limits_is_refused_by_name() {
    let wide = Filter { names: vec![vec!["a".to_owned(); 65]], ..Filter::default() };
    assert_eq!(Frame::decode(&hello(wide).encode()), Err(Misbehaved::FilterInvalid));
    assert_eq!(
        Frame::decode(&Frame::Links(vec![note(&"n".repeat(65))]).encode()),
        Err(Misbehaved::NameInvalid)
    );
    let many = Frame::WhichHeld(vec![BlobId([0; 32]); WANTED_ITEMS_MAX + 1]);
    assert_eq!(Frame::decode(&many.encode()), Err(Misbehaved::WantsFlooded));
    assert_eq!(Frame::decode(&[0x7f]), Err(Misbehaved::FrameUnknown));
    assert_eq!(Frame::decode(&[]), Err(Misbehaved::FrameMalformed));
}

fn signed_head() -> SignedHead {
    let log = LogId { feed: FEED, author: SiteId([1; 32]), epoch: 0 };
    let head = Head { log, len: 1, root: [2; 32], time: Timestamp(3) };
    SignedHead { head, succession: Succession::NONE, signature: Signature([4; 64]) }
}

fn greeted(feeds: usize, twins: usize) -> Frame {
    let Frame::Hello(mut hello) = hello(Filter::default()) else { panic!("a HELLO") };
    hello.feeds = vec![hello.feeds[0].clone(); feeds];
    hello.twins = vec![hello.twins[0]; twins];
    Frame::Hello(hello)
}

fn unserved(publishes: usize, by: usize) -> Frame {
    let one = Unserved { feed: 0, publish: OpId([3; 32]), fate: Fate::Deleted, by: vec![OpId([4; 32]); by] };
    Frame::Applied(Applied { exports: None, refused: vec![], unserved: vec![one; publishes] })
}

/// Each list is filled by a peer, and kept or answered here.
#[test]
fn one_more_than_a_list_may_hold_is_refused() {
    type Of = fn(usize) -> Frame;
    let lists: [(Of, usize, Misbehaved); 9] = [
        (|n| greeted(n, 0), FEEDS_PER_LINK_MAX, Misbehaved::FrameMalformed),
        (|n| greeted(1, n), FEEDS_PER_LINK_MAX, Misbehaved::FrameMalformed),
        (|n| Frame::Links(vec![note("a"); n]), LINK_NOTES_MAX, Misbehaved::FrameMalformed),
        (|n| Frame::Offer(vec![offered("a"); n]), FEEDS_PER_LINK_MAX, Misbehaved::FrameMalformed),
        (|n| unserved(n, 1), UNSERVED_TOLD_MAX, Misbehaved::FrameMalformed),
        (|n| unserved(1, n), OPS_NAMED_MAX, Misbehaved::FrameMalformed),
        (|n| Frame::HeadsOf(vec![[0; 32]; n]), RANGES_PER_FRAME_MAX, Misbehaved::RangesFlooded),
        (|n| Frame::Held(vec![BlobId([0; 32]); n]), WANTED_ITEMS_MAX, Misbehaved::WantsFlooded),
        (
            |n| Frame::Forks(Forks { heads: vec![signed_head(); n], forks: vec![] }),
            FORKS_PER_FRAME_MAX,
            Misbehaved::WantsFlooded,
        ),
    ];
    for (of, most, fault) in lists {
        assert_eq!(Frame::decode(&of(most).encode()), Ok(of(most)));
        assert_eq!(Frame::decode(&of(most + 1).encode()), Err(fault), "{:?}", of(1));
    }
    let ops = |n| {
        let entry = Entry::Skip { height: 0, hash: [5; 32] };
        OpsFrame::Ops(Batch { first: 0, entries: vec![entry; n], head: signed_head() })
    };
    assert_eq!(OpsFrame::decode(&ops(OPS_PER_FRAME_MAX).encode()), Ok(ops(OPS_PER_FRAME_MAX)));
    assert_eq!(OpsFrame::decode(&ops(OPS_PER_FRAME_MAX + 1).encode()), Err(Misbehaved::FrameTooLong));
}
