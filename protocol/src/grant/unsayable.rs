//! Why a site cannot say something itself.

use crate::limits::{BATCH_BYTES_MAX, OPS_PER_FRAME_MAX};
use crate::op::DecodeError;

/// Why a site cannot say something itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsayable {
    #[error("this site is a strict replica of the feed")]
    Strict,
    #[error(transparent)]
    Form(#[from] DecodeError),
    #[error(
        "{ops} ops of {bytes} bytes under one signature, and at most {OPS_PER_FRAME_MAX} of {BATCH_BYTES_MAX} bytes travel"
    )]
    Long { ops: usize, bytes: usize },
}
