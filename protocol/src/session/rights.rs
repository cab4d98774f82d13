//! Who may write in a feed, told to the end of a link to which no ops of it flow: it asks, and the other end proves.

use super::Session;
use super::inbound::Context;
use super::signals::{Output, UnservedThere};
use super::stop::Stop;
use super::view::{Unreadable, View};
use crate::fault::Misbehaved;
use crate::frame::{Frame, Rights, Unserved, WantRights};
use crate::grant::RightsProof;
use crate::id::OpId;
use crate::limits::{OPS_NAMED_MAX, RIGHTS_BYTES_MAX, UNSERVED_OPS_MAX};
use crate::package::Coordinate;

/// A publish that the peer pushed: its feed's position, its op, its version.
pub(super) type Pushed = (u16, OpId, Coordinate);

/// The fates of what the peer pushed, as far as they fit: no ops flow back by which it could know them.
pub(super) fn unserved(pushed: Vec<Pushed>, context: &Context<'_>) -> Result<Vec<Unserved>, Unreadable> {
    let mut unserved = Vec::new();
    let mut named = 0;
    for (feed, publish, coordinate) in pushed {
        let Some(on) = context.feeds.get(usize::from(feed)) else { continue };
        if let Some((fate, mut by)) = context.view.fate(on.feed, &coordinate, publish)? {
            by.truncate(OPS_NAMED_MAX);
            named += by.len();
            if named > UNSERVED_OPS_MAX {
                break;
            }
            unserved.push(Unserved { feed, publish, fate, by });
        }
    }
    Ok(unserved)
}

impl Session {
    /// Asks, for each feed that is on the link and of which nothing flows in.
    pub(super) fn ask_rights(&mut self, view: &dyn View) -> Result<(), Stop> {
        for (index, on) in self.feeds().iter().enumerate() {
            if on.effective.is_off() || on.effective.flows_in() {
                continue;
            }
            let Some(authority) = view.authority(on.feed)? else { continue };
            let feed = u16::try_from(index).unwrap_or(u16::MAX);
            if self.rights_asked.insert(feed) {
                self.send(&Frame::WantRights(WantRights { feed, known: authority.digest() }));
            }
        }
        Ok(())
    }

    /// The peer asks.
    pub(super) fn tell_rights(&mut self, want: WantRights, view: &dyn View) -> Result<(), Stop> {
        let on = self.agreed().and_then(|agreed| agreed.feeds.get(usize::from(want.feed)));
        let on = on.ok_or(Misbehaved::FeedNotAgreed)?;
        if on.effective.is_off() || on.effective.flows_out() {
            return Err(Misbehaved::FrameUnexpected.into());
        }
        let feed = on.feed;
        let known = view.authority(feed)?.is_some_and(|authority| authority.digest() == want.known);
        // An honest peer asks once when the link comes up and once a run.
        self.rights_told = self.rights_told.saturating_add(1);
        let most = self.feeds().len().saturating_mul(2);
        if self.rights_told > most {
            return Err(Misbehaved::WantsFlooded.into());
        }
        let proofs = if known { Vec::new() } else { view.rights(feed, RIGHTS_BYTES_MAX)? };
        self.send(&Frame::Rights(Rights { feed: want.feed, proofs }));
        Ok(())
    }

    /// The peer took ops in and does not serve some of the publishes.
    pub(super) fn unserved_there(&mut self, unserved: Vec<Unserved>) -> Result<(), Stop> {
        let feeds = self.feeds();
        let mut fates = Vec::with_capacity(unserved.len());
        for Unserved { feed, publish, fate, by } in unserved {
            let on = feeds.get(usize::from(feed)).ok_or(Misbehaved::FeedNotAgreed)?;
            fates.push(UnservedThere { feed: on.feed, publish, fate, by });
        }
        if !fates.is_empty() {
            self.outputs.push_back(Output::Unserved(fates));
        }
        Ok(())
    }

    /// The peer answers.
    pub(super) fn learn_rights(&mut self, rights: Rights) -> Result<(), Stop> {
        if !self.rights_asked.remove(&rights.feed) {
            return Err(Misbehaved::FrameUnexpected.into());
        }
        let on = self.agreed().and_then(|agreed| agreed.feeds.get(usize::from(rights.feed)));
        let feed = on.ok_or(Misbehaved::FeedNotAgreed)?.feed;
        for proof in rights.proofs {
            let proof = RightsProof::check(proof, feed)?;
            self.outputs.push_back(Output::Learn(proof));
        }
        Ok(())
    }
}
