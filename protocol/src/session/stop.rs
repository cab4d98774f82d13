//! Why a session stops.

use super::view::Unreadable;
use crate::fault::{Misbehaved, Reason};

/// Why a session stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stop {
    Misbehaved(Misbehaved),
    Refused(Reason),
    Unreadable,
}

impl From<Misbehaved> for Stop {
    fn from(fault: Misbehaved) -> Self {
        Self::Misbehaved(fault)
    }
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason)
    }
}

impl From<Unreadable> for Stop {
    fn from(_store: Unreadable) -> Self {
        Self::Unreadable
    }
}
