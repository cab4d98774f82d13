//! One validated link.
