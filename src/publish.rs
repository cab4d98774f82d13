//! Bytes to blobs to a signed op.
