//! Feeds that come on a link after it was made: one end offers them, the other says what became of each.

use super::Session;
use super::signals::Output;
use super::stop::Stop;
use crate::fault::Misbehaved;
use crate::frame::{Frame, Offered, Taken};
use crate::limits::{FEEDS_PER_LINK_MAX, OFFERS_OPEN_MAX};

/// Offers that are not answered.
#[derive(Debug, Default)]
pub(super) struct Offers {
    /// This site's, by the peer.
    open: usize,
    /// What is offered once the peer has answered some.
    held_back: Vec<Offered>,
    /// The peer's, by this site.
    unanswered: usize,
}

impl Session {
    /// Offers feeds to the peer, if it takes any: all that it is to have. What it answers is given out as [`Output::Taken`].
    pub fn offer_feeds(&mut self, feeds: &[Offered]) {
        if !self.agreed().is_some_and(|agreed| agreed.peer_new_feeds.takes) {
            return;
        }
        for part in feeds.chunks(FEEDS_PER_LINK_MAX) {
            if self.offers.open >= OFFERS_OPEN_MAX {
                self.offers.held_back = feeds.to_vec();
                return;
            }
            self.offers.open += 1;
            self.advise(&Frame::Offer(part.to_vec()));
        }
    }

    /// Answers what the peer offered.
    pub fn feeds_taken(&mut self, feeds: Vec<Taken>) {
        self.offers.unanswered = self.offers.unanswered.saturating_sub(1);
        self.advise(&Frame::Taken(feeds));
    }

    /// Takes an offer in. It changes nothing in this session: feeds are named in its first frame only.
    pub(super) fn offered(&mut self, feeds: Vec<Offered>) -> Result<(), Stop> {
        self.offers.unanswered += 1;
        let flood = self.offers.unanswered > OFFERS_OPEN_MAX || feeds.len() > FEEDS_PER_LINK_MAX;
        if !self.config.new_feeds.takes || flood {
            return Err(Misbehaved::FrameUnexpected.into());
        }
        self.outputs.push_back(Output::Offered(feeds));
        Ok(())
    }

    /// Takes the answer to an offer in.
    pub(super) fn taken(&mut self, feeds: Vec<Taken>) -> Result<(), Stop> {
        self.offers.open = self.offers.open.checked_sub(1).ok_or(Misbehaved::FrameUnexpected)?;
        self.outputs.push_back(Output::Taken(feeds));
        let held_back = std::mem::take(&mut self.offers.held_back);
        self.offer_feeds(&held_back);
        Ok(())
    }
}
