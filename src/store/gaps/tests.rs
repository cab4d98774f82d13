//! Ops that were left out of a batch, put in their places later: seen, served, found after a loss, lacking again after damage.

use protocol::feed::Standing;
use protocol::grant::Authority;
use protocol::id::FeedId;
use protocol::log::{BatchError, Mmr};
use protocol::switches::Switches;

use super::*;
use crate::store::disk::fake::FakeDisk;
use crate::store::engine::{Engine, InMemory};
use crate::store::ops::tests::{Author, delete, genesis, look, publish, record};
use crate::store::tests::open;

/// A store that holds a log of one batch from which a delete was left out, and the batch in full.
struct LeftOut {
    disk: FakeDisk,
    engine: InMemory,
    store: Store,
    author: Author,
    feed: FeedId,
    full: Batch,
}

fn left_out() -> LeftOut {
    let (disk, engine) = (FakeDisk::new(), InMemory::default());
    let store = open(&disk, &engine);
    let mut author = Author::new(1);
    let feed = store.put_feed(&record(&author)).unwrap();
    let said = [publish("a", "1", b"a"), delete("a", "1", vec![]), publish("b", "1", b"b")];
    let full = author.says(feed, said.to_vec()).into_inner().to_batch();
    let mut thin = full.clone();
    let removed = thin.clone().verify(&Mmr::default()).unwrap().ops()[1].id;
    thin.entries[1] = Entry::Skip { height: 0, hash: removed.0 };
    let verified = thin.verify(&Mmr::default()).unwrap();
    store.append(&[permitted(&author, verified)]).unwrap();
    LeftOut { disk, engine, store, author, feed, full }
}

fn permitted(author: &Author, verified: protocol::log::Verified) -> Permitted<protocol::log::Verified> {
    let authority = Authority::new(&genesis(author));
    let feed = verified.log().feed;
    Permitted::<protocol::log::Verified>::received(verified, feed, Switches::PULL, &authority, author.site())
        .unwrap()
}

fn filling(of: &LeftOut) -> Permitted<Filling> {
    let log = of.author.log(of.feed);
    let gap = |seq| Ok::<_, BatchError>(of.store.gap(log, seq).unwrap());
    let filling = of.full.filling(gap).unwrap();
    let authority = Authority::new(&genesis(&of.author));
    Permitted::filled(filling, of.feed, Switches::PULL, &authority, of.author.site()).unwrap()
}

fn standing(store: &Store, of: &LeftOut) -> Standing {
    store.item(of.feed, "a", "1", look(&of.author)).unwrap().unwrap().standing
}

#[test]
fn an_op_that_came_later_counts_is_told_and_is_served_in_its_place() {
    let of = left_out();
    let log = of.author.log(of.feed);
    assert_eq!(of.store.gaps(log).unwrap(), (1, Some(1)));
    assert_eq!(standing(&of.store, &of), Standing::Served);
    let before = of.store.newest_generation().unwrap();
    of.store.fill(&filling(&of)).unwrap();
    assert_eq!(standing(&of.store, &of), Standing::Suppressed);
    assert_eq!(of.store.gaps(log).unwrap(), (0, None));
    assert_eq!(of.store.batches(log, 0, u64::MAX).unwrap(), std::slice::from_ref(&of.full));
    let changed = of.store.changed_since(before).unwrap();
    assert_eq!(changed.logs.get(&log), Some(&1), "others hear of it");
    let (seen, arrived) = of.store.arrived(0, u64::MAX, usize::MAX, |_| true).unwrap();
    let kinds: Vec<_> = arrived.iter().map(|(at, named)| (*at, named.op.body.kind_name())).collect();
    assert_eq!((seen, kinds), (3, vec![(1, "publish"), (2, "publish"), (3, "delete")]));
    assert_eq!(of.store.fill(&filling(&of)).unwrap(), changed.generation, "a second time adds nothing");
}

#[test]
fn what_came_later_is_there_after_a_cut_and_after_the_loss_of_the_index() {
    let mut of = left_out();
    of.store.fill(&filling(&of)).unwrap();
    for loses_index in [false, true] {
        let (disk, engine) = (of.disk.clone(), of.engine.clone());
        drop(std::mem::replace(&mut of.store, open(&FakeDisk::new(), &InMemory::default())));
        disk.cut_power(|| false);
        if loses_index {
            engine.set_aside().unwrap();
        }
        let store = open(&disk, &engine);
        let log = of.author.log(of.feed);
        assert_eq!((standing(&store, &of), store.gaps(log).unwrap()), (Standing::Suppressed, (0, None)));
        assert_eq!(store.batches(log, 0, u64::MAX).unwrap(), std::slice::from_ref(&of.full));
        of.store = store;
    }
}

#[test]
fn what_came_later_and_is_damaged_is_lacking_again_and_comes_again() {
    let of = left_out();
    of.store.fill(&filling(&of)).unwrap();
    let log = of.author.log(of.feed);
    let statement = match &of.full.entries[1] {
        Entry::Op(statement) => statement.clone(),
        Entry::Skip { .. } => panic!("the batch is in full"),
    };
    of.store.lose_spares();
    of.disk.damage(1, |pack| {
        let found = pack.windows(statement.len()).position(|part| part == statement);
        pack[found.unwrap()] ^= 1;
    });
    of.store.verify(|_| ()).unwrap();
    assert_eq!(of.store.gaps(log).unwrap(), (1, Some(1)));
    of.store.fill(&filling(&of)).unwrap();
    assert_eq!(standing(&of.store, &of), Standing::Suppressed);
}

/// The batch is written again behind what fills its gap, when packs are written anew or damage is healed.
#[test]
fn a_batch_that_is_written_again_opens_no_gap_that_was_filled() {
    for heals in [false, true] {
        let of = left_out();
        of.store.fill(&filling(&of)).unwrap();
        let log = of.author.log(of.feed);
        if heals {
            let Entry::Op(statement) = of.full.entries[2].clone() else { panic!("the batch is in full") };
            of.disk.damage(1, |pack| {
                let found = pack.windows(statement.len()).position(|part| part == statement);
                pack[found.unwrap()] ^= 1;
            });
            assert_eq!(of.store.verify(|_| {}).unwrap().damage.len(), 1);
        } else {
            let places = of.store.inner.packs.contents(1).unwrap().places;
            let batch = places.into_iter().find(|place| place.header.kind == Kind::Ops).unwrap();
            of.store.move_away(1, &[batch]).unwrap();
        }
        for anew in [false, true] {
            if anew {
                of.store.rebuild_index().unwrap();
            }
            assert_eq!(of.store.gaps(log).unwrap(), (0, None), "heals: {heals}, index anew: {anew}");
            assert_eq!(standing(&of.store, &of), Standing::Suppressed);
        }
    }
}
