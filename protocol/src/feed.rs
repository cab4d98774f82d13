//! The fold: from a set of ops to what a feed contains.
