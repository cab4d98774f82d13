//! The canonical Merkle tree over a set of ids: equal sets have equal roots, whatever their history.
//!
//! A range's digest is a collision-resistant hash of the ids in it. There is no sum or exclusive-or
//! to balance: an author who picks his ops' contents, and so their ids, can make a sum of chosen ids
//! come out as he likes and hide an op from a site, but here he would need a collision of blake3.

use std::collections::{BTreeMap, BTreeSet};

use blake3::Hasher;
use serde::{Deserialize, Serialize};

use crate::range::{Key, NIBBLES_MAX, Range};

/// Ids in a leaf. Larger ranges are split sixteen ways.
pub const LEAF_IDS_MAX: usize = 32;

/// The hash of the ids in a range; 32 zero bytes for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

/// The sets a site summarises. An item of one never stands in another: each tree hashes its own context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tree {
    /// The signed heads of a feed's logs.
    Heads,
    /// What stands at a feed's coordinates.
    State,
    /// The complete blobs a site holds.
    Held,
}

impl Tree {
    /// The id of the item with these canonical bytes.
    #[must_use]
    pub fn item(self, canonical: &[u8]) -> Key {
        let context = match self {
            Self::Heads => "packetboat v1 heads item",
            Self::State => "packetboat v1 state item",
            Self::Held => "packetboat v1 held item",
        };
        blake3::derive_key(context, canonical)
    }
}

/// A set of ids that knows the digest of every aligned range. Writing marks the path to the root;
/// the next question hashes each marked range once.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    ids: BTreeSet<Key>,
    /// Ranges of more than a leaf whose ids have not changed since they were hashed.
    inner: BTreeMap<Range, (u64, Digest)>,
    /// No range in `inner` is longer than this, in nibbles.
    deepest: u8,
}

impl Summary {
    /// The empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an id; whether it was absent.
    pub fn insert(&mut self, id: Key) -> bool {
        let absent = self.ids.insert(id);
        if absent {
            self.mark(&id);
        }
        absent
    }

    /// Removes an id; whether it was present.
    pub fn remove(&mut self, id: &Key) -> bool {
        let present = self.ids.remove(id);
        if present {
            self.mark(id);
        }
        present
    }

    fn mark(&mut self, id: &Key) {
        for nibbles in 0..=self.deepest {
            self.inner.remove(&Range::around(id, nibbles));
        }
    }

    /// Whether the id is in the set.
    #[must_use]
    pub fn contains(&self, id: &Key) -> bool {
        self.ids.contains(id)
    }

    /// The number of ids.
    #[must_use]
    pub fn count(&self) -> usize {
        self.ids.len()
    }

    /// The digest of the whole set.
    pub fn root(&mut self) -> Digest {
        self.digest(Range::ALL)
    }

    /// The digest of the ids in `range`.
    pub fn digest(&mut self, range: Range) -> Digest {
        self.node(range).1
    }

    /// The ids in `range`, ascending.
    pub fn ids_in(&self, range: Range) -> impl Iterator<Item = &Key> {
        self.ids.range(range.first()..=range.last())
    }

    /// Whether `range` holds more ids than a leaf, and so is split in the tree.
    #[must_use]
    pub fn is_inner(&self, range: Range) -> bool {
        range.nibbles() < NIBBLES_MAX
            && (self.inner.contains_key(&range) || self.ids_in(range).nth(LEAF_IDS_MAX).is_some())
    }

    fn node(&mut self, range: Range) -> (u64, Digest) {
        if let Some(node) = self.inner.get(&range) {
            return *node;
        }
        if !self.is_inner(range) {
            let ids: Vec<Key> = self.ids_in(range).copied().collect();
            return (ids.len() as u64, leaf(&ids));
        }
        let children: Vec<(u64, Digest)> = range.children().map(|child| self.node(child)).collect();
        let node = inner(&children);
        self.inner.insert(range, node);
        self.deepest = self.deepest.max(range.nibbles());
        node
    }
}

impl FromIterator<Key> for Summary {
    fn from_iter<I: IntoIterator<Item = Key>>(ids: I) -> Self {
        Self { ids: ids.into_iter().collect(), ..Self::default() }
    }
}

impl Extend<Key> for Summary {
    fn extend<I: IntoIterator<Item = Key>>(&mut self, ids: I) {
        for id in ids {
            self.insert(id);
        }
    }
}

/// The root of the set of these ids without keeping a tree; cheapest when they come in order.
#[must_use]
pub fn root_of(ids: impl IntoIterator<Item = Key>) -> Digest {
    let mut ids: Vec<Key> = ids.into_iter().collect();
    ids.sort_unstable();
    ids.dedup();
    node_of(&ids, Range::ALL).1
}

fn node_of(ids: &[Key], range: Range) -> (u64, Digest) {
    if ids.len() <= LEAF_IDS_MAX || range.nibbles() == NIBBLES_MAX {
        return (ids.len() as u64, leaf(ids));
    }
    let mut rest = ids;
    let mut children = Vec::new();
    for child in range.children() {
        let last = child.last();
        let at = rest.partition_point(|id| *id <= last);
        let (head, tail) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        children.push(node_of(head, child));
        rest = tail;
    }
    inner(&children)
}

fn leaf(ids: &[Key]) -> Digest {
    if ids.is_empty() {
        return Digest::default();
    }
    let mut hasher = Hasher::new_derive_key("packetboat v1 tree leaf");
    // More than 2^32 ids do not share sixteen nibbles.
    hasher.update(&u32::try_from(ids.len()).unwrap_or(u32::MAX).to_le_bytes());
    for id in ids {
        hasher.update(id);
    }
    Digest(*hasher.finalize().as_bytes())
}

fn inner(children: &[(u64, Digest)]) -> (u64, Digest) {
    let count = children.iter().map(|(count, _digest)| count).sum();
    let mut hasher = Hasher::new_derive_key("packetboat v1 tree inner");
    hasher.update(&u64::to_le_bytes(count));
    for (_count, digest) in children {
        hasher.update(&digest.0);
    }
    (count, Digest(*hasher.finalize().as_bytes()))
}

#[cfg(test)]
mod tests;
