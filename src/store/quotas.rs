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
    /// The last that a run was let ask for in each feed, by link: each may lack other parts of the feed.
    last: BTreeMap<(FeedId, String), BlobId>,
    /// How many runs asked.
    runs: u64,
}

/// Spreads counted numbers over all that there are.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Held {
    /// Which of the missing ones, in their ids' order, has its turn first, and whether that is the one after the last that had it. Mostly it
    /// is, so that all come in few runs. At times it is any of them, and what follows goes on as if it had not been: links may run in step,
    /// and what one of them asks for the other alone may have.
    fn first(&mut self, by: &(FeedId, String), missing: &[Missing]) -> (usize, bool) {
        self.runs = self.runs.wrapping_add(1);
        let drawn = self.runs.wrapping_mul(SPREAD);
        if drawn >> 62 == 0 {
            let any = usize::try_from(drawn >> 29).unwrap_or(0).checked_rem(missing.len());
            return (any.unwrap_or(0), false);
        }
        let after = |last: &BlobId| missing.partition_point(|one| one.blob <= *last);
        let next = self.last.get(by).map_or(0, after);
        (if next < missing.len() { next } else { 0 }, true)
    }
}

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

    /// Those of the missing blobs for which the feed's quota has room. One that has begun to come has its room; of the others the first
    /// ones find room.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn within_quota(&self, feed: FeedId, missing: Vec<Missing>) -> Result<Vec<Missing>, ReadError> {
        Ok(self.filled(feed, missing)?.0)
    }

    /// As [`Self::within_quota`], for a run over a link that asks for them: each is the first to find room at some time, so that what is nowhere any
    /// more keeps nobody else out for ever.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn in_turn(
        &self,
        feed: FeedId,
        link: &str,
        mut missing: Vec<Missing>,
    ) -> Result<Vec<Missing>, ReadError> {
        if self.quota(feed)?.is_none() {
            return Ok(missing);
        }
        missing.sort_unstable_by_key(|one| one.blob);
        let by = (feed, link.to_owned());
        let (first, goes_on) = locked(&self.inner.held).first(&by, &missing);
        missing.rotate_left(first);
        let (within, last) = self.filled(feed, missing)?;
        if let Some(last) = last.filter(|_| goes_on) {
            locked(&self.inner.held).last.insert(by, last);
        }
        Ok(within)
    }

    /// What there is room for, and the last of them that is to begin.
    fn filled(
        &self,
        feed: FeedId,
        missing: Vec<Missing>,
    ) -> Result<(Vec<Missing>, Option<BlobId>), ReadError> {
        let Some(quota) = self.quota(feed)? else { return Ok((missing, None)) };
        let mut left = quota.saturating_sub(self.bytes_held(feed)?);
        let (mut within, mut last) = (Vec::new(), None);
        for one in missing {
            if self.has_its_room(one.blob)? {
                within.push(one);
            } else if let Some(rest) = left.checked_sub(one.size) {
                left = rest;
                last = Some(one.blob);
                within.push(one);
            }
        }
        Ok((within, last))
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
