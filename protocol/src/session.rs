//! One conversation between two sites.
