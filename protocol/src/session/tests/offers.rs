//! Feeds that come on a link after it was made.

use super::endings::closed_with;
use super::*;
use crate::frame::{Offered, Openness, Taken};
use crate::limits::OFFERS_OPEN_MAX;

fn pair(one: &Site, two: &Site, asks: Switches) -> Wire {
    let mut wire = connect(one, two, asks, Switches::PUSH);
    let mut dialling = config(Side::Dialler, one, two, asks);
    dialling.new_feeds = Openness { offers: false, takes: true };
    let mut listening = config(Side::Listener, two, one, Switches::PUSH);
    listening.new_feeds = Openness { offers: true, takes: false };
    listening.terms.clear();
    wire.dialler = Session::new(dialling, Instant(0), WALL);
    wire.listener = Session::new(listening, Instant(0), WALL);
    wire
}

fn offered() -> Offered {
    Offered { genesis: genesis(), feed: "tools".to_owned(), may: Switches::PULL }
}

/// [P-18] Where nothing flows yet but feeds may come, the link is up, and one end offers and hears what became of it.
#[test]
fn a_feed_is_offered_over_a_link_that_carries_none_yet() {
    let (mut one, mut two) = (Site::new(1), Site::new(2));
    let mut wire = pair(&one, &two, Switches::PULL);
    wire.settle(&mut one, &mut two);
    assert!(wire.dialler.agreed().is_some() && wire.listener.agreed().is_some());
    wire.listener.offer_feeds(&[offered()]);
    let mut heard = None;
    for frame in drain(&mut wire.listener, &mut two) {
        wire.dialler.handle(Instant(1), WALL, Input::Control(&frame), &one);
    }
    while let Some(output) = wire.dialler.poll() {
        if let Output::Offered(feeds) = output {
            heard = Some(feeds);
        }
    }
    assert_eq!(heard, Some(vec![offered()]));
    let became = vec![Taken { feed: genesis().feed_id(), refused: Some(Reason::NameTaken) }];
    wire.dialler.feeds_taken(became.clone());
    for frame in drain(&mut wire.dialler, &mut one) {
        wire.listener.handle(Instant(2), WALL, Input::Control(&frame), &two);
    }
    let told = std::iter::from_fn(|| wire.listener.poll());
    assert!(told.into_iter().any(|output| matches!(output, Output::Taken(feeds) if feeds == became)));
}

/// [P-18] Nobody offers to a site that takes none, and an answer nobody asked for has no place.
#[test]
fn an_offer_to_a_site_that_takes_none_is_a_breach() {
    let (mut one, mut two) = (Site::new(1), Site::new(2));
    let mut wire = connect(&one, &two, Switches::PULL, Switches::PUSH);
    wire.settle(&mut one, &mut two);
    wire.listener.offer_feeds(&[offered()]);
    assert!(drain(&mut wire.listener, &mut two).is_empty(), "it is not even said");
    let frame = Frame::Taken(Vec::new()).encode();
    wire.listener.handle(Instant(1), WALL, Input::Control(&frame), &two);
    assert_eq!(closed_with(&mut wire.listener), Outcome::Misbehaved(Misbehaved::FrameUnexpected));
    let frame = Frame::Offer(vec![offered()]).encode();
    wire.dialler.handle(Instant(1), WALL, Input::Control(&frame), &one);
    assert_eq!(closed_with(&mut wire.dialler), Outcome::Misbehaved(Misbehaved::FrameUnexpected));
}

/// [P-44] The ops of a feed that came on the link since the last run may be older than what the receiver knows of the sender.
#[test]
fn ops_that_were_never_told_are_asked_for_when_later_ones_come() {
    let (mut ny, mut la) = (Site::new(1), Site::new(2));
    ny.publish("a", b"a");
    connect(&la, &ny, Switches::PULL, Switches::MIRROR).sync(&mut la, &mut ny);
    let mut fresh = Site::new(2);
    fresh.memory = la.memory.clone();
    ny.publish("b", b"b");
    let (outcome, tally) = connect(&fresh, &ny, Switches::PULL, Switches::MIRROR).sync(&mut fresh, &mut ny);
    assert_eq!((outcome, tally.ops_in), (Outcome::Done, 2));
    assert_eq!(fresh.served().keys().collect::<Vec<_>>(), ["a", "b"]);
}

/// [P-18] As many as one end may have open; what is offered beyond that waits for an answer, and all of it is offered then.
#[test]
fn offers_wait_for_answers_and_a_flood_of_them_ends_the_session() {
    let (mut one, mut two) = (Site::new(1), Site::new(2));
    let mut wire = pair(&one, &two, Switches::PULL);
    wire.settle(&mut one, &mut two);
    let feeds: Vec<Offered> =
        ["tools", "more"].map(|name| Offered { feed: name.to_owned(), ..offered() }).into();
    for _ in 0..OFFERS_OPEN_MAX {
        wire.listener.offer_feeds(&feeds[..1]);
    }
    wire.listener.offer_feeds(&feeds);
    let frames = drain(&mut wire.listener, &mut two);
    assert_eq!(frames.len(), OFFERS_OPEN_MAX);
    for frame in &frames {
        wire.dialler.handle(Instant(1), WALL, Input::Control(frame), &one);
    }
    drain(&mut wire.dialler, &mut one);
    wire.dialler.feeds_taken(Vec::new());
    for frame in drain(&mut wire.dialler, &mut one) {
        wire.listener.handle(Instant(2), WALL, Input::Control(&frame), &two);
    }
    assert_eq!(drain(&mut wire.listener, &mut two), [Frame::Offer(feeds).encode()]);
    for frame in &frames[..2] {
        wire.dialler.handle(Instant(3), WALL, Input::Control(frame), &one);
    }
    assert_eq!(closed_with(&mut wire.dialler), Outcome::Misbehaved(Misbehaved::FrameUnexpected));
}
