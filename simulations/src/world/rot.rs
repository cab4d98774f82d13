//! Bits that rot in mid-run. What they took is found by whoever reads it or by a scrub, and comes again from whoever has it.

use super::World;
use crate::check::{self, Fault};
use crate::entropy::Entropy;
use crate::topology::NAMES;

/// Times at which a look may come upon damage.
const LOOKS_MAX: usize = 4;

impl World {
    pub(super) fn rot(&mut self, site: usize, pick: u64, bits: u64) {
        let Some(at) = self.sites.get_mut(site) else { return };
        let places = at.rot(&mut Entropy::new(pick), bits);
        if !places.is_empty() {
            self.spoilt(site, &format!("rots at {places:?}"));
        }
    }

    pub(super) fn lose_pack(&mut self, site: usize, pick: u64) {
        let Some(at) = self.sites.get_mut(site) else { return };
        if let Some((pack, left)) = at.lose_pack(self.now, &mut self.quic, &mut Entropy::new(pick)) {
            self.spoilt(site, &format!("starts again, and of pack {pack} {left} bytes are left"));
        }
    }

    fn spoilt(&mut self, site: usize, what: &str) {
        self.interruptions += 1;
        self.rotted.insert(site);
        // Rights may be known no more where they were.
        self.oracle.ruled = true;
        let text = format!("{} {what}", NAMES.get(site).unwrap_or(&"?"));
        self.quic.trace.line(self.now, &text);
    }

    /// Where bits have rotted every site is scrubbed.
    pub(super) fn scrub_all(&mut self) {
        for site in self.sites.iter_mut().filter(|_| !self.rotted.is_empty()) {
            site.scrub(self.now);
            site.end_sessions_without_feed(self.now, &mut self.quic);
        }
    }

    /// A site at which bits have rotted looks into what its last run came upon.
    pub(super) fn look_after_rot(&mut self, at: usize) {
        let Some(site) = self.sites.get_mut(at).filter(|_| self.rotted.contains(&at)) else { return };
        site.look_after_damage(self.now);
        site.end_sessions_without_feed(self.now, &mut self.quic);
    }

    /// Whether rot may have taken seals of a site, or what stood under them, since it was last scrubbed.
    pub(super) fn forgets_seals(&mut self, at: usize) -> bool {
        let forgets = self.rotted.contains(&at)
            && (self.now <= self.options.healed_at
                || self.sites.get(at).is_some_and(|site| site.has_short_logs(self.now)));
        if forgets {
            self.oracle.sealed.retain(|(under, _), _| *under != at);
        }
        forgets
    }

    /// What may be wrong at no moment. A look may itself be what comes upon damage, and what it took is then not held any more: that is
    /// looked at again.
    pub(super) fn always(&mut self) -> Result<(), Fault> {
        for _ in 0..LOOKS_MAX {
            if check::always(self.seen()).is_ok() {
                return Ok(());
            }
            if self.rotted.is_empty() {
                break;
            }
            self.take_stock();
        }
        check::always(self.seen())
    }

    /// What rot took of what a site said is then known to those alone that have it.
    pub(super) fn note_rot(&mut self) {
        for at in self.rotted.iter().copied() {
            self.oracle.lost_to_rot(at, &self.sites);
        }
    }
}
