//! The shapes of keys: this site's, and those that it lets in no more.

use serde::{Deserialize, Serialize};

use super::Schema;

schemas! { Keys => "keys", Revoked => "key-revoked", RevokedKey => "revoked-key", Rotated => "key-rotated" }

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
    pub own: KeyOf,
    pub revoked: Vec<RevokedKey>,
}

/// This site's newest key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyOf {
    pub key: String,
    /// From zero: how many keys came before it.
    pub number: u64,
    /// Whether other sites are shown it; until then they see the one before.
    pub shown: bool,
    /// Linked sites that are not known to have heard of it.
    pub waiting: Vec<String>,
}

/// A new key is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotateRequest {
    /// Show it now, whoever has not heard of it.
    pub at_once: bool,
    /// Leave out for good what this site may have said and does not know, being restored, copied, set back or damaged.
    #[serde(default)]
    pub accept_loss: bool,
}

/// This site has a new key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotated {
    pub site: String,
    pub key: String,
    /// Linked sites that are still shown the key before, for they have not heard of the new one.
    pub waiting: Vec<String>,
}
