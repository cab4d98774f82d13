//! One signed statement: the genesis of a feed, the kinds of op, their canonical bytes and their names.
//!
//! An op's canonical bytes are its place (feed, author, epoch, seq) followed by its statement
//! (stamp, kind, body). The place is the same for a run of ops and is not repeated on the wire.
//! postcard alone is not canonical (it accepts over-long integers), so bytes from elsewhere are
//! decoded, encoded again and compared.

use serde::{Deserialize, Serialize};

use crate::id::{BlobId, FeedId, LogId, OpId, SiteId};
use crate::limits::{LABEL_BYTES_MAX, LOGS_NAMED_MAX, OP_BYTES_MAX, OPS_NAMED_MAX, REASON_BYTES_MAX};
use crate::manifest::{Manifest, ManifestError};
use crate::package::{BadName, Coordinate, FeedKind, check_feed_name};
use crate::succession::Succession;
use crate::time::{Hlc, Timestamp};

const OP_CONTEXT: &str = "packetboat 2026-11 op v1";
const GENESIS_CONTEXT: &str = "packetboat 2026-11 genesis v1";

/// What a feed is, for ever. The feed's id is the hash of these bytes, so the id commits to the origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genesis {
    pub kind: FeedKind,
    /// The name at its origin; elsewhere a feed may have another local name.
    pub name: String,
    /// The site whose ops say who may write here.
    pub origin: SiteId,
    /// A second origin key, kept off line, that can take over when the first is lost.
    pub second_origin: Option<SiteId>,
    /// Whether a deleted coordinate may come back with other bytes.
    pub reuse: bool,
    /// Whether a coordinate may be published again in place (asset feeds): the last writer wins.
    pub overwrite: bool,
    pub created: Timestamp,
    /// Random, so that two feeds of one name at one site differ.
    pub nonce: [u8; 16],
}

impl Genesis {
    /// The feed's identity.
    #[must_use]
    pub fn feed_id(&self) -> FeedId {
        FeedId(blake3::derive_key(GENESIS_CONTEXT, &self.encode()))
    }

    /// Canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("a plain value always encodes into memory")
    }

    /// A genesis from elsewhere.
    ///
    /// # Errors
    /// The bytes are not a canonical genesis or the name is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let genesis: Self = canonical(bytes, Form::Unchecked)?;
        check_feed_name(&genesis.name)?;
        Ok(genesis)
    }
}

/// Where an op stands: its log and its position there, from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    pub log: LogId,
    pub seq: u64,
}

/// One op: who said what, where and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    pub place: Place,
    pub stamp: Hlc,
    pub body: Body,
}

/// What authors can say. The numbers are signed and stored: they are never reused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// 1: this version exists and is made of these files.
    Publish(Publish),
    /// 2: this version is gone, whoever published it.
    Delete(Delete),
    /// 3: how this version is offered.
    SetState(SetState),
    /// 4: where a tag or dist-tag points.
    SetRef(SetRef),
    /// 5: never serve this.
    Block(Block),
    /// 6: a block is lifted.
    Unblock(Unblock),
    /// 7: which of several builds of one version is served.
    Resolve(Resolve),
    /// 8: a site may write here.
    Grant(Grant),
    /// 9: what a site was granted is taken back.
    Revoke(Revoke),
    /// 10: the origin fixes what stands so far.
    Seal(Seal),
    /// 11: what this site's clients downloaded.
    Statistics(Statistics),
    /// 12: the first op of a later epoch, opened because the author could not know how far it had signed, or has a new key.
    OpenEpoch(OpenEpoch),
    /// 13: how far a log counts of which its author signed two histories.
    Cut(Cut),
    /// A kind of a later release: kept and passed on, shown, not applied.
    Unknown { kind: u16, body: Vec<u8> },
}

/// See [`Body::Publish`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    pub coordinate: Coordinate,
    pub manifest: Manifest,
    /// The deletes that this publish knowingly overrules.
    pub supersedes: Vec<OpId>,
    /// Where it was promoted from.
    pub provenance: Option<Provenance>,
}

/// The publish in another feed that this one repeats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    pub feed: FeedId,
    pub op: OpId,
}

/// See [`Body::Delete`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delete {
    pub coordinate: Coordinate,
    /// The publishes its author saw: what a site without the right to delete hides, and what a restore brings back.
    pub saw: Vec<OpId>,
    pub reason: String,
}

/// How a version is offered to clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Offer {
    Listed,
    Unlisted,
    Yanked { reason: String },
    Deprecated { text: String },
}

/// See [`Body::SetState`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetState {
    pub coordinate: Coordinate,
    pub offer: Offer,
}

