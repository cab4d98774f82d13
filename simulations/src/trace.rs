//! What happened, as a digest over every datagram and as lines a person can read.

use std::fmt::Write as _;

/// Lines kept for a person; the digest covers everything.
const LINES_MAX: usize = 2_000;

/// The trace of one run.
#[derive(Debug, Default)]
pub struct Trace {
    hasher: blake3::Hasher,
    lines: Vec<String>,
    dropped: usize,
}

impl Trace {
    /// A datagram that arrived: time in nanoseconds, ends, and every byte of ciphertext.
    pub fn datagram(&mut self, now: u64, from: usize, to: usize, bytes: &[u8]) {
        for number in [now, from as u64, to as u64, bytes.len() as u64] {
            self.hasher.update(&number.to_le_bytes());
        }
        self.hasher.update(bytes);
    }

    /// Something a person wants to know.
    pub fn line(&mut self, now: u64, what: &str) {
        self.hasher.update(what.as_bytes());
        if self.lines.len() >= LINES_MAX {
            self.dropped += 1;
            return;
        }
        let mut line = String::new();
        let seconds = now / 1_000_000;
        if write!(line, "{:>9}.{:03} s  {what}", seconds / 1000, seconds % 1000).is_ok() {
            self.lines.push(line);
        }
    }

    /// The digest: equal exactly when two runs were the same to the byte and the nanosecond.
    #[must_use]
    pub fn digest(&self) -> String {
        self.hasher.finalize().to_hex().chars().take(16).collect()
    }

    /// The lines.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}
