//! What a blob's hash does not cover: its size, as somebody said it.

use std::sync::Barrier;
use std::thread;

use super::*;
use crate::store::disk::fake::FakeDisk;
use crate::store::engine::InMemory;
use crate::store::tests::{Dice, id, open, outline_of, read};

#[test]
fn a_size_that_somebody_lied_about_is_put_right_once_the_bytes_are_here() {
    let bytes = Dice::new(5).bytes(2 * EXTENT_BYTES + 777);
    let (blob, size) = (id(&bytes), bytes.len() as u64);
    for lie in [size - 700, size + 5000] {
        for all_extents_first in [false, true] {
            let store = open(&FakeDisk::new(), &InMemory::default());
            let lying = Outline { size: lie, ..outline_of(&bytes) };
            let parts: Vec<_> = (0..).zip(bytes.chunks(EXTENT_BYTES)).collect();
            if all_extents_first {
                for (index, part) in &parts {
                    store.keep_extent(*index, &lying.extents[*index as usize], part).unwrap();
                }
            }
            store.put_outline(&lying).unwrap();
            if !all_extents_first {
                for (index, part) in parts.iter().rev() {
                    store.put_extent(blob, *index, part).unwrap();
                }
            }
            for anew in [false, true] {
                if anew {
                    store.rebuild_index().unwrap();
                }
                let when = format!("{lie} said, extents first: {all_extents_first}, index anew: {anew}");
                assert_eq!(store.blob_state(blob).unwrap(), BlobState::Complete { size }, "{when}");
                assert!(read(&store, blob).unwrap() == bytes, "{when}");
                assert_eq!(store.reader(blob, 0..u64::MAX).unwrap().size(), size, "{when}");
            }
        }
    }
}

/// A store that was filled before outlines had a check goes on with what it has.
#[test]
fn an_outline_of_before_there_was_a_check_is_read() {
    let bytes = Dice::new(6).bytes(2 * EXTENT_BYTES + 9);
    let store = open(&FakeDisk::new(), &InMemory::default());
    let outline = outline_of(&bytes);
    let payload = record::encode_outline(&outline);
    let unchecked = Draft { aux: 0, ..Draft::outline(outline.blob, &payload) };
    store.commit(&[unchecked]).unwrap();
    for (index, part) in (0..).zip(bytes.chunks(EXTENT_BYTES)) {
        store.put_extent(outline.blob, index, part).unwrap();
    }
    for anew in [false, true] {
        if anew {
            store.rebuild_index().unwrap();
        }
        assert!(read(&store, outline.blob).unwrap() == bytes, "index anew: {anew}");
        assert!(store.verify(|_| {}).unwrap().damage.is_empty());
    }
}

/// A rebuild finds the last of two records of the same bytes, and the index may have found the first.
#[test]
fn bytes_that_come_over_two_links_at_once_are_written_once() {
    let store = open(&FakeDisk::new(), &InMemory::default());
    let mut dice = Dice::new(7);
    for _ in 0..200 {
        let small = dice.bytes(300);
        let large = dice.bytes(EXTENT_BYTES + 9);
        let (outline, extent) = (outline_of(&large), &large[..EXTENT_BYTES]);
        let start = Barrier::new(2);
        let put = || {
            start.wait();
            store.put_small(id(&small), &small).unwrap();
            start.wait();
            store.put_outline(&outline).unwrap();
            start.wait();
            store.put_extent(outline.blob, 0, extent).unwrap();
        };
        thread::scope(|threads| {
            threads.spawn(put);
            put();
        });
    }
    let mut ids = BTreeSet::new();
    for number in store.inner.packs.numbers() {
        for place in store.inner.packs.contents(number).unwrap().places {
            assert!(ids.insert(place.header.id), "written twice: {:?}", place.header);
        }
    }
    assert_eq!(ids.len(), 600);
}
