//! Every right against everything that can be said: what a site without the right says counts nowhere but at itself.

use super::*;
use crate::op::{SetRef, Target};
use crate::reference::references;

const GRANTED_BY_MEMBER: u8 = 7;
const ONLOOKER: u8 = 9;

/// What a member says, and whether an onlooker sees that it counts.
type Saying = (&'static str, fn(Rights) -> bool);

fn onlooker(rights: Rights) -> Looking {
    Looking { member: rights, ..Looking::from(ONLOOKER) }
}

fn publishes(rights: Rights) -> bool {
    let new = publish(MEMBER, 0, 1, &[]);
    onlooker(rights).at(&[&new]).winner == Some(new.id)
}

fn deletes_its_own(rights: Rights) -> bool {
    let own = publish(MEMBER, 0, 1, &[]);
    let rights = Rights { publish: true, ..rights };
    onlooker(rights).at(&[&own, &delete(MEMBER, 1, &[&own])]).winner.is_none()
}

fn deletes_anothers(rights: Rights) -> bool {
    let first = publish(ORIGIN, 1, 1, &[]);
    onlooker(rights).at(&[&first, &delete(MEMBER, 0, &[&first])]).winner.is_none()
}

fn deletes_what_it_did_not_see(rights: Rights) -> bool {
    let first = publish(ORIGIN, 1, 1, &[]);
    onlooker(rights).at(&[&first, &delete(MEMBER, 0, &[])]).winner.is_none()
}

fn restores(rights: Rights) -> bool {
    let first = publish(ORIGIN, 1, 1, &[]);
    let gone = delete(ORIGIN, 2, &[&first]);
    let again = publish(MEMBER, 0, 1, &[&gone]);
    onlooker(rights).at(&[&first, &gone, &again]).winner == Some(again.id)
}

fn displaces_what_is_sealed(rights: Rights) -> bool {
    let first = publish(ORIGIN, 1, 1, &[]);
    let tip = Tip { author: site(ORIGIN), epoch: 1, len: 2, root: [0; 32] };
    let seal = said(ORIGIN, 2, Body::Seal(Seal { index: 1, frontier: vec![tip], state_root: [0; 32] }));
    let other = publish(MEMBER, 0, 2, &[]);
    onlooker(rights).at(&[&first, &seal, &other]).winner != Some(first.id)
}

fn says_how_it_is_offered(rights: Rights) -> bool {
    let first = publish(ORIGIN, 1, 1, &[]);
    let offer = Offer::Unlisted;
    let unlisted = said(MEMBER, 3, Body::SetState(SetState { coordinate: coordinate(), offer }));
    onlooker(rights).at(&[&first, &unlisted]).offer == Offer::Unlisted
}

fn resolves(rights: Rights) -> bool {
    let (first, second) = (publish(ORIGIN, 1, 1, &[]), publish(ORIGIN, 2, 2, &[]));
    let resolve = Resolve { coordinate: coordinate(), winner: second.id };
    onlooker(rights).at(&[&first, &second, &said(MEMBER, 0, Body::Resolve(resolve))]).winner
        == Some(second.id)
}

fn block(author: u8, seq: u64, target: Blocked) -> NamedOp {
    said(author, seq, Body::Block(Block { target, reason: String::new() }))
}

fn blocks_a_version(rights: Rights) -> bool {
    let first = publish(ORIGIN, 1, 1, &[]);
    onlooker(rights).at(&[&first, &block(MEMBER, 0, Blocked::Coordinate(coordinate()))]).winner.is_none()
}

fn blocks_bytes(rights: Rights) -> bool {
    let first = publish(ORIGIN, 1, 1, &[]);
    onlooker(rights).at(&[&first, &block(MEMBER, 0, Blocked::Blob(BlobId([1; 32])))]).winner.is_none()
}

fn lifts_the_origins_block(rights: Rights) -> bool {
    let first = publish(ORIGIN, 1, 1, &[]);
    let blocked = block(ORIGIN, 2, Blocked::Coordinate(coordinate()));
    let lifted = said(MEMBER, 0, Body::Unblock(Unblock { block: blocked.id, reason: String::new() }));
    onlooker(rights).at(&[&first, &blocked, &lifted]).winner == Some(first.id)
}

fn points_a_ref(rights: Rights) -> bool {
    let mut ledger = Ledger::new(&genesis());
    ledger.apply(&granted(rights));
    let target = Some(Target::Version("1.0".to_owned()));
    let set = SetRef { package: "tool".to_owned(), name: "latest".to_owned(), target };
    !references(&[said(MEMBER, 0, Body::SetRef(set))], &ledger, site(ONLOOKER), NOW).is_empty()
}

fn grants(rights: Rights) -> bool {
    let grant = Grant {
        grantee: site(GRANTED_BY_MEMBER),
        label: String::new(),
        rights: Rights::WRITE,
        prefix: String::new(),
        expires: None,
    };
    let new = publish(GRANTED_BY_MEMBER, 0, 1, &[]);
    onlooker(rights).at(&[&said(MEMBER, 5, Body::Grant(grant)), &new]).winner == Some(new.id)
}

fn revokes_the_origin(rights: Rights) -> bool {
    let revoke = Revoke { grantee: site(ORIGIN), accepted: vec![], reason: String::new() };
    let first = publish(ORIGIN, 1, 1, &[]);
    onlooker(rights).at(&[&first, &said(MEMBER, 0, Body::Revoke(revoke))]).winner.is_none()
}

fn seals(rights: Rights) -> bool {
    let first = publish(ORIGIN, 1, 1, &[]);
    let tip = Tip { author: site(ORIGIN), epoch: 1, len: 2, root: [0; 32] };
    let seal = Seal { index: 1, frontier: vec![tip], state_root: [0; 32] };
    onlooker(rights).at(&[&first, &said(MEMBER, 0, Body::Seal(seal))]).seal.is_some()
}

const SAYINGS: [Saying; 14] = [
    ("publish", publishes),
    ("delete one's own", deletes_its_own),
    ("delete another's", deletes_anothers),
    ("delete what one did not see", deletes_what_it_did_not_see),
    ("restore", restores),
    ("displace what is sealed", displaces_what_is_sealed),
    ("say how it is offered", says_how_it_is_offered),
    ("resolve a clash", resolves),
    ("block a version", blocks_a_version),
    ("block bytes", blocks_bytes),
    ("lift the origin's block", lifts_the_origins_block),
    ("point a ref", points_a_ref),
    ("grant", grants),
    ("seal", seals),
];

/// [P-21] The rights, in the order of the columns below: none, publish, delete one's own, delete, block, admin, all of them.
#[test]
fn each_right_lets_its_holder_do_what_it_names_and_nothing_else() {
    let none = Rights::default();
    let holders = [
        none,
        Rights { publish: true, ..none },
        Rights { delete_own: true, ..none },
        Rights { delete_wide: true, ..none },
        Rights { block: true, ..none },
        Rights { admin: true, ..none },
        Rights::ALL,
    ];
    let found: Vec<String> = SAYINGS
        .iter()
        .map(|(what, counts)| {
            let row: String = holders.iter().map(|rights| if counts(*rights) { 'x' } else { '.' }).collect();
            format!("{row} {what}")
        })
        .collect();
    let expected = [
        ".x....x publish",
        "..xx..x delete one's own",
        "...x..x delete another's",
        "...x..x delete what one did not see",
        ".x....x restore",
        "....... displace what is sealed",
        ".x....x say how it is offered",
        ".....xx resolve a clash",
        "....x.x block a version",
        "....x.x block bytes",
        "....x.x lift the origin's block",
        ".x....x point a ref",
        ".....xx grant",
        "....... seal",
    ];
    assert_eq!(found, expected);
    for rights in holders {
        assert!(!revokes_the_origin(rights), "nobody takes the origin's rights");
    }
}
