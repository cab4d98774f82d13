//! What is known between the two without moving anything: what the peer holds, and what a run would bring.

use std::collections::BTreeMap;

use super::outbound::{Heads, Outbound};
use super::stop::Stop;
use super::view::{Unreadable, View};
use super::{Output, Phase, Session};
use crate::fault::Misbehaved;
use crate::frame::{Frame, Poll, Polled, Pull, Supply};
use crate::id::{FeedId, StoreId};

/// Ops that a run would move now, by feed. Nothing of a direction where the two would have to compare everything first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forecast {
    pub come: Option<BTreeMap<FeedId, u64>>,
    pub go: Option<BTreeMap<FeedId, u64>>,
}

impl Session {
    /// Asks the listener what a run would move, as soon as the link is up and idle. Only a dialler can.
    pub fn forecast(&mut self, view: &dyn View) {
        self.forecast_wanted = true;
        let asked = self.forecast_if_wanted(view);
        self.conclude(asked);
    }

    /// Sends the poll that begins no run, if one is wanted and nothing else is going on.
    pub(super) fn forecast_if_wanted(&mut self, view: &dyn View) -> Result<(), Stop> {
        let idle = matches!(self.phase, Phase::Idle(_)) && !self.forecasting;
        if !idle || !std::mem::take(&mut self.forecast_wanted) {
            return Ok(());
        }
        let feeds = self.feeds();
        let pull = self.inbound.pull(self.config.me, &feeds, view)?;
        let offer = Outbound::offer(&feeds, view)?.map(|(offer, _)| offer);
        self.forecasting = true;
        self.send(&Frame::Poll(Poll { pull, offer, dry: true }));
        Ok(())
    }

    /// The listener's side of it: the answer a run would begin with, and no run.
    pub(super) fn polled_dry(&mut self, poll: Poll, view: &dyn View) -> Result<(), Stop> {
        let supply = match poll.pull {
            Some(pull) => self.would_supply(pull, view)?.0,
            None => Supply::Nothing,
        };
        let pull = self.pull_back(poll, view)?;
        self.send(&Frame::Polled(Polled { supply, pull }));
        Ok(())
    }

    /// The dialler's end of it.
    pub(super) fn foreseen(&mut self, polled: Polled, view: &dyn View) -> Result<(), Stop> {
        self.forecasting = false;
        let feeds: Vec<FeedId> = self.feeds().iter().map(|on| on.feed).collect();
        let come = match polled.supply {
            Supply::Nothing | Supply::Same => Some(BTreeMap::new()),
            Supply::Ranges { .. } => None,
            Supply::Since { heads, .. } => {
                let mut come: BTreeMap<FeedId, u64> = BTreeMap::new();
                for head in heads {
                    let log = head.log(&feeds).ok_or(Misbehaved::FeedNotAgreed)?;
                    let held = view.log(log)?.len();
                    let ops = come.entry(log.feed).or_default();
                    *ops = ops.saturating_add(head.reach.len.saturating_sub(held));
                }
                Some(come)
            }
        };
        let go = match polled.pull {
            Some(pull) => {
                let (supply, scratch) = self.would_supply(pull, view)?;
                (!matches!(supply, Supply::Ranges { .. })).then(|| scratch.promised())
            }
            None => Some(BTreeMap::new()),
        };
        self.outputs.push_back(Output::Forecast(Forecast { come, go }));
        Ok(())
    }

    /// What a run would supply, and what it would owe then.
    fn would_supply(&self, pull: Pull, view: &dyn View) -> Result<(Supply, Outbound), Unreadable> {
        let mut scratch = Outbound::default();
        let supply = scratch.supply(pull, self.config.store, &self.feeds(), &self.inbound.copy, view)?;
        Ok((supply, scratch))
    }

    /// What the listener asks in turn; nothing where the dialler has nothing new and no bytes are lacking.
    pub(super) fn pull_back(&mut self, poll: Poll, view: &dyn View) -> Result<Option<Pull>, Unreadable> {
        let feeds = self.feeds();
        let pull = self.inbound.pull(self.config.me, &feeds, view)?;
        let peer_store = self.agreed().map_or(StoreId([0; 8]), |agreed| agreed.peer_store);
        let known = self.inbound.root_known(peer_store);
        let same = poll.offer.is_none_or(|offer| Some(offer.root) == known);
        Ok(pull.filter(|pull| !same || pull.lacking))
    }

    /// Where there is nothing to tell, the peer has all that was compared.
    pub(super) fn same(&mut self, supply: &Supply, view: &dyn View) -> Result<(), Unreadable> {
        if matches!(supply, Supply::Same) { self.peer_compared(view) } else { Ok(()) }
    }

    /// The peer asks for nothing of what was compared.
    pub(super) fn peer_compared(&mut self, view: &dyn View) -> Result<(), Unreadable> {
        let compared = std::mem::take(&mut self.outbound.compared);
        let held = self.peer_holds(&compared, view);
        self.outbound.compared = compared;
        held
    }

    /// The peer has these logs. Who only pushes offers its own log before it knows of a grant, and a peer may refuse it: of a log whose author
    /// is granted nothing, as far as is known here, nothing is said.
    pub(super) fn peer_holds(&mut self, heads: &Heads, view: &dyn View) -> Result<(), Unreadable> {
        let mut held = Vec::new();
        for on in self.feeds() {
            let Some(authority) = view.authority(on.feed)? else { continue };
            let of = heads.iter().filter(|(log, _)| log.feed == on.feed && authority.is_author(log.author));
            held.extend(of.map(|(log, reach)| (*log, reach.len)));
        }
        self.outputs.push_back(Output::PeerHolds(held));
        Ok(())
    }

    pub(super) fn flows(&self, feed: FeedId) -> bool {
        self.feeds().iter().any(|on| on.feed == feed && !on.effective.is_off())
    }
}
