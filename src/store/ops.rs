//! The signed logs: batches of ops with the head each ends at, in the order in which they arrived.
//!
//! A batch is one record, so ops and head are there together or not at all. It is indexed only once
//! it is durable: whoever reads an op may pass it on.

#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;
use std::sync::PoisonError;

use protocol::grant::Permitted;
use protocol::id::{FeedId, LogId, OpId};
use protocol::limits::OP_BYTES_MAX;
use protocol::log::{Batch, Entry, Mmr, NamedOp, SignedHead, Verified};
use protocol::op::{Block, Blocked, Body, Op, OpenEpoch, Place};
use serde::{Deserialize, Serialize};

use super::gaps;
use super::keys::{self, Arrival, BatchEntry, Location, LogEntry, OpEntry, Tree, ViewEntry};
use super::packs::record::{Draft, Kind};
use super::replay::Changes;
use super::{ReadError, Store, SweepError, WriteError, locked};

/// Version of a batch's layout in its record.
const LAYOUT: u8 = 1;

/// Why a batch was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The log has grown since the batch was verified, or was never as long: verify again against what is held.
    #[error("the log of {} in feed {} holds {held} ops, and the batch begins at {first}", .log.author, .log.feed)]
    Moved { log: LogId, held: u64, first: u64 },
    /// The disk could not take it.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// What is held could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<SweepError> for AppendError {
    fn from(error: SweepError) -> Self {
        match error {
            SweepError::Write(error) => Self::Write(error),
            SweepError::Read(error) => Self::Read(error),
        }
    }
}

/// How far a log is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogState {
    /// The newest head.
    pub head: SignedHead,
    /// What the next batch is verified against.
    pub after: Mmr,
}

/// What ops that are about a feed as a whole are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Grants, revokes and cuts.
    Rights,
    /// Seals.
    Seals,
    /// Blocks of blobs, and all unblocks.
    Blocks,
    /// Downloads.
    Statistics,
    /// Openings of later epochs.
    Epochs,
    /// Ops of kinds this program does not know.
    Unknown,
}

impl Topic {
    const fn code(self) -> u8 {
        match self {
            Self::Rights => 1,
            Self::Seals => 2,
            Self::Blocks => 3,
            Self::Statistics => 4,
            Self::Epochs => 5,
            Self::Unknown => 6,
        }
    }
}

/// What precedes the statements in a batch's record.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Prelude {
    /// The generation of the first op; the others follow one by one.
    pub(super) generation: u64,
    pub(super) first: u64,
    head: SignedHead,
    after: Mmr,
    marks: Vec<Mark>,
}

/// One entry: an op with its statement's length, or what stands for ops left out.
#[derive(Debug, Serialize, Deserialize)]
enum Mark {
    Op { id: OpId, bytes: u32 },
    Skip { height: u8, hash: [u8; 32] },
}

/// A batch's record, taken apart.
pub(super) struct Parts<'a> {
    pub(super) prelude: Prelude,
    /// For each op: its name, its position, where its statement starts in the payload, the statement.
    pub(super) ops: Vec<(OpId, u64, u64, &'a [u8])>,
}

fn encode(verified: &Verified, generation: u64) -> Vec<u8> {
    let batch = verified.to_batch();
    let mut ids = verified.ops().iter().map(|named| named.id);
    let mark = |entry: &Entry| match entry {
        Entry::Op(statement) => Mark::Op {
            id: ids.next().unwrap_or(OpId([0; 32])),
            bytes: u32::try_from(statement.len()).unwrap_or(u32::MAX),
        },
        Entry::Skip { height, hash } => Mark::Skip { height: *height, hash: *hash },
    };
    let marks = batch.entries.iter().map(mark).collect();
    let (head, after) = (batch.head, verified.after().clone());
    let prelude = keys::encode(&Prelude { generation, first: batch.first, head, after, marks });
    let mut payload = vec![LAYOUT];
    payload.extend_from_slice(&u32::try_from(prelude.len()).unwrap_or(u32::MAX).to_le_bytes());
    payload.extend_from_slice(&prelude);
    for named in verified.ops() {
        payload.extend_from_slice(&named.statement);
    }
    payload
}

