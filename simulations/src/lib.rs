//! Many packetboat sites in one thread, in virtual time, from one seed.

pub mod disk;
pub mod entropy;
pub mod model;
pub mod net;
pub mod quic;
pub mod site;
pub mod trace;
pub mod world;
