//! What the other end of a link tells where no ops of a feed flow here: who may write, proved; and what became of what was pushed.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use protocol::feed::{Item, Standing};
use protocol::frame::Fate;
use protocol::grant::RightsProof;
use protocol::id::{FeedId, OpId, SiteId};
use protocol::log::{Batch, Mmr};
use protocol::op::Body;
use protocol::package::Coordinate;
use protocol::session::UnservedThere;
use protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::keys::{self, OpEntry, Tree};
use super::ops::Topic;
use super::{Look, ReadError, Shelf, Store, WriteError};

/// Fates of one publish that are looked at: one a site.
const FATES_MAX: usize = 64;

/// Feeds whose proved grants and revokes are kept in memory. Those of another are read and checked again when they are asked for.
pub(super) const TOLD_FEEDS_MAX: usize = 64;

/// What became of a publish at another site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FateThere {
    pub site: SiteId,
    /// When that site told, by this site's clock.
    pub told: Timestamp,
    pub fate: Fate,
    /// The ops that decide there.
    pub by: Vec<OpId>,
}

impl Store {
    /// Keeps grants and revokes of a feed whose ops do not flow here. Durable when this returns.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn put_rights(&self, proof: &RightsProof) -> Result<(), WriteError> {
        let feed = proof.batch().head.head.log.feed;
        let Some(first) = proof.ops().first() else { return Ok(()) };
        let key = keys::joined(&[feed.as_bytes(), &first.id.0]);
        self.put_record(Shelf::Rights, &key, &proof.batch().encode())?;
        self.inner.told.forget(feed);
        self.forget_ledger(feed);
        Ok(())
    }

    /// The grants and revokes that were told so. What does not check is passed over: it can be told again.
    pub(super) fn rights_told(&self, feed: FeedId) -> Result<Arc<[RightsProof]>, ReadError> {
        let proof = |(_, bytes): (Vec<u8>, Vec<u8>)| {
            Batch::decode(&bytes).ok().and_then(|batch| RightsProof::check(batch, feed).ok())
        };
        self.inner.told.list(feed, self.index_rebuilds(), || {
            let told = self.records(Shelf::Rights, feed.as_bytes(), &[], usize::MAX)?;
            Ok(told.into_iter().filter_map(proof).collect())
        })
    }

    /// How many of those are of sites that may say nothing in the feed.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn words_of_strangers(&self, feed: FeedId) -> Result<usize, ReadError> {
        let Some(authority) = self.authority(feed)? else { return Ok(0) };
        let told = self.rights_told(feed)?;
        let strange = |proof: &&RightsProof| !authority.is_author(proof.batch().head.head.log.author);
        Ok(told.iter().filter(strange).count())
    }

    /// The feed's grants and revokes in the order in which they were said, each proved by its author's signed head; as many as fit in
    /// `bytes_max`.
    ///
    /// # Errors
    /// When the disk fails, or the bytes of a batch are damaged.
    pub fn rights_proofs(&self, feed: FeedId, bytes_max: usize) -> Result<Vec<Batch>, ReadError> {
        let mut proofs = Vec::new();
        for named in self.ops_about(feed, Topic::Rights)? {
            proofs.extend(self.proof_of(named.id)?.map(|batch| (named.op.stamp, named.id, batch)));
        }
        for proof in self.rights_told(feed)?.iter() {
            let first = proof.ops().first().map(|named| (named.op.stamp, named.id));
            proofs.extend(first.map(|(stamp, id)| (stamp, id, proof.batch().clone())));
        }
        proofs.sort_by_key(|(stamp, id, _)| (*stamp, *id));
        proofs.dedup_by_key(|(stamp, id, _)| (*stamp, *id));
        let mut bytes: usize = 0;
        let fits = |(_, _, batch): &(_, _, Batch)| {
            bytes = bytes.saturating_add(batch.encode().len());
            bytes <= bytes_max
        };
        Ok(proofs.into_iter().take_while(fits).map(|(_, _, batch)| batch).collect())
    }

    /// One op with what proves it to a site that holds nothing of its log.
    fn proof_of(&self, op: OpId) -> Result<Option<Batch>, ReadError> {
        let entry = self.with_index(|index| {
            index.value(Tree::Op, &op.0)?.map(|value| keys::decode::<OpEntry>(&value)).transpose()
        })?;
        let Some(OpEntry { place, .. }) = entry else { return Ok(None) };
        let Ok((batch, _)) = self.batch_at(place.log, place.seq)? else { return Ok(None) };
        let mut before = self.after_batch(place.log, batch.first)?.unwrap_or_default();
        if before.len() != batch.first {
            before = Mmr::default();
            for earlier in self.batches(place.log, 0, u64::MAX)? {
                let Some(earlier) = earlier.beyond(before.len()) else { continue };
                if before.len() >= batch.first {
                    break;
                }
                let Ok(verified) = earlier.verify(&before) else { return Ok(None) };
                before = verified.after().clone();
            }
        }
        if before.len() != batch.first {
            return Ok(None);
        }
        Ok(batch.proving(&before, Body::is_about_rights).ok())
    }

    /// Keeps what became of publishes at another site. Durable when this returns.
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn put_fates(
        &self,
        site: SiteId,
        told: Timestamp,
        fates: &[UnservedThere],
    ) -> Result<(), WriteError> {
        for there in fates {
            let key = keys::joined(&[there.feed.as_bytes(), &there.publish.0, site.as_bytes()]);
            let fate = FateThere { site, told, fate: there.fate, by: there.by.clone() };
            self.put_record(Shelf::Fates, &key, &keys::encode(&fate))?;
        }
        Ok(())
    }

    /// What other sites told of a publish that they do not serve.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn fates(&self, feed: FeedId, publish: OpId) -> Result<Vec<FateThere>, ReadError> {
        let key = keys::joined(&[feed.as_bytes(), &publish.0]);
        let told = self.records(Shelf::Fates, &key, &[], FATES_MAX)?;
        told.into_iter().map(|(_, value)| self.understood(&value)).collect()
    }

    /// What other sites told of everything that stands behind an item; nothing where one of its publishes has no such fate.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn fates_of(&self, feed: FeedId, item: &Item) -> Result<Vec<FateThere>, ReadError> {
        let mut all = Vec::new();
        for publish in item.winner.iter().chain(&item.twins) {
            let fates = self.fates(feed, *publish)?;
            if fates.is_empty() {
                return Ok(Vec::new());
            }
            all.extend(fates);
        }
        Ok(all)
    }

    /// Why a publish that is here is not served, and the ops that decide.
    ///
    /// # Errors
    /// When the disk fails, or the bytes of an op are damaged.
    pub fn fate(
        &self,
        feed: FeedId,
        at: &Coordinate,
        publish: OpId,
        look: Look,
    ) -> Result<Option<(Fate, Vec<OpId>)>, ReadError> {
        let Some(item) = self.item(feed, &at.name, &at.version, look)? else { return Ok(None) };
        if item.winner == Some(publish) || item.twins.contains(&publish) {
            return Ok(None);
        }
        let winner: Vec<OpId> = item.winner.into_iter().collect();
        Ok(Some(match item.standing {
            _ if item.reused.contains(&publish) => (Fate::Reused, item.deletes),
            Standing::Served if item.deletes.is_empty() => (Fate::Outbid, winner),
            Standing::Blocked => (Fate::Blocked, item.blocks),
            Standing::Deleted | Standing::Suppressed | Standing::Hidden | Standing::Served => {
                (Fate::Deleted, item.deletes)
            }
            Standing::Held | Standing::NotAuthorised => (Fate::Unauthorised, Vec::new()),
            // It may be served yet, or nothing is known of it.
            Standing::Parked | Standing::Absent => return Ok(None),
        }))
    }
}
