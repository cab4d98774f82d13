//! What happens at a site that somebody may want to hear of: a closed list, and the newest of it in memory.

mod ring;

use serde::{Deserialize, Serialize};

pub use ring::{Backlog, EVENTS_IN_MEMORY_MAX, Ring};

/// How much an event matters. Warnings and errors are kept on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// As it should be.
    Info,
    /// Somebody should look at it.
    Warning,
    /// Something is broken, and does not mend by itself.
    Error,
}

impl Severity {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// A word that is no severity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no severity: use info, warning or error")]
pub struct NoSeverity(String);

impl std::str::FromStr for Severity {
    type Err = NoSeverity;

    fn from_str(word: &str) -> Result<Self, NoSeverity> {
        let all = [Self::Info, Self::Warning, Self::Error];
        all.into_iter().find(|severity| severity.word() == word).ok_or_else(|| NoSeverity(word.to_owned()))
    }
}

/// One thing that happened. The kind's word and the fields are read by programs: they are added to, never renamed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "fields", rename_all = "kebab-case")]
pub enum Event {
    /// A run of a link is done.
    RunEnded {
        link: String,
        run: String,
        #[serde(default)]
        feeds: Vec<String>,
        ops_in: u64,
        deletes_in: u64,
        ops_out: u64,
        blobs_in: u64,
        blobs_missing: u64,
        content_in_bytes: u64,
        content_out_bytes: u64,
        duration_ms: u64,
    },
    /// A run of a link ended otherwise. `repeated`: as the one before it did.
    RunFailed {
        link: String,
        run: String,
        #[serde(default)]
        feeds: Vec<String>,
        outcome: String,
        reason: Option<String>,
        repeated: bool,
    },
    /// Sites published different bytes under one version.
    ClashFound { feed: String, package: String, others: u64 },
    /// A publish came that a deletion removes.
    PublishSuppressed { feed: String, package: String },
    /// Another site took a publish of this one in and does not serve it.
    PublishUnserved { link: String, feed: String, package: String, site: String, why: String },
    /// Deletions of a link wait until somebody approves them.
    HoldOpened { hold: String, link: String, feed: String, deletes: u64 },
    /// Somebody approved them.
    HoldApproved {
        hold: String,
        #[serde(default)]
        feed: Option<String>,
    },
    /// What may flow of a feed changed. `from` is none where nothing was known since the start.
    VerdictChanged { link: String, feed: String, from: Option<String>, to: String, reason: Option<String> },
    /// Both ends agreed on their terms.
    LinkUp { link: String, peer: String, peer_name: String },
    /// The session ended.
    LinkDown { link: String, outcome: String },
    /// An author signed two histories of its log.
    ForkSeen { link: String, feed: String, author: String },
    /// This site does not know how far its key has signed, and signs nothing until it does.
    SiteAwoke { cause: String },
    /// It signs again in a feed, in a later epoch.
    WritingResumed { feed: String, epoch: u64 },
    /// Two nodes run with one key: that of another site, or this one's, as `told_by` says.
    SiteCopied { link: String, site: String, told_by: Option<String> },
    /// Bytes of this site's disk are not what was written.
    DamageFound { place: String },
    /// Nothing was heard of a feed's origin for two days: it is away, or a site in between keeps its news back.
    FeedStale { feed: String, sealed_ms: u64 },
    /// What damage took is back.
    DamageHealed { blobs: u64, packs: u64, left: u64 },
    /// The disk has less free than it should.
    DiskLow { free_bytes: u64, floor_bytes: u64 },
    /// A feed was made here, or taken up from another site by a link.
    FeedTakenUp { feed: String, id: String, link: Option<String> },
    /// The other site of a link offers a feed, and it could not be taken up here.
    FeedNotTaken { link: String, feed: String, reason: String },
    /// A site's key is let in no more.
    KeyRevoked { site: String, site_name: String, reason: String },
    /// This site signs with a new key; the linked sites named have not heard of it.
    KeyRotated { key: String, waiting: Vec<String> },
    /// Other sites are shown this site's newest key.
    KeyShown { key: String },
    /// Another site has a new key.
    PeerKeyChanged { link: String, site: String, key: String },
    /// The receiver of a webhook has not taken messages for some time.
    WebhookFailing { webhook: String, host: String, reason: String },
    /// It takes them again.
    WebhookRecovered { webhook: String, host: String },
}

impl Event {
    /// How much it matters.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::KeyRotated { .. }
            | Self::KeyShown { .. }
            | Self::RunFailed { repeated: true, .. }
            | Self::RunEnded { .. }
            | Self::HoldApproved { .. }
            | Self::LinkUp { .. }
            | Self::LinkDown { .. }
            | Self::WebhookRecovered { .. }
            | Self::DamageHealed { .. }
            | Self::WritingResumed { .. }
            | Self::FeedTakenUp { .. } => Severity::Info,
            Self::RunFailed { outcome, .. } if outcome == "misbehaved" || outcome == "fault" => {
                Severity::Error
            }
            Self::VerdictChanged { to, .. } => match to.as_str() {
                "invalid" => Severity::Error,
                "warning" => Severity::Warning,
                _ => Severity::Info,
            },
            Self::ForkSeen { .. } | Self::SiteCopied { .. } | Self::DamageFound { .. } => Severity::Error,
            Self::RunFailed { .. }
            | Self::ClashFound { .. }
            | Self::PublishSuppressed { .. }
            | Self::PublishUnserved { .. }
            | Self::HoldOpened { .. }
            | Self::FeedNotTaken { .. }
            | Self::FeedStale { .. }
            | Self::WebhookFailing { .. }
            | Self::SiteAwoke { .. }
            | Self::KeyRevoked { .. }
            | Self::PeerKeyChanged { .. }
            | Self::DiskLow { .. } => Severity::Warning,
        }
    }

    /// The stable word for its kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::RunEnded { .. } => "run-ended",
            Self::RunFailed { .. } => "run-failed",
            Self::ClashFound { .. } => "clash-found",
            Self::PublishSuppressed { .. } => "publish-suppressed",
            Self::PublishUnserved { .. } => "publish-unserved",
            Self::HoldOpened { .. } => "hold-opened",
            Self::HoldApproved { .. } => "hold-approved",
            Self::VerdictChanged { .. } => "verdict-changed",
            Self::LinkUp { .. } => "link-up",
            Self::LinkDown { .. } => "link-down",
            Self::ForkSeen { .. } => "fork-seen",
            Self::SiteAwoke { .. } => "site-awoke",
            Self::WritingResumed { .. } => "writing-resumed",
            Self::SiteCopied { .. } => "site-copied",
            Self::DamageFound { .. } => "damage-found",
            Self::FeedStale { .. } => "feed-stale",
            Self::DamageHealed { .. } => "damage-healed",
            Self::DiskLow { .. } => "disk-low",
            Self::FeedTakenUp { .. } => "feed-taken-up",
            Self::FeedNotTaken { .. } => "feed-not-taken",
            Self::KeyRevoked { .. } => "key-revoked",
            Self::KeyRotated { .. } => "key-rotated",
            Self::KeyShown { .. } => "key-shown",
            Self::PeerKeyChanged { .. } => "peer-key-changed",
            Self::WebhookFailing { .. } => "webhook-failing",
            Self::WebhookRecovered { .. } => "webhook-recovered",
        }
    }

    /// The link it is about.
    #[must_use]
    pub fn link(&self) -> Option<&str> {
        match self {
            Self::RunEnded { link, .. }
            | Self::RunFailed { link, .. }
            | Self::HoldOpened { link, .. }
            | Self::PublishUnserved { link, .. }
            | Self::VerdictChanged { link, .. }
            | Self::LinkUp { link, .. }
            | Self::LinkDown { link, .. }
            | Self::FeedNotTaken { link, .. }
            | Self::SiteCopied { link, .. }
            | Self::PeerKeyChanged { link, .. }
            | Self::ForkSeen { link, .. } => Some(link),
            Self::FeedTakenUp { link, .. } => link.as_deref(),
            Self::ClashFound { .. }
            | Self::PublishSuppressed { .. }
            | Self::HoldApproved { .. }
            | Self::SiteAwoke { .. }
            | Self::WritingResumed { .. }
            | Self::DamageFound { .. }
            | Self::FeedStale { .. }
            | Self::KeyRevoked { .. }
            | Self::KeyRotated { .. }
            | Self::KeyShown { .. }
            | Self::WebhookFailing { .. }
            | Self::WebhookRecovered { .. }
            | Self::DamageHealed { .. }
            | Self::DiskLow { .. } => None,
        }
    }

    /// Whether it is about a feed, by the feed's name here.
    #[must_use]
    pub fn concerns(&self, name: &str) -> bool {
        match self {
            Self::RunEnded { feeds, .. } | Self::RunFailed { feeds, .. } => {
                feeds.iter().any(|feed| feed == name)
            }
            Self::ClashFound { feed, .. }
            | Self::PublishSuppressed { feed, .. }
            | Self::PublishUnserved { feed, .. }
            | Self::HoldOpened { feed, .. }
            | Self::VerdictChanged { feed, .. }
            | Self::ForkSeen { feed, .. }
            | Self::FeedTakenUp { feed, .. }
            | Self::WritingResumed { feed, .. }
            | Self::FeedStale { feed, .. }
            | Self::FeedNotTaken { feed, .. } => feed == name,
            Self::HoldApproved { feed, .. } => feed.as_deref() == Some(name),
            Self::LinkUp { .. }
            | Self::LinkDown { .. }
            | Self::SiteAwoke { .. }
            | Self::SiteCopied { .. }
            | Self::DamageFound { .. }
            | Self::DamageHealed { .. }
            | Self::KeyRevoked { .. }
            | Self::KeyRotated { .. }
            | Self::KeyShown { .. }
            | Self::PeerKeyChanged { .. }
            | Self::WebhookFailing { .. }
            | Self::WebhookRecovered { .. }
            | Self::DiskLow { .. } => false,
        }
    }

    /// The event in one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let why = |reason: &Option<String>| {
            reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"))
        };
        match self {
            Self::RunEnded { link, ops_in, ops_out, content_in_bytes, content_out_bytes, .. } => format!(
                "a run of link {link} is done: {ops_in} ops and {content_in_bytes} bytes in, {ops_out} ops and \
                 {content_out_bytes} bytes out"
            ),
            Self::RunFailed { link, outcome, reason, .. } => {
                format!("a run of link {link} ended {outcome}{}", why(reason))
            }
            Self::ClashFound { feed, package, others } => {
                format!(
                    "{others} other builds of {package} in feed {feed} have other bytes than the one served"
                )
            }
            Self::PublishSuppressed { feed, package } => {
                format!("a publish of {package} in feed {feed} came, and a deletion of it holds")
            }
            Self::PublishUnserved { feed, package, site, why, .. } => {
                format!("{site} took {package} in feed {feed} in and does not serve it: {why}")
            }
            Self::HoldOpened { hold, link, feed, deletes } => format!(
                "{deletes} deletions in feed {feed} over link {link} wait for approval: packetboat approve {hold}"
            ),
            Self::HoldApproved { hold, .. } => format!("the deletions of hold {hold} were approved"),
            Self::VerdictChanged { link, feed, from, to, reason } => {
                let from = from.as_ref().map_or_else(String::new, |from| format!(" from {from}"));
                format!("link {link} changed{from} to {to} for feed {feed}{}", why(reason))
            }
            Self::LinkUp { link, peer_name, .. } => format!("link {link} with {peer_name} is up"),
            Self::LinkDown { link, outcome } => format!("link {link} is down: {outcome}"),
            Self::ForkSeen { link, feed, author } => {
                format!(
                    "author {author} signed two histories of its log in feed {feed}, as link {link} shows"
                )
            }
            Self::SiteAwoke { cause } => {
                format!("this site {cause}: it writes nothing until a peer told it what it said")
            }
            Self::WritingResumed { feed, epoch } => {
                format!("this site writes in feed {feed} again, in epoch {epoch} of its log")
            }
            Self::SiteCopied { link, site, told_by } => copied(link, site, told_by.as_deref()),
            Self::DamageFound { place } => format!("damage was found on this site's disk: {place}"),
            Self::FeedStale { feed, .. } => {
                format!("nothing was heard of the origin of feed {feed} for two days")
            }
            Self::DamageHealed { blobs, packs, left } => format!(
                "{blobs} damaged blobs are whole again and {packs} packs were written anew; {left} things are left to \
                 mend"
            ),
            Self::DiskLow { free_bytes, floor_bytes } => {
                format!("{free_bytes} bytes of disk are free, and {floor_bytes} are needed")
            }
            Self::FeedNotTaken { link, feed, reason } => {
                format!("feed {feed} that link {link} offers was not taken up: {reason}")
            }
            Self::KeyRevoked { .. }
            | Self::KeyRotated { .. }
            | Self::KeyShown { .. }
            | Self::PeerKeyChanged { .. }
            | Self::WebhookFailing { .. }
            | Self::WebhookRecovered { .. } => self.sentence_of_outsiders(),
            Self::FeedTakenUp { feed, link: None, .. } => format!("feed {feed} was made"),
            Self::FeedTakenUp { feed, link: Some(link), .. } => {
                format!("feed {feed} was taken up over link {link}")
            }
        }
    }

    /// Of keys and of receivers of webhooks.
    fn sentence_of_outsiders(&self) -> String {
        if let Self::KeyRevoked { site, site_name, reason } = self {
            return format!("the key of {site_name} ({site}) is let in no more: {reason}");
        }
        if let Self::KeyRotated { key, waiting } = self {
            let waiting = if waiting.is_empty() { "nobody".to_owned() } else { waiting.join(", ") };
            return format!("this site signs with a new key, {key}; {waiting} has yet to hear of it");
        }
        if let Self::KeyShown { key } = self {
            return format!("other sites are shown this site's new key {key}");
        }
        if let Self::PeerKeyChanged { link, site, key } = self {
            return format!("{site} has a new key, {key}, as link {link} tells");
        }
        if let Self::WebhookFailing { webhook, host, reason } = self {
            return format!("webhook {webhook} to {host} is failing: {reason}");
        }
        let Self::WebhookRecovered { webhook, host } = self else { return String::new() };
        format!("webhook {webhook} to {host} takes messages again")
    }
}

