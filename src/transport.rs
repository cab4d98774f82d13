//! QUIC between sites.
