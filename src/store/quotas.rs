//! Quotas: how many bytes of a feed this site keeps at most, and how many it does.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use protocol::id::{BlobId, FeedId};
use protocol::session::view::Missing;

use super::engine::Broken;
use super::keys::{self, BlobEntry, Location, Tree};
use super::records::Shelf;
use super::{ReadError, Store, WriteError, locked};

/// Uses looked at under one hold of the index.
const PAGE_USES: usize = 512;

/// What feeds with a quota hold.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// At an era and a position of the packs: the same again is the same answer.
    bytes: BTreeMap<FeedId, ((u64, u64), u64)>,
    /// How often somebody asked what may come.
    asked: u64,
}

/// Spreads counted numbers so that each length is begun anywhere, however many times are asked in one run.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Store {
    /// Sets how many bytes of a feed are kept here at most; none is no bound.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn set_quota(&self, feed: FeedId, bytes: Option<u64>) -> Result<(), WriteError> {
        match bytes {
            Some(bytes) => self.put_record(Shelf::Quotas, feed.as_bytes(), &bytes.to_be_bytes()),
            None => self.remove_record(Shelf::Quotas, feed.as_bytes()),
        }
    }

    /// How many bytes of a feed are kept here at most.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn quota(&self, feed: FeedId) -> Result<Option<u64>, ReadError> {
        let value = self.record(Shelf::Quotas, feed.as_bytes())?;
        Ok(value.and_then(|value| value.try_into().ok()).map(u64::from_be_bytes))
    }

    /// Bytes held here of blobs that ops of the feed name, what lies in the trash included. Blobs of several files or feeds count once in
    /// each feed, and one that has begun to come counts whole.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn bytes_held(&self, feed: FeedId) -> Result<u64, ReadError> {
        let now = (self.era(), self.written());
        if let Some((at, bytes)) = locked(&self.inner.held).bytes.get(&feed)
            && *at == now
        {
            return Ok(*bytes);
        }
        let (mut bytes, mut last_blob, mut from) = (0_u64, None, Vec::new());
        loop {
            let page = self.with_index(|index| {
                let page = index.page(Tree::Use, &[], &from, PAGE_USES)?;
                let mut entries = Vec::with_capacity(page.len());
                for (key, _) in page {
                    let blob = key.first_chunk::<32>().copied().map(BlobId);
                    let of_feed = keys::feed_of_use(&key)? == feed;
                    let entry = match blob.filter(|_| of_feed) {
                        Some(blob) => index.value(Tree::Blob, blob.as_bytes())?.map(|value| room_of(&value)),
                        None => None,
                    };
                    entries.push((key, blob, entry.transpose()?));
                }
                Ok(entries)
            })?;
            let Some((last, ..)) = page.last() else { break };
            from = keys::after(last);
            for (_, blob, entry) in page {
                if let Some((size, at)) = entry
                    && last_blob != blob
                    && self.takes_room(at)
                {
                    bytes = bytes.saturating_add(size);
                    last_blob = blob;
                }
            }
        }
        locked(&self.inner.held).bytes.insert(feed, (now, bytes));
        Ok(bytes)
    }

    /// Whether a record can lie there: an index that a loss of power set back may point to what went since.
    fn takes_room(&self, at: Location) -> bool {
        let (newest, end) = self.inner.packs.end();
        if at.pack == newest { at.offset < end } else { self.inner.packs.has(at.pack) }
    }

    /// Whether a blob has its room already.
    fn has_its_room(&self, blob: BlobId) -> Result<bool, ReadError> {
        Ok(self.blob_entry(blob)?.is_some_and(|entry| self.takes_room(place_of(&entry).1)))
    }

    /// Those of the missing blobs for which the feed's quota has room. One that has begun to come has its room. Of the others each is the
    /// first to find room at some time: what is nowhere any more keeps nobody else out for ever.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn within_quota(&self, feed: FeedId, mut missing: Vec<Missing>) -> Result<Vec<Missing>, ReadError> {
        let Some(quota) = self.quota(feed)? else { return Ok(missing) };
        let first = self.turn(missing.len());
        missing.rotate_left(first);
        let mut left = quota.saturating_sub(self.bytes_held(feed)?);
        let mut within = Vec::new();
        for one in missing {
            if self.has_its_room(one.blob)? {
                within.push(one);
            } else if let Some(rest) = left.checked_sub(one.size) {
                left = rest;
                within.push(one);
            }
        }
        Ok(within)
    }

    /// Whose turn it is among so many.
    fn turn(&self, many: usize) -> usize {
        let mut held = locked(&self.inner.held);
        held.asked = held.asked.wrapping_add(1);
        let spread = usize::try_from(held.asked.wrapping_mul(SPREAD) >> 33).unwrap_or(0);
        spread.checked_rem(many).unwrap_or(0)
    }

    /// Bytes by which the feed would be over its quota with these blobs; none where it has room for them.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn over_quota(
        &self,
        feed: FeedId,
        blobs: impl IntoIterator<Item = (BlobId, u64)>,
    ) -> Result<Option<u64>, ReadError> {
        let Some(quota) = self.quota(feed)? else { return Ok(None) };
        let added = self.room_needed(feed, blobs)?;
        let over = self.bytes_held(feed)?.saturating_add(added).saturating_sub(quota);
        Ok((added > 0 && over > 0).then_some(over))
    }

    /// How many bytes these blobs would add to what the feed holds.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn room_needed(
        &self,
        feed: FeedId,
        blobs: impl IntoIterator<Item = (BlobId, u64)>,
    ) -> Result<u64, ReadError> {
        let (mut added, mut counted) = (0_u64, BTreeSet::new());
        for (blob, size) in blobs {
            let prefix = keys::joined(&[blob.as_bytes(), feed.as_bytes()]);
            let named = !self.with_index(|index| index.page(Tree::Use, &prefix, &[], 1))?.is_empty();
            if counted.insert(blob) && !(named && self.has_its_room(blob)?) {
                added = added.saturating_add(size);
            }
        }
        Ok(added)
    }
}

fn room_of(value: &[u8]) -> Result<(u64, Location), Broken> {
    Ok(place_of(&keys::decode(value)?))
}

/// How much room a blob takes, and where the record lies that tells of it.
const fn place_of(entry: &BlobEntry) -> (u64, Location) {
    match entry {
        BlobEntry::Small { at } => (at.bytes, *at),
        BlobEntry::Large { size, outline, .. } => (*size, *outline),
    }
}