pub(super) fn take_apart(payload: &[u8]) -> Option<Parts<'_>> {
    let rest = payload.strip_prefix(&[LAYOUT])?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (prelude, mut rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    let prelude: Prelude = keys::decode(prelude).ok()?;
    let mut start = u64::try_from(payload.len().checked_sub(rest.len())?).ok()?;
    let mut seq = prelude.first;
    let mut ops = Vec::with_capacity(prelude.marks.len());
    for mark in &prelude.marks {
        match mark {
            Mark::Op { id, bytes } => {
                let (statement, behind) = rest.split_at_checked(usize::try_from(*bytes).ok()?)?;
                ops.push((*id, seq, start, statement));
                rest = behind;
                start = start.checked_add(u64::from(*bytes))?;
                seq = seq.checked_add(1)?;
            }
            Mark::Skip { height, .. } => seq = seq.checked_add(1_u64.checked_shl(u32::from(*height))?)?,
        }
    }
    rest.is_empty().then_some(Parts { prelude, ops })
}

impl Parts<'_> {
    pub(super) const fn head(&self) -> &SignedHead {
        &self.prelude.head
    }

    /// The head and the log at the batch's end.
    pub(super) fn end(self) -> (Option<SignedHead>, Mmr) {
        (Some(self.prelude.head), self.prelude.after)
    }

    pub(super) fn batch(&self) -> Batch {
        let mut statements = self.ops.iter().map(|(_, _, _, statement)| statement.to_vec());
        let entry = |mark: &Mark| match mark {
            Mark::Op { .. } => Entry::Op(statements.next().unwrap_or_default()),
            Mark::Skip { height, hash } => Entry::Skip { height: *height, hash: *hash },
        };
        let entries = self.prelude.marks.iter().map(entry).collect();
        Batch { first: self.prelude.first, entries, head: self.prelude.head.clone() }
    }
}

fn part_of(payload: &[u8], start: u64, bytes: u64) -> Option<Vec<u8>> {
    let (start, end) = (usize::try_from(start).ok()?, usize::try_from(start.checked_add(bytes)?).ok()?);
    payload.get(start..end).map(<[u8]>::to_vec)
}

/// The generation of the last op of a batch, under which its arrival is kept. One of which all was left out takes a generation too.
pub(super) fn newest(first: u64, ops: usize) -> u64 {
    first.saturating_add(u64::try_from(ops).unwrap_or(u64::MAX).saturating_sub(1))
}

/// What a batch means for the index.
pub(super) fn replay(changes: &mut Changes, at: Location, payload: &[u8]) {
    if gaps::is_filling(payload) {
        return gaps::replay(changes, at, payload);
    }
    let Some(parts) = take_apart(payload) else { return };
    let Prelude { generation, first, head, after, .. } = &parts.prelude;
    let log = head.head.log;
    let entry = LogEntry { head: Some(head.clone()), after: after.clone(), longest: head.head.len };
    changes.raise(keys::log(log), &entry);
    let last = head.head.len.saturating_sub(1);
    changes.cover(keys::batch(log, last), BatchEntry { first: *first, at });
    let newest = newest(*generation, parts.ops.len());
    let arrival = Arrival { log, first: *first, late: false };
    changes.set(Tree::Arrival, newest.to_be_bytes().to_vec(), keys::encode(&arrival));
    let mut seq = *first;
    for mark in &parts.prelude.marks {
        seq = seq.saturating_add(match mark {
            Mark::Op { .. } => 1,
            Mark::Skip { height, hash } => {
                let gap = gaps::Gap { height: *height, hash: *hash };
                changes.set(Tree::Gap, keys::batch(log, seq), keys::encode(&gap));
                1_u64.checked_shl(u32::from(*height)).unwrap_or(u64::MAX)
            }
        });
    }
    for (id, seq, start, statement) in parts.ops {
        let place = Place { log, seq };
        let bytes = u64::try_from(statement.len()).unwrap_or(u64::MAX);
        let entry = OpEntry { place, batch: at, start, bytes };
        changes.set(Tree::Op, id.0.to_vec(), keys::encode(&entry));
        if let Ok(op) = Op::decode_statement(place, statement) {
            note_body(changes, log.feed, id, &op.body);
        }
    }
}

