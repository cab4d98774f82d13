//! Two sites that dial each other: one session carries what flows by either link.

use super::*;

/// What each end states as dialler and as listener, in its own terms, and what flows, in the terms of the site that dialled.
fn flows(dialler: (Switches, Switches), listener: (Switches, Switches)) -> Switches {
    let (mut one, mut two) = (Site::new(1), Site::new(2));
    let mut wire = connect(&one, &two, dialler.0, listener.1);
    let mut dialling = config(Side::Dialler, &one, &two, dialler.0);
    dialling.terms[0].twin = Some(Twin { switches: dialler.1, expires: None });
    let mut listening = config(Side::Listener, &two, &one, listener.1);
    listening.terms[0].twin = Some(Twin { switches: listener.0, expires: None });
    wire.dialler = Session::new(dialling, Instant(0), WALL);
    wire.listener = Session::new(listening, Instant(0), WALL);
    wire.settle(&mut one, &mut two);
    let of = |session: &Session| session.agreed().map_or(Switches::OFF, |agreed| agreed.feeds[0].effective);
    assert_eq!(of(&wire.dialler), of(&wire.listener).flip(), "both ends say the same");
    of(&wire.dialler)
}

/// [P-19] E17: what flows is what flows by one link or the other, and nothing that only both diallers or both listeners want.
#[test]
fn one_session_carries_what_either_link_would() {
    use Switches as S;
    assert_eq!(
        flows((S::PULL, S::PUSH), (S::PULL, S::PUSH)),
        S::MIRROR,
        "each pulls what the other lets out"
    );
    assert_eq!(flows((S::PULL, S::MIRROR), (S::OFF, S::MIRROR)), S::PULL, "nobody asks for the other way");
    assert_eq!(flows((S::PUSH, S::OFF), (S::PULL, S::OFF)), S::OFF, "both ask and neither allows");
    assert_eq!(flows((S::OFF, S::PUSH), (S::PULL, S::OFF)), S::PUSH, "the listener alone asks");
}

/// [P-19] A grant that ends on the link of the other direction ends the session too.
#[test]
fn the_end_of_a_twins_grant_ends_the_session_at_the_next_run() {
    let (mut one, mut two) = (Site::new(1), Site::new(2));
    let mut wire = connect(&one, &two, Switches::PULL, Switches::PUSH);
    let mut dialling = config(Side::Dialler, &one, &two, Switches::PULL);
    let ends = Timestamp(WALL.0 + 1);
    dialling.terms[0].twin = Some(Twin { switches: Switches::PUSH, expires: Some(ends) });
    wire.dialler = Session::new(dialling, Instant(0), WALL);
    wire.settle(&mut one, &mut two);
    assert!(wire.dialler.agreed().is_some());
    wire.dialler.handle(Instant(1), ends, Input::Tick, &one);
    wire.dialler.run(Instant(1), &one);
    let closed = endings::closed_with(&mut wire.dialler);
    assert_eq!(closed, Outcome::Refused(Reason::GrantExpired));
}
