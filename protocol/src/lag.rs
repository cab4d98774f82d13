//! How far behind.
