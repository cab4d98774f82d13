//! The wire: every frame on the control, ops and piece streams, and how each is encoded. docs/protocol.md has the grammar.
//!
//! A frame is one type byte and a postcard body; the transport puts its length in front. The types
//! are numbers of their own, not enum positions, so that adding one moves none.

use serde::{Deserialize, Serialize};

use crate::fault::{Misbehaved, Reason};
use crate::filter::Filter;
use crate::fork::Fork;
use crate::id::{BlobId, FeedId, LogId, OpId, SiteId, StoreId};
use crate::limits::{
    FEEDS_PER_LINK_MAX, FORKS_PER_FRAME_MAX, FRAME_BYTES_MAX, LABEL_BYTES_MAX, LINK_NOTES_MAX, OPS_NAMED_MAX,
    OPS_PER_FRAME_MAX, RANGES_PER_FRAME_MAX, UNSERVED_TOLD_MAX, WANTED_ITEMS_MAX,
};
use crate::log::{Batch, Reach, SignedHead};
use crate::op::Genesis;
use crate::outline::Cv;
use crate::package::{FeedKind, check_feed_name};
use crate::reconcile::{Answers, Questions};
use crate::succession::Succession;
use crate::switches::Switches;
use crate::time::Timestamp;
use crate::topology::LinkNote;
use crate::transfer::Ask;

/// The protocol's name in the TLS handshake.
pub const ALPN: &[u8] = b"pktb/1";
/// The pairing protocol's name in the TLS handshake.
pub const ALPN_PAIR: &[u8] = b"pktb-pair/1";
/// The lowest version of the frames that this release speaks.
pub const VERSION_MIN: u16 = 1;
/// The highest version of the frames that this release speaks.
pub const VERSION_MAX: u16 = 1;

/// What the dialler says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub version_min: u16,
    pub version_max: u16,
    pub store: StoreId,
    /// The dialler's name, for people.
    pub name: String,
    pub now: Timestamp,
    pub feeds: Vec<FeedAsk>,
    pub new_feeds: Openness,
    /// What the dialler allows on the link by which the listener would dial it, by feed position, in the dialler's terms.
    pub twins: Vec<(u16, Switches)>,
    /// The dialler's keys.
    pub succession: Succession,
}

/// Whether a site puts feeds on the link that neither end named when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Openness {
    /// It offers what it has.
    pub offers: bool,
    /// It takes up what is offered.
    pub takes: bool,
}

impl Openness {
    /// Whether a feed may come on the link from either end.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.offers && other.takes || self.takes && other.offers
    }
}

/// A feed that a site offers on a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    pub genesis: Genesis,
    /// Its name at the offering site.
    pub feed: String,
    /// What the other end may do, in the other end's terms.
    pub may: Switches,
}

/// What became of an offered feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    pub feed: FeedId,
    /// Why it did not go on the link; none where it did.
    pub refused: Option<Reason>,
}

/// One feed the dialler wants on the link. Later frames name feeds by their position here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedAsk {
    pub feed: FeedId,
    pub kind: FeedKind,
    /// In the dialler's terms.
    pub ask: Switches,
    /// What the dialler lets the link carry of the feed.
    pub filter: Filter,
}

/// What the listener allows of one feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowed {
    /// In the dialler's terms.
    pub switches: Switches,
    /// What the listener lets the link carry of the feed.
    pub filter: Filter,
}

/// What the listener answers. The link is up only after this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    pub version: u16,
    pub store: StoreId,
    /// The listener's name, for people.
    pub name: String,
    pub now: Timestamp,
    /// For each feed asked, in order, what is allowed or why nothing is.
    pub feeds: Vec<Result<Allowed, Reason>>,
    pub new_feeds: Openness,
    /// What the listener asks on the link by which it would dial, by feed position, in the dialler's terms.
    pub twins: Vec<(u16, Switches)>,
    /// The listener's keys.
    pub succession: Succession,
}

