//! One site: the real store on a disk in memory, the real session over real QUIC. It does what the node's pump does, without threads.

mod again;
mod handed;
mod keeping;
pub mod keys;
mod life;
mod lying;
mod people;
mod rulings;
mod scrub;
mod settling;
mod tricks;
mod wire;

use std::collections::BTreeSet;

use packetboat::identity::SiteKey;
use packetboat::keeper::Clock;
use packetboat::store::{AppendError, Look, Store, WriteError};
use protocol::fault::{Misbehaved, Outcome, Reason};
use protocol::filter::Filter;
use protocol::id::{BlobId, LogId, OpId, SiteId};
use protocol::log::NamedOp;
use protocol::op::{Body, Genesis, Seal};
use protocol::package::FeedKind;
use protocol::session::tally::Tally;
use protocol::session::{Config, Input, Keys, Output, Session, Side, Terms, Versions};
use protocol::switches::Switches;
use protocol::time::{Instant, Timestamp};

use crate::disk::InMemory;
use crate::entropy::Entropy;
use crate::index::Forgetful;
use crate::net::SECOND;
use crate::plant::Plant;
use crate::quic::{Quic, Talk};
use again::Again;
use handed::Handed;
pub use keeping::Held;
use keeping::Keeping;
use lying::{Lying, Wanted};
pub use people::Unsaid;
pub use rulings::{LinkEnd, LinkState, grant_of};
use scrub::Rot;
use tricks::Plot;
use wire::{Arrival, Wire};
pub(crate) use wire::{next_frame, varint};

/// The wall clock at the start of every run.
pub const WALL_START_MS: u64 = 1_795_000_000_000;

impl Conversation {
    const fn new(talk: Talk, link: usize, session: Session, wire: Wire) -> Self {
        let kept = Vec::new();
        Self { talk, link, session, wire, spoilt: false, settled_at: None, kept, era: None }
    }
}

struct Conversation {
    talk: Talk,
    link: usize,
    session: Session,
    wire: Wire,
    /// The store failed it: nothing more of it is kept.
    spoilt: bool,
    /// When the disk is done with a slow sync.
    settled_at: Option<u64>,
    /// Blobs that came and that the peer was not yet told to be durable.
    kept: Vec<BlobId>,
    /// The store's era when the first of them came.
    era: Option<u64>,
}

/// One site.
pub struct Site {
    pub name: &'static str,
    pub host: usize,
    /// The key that it signs with.
    pub key: SiteKey,
    /// The key that other sites are shown: its first.
    first: SiteKey,
    disk: InMemory,
    index: Forgetful,
    store: Option<Store>,
    pub links: Vec<LinkEnd>,
    conversations: Vec<Conversation>,
    /// Milliseconds this site's clock is ahead of the world's; may be negative.
    pub clock_ahead_ms: i64,
    /// Whether its clock was once set back.
    pub was_set_back: bool,
    clock: Clock,
    pub ended: Vec<(Outcome, Tally)>,
    /// How sessions ended that this site ended.
    pub closed: Vec<Outcome>,
    /// The breaches that this site saw, and whose.
    pub breaches: Vec<(SiteId, Misbehaved)>,
    /// What this site said that a peer has of a log, since the last look.
    pub claims: Vec<(SiteId, Vec<(LogId, u64)>)>,
    /// Runs that ended as done though bytes of theirs were not synced.
    pub ended_unsynced: usize,
    /// Logs of which two histories were signed, as far as this site was shown.
    pub forks: BTreeSet<LogId>,
    /// The most bytes that waited to be sent on one lane.
    pub waiting_bytes_peak: usize,
    /// The most bytes of one stream that were read before anyone wanted them.
    pub held_bytes_peak: usize,
    /// Nanoseconds that a sync takes.
    pub sync_nanos: u64,
    /// Whether a connection is closed once its run is over, as where links run rarely.
    pub hangs_up: bool,
    seal_due: bool,
    /// The protocol versions that its program speaks.
    pub versions: Versions,
    /// After so many events more its program stops where it is.
    stops_after: Option<u64>,
    is_stopped: bool,
    /// Links of which the other end refused a run.
    pub refused: BTreeSet<usize>,
    /// Whether bytes that nothing standing needs were dropped here.
    pub swept: bool,
    /// Blobs that a peer was told to be durable here.
    pub promised: BTreeSet<BlobId>,
    /// The seals that this site said.
    pub seals: Vec<(OpId, Seal)>,
    /// Those that were lost with its machine and not heard of again when it said another one.
    pub sealed_over: Vec<OpId>,
    /// A bug of this site, put in on purpose.
    plant: Option<Plant>,
    wanted: Wanted,
    again: Again,
    handed: Handed,
    rot: Rot,
    keeping: Keeping,
    /// What it does against the rules, link by link. Honest sites have nothing here.
    plots: Vec<Plot>,
    entropy: Entropy,
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Site").field("name", &self.name).field("host", &self.host).finish_non_exhaustive()
    }
}

