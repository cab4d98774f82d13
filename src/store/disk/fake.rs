//! A disk in memory for tests: it forgets and tears what was not synced, fills up, and flips bits.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, Held, PackFile};

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn length(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Bytes a power cut keeps or loses as one.
const PAGE_BYTES: usize = 4096;

#[derive(Debug, Default)]
struct Bytes {
    written: Vec<u8>,
    durable: Vec<u8>,
    /// What was written when a sync failed. The kernel takes those pages for clean: no later sync writes them, unless they change.
    forgotten: Vec<u8>,
    /// A byte that cannot be read any more.
    unreadable: Option<usize>,
}

impl Bytes {
    /// What is durable once a sync succeeded.
    fn after_sync(&self) -> Vec<u8> {
        let mut after = self.written.clone();
        for (page, clean) in self.forgotten.chunks(PAGE_BYTES).enumerate() {
            let start = page * PAGE_BYTES;
            let end = self.written.len().min(start + PAGE_BYTES);
            if self.written.get(start..end) == Some(clean) && self.durable.get(start..end) != Some(clean) {
                let durable = self.durable.get(start..).unwrap_or_default();
                let kept = durable.len().min(end - start);
                after[start..start + kept].copy_from_slice(&durable[..kept]);
                after[start + kept..end].fill(0);
            }
        }
        after
    }
}

#[derive(Debug, Default)]
struct World {
    packs: Mutex<BTreeMap<u32, Arc<Mutex<Bytes>>>>,
    small: Mutex<BTreeMap<String, Vec<u8>>>,
    held: AtomicBool,
    capacity: AtomicU64,
    syncs: AtomicU64,
    failing_sync: AtomicBool,
    /// Calls until one fails; none does at zero.
    calls_left: AtomicU64,
    /// Bytes that are kept for a full disk.
    kept: AtomicU64,
}

/// Cheap to clone: every clone is the same disk.
#[derive(Debug, Clone)]
pub(crate) struct FakeDisk {
    world: Arc<World>,
}

impl FakeDisk {
    pub(crate) fn new() -> Self {
        let world = World { capacity: AtomicU64::new(1 << 40), ..World::default() };
        Self { world: Arc::new(world) }
    }

    /// Lets the disk hold `bytes` in all.
    pub(crate) fn hold_at_most(&self, bytes: u64) {
        self.world.capacity.store(bytes, Ordering::SeqCst);
    }

    /// Bytes of all packs.
    pub(crate) fn used(&self) -> u64 {
        let packs = locked(&self.world.packs);
        packs.values().map(|bytes| locked(bytes).written.len() as u64).sum()
    }

    /// Syncs of packs so far.
    pub(crate) fn syncs(&self) -> u64 {
        self.world.syncs.load(Ordering::SeqCst)
    }

    /// Makes the next sync of a pack fail and keep nothing.
    pub(crate) fn fail_next_sync(&self) {
        self.world.failing_sync.store(true, Ordering::SeqCst);
    }

    /// Makes the `call`th call from here on fail, whatever it is: one that writes leaves half.
    pub(crate) fn fail_call(&self, call: u64) {
        self.world.calls_left.store(call, Ordering::SeqCst);
    }

    /// Whether the call that was to fail has come.
    pub(crate) fn has_failed(&self) -> bool {
        self.world.calls_left.load(Ordering::SeqCst) == 0
    }

    fn call(&self) -> io::Result<()> {
        let left = self.world.calls_left.load(Ordering::SeqCst);
        self.world.calls_left.store(left.saturating_sub(1), Ordering::SeqCst);
        if left == 1 { Err(io::Error::other("the device did not answer")) } else { Ok(()) }
    }

    /// Loses power: of what was not synced, each page is kept or lost as `keeps` says.
    pub(crate) fn cut_power(&self, mut keeps: impl FnMut() -> bool) {
        for bytes in locked(&self.world.packs).values() {
            let mut bytes = locked(bytes);
            let mut after = bytes.durable.clone();
            let written = bytes.after_sync();
            for (page, content) in written.chunks(PAGE_BYTES).enumerate() {
                let start = page * PAGE_BYTES;
                let end = start + content.len();
                if after.get(start..end) == Some(content) || !keeps() {
                    continue;
                }
                if after.len() < end {
                    after.resize(end, 0);
                }
                after[start..end].copy_from_slice(content);
            }
            bytes.durable.clone_from(&after);
            bytes.written = after;
            bytes.forgotten.clear();
        }
        self.world.held.store(false, Ordering::SeqCst);
    }

    /// Makes the sector of a byte unreadable.
    pub(crate) fn spoil_sector(&self, pack: u32, at: u64) {
        locked(&locked(&self.world.packs)[&pack]).unreadable = Some(length(at));
    }

    /// Changes bytes of a pack where they lie.
    pub(crate) fn damage(&self, pack: u32, change: impl FnOnce(&mut Vec<u8>)) {
        let packs = locked(&self.world.packs);
        let mut bytes = locked(&packs[&pack]);
        change(&mut bytes.written);
        bytes.durable = bytes.written.clone();
        bytes.forgotten.clear();
    }
}

impl Disk for FakeDisk {
    fn folder(&self) -> String {
        String::from("a disk in memory")
    }

    fn lock(&self) -> io::Result<Box<dyn Held>> {
        self.call()?;
        if self.world.held.swap(true, Ordering::SeqCst) {
            return Err(io::Error::from(io::ErrorKind::WouldBlock));
        }
        Ok(Box::new(FakeHeld { world: Arc::clone(&self.world) }))
    }

    fn packs(&self) -> io::Result<Vec<u32>> {
        self.call()?;
        Ok(locked(&self.world.packs).keys().copied().collect())
    }

    fn create_pack(&self, pack: u32) -> io::Result<Arc<dyn PackFile>> {
        self.call()?;
        let bytes = Arc::default();
        locked(&self.world.packs).insert(pack, Arc::clone(&bytes));
        Ok(Arc::new(FakePack { disk: self.clone(), bytes }))
    }

    fn open_pack(&self, pack: u32) -> io::Result<Arc<dyn PackFile>> {
        self.call()?;
        let packs = locked(&self.world.packs);
        let bytes = packs.get(&pack).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(Arc::new(FakePack { disk: self.clone(), bytes: Arc::clone(bytes) }))
    }

    fn remove_pack(&self, pack: u32) -> io::Result<()> {
        self.call()?;
        locked(&self.world.packs).remove(&pack);
        Ok(())
    }

    fn read_small(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.call()?;
        Ok(locked(&self.world.small).get(name).cloned())
    }

    fn write_small(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.call()?;
        locked(&self.world.small).insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let kept = self.world.kept.load(Ordering::SeqCst);
        Ok(self.world.capacity.load(Ordering::SeqCst).saturating_sub(self.used()).saturating_sub(kept))
    }

    fn keep_room(&self, bytes: u64) -> io::Result<()> {
        self.world.kept.store(bytes, Ordering::SeqCst);
        Ok(())
    }

    fn give_room(&self) -> io::Result<bool> {
        Ok(self.world.kept.swap(0, Ordering::SeqCst) > 0)
    }
}

#[derive(Debug)]
struct FakeHeld {
    world: Arc<World>,
}

impl Held for FakeHeld {}

impl Drop for FakeHeld {
    fn drop(&mut self) {
        self.world.held.store(false, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct FakePack {
    disk: FakeDisk,
    bytes: Arc<Mutex<Bytes>>,
}

impl PackFile for FakePack {
    fn bytes(&self) -> io::Result<u64> {
        self.disk.call()?;
        Ok(locked(&self.bytes).written.len() as u64)
    }

    /// A write past the capacity leaves a torn part, as a real disk may.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let free = length(self.disk.free_bytes()?);
        let mut file = locked(&self.bytes);
        let start = length(offset);
        if start > file.written.len() {
            return Err(io::Error::other("a pack has no holes"));
        }
        let growth = (start + bytes.len()).saturating_sub(file.written.len());
        let failed = self.disk.call();
        let kept = if growth > free { bytes.len() - (growth - free) } else { bytes.len() };
        let kept = if failed.is_err() { kept / 2 } else { kept };
        if file.written.len() < start + kept {
            file.written.resize(start + kept, 0);
        }
        file.written[start..start + kept].copy_from_slice(&bytes[..kept]);
        failed?;
        if kept == bytes.len() { Ok(()) } else { Err(io::Error::from(io::ErrorKind::StorageFull)) }
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.disk.call()?;
        let file = locked(&self.bytes);
        let start = length(offset);
        if file.unreadable.is_some_and(|at| (start..start + buffer.len()).contains(&at)) {
            return Err(io::Error::from_raw_os_error(super::UNREADABLE[0]));
        }
        let bytes = file.written.get(start..start + buffer.len());
        buffer.copy_from_slice(bytes.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let called = self.disk.call();
        self.disk.world.syncs.fetch_add(1, Ordering::SeqCst);
        let mut file = locked(&self.bytes);
        if self.disk.world.failing_sync.swap(false, Ordering::SeqCst) || called.is_err() {
            file.forgotten = file.written.clone();
            return Err(io::Error::other("the device went away"));
        }
        file.durable = file.after_sync();
        Ok(())
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.disk.call()?;
        let mut file = locked(&self.bytes);
        file.written.truncate(length(bytes));
        file.durable.truncate(length(bytes));
        file.forgotten.truncate(length(bytes));
        Ok(())
    }
}
