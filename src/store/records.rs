//! Small durable records that no op tells: local names, links, runs, cursors, tokens. The latest value of a key holds.
//!
//! Each write is a record in the packs, so losing the index loses none of them.

mod mend;

use serde::{Deserialize, Serialize};

use super::engine::{Broken, Index};
use super::keys::{self, Location, RecordEntry, Tree};
use super::packs::record::{Draft, Kind};
use super::replay::Changes;
use super::{ReadError, Store, WriteError, locked};

/// Bytes of a value that the index holds itself; a larger one is read from its pack.
const INLINE_BYTES_MAX: usize = 2048;

/// Bytes of one record's value. The memory of a peer with ten thousand logs is about a quarter of it.
pub const RECORD_BYTES_MAX: usize = 8 << 20;

/// Records written with one sync.
const RECORDS_AT_ONCE: usize = 256;

/// What a record is about. The number is on disk and never given to another shelf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shelf {
    /// feed 32 → the feed's genesis, local name and options.
    Feeds,
    /// name → the link as configured.
    Links,
    /// run 8 → what a run did.
    Runs,
    /// peer 32, link name → how far the peer's store was followed.
    Cursors,
    /// token id → a token's hash and what it allows.
    Tokens,
    /// ticket name → what a pairing ticket offers, and who used it.
    Tickets,
    /// Free key → what a person set at this site.
    Settings,
    /// link name → what its other end last said.
    Peers,
    /// number 8 → an event that somebody should hear of.
    Events,
    /// feed 32, name, zero byte, version → the publishes of it that are evicted here.
    Evictions,
    /// feed 32, hold 8 → deletes that wait for a person.
    Holds,
    /// feed 32, op 32 → a grant or revoke with its proof, of a feed whose ops do not flow here.
    Rights,
    /// feed 32, publish 32, site 32 → what became of it there.
    Fates,
    /// feed 32 → the feed that its contents are brought into.
    Merges,
    /// feed 32, link name → what the link took away of the feed lately.
    Brakes,
    /// webhook id → where events go, and which.
    Webhooks,
    /// webhook id → how far its deliveries are.
    Deliveries,
    /// site 32 → a key that is let in no more, and why.
    RevokedKeys,
    /// feed 32, author 32, epoch 8 → the proof that the log has two histories.
    Forks,
    /// feed 32 → the epoch in which this site writes there; `awakening` → when the store must learn how far its key has signed.
    Writing,
    /// pack 4, offset 8 → bytes there that are not what was written.
    Damage,
    /// blob 32 → where the bytes of it lay that were lost to damage.
    Lost,
    /// blob 32 → since when nothing here needs it.
    Trash,
    /// feed 32 → bytes of it that are kept at most.
    Quotas,
    /// site 32 → its keys, and what it knows of this site's.
    KeysOf,
    /// pack 4 → it was removed because nothing in it was needed any more: one that is gone and not here was lost.
    Reclaimed,
    /// pack 4, offset 8 → bytes that were lost with their pack: a backup may have it still.
    LostPacks,
    /// feed 32, author 32, epoch 8 → a log that this site wrote for itself alone.
    Overlays,
    /// record 32 of a batch → the log, of another history of which it is than what came in its place.
    Strays,
}

impl Shelf {
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Feeds => 1,
            Self::Links => 2,
            Self::Runs => 3,
            Self::Cursors => 4,
            Self::Tokens => 5,
            Self::Settings => 6,
            Self::Tickets => 7,
            Self::Peers => 20,
            Self::Events => 21,
            Self::Evictions => 11,
            Self::Holds => 10,
            Self::Rights => 12,
            Self::Fates => 13,
            Self::Merges => 30,
            Self::Brakes => 31,
            Self::Webhooks => 39,
            Self::Deliveries => 40,
            Self::RevokedKeys => 41,
            Self::Forks => 32,
            Self::Writing => 33,
            Self::Damage => 35,
            Self::Lost => 36,
            Self::Trash => 37,
            Self::Quotas => 38,
            Self::KeysOf => 43,
            Self::Strays => 44,
            Self::Reclaimed => 45,
            Self::LostPacks => 46,
            Self::Overlays => 47,
        }
    }
}

/// A record's payload.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    shelf: u8,
    key: Vec<u8>,
    /// `None`: the key is removed.
    value: Option<Vec<u8>>,
}

/// What a record means for the index.
pub(super) fn replay(changes: &mut Changes, at: Location, payload: &[u8]) {
    let Ok(Written { shelf, key, value }) = keys::decode(payload) else { return };
    let key = keys::record(shelf, &key);
    match value {
        None => changes.remove(Tree::Record, key),
        Some(value) if value.len() <= INLINE_BYTES_MAX => {
            changes.set(Tree::Record, key, keys::encode(&RecordEntry::Inline(value)));
        }
        Some(_) => changes.set(Tree::Record, key, keys::encode(&RecordEntry::At(at))),
    }
}

/// Whether the index keeps a record a second time: where its value is too large to lie there anyway, and is not of what is asked for anew when it is
/// gone and written with each run.
pub(super) fn is_kept_twice(payload: &[u8]) -> bool {
    payload.len() > INLINE_BYTES_MAX
        && keys::decode::<Written>(payload).is_ok_and(|written| written.shelf != Shelf::Cursors.code())
}

