//! The lines between sites: delay, rate with a bounded queue, loss, jitter, doubles, and cuts by schedule. Times are nanoseconds since the run began.

use std::collections::BTreeMap;

use crate::entropy::Entropy;

/// A second.
pub const SECOND: u64 = 1_000_000_000;

/// Bytes of a packet, where only packets get lost.
const PACKET_BYTES: usize = 1200;
/// Of a million parcels as many arrive at the first attempt at least.
const LOST_MOST: u32 = 900_000;

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

impl Line {
    /// Until when nothing passes from a host, if nothing does now.
    fn cut_until(&self, now: u64, from: usize) -> Option<u64> {
        let cut =
            |cut: &&Cut| (cut.from..cut.to).contains(&now) && cut.only_from.is_none_or(|only| only == from);
        self.cuts.iter().filter(cut).map(|cut| cut.to).max()
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
        if line.cut_until(now, from).is_some() {
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

    /// When bytes arrive that are sent again until they do; nothing where there is no line, or nothing passes for longer than `patience`.
    pub fn carry(&mut self, now: u64, from: usize, to: usize, bytes: usize, patience: u64) -> Option<u64> {
        let line = self.lines.get(&(from.min(to), from.max(to)))?;
        self.passed.sent += 1;
        let mut begins = now.max(self.free.get(&(from, to)).copied().unwrap_or(0));
        while let Some(until) = line.cut_until(begins, from) {
            self.passed.cut += 1;
            if until > now.saturating_add(patience) {
                return None;
            }
            begins = until;
        }
        begins += bytes as u64 * 8 * SECOND / line.rate;
        self.free.insert((from, to), begins);
        let mut due = begins + line.delay + self.entropy.below(line.jitter + 1);
        // Each loss is noticed after a round trip and mended after another.
        let packets = u32::try_from(bytes / PACKET_BYTES + 1).unwrap_or(1);
        while self.entropy.chance(line.loss_per_million.saturating_mul(packets).min(LOST_MOST)) {
            self.passed.lost += 1;
            due += 2 * line.delay + line.jitter;
        }
        self.passed.doubled += u64::from(self.entropy.chance(line.doubled_per_million));
        Some(due)
    }

    /// The first moment from which nothing passes for so long one way or the other, if one is known.
    #[must_use]
    pub fn silent_from(&self, now: u64, one: usize, other: usize, length: u64) -> Option<u64> {
        let line = self.lines.get(&(one.min(other), one.max(other)))?;
        let long = line.cuts.iter().filter(|cut| cut.to >= now.max(cut.from) + length);
        long.map(|cut| cut.from.max(now)).min()
    }

    /// Whether nothing passes now, one way or the other.
    #[must_use]
    pub fn is_cut(&self, now: u64, one: usize, other: usize) -> bool {
        let line = self.lines.get(&(one.min(other), one.max(other)));
        line.is_some_and(|line| line.cuts.iter().any(|cut| (cut.from..cut.to).contains(&now)))
    }

    /// How long the line between two hosts is.
    #[must_use]
    pub fn delay(&self, [one, other]: [usize; 2]) -> u64 {
        self.lines.get(&(one.min(other), one.max(other))).map_or(0, |line| line.delay)
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
