//! What happens at sites: what people do, and what befalls their machines.

use packetboat::store::BlobState;
use protocol::id::BlobId;
use protocol::log::NamedOp;
use protocol::session::Versions;

use super::World;
use crate::check::{Fault, by, causality, quota};
use crate::entropy::Entropy;
use crate::options::{Act, contested};
use crate::site::{Site, Unsaid};
use crate::topology::NAMES;

/// How a site's program ends against its will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fall {
    Power,
    PowerInAWrite,
    /// The program alone: what it gave to the disk is there.
    Program,
}

impl World {
    pub(super) fn act(&mut self, act: Act) -> Result<(), Fault> {
        let (now, feed) = (self.now, self.feed);
        match act {
            Act::Publish { site, contested: shared, bytes } => self.publish(site, shared, bytes)?,
            Act::Delete { site, pick } => self.delete(site, pick)?,
            Act::Restore { site, pick } => self.restore(site, pick)?,
            Act::PowerLoss { site } => self.fall(site, Fall::Power)?,
            Act::PowerLossInSync { site, after } => {
                self.with(site, |at| at.disk().cut_in_sync(after));
            }
            Act::PowerLossInWrite { site, after } => {
                self.with(site, |at| at.disk().cut_in_write(after));
            }
            Act::Restart { site } => self.restart(site),
            Act::ClockJump { site, ms } => self.with(site, |at| {
                at.was_set_back |= ms < at.clock_ahead_ms;
                at.clock_ahead_ms = ms;
            }),
            Act::FailSyncs { site, count } => {
                self.interruptions += 1;
                self.with(site, |at| at.disk().fail_syncs(count));
            }
            Act::DiskFull { site, room } => {
                self.interruptions += 1;
                self.with(site, |at| at.disk().leave_room(room));
            }
            Act::DiskFree { site } => self.with(site, |at| at.disk().limit(None)),
            Act::Sweep { site } => self.sweep(site)?,
            Act::KeepTrash { site, grace_ms } => self.keep_trash(site, grace_ms),
            Act::EmptyTrash { site } => self.empty_trash(site)?,
            Act::Quota { site, bytes } => self.set_quota(site, bytes),
            Act::Rot { site, pick, bits } => self.rot(site, pick, bits),
            Act::LosePack { site, pick } => self.lose_pack(site, pick),
            Act::Scrub { site } => self.with(site, |at| at.scrub(now)),
            Act::NewKey { site } => self.new_key(site)?,
            Act::UseOldKey { site, there } => self.use_old_key(site, there),
            Act::BackUp { site } => self.back_up(site),
            Act::SetBack { site, how } => self.set_back(site, how),
            Act::Double { site, until, noticed } => self.double(site, until, noticed),
            Act::DoublePublishes { contested: shared, bytes } => {
                let name = shared.map_or_else(|| format!("p{now}-double"), contested);
                let content = self.entropy.bytes(usize::try_from(bytes).unwrap_or(0));
                self.at_double(|double| double.publish(now, feed, &name, &content));
            }
            Act::DoubleDeletes { pick } => self.at_double(|double| {
                let items = double.items(now, feed).into_iter();
                let served: Vec<_> = items.filter(|(_, item)| item.winner.is_some()).collect();
                let name = served.get(Entropy::new(pick).index(served.len())).map(|(name, _)| name.clone());
                name.map(|name| double.delete(now, feed, &name)).transpose()
            }),
            Act::Kill { site, after } => self.with(site, |at| at.stop_after(Some(after))),
            Act::Upgrade { site, min, max } => self.upgrade(site, Versions { min, max }),
            Act::Rule(ruling) => self.rule(&ruling),
            Act::Cheat { link, trick, pick } => self.cheat(link, trick, pick),
        }
        Ok(())
    }

    fn restart(&mut self, site: usize) {
        self.interruptions += 1;
        self.quic.trace.line(self.now, &format!("{} restarts", NAMES.get(site).unwrap_or(&"?")));
        if let Some(at) = self.sites.get_mut(site) {
            at.restart(self.now, &mut self.quic);
        }
    }

    fn publish(&mut self, site: usize, shared: Option<u64>, bytes: u64) -> Result<(), Fault> {
        let name = shared.map_or_else(|| format!("p{}-{site}", self.now), contested);
        self.publish_at(site, &name, bytes).map(drop)
    }

    /// Publishes so many fresh bytes. Tells whether that was said.
    pub(super) fn publish_at(&mut self, site: usize, name: &str, bytes: u64) -> Result<bool, Fault> {
        let (now, feed) = (self.now, self.feed);
        let content = self.entropy.bytes(usize::try_from(bytes).unwrap_or(0));
        let rotted = self.rotted.contains(&site);
        let Some(at) = self.sites.get_mut(site) else { return Ok(false) };
        let before = quota::Before::of(at, now, feed).filter(|_| !rotted);
        let said = at.publish(now, feed, name, &content);
        let done = matches!(said, Ok(Some(_)));
        if let Some(before) = before {
            by("quota", before.after(at, now, feed, bytes, done))?;
        }
        self.said(site, &format!("publishes {name}, {bytes} bytes"), said)?;
        Ok(done)
    }

