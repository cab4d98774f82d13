//! QUIC between sites.

pub mod background;
pub mod endpoint;
pub mod framing;
pub mod rate;
pub mod settings;
pub mod tls;
