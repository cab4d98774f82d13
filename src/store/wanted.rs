//! Which bytes are missing here: those of versions that are served and that a filter lets pass.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::filter::{Candidate, Filter};
use protocol::grant::Authority;
use protocol::id::{BlobId, FeedId, LogId, OpId, SiteId};
use protocol::op::{Body, Publish};
use protocol::package::Coordinate;
use protocol::session::view::Missing;
use protocol::time::{Hlc, Timestamp};

use super::keys::{self, OpEntry, Tree};
use super::{BlobState, Look, ReadError, Store, sweep};

/// Whose ops leave this site.
pub(super) struct Travellers {
    authority: Arc<Authority>,
    /// One beside those with rights.
    also: Option<SiteId>,
}

impl Travellers {
    fn have(&self, log: LogId) -> bool {
        let author = log.author;
        (self.authority.is_author(author) || self.also == Some(author)) && !self.authority.stays_home(log)
    }
}

/// A feed seen through a filter. It remembers the versions of packages that it had to count.
pub(super) struct Sieve<'a> {
    store: &'a Store,
    feed: FeedId,
    look: Look,
    filter: &'a Filter,
    /// Whether what was evicted here counts as needed.
    evicted_too: bool,
    /// Whose ops count, if not everybody's.
    of: Option<Travellers>,
    newest: BTreeMap<String, Vec<(Hlc, OpId)>>,
}

impl<'a> Sieve<'a> {
    pub(super) const fn new(store: &'a Store, feed: FeedId, look: Look, filter: &'a Filter) -> Self {
        Self { store, feed, look, filter, evicted_too: false, of: None, newest: BTreeMap::new() }
    }

    /// When the version was published, if this publish of it is served and passes.
    pub(super) fn passes(&mut self, op: OpId, publish: &Publish) -> Result<Option<Timestamp>, ReadError> {
        let (name, version) = (&publish.coordinate.name, &publish.coordinate.version);
        let item = self.store.item(self.feed, name, version, self.look)?;
        let Some(item) = item.filter(|item| item.winner == Some(op)) else { return Ok(None) };
        let stamp = item.published.unwrap_or_default();
        let published = stamp.wall();
        if self.filter.is_everything() {
            return Ok(Some(published));
        }
        let newer = if self.filter.latest.is_some() { self.newer(name, (stamp, op))? } else { 0 };
        let size = publish.manifest.size();
        let passes = self.filter.admits(Candidate { name, size, published, newer }, self.look.now);
        Ok(passes.then_some(published))
    }

    /// Whether this publish's bytes are kept, whatever is served.
    fn kept(&self, op: OpId, at: &Coordinate) -> Result<bool, ReadError> {
        let items = self.store.with_and_without_blocks(self.feed, (&at.name, &at.version), self.look)?;
        Ok(items.iter().any(|item| sweep::needs(item, op)))
    }

    /// How many served versions of the package were published after this one.
    fn newer(&mut self, name: &str, this: (Hlc, OpId)) -> Result<u32, ReadError> {
        if !self.newest.contains_key(name) {
            let versions = self.store.versions(self.feed, name, self.look)?;
            let served = versions.into_iter().filter_map(|(_, item)| Some((item.published?, item.winner?)));
            self.newest.insert(name.to_owned(), served.collect());
        }
        let all = self.newest.get(name).map_or(&[][..], Vec::as_slice);
        Ok(u32::try_from(all.iter().filter(|other| **other > this).count()).unwrap_or(u32::MAX))
    }

