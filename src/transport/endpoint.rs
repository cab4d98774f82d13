//! The UDP socket of a site: dials sites by key and hands over the connections of sites that were admitted.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::id::SiteId;
use protocol::limits::{
    ADMITTED_WAITING_MAX, CALLER_WINDOW_BYTES, CONNECTION_WINDOW_BYTES_MIN, HANDSHAKE_MS_MAX,
    HANDSHAKES_UNPROVEN_MAX, INCOMING_MAX, NETWORKS_REMEMBERED_MAX,
};
use quinn::{Connection, ConnectionError, Incoming, ServerConfig, TokioRuntime, VarInt};
use quinn_proto::crypto;
use quinn_proto::crypto::rustls::HandshakeData;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::time::timeout;

use super::budget::{Budget, Share};
use super::callers::Callers;
use super::settings::{self, Pace};
use super::tls::{self, Alpn, Expected, Peers, ProviderError, SERVER_NAME, Whom, WrongSite, site_of_spki};
use crate::identity::SiteKey;

#[cfg(test)]
mod tests;

/// The code a connection is closed with when its site was forgotten while its handshake ran.
/// None of the codes of outcomes: no session was begun.
pub(super) const CLOSE_FORGOTTEN: VarInt = VarInt::from_u32(5);

/// QUIC's codes for TLS alerts: 0x100 and the alert.
const ALERTS: std::ops::RangeInclusive<u64> = 0x100..=0x1ff;
/// The alert `access_denied`.
const REFUSED_BY_TLS: u64 = 0x100 + 49;

/// Why no socket was opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is taken or not this machine's.
    #[error("cannot listen on UDP {address}; another node may be using it")]
    Socket { address: SocketAddr, source: io::Error },
    /// No TLS configuration came of the site key.
    #[error(transparent)]
    Tls(#[from] ProviderError),
}

/// Why a dial gave no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nobody answered, or the answer took too long.
    #[error("no answer from {address} within {} ms", .within.as_millis())]
    Silent { address: SocketAddr, within: Duration },
    /// Another site answered: the address is wrong, or someone is in between.
    #[error("{address}: {wrong}")]
    WrongSite { address: SocketAddr, wrong: WrongSite },
    /// The site answered and turned this one away.
    #[error("site {site} at {address} does not admit this site; pair the two, or ask for a fresh ticket")]
    Refused { address: SocketAddr, site: SiteId },
    /// The address cannot be dialled from this socket.
    #[error("cannot dial {address} from this socket")]
    Address { address: SocketAddr, source: quinn::ConnectError },
    /// The handshake broke off.
    #[error("the handshake with {address} failed")]
    Handshake { address: SocketAddr, source: ConnectionError },
    /// No TLS configuration came of the site key.
    #[error(transparent)]
    Tls(#[from] ProviderError),
}

/// Whether a connection ended because the other side's TLS does not admit this site. A dialler is
/// connected before it is refused, so this is asked of whatever error the first frames meet.
#[must_use]
pub fn is_refusal(error: &ConnectionError) -> bool {
    match error {
        ConnectionError::ConnectionClosed(close) => u64::from(close.error_code) == REFUSED_BY_TLS,
        ConnectionError::ApplicationClosed(close) => close.error_code == CLOSE_FORGOTTEN,
        ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::Reset
        | ConnectionError::TimedOut
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => false,
    }
}

/// A connection of an admitted site.
#[derive(Debug)]
pub struct Accepted {
    /// Who called. On [`Alpn::Pairing`] this is the key alone, and may be anyone's: the ticket is still to be proved.
    pub peer: SiteId,
    /// The key that proved it.
    pub key: SiteId,
    /// What it called for.
    pub alpn: Alpn,
    /// No stream of it has been read.
    pub connection: Connection,
}

