//! The edge cases of multi-site feeds, each by what it shows. A letter and number in a comment is the case's name in the design.

use super::*;

const EVERYONE: [u8; 3] = [ORIGIN, MEMBER, LEAF];

fn sealed(index: u64, tips: &[(u8, u64)]) -> NamedOp {
    let tip = |(author, len): &(u8, u64)| Tip { author: site(*author), epoch: 1, len: *len, root: [0; 32] };
    let frontier = tips.iter().map(tip).collect();
    said(ORIGIN, 200 + index, Body::Seal(Seal { index, frontier, state_root: [0; 32] }))
}

/// E1: two writers publish the same coordinate with different bytes while apart: one winner everywhere, the loser kept; sealed, the
/// winner cannot lose again.
#[test]
fn two_builds_made_apart_have_one_winner_at_every_site() {
    let (one, other) = (publish(ORIGIN, 9, 1, &[]), publish(MEMBER, 4, 2, &[]));
    for me in EVERYONE {
        let item = seen_by(me, &[&one, &other]);
        assert_eq!((item.winner, item.clash), (Some(other.id), vec![one.id]));
        let fixed = sealed(1, &[(ORIGIN, 10)]);
        assert_eq!(seen_by(me, &[&one, &other, &fixed]).winner, Some(one.id));
    }
}

/// E3: the same bytes published at two sites are no clash; the earlier date is shown and both authors are known.
#[test]
fn the_same_bytes_at_two_sites_are_no_clash_and_the_earlier_date_is_shown() {
    let (late, early) = (publish(ORIGIN, 60_000, 1, &[]), publish(MEMBER, 4, 1, &[]));
    let item = seen_by(LEAF, &[&late, &early]);
    assert_eq!((item.winner, item.twins, item.clash.len()), (Some(early.id), vec![late.id], 0));
    let sealed_late = seen_by(LEAF, &[&late, &early, &sealed(1, &[(ORIGIN, 60_001)])]);
    assert_eq!(sealed_late.winner, Some(late.id));
    assert_eq!(sealed_late.published, Some(early.op.stamp));
}

/// E4: a local package stays although upstream has none of it, and only its own site sees it.
#[test]
fn absence_upstream_never_removes_a_local_package() {
    let own = publish(LEAF, 0, 9, &[]);
    assert_eq!(seen_by(LEAF, &[&own]).winner, Some(own.id));
    for me in [ORIGIN, MEMBER] {
        let item = seen_by(me, &[&own]);
        assert_eq!((item.standing, item.unauthorised), (Standing::NotAuthorised, vec![own.id]));
    }
}

/// E6: an upstream delete removes the leaf's own upload of that coordinate, and names its op.
#[test]
fn an_upstream_delete_reaches_what_the_leaf_uploaded_itself() {
    let own = publish(LEAF, 0, 9, &[]);
    for by in [ORIGIN, MEMBER] {
        let gone = delete(by, 3, &[]);
        let item = seen_by(LEAF, &[&own, &gone]);
        assert_eq!((item.standing, item.deletes), (Standing::Deleted, vec![gone.id]));
    }
}

/// E7: a delete of a coordinate nobody has published yet keeps out what comes later.
#[test]
fn a_delete_before_any_publish_keeps_the_coordinate_empty() {
    let gone = delete(ORIGIN, 1, &[]);
    assert_eq!(seen_by(LEAF, &[&gone]).standing, Standing::Deleted);
    let later = publish(MEMBER, 30, 1, &[]);
    assert_eq!(seen_by(LEAF, &[&gone, &later]).standing, Standing::Suppressed);
}

/// E9: a delete and a publish again that did not know of each other: the delete holds everywhere, the publisher is told, and a restore
/// makes it visible everywhere.
#[test]
fn a_delete_and_a_concurrent_publish_leave_it_deleted_until_restored() {
    let first = publish(ORIGIN, 1, 1, &[]);
    let gone = delete(ORIGIN, 5, &[&first]);
    let again = publish(MEMBER, 6, 1, &[]);
    let restore = publish(MEMBER, 9, 1, &[&gone]);
    for me in EVERYONE {
        let item = seen_by(me, &[&first, &gone, &again]);
        assert_eq!((item.standing, item.suppressed), (Standing::Suppressed, vec![again.id]));
        assert_eq!(seen_by(me, &[&first, &gone, &again, &restore]).winner, Some(restore.id));
    }
}

/// E11: of two deletes that did not know of each other both must be superseded; of two restores one wins.
#[test]
fn two_concurrent_deletes_must_both_be_restored_over() {
    let first = publish(ORIGIN, 1, 1, &[]);
    let (one, two) = (delete(ORIGIN, 5, &[&first]), delete(MEMBER, 6, &[&first]));
    let half = publish(MEMBER, 7, 1, &[&one]);
    assert_eq!(seen_by(LEAF, &[&first, &one, &two, &half]).winner, None);
    let (whole, twin) = (publish(MEMBER, 8, 1, &[&one, &two]), publish(ORIGIN, 9, 1, &[&two, &one]));
    let item = seen_by(LEAF, &[&first, &one, &two, &half, &twin, &whole]);
    assert_eq!((item.winner, item.twins), (Some(whole.id), vec![twin.id]));
}

/// E12: the same ops again change nothing, so a site that re-sends an old log resurrects nothing.
#[test]
fn an_old_log_sent_again_has_no_effect() {
    let first = publish(MEMBER, 1, 1, &[]);
    let gone = delete(ORIGIN, 5, &[&first]);
    assert_eq!(seen_by(ORIGIN, &[&first, &gone, &first]), seen_by(ORIGIN, &[&first, &gone]));
}