/// The feed of every scenario, whose origin is the site with this key.
#[must_use]
pub fn genesis(origin: SiteId) -> Genesis {
    Genesis {
        kind: FeedKind::Raw,
        name: "tools".to_owned(),
        origin,
        second_origin: None,
        reuse: false,
        overwrite: false,
        created: Timestamp(WALL_START_MS),
        nonce: [7; 16],
    }
}

impl Site {
    /// A site on an empty disk.
    #[must_use]
    pub fn new(name: &'static str, host: usize, entropy: &Entropy) -> Self {
        let mut entropy = entropy.fork(name);
        let key = SiteKey::from_seed(&entropy.key());
        let mut site = Self {
            name,
            host,
            first: key.clone(),
            key,
            disk: InMemory::default(),
            index: Forgetful::default(),
            store: None,
            links: Vec::new(),
            conversations: Vec::new(),
            clock_ahead_ms: 0,
            was_set_back: false,
            clock: Clock::default(),
            ended: Vec::new(),
            closed: Vec::new(),
            breaches: Vec::new(),
            claims: Vec::new(),
            ended_unsynced: 0,
            forks: BTreeSet::new(),
            waiting_bytes_peak: 0,
            held_bytes_peak: 0,
            sync_nanos: 0,
            hangs_up: false,
            seal_due: false,
            versions: Versions::default(),
            stops_after: None,
            is_stopped: false,
            refused: BTreeSet::new(),
            swept: false,
            promised: BTreeSet::new(),
            seals: Vec::new(),
            sealed_over: Vec::new(),
            plant: None,
            wanted: Wanted::default(),
            again: Again::default(),
            handed: Handed::default(),
            rot: Rot::default(),
            keeping: Keeping::default(),
            plots: Vec::new(),
            entropy,
        };
        site.open();
        site
    }

    /// Puts a bug into this site.
    pub fn plant(&mut self, plant: Option<Plant>) {
        self.plant = plant;
        self.disk.plant(plant);
        self.index.plant(plant);
    }

    fn has(&self, plant: Plant) -> bool {
        self.plant == Some(plant)
    }

    fn view(&self, now: u64) -> Lying {
        Lying {
            view: self.store().view(self.look(now)),
            me: self.id(),
            peers: self.links.iter().map(|end| end.peer).collect(),
            plant: self.plant,
            wanted: Wanted::clone(&self.wanted),
            store: self.store().clone(),
            handed: self.handed.clone(),
            rotted: self.unwanted(now),
        }
    }

    /// This site.
    #[must_use]
    pub fn id(&self) -> SiteId {
        self.key.site_id()
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        self.store.as_ref().expect("a site that is up has its store open")
    }

    /// The disk under the store.
    #[must_use]
    pub const fn disk(&self) -> &InMemory {
        &self.disk
    }

    /// The wall clock at this site.
    #[must_use]
    pub fn wall(&self, now: u64) -> Timestamp {
        let ms = WALL_START_MS + now / (SECOND / 1000);
        Timestamp(ms.saturating_add_signed(self.clock_ahead_ms))
    }

    /// How this site looks at its feeds.
    #[must_use]
    pub fn look(&self, now: u64) -> Look {
        Look { me: self.id(), now: self.wall(now) }
    }

