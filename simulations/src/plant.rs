//! Bugs put in on purpose, where a site meets its disk, its index, its lines and its people: each must be found, or the simulation is blind.

use clap::ValueEnum;

/// Seeds within which each must be found.
pub const SEEDS_MAX: u64 = 300;

/// One bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Plant {
    /// A pack is never synced.
    PackSyncSkipped,
    /// A pack is not synced where ops were written to it last.
    LogSyncSkipped,
    /// The name of a new pack is not synced.
    FolderSyncSkipped,
    /// The index drops what it is given a second time.
    SecondCopiesDropped,
    /// The index is never flushed, and is trusted to have seen the newest checkpoint all the same.
    IndexFlushSkipped,
    /// A sync that failed counts as done.
    FailedSyncIgnored,
    /// A write that found no room counts as done.
    FullDiskIgnored,
    /// The index loses one op about a package whenever the program starts.
    DeleteForgottenAtStart,
    /// What stands at a coordinate is not worked out anew when an op about it arrives.
    StaleViewServed,
    /// A peer is told that all is durable before the disk has synced.
    SettledBeforeSync,
    /// An op is acknowledged though its append failed.
    FailedAppendAcknowledged,
    /// A session goes on though the disk refused what it brought.
    RefusedBytesIgnored,
    /// A site that starts again forgets the stamps it gave.
    ClockLostAtStart,
    /// A site's stamps follow its own wall clock, and not what it has seen.
    WallClockStamps,
    /// Both ends of every link let everything through.
    OneWayLinkLeaks,
    /// A site takes and relays the ops of those who were granted nothing.
    RightsIgnored,
    /// A site does not pass on what others wrote.
    RelayForgotten,
    /// What is wanted is asked for once, and a cut loses it.
    WantListLost,
    /// A blob of which a part is here counts as whole.
    PartTakenForWhole,
    /// Bytes are served without a look at their hash, and one in a few has rotted.
    RottenBytesServed,
    /// A scrub reads some packs and not the others.
    ScrubEndsEarly,
    /// What the end of a site's own log held before it rotted is taken for never said, and the log goes on from there.
    DamagedLogGoesOn,
    /// What rot took and came back is not noted as back.
    HealedBlobUnnoted,
    /// Of the bytes that are wanted those are forgotten that rotted.
    RottedBytesUnwanted,
    /// Bytes that are here are fetched again.
    BytesFetchedAgain,
    /// Frames are queued whether the line takes them or not.
    QueueUnbounded,
    /// What a seal covers is not looked at when builds clash.
    SealIgnored,
    /// What is restored does not name the deletes it overrules.
    RestoreWithoutEffect,
    /// A sweep takes bytes that are served.
    SweepTakesLiveBytes,
    /// A sweep passes the grace of the trash over.
    TrashGoesAtOnce,
    /// What is in the trash stays there for good.
    TrashNeverGoes,
    /// A publish is let in though the feed's quota has no room for it.
    QuotaIgnored,
    /// A new key lets one op more of the older keys' logs count than there is.
    OlderKeyLeftOpen,
    /// A site that is restored from a backup writes at once.
    RestoredSignsAtOnce,
    /// A site that learned what it said goes on in the log it wrote before.
    EpochNotOpened,
    /// A site listens to two machines with one key.
    DoublesLetIn,
    /// A proof that an author signed two histories is not kept.
    ForkProofDropped,
    /// An origin cuts a forked log and says nothing again of what counted behind the cut.
    ForkCutAndNothingSaid,
    /// A revoke accepts what its author says later.
    RevokeAcceptsLater,
    /// Less is granted, and nothing taken back.
    NarrowedGrantStays,
    /// A grant is said without its end.
    GrantWithoutEnd,
    /// The index loses one word about rights whenever the program starts.
    RightsForgottenAtStart,
    /// The logs of a site whose rights were taken back are not passed on.
    RevokedLogsStop,
    /// A session goes on when its link is changed.
    SessionOutlivesItsTerms,
    /// A link that was removed lets its site in.
    RemovedLinkAdmits,
    /// What comes on a stream is read into memory whether it is wanted yet or not.
    StreamReadWithoutEnd,
    /// A site that saw a breach of one peer's lets nobody in any more.
    OneBreachClosesAll,
    /// A site speaks every protocol version, as it says.
    VersionsNotCompared,
}

impl Plant {
    /// All of them.
    #[must_use]
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// What it is called on the command line.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}