    /// The blob's size and publish date, if a version that passes names it, or the blob was here, was lost to damage, and a version
    /// that is kept names it, served or not.
    pub(super) fn needs(&mut self, blob: BlobId) -> Result<Option<Missing>, ReadError> {
        // What a filter leaves out the other end does not send.
        let lost = self.filter.is_everything() && self.store.was_lost(blob)?;
        let prefix = keys::joined(&[blob.as_bytes(), self.feed.as_bytes()]);
        for op in self.store.walk(Tree::Use, &prefix, |key, _| keys::op_of(key)) {
            let op = op?;
            let Some(named) = self.store.op(op)? else { continue };
            if self.of.as_ref().is_some_and(|of| !of.have(named.op.place.log)) {
                continue;
            }
            let Body::Publish(publish) = &named.op.body else { continue };
            let at = &publish.coordinate;
            let published = match self.passes(op, publish)? {
                None if lost => self.kept(op, at)?.then(|| named.op.stamp.wall()),
                passes => passes,
            };
            let Some(published) = published else { continue };
            if !self.evicted_too && self.store.is_evicted(self.feed, &at.name, &at.version, op)? {
                continue;
            }
            if let Some(file) = publish.manifest.files.iter().find(|file| file.blob == blob) {
                return Ok(Some(Missing { blob, size: file.size, published }));
            }
        }
        Ok(None)
    }
}

impl Store {
    /// The blobs that what stands in a feed and passes the filter needs and that are not whole here. Those of evicted versions are
    /// not among them.
    ///
    /// # Errors
    /// When the disk fails, or the bytes of an op are damaged.
    pub fn missing_blobs(
        &self,
        feed: FeedId,
        look: Look,
        filter: &Filter,
    ) -> Result<Vec<Missing>, ReadError> {
        let mut sieve = Sieve::new(self, feed, look, filter);
        let mut missing = Vec::new();
        for blob in self.walk(Tree::Want, feed.as_bytes(), |key, _| keys::blob_of_want(key)) {
            let blob = blob?;
            if matches!(self.blob_state(blob)?, BlobState::Complete { .. }) {
                self.unwant(feed, blob)?;
            } else {
                missing.extend(sieve.needs(blob)?);
            }
        }
        Ok(missing)
    }

    /// Whether a publish is served and passes the filter.
    ///
    /// # Errors
    /// When the disk fails, or the bytes of an op are damaged.
    pub fn passes(
        &self,
        feed: FeedId,
        (op, publish): (OpId, &Publish),
        look: Look,
        filter: &Filter,
    ) -> Result<bool, ReadError> {
        Ok(Sieve::new(self, feed, look, filter).passes(op, publish)?.is_some())
    }

    /// Whether a version that passes the filter names the blob. Without a filter any op that names it and may travel is enough: another site
    /// may still serve what this one does not. Ops of `also` travel beside those of authors with rights: what counts here alone, and its
    /// bytes, leaves this site never. [P-13]
    ///
    /// # Errors
    /// When the disk fails, or the bytes of an op are damaged.
    pub fn carries(
        &self,
        feed: FeedId,
        blob: BlobId,
        look: Look,
        filter: &Filter,
        also: Option<SiteId>,
    ) -> Result<bool, ReadError> {
        let Some(authority) = self.authority(feed)? else { return Ok(false) };
        let of = Travellers { authority, also };
        if filter.is_everything() {
            return self.is_named_by(feed, blob, &of);
        }
        let mut sieve = Sieve { evicted_too: true, of: Some(of), ..Sieve::new(self, feed, look, filter) };
        Ok(sieve.needs(blob)?.is_some())
    }

    /// Whether an op of one of these authors names the blob.
    fn is_named_by(&self, feed: FeedId, blob: BlobId, of: &Travellers) -> Result<bool, ReadError> {
        let prefix = keys::joined(&[blob.as_bytes(), feed.as_bytes()]);
        for op in self.walk(Tree::Use, &prefix, |key, _| keys::op_of(key)) {
            let OpId(op) = op?;
            let entry = self.with_index(|index| {
                index.value(Tree::Op, &op)?.map(|value| keys::decode::<OpEntry>(&value)).transpose()
            })?;
            if entry.is_some_and(|entry| of.have(entry.place.log)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests;