    /// Begins a run of an outgoing link, dialling if no connection stands.
    pub fn sync(&mut self, now: u64, quic: &mut Quic, link: usize) {
        self.conversations.retain(|one| !one.session.is_closed());
        if let Some(at) = self.conversations.iter().position(|one| one.link == link) {
            let view = self.view(now);
            if let Some(one) = self.conversations.get_mut(at) {
                one.session.run(instant(now), &view);
            }
            self.pump(now, quic);
            return;
        }
        let end = self.links.get(link).filter(|end| end.state == LinkState::Open).cloned();
        let Some(end) = end else { return };
        let Some(talk) = quic.dial(now, self.host, end.peer_host, end.peer) else { return };
        let mut session = self.session(now, &end);
        let view = self.view(now);
        session.run(instant(now), &view);
        self.conversations.push(Conversation::new(talk, link, session, self.wire(link)));
    }

    fn session(&mut self, now: u64, end: &LinkEnd) -> Session {
        let store = self.store();
        let feeds = store.feeds().expect("the store reads");
        let switches = if self.has(Plant::OneWayLinkLeaks) { Switches::MIRROR } else { end.switches };
        let terms = feeds.iter().map(|(feed, record)| Terms {
            feed: *feed,
            kind: record.genesis.kind,
            switches,
            filter: Filter::default(),
            expires: None,
            twin: None,
        });
        let config = Config {
            side: end.side,
            me: self.id(),
            peer: end.peer,
            store: store.id(),
            name: self.name.to_owned(),
            terms: terms.collect(),
            priority: Default::default(),
            refuses: (end.state == LinkState::Paused).then_some(Reason::LinkPaused),
            versions: self.spoken(),
            barred: self.barred(end.peer, self.wall(now)),
            new_feeds: Default::default(),
            memory: self.reads(|store| store.memory(end.peer, &end.name)).unwrap_or_default(),
            keys: Keys { mine: self.key.succession().clone(), peer: Default::default() },
            salt: self.entropy.next().to_le_bytes(),
        };
        Session::new(config, instant(now), self.wall(now))
    }

    /// A connection of this host stands, or another site opened one.
    pub fn connected(&mut self, now: u64, quic: &mut Quic, talk: Talk, from: Option<SiteId>) {
        if let Some(site) = from {
            let known = self.links.iter().position(|end| {
                let gone = end.state == LinkState::Removed && !self.has(Plant::RemovedLinkAdmits);
                end.peer == site && end.side == Side::Listener && !gone
            });
            let Some(link) = known else {
                quic.close(now, talk, 1);
                return;
            };
            let Some(end) = self.links.get(link).cloned() else { return };
            // The other site came anew: its old connection is dead, whether this end knows or not.
            for old in self.conversations.extract_if(.., |one| one.link == link) {
                quic.close(now, old.talk, Outcome::Interrupted.close_code());
            }
            let session = self.session(now, &end);
            self.conversations.push(Conversation::new(talk, link, session, self.wire(link)));
        }
        self.pump(now, quic);
    }

    /// A connection is gone.
    pub fn lost(&mut self, now: u64, quic: &mut Quic, talk: Talk) {
        if let Some(at) = self.conversations.iter().position(|one| one.talk == talk) {
            // What arrived with the end is read first: it may say why.
            self.converse(now, quic, at);
            self.feed_session(now, quic, at, Input::Closed);
        }
        self.conversations.retain(|one| one.talk != talk);
    }

    /// When a session wants to be woken, in nanoseconds.
    #[must_use]
    pub fn wake_at(&self) -> Option<u64> {
        let due = self.conversations.iter().filter_map(|one| one.session.wake_at());
        let due = due.map(|at| at.0.saturating_mul(SECOND / 1000));
        due.chain(self.conversations.iter().filter_map(|one| one.settled_at)).min()
    }