/// What a receiver last integrated of a sender's exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    pub store: StoreId,
    /// The sender's store generation at that time.
    pub generation: u64,
    /// The first half of the root of the sender's exported heads.
    pub root: [u8; 16],
}

/// What a sender has to offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exports {
    pub generation: u64,
    pub root: [u8; 16],
}

/// Opens a run. One answer tells whether anything is to be done in either direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Poll {
    /// Whether the dialler takes anything, and what it has.
    pub pull: Option<Pull>,
    /// What the dialler gives.
    pub offer: Option<Exports>,
    /// Only to know what a run would move: the answer begins none.
    pub dry: bool,
}

/// Asks for what is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    pub known: Option<Known>,
    /// Bytes of earlier runs are still to be fetched, so the run is not over even where no op is new.
    pub lacking: bool,
}

/// How the sender will bring the receiver up to date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Supply {
    /// Nothing flows this way on this link.
    Nothing,
    /// The receiver has it all.
    Same,
    /// The ops since what the receiver knows follow on the ops stream.
    Since { generation: u64, root: [u8; 32], heads: Vec<HeadNote> },
    /// What the receiver knows is of another store or time: it should ask ranges.
    Ranges { generation: u64, root: [u8; 32] },
}

/// The length and root of one exported log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadNote {
    /// The feed's position in HELLO.
    pub feed: u16,
    pub author: SiteId,
    pub epoch: u64,
    pub reach: Reach,
}

/// Answers a poll.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Polled {
    pub supply: Supply,
    /// What the listener in turn asks of the dialler.
    pub pull: Option<Pull>,
}

/// Asks for a log from a position on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantOps {
    pub feed: u16,
    pub author: SiteId,
    pub epoch: u64,
    pub from: u64,
}

/// The receiver has stored all ops, durably.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// What the receiver itself exports on this link from here on.
    pub exports: Option<Exports>,
    /// Ops it did not take, by reason.
    pub refused: Vec<(Reason, u64)>,
    /// The sender's own publishes of this run that are not served at the receiver, where no ops flow to the sender that would tell it.
    pub unserved: Vec<Unserved>,
}

/// A publish that was taken in and is not served there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unserved {
    pub feed: u16,
    pub publish: OpId,
    pub fate: Fate,
    /// The ops that decide: where a delete does, a publish that names them all brings the version back.
    pub by: Vec<OpId>,
}

/// Why a publish is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// A delete removes it.
    Deleted,
    /// It came back after a delete with bytes that had not stood there.
    Reused,
    /// A block of its version or bytes.
    Blocked,
    /// Another build of the version won.
    Outbid,
    /// Its author's rights do not reach it, or were taken back.
    Unauthorised,
}

/// Asks who may write in a feed of which no ops flow to the asker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantRights {
    pub feed: u16,
    /// What tells apart sets of grants and revokes: that of what the asker knows.
    pub known: [u8; 16],
}

/// The grants and revokes of a feed, each proved by its author's signed head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    pub feed: u16,
    pub proofs: Vec<Batch>,
}

/// Authors that signed two histories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forks {
    /// Heads held by the sender of this that a history of the receiver's is not that of: it is asked for the proof.
    pub heads: Vec<SignedHead>,
    pub forks: Vec<Fork>,
}

