//! Machines that are set back to what was kept of them: what is then still known to be said, and that they write again in the end.

use std::collections::BTreeSet;

use super::{HEAL_BEATS_MAX, World};
use crate::check::Fault;
use crate::options::Back;
use crate::site::Site;

impl World {
    pub(super) fn back_up(&mut self, site: usize) {
        let Some(at) = self.sites.get_mut(site) else { return };
        if at.back_up() {
            let text = format!("{} is backed up", at.name);
            self.quic.trace.line(self.now, &text);
        }
    }

    /// What only this machine knew is gone with it; what another one has must come back.
    pub(super) fn set_back(&mut self, site: usize, how: Back) {
        let Some(at) = self.sites.get_mut(site) else { return };
        if !at.set_back(self.now, &mut self.quic, how) {
            return;
        }
        self.interruptions += 1;
        if how == Back::Hasty {
            self.oracle.doubled.insert(at.id());
        }
        self.quic.trace.line(self.now, &format!("{} is set back: {how:?}", at.name));
        self.set_back.insert(site);
        self.forget_trash(site);
        self.oracle.taken_back(site, &self.sites);
        let unheard: Vec<usize> =
            self.set_back.iter().copied().filter(|at| self.is_beyond_hearing(*at)).collect();
        self.oracle.doubled.extend(unheard.iter().filter_map(|at| self.sites.get(*at)).map(Site::id));
    }

    /// Whether a machine that was set back cannot hear all that it had said: those that are linked with it were set back as well, and only others
    /// still have a part of it.
    fn is_beyond_hearing(&self, at: usize) -> bool {
        let Some(site) = self.sites.get(at) else { return false };
        let links = || self.shape.links.iter().filter(|link| link.dialler == at || link.listener == at);
        let linked: BTreeSet<usize> = links().flat_map(|link| [link.dialler, link.listener]).collect();
        let held = |op, linked_too: bool| {
            let others =
                self.sites.iter().enumerate().filter(|(other, _)| linked.contains(other) == linked_too);
            others.map(|(_, other)| other).any(|other| other.holds(op))
        };
        site.signed().flat_map(|(_, ops)| ops).any(|op| held(*op, false) && !held(*op, true))
    }

    /// Each machine that was set back or ran twice writes again, and what it says arrives. A run that brings everything is enough for that;
    /// where there is no such link, its people say so.
    pub(super) fn go_on(&mut self) -> Result<(), Fault> {
        // Where people went on at once, what they say first may be what shows two histories; once that is cut they say more.
        // Whoever lost words of its own to rot goes on as one whose machine was set back does.
        let lost = |at: &&usize| self.sites.get(**at).is_some_and(Site::lost_own_words);
        let sites: BTreeSet<usize> =
            self.set_back.iter().chain(self.rotted.iter().filter(lost)).copied().collect();
        let rounds: &[&str] = if sites.is_empty() { &[] } else { &["again", "more"] };
        for round in rounds {
            for site in sites.iter().copied() {
                self.speak_at(site, &format!("{round}-{site}"))?;
            }
            self.resolve_forks()?;
            self.until_all_arrived().map_err(|Fault { check, what }| Fault {
                check,
                what: format!("after machines went on: {what}"),
            })?;
        }
        Ok(())
    }

    fn speak_at(&mut self, site: usize, name: &str) -> Result<(), Fault> {
        let deadline = self.now + HEAL_BEATS_MAX * self.options.beat;
        // That there is no room is another tale.
        self.set_quota(site, None);
        let hears_all = self.shape.hears_all(site);
        loop {
            let Some(at) = self.sites.get_mut(site) else { return Ok(()) };
            if !hears_all && !at.is_silent() {
                at.resume_writing(self.feed);
            }
            let said = at.publish(self.now, self.feed, name, name.as_bytes());
            if said.is_ok() {
                return self.said(site, &format!("publishes {name}"), said);
            }
            if self.now > deadline {
                let what = format!("{} still does not write though its lines are whole", at.name);
                return Err(Fault { check: "again", what });
            }
            self.beat()?;
        }
    }

    /// Lets a beat pass.
    pub(super) fn beat(&mut self) -> Result<(), Fault> {
        let until = self.now + self.options.beat;
        while self.now < until {
            self.step()?;
        }
        Ok(())
    }
}
