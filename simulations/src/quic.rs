//! Real quinn-proto endpoints with the node's own TLS and settings, in virtual time: every random choice comes from the seed.

mod crypto;
mod pipes;

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use packetboat::identity::SiteKey;
use packetboat::transport::settings::{self, Pace};
use packetboat::transport::tls::{self, Alpn, Expected, Peers};
use protocol::id::SiteId;
use protocol::limits::CONNECTION_WINDOW_BYTES;
use quinn_proto::{
    Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, Event, StreamId, TimeSource, VarInt,
};

use crate::entropy::Entropy;
use crate::net::Net;
use crate::trace::Trace;
use crypto::CountedIds;
use pipes::Pipes;

/// The name a dialler gives: never used, identity is the key.
const NAME: &str = "site.invalid";

/// Gives a connection the window that a node gives where it has few.
fn widen(connection: &mut Connection) {
    connection.set_receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES));
    connection.set_send_window(u64::from(CONNECTION_WINDOW_BYTES));
}

/// Which connection of which host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Talk {
    pub host: usize,
    handle: ConnectionHandle,
}

/// What a host hears of its connections.
#[derive(Debug)]
pub enum Heard {
    /// Another site's key was proved on a connection it opened.
    Accepted(Talk, SiteId),
    /// The connection this host opened stands.
    Connected(Talk),
    /// Bytes may be read or written, or streams were opened.
    Stirred(Talk),
    Lost(Talk),
}

#[derive(Debug)]
struct Everyone;

impl Peers for Everyone {
    fn site_of(&self, key: &SiteId) -> Option<SiteId> {
        Some(*key)
    }

    fn pairing_open(&self) -> bool {
        false
    }
}

/// Token times come from here: the same in every run.
struct Still;

impl TimeSource for Still {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_795_000_000)
    }
}

struct Host {
    key: SiteKey,
    provider: Arc<rustls::crypto::CryptoProvider>,
    ids: CountedIds,
    endpoint: Endpoint,
    connections: BTreeMap<ConnectionHandle, Connection>,
    dialled: BTreeMap<ConnectionHandle, bool>,
    heard: VecDeque<Heard>,
    /// When the first of its timers fires, as its connections were last driven.
    due: Option<Instant>,
    /// A stream of its was opened, written or read since.
    touched: bool,
}

impl Host {
    fn first_timer(&mut self) -> Option<Instant> {
        self.connections.values_mut().filter_map(Connection::poll_timeout).min()
    }

    /// Whether its connections may have something to send or to tell: without a datagram, a timer or a touched stream they have not.
    fn stirs(&self, at: Instant) -> bool {
        self.touched || self.due.is_some_and(|due| due <= at)
    }
}

/// All hosts' endpoints over one net.
pub struct Quic {
    start: Instant,
    hosts: Vec<Host>,
    pub net: Net,
    pub trace: Trace,
    entropy: Entropy,
    /// In place of all QUIC.
    pipes: Option<Pipes>,
    /// Who each host is, where there are pipes.
    sites: Vec<SiteId>,
}

impl std::fmt::Debug for Quic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Quic")
            .field("hosts", &self.hosts.len())
            .field("net", &self.net)
            .finish_non_exhaustive()
    }
}

fn address(host: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 1000 + u16::try_from(host).unwrap_or(0)))
}

fn host_at(address: SocketAddr) -> usize {
    usize::from(address.port().saturating_sub(1000))
}

