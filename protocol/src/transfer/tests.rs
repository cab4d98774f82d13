//! Whatever order bytes come in, every blob completes; wrong and unasked bytes are refused; a cut costs what was on the way.

use proptest::prelude::*;

use super::*;
use crate::outline::OutlineBuilder;

fn bytes_of(size: usize, seed: u8) -> Vec<u8> {
    let mut out = vec![0; size];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut out);
    out
}

struct Source {
    blob: BlobId,
    bytes: Vec<u8>,
    outline: Option<Outline>,
}

fn source(size: usize, seed: u8) -> Source {
    let bytes = bytes_of(size, seed);
    let mut builder = OutlineBuilder::new();
    builder.push(&bytes).unwrap();
    let (blob, _, outline) = builder.finish();
    Source { blob, bytes, outline }
}

impl Source {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn extent(&self, index: u32) -> Vec<u8> {
        let from = index as usize * EXTENT_BYTES;
        self.bytes[from..(from + EXTENT_BYTES).min(self.bytes.len())].to_vec()
    }

    fn answer(&self, ask: Ask) -> Vec<Arrived> {
        match ask {
            Ask::Small { blob } => vec![Arrived::Small { blob, bytes: self.bytes.clone() }],
            Ask::Outline { .. } => vec![Arrived::Outline { outline: self.outline.clone().unwrap() }],
            Ask::Extents { blob, from, to } => {
                (from..to).map(|index| Arrived::Extent { blob, index, bytes: self.extent(index) }).collect()
            }
        }
    }
}

#[test]
fn small_blobs_are_asked_for_before_large_ones_and_smallest_first() {
    let (small, tiny, large) = (source(2_000, 1), source(10, 2), source(EXTENT_BYTES * 3, 3));
    let mut transfer = Transfer::new();
    for one in [&large, &small, &tiny] {
        transfer.want(one.blob, one.size(), one.size(), None);
    }
    let asks: Vec<Ask> = std::iter::from_fn(|| transfer.poll()).collect();
    assert_eq!(
        asks,
        vec![
            Ask::Small { blob: tiny.blob },
            Ask::Small { blob: small.blob },
            Ask::Outline { blob: large.blob },
            Ask::Extents { blob: large.blob, from: 0, to: 3 },
        ]
    );
    assert!(transfer.asked_first() && !transfer.asked_first());
}

/// [P-45] The window is bounded in bytes and in pieces.
#[test]
fn no_more_is_asked_for_than_the_window_holds() {
    let mut transfer = Transfer::new();
    let size = 4 * WANTED_BYTES_MAX;
    transfer.want(BlobId([1; 32]), size, size, None);
    let mut open = 0;
    while let Some(ask) = transfer.poll() {
        open += ask.items() * EXTENT_BYTES;
    }
    assert!(open as u64 <= WANTED_BYTES_MAX + (EXTENTS_PER_ASK as usize * EXTENT_BYTES) as u64, "{open}");
}

/// [P-61] Bytes that do not have their hash are refused.
#[test]
fn wrong_bytes_are_refused_and_stay_wanted() {
    let one = source(1_000, 1);
    let mut transfer = Transfer::new();
    transfer.want(one.blob, one.size(), one.size(), None);
    let unasked = Arrived::Small { blob: one.blob, bytes: one.bytes.clone() };
    assert_eq!(transfer.handle(unasked.clone()), Err(Misbehaved::BytesUnasked));
    transfer.poll().unwrap();
    let mut wrong = one.bytes.clone();
    wrong[500] ^= 1;
    assert_eq!(transfer.handle(Arrived::Small { blob: one.blob, bytes: wrong }), Err(Misbehaved::BytesWrong));
    assert!(!transfer.is_idle());
    assert_eq!(transfer.handle(unasked).unwrap().len(), 1);
    assert!(transfer.is_idle());
}

#[test]
fn a_wrong_outline_or_extent_is_refused() {
    let one = source(EXTENT_BYTES * 2 + 5, 1);
    let mut transfer = Transfer::new();
    transfer.want(one.blob, one.size(), one.size(), None);
    while transfer.poll().is_some() {}
    let mut outline = one.outline.clone().unwrap();
    outline.extents.swap(0, 1);
    assert_eq!(transfer.handle(Arrived::Outline { outline }), Err(Misbehaved::BytesWrong));
    let swapped = Arrived::Extent { blob: one.blob, index: 0, bytes: one.extent(1) };
    assert_eq!(transfer.handle(swapped), Ok(vec![]), "it waits for the outline");
    let outline = one.outline.unwrap();
    assert_eq!(transfer.handle(Arrived::Outline { outline }), Err(Misbehaved::BytesWrong));
}

