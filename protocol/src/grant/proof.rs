//! Words about rights with their authors' signatures, for a site to which the logs themselves do not flow.

use crate::fault::Misbehaved;
use crate::id::FeedId;
use crate::log::{Batch, NamedOp};

/// Grants and revokes of one log with their author's signature, for a site to which the log itself does not flow. Whether their author may
/// say them is [`Authority`](super::Authority)'s to judge, as it is for ops in logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RightsProof {
    batch: Batch,
    ops: Vec<NamedOp>,
}

impl RightsProof {
    /// Checks what came from elsewhere, or from this site's own disk.
    ///
    /// # Errors
    /// It is of another feed, does not begin with its log, is not signed by its author, or holds other ops than grants and revokes.
    pub fn check(batch: Batch, feed: FeedId) -> Result<Self, Misbehaved> {
        if batch.head.head.log.feed != feed {
            return Err(Misbehaved::FeedNotAgreed);
        }
        let verified = batch.verify_proof().map_err(|_refused| Misbehaved::BatchInvalid)?;
        if verified.ops().is_empty() || !verified.ops().iter().all(|named| named.op.body.is_about_rights()) {
            return Err(Misbehaved::BatchInvalid);
        }
        Ok(Self { batch: verified.to_batch(), ops: verified.ops().to_vec() })
    }

    /// The proof as it travels and is kept.
    #[must_use]
    pub const fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The grants and revokes.
    #[must_use]
    pub fn ops(&self) -> &[NamedOp] {
        &self.ops
    }
}
