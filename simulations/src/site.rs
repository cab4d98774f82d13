//! One site: the real store on a disk in memory, the real session over real QUIC. It does what the node's pump does, without threads.

mod wire;

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use packetboat::identity::SiteKey;
use packetboat::store::disk::Disk;
use packetboat::store::engine;
use packetboat::store::{BlobState, FeedRecord, Look, OpenError, Options, Store};
use protocol::fault::Outcome;
use protocol::feed::Standing;
use protocol::filter::Filter;
use protocol::grant::Permitted;
use protocol::id::{FeedId, LogId, SiteId};
use protocol::log::{Mmr, Verified};
use protocol::manifest::{File, Manifest};
use protocol::op::{Body, Delete, Genesis, Grant, Publish, Rights};
use protocol::package::{Coordinate, FeedKind};
use protocol::session::tally::Tally;
use protocol::session::{Config, Input, Output, Session, Side, Terms};
use protocol::switches::Switches;
use protocol::time::{Hlc, Instant, Timestamp};

use crate::disk::InMemory;
use crate::entropy::Entropy;
use crate::net::SECOND;
use crate::quic::{Quic, Talk};
use wire::{Arrival, Wire};

/// The wall clock at the start of every run.
pub const WALL_START_MS: u64 = 1_795_000_000_000;
/// Packs are small here, so that several are sealed in a run.
const PACK_BYTES: u64 = 1 << 20;
const CHECKPOINT_BYTES: u64 = 1 << 18;

/// One end of one link.
#[derive(Debug, Clone)]
pub struct LinkEnd {
    pub name: &'static str,
    /// The host at the other end.
    pub peer_host: usize,
    pub peer: SiteId,
    pub switches: Switches,
    pub side: Side,
}

struct Conversation {
    talk: Talk,
    link: usize,
    session: Session,
    wire: Wire,
}

