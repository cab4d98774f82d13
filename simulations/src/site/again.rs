//! A machine that is set back to what was kept of it, or runs twice, and what its program makes of that, by the node's rules.

use std::collections::{BTreeMap, BTreeSet};

use packetboat::keeper::own_log::{self, Grounds};
use packetboat::store::{Cause, Snapshot, new_life};
use protocol::fault::Outcome;
use protocol::id::{FeedId, LogId, OpId, SiteId, StoreId};
use protocol::lives::Lives;
use protocol::op::Place;
use protocol::session::tally::Tally;
use protocol::session::{Event, Side};
use protocol::time::Timestamp;

use super::Site;
use crate::disk::InMemory;
use crate::index::Forgetful;
use crate::options::Back;
use crate::plant::Plant;
use crate::quic::Quic;

/// The file that names a store's life.
const FORMAT: &str = "FORMAT";

/// What was kept of a machine at one moment.
#[derive(Debug)]
struct Kept {
    /// What the node's own backup took.
    backup: InMemory,
    /// The disk and the index as a snapshot from outside has them.
    image: (InMemory, Forgetful),
    /// The image has no second copy of what was written, or read anew, shortly before.
    lacks_second_copies: bool,
}

/// What is known of the lives of a site's machine, by the machine and by the world.
#[derive(Debug, Default)]
pub(super) struct Again {
    kept: Option<Kept>,
    /// Whether the store ever had to learn how far its key has signed.
    awoke: bool,
    /// Links on which no run was done since the machine was set back from outside: until then its people write nothing, for the other ends
    /// may have heard more of them.
    unheard: BTreeSet<usize>,
    /// How often logs had been set back here when the last run over each link ended.
    set_backs: BTreeMap<usize, u64>,
    /// Everything that was signed here and appended, whatever became of it: no machine remembers that.
    said: BTreeMap<(LogId, u64), BTreeSet<OpId>>,
    /// The lives of other sites that called lately, as this program knows them.
    lives: Lives,
    /// Each life that was let in since the program started, with when, for whoever checks.
    let_in: Vec<(SiteId, StoreId, Timestamp)>,
}

impl Again {
    pub(super) fn is_silent(&self) -> bool {
        !self.unheard.is_empty()
    }

    pub(super) fn said(&mut self, ops: impl IntoIterator<Item = (Place, OpId)>) {
        for (place, id) in ops {
            self.said.entry((place.log, place.seq)).or_default().insert(id);
        }
    }
}

/// The low half of a random number.
pub(super) fn low(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or(0)
}

/// A disk that holds what a backup took.
fn disk_of(snapshot: Snapshot) -> InMemory {
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(0);
    let packs = snapshot.packs.into_iter().map(|pack| {
        let mut held = vec![0; bytes(pack.bytes)];
        pack.file.read_at(0, &mut held).expect("a snapshot's packs are there");
        (pack.number, held)
    });
    InMemory::holding(packs, [(FORMAT.to_owned(), snapshot.format)])
}

impl Site {
    /// Keeps what is on this machine, unless its disk fails.
    pub fn back_up(&mut self) -> bool {
        let Ok(snapshot) = self.store().snapshot() else { return false };
        let image = (self.disk.imaged(), self.index.imaged());
        let lacks_second_copies = self.index.has_unflushed_second_copies();
        self.again.kept = Some(Kept { backup: disk_of(snapshot), image, lacks_second_copies });
        true
    }

    /// Sets this machine back to what was kept of it. Tells whether anything was.
    pub fn set_back(&mut self, now: u64, quic: &mut Quic, how: Back) -> bool {
        let Some(kept) = self.again.kept.take() else { return false };
        self.conversations.clear();
        self.store = None;
        self.promised.clear();
        // What was said since and lost is said again by nobody, and its bytes may be nowhere.
        self.swept = true;
        let restored = how == Back::Restored;
        if restored {
            (self.disk, self.index) = (kept.backup, Forgetful::default());
            self.rot.second_copies_lost = true;
            self.begin_life();
        } else {
            (self.disk, self.index) = kept.image;
            self.rot.second_copies_lost |= kept.lacks_second_copies;
        }
        self.plant(self.plant);
        self.begin_anew(now, quic);
        self.again.awoke = matches!(self.store().awakening(), Ok(Some(_)));
        if how == Back::InPlace {
            self.again.unheard = (0..self.links.len()).collect();
        }
        if restored && !self.has(Plant::RestoredSignsAtOnce) {
            self.awaken(now, Cause::Restored { made: self.wall(now) });
        }
        true
    }

    /// Whether its store ever had to learn what this site had said.
    #[must_use]
    pub fn had_to_learn(&self) -> bool {
        matches!(self.store().awakening(), Ok(Some(_)))
    }

    /// What the node's restore writes: the packs are those of the backup, and the life is another.
    fn begin_life(&mut self) {
        use packetboat::store::disk::Disk as _;
        let generation = self.fresh_life();
        let format = self.disk.read_small(FORMAT).expect("it reads").expect("a backup has a format");
        let format = new_life(&format, generation).expect("a backup's format is whole");
        self.disk.write_small(FORMAT, &format).expect("an empty disk takes it");
    }

