//! QUIC between sites.

pub mod background;
mod callers;
pub mod endpoint;
pub mod framing;
mod lane;
pub mod pairing;
pub mod pump;
pub mod rate;
pub mod settings;
mod throttle;
pub mod tls;
