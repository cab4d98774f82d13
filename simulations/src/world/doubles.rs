//! Second machines with a site's key: they run beside it for a while, and what both signed is found, proved and cut.

use std::collections::BTreeSet;

use protocol::fork::ForkProof;
use protocol::id::{LogId, SiteId};
use protocol::log::NamedOp;
use protocol::op::Body;

use super::{HEAL_BEATS_MAX, World, hang_up_at};
use crate::check::{Fault, by, forks};
use crate::net::{Line, SECOND};
use crate::site::{Site, Unsaid};

/// Milliseconds of the line to a second machine: it stands elsewhere.
const DELAY_MS: u64 = 40;

/// A second machine with the key of a site.
#[derive(Debug)]
pub(super) struct Double {
    pub(super) site: Site,
    of: usize,
    until: u64,
    /// When each of its links runs next, and when its connection is closed after.
    runs: Vec<(u64, Option<u64>)>,
}

impl Double {
    /// When something of it is due that no line brings.
    pub(super) fn due(&self) -> Option<u64> {
        let runs = self.runs.iter().flat_map(|(at, hang_up)| [Some(*at), *hang_up]).flatten();
        runs.chain(self.site.wake_at()).chain([self.until]).min()
    }
}

impl World {
    pub(super) fn double(&mut self, of: usize, until: u64, noticed: bool) {
        let host = self.sites.len() + usize::from(self.cheat.is_some()) + self.doubles_made;
        let Some(site) = self.sites.get(of) else { return };
        let site = site.double(self.now, &mut self.quic, host, noticed);
        let delay = DELAY_MS * SECOND / 1000;
        for end in &site.links {
            self.quic.net.lay(host, end.peer_host, Line { delay, ..Line::default() });
        }
        let how = if noticed { "folder" } else { "machine" };
        self.quic.trace.line(self.now, &format!("a copy of the {how} of {} starts", site.name));
        if !noticed {
            self.oracle.doubled.insert(site.id());
        }
        self.doubles_made += 1;
        self.interruptions += 1;
        self.set_back.insert(of);
        let runs = site.links.iter().enumerate();
        let runs = runs.map(|(at, _)| (self.now + SECOND * (1 + at as u64), None)).collect();
        self.doubles.push(Double { site, of, until, runs });
    }

    /// Somebody does something at a second machine, if one runs.
    pub(super) fn at_double(&mut self, does: impl FnOnce(&mut Site) -> Result<Option<NamedOp>, Unsaid>) {
        let Some(double) = self.doubles.last_mut() else { return };
        let said = does(&mut double.site);
        let name = double.site.name;
        match said {
            Ok(Some(named)) => {
                let what = named.op.body.coordinate().map_or("", |at| at.name.as_str());
                self.quic.trace.line(self.now, &format!("the copy of {name} speaks of {what}: {}", named.id));
                self.oracle.note_double(double.of, named);
            }
            Ok(None) => {}
            Err(_) => self.quic.trace.line(self.now, &format!("the copy of {name} is refused")),
        }
    }

    /// Runs the links of second machines, and switches off those whose time is over.
    pub(super) fn run_doubles(&mut self) {
        let beat = self.options.beat;
        for Double { site, runs, .. } in &mut self.doubles {
            for (link, (run, hang_up)) in runs.iter_mut().enumerate() {
                if hang_up.is_some_and(|at| at <= self.now) {
                    *hang_up = None;
                    site.hang_up(self.now, &mut self.quic);
                }
                if *run <= self.now {
                    *run = self.now + beat;
                    *hang_up = hang_up_at(self.now, beat);
                    site.sync(self.now, &mut self.quic, link);
                }
            }
        }
        self.switch_off(self.now);
    }

    /// Switches off the second machines whose time is over by then: what they alone had is gone.
    pub(super) fn switch_off(&mut self, by: u64) {
        for Double { site, of, .. } in self.doubles.extract_if(.., |double| double.until <= by) {
            self.quic.boot(site.host, &site.key);
            self.quic.trace.line(self.now, &format!("the copy of {} is switched off", site.name));
            if let Some(at) = self.sites.get_mut(of) {
                at.answers_for(&site);
            }
        }
    }

