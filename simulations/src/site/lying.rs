//! The store as a session sees it, and how a site with a bug in it sees it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use packetboat::store::{SiteView, Store};
use protocol::filter::Filter;
use protocol::fork::ForkProof;
use protocol::frame::Fate;
use protocol::grant::Authority;
use protocol::id::{BlobId, FeedId, LogId, OpId, SiteId};
use protocol::log::{Batch, Mmr, NamedOp, SignedHead};
use protocol::op::{Body, Grant, Op, Place, Rights};
use protocol::outline::Outline;
use protocol::package::Coordinate;
use protocol::session::view::{Growth, Holding, LogState, Missing, Unreadable, View};
use protocol::time::Hlc;

use super::handed::Handed;
use crate::plant::Plant;

/// A session asks twice in a run what is missing.
const ASKED_MAX: u32 = 2;
/// Of so many blobs one has rotted.
const ROTTEN_EVERY: u8 = 8;

/// What was missing at some time, and how often that was told.
pub(super) type Wanted = Rc<RefCell<BTreeMap<BlobId, (Missing, u32)>>>;

/// A view that is right where no bug was put in.
pub(super) struct Lying {
    pub(super) view: SiteView,
    pub(super) me: SiteId,
    pub(super) peers: Vec<SiteId>,
    pub(super) plant: Option<Plant>,
    pub(super) wanted: Wanted,
    pub(super) store: Store,
    pub(super) handed: Handed,
    /// Blobs that are forgotten to be wanted.
    pub(super) rotted: BTreeSet<BlobId>,
}

impl Lying {
    fn has(&self, plant: Plant) -> bool {
        self.plant == Some(plant)
    }

    /// Everybody who is known here may write.
    fn open_to_all(&self, feed: FeedId, mut authority: Authority) -> Authority {
        let Some(author) = authority.origin() else { return authority };
        let all = self.peers.iter().chain([&self.me]);
        for (seq, grantee) in (0..).zip(all.copied()) {
            let (label, prefix) = (String::new(), String::new());
            let body = Body::Grant(Grant { grantee, label, rights: Rights::WRITE, prefix, expires: None });
            let place = Place { log: LogId { feed, author, epoch: 1 }, seq };
            let op = Op { place, stamp: Hlc::default(), body };
            authority.apply(&NamedOp { id: OpId(grantee.0), op, statement: Vec::new() });
        }
        authority
    }

    /// What is said to be missing by a site that forgets what it wanted, or that it has it.
    fn distorted(&self, missing: Vec<Missing>) -> Vec<Missing> {
        let mut wanted = self.wanted.borrow_mut();
        for one in &missing {
            wanted.entry(one.blob).or_insert((*one, 0)).1 += 1;
        }
        let tired = |one: &Missing| wanted.get(&one.blob).is_some_and(|(_, asked)| *asked > ASKED_MAX);
        match self.plant {
            Some(Plant::WantListLost) => missing.into_iter().filter(|one| !tired(one)).collect(),
            Some(Plant::RottedBytesUnwanted) => {
                missing.into_iter().filter(|one| !self.rotted.contains(&one.blob)).collect()
            }
            Some(Plant::BytesFetchedAgain) => wanted.values().map(|(one, _)| *one).collect(),
            _ => missing,
        }
    }
}

impl View for Lying {
    fn generation(&self) -> u64 {
        self.view.generation()
    }

    fn logs(&self, feed: FeedId) -> Result<Vec<LogState>, Unreadable> {
        let mut logs = self.view.logs(feed)?;
        if self.has(Plant::RevokedLogsStop)
            && let Some(authority) = self.view.authority(feed)?
        {
            logs.retain(|state| authority.accepted_len(state.log).is_none());
        }
        if self.has(Plant::RelayForgotten) {
            let origin = self.view.authority(feed)?.and_then(|authority| authority.origin());
            logs.retain(|state| state.log.author == self.me || Some(state.log.author) == origin);
        }
        Ok(logs)
    }

    fn log(&self, log: LogId) -> Result<Mmr, Unreadable> {
        self.view.log(log)
    }

    fn gap(&self, log: LogId, seq: u64) -> Result<Option<OpId>, Unreadable> {
        self.view.gap(log, seq)
    }

