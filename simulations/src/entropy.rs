//! Random numbers from one seed: the same seed gives the same run, and a draw added in one place moves no other.

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub struct Entropy {
    state: u64,
}

impl Entropy {
    /// The stream of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// An independent stream for one purpose.
    #[must_use]
    pub fn fork(&self, purpose: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("packetboat simulation entropy v1");
        hasher.update(&self.state.to_le_bytes());
        hasher.update(purpose.as_bytes());
        let mut state = [0; 8];
        hasher.finalize_xof().fill(&mut state);
        Self { state: u64::from_le_bytes(state) }
    }

    /// Any number (splitmix64).
    pub const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; zero where `end` is zero.
    pub const fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.next() % end }
    }

    /// A place in a list of so many; zero where there are none.
    pub fn index(&mut self, of: usize) -> usize {
        usize::try_from(self.below(of as u64)).unwrap_or(0)
    }

    /// True this many times in a million.
    pub const fn chance(&mut self, per_million: u32) -> bool {
        self.below(1_000_000) < per_million as u64
    }

    /// Bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count.saturating_add(8));
        while bytes.len() < count {
            bytes.extend(self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }

    /// Thirty-two bytes.
    pub fn key(&mut self) -> [u8; 32] {
        let mut key = [0; 32];
        for (to, from) in key.iter_mut().zip(self.bytes(32)) {
            *to = from;
        }
        key
    }
}
