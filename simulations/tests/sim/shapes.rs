//! Every way to join three sites, with the real gates: a leaf's ops stay at home, an author's go where the graph says, and the advice is
//! about the same shapes.

use std::collections::BTreeSet;

use protocol::id::SiteId;
use protocol::topology::Topology;
use simulations::model::shapes::{SITES, Speaker, every_shape, reached};

fn id(at: usize) -> SiteId {
    SiteId([u8::try_from(at).expect("three sites") + 1; 32])
}

fn topology(flows: &[(usize, usize)]) -> Topology {
    let mut topology = Topology::default();
    for (from, to) in flows {
        topology.flow(id(*from), id(*to), true, true);
    }
    topology
}

/// Where content gets from a site along the flows.
fn downstream(flows: &[(usize, usize)], from: usize) -> BTreeSet<usize> {
    let mut reached = BTreeSet::from([from]);
    for _ in 0..SITES {
        let onward: Vec<usize> =
            flows.iter().filter(|(out, _)| reached.contains(out)).map(|(_, to)| *to).collect();
        reached.extend(onward);
    }
    reached.remove(&from);
    reached
}

fn everyone() -> impl Iterator<Item = (usize, usize)> {
    (0..SITES).flat_map(|origin| {
        (0..SITES).filter(move |speaker| *speaker != origin).map(move |speaker| (origin, speaker))
    })
}

/// E19, rows 19 and 41: whatever side path there is, and even where the leaf offers its log to everyone.
#[test]
fn what_a_pull_only_leaf_says_reaches_nobody_in_any_shape_of_three_sites() {
    let mut played = 0;
    for flows in every_shape() {
        for (origin, leaf) in everyone() {
            for is in [Speaker::Leaf, Speaker::Cheat] {
                let found = reached(&flows, origin, leaf, is).unwrap();
                assert!(found.is_empty(), "{is:?} {leaf} below {origin} in {flows:?} reached {found:?}");
                played += 1;
            }
        }
    }
    assert_eq!(played, 64 * 6 * 2);
}

/// C14, E19: an author's ops go exactly where the flows lead; so of the 56 shapes with a one-way link they come back around it in the 14 that
/// are named, and in none of the other 42.
#[test]
fn what_an_author_says_comes_around_a_one_way_link_in_exactly_the_shapes_that_are_named() {
    let (mut one_way, mut led_around) = (0, 0);
    for flows in every_shape() {
        for (origin, author) in everyone() {
            assert_eq!(
                reached(&flows, origin, author, Speaker::Author).unwrap(),
                downstream(&flows, author),
                "{author} below {origin} in {flows:?}"
            );
        }
        let one_ways: Vec<_> =
            flows.iter().copied().filter(|(from, to)| !flows.contains(&(*to, *from))).collect();
        let around = |(from, to): &(usize, usize)| {
            reached(&flows, *from, *to, Speaker::Author).unwrap().contains(from)
        };
        let comes_back: BTreeSet<_> =
            one_ways.iter().filter(|link| around(link)).map(|(from, to)| (id(*from), id(*to))).collect();
        let named: BTreeSet<_> =
            topology(&flows).bypasses().into_iter().map(|one| (one.from, one.to)).collect();
        assert_eq!(comes_back, named, "{flows:?}");
        one_way += u32::from(!one_ways.is_empty());
        led_around += u32::from(!named.is_empty());
    }
    assert_eq!((one_way, led_around, one_way - led_around), (56, 14, 42));
}
