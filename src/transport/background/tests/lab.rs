//! A bottleneck between quinn-proto pairs in virtual time: rate, delay, queue, loss, and what came through.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use protocol::id::SiteId;
use quinn_proto::{
    Connection, ConnectionEvent, ConnectionHandle, DatagramEvent, Dir, Endpoint, Event, StreamId,
};

use crate::identity::SiteKey;
use crate::transport::settings::{self, Pace};
use crate::transport::tls::{self, Alpn, Expected, Peers};

/// One link, the same both ways; data flows one way.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) bits_per_second: u64,
    pub(super) rtt: Duration,
    pub(super) queue: Duration,
    pub(super) loss: f64,
    /// From this second on the round trip time is another.
    pub(super) reroute: Option<(u64, Duration)>,
    /// So many bytes each flow has to send, and then no more.
    pub(super) content: u64,
}

impl Default for Link {
    fn default() -> Self {
        let rtt = Duration::from_millis(200);
        Self { bits_per_second: 20_000_000, rtt, queue: rtt, loss: 0.0, reroute: None, content: u64::MAX }
    }
}

/// What came through.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Application bytes of each flow in each second.
    pub(super) per_second: Vec<Vec<u64>>,
    pub(super) sent: u64,
    pub(super) overflowed: u64,
    /// The mean time a packet spent in the queue, by second.
    queued_ms: Vec<u64>,
}

impl Seen {
    /// Mean bits a second of `flow` from second `from` to second `to`.
    pub(super) fn goodput(&self, flow: usize, from: usize, to: usize) -> f64 {
        let bytes: u64 = self.per_second[flow][from..to].iter().sum();
        bytes as f64 * 8.0 / (to - from) as f64
    }

    /// Mean milliseconds in the queue from second `from` to second `to`.
    pub(super) fn queued_ms(&self, from: usize, to: usize) -> u64 {
        self.queued_ms[from..to].iter().sum::<u64>() / (to - from) as u64
    }

    /// Bytes of `flow` that came before second `to`.
    pub(super) fn came(&self, flow: usize, to: usize) -> u64 {
        self.per_second[flow][..to].iter().sum()
    }

    pub(super) fn overflow_share(&self) -> f64 {
        self.overflowed as f64 / self.sent as f64
    }
}

#[derive(Debug)]
struct Anyone;

impl Peers for Anyone {
    fn site_of(&self, key: &SiteId) -> Option<SiteId> {
        Some(*key)
    }

    fn pairing_open(&self) -> bool {
        false
    }
}

/// One direction's line: when it has sent all that waits.
struct Line {
    free: Instant,
}

struct Packet {
    to: usize,
    bytes: BytesMut,
}

struct Side {
    endpoint: Endpoint,
    address: SocketAddr,
    connection: Option<(ConnectionHandle, Connection)>,
    streams: Vec<StreamId>,
    events: VecDeque<ConnectionEvent>,
    sends: bool,
    from_second: u64,
    left_bytes: u64,
}

struct Lab {
    link: Link,
    start: Instant,
    now: Instant,
    lines: [Line; 2],
    wire: BTreeMap<(Instant, u64), Packet>,
    serial: u64,
    dice: u64,
    sides: Vec<Side>,
    seen: Seen,
    queued: Vec<(u64, u64)>,
}

/// Runs flows (pace, second of their start) side by side over `link`, each on a connection of its own.
pub(super) fn run(link: &Link, flows: &[(Pace, u64)], seconds: u64) -> Seen {
    let start = Instant::now();
    let length = usize::try_from(seconds).unwrap() + 1;
    let mut lab = Lab {
        link: link.clone(),
        start,
        now: start,
        lines: [Line { free: start }, Line { free: start }],
        wire: BTreeMap::new(),
        serial: 0,
        dice: 0x9e37_79b9_7f4a_7c15,
        sides: Vec::new(),
        seen: Seen { per_second: vec![vec![0; length]; flows.len()], ..Seen::default() },
        queued: vec![(0, 0); length],
    };
    for (index, (pace, from_second)) in flows.iter().enumerate() {
        lab.add_pair(index, *pace, *from_second);
    }
    let end = start + Duration::from_secs(seconds);
    while lab.now < end {
        lab.step();
    }
    lab.seen.queued_ms = lab.queued.iter().map(|(sum, count)| sum / 1000 / (*count).max(1)).collect();
    lab.seen
}

