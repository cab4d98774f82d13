//! What people rule in mid-run, carried out at the sites and told to the oracle as it was meant.

use std::collections::BTreeSet;

use packetboat::store::{Shelf, Topic};
use protocol::grant::RightsProof;
use protocol::id::{LogId, OpId, SiteId};
use protocol::log::Batch;
use protocol::op::{Body, Grant, Tip};
use protocol::session::Versions;
use protocol::switches::Switches;
use protocol::time::Instant;
use protocol::timetable::next_run;

use super::World;
use crate::options::{Change, Ruling, Share};
use crate::oracle::{Said, Word};
use crate::site::{LinkState, Site, Unsaid, grant_of};
use crate::topology::NAMES;

const MILLISECOND: u64 = 1_000_000;
/// The only epoch in which sites write.
const EPOCH: u64 = 1;

impl World {
    pub(super) fn rule(&mut self, ruling: &Ruling) {
        // What was said until now spreads by what holds until now.
        self.flow();
        self.interruptions += 1;
        self.oracle.ruled = true;
        match *ruling {
            Ruling::Grant { site, share, lasts_ms, instead } => {
                self.grant(site, share, lasts_ms, instead);
            }
            Ruling::Revoke { site, all_held } => self.revoke(site, all_held, false),
            Ruling::Link { link, end, change } => self.change_link(link, end, change),
            Ruling::RevokeKey { link, end } => {
                self.change_link(link, end, Change::Remove);
                if let Some((0, peer)) = self.ends(link, end) {
                    self.revoke(peer, false, false);
                }
            }
            Ruling::ReadmitKey { link, end } => {
                self.change_link(link, end, Change::PairAgain);
                if let Some((0, peer)) = self.ends(link, end)
                    && self.options.shape.authors.get(peer) == Some(&true)
                {
                    self.grant(peer, Share::All, None, false);
                }
            }
        }
    }

    /// The site at an end of a link, and the one at the other.
    fn ends(&self, link: usize, end: usize) -> Option<(usize, usize)> {
        let link = self.shape.links.get(link)?;
        Some(if end == 0 { (link.dialler, link.listener) } else { (link.listener, link.dialler) })
    }

    fn grant(&mut self, site: usize, share: Share, lasts_ms: Option<u64>, instead: bool) {
        let (Some(origin), Some(grantee)) = (self.sites.first(), self.sites.get(site).map(Site::id)) else {
            return;
        };
        if site == 0 {
            return;
        }
        let now = origin.wall(self.now);
        let expires = lasts_ms.map(|ms| protocol::time::Timestamp(now.0.saturating_add(ms)));
        if instead {
            self.revoke(site, true, true);
        }
        let name = NAMES.get(site).unwrap_or(&"?");
        let until = lasts_ms.map_or_else(String::new, |ms| format!(" for {} s", ms / 1000));
        let line = format!("{name} is granted {share:?}{until}");
        self.quic.trace.line(self.now, &line);
        self.give(grant_of(grantee, share, expires));
    }

    /// The origin gives rights.
    pub(super) fn give(&mut self, meant: Grant) {
        let Some(origin) = self.sites.first_mut() else { return };
        let body = Body::Grant(origin.as_said(meant.clone()));
        match origin.say(self.now, self.feed, body) {
            Ok(named) => self.note_grant(named.id, meant, true),
            Err(Unsaid { doubtful: Some(named) }) => self.note_grant(named.id, meant, false),
            Err(Unsaid { doubtful: None }) => {}
        }
    }

    fn note_grant(&mut self, id: OpId, grant: Grant, certain: bool) {
        let about = grant.grantee;
        if let Some(at) = self.sites.iter().position(|site| site.id() == about)
            && let Some(author) = self.shape.authors.get_mut(at)
        {
            *author = true;
        }
        self.oracle.words.note(Word { id, about, said: Said::Grant(grant), certain });
    }

    /// The origin takes rights back, and grants less next where they are `narrowed`.
    fn revoke(&mut self, site: usize, all_held: bool, narrowed: bool) {
        let Some(about) = self.sites.get(site).map(Site::id).filter(|_| site != 0) else { return };
        let name = NAMES.get(site).unwrap_or(&"?");
        let accepted = vec![(EPOCH, self.accepted(about, all_held))];
        let line = format!("the rights of {name} are taken back, and {accepted:?} is accepted");
        self.quic.trace.line(self.now, &line);
        let feed = self.feed;
        let Some(origin) = self.sites.first_mut() else { return };
        let said = Said::Revoke { accepted };
        let body = origin.revoke_of(feed, about, all_held, narrowed);
        let (id, certain) = match origin.say(self.now, feed, body) {
            Ok(named) => (named.id, true),
            Err(Unsaid { doubtful: Some(named) }) => (named.id, false),
            Err(Unsaid { doubtful: None }) => return,
        };
        self.oracle.words.note(Word { id, about, said, certain });
    }

