//! Bits that rot at a site, and what its program makes of them, by the node's rules: a scrub reads everything again, what readers came upon
//! is looked into, and what is back is noted.

use std::collections::BTreeSet;

use packetboat::keeper::AuthorError;
use packetboat::keeper::own_log::OwnLog;
use packetboat::store::{FeedRecord, Loss, ReadError, ScrubPlace, Store, SweepError};
use protocol::fault::Outcome;
use protocol::filter::Filter;
use protocol::id::{BlobId, FeedId, LogId};
use protocol::op::Genesis;

use super::Site;
use crate::entropy::Entropy;
use crate::plant::Plant;
use crate::quic::Quic;

/// Bytes that a scrub reads at a time.
const SCRUB_BYTES: u64 = 1 << 16;
/// Times at which a reader looks into what it came upon before it gives up.
const READS_MAX: usize = 4;

/// Of so many times that damage comes once beside an index that has second copies of what it takes.
const SECOND_COPIES_LAST_ONCE_IN: u64 = 4;

/// What rot did to a site.
#[derive(Debug, Default)]
pub(super) struct Rot {
    /// Whether bits have rotted here.
    pub(super) any: bool,
    /// Logs of which this site said that damage took a part.
    pub(super) told: BTreeSet<LogId>,
    /// Whether the index here ever lost what it keeps a second time.
    pub(super) second_copies_lost: bool,
    /// The feed that people made known here.
    pub(super) joined: Option<Genesis>,
    /// Whether they did so again, and sessions go on that know nothing of it.
    joined_again: bool,
}

impl Site {
    /// Flips bits on this site's disk. Tells where.
    pub fn rot(&mut self, entropy: &mut Entropy, bits: u64) -> Vec<(u32, usize)> {
        let places: Vec<_> = (0..bits).filter_map(|_| self.disk.rot(entropy)).collect();
        if !places.is_empty() {
            self.rot.any = true;
            // What was durable may be gone all the same.
            self.promised.clear();
            self.lose_second_copies(entropy);
        }
        places
    }

    /// Mostly; what is kept twice outlives damage otherwise, and there is nothing to be had back from others.
    fn lose_second_copies(&mut self, entropy: &mut Entropy) {
        if entropy.below(SECOND_COPIES_LAST_ONCE_IN) != 0 {
            self.index.lose_second_copies();
            self.rot.second_copies_lost = true;
        }
    }

    /// The program is stopped, and a pack is gone or cut short when it starts again. Tells which and what is left of it. Nothing happens where the
    /// disk does not take how far the index is whole: nobody would know then what was lost.
    pub fn lose_pack(&mut self, now: u64, quic: &mut Quic, entropy: &mut Entropy) -> Option<(u32, usize)> {
        self.store().checkpoint().ok()?;
        let lost = self.disk.lose_pack(entropy)?;
        self.lose_second_copies(entropy);
        self.rot.any = true;
        self.promised.clear();
        self.restart(now, quic);
        Some(lost)
    }

    /// Reads everything again, as far as the disk takes notes of what is found, and looks after what was.
    pub fn scrub(&mut self, now: u64) {
        let mut next = Some(ScrubPlace::default());
        while let Some(from) = next {
            let Ok(scrubbed) = self.store().scrub(from, SCRUB_BYTES) else { break };
            // A log that was set back may have come again over a link that leaves out what an older record has.
            assert!(
                self.rot.any || !scrubbed.index_mended,
                "nothing was lost that an index was built anew for"
            );
            self.rot.told.extend(scrubbed.loss.logs);
            next = scrubbed.next.filter(|_| !self.has(Plant::ScrubEndsEarly));
        }
        self.look_after_damage(now);
    }

    /// What a node does each minute: it looks into what readers came upon, and notes what is back.
    pub fn look_after_damage(&mut self, now: u64) {
        let loss: Result<Loss, SweepError> = self.store().look_into_damage();
        self.rot.told.extend(loss.unwrap_or_default().logs);
        // Where rot took what this site noted of the feed before its index was built anew, people make it known again.
        if let Some(genesis) =
            self.rot.joined.clone().filter(|_| self.reads(Store::feeds).is_some_and(|all| all.is_empty()))
        {
            let name = genesis.name.clone();
            let record = FeedRecord { genesis, name, strict: false, local_wins: false, open_reads: false };
            // A disk that refuses is asked again at the next time.
            self.rot.joined_again |= self.store().put_feed(&record).is_ok();
        }
        let look = self.look(now);
        let Ok(open) = self.store().open_damage(look) else { return };
        if !open.is_nothing() && !self.has(Plant::HealedBlobUnnoted) {
            // A disk that takes no notes is asked again at the next time.
            drop(self.store().mend(look));
        }
        self.rot.told.extend(open.logs);
    }

