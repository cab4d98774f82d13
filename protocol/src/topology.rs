//! Who can write where, from what sites tell of their links: side paths around one-way links, and where deletes stop.

use serde::{Deserialize, Serialize};

use crate::id::{FeedId, SiteId};
use crate::switches::Switches;
use crate::time::Timestamp;

/// What a site tells of one of its links for one feed. It is unsigned and proves nothing: people are advised by it, no rule uses it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LinkNote {
    pub teller: SiteId,
    pub teller_name: String,
    pub peer: SiteId,
    pub peer_name: String,
    pub feed: FeedId,
    /// The teller's name for the feed.
    pub feed_name: String,
    /// What flows, in the teller's terms.
    pub effective: Switches,
    /// When the teller last knew it to be so.
    pub told: Timestamp,
}
