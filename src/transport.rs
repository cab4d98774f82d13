//! QUIC between sites.

pub mod background;
pub mod budget;
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
