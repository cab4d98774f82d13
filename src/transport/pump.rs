//! Drives one session over one connection: a blocking thread for the session and its store, tasks for the streams.

mod talk;

use std::sync::Arc;
use std::time::Duration;

use protocol::fault::Outcome;
use protocol::fork::ForkProof;
use protocol::frame::{Offered, Taken};
use protocol::grant::{Permitted, RightsProof};
use protocol::id::{BlobId, FeedId, LogId};
use protocol::limits::{FAREWELL_MS_MAX, HEARD_FRAMES_MAX, HEARD_OPS_FRAMES_MAX};
use protocol::link::Caps;
use protocol::log::{Filling, Verified};
use protocol::session::tally::Tally;
use protocol::session::view::View;
use protocol::session::{Agreed, Config, Event, Forecast, Memory, Stated, UnservedThere};
use protocol::topology::LinkNote;
use protocol::transfer::Stored;
use quinn::{Connection, VarInt};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::budget::Share;
use super::lane::{self, Ears, Lane};
use super::throttle::Throttle;
use talk::{Talk, Wires};

#[cfg(test)]
mod tests;

/// What a session's pump needs of this site's store beyond reading it. It is called on a thread that may block.
pub trait Keeper: View + Send {
    /// Stores ops. They are durable on return, and the next question of the [`View`] sees them.
    ///
    /// # Errors
    /// [`KeepError`]
    fn append(&mut self, run: Permitted<Verified>) -> Result<(), KeepError>;

    /// Stores ops that were left out of their log before. As [`Keeper::append`] otherwise.
    ///
    /// # Errors
    /// [`KeepError`]
    fn fill(&mut self, filling: &Permitted<Filling>) -> Result<(), KeepError>;

    /// Stores bytes, durable or not.
    ///
    /// # Errors
    /// [`KeepError`]
    fn keep(&mut self, stored: Stored) -> Result<(), KeepError>;

    /// Makes durable what was kept.
    ///
    /// # Errors
    /// [`KeepError`]
    fn settle(&mut self) -> Result<(), KeepError>;

    /// Keeps grants and revokes of a feed whose ops do not flow here.
    ///
    /// # Errors
    /// [`KeepError`]
    fn learn(&mut self, proof: &RightsProof) -> Result<(), KeepError>;

    /// Keeps the proof that an author signed two histories. It is durable on return, and the next question of the [`View`] sees it.
    ///
    /// # Errors
    /// [`KeepError`]
    fn keep_fork(&mut self, proof: &ForkProof) -> Result<(), KeepError>;

    /// Keeps what the next session with this peer is to be told. Losing it costs a repair.
    fn remember(&mut self, memory: Memory);

    /// A number that rises whenever logs are set back: what was compared before may be here no more.
    fn set_backs(&self) -> u64;
}

/// Why something was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeepError {
    /// The disk takes no more: the peer is told, and nobody is at fault.
    #[error("the disk is full")]
    Full,
    /// The store failed: the session ends as this site's own fault.
    #[error("the store failed")]
    Failed,
}

/// What a session is told from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Run as soon as possible; at the listener, ask the dialler to.
    Run,
    /// At the listener: tell the dialler that there is news.
    News,
    /// The link carries at most so much from here on.
    Pace(Caps),
    /// Tell the peer what this site knows of links that carry the session's feeds.
    TellLinks(Vec<LinkNote>),
    /// Put these feeds on the link, where the peer takes any.
    Offer(Vec<Offered>),
    /// Tell the peer what became of feeds it offered.
    Taken(Vec<Taken>),
    /// Ask the peer which of these blobs it holds.
    AskHeld(Vec<BlobId>),
    /// At the dialler: ask what a run would move, without one.
    Forecast,
    /// End the session. [`Outcome::Refused`] tells the peer the reason; any other it reads from the close code.
    Close(Outcome),
}

/// What a session tells to the outside.
#[derive(Debug)]
pub enum Happening {
    /// What the other end says of each feed, whether the two then agree or not.
    Stated(Vec<Stated>),
    /// Both ends agreed.
    Up(Agreed),
    /// The peer has everything of these logs up to these lengths.
    PeerHolds(Vec<(LogId, u64)>),
    /// The peer took these publishes of this site in and does not serve them.
    Unserved(Vec<UnservedThere>),
    RunBegan {
        /// The root of each feed's heads at that moment.
        roots: Vec<(FeedId, [u8; 32])>,
        /// How often logs had been set back here before anything of the run was compared.
        set_backs: u64,
    },
    /// The answer to [`Command::Forecast`].
    Forecast(Forecast),
    /// Counts of the run so far, at most five a second.
    Progress(Tally),
    RunEnded {
        outcome: Outcome,
        tally: Tally,
        /// The connection's round-trip time at that moment, in milliseconds.
        rtt_ms: u64,
        roots: Vec<(FeedId, [u8; 32])>,
    },
    /// The listener has news: run when convenient.
    Nudged {
        asked: bool,
    },
    Note(Event),
    /// What the peer tells of links that carry the session's feeds.
    Links(Vec<LinkNote>),
    /// The peer puts these feeds on the link.
    Offered(Vec<Offered>),
    /// What became of feeds that were offered to the peer.
    Taken(Vec<Taken>),
    /// Of the blobs asked for, those that the peer holds.
    Held(Vec<BlobId>),
    /// The session is over and the connection closed. Always the last.
    Closed(Outcome),
}

