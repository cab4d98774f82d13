//! A disk in memory that keeps exactly what a disk must: what was not synced may be gone, whole or in part, after a loss of power.

mod rot;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use packetboat::store::disk::{Disk, Held, PackFile};

use crate::entropy::Entropy;
use crate::plant::Plant;

/// Bytes between two points at which a torn write may break.
const SECTOR: usize = 512;
/// How a record of ops begins in a pack.
const OPS_RECORD: [u8; 5] = *b"PBr1\x04";

#[derive(Debug, Default)]
struct State {
    packs: BTreeMap<u32, Arc<Pack>>,
    small: BTreeMap<String, Vec<u8>>,
    held: bool,
    bytes_max: Option<u64>,
    /// Syncs that are still to fail.
    syncs_failing: u32,
    /// Power goes inside a sync once so many more are done.
    cut_in_sync: Option<u64>,
    /// Power goes inside a write once so many more are done.
    cut_in_write: Option<u64>,
    /// Power is gone: nothing is written any more.
    dark: bool,
    /// A bug of whoever writes, put in on purpose.
    plant: Option<Plant>,
    /// The newest pack was made since power went last.
    fresh_pack: bool,
    /// What was written last were ops.
    wrote_ops: bool,
}

/// A pack: its bytes as they are read, and as they were at the last sync.
#[derive(Debug, Default)]
struct Pack {
    bytes: RwLock<Vec<u8>>,
    synced: RwLock<Vec<u8>>,
}

