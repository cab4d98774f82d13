//! Live sessions: one a link, dialled here or accepted, and the record of what each run did.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol::fault::{Outcome, Reason};
use protocol::id::{BlobId, FeedId, RunId, SiteId};
use protocol::limits::{PAIRINGS_MAX, SESSIONS_MAX, WATCHED_MAX};
use protocol::link::Link;
use protocol::session::tally::Tally;
use protocol::session::{Agreed, Forecast, Side};
use protocol::switches::Verdict;
use protocol::time::Timestamp;
use protocol::timetable;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::{Notify, Semaphore, broadcast};

use super::heard::Roots;
use super::held::Questions;
use super::keys::is_revoked;
use super::links::forget;
use super::problem::not_found;
use super::{Node, locked};
use crate::api::Problem;
use crate::keeper::{own_log, wall_clock};
use crate::store::{PeerState, RunRecord, Trigger};
use crate::transport::endpoint::DialError;
use crate::transport::pump::{Command, Happening};
use crate::transport::tls::Alpn;

/// What happens on a link, for whoever waits for it.
#[derive(Debug, Clone)]
pub(super) enum Watch {
    Progress(Tally),
    Forecast(Forecast),
    /// Both ends agreed.
    Up,
    /// A run ended, or could not begin.
    /// With the count of runs begun on the link by then, that one included.
    Ended(RunId, RunRecord, u64),
}

/// A link while the node runs.
#[derive(Debug)]
pub(super) struct LinkState {
    pub(super) link: Link,
    pub(super) commands: Option<UnboundedSender<Command>>,
    pub(super) agreed: Option<Agreed>,
    pub(super) running: bool,
    pub(super) record: timetable::Record,
    pub(super) next_run: Option<Timestamp>,
    /// What the other end last said of its terms and is known to hold.
    pub(super) peer: PeerState,
    /// The verdicts that were logged last.
    pub(super) told: BTreeMap<FeedId, Verdict>,
    /// When and with how much the bytes of the standing run were seen to come.
    pub(super) pace: Option<Pacing>,
    pub(super) watch: broadcast::Sender<Watch>,
    /// Wakes the link's timetable: run now, or look at the settings again.
    pub(super) wake: Arc<Notify>,
    /// Why the next run happens, where it is not the interval.
    pub(super) wanted: Option<Trigger>,
    /// Whether the wanted run may take place outside the link's windows.
    pub(super) outside: bool,
    /// Why the run that is about to begin does.
    pub(super) begun_by: Option<Trigger>,
    /// The newest run that began.
    pub(super) last: Option<RunId>,
    /// Runs begun while the node is up. Who asks for a run waits for one that is counted after the asking.
    pub(super) begins: u64,
    /// A run was asked of the session and has neither ended nor failed yet.
    pub(super) awaited: bool,
    /// What the other end was asked and has not answered.
    pub(super) questions: Questions,
    /// Runs in a row that waited in vain for the other site, which is to dial.
    pub(super) waited: u32,
    /// The session begins anew after the run that is going on.
    pub(super) renew: bool,
    /// The key of this site that the session was begun with.
    pub(super) shown: Option<SiteId>,
    /// It is dialled with this site's newest key, though another one is shown: that one was refused.
    pub(super) by_newest: bool,
    /// How often logs had been set back here when the last run ended.
    pub(super) set_backs: Option<u64>,
    /// Feeds that the other end said it put on the link.
    pub(super) taken_there: BTreeSet<FeedId>,
    /// Counts the sessions, so that an old one's end does not close a new one.
    pub(super) turn: u64,
}

impl LinkState {
    pub(super) fn new(link: Link, peer: PeerState) -> Self {
        Self {
            link,
            peer,
            told: BTreeMap::new(),
            pace: None,
            commands: None,
            agreed: None,
            running: false,
            record: timetable::Record::default(),
            next_run: None,
            watch: broadcast::channel(WATCHED_MAX).0,
            wake: Arc::new(Notify::new()),
            wanted: None,
            outside: false,
            begun_by: None,
            last: None,
            begins: 0,
            set_backs: None,
            awaited: false,
            questions: Questions::default(),
            waited: 0,
            renew: false,
            shown: None,
            by_newest: false,
            taken_there: BTreeSet::new(),
            turn: 0,
        }
    }
}

