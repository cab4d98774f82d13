//! From what went wrong to what is said of it: one place for statuses, codes and hints.

use protocol::fault::{Outcome, Reason};
use protocol::manifest::ManifestError;
use protocol::package::BadName;

use crate::api::Problem;
use crate::keeper::AuthorError;
use crate::publish::{DeleteError, PublishError};
use crate::statement::StatementError;
use crate::store::{AppendError, ReadError, SweepError, WriteError};

/// The whole story of an error in one line.
pub(super) fn story(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let detail = story(&error);
        match error {
            ReadError::Missing { .. } => Self::new(503, "pending", "The bytes have not arrived", detail)
                .hint("run `packetboat sync`, or wait for the next run of the link"),
            ReadError::Corrupt { .. } | ReadError::CorruptRecord { .. } | ReadError::Unreadable { .. } => {
                Self::new(500, "integrity", "Bytes on this disk are damaged", detail)
                    .hint("run `packetboat verify`, then `packetboat sync` to bring them again")
            }
            ReadError::Disk { .. } | ReadError::Incomplete(_) | ReadError::Index(_) => {
                Self::new(500, "disk", "The disk failed", detail)
            }
        }
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        let detail = story(&error);
        match error {
            WriteError::DiskFull { .. } => Self::new(507, "disk-full", "The disk is full", detail)
                .hint(
                    "reading goes on, and deleting as long as there is room to say it; free space on the disk, or here: packetboat trash empty, packetboat evict, then \
                     packetboat sweep",
                ),
            WriteError::TooLarge { .. } => Self::new(413, "too-large", "Too large", detail),
            WriteError::Disk { .. } | WriteError::TakenBack { .. } | WriteError::Index(_) => {
                Self::new(500, "disk", "The disk failed", detail)
            }
        }
    }
}

impl From<SweepError> for Problem {
    fn from(error: SweepError) -> Self {
        match error {
            SweepError::Write(error) => error.into(),
            SweepError::Read(error) => error.into(),
        }
    }
}

impl From<BadName> for Problem {
    fn from(error: BadName) -> Self {
        Self::new(400, "usage", "The name is not allowed", error.to_string())
    }
}

impl From<AuthorError> for Problem {
    fn from(error: AuthorError) -> Self {
        match error {
            AuthorError::Strict => {
                Self::new(403, "refused", "This site takes no local changes", error.to_string())
                    .hint("say it at another site, or let this one say something: packetboat feed set FEED --strict off")
            }
            AuthorError::Unsayable(_) => Self::new(400, "refused", "This cannot be said", error.to_string())
                .hint("of a version: fewer files, shorter names, or what is said of them in a file of its own"),
            AuthorError::SetBack { .. } => {
                Self::new(500, "integrity", "This site's own log is damaged", error.to_string())
                    .hint(
                        "run `packetboat sync` with a site that has this feed; where none is left, `packetboat resume-writing`",
                    )
            }
            AuthorError::Restored { .. } => {
                Self::new(503, "restored", "This site learns what it said before it says more", error.to_string())
                    .hint(
                        "run `packetboat sync` with a site that has this feed; where none is left, `packetboat resume-writing`",
                    )
            }
            AuthorError::Randomness(_) => Self::new(500, "disk", "The system failed", error.to_string()),
            AuthorError::Superseded => {
                Self::new(409, "refused", "This site has an older key of its own", error.to_string()).hint(
                    "put its newest key back as key/site.key, and the one before as key/site.old, and start it again; if nobody here \
                     changed the key, it is in other hands: make a new site",
                )
            }
            AuthorError::EpochsSpent => {
                Self::new(409, "refused", "This site's key is used up", error.to_string())
                    .hint("packetboat key rotate")
            }
            AuthorError::Forked => {
                Self::new(409, "forked", "This site's log has two histories", error.to_string())
                    .hint("the feed's origin resolves it: packetboat forks resolve AUTHOR --feed FEED")
            }
            AuthorError::Append(AppendError::Write(error)) => error.into(),
            AuthorError::Append(AppendError::Read(error)) | AuthorError::Read(error) => error.into(),
            AuthorError::Append(error @ AppendError::Moved { .. }) => {
                Self::new(409, "conflict", "This site's log grew meanwhile", error.to_string())
                    .hint("try again")
            }
        }
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        let detail = error.to_string();
        match error {
            PublishError::Name(error) => error.into(),
            PublishError::Manifest(_) | PublishError::NoFiles => {
                Self::new(400, "usage", "The version cannot be published", detail)
            }
            PublishError::NotUploaded { .. } => {
                Self::new(400, "not-uploaded", "The bytes are not here", detail).hint("upload them first")
            }
            PublishError::Exists { .. } => {
                Self::new(409, "conflict", "The version exists with other bytes", detail)
                    .hint("publish under another version")
            }
            PublishError::Deleted { .. } => Self::new(409, "conflict", "The version was deleted", detail)
                .hint("publish it again with --restore if that is what you want"),
            PublishError::Blocked { .. } => Self::new(409, "conflict", "The version is blocked", detail)
                .hint("packetboat unblock OP lifts it"),
            PublishError::BytesBlocked { .. } => Self::new(409, "conflict", "The bytes are blocked", detail)
                .hint("packetboat unblock OP lifts it; or publish without that file"),
            PublishError::Reused { .. } => {
                Self::new(409, "conflict", "A deleted version does not come back with other bytes", detail)
                    .hint("publish under another version")
            }
            PublishError::Quota { feed, .. } => Self::new(507, "quota", "The feed's quota is full", detail)
                .hint(format!(
                    "packetboat feed set {feed} --quota SIZE raises it; packetboat trash empty and packetboat evict make room"
                )),
            PublishError::Author(error) => error.into(),
            PublishError::Read(error) => error.into(),
            PublishError::Write(error) => error.into(),
        }
    }
}

