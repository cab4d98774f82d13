//! Every tree's name, every key's layout and the codec of every value in the index.
//!
//! Integers in keys are big-endian, so that keys sort as the numbers do. Values are postcard behind
//! one version byte; a value of another version is not understood and makes the index disposable.

use protocol::id::BlobId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::engine::Broken;

/// Version of every value's encoding. A change of any value's shape is a new number, and a rebuild.
const VALUE_VERSION: u8 = 1;

/// The trees of the index. The number is the first byte of each key on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Tree {
    /// What this index is an index of: name → value.
    About = 1,
    /// blob 32 → [`BlobEntry`].
    Blob = 2,
    /// chaining value 32 → [`Location`].
    Extent = 3,
    /// shelf u8, key → [`RecordEntry`]: records that no op tells, kept whole in the packs.
    Record = 4,
}

impl Tree {
    pub(crate) const fn tag(self) -> u8 {
        match self {
            Self::About => 1,
            Self::Blob => 2,
            Self::Extent => 3,
            Self::Record => 4,
        }
    }
}

/// The key in [`Tree::About`] of the generation of the store that this index was built from.
pub(crate) const GENERATION: &[u8] = b"generation";

/// The key in [`Tree::About`] of the number of the newest checkpoint this index has seen.
pub(crate) const CHECKPOINT: &[u8] = b"checkpoint";

/// Where a record lies: its header begins at `offset`, and `bytes` of payload follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Location {
    pub(crate) pack: u32,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
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

pub(crate) fn blob(blob: BlobId) -> Vec<u8> {
    blob.as_bytes().to_vec()
}

pub(crate) fn blob_of(key: &[u8]) -> Result<BlobId, Broken> {
    key.try_into().map(BlobId).map_err(|_length| Broken::new("a blob's key is not 32 bytes"))
}

pub(crate) fn record(shelf: u8, key: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(key.len().saturating_add(1));
    whole.push(shelf);
    whole.extend_from_slice(key);
    whole
}

/// The least key above every key that begins with `key`'s bytes and nothing more: `key` and a zero byte.
pub(crate) fn after(key: &[u8]) -> Vec<u8> {
    let mut next = key.to_vec();
    next.push(0);
    next
}

/// A value as the index keeps it.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![VALUE_VERSION]).expect("values are plain data, which postcard always takes")
}

/// The value behind the index's bytes.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Broken> {
    match bytes.split_first() {
        Some((&VALUE_VERSION, body)) => {
            postcard::from_bytes(body).map_err(|error| Broken::new(format!("a value does not decode: {error}")))
        }
        Some((version, _)) => Err(Broken::new(format!("a value has version {version}, not {VALUE_VERSION}"))),
        None => Err(Broken::new("a value is empty")),
    }
}