/// How much had come at two moments of the standing run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pacing {
    pub(super) first: (Timestamp, u64),
    pub(super) last: (Timestamp, u64),
}

/// What this end brings into one session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spoken {
    pub(super) turn: u64,
    /// The number of the newest key of its own that it tells.
    pub(super) told: u64,
    /// The key that the other end showed.
    pub(super) shown: Option<SiteId>,
}

/// How a run ended.
struct Ending {
    outcome: Outcome,
    tally: Tally,
    rtt_ms: Option<u64>,
    roots: Roots,
    note: Option<String>,
}

impl Ending {
    /// Nothing was moved and no connection is left to ask for its round-trip time. What ended before a run that was asked for did nothing of it.
    fn without_a_run(outcome: Outcome) -> Self {
        let outcome = if outcome == Outcome::Done { Outcome::Interrupted } else { outcome };
        Self { outcome, tally: Tally::default(), rtt_ms: None, roots: Roots::new(), note: None }
    }
}

impl LinkState {
    /// Asks the timetable for a run. What a person waits for is not put off by news.
    pub(super) fn want(&mut self, trigger: Trigger) {
        if self.wanted != Some(Trigger::Manual) {
            self.wanted = Some(trigger);
        }
        self.wake.notify_one();
    }
}

/// Why no session with the other site came up.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("link {0:?} has no address to dial")]
    NoAddress(String),
    #[error("link {0:?} was removed, or is with another site, since it was dialled")]
    Gone(String),
    #[error("link {0:?} was paused while it was dialled")]
    Paused(String),
    #[error("{address:?} cannot be resolved")]
    Resolve { address: String, source: std::io::Error },
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("this site's store cannot be read: {0}")]
    Store(String),
    #[error("both sites dial each other and {0} is to open the connection")]
    Waits(String),
    #[error("this site has {SESSIONS_MAX} sessions, which is all it may have at once; it tries again")]
    Full,
}

/// Tells a session something. One that just ended needs telling no more.
pub(super) fn tell(commands: &UnboundedSender<Command>, command: Command) {
    if let Err(unsent) = commands.send(command) {
        tracing::debug!(command = ?unsent.0, "the session is over already");
    }
}

impl Node {
    /// Takes up the links of the store.
    pub(super) fn start_links(&self) -> Result<(), crate::store::ReadError> {
        for link in self.inner.site.store().links()? {
            // A crash came between the word that keeps the site out and the end of its links.
            if is_revoked(&self.inner.site, link.peer)? {
                if let Err(error) = forget(&self.inner.site, &link) {
                    tracing::warn!(%error, link = link.name, "the link of a revoked key could not be removed");
                }
                continue;
            }
            self.admit(&link);
            self.keep_link(link);
        }
        Ok(())
    }

    /// The link with a site, in the direction asked for.
    pub(super) fn link_with(&self, peer: SiteId, outgoing: bool) -> Option<Link> {
        let links = locked(&self.inner.links);
        let found =
            links.values().find(|state| state.link.peer == peer && state.link.is_outgoing() == outgoing);
        found.map(|state| state.link.clone())
    }

    /// Takes up a link that pairing made or extended. A session that stands is begun anew with all its feeds.
    pub(super) fn take_up(&self, link: Link) {
        self.admit(&link);
        let name = link.name.clone();
        let peer = self.inner.site.store().peer(&name).unwrap_or_default();
        let held = self.with_link(&name, |state| {
            state.link = link.clone();
            state.peer.stated = peer.stated;
        });
        let site = link.peer;
        if held.is_some() {
            self.reconnect(&name);
        } else {
            self.keep_link(link);
        }
        self.renew_twin(site, &name);
    }

    /// Takes up one link: an outgoing one gets its timetable.
    fn keep_link(&self, link: Link) {
        let (name, outgoing) = (link.name.clone(), link.is_outgoing());
        let peer = self.inner.site.store().peer(&name).unwrap_or_else(|error| {
            tracing::warn!(%error, link = name, "what the other end said before cannot be read");
            PeerState::default()
        });
        locked(&self.inner.links).insert(name.clone(), LinkState::new(link, peer));
        if outgoing {
            let node = self.clone();
            tokio::spawn(async move { crate::scheduler::keep(&node, &name).await });
        }
    }

