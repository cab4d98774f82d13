//! Shapes of what is said of feeds and versions beside publishing and deleting.

use serde::{Deserialize, Serialize};

use super::Schema;

schemas! {
    Said => "said", Rights => "rights", Conflicts => "conflicts", References => "refs", Blocks => "blocks",
}

/// Something that was said, by an op.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    pub feed: String,
    pub op: String,
    /// Whether it counts at this site only.
    pub local: bool,
}

/// Changes to a feed at this site; what is absent stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FeedChange {
    /// Another name here.
    pub name: Option<String>,
    /// Whether this site takes no local changes in it.
    pub strict: Option<bool>,
    /// Whether a local build is served before that of a site with rights.
    pub local_wins: Option<bool>,
    pub open_reads: Option<bool>,
    /// Bytes of it that this site keeps at most, as `50GB`; `none` for no bound.
    pub quota: Option<String>,
}

/// Who may write in a feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    pub feed: String,
    pub origin: String,
    pub second_origin: Option<String>,
    pub grants: Vec<Right>,
}

/// One grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Right {
    pub site: String,
    /// What the site was called when it was granted.
    pub label: String,
    /// Of publish, delete-own, delete-wide, block, admin.
    pub rights: Vec<String>,
    /// Package names that start with this; empty is all.
    pub prefix: String,
    pub expires_ms: Option<u64>,
    /// Whether it was taken back.
    pub revoked: bool,
}

/// Asks for rights to be given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRequest {
    /// The site's id, or the name of a link with it.
    pub site: String,
    /// Of publish, delete-own, delete-wide, block, admin.
    pub rights: Vec<String>,
    #[serde(default)]
    pub prefix: String,
    pub expires_ms: Option<u64>,
}

/// Asks for a site's rights in a feed to be taken back, or for its key to be let in no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeRequest {
    /// The site's id, or the name of a link with it.
    pub site: String,
    #[serde(default)]
    pub reason: String,
    /// Count everything of it that is here, not only what is sealed.
    #[serde(default)]
    pub accept_all: bool,
}

/// Asks for a version, or bytes, to be blocked. One of the two is named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRequest {
    pub name: Option<String>,
    pub version: Option<String>,
    /// The blake3 of a file.
    pub blob: Option<String>,
    #[serde(default)]
    pub reason: String,
}

/// Why a block is lifted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UnblockRequest {
    #[serde(default)]
    pub reason: String,
}

/// A block that was said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    pub op: String,
    /// NAME@VERSION, or the blake3 of a file.
    pub target: String,
    pub author: String,
    pub reason: String,
    pub stamp_ms: u64,
    /// Whether it keeps anything from being served here.
    pub stands: bool,
}

/// All blocks of a feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocks {
    pub feed: String,
    pub blocks: Vec<Block>,
}

/// Asks for a version to be offered differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferRequest {
    pub name: String,
    pub version: String,
    /// listed, unlisted, yanked or deprecated.
    pub offer: String,
    /// Why, for yanked and deprecated.
    #[serde(default)]
    pub text: String,
}

/// Asks for a ref to be set or taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointRequest {
    pub package: String,
    /// The ref's name, such as `latest`.
    pub name: String,
    /// Nothing takes it away.
    pub version: Option<String>,
}

/// One ref.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    pub name: String,
    pub target: String,
    pub local: bool,
    pub op: String,
    pub set_ms: u64,
}

/// The refs of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct References {
    pub feed: String,
    pub package: String,
    pub refs: Vec<Reference>,
}

/// One build of a version on which sites clash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    pub op: String,
    pub author: String,
    pub author_name: Option<String>,
    pub published_ms: u64,
    pub size: u64,
    /// blake3 of each file, by which a build that is not served can be fetched.
    pub files: Vec<super::File>,
    pub served: bool,
}

/// One clash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    pub feed: String,
    pub name: String,
    pub version: String,
    /// Whether a person has chosen.
    pub resolved: bool,
    /// Why the served one is served.
    pub because: String,
    pub builds: Vec<Build>,
}

/// All clashes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflicts {
    pub conflicts: Vec<Conflict>,
    /// Those that nobody has resolved.
    pub open: u64,
}

/// Asks for the build that is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolveRequest {
    pub name: String,
    pub version: String,
    /// The op of the build, or as much of its beginning as is unique.
    pub winner: String,
}

/// Names one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub name: String,
    pub version: String,
}

/// Asks for a version to be published in another feed too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromoteRequest {
    pub name: String,
    pub version: String,
    /// The feed it goes to.
    pub to: String,
}