    /// The origin says how far each log counts of which two histories are known. Where two are known, a proof must reach it.
    pub(super) fn resolve_forks(&mut self) -> Result<(), Fault> {
        let deadline = self.now + HEAL_BEATS_MAX * self.options.beat;
        let hears_all = self.options.shape.hears_all(0);
        while let Some(author) = self.forked() {
            let Some(origin) = self.sites.first_mut() else { return Ok(()) };
            if !hears_all && !origin.is_silent() {
                origin.resume_writing(self.feed);
            }
            let before = forks::Standing::of(origin, self.now, self.feed);
            let mut said = Vec::new();
            let cuts = origin.resolve_forks(self.now, self.feed, author, &mut said);
            for named in said.into_iter().filter(|named| !matches!(named.op.body, Body::Cut(_))) {
                let what = named.op.body.coordinate().map_or("", |at| at.name.as_str());
                self.quic.trace.line(self.now, &format!("the origin says again of {what}: {}", named.id));
                self.oracle.note_again(named);
            }
            let Ok(cuts) = cuts else {
                if self.now > deadline {
                    let what = "an author signed two histories, and the origin was shown no proof".to_owned();
                    return Err(Fault { check: "forks", what });
                }
                self.beat()?;
                continue;
            };
            for (log, len) in cuts {
                let text = format!("the origin cuts the log of {author} after {len} ops");
                self.quic.trace.line(self.now, &text);
                self.oracle.cut(log, len);
            }
            let Some(origin) = self.sites.first() else { return Ok(()) };
            by("forks", before.after(origin, self.now, self.feed))?;
        }
        Ok(())
    }

    /// An author of two histories that are not resolved: the origin first, which says nothing of others in a log of its own that is forked.
    pub(super) fn forked(&self) -> Option<SiteId> {
        let origin = self.sites.first().map(Site::id);
        let mut authors: Vec<SiteId> = self.oracle.doubled.iter().copied().collect();
        authors.sort_by_key(|author| Some(*author) != origin);
        authors.into_iter().find(|author| self.is_forked(*author))
    }

    /// Whether two histories of an author are known to sites and no cut lies where they part. Where the origin holds the longer one, it knows
    /// of the other one's end alone: what it says then may be a place at which they differ already, and that is proved to it in turn.
    fn is_forked(&self, author: SiteId) -> bool {
        let cheat = self.cheat.as_ref().map(|cheat| &cheat.site);
        let Some(site) = self.sites.iter().chain(cheat).find(|site| site.id() == author) else {
            return false;
        };
        let cut = |log: LogId| self.oracle.cuts.get(&log).copied();
        // A proof gets as far as links lead on which anything flows, one way or the other.
        let near = self.shape.beyond(BTreeSet::from([0]), |on| !on.is_off());
        let sites: Vec<&Site> = near.into_iter().filter_map(|at| self.sites.get(at)).collect();
        let parts_before_cut = |(log, seq)| cut(log).is_none_or(|len| seq < len);
        let open = |proof: &ForkProof| proof.freezes(proof.log(), cut(proof.log()), false);
        let proofs = |site: &Site| site.store().forks(self.feed).unwrap_or_default();
        let proved =
            |site: &Site| proofs(site).iter().any(|proof| proof.log().author == author && open(proof));
        // What shows that a history is another than the one held may prove nothing yet, and a cheat owes nobody the rest.
        let owed = cheat.is_none_or(|cheat| cheat.id() != author);
        let shown = sites.iter().flat_map(|site| &site.forks).filter(|log| owed && log.author == author);
        forks::forked(site, &sites).any(parts_before_cut)
            || sites.iter().copied().any(proved)
            || shown.into_iter().any(|log| cut(*log).is_none())
    }
}
