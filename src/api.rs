//! The shapes of the node's HTTP/JSON API: what the web server answers, the command line reads and scripts may rely on.
//!
//! Times are milliseconds since the Unix epoch, sizes are bytes, ids are lowercase hexadecimal. Every top-level answer has a
//! `schema` field; a change that breaks a reader gets a new number there. docs/api.md lists the routes.

/// Names the answers of a file with their schemas.
macro_rules! schemas {
    ($($type:ty => $name:literal),* $(,)?) => {
        $(impl Schema for $type { const NAME: &'static str = concat!("packetboat.", $name, "/1"); })*
    };
}

pub mod backup;
pub mod doctor;
pub mod events;
pub mod evict;
pub mod forks;
pub mod holds;
pub mod keeping;
pub mod keys;
pub mod log;
pub mod merge;
pub mod new_feeds;
pub mod path;
pub mod plan;
pub mod ruling;
pub mod run;
pub mod space;
mod token;
pub mod webhooks;
pub mod writing;

pub use token::{NewToken, Token, TokenMade, Tokens};

use serde::{Deserialize, Serialize};

/// An answer with its schema's name in front.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer<T> {
    pub schema: String,
    #[serde(flatten)]
    pub body: T,
}

/// A type that is a top-level answer.
pub trait Schema: Sized {
    /// `packetboat.NAME/VERSION`.
    const NAME: &'static str;

    /// The answer as it is sent.
    fn answer(self) -> Answer<Self> {
        Answer { schema: Self::NAME.to_owned(), body: self }
    }
}

schemas! {
    Site => "site", Feed => "feed", Feeds => "feeds", Packages => "packages", Package => "package",
    Deleted => "deleted", Upload => "upload", Invite => "invite", TicketPreview => "ticket", Link => "link",
    Links => "links", Pairings => "pairings", Run => "run", Runs => "runs", Status => "status", Why => "why",
    TokenMade => "token", Tokens => "tokens", plan::Plan => "plan", plan::Forecasts => "forecast",
}

/// This site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    pub id: String,
    pub name: String,
    pub version: String,
    /// UDP address of the links.
    pub listen: String,
    /// TCP address of the package clients' door.
    pub http: String,
    pub started_ms: u64,
}

/// Asks for a new feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewFeed {
    pub name: String,
    /// raw, oci, npm, pypi, cargo, nuget, maven, apt.
    pub kind: String,
    #[serde(default)]
    /// Whether package clients may read without a token.
    pub open_reads: bool,
}

/// One feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feed {
    pub id: String,
    pub name: String,
    pub kind: String,
    pub open_reads: bool,
    /// The site that made it and says who may write.
    pub origin: String,
    /// Whether this site takes no local changes in it.
    #[serde(default)]
    pub strict: bool,
    /// Whether a local build is served before that of a site with rights.
    #[serde(default)]
    pub local_wins: bool,
    /// Whether this site's publishes reach other sites.
    pub may_publish: bool,
    pub may_delete: bool,
    pub packages: u64,
    pub ops: u64,
    /// Blobs named here whose bytes have not arrived.
    pub missing_blobs: u64,
    pub missing_bytes: u64,
    /// Equal at two sites exactly when the same packages stand there (local ones aside).
    pub state_root: String,
    /// Bytes of it that this site keeps at most.
    #[serde(default)]
    pub quota_bytes: Option<u64>,
    /// Bytes of it that are held here, the trash included; told where there is a quota.
    #[serde(default)]
    pub held_bytes: Option<u64>,
}

/// All feeds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feeds {
    pub feeds: Vec<Feed>,
}

/// One file of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    pub name: String,
    pub size: u64,
    pub blake3: String,
    pub sha256: String,
}

