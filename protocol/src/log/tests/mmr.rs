//! The mountain range against its definition, and the same ops in whatever runs they come.

use proptest::prelude::*;

use super::*;

fn ids(count: usize) -> Vec<OpId> {
    (0..count).map(|n| OpId(*blake3::hash(&n.to_le_bytes()).as_bytes())).collect()
}

fn pushed(ids: &[OpId]) -> Mmr {
    let mut mmr = Mmr::default();
    for id in ids {
        mmr.push(*id);
    }
    mmr
}

/// The definition of a node, word for word: half of the ops to each side.
fn defined_node(ids: &[OpId]) -> [u8; 32] {
    if let [id] = ids {
        return id.0;
    }
    let (left, right) = ids.split_at(ids.len() / 2);
    let children = [defined_node(left), defined_node(right)].concat();
    blake3::derive_key("packetboat 2026-11 mmr node v1", &children)
}

/// The definition of a root: the length, and the hash of each run that a bit of the length stands for, the largest first.
fn defined_root(ids: &[OpId]) -> [u8; 32] {
    let (mut rest, mut bytes) = (ids, (ids.len() as u64).to_le_bytes().to_vec());
    while !rest.is_empty() {
        let (mountain, behind) = rest.split_at(1 << rest.len().ilog2());
        bytes.extend(defined_node(mountain));
        rest = behind;
    }
    blake3::derive_key("packetboat 2026-11 mmr root v1", &bytes)
}

/// The largest height at which a run may begin at a position.
fn aligned(at: usize) -> u8 {
    u8::try_from(at.trailing_zeros()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    /// [P-5] A root says nothing of how its ops came, one at a time or as aligned runs by their hashes.
    #[test]
    fn any_split_of_the_same_ops_gives_one_root(
        count in 0_usize..600,
        heights in prop::collection::vec(0_u8..10, 1..40),
    ) {
        let (ids, mut split, mut at) = (ids(count), Mmr::default(), 0);
        for wanted in heights.into_iter().cycle() {
            if at == count {
                break;
            }
            let fits = u8::try_from((count - at).ilog2()).unwrap();
            let height = wanted.min(fits).min(aligned(at));
            let part = &ids[at..at + (1 << height)];
            if wanted == 0 {
                split.push(part[0]);
            } else {
                prop_assert_eq!(split.push_subtree(height, Mmr::subtree(part).unwrap()), Ok(()));
            }
            at += part.len();
        }
        prop_assert_eq!(&split, &pushed(&ids));
        prop_assert_eq!(split.len(), count as u64);
        prop_assert_eq!(split.root(), defined_root(&ids));
    }

    /// [P-6] A hash stands for a run of ops where it is the one that pushing them gives, and for none that is no power of two.
    #[test]
    fn a_subtree_is_what_pushing_its_ops_gives(count in 0_usize..300) {
        let ids = ids(count);
        let subtree = Mmr::subtree(&ids);
        prop_assert_eq!(subtree.is_some(), count.is_power_of_two());
        if let Some(hash) = subtree {
            prop_assert_eq!(hash, defined_node(&ids));
            let height = u8::try_from(count.ilog2()).unwrap();
            prop_assert_eq!(pushed(&ids).runs(), [Run { height, hash }]);
        }
    }

    /// [P-6] A run by its hash begins at a multiple of its size or not at all, and what was refused changes nothing.
    #[test]
    fn a_subtree_that_does_not_begin_at_a_multiple_of_its_size_is_refused(
        count in 0_usize..600,
        height in prop_oneof![0_u8..12, any::<u8>()],
    ) {
        let before = pushed(&ids(count));
        let mut mmr = before.clone();
        let fits = height < 64 && (count as u64).is_multiple_of(1 << height);
        let pushed = mmr.push_subtree(height, [7; 32]);
        if fits {
            prop_assert_eq!(pushed, Ok(()));
            prop_assert_eq!(mmr.len(), count as u64 + (1 << height));
        } else {
            prop_assert_eq!(pushed, Err(Misaligned { len: count as u64, height }));
            prop_assert_eq!(mmr, before);
        }
    }

    /// A history goes on from what is kept of its beginning, be it as runs alone; no other beginning leads to the same root.
    #[test]
    fn the_root_of_a_prefix_is_had_from_its_runs_and_goes_on_to_that_of_the_whole(
        count in 1_usize..300,
        cut in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
    ) {
        let (mut ids, cut) = (ids(count), cut.index(count + 1));
        let prefix = pushed(&ids[..cut]);
        prop_assert_eq!(prefix.root(), defined_root(&ids[..cut]));
        let mut again = Mmr::default();
        for run in prefix.runs() {
            prop_assert_eq!(again.push_subtree(run.height, run.hash), Ok(()));
        }
        prop_assert_eq!(&again, &prefix);
        ids[cut..].iter().for_each(|id| again.push(*id));
        let whole = pushed(&ids);
        prop_assert_eq!(&again, &whole);
        prop_assert_eq!(prefix.root() == whole.root(), cut == count);
        ids[other.index(count)].0[31] ^= 1;
        prop_assert_ne!(pushed(&ids).root(), whole.root());
    }

    /// Two runs are joined to the one over the ops of both, where such a run may stand.
    #[test]
    fn runs_side_by_side_are_joined_where_the_larger_one_may_stand(at in 0_usize..64, heights in (0_u8..5, 0_u8..5)) {
        let size = |height: u8| 1_usize << height;
        let ids = ids(size(heights.0) + size(heights.1));
        let (left, right) = ids.split_at(size(heights.0));
        let run = |height, ids: &[OpId]| Run { height, hash: Mmr::subtree(ids).unwrap() };
        let joined = run(heights.0, left).join(&run(heights.1, right), at as u64);
        let may = heights.0 == heights.1 && aligned(at) > heights.0;
        prop_assert_eq!(joined, may.then(|| run(heights.0 + 1, &ids)));
    }
}

#[test]
fn a_log_that_would_outgrow_its_length_is_refused() {
    let mut huge = Mmr::default();
    assert_eq!(huge.push_subtree(63, [1; 32]), Ok(()));
    assert_eq!(huge.push_subtree(63, [2; 32]), Err(Misaligned { len: 1 << 63, height: 63 }));
    assert_eq!(huge.len(), 1 << 63);
}
