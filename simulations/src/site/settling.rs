//! What came is made durable, at once or after a slow sync, and only then told.

use packetboat::store::{PutError, WriteError};
use protocol::fault::{Outcome, Reason};
use protocol::session::Input;
use protocol::transfer::Stored;

use super::Site;
use crate::plant::Plant;
use crate::quic::Quic;

impl Site {
    /// Bytes that came.
    pub(super) fn keep(&mut self, now: u64, quic: &mut Quic, at: usize, stored: &Stored) {
        let era = self.store().era();
        let kept = self.store().keep(stored);
        let Some(one) = self.conversations.get_mut(at) else { return };
        one.era.get_or_insert(era);
        match kept {
            Ok(()) => {
                if let Stored::Small { blob, .. } | Stored::Complete { blob } = stored {
                    one.kept.push(*blob);
                }
            }
            Err(PutError::Write(WriteError::DiskFull { .. })) => {
                self.spoil(now, quic, at, Input::Refused(Reason::DiskFull));
            }
            Err(_) => self.spoil(now, quic, at, Input::Failed),
        }
    }

    /// What came is to be durable: at once, or after a slow sync.
    pub(super) fn begin_to_settle(&mut self, now: u64, quic: &mut Quic, at: usize) {
        if self.has(Plant::SettledBeforeSync) {
            self.settled(now, quic, at);
        }
        if self.sync_nanos == 0 {
            self.settle(now, quic, at);
        } else if let Some(one) = self.conversations.get_mut(at) {
            one.settled_at = Some(now + self.sync_nanos);
        }
    }

    /// The disk makes durable what was kept.
    pub(super) fn settle(&mut self, now: u64, quic: &mut Quic, at: usize) {
        if let Some(one) = self.conversations.get_mut(at) {
            one.settled_at = None;
        }
        let synced = self.store().sync().is_ok();
        // What another sync that failed took back in the meantime is gone, and this one knows nothing of it.
        let era = self.conversations.get_mut(at).and_then(|one| one.era.take());
        let whole = era.is_none_or(|era| era == self.store().era());
        let synced = (synced && whole) || self.has(Plant::RefusedBytesIgnored);
        if self.has(Plant::SettledBeforeSync) {
            return;
        }
        if synced {
            self.settled(now, quic, at);
        } else {
            self.spoil(now, quic, at, Input::Failed);
        }
    }

    pub(super) fn settled(&mut self, now: u64, quic: &mut Quic, at: usize) {
        let kept = self.conversations.get_mut(at).map(|one| std::mem::take(&mut one.kept));
        self.promised.extend(kept.unwrap_or_default());
        self.feed_session(now, quic, at, Input::Settled);
    }

    /// A run that is told as done has left nothing that its disk may still lose.
    pub(super) fn note_run(&mut self, at: usize, outcome: Outcome) {
        let unsynced = self.conversations.get(at).is_some_and(|one| !one.kept.is_empty());
        self.ended_unsynced += usize::from(unsynced && outcome == Outcome::Done);
    }
}
