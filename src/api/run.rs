//! Parts of a run's record.

use serde::{Deserialize, Serialize};

/// One feed in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::module_name_repetitions, reason = "Feed is the API's own feed")]
pub struct RunFeed {
    pub feed: String,
    /// valid, warning, invalid, nothing asked; none where the two never came to speak of it.
    pub verdict: Option<String>,
    /// Why it is not valid.
    pub reason: Option<String>,
    /// The root of the signed heads before and after: equal at two sites that hold the same ops.
    pub root_before: String,
    pub root_after: String,
}

/// What moved one way, by verb.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Moved {
    pub adds: u64,
    pub deletes: u64,
    /// States, tags, blocks, grants and the like.
    pub other: u64,
    /// The first versions added and deleted, as FEED/NAME@VERSION.
    pub added: Vec<String>,
    pub deleted: Vec<String>,
}
