//! Feeds that come on a link after it was made: one end offers them, the other says what became of each.

use super::Session;
use super::signals::Output;
use super::stop::Stop;
use crate::fault::Misbehaved;
use crate::frame::{Frame, Offered, Taken};
use crate::limits::FEEDS_PER_LINK_MAX;

impl Session {
    /// Offers feeds to the peer, if it takes any. What it answers is given out as [`Output::Taken`].
    pub fn offer_feeds(&mut self, feeds: &[Offered]) {
        if !self.agreed().is_some_and(|agreed| agreed.peer_new_feeds.takes) {
            return;
        }
        for part in feeds.chunks(FEEDS_PER_LINK_MAX) {
            self.offers_open = self.offers_open.saturating_add(1);
            self.advise(&Frame::Offer(part.to_vec()));
        }
    }

    /// Answers what the peer offered.
    pub fn feeds_taken(&mut self, feeds: Vec<Taken>) {
        self.advise(&Frame::Taken(feeds));
    }

    /// Takes an offer in. It changes nothing in this session: feeds are named in its first frame only.
    pub(super) fn offered(&mut self, feeds: Vec<Offered>) -> Result<(), Stop> {
        if !self.config.new_feeds.takes {
            return Err(Misbehaved::FrameUnexpected.into());
        }
        self.outputs.push_back(Output::Offered(feeds));
        Ok(())
    }

    /// Takes the answer to an offer in.
    pub(super) fn taken(&mut self, feeds: Vec<Taken>) -> Result<(), Stop> {
        self.offers_open = self.offers_open.checked_sub(1).ok_or(Misbehaved::FrameUnexpected)?;
        self.outputs.push_back(Output::Taken(feeds));
        Ok(())
    }
}