    /// A second machine with this one's key, at another address: its folder was copied, which its program sees, or the whole machine was,
    /// which nothing tells. It dials what this one dials.
    pub fn double(&self, now: u64, quic: &mut Quic, host: usize, noticed: bool) -> Self {
        let mut double = Self::new(self.name, host, &self.entropy.fork("double"));
        (double.key, double.first) = (self.key.clone(), self.first.clone());
        double.store = None;
        (double.disk, double.index) = (self.disk.imaged(), self.index.imaged());
        double.links = self.links.iter().filter(|end| end.side == Side::Dialler).cloned().collect();
        double.clock_ahead_ms = self.clock_ahead_ms;
        double.hangs_up = self.hangs_up;
        double.plant(self.plant);
        if noticed {
            double.begin_life();
        }
        double.begin_anew(now, quic);
        double.again.awoke = matches!(double.store().awakening(), Ok(Some(_)));
        if noticed {
            double.awaken(now, Cause::Copied);
        }
        double
    }

    /// Takes over what a second machine with this one's key signed, for whoever checks.
    pub fn answers_for(&mut self, double: &Self) {
        for (place, ops) in &double.again.said {
            self.again.said.entry(*place).or_default().extend(ops);
        }
    }

    fn awaken(&mut self, now: u64, cause: Cause) {
        // A disk that refuses this is told again at the next run.
        if own_log::awaken(self.store(), cause, self.wall(now)).is_ok() {
            self.again.awoke = true;
        }
    }

    /// A session noticed something that a person should know.
    pub(super) fn noticed(&mut self, now: u64, peer: SiteId, event: Event) {
        let wall = self.wall(now);
        match event {
            Event::Forked { log } => {
                self.forks.insert(log);
            }
            Event::SetBack => self.awaken(now, Cause::SetBack),
            Event::Ahead { log, len } => {
                if own_log::is_behind(self.store(), self.id(), log, len).expect("the store reads") {
                    self.awaken(now, Cause::SetBack);
                }
            }
            // No site of these worlds evicts.
            Event::Lacks { .. } => {}
            Event::Doubled { life } => {
                self.again.lives.saw(peer, life, wall);
                self.again.lives.doubled(peer, wall);
            }
        }
    }

    /// Both ends of a session agreed.
    pub(super) fn let_in(&mut self, now: u64, peer: SiteId, life: StoreId) {
        let wall = self.wall(now);
        self.again.lives.saw(peer, life, wall);
        self.again.let_in.push((peer, life, wall));
    }

    /// The lives of a peer to which this site does not listen.
    pub(super) fn barred(&self, peer: SiteId, wall: Timestamp) -> Vec<StoreId> {
        if self.has(Plant::DoublesLetIn) { Vec::new() } else { self.again.lives.barred(peer, wall) }
    }

    /// A session with a peer ended, maybe because this site has a double.
    pub(super) fn closed_for(&mut self, now: u64, peer: SiteId, outcome: Outcome) {
        if self.again.lives.is_told_of_own(outcome, peer, self.wall(now)) {
            self.awaken(now, Cause::Doubled);
        }
    }

    /// A program that starts knows of no lives.
    pub(super) fn forget_lives(&mut self) {
        self.again.lives = Lives::default();
        self.again.let_in.clear();
        self.again.set_backs.clear();
    }

    /// Each life of another site that was let in since the program started, in order, with when.
    #[must_use]
    pub fn lives_let_in(&self) -> &[(SiteId, StoreId, Timestamp)] {
        &self.again.let_in
    }

    /// A run is over: where everything of a feed flowed in, this site knows what it said there.
    pub(super) fn learned(&mut self, at: usize, outcome: Outcome, tally: &Tally) {
        let Some(one) = self.conversations.get(at) else { return };
        let agreed = one.session.agreed();
        let whole = agreed.map(|agreed| own_log::wholly_heard(agreed, outcome, tally)).unwrap_or_default();
        // Bytes may be nowhere any more; all ops came.
        if outcome == Outcome::Done || tally.blobs_missing > 0 {
            self.again.unheard.remove(&one.link);
        }
        let set_backs = self.again.set_backs.insert(one.link, self.store().set_backs());
        for feed in whole {
            self.go_on(feed, Grounds::Heard { set_backs });
        }
    }

    /// Lets this site write again where it waits. A disk that refuses leaves it waiting.
    pub fn resume_writing(&mut self, feed: FeedId) {
        self.go_on(feed, Grounds::Told);
    }

    fn go_on(&mut self, feed: FeedId, grounds: Grounds) {
        if !self.again.awoke && !self.rot.any {
            return;
        }
        let step = self.entropy.next();
        if self.has(Plant::EpochNotOpened) {
            if !matches!(self.store().waits(feed), Ok(Some(_))) {
                return;
            }
            let heads = self.store().heads(feed).unwrap_or_default().into_iter();
            let own = heads.map(|signed| signed.head.log).filter(|log| log.author == self.id());
            let newest = own.map(|log| log.epoch).max().unwrap_or(1);
            drop(self.store().write_in(feed, newest));
            return;
        }
        drop(own_log::resume(self.store(), &self.key, feed, grounds, || Ok(low(step))));
    }

    /// Whether its people write nothing until they heard from every link.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.again.is_silent()
    }

    /// Every place of this site's logs with the ops that were signed for it.
    pub fn signed(&self) -> impl Iterator<Item = (&(LogId, u64), &BTreeSet<OpId>)> {
        self.again.said.iter()
    }
}
