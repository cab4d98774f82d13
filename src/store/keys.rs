//! Every tree's name, every key's layout and the codec of every value in the index.
//!
//! Integers in keys are big-endian, so that keys sort as the numbers do. Values are postcard behind
//! one version byte; a value of another version is not understood and makes the index disposable.

use protocol::feed::Item;
use protocol::id::{BlobId, FeedId, LogId, OpId, SiteId};
use protocol::log::{Mmr, SignedHead};
use protocol::op::Place;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::engine::Broken;
use super::packs::record::span;

/// Version of every value's encoding. A change of any value's shape is a new number, and a rebuild.
const VALUE_VERSION: u8 = 1;

/// The trees of the index. `Tree::tag` is the first byte of each key on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tree {
    /// What this index is an index of: name → value.
    About,
    /// blob 32 → `BlobEntry`.
    Blob,
    /// chaining value 32 → `Location`.
    Extent,
    /// shelf u8, key → `RecordEntry`: records that no op tells, kept whole in the packs.
    Record,
    /// feed 32, author 32, epoch u64 → `LogEntry`: how far a log is held.
    Log,
    /// feed 32, author 32, epoch u64, last seq u64 → `BatchEntry` of the batch that ends there.
    Batch,
    /// op 32 → `OpEntry`.
    Op,
    /// generation u64 of a batch's last op → `Arrival`.
    Arrival,
    /// feed 32, name, 0, version, 0, op 32 → nothing: the ops about a coordinate.
    Fact,
    /// feed 32, package, 0, ref, 0, op 32 → nothing: the ops about a ref.
    Ref,
    /// feed 32, topic u8, op 32 → nothing: the ops about the feed as a whole.
    Said,
    /// blob 32, feed 32, op 32 → nothing: the publishes that name a blob.
    Use,
    /// feed 32, blob 32 → nothing: blobs that publishes name and that were not yet found whole.
    Want,
    /// feed 32, author 32, epoch u64, seq u64 → `Gap`: what stands for ops that were left out and did not come later.
    Gap,
    /// feed 32, name, 0, version → `ViewEntry`: each coordinate of which anything is known.
    View,
    /// pack u32, offset u64, piece u32 → kind u8, blake3 of the payload 32, bytes: a piece of a record's payload that is kept twice. No postcard.
    Spare,
}

impl Tree {
    pub(crate) const fn tag(self) -> u8 {
        match self {
            Self::About => 1,
            Self::Blob => 2,
            Self::Extent => 3,
            Self::Record => 4,
            Self::Log => 5,
            Self::Batch => 6,
            Self::Op => 7,
            Self::Arrival => 8,
            Self::Fact => 9,
            Self::Ref => 10,
            Self::Said => 11,
            Self::Use => 12,
            Self::View => 13,
            Self::Want => 14,
            Self::Gap => 15,
            Self::Spare => 16,
        }
    }
}

/// The key in [`Tree::About`] of the generation of the store that this index was built from. Another name for each set of trees: an index that
/// lacks one is built anew.
pub(crate) const GENERATION: &[u8] = b"generation with spares";

/// The key in [`Tree::About`] of what marks the packs that this index was built from, in whatever life of their store.
pub(crate) const PACKS: &[u8] = b"packs";

/// The key in [`Tree::About`] of the number of the newest checkpoint this index has seen.
pub(crate) const CHECKPOINT: &[u8] = b"checkpoint";

/// The key in [`Tree::About`] of how many bytes of each pack were durable at that checkpoint.
pub(crate) const STOCK: &[u8] = b"stock";

/// The key in [`Tree::About`] of a pack and an offset up to which everything was durable in the packs when this index took it in. What is
/// of before is in this index.
pub(crate) const REACH: &[u8] = b"reach";

/// The key in [`Tree::About`] of what a start found gone from the packs, and of the place from which the index was filled then, as long as nobody
/// looked after that: the first thing that is written after a loss hides how long a pack was.
pub(crate) const LOSSES: &[u8] = b"losses";