/// E13: a publish of a coordinate that the hub deleted is suppressed there, with the delete's name.
#[test]
fn a_push_of_a_deleted_coordinate_is_suppressed_and_names_the_delete() {
    let gone = delete(ORIGIN, 5, &[]);
    let pushed = publish(MEMBER, 9, 1, &[]);
    let item = seen_by(ORIGIN, &[&gone, &pushed]);
    assert_eq!((item.suppressed, item.deletes), (vec![pushed.id], vec![gone.id]));
}

/// E8, E14: where the careful right does not reach, a delete hides at its own site, as one without any right does.
#[test]
fn a_site_that_may_delete_only_its_own_hides_what_others_published() {
    let careful = Rights { publish: true, delete_own: true, ..Rights::default() };
    let seen_by = |me, ops: &[&NamedOp]| Looking { member: careful, ..Looking::from(me) }.at(ops);
    let (others, own) = (publish(ORIGIN, 1, 9, &[]), publish(MEMBER, 0, 9, &[]));
    let gone = delete(MEMBER, 1, &[&others, &own]);
    let item = seen_by(MEMBER, &[&others, &gone]);
    assert_eq!((item.standing, item.deletes), (Standing::Hidden, vec![gone.id]));
    assert_eq!(seen_by(ORIGIN, &[&others, &gone]).winner, Some(others.id));
    for me in [MEMBER, ORIGIN] {
        assert_eq!(seen_by(me, &[&own, &gone]).standing, Standing::Deleted);
    }
}

/// E14: a delete by a stale site removes what the hub published again; with the careful right it removes only that site's own.
#[test]
fn a_stale_delete_wins_unless_its_author_may_delete_only_its_own() {
    let hubs = publish(ORIGIN, 8, 1, &[]);
    let stale = delete(MEMBER, 3, &[]);
    assert_eq!(seen_by(LEAF, &[&hubs, &stale]).standing, Standing::Suppressed);
    let careful = Rights { publish: true, delete_own: true, ..Rights::default() };
    let item = Looking { member: careful, ..Looking::from(LEAF) }.at(&[&hubs, &stale]);
    assert_eq!(item.winner, Some(hubs.id));
}

/// E19: whatever path a leaf's op takes, it counts at no other site.
#[test]
fn an_op_that_came_by_a_side_path_counts_nowhere_but_at_its_author() {
    let upstream = publish(ORIGIN, 1, 1, &[]);
    let (own, hide) = (publish(LEAF, 0, 9, &[]), delete(LEAF, 1, &[&upstream]));
    for me in [ORIGIN, MEMBER] {
        let item = seen_by(me, &[&own, &hide, &upstream]);
        assert_eq!((item.winner, item.clash.len(), item.deletes.len()), (Some(upstream.id), 0, 0));
    }
}

/// E20: of two upstreams either one's delete applies, if its author has the right.
#[test]
fn either_of_two_upstreams_may_delete() {
    let build = publish(ORIGIN, 1, 1, &[]);
    for by in [ORIGIN, MEMBER] {
        let gone = delete(by, 5, &[]);
        let item = seen_by(LEAF, &[&build, &gone]);
        assert_eq!((item.winner, item.deletes), (None, vec![gone.id]));
    }
}

/// E21: an op of a kind this program does not know changes nothing that stands.
#[test]
fn an_unknown_kind_is_kept_and_changes_nothing() {
    let build = publish(ORIGIN, 1, 1, &[]);
    let unknown = said(ORIGIN, 2, Body::Unknown { kind: 999, body: vec![1, 2, 3] });
    let sorted = sort(
        std::slice::from_ref(&unknown),
        Rules {
            ledger: &Ledger::new(&genesis()),
            me: site(LEAF),
            now: NOW,
            local_wins: false,
            held: &Held::default(),
        },
    );
    assert!(sorted.authorised.is_empty() && sorted.wide.is_empty());
    assert_eq!(seen_by(LEAF, &[&build, &unknown]).winner, Some(build.id));
}

/// E24: tombstones are kept for ever, so a site that was away for years brings nothing back.
#[test]
fn years_of_absence_resurrect_nothing() {
    let old = publish(MEMBER, 1, 1, &[]);
    let gone = delete(ORIGIN, 2, &[]);
    let years = Timestamp(NOW.0 + 5 * 365 * 24 * 3_600_000);
    let item = Looking { now: years, ..Looking::from(ORIGIN) }.at(&[&gone, &old]);
    assert_eq!((item.winner, item.standing), (None, Standing::Suppressed));
}

/// E29: an old origin's ops that come after the second one sealed lose clashes; nothing is lost silently.
#[test]
fn what_an_old_origin_says_late_loses_to_what_its_successor_sealed() {
    let genesis = Genesis { second_origin: Some(site(MEMBER)), ..genesis() };
    let again = |named: NamedOp| {
        let log = LogId { feed: genesis.feed_id(), ..named.op.place.log };
        let op = Op { place: Place { log, ..named.op.place }, ..named.op };
        NamedOp { id: op.id(), op, ..named }
    };
    let late = again(publish(ORIGIN, 1, 1, &[]));
    let successors = again(publish(MEMBER, 20, 2, &[]));
    let tip = Tip { author: site(MEMBER), epoch: 1, len: 21, root: [0; 32] };
    let seal =
        again(said(MEMBER, 30, Body::Seal(Seal { index: 7, frontier: vec![tip], state_root: [0; 32] })));
    let looking = Looking { genesis: genesis.clone(), ..Looking::from(LEAF) };
    let item = looking.at(&[&late, &successors, &seal]);
    assert_eq!((item.winner, item.clash), (Some(successors.id), vec![late.id]));
}
