//! Shapes of authors that signed two histories of a log.

use serde::{Deserialize, Serialize};

use super::Schema;

schemas! { Fork => "fork", Forks => "forks", Resolved => "fork-resolved" }

/// One log with two histories, proved by two signatures of its author.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork {
    pub feed: String,
    pub author: String,
    pub author_name: Option<String>,
    pub epoch: u64,
    /// The two heads, the shorter one first.
    pub one: Head,
    pub other: Head,
    /// Ops of the log that are held here.
    pub held: u64,
    /// Whether the author is this site.
    pub own: bool,
    /// How many of its ops count, where the feed's origin has said so.
    pub counts: Option<u64>,
    /// Whether the author can go on: the origin cut the log below the fork.
    pub resolved: bool,
}

/// A signed length of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub len: u64,
    pub root: String,
    /// By its author's clock.
    pub signed_ms: u64,
}

/// All that are proved here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forks {
    pub forks: Vec<Fork>,
}

/// Asks for a fork to be resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolveFork {
    pub feed: String,
    /// The author's id, the start of it, or its name.
    pub author: String,
    /// No more than so many of the log's ops count; as many as both histories are known to have if not given.
    #[serde(default)]
    pub at_most: Option<u64>,
    /// What counts at the origin by what the author said after that goes with it; the origin says it again itself if not set.
    #[serde(default)]
    pub drop: bool,
    #[serde(default)]
    pub reason: String,
}

/// What was said of a fork.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    pub feed: String,
    /// The op that cuts the log.
    pub op: String,
    /// Versions that the origin published again, in its own name.
    pub published_again: u64,
    /// Versions that it deleted again.
    pub deleted_again: u64,
    /// Offers, refs, blocks and rights that it said again.
    pub others_again: u64,
}
