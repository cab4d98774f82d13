//! What people do at a site, and what they see there: publish, delete, restore, grant, by the node's rules.

use packetboat::keeper::own_log::{self, OwnLog};
use packetboat::statement::forks::{Resolution, Wish};
use packetboat::store::{BlobState, FeedRecord};
use protocol::feed::{Item, Standing};
use protocol::grant::Permitted;
use protocol::id::{FeedId, LogId, OpId, SiteId};
use protocol::log::{Mmr, NamedOp, Verified};
use protocol::manifest::{File, Manifest};
use protocol::op::{Body, Delete, Genesis, Publish};
use protocol::package::{Coordinate, FeedKind};
use protocol::switches::Switches;

use super::Site;
use super::again::low;
use crate::plant::Plant;

/// An op that was not acknowledged. Its bytes may have reached the disk all the same.
#[derive(Debug)]
pub struct Unsaid {
    pub doubtful: Option<Box<NamedOp>>,
}

pub(super) fn coordinate(name: &str) -> Coordinate {
    Coordinate::new(FeedKind::Raw, name, "1").expect("a plain name")
}

pub(super) fn manifest(file: File) -> Manifest {
    Manifest::of(vec![file]).expect("one file")
}

impl Site {
    /// Makes the feed known here.
    pub fn join(&mut self, genesis: Genesis) {
        self.rot.joined = Some(genesis.clone());
        let record = FeedRecord {
            name: genesis.name.clone(),
            genesis,
            strict: false,
            local_wins: false,
            open_reads: false,
        };
        self.store().put_feed(&record).expect("the disk has room");
    }

    /// Signs and stores one op of this site's own, by the node's rules.
    ///
    /// # Errors
    /// The disk refused or lost part of this site's own log, or the site waits to learn what it said.
    pub fn say(&mut self, now: u64, feed: FeedId, body: Body) -> Result<NamedOp, Unsaid> {
        self.speak(now, feed, vec![body], false)?.pop().ok_or(Unsaid { doubtful: None })
    }

    /// Says nothing but what begins a later epoch.
    pub(super) fn open_epoch(&mut self, now: u64, feed: FeedId) -> Result<NamedOp, Unsaid> {
        self.speak(now, feed, Vec::new(), false)?.pop().ok_or(Unsaid { doubtful: None })
    }

    /// Says, as the feed's origin, how far the forked logs of an author count, and again what counted behind that. Gives each log with that; what
    /// was said is in `said`, however it ends.
    ///
    /// # Errors
    /// Nothing is forked here, or the disk refused.
    pub fn resolve_forks(
        &mut self,
        now: u64,
        feed: FeedId,
        author: SiteId,
        said: &mut Vec<NamedOp>,
    ) -> Result<Vec<(LogId, u64)>, Unsaid> {
        let unsaid = |_error| Unsaid { doubtful: None };
        let record = self.reads(|store| store.feed(feed)).flatten().ok_or(Unsaid { doubtful: None })?;
        let (site, look) = ((self.store(), self.id()), self.look(now));
        let wish = Wish { drop: self.has(Plant::ForkCutAndNothingSaid), ..Wish::default() };
        let resolution = Resolution::of(site, look, feed, &record, author, &wish).map_err(unsaid)?;
        let tips = resolution.tips().to_vec();
        let mut anew = author == self.id();
        resolution.say(|bodies| {
            let ops = self.speak(now, feed, bodies, std::mem::take(&mut anew))?;
            let ops: Vec<_> =
                ops.into_iter().filter(|named| !matches!(named.op.body, Body::OpenEpoch(_))).collect();
            let ids = ops.iter().map(|named| named.id).collect();
            said.extend(ops);
            Ok::<_, Unsaid>(ids)
        })?;
        Ok(tips)
    }

