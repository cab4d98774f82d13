//! A peer that keeps no rules: it speaks raw frames over real QUIC to an honest site, by `frame`, `log` and `op` alone.

use std::collections::VecDeque;

use ed25519_dalek::SigningKey;
use packetboat::identity::SiteKey;
use protocol::filter::Filter;
use protocol::frame::{
    Allowed, Exports, FeedAsk, Frame, HeadNote, Hello, OpsFrame, Piece, Poll, Pull, Supply, Welcome,
};
use protocol::id::{FeedId, LogId, SiteId, StoreId};
use protocol::log::{Batch, Mmr, Verified, head_item_bytes};
use protocol::op::Body;
use protocol::package::FeedKind;
use protocol::session::Side;
use protocol::summary::{Summary, Tree};
use protocol::switches::Switches;
use protocol::time::{Hlc, Timestamp};
use quinn_proto::{Dir, StreamId};

use crate::entropy::Entropy;
use crate::forgery::note;
use crate::net::{Line, SECOND};
use crate::options::Share;
use crate::quic::{Heard, Quic, Talk};
use crate::site::{LinkEnd, Site, WALL_START_MS, genesis, grant_of};

const HONEST: usize = 0;
const FRIEND: usize = 1;
const CHEAT: usize = 2;
const OPS: u8 = 1;
const PIECE: u8 = 2;

/// The cheat's end of its connection.
struct Lane {
    talk: Talk,
    control: StreamId,
    ops: Option<StreamId>,
    pieces: Option<StreamId>,
}

/// Two honest sites that mirror each other, and the cheat, which dials the first.
pub struct Rig {
    now: u64,
    quic: Quic,
    sites: Vec<Site>,
    key: SiteKey,
    feed: FeedId,
    line: Option<Lane>,
    accepted: Option<Talk>,
    held: Vec<u8>,
    inbox: VecDeque<Frame>,
    /// The cheat's own log as it has told it.
    told: Mmr,
}

impl std::fmt::Debug for Rig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rig").field("now", &self.now).finish_non_exhaustive()
    }
}

impl Rig {
    /// `allow`: what the honest site lets flow on its link with the cheat, in its own terms. `author`: whether the cheat may write.
    #[must_use]
    pub fn new(allow: Switches, author: bool) -> Self {
        let entropy = Entropy::new(1);
        let mut quic = Quic::new(entropy.fork("quic"));
        let mut sites = vec![Site::new("Honest", HONEST, &entropy), Site::new("Friend", FRIEND, &entropy)];
        let key = SiteKey::from_seed(&entropy.fork("cheat").key());
        for site in &sites {
            quic.boot(site.host, &site.key);
        }
        quic.boot(CHEAT, &key);
        quic.net.lay(HONEST, FRIEND, Line::default());
        quic.net.lay(HONEST, CHEAT, Line::default());
        let origin = genesis(sites.first().map_or(SiteId([0; 32]), Site::id));
        let feed = origin.feed_id();
        let end = |name: &str, peer_host, peer, switches, side| {
            LinkEnd::new(name.to_owned(), peer_host, peer, switches, side)
        };
        let ids: Vec<SiteId> = sites.iter().map(Site::id).collect();
        if let ([honest, friend], [honest_id, friend_id]) = (sites.as_mut_slice(), ids.as_slice()) {
            honest.links.push(end("cheat", CHEAT, key.site_id(), allow, Side::Listener));
            honest.links.push(end("friend", FRIEND, *friend_id, Switches::MIRROR, Side::Listener));
            friend.links.push(end("honest", HONEST, *honest_id, Switches::MIRROR, Side::Dialler));
            honest.join(origin.clone());
            friend.join(origin);
            let write = |to| Body::Grant(grant_of(to, Share::All, None));
            honest.say(0, feed, write(*friend_id)).expect("the disk has room");
            if author {
                honest.say(0, feed, write(key.site_id())).expect("the disk has room");
            }
            drop(honest.publish(0, feed, "honest", b"work"));
        }
        let (line, held, inbox, told) = (None, Vec::new(), VecDeque::new(), Mmr::default());
        Self { now: SECOND, quic, sites, key, feed, line, accepted: None, held, inbox, told }
    }

