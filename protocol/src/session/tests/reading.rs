//! What a session reads of a site in memory.

use std::sync::Arc;

use super::*;

impl View for Site {
    fn generation(&self) -> u64 {
        self.generation
    }

    fn logs(&self, _feed: FeedId) -> Result<Vec<LogState>, Unreadable> {
        let state = |(log, runs): (&LogId, &Vec<(u64, Verified)>)| {
            let after = runs.last().unwrap().1.after();
            let gaps = self.gaps(*log).len() as u64;
            LogState { log: *log, reach: Reach { len: after.len(), root: after.root(), gaps } }
        };
        Ok(self.runs.iter().map(state).collect())
    }

    fn gap(&self, log: LogId, seq: u64) -> Result<Option<OpId>, Unreadable> {
        Ok(self.gaps(log).get(&seq).copied())
    }

    fn first_gap(&self, log: LogId) -> Result<Option<u64>, Unreadable> {
        Ok(self.gaps(log).first_key_value().map(|(seq, _)| *seq))
    }

    fn log(&self, log: LogId) -> Result<Mmr, Unreadable> {
        Ok(self.runs.get(&log).map_or_else(Mmr::default, |runs| runs.last().unwrap().1.after().clone()))
    }

    fn authority(&self, _feed: FeedId) -> Result<Option<Authority>, Unreadable> {
        Ok((!self.forgot).then(|| self.authority.clone()))
    }

    fn rights(&self, _feed: FeedId, _bytes_max: usize) -> Result<Vec<Batch>, Unreadable> {
        let mut proofs = Vec::new();
        let of_rights = |body: &Body| matches!(body, Body::Grant(_) | Body::Revoke(_) | Body::Cut(_));
        for runs in self.runs.values() {
            let mut before = Mmr::default();
            for (_, run) in runs {
                if run.ops().iter().any(|named| of_rights(&named.op.body)) {
                    proofs.extend(run.to_batch().proving(&before, of_rights).ok());
                }
                before = run.after().clone();
            }
        }
        Ok(proofs)
    }

    fn fate(
        &self,
        _feed: FeedId,
        at: &Coordinate,
        _publish: OpId,
    ) -> Result<Option<(Fate, Vec<OpId>)>, Unreadable> {
        let removes = |named: &&NamedOp| {
            matches!(named.op.body, Body::Delete(_)) && named.op.body.coordinate() == Some(at)
        };
        let deletes: Vec<OpId> = self.ops().iter().filter(removes).map(|named| named.id).collect();
        Ok((!deletes.is_empty()).then_some((Fate::Deleted, deletes)))
    }

    fn grown_since(&self, _feed: FeedId, generation: u64) -> Result<Vec<Growth>, Unreadable> {
        let filled = self.filled.iter().filter(|(at, _)| *at > generation);
        let mut grown: BTreeMap<LogId, u64> =
            filled.map(|(_, named)| (named.op.place.log, named.op.place.seq)).collect();
        for (log, runs) in &self.runs {
            if let Some((_, run)) = runs.iter().find(|(at, _)| *at > generation) {
                let first = grown.entry(*log).or_insert_with(|| run.first());
                *first = run.first().min(*first);
            }
        }
        Ok(grown.into_iter().map(|(log, first)| Growth { log, first }).collect())
    }

    fn run(&self, log: LogId, from: u64, _bytes_target: usize) -> Result<Option<Batch>, Unreadable> {
        let runs = self.runs.get(&log).map_or(&[][..], Vec::as_slice);
        let found = runs.iter().map(|(_, run)| run.to_batch()).find(|batch| batch.head.head.len > from);
        Ok(found.map(|mut batch| {
            for entry in &mut batch.entries {
                let late = self
                    .filled
                    .iter()
                    .find(|(_, named)| *entry == Entry::Skip { height: 0, hash: named.id.0 });
                if let Some((_, named)) = late {
                    *entry = Entry::Op(named.statement.clone());
                }
            }
            batch
        }))
    }