    fn first_gap(&self, log: LogId) -> Result<Option<u64>, Unreadable> {
        self.view.first_gap(log)
    }

    fn authority(&self, feed: FeedId) -> Result<Option<Authority>, Unreadable> {
        let authority = self.view.authority(feed)?;
        if self.has(Plant::RightsIgnored) {
            return Ok(authority.map(|authority| self.open_to_all(feed, authority)));
        }
        Ok(authority)
    }

    fn rights(&self, feed: FeedId, bytes_max: usize) -> Result<Vec<Batch>, Unreadable> {
        self.view.rights(feed, bytes_max)
    }

    fn fate(
        &self,
        feed: FeedId,
        at: &Coordinate,
        publish: OpId,
    ) -> Result<Option<(Fate, Vec<OpId>)>, Unreadable> {
        self.view.fate(feed, at, publish)
    }

    fn grown_since(&self, feed: FeedId, generation: u64) -> Result<Vec<Growth>, Unreadable> {
        self.view.grown_since(feed, generation)
    }

    fn run(&self, log: LogId, from: u64, bytes_target: usize) -> Result<Option<Batch>, Unreadable> {
        let run = self.view.run(log, from, bytes_target)?;
        self.handed.run(&self.store, run.as_ref());
        Ok(run)
    }

    fn root_at(&self, log: LogId, len: u64) -> Result<Option<[u8; 32]>, Unreadable> {
        self.view.root_at(log, len)
    }

    fn fork(&self, head: &SignedHead) -> Result<Option<ForkProof>, Unreadable> {
        self.view.fork(head)
    }

    fn forks(&self, feed: FeedId) -> Result<Arc<[ForkProof]>, Unreadable> {
        self.view.forks(feed)
    }

    fn missing(&self, feed: FeedId, filter: &Filter) -> Result<Vec<Missing>, Unreadable> {
        let missing = self.view.missing(feed, filter)?;
        Ok(if self.plant.is_some() { self.distorted(missing) } else { missing })
    }

    fn with_room(&self, feed: FeedId, missing: Vec<Missing>) -> Result<Vec<Missing>, Unreadable> {
        self.store.in_turn(feed, "any", missing).map_err(|error| Unreadable(error.to_string()))
    }

    fn holding(&self, blob: BlobId) -> Result<Holding, Unreadable> {
        let holding = self.view.holding(blob)?;
        Ok(match (self.plant, &holding) {
            (Some(Plant::PartTakenForWhole), Holding::Partial { .. }) => Holding::Complete,
            (Some(Plant::BytesFetchedAgain), Holding::Complete) => Holding::Missing,
            _ => holding,
        })
    }

    fn carries(
        &self,
        feed: FeedId,
        blob: BlobId,
        filter: &Filter,
        also: Option<SiteId>,
    ) -> Result<bool, Unreadable> {
        self.view.carries(feed, blob, filter, also)
    }

    fn keeps(&self, blob: BlobId) -> Result<Option<u64>, Unreadable> {
        self.view.keeps(blob)
    }

    fn small(&self, blob: BlobId) -> Result<Option<Vec<u8>>, Unreadable> {
        let mut bytes = self.view.small(blob)?;
        let rotten = blob.0.first().is_some_and(|first| first.is_multiple_of(ROTTEN_EVERY));
        if rotten
            && self.has(Plant::RottenBytesServed)
            && let Some(byte) = bytes.as_mut().and_then(|bytes| bytes.first_mut())
        {
            *byte ^= 1;
        }
        self.handed.small(blob, bytes.as_ref());
        Ok(bytes)
    }

    fn outline(&self, blob: BlobId) -> Result<Option<Outline>, Unreadable> {
        let outline = self.view.outline(blob)?;
        self.handed.outline(blob, outline.as_ref());
        Ok(outline)
    }

    fn extent(&self, blob: BlobId, index: u32) -> Result<Option<Vec<u8>>, Unreadable> {
        let bytes = self.view.extent(blob, index)?;
        let outline = if bytes.is_some() { self.view.outline(blob)? } else { None };
        self.handed.extent(outline.as_ref(), index, bytes.as_ref());
        Ok(bytes)
    }
}
