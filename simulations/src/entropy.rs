//! entropy.
