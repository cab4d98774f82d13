//! What people rule at a site: who may write, and what its ends of links ask, allow or refuse.

use packetboat::statement::rights::accepted;
use protocol::fault::{Outcome, Reason};
use protocol::id::{FeedId, SiteId};
use protocol::op::{Body, Grant, Revoke, Rights, Tip};
use protocol::session::tally::Tally;
use protocol::session::{Side, Versions};
use protocol::switches::Switches;
use protocol::time::Timestamp;
use protocol::timetable::Record;

use super::{Conversation, Site};
use crate::options::Share;
use crate::plant::Plant;
use crate::quic::Quic;

/// What an end of a link does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    Open,
    /// It refuses, and does not dial.
    Paused,
    /// It is not there: who dials is a stranger.
    Removed,
}

/// One end of one link.
#[derive(Debug, Clone)]
pub struct LinkEnd {
    pub name: String,
    /// The host at the other end.
    pub peer_host: usize,
    pub peer: SiteId,
    pub switches: Switches,
    pub side: Side,
    pub state: LinkState,
    /// How its last runs went, as far as a refusal puts the next one off.
    pub record: Record,
}

impl LinkEnd {
    /// An end that is open and over which nothing ran yet.
    #[must_use]
    pub fn new(name: String, peer_host: usize, peer: SiteId, switches: Switches, side: Side) -> Self {
        Self { name, peer_host, peer, switches, side, state: LinkState::Open, record: Record::default() }
    }
}

/// What gives a site a share of the rights in a feed.
#[must_use]
pub fn grant_of(grantee: SiteId, share: Share, expires: Option<Timestamp>) -> Grant {
    let publish = Rights { publish: true, ..Rights::default() };
    let (rights, prefix) = match share {
        Share::All => (Rights::WRITE, ""),
        Share::Own => (Rights { delete_own: true, ..publish }, ""),
        Share::Publish => (publish, ""),
        Share::Contested => (Rights::WRITE, "shared-"),
    };
    Grant { grantee, label: String::new(), rights, prefix: prefix.to_owned(), expires }
}

impl Site {
    /// What takes a site's rights back, by the node's rules; it is granted less next where they are `narrowed`.
    #[must_use]
    pub fn revoke_of(&self, feed: FeedId, grantee: SiteId, all_held: bool, narrowed: bool) -> Body {
        let mut accepted = accepted(self.store(), feed, grantee, all_held).expect("the store reads");
        if self.has(Plant::RevokeAcceptsLater) {
            accepted = vec![Tip { author: grantee, epoch: 1, len: u64::MAX, root: [0; 32] }];
        }
        let grantee = if narrowed && self.has(Plant::NarrowedGrantStays) { self.id() } else { grantee };
        Body::Revoke(Revoke { grantee, accepted, reason: String::new() })
    }

    /// A grant as this site says it: nothing is left out where no bug was put in.
    #[must_use]
    pub fn as_said(&self, grant: Grant) -> Grant {
        if self.has(Plant::GrantWithoutEnd) { Grant { expires: None, ..grant } } else { grant }
    }

    pub(super) fn spoken(&self) -> Versions {
        if self.has(Plant::VersionsNotCompared) { Versions { min: 0, max: u16::MAX } } else { self.versions }
    }

    /// Closes every connection whose run is over.
    pub fn hang_up(&mut self, now: u64, quic: &mut Quic) {
        for one in self.conversations.iter().filter(|one| !one.session.is_running()) {
            quic.close(now, one.talk, Outcome::Done.close_code());
        }
        self.conversations.retain(|one| one.session.is_running());
    }

    /// A run ended: the next one comes as it is due.
    pub(super) fn run_ended(&mut self, link: usize, outcome: Outcome, tally: Tally) {
        self.seal_due |= tally.ops_in > 0;
        if let (Outcome::Misbehaved(fault), Some(end)) = (outcome, self.links.get(link)) {
            self.breaches.push((end.peer, fault));
        }
        self.ended.push((outcome, tally));
        if let Some(end) = self.links.get_mut(link).filter(|_| outcome == Outcome::Done) {
            end.record = end.record.after(outcome);
        }
    }

    /// A session ends: where it was refused, the next run is put off.
    pub(super) fn note_end(&mut self, link: usize, outcome: Outcome) {
        self.closed.push(outcome);
        if matches!(outcome, Outcome::Misbehaved(_)) && self.has(Plant::OneBreachClosesAll) {
            self.links.iter_mut().for_each(|end| end.state = LinkState::Removed);
        }
        if let Some(end) = self.links.get_mut(link)
            && matches!(outcome, Outcome::Refused(_))
            && end.side == Side::Dialler
        {
            end.record = end.record.after(outcome);
            self.refused.insert(link);
        }
    }

    /// Changes an end of a link. The session that stands over it ends, and the next one has the new terms.
    pub fn change_link(&mut self, now: u64, quic: &mut Quic, at: usize, change: impl FnOnce(&mut LinkEnd)) {
        let Some(end) = self.links.get_mut(at) else { return };
        change(end);
        let (state, peer, name) = (end.state, end.peer, end.name.clone());
        if self.has(Plant::SessionOutlivesItsTerms) {
            return;
        }
        if state == LinkState::Removed {
            // A disk that refuses keeps what the next comparison corrects.
            drop(self.store().forget(peer, &name));
        }
        let outcome = match state {
            LinkState::Open => Outcome::Interrupted,
            LinkState::Paused => Outcome::Refused(Reason::LinkPaused),
            LinkState::Removed => Outcome::Refused(Reason::GrantWithdrawn),
        };
        let (ending, going_on) = std::mem::take(&mut self.conversations)
            .into_iter()
            .partition::<Vec<Conversation>, _>(|one| one.link == at);
        self.conversations = going_on;
        for one in ending {
            self.closed.push(outcome);
            quic.close(now, one.talk, outcome.close_code());
        }
    }
}