    /// Reads as somebody does who asks again once it was looked into what is damaged. Nothing where the disk takes no notes of that.
    pub(crate) fn reads<T>(&self, read: impl Fn(&Store) -> Result<T, ReadError>) -> Option<T> {
        for _ in 0..READS_MAX {
            match read(self.store()) {
                Ok(value) => return Some(value),
                Err(error @ ReadError::CorruptRecord { .. }) => {
                    assert!(self.rot.any, "a store whose disk is sound reads: {error}");
                    drop(self.store().look_into_damage());
                }
                Err(error) => unreachable!("a store reads: {error}"),
            }
        }
        None
    }

    /// Where the log goes on that a site signs which takes what damage took of it for never said.
    pub(super) fn as_if_unsaid(
        &self,
        own: Result<OwnLog, AuthorError>,
        feed: FeedId,
    ) -> Result<OwnLog, AuthorError> {
        match own {
            Err(AuthorError::SetBack { .. }) if self.has(Plant::DamagedLogGoesOn) => {
                let epoch = self.store().writing(feed)?.map_or(1, |writing| writing.epoch);
                let log = LogId { feed, author: self.id(), epoch };
                let held = self.store().log_state(log)?.map(|state| state.after).unwrap_or_default();
                Ok(OwnLog { log, opens: None, held })
            }
            own => own,
        }
    }

    /// The blobs that a site forgets to want once they have rotted.
    pub(super) fn unwanted(&self, now: u64) -> BTreeSet<BlobId> {
        let open = self.has(Plant::RottedBytesUnwanted).then(|| self.store().open_damage(self.look(now)));
        open.and_then(Result::ok).unwrap_or_default().blobs.into_iter().collect()
    }

    /// What this site handed to a peer that is not what it is called.
    #[must_use]
    pub fn handed_wrong(&self) -> Option<String> {
        self.handed.wrong()
    }

    /// Ends the sessions that began while the feed was not known here, as the node does when feeds change.
    pub fn end_sessions_without_feed(&mut self, now: u64, quic: &mut Quic) {
        if std::mem::take(&mut self.rot.joined_again) {
            for one in self.conversations.drain(..) {
                quic.close(now, one.talk, Outcome::Interrupted.close_code());
            }
        }
    }

    /// Whether this site says that it lost a part of a log.
    #[must_use]
    pub fn tells_loss_of(&self, log: LogId) -> bool {
        let gaps = || self.store().gaps(log).is_ok_and(|(ops, _)| ops > 0);
        self.rot.told.contains(&log)
            || (log.author == self.id() && gaps())
            || matches!(self.store().awakening(), Ok(Some(_)))
    }

    /// A log of which damage took a part though the index has all of it a second time.
    #[must_use]
    pub fn lost_what_is_kept_twice(&self) -> Option<LogId> {
        self.rot.told.first().copied().filter(|_| !self.rot.second_copies_lost)
    }

    /// Whether damage took a part of what this site said itself.
    #[must_use]
    pub fn lost_own_words(&self) -> bool {
        let woken = self.rot.any && self.had_to_learn();
        woken || self.rot.told.iter().any(|log| log.author == self.id())
    }

    /// Whether a log is shorter here than it was.
    #[must_use]
    pub fn has_short_logs(&self, now: u64) -> bool {
        self.store().open_damage(self.look(now)).is_ok_and(|open| !open.logs.is_empty())
    }

    /// The blobs of a feed that this site says it lacks.
    #[must_use]
    pub fn lacking(&self, now: u64, feed: FeedId) -> BTreeSet<BlobId> {
        let look = self.look(now);
        let missing = self.store().missing_blobs(feed, look, &Filter::default()).unwrap_or_default();
        let open = self.store().open_damage(look).map(|open| open.blobs).unwrap_or_default();
        missing.into_iter().map(|one| one.blob).chain(open).collect()
    }
}