/// One version of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    pub feed: String,
    pub name: String,
    pub version: String,
    /// ready, pending, blocked, deleted, suppressed, held, hidden-here, parked-future, author-not-authorised.
    pub state: String,
    /// Whether it is this site's own, which no other site is given.
    pub local: bool,
    /// Other builds of the same version that lost to this one.
    pub clashes: u64,
    /// listed, unlisted, yanked or deprecated.
    pub offer: String,
    /// Why it is yanked or deprecated.
    pub offer_text: Option<String>,
    /// Downloads over all sites, as far as they told, and here.
    pub downloads: u64,
    pub last_used_ms: Option<u64>,
    /// Where it was promoted from: a feed's id and an op.
    pub promoted_from: Option<String>,
    pub files: Vec<File>,
    /// The site that published it.
    pub author: Option<String>,
    pub published_ms: Option<u64>,
    pub op: Option<String>,
}

/// A page of packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packages {
    pub feed: String,
    pub packages: Vec<Package>,
    /// Give this as `after` for the next page.
    pub next: Option<String>,
}

/// Bytes that were uploaded and belong to no version yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    pub blake3: String,
    pub size: u64,
    pub sha256: String,
}

/// Asks for a version to be published from uploaded bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewPackage {
    pub name: String,
    pub version: String,
    pub files: Vec<File>,
    #[serde(default)]
    /// Publish over deletes of this version.
    pub restore: bool,
}

/// A delete that took place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    pub feed: String,
    pub name: String,
    pub version: String,
    pub op: String,
    /// Whether it holds at this site only, because this site may not delete in this feed.
    pub local: bool,
    /// Publishes it removed.
    pub removed: u64,
}

/// Asks for a ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteRequest {
    pub feeds: Vec<String>,
    /// mirror, pull, push, or a list of switches, in the joiner's terms.
    pub peer_may: String,
    pub expires_ms: u64,
    #[serde(default)]
    /// How long the joiner may do it, in milliseconds from when it joins; none is without end.
    pub grant_life_ms: Option<u64>,
    #[serde(default)]
    /// `host:port` under which the joiner reaches this site; none means the addresses it listens on.
    pub addresses: Vec<String>,
}

/// A ticket and what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    pub ticket: String,
    pub preview: TicketPreview,
}

/// What a ticket says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketPreview {
    pub site: String,
    pub name: String,
    pub addresses: Vec<String>,
    pub expires_ms: u64,
    pub feeds: Vec<OfferedFeed>,
    /// What the joiner may do in every other feed, of later ones too; none: those listed only.
    pub every: Option<String>,
    /// Four words that are the same at both ends; at the inviting end only known once the other has joined.
    pub check_words: Option<String>,
}

/// A feed that a ticket offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferedFeed {
    pub feed: String,
    pub kind: String,
    pub may: String,
    /// In words: "This site may read tools. It may not change tools there."
    pub sentence: String,
}

/// Asks to join by a ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptRequest {
    pub ticket: String,
    /// This site's mode; none means all that is offered.
    pub mode: Option<String>,
    /// Name of the link; none means the other site's name.
    pub link: Option<String>,
    #[serde(default)]
    /// `REMOTE=LOCAL` names.
    pub feeds: Vec<(String, String)>,
    pub every_ms: Option<u64>,
    /// What of the feeds this end lets the link carry, as in `LinkChange`; none: everything.
    #[serde(default)]
    pub filter: Option<String>,
    /// Where a feed's name is that of another one here: bring what that one serves into it.
    #[serde(default)]
    pub merge: bool,
}

/// One link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub name: String,
    pub peer: String,
    pub peer_name: String,
    /// incoming or outgoing: who opens the connection.
    pub dial: String,
    pub addresses: Vec<String>,
    pub feeds: Vec<LinkFeed>,
    /// What becomes of feeds that neither end named when the link was made; none: they do not go on it.
    pub new_feeds: Option<new_feeds::NewFeeds>,
    pub untaken: Vec<new_feeds::Untaken>,
    /// The link with the same site by which the other end opens the connection: both sites dial each other.
    pub twin: Option<String>,
    /// The twin, where its session serves this link.
    pub served_by: Option<String>,
    pub every_ms: Option<u64>,
    pub paused: bool,
    /// up, down, never.
    pub connection: String,
    pub running: bool,
    /// Bytes a second that the standing transfer brings; none where there is none to measure.
    pub rate_bytes_per_s: Option<u64>,
    pub last_run: Option<Run>,
    /// This site has everything the other had then and lets flow here, bytes included.
    pub as_of_ms: Option<u64>,
    /// The other site has everything this one had then and lets flow there, bytes included.
    pub peer_as_of_ms: Option<u64>,
    /// Why the last session was refused, where none came up since, and when.
    pub refused: Option<String>,
    pub refused_ms: Option<u64>,
    pub next_run_ms: Option<u64>,
    /// Four words to compare with the other site's.
    pub check_words: String,
    /// Whether news travel at once.
    pub live: bool,
    /// When it runs; none is always.
    pub windows: Vec<String>,
    /// Whether it may run now, and the minutes until that changes.
    pub open: bool,
    pub window_changes_in_minutes: Option<u32>,
    /// The caps in force now.
    pub cap_in_bytes_per_s: Option<u64>,
    pub cap_out_bytes_per_s: Option<u64>,
    /// smallest or newest.
    pub priority: String,
    /// always or on-demand.
    pub fetch: String,
}

