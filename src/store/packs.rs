//! The append-only pack files that hold all bytes: append, group commit, read, roll, recover.
//!
//! What is appended is acknowledged only after [`Packs::wait_durable`]. One caller at a time leads:
//! it syncs once for everyone whose bytes were appended before, and those who come meanwhile are
//! covered together by the next. A lone caller waits for nobody.

mod check;
pub(crate) mod footer;
pub(crate) mod record;
mod recover;
pub(crate) mod scan;
mod sectors;
mod stock;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};

use super::disk::{Disk, PackFile, is_bad_sector, is_full};
use super::keys::Location;
use footer::Place;
use record::{Binding, Draft, HEADER_BYTES, Header, Kind, PAYLOAD_BYTES_MAX};
use recover::Contents;

pub use recover::Damage;
pub(crate) use recover::Start;

/// Bytes appended and not yet synced at which the appender syncs them itself, so that one long
/// ingest cannot leave a second's worth of writing to whoever commits next.
const UNSYNCED_BYTES_MAX: u64 = 8 << 20;

/// Bytes that the index may need at once: with fewer free it is not opened or built before room was found.
pub(super) const INDEX_BYTES_MIN: u64 = 8 << 20;

/// Whether what was read was not there to be read: beyond the end, or in a part of the disk that cannot be read any more.
fn is_not_there(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof || is_bad_sector(error)
}

/// The first bytes of each pack.
const PACK_MAGIC: [u8; 8] = *b"PBpack\0\x01";

/// What a pack begins with.
fn front(number: u32) -> Vec<u8> {
    let mut front = PACK_MAGIC.to_vec();
    front.extend_from_slice(&number.to_le_bytes());
    front.resize(HEADER_BYTES, 0);
    front
}

/// Why bytes were not written. Nothing acknowledged before is lost, and reading goes on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// Resumes by itself when there is space.
    #[error(
        "the disk of {folder} is full: {free_bytes} bytes are free, {reserve_bytes} are kept for deletes and logs; \
         free space on it, and writing resumes by itself"
    )]
    DiskFull { folder: String, free_bytes: u64, reserve_bytes: u64 },
    /// The disk failed, other than by being full.
    #[error("the disk of {folder} failed while {doing}")]
    Disk { folder: String, doing: &'static str, source: Arc<io::Error> },
    /// A sync failed, so everything since the last one was taken back. Write it again.
    #[error("the disk of {folder} lost what was being written; it was taken back and must be written again")]
    TakenBack { folder: String },
    /// No blob, batch or record may be so large.
    #[error("{bytes} bytes in one piece are over the limit of {limit_bytes}")]
    TooLarge { bytes: u64, limit_bytes: u64 },
    /// The index broke and could not be built again.
    #[error("the index could not be rebuilt")]
    Index(#[from] super::index::RebuildError),
}

/// What an appender must wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    era: u64,
    position: u64,
}

/// Records appended: where each lies, and what makes them durable.
#[derive(Debug)]
pub(crate) struct Appended {
    pub(crate) locations: Vec<Location>,
    pub(crate) ticket: Ticket,
}

#[derive(Debug, Clone)]
pub(super) struct Pack {
    pub(super) number: u32,
    pub(super) file: Arc<dyn PackFile>,
}

/// The pack that grows.
#[derive(Debug)]
pub(super) struct Tail {
    /// `None` when the newest pack is sealed, or there is none.
    pub(super) open: Option<Pack>,
    pub(super) newest: u32,
    /// Bytes of the open pack that are records.
    pub(super) bytes: u64,
    /// The position of the open pack's first byte. Positions count all bytes since this store was opened.
    start: u64,
    pub(super) places: Vec<Place>,
    /// What was found damaged in it when it was opened, and up to where all was durable before.
    pub(super) damage: Vec<Damage>,
    pub(super) known_to: u64,
    /// A failed append may have left bytes behind the last record.
    torn: bool,
}

