//! What one run moved: counts that both ends record in the same shape, and that figures and tests are made of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fault::Reason;

/// Counts of one run at one end.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Publishes and other ops taken in.
    pub ops_in: u64,
    /// Deletes taken in.
    pub deletes_in: u64,
    /// Ops sent.
    pub ops_out: u64,
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
}

impl Tally {
    /// Counts ops that were not taken.
    pub fn refuse(&mut self, reason: Reason, ops: u64) {
        let count = self.refused.entry(reason).or_default();
        *count = count.saturating_add(ops);
    }
}