/// A disk. Clones are the same disk; it outlives the stores opened on it.
#[derive(Debug, Clone, Default)]
pub struct InMemory {
    state: Arc<RwLock<State>>,
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl InMemory {
    /// Power goes: of each pack's unsynced end a random part is left, possibly torn in its last sector. The lock is gone too.
    pub fn lose_power(&self, entropy: &mut Entropy) {
        let mut state = write(&self.state);
        state.held = false;
        state.dark = false;
        (state.cut_in_sync, state.cut_in_write) = (None, None);
        state.syncs_failing = 0;
        if std::mem::take(&mut state.fresh_pack) && state.plant == Some(Plant::FolderSyncSkipped) {
            state.packs.pop_last();
        }
        for pack in state.packs.values() {
            let mut bytes = write(&pack.bytes);
            let synced = read(&pack.synced);
            let unsynced = bytes.len().saturating_sub(synced.len());
            let kept = usize::try_from(entropy.below(unsynced as u64 + 1)).unwrap_or(0);
            let mut left = synced.clone();
            left.extend(bytes.iter().skip(synced.len()).take(kept));
            if kept > 0 && entropy.chance(500_000) {
                let from = left.len().saturating_sub(SECTOR).max(synced.len());
                let torn = entropy.bytes(left.len() - from);
                left.truncate(from);
                left.extend(torn);
            }
            *bytes = left;
        }
    }

    /// Puts a bug into whoever writes here.
    pub fn plant(&self, plant: Option<Plant>) {
        write(&self.state).plant = plant;
    }

    /// Makes so many syncs fail. What they were to make durable may be so or not.
    pub fn fail_syncs(&self, count: u32) {
        write(&self.state).syncs_failing = count;
    }

    /// Power goes in the middle of a sync once so many more are done.
    pub fn cut_in_sync(&self, after: u64) {
        write(&self.state).cut_in_sync = Some(after);
    }

    /// Power goes in the middle of a write once so many more are done: a part of it is on the disk.
    pub fn cut_in_write(&self, after: u64) {
        write(&self.state).cut_in_write = Some(after);
    }

    /// From here on it syncs, and has room.
    pub fn heal(&self) {
        let mut state = write(&self.state);
        (state.cut_in_sync, state.cut_in_write) = (None, None);
        (state.syncs_failing, state.bytes_max) = (0, None);
    }

    /// Whether power went inside a sync: nothing is written until [`InMemory::lose_power`] brings the disk back.
    #[must_use]
    pub fn is_dark(&self) -> bool {
        read(&self.state).dark
    }

    /// Leaves room for so many bytes more than are there.
    pub fn leave_room(&self, bytes: u64) {
        let mut state = write(&self.state);
        state.bytes_max = Some(Self::used(&state).saturating_add(bytes));
    }

    /// Flips one bit of a pack that is not written any more. Tells where, if there is such a pack.
    pub fn flip_bit(&self, entropy: &mut Entropy) -> Option<(u32, usize)> {
        let state = read(&self.state);
        let sealed = state.packs.len().checked_sub(1)?;
        let pick = usize::try_from(entropy.below(sealed as u64)).ok()?;
        let (number, pack) = state.packs.iter().take(sealed).nth(pick)?;
        let (mut bytes, mut synced) = (write(&pack.bytes), write(&pack.synced));
        let at = usize::try_from(entropy.below(bytes.len() as u64)).ok()?;
        let bit = 1 << entropy.below(8);
        *bytes.get_mut(at)? ^= bit;
        *synced.get_mut(at)? ^= bit;
        Some((*number, at))
    }

    /// Another disk that holds the same, all of it synced.
    #[must_use]
    pub fn copied(&self) -> Self {
        let state = read(&self.state);
        let pack = |pack: &Arc<Pack>| {
            let bytes = read(&pack.bytes).clone();
            Arc::new(Pack { synced: RwLock::new(bytes.clone()), bytes: RwLock::new(bytes) })
        };
        let packs = state.packs.iter().map(|(number, held)| (*number, pack(held))).collect();
        let state = State { packs, small: state.small.clone(), ..State::default() };
        Self { state: Arc::new(RwLock::new(state)) }
    }

    /// Another disk that holds what would be left of this one if power went: a snapshot of the machine from outside.
    #[must_use]
    pub fn imaged(&self) -> Self {
        let copy = self.copied();
        let state = read(&self.state);
        for (number, pack) in &state.packs {
            copy.edit(*number, |bytes| bytes.clone_from(&read(&pack.synced)));
        }
        copy
    }

    /// A disk with these packs and small files, all of it synced.
    #[must_use]
    pub fn holding(
        packs: impl IntoIterator<Item = (u32, Vec<u8>)>,
        small: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> Self {
        let pack =
            |bytes: Vec<u8>| Arc::new(Pack { synced: RwLock::new(bytes.clone()), bytes: RwLock::new(bytes) });
        let packs = packs.into_iter().map(|(number, bytes)| (number, pack(bytes))).collect();
        let state = State { packs, small: small.into_iter().collect(), ..State::default() };
        Self { state: Arc::new(RwLock::new(state)) }
    }

    /// Changes the bytes of a pack, as they are read and as they were synced.
    pub fn edit(&self, number: u32, change: impl FnOnce(&mut Vec<u8>)) {
        let state = read(&self.state);
        if let Some(pack) = state.packs.get(&number) {
            let mut bytes = write(&pack.bytes);
            change(&mut bytes);
            write(&pack.synced).clone_from(&bytes);
        }
    }

    /// Why nothing can be written, if so.
    fn writable(&self) -> io::Result<()> {
        if read(&self.state).dark { Err(io::Error::other("power is gone")) } else { Ok(()) }
    }

    /// Sets how many bytes fit.
    pub fn limit(&self, bytes_max: Option<u64>) {
        write(&self.state).bytes_max = bytes_max;
    }

    /// Whether it may run full.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        read(&self.state).bytes_max.is_some()
    }

    fn used(state: &State) -> u64 {
        state.packs.values().map(|pack| read(&pack.bytes).len() as u64).sum()
    }
}

#[derive(Debug)]
struct Guard(InMemory);

impl Held for Guard {}

impl Drop for Guard {
    fn drop(&mut self) {
        write(&self.0.state).held = false;
    }
}

#[derive(Debug)]
struct Open {
    disk: InMemory,
    pack: Arc<Pack>,
}

impl PackFile for Open {
    fn bytes(&self) -> io::Result<u64> {
        Ok(read(&self.pack.bytes).len() as u64)
    }

