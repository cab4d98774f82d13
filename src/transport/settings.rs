//! The numbers and keys of every connection, as quinn-proto takes them: the simulations build the same.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use protocol::limits::{
    self, CONNECTION_WINDOW_BYTES_MIN, IDLE_MS_MAX, INCOMING_BYTES_EACH_MAX, INCOMING_BYTES_MAX,
    INCOMING_MAX, SPARE_STREAMS, STREAM_WINDOW_BYTES,
};
use quinn_proto::congestion::CubicConfig;
use quinn_proto::{
    ClientConfig, EndpointConfig, HashedConnectionIdGenerator, IdleTimeout, ServerConfig, TransportConfig,
    VarInt, crypto,
};
use ring::{hkdf, hmac};

use super::background::{Background, Fixed};
use crate::identity::SiteKey;

/// Bytes sent before the first acknowledgement: saves about one round trip for a small answer on a long link.
pub const INITIAL_WINDOW_BYTES: u64 = 64 << 10;

/// How often an idle connection speaks, so that a peer that was restarted can answer with a reset.
pub const KEEP_ALIVE_MS: u64 = 5_000;

/// How a connection shares the link with other traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pace {
    /// Fills a lossy long link and yields to everyone else on it.
    #[default]
    Background,
    /// Competes as one TCP connection would (Cubic); slow on long lossy links.
    Fair,
    /// Sends at this rate whatever the link says, for metered or policed links.
    Fixed {
        /// Bytes of packets a second.
        bytes_per_second: u64,
    },
}

/// How connections behave once they stand.
#[must_use]
pub fn transport(pace: Pace) -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES_MIN))
        .send_window(u64::from(CONNECTION_WINDOW_BYTES_MIN))
        .max_concurrent_uni_streams(VarInt::from_u32(
            u32::from(limits::BULK_LANES) + u32::from(SPARE_STREAMS),
        ))
        .max_concurrent_bidi_streams(VarInt::from_u32(
            u32::from(limits::BULK_LANES) + u32::from(SPARE_STREAMS),
        ))
        .keep_alive_interval(Some(Duration::from_millis(KEEP_ALIVE_MS)))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_MS_MAX))))
        .datagram_receive_buffer_size(None);
    match pace {
        Pace::Background => config.congestion_controller_factory(Arc::new(Background)),
        Pace::Fair => {
            let mut cubic = CubicConfig::default();
            cubic.initial_window(INITIAL_WINDOW_BYTES);
            config.congestion_controller_factory(Arc::new(cubic))
        }
        Pace::Fixed { bytes_per_second } => {
            config.congestion_controller_factory(Arc::new(Fixed { bytes_per_second }))
        }
    };
    config
}

/// The endpoint of a site. Its keys come from the site key, so that a restarted node can still tell
/// its peers that their connections are gone. A simulation replaces the connection id generator and seeds the rest.
#[must_use]
pub fn endpoint(key: &SiteKey) -> EndpointConfig {
    let reset = key.derive("packetboat 2026 quic stateless reset");
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, reset.as_slice())));
    let connection_ids = connection_id_key(key);
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(connection_ids)));
    config
}

/// The key by which a site recognises connection ids it gave out, also in an earlier life.
#[must_use]
pub fn connection_id_key(key: &SiteKey) -> u64 {
    let derived = key.derive("packetboat 2026 quic connection ids");
    derived.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// The listening side of a site, around what [`tls::server`](super::tls::server) made.
#[must_use]
pub fn server(key: &SiteKey, tls: Arc<dyn crypto::ServerConfig>, pace: Pace) -> ServerConfig {
    let retry = key.derive("packetboat 2026 quic retry token");
    let token_key = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(retry.as_slice());
    let mut config = ServerConfig::new(tls, Arc::new(token_key));
    config
        .transport_config(Arc::new(transport(pace)))
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES_EACH_MAX)
        .incoming_buffer_size_total(INCOMING_BYTES_MAX);
    config
}

/// The dialling side of a site, around what [`tls::client`](super::tls::client) made.
#[must_use]
pub fn client(tls: Arc<dyn crypto::ClientConfig>, pace: Pace) -> ClientConfig {
    let mut config = ClientConfig::new(tls);
    config.transport_config(Arc::new(transport(pace)));
    config
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Background => f.write_str("background"),
            Self::Fair => f.write_str("fair"),
            Self::Fixed { bytes_per_second } => write!(f, "fixed at {bytes_per_second} bytes/s"),
        }
    }
}
