//! Shapes of what becomes of feeds that come on a link after it was made.

use serde::{Deserialize, Serialize};

/// A link's rule for feeds that neither end named when it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewFeeds {
    /// Each feed of this site goes on the link.
    pub offers: bool,
    /// Each feed that the other site offers goes on the link.
    pub takes: bool,
    /// What such a feed is set to here.
    pub mode: String,
    pub filter: String,
}

/// A feed that one end offers and that did not go on the link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Untaken {
    /// Its name at the offering site.
    pub feed: String,
    pub reason: String,
    /// Whether it is this site that could not take it up.
    pub here: bool,
}
