//! Who may speak: TLS 1.3 with raw public keys (RFC 7250) on both sides, no certificates, no names, no resumption.
//!
//! rustls hands its client verifier a key and not the protocol (ALPN) the client asked for, and the
//! two protocols differ in whom they admit. So every connection gets a TLS configuration of its own:
//! its resolver, which sees the client's hello first, notes the one protocol asked for, and its
//! verifier, which comes later in the same handshake, decides by that note. A stranger on
//! `pktb/1` and anyone on `pktb-pair/1` while no ticket is open are refused inside the handshake.
//! What remains to the application: on `pktb-pair/1` the key proves only that its owner is
//! there, not that it holds a ticket; and a site forgotten while its handshake runs is for the accept loop to catch.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use protocol::id::SiteId;
use quinn_proto::crypto;
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::transport_parameters::TransportParameters;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{
    CertificateError, ConfigBuilder, DigitallySignedStruct, DistinguishedName, PeerIncompatible,
    ServerConfig, SignatureScheme, WantsVerifier,
};

use crate::identity::SiteKey;

#[cfg(test)]
mod tests;

/// RFC 8410: an Ed25519 subject public key info up to the key. 44 bytes in all, one form only.
pub const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The name every dialler gives. It is never sent (no SNI) and never checked: the key is the identity.
pub const SERVER_NAME: &str = "site.invalid";

/// The protocols spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// Sites that know each other's keys.
    Link,
    /// A site that holds a ticket and is not known yet.
    Pairing,
}

impl Alpn {
    /// Both protocols.
    pub const ALL: [Self; 2] = [Self::Link, Self::Pairing];

    /// The name on the wire.
    #[must_use]
    pub const fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Link => b"pktb/1",
            Self::Pairing => b"pktb-pair/1",
        }
    }

    /// The protocol of this name.
    #[must_use]
    pub fn from_bytes(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|alpn| alpn.as_bytes() == name)
    }
}

/// Whom a listener admits, asked in every handshake.
pub trait Peers: fmt::Debug + Send + Sync {
    /// The site that may open a link with this key, if one may.
    fn site_of(&self, key: &SiteId) -> Option<SiteId>;

    /// Whether a ticket is open, so that sites not yet known may come to prove it.
    fn pairing_open(&self) -> bool;
}

/// Why no TLS configuration came of a key and a provider: a defect of the build, not of the world.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// The provider does not load Ed25519 keys or does not speak TLS 1.3.
    #[error("the cryptography of this build cannot use a site key")]
    Provider(#[source] rustls::Error),
    /// The provider has no AES-128-GCM, with which QUIC protects its first packets.
    #[error("the cryptography of this build has no cipher for the first packets of QUIC")]
    InitialCipher(#[source] crypto::rustls::NoInitialCipherSuite),
}

/// The site whose public key is this subject public key info: the exact 44 bytes of an Ed25519 key, no other form.
#[must_use]
pub fn site_of_spki(spki: &[u8]) -> Option<SiteId> {
    spki.strip_prefix(&SPKI_PREFIX)?.try_into().ok().map(SiteId)
}

fn certified(key: &SiteKey, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, ProviderError> {
    let der = key.to_pkcs8_der();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der.as_slice()));
    let signer =
        provider.key_provider.load_private_key(private.clone_key()).map_err(ProviderError::Provider)?;
    let mut spki = SPKI_PREFIX.to_vec();
    spki.extend_from_slice(key.public().as_bytes());
    Ok(Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], signer)))
}

fn ed25519_signature(
    algorithms: &WebPkiSupportedAlgorithms,
    message: &[u8],
    spki: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    verify_tls13_signature_with_raw_key(
        message,
        &SubjectPublicKeyInfoDer::from(spki.as_ref()),
        signature,
        algorithms,
    )
}

const NO_TLS12: rustls::Error =
    rustls::Error::PeerIncompatible(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig);

/// A site and the keys by which it is taken for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whom {
    pub site: SiteId,
    pub keys: Vec<SiteId>,
}

impl From<SiteId> for Whom {
    /// A site by its first key.
    fn from(site: SiteId) -> Self {
        Self { site, keys: vec![site] }
    }
}

/// The one site a dialler accepts, and the key it met.
#[derive(Debug)]
pub struct Expected {
    whom: Whom,
    met: OnceLock<SiteId>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Expected {
    /// Accepts `whom` and nobody else.
    #[must_use]
    pub fn new(whom: impl Into<Whom>, provider: &CryptoProvider) -> Arc<Self> {
        let (whom, algorithms) = (whom.into(), provider.signature_verification_algorithms);
        Arc::new(Self { whom, met: OnceLock::new(), algorithms })
    }

    /// The key that answered, once one has.
    #[must_use]
    pub fn met(&self) -> Option<SiteId> {
        self.met.get().copied()
    }
}

/// A site answered with a key that is not the one dialled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "dialled site {expected}, answered by key {found}; if the site changed its key while this one was away, pair again with a new ticket"
)]
pub struct WrongSite {
    /// The site the link is with.
    pub expected: SiteId,
    /// The key that answered.
    pub found: SiteId,
}

