//! Shapes of room on this site's disk: sweeping and the trash.

use serde::{Deserialize, Serialize};

use super::Schema;

schemas! { Sweeping => "sweeping", Trash => "trash" }

/// How much room there is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Space {
    /// Bytes free on the disk of the store; none where the system does not say.
    pub free_bytes: Option<u64>,
    /// Bytes that bytes of packages may not fill.
    pub reserve_bytes: u64,
    /// Whether nothing is taken in for want of room.
    pub full: bool,
}

/// What a sweep did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sweeping {
    pub dry_run: bool,
    /// Blobs dropped.
    pub blobs: u64,
    /// Their bytes, and those of extents that no blob names.
    pub bytes: u64,
    /// Packs written anew without what is dead in them.
    pub packs: u64,
    pub bytes_moved: u64,
    /// Bytes that the disk has back.
    pub bytes_freed: u64,
    /// Bytes that must be free beside what is, before more can be given back; zero where nothing waits for room.
    pub bytes_lacking: u64,
    /// Blobs that stay in the trash.
    pub trash_blobs: u64,
    pub trash_bytes: u64,
}

/// Deleted versions whose bytes are all still here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Trash {
    /// How long bytes stay after the first sweep that found nothing needing them.
    pub grace_ms: u64,
    /// In order of feed, name and version; at most 1,000.
    pub versions: Vec<Trashed>,
    /// Whether there are more.
    pub more: bool,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trashed {
    pub feed: String,
    pub name: String,
    pub version: String,
    pub bytes: u64,
    /// When the first of its bytes go; none before a sweep has seen them.
    pub until_ms: Option<u64>,
}