/// The key in [`Tree::About`] of an index that was built from packs of which some records could not be read.
pub(crate) const OVER_DAMAGE: &[u8] = b"over damage";

/// Where a record lies: its header begins at `offset`, and `bytes` of payload follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Location {
    pub(crate) pack: u32,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

impl Location {
    /// Where the next record begins, unless it is in another pack.
    pub(crate) fn end(self) -> u64 {
        self.offset.saturating_add(span(self.bytes))
    }
}

/// Where the bytes of an entry of [`Tree::Blob`] or [`Tree::Extent`] lie: those of its one record, or of its outline.
pub(crate) fn location(tree: Tree, value: &[u8]) -> Result<Option<Location>, Broken> {
    Ok(match tree {
        Tree::Extent => Some(decode(value)?),
        Tree::Blob => Some(match decode(value)? {
            BlobEntry::Small { at } => at,
            BlobEntry::Large { outline, .. } => outline,
        }),
        Tree::About
        | Tree::Record
        | Tree::Log
        | Tree::Batch
        | Tree::Op
        | Tree::Arrival
        | Tree::Fact
        | Tree::Ref
        | Tree::Said
        | Tree::Use
        | Tree::View
        | Tree::Want
        | Tree::Gap
        | Tree::Spare => None,
    })
}

/// What the index knows of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BlobEntry {
    /// The bytes are the payload of one record.
    Small { at: Location },
    /// The bytes are extents named by an outline. `complete` is set only once all are durable.
    Large { size: u64, outline: Location, complete: bool },
}

/// A record's value: in the index when it is small, in the packs always.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RecordEntry {
    Inline(Vec<u8>),
    At(Location),
}

/// How far a log is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogEntry {
    /// The newest head; none when the log's first batch is damaged.
    pub(crate) head: Option<SignedHead>,
    pub(crate) after: Mmr,
    /// Ops that were ever held. More than are held means that batches are damaged.
    pub(crate) longest: u64,
}

/// A batch of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BatchEntry {
    /// The position of its first entry.
    pub(crate) first: u64,
    pub(crate) at: Location,
}

/// Where an op's statement lies: `bytes` from `start` in the payload of the batch at `batch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OpEntry {
    pub(crate) place: Place,
    pub(crate) batch: Location,
    pub(crate) start: u64,
    pub(crate) bytes: u64,
}

/// A batch in the order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Arrival {
    pub(crate) log: LogId,
    /// The position of its first entry.
    pub(crate) first: u64,
    /// It is not a batch but one op that came for a gap.
    pub(crate) late: bool,
}

/// What stands at a coordinate, as far as it was worked out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ViewEntry {
    /// Ops have arrived since.
    Stale,
    /// Worked out under the rules and the seals that these are digests of.
    Known { rules: [u8; 16], seals: [u8; 16], item: Box<Item> },
}

pub(crate) fn log(log: LogId) -> Vec<u8> {
    let mut key = Vec::with_capacity(80);
    key.extend_from_slice(log.feed.as_bytes());
    key.extend_from_slice(log.author.as_bytes());
    key.extend_from_slice(&log.epoch.to_be_bytes());
    key
}

/// The log in a key of [`Tree::Batch`].
pub(crate) fn log_of(key: &[u8]) -> Result<LogId, Broken> {
    let parts = key.split_first_chunk::<32>().and_then(|(feed, rest)| {
        let (author, rest) = rest.split_first_chunk::<32>()?;
        let (epoch, _seq) = rest.split_first_chunk::<8>()?;
        Some(LogId { feed: FeedId(*feed), author: SiteId(*author), epoch: u64::from_be_bytes(*epoch) })
    });
    parts.ok_or_else(|| Broken::new("a batch's key has no log"))
}

pub(crate) fn batch(of: LogId, seq: u64) -> Vec<u8> {
    joined(&[&log(of), &seq.to_be_bytes()])
}