/// Where a ref points.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    Version(String),
    Blob(BlobId),
}

/// See [`Body::SetRef`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetRef {
    /// The package, in its kind's normal form.
    pub package: String,
    pub name: String,
    /// Nothing removes the ref.
    pub target: Option<Target>,
}

/// What a block covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Blocked {
    Coordinate(Coordinate),
    Blob(BlobId),
}

/// See [`Body::Block`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    pub target: Blocked,
    pub reason: String,
}

/// See [`Body::Unblock`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unblock {
    pub block: OpId,
    pub reason: String,
}

/// See [`Body::Resolve`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolve {
    pub coordinate: Coordinate,
    pub winner: OpId,
}

/// What a site may write in a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Rights {
    pub publish: bool,
    /// Delete what it published itself.
    pub delete_own: bool,
    /// Delete anyone's.
    pub delete_wide: bool,
    pub block: bool,
    /// Grant, revoke, seal.
    pub admin: bool,
}

impl Rights {
    /// Everything: the origin's.
    pub const ALL: Self =
        Self { publish: true, delete_own: true, delete_wide: true, block: true, admin: true };
    /// What pairing as mirror or push confers.
    pub const WRITE: Self =
        Self { publish: true, delete_own: true, delete_wide: true, block: false, admin: false };
}

/// See [`Body::Grant`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub grantee: SiteId,
    /// The grantee's name when it was granted, for people.
    pub label: String,
    pub rights: Rights,
    /// Package names that start with this; empty means all.
    pub prefix: String,
    pub expires: Option<Timestamp>,
}

/// See [`Body::Revoke`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoke {
    pub grantee: SiteId,
    /// How far the grantee's logs still count.
    pub accepted: Vec<Tip>,
    pub reason: String,
}

/// A log up to a length, with the root it had there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tip {
    pub author: SiteId,
    pub epoch: u64,
    pub len: u64,
    pub root: [u8; 32],
}

impl Tip {
    /// Of logs that a site is to name in one op those that fit into it: the longest.
    #[must_use]
    pub fn those_that_fit(mut tips: Vec<Self>) -> Vec<Self> {
        if tips.len() > LOGS_NAMED_MAX {
            tips.sort_by_key(|tip| std::cmp::Reverse(tip.len));
            tips.truncate(LOGS_NAMED_MAX);
        }
        tips
    }
}

/// See [`Body::Seal`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// From one, without gaps, a feed.
    pub index: u64,
    pub frontier: Vec<Tip>,
    /// The root of the feed's visible state.
    pub state_root: [u8; 32],
}

/// See [`Body::Statistics`]. Each op replaces its author's earlier figures for what it names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    pub uses: Vec<Use>,
}

/// Downloads of one version at one site since it first served it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    pub coordinate: Coordinate,
    pub downloads: u64,
    pub last_used: Timestamp,
}

/// See [`Body::OpenEpoch`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenEpoch {
    /// The last state of its own log the author knows, if any.
    pub known: Option<Tip>,
    /// Said in the epochs of every key but the first: what counts of the logs that earlier keys signed.
    pub closes: Option<Closing>,
}

/// See [`OpenEpoch`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// The key that signs this epoch.
    pub key: SiteId,
    /// How far each of the author's logs of earlier keys counts; one that is not named counts for nothing.
    pub accepted: Vec<Tip>,
}

/// See [`Body::Cut`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// The log and its last state that counts; a length of zero: none of it.
    pub tip: Tip,
    /// When that state was signed.
    pub signed: Timestamp,
    /// Its author's keys up to the one that signed it.
    pub succession: Succession,
    /// Its author's signature: 64 bytes; empty where the length is zero.
    pub signature: Vec<u8>,
    pub reason: String,
}

/// Why bytes are not an op or a genesis. The sender, or the disk they were read from, is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("{found} bytes, and at most {OP_BYTES_MAX} are allowed in an op")]
    TooLong { found: usize },
    #[error("truncated or malformed")]
    Malformed,
    #[error("bytes follow the end")]
    Trailing,
    #[error("not in canonical form: decoding and encoding gives other bytes")]
    NotCanonical,
    #[error("a reason of {found} bytes, and at most {REASON_BYTES_MAX} are allowed")]
    LongReason { found: usize },
    #[error("it names {found} ops, and at most {OPS_NAMED_MAX} are allowed")]
    NamesTooMany { found: usize },
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Name(#[from] BadName),
}

#[derive(Serialize, Deserialize)]
struct Statement {
    stamp: Hlc,
    kind: u16,
    body: Vec<u8>,
}