/// A site's QUIC endpoint. Dropping it ends its connections without a word; [`Endpoint::close`] says goodbye.
pub struct Endpoint {
    quinn: quinn::Endpoint,
    key: std::sync::Mutex<SiteKey>,
    peers: Arc<dyn Peers>,
    pace: Pace,
    provider: Arc<CryptoProvider>,
    admitted: Mutex<mpsc::Receiver<Accepted>>,
    budget: Arc<Budget>,
    second: Arc<SecondDoor>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("key", &self.key).field("quinn", &self.quinn).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Opens a UDP socket and listens on it. `pace` is how answers to callers share the link.
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`]
    pub fn bind(
        address: SocketAddr,
        key: &SiteKey,
        peers: Arc<dyn Peers>,
        pace: Pace,
    ) -> Result<Self, BindError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = tls::server(key, Arc::clone(&peers), Arc::clone(&provider), None)?;
        let socket = |source| BindError::Socket { address, source };
        let quinn = quinn::Endpoint::new(
            settings::endpoint(key),
            Some(door(key, tls, pace)),
            UdpSocket::bind(address).map_err(socket)?,
            Arc::new(TokioRuntime),
        )
        .map_err(socket)?;
        let (sender, receiver) = mpsc::channel(ADMITTED_WAITING_MAX);
        let second = Arc::new(SecondDoor::default());
        tokio::spawn(listen(quinn.clone(), Arc::clone(&peers), sender, Arc::clone(&second)));
        let (key, admitted) = (std::sync::Mutex::new(key.clone()), Mutex::new(receiver));
        Ok(Self { quinn, key, peers, pace, provider, admitted, budget: Arc::default(), second })
    }

    /// The address of the socket.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.quinn.local_addr()
    }

    fn key(&self) -> std::sync::MutexGuard<'_, SiteKey> {
        self.key.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The key that is shown to other sites.
    #[must_use]
    pub fn shown(&self) -> SiteId {
        self.key().public()
    }

    /// Shows another key from the next connection on. Those that stand go on.
    ///
    /// # Errors
    /// No TLS configuration comes of it.
    pub fn show(&self, key: &SiteKey) -> Result<(), ProviderError> {
        let tls = tls::server(key, Arc::clone(&self.peers), Arc::clone(&self.provider), None)?;
        self.quinn.set_server_config(Some(door(key, tls, self.pace)));
        *self.key() = key.clone();
        self.second.open(None);
        Ok(())
    }

    /// Shows a second key to who calls and takes the first for nobody's. Those who are dialled are shown it where that is asked for.
    ///
    /// # Errors
    /// No TLS configuration comes of it.
    pub fn show_also(&self, key: &SiteKey) -> Result<(), ProviderError> {
        let tls = tls::server(key, Arc::clone(&self.peers), Arc::clone(&self.provider), None)?;
        self.second.open(Some(door(key, tls, self.pace)));
        Ok(())
    }

    /// The share of a session over one of its connections in what all of them may hold in memory. None where there are as many as there may be.
    #[must_use]
    pub fn share(&self, connection: &Connection) -> Option<Share> {
        self.budget.join(connection)
    }

    /// Calls the site `expected` at `address`. A connection means only that `expected` answered: it
    /// may still turn this site away, which shows at the first frame ([`is_refusal`]).
    ///
    /// # Errors
    /// [`DialError`]
    pub async fn dial(
        &self,
        address: SocketAddr,
        expected: impl Into<Whom>,
        alpn: Alpn,
        pace: Pace,
        within: Duration,
    ) -> Result<Connection, DialError> {
        let shown = self.key().clone();
        self.dial_as(&shown, address, expected, alpn, pace, within).await
    }

    /// The same, shown another key of this site.
    ///
    /// # Errors
    /// [`DialError`]
    pub async fn dial_as(
        &self,
        shown: &SiteKey,
        address: SocketAddr,
        expected: impl Into<Whom>,
        alpn: Alpn,
        pace: Pace,
        within: Duration,
    ) -> Result<Connection, DialError> {
        let whom = expected.into();
        let site = whom.site;
        let verifier = Expected::new(whom.clone(), &self.provider);
        let tls = tls::client(shown, Arc::clone(&verifier), alpn, Arc::clone(&self.provider), None)?;
        let connecting = self
            .quinn
            .connect_with(settings::client(Arc::new(tls), pace), address, SERVER_NAME)
            .map_err(|source| DialError::Address { address, source })?;
        let outcome = match timeout(within, connecting).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => return Err(DialError::Silent { address, within }),
        };
        outcome.map_err(|source| match verifier.met() {
            Some(found) if !whom.keys.contains(&found) => {
                DialError::WrongSite { address, wrong: WrongSite { expected: site, found } }
            }
            Some(_) | None if is_refusal(&source) => DialError::Refused { address, site },
            Some(_) | None if source == ConnectionError::TimedOut => DialError::Silent { address, within },
            Some(_) | None => DialError::Handshake { address, source },
        })
    }

    /// The next connection of an admitted site; `None` once the endpoint is closed. May be dropped and called again.
    pub async fn accept(&self) -> Option<Accepted> {
        self.admitted.lock().await.recv().await
    }

    /// Ends every connection with `code` and `reason` and waits until the peers have been told.
    pub async fn close(&self, code: u32, reason: &str) {
        self.quinn.close(VarInt::from_u32(code), reason.as_bytes());
        self.quinn.wait_idle().await;
    }
}

/// The listening side: whoever calls has little room until it is known who it is.
fn door(key: &SiteKey, tls: Arc<dyn crypto::ServerConfig>, pace: Pace) -> ServerConfig {
    let mut transport = settings::transport(pace);
    transport.receive_window(VarInt::from_u32(CALLER_WINDOW_BYTES));
    let mut config = settings::server(key, tls, pace);
    config.transport_config(Arc::new(transport));
    config
}

/// Looks at every attempt to connect until the endpoint closes or nobody takes the admitted.
async fn listen(
    quinn: quinn::Endpoint,
    peers: Arc<dyn Peers>,
    admitted: mpsc::Sender<Accepted>,
    second: Arc<SecondDoor>,
) {
    let handshakes = Arc::new(Semaphore::new(INCOMING_MAX));
    let callers = Arc::new(Queue::default());
    loop {
        let incoming = tokio::select! {
            biased;
            () = admitted.closed() => return,
            incoming = quinn.accept() => incoming,
        };
        let Some(incoming) = incoming else { return };
        let Ok(place) = Arc::clone(&handshakes).try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let under_way = INCOMING_MAX - handshakes.available_permits();
        let in_turn = callers.is_in_turn(&incoming);
        if incoming.may_retry() && (!in_turn || under_way > HANDSHAKES_UNPROVEN_MAX) {
            if let Err(error) = incoming.retry() {
                tracing::debug!(%error, "an attempt could not be asked to prove its address");
            }
            continue;
        }
        if !in_turn {
            incoming.refuse();
            continue;
        }
        let (peers, admitted, callers) = (Arc::clone(&peers), admitted.clone(), Arc::clone(&callers));
        let second = Arc::clone(&second);
        tokio::spawn(async move {
            let from = incoming.remote_address();
            let shaken = handshake(incoming, &*peers, &second);
            match timeout(Duration::from_millis(HANDSHAKE_MS_MAX), shaken).await {
                Ok(Ok(accepted)) => {
                    if accepted.alpn == Alpn::Link {
                        callers.trust(from);
                    }
                    // The receiver is gone only when the endpoint is: nobody is left to tell.
                    drop(admitted.send(accepted).await);
                }
                Ok(Err(refusal)) => tracing::debug!(%from, %refusal, "a visitor was turned away"),
                Err(_elapsed) => tracing::debug!(%from, "a visitor's handshake took too long"),
            }
            drop(place);
        });
    }
}

/// Which keys of the listening side callers from one address refused.
#[derive(Debug, Clone, Copy, Default)]
struct Refused {
    first: bool,
    second: bool,
}

/// A second key of the listening side, and who is shown it: callers from where the first was refused. Where both were, several sites may call that
/// know this one by different keys, as behind one router: each call is shown either by chance, so that each of them is let in sooner or later.
/// Anybody can refuse both, and changes no more for others by that.
#[derive(Default)]
struct SecondDoor {
    config: std::sync::Mutex<Option<Arc<ServerConfig>>>,
    refused: std::sync::Mutex<BTreeMap<IpAddr, Refused>>,
}

impl SecondDoor {
    fn open(&self, config: Option<ServerConfig>) {
        let config = config.map(Arc::new);
        *self.config.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = config;
        self.refused().clear();
    }

    fn refused(&self) -> std::sync::MutexGuard<'_, BTreeMap<IpAddr, Refused>> {
        self.refused.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The door for a caller, where it is not the first one.
    fn config_for(&self, from: IpAddr) -> Option<Arc<ServerConfig>> {
        let config = self.config.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()?;
        let refused = self.refused().get(&from).copied().unwrap_or_default();
        let second = if refused.second { refused.first && by_chance() } else { refused.first };
        second.then_some(config)
    }

    /// A caller ended the handshake by an alert, as one does that knows the site by another key than that of the first, or second, door.
    fn refused_by(&self, from: IpAddr, second: bool, error: &ConnectionError) {
        let ConnectionError::ConnectionClosed(close) = error else { return };
        if !ALERTS.contains(&u64::from(close.error_code)) {
            return;
        }
        let mut refused = self.refused();
        if refused.len() >= NETWORKS_REMEMBERED_MAX && !refused.contains_key(&from) {
            refused.clear();
        }
        let refused = refused.entry(from).or_default();
        if second { refused.second = true } else { refused.first = true }
    }
}

/// One of two, as often as the other. Without randomness the first.
fn by_chance() -> bool {
    let mut byte = [0];
    getrandom::fill(&mut byte).is_ok() && byte[0] & 1 == 1
}

/// Whose turn it is among those who call.
#[derive(Debug, Default)]
struct Queue(std::sync::Mutex<Callers>);

impl Queue {
    fn callers(&self) -> std::sync::MutexGuard<'_, Callers> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn is_in_turn(&self, incoming: &Incoming) -> bool {
        let proved = incoming.remote_address_validated();
        self.callers().may_call(incoming.remote_address().ip(), proved, Instant::now())
    }

    fn trust(&self, from: SocketAddr) {
        self.callers().trust(from.ip(), Instant::now());
    }
}

/// Why a visitor was turned away. It is logged, never sent.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the handshake failed: {0}")]
    Handshake(ConnectionError),
    #[error("the handshake ended without a key or a protocol")]
    Anonymous,
    #[error("site {0} was forgotten while its handshake ran")]
    Forgotten(SiteId),
}

async fn handshake(incoming: Incoming, peers: &dyn Peers, second: &SecondDoor) -> Result<Accepted, Refusal> {
    let from = incoming.remote_address().ip();
    let config = second.config_for(from);
    let by_second = config.is_some();
    let connecting = match config {
        Some(config) => incoming.accept_with(config),
        None => incoming.accept(),
    };
    let connection = connecting.map_err(Refusal::Handshake)?.await.map_err(|error| {
        second.refused_by(from, by_second, &error);
        Refusal::Handshake(error)
    })?;
    let alpn = connection
        .handshake_data()
        .and_then(|data| data.downcast::<HandshakeData>().ok())
        .and_then(|data| Alpn::from_bytes(data.protocol.as_deref()?));
    let (Some(alpn), Some(key)) = (alpn, key_of(&connection)) else { return Err(Refusal::Anonymous) };
    let admitted = match alpn {
        Alpn::Link => peers.site_of(&key),
        Alpn::Pairing => peers.pairing_open().then_some(key),
    };
    if let Some(peer) = admitted {
        if alpn == Alpn::Link {
            connection.set_receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES_MIN));
        }
        return Ok(Accepted { peer, key, alpn, connection });
    }
    connection.close(CLOSE_FORGOTTEN, b"this site is not admitted");
    Err(Refusal::Forgotten(key))
}

/// The key that the other end proved in the handshake.
#[must_use]
pub fn key_of(connection: &Connection) -> Option<SiteId> {
    let keys = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    site_of_spki(keys.first()?)
}