pub(super) fn note_body(changes: &mut Changes, feed: FeedId, id: OpId, body: &Body) {
    if let Some(coordinate) = body.coordinate() {
        let (name, version) = (&coordinate.name, &coordinate.version);
        let fact = keys::joined(&[&keys::facts(feed, name, version), &id.0]);
        changes.set(Tree::Fact, fact, Vec::new());
        changes.set(Tree::View, keys::view(feed, name, version), keys::encode(&ViewEntry::Stale));
    }
    let topic = match body {
        Body::Publish(publish) => {
            for file in &publish.manifest.files {
                changes.set(Tree::Use, keys::used(file.blob, feed, id), Vec::new());
                changes.set(Tree::Want, keys::want(feed, file.blob), Vec::new());
            }
            None
        }
        Body::SetRef(set) => {
            let key = keys::joined(&[&keys::refs(feed, &set.package), set.name.as_bytes(), &[0], &id.0]);
            changes.set(Tree::Ref, key, Vec::new());
            None
        }
        Body::Delete(_) | Body::SetState(_) | Body::Resolve(_) => None,
        Body::Block(Block { target: Blocked::Coordinate(_), .. }) => None,
        Body::Block(Block { target: Blocked::Blob(_), .. }) | Body::Unblock(_) => Some(Topic::Blocks),
        Body::Grant(_) | Body::Revoke(_) | Body::Cut(_) => Some(Topic::Rights),
        Body::OpenEpoch(OpenEpoch { closes: Some(_), .. }) => Some(Topic::Rights),
        Body::Seal(_) => Some(Topic::Seals),
        Body::Statistics(_) => Some(Topic::Statistics),
        Body::OpenEpoch(_) => Some(Topic::Epochs),
        Body::Unknown { .. } => Some(Topic::Unknown),
    };
    if let Some(topic) = topic {
        let key = keys::joined(&[&keys::said(feed, topic.code()), &id.0]);
        changes.set(Tree::Said, key, Vec::new());
    }
}

impl Store {
    /// Appends batches, all with one sync. They are durable, and only then seen, when this returns. A batch that adds nothing is passed over.
    ///
    /// # Errors
    /// [`AppendError::Moved`] when one of them does not follow what is held; nothing is then appended.
    pub fn append(&self, batches: &[Permitted<Verified>]) -> Result<u64, AppendError> {
        let mut newest = locked(&self.inner.generation);
        let mut generation = match *newest {
            Some(generation) => generation,
            None => self.newest_generation()?,
        };
        let mut ends: BTreeMap<LogId, Mmr> = BTreeMap::new();
        let mut payloads = Vec::with_capacity(batches.len());
        for verified in batches.iter().map(Permitted::inner) {
            let (log, first) = (verified.log(), verified.first());
            let before = match ends.remove(&log) {
                Some(end) => end,
                None => self.log_state(log)?.map_or_else(Mmr::default, |state| state.after),
            };
            let held = before.len();
            if first != held {
                return Err(AppendError::Moved { log, held, first });
            }
            ends.insert(log, verified.after().clone());
            if verified.after().len() == held {
                continue;
            }
            self.strike_strays(verified, &before)?;
            payloads.push(encode(verified, generation.saturating_add(1)));
            // A batch of nothing but skipped ops takes a generation as well, or nobody would hear of it.
            let count = u64::try_from(verified.ops().len()).unwrap_or(u64::MAX).max(1);
            generation = generation.saturating_add(count);
        }
        if payloads.is_empty() {
            return Ok(generation);
        }
        self.leave_trash(batches.iter().flat_map(|batch| batch.inner().ops()))?;
        let draft =
            |payload| Draft { kind: Kind::Ops, aux: 0, id: *blake3::hash(payload).as_bytes(), payload };
        let drafts: Vec<_> = payloads.iter().map(|payload| draft(payload.as_slice())).collect();
        // A failure may come after the bytes were durable: the generation is then read again.
        *newest = None;
        self.commit_ops(&drafts)?;
        *newest = Some(generation);
        for verified in batches.iter().map(Permitted::inner) {
            self.enter(verified.log().feed, verified.ops());
            self.count(verified.log().feed, verified.ops());
            self.reconnect(verified.log())?;
        }
        Ok(generation)
    }