    /// Signs and stores ops of this site's own in one batch. Gives them, with what begins a later epoch before them.
    fn speak(
        &mut self,
        now: u64,
        feed: FeedId,
        bodies: Vec<Body>,
        anew: bool,
    ) -> Result<Vec<NamedOp>, Unsaid> {
        let unsaid = || Unsaid { doubtful: None };
        if self.again.is_silent() {
            return Err(unsaid());
        }
        let step = self.entropy.fork("epoch").next();
        let own = own_log::next(self.store(), &self.key, feed, anew, || Ok(low(step)));
        let Ok(OwnLog { log, mut opens, held }) = self.as_if_unsaid(own, feed) else { return Err(unsaid()) };
        if self.has(Plant::OlderKeyLeftOpen)
            && let Some(closing) = opens.as_mut().and_then(|opens| opens.closes.as_mut())
        {
            closing.accepted.iter_mut().for_each(|tip| tip.len += 1);
        }
        let signer = (self.key.signing_key(), self.key.succession().clone());
        let look = self.look(now);
        let bodies = opens.map(Body::OpenEpoch).into_iter().chain(bodies).collect();
        let (stamp, wall) = (self.clock.newest(look), self.wall(now));
        let said = Verified::author_as(signer, log, &held, bodies, stamp, wall);
        let ops = said.ops().to_vec();
        let Some(last) = ops.last().cloned() else { return Err(unsaid()) };
        let Ok(permitted) = Permitted::local(said, false) else { return Err(unsaid()) };
        match self.store().append(&[permitted]) {
            Err(_) if self.has(Plant::FailedAppendAcknowledged) => Ok(ops),
            Ok(_) => {
                self.clock.see([(last.op.place, last.op.stamp)], None, look);
                self.again.said(ops.iter().map(|named| (named.op.place, named.id)));
                Ok(ops)
            }
            Err(_) => Err(Unsaid { doubtful: Some(Box::new(last)) }),
        }
    }

    /// Takes over what another site's log says, as pairing hands it over.
    pub fn adopt(&mut self, feed: FeedId, from: &Self) {
        let log = LogId { feed, author: from.id(), epoch: 1 };
        for batch in from.store().batches(log, 0, u64::MAX).expect("the store reads") {
            let state = self.store().log_state(log).expect("the store reads");
            let held = state.map_or_else(Mmr::default, |state| state.after);
            let verified = batch.verify(&held).expect("an honest site's log verifies");
            let authority = self.store().authority(feed).expect("the store reads").expect("the feed is here");
            let permitted = Permitted::received(verified, feed, Switches::PULL, &authority, self.id());
            self.store().append(&[permitted.expect("the origin may write")]).expect("the disk has room");
        }
    }

    /// Publishes a package of one file, unless the name is taken or was deleted.
    ///
    /// # Errors
    /// The disk refused.
    pub fn publish(
        &mut self,
        now: u64,
        feed: FeedId,
        name: &str,
        content: &[u8],
    ) -> Result<Option<NamedOp>, Unsaid> {
        let item = self.item(now, feed, name);
        let free = item.is_none_or(|item| {
            matches!(
                item.standing,
                Standing::Absent | Standing::Parked | Standing::Held | Standing::NotAuthorised
            )
        });
        if !free {
            return Ok(None);
        }
        let unsaid = || Unsaid { doubtful: None };
        let mut ingest = self.store().ingest();
        ingest.write(content).map_err(|_disk| unsaid())?;
        let stored = ingest.finish().map_err(|_disk| unsaid())?;
        self.store().sync().map_err(|_disk| unsaid())?;
        // What a failed sync took back meanwhile is then seen to be missing.
        if !matches!(self.store().blob_state(stored.blob), Ok(BlobState::Complete { .. })) {
            return Err(unsaid());
        }
        let file =
            File { name: "file".to_owned(), blob: stored.blob, size: stored.size, sha256: stored.sha256 };
        let (coordinate, manifest) = (coordinate(name), manifest(file));
        if !self.lets_in(feed, &manifest.files) {
            return Err(unsaid());
        }
        let body = Publish { coordinate, manifest, supersedes: Vec::new(), provenance: None };
        self.say(now, feed, Body::Publish(body)).map(Some)
    }

