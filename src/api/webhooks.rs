//! The shapes of webhooks.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Schema;

schemas! { Webhook => "webhook", Webhooks => "webhooks", Made => "webhook-made", Tested => "webhook-test" }

/// Asks for a webhook.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    pub url: String,
    /// Kinds of events; none means all.
    #[serde(default)]
    pub events: Vec<String>,
    /// Only what is about this feed.
    #[serde(default)]
    pub feed: Option<String>,
    /// `whsec_` and base64; none means that the node makes one.
    #[serde(default)]
    pub secret: Option<String>,
    /// Plain http is allowed wherever the URL leads.
    #[serde(default)]
    pub plain_http: bool,
}

impl fmt::Debug for NewWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewWebhook")
            .field("events", &self.events)
            .field("feed", &self.feed)
            .finish_non_exhaustive()
    }
}

/// A new webhook.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Shown this once, and only where the node made it.
    pub secret: Option<String>,
    pub webhook: Webhook,
}

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Made").field("webhook", &self.webhook).finish_non_exhaustive()
    }
}

/// One webhook, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    pub id: String,
    pub url: String,
    /// None means all.
    pub events: Vec<String>,
    pub feed: Option<String>,
    pub created_ms: u64,
    /// ok, retrying, failing.
    pub state: String,
    /// Why the last attempt failed, while the one after it did not succeed.
    pub error: Option<String>,
    pub failing_since_ms: Option<u64>,
    pub delivered_ms: Option<u64>,
    /// Events that are still to be delivered.
    pub waiting: u64,
    /// Events that were offered for a day and not taken.
    pub given_up: u64,
    /// Events that made room for newer ones before they were delivered.
    pub lost: u64,
}

/// All webhooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhooks {
    pub webhooks: Vec<Webhook>,
}

/// What a receiver answered to a message of kind `webhook-test`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tested {
    pub webhook: String,
    /// The `webhook-id` that the message had.
    pub message: String,
    pub status: u16,
    pub took_ms: u64,
}
