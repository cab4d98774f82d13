//! Shapes of bringing one feed's contents into another.

use serde::{Deserialize, Serialize};

use super::Schema;

schemas! { Merging => "merging" }

/// Asks for a feed to be merged into another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::module_name_repetitions, reason = "Request alone would read as any request")]
#[serde(deny_unknown_fields)]
pub struct MergeRequest {
    /// The feed that takes the contents in, and the name.
    pub into: String,
    /// Only say what would come of it.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a merge comes to, version by version of what the old feed serves.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Merging {
    /// The old feed's name, now or as it was.
    pub from: String,
    pub into: String,
    pub versions: u64,
    /// Not in the other feed yet: published there by this site.
    pub fresh: u64,
    /// There with the same bytes.
    pub same: u64,
    /// There with other bytes: both builds are kept, and the rules of the feed choose the one served.
    pub clashes: u64,
    /// The first of them, as NAME@VERSION.
    pub clashing: Vec<String>,
    /// Deleted or blocked there: not brought back, and kept in the old feed.
    pub deleted: u64,
    /// Their bytes are not here, or the other feed's quota has no room for them: brought once they are and it has.
    pub pending: u64,
    /// Whether this site's publishes stay at this site, because it has no right to publish there.
    pub local: bool,
    /// Whether it took place.
    pub done: bool,
}
