//! Many packetboat sites in one thread, in virtual time, from one seed.

pub mod cheat;
pub mod check;
pub mod decoders;
pub mod disk;
pub mod entropy;
pub mod forgery;
pub mod index;
pub mod kept;
pub mod lines;
pub mod many;
pub mod model;
pub mod net;
pub mod options;
pub mod oracle;
pub mod plant;
pub mod quic;
pub mod shrink;
pub mod site;
pub mod topology;
pub mod trace;
pub mod world;
