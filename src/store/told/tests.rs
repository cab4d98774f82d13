//! Words about rights that a peer told, kept and lost.

use protocol::op::{Grant, Rights};

use super::*;
use crate::store::disk::fake::FakeDisk;
use crate::store::engine::InMemory;
use crate::store::ops::tests::{Author, publish, record};
use crate::store::tests::open;

#[test]
fn rights_that_were_told_hold_no_more_once_their_record_rots_and_do_when_they_are_told_again() {
    let site = SiteId([9; 32]);
    let grant = Grant {
        grantee: site,
        label: String::new(),
        rights: Rights::WRITE,
        prefix: String::new(),
        expires: None,
    };
    let mut origin = Author::new(1);
    let there = open(&FakeDisk::new(), &InMemory::default());
    let feed = there.put_feed(&record(&origin)).unwrap();
    // What the batch holds beside the grant is told by its hashes: too much for the index to keep itself.
    let beside = (0..90).map(|n| publish(&format!("p{n}"), "1", &[n]));
    there.append(&[origin.says(feed, std::iter::once(Body::Grant(grant)).chain(beside).collect())]).unwrap();
    let told = there.rights_proofs(feed, 1 << 20).unwrap().remove(0);
    let proof = RightsProof::check(told, feed).unwrap();

    let disk = FakeDisk::new();
    let here = open(&disk, &InMemory::default());
    here.put_feed(&record(&origin)).unwrap();
    let is_author = || here.authority(feed).unwrap().unwrap().is_author(site);
    let (pack, before) = here.inner.packs.end();
    here.put_rights(&proof).unwrap();
    assert!(is_author());
    let at = usize::try_from(before).unwrap() + 64 + 100;
    here.lose_spares();
    disk.damage(pack, |pack| pack[at] ^= 8);
    assert_eq!(here.verify(|_| {}).unwrap().damage.len(), 1);
    assert!(!is_author(), "nothing here proves it any more");
    here.put_rights(&proof).unwrap();
    assert!(is_author());
}