    /// How far the origin accepts a log: as far as it holds it, or as its seals reach and a revoke before did.
    fn accepted(&self, about: SiteId, all_held: bool) -> u64 {
        let Some(origin) = self.sites.first() else { return 0 };
        let log = LogId { feed: self.feed, author: about, epoch: EPOCH };
        let held = origin.store().log_state(log).ok().flatten().map_or(0, |state| state.after.len());
        if all_held {
            return held;
        }
        // A cheat may have said one as well.
        let mut seals = origin.store().ops_about(self.feed, Topic::Seals).unwrap_or_default();
        seals.retain(|named| named.op.place.log.author == origin.id());
        let reach = |tip: &Tip| if tip.author == about && tip.epoch == EPOCH { tip.len } else { 0 };
        let sealed = seals.iter().flat_map(|named| {
            if let Body::Seal(seal) = &named.op.body { seal.frontier.as_slice() } else { &[] }
        });
        let sealed = sealed.map(reach);
        // A grant that a loss of power took is none that the revoke ends.
        let is_held = |word| origin.store().op(word).ok().flatten().is_some();
        let before = self.oracle.words.accepted(about, EPOCH, is_held).unwrap_or(u64::MAX);
        sealed.max().unwrap_or(0).min(before).min(held)
    }

    fn change_link(&mut self, link: usize, end: usize, change: Change) {
        let Some((at, peer)) = self.ends(link, end) else { return };
        let Some(first) = self.options.shape.links.get(link) else { return };
        let first = if end == 0 { first.ask } else { first.allow };
        let (now, name) = (self.now, format!("link-{link}"));
        let Some(site) = self.sites.get_mut(at) else { return };
        let Some(index) = site.links.iter().position(|one| one.name == name) else { return };
        site.change_link(now, &mut self.quic, index, |one| match change {
            Change::Pause => one.state = LinkState::Paused,
            Change::Remove => one.state = LinkState::Removed,
            Change::Resume | Change::PairAgain => one.state = LinkState::Open,
            Change::Mode(switches) => one.switches = switches,
            Change::FirstMode => one.switches = first,
        });
        self.relink(link);
        let name = |at: usize| NAMES.get(at).unwrap_or(&"?");
        let line = format!("{} changes its link with {}: {change:?}", name(at), name(peer));
        self.quic.trace.line(now, &line);
    }

    /// What a link lets through, by what both ends state of it now.
    pub(super) fn relink(&mut self, link: usize) {
        let Some(of) = self.shape.links.get(link) else { return };
        let (dialler, listener) = (self.sites.get(of.dialler), self.sites.get(of.listener));
        let (Some(dialler), Some(listener)) = (dialler, listener) else { return };
        let meet = dialler.versions.meet(listener.versions).is_some();
        let name = format!("link-{link}");
        let stated = |site: &Site| {
            let end = site.links.iter().find(|end| end.name == name);
            let open = end.filter(|end| meet && end.state == LinkState::Open);
            open.map_or(Switches::OFF, |end| end.switches)
        };
        let (ask, allow) = (stated(dialler), stated(listener));
        if let Some(link) = self.shape.links.get_mut(link) {
            self.oracle.ruled |= (link.ask, link.allow) != (ask, allow);
            (link.ask, link.allow) = (ask, allow);
        }
    }

    pub(super) fn relink_all(&mut self) {
        for link in 0..self.shape.links.len() {
            self.relink(link);
        }
    }

    /// Another program starts at a site, which speaks other versions.
    pub(super) fn upgrade(&mut self, site: usize, versions: Versions) {
        self.flow();
        self.interruptions += 1;
        let Some(at) = self.sites.get_mut(site) else { return };
        at.versions = versions;
        at.restart(self.now, &mut self.quic);
        let line = format!("{} speaks versions {} to {}", at.name, versions.min, versions.max);
        self.quic.trace.line(self.now, &line);
        self.relink_all();
    }

    /// A link that was refused is tried again later and later, as the node's timetable has it.
    pub(super) fn put_off(&mut self, at: usize) {
        let Some(site) = self.sites.get_mut(at) else { return };
        let refused = std::mem::take(&mut site.refused);
        for end in refused {
            let Some(end) = site.links.get(end) else { continue };
            let link = (0..self.runs.len()).find(|link| format!("link-{link}") == end.name);
            let Some(link) = link else { continue };
            let every = self.shape.links.get(link).map_or(1, |link| link.every) * self.options.beat;
            let now = Instant(self.now / MILLISECOND);
            let next = next_run(now, Some(every / MILLISECOND), end.record, self.entropy.next());
            if let (Some(next), Some((run, _))) = (next, self.runs.get_mut(link)) {
                *run = next.0 * MILLISECOND;
            }
            let line = format!("{}'s run of {} is refused, {:?}", site.name, end.name, end.record);
            self.quic.trace.line(self.now, &line);
        }
    }

    /// Looks up what each site knows about rights, and how far everything may have come.
    pub(super) fn take_stock(&mut self) {
        self.flow();
        let feed = self.feed;
        let known = |site: &Site| -> BTreeSet<OpId> {
            let held = site.reads(|store| store.ops_about(feed, Topic::Rights)).unwrap_or_default();
            let told = site.store().records(Shelf::Rights, feed.as_bytes(), &[], usize::MAX);
            // One proof has all words of its batch.
            let proof =
                |(_, bytes): (Vec<u8>, Vec<u8>)| RightsProof::check(Batch::decode(&bytes).ok()?, feed).ok();
            let told = told.unwrap_or_default().into_iter().filter_map(proof);
            let told = told.flat_map(|proof| proof.ops().iter().map(|named| named.id).collect::<Vec<_>>());
            held.into_iter().map(|named| named.id).chain(told).collect()
        };
        self.known = self.sites.iter().map(known).collect();
        self.note_rot();
    }
}
