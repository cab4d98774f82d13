//! Random histories of everything that can be said: two sites that hold the same ops see the same, whatever the order in which they came.

use proptest::collection::vec;

use super::*;
use crate::op::{Closing, Cut, OpenEpoch};
use crate::succession::{Succession, first_epoch};

const SITES: u8 = 5;

/// One op, still to be made: its author, what it says and of whom, and its stamp.
type Cast = (u8, u8, u8, u8, u64);

/// An epoch of a site's first, second or third key.
fn epoch(n: u8) -> u64 {
    match n % 8 {
        0..4 => 1,
        4 => 2,
        5 => first_epoch(1),
        6 => first_epoch(1) + 1,
        _ => first_epoch(2),
    }
}

fn tip(of: SiteId, n: u8) -> Tip {
    Tip { author: of, epoch: epoch(n / 8), len: u64::from(n % 6), root: [0; 32] }
}

fn grant(grantee: SiteId, a: u8, b: u8) -> Body {
    let rights = Rights {
        publish: a & 1 == 1,
        delete_own: a & 2 == 2,
        delete_wide: a & 4 == 4,
        block: a & 8 == 8,
        admin: b & 1 == 1,
    };
    let prefix = if b.is_multiple_of(4) { "to".to_owned() } else { String::new() };
    let expires = b.is_multiple_of(3).then_some(Timestamp(NOW.0 + u64::from(b)));
    Body::Grant(Grant { grantee, label: String::new(), rights, prefix, expires })
}

/// What is said of rights, of a log or of the feed as a whole.
fn ruling(author: SiteId, kind: u8, a: u8, b: u8) -> Body {
    let (about, reason) = (site(a % SITES + 1), String::new());
    match kind {
        0 | 1 => grant(about, a / 8, b),
        2 => Body::Revoke(Revoke { grantee: about, accepted: vec![tip(about, b)], reason }),
        3 => Body::Cut(Cut {
            tip: Tip { len: 0, ..tip(about, b) },
            signed: NOW,
            succession: Succession::NONE,
            signature: Vec::new(),
            reason,
        }),
        4 => {
            let closing = Closing { key: site(100 + b % 2), accepted: vec![tip(author, a), tip(author, b)] };
            Body::OpenEpoch(OpenEpoch { known: None, closes: Some(closing) })
        }
        _ => {
            let frontier = vec![tip(about, a), tip(site(b % SITES + 1), b)];
            Body::Seal(Seal { index: u64::from(b % 9), frontier, state_root: [0; 32] })
        }
    }
}

fn cast(feed: &Genesis, said: &[NamedOp], seqs: &mut BTreeMap<LogId, u64>, cast: Cast) -> NamedOp {
    let (author, kind, a, b, time) = cast;
    let log = LogId { feed: feed.feed_id(), author: site(author % SITES + 1), epoch: epoch(author / SITES) };
    let seq = seqs.entry(log).or_default();
    let pick = |n: u8| said.get(usize::from(n) % said.len().max(1)).map_or(OpId([n; 32]), |named| named.id);
    let blob = BlobId([b % 3; 32]);
    let (at, reason) = (coordinate(), String::new());
    let body = match kind % 13 {
        0..3 => Body::Publish(Publish {
            coordinate: at,
            manifest: Manifest::of(vec![File {
                name: "tool".to_owned(),
                blob,
                size: 1,
                sha256: [b % 3; 32],
            }])
            .unwrap(),
            supersedes: if a.is_multiple_of(2) { vec![pick(a), pick(b)] } else { vec![] },
            provenance: None,
        }),
        3 => Body::Delete(Delete { coordinate: at, saw: vec![pick(a)], reason }),
        4 => {
            let of_bytes = a.is_multiple_of(2);
            let target = if of_bytes { Blocked::Blob(blob) } else { Blocked::Coordinate(at) };
            Body::Block(Block { target, reason })
        }
        5 => Body::Unblock(Unblock { block: pick(a), reason }),
        6 => Body::Resolve(Resolve { coordinate: at, winner: pick(a) }),
        ruled => ruling(log.author, ruled - 7, a, b),
    };
    let stamp = Hlc(((NOW.0 + time % 300) << 16) + time % 5);
    let op = Op { place: Place { log, seq: *seq }, stamp, body };
    *seq += 1;
    NamedOp { id: op.id(), statement: op.encode_statement(), op }
}

/// The ledger as a store keeps it: what comes is entered, and what may leave something out has it worked out anew, rights first.
fn taken_in(genesis: &Genesis, ops: &[NamedOp]) -> Ledger {
    let mut ledger = Ledger::new(genesis);
    for (at, named) in ops.iter().enumerate() {
        if named.op.body.leaves_out() {
            ledger = Ledger::new(genesis);
            let held = ops.iter().take(at + 1);
            let (rights, others): (Vec<_>, Vec<_>) = held.partition(|named| named.op.body.is_about_rights());
            for named in rights.into_iter().chain(others) {
                ledger.apply(named);
            }
        } else {
            ledger.apply(named);
        }
    }
    ledger
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn two_sites_with_the_same_ops_see_the_same_whatever_came_first(
        casts in vec(any::<Cast>(), 1..24),
        moves in vec(any::<prop::sample::Index>(), 24),
        reuse in any::<bool>(),
        overwrite in any::<bool>(),
        two_origins in any::<bool>(),
    ) {
        let genesis = Genesis { reuse, overwrite, second_origin: two_origins.then(|| site(2)), ..genesis() };
        let (mut ops, mut seqs) = (Vec::new(), BTreeMap::new());
        for one in casts {
            let named = cast(&genesis, &ops, &mut seqs, one);
            ops.push(named);
        }
        let mut turned = ops.clone();
        for (at, to) in moves.iter().enumerate().take(ops.len()) {
            turned.swap(at, to.index(ops.len()));
        }
        let (here, there) = (taken_in(&genesis, &ops), taken_in(&genesis, &turned));
        prop_assert_eq!(here.authority(), there.authority());
        prop_assert_eq!(here.rules_digest(), there.rules_digest());
        let held = Held::default();
        let see = |ledger: &Ledger, ops: &[NamedOp], now: Timestamp| {
            let about = |named: &&NamedOp| named.op.body.coordinate().is_some();
            let about: Vec<NamedOp> = ops.iter().filter(about).cloned().collect();
            decide(&about, Rules { ledger, me: site(77), now, local_wins: false, held: &held })
        };
        for now in [NOW, Timestamp(NOW.0 + 10_000_000)] {
            prop_assert_eq!(see(&here, &ops, now), see(&there, &turned, now));
        }
    }
}
