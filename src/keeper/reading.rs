//! What a session of one link reads of this site.

use std::sync::Arc;

use protocol::filter::Filter;
use protocol::fork::ForkProof;
use protocol::frame::Fate;
use protocol::grant::Authority;
use protocol::id::{BlobId, FeedId, LogId, OpId, SiteId};
use protocol::link::Fetch;
use protocol::log::{Batch, Mmr, SignedHead};
use protocol::outline::Outline;
use protocol::package::Coordinate;
use protocol::session::view::{Growth, Holding, LogState, Missing, Unreadable, View};

use super::{LinkKeeper, locked};

impl LinkKeeper {
    /// What the link is to bring by itself or was asked to bring, whether there is room for it or not.
    fn to_come(&self, feed: FeedId, filter: &Filter) -> Result<Vec<Missing>, Unreadable> {
        let missing = self.view().missing(feed, filter)?;
        Ok(match self.fetch {
            Fetch::Always => missing,
            Fetch::OnDemand => {
                let asked = locked(&self.site.inner.asked);
                missing.into_iter().filter(|one| asked.contains(&one.blob)).collect()
            }
        })
    }
}

impl View for LinkKeeper {
    fn generation(&self) -> u64 {
        self.view().generation()
    }

    fn logs(&self, feed: FeedId) -> Result<Vec<LogState>, Unreadable> {
        self.view().logs(feed)
    }

    fn log(&self, log: LogId) -> Result<Mmr, Unreadable> {
        self.view().log(log)
    }

    fn gap(&self, log: LogId, seq: u64) -> Result<Option<OpId>, Unreadable> {
        self.view().gap(log, seq)
    }

    fn first_gap(&self, log: LogId) -> Result<Option<u64>, Unreadable> {
        self.view().first_gap(log)
    }

    fn authority(&self, feed: FeedId) -> Result<Option<Authority>, Unreadable> {
        let authority = self.view().authority(feed)?;
        let key = self.site.key();
        Ok(authority.map(|authority| authority.knowing(self.site.me(), key.succession().clone())))
    }

    fn rights(&self, feed: FeedId, bytes_max: usize) -> Result<Vec<Batch>, Unreadable> {
        self.view().rights(feed, bytes_max)
    }

    fn fate(
        &self,
        feed: FeedId,
        at: &Coordinate,
        publish: OpId,
    ) -> Result<Option<(Fate, Vec<OpId>)>, Unreadable> {
        self.view().fate(feed, at, publish)
    }

    fn grown_since(&self, feed: FeedId, generation: u64) -> Result<Vec<Growth>, Unreadable> {
        self.view().grown_since(feed, generation)
    }

    fn run(&self, log: LogId, from: u64, bytes_target: usize) -> Result<Option<Batch>, Unreadable> {
        self.view().run(log, from, bytes_target)
    }

    fn root_at(&self, log: LogId, len: u64) -> Result<Option<[u8; 32]>, Unreadable> {
        self.view().root_at(log, len)
    }

    fn fork(&self, head: &SignedHead) -> Result<Option<ForkProof>, Unreadable> {
        self.view().fork(head)
    }

    fn forks(&self, feed: FeedId) -> Result<Arc<[ForkProof]>, Unreadable> {
        self.view().forks(feed)
    }

    fn missing(&self, feed: FeedId, filter: &Filter) -> Result<Vec<Missing>, Unreadable> {
        self.to_come(feed, filter)
    }

    fn with_room(&self, feed: FeedId, missing: Vec<Missing>) -> Result<Vec<Missing>, Unreadable> {
        self.site.store().in_turn(feed, &self.link, missing).map_err(|error| Unreadable(error.to_string()))
    }

    fn holding(&self, blob: BlobId) -> Result<Holding, Unreadable> {
        self.view().holding(blob)
    }

    fn carries(
        &self,
        feed: FeedId,
        blob: BlobId,
        filter: &Filter,
        also: Option<SiteId>,
    ) -> Result<bool, Unreadable> {
        self.view().carries(feed, blob, filter, also)
    }

    fn keeps(&self, blob: BlobId) -> Result<Option<u64>, Unreadable> {
        self.view().keeps(blob)
    }

    fn small(&self, blob: BlobId) -> Result<Option<Vec<u8>>, Unreadable> {
        self.view().small(blob)
    }

    fn outline(&self, blob: BlobId) -> Result<Option<Outline>, Unreadable> {
        self.view().outline(blob)
    }

    fn extent(&self, blob: BlobId, index: u32) -> Result<Option<Vec<u8>>, Unreadable> {
        self.view().extent(blob, index)
    }
}
