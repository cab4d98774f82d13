//! How a blob's bytes are verified group by group.
