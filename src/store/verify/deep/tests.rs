//! A sound store passes, whatever it went through; each thing that is derived and wrong is found, named and mended.

use protocol::filter::Filter;
use protocol::op::{Seal, Tip};

use super::super::super::keys::{LogEntry, ViewEntry};
use super::*;
use crate::store::Shelf;
use crate::store::disk::fake::FakeDisk;
use crate::store::engine::InMemory;
use crate::store::ops::tests::{Author, delete, look, publish, record};
use crate::store::tests::{Dice, ingest, open};

struct Site {
    store: Store,
    author: Author,
    feed: FeedId,
}

/// A store with versions, deletions, records, drops, packs written anew.
fn site() -> Site {
    let store = open(&FakeDisk::new(), &InMemory::default());
    let mut author = Author::new(80);
    let feed = store.put_feed(&record(&author)).unwrap();
    let mut site_ops = Vec::new();
    for n in 0..9_u64 {
        let bytes = Dice::new(n).bytes(if n % 4 == 0 { 400_000 } else { 90_000 });
        ingest(&store, &bytes).unwrap();
        let said = author.says(feed, vec![publish(&format!("p{n}"), "1", &bytes)]);
        site_ops.push(said.inner().ops()[0].id);
        store.append(&[said]).unwrap();
        store.put_record(Shelf::Settings, &[u8::try_from(n % 3).unwrap()], &bytes[..3000]).unwrap();
    }
    for n in [1, 4, 5, 8] {
        let said = author.says(feed, vec![delete(&format!("p{n}"), "1", vec![site_ops[n]])]);
        store.append(&[said]).unwrap();
    }
    let site = Site { store, author, feed };
    for _ in 0..3 {
        site.store.sweep(look(&site.author), false, |_, _| false).unwrap();
    }
    assert!(site.store.reclaim(90).unwrap().packs > 0);
    for n in 0..9 {
        site.store.item(feed, &format!("p{n}"), "1", look(&site.author)).unwrap();
    }
    site
}

impl Site {
    fn deep(&self) -> Deep {
        self.store.verify_deep(look(&self.author)).unwrap()
    }

    /// Changes the index behind the store's back.
    fn change(&self, tree: Tree, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.store
            .with_index(|index| index.apply(&[Change { tree, key: key.clone(), value: value.clone() }]))
            .unwrap();
    }

    fn first(&self, tree: Tree) -> (Vec<u8>, Vec<u8>) {
        self.store.with_index(|index| index.page(tree, &[], &[], 1)).unwrap().remove(0)
    }
}

#[test]
fn a_sound_store_passes_and_everything_was_looked_at() {
    let site = site();
    let deep = site.deep();
    assert_eq!((deep.wrong, deep.logs, deep.ops, deep.versions), (0, 1, 13, 9), "{deep:?}");
    assert!(deep.entries > 40 && deep.index_left_out.is_none(), "{deep:?}");
    site.store.rebuild_index().unwrap();
    assert_eq!(site.deep().wrong, 0);
}

#[test]
fn an_entry_that_is_gone_or_another_or_too_much_is_found_and_the_index_built_anew() {
    for tree in FROM_PACKS {
        if matches!(tree, Tree::Ref | Tree::Said | Tree::Log | Tree::Batch | Tree::Op) {
            continue;
        }
        let site = site();
        let (key, value) = site.first(tree);
        site.change(tree, key.clone(), None);
        let deep = site.deep();
        assert!(deep.wrong > 0, "{tree:?}: a lost entry");
        assert_eq!(site.first(tree), (key, value), "{tree:?} was not built anew");
        assert_eq!(site.deep().wrong, 0, "{tree:?}");
    }
    let site = site();
    let (_, value) = site.first(Tree::Record);
    site.change(Tree::Record, b"\x05no such key".to_vec(), Some(value));
    let deep = site.deep();
    assert!(deep.wrong == 1 && deep.named[0].contains("knows and the packs do not"), "{deep:?}");
    assert_eq!(site.deep().wrong, 0);
}