    /// Moves everything that can move: arrived frames in, outputs done, frames out.
    pub fn pump(&mut self, now: u64, quic: &mut Quic) {
        for at in 0..self.conversations.len() {
            if self.is_stopped {
                return;
            }
            let due = self.conversations.get(at).and_then(|one| one.session.wake_at());
            if due.is_some_and(|due| due <= instant(now)) {
                self.feed_session(now, quic, at, Input::Tick);
            }
            let settled = self.conversations.get(at).and_then(|one| one.settled_at);
            if settled.is_some_and(|due| due <= now) {
                self.settle(now, quic, at);
            }
            self.converse(now, quic, at);
        }
        for one in &self.conversations {
            self.waiting_bytes_peak = self.waiting_bytes_peak.max(one.wire.waiting_bytes());
            self.held_bytes_peak = self.held_bytes_peak.max(one.wire.held_bytes());
        }
        // What a program had not handed over when it stopped is gone.
        if self.is_stopped {
            return;
        }
        self.conversations.retain(|one| !one.session.is_closed() || one.wire.has_more(quic, one.talk));
        quic.flush(now, self.host);
        if std::mem::take(&mut self.seal_due) {
            self.seal(now);
        }
    }

    /// Seals what came, where this site is the origin of a feed.
    fn seal(&mut self, now: u64) {
        for (feed, _) in self.store().feeds().expect("the store reads") {
            let due = self.reads(|store| packetboat::statement::seal::due(store, feed, self.look(now)));
            if let Some(Some(seal)) = due {
                // A disk that is full or fails costs a seal, which the next run makes up for.
                if let Ok(said) = self.say(now, feed, Body::Seal(seal.clone())) {
                    let lost = self.seals.iter().map(|(id, _)| *id).filter(|id| !self.holds(*id));
                    self.sealed_over.extend(lost.collect::<Vec<_>>());
                    self.seals.push((said.id, seal));
                }
            }
        }
    }

    /// The store failed a session: it ends, and nothing more of it is kept.
    fn spoil(&mut self, now: u64, quic: &mut Quic, at: usize, input: Input<'_>) {
        if self.has(Plant::RefusedBytesIgnored) {
            return;
        }
        if let Some(one) = self.conversations.get_mut(at)
            && !std::mem::replace(&mut one.spoilt, true)
        {
            self.feed_session(now, quic, at, input);
        }
    }

    fn converse(&mut self, now: u64, quic: &mut Quic, at: usize) {
        loop {
            self.drain(now, quic, at);
            if self.is_stopped {
                return;
            }
            let Some(one) = self.conversations.get_mut(at) else { return };
            // Outside a run ops have no place, and the session says so; inside one they may only be early.
            let awaits_ops = !one.session.is_running() || one.session.awaits_ops();
            let side = self.links.get(one.link).map_or(Side::Listener, |end| end.side);
            match one.wire.next(quic, one.talk, side, awaits_ops) {
                Some(Arrival::Control(frame)) => self.feed_session(now, quic, at, Input::Control(&frame)),
                Some(Arrival::Ops(frame)) => self.feed_session(now, quic, at, Input::Ops(&frame)),
                Some(Arrival::Piece(frame)) => self.feed_session(now, quic, at, Input::Piece(&frame)),
                Some(Arrival::Broken(fault)) => {
                    self.feed_session(now, quic, at, Input::Broken(fault));
                    return;
                }
                None if self.send(now, quic, at) => {}
                None => return,
            }
        }
    }

    /// Sends a frame of ops or bytes if a stream has room. Tells whether anything was sent.
    fn send(&mut self, now: u64, quic: &mut Quic, at: usize) -> bool {
        let (view, heedless) = (self.view(now), self.has(Plant::QueueUnbounded));
        let Some(one) = self.conversations.get_mut(at) else { return false };
        let talk = one.talk;
        if one.wire.ops_have_room(quic, talk)
            && let Some(frame) = one.session.poll_ops(&view)
        {
            one.wire.send_ops(quic, talk, &frame);
            return true;
        }
        let lane = one.wire.lane_with_room(quic, talk);
        if let Some(lane) = lane.or_else(|| heedless.then_some(0)) {
            if let Some(frame) = one.session.poll_piece(instant(now), &view) {
                one.wire.send_piece(quic, talk, lane, &frame);
                return true;
            }
            self.drain(now, quic, at);
        }
        false
    }

    fn feed_session(&mut self, now: u64, quic: &mut Quic, at: usize, input: Input<'_>) {
        let view = self.view(now);
        let wall = self.wall(now);
        let Some(one) = self.conversations.get_mut(at) else { return };
        one.session.handle(instant(now), wall, input, &view);
        self.drain(now, quic, at);
    }