/// Frames of the control stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Hello(Hello),
    Welcome(Welcome),
    Refuse(Reason),
    Poll(Poll),
    Polled(Polled),
    /// The dialler's answer to the listener's pull.
    Supply(Supply),
    Questions(Questions),
    Answers(Answers),
    /// Asks for the heads behind items that reconciliation found.
    HeadsOf(Vec<[u8; 32]>),
    Heads(Vec<HeadNote>),
    WantOps(Vec<WantOps>),
    Applied(Applied),
    Want(Vec<Ask>),
    NotHave(Vec<Ask>),
    /// The receiver has all it wanted of this run; so many blobs could not be had here.
    Finished {
        missing: u64,
    },
    /// The listener asks the dialler to run: it has news, or somebody there waits for a run.
    Nudge {
        asked: bool,
    },
    /// From here on the sender of this takes at most so many bytes a second of pieces.
    Pace {
        bytes_per_s: Option<u64>,
    },
    /// What the sender of this knows of links that carry the session's feeds. Advice for people; no rule uses it.
    Links(Vec<LinkNote>),
    /// Feeds that the sender of this puts on the link.
    Offer(Vec<Offered>),
    /// What became of each offered feed.
    Taken(Vec<Taken>),
    WantRights(WantRights),
    Rights(Rights),
    Forks(Forks),
    /// Asks which of these blobs the other site holds whole and verified.
    WhichHeld(Vec<BlobId>),
    /// Those of the blobs asked for that are held.
    Held(Vec<BlobId>),
}

/// Frames of an ops stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one is read at a time and taken apart at once")]
#[expect(clippy::module_name_repetitions, reason = "Ops alone would read as a list of ops")]
pub enum OpsFrame {
    Ops(Batch),
    /// All ops that were promised have been sent.
    End,
}

/// Frames of a piece stream: bytes that were asked for by hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Piece {
    /// A blob of at most 256 KiB, whole.
    Small { blob: BlobId, bytes: Vec<u8> },
    /// Part of a large blob's outline: the subtree hashes of extents `first..`.
    Outline { blob: BlobId, size: u64, first: u32, extents: Vec<Cv> },
    /// One extent of a large blob, with the subtree hashes of its groups.
    Extent { blob: BlobId, index: u32, groups: Vec<Cv>, bytes: Vec<u8> },
}

fn encoded<T: Serialize>(kind: u8, body: &T) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(postcard::to_allocvec(body).expect("a plain value always encodes into memory"));
    bytes
}

fn split(bytes: &[u8]) -> Result<(u8, &[u8]), Misbehaved> {
    if bytes.len() > FRAME_BYTES_MAX {
        return Err(Misbehaved::FrameTooLong);
    }
    bytes.split_first().map(|(kind, body)| (*kind, body)).ok_or(Misbehaved::FrameMalformed)
}

fn decoded<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, Misbehaved> {
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        Ok(_) | Err(_) => Err(Misbehaved::FrameMalformed),
    }
}

