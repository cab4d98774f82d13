//! The rules of packetboat.
