//! What would come of a link before anything is saved.

use serde::{Deserialize, Serialize};

/// What a link, or a ticket that is not accepted yet, would come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The link as it is or would be named here.
    pub link: String,
    pub peer: String,
    pub peer_name: String,
    /// When the other end last said what it asks or allows; none where it never did.
    pub stated_ms: Option<u64>,
    pub feeds: Vec<PlanFeed>,
    /// What else a person should know: a ticket that is spent, a link that is paused.
    pub notes: Vec<String>,
    /// Whether every feed would be valid.
    pub sound: bool,
}

/// One feed of a plan. Switches are in the dialling site's terms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::module_name_repetitions, reason = "Feed is the API's own feed")]
pub struct PlanFeed {
    /// Its name at the other site, where that is known, else here.
    pub feed: String,
    /// Its name here.
    pub local: String,
    pub kind: String,
    /// What the dialling site asks; none where it has not said yet.
    pub asked: Option<String>,
    /// What the listening site allows; none where it has not said yet or has no such feed.
    pub allowed: Option<String>,
    /// What would flow.
    pub effective: Option<String>,
    /// valid, warning, invalid, nothing asked; none where one end has not said its part.
    pub verdict: Option<String>,
    pub reason: Option<String>,
    /// What is asked and not allowed.
    pub lost: Vec<String>,
    /// In whole sentences: who may do what, and what is lost.
    pub sentences: Vec<String>,
    pub asked_filter: String,
    pub allowed_filter: String,
    /// What both filters let pass.
    pub filter: String,
    /// Why it cannot be set up here as it stands, and what to do.
    pub obstacle: Option<String>,
}

/// Asks what accepting a ticket would come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::module_name_repetitions, reason = "Ticket alone is what pairs")]
#[serde(deny_unknown_fields)]
pub struct TicketPlan {
    pub ticket: String,
    pub mode: Option<String>,
    #[serde(default)]
    /// `REMOTE=LOCAL` names.
    pub feeds: Vec<(String, String)>,
}

/// What the next runs would move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecasts {
    pub links: Vec<LinkForecast>,
}

/// What the next run of one link would move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkForecast {
    pub link: String,
    pub peer_name: String,
    pub feeds: Vec<FeedForecast>,
}

/// What it would move of one feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedForecast {
    pub feed: String,
    /// None where the two ends have to compare everything first.
    pub ops_to_come: Option<u64>,
    pub ops_to_go: Option<u64>,
    /// Bytes of ops that are here already. What the ops to come name is not known before they come.
    pub missing_blobs: u64,
    pub missing_bytes: u64,
}
