//! Quotas: how many bytes of a feed this site keeps at most, and how many it does.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use protocol::id::{BlobId, FeedId};
use protocol::session::view::Missing;

use super::engine::Broken;
use super::keys::{self, BlobEntry, Tree};
use super::records::Shelf;
use super::{ReadError, Store, WriteError, locked};

/// Uses looked at under one hold of the index.
const PAGE_USES: usize = 512;

/// What feeds with a quota hold, at a position of the packs: the same position again is the same answer.
pub(super) type Held = BTreeMap<FeedId, (u64, u64)>;

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
        let written = self.written();
        if let Some((at, bytes)) = locked(&self.inner.held).get(&feed)
            && *at == written
        {
            return Ok(*bytes);
        }
        let (mut bytes, mut last_blob, mut from) = (0_u64, None, Vec::new());
        loop {
            let page = self.with_index(|index| {
                let page = index.page(Tree::Use, &[], &from, PAGE_USES)?;
                let mut sizes = Vec::with_capacity(page.len());
                for (key, _) in page {
                    let blob = key.first_chunk::<32>().copied().map(BlobId);
                    let of_feed = keys::feed_of_use(&key)? == feed;
                    let size = match blob.filter(|_| of_feed) {
                        Some(blob) => index.value(Tree::Blob, blob.as_bytes())?.map(|value| size_of(&value)),
                        None => None,
                    };
                    sizes.push((key, blob, size.transpose()?));
                }
                Ok(sizes)
            })?;
            let Some((last, ..)) = page.last() else { break };
            from = keys::after(last);
            for (_, blob, size) in page {
                if let Some(size) = size
                    && last_blob != blob
                {
                    bytes = bytes.saturating_add(size);
                    last_blob = blob;
                }
            }
        }
        locked(&self.inner.held).insert(feed, (written, bytes));
        Ok(bytes)
    }

    /// Those of the missing blobs for which the feed's quota has room, in the order given. One that has begun to come has its room.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn within_quota(&self, feed: FeedId, missing: Vec<Missing>) -> Result<Vec<Missing>, ReadError> {
        let Some(quota) = self.quota(feed)? else { return Ok(missing) };
        let mut left = quota.saturating_sub(self.bytes_held(feed)?);
        let mut within = Vec::new();
        for one in missing {
            if self.blob_entry(one.blob)?.is_some() {
                within.push(one);
            } else if let Some(rest) = left.checked_sub(one.size) {
                left = rest;
                within.push(one);
            }
        }
        Ok(within)
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
        let (mut added, mut counted) = (0_u64, BTreeSet::new());
        for (blob, size) in blobs {
            let prefix = keys::joined(&[blob.as_bytes(), feed.as_bytes()]);
            let named = !self.with_index(|index| index.page(Tree::Use, &prefix, &[], 1))?.is_empty();
            if counted.insert(blob) && !(named && self.blob_entry(blob)?.is_some()) {
                added = added.saturating_add(size);
            }
        }
        let over = self.bytes_held(feed)?.saturating_add(added).saturating_sub(quota);
        Ok((added > 0 && over > 0).then_some(over))
    }
}

fn size_of(value: &[u8]) -> Result<u64, Broken> {
    Ok(match keys::decode(value)? {
        BlobEntry::Small { at } => at.bytes,
        BlobEntry::Large { size, .. } => size,
    })
}
