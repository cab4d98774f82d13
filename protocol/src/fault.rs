//! What can go wrong in a conversation and whose fault it is: the peer broke a rule, a rule said no, or the world cut in.

use serde::{Deserialize, Serialize};

/// A way for a peer to break the rules. It ends the session; the timetable backs off for long.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, thiserror::Error,
)]
pub enum Misbehaved {
    #[error("a frame longer than the limit")]
    FrameTooLong,
    #[error("a frame that does not decode")]
    FrameMalformed,
    #[error("a frame of a type this version does not know")]
    FrameUnknown,
    #[error("a stream that ended inside a frame")]
    FrameTruncated,
    #[error("a frame that has no place here")]
    FrameUnexpected,
    #[error("a feed that is not part of this session")]
    FeedNotAgreed,
    #[error("a run of ops that does not verify")]
    BatchInvalid,
    #[error("a history other than the one its author signed before")]
    LogForked,
    #[error("ops that the agreed permissions hold back")]
    OpsNotPermitted,
    #[error("range answers that contradict themselves")]
    RangesInvalid,
    #[error("more ranges than a run may take")]
    RangesFlooded,
    #[error("heads that do not add up to the root it told")]
    RootContradicted,
    #[error("bytes that do not have the hash they were asked by")]
    BytesWrong,
    #[error("bytes nobody asked for")]
    BytesUnasked,
    #[error("more requests for bytes than a peer may have open")]
    WantsFlooded,
    #[error("a name outside the rules")]
    NameInvalid,
    #[error("no verified progress for too long")]
    Stalled,
    #[error("a filter outside its limits")]
    FilterInvalid,
}

/// Why a rule said no. Nobody is at fault; a person may want to change something.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, thiserror::Error,
)]
pub enum Reason {
    #[error("both ends have the same site key: a feed cannot be replicated to its own site")]
    SameSite,
    #[error("the other site does not know this site's key: pair first")]
    SiteUnknown,
    #[error("the other site has no such feed on this link")]
    FeedUnknown,
    #[error("the feed is of another kind at the other site")]
    KindDiffers,
    #[error("this link asks for nothing: its mode is off")]
    NothingAsked,
    #[error("the other site allows none of what this link asks")]
    NothingAllowed,
    #[error("the two sites have no protocol version in common: update the older one")]
    VersionsApart,
    #[error("the link is paused at the other site")]
    LinkPaused,
    #[error("the other site withdrew what it had granted")]
    GrantWithdrawn,
    #[error("the link does not let additions in")]
    AddsHeldBack,
    #[error("the link does not let deletions in")]
    DeletesHeldBack,
    #[error("its author may not write in this feed")]
    AuthorNotAllowed,
    #[error(
        "the other site was set back and grants nothing new before it heard what it had said: run `packetboat sync` there, or `packetboat resume-writing` where no site is left that can tell it"
    )]
    Restored,
    #[error("no such ticket is open")]
    TicketUnknown,
    #[error("the ticket was used before")]
    TicketUsed,
    #[error("the ticket has expired")]
    TicketExpired,
    #[error("the ticket's secret was not proved")]
    TicketNotProved,
    #[error("too many pairing attempts in the last minute")]
    PairingTooOften,
    #[error("the other site is busy with a run of this link")]
    Busy,
    #[error("the other site is stopping")]
    Stopping,
    #[error("the receiving site's disk takes no more bytes")]
    DiskFull,
    #[error("the two sites' filters have nothing in common")]
    FiltersApart,
    #[error("what was granted on this link has expired")]
    GrantExpired,
    #[error("outside the window in which the other site lets the link run")]
    OutsideWindow,
    #[error("its name is that of another feed at the receiving site")]
    NameTaken,
    #[error("the link carries as many feeds as a link can")]
    LinkFull,
    #[error("its author signed two histories: its log waits until the feed's origin says how far it counts")]
    Fork,
    #[error(
        "two nodes run with this site's key, or did a quarter of an hour ago: stop the one that is a copy, and this ends by itself"
    )]
    SiteCopied,
    #[error("the other site revoked this site's key")]
    KeyRevoked,
    #[error(
        "another key is known to follow this site's: one of the two was named by a thief of the older key; where this site is the one to be \
         trusted, the other forgets what it knows by key revoke and key readmit, and pairs anew"
    )]
    KeyContested,
    #[error("the other site knows a newer key of this site than the one it shows")]
    KeyOutdated,
}

/// How a session or run ended. The timetable backs off by this alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Everything the two sites allow each other has arrived.
    Done,
    /// A rule said no.
    Refused(Reason),
    /// The peer broke a rule.
    Misbehaved(Misbehaved),
    /// The connection or the process ended first. What arrived is kept; the next run goes on from there.
    Interrupted,
    /// This site's own disk or code failed.
    Fault,
}

impl Outcome {
    /// The number a QUIC connection is closed with, which the other end reads the outcome from.
    #[must_use]
    pub const fn close_code(self) -> u32 {
        match self {
            Self::Done => 0,
            Self::Refused(_) => 1,
            Self::Misbehaved(_) => 2,
            Self::Interrupted => 3,
            Self::Fault => 4,
        }
    }
}
