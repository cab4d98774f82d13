//! One conversation between two sites: handshake, then runs. It decides nothing itself: the verdict is `grant`'s, the difference
//! `reconcile`'s, the next bytes `transfer`'s. It is fed frames and time, and gives out frames and things to do.

mod advice;
mod forecast;
mod forks;
mod gaps;
mod greeting;
mod inbound;
mod offers;
mod outbound;
mod outlines;
mod rights;
mod signals;
mod stop;
mod taking;
pub mod tally;
pub mod view;

use std::collections::{BTreeSet, VecDeque};

pub use forecast::Forecast;
pub use greeting::{Agreed, AgreedFeed, Stated, Terms, Twin, Versions, judged};
pub use inbound::Memory;
pub use outbound::travelling_root;
pub use signals::{Config, Event, Input, Keys, Output, Side, UnservedThere};

use crate::fault::{Misbehaved, Outcome, Reason};
use crate::frame::{Applied, Frame, OpsFrame, Piece, Poll, Polled, Pull, Supply};
use crate::limits::{HELLO_MS_MAX, PROGRESS_MS_MAX};
use crate::time::{Instant, Timestamp};
use forks::Shown;
use inbound::{Context, Inbound};
use offers::Offers;
use outbound::{NotHere, Outbound};
use stop::Stop;
use tally::Tally;
use view::View;

#[derive(Debug)]
enum Phase {
    /// Waiting for HELLO or WELCOME until then.
    Greeting {
        deadline: Instant,
    },
    /// Agreed, between runs.
    Idle(Agreed),
    /// Agreed, in a run.
    Running(Agreed),
    Closed,
}

/// One conversation. See the module.
pub struct Session {
    config: Config,
    phase: Phase,
    inbound: Inbound,
    outbound: Outbound,
    /// The listener's pull, kept until this dialler's own ops are in: pull first, then push.
    pull_due: Option<Pull>,
    tally: Tally,
    outputs: VecDeque<Output>,
    progress: Instant,
    wall: Timestamp,
    run_wanted: bool,
    /// Questions about held blobs that the peer has not answered.
    held_asked: u32,
    offers: Offers,
    forecast_wanted: bool,
    /// A poll that begins no run is on its way.
    forecasting: bool,
    /// Feeds whose rights this end has asked for and not been told.
    rights_asked: BTreeSet<u16>,
    /// Answers about rights since the last run began.
    rights_told: usize,
    shown: Shown,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("peer", &self.config.peer)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// A session over a connection that was just made. The dialler says HELLO at once.
    #[must_use]
    pub fn new(config: Config, now: Instant, wall: Timestamp) -> Self {
        let memory = config.memory.clone();
        let mut session = Self {
            phase: Phase::Greeting { deadline: now.after_ms(HELLO_MS_MAX) },
            inbound: Inbound::new(memory),
            outbound: Outbound::default(),
            pull_due: None,
            tally: Tally::default(),
            outputs: VecDeque::new(),
            progress: now,
            wall,
            run_wanted: false,
            held_asked: 0,
            offers: Offers::default(),
            forecast_wanted: false,
            forecasting: false,
            rights_asked: BTreeSet::new(),
            rights_told: 0,
            shown: Shown::default(),
            config,
        };
        if session.config.side == Side::Dialler {
            let hello = Frame::Hello(greeting::hello(&session.config, wall)).encode();
            session.outputs.push_back(Output::Send(hello));
        }
        session
    }

    /// Asks for a run: the dialler begins one as soon as the link is up and idle, the listener asks the dialler to.
    pub fn run(&mut self, now: Instant, view: &dyn View) {
        match (self.config.side, &self.phase) {
            (Side::Listener, Phase::Idle(_) | Phase::Running(_)) => {
                self.nudge(true);
            }
            (Side::Dialler, Phase::Idle(_)) if self.forecasting => self.run_wanted = true,
            (Side::Dialler, Phase::Idle(_)) => {
                let polled = self.poll_peer(now, view);
                self.conclude(polled);
            }
            (Side::Dialler, Phase::Greeting { .. } | Phase::Running(_)) => self.run_wanted = true,
            (Side::Listener, Phase::Greeting { .. }) | (_, Phase::Closed) => {}
        }
    }

