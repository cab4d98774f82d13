//! A world before anything happens in it: lines laid, sites paired, and wrong from the start what is to be wrong.

use protocol::session::{Side, Versions};

use super::World;
use crate::entropy::Entropy;
use crate::net::{Line, SECOND};
use crate::options::{Fault, Share};
use crate::quic::Quic;
use crate::site::{LinkEnd, Site, grant_of};

impl World {
    pub(super) fn link(&mut self, entropy: &Entropy) {
        let mut entropy = entropy.fork("lines");
        for (at, link) in self.options.shape.links.iter().enumerate() {
            let delay = SECOND / 1000 * (10 + entropy.below(290));
            self.quic.net.lay(link.dialler, link.listener, Line { delay, ..Line::default() });
            let ids = [link.dialler, link.listener].map(|host| self.sites.get(host).map(Site::id));
            let [Some(dialler), Some(listener)] = ids else { continue };
            let ends = [
                (link.dialler, link.listener, listener, link.ask, Side::Dialler),
                (link.listener, link.dialler, dialler, link.allow, Side::Listener),
            ];
            for (host, peer_host, peer, switches, side) in ends {
                let name = format!("link-{at}");
                if let Some(site) = self.sites.get_mut(host) {
                    site.links.push(LinkEnd::new(name, peer_host, peer, switches, side));
                }
            }
        }
    }

    /// The origin lets the others write, and what it says of that is handed over as at pairing.
    pub(super) fn pair(&mut self) {
        for at in 1..self.sites.len() {
            if self.shape.authors.get(at) == Some(&true)
                && let Some(grantee) = self.sites.get(at).map(Site::id)
            {
                self.give(grant_of(grantee, Share::All, None));
            }
        }
        let Some((origin, others)) = self.sites.split_first_mut() else { return };
        for other in others {
            other.adopt(self.feed, origin);
        }
    }

    /// Everything is wrong that is to be wrong from the start.
    pub(super) fn spoil(&mut self) {
        let links = self.options.shape.links.clone();
        let ends = |at: usize| links.get(at).map(|link| (link.dialler, link.listener));
        for fault in self.options.faults.clone() {
            let every = |change: &dyn Fn(&mut Line), quic: &mut Quic| {
                for at in 0..links.len() {
                    if let Some((one, other)) = ends(at)
                        && let Some(line) = quic.net.line(one, other)
                    {
                        change(line);
                    }
                }
            };
            match fault {
                Fault::Loss { per_million } => {
                    every(&|line| line.loss_per_million = per_million, &mut self.quic);
                }
                Fault::Jitter { most } => every(&|line| line.jitter = most, &mut self.quic),
                Fault::Doubled { per_million } => {
                    every(&|line| line.doubled_per_million = per_million, &mut self.quic);
                }
                Fault::Slow { link, bits_per_s } => {
                    if let Some((one, other)) = ends(link)
                        && let Some(line) = self.quic.net.line(one, other)
                    {
                        line.rate = bits_per_s;
                    }
                }
                Fault::Cut { link, cut } => {
                    self.interruptions += 1;
                    if let Some((one, other)) = ends(link)
                        && let Some(line) = self.quic.net.line(one, other)
                    {
                        line.cuts.push(cut);
                    }
                }
                Fault::Skew { site, ahead_ms } => {
                    if let Some(site) = self.sites.get_mut(site) {
                        site.clock_ahead_ms = ahead_ms;
                    }
                }
                Fault::Versions { site, min, max } => {
                    if let Some(site) = self.sites.get_mut(site) {
                        site.versions = Versions { min, max };
                    }
                    self.relink_all();
                }
                // It was admitted before.
                Fault::Cheat { .. } => {}
                Fault::SlowSync { nanos } => {
                    for site in &mut self.sites {
                        site.sync_nanos = nanos;
                    }
                }
            }
        }
    }
}