    /// The feed that all share.
    #[must_use]
    pub const fn feed(&self) -> FeedId {
        self.feed
    }

    /// The honest site.
    ///
    /// # Panics
    /// Never: it was made with the rig.
    #[must_use]
    pub fn honest(&self) -> &Site {
        self.sites.first().expect("two sites were made")
    }

    /// The state root, the length of each log and the ops in it: what no cheat may change.
    #[must_use]
    pub fn state(&self) -> String {
        let honest = self.honest();
        let heads = honest.store().heads(self.feed).unwrap_or_default();
        let root = honest.store().state_root(self.feed, honest.look(self.now));
        format!("{root:?} {heads:?}")
    }

    /// Lets time pass.
    pub fn pass(&mut self, nanos: u64) {
        let until = self.now + nanos;
        while self.now < until {
            let timer = self.sites.iter().filter_map(Site::wake_at).min();
            let due = self.quic.next_due(self.now);
            let next = timer.into_iter().chain(due).min().unwrap_or(until).min(until);
            self.now = next.max(self.now + 1);
            self.quic.step(self.now);
            self.listen();
        }
    }

    fn listen(&mut self) {
        for site in &mut self.sites {
            let mut stirred = site.wake_at().is_some_and(|due| due <= self.now);
            while let Some(heard) = self.quic.hear(site.host) {
                match heard {
                    Heard::Connected(talk) => site.connected(self.now, &mut self.quic, talk, None),
                    Heard::Accepted(talk, from) => site.connected(self.now, &mut self.quic, talk, Some(from)),
                    Heard::Lost(talk) => site.lost(self.now, &mut self.quic, talk),
                    Heard::Stirred(_) => stirred = true,
                }
            }
            if stirred {
                site.pump(self.now, &mut self.quic);
            }
        }
        while let Some(heard) = self.quic.hear(CHEAT) {
            if let Heard::Accepted(talk, _) = heard {
                self.accepted = Some(talk);
            }
        }
        let Some(line) = &self.line else { return };
        self.quic.read(line.talk, line.control, &mut self.held);
        while let Some(bytes) = crate::site::next_frame(&mut self.held) {
            self.inbox.extend(bytes.and_then(|bytes| Frame::decode(&bytes)).ok());
        }
    }

    /// The honest site dials the cheat, asking for `ask`.
    ///
    /// # Panics
    /// When the two cannot connect, which is no cheat's doing.
    pub fn be_dialled(&mut self, ask: Switches) {
        let end = LinkEnd::new("dialled".to_owned(), CHEAT, self.key.site_id(), ask, Side::Dialler);
        let now = self.now;
        if let Some(honest) = self.sites.first_mut() {
            honest.links.push(end);
            let link = honest.links.len() - 1;
            honest.sync(now, &mut self.quic, link);
        }
        self.pass(SECOND);
        let talk = self.accepted.expect("the honest site dialled");
        let control = self.quic.accept(talk, Dir::Bi).expect("its control stream is open");
        self.line = Some(Lane { talk, control, ops: None, pieces: None });
        self.pass(SECOND / 2);
    }

    /// WELCOME, for so many feeds.
    pub fn welcome(&mut self, feeds: usize) {
        let allowed = Allowed { switches: Switches::MIRROR, filter: Filter::default() };
        let welcome = Welcome {
            version: 1,
            store: StoreId([9; 8]),
            name: "Cheat".to_owned(),
            now: Timestamp(WALL_START_MS),
            feeds: vec![Ok(allowed); feeds],
            new_feeds: Default::default(),
            twins: Vec::new(),
            succession: Default::default(),
        };
        self.say(&Frame::Welcome(welcome));
    }

