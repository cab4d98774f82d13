//! Shapes of deletions that wait for a person.

use serde::{Deserialize, Serialize};

use super::Schema;

schemas! { Hold => "hold", Holds => "holds" }

/// Deletions of one link that wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub hold: String,
    pub feed: String,
    /// The link they came over.
    pub link: String,
    pub since_ms: u64,
    /// Versions that would vanish.
    pub deletes: u64,
    /// Versions that stood before the first of them.
    pub standing: u64,
    /// The first of them.
    pub names: Vec<String>,
}

/// All that wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holds {
    pub holds: Vec<Hold>,
}
