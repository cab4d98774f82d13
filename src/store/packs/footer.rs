//! The list of a sealed pack's records at its end, so that a rebuild need not walk the pack.
//!
//! ```text
//! entries, sorted by kind and id: id 32 │ kind 1 │ zero 3 │ aux 4 │ offset 8 │ bytes 8
//! trailer: magic 8 │ first entry's offset 8 │ entries 8 │ entries' crc32 4 │ trailer's crc32 4
//! ```

use std::io;

use super::super::disk::PackFile;
use super::record::{Header, Kind};

const MAGIC: [u8; 8] = *b"PBseal\0\x01";
const ENTRY_BYTES: usize = 56;
const TRAILER_BYTES: usize = 32;

/// Bytes of entries that are read: a pack of 256 MiB holds at most 4 Mi records of 64 bytes.
const ENTRIES_BYTES_MAX: u64 = 512 << 20;

/// One record of a pack, without its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) header: Header,
    pub(crate) offset: u64,
}

/// The footer's bytes for a pack whose records end at `end`.
pub(crate) fn encode(places: &[Place], end: u64) -> Vec<u8> {
    let mut sorted: Vec<_> = places.to_vec();
    sorted.sort_by_key(|place| (place.header.kind, place.header.id, place.offset));
    let mut bytes =
        Vec::with_capacity(places.len().saturating_mul(ENTRY_BYTES).saturating_add(TRAILER_BYTES));
    for Place { header, offset } in sorted {
        bytes.extend_from_slice(&header.id);
        bytes.extend_from_slice(&[header.kind.code(), 0, 0, 0]);
        bytes.extend_from_slice(&header.aux.to_le_bytes());
        bytes.extend_from_slice(&offset.to_le_bytes());
        bytes.extend_from_slice(&header.bytes.to_le_bytes());
    }
    let crc = crc32fast::hash(&bytes);
    let count = u64::try_from(places.len()).unwrap_or(u64::MAX);
    let mut trailer = Vec::with_capacity(TRAILER_BYTES);
    trailer.extend_from_slice(&MAGIC);
    trailer.extend_from_slice(&end.to_le_bytes());
    trailer.extend_from_slice(&count.to_le_bytes());
    trailer.extend_from_slice(&crc.to_le_bytes());
    trailer.extend_from_slice(&crc32fast::hash(&trailer).to_le_bytes());
    bytes.extend_from_slice(&trailer);
    bytes
}

/// What the end of a pack says.
#[derive(Debug)]
pub(crate) enum Footer {
    /// There is none: the pack was not sealed.
    None,
    /// There is one, and its entries are damaged. Records end at the offset.
    Damaged { end: u64 },
    /// The records, ordered by offset.
    Sealed { places: Vec<Place> },
}

/// Where a sealed pack's records end; `None` for a pack that is not sealed.
pub(crate) fn end(file: &dyn PackFile, length: u64) -> io::Result<Option<u64>> {
    Ok(trailer(file, length)?.map(|trailer| trailer.end))
}

/// Reads the footer of a pack of `length` bytes.
pub(crate) fn read(file: &dyn PackFile, length: u64) -> io::Result<Footer> {
    let Some(Trailer { end, count, crc }) = trailer(file, length)? else { return Ok(Footer::None) };
    let size = count.saturating_mul(ENTRY_BYTES as u64);
    let fits = end.saturating_add(size).saturating_add(TRAILER_BYTES as u64) == length;
    if !fits || size > ENTRIES_BYTES_MAX {
        return Ok(Footer::Damaged { end });
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    file.read_at(end, &mut bytes)?;
    let (entries, _none) = bytes.as_chunks::<ENTRY_BYTES>();
    let places: Option<Vec<_>> = entries.iter().map(decode_entry).collect();
    Ok(match places {
        Some(mut places) if crc32fast::hash(&bytes) == crc => {
            places.sort_by_key(|place| place.offset);
            Footer::Sealed { places }
        }
        Some(_) | None => Footer::Damaged { end },
    })
}

struct Trailer {
    end: u64,
    count: u64,
    crc: u32,
}

fn trailer(file: &dyn PackFile, length: u64) -> io::Result<Option<Trailer>> {
    let Some(start) = length.checked_sub(TRAILER_BYTES as u64) else { return Ok(None) };
    let mut bytes = [0; TRAILER_BYTES];
    file.read_at(start, &mut bytes)?;
    Ok(decode_trailer(&bytes))
}

fn decode_trailer(bytes: &[u8; TRAILER_BYTES]) -> Option<Trailer> {
    let (body, own_crc) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(body).to_le_bytes() != *own_crc {
        return None;
    }
    let (end, rest) = body.strip_prefix(&MAGIC)?.split_first_chunk::<8>()?;
    let (count, rest) = rest.split_first_chunk::<8>()?;
    let (crc, _none) = rest.split_first_chunk::<4>()?;
    Some(Trailer {
        end: u64::from_le_bytes(*end),
        count: u64::from_le_bytes(*count),
        crc: u32::from_le_bytes(*crc),
    })
}

fn decode_entry(bytes: &[u8; ENTRY_BYTES]) -> Option<Place> {
    let (id, rest) = bytes.split_first_chunk::<32>()?;
    let (kind, rest) = rest.split_first_chunk::<4>()?;
    let (aux, rest) = rest.split_first_chunk::<4>()?;
    let (offset, rest) = rest.split_first_chunk::<8>()?;
    let (length, _none) = rest.split_first_chunk::<8>()?;
    let header = Header {
        kind: Kind::from_code(*kind.first()?)?,
        aux: u32::from_le_bytes(*aux),
        bytes: u64::from_le_bytes(*length),
        id: *id,
    };
    Some(Place { header, offset: u64::from_le_bytes(*offset) })
}
