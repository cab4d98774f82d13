//! What is told to be left out by a cut: only what its author might say.

use protocol::op::{Offer, SetRef, SetState, Target};

use super::*;

/// The origin blocked it. A site that may only publish says behind the cut that the block is lifted, which it never might.
#[test]
fn a_block_that_somebody_lifted_who_might_not_is_not_listed_as_left_out() {
    let lab = lab(false, false);
    let mut a = Peer::new(2);
    lab.says(vec![grant(a.id(), BUILDER)]);
    let block = lab.says(vec![block(Blocked::Blob(file(b"x")))])[0].id;
    a.say(&lab, 10, vec![publish("first", "1", b"1")]);
    let other = a.other(&lab);
    a_while();
    let now = wall_clock().0 - lab.base;
    a.say(&lab, now, vec![Body::Unblock(Unblock { block, reason: String::new() })]);
    lab.proved(&other);
    let wish = Wish { drop: true, ..Wish::default() };
    resolve(&lab.site, lab.feed, &lab.record, a.id(), &wish).unwrap();
    let left = left(lab.site.store(), lab.feed, lab.site.look()).unwrap();
    let told: Vec<_> = left.iter().map(ToString::to_string).collect();
    assert!(!told.iter().any(|one| one.contains("lifted")), "{told:?}");
}

/// The same of tags and offers outside of the part of the feed where it may say them.
#[test]
fn tags_and_offers_of_one_who_might_say_none_are_not_listed_as_left_out() {
    let lab = lab(false, false);
    let mut a = Peer::new(2);
    let mut narrow = grant(a.id(), BUILDER);
    if let Body::Grant(grant) = &mut narrow {
        grant.prefix = "mine".to_owned();
    }
    lab.says(vec![narrow, publish("tool", "1", b"t")]);
    a.say(&lab, 10, vec![publish("mine", "1", b"1")]);
    let other = a.other(&lab);
    a_while();
    let now = wall_clock().0 - lab.base;
    let at = Coordinate::new(FeedKind::Raw, "tool", "1").unwrap();
    let offer = Offer::Yanked { reason: String::new() };
    let yank = SetState { coordinate: at, offer };
    let tag = SetRef {
        package: "tool".to_owned(),
        name: "latest".to_owned(),
        target: Some(Target::Version("1".to_owned())),
    };
    a.say(&lab, now, vec![Body::SetState(yank), Body::SetRef(tag)]);
    lab.proved(&other);
    let wish = Wish { drop: true, ..Wish::default() };
    resolve(&lab.site, lab.feed, &lab.record, a.id(), &wish).unwrap();
    let left = left(lab.site.store(), lab.feed, lab.site.look()).unwrap();
    let told: Vec<_> = left.iter().map(ToString::to_string).collect();
    assert!(!told.iter().any(|one| one.contains("tool")), "{told:?}");
}
