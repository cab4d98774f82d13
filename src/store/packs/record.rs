//! One record of a pack: 64 bytes of header, the payload, and padding to eight bytes.
//!
//! ```text
//! 0 magic 4 │ 4 kind 1 │ 5 flags 1 │ 6 zero 2 │ 8 aux 4 │ 12 payload bytes 8 │ 20 id 32 │ 52 seal 8 │ 60 crc32 4
//! ```
//!
//! The seal is keyed with a secret of the store and bound to the pack and the offset. A publisher
//! can put bytes into a payload that look like a record; after damage the scan looks for the next
//! header, and must not take those for one.

use protocol::id::BlobId;
use protocol::outline::{self, Cv, Outline};

/// Bytes of a header.
pub(crate) const HEADER_BYTES: usize = 64;

/// Bytes of one payload: the outline of the largest blob and then some.
pub(crate) const PAYLOAD_BYTES_MAX: u64 = 16 << 20;

const MAGIC: [u8; 4] = *b"PBr1";
const ALIGNMENT: u64 = 8;

/// What a record holds, and what its id is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A whole blob; the id is the blob's.
    Blob,
    /// One extent of a large blob; the id is its chaining value, aux its index.
    Extent,
    /// The extents of a large blob; the id is the blob's, aux the crc32 of the payload.
    Outline,
    /// One batch of a log; the id is the payload's hash.
    Ops,
    /// A small durable record or its removal; the id is the payload's hash.
    Meta,
    /// Which records of blobs were dropped; the id is the payload's hash.
    Drop,
}

impl Kind {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Blob => 1,
            Self::Extent => 2,
            Self::Outline => 3,
            Self::Ops => 4,
            Self::Meta => 5,
            Self::Drop => 6,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Blob),
            2 => Some(Self::Extent),
            3 => Some(Self::Outline),
            4 => Some(Self::Ops),
            5 => Some(Self::Meta),
            6 => Some(Self::Drop),
            _ => None,
        }
    }
}

/// The secret and the pack that a header is bound to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Binding {
    pub(crate) salt: [u8; 32],
    pub(crate) pack: u32,
}

/// Bytes of a whole record with a payload of so many: header, payload, padding.
pub(crate) const fn span(bytes: u64) -> u64 {
    (HEADER_BYTES as u64).saturating_add(bytes).next_multiple_of(ALIGNMENT)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) aux: u32,
    /// Bytes of the payload.
    pub(crate) bytes: u64,
    pub(crate) id: [u8; 32],
}

impl Header {
    pub(crate) const fn span(&self) -> u64 {
        span(self.bytes)
    }

    fn plain(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[self.kind.code(), 0, 0, 0]);
        bytes.extend_from_slice(&self.aux.to_le_bytes());
        bytes.extend_from_slice(&self.bytes.to_le_bytes());
        bytes.extend_from_slice(&self.id);
        bytes
    }

    /// The header's bytes at `offset` of the pack it is bound to.
    pub(crate) fn encode(&self, binding: Binding, offset: u64) -> Vec<u8> {
        let mut bytes = self.plain();
        let seal = seal(&bytes, binding, offset);
        bytes.extend_from_slice(&seal);
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header in `bytes`, if they are one that this store wrote at this very place.
    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES], binding: Binding, offset: u64) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        let (plain, sealed) = body.split_last_chunk::<8>()?;
        let rest = plain.strip_prefix(&MAGIC)?;
        if crc32fast::hash(body).to_le_bytes() != *crc || seal(plain, binding, offset) != *sealed {
            return None;
        }
        let (front, rest) = rest.split_first_chunk::<4>()?;
        let (aux, rest) = rest.split_first_chunk::<4>()?;
        let (length, id) = rest.split_first_chunk::<8>()?;
        let header = Self {
            kind: Kind::from_code(*front.first()?)?,
            aux: u32::from_le_bytes(*aux),
            bytes: u64::from_le_bytes(*length),
            id: id.try_into().ok()?,
        };
        (header.bytes <= PAYLOAD_BYTES_MAX).then_some(header)
    }

    /// Whether `payload` is what this header says it is.
    pub(crate) fn matches(&self, payload: &[u8]) -> bool {
        match self.kind {
            Kind::Blob => *blake3::hash(payload).as_bytes() == self.id,
            Kind::Extent => outline::extent_cv(self.aux, payload) == Some(Cv(self.id)),
            Kind::Outline => {
                // The hash of a blob does not cover its size. A record without a check is of before there was one.
                (self.aux == 0 || self.aux == crc32fast::hash(payload))
                    && decode_outline(payload)
                        .is_some_and(|found| found.blob == BlobId(self.id) && found.verify().is_ok())
            }
            Kind::Ops | Kind::Meta | Kind::Drop => *blake3::hash(payload).as_bytes() == self.id,
        }
    }
}

