//! Every shape of three and four sites.

use super::*;

fn site(n: usize) -> SiteId {
    SiteId([u8::try_from(n).unwrap() + 1; 32])
}

/// Every way to join `sites` sites: each pair not at all, one way, the other way, or both ways.
fn every_shape(sites: usize) -> impl Iterator<Item = Vec<(usize, usize)>> {
    let pairs: Vec<(usize, usize)> =
        (0..sites).flat_map(|one| (one + 1..sites).map(move |other| (one, other))).collect();
    (0..4_usize.pow(u32::try_from(pairs.len()).unwrap())).map(move |mut code| {
        let mut flows = Vec::new();
        for (one, other) in &pairs {
            if code & 1 == 1 {
                flows.push((*one, *other));
            }
            if code & 2 == 2 {
                flows.push((*other, *one));
            }
            code >>= 2;
        }
        flows
    })
}

fn topology(flows: &[(usize, usize)]) -> Topology {
    let mut topology = Topology::default();
    for (from, to) in flows {
        topology.flow(site(*from), site(*to), true, true);
    }
    topology
}

/// C14, E19: of the shapes of three sites with a one-way link 14 lead around one and 42 do not; of four sites 2,408 and 1,624.
#[test]
fn exactly_the_shapes_that_lead_around_a_one_way_link_are_named() {
    for (sites, with_one_way, led_around) in [(3, 56, 14), (4, 4_032, 2_408)] {
        let one_way =
            |flows: &Vec<(usize, usize)>| flows.iter().any(|(from, to)| !flows.contains(&(*to, *from)));
        let shapes: Vec<_> = every_shape(sites).collect();
        let bypassed = shapes.iter().filter(|flows| !topology(flows).bypasses().is_empty()).count();
        assert_eq!(
            (shapes.iter().filter(|flows| one_way(flows)).count(), bypassed),
            (with_one_way, led_around)
        );
        let quiet = shapes.iter().filter(|flows| !one_way(flows));
        assert!(quiet.clone().all(|flows| topology(flows).bypasses().is_empty()));
    }
}

#[test]
fn a_bypass_names_the_way_back() {
    let found = topology(&[(0, 1), (1, 2), (2, 0)]).bypasses();
    assert_eq!(found.len(), 3);
    let first = found.iter().find(|one| one.from == site(0)).unwrap();
    assert_eq!((first.to, first.path.clone()), (site(1), vec![site(1), site(2), site(0)]));
}

#[test]
fn a_chain_has_a_single_relay_and_a_ring_has_none() {
    let both = |pairs: &[(usize, usize)]| {
        let flows: Vec<_> = pairs.iter().flat_map(|(one, other)| [(*one, *other), (*other, *one)]).collect();
        topology(&flows).single_relays()
    };
    assert_eq!(both(&[(0, 1), (1, 2)]), [site(1)]);
    assert_eq!(both(&[(0, 1), (1, 2), (2, 0)]), []);
}

fn note(teller: usize, peer: usize, effective: &str) -> LinkNote {
    LinkNote {
        teller: site(teller),
        teller_name: String::new(),
        peer: site(peer),
        peer_name: String::new(),
        feed: FeedId([0; 32]),
        feed_name: String::new(),
        effective: effective.parse().unwrap(),
        told: Timestamp(0),
    }
}

#[test]
fn a_note_that_is_taken_back_by_either_end_or_too_old_says_that_nothing_flows() {
    let off = LinkNote { effective: Switches::OFF, told: Timestamp(1), ..note(0, 1, "mirror") };
    assert!(Topology::of(&[off.clone(), note(1, 0, "mirror")]).sites().is_empty());
    assert!(off.is_news_after(&note(0, 1, "mirror")) && !note(0, 1, "mirror").is_news_after(&off));
    let later = |told| LinkNote { told: Timestamp(told), ..off.clone() };
    assert!(!later(NOTE_RENEWED_MS).is_news_after(&off) && later(NOTE_RENEWED_MS + 1).is_news_after(&off));
    assert!(off.holds(Timestamp(NOTE_LIFE_MS + 1)) && !off.holds(Timestamp(NOTE_LIFE_MS + 2)));
}

#[test]
fn only_what_both_ends_say_flows_and_deletes_stop_where_a_link_holds_them_back() {
    let told = Topology::of(&[note(0, 1, "mirror"), note(1, 0, "in.add"), note(1, 2, "out.add")]);
    assert_eq!(told.stops(), [(site(0), site(1)), (site(1), site(2))]);
    assert_eq!(told.sites().len(), 3);
    assert!(told.bypasses().is_empty());
}
