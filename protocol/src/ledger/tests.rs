//! Seals in any order, and blocks that stand and are lifted.

use proptest::prelude::*;

use super::*;
use crate::id::FeedId;
use crate::op::{Cut, Op, Tip};
use crate::package::FeedKind;

fn genesis() -> Genesis {
    Genesis {
        kind: FeedKind::Raw,
        name: "tools".to_owned(),
        origin: SiteId([1; 32]),
        second_origin: Some(SiteId([2; 32])),
        reuse: false,
        overwrite: false,
        created: Timestamp(0),
        nonce: [0; 16],
    }
}

fn feed() -> FeedId {
    genesis().feed_id()
}

fn log(author: u8) -> LogId {
    LogId { feed: feed(), author: SiteId([author; 32]), epoch: 1 }
}

fn sealed(author: u8, seq: u64, index: u64, tips: &[(u8, u64)]) -> NamedOp {
    let tip =
        |(author, len): &(u8, u64)| Tip { author: SiteId([*author; 32]), epoch: 1, len: *len, root: [0; 32] };
    let seal = Seal { index, frontier: tips.iter().map(tip).collect(), state_root: [0; 32] };
    let op = Op { place: Place { log: log(author), seq }, stamp: Hlc(seq), body: Body::Seal(seal) };
    NamedOp { id: op.id(), statement: op.encode_statement(), op }
}

proptest! {
    #[test]
    fn the_lowest_seal_that_reaches_an_op_covers_it_in_whichever_order_seals_come(
        tips in prop::collection::vec((1_u64..6, 1_u64..30), 1..12),
        order in any::<prop::sample::Index>(),
        seq in 0_u64..30,
    ) {
        let seals: Vec<NamedOp> =
            tips.iter().enumerate().map(|(at, (index, len))| sealed(1, at as u64, *index, &[(7, *len)])).collect();
        let mut ledger = Ledger::new(&genesis());
        let mut turned = Ledger::new(&genesis());
        let first = order.index(seals.len());
        for named in &seals {
            ledger.apply(named);
        }
        for named in seals.iter().skip(first).chain(seals.iter().take(first)) {
            turned.apply(named);
        }
        let place = Place { log: log(7), seq };
        let dumb = tips.iter().filter(|(_, len)| seq < *len).map(|(index, _)| *index).min();
        prop_assert_eq!(ledger.seal_of(place), dumb);
        prop_assert_eq!(turned.seal_of(place), dumb);
        prop_assert_eq!(turned.sealed_len(log(7)), tips.iter().map(|(_, len)| *len).max().unwrap());
    }
}

/// E29: a second origin, named when the feed was made, goes on sealing where the first left off.
#[test]
fn both_origins_seal_and_nobody_else() {
    let mut ledger = Ledger::new(&genesis());
    ledger.apply(&sealed(1, 0, 1, &[(7, 3)]));
    ledger.apply(&sealed(2, 0, 2, &[(7, 5)]));
    ledger.apply(&sealed(9, 0, 3, &[(7, 9)]));
    assert_eq!(ledger.seal_of(Place { log: log(7), seq: 2 }), Some(1));
    assert_eq!(ledger.seal_of(Place { log: log(7), seq: 4 }), Some(2));
    assert_eq!(ledger.seal_of(Place { log: log(7), seq: 5 }), None);
    assert_eq!(ledger.newest_seal().map(|(index, _)| index), Some(2));
}

#[test]
fn seals_leave_the_digest_of_the_rules_as_it_is() {
    let mut ledger = Ledger::new(&genesis());
    let (rules, seals) = (ledger.rules_digest(), ledger.seals_digest());
    ledger.apply(&sealed(1, 0, 1, &[(7, 3)]));
    assert_eq!(ledger.rules_digest(), rules);
    assert_ne!(ledger.seals_digest(), seals);
}

/// [P-55] Two histories of the origin's own log sealed different things: what lies behind the cut fixes nothing anywhere.
#[test]
fn a_seal_behind_a_cut_fixes_nothing() {
    let mut ledger = Ledger::new(&genesis());
    let tip = Tip { author: SiteId([1; 32]), epoch: 1, len: 0, root: [0; 32] };
    let cut = Cut {
        tip,
        signed: Timestamp(0),
        succession: Default::default(),
        signature: Vec::new(),
        reason: String::new(),
    };
    let place = Place { log: LogId { epoch: 2, ..log(1) }, seq: 0 };
    let op = Op { place, stamp: Hlc(9), body: Body::Cut(cut) };
    ledger.apply(&NamedOp { id: op.id(), statement: op.encode_statement(), op });
    ledger.apply(&sealed(1, 0, 1, &[(7, 3)]));
    assert_eq!(ledger.newest_seal(), None);
    assert_eq!(ledger.seal_of(Place { log: log(7), seq: 2 }), None);
    ledger.apply(&sealed(2, 0, 2, &[(7, 3)]));
    assert_eq!(ledger.seal_of(Place { log: log(7), seq: 2 }), Some(2), "the other origin's log is whole");
}