impl Lab {
    fn add_pair(&mut self, index: usize, pace: Pace, from_second: u64) {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let seed = u8::try_from(index).unwrap();
        let (sender, receiver) = (SiteKey::from_seed(&[1 + seed; 32]), SiteKey::from_seed(&[101 + seed; 32]));
        let tls = tls::server(&receiver, Arc::new(Anyone), Arc::clone(&provider), None).unwrap();
        let server = Arc::new(settings::server(&receiver, tls, pace));
        let expected = Expected::new(receiver.site_id(), &provider);
        let tls = tls::client(&sender, expected, Alpn::Link, provider, None).unwrap();
        let at = |side: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, 1000 + 2 * u16::from(seed) + side));
        let side = |key: &SiteKey, server, address, sends| Side {
            endpoint: Endpoint::new(Arc::new(settings::endpoint(key)), server, true, Some([seed; 32])),
            address,
            connection: None,
            streams: Vec::new(),
            events: VecDeque::new(),
            sends,
            from_second,
            left_bytes: self.link.content,
        };
        let mut dialler = side(&sender, None, at(0), true);
        let config = settings::client(Arc::new(tls), pace);
        dialler.connection =
            Some(dialler.endpoint.connect(self.start, config, at(1), "site.invalid").unwrap());
        self.sides.push(dialler);
        self.sides.push(side(&receiver, Some(server), at(1), false));
    }

    fn second(&self) -> usize {
        usize::try_from(self.now.saturating_duration_since(self.start).as_secs()).unwrap()
    }

    /// A fair share of [0, 1).
    fn roll(&mut self) -> f64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn step(&mut self) {
        while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let packet = entry.remove();
            self.deliver(packet);
        }
        for index in 0..self.sides.len() {
            self.drive(index);
        }
        let timers =
            self.sides.iter_mut().filter_map(|side| side.connection.as_mut()?.1.poll_timeout()).min();
        let next = self.wire.keys().next().map(|(due, _)| *due).into_iter().chain(timers).min();
        let next =
            next.unwrap_or(self.now + Duration::from_millis(10)).min(self.now + Duration::from_millis(10));
        self.now = next.max(self.now + Duration::from_micros(50));
    }

    fn deliver(&mut self, packet: Packet) {
        let now = self.now;
        let from = self.sides[packet.to ^ 1].address;
        let side = &mut self.sides[packet.to];
        let mut buffer = Vec::new();
        match side.endpoint.handle(now, from, None, None, packet.bytes, &mut buffer) {
            Some(DatagramEvent::NewConnection(incoming)) => {
                side.connection = side.endpoint.accept(incoming, now, &mut buffer, None).ok();
            }
            Some(DatagramEvent::ConnectionEvent(_, event)) => side.events.push_back(event),
            Some(DatagramEvent::Response(_)) | None => {}
        }
    }

    fn drive(&mut self, index: usize) {
        let (now, second) = (self.now, self.second());
        let side = &mut self.sides[index];
        let Some((handle, connection)) = side.connection.as_mut() else { return };
        while let Some(event) = side.events.pop_front() {
            connection.handle_event(event);
        }
        if connection.poll_timeout().is_some_and(|due| due <= now) {
            connection.handle_timeout(now);
        }
        while let Some(event) = connection.poll() {
            assert!(!matches!(event, Event::ConnectionLost { .. }), "{event:?}");
        }
        if side.sends && second as u64 >= side.from_second {
            feed(connection, &mut side.streams, &mut side.left_bytes);
        } else if !side.sends {
            self.seen.per_second[index / 2][second] += drain(connection, &mut side.streams);
        }
        let mut buffer = Vec::new();
        let mut out = Vec::new();
        while let Some(transmit) = connection.poll_transmit(now, 10, &mut buffer) {
            let size = transmit.segment_size.unwrap_or(transmit.size);
            out.extend(buffer.chunks(size).map(BytesMut::from));
            buffer.clear();
        }
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = side.endpoint.handle_event(*handle, event) {
                connection.handle_event(event);
            }
        }
        for bytes in out {
            self.transmit(index, bytes);
        }
    }

    fn transmit(&mut self, from: usize, bytes: BytesMut) {
        let data = from.is_multiple_of(2);
        let second = self.second();
        let line = &mut self.lines[usize::from(!data)];
        let waits = line.free.saturating_duration_since(self.now);
        self.seen.sent += u64::from(data);
        if waits > self.link.queue {
            self.seen.overflowed += u64::from(data);
            return;
        }
        if data {
            self.queued[second].0 += u64::try_from(waits.as_micros()).unwrap();
            self.queued[second].1 += 1;
        }
        let bits = (bytes.len() as u64 + 28) * 8;
        let took = Duration::from_nanos(bits * 1_000_000_000 / self.link.bits_per_second);
        line.free = self.now.max(line.free) + took;
        let sent = line.free;
        let rtt = match self.link.reroute {
            Some((from_second, rtt)) if second as u64 >= from_second => rtt,
            Some(_) | None => self.link.rtt,
        };
        if self.roll() >= self.link.loss {
            self.serial += 1;
            self.wire.insert((sent + rtt / 2, self.serial), Packet { to: from ^ 1, bytes });
        }
    }
}

/// Keeps eight streams full while anything is left to send.
fn feed(connection: &mut Connection, streams: &mut Vec<StreamId>, left_bytes: &mut u64) {
    while streams.len() < 8 {
        let Some(stream) = connection.streams().open(Dir::Uni) else { break };
        streams.push(stream);
    }
    let block = Bytes::from_static(&[0; 16 << 10]);
    for stream in streams {
        while *left_bytes > 0 {
            let next = usize::try_from(*left_bytes).map_or(block.len(), |left| left.min(block.len()));
            let Ok(written) = connection.send_stream(*stream).write_chunks(&mut [block.slice(..next)]) else {
                break;
            };
            *left_bytes -= written.bytes as u64;
        }
    }
}

/// Takes what has arrived, in any order.
fn drain(connection: &mut Connection, streams: &mut Vec<StreamId>) -> u64 {
    while let Some(stream) = connection.streams().accept(Dir::Uni) {
        streams.push(stream);
    }
    let mut total = 0;
    for stream in streams {
        let mut receive = connection.recv_stream(*stream);
        let Ok(mut chunks) = receive.read(true) else { continue };
        while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
            total += chunk.bytes.len() as u64;
        }
        let _more_to_send = chunks.finalize().should_transmit();
    }
    total
}
