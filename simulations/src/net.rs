//! The lines between sites: delay, rate with a bounded queue, loss, jitter, doubles, and cuts by schedule. Times are nanoseconds since the run began.

use std::collections::BTreeMap;

use crate::entropy::Entropy;

/// A second.
pub const SECOND: u64 = 1_000_000_000;

/// How one line behaves, the same in both directions.
#[derive(Debug, Clone)]
pub struct Line {
    /// Nanoseconds one way.
    pub delay: u64,
    /// Packets lost of a million.
    pub loss_per_million: u32,
    /// Bits a second.
    pub rate: u64,
    /// Nanoseconds a packet may wait to be sent before it is dropped.
    pub queue: u64,
    /// The most a packet may take longer, in nanoseconds: more than the time between two packets, and they overtake each other.
    pub jitter: u64,
    /// Packets of a million that arrive twice.
    pub doubled_per_million: u32,
    pub cuts: Vec<Cut>,
}

/// A time in which nothing passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    pub from: u64,
    pub to: u64,
    /// The host from which nothing passes; from neither if none is named.
    pub only_from: Option<usize>,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            delay: SECOND / 20,
            loss_per_million: 0,
            rate: 20_000_000,
            queue: SECOND / 5,
            jitter: 0,
            doubled_per_million: 0,
            cuts: Vec::new(),
        }
    }
}

/// A datagram that arrives.
#[derive(Debug, PartialEq, Eq)]
pub struct Datagram {
    pub from: usize,
    pub to: usize,
    pub bytes: Vec<u8>,
}

/// What passed over all lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    pub sent: u64,
    pub lost: u64,
    pub overflowed: u64,
    pub cut: u64,
    pub doubled: u64,
}

/// All lines of a world.
#[derive(Debug)]
pub struct Net {
    lines: BTreeMap<(usize, usize), Line>,
    free: BTreeMap<(usize, usize), u64>,
    under_way: BTreeMap<(u64, u64), Datagram>,
    serial: u64,
    entropy: Entropy,
    pub passed: Passed,
}

impl Net {
    /// No lines yet.
    #[must_use]
    pub fn new(entropy: Entropy) -> Self {
        Self {
            lines: BTreeMap::new(),
            free: BTreeMap::new(),
            under_way: BTreeMap::new(),
            serial: 0,
            entropy,
            passed: Passed::default(),
        }
    }

    /// Lays a line between two hosts.
    pub fn lay(&mut self, one: usize, other: usize, line: Line) {
        self.lines.insert((one.min(other), one.max(other)), line);
    }

    /// Puts a datagram on the line. It may be dropped, which nobody is told.
    pub fn send(&mut self, now: u64, from: usize, to: usize, bytes: Vec<u8>) {
        let Some(line) = self.lines.get(&(from.min(to), from.max(to))) else { return };
        self.passed.sent += 1;
        let cut =
            |cut: &Cut| (cut.from..cut.to).contains(&now) && cut.only_from.is_none_or(|only| only == from);
        if line.cuts.iter().any(cut) {
            self.passed.cut += 1;
            return;
        }
        let free = self.free.entry((from, to)).or_insert(now);
        let begins = now.max(*free);
        if begins - now > line.queue {
            self.passed.overflowed += 1;
            return;
        }
        // 28 bytes of IP and UDP headers travel with each datagram.
        let bits = (bytes.len() as u64 + 28) * 8;
        *free = begins + bits * SECOND / line.rate;
        if self.entropy.chance(line.loss_per_million) {
            self.passed.lost += 1;
            return;
        }
        let due = *free + line.delay;
        let twice = self.entropy.chance(line.doubled_per_million);
        self.passed.doubled += u64::from(twice);
        for _ in 0..=usize::from(twice) {
            self.serial += 1;
            let due = due + self.entropy.below(line.jitter + 1);
            self.under_way.insert((due, self.serial), Datagram { from, to, bytes: bytes.clone() });
        }
    }

    /// The line between two hosts, to be changed.
    pub fn line(&mut self, one: usize, other: usize) -> Option<&mut Line> {
        self.lines.get_mut(&(one.min(other), one.max(other)))
    }

    /// From here on every line is whole: no loss, no cuts, no doubles, nothing out of order.
    pub fn heal(&mut self) {
        for line in self.lines.values_mut() {
            *line = Line { delay: line.delay, rate: line.rate, ..Line::default() };
        }
    }

    /// Datagrams on their way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// When the next datagram arrives.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        self.under_way.keys().next().map(|(due, _)| *due)
    }

    /// The next datagram that has arrived by now.
    pub fn arrived(&mut self, now: u64) -> Option<Datagram> {
        let first = self.under_way.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}