/// Whether bytes were taken as a statement before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Unchecked,
    Checked,
}

fn canonical<T: Serialize + for<'de> Deserialize<'de>>(bytes: &[u8], form: Form) -> Result<T, DecodeError> {
    if bytes.len() > OP_BYTES_MAX {
        return Err(DecodeError::TooLong { found: bytes.len() });
    }
    let (value, rest) = postcard::take_from_bytes::<T>(bytes).map_err(|_shape| DecodeError::Malformed)?;
    if !rest.is_empty() {
        return Err(DecodeError::Trailing);
    }
    if form == Form::Checked {
        return Ok(value);
    }
    let room = Vec::with_capacity(bytes.len());
    let again = postcard::to_extend(&value, room).map_err(|_shape| DecodeError::Malformed)?;
    if again == bytes { Ok(value) } else { Err(DecodeError::NotCanonical) }
}

/// A place, and a publish of one file, need no more. What does grows.
const MOST_ENCODE_TO_BYTES: usize = 256;

fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
    let room = Vec::with_capacity(MOST_ENCODE_TO_BYTES);
    postcard::to_extend(value, room).expect("a plain value always encodes into memory")
}

impl Place {
    /// The first part of an op's canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encoded(self)
    }
}

impl Op {
    /// The statement's canonical bytes: what travels, the place being told once for a run of ops.
    #[must_use]
    pub fn encode_statement(&self) -> Vec<u8> {
        let (kind, body) = self.body.encode();
        encoded(&Statement { stamp: self.stamp, kind, body })
    }

    /// An op at `place` from its statement's bytes.
    ///
    /// # Errors
    /// The bytes are not the canonical form of a statement within the limits.
    pub fn decode_statement(place: Place, bytes: &[u8]) -> Result<Self, DecodeError> {
        let op = Self::read(place, bytes, Form::Unchecked)?;
        op.body.check()?;
        Ok(op)
    }

    /// The same of bytes that are an op's statement for certain, because their name is that of an op which was decoded before: neither their
    /// form nor what they name is looked at again.
    ///
    /// # Errors
    /// The bytes are no statement.
    pub fn decode_known(place: Place, bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::read(place, bytes, Form::Checked)
    }

    fn read(place: Place, bytes: &[u8], form: Form) -> Result<Self, DecodeError> {
        let statement: Statement = canonical(bytes, form)?;
        let body = Body::decode(statement.kind, statement.body, form)?;
        Ok(Self { place, stamp: statement.stamp, body })
    }

    /// The name of the op whose statement at `place` has these canonical bytes.
    #[must_use]
    pub fn id_of(place: Place, statement: &[u8]) -> OpId {
        let mut hasher = blake3::Hasher::new_derive_key(OP_CONTEXT);
        hasher.update(&place.encode());
        hasher.update(statement);
        OpId(*hasher.finalize().as_bytes())
    }

    /// This op's name.
    #[must_use]
    pub fn id(&self) -> OpId {
        Self::id_of(self.place, &self.encode_statement())
    }
}

impl Body {
    fn encode(&self) -> (u16, Vec<u8>) {
        match self {
            Self::Publish(body) => (1, encoded(body)),
            Self::Delete(body) => (2, encoded(body)),
            Self::SetState(body) => (3, encoded(body)),
            Self::SetRef(body) => (4, encoded(body)),
            Self::Block(body) => (5, encoded(body)),
            Self::Unblock(body) => (6, encoded(body)),
            Self::Resolve(body) => (7, encoded(body)),
            Self::Grant(body) => (8, encoded(body)),
            Self::Revoke(body) => (9, encoded(body)),
            Self::Seal(body) => (10, encoded(body)),
            Self::Statistics(body) => (11, encoded(body)),
            Self::OpenEpoch(body) => (12, encoded(body)),
            Self::Cut(body) => (13, encoded(body)),
            Self::Unknown { kind, body } => (*kind, body.clone()),
        }
    }

    fn decode(kind: u16, body: Vec<u8>, form: Form) -> Result<Self, DecodeError> {
        Ok(match kind {
            1 => Self::Publish(canonical(&body, form)?),
            2 => Self::Delete(canonical(&body, form)?),
            3 => Self::SetState(canonical(&body, form)?),
            4 => Self::SetRef(canonical(&body, form)?),
            5 => Self::Block(canonical(&body, form)?),
            6 => Self::Unblock(canonical(&body, form)?),
            7 => Self::Resolve(canonical(&body, form)?),
            8 => Self::Grant(canonical(&body, form)?),
            9 => Self::Revoke(canonical(&body, form)?),
            10 => Self::Seal(canonical(&body, form)?),
            11 => Self::Statistics(canonical(&body, form)?),
            12 => Self::OpenEpoch(canonical(&body, form)?),
            13 => Self::Cut(canonical(&body, form)?),
            _ => Self::Unknown { kind, body },
        })
    }