    fn write_at(&self, offset: u64, new: &[u8]) -> io::Result<()> {
        self.disk.writable()?;
        let (full, ignored, cut) = {
            let mut state = write(&self.disk.state);
            let left = state.cut_in_write;
            state.cut_in_write = left.and_then(|left| left.checked_sub(1));
            let cut = left == Some(0);
            state.dark = cut;
            state.wrote_ops = new.starts_with(&OPS_RECORD);
            let full = state.bytes_max.is_some_and(|most| InMemory::used(&state) + new.len() as u64 > most);
            (full, state.plant == Some(Plant::FullDiskIgnored), cut)
        };
        if full && ignored {
            return Ok(());
        }
        if full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let mut bytes = write(&self.pack.bytes);
        // Packs are written only past their end, except after a truncate.
        bytes.resize(from, 0);
        if cut {
            bytes.extend_from_slice(new.get(..new.len() / 2).unwrap_or_default());
            return Err(io::Error::other("power went"));
        }
        bytes.extend_from_slice(new);
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let bytes = read(&self.pack.bytes);
        let part = from.checked_add(buffer.len()).and_then(|to| bytes.get(from..to));
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.writable()?;
        {
            let mut state = write(&self.disk.state);
            let left = state.cut_in_sync;
            state.cut_in_sync = left.and_then(|left| left.checked_sub(1));
            if left == Some(0) {
                state.dark = true;
                return Err(io::Error::other("power went"));
            }
            if let Some(left) = state.syncs_failing.checked_sub(1) {
                state.syncs_failing = left;
                if state.plant == Some(Plant::FailedSyncIgnored) {
                    return Ok(());
                }
                return Err(io::Error::other("the disk did not sync"));
            }
            let skips = match state.plant {
                Some(Plant::PackSyncSkipped) => true,
                Some(Plant::LogSyncSkipped) => state.wrote_ops,
                _ => false,
            };
            if skips {
                return Ok(());
            }
        }
        let bytes = read(&self.pack.bytes);
        let mut synced = write(&self.pack.synced);
        let from = synced.len().min(bytes.len());
        synced.truncate(from);
        synced.extend(bytes.iter().skip(from));
        Ok(())
    }

    fn truncate(&self, to: u64) -> io::Result<()> {
        self.disk.writable()?;
        let to = usize::try_from(to).map_err(io::Error::other)?;
        let (mut bytes, mut synced) = (write(&self.pack.bytes), write(&self.pack.synced));
        bytes.truncate(to);
        synced.clone_from(&bytes);
        Ok(())
    }
}

impl Disk for InMemory {
    fn folder(&self) -> String {
        "memory".to_owned()
    }

    fn lock(&self) -> io::Result<Box<dyn Held>> {
        let mut state = write(&self.state);
        if std::mem::replace(&mut state.held, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Guard(self.clone())))
    }

    fn packs(&self) -> io::Result<Vec<u32>> {
        Ok(read(&self.state).packs.keys().copied().collect())
    }

    fn create_pack(&self, number: u32) -> io::Result<Arc<dyn PackFile>> {
        self.writable()?;
        let mut state = write(&self.state);
        if state.packs.contains_key(&number) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let pack = Arc::<Pack>::default();
        state.packs.insert(number, Arc::clone(&pack));
        state.fresh_pack = true;
        Ok(Arc::new(Open { disk: self.clone(), pack }))
    }

    fn open_pack(&self, number: u32) -> io::Result<Arc<dyn PackFile>> {
        let pack = read(&self.state).packs.get(&number).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(Open { disk: self.clone(), pack }))
    }

    fn remove_pack(&self, number: u32) -> io::Result<()> {
        self.writable()?;
        write(&self.state).packs.remove(&number);
        Ok(())
    }

    fn read_small(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(read(&self.state).small.get(name).cloned())
    }

    fn write_small(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.writable()?;
        write(&self.state).small.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = read(&self.state);
        Ok(state.bytes_max.map_or(u64::MAX / 2, |most| most.saturating_sub(Self::used(&state))))
    }

    /// It keeps none: what is done without room shows all the sooner.
    fn keep_room(&self, _bytes: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn give_room(&self) -> io::Result<bool> {
        Ok(false)
    }
}
