//! One-time pairing tickets.
