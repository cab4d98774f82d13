//! One connection in bulk over lines of every kind: a wide window on a fast long lossy line must not kill it.

use packetboat::identity::SiteKey;
use protocol::limits::BULK_LANES;
use quinn_proto::{Dir, StreamId};

use crate::entropy::Entropy;
use crate::net::{Line, SECOND};
use crate::quic::{Heard, Quic, Talk};

/// The most a crossing carries: enough to leave slow start on the fastest line, and a second of work for the machine.
const BYTES_MAX: u64 = 48 << 20;

/// How long a line is filled, where that is less.
const FILL_S: u64 = 20;

/// Virtual time after which a crossing is over, done or not.
const OVER: u64 = 600 * SECOND;

/// What came of filling one line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crossing {
    pub rate_mbit: u64,
    pub rtt_ms: u64,
    pub loss_per_million: u32,
    pub queue_ms: u64,
    pub bytes: u64,
    pub arrived: u64,
    pub nanos: u64,
    pub died: bool,
}

impl Crossing {
    /// Megabits of content a second.
    #[must_use]
    pub fn goodput_mbit(&self) -> f64 {
        self.arrived as f64 * 8e3 / self.nanos.max(1) as f64
    }
}

impl std::fmt::Display for Crossing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} Mbit/s, {} ms, {} of a million lost, queue {} ms: {} of {} bytes, {:.1} Mbit/s{}",
            self.rate_mbit,
            self.rtt_ms,
            self.loss_per_million,
            self.queue_ms,
            self.arrived,
            self.bytes,
            self.goodput_mbit(),
            if self.died { ", THE CONNECTION DIED" } else { "" }
        )
    }
}

/// A number between two, each factor of two as likely as another.
fn spread(entropy: &mut Entropy, least: u64, most: u64) -> u64 {
    let doublings = (most / least).ilog2() + 1;
    let low = least << entropy.below(u64::from(doublings));
    (low + entropy.below(low)).min(most)
}

/// Fills the line of a seed: 1 to 500 Mbit/s, 20 to 800 ms there and back, to 5 % of loss, a queue of a twentieth to all of what is under way.
#[must_use]
pub fn cross(seed: u64) -> Crossing {
    let mut entropy = Entropy::new(seed).fork("line");
    let rate_mbit = spread(&mut entropy, 1, 500);
    let rtt_ms = spread(&mut entropy, 20, 800);
    let loss_per_million = *[0, 1_000, 10_000, 50_000].get(entropy.index(4)).unwrap_or(&0);
    let queue_ms = (rtt_ms / [20, 4, 1].get(entropy.index(3)).unwrap_or(&1)).max(1);
    let line = Line {
        delay: rtt_ms * SECOND / 2_000,
        loss_per_million,
        rate: rate_mbit * 1_000_000,
        queue: queue_ms * SECOND / 1_000,
        ..Line::default()
    };
    let bytes = (rate_mbit * 125_000 * FILL_S).min(BYTES_MAX);
    let mut quic = Quic::new(Entropy::new(seed));
    let (arrived, nanos, died) = fill(&mut quic, line, bytes);
    Crossing { rate_mbit, rtt_ms, loss_per_million, queue_ms, bytes, arrived, nanos, died }
}

/// Both ends of one connection.
#[derive(Default)]
struct Ends {
    sender: Option<Talk>,
    receiver: Option<Talk>,
    lanes: Vec<StreamId>,
    reading: Vec<StreamId>,
    written: u64,
    arrived: u64,
}

impl Ends {
    fn write(&mut self, quic: &mut Quic, now: u64, bytes: u64, block: &[u8]) {
        let Some(talk) = self.sender else { return };
        while self.lanes.len() < usize::from(BULK_LANES)
            && let Some(lane) = quic.open(talk, Dir::Uni, 0)
        {
            self.lanes.push(lane);
        }
        for lane in &self.lanes {
            let left = usize::try_from(bytes - self.written).unwrap_or(usize::MAX).min(block.len());
            let part = block.get(..left).unwrap_or_default();
            self.written += quic.write(talk, *lane, part) as u64;
        }
        quic.flush(now, 0);
    }

    fn read(&mut self, quic: &mut Quic, now: u64, buffer: &mut Vec<u8>) {
        let Some(talk) = self.receiver else { return };
        while let Some(lane) = quic.accept(talk, Dir::Uni) {
            self.reading.push(lane);
        }
        for lane in &self.reading {
            quic.read(talk, *lane, buffer);
        }
        self.arrived += buffer.len() as u64;
        buffer.clear();
        quic.flush(now, 1);
    }
}

/// Sends so many bytes by all lanes. Gives how many arrived, when the last did, and whether the connection was lost before.
fn fill(quic: &mut Quic, line: Line, bytes: u64) -> (u64, u64, bool) {
    let keys = [SiteKey::from_seed(&[1; 32]), SiteKey::from_seed(&[2; 32])];
    for (host, key) in keys.iter().enumerate() {
        quic.boot(host, key);
    }
    quic.net.lay(0, 1, line);
    let mut ends = Ends { sender: quic.dial(0, 0, 1, keys[1].site_id()), ..Ends::default() };
    let dialled = ends.sender.take();
    let (block, mut buffer) = (vec![7; 256 << 10], Vec::new());
    let mut now = 0;
    while ends.arrived < bytes && now < OVER {
        let Some(due) = quic.next_due(now) else { return (ends.arrived, now, true) };
        now = due;
        quic.step(now);
        for host in 0..2 {
            while let Some(heard) = quic.hear(host) {
                match heard {
                    Heard::Connected(_) => ends.sender = dialled,
                    Heard::Accepted(talk, _) => ends.receiver = Some(talk),
                    Heard::Lost(_) => return (ends.arrived, now, true),
                    Heard::Stirred(_) => {}
                }
            }
        }
        ends.write(quic, now, bytes, &block);
        ends.read(quic, now, &mut buffer);
    }
    (ends.arrived, now, false)
}
