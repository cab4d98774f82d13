//! One author's log in one feed: the signed head, and a run of ops that is proved by one.

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::id::{LogId, OpId, SiteId};
use crate::op::{Body, Closing, DecodeError, Op, OpenEpoch, Place};
use crate::signature::Signature;
use crate::succession::{Succession, Unfollowed, generation_of};
use crate::time::{Hlc, Timestamp};

mod mmr;

pub use mmr::{Misaligned, Mmr, Run};

const HEAD_CONTEXT: &[u8] = b"packetboat 2026-11 head v1\0";

/// How far a log goes and what it holds up to there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub log: LogId,
    /// Ops.
    pub len: u64,
    pub root: [u8; 32],
    pub time: Timestamp,
}

/// A head with its author's signature. Two that contradict each other prove a fork to anyone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedHead {
    pub head: Head,
    /// The author's keys up to the one that signs: as many as the log's epoch says.
    pub succession: Succession,
    pub signature: Signature,
}

/// Why a run of ops is refused. Whoever sent it is at fault, and where the signature held, its author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("the author's key {author} is no valid Ed25519 key")]
    WeakKey { author: SiteId },
    #[error("the head at {len} of {author} is not signed by its author")]
    BadSignature { author: SiteId, len: u64 },
    #[error("the head at {len} of {author} is not signed by the key that its epoch asks for")]
    WrongKey { author: SiteId, len: u64 },
    #[error("the author's keys do not follow each other")]
    Succession(#[from] Unfollowed),
    #[error("the ops begin at {first}, and {held} are held")]
    Gap { first: u64, held: u64 },
    #[error("the ops end at {end}, and the head says {len}")]
    WrongLength { end: u64, len: u64 },
    #[error("the author signed at {len} a history other than the one held")]
    Forked { len: u64 },
    #[error("an op is malformed at {seq}")]
    Op { seq: u64, source: DecodeError },
    #[error("several ops are left out under one hash at {seq}")]
    LeftOutTogether { seq: u64 },
    #[error("a skipped run does not stand at a multiple of its size")]
    Misaligned(#[from] Misaligned),
}

impl Head {
    fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = HEAD_CONTEXT.to_vec();
        bytes.extend(postcard::to_allocvec(self).expect("a plain value always encodes into memory"));
        bytes
    }

    /// Signs the head with the author's first key.
    #[must_use]
    pub fn sign(self, key: &SigningKey) -> SignedHead {
        self.sign_as(key, Succession::NONE)
    }

    /// Signs the head with the newest of the author's keys.
    #[must_use]
    pub fn sign_as(self, key: &SigningKey, succession: Succession) -> SignedHead {
        let signature = Signature(key.sign(&self.signed_bytes()).to_bytes());
        SignedHead { head: self, succession, signature }
    }
}

impl SignedHead {
    /// Checks the signature strictly: weak keys and malleable forms are refused. The log's epoch says which of the author's keys signs. [P-58]
    ///
    /// # Errors
    /// A key is weak or was not named by the one before it, or the signature is not the author's over this head.
    pub fn verify(&self) -> Result<(), BatchError> {
        let author = self.head.log.author;
        if self.succession.generation() != generation_of(self.head.log.epoch) {
            return Err(BatchError::WrongKey { author, len: self.head.len });
        }
        let key = self.succession.check(author)?;
        let key = VerifyingKey::from_bytes(&key.0).map_err(|_key| BatchError::WeakKey { author })?;
        let signature = ed25519_dalek::Signature::from_bytes(&self.signature.0);
        key.verify_strict(&self.head.signed_bytes(), &signature)
            .map_err(|_signature| BatchError::BadSignature { author, len: self.head.len })
    }
}

const fn closing(body: &Body) -> Option<&Closing> {
    if let Body::OpenEpoch(OpenEpoch { closes: Some(closing), .. }) = body { Some(closing) } else { None }
}

impl SignedHead {
    /// Where `body` closes the logs of earlier keys, the key that it names must be the one that signs here. [P-58]
    fn owns(&self, body: &Body) -> Result<(), BatchError> {
        let author = self.head.log.author;
        match closing(body) {
            Some(closing) if closing.key != self.succession.key(author) => {
                Err(BatchError::WrongKey { author, len: self.head.len })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// How much of a log a site has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reach {
    /// Ops, from the first one on.
    pub len: u64,
    pub root: [u8; 32],
    /// Ops among them that are known by their hash alone.
    pub gaps: u64,
}

/// The canonical bytes of one head as an item of a set of heads.
#[must_use]
pub fn head_item_bytes(log: LogId, reach: &Reach) -> Vec<u8> {
    postcard::to_allocvec(&(log, reach)).expect("a plain value always encodes into memory")
}

/// One entry of a run: an op's statement, or the hash that stands for ops left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    Op(Vec<u8>),
    Skip { height: u8, hash: [u8; 32] },
}

impl Entry {
    /// Ops it stands for.
    #[must_use]
    pub const fn span(&self) -> u64 {
        match self {
            Self::Op(_) => 1,
            Self::Skip { height, hash } => Run { height: *height, hash: *hash }.span(),
        }
    }
}

/// A run of one log's ops that ends at a signed head, as it came from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The position of the first entry.
    pub first: u64,
    pub entries: Vec<Entry>,
    pub head: SignedHead,
}

/// One op with its name and canonical statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedOp {
    pub id: OpId,
    pub op: Op,
    pub statement: Vec<u8>,
}