fn copied(link: &str, site: &str, told_by: Option<&str>) -> String {
    told_by.map_or_else(
        || {
            format!(
                "two nodes run with the key of {site}, as link {link} shows: neither is listened to until one is stopped"
            )
        },
        |peer| {
            format!(
                "{peer} says over link {link} that another node runs with this site's key: stop the one that is a copy"
            )
        },
    )
}

/// The words of all kinds.
pub const KINDS: [&str; 26] = [
    "run-ended",
    "run-failed",
    "clash-found",
    "publish-suppressed",
    "publish-unserved",
    "hold-opened",
    "hold-approved",
    "verdict-changed",
    "link-up",
    "link-down",
    "fork-seen",
    "site-awoke",
    "writing-resumed",
    "site-copied",
    "damage-found",
    "feed-stale",
    "damage-healed",
    "disk-low",
    "feed-taken-up",
    "feed-not-taken",
    "key-revoked",
    "key-rotated",
    "key-shown",
    "peer-key-changed",
    "webhook-failing",
    "webhook-recovered",
];

/// An event with its number and time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Rises with each event of the site, over restarts too; a restart leaves numbers out.
    pub number: u64,
    /// By this site's clock, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    pub severity: Severity,
    pub event: Event,
}

/// Which events are asked for; nothing set is all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Selection {
    /// This severe or more.
    pub severity: Option<Severity>,
    /// One of these kinds; none is any.
    pub kinds: Vec<String>,
    /// About this link.
    pub link: Option<String>,
    /// About this feed, by its name here.
    #[serde(default)]
    pub feed: Option<String>,
}

impl Selection {
    /// Whether an event is asked for.
    #[must_use]
    pub fn takes(&self, recorded: &Recorded) -> bool {
        self.severity.is_none_or(|least| recorded.severity >= least)
            && (self.kinds.is_empty() || self.kinds.iter().any(|kind| kind == recorded.event.kind()))
            && self.link.as_ref().is_none_or(|link| recorded.event.link() == Some(link))
            && self.feed.as_ref().is_none_or(|feed| recorded.event.concerns(feed))
    }
}

#[cfg(test)]
mod tests;