    /// The coordinate it speaks of, where it speaks of one.
    #[must_use]
    pub fn coordinate(&self) -> Option<&Coordinate> {
        match self {
            Self::Publish(body) => Some(&body.coordinate),
            Self::Delete(body) => Some(&body.coordinate),
            Self::SetState(body) => Some(&body.coordinate),
            Self::Resolve(body) => Some(&body.coordinate),
            Self::Block(Block { target: Blocked::Coordinate(coordinate), .. }) => Some(coordinate),
            Self::Block(Block { target: Blocked::Blob(_), .. })
            | Self::SetRef(_)
            | Self::Unblock(_)
            | Self::Grant(_)
            | Self::Revoke(_)
            | Self::Seal(_)
            | Self::Statistics(_)
            | Self::OpenEpoch(_)
            | Self::Cut(_)
            | Self::Unknown { .. } => None,
        }
    }

    /// The kind's name for people.
    #[must_use]
    pub const fn kind_name(&self) -> &'static str {
        match self {
            Self::Publish(_) => "publish",
            Self::Delete(_) => "delete",
            Self::SetState(_) => "set-state",
            Self::SetRef(_) => "set-ref",
            Self::Block(_) => "block",
            Self::Unblock(_) => "unblock",
            Self::Resolve(_) => "resolve",
            Self::Grant(_) => "grant",
            Self::Revoke(_) => "revoke",
            Self::Seal(_) => "seal",
            Self::Statistics(_) => "statistics",
            Self::OpenEpoch(_) => "open-epoch",
            Self::Cut(_) => "cut",
            Self::Unknown { .. } => "unknown",
        }
    }

    /// Whether it removes something: what the delete switches of a link let through or hold back.
    #[must_use]
    pub const fn is_removal(&self) -> bool {
        matches!(self, Self::Delete(_) | Self::Block(_))
    }

    /// Whether it says who may write, or how far what somebody wrote counts.
    #[must_use]
    pub const fn is_about_rights(&self) -> bool {
        matches!(
            self,
            Self::Grant(_)
                | Self::Revoke(_)
                | Self::Cut(_)
                | Self::OpenEpoch(OpenEpoch { closes: Some(_), .. })
        )
    }

    /// Whether it may leave out what was said earlier.
    #[must_use]
    pub const fn leaves_out(&self) -> bool {
        matches!(self, Self::Cut(_) | Self::OpenEpoch(OpenEpoch { closes: Some(_), .. }))
    }

    fn check(&self) -> Result<(), DecodeError> {
        if let Some(coordinate) = self.coordinate() {
            coordinate.check()?;
        }
        match self {
            Self::Publish(body) => {
                body.manifest.check()?;
                named(body.supersedes.len())
            }
            Self::Delete(body) => {
                reason(&body.reason)?;
                named(body.saw.len())
            }
            Self::SetState(SetState {
                offer: Offer::Yanked { reason: text } | Offer::Deprecated { text },
                ..
            })
            | Self::Block(Block { reason: text, .. })
            | Self::Unblock(Unblock { reason: text, .. })
            | Self::Cut(Cut { reason: text, .. }) => reason(text),
            Self::Revoke(body) => {
                reason(&body.reason)?;
                named(body.accepted.len())
            }
            Self::Grant(body) if body.label.len() > LABEL_BYTES_MAX => {
                Err(DecodeError::LongReason { found: body.label.len() })
            }
            Self::Statistics(body) => body.uses.iter().try_for_each(|used| Ok(used.coordinate.check()?)),
            Self::Seal(body) => named(body.frontier.len()),
            Self::OpenEpoch(OpenEpoch { closes: Some(closing), .. }) => named(closing.accepted.len()),
            Self::SetState(_)
            | Self::SetRef(_)
            | Self::Resolve(_)
            | Self::Grant(_)
            | Self::OpenEpoch(_)
            | Self::Unknown { .. } => Ok(()),
        }
    }
}

const fn named(found: usize) -> Result<(), DecodeError> {
    if found > OPS_NAMED_MAX { Err(DecodeError::NamesTooMany { found }) } else { Ok(()) }
}

const fn reason(text: &str) -> Result<(), DecodeError> {
    if text.len() > REASON_BYTES_MAX { Err(DecodeError::LongReason { found: text.len() }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
