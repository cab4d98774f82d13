//! In which epoch of its log this site writes in each feed, and whether it may write at all: a store that was restored, copied or set back
//! does not know how far its key has signed.

use protocol::id::{FeedId, LogId, SiteId};
use protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::keys;
use super::{ReadError, Shelf, Store, WriteError};

/// Of no awakening: the first has the turn one.
const NOT_HEARD: u64 = 0;

/// The key of the record about the store as a whole. Those of feeds are 32 bytes long, those of what a site told of one 64.
const WHOLE: &[u8] = b"awakening";

/// Bytes of the key of what is noted of a feed as a whole.
const FEED_KEY_BYTES: usize = 32;

/// Why a store does not know how far its key has signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// It was made from a backup of that time.
    Restored { made: Timestamp },
    /// Its folder is not the one it was made in.
    Copied,
    /// Another site has seen a later state of it.
    SetBack,
    /// Another site was called by two nodes with this site's key.
    Doubled,
}

impl Cause {
    /// For people: what happened to this site.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Restored { .. } => "was restored from a backup",
            Self::Copied => "was copied or moved to another folder",
            Self::SetBack => "was set back to an earlier state",
            Self::Doubled => "has a double: another node runs with its key",
        }
    }
}

/// A moment from which the store must not be believed on how far its key has signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Awakening {
    /// From one, each higher than the last.
    pub turn: u64,
    pub at: Timestamp,
    pub cause: Cause,
}

/// Where this site writes in one feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writing {
    pub epoch: u64,
    /// The awakening after which it was decided; zero if there was none.
    pub turn: u64,
}

/// The key of what is noted of whether a site told all of a feed.
fn told_by(feed: FeedId, site: SiteId) -> Vec<u8> {
    keys::joined(&[feed.as_bytes(), site.as_bytes()])
}

impl Store {
    /// The last awakening, if there was one.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn awakening(&self) -> Result<Option<Awakening>, ReadError> {
        let value = self.record(Shelf::Writing, WHOLE)?;
        value.map(|value| self.understood(&value)).transpose()
    }

    /// Notes that the store must not be believed on how far its key has signed. Durable when this returns.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn awaken(&self, cause: Cause, at: Timestamp) -> Result<Awakening, WriteError> {
        let before = self.newest_turn();
        let awakening = Awakening { turn: before.saturating_add(1), at, cause };
        self.put_record(Shelf::Writing, WHOLE, &keys::encode(&awakening))?;
        Ok(awakening)
    }

    /// The number of the last awakening. Where its note rotted, what was decided or told after it tells: the next one is later than all of that.
    fn newest_turn(&self) -> u64 {
        let noted = self.records(Shelf::Writing, &[], &[], usize::MAX).unwrap_or_default();
        let turns = noted.into_iter().filter_map(|(key, value)| {
            if key == WHOLE {
                return keys::decode::<Awakening>(&value).ok().map(|awakening| awakening.turn);
            }
            let decided = keys::decode::<Writing>(&value).ok().filter(|_| key.len() == FEED_KEY_BYTES);
            decided.map(|writing| writing.turn).or_else(|| keys::decode::<u64>(&value).ok())
        });
        turns.max().unwrap_or(0)
    }

    /// Where this site writes in a feed, if that was decided.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn writing(&self, feed: FeedId) -> Result<Option<Writing>, ReadError> {
        let value = self.record(Shelf::Writing, feed.as_bytes())?;
        value.map(|value| self.understood(&value)).transpose()
    }

    /// Decides where this site writes in a feed from here on. Durable when this returns.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn write_in(&self, feed: FeedId, epoch: u64) -> Result<(), WriteError> {
        let turn = self.awakening().ok().flatten().map_or(0, |awakening| awakening.turn);
        self.put_record(Shelf::Writing, feed.as_bytes(), &keys::encode(&Writing { epoch, turn }))
    }

    /// Notes that a log of this site's own leaves it never. Durable when this returns.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn keep_home(&self, log: LogId) -> Result<(), WriteError> {
        self.put_record(Shelf::Overlays, &keys::log(log), &[])?;
        self.forget_ledger(log.feed);
        Ok(())
    }

    /// The logs of a feed that leave this site never.
    pub(super) fn overlays(&self, feed: FeedId) -> Result<Vec<LogId>, ReadError> {
        let noted = self.records(Shelf::Overlays, feed.as_bytes(), &[], usize::MAX)?;
        let log = |key: &[u8]| keys::log_of(&[key, &[0; 8]].concat()).ok();
        Ok(noted.iter().filter_map(|(key, _)| log(key)).collect())
    }

    /// Why this site does not write in a feed, where it does not: nothing was decided since the store's last awakening. No clock tells a
    /// feed of which nothing can have been said before, so whoever makes one decides where it is written in.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn waits(&self, feed: FeedId) -> Result<Option<Awakening>, ReadError> {
        let Some(awakening) = self.awakening()? else { return Ok(None) };
        let decided = self.writing(feed)?.is_some_and(|writing| writing.turn >= awakening.turn);
        Ok(Some(awakening).filter(|_| !decided))
    }

    /// Notes that a site told everything that it has of a feed, or that nothing is expected of it, since the store's last awakening.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn note_heard(&self, feed: FeedId, site: SiteId) -> Result<(), WriteError> {
        let Some(awakening) = self.awakening().ok().flatten() else { return Ok(()) };
        if self.was_heard(feed, site).unwrap_or(false) {
            return Ok(());
        }
        self.put_record(Shelf::Writing, &told_by(feed, site), &keys::encode(&awakening.turn))
    }

    /// Notes that a site is linked no more: whether it told everything that it has of a feed since the store's last awakening stays known.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn note_gone(&self, feed: FeedId, site: SiteId) -> Result<(), WriteError> {
        if self.was_heard(feed, site).unwrap_or(false) {
            return self.remove_record(Shelf::Writing, &told_by(feed, site));
        }
        self.put_record(Shelf::Writing, &told_by(feed, site), &keys::encode(&NOT_HEARD))
    }

    /// The sites that were noted to have told not everything, linked or not.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn gone_unheard(&self, feed: FeedId) -> Result<Vec<SiteId>, ReadError> {
        let mut gone = Vec::new();
        for (key, value) in self.records(Shelf::Writing, feed.as_bytes(), &[], usize::MAX)? {
            let Some(site) =
                key.strip_prefix(feed.as_bytes()).and_then(|site| <[u8; 32]>::try_from(site).ok())
            else {
                continue;
            };
            if self.understood::<u64>(&value)? == NOT_HEARD {
                gone.push(SiteId(site));
            }
        }
        Ok(gone)
    }

    /// Whether a site told everything that it has of a feed since the store's last awakening. Where there was none, nothing has to be told.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn was_heard(&self, feed: FeedId, site: SiteId) -> Result<bool, ReadError> {
        let Some(awakening) = self.awakening()? else { return Ok(true) };
        let heard = self.record(Shelf::Writing, &told_by(feed, site))?;
        let heard = heard.map(|value| self.understood::<u64>(&value)).transpose()?;
        Ok(heard.is_some_and(|turn| turn >= awakening.turn))
    }
}