/// The coordinate's key in [`Tree::View`]. No name or version holds a zero byte.
pub(crate) fn view(feed: FeedId, name: &str, version: &str) -> Vec<u8> {
    joined(&[feed.as_bytes(), name.as_bytes(), &[0], version.as_bytes()])
}

/// Name and version in a key of [`Tree::View`].
pub(crate) fn view_of(key: &[u8]) -> Result<(String, String), Broken> {
    let names = key.get(32..).and_then(|names| std::str::from_utf8(names).ok());
    let parts = names.and_then(|names| names.split_once('\0'));
    let (name, version) = parts.ok_or_else(|| Broken::new("a coordinate's key has no name and version"))?;
    Ok((name.to_owned(), version.to_owned()))
}

/// What all facts about a coordinate begin with.
pub(crate) fn facts(feed: FeedId, name: &str, version: &str) -> Vec<u8> {
    joined(&[&view(feed, name, version), &[0]])
}

/// What all ops about refs of a package begin with.
pub(crate) fn refs(feed: FeedId, package: &str) -> Vec<u8> {
    joined(&[feed.as_bytes(), package.as_bytes(), &[0]])
}

pub(crate) fn said(feed: FeedId, topic: u8) -> Vec<u8> {
    joined(&[feed.as_bytes(), &[topic]])
}

pub(crate) fn used(blob: BlobId, feed: FeedId, op: OpId) -> Vec<u8> {
    joined(&[blob.as_bytes(), feed.as_bytes(), op.as_bytes()])
}

/// What all uses of a blob in a feed begin with.
pub(crate) fn used_in(blob: BlobId, feed: FeedId) -> Vec<u8> {
    joined(&[blob.as_bytes(), feed.as_bytes()])
}

pub(crate) fn want(feed: FeedId, blob: BlobId) -> Vec<u8> {
    joined(&[feed.as_bytes(), blob.as_bytes()])
}

/// The blob in a key of [`Tree::Want`].
pub(crate) fn blob_of_want(key: &[u8]) -> Result<BlobId, Broken> {
    let blob = key.last_chunk::<32>().copied().map(BlobId);
    blob.ok_or_else(|| Broken::new("a want's key does not end with a blob"))
}

/// The op that a key ends with.
pub(crate) fn op_of(key: &[u8]) -> Result<OpId, Broken> {
    key.last_chunk::<32>().copied().map(OpId).ok_or_else(|| Broken::new("a key does not end with an op"))
}

/// The feed in a key of [`Tree::Use`].
pub(crate) fn feed_of_use(key: &[u8]) -> Result<FeedId, Broken> {
    let feed = key.get(32..64).and_then(|feed| feed.try_into().ok());
    feed.map(FeedId).ok_or_else(|| Broken::new("a use's key has no feed"))
}

pub(crate) fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

pub(crate) fn blob(blob: BlobId) -> Vec<u8> {
    blob.as_bytes().to_vec()
}

pub(crate) fn blob_of(key: &[u8]) -> Result<BlobId, Broken> {
    key.try_into().map(BlobId).map_err(|_length| Broken::new("a blob's key is not 32 bytes"))
}

pub(crate) fn record(shelf: u8, key: &[u8]) -> Vec<u8> {
    joined(&[&[shelf], key])
}

/// The least key above every key that begins with `key`'s bytes and nothing more: `key` and a zero byte.
pub(crate) fn after(key: &[u8]) -> Vec<u8> {
    joined(&[key, &[0]])
}

/// A value as the index keeps it.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![VALUE_VERSION])
        .expect("values are plain data, which postcard always takes")
}

/// The value behind the index's bytes.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Broken> {
    match bytes.split_first() {
        Some((&VALUE_VERSION, body)) => postcard::from_bytes(body)
            .map_err(|error| Broken::new(format!("a value does not decode: {error}"))),
        Some((version, _)) => Err(Broken::new(format!("a value has version {version}, not {VALUE_VERSION}"))),
        None => Err(Broken::new("a value is empty")),
    }
}
