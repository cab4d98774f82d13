//! Forks resolved: the feed's origin says how far a log with two histories counts, so that its author can go on.

mod again;
mod behind;
mod beside;
mod left;
#[cfg(test)]
mod tests;

pub use left::{Left, left, left_by_closing};

use again::{Again, again};
use protocol::fork::ForkProof;
use protocol::id::{FeedId, LogId, OpId, SiteId};
use protocol::log::SignedHead;
use protocol::op::{Body, Cut, Tip};
use protocol::succession::Succession;

use super::{StatementError, fitting};
use crate::keeper::{AuthorError, SiteStore};
use crate::store::{FeedRecord, Look, ReadError, Store};

/// The forks of an author in a feed, or of all, that no cut resolves.
///
/// # Errors
/// The store cannot be read.
pub fn unresolved(store: &Store, feed: FeedId, author: Option<SiteId>) -> Result<Vec<ForkProof>, ReadError> {
    let authority = store.authority(feed)?;
    let open = |fork: &&ForkProof| {
        let cut = authority.as_ref().and_then(|authority| authority.cut(fork.log())).map(|cut| cut.len());
        author.is_none_or(|author| fork.log().author == author) && fork.freezes(fork.log(), cut, false)
    };
    Ok(store.forks(feed)?.iter().filter(open).cloned().collect())
}

/// What was said of a fork.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The logs that were cut.
    pub logs: Vec<LogId>,
    /// The op that cuts; the last of them where several logs are forked.
    pub cut: OpId,
    /// Versions that were published again, versions that were deleted again, and everything else that was said again.
    pub again: (u64, u64, u64),
}

/// What of a fork is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wish {
    /// This log of the author alone; all that are forked if not given.
    pub log: Option<LogId>,
    /// No more than so many ops of a log count; as many as both histories are known to have if not given.
    pub most: Option<u64>,
    /// What counts here by ops behind the cut goes with them, and is not said again.
    pub drop: bool,
    pub reason: String,
}

/// What an origin says of the forks of an author, worked out before any of it is said.
#[derive(Debug)]
pub struct Resolution {
    again: Again,
    cuts: Vec<Body>,
    tips: Vec<(LogId, u64)>,
}

impl Resolution {
    /// The logs count as far as the histories are known to go together, or less as it is wished. What counted here by what the author said after
    /// that this site says again itself, so that nothing which others were told comes undone.
    ///
    /// # Errors
    /// There is no such fork, this site is not the feed's origin, the reason is too long, or the store cannot be read.
    pub fn of(
        (store, me): (&Store, SiteId),
        look: Look,
        feed: FeedId,
        record: &FeedRecord,
        author: SiteId,
        wish: &Wish,
    ) -> Result<Self, StatementError> {
        let cuts = cuts(store, me, feed, record, author, wish)?;
        let tips = tips(feed, &cuts);
        let again = if wish.drop { Again::default() } else { again(store, feed, look, &tips)? };
        Ok(Self { again, cuts, tips })
    }

    /// How far each log counts once this is said.
    #[must_use]
    pub fn tips(&self) -> &[(LogId, u64)] {
        &self.tips
    }

    /// Has all of it said, a batch at a time. The cut is last: where this ends before it, the fork is open still, and it is all said once more.
    ///
    /// # Errors
    /// What `say` meets, which gives the names of what it said.
    pub fn say<E>(self, mut say: impl FnMut(Vec<Body>) -> Result<Vec<OpId>, E>) -> Result<Resolved, E> {
        let mut said = Vec::new();
        for bodies in self.again.in_parts() {
            said.extend(say(bodies)?);
        }
        for choices in self.again.choices(&said) {
            say(choices)?;
        }
        let cut = say(self.cuts)?.pop().unwrap_or(OpId([0; 32]));
        let logs = self.tips.into_iter().map(|(log, _)| log).collect();
        Ok(Resolved { cut, logs, again: self.again.counts() })
    }
}

/// Says how far the forked logs of an author count, and again what counted behind that ([`Resolution`]).
///
/// # Errors
/// As [`Resolution::of`], or the disk refused.
pub fn resolve(
    site: &SiteStore,
    feed: FeedId,
    record: &FeedRecord,
    author: SiteId,
    wish: &Wish,
) -> Result<Resolved, StatementError> {
    let resolution = Resolution::of((site.store(), site.me()), site.look(), feed, record, author, wish)?;
    // The origin's own forked log takes nothing more; what it says of itself begins its next epoch.
    let mut anew = author == site.me();
    let resolved = resolution.say(|bodies| {
        let said = if std::mem::take(&mut anew) {
            site.author_anew(feed, bodies)
        } else {
            site.author(feed, bodies)
        };
        Ok::<_, AuthorError>(said?.into_iter().map(|named| named.id).collect())
    });
    Ok(resolved?)
}

/// The logs that are cut, with how far each counts.
fn tips(feed: FeedId, cuts: &[Body]) -> Vec<(LogId, u64)> {
    let tip = |body: &Body| {
        let Body::Cut(Cut { tip, .. }) = body else { return None };
        Some((LogId { feed, author: tip.author, epoch: tip.epoch }, tip.len))
    };
    cuts.iter().filter_map(tip).collect()
}

/// What this site, as the feed's origin, says of the forked logs of an author.
///
/// # Errors
/// As [`Resolution::of`].
fn cuts(
    store: &Store,
    me: SiteId,
    feed: FeedId,
    record: &FeedRecord,
    author: SiteId,
    wish: &Wish,
) -> Result<Vec<Body>, StatementError> {
    fitting(&wish.reason)?;
    let is_origin = store.authority(feed)?.is_some_and(|authority| authority.is_origin(me));
    if !is_origin {
        return Err(StatementError::NotOrigin { feed: record.name.clone() });
    }
    let mut cuts = Vec::new();
    let open = unresolved(store, feed, Some(author))?.into_iter();
    for fork in open.filter(|fork| wish.log.is_none_or(|log| log == fork.log())) {
        let before = fork.len().saturating_sub(1);
        let counts = store.in_common(&fork)?.min(before).min(wish.most.unwrap_or(u64::MAX));
        cuts.push(Body::Cut(cut(&fork, store.head_within(fork.log(), counts)?, wish.reason.clone())));
    }
    if cuts.is_empty() {
        return Err(StatementError::NoFork { feed: record.name.clone(), author });
    }
    Ok(cuts)
}

fn cut(fork: &ForkProof, at: Option<SignedHead>, reason: String) -> Cut {
    let log = fork.log();
    let tip = |len, root| Tip { author: log.author, epoch: log.epoch, len, root };
    match at {
        None => {
            let (signed, signature) = (protocol::time::Timestamp(0), Vec::new());
            Cut { tip: tip(0, [0; 32]), signed, succession: Succession::NONE, signature, reason }
        }
        Some(SignedHead { head, succession, signature }) => {
            let signature = signature.0.to_vec();
            Cut { tip: tip(head.len, head.root), signed: head.time, succession, signature, reason }
        }
    }
}
