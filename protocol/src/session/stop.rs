//! Why a session stops, and what it says then.

use super::view::Unreadable;
use super::{Output, Phase, Session};
use crate::fault::{Misbehaved, Outcome, Reason};
use crate::frame::Frame;

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

impl Session {
    pub(super) fn conclude(&mut self, result: Result<(), Stop>) {
        match result {
            Ok(()) => {}
            Err(Stop::Misbehaved(fault)) => self.end(Outcome::Misbehaved(fault)),
            Err(Stop::Refused(reason)) => {
                self.outputs.push_back(Output::Send(Frame::Refuse(reason).encode()));
                self.end(Outcome::Refused(reason));
            }
            Err(Stop::Unreadable) => self.end(Outcome::Fault),
        }
    }

    pub(super) fn end(&mut self, outcome: Outcome) {
        self.run_over(outcome);
        self.phase = Phase::Closed;
        self.outputs.push_back(Output::Close(outcome));
    }
}
