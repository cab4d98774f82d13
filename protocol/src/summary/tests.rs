//! Summaries against their definition, their own history and fixed vectors.

use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::*;

/// The definition of the tree, word for word and without sharing.
fn defined(ids: &BTreeSet<Key>, depth: usize) -> [u8; 32] {
    if ids.is_empty() {
        return [0; 32];
    }
    let mut bytes = Vec::new();
    if ids.len() <= 32 {
        bytes.extend(u32::try_from(ids.len()).unwrap().to_le_bytes());
        bytes.extend(ids.iter().flatten());
        return blake3::derive_key("packetboat v1 tree leaf", &bytes);
    }
    bytes.extend((ids.len() as u64).to_le_bytes());
    for nibble in 0..16 {
        let at = |id: &Key| if depth.is_multiple_of(2) { id[depth / 2] >> 4 } else { id[depth / 2] & 15 };
        let child = ids.iter().filter(|id| at(id) == nibble).copied().collect();
        bytes.extend(defined(&child, depth + 1));
    }
    blake3::derive_key("packetboat v1 tree inner", &bytes)
}

fn numbered(count: u64) -> impl Iterator<Item = Key> {
    (0..count).map(|number| Tree::Heads.item(&number.to_le_bytes()))
}

/// The first eight bytes are few, so that leaves fill and split deep down.
fn crowded() -> impl Strategy<Value = Key> {
    (0_u8..3, 0_u8..3, any::<u8>()).prop_map(|(one, two, three)| {
        let mut key = [0; 32];
        key[0] = one;
        key[3] = two;
        key[5] = three;
        key
    })
}

/// [P-51] A set's digest.
#[test]
fn the_roots_of_the_vectors_are_what_they_were() {
    let vectors = include_str!("../../vectors/summary.txt");
    let mut checked = 0;
    for line in vectors.lines().filter(|line| !line.starts_with('#')) {
        let (count, root) = line.split_once(' ').unwrap();
        let count: u64 = count.parse().unwrap();
        let mut summary: Summary = numbered(count).collect();
        assert_eq!(HEXLOWER.encode(&summary.root().0), root, "{count} ids");
        assert_eq!(root_of(numbered(count)), summary.root());
        assert_eq!(defined(&numbered(count).collect(), 0), summary.root().0);
        checked += 1;
    }
    assert_eq!(checked, 7);
}

/// What a forger does who can pick ids: of so many he chose two sets that no exclusive-or and no count tells apart.
#[test]
fn two_sets_with_one_exclusive_or_and_one_count_have_different_roots() {
    let lines = include_str!("../../vectors/forged.txt").lines().filter(|line| !line.starts_with('#'));
    let of_line = |line: &str| -> BTreeSet<Key> {
        let numbers = line.split(' ').map(|number| number.parse::<u64>().unwrap());
        numbers.map(|number| Tree::Heads.item(&number.to_le_bytes())).collect()
    };
    let sets: Vec<BTreeSet<Key>> = lines.map(of_line).collect();
    let [one, other] = sets.as_slice() else { panic!("two sets") };
    let xor = |set: &BTreeSet<Key>| {
        set.iter().fold([0; 32], |sum: Key, id| std::array::from_fn(|at| sum[at] ^ id[at]))
    };
    assert!(one.is_disjoint(other));
    assert_eq!((xor(one), one.len(), other.len()), (xor(other), 50, 50), "no forgery");
    assert_ne!(root_of(one.clone()), root_of(other.clone()));
    let mut summaries = [one, other].map(|set| set.iter().copied().collect::<Summary>());
    let [one, other] = summaries.each_mut().map(Summary::root);
    assert_ne!(one, other);
}

#[test]
fn the_same_bytes_have_another_id_in_each_tree() {
    let ids = [Tree::Heads.item(b"x"), Tree::State.item(b"x"), Tree::Held.item(b"x")];
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_root_does_not_depend_on_history(
        steps in prop::collection::vec((crowded(), any::<bool>(), prop::bool::weighted(0.05)), 0..600),
    ) {
        let mut summary = Summary::new();
        let mut plain = BTreeSet::new();
        for (id, insert, ask) in steps {
            if insert || plain.len() < 50 {
                prop_assert_eq!(summary.insert(id), plain.insert(id));
            } else {
                prop_assert_eq!(summary.remove(&id), plain.remove(&id));
            }
            if ask {
                prop_assert_eq!(summary.root().0, defined(&plain, 0));
                let around = Range::around(&id, 4);
                let inside = plain.iter().filter(|id| around.contains(id)).copied().collect();
                prop_assert_eq!(summary.digest(around).0, defined(&inside, 4));
            }
        }
        prop_assert_eq!(summary.root().0, defined(&plain, 0));
        prop_assert_eq!(root_of(plain), summary.root());
    }
}
