//! The randomness of TLS and QUIC, drawn from the seed: without it the very sizes of packets differ from run to run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use packetboat::transport::tls::site_of_spki;
use protocol::id::SiteId;
use quinn_proto::{Connection, ConnectionId, ConnectionIdGenerator};
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret, SupportedKxGroup,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{Error, NamedGroup, PeerMisbehaved};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::entropy::Entropy;

const CONNECTION_ID_BYTES: usize = 8;

/// A stream of bytes that many may draw from.
#[derive(Debug)]
struct Seeded {
    key: [u8; 32],
    drawn: AtomicU64,
}

impl Seeded {
    fn new(mut entropy: Entropy) -> Self {
        Self { key: entropy.key(), drawn: AtomicU64::new(0) }
    }

    fn draw(&self, buffer: &mut [u8]) {
        let turn = self.drawn.fetch_add(1, Ordering::Relaxed);
        blake3::Hasher::new_keyed(&self.key).update(&turn.to_le_bytes()).finalize_xof().fill(buffer);
    }
}

impl SecureRandom for Seeded {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
        self.draw(buffer);
        Ok(())
    }
}

impl SupportedKxGroup for Seeded {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut secret = [0; 32];
        self.draw(&mut secret);
        let secret = StaticSecret::from(secret);
        let public = PublicKey::from(&secret);
        Ok(Box::new(Exchange { secret, public }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

struct Exchange {
    secret: StaticSecret,
    public: PublicKey,
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let peer: [u8; 32] =
            peer.try_into().map_err(|_length| Error::from(PeerMisbehaved::InvalidKeyShare))?;
        let shared = self.secret.diffie_hellman(&PublicKey::from(peer));
        Ok(SharedSecret::from(shared.as_bytes().as_slice()))
    }

    fn pub_key(&self) -> &[u8] {
        self.public.as_bytes()
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

/// ring's ciphers and signatures, which draw nothing, with randomness and key exchange from the seed.
pub(super) fn provider(entropy: &Entropy) -> Arc<CryptoProvider> {
    // rustls wants these to live for ever; a run makes a few of them.
    let random: &'static Seeded = Box::leak(Box::new(Seeded::new(entropy.fork("random"))));
    let exchange: &'static Seeded = Box::leak(Box::new(Seeded::new(entropy.fork("key exchange"))));
    let mut provider = rustls::crypto::ring::default_provider();
    provider.secure_random = random;
    provider.kx_groups = vec![exchange];
    Arc::new(provider)
}

/// A clock that stands: nothing in our TLS expires.
#[derive(Debug)]
pub(super) struct Still;

impl TimeProvider for Still {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(1_795_000_000)))
    }
}

/// Connection ids from the seed.
#[derive(Debug, Clone)]
pub(super) struct CountedIds(Arc<Seeded>);

impl CountedIds {
    pub(super) fn new(entropy: Entropy) -> Self {
        Self(Arc::new(Seeded::new(entropy)))
    }

    pub(super) fn next(&self) -> ConnectionId {
        let mut bytes = [0; CONNECTION_ID_BYTES];
        self.0.draw(&mut bytes);
        ConnectionId::new(&bytes)
    }
}

impl ConnectionIdGenerator for CountedIds {
    fn generate_cid(&mut self) -> ConnectionId {
        self.next()
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// The site whose key was proved on a connection.
pub(super) fn peer_of(connection: &Connection) -> Option<SiteId> {
    let identity = connection.crypto_session().peer_identity()?;
    let certificates = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    site_of_spki(certificates.first()?.as_ref())
}
