//! Transfers against peers that reorder, repeat, refuse, lie and stop.

use proptest::prelude::*;

use super::*;
use crate::limits::EXTENT_BYTES;
use crate::outline::OutlineBuilder;

const START: Instant = Instant(1_000);

struct Content {
    bytes: Vec<u8>,
    outline: Option<Outline>,
}

fn content(size: usize, seed: u8) -> (BlobId, Content) {
    let bytes: Vec<u8> = std::iter::repeat_n(seed, size).collect();
    let mut builder = OutlineBuilder::new();
    builder.push(&bytes).unwrap();
    let (blob, _size, outline) = builder.finish();
    (blob, Content { bytes, outline })
}

fn extent(content: &Content, index: u32) -> Vec<u8> {
    content.bytes.chunks(EXTENT_BYTES).nth(index as usize).unwrap().to_vec()
}

fn serve(peer: &BTreeMap<BlobId, Content>, ask: Ask) -> Vec<Arrived> {
    match ask {
        Ask::Small { blob } => vec![Arrived::Small { blob, bytes: peer[&blob].bytes.clone() }],
        Ask::Outline { blob } => vec![Arrived::Outline(peer[&blob].outline.clone().unwrap())],
        Ask::Extents { blob, from, to } => (from..to)
            .map(|index| Arrived::Extent { blob, index, bytes: extent(&peer[&blob], index) })
            .collect(),
    }
}

fn asks(transfer: &mut Transfer) -> Vec<Ask> {
    std::iter::from_fn(|| transfer.poll(START)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn every_blob_completes_whatever_the_order_and_nothing_is_asked_twice(
        sizes in prop::collection::vec(prop_oneof![0_usize..3_000, 200_000_usize..2_500_000], 1..12),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 400),
        held in 0_u32..4,
    ) {
        let peer: BTreeMap<BlobId, Content> =
            (0_u8..).zip(&sizes).map(|(seed, size)| content(*size, seed)).collect();
        let mut transfer = Transfer::new();
        for (blob, content) in &peer {
            transfer.want(*blob, content.bytes.len() as u64, content.outline.clone().filter(|_| held > 1), 0..held).unwrap();
        }
        let mut flying: Vec<Arrived> = Vec::new();
        let mut complete = BTreeSet::new();
        let mut picks = picks.iter().cycle();
        loop {
            while let Some(ask) = transfer.poll(START) {
                let (bytes, items) = transfer.outstanding();
                prop_assert!(bytes <= WANTED_BYTES_MAX && items <= WANTED_ITEMS_MAX);
                flying.extend(serve(&peer, ask));
            }
            if flying.is_empty() {
                break;
            }
            let next = flying.swap_remove(picks.next().unwrap().index(flying.len()));
            for stored in transfer.handle(START, next.clone()).unwrap() {
                if let Stored::Complete { blob } = stored {
                    prop_assert!(complete.insert(blob));
                }
            }
            prop_assert_eq!(transfer.handle(START, next), Ok(Vec::new()));
        }
        prop_assert!(transfer.is_done());
        prop_assert_eq!(transfer.outstanding(), (0, 0));
        let progress = transfer.progress();
        prop_assert_eq!(progress.blobs_complete, peer.len() as u64);
        prop_assert_eq!(progress.bytes_verified, progress.bytes_wanted);
        let outlines: u64 = peer.values().filter_map(|it| it.outline.as_ref()).map(|it| it.extents.len() as u64 * 32).sum();
        prop_assert!(progress.bytes_asked <= progress.bytes_wanted + outlines);
    }
}

#[test]
fn small_blobs_go_first_and_large_ones_take_turns() {
    let (one, first) = content(8 * EXTENT_BYTES, 1);
    let (two, second) = content(8 * EXTENT_BYTES, 2);
    let (tiny, third) = content(10, 3);
    let mut transfer = Transfer::new();
    transfer.want(one, first.bytes.len() as u64, first.outline, []).unwrap();
    transfer.want(two, second.bytes.len() as u64, second.outline, [0, 5]).unwrap();
    transfer.want(tiny, third.bytes.len() as u64, None, []).unwrap();
    assert_eq!(
        asks(&mut transfer),
        [
            Ask::Small { blob: tiny },
            Ask::Extents { blob: one, from: 0, to: 4 },
            Ask::Extents { blob: two, from: 1, to: 5 },
            Ask::Extents { blob: one, from: 4, to: 8 },
            Ask::Extents { blob: two, from: 6, to: 8 },
        ]
    );
}