impl ServerCertVerifier for Expected {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = site_of_spki(end_entity).filter(|_site| intermediates.is_empty());
        let found = found.ok_or(rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let found = *self.met.get_or_init(|| found);
        if self.whom.keys.contains(&found) {
            return Ok(ServerCertVerified::assertion());
        }
        let wrong = WrongSite { expected: self.whom.site, found };
        Err(rustls::Error::Other(rustls::OtherError(Arc::new(wrong))))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(NO_TLS12)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ed25519_signature(&self.algorithms, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// The dialling side: shows `key`, accepts whom `expected` names, asks for `alpn`.
/// `time` replaces the system's clock in simulations.
///
/// # Errors
/// [`ProviderError`]
pub fn client(
    key: &SiteKey,
    expected: Arc<Expected>,
    alpn: Alpn,
    provider: Arc<CryptoProvider>,
    time: Option<Arc<dyn TimeProvider>>,
) -> Result<QuicClientConfig, ProviderError> {
    let certified = certified(key, &provider)?;
    let time = time.unwrap_or_else(|| Arc::new(DefaultTimeProvider));
    let mut config = rustls::ClientConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(ProviderError::Provider)?
        .dangerous()
        .with_custom_certificate_verifier(expected)
        .with_client_cert_resolver(Arc::new(rustls::client::AlwaysResolvesClientRawPublicKeys::new(
            certified,
        )));
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    config.enable_sni = false;
    config.enable_early_data = false;
    config.resumption = rustls::client::Resumption::disabled();
    QuicClientConfig::try_from(config).map_err(ProviderError::InitialCipher)
}

/// The listening side: shows `key` and admits whom `peers` admits, decided inside the handshake.
/// `time` replaces the system's clock in simulations.
///
/// # Errors
/// [`ProviderError`]
pub fn server(
    key: &SiteKey,
    peers: Arc<dyn Peers>,
    provider: Arc<CryptoProvider>,
    time: Option<Arc<dyn TimeProvider>>,
) -> Result<Arc<dyn crypto::ServerConfig>, ProviderError> {
    let certified = certified(key, &provider)?;
    let algorithms = provider.signature_verification_algorithms;
    let time = time.unwrap_or_else(|| Arc::new(DefaultTimeProvider));
    let builder = ServerConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(ProviderError::Provider)?;
    let door = Door { builder, certified, peers, algorithms };
    let closed = Arc::new(QuicServerConfig::try_from(door.config()).map_err(ProviderError::InitialCipher)?);
    Ok(Arc::new(Listener { door, closed }))
}

/// What a listener needs to make one connection's configuration.
struct Door {
    builder: ConfigBuilder<ServerConfig, WantsVerifier>,
    certified: Arc<CertifiedKey>,
    peers: Arc<dyn Peers>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Door {
    fn config(&self) -> ServerConfig {
        let asked = Arc::new(Asked::default());
        let visitor = Visitor {
            asked: Arc::clone(&asked),
            peers: Arc::clone(&self.peers),
            algorithms: self.algorithms,
        };
        let resolver = Resolver { asked, certified: Arc::clone(&self.certified) };
        let mut config = self
            .builder
            .clone()
            .with_client_cert_verifier(Arc::new(visitor))
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = Alpn::ALL.map(|alpn| alpn.as_bytes().to_vec()).into();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.send_half_rtt_data = false;
        config.max_early_data_size = 0;
        config
    }
}

struct Listener {
    door: Door,
    /// Serves what concerns no connection: the keys of first packets and the tags of retries.
    closed: Arc<QuicServerConfig>,
}

impl crypto::ServerConfig for Listener {
    fn initial_keys(
        &self,
        version: u32,
        dst_cid: &quinn_proto::ConnectionId,
    ) -> Result<crypto::Keys, crypto::UnsupportedVersion> {
        self.closed.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &quinn_proto::ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.closed.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(
        self: Arc<Self>,
        version: u32,
        params: &TransportParameters,
    ) -> Box<dyn crypto::Session> {
        match QuicServerConfig::try_from(self.door.config()) {
            Ok(config) => Arc::new(config).start_session(version, params),
            Err(_no_initial_cipher) => Arc::clone(&self.closed).start_session(version, params),
        }
    }
}

/// The protocol one client asked for.
#[derive(Debug, Default)]
struct Asked(AtomicU8);

impl Asked {
    fn note(&self, alpn: Option<Alpn>) {
        let code = match alpn {
            None => 0,
            Some(Alpn::Link) => 1,
            Some(Alpn::Pairing) => 2,
        };
        self.0.store(code, Ordering::Release);
    }

    fn noted(&self) -> Option<Alpn> {
        match self.0.load(Ordering::Acquire) {
            1 => Some(Alpn::Link),
            2 => Some(Alpn::Pairing),
            0 | 3.. => None,
        }
    }
}

#[derive(Debug)]
struct Resolver {
    asked: Arc<Asked>,
    certified: Arc<CertifiedKey>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut names = hello.alpn()?;
        let only = names.next().filter(|_first| names.next().is_none()).and_then(Alpn::from_bytes);
        self.asked.note(only);
        only.map(|_alpn| Arc::clone(&self.certified))
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct Visitor {
    asked: Arc<Asked>,
    peers: Arc<dyn Peers>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for Visitor {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let site = site_of_spki(end_entity).filter(|_site| intermediates.is_empty());
        let site = site.ok_or(rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let admitted = match self.asked.noted() {
            Some(Alpn::Link) => self.peers.site_of(&site).is_some(),
            Some(Alpn::Pairing) => self.peers.pairing_open(),
            None => false,
        };
        match admitted {
            true => Ok(ClientCertVerified::assertion()),
            false => Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(NO_TLS12)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ed25519_signature(&self.algorithms, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