    fn is_spoilt(&self, at: usize) -> bool {
        self.conversations.get(at).is_some_and(|one| one.spoilt)
    }

    /// This site's clock once ops of a log are taken in.
    fn clock_after(&self, now: u64, log: LogId, ops: &[NamedOp]) -> Clock {
        let mut clock = self.clock.clone();
        if !self.has(Plant::WallClockStamps) {
            let own = log.author == self.id();
            let authority = own.then(|| self.reads(|store| store.authority(log.feed)).flatten()).flatten();
            let stamps = ops.iter().map(|named| (named.op.place, named.op.stamp));
            clock.see(stamps, authority.as_deref(), self.look(now));
        }
        clock
    }

    fn appended(
        &mut self,
        now: u64,
        quic: &mut Quic,
        at: usize,
        done: Result<u64, AppendError>,
        clock: Clock,
    ) {
        match done {
            Ok(_) => self.clock = clock,
            Err(AppendError::Write(WriteError::DiskFull { .. })) => {
                self.spoil(now, quic, at, Input::Refused(Reason::DiskFull));
            }
            Err(_) => self.spoil(now, quic, at, Input::Failed),
        }
    }

    /// Does what the session asks for.
    fn drain(&mut self, now: u64, quic: &mut Quic, at: usize) {
        while !self.comes_to_its_stop()
            && let Some(output) = self.conversations.get_mut(at).and_then(|one| one.session.poll())
        {
            let Some((talk, link)) = self.conversations.get(at).map(|one| (one.talk, one.link)) else {
                return;
            };
            let Some(end) = self.links.get(link).cloned() else { return };
            match output {
                Output::Send(frame) => {
                    let side = end.side;
                    if let Some(one) = self.conversations.get_mut(at) {
                        one.wire.send_control(quic, talk, side, &frame);
                    }
                }
                Output::Append(_) | Output::Fill(_) | Output::Keep(_) if self.is_spoilt(at) => {}
                Output::Append(run) => {
                    let clock = self.clock_after(now, run.inner().log(), run.inner().ops());
                    let appended = self.store().append(&[run]);
                    self.appended(now, quic, at, appended, clock);
                }
                Output::Fill(filling) => {
                    let clock = self.clock_after(now, filling.inner().log(), filling.inner().ops());
                    let filled = self.store().fill(&filling);
                    self.appended(now, quic, at, filled, clock);
                }
                Output::Keep(stored) => self.keep(now, quic, at, &stored),
                Output::Learn(proof) if self.store().put_rights(&proof).is_ok() => {}
                Output::Learn(_) => self.spoil(now, quic, at, Input::Failed),
                Output::Fork(_) if self.has(Plant::ForkProofDropped) => {}
                Output::Fork(proof) if self.store().put_fork(&proof).is_ok() => {}
                Output::Fork(_) => self.spoil(now, quic, at, Input::Failed),
                Output::Settle => self.begin_to_settle(now, quic, at),
                Output::Remember(memory) => {
                    if !self.is_spoilt(at) {
                        // What is not remembered costs a comparison.
                        drop(self.store().remember(end.peer, &end.name, &memory));
                    }
                }
                Output::PeerHolds(held) => self.claims.push((end.peer, held)),
                Output::RunEnded { outcome, tally } => {
                    self.note_run(at, outcome);
                    self.learned(at, outcome, &tally);
                    self.run_ended(link, outcome, tally);
                }
                Output::Up(agreed) => self.let_in(now, end.peer, agreed.peer_store),
                Output::Note(note) => self.noticed(now, end.peer, note),
                Output::Close(outcome) => {
                    self.closed_for(now, end.peer, outcome);
                    self.note_end(link, outcome);
                    quic.flush(now, self.host);
                    quic.close(now, talk, outcome.close_code());
                }
                Output::Stated(_)
                | Output::Unserved(_)
                | Output::Forecast(_)
                | Output::RunBegan
                | Output::Nudged { .. }
                | Output::Pace(_)
                | Output::Links(_)
                | Output::Held(_)
                | Output::Offered(_)
                | Output::Taken(_) => {}
            }
        }
    }
}

fn instant(now: u64) -> Instant {
    Instant(now / (SECOND / 1000))
}
