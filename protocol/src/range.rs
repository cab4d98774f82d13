//! Aligned ranges of ids.
