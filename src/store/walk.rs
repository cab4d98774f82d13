//! Going through a tree of the index in order of its keys: nothing holds the index between two pages, and what is written meanwhile may be
//! seen or not.

use std::vec;

use protocol::id::{BlobId, FeedId, LogId, OpId};
use serde::de::DeserializeOwned;

use super::engine::{Broken, Index};
use super::keys::{self, BatchEntry, BlobEntry, Tree};
use super::{ReadError, Store};

/// Entries read under one hold of the index: at first a few, for whoever soon has enough, then ever more.
const FIRST_PAGE_ENTRIES: usize = 4;
const PAGE_GROWTH: usize = 8;
const PAGE_ENTRIES_MAX: usize = 512;

/// How an entry is read from its key and its value.
type Read<T> = fn(&[u8], &[u8]) -> Result<T, Broken>;

/// The entries under a prefix. Nothing follows an error.
pub(super) struct Walk<'a, T> {
    store: &'a Store,
    tree: Tree,
    prefix: Vec<u8>,
    read: Read<T>,
    page: vec::IntoIter<T>,
    page_entries: usize,
    /// Where the next page begins; none where there is no more.
    from: Option<Vec<u8>>,
}

/// Shows each entry of a tree under a prefix to somebody who holds the index.
pub(super) fn each(
    index: &dyn Index,
    tree: Tree,
    prefix: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), Broken>,
) -> Result<(), Broken> {
    let mut from = Vec::new();
    loop {
        let page = index.page(tree, prefix, &from, PAGE_ENTRIES_MAX)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        from = keys::after(last);
        for (key, value) in &page {
            visit(key, value)?;
        }
    }
}

/// The key and what the value says.
pub(super) fn keyed<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<(Vec<u8>, T), Broken> {
    Ok((key.to_vec(), keys::decode(value)?))
}

impl Store {
    /// Goes through what a tree holds under a prefix.
    pub(super) fn walk<T>(&self, tree: Tree, prefix: &[u8], read: Read<T>) -> Walk<'_, T> {
        self.walk_from(tree, prefix, Vec::new(), read)
    }

    /// The same from a key on.
    pub(super) fn walk_from<T>(
        &self,
        tree: Tree,
        prefix: &[u8],
        from: Vec<u8>,
        read: Read<T>,
    ) -> Walk<'_, T> {
        let (prefix, page) = (prefix.to_vec(), Vec::new().into_iter());
        Walk { store: self, tree, prefix, read, page, page_entries: FIRST_PAGE_ENTRIES, from: Some(from) }
    }

    /// Every blob that the index knows.
    pub(super) fn blobs(&self) -> Walk<'_, (BlobId, BlobEntry)> {
        self.walk(Tree::Blob, &[], |key, value| Ok((keys::blob_of(key)?, keys::decode(value)?)))
    }

    /// The publishes that name a blob, with their feeds.
    pub(super) fn each_use(&self, blob: BlobId) -> Walk<'_, (FeedId, OpId)> {
        self.walk(Tree::Use, blob.as_bytes(), |key, _| Ok((keys::feed_of_use(key)?, keys::op_of(key)?)))
    }

    /// Those of one feed.
    pub(super) fn each_use_in(&self, feed: FeedId, blob: BlobId) -> Walk<'_, OpId> {
        self.walk(Tree::Use, &keys::used_in(blob, feed), |key, _| keys::op_of(key))
    }

    /// The batches of a log that reach a position or lie behind it, each with its key, in the order of their ends.
    pub(super) fn batches_reaching(&self, log: LogId, seq: u64) -> Walk<'_, (Vec<u8>, BatchEntry)> {
        self.walk_from(Tree::Batch, &keys::log(log), keys::batch(log, seq), keyed)
    }
}

impl<T> Iterator for Walk<'_, T> {
    type Item = Result<T, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.page.next() {
                return Some(Ok(entry));
            }
            let from = self.from.take()?;
            let read = self.store.with_index(|index| {
                let page = index.page(self.tree, &self.prefix, &from, self.page_entries)?;
                let next = page.last().filter(|_| page.len() == self.page_entries);
                let next = next.map(|(last, _)| keys::after(last));
                let entries = page.iter().map(|(key, value)| (self.read)(key, value));
                Ok((next, entries.collect::<Result<Vec<T>, Broken>>()?))
            });
            self.page_entries = self.page_entries.saturating_mul(PAGE_GROWTH).min(PAGE_ENTRIES_MAX);
            match read {
                Ok((next, entries)) => (self.from, self.page) = (next, entries.into_iter()),
                Err(error) => return Some(Err(error.into())),
            }
        }
    }
}