/// Ops for places of a log of which only their hashes were known. Only this file makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filling {
    log: LogId,
    ops: Vec<NamedOp>,
}

impl Filling {
    /// The log.
    #[must_use]
    pub const fn log(&self) -> LogId {
        self.log
    }

    /// The ops, in order.
    #[must_use]
    pub fn ops(&self) -> &[NamedOp] {
        &self.ops
    }
}

/// A run of ops that its author signed and that follows what is held. Only this file makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    first: u64,
    ops: Vec<NamedOp>,
    entries: Vec<Entry>,
    after: Mmr,
    head: SignedHead,
}

impl Batch {
    /// Its first part, up to a head that its author signed there. None where an entry goes on beyond.
    #[must_use]
    pub fn until(mut self, head: SignedHead) -> Option<Self> {
        let mut at = self.first;
        let within = self.entries.iter().take_while(|entry| {
            at = at.saturating_add(entry.span());
            at <= head.head.len
        });
        let kept = within.count();
        self.entries.truncate(kept);
        let end = self.entries.iter().fold(self.first, |at, entry| at.saturating_add(entry.span()));
        let whole = end == head.head.len;
        self.head = head;
        whole.then_some(self)
    }

    /// Its entries as runs known by their hashes.
    #[must_use]
    pub fn runs(&self) -> Vec<Run> {
        let (log, mut seq) = (self.head.head.log, self.first);
        let mut runs = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            runs.push(match entry {
                Entry::Op(statement) => Run { height: 0, hash: Op::id_of(Place { log, seq }, statement).0 },
                Entry::Skip { height, hash } => Run { height: *height, hash: *hash },
            });
            seq = seq.saturating_add(entry.span());
        }
        runs
    }

    /// Leaves out what the holder of a log of `held` ops has already.
    #[must_use]
    pub fn beyond(mut self, held: u64) -> Option<Self> {
        if self.head.head.len <= held {
            return None;
        }
        let mut entries = Vec::with_capacity(self.entries.len());
        let mut at = self.first;
        for entry in self.entries {
            let span = entry.span();
            if at >= held {
                entries.push(entry);
            } else {
                self.first = at.saturating_add(span);
            }
            at = at.saturating_add(span);
        }
        self.entries = entries;
        Some(self)
    }

    /// The same signed head over the whole log, with only those ops that `keep` chooses: what proves them to one who holds nothing of the
    /// log. `before` is the log as it was where this run begins.
    ///
    /// # Errors
    /// An op of the run is malformed.
    pub fn proving(self, before: &Mmr, keep: impl Fn(&Body) -> bool) -> Result<Self, DecodeError> {
        let left_out = |run: Run| Entry::Skip { height: run.height, hash: run.hash };
        let mut entries: Vec<Entry> = before.runs().into_iter().map(left_out).collect();
        let mut seq = self.first;
        for entry in self.entries {
            let span = entry.span();
            entries.push(match entry {
                Entry::Op(statement) => {
                    let place = Place { log: self.head.head.log, seq };
                    if keep(&Op::decode_statement(place, &statement)?.body) {
                        Entry::Op(statement)
                    } else {
                        Entry::Skip { height: 0, hash: Op::id_of(place, &statement).0 }
                    }
                }
                skipped @ Entry::Skip { .. } => skipped,
            });
            seq = seq.saturating_add(span);
        }
        Ok(Self { first: 0, entries, head: self.head })
    }

    /// Its ops that fill gaps of what is held, where `gap` gives the hash of an op that is lacking at a position. The hash proves each: the
    /// head under which it was left out signs it.
    ///
    /// # Errors
    /// An op in such a place is malformed, or is not the one that was left out there.
    pub fn filling<E: From<BatchError>>(
        &self,
        mut gap: impl FnMut(u64) -> Result<Option<OpId>, E>,
    ) -> Result<Filling, E> {
        let log = self.head.head.log;
        let mut filling = Filling { log, ops: Vec::new() };
        let mut seq = self.first;
        for entry in &self.entries {
            if let Entry::Op(statement) = entry
                && let Some(lacking) = gap(seq)?
            {
                let place = Place { log, seq };
                let id = Op::id_of(place, statement);
                if id != lacking {
                    return Err(BatchError::Forked { len: seq.saturating_add(1) }.into());
                }
                let op = Op::decode_statement(place, statement)
                    .map_err(|source| BatchError::Op { seq, source })?;
                if closing(&op.body).is_some() {
                    self.head.verify()?;
                    self.head.owns(&op.body)?;
                }
                filling.ops.push(NamedOp { id, op, statement: statement.clone() });
            }
            seq = seq.saturating_add(entry.span());
        }
        Ok(filling)
    }

    /// Checks signature, order, form and root against the log held so far. What is left out of it is left out op by op: of several under one hash
    /// none could be asked for, and whoever passes a log on could hide a part of it for good.
    ///
    /// # Errors
    /// What is wrong, and with which op.
    pub fn verify(self, held: &Mmr) -> Result<Verified, BatchError> {
        let mut seq = self.first;
        for entry in &self.entries {
            if matches!(entry, Entry::Skip { height: 1.., .. }) {
                return Err(BatchError::LeftOutTogether { seq });
            }
            seq = seq.saturating_add(entry.span());
        }
        self.verified(held)
    }

    /// The same of some ops of a log with what proves them to one who holds nothing of it, as [`Batch::proving`] makes it.
    ///
    /// # Errors
    /// What is wrong, and with which op.
    pub fn verify_proof(self) -> Result<Verified, BatchError> {
        self.verified(&Mmr::default())
    }

    fn verified(self, held: &Mmr) -> Result<Verified, BatchError> {
        if self.first != held.len() {
            return Err(BatchError::Gap { first: self.first, held: held.len() });
        }
        self.head.verify()?;
        let mut after = held.clone();
        let mut ops = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            match entry {
                Entry::Op(statement) => {
                    let place = Place { log: self.head.head.log, seq: after.len() };
                    let op = Op::decode_statement(place, statement)
                        .map_err(|source| BatchError::Op { seq: place.seq, source })?;
                    self.head.owns(&op.body)?;
                    let id = Op::id_of(place, statement);
                    after.push(id);
                    ops.push(NamedOp { id, op, statement: statement.clone() });
                }
                Entry::Skip { height, hash } => after.push_subtree(*height, *hash)?,
            }
        }
        if after.len() != self.head.head.len {
            return Err(BatchError::WrongLength { end: after.len(), len: self.head.head.len });
        }
        if after.root() != self.head.head.root {
            return Err(BatchError::Forked { len: after.len() });
        }
        Ok(Verified { first: self.first, ops, entries: self.entries, after, head: self.head })
    }
}