    /// Whether the link is up.
    #[must_use]
    pub const fn agreed(&self) -> Option<&Agreed> {
        match &self.phase {
            Phase::Idle(agreed) | Phase::Running(agreed) => Some(agreed),
            Phase::Greeting { .. } | Phase::Closed => None,
        }
    }

    /// Whether the session is over.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Whether a run is going on.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running(_))
    }

    /// Whether a frame of the ops stream has its place here yet. Streams overtake each other: in a run, whoever carries the
    /// frames keeps those of the ops stream back until the control stream has said that ops follow.
    #[must_use]
    pub const fn awaits_ops(&self) -> bool {
        self.inbound.awaits_ops()
    }

    /// What this session sent is getting through, though nothing came back yet: a slow link is not a stalled peer.
    pub const fn moved(&mut self, now: Instant) {
        self.progress = now;
    }

    /// Counts of the run so far.
    #[must_use]
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// When to say [`Input::Tick`] at the latest.
    #[must_use]
    pub const fn wake_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Greeting { deadline } => Some(deadline),
            Phase::Running(_) => Some(self.progress.after_ms(PROGRESS_MS_MAX)),
            Phase::Idle(_) | Phase::Closed => None,
        }
    }

    /// The next thing to do. Ask until there is none after every input.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The next frame for the ops stream, when it can take one.
    pub fn poll_ops(&mut self, view: &dyn View) -> Option<Vec<u8>> {
        self.agreed()?;
        let before = self.outbound.ops_sent;
        match self.outbound.poll_ops(self.config.peer, view) {
            Ok(frame) => {
                self.tally.ops_out += self.outbound.ops_sent - before;
                self.tally.went.clone_from(&self.outbound.went);
                let bytes = frame.as_ref().map_or(0, Vec::len);
                self.tally.frames_out_bytes += bytes as u64;
                frame
            }
            Err(unreadable) => {
                self.conclude(Err(unreadable.into()));
                None
            }
        }
    }

    /// The next frame for a piece stream, when one can take it. It may leave outputs too (what cannot be had): poll after it.
    pub fn poll_piece(&mut self, now: Instant, view: &dyn View) -> Option<Vec<u8>> {
        let feeds = self.agreed()?.feeds.clone();
        loop {
            let before = self.outbound.content_bytes;
            match self.outbound.poll_piece(&feeds, view) {
                Ok(Some(Ok(piece))) => {
                    self.tally.content_out_bytes += self.outbound.content_bytes - before;
                    self.progress = now;
                    return Some(piece);
                }
                Ok(Some(Err(NotHere { ask, lacks }))) => {
                    if lacks {
                        self.outputs.push_back(Output::Note(Event::Lacks { blob: ask.blob() }));
                    }
                    self.send(&Frame::NotHave(vec![ask]));
                }
                Ok(None) => return None,
                Err(unreadable) => {
                    self.conclude(Err(unreadable.into()));
                    return None;
                }
            }
        }
    }

    /// Takes an input in. What follows from it comes from [`Session::poll`].
    pub fn handle(&mut self, now: Instant, wall: Timestamp, input: Input<'_>, view: &dyn View) {
        if self.is_closed() {
            return;
        }
        self.wall = wall;
        if !matches!(input, Input::Tick) {
            self.progress = now;
        }
        let handled = self.take(now, input, view).and_then(|()| self.advance(now, view));
        self.conclude(handled);
    }

    fn take(&mut self, now: Instant, input: Input<'_>, view: &dyn View) -> Result<(), Stop> {
        match input {
            Input::Control(bytes) => {
                self.tally.frames_in_bytes += bytes.len() as u64;
                self.control(now, Frame::decode(bytes)?, view)
            }
            Input::Ops(bytes) => {
                self.tally.frames_in_bytes += bytes.len() as u64;
                let frame = OpsFrame::decode(bytes)?;
                let salt = self.config.salt;
                self.receiving(view, |inbound, context| inbound.ops(frame, salt, context))
            }
            Input::Piece(bytes) => {
                let piece = Piece::decode(bytes)?;
                self.receiving(view, |inbound, context| inbound.piece(piece, context))
            }
            Input::Settled => self.receiving(view, |inbound, context| {
                inbound.settled(context);
                Ok(())
            }),
            Input::Refused(reason) => Err(reason.into()),
            Input::Failed => Err(Stop::Unreadable),
            Input::Broken(fault) => Err(fault.into()),
            Input::Tick => self.tick(now),
            Input::Closed => {
                self.end(Outcome::Interrupted);
                Ok(())
            }
        }
    }

    fn tick(&mut self, now: Instant) -> Result<(), Stop> {
        if self.wake_at().is_none_or(|due| due > now) {
            return Ok(());
        }
        if matches!(self.phase, Phase::Greeting { .. }) {
            // A program that was killed, or a line that went, is as silent as one that keeps no rules, and nothing was begun yet.
            self.end(Outcome::Interrupted);
            return Ok(());
        }
        Err(Misbehaved::Stalled.into())
    }

    fn control(&mut self, now: Instant, frame: Frame, view: &dyn View) -> Result<(), Stop> {
        match (frame, self.config.side) {
            (Frame::Hello(hello), Side::Listener) if matches!(self.phase, Phase::Greeting { .. }) => {
                self.unbarred(hello.store)?;
                self.outputs.push_back(Output::Stated(greeting::asked(&hello)));
                let (welcome, agreed) = greeting::welcome(&self.config, &hello, self.wall)?;
                self.outputs.push_back(Output::Send(Frame::Welcome(welcome).encode()));
                self.up(agreed?);
                self.show_forks(view)?;
                self.ask_rights(view)
            }
            (Frame::Welcome(welcome), Side::Dialler) if matches!(self.phase, Phase::Greeting { .. }) => {
                self.unbarred(welcome.store)?;
                self.outputs.push_back(Output::Stated(greeting::answered(&self.config, &welcome)));
                let agreed = greeting::agree(&self.config, welcome, self.wall)?;
                self.up(agreed);
                self.show_forks(view)?;
                self.ask_rights(view)?;
                self.go_on(now, view)
            }
            (Frame::Refuse(reason), _) => {
                self.end(Outcome::Refused(reason));
                Ok(())
            }
            (_, _) if matches!(self.phase, Phase::Greeting { .. }) => Err(Misbehaved::FrameUnexpected.into()),
            (Frame::Poll(poll), Side::Listener) if !self.is_running() => self.polled(poll, view),
            (Frame::Polled(polled), Side::Dialler) if self.forecasting => {
                self.foreseen(polled, view)?;
                self.go_on(now, view)
            }
            (Frame::Polled(polled), Side::Dialler) if self.is_running() => {
                self.tally.round_trips += 1;
                // Before anything of this run raises the generation.
                if let Some(pull) = polled.pull {
                    self.look_back(pull, view);
                }
                self.pull_due = polled.pull;
                self.outbound.done = polled.pull.is_none();
                if polled.pull.is_none() {
                    self.peer_compared(view)?;
                }
                let salt = self.config.salt;
                self.receiving(view, |inbound, context| inbound.supplied(polled.supply, salt, context))
            }
            (Frame::Supply(supply), Side::Listener) if self.is_running() => {
                self.tally.round_trips += 1;
                let salt = self.config.salt;
                self.receiving(view, |inbound, context| inbound.supplied(supply, salt, context))
            }
            (Frame::Nudge { asked }, Side::Dialler) => {
                self.outputs.push_back(Output::Nudged { asked });
                Ok(())
            }
            (Frame::WantRights(want), _) => self.tell_rights(want, view),
            (Frame::Rights(rights), _) => self.learn_rights(rights),
            (Frame::Forks(forks), _) => self.hear_forks(forks, view),
            (frame @ (Frame::Pace { .. } | Frame::Links(_) | Frame::WhichHeld(_) | Frame::Held(_)), _) => {
                self.advised(frame, view)
            }
            (Frame::Offer(feeds), _) => self.offered(feeds),
            (Frame::Taken(feeds), _) => self.taken(feeds),
            (frame, _) if self.is_running() => self.in_run(frame, view),
            // The run may have ended without bytes that were refused, and what refuses them twice comes after its end.
            (Frame::NotHave(_), _) => Ok(()),
            (_, _) => Err(Misbehaved::FrameUnexpected.into()),
        }
    }

    /// Frames that either side sends during a run: each belongs to one half.
    fn in_run(&mut self, frame: Frame, view: &dyn View) -> Result<(), Stop> {
        match frame {
            Frame::Answers(answer) => {
                self.receiving(view, |inbound, context| inbound.answered(answer, context))
            }
            Frame::Heads(heads) => self.receiving(view, |inbound, context| inbound.heads(&heads, context)),
            Frame::NotHave(asks) => self.receiving(view, |inbound, context| {
                inbound.not_have(&asks, context);
                Ok(())
            }),
            Frame::Questions(questions) => {
                let answers = self.outbound.answer(&questions)?;
                self.send(&Frame::Answers(answers));
                Ok(())
            }
            Frame::HeadsOf(ids) => {
                let feeds = self.feeds();
                let notes = self.outbound.notes_of(&ids, &feeds)?;
                self.send(&Frame::Heads(notes));
                Ok(())
            }
            Frame::WantOps(wants) => {
                let feeds = self.feeds();
                self.outbound.want_ops(&wants, &feeds)
            }
            Frame::Want(asks) => self.outbound.want(asks),
            Frame::Applied(applied) => self.applied(applied, view),
            Frame::Finished { missing } => {
                self.tally.blobs_missing_there = missing;
                self.outbound.finished();
                Ok(())
            }
            Frame::Hello(_)
            | Frame::Welcome(_)
            | Frame::Refuse(_)
            | Frame::Poll(_)
            | Frame::Polled(_)
            | Frame::Supply(_)
            | Frame::Pace { .. }
            | Frame::Links(_)
            | Frame::WantRights(_)
            | Frame::Rights(_)
            | Frame::Forks(_)
            | Frame::WhichHeld(_)
            | Frame::Held(_)
            | Frame::Offer(_)
            | Frame::Taken(_)
            | Frame::Nudge { .. } => Err(Misbehaved::FrameUnexpected.into()),
        }
    }

    fn applied(&mut self, applied: Applied, view: &dyn View) -> Result<(), Stop> {
        self.unserved_there(applied.unserved)?;
        self.tally.refused_there = applied.refused.into_iter().collect();
        let told = std::mem::take(&mut self.outbound.told);
        self.peer_holds(&told, view)?;
        if let Some(exports) = applied.exports {
            self.receiving(view, |inbound, context| {
                inbound.peer_applied(exports, &told, context);
                Ok(())
            })?;
        }
        self.outbound.told = told;
        Ok(())
    }

    fn up(&mut self, agreed: Agreed) {
        self.outputs.push_back(Output::Up(agreed.clone()));
        self.phase = Phase::Idle(agreed);
    }

    fn begin(&mut self, now: Instant) {
        if let Phase::Idle(agreed) = std::mem::replace(&mut self.phase, Phase::Closed) {
            self.phase = Phase::Running(agreed);
        }
        self.tally = Tally::default();
        self.inbound.begin();
        self.outbound.begin();
        self.pull_due = None;
        self.rights_told = 0;
        self.progress = now;
        self.outputs.push_back(Output::RunBegan);
    }

    fn poll_peer(&mut self, now: Instant, view: &dyn View) -> Result<(), Stop> {
        if self.config.terms.iter().any(|terms| terms.has_expired(self.wall) && self.flows(terms.feed)) {
            return Err(Reason::GrantExpired.into());
        }
        self.begin(now);
        self.show_forks(view)?;
        self.ask_rights(view)?;
        let feeds = self.feeds();
        let pull = self.inbound.pull(self.config.me, &feeds, view)?;
        if pull.is_none() {
            self.inbound.nothing_to_do();
        }
        let (offer, compared) = Outbound::offer(&feeds, view)?.unzip();
        self.outbound.compared = compared.unwrap_or_default();
        self.send(&Frame::Poll(Poll { pull, offer, dry: false }));
        Ok(())
    }

    fn polled(&mut self, poll: Poll, view: &dyn View) -> Result<(), Stop> {
        if self.config.terms.iter().any(|terms| terms.has_expired(self.wall) && self.flows(terms.feed)) {
            return Err(Reason::GrantExpired.into());
        }
        if poll.dry {
            return self.polled_dry(poll, view);
        }
        let frame_bytes = self.tally.frames_in_bytes;
        self.begin(self.progress);
        self.show_forks(view)?;
        self.ask_rights(view)?;
        self.tally.frames_in_bytes = frame_bytes.min(Frame::Poll(poll).encode().len() as u64);
        let feeds = self.feeds();
        let store = self.config.store;
        let supply = match poll.pull {
            Some(pull) => {
                self.look_back(pull, view);
                self.outbound.supply(pull, store, &feeds, &self.inbound.copy, view)?
            }
            None => {
                self.outbound.done = true;
                Supply::Nothing
            }
        };
        let pull = self.pull_back(poll, view)?;
        if pull.is_none() {
            self.receiving(view, |inbound, context| Ok(context.remind(&inbound.copy)?))?;
            self.inbound.nothing_to_do();
        }
        self.same(&supply, view)?;
        self.send(&Frame::Polled(Polled { supply, pull }));
        Ok(())
    }

    /// What becomes possible after each input: pushing once the pulled ops are in, and the end of the run.
    fn advance(&mut self, now: Instant, view: &dyn View) -> Result<(), Stop> {
        if !self.is_running() {
            return Ok(());
        }
        if self.inbound.ops_are_in()
            && let Some(pull) = self.pull_due.take()
        {
            let feeds = self.feeds();
            let supply = self.outbound.supply(pull, self.config.store, &feeds, &self.inbound.copy, view)?;
            self.same(&supply, view)?;
            self.send(&Frame::Supply(supply));
        }
        if self.inbound.is_done() && self.outbound.done && self.pull_due.is_none() {
            let outcome = if self.tally.blobs_missing > 0 { Outcome::Interrupted } else { Outcome::Done };
            self.run_over(outcome);
            return self.go_on(now, view);
        }
        Ok(())
    }

    /// What was asked for while something else was going on.
    fn go_on(&mut self, now: Instant, view: &dyn View) -> Result<(), Stop> {
        self.forecast_if_wanted(view)?;
        if !self.forecasting && std::mem::take(&mut self.run_wanted) {
            return self.poll_peer(now, view);
        }
        Ok(())
    }

    fn run_over(&mut self, outcome: Outcome) {
        if let Phase::Running(agreed) = std::mem::replace(&mut self.phase, Phase::Closed) {
            self.phase = Phase::Idle(agreed);
            self.outputs.push_back(Output::RunEnded { outcome, tally: self.tally.clone() });
        }
    }

    fn feeds(&self) -> Vec<AgreedFeed> {
        self.agreed().map_or_else(Vec::new, |agreed| agreed.feeds.clone())
    }

    fn receiving(
        &mut self,
        view: &dyn View,
        step: impl FnOnce(&mut Inbound, &mut Context<'_>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let (Phase::Idle(agreed) | Phase::Running(agreed)) = &self.phase else {
            return Err(Misbehaved::FrameUnexpected.into());
        };
        let mut context = Context {
            me: self.config.me,
            peer: self.config.peer,
            peer_store: agreed.peer_store,
            priority: self.config.priority,
            feeds: &agreed.feeds,
            view,
            tally: &mut self.tally,
            shown: &mut self.shown,
            outputs: &mut self.outputs,
        };
        step(&mut self.inbound, &mut context)
    }

    fn send(&mut self, frame: &Frame) {
        let bytes = frame.encode();
        self.tally.frames_out_bytes += bytes.len() as u64;
        self.outputs.push_back(Output::Send(bytes));
    }
}

#[cfg(test)]
mod tests;
