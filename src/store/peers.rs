//! What the other end of each link last said of its terms and is known to hold: what plans and the overview are made from.

use protocol::fault::Reason;
use protocol::frame::Offered;
use protocol::id::{FeedId, LogId};
use protocol::session::Stated;
use protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::keys;
use super::{ReadError, Shelf, Store, WriteError};

/// What one link's other end last said. Losing it makes a plan and the overview poorer until the next session.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PeerState {
    /// What it asks or allows, feed by feed, in the dialler's terms.
    pub stated: Vec<Stated>,
    /// When it said so, by this site's clock.
    pub stated_at: Option<Timestamp>,
    /// Why and when the last session was refused, where none came up since.
    pub refused: Option<(Reason, Timestamp)>,
    /// The ops of each log that flows out which it has, as it last acknowledged.
    pub holds: Vec<(LogId, u64)>,
    /// This site has everything that the other end had then and lets flow here, bytes included.
    pub in_as_of: Option<Timestamp>,
    /// The other end has everything that this site had then and lets flow there, bytes included.
    pub out_as_of: Option<Timestamp>,
    /// Feeds that it offers and that could not be taken up here.
    pub untaken: Vec<(Offered, Reason)>,
    /// Feeds of this site that it could not take up.
    pub untaken_there: Vec<(FeedId, Reason)>,
}

impl PeerState {
    /// What the other end last said of a feed.
    #[must_use]
    pub fn on(&self, feed: FeedId) -> Option<&Stated> {
        self.stated.iter().find(|stated| stated.feed == feed)
    }

    /// Ops of a log that it has.
    #[must_use]
    pub fn held(&self, log: LogId) -> u64 {
        self.holds.iter().find(|(held, _)| *held == log).map_or(0, |(_, len)| *len)
    }
}

impl Store {
    /// Keeps what a link's other end said. Durable when this returns.
    ///
    /// # Errors
    /// When the disk is full or fails; the older state then holds.
    pub fn put_peer(&self, link: &str, state: &PeerState) -> Result<(), WriteError> {
        self.put_record(Shelf::Peers, link.as_bytes(), &keys::encode(state))
    }

    /// What a link's other end said; nothing yet is an empty state.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn peer(&self, link: &str) -> Result<PeerState, ReadError> {
        let value = self.record(Shelf::Peers, link.as_bytes())?;
        value.map_or_else(|| Ok(PeerState::default()), |value| self.understood(&value))
    }

    /// Forgets what a link's other end said.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn forget_peer(&self, link: &str) -> Result<(), WriteError> {
        self.remove_record(Shelf::Peers, link.as_bytes())
    }
}
