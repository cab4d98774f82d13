//! What one run moved: counts that both ends record in the same shape, and that figures and tests are made of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fault::Reason;
use crate::id::FeedId;
use crate::limits::MOVED_NAMES_MAX;
use crate::op::Body;
use crate::package::Coordinate;

/// Counts of one run at one end.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Publishes and other ops taken in.
    pub ops_in: u64,
    /// Ops sent, left-out ones counted.
    pub ops_out: u64,
    /// What the ops that were taken in say.
    pub came: Moved,
    /// What the ops that were sent say.
    pub went: Moved,
    /// Ops not taken, by reason.
    pub refused: BTreeMap<Reason, u64>,
    /// Ops the other end did not take, by reason.
    pub refused_there: BTreeMap<Reason, u64>,
    /// Blobs completed here.
    pub blobs_in: u64,
    /// Content bytes that arrived and were right.
    pub content_in_bytes: u64,
    /// Content bytes sent.
    pub content_out_bytes: u64,
    /// Bytes of control and ops frames that arrived.
    pub frames_in_bytes: u64,
    /// Bytes of control and ops frames sent.
    pub frames_out_bytes: u64,
    /// Times this end sent something and could only go on with the answer.
    pub round_trips: u64,
    /// Blobs that the other end did not have.
    pub blobs_missing: u64,
    /// Blobs that the other end wanted and could not have from here.
    pub blobs_missing_there: u64,
}

/// What the ops of one direction of a run say, by verb.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Moved {
    pub adds: u64,
    pub deletes: u64,
    /// States, tags, blocks, grants and the like.
    pub other: u64,
    /// The first versions that were added, at most [`MOVED_NAMES_MAX`].
    pub added: Vec<(FeedId, Coordinate)>,
    /// The first versions that were deleted, at most [`MOVED_NAMES_MAX`].
    pub deleted: Vec<(FeedId, Coordinate)>,
}

impl Moved {
    /// Counts one op.
    pub fn count(&mut self, feed: FeedId, body: &Body) {
        let (count, names, coordinate) = match body {
            Body::Publish(publish) => (&mut self.adds, &mut self.added, &publish.coordinate),
            Body::Delete(delete) => (&mut self.deletes, &mut self.deleted, &delete.coordinate),
            Body::SetState(_)
            | Body::SetRef(_)
            | Body::Block(_)
            | Body::Unblock(_)
            | Body::Resolve(_)
            | Body::Grant(_)
            | Body::Revoke(_)
            | Body::Seal(_)
            | Body::Statistics(_)
            | Body::OpenEpoch(_)
            | Body::Cut(_)
            | Body::Unknown { .. } => {
                self.other = self.other.saturating_add(1);
                return;
            }
        };
        *count = count.saturating_add(1);
        if names.len() < MOVED_NAMES_MAX {
            names.push((feed, coordinate.clone()));
        }
    }
}

impl Tally {
    /// Counts ops that were not taken.
    pub fn refuse(&mut self, reason: Reason, ops: u64) {
        let count = self.refused.entry(reason).or_default();
        *count = count.saturating_add(ops);
    }
}
