//! A site's program starts, stops and starts again, and what its disk does meanwhile.

use std::sync::Arc;
use std::time::Duration;

use packetboat::keeper::Clock;
use packetboat::store::disk::Disk;
use packetboat::store::{OpenError, Options, Store};

use super::Site;
use crate::plant::Plant;
use crate::quic::Quic;

/// Packs are small here, so that several are sealed in a run.
const PACK_BYTES: u64 = 1 << 19;
const CHECKPOINT_BYTES: u64 = 1 << 16;

impl Site {
    pub(super) fn open(&mut self) {
        self.store = Some(match self.try_open() {
            Ok(store) => store,
            // A disk that fails while the program starts is mended, and it starts again.
            Err(OpenError::Disk { .. }) => {
                self.disk.lose_power(&mut self.entropy);
                self.try_open().expect("a store opens on a sound disk")
            }
            Err(error) => unreachable!("a store opens after every loss of power: {error}"),
        });
    }

    /// A life that no other store has: peers know it by its first half.
    pub(super) fn fresh_life(&mut self) -> u128 {
        u128::from(self.entropy.next()) << 64
    }

    fn try_open(&mut self) -> Result<Store, OpenError> {
        let mut options = Options::new(self.fresh_life());
        options.pack_bytes = PACK_BYTES;
        options.checkpoint_bytes = CHECKPOINT_BYTES;
        options.reserve_bytes = 0;
        // By the machine's clock, which worlds must not go by.
        options.unnamed_kept = Duration::ZERO;
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        Store::open_on(disk, Box::new(self.index.clone()), options)
    }

    /// Power goes and comes back: unsynced bytes are gone, connections too.
    pub fn lose_power(&mut self, now: u64, quic: &mut Quic) {
        self.conversations.clear();
        self.store = None;
        self.disk.lose_power(&mut self.entropy);
        self.forget_of_the_index();
        self.begin_anew(now, quic);
    }

    /// The program stops and starts again.
    pub fn restart(&mut self, now: u64, quic: &mut Quic) {
        self.conversations.clear();
        self.store = None;
        self.begin_anew(now, quic);
    }

    /// The program is killed and starts again. What it gave to the disk is there, synced or not; what its index held in memory may not be.
    pub fn be_killed(&mut self, now: u64, quic: &mut Quic) {
        self.conversations.clear();
        self.store = None;
        self.forget_of_the_index();
        self.begin_anew(now, quic);
    }

    /// The index loses some of what was not flushed, and with it what it keeps a second time of records that may have rotted since.
    fn forget_of_the_index(&mut self) {
        self.rot.second_copies_lost |= self.rot.any && self.index.has_unflushed_second_copies();
        let left = self.entropy.index(self.index.unflushed() + 1);
        self.index.lose_power(left);
    }

    /// The program is to stop, wherever it is then, after so many events of its sessions more.
    pub const fn stop_after(&mut self, events: Option<u64>) {
        self.stops_after = events;
    }

    /// Whether the program stopped in the middle of something.
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Counts an event. Tells whether the program stops before it.
    pub(super) const fn comes_to_its_stop(&mut self) -> bool {
        match self.stops_after {
            Some(0) => {
                self.stops_after = None;
                self.is_stopped = true;
            }
            Some(left) => self.stops_after = Some(left - 1),
            None => {}
        }
        self.is_stopped
    }

    pub(super) fn begin_anew(&mut self, now: u64, quic: &mut Quic) {
        self.keeping.starts += 1;
        self.open();
        self.clock = match self.plant {
            Some(Plant::ClockLostAtStart) => Clock::default(),
            _ => Clock::after_start(self.store(), self.look(now)).unwrap_or_default(),
        };
        self.seal_due = true;
        self.forget_lives();
        self.is_stopped = false;
        self.stops_after = None;
        quic.boot(self.host, &self.first);
    }

    /// Flips a bit of a sealed pack and reads everything again. Tells where it was.
    pub fn flip_bit(&mut self) -> Option<(u32, usize)> {
        let at = self.disk.flip_bit(&mut self.entropy)?;
        self.rot.any = true;
        let found = self.store().verify(|_step| {}).expect("the store reads");
        self.rot.told.extend(found.logs_set_back);
        Some(at)
    }
}