impl From<DeleteError> for Problem {
    fn from(error: DeleteError) -> Self {
        let detail = error.to_string();
        match error {
            DeleteError::Name(error) => error.into(),
            DeleteError::LongReason { .. } => Self::new(400, "usage", "The reason is too long", detail),
            DeleteError::Absent { .. } => Self::new(404, "not-found", "No such version", detail)
                .hint("to delete it before it arrives from another site, add --unseen"),
            DeleteError::Deleted { .. } => Self::new(404, "not-found", "No such version", detail)
                .hint("packetboat trash restore publishes it again as long as its bytes lie in the trash"),
            DeleteError::UnseenAtHome { .. } => {
                Self::new(403, "refused", "This site may not delete that", detail)
                    .hint("once it has arrived, packetboat delete hides it here; `packetboat rights list FEED` tells who may delete it for all")
            }
            DeleteError::Author(error) => error.into(),
            DeleteError::Read(error) => error.into(),
        }
    }
}

impl From<StatementError> for Problem {
    fn from(error: StatementError) -> Self {
        let detail = error.to_string();
        match error {
            StatementError::Name(error) => error.into(),
            StatementError::LongPrefix { .. } => Self::new(400, "usage", "The prefix is too long", detail),
            StatementError::LongText { .. } => Self::new(400, "usage", "The text is too long", detail),
            StatementError::Absent { .. } => Self::new(404, "not-found", "No such version", detail),
            StatementError::NoRef { .. } => Self::new(404, "not-found", "No such ref", detail)
                .hint("packetboat tag list FEED PACKAGE"),
            StatementError::Overruled { .. } => {
                Self::new(403, "refused", "This site may not change that", detail).hint(
                    "`packetboat rights list FEED` tells who may: run it there, or have the right granted to this site",
                )
            }
            StatementError::NoSuchOp { .. } => Self::new(404, "not-found", "No such op", detail),
            StatementError::NoBuild { .. } => Self::new(404, "not-found", "No such build", detail),
            StatementError::NothingLocal { .. } => {
                Self::new(404, "not-found", "Nothing local is there", detail)
                    .hint("what a site says that counts elsewhere is deleted for all: packetboat delete")
            }
            StatementError::NoFork { .. } => Self::new(404, "not-found", "No such fork", detail)
                .hint("`packetboat forks` lists what is proved here"),
            StatementError::DeleteWaits { .. } => {
                Self::new(409, "conflict", "A deletion waits for a person", detail)
                    .hint("`packetboat holds`, then `packetboat approve`; with --drop it goes with the cut")
            }
            StatementError::NotOrigin { .. } => {
                Self::new(403, "refused", "Only the feed's origin says that", detail)
                    .hint("run it at the origin: `packetboat rights list FEED` tells which site that is")
            }
            StatementError::NotAllowed { .. } => {
                Self::new(403, "refused", "This site may not say that", detail)
                    .hint("`packetboat rights list FEED` tells who may")
            }
            StatementError::Author(error) => error.into(),
            StatementError::Read(error) => error.into(),
        }
    }
}

impl From<ManifestError> for Problem {
    fn from(error: ManifestError) -> Self {
        Self::new(400, "usage", "The version cannot be published", error.to_string())
    }
}

/// What is said of something that is not here.
pub(super) fn not_found(what: &str, name: &str) -> Problem {
    Problem::new(404, "not-found", "Not found", format!("there is no {what} {name:?} at this site"))
}

/// What is said of a request that makes no sense.
pub(super) fn usage(detail: impl Into<String>) -> Problem {
    Problem::new(400, "usage", "The request is not understood", detail)
}

/// The outcome in one word and, where it is not done, why.
pub(super) fn outcome_words(outcome: Outcome, note: Option<&str>) -> (String, Option<String>) {
    let noted = || note.map(ToOwned::to_owned);
    match outcome {
        Outcome::Done => ("done".to_owned(), noted()),
        Outcome::Refused(Reason::DiskFull) => {
            ("disk-full".to_owned(), noted().or_else(|| Some(Reason::DiskFull.to_string())))
        }
        Outcome::Refused(reason) => ("refused".to_owned(), noted().or_else(|| Some(reason.to_string()))),
        Outcome::Misbehaved(fault) => {
            ("misbehaved".to_owned(), Some(format!("the other site broke the rules: {fault}")))
        }
        Outcome::Interrupted => (
            "interrupted".to_owned(),
            noted()
                .or_else(|| Some("the connection ended first; the next run goes on from there".to_owned())),
        ),
        Outcome::Fault => (
            "fault".to_owned(),
            noted().or_else(|| Some("this site's own disk or program failed".to_owned())),
        ),
    }
}

/// A reason as a stable word for programs.
pub(super) fn reason_word(reason: Reason) -> String {
    let mut word = String::new();
    for (at, letter) in format!("{reason:?}").chars().enumerate() {
        if letter.is_uppercase() && at > 0 {
            word.push('-');
        }
        word.extend(letter.to_lowercase());
    }
    word
}
