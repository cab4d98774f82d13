//! Keys that sites change, and one that a thief found.

use std::collections::BTreeMap;

use protocol::id::LogId;

use super::World;
use crate::check::Fault;
use crate::site::Site;

impl World {
    /// What a machine that was set back, or lost a part of its log, does not know that it said, a new key of it would let count no more: its people
    /// wait with that.
    pub(super) fn new_key(&mut self, site: usize) -> Result<(), Fault> {
        let (now, feed) = (self.now, self.feed);
        let set_back = self.set_back.contains(&site);
        let Some(at) = self.sites.get_mut(site).filter(|at| !set_back && !at.may_have_said_more()) else {
            return Ok(());
        };
        let said = at.new_key(now, feed);
        self.said(site, "changes its key", said.map(Some))
    }

    pub(super) fn use_old_key(&mut self, site: usize, there: usize) {
        let (now, feed) = (self.now, self.feed);
        // Of a machine that was set back it is not known here how far its older keys' logs count; a second theft at another site would be a fork, as
        // would be one of a log that rot took from its own site and others have.
        if self.set_back.contains(&site) || self.robbed.contains(&site) || self.is_short(site) {
            return;
        }
        let Ok([victim, host]) = self.sites.get_disjoint_mut([site, there]) else { return };
        if let Some(named) = host.forge(now, feed, victim) {
            self.robbed.insert(site);
            let text = format!("a thief of {}'s first key signs {} at {}", victim.name, named.id, host.name);
            self.quic.trace.line(now, &text);
        }
    }

    /// Whether somebody has more of what a site said than the site itself, or it had more before.
    fn is_short(&self, site: usize) -> bool {
        let Some(author) = self.sites.get(site).filter(|site| !site.has_short_logs(self.now)) else {
            return true;
        };
        let held = |of: &Site| {
            let heads = of.store().heads(self.feed).unwrap_or_default().into_iter().map(|signed| signed.head);
            heads.filter(|head| head.log.author == author.id()).map(|head| (head.log, head.len))
        };
        let own: BTreeMap<LogId, u64> = held(author).collect();
        self.sites.iter().flat_map(held).any(|(log, len)| own.get(&log).is_none_or(|own| *own < len))
    }
}
