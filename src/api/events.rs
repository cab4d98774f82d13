//! The shapes of events.

use serde::{Deserialize, Serialize};

use super::Schema;

schemas! { Event => "event", Events => "events", Missed => "events-missed", Behind => "events-behind" }

/// Something that happened at a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Rises with each event of the site; a restart of the node leaves numbers out.
    pub number: u64,
    pub at_ms: u64,
    /// info, warning, error.
    pub severity: String,
    /// A stable word; docs/api.md lists them.
    pub kind: String,
    /// The site where it happened.
    pub site: String,
    pub site_name: String,
    /// The event in one sentence.
    pub text: String,
    /// What the kind has of its own.
    pub fields: serde_json::Value,
}

/// Events, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    pub events: Vec<Event>,
}

/// The first message to a reader who was away for longer than the node remembers: of the events before its memory only
/// warnings and errors follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// What the reader had seen.
    pub after: u64,
}

/// The last message to a reader who is too slow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Behind {
    /// Events it did not get. It may come back with the number of the last one it did get.
    pub events: u64,
}
