//! Opening packs after whatever happened: the torn tail is cut, damage elsewhere is told and stepped over.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError};

use super::super::disk::{Disk, PackFile};
use super::super::keys::Location;
use super::footer::{self, Footer, Place};
use super::record::{Binding, HEADER_BYTES};
use super::scan::{Found, Walk};
use super::sectors::Patient;
use super::{Pack, Packs, locked};

/// A place in the packs before which everything is durable and indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Start {
    pub(crate) pack: u32,
    pub(crate) offset: u64,
}

/// Bytes of a pack that should be records and are not.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Damage {
    /// The pack's number.
    pub pack: u32,
    /// Where in the pack it begins.
    pub offset: u64,
    /// How many bytes of it.
    pub bytes: u64,
    /// The id of the record that lay there, in hexadecimal, where its header can still be read.
    pub record: Option<String>,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { pack, offset, bytes, record } = self;
        write!(f, "pack {pack}, {bytes} bytes from {offset} on")?;
        match record {
            Some(record) => write!(f, ": record {record}"),
            None => f.write_str(": no record can be read there"),
        }
    }
}

/// The records of one pack, ordered by offset, and what is wrong with it.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) places: Vec<Place>,
    pub(crate) damage: Vec<Damage>,
    /// Damage behind that may be of what was never synced, and lies in pieces where power went.
    pub(crate) known_to: u64,
    /// Where the last good record ends.
    pub(super) good_end: u64,
}

impl Default for Contents {
    fn default() -> Self {
        Self { places: Vec::new(), damage: Vec::new(), known_to: u64::MAX, good_end: 0 }
    }
}

impl Packs {
    /// Opens all packs. In the newest one everything from `trusted` on is read and checked, and what follows its last good record is cut off.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        salt: [u8; 32],
        roll_bytes: u64,
        trusted: Start,
    ) -> io::Result<(Self, Vec<Damage>)> {
        let mut numbers = disk.packs()?;
        numbers.sort_unstable();
        let mut files = BTreeMap::new();
        for &number in &numbers {
            files.insert(number, disk.open_pack(number)?);
        }
        let Some((&newest, file)) = files.last_key_value() else {
            return Ok((Self::with_tail(disk, salt, roll_bytes, files, 0, None), Vec::new()));
        };
        let pack = Pack { number: newest, file: Arc::clone(file) };
        let length = file.bytes()?;
        if footer::end(&**file, length)?.is_some() {
            return Ok((Self::with_tail(disk, salt, roll_bytes, files, newest, None), Vec::new()));
        }
        if length < HEADER_BYTES as u64 {
            // Its making was cut short, so nothing in it was ever acknowledged.
            disk.remove_pack(newest)?;
            return Self::open(disk, salt, roll_bytes, trusted);
        }
        // One that was cut short since may end within a record, whose header alone says nothing.
        let from = if trusted.pack == newest && trusted.offset <= length { trusted.offset } else { 0 };
        let mut contents = read_open(&pack, salt, from, length)?;
        if contents.good_end < length {
            file.truncate(contents.good_end)?;
            contents.damage.retain(|damage| damage.offset < contents.good_end);
        }
        // What a killed process wrote is readable and not yet durable.
        file.sync()?;
        let damage = contents.damage.clone();
        contents.known_to = from;
        let open = Some((pack, contents.good_end, contents));
        Ok((Self::with_tail(disk, salt, roll_bytes, files, newest, open), damage))
    }

    /// The numbers of all packs, in order.
    pub(crate) fn numbers(&self) -> Vec<u32> {
        self.files.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// A pack's records in the order in which they were appended.
    pub(crate) fn contents(&self, number: u32) -> io::Result<Contents> {
        {
            let tail = locked(&self.tail);
            if tail.open.as_ref().is_some_and(|pack| pack.number == number) {
                let (places, damage) = (tail.places.clone(), tail.damage.clone());
                return Ok(Contents { places, damage, known_to: tail.known_to, ..Contents::default() });
            }
        }
        let Some(file) = self.file(number) else { return Ok(Contents::default()) };
        let (file, length) = (&Patient(&*file), file.bytes()?);
        let end = match footer::read(file, length)? {
            Footer::Sealed { places } => {
                // What was damaged when it was sealed its footer does not list. A record whose header holds has its place all the same.
                let end = footer::end(file, length)?.unwrap_or(length);
                let (binding, mut damage) = (Binding { salt: self.salt, pack: number }, Vec::new());
                let mut places = places;
                for (from, end) in between(&places, end) {
                    let mut walk = Walk::new(file, binding, from, end, true);
                    while let Some(found) = walk.step()? {
                        match found {
                            Found::Record { place } | Found::Spoilt { place } => places.push(place),
                            Found::Hole { .. } => damage.extend(Damage::of(number, &found)),
                        }
                    }
                }
                places.sort_by_key(|place| place.offset);
                return Ok(Contents { places, damage, ..Contents::default() });
            }
            Footer::Damaged { end } => end,
            Footer::None => length,
        };
        walk(file, Binding { salt: self.salt, pack: number }, HEADER_BYTES as u64, end.min(length), true)
    }
}

