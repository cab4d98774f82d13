//! What all sessions of a node may hold in memory together, and the share of each: a peer that is greedy uses up its own share alone.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::limits::{
    CONNECTION_WINDOW_BYTES, CONNECTION_WINDOW_BYTES_MIN, CONTROL_BYTES_ALL_MAX, CONTROL_BYTES_MAX,
    FLIGHT_BYTES_MAX, SESSIONS_MAX,
};
use quinn::{Connection, VarInt};

#[cfg(test)]
mod tests;

/// The least by which a window is made wider: saying so takes a frame.
const WIDER_BYTES_MIN: u64 = 64 << 10;

/// What is divided among the sessions of a node.
#[derive(Default)]
pub struct Budget {
    sessions: Mutex<Sessions>,
    control_bytes: AtomicUsize,
}

#[derive(Default)]
struct Sessions {
    next: u64,
    members: BTreeMap<u64, Member>,
    /// What all have above the least, together.
    given_bytes: u64,
}

struct Member {
    connection: Connection,
    /// What it has above the least.
    more_bytes: u64,
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sessions = self.locked();
        f.debug_struct("Budget")
            .field("sessions", &sessions.members.len())
            .field("given_bytes", &sessions.given_bytes)
            .field("control_bytes", &self.control_bytes)
            .finish()
    }
}

impl Budget {
    fn locked(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one more session in, over a connection that has the least window, and widens it. None where there are [`SESSIONS_MAX`] already.
    #[must_use]
    pub fn join(self: &Arc<Self>, connection: &Connection) -> Option<Share> {
        let mut sessions = self.locked();
        if sessions.members.len() >= SESSIONS_MAX {
            return None;
        }
        let number = sessions.next;
        sessions.next += 1;
        sessions.members.insert(number, Member { connection: connection.clone(), more_bytes: 0 });
        sessions.widen();
        Some(Share { budget: Arc::clone(self), number, control_bytes: AtomicUsize::new(0) })
    }
}

impl Sessions {
    /// Gives to each that has less than a full window half of what is left: some is left for whoever comes next. A window that a peer was told
    /// of cannot be made narrower, so none is before its session ends.
    fn widen(&mut self) {
        const FULL: u64 = (CONNECTION_WINDOW_BYTES - CONNECTION_WINDOW_BYTES_MIN) as u64;
        for member in self.members.values_mut() {
            let wider = ((FLIGHT_BYTES_MAX - self.given_bytes) / 2).min(FULL - member.more_bytes);
            if wider < WIDER_BYTES_MIN {
                continue;
            }
            member.more_bytes += wider;
            self.given_bytes += wider;
            let window = u64::from(CONNECTION_WINDOW_BYTES_MIN) + member.more_bytes;
            member.connection.set_receive_window(VarInt::from_u64(window).unwrap_or(VarInt::MAX));
            member.connection.set_send_window(window);
        }
    }
}

/// The share of one session, for as long as it is kept.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    number: u64,
    control_bytes: AtomicUsize,
}

impl Share {
    /// Counts bytes of control frames that wait from now on. False where they are more than this session may have waiting.
    #[must_use]
    pub fn waits(&self, bytes: usize) -> bool {
        let own = self.control_bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let all = self.budget.control_bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let share = || CONTROL_BYTES_ALL_MAX / self.budget.locked().members.len().max(1);
        own <= CONTROL_BYTES_MAX && (all <= CONTROL_BYTES_ALL_MAX || own <= share())
    }

    /// So many of them were written.
    pub fn written(&self, bytes: usize) {
        self.control_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.budget.control_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.control_bytes.fetch_sub(*self.control_bytes.get_mut(), Ordering::Relaxed);
        let mut sessions = self.budget.locked();
        let given = sessions.members.remove(&self.number).map_or(0, |member| member.more_bytes);
        sessions.given_bytes -= given;
        sessions.widen();
    }
}