/// One feed on a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkFeed {
    pub feed: String,
    /// What this end states: its mode on an outgoing link, its grant on an incoming one.
    pub stated: String,
    /// What both ends agreed in the last handshake, in this site's terms.
    pub effective: Option<String>,
    /// valid, warning, invalid, nothing asked.
    pub verdict: Option<String>,
    pub reason: Option<String>,
    /// What both ends let the link carry.
    pub filter: String,
    /// Until when the grant of an incoming link holds.
    pub grant_expires_ms: Option<u64>,
    pub flows_in: bool,
    pub flows_out: bool,
    /// Ops the other end has and this one lacks, as of the last run.
    pub ops_behind: u64,
    pub missing_blobs: u64,
    pub missing_bytes: u64,
    /// When the oldest version was published whose bytes are still to come.
    pub oldest_missing_ms: Option<u64>,
    /// How long the missing bytes take at the rate they come now; none where nothing comes to measure by.
    pub eta_ms: Option<u64>,
    /// Ops of this site that the other end has not acknowledged, and how many of them delete; none where they are too many to read.
    pub ops_behind_there: u64,
    pub deletes_behind_there: Option<u64>,
}

/// All links.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Links {
    pub links: Vec<Link>,
}

/// Changes to a link; what is absent stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LinkChange {
    pub mode: Option<String>,
    /// Zero: only when told.
    pub every_ms: Option<u64>,
    pub paused: Option<bool>,
    pub addresses: Option<Vec<String>>,
    /// Only the mode and the filter of this feed are changed; `*`: of feeds that come later.
    pub feed: Option<String>,
    /// off, take, offer or both: what becomes of feeds that neither end named when the link was made.
    pub new_feeds: Option<String>,
    /// `REMOTE=LOCAL`: takes up an offered feed under another name.
    pub take: Option<(String, String)>,
    /// `none`, or parts as in `name=acme-*|tools,latest=3,size=100MB,age=90d`.
    pub filter: Option<String>,
    /// Whether news travel at once.
    pub live: Option<bool>,
    /// Windows in which the link runs, as in `mon-fri 22:00-06:00@2mbit`; an empty list is always.
    pub windows: Option<Vec<String>>,
    /// The windows' time zone, as in `Asia/Tokyo`; none is that of the site's clock.
    pub zone: Option<String>,
    /// `none`, or a rate as in `2mbit` or `500KB`.
    pub cap_in: Option<String>,
    pub cap_out: Option<String>,
    /// smallest or newest.
    pub priority: Option<String>,
    /// always or on-demand.
    pub fetch: Option<String>,
    /// Incoming links: the grant holds so long from now. Zero: without end.
    pub grant_life_ms: Option<u64>,
}

/// An invitation that nobody has used yet, or a site that joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pairing {
    /// What it is withdrawn by. The ticket itself is not kept here.
    pub name: String,
    /// open, used, withdrawn, expired; void: made before this site was restored, copied or set back.
    pub state: String,
    pub expires_ms: u64,
    /// How long the joiner may do what is offered, from when it joins; none is without end.
    pub grant_life_ms: Option<u64>,
    pub feeds: Vec<String>,
    pub may: String,
    pub site: Option<String>,
    pub site_name: Option<String>,
}

/// All invitations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pairings {
    pub pairings: Vec<Pairing>,
}