/// The hash of a blob does not cover its size: neither a peer nor whoever published it has anything of a lie.
#[test]
fn a_wrong_size_in_an_op_or_an_outline_spoils_nothing_and_blames_nobody() {
    for (size, said) in [(700, 9), (9, 700), (EXTENT_BYTES * 2 + 5, 2 * EXTENT_BYTES + 400)] {
        let one = source(size, 1);
        let mut transfer = Transfer::new();
        transfer.want(one.blob, said as u64, 0, None);
        let mut stored = Vec::new();
        while let Some(ask) = transfer.poll() {
            for arrived in one.answer(ask) {
                stored.extend(transfer.handle(arrived).unwrap());
            }
        }
        let bytes: Vec<u8> = stored
            .iter()
            .flat_map(|kept| match kept {
                Stored::Small { bytes, .. } | Stored::Extent { bytes, .. } => bytes.clone(),
                Stored::Outline { .. } | Stored::Complete { .. } => Vec::new(),
            })
            .collect();
        assert!(
            bytes == one.bytes && transfer.is_idle() && transfer.open_bytes == 0,
            "{size} said to be {said}"
        );
    }
    let one = source(EXTENT_BYTES * 2 + 5, 1);
    let mut transfer = Transfer::new();
    transfer.want(one.blob, one.size(), 0, None);
    while transfer.poll().is_some() {}
    let outline = Outline { size: one.size() + 99, ..one.outline.clone().unwrap() };
    let Ok(stored) = transfer.handle(Arrived::Outline { outline }) else { panic!("its extents are right") };
    assert_eq!(stored, [Stored::Outline { outline: one.outline.clone().unwrap() }]);
    let shorter = Outline { size: EXTENT_BYTES as u64 * 2, ..one.outline.unwrap() };
    let mut transfer = Transfer::new();
    transfer.want(one.blob, 5 * EXTENT_BYTES as u64, 0, None);
    assert!(!transfer.is_of_another_size(&shorter), "it is no outline");
    let real = source(EXTENT_BYTES * 2 + 5, 1).outline.unwrap();
    assert!(transfer.is_of_another_size(&real));
}

#[test]
fn what_a_peer_does_not_have_frees_the_window() {
    let one = source(EXTENT_BYTES * 2, 1);
    let mut transfer = Transfer::new();
    transfer.want(one.blob, one.size(), one.size(), None);
    while transfer.poll().is_some() {}
    assert!(transfer.not_have(one.blob));
    assert!(!transfer.not_have(one.blob));
    assert!(transfer.is_idle());
    assert_eq!((transfer.open_bytes, transfer.open_items), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_blob_completes_whatever_the_order(
        sizes in prop::collection::vec(0..(EXTENT_BYTES * 5), 1..6),
        picks in prop::collection::vec(any::<u16>(), 0..64),
    ) {
        let sources: Vec<Source> =
            sizes.iter().enumerate().map(|(seed, size)| source(*size, u8::try_from(seed).unwrap())).collect();
        let mut transfer = Transfer::new();
        for one in &sources {
            transfer.want(one.blob, one.size(), one.size(), None);
        }
        let mut on_the_way = Vec::new();
        let mut got = 0_u64;
        let mut picks = picks.iter().cycle();
        loop {
            while let Some(ask) = transfer.poll() {
                let from = sources.iter().find(|one| one.blob == ask.blob()).unwrap();
                on_the_way.extend(from.answer(ask));
            }
            if on_the_way.is_empty() {
                break;
            }
            let pick = picks.next().map_or(0, |pick| *pick as usize) % on_the_way.len();
            for kept in transfer.handle(on_the_way.remove(pick)).unwrap() {
                match kept {
                    Stored::Small { bytes, .. } | Stored::Extent { bytes, .. } => got += bytes.len() as u64,
                    Stored::Outline { .. } | Stored::Complete { .. } => {}
                }
            }
        }
        prop_assert!(transfer.is_idle());
        let distinct: BTreeMap<BlobId, u64> = sources.iter().map(|one| (one.blob, one.size())).collect();
        prop_assert_eq!(got, distinct.values().sum::<u64>());
        prop_assert_eq!((transfer.open_bytes, transfer.open_items), (0, 0));
    }
}

/// Each of their outlines has 8 MiB.
#[test]
fn of_many_of_the_largest_blobs_two_outlines_are_open_at_a_time() {
    let mut transfer = Transfer::new();
    let size = crate::limits::BLOB_BYTES_MAX;
    for n in 0..9 {
        transfer.want(BlobId([n; 32]), size, 0, None);
    }
    let asked = |transfer: &mut Transfer| {
        let asks = std::iter::from_fn(|| transfer.poll());
        asks.filter(|ask| matches!(ask, Ask::Outline { .. })).map(|ask| ask.blob()).collect::<Vec<_>>()
    };
    let first = asked(&mut transfer);
    assert_eq!(first.len(), 2);
    for left in (0..7_usize).rev() {
        let open = (0..9).map(|n| BlobId([n; 32])).find(|blob| transfer.awaits_outline(*blob)).unwrap();
        assert!(transfer.not_have(open));
        assert_eq!(asked(&mut transfer).len(), 1, "{left} are not asked for yet");
    }
}