#[test]
fn a_log_whose_entry_lies_is_set_right() {
    let site = site();
    let (key, value) = site.first(Tree::Log);
    let entry: LogEntry = keys::decode(&value).unwrap();
    let (short, _) = site.store.batch_at(site.author.log(site.feed), 0).unwrap().unwrap();
    let after = short.verify(&Mmr::default()).unwrap().after().clone();
    site.change(Tree::Log, key, Some(keys::encode(&LogEntry { after, ..entry })));
    assert!(site.deep().wrong > 0);
    assert_eq!(site.deep().wrong, 0);
    assert_eq!(site.store.log_state(site.author.log(site.feed)).unwrap().unwrap().after.len(), 13);
}

#[test]
fn what_stands_is_worked_out_again() {
    let site = site();
    let key = keys::view(site.feed, "p0", "1");
    let read = |key: &[u8]| {
        site.store
            .with_index(|index| index.value(Tree::View, key))
            .unwrap()
            .map(|value| keys::decode(&value).unwrap())
    };
    let Some(ViewEntry::Known { rules, seals, .. }) = read(&key) else { panic!("it was worked out") };
    let Some(ViewEntry::Known { item, .. }) = read(&keys::view(site.feed, "p1", "1")) else {
        panic!("it was")
    };
    site.change(Tree::View, key, Some(keys::encode(&ViewEntry::Known { rules, seals, item })));
    let deep = site.deep();
    assert!(deep.wrong == 1 && deep.named[0].contains("p0@1"), "{deep:?}");
    assert_eq!(site.deep().wrong, 0);
    let item = site.store.item(site.feed, "p0", "1", look(&site.author)).unwrap().unwrap();
    assert!(item.winner.is_some(), "{item:?}");
}

/// A version of one build is served alike under a seal and without: what was worked out before the seal came still holds.
#[test]
fn a_seal_over_versions_that_were_looked_at_before_is_no_fault() {
    let mut site = site();
    let log = site.author.log(site.feed);
    let after = site.store.log_state(log).unwrap().unwrap().after;
    let tip = Tip { author: log.author, epoch: log.epoch, len: after.len(), root: after.root() };
    let seal = Seal { index: 1, frontier: vec![tip], state_root: [0; 32] };
    site.store.append(&[site.author.says(site.feed, vec![Body::Seal(seal)])]).unwrap();
    let deep = site.deep();
    assert_eq!((deep.wrong, deep.ops), (0, 14), "{deep:?}");
}

#[test]
fn what_is_missing_and_not_wanted_is_found_and_wanted_again() {
    let mut site = site();
    let said = site.author.says(site.feed, vec![publish("away", "1", b"elsewhere")]);
    site.store.append(&[said]).unwrap();
    assert_eq!(site.deep().wrong, 0, "it is wanted");
    let blob = crate::store::tests::id(b"elsewhere");
    site.change(Tree::Want, keys::want(site.feed, blob), None);
    let missing = || {
        let missing = site.store.missing_blobs(site.feed, look(&site.author), &Filter::default()).unwrap();
        missing.into_iter().map(|one| one.blob).collect::<Vec<_>>()
    };
    assert_eq!(missing(), []);
    let deep = site.deep();
    assert!(deep.wrong == 1 && deep.named[0].contains("not wanted"), "{deep:?}");
    assert_eq!(missing(), [blob]);
    assert_eq!((site.deep().wrong, site.store.index_rebuilds()), (0, 0));
}

/// A loss of power may have taken what an index still knows: no fault, and nothing to be built anew.
#[test]
fn an_index_that_is_ahead_of_the_packs_is_no_fault() {
    let (disk, engine) = (FakeDisk::new(), InMemory::default());
    let store = open(&disk, &engine);
    ingest(&store, b"durable").unwrap();
    store.put_small(crate::store::tests::id(b"lost"), b"lost").unwrap();
    drop(store);
    disk.cut_power(|| false);
    let store = open(&disk, &engine);
    assert_eq!(store.blob_state(crate::store::tests::id(b"lost")).unwrap(), BlobState::Missing);
    let deep = store.verify_deep(look(&Author::new(80))).unwrap();
    assert_eq!((deep.wrong, store.index_rebuilds()), (0, 0), "{deep:?}");
}
