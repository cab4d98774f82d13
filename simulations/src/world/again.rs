//! Machines that are set back to what was kept of them: what is then still known to be said, and that they write again in the end.

use super::{HEAL_BEATS_MAX, World};
use crate::check::Fault;

impl World {
    pub(super) fn back_up(&mut self, site: usize) {
        let Some(at) = self.sites.get_mut(site) else { return };
        if at.back_up() {
            let text = format!("{} is backed up", at.name);
            self.quic.trace.line(self.now, &text);
        }
    }

    /// What only this machine knew is gone with it; what another one has must come back.
    pub(super) fn set_back(&mut self, site: usize, in_place: bool) {
        let Some(at) = self.sites.get_mut(site) else { return };
        if !at.set_back(self.now, &mut self.quic, in_place) {
            return;
        }
        self.interruptions += 1;
        let how = if in_place { "set back in its place" } else { "restored from its backup" };
        self.quic.trace.line(self.now, &format!("{} is {how}", at.name));
        self.set_back.insert(site);
        self.oracle.taken_back(site, &self.sites);
    }

    /// Each machine that was set back writes again, if need be because a person says so, and what it says arrives.
    pub(super) fn go_on(&mut self) -> Result<(), Fault> {
        if self.set_back.is_empty() {
            return Ok(());
        }
        self.until_all_write()?;
        for site in self.set_back.clone() {
            let Some(at) = self.sites.get_mut(site) else { continue };
            let name = format!("again-{site}");
            let said = at.publish(self.now, self.feed, &name, name.as_bytes());
            self.said(site, &format!("publishes {name}"), said)?;
        }
        self.until_all_arrived().map_err(|Fault { check, what }| Fault {
            check,
            what: format!("after machines that were set back went on: {what}"),
        })
    }

    /// A run that brings everything lets a machine that was set back write again; where there is no such link, its people do.
    fn until_all_write(&mut self) -> Result<(), Fault> {
        let deadline = self.now + HEAL_BEATS_MAX * self.options.beat;
        for site in self.set_back.clone() {
            let hears_all = self.options.shape.hears_all(site);
            while let Some(at) = self.sites.get_mut(site).filter(|at| !at.writes(self.feed)) {
                if !hears_all && !at.is_silent() {
                    at.resume_writing(self.feed);
                } else if self.now > deadline {
                    let what =
                        format!("{} was set back, and does not write though its lines are whole", at.name);
                    return Err(Fault { check: "again", what });
                } else {
                    self.step()?;
                }
            }
        }
        Ok(())
    }
}