impl Quic {
    /// No hosts yet.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "quinn-proto counts from some instant; only differences matter"
    )]
    pub fn new(entropy: Entropy) -> Self {
        let net = Net::new(entropy.fork("net"));
        let (hosts, sites, trace) = (Vec::new(), Vec::new(), Trace::default());
        Self { start: Instant::now(), hosts, net, trace, entropy, pipes: None, sites }
    }

    /// The same lines with plain streams over them, and no QUIC: each parcel arrives, however often it was lost.
    #[must_use]
    pub fn pipes(entropy: Entropy) -> Self {
        Self { pipes: Some(Pipes::default()), ..Self::new(entropy) }
    }

    fn at(&self, now: u64) -> Instant {
        self.start + Duration::from_nanos(now)
    }

    /// Adds a host, or gives one a new life: its old connections are gone, its key and address are the same.
    pub fn boot(&mut self, host: usize, key: &SiteKey) {
        if let Some(pipes) = &mut self.pipes {
            pipes.boot(host);
            if host == self.sites.len() {
                self.sites.push(key.site_id());
            }
            return;
        }
        let seed = self.entropy.next();
        let entropy = Entropy::new(seed);
        let provider = crypto::provider(&entropy.fork("tls"));
        let ids = CountedIds::new(entropy.fork("connection ids"));
        let mut config = settings::endpoint(key);
        let fresh = ids.clone();
        config.cid_generator(move || Box::new(fresh.clone()));
        let tls = tls::server(key, Arc::new(Everyone), Arc::clone(&provider), Some(Arc::new(crypto::Still)))
            .expect("the provider speaks TLS 1.3 and Ed25519");
        let mut server = settings::server(key, tls, Pace::Background);
        server.time_source(Arc::new(Still));
        let rng = entropy.fork("endpoint").key();
        let endpoint = Endpoint::new(Arc::new(config), Some(Arc::new(server)), true, Some(rng));
        let life = Host {
            key: key.clone(),
            provider,
            ids,
            endpoint,
            connections: BTreeMap::new(),
            dialled: BTreeMap::new(),
            heard: VecDeque::new(),
            due: None,
            touched: false,
        };
        match self.hosts.get_mut(host) {
            Some(old) => *old = life,
            None => self.hosts.push(life),
        }
    }

    /// Opens a connection to the site `expected` at a host.
    pub fn dial(&mut self, now: u64, from: usize, to: usize, expected: SiteId) -> Option<Talk> {
        if let Some(pipes) = &mut self.pipes {
            return pipes.dial(now, &mut self.net, from, to, *self.sites.get(from)?);
        }
        let at = self.at(now);
        let host = self.hosts.get_mut(from)?;
        let expected = Expected::new(expected, &host.provider);
        let time = Some(Arc::new(crypto::Still) as Arc<dyn rustls::time_provider::TimeProvider>);
        let tls = tls::client(&host.key, expected, Alpn::Link, Arc::clone(&host.provider), time).ok()?;
        let mut config = settings::client(Arc::new(tls), Pace::Background);
        let ids = host.ids.clone();
        config.initial_dst_cid_provider(Arc::new(move || ids.next()));
        let (handle, mut connection) = host.endpoint.connect(at, config, address(to), NAME).ok()?;
        widen(&mut connection);
        host.connections.insert(handle, connection);
        host.dialled.insert(handle, true);
        self.drive(now, from);
        Some(Talk { host: from, handle })
    }

    /// What a host hears next.
    pub fn hear(&mut self, host: usize) -> Option<Heard> {
        if let Some(pipes) = &mut self.pipes {
            return pipes.hear(host);
        }
        self.hosts.get_mut(host)?.heard.pop_front()
    }

    /// When something happens next by itself.
    pub fn next_due(&mut self, now: u64) -> Option<u64> {
        if let Some(pipes) = &self.pipes {
            return pipes.next_due().map(|due| due.max(now));
        }
        let start = self.start;
        let timers = self.hosts.iter_mut();
        let timers = timers.filter_map(|host| if host.touched { host.first_timer() } else { host.due });
        let timers = timers.map(|at| {
            let nanos = at.saturating_duration_since(start).as_nanos();
            u64::try_from(nanos).unwrap_or(u64::MAX)
        });
        timers.chain(self.net.next_due()).min().map(|due| due.max(now))
    }

    /// Lets arrive and fire what is due.
    pub fn step(&mut self, now: u64) {
        if let Some(pipes) = &mut self.pipes {
            return pipes.step(now, &mut self.net, &mut self.trace);
        }
        while let Some(datagram) = self.net.arrived(now) {
            self.trace.datagram(now, datagram.from, datagram.to, &datagram.bytes);
            self.deliver(now, datagram.from, datagram.to, &datagram.bytes);
            self.drive(now, datagram.to);
        }
        let at = self.at(now);
        for host in 0..self.hosts.len() {
            if self.hosts.get(host).is_some_and(|host| host.stirs(at)) {
                self.drive(now, host);
            }
        }
    }

    fn deliver(&mut self, now: u64, from: usize, to: usize, bytes: &[u8]) {
        let at = self.at(now);
        let Some(host) = self.hosts.get_mut(to) else { return };
        let mut buffer = Vec::new();
        let event = host.endpoint.handle(at, address(from), None, None, BytesMut::from(bytes), &mut buffer);
        match event {
            Some(DatagramEvent::NewConnection(incoming)) => {
                if let Ok((handle, mut connection)) = host.endpoint.accept(incoming, at, &mut buffer, None) {
                    widen(&mut connection);
                    host.connections.insert(handle, connection);
                }
            }
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(connection) = host.connections.get_mut(&handle) {
                    connection.handle_event(event);
                }
            }
            Some(DatagramEvent::Response(transmit)) => {
                let bytes = buffer.get(..transmit.size).unwrap_or_default().to_vec();
                self.net.send(now, to, host_at(transmit.destination), bytes);
            }
            None => {}
        }
    }

    /// Fires timers, hears events and sends what a host's connections have to send.
    fn drive(&mut self, now: u64, index: usize) {
        let at = self.at(now);
        let Some(host) = self.hosts.get_mut(index) else { return };
        let handles: Vec<ConnectionHandle> = host.connections.keys().copied().collect();
        for handle in handles {
            let Some(connection) = host.connections.get_mut(&handle) else { continue };
            if connection.poll_timeout().is_some_and(|due| due <= at) {
                connection.handle_timeout(at);
            }
            let talk = Talk { host: index, handle };
            while let Some(event) = connection.poll() {
                match event {
                    Event::Connected if host.dialled.contains_key(&handle) => {
                        host.heard.push_back(Heard::Connected(talk));
                    }
                    Event::Connected => {
                        if let Some(site) = crypto::peer_of(connection) {
                            host.heard.push_back(Heard::Accepted(talk, site));
                        }
                    }
                    Event::ConnectionLost { .. } => host.heard.push_back(Heard::Lost(talk)),
                    Event::Stream(_) => host.heard.push_back(Heard::Stirred(talk)),
                    Event::HandshakeDataReady | Event::DatagramReceived | Event::DatagramsUnblocked => {}
                }
            }
            let mut buffer = Vec::new();
            while let Some(transmit) = connection.poll_transmit(at, 1, &mut buffer) {
                let bytes = buffer.get(..transmit.size).unwrap_or_default().to_vec();
                buffer.clear();
                self.net.send(now, index, host_at(transmit.destination), bytes);
            }
            while let Some(event) = connection.poll_endpoint_events() {
                if let Some(event) = host.endpoint.handle_event(handle, event) {
                    connection.handle_event(event);
                }
            }
            if connection.is_drained() {
                host.connections.remove(&handle);
                host.dialled.remove(&handle);
            }
        }
        host.due = host.first_timer();
        host.touched = false;
    }

    fn connection(&mut self, talk: Talk) -> Option<&mut Connection> {
        let host = self.hosts.get_mut(talk.host)?;
        host.touched = true;
        host.connections.get_mut(&talk.handle)
    }

    /// Whether the connection still carries bytes.
    pub fn stands(&mut self, talk: Talk) -> bool {
        if let Some(pipes) = &mut self.pipes {
            return pipes.stands(talk);
        }
        let connections = self.hosts.get(talk.host).map(|host| &host.connections);
        connections.and_then(|all| all.get(&talk.handle)).is_some_and(|connection| !connection.is_closed())
    }

    /// Opens a stream with a priority, if the peer allows one more.
    pub fn open(&mut self, talk: Talk, dir: Dir, priority: i32) -> Option<StreamId> {
        if let Some(pipes) = &mut self.pipes {
            return pipes.open(talk, dir);
        }
        let connection = self.connection(talk)?;
        let stream = connection.streams().open(dir)?;
        connection.send_stream(stream).set_priority(priority).ok()?;
        Some(stream)
    }

    /// The next stream the peer opened.
    pub fn accept(&mut self, talk: Talk, dir: Dir) -> Option<StreamId> {
        if let Some(pipes) = &mut self.pipes {
            return pipes.accept(talk, dir);
        }
        self.connection(talk)?.streams().accept(dir)
    }

    /// Writes as much as the stream takes, and tells how much that was.
    pub fn write(&mut self, talk: Talk, stream: StreamId, bytes: &[u8]) -> usize {
        if let Some(pipes) = &mut self.pipes {
            return pipes.write(&mut self.net, talk, stream, bytes);
        }
        let Some(connection) = self.connection(talk) else { return 0 };
        // A stream that is blocked or stopped takes nothing; what became of it is told by an event.
        connection.send_stream(stream).write(bytes).unwrap_or_default()
    }

    /// Reads what has arrived in order.
    pub fn read(&mut self, talk: Talk, stream: StreamId, into: &mut Vec<u8>) {
        if let Some(pipes) = &mut self.pipes {
            return pipes.read(&self.net, talk, stream, into);
        }
        let Some(connection) = self.connection(talk) else { return };
        let mut receive = connection.recv_stream(stream);
        let Ok(mut chunks) = receive.read(true) else { return };
        while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
            into.extend_from_slice(&chunk.bytes);
        }
        let _transmit = chunks.finalize().should_transmit();
    }

    /// Closes a connection with a code.
    pub fn close(&mut self, now: u64, talk: Talk, code: u32) {
        if let Some(pipes) = &mut self.pipes {
            return pipes.close(now, &mut self.net, talk);
        }
        let at = self.at(now);
        if let Some(connection) = self.connection(talk) {
            connection.close(at, VarInt::from_u32(code), Bytes::new());
        }
        self.drive(now, talk.host);
    }

    /// Lets a host send what was written since.
    pub fn flush(&mut self, now: u64, host: usize) {
        if self.pipes.is_some() {
            return;
        }
        self.drive(now, host);
    }
}
