//! Outlines against blake3 itself.

use proptest::prelude::*;

use super::*;

fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|at| u8::try_from((at.wrapping_mul(2_654_435_761) >> 7) & 0xff).unwrap()).collect()
}

fn check_blob(content: &[u8], cut: usize) {
    let mut builder = OutlineBuilder::new();
    let mut yielded = Vec::new();
    for piece in content.chunks(cut.max(1)) {
        yielded.extend(builder.push(piece).unwrap());
    }
    let (blob, size, outline) = builder.finish();
    assert_eq!(blob.0, *blake3::hash(content).as_bytes(), "size {}", content.len());
    assert_eq!(size, content.len() as u64);
    assert_eq!(outline.is_some(), content.len() > EXTENT_BYTES);
    let Some(outline) = outline else {
        assert_eq!(yielded, []);
        return;
    };
    assert_eq!(outline.verify(), Ok(()));
    assert_eq!(Outline::build(size, outline.extents.clone()), Ok(outline.clone()));
    assert_eq!(yielded.len() + 1, outline.extents.len());
    for (index, cv) in yielded {
        assert_eq!(outline.extents[index as usize], cv);
    }
    for ((index, extent), cv) in (0..).zip(content.chunks(EXTENT_BYTES)).zip(&outline.extents) {
        assert_eq!(outline.extent_len(index), Some(extent.len()));
        assert_eq!(extent_cv(index, extent), Some(*cv));
        let groups = group_cvs(index, extent);
        assert!(check_groups(cv, extent.len(), &groups));
        for ((group, piece), group_cv) in (0..).zip(extent.chunks(GROUP_BYTES)).zip(&groups) {
            assert!(check_group(index, group, piece, group_cv));
        }
    }
    assert_eq!(outline.extent_len(extent_count(size)), None);
}

#[test]
fn sizes_around_every_boundary_have_blake3s_own_id() {
    let mut around = vec![0, 1, 1023, 1024, 1025];
    for unit in [GROUP_BYTES, 2 * GROUP_BYTES, 3 * GROUP_BYTES] {
        around.extend([unit - 1, unit, unit + 1]);
    }
    for extents in 1..=9 {
        for extra in [0, 1, 1024, GROUP_BYTES, GROUP_BYTES + 1, 5 * GROUP_BYTES + 7] {
            around.push(extents * EXTENT_BYTES + extra);
        }
        around.push(extents * EXTENT_BYTES - 1);
    }
    let content = bytes(*around.iter().max().unwrap());
    for size in around {
        check_blob(&content[..size], 100_003);
    }
}

#[test]
fn a_group_extent_or_outline_that_was_touched_is_refused() {
    let content = bytes(3 * EXTENT_BYTES + 40_000);
    let mut builder = OutlineBuilder::new();
    builder.push(&content).unwrap();
    let outline = builder.finish().2.unwrap();

    let first = &content[..EXTENT_BYTES];
    let groups = group_cvs(0, first);
    let cv = outline.extents[0];
    assert!(!check_groups(&cv, EXTENT_BYTES - GROUP_BYTES, &groups));
    assert!(!check_groups(&cv, EXTENT_BYTES, &groups[1..]));
    assert!(!check_groups(&outline.extents[1], EXTENT_BYTES, &groups));
    assert!(!check_groups(&cv, 0, &[]));
    assert!(!check_group(0, 1, &content[..GROUP_BYTES], &groups[0]));
    assert!(!check_group(0, 0, &content[..GROUP_BYTES - 1], &groups[0]));
    assert!(!check_group(0, 0, &[], &groups[0]));
    assert!(!check_group(0, 0, &content, &groups[0]));
    assert_eq!(extent_cv(0, &content), None);
    assert_eq!(extent_cv(7, &[]), None);

    let mut swapped = outline.clone();
    swapped.extents.swap(0, 1);
    assert!(matches!(swapped.verify(), Err(OutlineError::WrongBlob { .. })));
    let mut short = outline.clone();
    short.extents.pop();
    assert!(matches!(short.verify(), Err(OutlineError::Count { expected: 4, found: 3, .. })));
    let huge = Outline { size: BLOB_BYTES_MAX + 1, ..outline };
    assert_eq!(huge.verify(), Err(OutlineError::TooLarge { size: BLOB_BYTES_MAX + 1 }));
    assert_eq!(Outline::build(5, vec![Cv([0; 32])]), Err(OutlineError::Small { size: 5 }));
    assert_eq!(Outline::build(0, vec![]), Err(OutlineError::Small { size: 0 }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_size_in_any_cuts_has_blake3s_own_id(size in 0_usize..6 * EXTENT_BYTES, cut in 1_usize..400_000) {
        check_blob(&bytes(size), cut);
    }
}
