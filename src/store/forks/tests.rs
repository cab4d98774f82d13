//! Proofs made from logs on disk: from every pair of lengths, kept once, found after a loss of the index.

use ed25519_dalek::SigningKey;
use protocol::id::SiteId;
use protocol::log::Verified;
use protocol::op::Body;
use protocol::time::{Hlc, Timestamp};

use super::*;
use crate::store::disk::fake::FakeDisk;
use crate::store::engine::{Engine, InMemory};
use crate::store::ops::tests::{Author, publish, record};
use crate::store::tests::open;

/// Batches of one author: `common` of them alike in every history of the same `salt`-less beginning.
fn history(author: &mut Author, feed: FeedId, common: u8, own: u8, salt: &str) -> Vec<Verified> {
    let batch = |author: &mut Author, name: &str, n: u8| {
        let ops: Vec<Body> =
            (0..=(n % 3)).map(|m| publish(&format!("{name}-{n}-{m}"), "1", &[n, m])).collect();
        author.says(feed, ops).into_inner()
    };
    let before: Vec<_> = (0..common).map(|n| batch(author, "common", n)).collect();
    before.into_iter().chain((0..own).map(|n| batch(author, salt, n))).collect()
}

fn held(history: &[Verified]) -> (FakeDisk, InMemory, Store, FeedId) {
    let (disk, engine) = (FakeDisk::new(), InMemory::default());
    let store = open(&disk, &engine);
    let feed = store.put_feed(&record(&Author::new(1))).unwrap();
    for batch in history {
        store.append(&[protocol::grant::Permitted::local(batch.clone(), false).unwrap()]).unwrap();
    }
    (disk, engine, store, feed)
}

#[test]
fn logs_on_disk_prove_forks_of_any_length_and_tell_where_they_part() {
    let feed = record(&Author::new(1)).genesis.feed_id();
    for (common, ours, theirs) in [(0, 1, 1), (0, 3, 1), (40, 1, 2), (40, 30, 2), (90, 40, 40)] {
        let a = history(&mut Author::new(1), feed, common, ours, "a");
        let b = history(&mut Author::new(1), feed, common, theirs, "b");
        let (_, _, store, _) = held(&a);
        let apart = a[usize::from(common)].first();
        for batch in &a {
            assert_eq!(store.fork_by(batch.head()).unwrap(), None, "its own heads prove nothing");
            assert_eq!(store.root_at(batch.log(), batch.after().len()).unwrap(), Some(batch.after().root()));
        }
        for batch in b.iter().skip(usize::from(common)) {
            let len = batch.after().len();
            let proof = store.fork_by(batch.head()).unwrap();
            assert_eq!(
                proof.is_some(),
                len <= a.last().unwrap().after().len(),
                "{common} {ours} {theirs} {len}"
            );
            let Some(proof) = proof else { continue };
            let (_, _, other, _) = held(&b);
            assert_eq!(other.in_common(&proof).unwrap(), apart.min(other.in_common(&proof).unwrap()));
            assert!(other.in_common(&proof).unwrap() + 64 >= apart);
            let cut = other.head_within(batch.log(), apart).unwrap();
            assert_eq!(cut.map_or(0, |head| head.head.len), apart, "the common part ends at a head");
        }
    }
}

#[test]
fn one_proof_a_log_is_kept_and_found_after_the_index_is_lost() {
    let feed = record(&Author::new(1)).genesis.feed_id();
    let a = history(&mut Author::new(1), feed, 3, 5, "a");
    let b = history(&mut Author::new(1), feed, 3, 5, "b");
    let (disk, engine, store, _) = held(&a);
    let late = store.fork_by(b[6].head()).unwrap().unwrap();
    let early = store.fork_by(b[4].head()).unwrap().unwrap();
    assert!(store.put_fork(&late).unwrap());
    assert!(!store.put_fork(&late).unwrap(), "the same again");
    assert!(store.put_fork(&early).unwrap(), "a shorter one says more");
    assert!(!store.put_fork(&late).unwrap());
    assert_eq!(&*store.forks(feed).unwrap(), std::slice::from_ref(&early));
    drop(store);
    engine.set_aside().unwrap();
    let store = open(&disk, &engine);
    assert_eq!(store.all_forks().unwrap(), [early]);
}

#[test]
fn a_proof_whose_bytes_rot_is_kept_again_when_it_is_shown_again() {
    let feed = record(&Author::new(1)).genesis.feed_id();
    let a = history(&mut Author::new(1), feed, 90, 40, "a");
    let b = history(&mut Author::new(1), feed, 90, 40, "b");
    let (disk, engine, store, _) = held(&a);
    let proof = store.fork_by(b[120].head()).unwrap().unwrap();
    let (pack, before) = store.inner.packs.end();
    assert!(store.put_fork(&proof).unwrap());
    assert_eq!(store.forks(feed).unwrap().len(), 1);
    let at = usize::try_from(before).unwrap() + 64 + 100;
    store.lose_spares();
    disk.damage(pack, |pack| pack[at] ^= 8);
    assert_eq!(store.verify(|_| {}).unwrap().damage.len(), 1);
    assert!(store.forks(feed).unwrap().is_empty(), "what rotted is here no more");
    assert!(store.put_fork(&proof).unwrap(), "and is kept when a peer shows it");
    drop(store);
    engine.set_aside().unwrap();
    assert_eq!(open(&disk, &engine).all_forks().unwrap(), [proof]);
}

/// Two histories of `len` ops of one log, one log an epoch.
fn forked(feed: FeedId, epoch: u64, len: u8) -> ForkProof {
    let key = SigningKey::from_bytes(&[7; 32]);
    let log = LogId { feed, author: SiteId(key.verifying_key().to_bytes()), epoch };
    let said = |name: &str| {
        let bodies = (0..len).map(|n| publish(&format!("{name}-{n}"), "1", &[n])).collect();
        Verified::author(&key, log, &Mmr::default(), bodies, Hlc(1 << 16), Timestamp(1))
    };
    let (one, other) = (said("one"), said("other"));
    let rest = other.to_batch().runs();
    ForkProof::between(one.head().clone(), other.head().clone(), &Mmr::default(), &rest).unwrap()
}

/// A thief of many keys, or an author with many epochs, could prove forks for ever.
#[test]
fn so_many_proofs_of_a_feed_are_kept_and_a_better_one_of_those_still_is() {
    let (_, _, store, feed) = held(&[]);
    for epoch in 0..FORKS_PER_FEED_MAX as u64 {
        let proof = forked(feed, epoch, 2);
        // By its record: every other way reads and checks all that are there.
        store.put_record(Shelf::Forks, &key(proof.log()), &keys::encode(proof.fork())).unwrap();
    }
    assert_eq!(store.forks(feed).unwrap().len(), FORKS_PER_FEED_MAX);
    let one_more = forked(feed, FORKS_PER_FEED_MAX as u64, 1);
    assert!(!store.put_fork(&one_more).unwrap());
    assert_eq!(store.forks(feed).unwrap().len(), FORKS_PER_FEED_MAX);
    let shorter = forked(feed, 0, 1);
    assert!(store.put_fork(&shorter).unwrap(), "it says more of a log that is there");
    let kept = store.forks(feed).unwrap();
    assert!(kept.len() == FORKS_PER_FEED_MAX && kept.contains(&shorter));
}
