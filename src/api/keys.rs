//! The shapes of keys: this site's, and those that it lets in no more.

use serde::{Deserialize, Serialize};

use super::Schema;

schemas! { Keys => "keys", Revoked => "key-revoked", RevokedKey => "revoked-key" }

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    pub key: RevokedKey,
    /// The links that were removed.
    pub links: Vec<String>,
    /// The feeds in which it could write and can no more.
    pub feeds: Vec<String>,
    /// The feeds in which it still may write: another site has to take that back.
    pub feeds_left: Vec<String>,
}

/// A key that is let in no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedKey {
    pub site: String,
    pub site_name: String,
    pub reason: String,
    pub revoked_ms: u64,
}

/// This site's key and those that it revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    pub site: String,
    pub revoked: Vec<RevokedKey>,
}
