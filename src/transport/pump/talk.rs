//! The thread of one session: takes in what streams, clock and owner bring, and does what the session asks for, in order.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use protocol::fault::{Misbehaved, Outcome, Reason};
use protocol::id::FeedId;
use protocol::link::Caps;
use protocol::session::tally::Tally;
use protocol::session::{Config, Input, Output, Session, travelling_root};
use protocol::time::{Instant, Timestamp};
use quinn::{Connection, ConnectionError};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep_until;

use super::{Command, Happening, KeepError, Keeper};
use crate::transport::budget::Share;
use crate::transport::endpoint::is_refusal;
use crate::transport::lane::{Heard, Lane};
use crate::transport::throttle::Throttle;

/// Milliseconds between two reports of progress.
const PROGRESS_EVERY_MS: u64 = 200;

/// Bytes that must have left since the last look for a link to count as moving. Far more than keep-alives and probes amount to.
const MOVED_BYTES_MIN: u64 = 16 << 10;

/// The part of a cap by which pieces may be read faster than the peer was told to send them.
const READ_FASTER_BY: u64 = 4;

/// The ends of all channels that one session's thread holds.
pub(super) struct Wires {
    pub(super) heard: mpsc::Receiver<Heard>,
    pub(super) ops: mpsc::Receiver<Bytes>,
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
    pub(super) happenings: mpsc::UnboundedSender<Happening>,
    pub(super) control: mpsc::UnboundedSender<Vec<u8>>,
    /// Counts the bytes in `control` that no stream has taken yet.
    pub(super) share: Arc<Share>,
    pub(super) ops_lane: Lane,
    pub(super) piece_lanes: Vec<Lane>,
    /// Notified when a lane has room again.
    pub(super) room: Arc<Notify>,
    pub(super) outward: Arc<Throttle>,
    pub(super) inward: Arc<Throttle>,
}

/// What the thread woke up for.
enum Woken {
    Heard(Heard),
    Ops(Bytes),
    Told(Command),
    Due,
    Room,
    /// No stream is left to read from.
    Gone,
}

pub(super) struct Talk {
    connection: Connection,
    session: Session,
    keeper: Box<dyn Keeper>,
    wires: Wires,
    runtime: Handle,
    began: tokio::time::Instant,
    /// How the session ended, once it has.
    ended: Option<Outcome>,
    /// The outcome to end with in place of the one the session finds.
    instead: Option<Outcome>,
    /// The store did not take something, and gets no more.
    spoilt: bool,
    feeds: Vec<FeedId>,
    told: Tally,
    told_at: Instant,
    sent_bytes: u64,
    /// How often logs had been set back here before the session was told the newest.
    set_backs: u64,
    /// What this site lets the link carry.
    caps: Caps,
    /// What the peer takes.
    peer_takes: Option<u64>,
}

impl Talk {
    pub(super) fn new(
        connection: Connection,
        config: Config,
        keeper: Box<dyn Keeper>,
        wires: Wires,
        runtime: Handle,
    ) -> Self {
        Self {
            feeds: config.terms.iter().map(|terms| terms.feed).collect(),
            session: Session::new(config, Instant(0), wall()),
            connection,
            keeper,
            wires,
            runtime,
            began: tokio::time::Instant::now(),
            ended: None,
            instead: None,
            spoilt: false,
            told: Tally::default(),
            told_at: Instant(0),
            sent_bytes: 0,
            set_backs: 0,
            caps: Caps::default(),
            peer_takes: None,
        }
    }

    /// Runs the session to its end.
    pub(super) fn run(mut self) -> Outcome {
        self.drain();
        loop {
            self.fill_lanes();
            if let Some(outcome) = self.ended {
                return self.instead.unwrap_or(outcome);
            }
            let runtime = self.runtime.clone();
            let woken = runtime.block_on(self.woken());
            self.take(woken);
            self.tell_progress();
        }
    }

