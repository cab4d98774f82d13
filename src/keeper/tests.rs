//! Where a site's clock goes on after a start.

use protocol::op::{Genesis, SetRef};
use protocol::package::FeedKind;

use super::*;
use crate::store::disk::fake::FakeDisk;
use crate::store::{FeedRecord, Options, engine};

const HOUR_MS: u64 = 3_600_000;

/// A clock that was an hour fast is set right, and the program starts again. What the site says next is later than what it said before:
/// else a tag that is moved would stay where it was.
#[test]
fn after_a_start_a_stamp_is_above_every_one_given_before() {
    let key = SiteKey::from_seed(&[1; 32]);
    let genesis = Genesis {
        kind: FeedKind::Raw,
        name: "tools".to_owned(),
        origin: key.site_id(),
        second_origin: None,
        reuse: false,
        overwrite: false,
        created: wall_clock(),
        nonce: [0; 16],
    };
    let feed = genesis.feed_id();
    let index = engine::InMemory::default();
    let store = Store::open_on(Arc::new(FakeDisk::new()), Box::new(index), Options::new(1)).unwrap();
    let name = "tools".to_owned();
    let record = FeedRecord { name, genesis, strict: false, local_wins: false, open_reads: false };
    store.put_feed(&record).unwrap();
    let moved = || Body::SetRef(SetRef { package: "a".to_owned(), name: "stable".to_owned(), target: None });
    let log = LogId { feed, author: key.site_id(), epoch: 1 };
    let fast = Timestamp(wall_clock().0 + HOUR_MS);
    let (mut held, mut clock) = (Mmr::default(), Hlc::default());
    for wall in [fast, wall_clock()] {
        let said = Verified::author(key.signing_key(), log, &held, vec![moved()], clock, wall);
        (held, clock) = (said.after().clone(), said.ops()[0].op.stamp);
        store.append(&[Permitted::local(said, false).unwrap()]).unwrap();
    }
    let site = SiteStore::new(store, key);
    let next = site.author(feed, vec![moved()]).unwrap();
    assert!(next[0].op.stamp > clock);
}