/// The stretches between records, and from the last of them to `end`.
pub(super) fn between(places: &[Place], end: u64) -> Vec<(u64, u64)> {
    let (mut next, mut gaps) = (HEADER_BYTES as u64, Vec::new());
    for Place { header, offset } in places {
        if *offset > next {
            gaps.push((next, *offset));
        }
        next = next.max(offset.saturating_add(header.span()));
    }
    if next < end {
        gaps.push((next, end));
    }
    gaps
}

/// The newest pack: headers only up to `from`, everything behind it.
fn read_open(pack: &Pack, salt: [u8; 32], from: u64, length: u64) -> io::Result<Contents> {
    let binding = Binding { salt, pack: pack.number };
    let front = HEADER_BYTES as u64;
    let from = from.clamp(front, length);
    let mut contents = walk(&Patient(&*pack.file), binding, front, from, false)?;
    let behind = walk(&*pack.file, binding, from, length, true)?;
    contents.places.extend(behind.places);
    contents.damage.extend(behind.damage);
    contents.good_end = behind.good_end.max(contents.good_end).max(from);
    Ok(contents)
}

fn walk(file: &dyn PackFile, binding: Binding, from: u64, end: u64, payloads: bool) -> io::Result<Contents> {
    let mut contents = Contents { good_end: from, ..Contents::default() };
    let mut walk = Walk::new(file, binding, from, end, payloads);
    while let Some(found) = walk.step()? {
        if let Found::Record { place } = found {
            contents.good_end = place.offset.saturating_add(place.header.span());
            contents.places.push(place);
        }
        contents.damage.extend(Damage::of(binding.pack, &found));
    }
    Ok(contents)
}

impl Damage {
    /// Whether a record at that location would lie in these bytes.
    pub(crate) const fn covers(&self, at: Location) -> bool {
        let end = self.offset.saturating_add(self.bytes);
        self.pack == at.pack && self.offset <= at.offset && at.offset < end
    }

    /// What a finding tells of damage, if it does.
    pub(crate) fn of(pack: u32, found: &Found) -> Option<Self> {
        match found {
            Found::Record { .. } => None,
            Found::Spoilt { place: Place { header, offset } } => Some(Self {
                pack,
                offset: *offset,
                bytes: header.span(),
                record: Some(data_encoding::HEXLOWER.encode(&header.id)),
            }),
            Found::Hole { offset, end } => {
                Some(Self { pack, offset: *offset, bytes: end.saturating_sub(*offset), record: None })
            }
        }
    }
}

impl Place {
    pub(crate) const fn location(&self, pack: u32) -> Location {
        Location { pack, offset: self.offset, bytes: self.header.bytes }
    }
}
