//! Shapes of the log of ops, and of the level of the log lines.

use serde::{Deserialize, Serialize};

use super::Schema;

schemas! { Ops => "ops", Level => "log-level" }

/// Ops as they arrived here, the newest last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ops {
    pub ops: Vec<LoggedOp>,
    /// Everything up to this number was looked at: ask for what comes after it.
    pub seen: u64,
}

/// One op.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedOp {
    /// In the order of arrival at this site.
    pub number: u64,
    pub op: String,
    pub feed: String,
    pub author: String,
    pub author_name: Option<String>,
    pub epoch: u64,
    /// Its position in its author's log.
    pub seq: u64,
    /// By its author's clock.
    pub stamp_ms: u64,
    pub kind: String,
    /// `NAME@VERSION`, where it is about one.
    pub version: Option<String>,
    /// What it does here, or why it does nothing.
    pub role: String,
}

/// The level of the log lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// As the settings say.
    pub configured: String,
    /// As it is now.
    pub now: String,
    /// For how long it stays so; none: until the settings change.
    pub left_ms: Option<u64>,
}

/// Asks for another level for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RaiseRequest {
    /// `debug`, or `packetboat::transport=debug,info`.
    pub level: String,
    pub for_ms: u64,
}
