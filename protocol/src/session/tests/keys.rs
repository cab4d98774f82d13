//! What the ends of a session tell of their keys. [P-73]

use super::*;
use crate::succession::Succession;

fn later(site: &Site, keys: &[u8]) -> Succession {
    let mut newest = site.key.clone();
    let mut succession = Succession::NONE;
    for seed in keys {
        let next = SigningKey::from_bytes(&[*seed; 32]);
        succession = succession.followed_by(site.id(), &newest, SiteId(next.verifying_key().to_bytes()));
        newest = next;
    }
    succession
}

/// What the listener makes of a dialler that says `said` where `known` is known of it.
fn heard(said: Succession, known: Succession) -> Result<Succession, Stop> {
    let (ny, la) = (Site::new(1), Site::new(2));
    let mut dialler = config(Side::Dialler, &la, &ny, Switches::MIRROR);
    dialler.keys.mine = said;
    let mut listener = config(Side::Listener, &ny, &la, Switches::MIRROR);
    listener.keys.peer = known;
    let hello = greeting::hello(&dialler, WALL);
    greeting::welcome(&listener, &hello, WALL).map(|(_, agreed)| agreed.unwrap().peer_succession)
}

#[test]
fn an_end_hears_of_the_others_new_keys_and_forgets_none() {
    let la = Site::new(2);
    let (one, two) = (later(&la, &[50]), later(&la, &[50, 51]));
    assert_eq!(heard(two.clone(), Succession::NONE).unwrap(), two);
    assert_eq!(heard(two.clone(), one.clone()).unwrap(), two);
    assert_eq!(heard(one, two.clone()).unwrap(), two);
}

#[test]
fn another_key_than_the_known_one_is_refused_and_a_forged_one_is_misbehaviour() {
    let la = Site::new(2);
    let contested = heard(later(&la, &[60]), later(&la, &[50, 51])).unwrap_err();
    assert!(matches!(contested, Stop::Refused(Reason::KeyContested)), "{contested:?}");
    let forged = heard(later(&Site::new(3), &[50]), Succession::NONE).unwrap_err();
    assert!(matches!(forged, Stop::Misbehaved(Misbehaved::FrameMalformed)), "{forged:?}");
}

#[test]
fn the_dialler_hears_it_of_the_listener_as_well() {
    let (ny, la) = (Site::new(1), Site::new(2));
    let dialler = config(Side::Dialler, &la, &ny, Switches::MIRROR);
    let mut listener = config(Side::Listener, &ny, &la, Switches::MIRROR);
    listener.keys.mine = later(&ny, &[70]);
    let (welcome, _) = greeting::welcome(&listener, &greeting::hello(&dialler, WALL), WALL).unwrap();
    let agreed = greeting::agree(&dialler, welcome, WALL).unwrap();
    assert_eq!(agreed.peer_succession, listener.keys.mine);
}

/// A log of other keys than those a member is known by is refused; what else is there is not sent again with each run.
#[test]
fn a_log_that_is_refused_for_its_key_costs_no_run_after() {
    let (mut ny, mut la, member) = (Site::new(1), Site::new(2), Site::new(3));
    ny.grant(&member);
    for n in 0..20 {
        ny.publish(&format!("p-{n}"), &[n]);
    }
    la.authority = Authority::new(&genesis()).knowing(member.id(), later(&member, &[50]));
    let thief = SigningKey::from_bytes(&[60; 32]);
    let epoch = crate::succession::first_epoch(1);
    let log = LogId { feed: genesis().feed_id(), author: member.id(), epoch };
    let body =
        Body::SetRef(crate::op::SetRef { package: "a".to_owned(), name: "b".to_owned(), target: None });
    let stolen = Verified::author_as(
        (&thief, later(&member, &[60])),
        log,
        &Mmr::default(),
        vec![body],
        Hlc((WALL.0 << 16) + 1),
        WALL,
    );
    ny.append(Permitted::local(stolen, false).unwrap());
    let mut wire = connect(&la, &ny, Switches::PULL, Switches::MIRROR);
    let mut costs = Vec::new();
    for _ in 0..3 {
        let (outcome, tally) = wire.sync(&mut la, &mut ny);
        costs.push((outcome, tally.round_trips, tally.frames_in_bytes, ny.ended.last().unwrap().1.ops_out));
    }
    let mut again = connect(&la, &ny, Switches::PULL, Switches::MIRROR);
    let (outcome, tally) = again.sync(&mut la, &mut ny);
    costs.push((outcome, tally.round_trips, tally.frames_in_bytes, ny.ended.last().unwrap().1.ops_out));
    assert!(costs[1..].iter().all(|(_, _, _, out)| *out == 0), "{costs:?}");
}