    /// Something was appended here. Live links pass it on at once, but for the one it came over.
    pub(super) fn news(&self, from: Option<&str>) {
        self.inner.grew.send_modify(|grew| *grew = grew.wrapping_add(1));
        let from_peer = from.and_then(|from| Some(self.known_link(from).ok()?.peer));
        let served: Vec<String> =
            self.link_names().into_keys().filter(|name| self.twin(name).is_some()).collect();
        for (name, state) in locked(&self.inner.links).iter_mut() {
            let twin = served.contains(name);
            let elsewhere = !(twin && from_peer == Some(state.link.peer))
                && from != Some(name.as_str())
                && state.link.live
                && !state.link.paused;
            if elsewhere && state.link.is_outgoing() {
                state.want(Trigger::Live);
            } else if elsewhere
                && !twin
                && let Some(commands) = &state.commands
            {
                tell(commands, Command::News);
            }
        }
    }

    /// Accepts other sites' connections for as long as the endpoint is open.
    pub(super) async fn accept_sites(self) {
        let pairings = Arc::new(Semaphore::new(PAIRINGS_MAX));
        while let Some(accepted) = self.inner.endpoint.accept().await {
            let node = self.clone();
            match accepted.alpn {
                Alpn::Pairing => {
                    let Ok(place) = Arc::clone(&pairings).try_acquire_owned() else {
                        let code = Outcome::Refused(Reason::Busy).close_code().into();
                        accepted.connection.close(code, b"too many join at once");
                        continue;
                    };
                    tokio::spawn(async move {
                        node.admit_joiner(accepted.connection, accepted.peer).await;
                        drop(place);
                    });
                }
                Alpn::Link => {
                    let by_peer =
                        |state: &&LinkState| state.link.peer == accepted.peer && !state.link.is_outgoing();
                    let link =
                        locked(&self.inner.links).values().find(by_peer).map(|state| state.link.clone());
                    match link {
                        Some(link) if node.is_served(&link) => accepted.connection.close(
                            Outcome::Refused(Reason::Busy).close_code().into(),
                            b"the session of the other direction serves both",
                        ),
                        Some(link) => {
                            node.give_way(&link.name);
                            let connection = accepted.connection.clone();
                            if let Err(error) = node.attach(&link, Side::Listener, accepted.connection) {
                                tracing::warn!(link = %link.name, %error, "a call of the other site was not taken");
                                connection.close(Outcome::Fault.close_code().into(), b"a fault at this site");
                            }
                        }
                        None => accepted.connection.close(
                            Outcome::Refused(Reason::SiteUnknown).close_code().into(),
                            b"no incoming link with this site",
                        ),
                    }
                }
            }
        }
    }

    /// Writes down what happens in a session until it is over.
    pub(super) async fn follow(
        &self,
        link: Link,
        spoken: Spoken,
        mut happenings: UnboundedReceiver<Happening>,
    ) {
        let turn = spoken.turn;
        let mut run: Option<(RunId, RunRecord)> = None;
        let mut closed = Outcome::Interrupted;
        let (mut agreed, mut set_backs) = (None, None);
        while let Some(happening) = happenings.recv().await {
            match happening {
                Happening::Up(terms) => {
                    agreed = Some(terms.clone());
                    self.came_up(&link, spoken, terms).await;
                }
                Happening::Stated(stated) => self.stated(&link.name, stated),
                Happening::Unserved(fates) => self.unserved_there(&link, fates).await,
                Happening::PeerHolds(holds) => self.peer_holds(&link.name, holds),
                Happening::RunBegan { roots, set_backs: before } => {
                    run = self.run_began(&link, &roots);
                    set_backs = Some(before);
                }
                Happening::Progress(tally) => {
                    self.paced(&link.name, &tally);
                    self.watched(&link.name, Watch::Progress(tally));
                }
                Happening::RunEnded { outcome, tally, rtt_ms, roots } => {
                    let whole = agreed.as_ref().map(|terms| own_log::wholly_heard(terms, outcome, &tally));
                    self.learned(&link, whole.unwrap_or_default(), set_backs.take()).await;
                    let ending = Ending { outcome, tally, rtt_ms: Some(rtt_ms), roots, note: None };
                    if outcome == Outcome::Done {
                        self.peer_knows_keys(link.peer, spoken.told).await;
                    }
                    self.look_at_arrivals().await;
                    self.run_ended(&link, run.take(), ending);
                }
                Happening::Nudged { asked } => self.nudged(&link.name, asked),
                Happening::Links(notes) => self.noted(&link.name, notes),
                Happening::Offered(feeds) => {
                    let (node, name) = (self.clone(), link.name.clone());
                    tokio::spawn(async move { node.feeds_offered(&name, turn, feeds).await });
                }
                Happening::Taken(feeds) => self.feeds_taken(&link.name, &feeds),
                Happening::Held(held) => self.answered(&link.name, turn, held),
                Happening::Forecast(forecast) => self.watched(&link.name, Watch::Forecast(forecast)),
                Happening::Note(event) => self.noticed(&link, event).await,
                Happening::Closed(outcome) => closed = outcome,
            }
        }
        self.session_ended(&link, turn, (closed, agreed.is_some()), run).await;
    }