impl Tail {
    const fn position(&self) -> u64 {
        self.start.saturating_add(self.bytes)
    }
}

#[derive(Debug)]
struct Commit {
    durable: u64,
    /// Rises when undurable records are taken back, so that their tickets are void.
    era: u64,
    led: bool,
}

#[derive(Debug)]
pub(crate) struct Packs {
    disk: Arc<dyn Disk>,
    salt: [u8; 32],
    roll_bytes: u64,
    files: RwLock<BTreeMap<u32, Arc<dyn PackFile>>>,
    /// Packs that are about to be removed: nobody is to miss them.
    leaving: Mutex<BTreeSet<u32>>,
    tail: Mutex<Tail>,
    commit: Mutex<Commit>,
    led_on: Condvar,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Packs {
    pub(super) fn with_tail(
        disk: Arc<dyn Disk>,
        salt: [u8; 32],
        roll_bytes: u64,
        files: BTreeMap<u32, Arc<dyn PackFile>>,
        newest: u32,
        open: Option<(Pack, u64, Contents)>,
    ) -> Self {
        let (open, bytes, Contents { places, damage, known_to, .. }) = match open {
            Some((pack, bytes, contents)) => (Some(pack), bytes, contents),
            None => (None, 0, Contents::default()),
        };
        let tail = Tail { open, newest, bytes, start: 0, places, damage, known_to, torn: false };
        let commit = Commit { durable: tail.position(), era: 0, led: false };
        Self {
            disk,
            salt,
            roll_bytes,
            files: RwLock::new(files),
            leaving: Mutex::default(),
            tail: Mutex::new(tail),
            commit: Mutex::new(commit),
            led_on: Condvar::new(),
        }
    }

    fn binding(&self, pack: u32) -> Binding {
        Binding { salt: self.salt, pack }
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// Appends the records in order, all in one pack. Readable at once, durable after [`Self::wait_durable`].
    pub(crate) fn append(&self, drafts: &[Draft<'_>]) -> Result<Appended, WriteError> {
        if let Some(bytes) =
            drafts.iter().map(|draft| draft.header().bytes).find(|&bytes| bytes > PAYLOAD_BYTES_MAX)
        {
            return Err(WriteError::TooLarge { bytes, limit_bytes: PAYLOAD_BYTES_MAX });
        }
        let size = drafts.iter().fold(0, |sum: u64, draft| sum.saturating_add(draft.header().span()));
        let appended = loop {
            let mut tail = locked(&self.tail);
            let fits = tail.places.is_empty() || tail.bytes.saturating_add(size) <= self.roll_bytes;
            if let Some(pack) = tail.open.clone().filter(|_| fits) {
                break self.append_to(&mut tail, &pack, drafts)?;
            }
            let full = tail.newest;
            drop(tail);
            self.lead(|| self.roll(full))?;
        };
        let unsynced = appended.ticket.position.saturating_sub(locked(&self.commit).durable);
        if unsynced >= UNSYNCED_BYTES_MAX {
            self.wait_durable(appended.ticket)?;
        }
        Ok(appended)
    }

    fn append_to(&self, tail: &mut Tail, pack: &Pack, drafts: &[Draft<'_>]) -> Result<Appended, WriteError> {
        if tail.torn {
            pack.file.truncate(tail.bytes).map_err(|error| self.fault("cutting a torn record", error))?;
            tail.torn = false;
        }
        let mut buffer = Vec::new();
        let mut places = Vec::with_capacity(drafts.len());
        let mut offset = tail.bytes;
        for draft in drafts {
            draft.write(&mut buffer, self.binding(pack.number), offset);
            places.push(Place { header: draft.header(), offset });
            offset = offset.saturating_add(draft.header().span());
        }
        if let Err(error) = self.even_if_full(|| pack.file.write_at(tail.bytes, &buffer)) {
            tail.torn = pack.file.truncate(tail.bytes).is_err();
            return Err(self.fault("appending to a pack", error));
        }
        tail.bytes = offset;
        let place =
            |place: &Place| Location { pack: pack.number, offset: place.offset, bytes: place.header.bytes };
        let locations = places.iter().map(place).collect();
        tail.places.append(&mut places);
        let era = locked(&self.commit).era;
        Ok(Appended { locations, ticket: Ticket { era, position: tail.position() } })
    }

    /// Returns once the records of `ticket` survive a loss of power.
    pub(crate) fn wait_durable(&self, ticket: Ticket) -> Result<(), WriteError> {
        loop {
            {
                let commit = locked(&self.commit);
                if commit.era != ticket.era {
                    return Err(WriteError::TakenBack { folder: self.disk.folder() });
                }
                if commit.durable >= ticket.position {
                    return Ok(());
                }
                if commit.led {
                    drop(self.led_on.wait(commit).unwrap_or_else(PoisonError::into_inner));
                    continue;
                }
            }
            self.lead(|| self.sync_tail(ticket.position))?;
        }
    }

    /// A ticket for everything appended so far.
    pub(crate) fn ticket(&self) -> Ticket {
        let tail = locked(&self.tail);
        Ticket { era: locked(&self.commit).era, position: tail.position() }
    }

    /// Rises each time undurable records were taken back.
    pub(crate) fn era(&self) -> u64 {
        locked(&self.commit).era
    }

    /// Runs `work` while nobody else syncs or rolls.
    fn lead(&self, work: impl FnOnce() -> Result<(), WriteError>) -> Result<(), WriteError> {
        let mut commit = locked(&self.commit);
        while commit.led {
            commit = self.led_on.wait(commit).unwrap_or_else(PoisonError::into_inner);
        }
        commit.led = true;
        drop(commit);
        let outcome = work();
        locked(&self.commit).led = false;
        self.led_on.notify_all();
        outcome
    }

    /// Syncs the open pack unless `wanted` is durable already. Only under [`Self::lead`].
    fn sync_tail(&self, wanted: u64) -> Result<(), WriteError> {
        if locked(&self.commit).durable >= wanted {
            return Ok(());
        }
        let (file, position) = {
            let tail = locked(&self.tail);
            (tail.open.as_ref().map(|pack| Arc::clone(&pack.file)), tail.position())
        };
        if let Some(Err(error)) = file.map(|file| file.sync()) {
            self.take_back(&mut locked(&self.tail));
            return Err(self.fault("syncing a pack", error));
        }
        let mut commit = locked(&self.commit);
        commit.durable = commit.durable.max(position);
        Ok(())
    }

    /// After a failed sync nobody knows what the disk holds: everything since the last good one is cut away.
    fn take_back(&self, tail: &mut Tail) {
        let mut commit = locked(&self.commit);
        commit.era = commit.era.saturating_add(1);
        tail.bytes = commit.durable.saturating_sub(tail.start);
        let end = tail.bytes;
        tail.places.retain(|place| place.offset < end);
        tail.torn = tail.open.as_ref().is_some_and(|pack| pack.file.truncate(end).is_err());
    }

    /// Seals the open pack if it is `number`, so that it may be removed.
    pub(crate) fn close(&self, number: u32) -> Result<(), WriteError> {
        self.lead(|| self.roll(number))
    }

    /// Seals the open pack and begins the next, unless somebody did so. Only under [`Self::lead`].
    fn roll(&self, full: u32) -> Result<(), WriteError> {
        let mut tail = locked(&self.tail);
        if tail.newest != full {
            return Ok(());
        }
        if let Some(pack) = tail.open.clone() {
            self.seal(&mut tail, &pack)?;
            tail.open = None;
        }
        let number = tail.newest.saturating_add(1);
        let file = self
            .even_if_full(|| self.begin(number))
            .map_err(|error| self.fault("beginning a pack", error))?;
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        files.insert(number, Arc::clone(&file));
        tail.start = tail.position();
        tail.bytes = HEADER_BYTES as u64;
        tail.newest = number;
        tail.places = Vec::new();
        tail.damage = Vec::new();
        tail.known_to = u64::MAX;
        tail.torn = false;
        tail.open = Some(Pack { number, file });
        locked(&self.commit).durable = tail.position();
        Ok(())
    }

    /// The records are durable before the footer that vouches for them is written.
    fn seal(&self, tail: &mut Tail, pack: &Pack) -> Result<(), WriteError> {
        if let Err(error) = pack.file.truncate(tail.bytes).and_then(|()| pack.file.sync()) {
            self.take_back(tail);
            return Err(self.fault("syncing a full pack", error));
        }
        locked(&self.commit).durable = tail.position();
        let bytes = footer::encode(&tail.places, tail.bytes);
        let written = self.even_if_full(|| pack.file.write_at(tail.bytes, &bytes));
        let sealed = written.and_then(|()| pack.file.sync());
        sealed.map_err(|error| {
            tail.torn = true;
            self.fault("sealing a pack", error)
        })
    }

    /// Makes a pack, durable with its first bytes.
    fn begin(&self, number: u32) -> io::Result<Arc<dyn PackFile>> {
        // One that was made before a failure holds no record yet: this runs before its first append.
        self.disk.remove_pack(number)?;
        let file = self.disk.create_pack(number)?;
        file.write_at(0, &front(number))?;
        file.sync()?;
        Ok(file)
    }

    /// Refuses when `bytes` more would eat into what is kept free.
    pub(crate) fn has_room(&self, bytes: u64, reserve_bytes: u64) -> Result<(), WriteError> {
        let free_bytes =
            self.disk.free_bytes().map_err(|error| self.fault("asking for free space", error))?;
        if free_bytes < bytes.saturating_add(reserve_bytes) {
            return Err(WriteError::DiskFull { folder: self.disk.folder(), free_bytes, reserve_bytes });
        }
        Ok(())
    }

    /// Writes, and where others filled the disk once more in the room that is kept for that: blobs are refused long before.
    fn even_if_full<T>(&self, write: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match write() {
            Err(error) if is_full(&error) && self.give_room() => write(),
            done => done,
        }
    }

    /// Refuses when so many bytes do not fit, also where the room that is kept for a full disk is given up.
    pub(crate) fn makes_room(&self, bytes: u64) -> Result<(), WriteError> {
        self.has_room(bytes, 0)
            .or_else(|full| if self.give_room() { self.has_room(bytes, 0) } else { Err(full) })
    }

    /// Gives up the room that is kept for a full disk.
    fn give_room(&self) -> bool {
        let given = self.disk.give_room().unwrap_or(false);
        if given {
            tracing::warn!(
                folder = self.disk.folder(),
                "the disk is full; what was kept for that is used now"
            );
        }
        given
    }

    /// Gives up the room that is kept, where nothing else is left to work with.
    pub(crate) fn find_room(&self) {
        if self.disk.free_bytes().is_ok_and(|free| free < INDEX_BYTES_MIN) {
            self.give_room();
        }
    }

    pub(crate) fn fault(&self, doing: &'static str, error: io::Error) -> WriteError {
        let folder = self.disk.folder();
        if is_full(&error) {
            let free_bytes = self.disk.free_bytes().unwrap_or(0);
            return WriteError::DiskFull { folder, free_bytes, reserve_bytes: 0 };
        }
        WriteError::Disk { folder, doing, source: Arc::new(error) }
    }

    fn file(&self, pack: u32) -> Option<Arc<dyn PackFile>> {
        self.files.read().unwrap_or_else(PoisonError::into_inner).get(&pack).cloned()
    }

    /// The kind of the record whose header lies at an offset, if one does.
    pub(crate) fn kind_at(&self, pack: u32, offset: u64) -> io::Result<Option<Kind>> {
        let Some(file) = self.file(pack) else { return Ok(None) };
        let mut bytes = [0; HEADER_BYTES];
        match file.read_at(offset, &mut bytes) {
            Ok(()) => Ok(Header::decode(&bytes, self.binding(pack), offset).map(|header| header.kind)),
            Err(error) if is_not_there(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The header at a location, if a record of just that length is there.
    pub(crate) fn header(&self, at: Location) -> io::Result<Option<Header>> {
        let Some(file) = self.file(at.pack) else { return Ok(None) };
        let mut bytes = [0; HEADER_BYTES];
        match file.read_at(at.offset, &mut bytes) {
            Ok(()) => {}
            Err(error) if is_not_there(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
        let header = Header::decode(&bytes, self.binding(at.pack), at.offset);
        Ok(header.filter(|header| header.bytes == at.bytes))
    }

    /// The record at a location, if it is there and its payload is what its header says.
    pub(crate) fn read(&self, at: Location) -> io::Result<Option<(Header, Vec<u8>)>> {
        let Some(header) = self.header(at)? else { return Ok(None) };
        let Some(file) = self.file(at.pack) else { return Ok(None) };
        let payload = match scan::payload(&*file, &Place { header, offset: at.offset }) {
            Ok(payload) => payload,
            Err(error) if is_not_there(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(header.matches(&payload).then_some((header, payload)))
    }

    /// A part of a record's payload, unchecked: the caller knows what it must hash to.
    pub(crate) fn read_part(&self, at: Location, start: u64, bytes: u64) -> io::Result<Option<Vec<u8>>> {
        if start.saturating_add(bytes) > at.bytes {
            return Ok(None);
        }
        let Some(file) = self.file(at.pack) else { return Ok(None) };
        let mut part = vec![0; usize::try_from(bytes).unwrap_or(0)];
        let offset = at.offset.saturating_add(HEADER_BYTES as u64).saturating_add(start);
        match file.read_at(offset, &mut part) {
            Ok(()) => Ok(Some(part)),
            Err(error) if is_not_there(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The packs as they are at this moment: number, file, and where what is durable ends if the pack is the open one.
    pub(crate) fn all(&self) -> Vec<(u32, Arc<dyn PackFile>, Option<u64>)> {
        let tail = locked(&self.tail);
        let open = tail.open.as_ref().map(|pack| pack.number);
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        let durable = locked(&self.commit).durable.saturating_sub(tail.start).min(tail.bytes);
        let end = |number| (Some(number) == open).then_some(durable);
        files.iter().map(|(&number, file)| (number, Arc::clone(file), end(number))).collect()
    }

    /// The pack and offset at which the next record will lie.
    pub(crate) fn end(&self) -> (u32, u64) {
        let tail = locked(&self.tail);
        (tail.newest, tail.bytes)
    }

    /// A pack is to be removed once a checkpoint is made: it is no part of the stock any more.
    pub(crate) fn is_to_go(&self, number: u32) {
        locked(&self.leaving).insert(number);
    }

    /// Removes a sealed pack. What is live in it must have been written elsewhere and be durable.
    pub(crate) fn discard(&self, number: u32) -> Result<(), WriteError> {
        let open = locked(&self.tail).open.as_ref().map(|pack| pack.number);
        if open == Some(number) {
            return Ok(());
        }
        self.files.write().unwrap_or_else(PoisonError::into_inner).remove(&number);
        self.disk.remove_pack(number).map_err(|error| self.fault("removing a pack", error))
    }

    /// Whether a pack is still there.
    pub(crate) fn has(&self, number: u32) -> bool {
        self.file(number).is_some()
    }

    /// Bytes appended since this store was opened.
    pub(crate) fn position(&self) -> u64 {
        locked(&self.tail).position()
    }
}
