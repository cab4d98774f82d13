//! What a session is told and what it gives out: its settings, inputs and outputs.

use serde::{Deserialize, Serialize};

use super::{Agreed, Forecast, Memory, Stated, Terms, Versions};
use crate::fault::{Misbehaved, Outcome, Reason};
use crate::fork::ForkProof;
use crate::frame::{Fate, Offered, Openness, Taken};
use crate::grant::{Permitted, RightsProof};
use crate::id::{BlobId, FeedId, LogId, OpId, SiteId, StoreId};
use crate::link::Priority;
use crate::log::{Filling, Verified};
use crate::session::tally::Tally;
use crate::succession::Succession;
use crate::topology::LinkNote;
use crate::transfer::Stored;

/// Who opened the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Dialler,
    Listener,
}

/// What a session is told at its start.
#[derive(Debug, Clone)]
pub struct Config {
    pub side: Side,
    pub me: SiteId,
    /// The site whose key the connection was authenticated by.
    pub peer: SiteId,
    pub store: StoreId,
    /// This site's name, for people.
    pub name: String,
    pub terms: Vec<Terms>,
    /// Which bytes come first here.
    pub priority: Priority,
    /// Why this end lets no session come up now: the link is paused, or its window is closed.
    pub refuses: Option<Reason>,
    /// Lives of the peer's store that are not listened to: another node runs with its key.
    pub barred: Vec<StoreId>,
    /// Whether feeds may come on the link that are not in `terms`.
    pub new_feeds: Openness,
    pub versions: Versions,
    pub memory: Memory,
    pub keys: Keys,
    /// Fresh randomness: reconciliation is salted with it, so that nobody can aim at it beforehand.
    pub salt: [u8; 8],
}

/// The keys of the two sites.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keys {
    /// Those of this site.
    pub mine: Succession,
    /// Those of the peer, as far as they are known.
    pub peer: Succession,
}

/// Something that happened to the session.
#[derive(Debug)]
pub enum Input<'a> {
    /// A frame came on the control stream.
    Control(&'a [u8]),
    /// A frame came on the ops stream.
    Ops(&'a [u8]),
    /// A frame came on a piece stream.
    Piece(&'a [u8]),
    /// What [`Output::Settle`] asked for is done.
    Settled,
    /// This site cannot store what came.
    Refused(Reason),
    /// This site's store failed.
    Failed,
    /// The peer broke the framing below this session.
    Broken(Misbehaved),
    /// Time went on.
    Tick,
    /// The connection is gone.
    Closed,
}

/// Something the session wants done, in order.
#[derive(Debug)]
pub enum Output {
    /// Send this frame on the control stream.
    Send(Vec<u8>),
    /// What the other end says of each feed, whether the two then agree or not.
    Stated(Vec<Stated>),
    /// Both ends agreed: the link is up.
    Up(Agreed),
    /// The peer has everything of these logs up to these lengths.
    PeerHolds(Vec<(LogId, u64)>),
    /// Store these ops durably before the next input: what follows is checked against them.
    Append(Permitted<Verified>),
    /// Store these ops in the gaps of their log, durably before the next input.
    Fill(Permitted<Filling>),
    /// Store these bytes.
    Keep(Stored),
    /// Make durable what was kept, then say [`Input::Settled`].
    Settle,
    /// Remember this of the peer for the next session.
    Remember(Memory),
    /// Keep these grants and revokes of a feed whose ops do not flow here.
    Learn(RightsProof),
    /// The peer took these publishes of this site in and does not serve them.
    Unserved(Vec<UnservedThere>),
    /// Keep this proof that an author signed two histories, durably before the next input.
    Fork(Box<ForkProof>),
    /// Something a person should know.
    Note(Event),
    /// What [`super::Session::forecast`] asked for.
    Forecast(Forecast),
    /// A run began. Its record is the listener's cue too.
    RunBegan,
    /// A run ended.
    RunEnded { outcome: Outcome, tally: Tally },
    /// The peer has news, or somebody there asked for a run.
    Nudged { asked: bool },
    /// The peer takes at most so many bytes a second from here on.
    Pace(Option<u64>),
    /// What the peer tells of links that carry the session's feeds.
    Links(Vec<LinkNote>),
    /// The peer puts these feeds on the link. Answered by [`super::Session::feeds_taken`].
    Offered(Vec<Offered>),
    /// What became of feeds that were offered by [`super::Session::offer_feeds`].
    Taken(Vec<Taken>),
    /// Of the blobs asked for by [`super::Session::ask_held`], those that the peer holds.
    Held(Vec<BlobId>),
    /// Close the connection.
    Close(Outcome),
}

/// A publish of this site's own that the peer holds and does not serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnservedThere {
    pub feed: FeedId,
    pub publish: OpId,
    pub fate: Fate,
    /// The ops that decide there.
    pub by: Vec<OpId>,
}

/// What a session noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An author signed two histories of this log.
    Forked { log: LogId },
    /// A barred life of the peer's called.
    Doubled { life: StoreId },
    /// The peer has seen a later state of this site's store.
    SetBack,
    /// The peer holds more of a log of this site's own than is here.
    Ahead { log: LogId, len: u64 },
    /// The peer asked for bytes that a version which is carried names, and they are not here.
    Lacks { blob: BlobId },
}