impl Frame {
    /// The frame's bytes, without a length in front.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(body) => encoded(0x01, body),
            Self::Welcome(body) => encoded(0x02, body),
            Self::Refuse(body) => encoded(0x03, body),
            Self::Pace { bytes_per_s } => encoded(0x04, bytes_per_s),
            Self::Links(body) => encoded(0x05, body),
            Self::Offer(body) => encoded(0x08, body),
            Self::Taken(body) => encoded(0x09, body),
            Self::WantRights(body) => encoded(0x06, body),
            Self::Rights(body) => encoded(0x07, body),
            Self::Forks(body) => encoded(0x0a, body),
            Self::Poll(body) => encoded(0x10, body),
            Self::Polled(body) => encoded(0x11, body),
            Self::Supply(body) => encoded(0x12, body),
            Self::Questions(body) => encoded(0x13, body),
            Self::Answers(body) => encoded(0x14, body),
            Self::HeadsOf(body) => encoded(0x15, body),
            Self::Heads(body) => encoded(0x16, body),
            Self::WantOps(body) => encoded(0x17, body),
            Self::Applied(body) => encoded(0x18, body),
            Self::Want(body) => encoded(0x19, body),
            Self::NotHave(body) => encoded(0x1a, body),
            Self::Finished { missing } => encoded(0x1b, missing),
            Self::Nudge { asked } => encoded(0x1c, asked),
            Self::WhichHeld(body) => encoded(0x1e, body),
            Self::Held(body) => encoded(0x1f, body),
        }
    }

    /// A frame from its bytes, with every count and name within its limits.
    ///
    /// # Errors
    /// How the peer broke the rules.
    pub fn decode(bytes: &[u8]) -> Result<Self, Misbehaved> {
        let (kind, body) = split(bytes)?;
        let frame = match kind {
            0x01 => Self::Hello(decoded(body)?),
            0x02 => Self::Welcome(decoded(body)?),
            0x03 => Self::Refuse(decoded(body)?),
            0x04 => Self::Pace { bytes_per_s: decoded(body)? },
            0x05 => Self::Links(decoded(body)?),
            0x08 => Self::Offer(decoded(body)?),
            0x09 => Self::Taken(decoded(body)?),
            0x06 => Self::WantRights(decoded(body)?),
            0x07 => Self::Rights(decoded(body)?),
            0x0a => Self::Forks(decoded(body)?),
            0x10 => Self::Poll(decoded(body)?),
            0x11 => Self::Polled(decoded(body)?),
            0x12 => Self::Supply(decoded(body)?),
            0x13 => Self::Questions(decoded(body)?),
            0x14 => Self::Answers(decoded(body)?),
            0x15 => Self::HeadsOf(decoded(body)?),
            0x16 => Self::Heads(decoded(body)?),
            0x17 => Self::WantOps(decoded(body)?),
            0x18 => Self::Applied(decoded(body)?),
            0x19 => Self::Want(decoded(body)?),
            0x1a => Self::NotHave(decoded(body)?),
            0x1b => Self::Finished { missing: decoded(body)? },
            0x1c => Self::Nudge { asked: decoded(body)? },
            0x1e => Self::WhichHeld(decoded(body)?),
            0x1f => Self::Held(decoded(body)?),
            _ => return Err(Misbehaved::FrameUnknown),
        };
        frame.check()?;
        Ok(frame)
    }

    /// Whether it asks for nothing: no honest site does, and nothing that is counted grows by it.
    fn asks_for_nothing(&self) -> bool {
        if let Self::Want(asks) = self {
            return asks.is_empty() || asks.iter().any(|ask| ask.items() == 0);
        }
        matches!(self, Self::WantOps(wants) if wants.is_empty())
            || matches!(self, Self::HeadsOf(ids) if ids.is_empty())
            || matches!(self, Self::Questions(asked) if asked.questions.is_empty())
    }

    fn check(&self) -> Result<(), Misbehaved> {
        if self.asks_for_nothing() {
            return Err(Misbehaved::FrameMalformed);
        }
        let (found, most, fault) = match self {
            Self::Hello(hello) => {
                label(&hello.name)?;
                hello.feeds.iter().try_for_each(|ask| filter(&ask.filter))?;
                (hello.feeds.len().max(hello.twins.len()), FEEDS_PER_LINK_MAX, Misbehaved::FrameMalformed)
            }
            Self::Welcome(welcome) => {
                label(&welcome.name)?;
                welcome.feeds.iter().flatten().try_for_each(|allowed| filter(&allowed.filter))?;
                (welcome.feeds.len().max(welcome.twins.len()), FEEDS_PER_LINK_MAX, Misbehaved::FrameMalformed)
            }
            Self::Links(notes) => {
                for note in notes {
                    label(&note.teller_name)?;
                    label(&note.peer_name)?;
                    label(&note.feed_name)?;
                }
                (notes.len(), LINK_NOTES_MAX, Misbehaved::FrameMalformed)
            }
            Self::Offer(feeds) => {
                let named = |name: &str| check_feed_name(name).map_err(|_bad| Misbehaved::NameInvalid);
                feeds.iter().try_for_each(|on| named(&on.feed).and_then(|()| named(&on.genesis.name)))?;
                (feeds.len(), FEEDS_PER_LINK_MAX, Misbehaved::FrameMalformed)
            }
            Self::Taken(feeds) => (feeds.len(), FEEDS_PER_LINK_MAX, Misbehaved::FrameMalformed),
            Self::WhichHeld(blobs) | Self::Held(blobs) => {
                (blobs.len(), WANTED_ITEMS_MAX, Misbehaved::WantsFlooded)
            }
            Self::Applied(applied) => {
                if applied.unserved.iter().any(|one| one.by.len() > OPS_NAMED_MAX) {
                    return Err(Misbehaved::FrameMalformed);
                }
                (applied.unserved.len(), UNSERVED_TOLD_MAX, Misbehaved::FrameMalformed)
            }
            Self::Forks(forks) => {
                let most = forks.heads.len().max(forks.forks.len());
                (most, FORKS_PER_FRAME_MAX, Misbehaved::WantsFlooded)
            }
            Self::HeadsOf(ids) => (ids.len(), RANGES_PER_FRAME_MAX, Misbehaved::RangesFlooded),
            Self::Want(asks) | Self::NotHave(asks) => {
                (asks.len(), WANTED_ITEMS_MAX, Misbehaved::WantsFlooded)
            }
            Self::Refuse(_)
            | Self::Poll(_)
            | Self::Polled(_)
            | Self::Supply(_)
            | Self::Questions(_)
            | Self::Answers(_)
            | Self::Heads(_)
            | Self::WantOps(_)
            | Self::WantRights(_)
            | Self::Rights(_)
            | Self::Finished { .. }
            | Self::Nudge { .. }
            | Self::Pace { .. } => return Ok(()),
        };
        if found > most { Err(fault) } else { Ok(()) }
    }
}