#[test]
fn wrong_bytes_are_named_and_asked_for_again() {
    let (blob, large) = content(3 * EXTENT_BYTES, 1);
    let (tiny, small) = content(10, 2);
    let outline = large.outline.clone().unwrap();
    let mut transfer = Transfer::new();
    transfer.want(blob, large.bytes.len() as u64, None, []).unwrap();
    transfer.want(tiny, 10, None, []).unwrap();
    assert_eq!(asks(&mut transfer), [Ask::Small { blob: tiny }, Ask::Outline { blob }]);

    let lie = Arrived::Small { blob: tiny, bytes: vec![0; 10] };
    assert_eq!(transfer.handle(START, lie), Err(Fault::WrongBytes { blob: tiny }));
    let mut forged = outline.clone();
    forged.extents.swap(0, 2);
    assert_eq!(transfer.handle(START, Arrived::Outline(forged)), Err(Fault::WrongOutline { blob }));
    assert_eq!(asks(&mut transfer), [Ask::Small { blob: tiny }, Ask::Outline { blob }]);

    transfer.handle(START, Arrived::Small { blob: tiny, bytes: small.bytes }).unwrap();
    transfer.handle(START, Arrived::Outline(outline)).unwrap();
    assert_eq!(asks(&mut transfer), [Ask::Extents { blob, from: 0, to: 3 }]);
    let lie = Arrived::Extent { blob, index: 1, bytes: vec![9; EXTENT_BYTES] };
    assert_eq!(transfer.handle(START, lie), Err(Fault::WrongExtent { blob, index: 1 }));
    assert_eq!(asks(&mut transfer), [Ask::Extents { blob, from: 1, to: 2 }]);
    let beyond = Arrived::Extent { blob, index: 3, bytes: vec![] };
    assert_eq!(transfer.handle(START, beyond), Err(Fault::WrongExtent { blob, index: 3 }));
    let stranger = BlobId([7; 32]);
    let unwanted = Arrived::Small { blob: stranger, bytes: vec![] };
    assert_eq!(transfer.handle(START, unwanted), Err(Fault::Unwanted { blob: stranger }));
}

#[test]
fn extents_ahead_of_their_outline_are_kept_within_the_budget() {
    let (blob, large) = content(70 * EXTENT_BYTES, 1);
    let mut transfer = Transfer::new();
    transfer.want(blob, large.bytes.len() as u64, None, []).unwrap();
    for index in 0..64 {
        let arrived = Arrived::Extent { blob, index, bytes: extent(&large, index) };
        assert_eq!(transfer.handle(START, arrived), Ok(vec![]));
    }
    let over = Arrived::Extent { blob, index: 64, bytes: extent(&large, 64) };
    assert_eq!(transfer.handle(START, over), Err(Fault::Overrun { blob }));
    let stored = transfer.handle(START, Arrived::Outline(large.outline.unwrap())).unwrap();
    assert_eq!(stored.len(), 65);
    assert_eq!(asks(&mut transfer)[0], Ask::Extents { blob, from: 64, to: 68 });
}

#[test]
fn what_a_peer_has_not_got_is_left_for_another() {
    let (blob, large) = content(3 * EXTENT_BYTES, 1);
    let mut transfer = Transfer::new();
    transfer.want(blob, large.bytes.len() as u64, large.outline, []).unwrap();
    assert_eq!(asks(&mut transfer).len(), 1);
    transfer.handle(START, Arrived::NotHave { blob }).unwrap();
    assert!(transfer.is_done());
    assert_eq!(transfer.outstanding(), (0, 0));
    assert_eq!(transfer.refused().collect::<Vec<_>>(), [(blob, large.bytes.len() as u64)]);
}

#[test]
fn a_peer_that_owes_and_is_silent_is_given_up() {
    let (tiny, small) = content(10, 2);
    let mut transfer = Transfer::new();
    transfer.want(tiny, 10, None, []).unwrap();
    let late = START.after_ms(PROGRESS_MS_MAX);
    assert_eq!(transfer.check(late), Ok(()));
    asks(&mut transfer);
    assert_eq!(transfer.deadline(), Some(late));
    assert_eq!(transfer.check(late), Err(Fault::Stalled { waited_ms: PROGRESS_MS_MAX }));
    transfer.handle(late, Arrived::Small { blob: tiny, bytes: small.bytes }).unwrap();
    assert_eq!(transfer.check(late.after_ms(PROGRESS_MS_MAX)), Ok(()));
    assert!(transfer.want(BlobId([1; 32]), BLOB_BYTES_MAX + 1, None, []).is_err());
}