    fn now(&self) -> Instant {
        Instant(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    async fn woken(&mut self) -> Woken {
        let due = self.session.wake_at().map(|at| self.began + Duration::from_millis(at.0));
        let hears_ops = self.hears_ops();
        let sleep = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            heard = self.wires.heard.recv() => heard.map_or(Woken::Gone, Woken::Heard),
            Some(frame) = self.wires.ops.recv(), if hears_ops => Woken::Ops(frame),
            command = self.wires.commands.recv() => Woken::Told(command.unwrap_or(Command::Close(Outcome::Done))),
            () = self.wires.room.notified() => Woken::Room,
            () = sleep => Woken::Due,
        }
    }

    /// Outside a run ops have no place, and the session says so; inside one they may only be early.
    fn hears_ops(&self) -> bool {
        !self.session.is_running() || self.session.awaits_ops()
    }

    fn take(&mut self, woken: Woken) {
        match woken {
            Woken::Heard(Heard::Control(frame)) => self.handle(Input::Control(&frame)),
            Woken::Heard(Heard::Piece(frame)) => self.handle(Input::Piece(&frame)),
            Woken::Heard(Heard::Broken(fault)) => self.handle(Input::Broken(fault)),
            Woken::Ops(frame) => self.handle(Input::Ops(&frame)),
            Woken::Told(Command::Run) => {
                let now = self.now();
                self.session.run(now, &*self.keeper);
                self.drain();
            }
            Woken::Told(Command::News) => {
                self.session.nudge(false);
                self.drain();
            }
            Woken::Told(Command::Pace(caps)) => {
                let told = self.caps.in_bytes_per_s != caps.in_bytes_per_s;
                self.caps = caps;
                if told {
                    self.session.pace(caps.in_bytes_per_s);
                }
                self.keep_pace();
                self.drain();
            }
            Woken::Told(Command::TellLinks(notes)) => {
                self.session.tell_links(notes);
                self.drain();
            }
            Woken::Told(Command::Offer(feeds)) => {
                self.session.offer_feeds(&feeds);
                self.drain();
            }
            Woken::Told(Command::Taken(feeds)) => {
                self.session.feeds_taken(feeds);
                self.drain();
            }
            Woken::Told(Command::AskHeld(blobs)) => {
                self.session.ask_held(blobs);
                self.drain();
            }
            Woken::Told(Command::Forecast) => {
                self.session.forecast(&*self.keeper);
                self.drain();
            }
            Woken::Told(Command::Close(Outcome::Refused(reason))) => self.handle(Input::Refused(reason)),
            Woken::Told(Command::Close(outcome)) => {
                self.instead = Some(outcome);
                self.handle(Input::Closed);
            }
            Woken::Due => self.due(),
            Woken::Room => {}
            Woken::Gone => self.gone(),
        }
    }

    /// A deadline of the session came. What it sent may be long on its way over a slow link.
    fn due(&mut self) {
        let sent_bytes = self.connection.stats().udp_tx.bytes;
        let moved = sent_bytes.saturating_sub(self.sent_bytes) >= MOVED_BYTES_MIN;
        self.sent_bytes = sent_bytes;
        if moved && self.session.is_running() {
            self.session.moved(self.now());
        } else {
            self.handle(Input::Tick);
        }
    }

    /// The connection went, and everything that had arrived over it was taken in.
    fn gone(&mut self) {
        while self.hears_ops()
            && self.ended.is_none()
            && let Ok(frame) = self.wires.ops.try_recv()
        {
            self.handle(Input::Ops(&frame));
        }
        let outcome = ended_by(self.connection.close_reason().as_ref(), &self.session);
        self.instead = self.instead.or(Some(outcome)).filter(|_outcome| self.ended.is_none());
        self.handle(Input::Closed);
    }

    fn handle(&mut self, input: Input<'_>) {
        let now = self.now();
        // A run begins in here, and reads the store before it tells that it began.
        self.set_backs = self.keeper.set_backs();
        self.session.handle(now, wall(), input, &*self.keeper);
        self.drain();
    }

    /// Does everything the session asks for, each before the next.
    fn drain(&mut self) {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Send(frame) => self.send(frame),
                Output::Append(run) => self.store(|keeper| keeper.append(run)),
                Output::Fill(filling) => self.store(|keeper| keeper.fill(&filling)),
                Output::Keep(stored) => self.store(|keeper| keeper.keep(stored)),
                Output::Settle => {
                    self.store(|keeper| keeper.settle());
                    if !self.spoilt {
                        let now = self.now();
                        self.session.handle(now, wall(), Input::Settled, &*self.keeper);
                    }
                }
                Output::Remember(memory) => {
                    if !self.spoilt {
                        self.keeper.remember(memory);
                    }
                }
                Output::Up(agreed) => {
                    if self.caps.in_bytes_per_s.is_some() {
                        self.session.pace(self.caps.in_bytes_per_s);
                    }
                    self.tell(Happening::Up(agreed));
                }
                Output::Pace(bytes_per_s) => {
                    self.peer_takes = bytes_per_s;
                    self.keep_pace();
                }
                Output::Links(notes) => self.tell(Happening::Links(notes)),
                Output::Offered(feeds) => self.tell(Happening::Offered(feeds)),
                Output::Taken(feeds) => self.tell(Happening::Taken(feeds)),
                Output::Held(blobs) => self.tell(Happening::Held(blobs)),
                Output::Note(event) => self.tell(Happening::Note(event)),
                Output::RunBegan => {
                    self.tell(Happening::RunBegan { roots: self.roots(), set_backs: self.set_backs });
                }
                Output::Stated(stated) => self.tell(Happening::Stated(stated)),
                Output::Learn(proof) => self.store(|keeper| keeper.learn(&proof)),
                Output::Fork(proof) => self.store(|keeper| keeper.keep_fork(&proof)),
                Output::Unserved(fates) => self.tell(Happening::Unserved(fates)),
                Output::PeerHolds(held) => self.tell(Happening::PeerHolds(held)),
                Output::RunEnded { outcome, tally } => {
                    let rtt_ms = u64::try_from(self.connection.rtt().as_millis()).unwrap_or(u64::MAX);
                    self.tell(Happening::RunEnded { outcome, tally, rtt_ms, roots: self.roots() });
                }
                Output::Forecast(forecast) => self.tell(Happening::Forecast(forecast)),
                Output::Nudged { asked } => self.tell(Happening::Nudged { asked }),
                Output::Close(outcome) => self.ended = Some(outcome),
            }
        }
    }

    /// Out goes the least of what this site lets pass and the peer takes. A peer is read a little faster than it was told to send, so that
    /// one that keeps the pace is not held up.
    fn keep_pace(&self) {
        let out = match (self.caps.out_bytes_per_s, self.peer_takes) {
            (Some(own), Some(peer)) => Some(own.min(peer)),
            (own, peer) => own.or(peer),
        };
        self.wires.outward.set(out);
        let inward = self.caps.in_bytes_per_s.map(|cap| cap.saturating_add(cap / READ_FASTER_BY));
        self.wires.inward.set(inward);
    }

    fn store(&mut self, work: impl FnOnce(&mut dyn Keeper) -> Result<(), KeepError>) {
        if self.spoilt {
            return;
        }
        let input = match work(&mut *self.keeper) {
            Ok(()) => return,
            Err(KeepError::Full) => Input::Refused(Reason::DiskFull),
            Err(KeepError::Failed) => Input::Failed,
        };
        self.spoilt = true;
        let now = self.now();
        self.session.handle(now, wall(), input, &*self.keeper);
    }

    fn send(&mut self, frame: Vec<u8>) {
        let fits = self.wires.share.waits(frame.len());
        // The writer is gone only with the connection, which is heard of from the readers.
        drop(self.wires.control.send(frame));
        if !fits {
            let now = self.now();
            self.session.handle(now, wall(), Input::Broken(Misbehaved::Stalled), &*self.keeper);
        }
    }

    /// The root of each feed's heads, for the run's record. A store that cannot be read is heard of elsewhere.
    fn roots(&self) -> Vec<(FeedId, [u8; 32])> {
        let root = |feed: FeedId| Some((feed, travelling_root(feed, &*self.keeper).ok()?));
        self.feeds.iter().filter_map(|feed| root(*feed)).collect()
    }

    /// Nobody has to listen.
    fn tell(&self, happening: Happening) {
        drop(self.wires.happenings.send(happening));
    }

    fn tell_progress(&mut self) {
        let now = self.now();
        if self.session.is_running()
            && now.since_ms(self.told_at) >= PROGRESS_EVERY_MS
            && *self.session.tally() != self.told
        {
            self.told = self.session.tally().clone();
            self.told_at = now;
            self.tell(Happening::Progress(self.told.clone()));
        }
    }

    /// Gives the lanes what they have room for, and no more: a frame is only made when one can take it.
    fn fill_lanes(&mut self) {
        while self.ended.is_none()
            && self.wires.ops_lane.has_room()
            && let Some(frame) = self.session.poll_ops(&*self.keeper)
        {
            self.wires.ops_lane.fill(frame);
        }
        self.drain();
        let now = self.now();
        while self.ended.is_none()
            && let Some(lane) = self.wires.piece_lanes.iter().find(|lane| lane.has_room())
        {
            let piece = self.session.poll_piece(now, &*self.keeper);
            let none = piece.is_none();
            if let Some(frame) = piece {
                lane.fill(frame);
            }
            // What cannot be had is told on the control stream.
            self.drain();
            if none {
                return;
            }
        }
    }
}

/// The system's clock.
fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// What the end of a connection says of the session on it.
fn ended_by(reason: Option<&ConnectionError>, session: &Session) -> Outcome {
    let Some(reason) = reason else { return Outcome::Interrupted };
    if session.agreed().is_none() && is_refusal(reason) {
        return Outcome::Refused(Reason::SiteUnknown);
    }
    let ConnectionError::ApplicationClosed(close) = reason else { return Outcome::Interrupted };
    match u32::try_from(close.error_code.into_inner()) {
        // A connection that nobody closed with a code ends with this one too.
        Ok(0) if session.agreed().is_some() && !session.is_running() => Outcome::Done,
        Ok(2) => {
            let told = String::from_utf8_lossy(&close.reason);
            tracing::error!(%told, "the other site closed a session because this one broke a rule; please report it");
            Outcome::Fault
        }
        // A refusal comes as a frame first; without it, as with any other code, the session was only cut off.
        Ok(_) | Err(_) => Outcome::Interrupted,
    }
}