    async fn came_up(&self, link: &Link, spoken: Spoken, agreed: Agreed) {
        locked(&self.inner.lives).saw(link.peer, agreed.peer_store, wall_clock());
        self.link_is_up(&link.name, &agreed);
        self.keys_heard(link, agreed.peer_succession.clone(), spoken.shown).await;
        self.note_link(link, &agreed).await;
        self.agreed(&link.name, agreed);
        self.offer_feeds(&link.name).await;
    }

    /// A session is over; how, and whether it had come up.
    async fn session_ended(
        &self,
        link: &Link,
        turn: u64,
        (closed, came_up): (Outcome, bool),
        mut run: Option<(RunId, RunRecord)>,
    ) {
        self.link_is_down(link, closed);
        self.closed_as_copy(link, closed).await;
        let is_unknown = closed == Outcome::Refused(Reason::SiteUnknown) && !came_up;
        if is_unknown && self.dials_with_newest(link, turn) {
            return;
        }
        if let Outcome::Refused(reason) = closed
            && !came_up
        {
            self.refused(&link.name, reason);
        }
        if self.ends_unrecorded(&link.name, turn, closed) && run.is_none() {
            run = self.run_began(link, &Roots::new());
        }
        self.run_ended(link, run, Ending::without_a_run(closed));
    }

    /// A link's session is over, unless another one has its place. Tells whether that is a run, too, which nobody began: one that was refused in
    /// the handshake, or gone before the run that was asked for.
    fn ends_unrecorded(&self, link: &str, turn: u64, closed: Outcome) -> bool {
        let unrecorded = self.with_link(link, |state| {
            if state.turn != turn {
                return false;
            }
            state.commands = None;
            state.agreed = None;
            state.running = false;
            state.questions.hopeless();
            state.wake.notify_one();
            state.awaited || !matches!(closed, Outcome::Interrupted | Outcome::Done)
        });
        unrecorded == Some(true)
    }

    /// The other end answered which of some blobs it holds.
    fn answered(&self, link: &str, turn: u64, held: Vec<BlobId>) {
        self.with_link(link, |state| {
            if state.turn == turn {
                state.questions.answered(held);
            }
        });
    }

    fn run_began(&self, link: &Link, roots: &Roots) -> Option<(RunId, RunRecord)> {
        let trigger = self.with_link(&link.name, |state| {
            state.running = true;
            let own = if link.is_outgoing() { Trigger::Interval } else { Trigger::Peer };
            // The dialling end counts before it tells the session.
            state.begins = state.begins.saturating_add(u64::from(!link.is_outgoing()));
            state.begun_by.take().unwrap_or(own)
        });
        let record = RunRecord {
            link: link.name.clone(),
            peer: link.peer,
            started: wall_clock(),
            ended: None,
            outcome: None,
            trigger: trigger.unwrap_or(Trigger::Peer),
            feeds: self.run_feeds(link, roots),
            tally: Tally::default(),
            rtt_ms: None,
            notes: Vec::new(),
        };
        match self.inner.site.store().begin_run(&record) {
            Ok(run) => {
                self.with_link(&link.name, |state| state.last = Some(run));
                Some((run, record))
            }
            Err(error) => {
                tracing::error!(%error, link = link.name, "a run could not be recorded");
                None
            }
        }
    }