fn label(name: &str) -> Result<(), Misbehaved> {
    let bad = name.len() > LABEL_BYTES_MAX || name.chars().any(char::is_control);
    if bad { Err(Misbehaved::NameInvalid) } else { Ok(()) }
}

fn filter(filter: &Filter) -> Result<(), Misbehaved> {
    filter.check().map_err(|_beyond| Misbehaved::FilterInvalid)
}

impl OpsFrame {
    /// The frame's bytes, without a length in front.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Ops(batch) => encoded(0x20, batch),
            Self::End => encoded(0x21, &()),
        }
    }

    /// A frame from its bytes.
    ///
    /// # Errors
    /// How the peer broke the rules.
    pub fn decode(bytes: &[u8]) -> Result<Self, Misbehaved> {
        let (kind, body) = split(bytes)?;
        match kind {
            0x20 => {
                let batch: Batch = decoded(body)?;
                if batch.entries.len() > OPS_PER_FRAME_MAX {
                    return Err(Misbehaved::FrameTooLong);
                }
                Ok(Self::Ops(batch))
            }
            0x21 => decoded::<()>(body).map(|()| Self::End),
            _ => Err(Misbehaved::FrameUnknown),
        }
    }
}

impl Piece {
    /// The frame's bytes, without a length in front.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encoded(0x30, self)
    }

    /// A frame from its bytes.
    ///
    /// # Errors
    /// How the peer broke the rules.
    pub fn decode(bytes: &[u8]) -> Result<Self, Misbehaved> {
        match split(bytes)? {
            (0x30, body) => decoded(body),
            _ => Err(Misbehaved::FrameUnknown),
        }
    }
}

impl Piece {
    /// The blob it is of.
    #[must_use]
    pub const fn blob(&self) -> BlobId {
        match self {
            Self::Small { blob, .. } | Self::Outline { blob, .. } | Self::Extent { blob, .. } => *blob,
        }
    }

    /// Content bytes it carries.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        let bytes = match self {
            Self::Small { bytes, .. } | Self::Extent { bytes, .. } => bytes.len(),
            Self::Outline { .. } => 0,
        };
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

impl HeadNote {
    /// The log it is of, where the feed's position in HELLO is that of `feeds`.
    #[must_use]
    pub fn log(&self, feeds: &[FeedId]) -> Option<LogId> {
        let feed = *feeds.get(usize::from(self.feed))?;
        Some(LogId { feed, author: self.author, epoch: self.epoch })
    }
}

#[cfg(test)]
mod tests;