fn seal(plain: &[u8], binding: Binding, offset: u64) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new_keyed(&binding.salt);
    hasher.update(&binding.pack.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(plain);
    let mut seal = [0; 8];
    hasher.finalize_xof().fill(&mut seal);
    seal
}

/// A record to be appended.
#[derive(Debug, Clone)]
pub(crate) struct Draft<'a> {
    pub(crate) kind: Kind,
    pub(crate) aux: u32,
    pub(crate) id: [u8; 32],
    pub(crate) payload: &'a [u8],
}

impl<'a> Draft<'a> {
    /// A record whose id is its payload's hash.
    pub(crate) fn hashed(kind: Kind, payload: &'a [u8]) -> Self {
        Self { kind, aux: 0, id: *blake3::hash(payload).as_bytes(), payload }
    }

    /// The record of an outline's payload.
    pub(crate) fn outline(blob: BlobId, payload: &'a [u8]) -> Self {
        Self { kind: Kind::Outline, aux: crc32fast::hash(payload), id: blob.0, payload }
    }

    pub(crate) fn header(&self) -> Header {
        let bytes = u64::try_from(self.payload.len()).unwrap_or(u64::MAX);
        Header { kind: self.kind, aux: self.aux, bytes, id: self.id }
    }

    /// Writes the whole record as it lies at `offset` to the end of `buffer`.
    pub(crate) fn write(&self, buffer: &mut Vec<u8>, binding: Binding, offset: u64) {
        let start = buffer.len();
        buffer.extend_from_slice(&self.header().encode(binding, offset));
        buffer.extend_from_slice(self.payload);
        let written = buffer.len().saturating_sub(start);
        buffer.resize(start.saturating_add(written.next_multiple_of(8)), 0);
    }
}

/// An outline as its record's payload: blob 32, size 8, and 32 bytes for each extent.
pub(crate) fn encode_outline(outline: &Outline) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(outline.extents.len().saturating_mul(32).saturating_add(40));
    bytes.extend_from_slice(outline.blob.as_bytes());
    bytes.extend_from_slice(&outline.size.to_le_bytes());
    for Cv(cv) in &outline.extents {
        bytes.extend_from_slice(cv);
    }
    bytes
}

/// The outline in a payload, not yet verified.
pub(crate) fn decode_outline(payload: &[u8]) -> Option<Outline> {
    let (blob, rest) = payload.split_first_chunk::<32>()?;
    let (size, rest) = rest.split_first_chunk::<8>()?;
    let (extents, odd) = rest.as_chunks::<32>();
    let extents = extents.iter().copied().map(Cv).collect();
    odd.is_empty().then(|| Outline { blob: BlobId(*blob), size: u64::from_le_bytes(*size), extents })
}

/// The size of the blob that an outline's payload is of.
pub(crate) fn outline_size(payload: &[u8]) -> Option<u64> {
    let size = payload.get(32..40)?;
    size.try_into().ok().map(u64::from_le_bytes)
}
