//! Shapes of writing again after a restore.

use serde::{Deserialize, Serialize};

use super::Schema;

schemas! { Resuming => "resuming" }

/// Asks to write again though no peer told what this site said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResumeRequest {
    /// One feed; all that wait if not given.
    #[serde(default)]
    pub feed: Option<String>,
}

/// The feeds in which this site writes again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resuming {
    pub resumed: Vec<Resumed>,
}

/// One feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumed {
    pub feed: String,
    /// The epoch of its log in which this site goes on.
    pub epoch: u64,
}