impl Verified {
    /// New ops of the author whose first key is `key`, appended to its own log and signed with one head.
    #[must_use]
    pub fn author(
        key: &SigningKey,
        log: LogId,
        held: &Mmr,
        bodies: Vec<Body>,
        clock: Hlc,
        now: Timestamp,
    ) -> Self {
        Self::author_as((key, Succession::NONE), log, held, bodies, clock, now)
    }

    /// The same by the newest of the author's keys.
    #[must_use]
    pub fn author_as(
        (key, succession): (&SigningKey, Succession),
        log: LogId,
        held: &Mmr,
        bodies: Vec<Body>,
        clock: Hlc,
        now: Timestamp,
    ) -> Self {
        debug_assert_eq!(
            (succession.key(log.author).0, succession.generation()),
            (key.verifying_key().to_bytes(), generation_of(log.epoch)),
            "a log is signed by the key of its author that its epoch asks for"
        );
        let mut after = held.clone();
        let mut stamp = clock;
        let mut ops = Vec::with_capacity(bodies.len());
        for body in bodies {
            stamp = stamp.next(now);
            let op = Op { place: Place { log, seq: after.len() }, stamp, body };
            let statement = op.encode_statement();
            let id = Op::id_of(op.place, &statement);
            after.push(id);
            ops.push(NamedOp { id, op, statement });
        }
        let entries = ops.iter().map(|named| Entry::Op(named.statement.clone())).collect();
        let head = Head { log, len: after.len(), root: after.root(), time: now }.sign_as(key, succession);
        Self { first: held.len(), ops, entries, after, head }
    }

    /// The log.
    #[must_use]
    pub const fn log(&self) -> LogId {
        self.head.head.log
    }

    /// The position of the first entry.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// The ops, in order. Skipped ones are not among them.
    #[must_use]
    pub fn ops(&self) -> &[NamedOp] {
        &self.ops
    }

    /// The log's state after the run.
    #[must_use]
    pub const fn after(&self) -> &Mmr {
        &self.after
    }

    /// The signed head it ends at.
    #[must_use]
    pub const fn head(&self) -> &SignedHead {
        &self.head
    }

    /// The run as it travels and is stored.
    #[must_use]
    pub fn to_batch(&self) -> Batch {
        Batch { first: self.first, entries: self.entries.clone(), head: self.head.clone() }
    }
}

impl Batch {
    /// The bytes of a stored or sent run.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("a plain value always encodes into memory")
    }

    /// A run from its bytes.
    ///
    /// # Errors
    /// The bytes are truncated, malformed or followed by others.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (batch, rest) = postcard::take_from_bytes(bytes).map_err(|_shape| DecodeError::Malformed)?;
        if rest.is_empty() { Ok(batch) } else { Err(DecodeError::Trailing) }
    }
}

#[cfg(test)]
mod tests;
