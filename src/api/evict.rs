//! Shapes of bytes that leave this site and come back: eviction, and fetching what was evicted.

use serde::{Deserialize, Serialize};

use super::Schema;

schemas! { Evicted => "evicted" }

/// Asks for a version's bytes to leave this site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    pub name: String,
    pub version: String,
    /// Also where no other site says that it has the bytes.
    #[serde(default)]
    pub force: bool,
}

/// Bytes that left this site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evicted {
    pub feed: String,
    pub name: String,
    pub version: String,
    /// Blobs dropped. What another version here needs is not among them.
    pub blobs: u64,
    /// Bytes dropped. The disk has them again once a sweep has reclaimed their packs.
    pub bytes: u64,
    /// The sites that said they keep what was dropped.
    pub held_by: Vec<String>,
}