/// Drives a session over a connection of the link protocol until it ends, and closes the connection. `share` is its part of what the node's
/// sessions may hold in memory, and is given back with the end.
///
/// Dropping the sender of `commands` ends the session as if it had been told to close as
/// [`Outcome::Done`]. Aborting the task ends it as [`Outcome::Interrupted`]. The outcome that is
/// returned is also the last happening. Must be called inside a tokio runtime.
pub fn drive(
    connection: Connection,
    share: Share,
    config: Config,
    keeper: Box<dyn Keeper>,
    commands: mpsc::UnboundedReceiver<Command>,
    happenings: mpsc::UnboundedSender<Happening>,
) -> JoinHandle<Outcome> {
    tokio::spawn(async move {
        let outcome = pump(connection, share, config, keeper, commands, happenings.clone()).await;
        // Nobody may be listening any more; the outcome is returned as well.
        drop(happenings.send(Happening::Closed(outcome)));
        outcome
    })
}

async fn pump(
    connection: Connection,
    share: Share,
    config: Config,
    keeper: Box<dyn Keeper>,
    commands: mpsc::UnboundedReceiver<Command>,
    happenings: mpsc::UnboundedSender<Happening>,
) -> Outcome {
    let mut tasks = JoinSet::new();
    // Declared after the tasks, so dropped before them: a stream dropped with half a frame written
    // must not reach the peer as one that was finished there.
    let hangup = Hangup(connection.clone());
    let (heard_sender, heard) = mpsc::channel(HEARD_FRAMES_MAX);
    let (ops_sender, ops) = mpsc::channel(HEARD_OPS_FRAMES_MAX);
    let (outward, inward) = (Arc::new(Throttle::new()), Arc::new(Throttle::new()));
    let ears = Ears { heard: heard_sender, ops: ops_sender, inward: Arc::clone(&inward) };
    let (sending, to_send) = oneshot::channel();
    let hearing = tasks.spawn(lane::hear_control(connection.clone(), config.side, ears.clone(), sending));
    tasks.spawn(lane::hear_lanes(connection.clone(), ears));
    let room = Arc::new(Notify::new());
    let (ops_lane, piece_lanes) = Lane::all(&mut tasks, &connection, &room, &outward);
    let (control, control_frames) = mpsc::unbounded_channel();
    let share = Arc::new(share);
    let mut speaking = JoinSet::new();
    speaking.spawn(lane::speak_control(to_send, control_frames, Arc::clone(&share)));

    let wires = Wires {
        heard,
        ops,
        commands,
        happenings,
        control,
        share,
        ops_lane,
        piece_lanes,
        room,
        outward,
        inward,
    };
    let (runtime, over) = (Handle::current(), connection.clone());
    let peer = config.peer;
    let talking = tokio::task::spawn_blocking(move || Talk::new(over, config, keeper, wires, runtime).run());
    let outcome = match talking.await {
        Ok(outcome) => outcome,
        Err(bug) => {
            tracing::error!(%peer, %bug, "a session ended by a bug of this node; please report it");
            Outcome::Fault
        }
    };
    // Where no control stream was opened yet, this is also what keeps the farewell from waiting for one.
    hearing.abort();
    if connection.close_reason().is_none() {
        let farewell = async { while speaking.join_next().await.is_some() {} };
        // A peer that does not read its refusal is closed on without it.
        drop(timeout(Duration::from_millis(FAREWELL_MS_MAX), farewell).await);
    }
    hangup.with(outcome);
    speaking.shutdown().await;
    tasks.shutdown().await;
    outcome
}

/// Closes the connection when dropped.
struct Hangup(Connection);

impl Hangup {
    fn with(&self, outcome: Outcome) {
        if self.0.close_reason().is_some() {
            return;
        }
        let reason = match outcome {
            Outcome::Done => "done".to_owned(),
            Outcome::Refused(reason) => reason.to_string(),
            Outcome::Misbehaved(fault) => fault.to_string(),
            Outcome::Interrupted => "interrupted".to_owned(),
            Outcome::Fault => "a fault at this site".to_owned(),
        };
        self.0.close(VarInt::from_u32(outcome.close_code()), reason.as_bytes());
    }
}

impl Drop for Hangup {
    fn drop(&mut self) {
        self.with(Outcome::Interrupted);
    }
}