    fn run_ended(&self, link: &Link, run: Option<(RunId, RunRecord)>, ending: Ending) {
        let Some((run, mut record)) = run else { return };
        let outcome = ending.outcome;
        record.ended = Some(wall_clock());
        record.outcome = Some(outcome);
        record.tally = ending.tally;
        record.rtt_ms = ending.rtt_ms;
        record.notes.extend(ending.note);
        if outcome == Outcome::Refused(Reason::DiskFull) {
            record.notes.extend(self.want_of_room());
        }
        self.run_feeds_ended(link, &ending.roots, &mut record);
        if let Err(error) = self.inner.site.store().put_run(run, &record) {
            tracing::error!(%error, link = link.name, "a run could not be recorded");
        }
        let changed = record.tally.ops_in > 0;
        let begins = self.with_link(&link.name, |state| {
            state.running = false;
            state.awaited = false;
            state.pace = None;
            state.record = state.record.after(outcome);
            state.begins
        });
        if self.with_link(&link.name, |state| std::mem::take(&mut state.renew)) == Some(true) {
            self.renew(&link.name);
        }
        self.inner.counts.look_again();
        self.run_settled(&link.name, &record);
        self.run_is_over(run, &record);
        self.watched(&link.name, Watch::Ended(run, record, begins.unwrap_or(0)));
        if outcome == Outcome::Done {
            let node = self.clone();
            tokio::spawn(async move { node.merges_go_on().await });
        }
        if changed {
            self.news(Some(&link.name));
            let node = self.clone();
            tokio::spawn(async move { node.seal_feeds().await });
        }
    }

    /// A run that never began because the other site was not reached.
    pub(super) fn not_reached(&self, name: &str, error: &ConnectError) {
        let Some(link) = self.with_link(name, |state| state.link.clone()) else { return };
        let outcome = match error {
            ConnectError::Dial(DialError::Refused { .. }) => Outcome::Refused(Reason::SiteUnknown),
            ConnectError::Store(_) => Outcome::Fault,
            ConnectError::Full => Outcome::Refused(Reason::Busy),
            ConnectError::NoAddress(_)
            | ConnectError::Gone(_)
            | ConnectError::Paused(_)
            | ConnectError::Waits(_)
            | ConnectError::Resolve { .. }
            | ConnectError::Dial(_) => Outcome::Interrupted,
        };
        if let Outcome::Refused(reason) = outcome {
            self.refused(name, reason);
        }
        let run = self.run_began(&link, &Roots::new());
        let note = Some(format!("{} not reached: {error}", link.peer_name));
        self.run_ended(&link, run, Ending { note, ..Ending::without_a_run(outcome) });
    }

    fn watched(&self, name: &str, watch: Watch) {
        // Nobody watching is no failure.
        self.with_link(name, |state| drop(state.watch.send(watch)));
    }

    /// Lets a link's timetable look again; an outgoing link runs.
    pub(super) fn wake(&self, name: &str, trigger: Trigger) {
        self.with_link(name, |state| state.want(trigger));
    }

    /// The listening end asks for a run. Its news wait for the interval where the link is not live here.
    fn nudged(&self, name: &str, asked: bool) {
        self.with_link(name, |state| {
            if asked || state.link.live {
                state.want(Trigger::Peer);
            }
        });
    }

    pub(super) fn with_link<T>(&self, name: &str, change: impl FnOnce(&mut LinkState) -> T) -> Option<T> {
        locked(&self.inner.links).get_mut(name).map(change)
    }

    pub(super) fn link_names(&self) -> BTreeMap<String, Link> {
        locked(&self.inner.links).iter().map(|(name, state)| (name.clone(), state.link.clone())).collect()
    }

    /// Ends a link's session, so that the next one begins with other terms.
    pub(super) fn reconnect(&self, name: &str) {
        self.with_link(name, |state| {
            if let Some(commands) = state.commands.take() {
                tell(&commands, Command::Close(Outcome::Interrupted));
            }
            state.agreed = None;
            state.wake.notify_one();
        });
    }

    /// Cuts every standing connection, as a broken line would. What arrived is kept.
    pub(crate) fn cut_connections(&self) {
        self.link_names().into_keys().for_each(|name| self.reconnect(&name));
    }

    /// The link of that name.
    pub(super) fn known_link(&self, name: &str) -> Result<Link, Problem> {
        self.with_link(name, |state| state.link.clone())
            .ok_or_else(|| not_found("link", name).hint("`packetboat link list` names them"))
    }
}
