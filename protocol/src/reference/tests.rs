//! The last writer of a ref wins, by stamp and not by arrival.

use super::*;
use crate::id::LogId;
use crate::op::{Genesis, Op, Place, SetRef};
use crate::package::FeedKind;

fn genesis() -> Genesis {
    Genesis {
        kind: FeedKind::Npm,
        name: "web".to_owned(),
        origin: SiteId([1; 32]),
        second_origin: None,
        reuse: false,
        overwrite: false,
        created: Timestamp(0),
        nonce: [0; 16],
    }
}

fn set(author: u8, at_ms: u64, target: Option<&str>) -> NamedOp {
    let log = LogId { feed: genesis().feed_id(), author: SiteId([author; 32]), epoch: 1 };
    let target = target.map(|version| Target::Version(version.to_owned()));
    let body = Body::SetRef(SetRef { package: "pad".to_owned(), name: "latest".to_owned(), target });
    let op = Op { place: Place { log, seq: at_ms }, stamp: Hlc(at_ms << 16), body };
    NamedOp { id: op.id(), statement: op.encode_statement(), op }
}

fn latest(ops: &[NamedOp], me: u8) -> Option<(String, bool)> {
    let told = references(ops, &Ledger::new(&genesis()), SiteId([me; 32]), Timestamp(1_000));
    told.into_iter().next().map(|one| match one.target {
        Target::Version(version) => (version, one.local),
        Target::Blob(_) => unreachable!("no test sets a blob"),
    })
}

/// [P-36]
#[test]
fn the_last_writer_wins_in_any_order_and_taking_away_is_a_value() {
    let (one, two, none) = (set(1, 10, Some("1.0")), set(1, 20, Some("2.0")), set(1, 30, None));
    assert_eq!(latest(&[two.clone(), one.clone()], 9), Some(("2.0".to_owned(), false)));
    assert_eq!(latest(&[none.clone(), two.clone(), one], 9), None);
    assert_eq!(latest(&[set(1, 40, Some("3.0")), none, two], 9), Some(("3.0".to_owned(), false)));
}

#[test]
fn a_site_without_the_right_sets_refs_for_itself_where_nobody_else_did() {
    let own = set(9, 50, Some("9.0"));
    assert_eq!(latest(std::slice::from_ref(&own), 9), Some(("9.0".to_owned(), true)));
    assert_eq!(latest(std::slice::from_ref(&own), 1), None);
    assert_eq!(latest(&[own, set(1, 10, Some("1.0"))], 9), Some(("1.0".to_owned(), false)));
}

#[test]
fn a_ref_stamped_far_ahead_waits() {
    let future = set(1, 1_000 + crate::limits::STAMP_AHEAD_MS_MAX + 1, Some("9.0"));
    assert_eq!(latest(&[future, set(1, 10, Some("1.0"))], 9), Some(("1.0".to_owned(), false)));
}