    /// Deletes a package that is served here.
    ///
    /// # Errors
    /// The disk refused.
    pub fn delete(&mut self, now: u64, feed: FeedId, name: &str) -> Result<NamedOp, Unsaid> {
        let coordinate = coordinate(name);
        let saw = self.publishes(feed, name).into_iter().map(|(id, _)| id).collect();
        self.say(now, feed, Body::Delete(Delete { coordinate, saw, reason: String::new() }))
    }

    /// Brings back what was deleted, where its bytes are still here.
    ///
    /// # Errors
    /// The disk refused.
    pub fn restore(&mut self, now: u64, feed: FeedId, name: &str) -> Result<Option<NamedOp>, Unsaid> {
        let Some(item) = self.item(now, feed, name) else { return Ok(None) };
        let whole = |publish: &Publish| {
            let mut files = publish.manifest.files.iter();
            files.all(|file| matches!(self.store().blob_state(file.blob), Ok(BlobState::Complete { .. })))
        };
        let held = self.publishes(feed, name);
        let overruled = held.into_iter().map(|(_, publish)| publish);
        let mut overruled =
            overruled.filter(|old| !old.supersedes.iter().any(|id| item.deletes.contains(id)));
        let Some(mut again) = overruled.find(whole) else { return Ok(None) };
        if !self.has(Plant::RestoreWithoutEffect) {
            again.supersedes = item.deletes;
        }
        if !self.lets_in(feed, &again.manifest.files) {
            return Err(Unsaid { doubtful: None });
        }
        self.say(now, feed, Body::Publish(again)).map(Some)
    }

    /// What stands at a name.
    #[must_use]
    pub fn item(&self, now: u64, feed: FeedId, name: &str) -> Option<Item> {
        self.reads(|store| store.item(feed, name, "1", self.look(now))).flatten()
    }

    /// Every name with what stands there.
    #[must_use]
    pub fn items(&self, now: u64, feed: FeedId) -> Vec<(String, Item)> {
        let items = self.reads(|store| store.items(feed, "", None, usize::MAX, self.look(now)));
        items.unwrap_or_default().into_iter().map(|(at, item)| (at.name, item)).collect()
    }

    /// Every publish of a name that is held here.
    #[must_use]
    pub fn publishes(&self, feed: FeedId, name: &str) -> Vec<(OpId, Publish)> {
        let facts = self.reads(|store| store.facts(feed, name, "1")).unwrap_or_default();
        let publish = |named: NamedOp| {
            if let Body::Publish(publish) = named.op.body { Some((named.id, publish)) } else { None }
        };
        facts.into_iter().filter_map(publish).collect()
    }

    /// Whether an op is held here.
    #[must_use]
    pub fn holds(&self, op: OpId) -> bool {
        self.reads(|store| store.op(op)).flatten().is_some()
    }

    /// Whether an op is held here and does not wait until it is due.
    #[must_use]
    pub fn counts(&self, now: u64, op: OpId) -> bool {
        let held = self.reads(|store| store.op(op)).flatten();
        held.is_some_and(|named| {
            named.op.place.log.author == self.id() || !named.op.stamp.is_ahead_of(self.wall(now))
        })
    }

    /// Whether all bytes of an op that publishes are here.
    #[must_use]
    pub fn is_whole(&self, publish: OpId) -> bool {
        let op = self.reads(|store| store.op(publish)).flatten();
        let Some(Body::Publish(publish)) = op.map(|named| named.op.body) else { return false };
        let mut files = publish.manifest.files.iter();
        files.all(|file| matches!(self.store().blob_state(file.blob), Ok(BlobState::Complete { .. })))
    }
}