    /// Connects to the honest site.
    ///
    /// # Panics
    /// When the two cannot connect, which is no cheat's doing.
    pub fn dial(&mut self) {
        let honest = self.honest().id();
        let talk = self.quic.dial(self.now, CHEAT, HONEST, honest).expect("the line stands");
        self.pass(SECOND);
        let control = self.quic.open(talk, Dir::Bi, 0).expect("a stream may be opened");
        self.held.clear();
        self.inbox.clear();
        self.line = Some(Lane { talk, control, ops: None, pieces: None });
    }

    fn write(&mut self, stream: StreamId, bytes: &[u8]) {
        let Some(talk) = self.line.as_ref().map(|line| line.talk) else { return };
        let mut rest = bytes;
        for _ in 0..10_000 {
            let written = self.quic.write(talk, stream, rest).min(rest.len());
            rest = rest.get(written..).unwrap_or_default();
            if rest.is_empty() || !self.quic.stands(talk) {
                break;
            }
            self.pass(SECOND / 50);
        }
        self.quic.flush(self.now, CHEAT);
        self.pass(SECOND / 2);
    }

    /// Puts bytes on the control stream as they are.
    pub fn control_bytes(&mut self, bytes: &[u8]) {
        if let Some(stream) = self.line.as_ref().map(|line| line.control) {
            self.write(stream, bytes);
        }
    }

    /// Sends one frame's bytes on the control stream.
    pub fn control_frame(&mut self, frame: &[u8]) {
        let mut bytes = crate::site::varint(frame.len());
        bytes.extend_from_slice(frame);
        self.control_bytes(&bytes);
    }

    /// Says something on the control stream.
    pub fn say(&mut self, frame: &Frame) {
        self.control_frame(&frame.encode());
    }

    /// Sends a frame on the ops stream.
    pub fn ops(&mut self, frame: &OpsFrame) {
        let bytes = frame.encode();
        self.on_own_stream(OPS, &bytes);
    }

    /// Sends a frame on a piece stream.
    pub fn piece(&mut self, piece: &Piece) {
        let bytes = piece.encode();
        self.on_own_stream(PIECE, &bytes);
    }

    fn on_own_stream(&mut self, kind: u8, frame: &[u8]) {
        let Some(line) = &mut self.line else { return };
        let slot = if kind == OPS { &mut line.ops } else { &mut line.pieces };
        let mut bytes = Vec::new();
        if slot.is_none() {
            *slot = self.quic.open(line.talk, Dir::Uni, 0);
            bytes.push(kind);
        }
        let Some(stream) = *slot else { return };
        bytes.extend(crate::site::varint(frame.len()));
        bytes.extend_from_slice(frame);
        self.write(stream, &bytes);
    }

    /// The first frame that came and is what is looked for; those before it are forgotten.
    pub fn heard<T>(&mut self, pick: impl Fn(&Frame) -> Option<T>) -> Option<T> {
        self.pass(SECOND);
        while let Some(frame) = self.inbox.pop_front() {
            if let Some(found) = pick(&frame) {
                return Some(found);
            }
        }
        None
    }

