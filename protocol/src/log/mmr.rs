//! The Merkle mountain range over the ops of a log, and runs of ops by their hash alone.

use serde::{Deserialize, Serialize};

use crate::id::OpId;

const NODE_CONTEXT: &str = "packetboat 2026-11 mmr node v1";
const ROOT_CONTEXT: &str = "packetboat 2026-11 mmr root v1";

/// A Merkle mountain range, reduced to what appending and signing need: its length and its peaks.
///
/// Peaks stand highest first; the height of each follows from the bits of the length. An inner node
/// is the derived hash of its two children, the root that of the length and the peaks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Mmr {
    len: u64,
    peaks: Vec<[u8; 32]>,
}

impl Mmr {
    /// Ops in the log.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether the log has no op.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends one op.
    pub fn push(&mut self, op: OpId) {
        self.carry(op.0, 0);
    }

    /// Appends the subtree of `2^height` ops that were left out, by its hash alone.
    ///
    /// # Errors
    /// The length so far is no multiple of `2^height`, so no subtree of that height begins here.
    pub fn push_subtree(&mut self, height: u8, hash: [u8; 32]) -> Result<(), Misaligned> {
        let misaligned = Misaligned { len: self.len, height };
        let leaves = 1_u64.checked_shl(u32::from(height)).ok_or_else(|| misaligned.clone())?;
        if !self.len.is_multiple_of(leaves) || self.len.checked_add(leaves).is_none() {
            return Err(misaligned);
        }
        self.carry(hash, height);
        Ok(())
    }

    /// All ops so far in as few runs as there can be: each peak with its height, in order.
    #[must_use]
    pub fn runs(&self) -> Vec<Run> {
        let heights = (0..64_u8).rev().filter(|height| self.len >> height & 1 == 1);
        heights.zip(&self.peaks).map(|(height, hash)| Run { height, hash: *hash }).collect()
    }

    fn carry(&mut self, mut hash: [u8; 32], height: u8) {
        let mut rest = self.len >> height;
        while rest & 1 == 1 {
            let left = self.peaks.pop().expect("a set bit of the length has its peak");
            hash = node(&left, &hash);
            rest >>= 1;
        }
        self.peaks.push(hash);
        self.len += 1 << height;
    }

    /// The root that a head signs.
    #[must_use]
    pub fn root(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key(ROOT_CONTEXT);
        hasher.update(&self.len.to_le_bytes());
        for peak in &self.peaks {
            hasher.update(peak);
        }
        *hasher.finalize().as_bytes()
    }

    /// The hash of an aligned run of `2^height` ops, to stand in for them.
    #[must_use]
    pub fn subtree(ops: &[OpId]) -> Option<[u8; 32]> {
        let mut row: Vec<[u8; 32]> = ops.iter().map(|op| op.0).collect();
        if !row.len().is_power_of_two() {
            return None;
        }
        while row.len() > 1 {
            row = row
                .chunks_exact(2)
                .filter_map(|pair| match pair {
                    [left, right] => Some(node(left, right)),
                    _ => None,
                })
                .collect();
        }
        row.first().copied()
    }
}

fn node(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(NODE_CONTEXT);
    hasher.update(left);
    hasher.update(right);
    *hasher.finalize().as_bytes()
}

/// An aligned run of `2^height` ops, by its hash alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub height: u8,
    pub hash: [u8; 32],
}

impl Run {
    /// Ops.
    #[must_use]
    pub const fn span(&self) -> u64 {
        match 1_u64.checked_shl(self.height as u32) {
            Some(span) => span,
            None => u64::MAX,
        }
    }

    /// This run, which begins at `start`, and the one right behind it as one, where such a run stands at a multiple of its size.
    #[must_use]
    pub fn join(&self, next: &Self, start: u64) -> Option<Self> {
        let height = self.height.checked_add(1)?;
        let both = 1_u64.checked_shl(u32::from(height))?;
        let fits = self.height == next.height && start.is_multiple_of(both);
        fits.then(|| Self { height, hash: node(&self.hash, &next.hash) })
    }
}

/// A subtree that does not begin at a multiple of its size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no subtree of height {height} begins after {len} ops")]
pub struct Misaligned {
    pub len: u64,
    pub height: u8,
}
