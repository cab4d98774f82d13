//! Package clients.
