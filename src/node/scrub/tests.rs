//! How far a scrub is, as it lies on disk and over a restart.

use super::*;
use crate::store::{Options, Store};

/// What lies on disk is read by every later version.
#[test]
fn how_far_a_scrub_is_is_these_bytes() {
    let over = Pass { ended: Some(Timestamp(5)), going: None };
    assert_eq!(postcard::to_allocvec(&over).unwrap(), [1, 5, 0]);
    let going: Pass = postcard::from_bytes(&[0, 1, 1, 2, 3, 4]).unwrap();
    assert_eq!(going.going.map(|(began, _, bytes)| (began, bytes)), Some((Timestamp(1), 4)));
    assert_eq!(postcard::to_allocvec(&going).unwrap(), [0, 1, 1, 2, 3, 4]);
}

#[test]
fn a_pass_ends_is_noted_and_the_next_is_not_due() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Options::new(9)).unwrap();
    store.put_small(protocol::id::BlobId(*blake3::hash(b"kept").as_bytes()), b"kept").unwrap();
    store.sync().unwrap();
    let key = crate::identity::SiteKey::create(&folder.path().join("key").join("site.key")).unwrap();
    let site = SiteStore::new(store, key);
    let mut pass = Pass { ended: None, going: Some((Timestamp(1), ScrubPlace::default(), 0)) };
    let mut read = 0;
    while pass.going.is_some() {
        let (after, bytes, loss) = step(&site, pass, 1).unwrap();
        assert_eq!(loss, Loss::default());
        (pass, read) = (after, read + bytes);
    }
    assert!(read >= 64 + 4, "{read}");
    assert_eq!(noted(&site).unwrap().ended, pass.ended);
    assert!(pass.ended.is_some());
}