    fn root_at(&self, log: LogId, len: u64) -> Result<Option<[u8; 32]>, Unreadable> {
        let runs = self.history(log);
        let whole = self.log(log)?.len();
        let mut mmr = Mmr::default();
        for run in &runs {
            if mmr.len() == len {
                break;
            }
            if mmr.push_subtree(run.height, run.hash).is_err() {
                return Ok(None);
            }
        }
        Ok((len <= whole && mmr.len() == len).then(|| mmr.root()))
    }

    fn fork(&self, head: &crate::log::SignedHead) -> Result<Option<ForkProof>, Unreadable> {
        let last = self.runs.get(&head.head.log).and_then(|runs| runs.last());
        Ok(last.and_then(|(_, run)| {
            let runs = self.history(head.head.log);
            ForkProof::between(head.clone(), run.head().clone(), &Mmr::default(), &runs)
        }))
    }

    fn forks(&self, feed: FeedId) -> Result<Arc<[ForkProof]>, Unreadable> {
        let heeded = self.forks.iter().filter(|fork| fork.log().feed == feed && !self.deaf);
        Ok(heeded.cloned().collect())
    }

    fn missing(&self, _feed: FeedId, filter: &Filter) -> Result<Vec<Missing>, Unreadable> {
        let sizes = self.sizes();
        let admitted = |(name, _): &(String, BlobId)| filter.admits_name(name);
        let wanted: BTreeSet<BlobId> =
            self.served().into_iter().filter(admitted).map(|(_, blob)| blob).collect();
        let lacks = |blob: &BlobId| !matches!(self.holding(*blob), Ok(Holding::Complete));
        Ok(wanted
            .into_iter()
            .filter(lacks)
            .map(|blob| Missing { blob, size: sizes[&blob], published: WALL })
            .collect())
    }

    fn holding(&self, blob: BlobId) -> Result<Holding, Unreadable> {
        if self.blobs.contains_key(&blob) {
            return Ok(Holding::Complete);
        }
        let Some(outline) = self.outlines.get(&blob) else { return Ok(Holding::Missing) };
        let missing: Vec<u32> = (0..extent_count(outline.size))
            .filter(|index| !self.extents.contains_key(&(blob, *index)))
            .collect();
        if missing.is_empty() {
            return Ok(Holding::Complete);
        }
        Ok(Holding::Partial { outline: outline.clone(), missing })
    }

    fn carries(
        &self,
        _feed: FeedId,
        blob: BlobId,
        filter: &Filter,
        _also: Option<SiteId>,
    ) -> Result<bool, Unreadable> {
        let named = |named: &NamedOp| {
            let Body::Publish(publish) = &named.op.body else { return false };
            publish.manifest.files.iter().any(|file| file.blob == blob)
                && filter.admits_name(&publish.coordinate.name)
        };
        Ok(self.ops().iter().any(named))
    }

    fn keeps(&self, blob: BlobId) -> Result<Option<u64>, Unreadable> {
        let whole = self.holding(blob)? == Holding::Complete;
        Ok(self.blobs.get(&blob).filter(|_| whole).map(|bytes| bytes.len() as u64))
    }

    fn small(&self, blob: BlobId) -> Result<Option<Vec<u8>>, Unreadable> {
        Ok(self.blobs.get(&blob).cloned())
    }

    fn outline(&self, blob: BlobId) -> Result<Option<Outline>, Unreadable> {
        Ok(self.outlines.get(&blob).cloned())
    }

    fn extent(&self, blob: BlobId, index: u32) -> Result<Option<Vec<u8>>, Unreadable> {
        Ok(self.extents.get(&(blob, index)).cloned())
    }
}

impl Site {
    fn history(&self, log: LogId) -> Vec<crate::log::Run> {
        let runs = self.runs.get(&log).map_or(&[][..], Vec::as_slice);
        runs.iter().flat_map(|(_, run)| run.to_batch().runs()).collect()
    }
}