/// Whether a record's payload says what holds for its key: its value, or that there is none.
pub(super) fn holds(index: &dyn Index, at: Location, payload: &[u8]) -> Result<bool, Broken> {
    let Ok(Written { shelf, key, value }) = keys::decode(payload) else { return Ok(false) };
    let now = index.value(Tree::Record, &keys::record(shelf, &key))?;
    let now = now.map(|now| keys::decode::<RecordEntry>(&now)).transpose()?;
    Ok(match (now, value) {
        (None, None) => true,
        (Some(RecordEntry::Inline(now)), Some(value)) => now == value,
        (Some(RecordEntry::At(now)), Some(_)) => now == at,
        (Some(_), None) | (None, Some(_)) => false,
    })
}

impl Store {
    /// Writes a value. Durable when this returns.
    ///
    /// # Errors
    /// When the disk is full or fails; the old value then holds.
    pub fn put_record(&self, shelf: Shelf, key: &[u8], value: &[u8]) -> Result<(), WriteError> {
        if value.len() > RECORD_BYTES_MAX {
            let bytes = u64::try_from(value.len()).unwrap_or(u64::MAX);
            return Err(WriteError::TooLarge { bytes, limit_bytes: RECORD_BYTES_MAX as u64 });
        }
        self.write_record(shelf, key, Some(value.to_vec()))
    }

    /// Removes a key, whether it is there or not. Durable when this returns.
    ///
    /// # Errors
    /// When the disk is full or fails; the old value then holds.
    pub fn remove_record(&self, shelf: Shelf, key: &[u8]) -> Result<(), WriteError> {
        if self.with_index(|index| index.value(Tree::Record, &keys::record(shelf.code(), key)))?.is_none() {
            return Ok(());
        }
        self.write_record(shelf, key, None)
    }

    fn write_record(&self, shelf: Shelf, key: &[u8], value: Option<Vec<u8>>) -> Result<(), WriteError> {
        let payload = keys::encode(&Written { shelf: shelf.code(), key: key.to_vec(), value });
        // One at a time, so that the index sees two values of a key in the order of the packs.
        let _order = locked(&self.inner.records);
        self.commit_durable(&[Draft::hashed(Kind::Meta, &payload)])
    }

    /// Writes values and removes keys, many with one sync. Durable when this returns.
    pub(super) fn write_records(
        &self,
        shelf: Shelf,
        records: impl IntoIterator<Item = (Vec<u8>, Option<Vec<u8>>)>,
    ) -> Result<(), WriteError> {
        let shelf = shelf.code();
        let _order = locked(&self.inner.records);
        self.write_in_order(records.into_iter().map(|(key, value)| Written { shelf, key, value }))
    }

    /// Only while nobody else writes records.
    fn write_in_order(&self, records: impl Iterator<Item = Written>) -> Result<(), WriteError> {
        let payloads: Vec<_> = records.map(|record| keys::encode(&record)).collect();
        for some in payloads.chunks(RECORDS_AT_ONCE) {
            let drafts: Vec<_> = some.iter().map(|payload| Draft::hashed(Kind::Meta, payload)).collect();
            self.commit_durable(&drafts)?;
        }
        Ok(())
    }

    /// The value of a key.
    ///
    /// # Errors
    /// When the disk fails, or the value's bytes are damaged.
    pub fn record(&self, shelf: Shelf, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        Self::steadily(|| self.record_once(shelf, key))
    }

    fn record_once(&self, shelf: Shelf, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let key = keys::record(shelf.code(), key);
        let entry = self.with_index(|index| {
            index.value(Tree::Record, &key)?.map(|value| keys::decode::<RecordEntry>(&value)).transpose()
        })?;
        entry.map(|entry| self.record_value(entry)).transpose()
    }

    /// At most `limit` records whose key begins with `prefix` and is not below `from`, in order of key.
    ///
    /// # Errors
    /// When the disk fails, or a value's bytes are damaged.
    pub fn records(
        &self,
        shelf: Shelf,
        prefix: &[u8],
        from: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, ReadError> {
        Self::steadily(|| self.records_once(shelf, prefix, from, limit))
    }

    fn records_once(
        &self,
        shelf: Shelf,
        prefix: &[u8],
        from: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, ReadError> {
        let (prefix, from) = (keys::record(shelf.code(), prefix), keys::record(shelf.code(), from));
        let page = self.with_index(|index| {
            let page = index.page(Tree::Record, &prefix, &from, limit)?;
            let entry = |(key, value): (Vec<u8>, Vec<u8>)| Ok((key, keys::decode::<RecordEntry>(&value)?));
            page.into_iter().map(entry).collect::<Result<Vec<_>, _>>()
        })?;
        let value = |(key, entry): (Vec<u8>, RecordEntry)| {
            Ok((key.get(1..).unwrap_or_default().to_vec(), self.record_value(entry)?))
        };
        page.into_iter().map(value).collect()
    }

    /// The last key of a shelf.
    pub(super) fn last_record_key(&self, shelf: Shelf) -> Result<Option<Vec<u8>>, ReadError> {
        let last = self.with_index(|index| index.last(Tree::Record, &[shelf.code()]))?;
        Ok(last.map(|(key, _)| key.get(1..).unwrap_or_default().to_vec()))
    }

    fn record_value(&self, entry: RecordEntry) -> Result<Vec<u8>, ReadError> {
        let at = match entry {
            RecordEntry::Inline(value) => return Ok(value),
            RecordEntry::At(at) => at,
        };
        let payload = self.read_location(at)?;
        let written = payload.and_then(|payload| keys::decode::<Written>(&payload).ok());
        written.and_then(|written| written.value).ok_or_else(|| {
            self.suspect(at);
            ReadError::CorruptRecord { folder: self.folder(), pack: at.pack, offset: at.offset }
        })
    }
}