/// One site.
pub struct Site {
    pub name: &'static str,
    pub host: usize,
    pub key: SiteKey,
    disk: InMemory,
    index: engine::InMemory,
    store: Option<Store>,
    pub links: Vec<LinkEnd>,
    conversations: Vec<Conversation>,
    /// Milliseconds this site's clock is ahead of the world's; may be negative.
    pub clock_ahead_ms: i64,
    clock: Hlc,
    pub ended: Vec<(Outcome, Tally)>,
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
            key,
            disk: InMemory::default(),
            index: engine::InMemory::default(),
            store: None,
            links: Vec::new(),
            conversations: Vec::new(),
            clock_ahead_ms: 0,
            clock: Hlc::default(),
            ended: Vec::new(),
            entropy,
        };
        site.open();
        site
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

    fn open(&mut self) {
        let mut options = Options::new(u128::from(self.entropy.next()));
        options.pack_bytes = PACK_BYTES;
        options.checkpoint_bytes = CHECKPOINT_BYTES;
        options.reserve_bytes = 0;
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let opened: Result<Store, OpenError> = Store::open_on(disk, Box::new(self.index.clone()), options);
        self.store = Some(opened.expect("a store opens after every loss of power"));
    }

    /// Power goes and comes back: unsynced bytes are gone, connections too.
    pub fn lose_power(&mut self, quic: &mut Quic) {
        self.conversations.clear();
        self.store = None;
        self.disk.lose_power(&mut self.entropy);
        self.open();
        quic.boot(self.host, &self.key);
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

    /// Makes the feed known here.
    pub fn join(&self, genesis: Genesis) {
        let record = FeedRecord {
            name: genesis.name.clone(),
            genesis,
            strict: false,
            local_wins: false,
            open_reads: false,
        };
        self.store().put_feed(&record).expect("the disk has room");
    }

    /// Signs and stores one op of this site's own.
    pub fn say(&mut self, now: u64, feed: FeedId, body: Body) {
        let log = LogId { feed, author: self.id(), epoch: 1 };
        let held = self
            .store()
            .log_state(log)
            .expect("the store reads")
            .map_or_else(Mmr::default, |state| state.after);
        let signing = SigningKey::from_bytes(&self.key.signing_key().to_bytes());
        let said = Verified::author(&signing, log, &held, vec![body], self.clock, self.wall(now));
        if let Some(last) = said.ops().last() {
            self.clock = last.op.stamp;
        }
        let permitted = Permitted::local(said, false).expect("no replica here is strict");
        self.store().append(&[permitted]).expect("the disk has room");
    }

    /// Lets another site write in the feed.
    pub fn grant(&mut self, now: u64, feed: FeedId, grantee: SiteId) {
        let grant = Grant {
            grantee,
            label: String::new(),
            rights: Rights::WRITE,
            prefix: String::new(),
            expires: None,
        };
        self.say(now, feed, Body::Grant(grant));
    }

    /// Publishes a package of one file.
    pub fn publish(&mut self, now: u64, feed: FeedId, name: &str, content: &[u8]) {
        let mut ingest = self.store().ingest();
        ingest.write(content).expect("the disk has room");
        let stored = ingest.finish().expect("the disk has room");
        self.store().sync().expect("the disk syncs");
        let file =
            File { name: "file".to_owned(), blob: stored.blob, size: stored.size, sha256: stored.sha256 };
        let coordinate = Coordinate::new(FeedKind::Raw, name, "1").expect("a plain name");
        let manifest = Manifest::of(vec![file]).expect("one file");
        let body = Publish { coordinate, manifest, supersedes: Vec::new(), provenance: None };
        self.say(now, feed, Body::Publish(body));
    }

    /// Deletes a package.
    pub fn delete(&mut self, now: u64, feed: FeedId, name: &str) {
        let coordinate = Coordinate::new(FeedKind::Raw, name, "1").expect("a plain name");
        let facts = self.store().facts(feed, name, "1").expect("the store reads");
        let publishes = facts.iter().filter(|named| matches!(named.op.body, Body::Publish(_)));
        let saw = publishes.map(|named| named.id).collect();
        self.say(now, feed, Body::Delete(Delete { coordinate, saw, reason: String::new() }));
    }

    /// Names of what is served here with all its bytes, local packages aside.
    #[must_use]
    pub fn ready(&self, now: u64, feed: FeedId) -> Vec<String> {
        let items = self.store().items(feed, "", None, usize::MAX, self.look(now)).expect("the store reads");
        let whole = |winner| {
            let op = self.store().op(winner).ok().flatten();
            let Some(Body::Publish(publish)) = op.map(|named| named.op.body) else { return false };
            publish
                .manifest
                .files
                .iter()
                .all(|file| matches!(self.store().blob_state(file.blob), Ok(BlobState::Complete { .. })))
        };
        items
            .into_iter()
            .filter(|(_, item)| {
                item.standing == Standing::Served && !item.local && item.winner.is_some_and(whole)
            })
            .map(|(at, _)| at.name)
            .collect()
    }

    /// Begins a run of an outgoing link, dialling if no connection stands.
    pub fn sync(&mut self, now: u64, quic: &mut Quic, link: usize) {
        self.conversations.retain(|one| !one.session.is_closed());
        if let Some(at) = self.conversations.iter().position(|one| one.link == link) {
            let view = self.store().view(self.look(now));
            if let Some(one) = self.conversations.get_mut(at) {
                one.session.run(instant(now), &view);
            }
            self.pump(now, quic);
            return;
        }
        let Some(end) = self.links.get(link).cloned() else { return };
        let Some(talk) = quic.dial(now, self.host, end.peer_host, end.peer) else { return };
        let mut session = self.session(now, &end);
        let view = self.store().view(self.look(now));
        session.run(instant(now), &view);
        self.conversations.push(Conversation { talk, link, session, wire: Wire::default() });
    }

    fn session(&mut self, now: u64, end: &LinkEnd) -> Session {
        let store = self.store();
        let feeds = store.feeds().expect("the store reads");
        let terms = feeds.iter().map(|(feed, record)| Terms {
            feed: *feed,
            kind: record.genesis.kind,
            switches: end.switches,
            filter: Filter::default(),
            expires: None,
        });
        let config = Config {
            side: end.side,
            me: self.id(),
            peer: end.peer,
            store: store.id(),
            name: self.name.to_owned(),
            terms: terms.collect(),
            offers: Vec::new(),
            paused: false,
            memory: store.memory(end.peer, end.name).expect("the store reads"),
            salt: self.entropy.next().to_le_bytes(),
        };
        Session::new(config, instant(now), self.wall(now))
    }

    /// A connection of this host stands, or another site opened one.
    pub fn connected(&mut self, now: u64, quic: &mut Quic, talk: Talk, from: Option<SiteId>) {
        if let Some(site) = from {
            let known = self.links.iter().position(|end| end.peer == site && end.side == Side::Listener);
            let Some(link) = known else {
                quic.close(now, talk, 1);
                return;
            };
            let Some(end) = self.links.get(link).cloned() else { return };
            // The other site came anew: its old connection is dead, whether this end knows or not.
            self.conversations.retain(|one| one.link != link);
            let session = self.session(now, &end);
            self.conversations.push(Conversation { talk, link, session, wire: Wire::default() });
        }
        self.pump(now, quic);
    }

    /// A connection is gone.
    pub fn lost(&mut self, now: u64, quic: &mut Quic, talk: Talk) {
        if let Some(at) = self.conversations.iter().position(|one| one.talk == talk) {
            self.feed_session(now, quic, at, Input::Closed);
        }
        self.conversations.retain(|one| one.talk != talk);
    }

    /// When a session wants to be woken, in nanoseconds.
    #[must_use]
    pub fn wake_at(&self) -> Option<u64> {
        let due = self.conversations.iter().filter_map(|one| one.session.wake_at());
        due.min().map(|at| at.0.saturating_mul(SECOND / 1000))
    }

    /// Moves everything that can move: arrived frames in, outputs done, frames out.
    pub fn pump(&mut self, now: u64, quic: &mut Quic) {
        for at in 0..self.conversations.len() {
            let due = self.conversations.get(at).and_then(|one| one.session.wake_at());
            if due.is_some_and(|due| due <= instant(now)) {
                self.feed_session(now, quic, at, Input::Tick);
            }
            self.converse(now, quic, at);
        }
        self.conversations.retain(|one| !one.session.is_closed() || one.wire.has_more(quic, one.talk));
        quic.flush(now, self.host);
    }

    fn converse(&mut self, now: u64, quic: &mut Quic, at: usize) {
        loop {
            self.drain(now, quic, at);
            let Some(one) = self.conversations.get_mut(at) else { return };
            let awaits_ops = one.session.awaits_ops();
            let side = self.links.get(one.link).map_or(Side::Listener, |end| end.side);
            match one.wire.next(quic, one.talk, side, awaits_ops) {
                Some(Arrival::Control(frame)) => self.feed_session(now, quic, at, Input::Control(&frame)),
                Some(Arrival::Ops(frame)) => self.feed_session(now, quic, at, Input::Ops(&frame)),
                Some(Arrival::Piece(frame)) => self.feed_session(now, quic, at, Input::Piece(&frame)),
                None if self.send(now, quic, at) => {}
                None => return,
            }
        }
    }

    /// Sends a frame of ops or bytes if a stream has room. Tells whether anything was sent.
    fn send(&mut self, now: u64, quic: &mut Quic, at: usize) -> bool {
        let view = self.store().view(self.look(now));
        let Some(one) = self.conversations.get_mut(at) else { return false };
        let talk = one.talk;
        if one.wire.ops_have_room(quic, talk)
            && let Some(frame) = one.session.poll_ops(&view)
        {
            one.wire.send_ops(quic, talk, &frame);
            return true;
        }
        if let Some(lane) = one.wire.lane_with_room(quic, talk) {
            if let Some(frame) = one.session.poll_piece(instant(now), &view) {
                one.wire.send_piece(quic, talk, lane, &frame);
                return true;
            }
            self.drain(now, quic, at);
        }
        false
    }

    fn feed_session(&mut self, now: u64, quic: &mut Quic, at: usize, input: Input<'_>) {
        let view = self.store().view(self.look(now));
        let wall = self.wall(now);
        let Some(one) = self.conversations.get_mut(at) else { return };
        one.session.handle(instant(now), wall, input, &view);
        self.drain(now, quic, at);
    }

    /// Does what the session asks for.
    fn drain(&mut self, now: u64, quic: &mut Quic, at: usize) {
        while let Some(output) = self.conversations.get_mut(at).and_then(|one| one.session.poll()) {
            let Some((talk, link)) = self.conversations.get(at).map(|one| (one.talk, one.link)) else {
                return;
            };
            let Some(end) = self.links.get(link) else { return };
            match output {
                Output::Send(frame) => {
                    let side = end.side;
                    if let Some(one) = self.conversations.get_mut(at) {
                        one.wire.send_control(quic, talk, side, &frame);
                    }
                }
                Output::Append(run) => {
                    let wall = self.wall(now);
                    let stamps = run.inner().ops().iter().map(|named| named.op.stamp);
                    self.clock = stamps.fold(self.clock, |clock, stamp| clock.seen(stamp, wall));
                    self.store().append(&[run]).expect("the disk has room");
                }
                Output::Keep(stored) => self.store().keep(&stored).expect("the disk has room"),
                Output::Settle => {
                    self.store().sync().expect("the disk syncs");
                    self.feed_session(now, quic, at, Input::Settled);
                }
                Output::Remember(memory) => {
                    self.store().remember(end.peer, end.name, &memory).expect("the disk has room");
                }
                Output::RunEnded { outcome, tally } => self.ended.push((outcome, tally)),
                Output::Close(outcome) => {
                    quic.flush(now, self.host);
                    quic.close(now, talk, outcome.close_code());
                }
                Output::Stated(_)
                | Output::PeerHolds(_)
                | Output::Up(_)
                | Output::Forecast(_)
                | Output::RunBegan
                | Output::Nudged
                | Output::Note(_) => {}
            }
        }
    }
}

fn instant(now: u64) -> Instant {
    Instant(now / (SECOND / 1000))
}