    /// HELLO, asking for everything, under a name.
    pub fn hello(&mut self, name: &str) {
        let feed = FeedAsk {
            feed: self.feed,
            kind: FeedKind::Raw,
            ask: Switches::MIRROR,
            filter: Filter::default(),
        };
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            store: StoreId([9; 8]),
            name: name.to_owned(),
            now: Timestamp(WALL_START_MS),
            feeds: vec![feed],
            new_feeds: Default::default(),
            twins: Vec::new(),
            succession: Default::default(),
        };
        self.say(&Frame::Hello(hello));
    }

    /// Opens a run in which the cheat has something to give.
    pub fn poll(&mut self) {
        self.say(&Frame::Poll(Poll {
            dry: false,
            pull: None,
            offer: Some(Exports { generation: 1, root: [7; 16] }),
        }));
    }

    /// Dials, says HELLO and opens a run, as an honest dialler would.
    pub fn begin(&mut self) {
        self.dial();
        self.hello("Cheat");
        self.poll();
    }

    /// The same, asking for what the honest site has as well, so that the run goes on.
    pub fn begin_pulling(&mut self) {
        self.dial();
        self.hello("Cheat");
        let (pull, offer) = (Pull { known: None, lacking: false }, Exports { generation: 1, root: [7; 16] });
        self.say(&Frame::Poll(Poll { dry: false, pull: Some(pull), offer: Some(offer) }));
    }

    /// Tells of heads, with the root they add up to.
    pub fn supply(&mut self, heads: Vec<HeadNote>) {
        let mut all = self.set_of(&heads);
        let root = all.root().0;
        self.supply_under(heads, root);
    }

    /// Tells of heads, with any root.
    pub fn supply_under(&mut self, heads: Vec<HeadNote>, root: [u8; 32]) {
        self.say(&Frame::Supply(Supply::Since { generation: 1, root, heads }));
    }

    /// The heads as the set that polls and ranges are about.
    #[must_use]
    pub fn set_of(&self, heads: &[HeadNote]) -> Summary {
        let item = |head: &HeadNote| {
            let log = LogId { feed: self.feed, author: head.author, epoch: head.epoch };
            Tree::Heads.item(&head_item_bytes(log, &head.reach))
        };
        heads.iter().map(item).collect()
    }

    /// The log in which the cheat writes.
    #[must_use]
    pub fn log(&self) -> LogId {
        LogId { feed: self.feed, author: self.key.site_id(), epoch: 1 }
    }

    /// Signs a batch that follows what was told, `ahead_ms` in the future. The cheat's log goes on from there if `goes_on`.
    pub fn batch(&mut self, bodies: Vec<Body>, ahead_ms: u64, goes_on: bool) -> Batch {
        let log = self.log();
        let key = SigningKey::from_bytes(&self.key.signing_key().to_bytes());
        let wall = Timestamp(WALL_START_MS + self.now / (SECOND / 1000) + ahead_ms);
        let said = Verified::author(&key, log, &self.told, bodies, Hlc::default(), wall);
        if goes_on {
            self.told = said.after().clone();
        }
        said.to_batch()
    }

    /// Signs a history of its own from the beginning, whatever was told before.
    pub fn first_batch(&mut self, bodies: Vec<Body>) -> Batch {
        let told = std::mem::take(&mut self.told);
        let batch = self.batch(bodies, 0, false);
        self.told = told;
        batch
    }

    /// A whole run that brings a batch.
    pub fn push(&mut self, batch: &Batch) {
        self.supply(vec![note(batch)]);
        self.ops(&OpsFrame::Ops(batch.clone()));
        self.ops(&OpsFrame::End);
    }

    /// The two honest sites go on as if nothing had been: what the friend publishes arrives. Tells whether it did.
    #[must_use]
    pub fn others_go_on(&mut self) -> bool {
        let (now, feed) = (self.now, self.feed);
        let name = format!("after-{now}");
        let Some(friend) = self.sites.get_mut(FRIEND) else { return false };
        friend.sync(now, &mut self.quic, 0);
        self.pass(5 * SECOND);
        let now = self.now;
        let Some(friend) = self.sites.get_mut(FRIEND) else { return false };
        if friend.publish(now, feed, &name, b"more").is_err() {
            return false;
        }
        friend.sync(now, &mut self.quic, 0);
        self.pass(5 * SECOND);
        let item = self.honest().item(self.now, feed, &name);
        item.and_then(|item| item.winner).is_some_and(|winner| self.honest().is_whole(winner))
    }
}
