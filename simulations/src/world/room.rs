//! The room that sites give the feed: what is swept and thrown away, and how people go on where a quota is full.

use super::World;
use crate::check::trash::Bin;
use crate::check::{Fault, by, quota};
use crate::topology::NAMES;

impl World {
    pub(super) fn keep_trash(&mut self, site: usize, grace_ms: u64) {
        let Some(at) = self.sites.get_mut(site) else { return };
        at.keep_trash(grace_ms);
        let text = format!("{} keeps what is deleted for {} s", at.name, grace_ms / 1000);
        self.quic.trace.line(self.now, &text);
        self.bins.insert(site, Bin::default());
    }

    pub(super) fn set_quota(&mut self, site: usize, bytes: Option<u64>) {
        let Some(at) = self.sites.get_mut(site) else { return };
        if at.quota(self.feed) != bytes {
            at.set_quota(self.feed, bytes);
            let text = format!("{} gives the feed {bytes:?} bytes", at.name);
            self.quic.trace.line(self.now, &text);
        }
    }

    /// A machine was set back, and its notes of what lies in the trash with it.
    pub(super) fn forget_trash(&mut self, site: usize) {
        self.bins.entry(site).and_modify(|bin| *bin = Bin::default());
    }

    /// Looks whether everything is still there that its trash must keep. What rot took went without a sweep.
    pub(super) fn look_into_trash(&mut self) -> Result<(), Fault> {
        (0..self.sites.len()).try_for_each(|at| self.look_into_trash_of(at))
    }

    pub(super) fn look_into_trash_of(&mut self, at: usize) -> Result<(), Fault> {
        if self.rotted.contains(&at) {
            self.bins.remove(&at);
        }
        let (Some(bin), Some(site)) = (self.bins.get_mut(&at), self.sites.get(at)) else { return Ok(()) };
        if site.disk().is_dark() {
            return Ok(());
        }
        by("trash", bin.look(site, self.now, self.feed))
    }

    pub(super) fn sweep(&mut self, site: usize) -> Result<(), Fault> {
        self.look_into_trash()?;
        let (now, feed) = (self.now, self.feed);
        let Some(at) = self.sites.get_mut(site) else { return Ok(()) };
        let done = at.sweep(now);
        if let Some(bin) = self.bins.get_mut(&site).filter(|_| done) {
            by("trash", bin.swept(at, now, feed))?;
        }
        Ok(())
    }

    pub(super) fn empty_trash(&mut self, site: usize) -> Result<(), Fault> {
        self.look_into_trash()?;
        let (now, feed) = (self.now, self.feed);
        let text = format!("{} empties its trash", NAMES.get(site).unwrap_or(&"?"));
        self.quic.trace.line(now, &text);
        let Some(at) = self.sites.get_mut(site) else { return Ok(()) };
        let done = at.empty_trash(now);
        if let Some(bin) = self.bins.get_mut(&site) {
            by("trash", bin.emptied(at, now, feed, done))?;
        }
        Ok(())
    }

    /// Where the feed has a quota at the end of the run, one byte more than it has room for is refused; and once people made room, it is not.
    pub(super) fn write_beyond_quotas(&mut self) -> Result<(), Fault> {
        let mut spoke = false;
        for site in 0..self.sites.len() {
            spoke |= self.write_beyond_quota(site)?;
        }
        if spoke {
            self.until_all_arrived().map_err(|Fault { check, what }| Fault {
                check,
                what: format!("after room was made: {what}"),
            })?;
        }
        Ok(())
    }

    fn write_beyond_quota(&mut self, site: usize) -> Result<bool, Fault> {
        let (feed, name) = (self.feed, format!("more-{site}"));
        let rotted = self.rotted.contains(&site);
        let Some(at) = self.sites.get(site).filter(|_| !rotted) else { return Ok(false) };
        let Some(most) = at.quota(feed) else { return Ok(false) };
        let room = most.saturating_sub(quota::taken(at, self.now, feed));
        if self.publish_at(site, &name, room + 1)? {
            let what =
                format!("{} published more than its quota has room for", NAMES.get(site).unwrap_or(&"?"));
            return Err(Fault { check: "quota", what });
        }
        let bytes = (room + 1).min(most);
        while let Some(at) = self.sites.get(site)
            && quota::taken(at, self.now, feed).saturating_add(bytes) > most
        {
            // Where nothing is left that can be deleted, what is held is not for people to drop.
            let Some(largest) = self.largest_served(site) else { return Ok(true) };
            self.delete_at(site, &largest)?;
            self.empty_trash(site)?;
        }
        if !self.publish_at(site, &name, bytes)? {
            let what = format!("{} has room again and still does not write", NAMES.get(site).unwrap_or(&"?"));
            return Err(Fault { check: "quota", what });
        }
        Ok(true)
    }

    /// What takes most room at a site of all that is served there.
    fn largest_served(&self, site: usize) -> Option<String> {
        let at = self.sites.get(site)?;
        let served = at.items(self.now, self.feed).into_iter().filter_map(|(name, item)| {
            let winner = item.winner.filter(|winner| at.is_whole(*winner))?;
            let publishes = at.publishes(self.feed, &name);
            let publish = publishes.into_iter().find(|(id, _)| *id == winner)?.1;
            Some((publish.manifest.size(), name))
        });
        served.max().map(|(_, name)| name)
    }
}
