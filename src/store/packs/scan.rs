//! Walking a pack's records one by one, past damage.

use std::io;

use super::super::disk::PackFile;
use super::footer::Place;
use super::record::{Binding, HEADER_BYTES, Header};

/// Bytes read at once while looking for the next header behind damage.
const WINDOW_BYTES: u64 = 1 << 20;

/// Records lie at multiples of this.
const ALIGNMENT: u64 = 8;

/// What a walk finds at one place.
#[derive(Debug)]
pub(crate) enum Found {
    /// A record whose payload, if it was asked for, is what its header says.
    Record { place: Place },
    /// A record whose header holds and whose payload does not.
    Spoilt { place: Place },
    /// Bytes from `offset` to `end` that are no record.
    Hole { offset: u64, end: u64 },
}

/// A walk from one offset to the end of a pack's records.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    file: &'a dyn PackFile,
    binding: Binding,
    offset: u64,
    end: u64,
    payloads: bool,
    /// The padding of the record before, where it is not zeros.
    soiled: Option<Found>,
}

impl<'a> Walk<'a> {
    /// A walk over `file` from `offset` to `end`, which reads and checks payloads if `payloads` is set.
    pub(crate) fn new(
        file: &'a dyn PackFile,
        binding: Binding,
        offset: u64,
        end: u64,
        payloads: bool,
    ) -> Self {
        Self { file, binding, offset, end, payloads, soiled: None }
    }

    /// Where the next record is looked for.
    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }

    /// The padding of the record that was just found, where it is not zeros.
    pub(crate) fn soiled(&mut self) -> Option<Found> {
        self.soiled.take()
    }

    /// The next finding, or nothing at the end.
    pub(crate) fn step(&mut self) -> io::Result<Option<Found>> {
        if self.offset >= self.end {
            return Ok(None);
        }
        let offset = self.offset;
        let Some(header) = self.header_at(offset)? else {
            self.offset = self.next_header(offset)?;
            return Ok(Some(Found::Hole { offset, end: self.offset }));
        };
        let place = Place { header, offset };
        self.offset = offset.saturating_add(header.span());
        if !self.payloads {
            return Ok(Some(Found::Record { place }));
        }
        let front = offset.saturating_add(HEADER_BYTES as u64);
        let mut payload = vec![0; usize::try_from(self.offset.saturating_sub(front)).unwrap_or(0)];
        self.file.read_at(front, &mut payload)?;
        let padding = payload.split_off(usize::try_from(header.bytes).unwrap_or(0).min(payload.len()));
        if padding.iter().any(|&byte| byte != 0) {
            let offset = front.saturating_add(header.bytes);
            self.soiled = Some(Found::Hole { offset, end: self.offset });
        }
        Ok(Some(match header.matches(&payload) {
            true => Found::Record { place },
            false => Found::Spoilt { place },
        }))
    }

    /// The header at `offset`, if there is one and its record lies wholly before the end.
    fn header_at(&self, offset: u64) -> io::Result<Option<Header>> {
        if offset.saturating_add(HEADER_BYTES as u64) > self.end {
            return Ok(None);
        }
        let mut bytes = [0; HEADER_BYTES];
        self.file.read_at(offset, &mut bytes)?;
        let header = Header::decode(&bytes, self.binding, offset);
        Ok(header.filter(|header| offset.saturating_add(header.span()) <= self.end))
    }

    /// The offset of the first record behind `offset`, or the end.
    fn next_header(&self, offset: u64) -> io::Result<u64> {
        let mut start = offset.saturating_add(ALIGNMENT).next_multiple_of(ALIGNMENT);
        while start.saturating_add(HEADER_BYTES as u64) <= self.end {
            let length = WINDOW_BYTES.min(self.end.saturating_sub(start));
            let mut window = vec![0; usize::try_from(length).unwrap_or(0)];
            self.file.read_at(start, &mut window)?;
            let places = window.windows(HEADER_BYTES).step_by(8);
            for (at, bytes) in (start..).step_by(8).zip(places) {
                let here = <&[u8; HEADER_BYTES]>::try_from(bytes).ok();
                let header = here.and_then(|bytes| Header::decode(bytes, self.binding, at));
                if header.is_some_and(|header| at.saturating_add(header.span()) <= self.end) {
                    return Ok(at);
                }
            }
            // The last header's worth of each window is looked at again with the next one.
            start = start.saturating_add(length.saturating_sub(HEADER_BYTES as u64).max(ALIGNMENT));
            start = start.next_multiple_of(ALIGNMENT);
        }
        Ok(self.end)
    }
}

/// The payload of the record at `place`, unchecked.
pub(crate) fn payload(file: &dyn PackFile, place: &Place) -> io::Result<Vec<u8>> {
    let mut payload = vec![0; usize::try_from(place.header.bytes).unwrap_or(0)];
    file.read_at(place.offset.saturating_add(HEADER_BYTES as u64), &mut payload)?;
    Ok(payload)
}