    pub(super) fn commit_ops(&self, drafts: &[Draft<'_>]) -> Result<(), WriteError> {
        {
            let _settled = self.inner.settled.read().unwrap_or_else(PoisonError::into_inner);
            let appended = self.inner.packs.append(drafts)?;
            self.wait(appended.ticket)?;
            let _folding = self.inner.folding.write().unwrap_or_else(PoisonError::into_inner);
            self.note_durable(drafts, &appended.locations)?;
        }
        self.checkpoint_if_due();
        Ok(())
    }

    /// How far a log is held.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn log_state(&self, log: LogId) -> Result<Option<LogState>, ReadError> {
        let entry = self.log_entry(log)?;
        Ok(entry.and_then(|LogEntry { head, after, .. }| Some(LogState { head: head?, after })))
    }

    /// How many ops of a log were ever held. An author whose own log is shorter than that must learn it back before it signs.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn log_longest(&self, log: LogId) -> Result<u64, ReadError> {
        Ok(self.log_entry(log)?.map_or(0, |entry| entry.longest))
    }

    pub(super) fn log_entry(&self, log: LogId) -> Result<Option<LogEntry>, ReadError> {
        let key = keys::log(log);
        Ok(self.with_index(|index| {
            index.value(Tree::Log, &key)?.map(|value| keys::decode(&value)).transpose()
        })?)
    }

    /// The newest head of each log of a feed.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn heads(&self, feed: FeedId) -> Result<Vec<SignedHead>, ReadError> {
        self.heads_under(feed.as_bytes())
    }

    /// The newest head of each log, also of feeds that nobody made known here.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn all_heads(&self) -> Result<Vec<SignedHead>, ReadError> {
        self.heads_under(&[])
    }

    fn heads_under(&self, prefix: &[u8]) -> Result<Vec<SignedHead>, ReadError> {
        let logs = self.walk(Tree::Log, prefix, |_, value| Ok(keys::decode::<LogEntry>(value)?.head));
        logs.filter_map(Result::transpose).collect()
    }

    /// A log's batches from position `from` on, at least one if there is one, and further ones while their statements stay within
    /// `bytes_max` in all. Each ends at a head that its author signed; the first may begin before `from` where ops were left out.
    ///
    /// # Errors
    /// [`ReadError::CorruptRecord`] when a batch is damaged.
    pub fn batches(&self, log: LogId, from: u64, bytes_max: u64) -> Result<Vec<Batch>, ReadError> {
        Self::steadily(|| self.batches_once(log, from, bytes_max))
    }

    fn batches_once(&self, log: LogId, from: u64, bytes_max: u64) -> Result<Vec<Batch>, ReadError> {
        let mut batches: Vec<Batch> = Vec::new();
        let mut bytes: u64 = 0;
        let mut next = from;
        let held = self.log_state(log)?.map_or(0, |state| state.after.len());
        while next < held {
            let batch = match self.batch_at(log, next)? {
                Ok((batch, size)) => {
                    bytes = bytes.saturating_add(size);
                    batch
                }
                Err(at) => {
                    self.suspect(at);
                    let (pack, offset) = (at.pack, at.offset);
                    return Err(ReadError::CorruptRecord { folder: self.folder(), pack, offset });
                }
            };
            if !batches.is_empty() && bytes > bytes_max {
                break;
            }
            // After damage was mended, batches overlap.
            let begun = std::mem::replace(&mut next, batch.head.head.len);
            batches.extend(batch.beyond(begun));
        }
        Ok(batches)
    }

    /// A batch that holds position `seq` and its size, or where the damaged one lies. After damage was mended, batches overlap.
    pub(super) fn batch_at(&self, log: LogId, seq: u64) -> Result<Result<(Batch, u64), Location>, ReadError> {
        let mut damaged = Location { pack: 0, offset: 0, bytes: 0 };
        for batch in self.batches_reaching(log, seq) {
            let (_, BatchEntry { first, at }) = batch?;
            if first > seq {
                continue;
            }
            let payload = self.read_location(at)?;
            if let Some(parts) = payload.as_deref().and_then(take_apart) {
                let mut batch = parts.batch();
                self.put_in_place(&mut batch);
                return Ok(Ok((batch, at.bytes)));
            }
            damaged = at;
        }
        Ok(Err(damaged))
    }

    /// The log as it was when the batch that ends at `len` was appended; none when none ends there or it is damaged.
    pub(super) fn after_batch(&self, log: LogId, len: u64) -> Result<Option<Mmr>, ReadError> {
        let Some(last) = len.checked_sub(1) else { return Ok(Some(Mmr::default())) };
        let key = keys::batch(log, last);
        let entry = self.with_index(|index| {
            index.value(Tree::Batch, &key)?.map(|value| keys::decode::<BatchEntry>(&value)).transpose()
        })?;
        let payload = entry.map(|entry| self.read_location(entry.at)).transpose()?.flatten();
        Ok(payload.as_deref().and_then(take_apart).map(|parts| parts.prelude.after))
    }

    /// Whether the record at `at` is a batch of the op's log that reaches the op.
    pub(super) fn lies_in_batch(&self, place: Place, at: Location) -> Result<bool, ReadError> {
        for batch in self.batches_reaching(place.log, place.seq) {
            if batch?.1.at == at {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// One op by its name.
    ///
    /// # Errors
    /// [`ReadError::CorruptRecord`] when its bytes are damaged.
    pub fn op(&self, id: OpId) -> Result<Option<NamedOp>, ReadError> {
        Self::steadily(|| self.op_once(id))
    }

    fn op_once(&self, id: OpId) -> Result<Option<NamedOp>, ReadError> {
        let entry = self.with_index(|index| {
            index.value(Tree::Op, &id.0)?.map(|value| keys::decode::<OpEntry>(&value)).transpose()
        })?;
        let Some(OpEntry { place, batch, start, bytes }) = entry else { return Ok(None) };
        let mut statement = None;
        if bytes <= OP_BYTES_MAX as u64 {
            let is_it = |statement: &Vec<u8>| Op::id_of(place, statement) == id;
            let part = self.inner.packs.read_part(batch, start, bytes);
            statement = part.map_err(|error| self.unreadable(error))?.filter(is_it);
            if statement.is_none() {
                statement =
                    self.spare(batch)?.and_then(|payload| part_of(&payload, start, bytes)).filter(is_it);
                if statement.is_some() {
                    self.suspect(batch);
                }
            }
        }
        let named = statement.and_then(|statement| {
            let op = Op::decode_known(place, &statement).ok()?;
            Some(NamedOp { id, op, statement })
        });
        let corrupt =
            || ReadError::CorruptRecord { folder: self.folder(), pack: batch.pack, offset: batch.offset };
        let Some(named) = named else {
            // Behind the end of a log that damage set back it is not here, until a sync has brought it again.
            let held = self.log_state(place.log)?.map_or(0, |state| state.after.len());
            if place.seq >= held {
                return Ok(None);
            }
            self.suspect(batch);
            return Err(corrupt());
        };
        Ok(Some(named))
    }

    /// The ops of a feed as a whole, by topic, in order of their names.
    ///
    /// # Errors
    /// When the disk fails, or the bytes of one are damaged.
    pub fn ops_about(&self, feed: FeedId, topic: Topic) -> Result<Vec<NamedOp>, ReadError> {
        self.ops_under(Tree::Said, &keys::said(feed, topic.code()))
    }

    /// The ops about all refs (tags, dist-tags) of a package.
    ///
    /// # Errors
    /// When the disk fails, or the bytes of one are damaged.
    pub fn ref_ops(&self, feed: FeedId, package: &str) -> Result<Vec<NamedOp>, ReadError> {
        self.ops_under(Tree::Ref, &keys::refs(feed, package))
    }

    /// The publishes that name a blob, with their feeds; at most `limit`.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn uses(&self, blob: protocol::id::BlobId, limit: usize) -> Result<Vec<(FeedId, OpId)>, ReadError> {
        self.each_use(blob).take(limit).collect()
    }

    /// The publishes of one feed that name a blob; at most `limit`.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn uses_in(
        &self,
        feed: FeedId,
        blob: protocol::id::BlobId,
        limit: usize,
    ) -> Result<Vec<OpId>, ReadError> {
        self.each_use_in(feed, blob).take(limit).collect()
    }

    /// The ops that the keys under a prefix end with.
    pub(super) fn ops_under(&self, tree: Tree, prefix: &[u8]) -> Result<Vec<NamedOp>, ReadError> {
        let mut ops = Vec::new();
        for id in self.walk(tree, prefix, |key, _| keys::op_of(key)) {
            ops.extend(self.op(id?)?);
        }
        Ok(ops)
    }
}