    /// Brings back something that was deleted.
    fn restore(&mut self, site: usize, pick: u64) -> Result<(), Fault> {
        let (now, feed) = (self.now, self.feed);
        let Some(at) = self.sites.get_mut(site) else { return Ok(()) };
        let items = at.items(now, feed);
        let gone: Vec<_> = items.into_iter().filter(|(_, item)| !item.deletes.is_empty()).collect();
        let Some((name, _)) = gone.get(Entropy::new(pick).index(gone.len())) else { return Ok(()) };
        let refused = at.refused_for_room();
        let said = at.restore(now, feed, name);
        if at.refused_for_room() > refused {
            let what = format!("{name} is at {} and no room is left to take it back", at.name);
            return Err(Fault { check: "quota", what });
        }
        let done = matches!(said, Ok(Some(_)));
        let item = at.item(now, feed, name);
        let back = item.is_some_and(|item| item.winner.is_some() || !item.reused.is_empty());
        // Where a clock was set back, the bytes may be of an op that waits again, and so of none that stood.
        let back = back || at.was_set_back;
        self.said(site, &format!("restores {name}"), said)?;
        if done && !back {
            let what = format!("{name} was restored and is not served at the same site");
            return Err(Fault { check: "people", what });
        }
        Ok(())
    }

    fn with(&mut self, site: usize, change: impl FnOnce(&mut Site)) {
        if let Some(site) = self.sites.get_mut(site) {
            change(site);
        }
    }

    fn delete(&mut self, site: usize, pick: u64) -> Result<(), Fault> {
        let Some(at) = self.sites.get(site) else { return Ok(()) };
        let items = at.items(self.now, self.feed);
        let served: Vec<_> = items.into_iter().filter(|(_, item)| item.winner.is_some()).collect();
        let name = served.get(Entropy::new(pick).index(served.len())).map(|(name, _)| name);
        name.map_or(Ok(()), |name| self.delete_at(site, name))
    }

    /// Deletes what is served at a name.
    pub(super) fn delete_at(&mut self, site: usize, name: &str) -> Result<(), Fault> {
        let (now, feed) = (self.now, self.feed);
        let Some(at) = self.sites.get_mut(site) else { return Ok(()) };
        let said = at.delete(now, feed, name);
        let done = said.is_ok();
        let left = at.item(now, feed, name).is_some_and(|item| item.winner.is_some());
        self.said(site, &format!("deletes {name}"), said.map(Some))?;
        if done && left {
            let what = format!("{name} was deleted and is served at the same site");
            return Err(Fault { check: "people", what });
        }
        Ok(())
    }

    pub(super) fn said(
        &mut self,
        site: usize,
        what: &str,
        said: Result<Option<NamedOp>, Unsaid>,
    ) -> Result<(), Fault> {
        let name = NAMES.get(site).unwrap_or(&"?");
        match said {
            Ok(Some(named)) => {
                self.quic.trace.line(self.now, &format!("{name} {what}: {}", named.id));
                if let Some(at) = self.sites.get(site) {
                    by("causality", causality::check(at, self.now, &named))?;
                }
                self.oracle.note(site, named, true);
            }
            Ok(None) => {}
            Err(Unsaid { doubtful }) => {
                self.quic.trace.line(self.now, &format!("{name} {what}, and is refused"));
                if let Some(named) = doubtful {
                    self.oracle.note(site, *named, false);
                }
            }
        }
        Ok(())
    }

    /// What was acknowledged before is there after.
    pub(super) fn fall(&mut self, site: usize, how: Fall) -> Result<(), Fault> {
        self.interruptions += 1;
        let (now, feed) = (self.now, self.feed);
        let Some(at) = self.sites.get_mut(site) else { return Ok(()) };
        let lengths = |at: &Site| {
            let heads = at.store().heads(feed).unwrap_or_default();
            heads.into_iter().map(|signed| (signed.head.log, signed.head.len)).collect::<Vec<_>>()
        };
        let root = |at: &Site| format!("{:?}", at.store().state_root(feed, at.look(now)));
        let (before, root_before) = (lengths(at), root(at));
        match how {
            Fall::Power | Fall::PowerInAWrite => at.lose_power(now, &mut self.quic),
            Fall::Program => at.be_killed(now, &mut self.quic),
        }
        let (after, root_after) = (lengths(at), root(at));
        let what = if how == Fall::Program { "stops in the midst of a session" } else { "loses power" };
        self.quic.trace.line(now, &format!("{} {what}", at.name));
        let lost = |blob: &BlobId| !matches!(at.store().blob_state(*blob), Ok(BlobState::Complete { .. }));
        if at.promised.iter().any(lost) {
            let what = format!(
                "{} {what} and lost bytes of which a peer had been told that they are durable",
                at.name
            );
            return Err(Fault { check: "durability", what });
        }
        let shorter = before.iter().any(|(log, len)| {
            after.iter().find(|(other, _)| other == log).is_none_or(|(_, left)| left < len)
        });
        // What was served before a clock was set back may have to wait again once it is worked out anew.
        let same = before == after && !at.was_set_back;
        // What rot took is no more there, and is looked for once all is at rest.
        let rotted = self.rotted.contains(&site);
        if !rotted && shorter || (how != Fall::PowerInAWrite && same && !rotted && root_before != root_after)
        {
            let what = format!("{} {what}, and what had been acknowledged is another thing", at.name);
            return Err(Fault { check: "durability", what });
        }
        Ok(())
    }
}
