//! The canonical Merkle tree over a set of ids.
