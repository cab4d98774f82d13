//! Aligned ranges of 32-byte ids: all that begin with the same zero to sixteen nibbles.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A key of a summary: a hash, so keys are spread evenly and nobody chooses where one falls.
pub type Key = [u8; 32];

/// The nibbles of the longest prefix. Filling a leaf at this depth takes 2^64 hashes per id.
pub const NIBBLES_MAX: u8 = 16;

/// All ids that begin with a prefix of 0 to 16 nibbles. Ranges order by where they begin, the wider first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "(u64, u8)", into = "(u64, u8)")]
pub struct Range {
    /// The prefix in the high bits, zeros below.
    prefix: u64,
    nibbles: u8,
}

/// A pair of numbers is not an aligned range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no aligned range has the number {prefix:x} in {nibbles} nibbles")]
pub struct Unaligned {
    pub prefix: u64,
    pub nibbles: u8,
}

impl Range {
    /// Every id.
    pub const ALL: Self = Self { prefix: 0, nibbles: 0 };

    /// The range of `nibbles` nibbles that `key` lies in; those past [`NIBBLES_MAX`] count for nothing.
    #[must_use]
    pub fn around(key: &Key, nibbles: u8) -> Self {
        let nibbles = nibbles.min(NIBBLES_MAX);
        Self { prefix: head(key) & mask(nibbles), nibbles }
    }

    /// How many nibbles its ids share, 0 to 16.
    #[must_use]
    pub const fn nibbles(self) -> u8 {
        self.nibbles
    }

    /// Whether `key` lies in this range.
    #[must_use]
    pub fn contains(self, key: &Key) -> bool {
        Self::around(key, self.nibbles) == self
    }

    /// Child `nibble` (0 to 15); `None` at the deepest level and past 15.
    #[must_use]
    pub fn child(self, nibble: u8) -> Option<Self> {
        if self.nibbles >= NIBBLES_MAX || nibble > 15 {
            return None;
        }
        let nibbles = self.nibbles + 1;
        Some(Self { prefix: self.prefix | u64::from(nibble) << (64 - 4 * u32::from(nibbles)), nibbles })
    }

    /// The sixteen ranges one nibble longer, in order; none at the deepest level.
    pub fn children(self) -> impl Iterator<Item = Self> {
        (0..16).filter_map(move |nibble| self.child(nibble))
    }

    /// The least key in the range.
    #[must_use]
    pub fn first(self) -> Key {
        filled(self.prefix, 0)
    }

    /// The greatest key in the range.
    #[must_use]
    pub fn last(self) -> Key {
        filled(self.prefix | !mask(self.nibbles), 0xff)
    }
}

fn head(key: &Key) -> u64 {
    key.first_chunk().map_or(0, |head| u64::from_be_bytes(*head))
}

fn filled(prefix: u64, fill: u8) -> Key {
    let mut key = [fill; 32];
    if let Some(head) = key.first_chunk_mut() {
        *head = prefix.to_be_bytes();
    }
    key
}

const fn mask(nibbles: u8) -> u64 {
    if nibbles == 0 { 0 } else { u64::MAX << low_bits(nibbles) }
}

/// Bits of a prefix that are not in its nibbles.
const fn low_bits(nibbles: u8) -> u32 {
    64 - 4 * nibbles as u32
}

impl TryFrom<(u64, u8)> for Range {
    type Error = Unaligned;

    fn try_from((prefix, nibbles): (u64, u8)) -> Result<Self, Unaligned> {
        if nibbles > NIBBLES_MAX || prefix & !(mask(nibbles).checked_shr(low_bits(nibbles)).unwrap_or(0)) != 0
        {
            return Err(Unaligned { prefix, nibbles });
        }
        Ok(Self { prefix: prefix.checked_shl(low_bits(nibbles)).unwrap_or(0), nibbles })
    }
}

/// A range as its nibbles read as one number, short on the wire when the prefix is short.
impl From<Range> for (u64, u8) {
    fn from(range: Range) -> Self {
        (range.prefix.checked_shr(low_bits(range.nibbles)).unwrap_or(0), range.nibbles)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:016x}", self.prefix);
        let shown = digits.get(..usize::from(self.nibbles)).unwrap_or(&digits);
        write!(f, "{shown}*")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_key_lies_in_one_child_of_each_range_around_it(key: Key, nibbles in 0_u8..16) {
            let range = Range::around(&key, nibbles);
            prop_assert!(range.contains(&key));
            prop_assert!(range.first() <= key && key <= range.last());
            let children: Vec<Range> = range.children().filter(|child| child.contains(&key)).collect();
            prop_assert_eq!(children, vec![Range::around(&key, nibbles + 1)]);
            prop_assert_eq!(range.children().count(), 16);
            prop_assert_eq!(Range::try_from(<(u64, u8)>::from(range)), Ok(range));
        }

        #[test]
        fn containing_is_lying_between_first_and_last(one: Key, other: Key, nibbles in 0_u8..=16) {
            let range = Range::around(&one, nibbles.min(3));
            prop_assert_eq!(range.contains(&other), range.first() <= other && other <= range.last());
        }
    }

    #[test]
    fn a_range_prints_its_nibbles_and_the_deepest_has_no_children() {
        let key = [0xab; 32];
        assert_eq!(Range::ALL.to_string(), "*");
        assert_eq!(Range::around(&key, 3).to_string(), "aba*");
        assert_eq!(Range::around(&key, 200).to_string(), "abababababababab*");
        assert_eq!(Range::around(&key, 16).children().count(), 0);
        assert_eq!(Range::ALL.child(16), None);
    }

    #[test]
    fn a_prefix_longer_than_its_nibbles_is_no_range() {
        assert_eq!(Range::try_from((16, 1)), Err(Unaligned { prefix: 16, nibbles: 1 }));
        assert_eq!(Range::try_from((0, 17)), Err(Unaligned { prefix: 0, nibbles: 17 }));
        assert_eq!(Range::try_from((1, 0)), Err(Unaligned { prefix: 1, nibbles: 0 }));
        assert_eq!(Range::try_from((0xa, 1)), Ok(Range::around(&[0xab; 32], 1)));
        assert!(Range::try_from((u64::MAX, 16)).is_ok());
    }
}