/// One run of a link at this end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub id: String,
    pub link: String,
    pub peer: String,
    /// manual, interval, peer, live, window.
    pub trigger: String,
    pub started_ms: u64,
    pub duration_ms: u64,
    /// done, refused, misbehaved, interrupted, disk-full, fault.
    pub outcome: String,
    /// Why, where it is not done.
    pub reason: Option<String>,
    /// What the run came to for each feed of the link.
    pub feeds: Vec<run::RunFeed>,
    pub ops_in: u64,
    pub deletes_in: u64,
    pub ops_out: u64,
    /// What came in and went out, by verb and with the first names.
    pub came: run::Moved,
    pub went: run::Moved,
    pub blobs_in: u64,
    pub blobs_missing: u64,
    /// Blobs that this site's quotas keep out. Told of a run by whoever waited for it; a run of the past tells none.
    pub blobs_over_quota: u64,
    /// Blobs the other end wanted and could not have from here.
    pub blobs_missing_there: u64,
    pub content_in_bytes: u64,
    pub content_out_bytes: u64,
    pub frames_in_bytes: u64,
    pub frames_out_bytes: u64,
    pub round_trips: u64,
    /// The connection's round-trip time; none where there was no connection.
    pub rtt_ms: Option<u64>,
    /// Ops not taken here, by reason.
    pub refused: Vec<Refusal>,
    /// Ops the other end did not take, by reason.
    pub refused_there: Vec<Refusal>,
}

/// Ops not taken, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub reason: String,
    pub ops: u64,
}

/// Runs, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runs {
    pub runs: Vec<Run>,
}

/// A line of a stream that is answered while something long goes on; the last one is `Done` or `Failed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Progress<T> {
    /// So far, of so much where it is known.
    Step {
        what: String,
        done: u64,
        of: Option<u64>,
    },
    Done {
        result: T,
    },
    Failed {
        problem: Problem,
    },
}

/// Everything at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub site: Site,
    pub feeds: Vec<Feed>,
    pub links: Vec<Link>,
    #[serde(default)]
    pub webhooks: Vec<webhooks::Webhook>,
    /// 0, or 3 where a link is behind: the exit code of `packetboat status`.
    pub verdict: u8,
    pub verdict_words: String,
    /// This site's clock at that moment: ages are told against it.
    pub now_ms: u64,
    /// What damage took and what has not come back.
    #[serde(default)]
    pub damage: keeping::Damage,
    #[serde(default)]
    pub scrub: keeping::Scrub,
    #[serde(default)]
    pub space: space::Space,
}

/// Why a version is or is not here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    pub feed: String,
    pub name: String,
    pub version: String,
    pub state: String,
    /// The rule in words.
    pub because: String,
    pub ops: Vec<WhyOp>,
    /// The links that carry the feed.
    pub links: Vec<WhyLink>,
}

/// A link by which a version could come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyLink {
    pub link: String,
    pub peer_name: String,
    /// Whether it lets anything of the feed in.
    pub lets_in: bool,
    pub filter: String,
    /// When its last run was done, as far as this node remembers.
    pub as_of_ms: Option<u64>,
    pub paused: bool,
}

/// An op that has a say in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyOp {
    pub op: String,
    pub kind: String,
    pub author: String,
    pub author_name: Option<String>,
    pub stamp_ms: u64,
    /// "serves", "lost the clash", "removed by …", "hides here", "its author may not publish here".
    pub role: String,
    pub reason: Option<String>,
}

/// What went wrong, as `application/problem+json` (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    pub detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// A stable word for programs.
    pub code: String,
}

impl Problem {
    /// A problem without a hint.
    #[must_use]
    pub fn new(status: u16, code: &str, title: &str, detail: impl Into<String>) -> Self {
        Self { title: title.to_owned(), status, detail: detail.into(), hint: None, code: code.to_owned() }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The exit code of a command that ends with it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.code.as_str() {
            "usage" => 2,
            "behind" => 3,
            "conflict" | "forked" => 4,
            "unreachable" => 5,
            "refused" | "filtered-out" => 6,
            "integrity" => 7,
            _ => 1,
        }
    }
}
