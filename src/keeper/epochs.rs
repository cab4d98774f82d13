//! The epochs of this site's logs: when a later one begins, and what it says first.

use protocol::log::Head;
use protocol::op::{Closing, OpenEpoch, Tip};
use protocol::succession::{first_epoch, generation_of};

use super::AuthorError;
use crate::identity::SiteKey;

/// An epoch after `last` that no copy of this site takes as well, among those of its key.
pub(super) fn later_epoch(last: u64, key: &SiteKey) -> Result<u64, AuthorError> {
    let mut jump = [0; 4];
    getrandom::fill(&mut jump).map_err(AuthorError::Randomness)?;
    let generation = key.succession().generation();
    let last = last.max(first_epoch(generation).saturating_sub(1));
    let later = last.saturating_add(1).saturating_add(u64::from(u32::from_le_bytes(jump)));
    if generation_of(later) == generation { Ok(later) } else { Err(AuthorError::EpochsSpent) }
}

fn tip(head: &Head) -> Tip {
    Tip { author: head.log.author, epoch: head.log.epoch, len: head.len, root: head.root }
}

/// The first op of a later epoch. `own` are the heads of this site's logs in the feed.
pub(super) fn opening(own: &[Head], key: &SiteKey) -> OpenEpoch {
    let generation = key.succession().generation();
    let earlier = own.iter().filter(|head| generation_of(head.log.epoch) < generation);
    let closes =
        (generation > 0).then(|| Closing { key: key.public(), accepted: earlier.map(tip).collect() });
    OpenEpoch { known: own.last().map(tip), closes }
}

/// When a later epoch of this site's log begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opens {
    /// Where the log cannot go on.
    IfNeeded,
    /// In any case.
    Anew,
    /// Only where this site has a newer key than the log, and then with nothing more to say.
    ForKey,
}
