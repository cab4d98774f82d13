//! Which of a site's own logs it goes on with, and how a site that was restored, copied or set back comes to write again. Reads and
//! writes the store alone: whoever signs passes the random step to a later epoch, and lets nothing be signed between the two.

use protocol::fault::Outcome;
use protocol::grant::Authority;
use protocol::id::{FeedId, LogId, SiteId};
use protocol::link::{Link, LinkFeed};
use protocol::log::{Head, Mmr, NamedOp};
use protocol::op::{Body, Closing, OpenEpoch, Tip};
use protocol::session::tally::Tally;
use protocol::session::{Agreed, AgreedFeed};
use protocol::succession::{first_epoch, generation_of};
use protocol::time::Timestamp;

use super::AuthorError;
use crate::identity::SiteKey;
use crate::store::{AppendError, Cause, Look, ReadError, Store};

/// The log that a site's next ops of its own go to.
#[derive(Debug, Clone)]
pub struct OwnLog {
    pub log: LogId,
    /// What is said first, where the log begins a later epoch: the last that is known of the one before.
    pub opens: Option<OpenEpoch>,
    /// The log as it is held.
    pub held: Mmr,
}

/// An epoch after `last`, a random `step` further on, that no copy of this site takes as well, among those of its key.
fn later_epoch(last: u64, key: &SiteKey, step: u32) -> Result<u64, AuthorError> {
    let generation = key.succession().generation();
    let last = last.max(first_epoch(generation).saturating_sub(1));
    let later = last.saturating_add(1).saturating_add(u64::from(step));
    if generation_of(later) == generation { Ok(later) } else { Err(AuthorError::EpochsSpent) }
}

fn tip(head: &Head) -> Tip {
    Tip { author: head.log.author, epoch: head.log.epoch, len: head.len, root: head.root }
}

/// The first op of a later epoch. `own` are the heads of the site's logs in the feed. What an earlier closing left out of one stays left out,
/// whoever has gone on with it since.
fn opening(own: &[Head], key: &SiteKey, authority: Option<&Authority>) -> OpenEpoch {
    let generation = key.succession().generation();
    let earlier = own.iter().filter(|head| generation_of(head.log.epoch) < generation);
    // Damage may have taken the end of one that was closed before.
    let counted = |head: &Head| match authority.and_then(|authority| authority.closed_at(head.log)) {
        Some(end) => end.cloned(),
        None => Some(tip(head)),
    };
    let closes = (generation > 0)
        .then(|| Tip::those_that_fit(earlier.filter_map(counted).collect()))
        .map(|accepted| Closing { key: key.public(), accepted });
    OpenEpoch { known: own.last().map(tip), closes }
}

/// The heads of a site's own logs in a feed, the newest last.
///
/// # Errors
/// The disk failed.
pub fn heads(store: &Store, me: SiteId, feed: FeedId) -> Result<Vec<Head>, ReadError> {
    let heads = store.heads(feed)?.into_iter().map(|signed| signed.head);
    let mut own: Vec<Head> = heads.filter(|head| head.log.author == me).collect();
    own.sort_by_key(|head| head.log);
    Ok(own)
}

/// Where the site of `key` goes on in a feed; in a later epoch if it is to be `anew`, or its newest log is of an older key.
///
/// # Errors
/// It waits to learn what it said, its log is forked or damaged here, there is no randomness, or the disk failed.
pub fn next(
    store: &Store,
    key: &SiteKey,
    feed: FeedId,
    anew: bool,
    step: impl FnOnce() -> Result<u32, AuthorError>,
) -> Result<OwnLog, AuthorError> {
    store.look_after_rebuild().map_err(AppendError::from)?;
    must_be_newest(store, key, feed)?;
    if let Some(awakening) = store.waits(feed)? {
        return Err(AuthorError::Restored { what: awakening.cause.words() });
    }
    let (log, opens) = chosen(store, key, feed, anew, step)?;
    let held = store.log_state(log)?.map_or_else(Mmr::default, |state| state.after);
    Ok(OwnLog { log, opens, held })
}

/// Whether a later key than this one closed what it signs in a feed, or chose where the site goes on there: the site was restored from before it
/// was changed, or it is in other hands.
fn is_closed(store: &Store, key: &SiteKey, feed: FeedId) -> Result<bool, ReadError> {
    let generation = key.succession().generation();
    let log = LogId { feed, author: key.site_id(), epoch: first_epoch(generation) };
    let closed = store.authority(feed)?.is_some_and(|authority| authority.closed_at(log).is_some());
    Ok(closed || store.writing(feed)?.is_some_and(|writing| generation_of(writing.epoch) > generation))
}

fn must_be_newest(store: &Store, key: &SiteKey, feed: FeedId) -> Result<(), AuthorError> {
    if is_closed(store, key, feed)? { Err(AuthorError::Superseded) } else { Ok(()) }
}

/// The same in any feed.
///
/// # Errors
/// The disk failed.
pub fn is_superseded(store: &Store, key: &SiteKey) -> Result<bool, ReadError> {
    for (feed, _) in store.feeds()? {
        if is_closed(store, key, feed)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn chosen(
    store: &Store,
    key: &SiteKey,
    feed: FeedId,
    anew: bool,
    step: impl FnOnce() -> Result<u32, AuthorError>,
) -> Result<(LogId, Option<OpenEpoch>), AuthorError> {
    let me = key.site_id();
    let own = heads(store, me, feed)?;
    let log = |epoch| LogId { feed, author: me, epoch };
    // Neither in that log nor in one that says how far it counts: what damage took of it would be said to be nothing.
    if let Some((_, lost)) = damaged(store, me, feed)? {
        return Err(AuthorError::SetBack { lost });
    }
    let newest = own.last().map_or(1, |last| last.log.epoch);
    let decided = store.writing(feed)?;
    let epoch = decided.map_or(newest, |writing| writing.epoch);
    // A later epoch that this site never chose is its copy's.
    let anew = anew || (decided.is_none() && newest > 1);
    let authority = store.authority(feed)?;
    let cut = |log| authority.as_ref().and_then(|authority| authority.cut(log)).map(|cut| cut.len());
    let older = generation_of(epoch) < key.succession().generation();
    if anew || older || cut(log(epoch)).is_some() {
        let later = later_epoch(newest.max(epoch), key, step()?)?;
        store.write_in(feed, later).map_err(AppendError::Write)?;
        return Ok((log(later), Some(opening(&own, key, authority.as_deref()))));
    }
    let forks = store.forks(feed)?;
    let is_origin = authority.as_ref().is_some_and(|authority| authority.is_origin(me));
    if forks.iter().any(|fork| fork.freezes(log(epoch), cut(fork.log()), is_origin)) {
        return Err(AuthorError::Forked);
    }
    if decided.is_none() {
        store.write_in(feed, epoch).map_err(AppendError::Write)?;
    }
    let begins = epoch > 1 && store.log_state(log(epoch))?.is_none();
    Ok((log(epoch), begins.then(|| opening(&own, key, authority.as_deref()))))
}

/// What was asked to be said, of what was said: a later epoch opens with an op of its own, which nobody asked for.
pub(super) fn as_asked(said: Vec<NamedOp>) -> Vec<NamedOp> {
    said.into_iter().skip_while(|named| matches!(named.op.body, Body::OpenEpoch(_))).collect()
}

/// The log in which a site would go on if it neither waits nor changed its key: that of the epoch it chose, else of its newest.
fn goes_on_in(store: &Store, me: SiteId, feed: FeedId) -> Result<LogId, ReadError> {
    let newest = || heads(store, me, feed).map(|own| own.last().map_or(1, |head| head.log.epoch));
    let epoch = store.writing(feed)?.map_or_else(newest, |writing| Ok(writing.epoch))?;
    Ok(LogId { feed, author: me, epoch })
}

/// Whether what a site says in a feed is for itself alone: it has no rights there, and no link lets anything of the feed out; or none any more as far
/// as it heard, wherever links lead.
///
/// # Errors
/// The disk failed.
pub fn is_for_this_site(store: &Store, look: Look, feed: FeedId) -> Result<bool, ReadError> {
    let authority = store.authority(feed)?;
    let is = |what: fn(&Authority, Look) -> bool| {
        authority.as_deref().is_some_and(|authority| what(authority, look))
    };
    if is(|authority, look| authority.holds_some(look.me, look.now)) {
        return Ok(false);
    }
    Ok(is(|authority, look| authority.is_author(look.me)) || !is_let_out(store, feed)?)
}

/// Whether a site that never had rights in a feed may only not have heard yet that it was given some: who joined to push says so before it knows.
///
/// # Errors
/// The disk failed.
pub fn may_have_rights_unheard(store: &Store, me: SiteId, feed: FeedId) -> Result<bool, ReadError> {
    let had_some = store.authority(feed)?.is_some_and(|authority| authority.is_author(me));
    Ok(!had_some && is_let_out(store, feed)?)
}

/// Whether a link lets anything of a feed out, but for links by which others joined this site, which nobody gives it rights by.
fn is_let_out(store: &Store, feed: FeedId) -> Result<bool, ReadError> {
    let takes =
        |link: &Link| link.new_feeds.as_ref().is_some_and(|new| new.takes && new.switches.flows_out());
    let lets_out = |link: &Link| {
        let out = |on: &LinkFeed| on.switches.flows_out() && (link.is_outgoing() || takes(link));
        link.on(feed).map_or_else(|| takes(link), out)
    };
    Ok(store.links()?.iter().any(lets_out))
}

/// The newest of a site's logs in a feed that others may have, or of those that none has where there is no other.
///
/// # Errors
/// The disk failed.
pub fn newest(store: &Store, me: SiteId, feed: FeedId) -> Result<Option<(LogId, bool)>, ReadError> {
    let authority = store.authority(feed)?;
    let stays = |log| authority.as_ref().is_some_and(|authority| authority.stays_home(log));
    let own = heads(store, me, feed)?.into_iter().map(|head| (head.log, stays(head.log)));
    Ok(own.max_by_key(|(log, stays)| (!stays, *log)))
}

/// Whether the log in which a site would go on is of the other kind than what it says now: for itself alone, or not. Rights that it is given later
/// are not for what it said before that.
///
/// # Errors
/// The disk failed.
pub fn goes_elsewhere(store: &Store, me: SiteId, feed: FeedId, home: bool) -> Result<bool, ReadError> {
    let log = goes_on_in(store, me, feed)?;
    let stays = store.authority(feed)?.is_some_and(|authority| authority.stays_home(log));
    Ok(if home { !stays && store.log_state(log)?.is_some() } else { stays })
}

/// Whether a peer holds more of the log in which this site would go on than this site ever had: it was set back. What it knows that damage
/// took is no news.
///
/// # Errors
/// The disk failed.
pub fn is_behind(store: &Store, me: SiteId, log: LogId, len: u64) -> Result<bool, ReadError> {
    let waits = store.waits(log.feed)?.is_some();
    Ok(!waits && log == goes_on_in(store, me, log.feed)? && store.log_longest(log)? < len)
}

/// Whether this site waits in any feed to learn what it said there.
///
/// # Errors
/// The disk failed.
pub fn any_waits(store: &Store) -> Result<bool, ReadError> {
    Ok(waiting(store)?.contains(&true))
}

/// Of each feed whether this site waits there.
fn waiting(store: &Store) -> Result<Vec<bool>, ReadError> {
    store.feeds()?.into_iter().map(|(feed, _)| Ok(store.waits(feed)?.is_some())).collect()
}

/// A linked site that may have words of this one's that this one has not, whatever the link lets out by now, or nobody where damage took them.
pub type Unheard = (FeedId, Option<SiteId>);

/// What a newer key would leave out for good, though it may have been said: what linked sites that were let have it have not told since this site
/// was restored, copied or set back, and what damage took of its logs. A closing accepts what is here, and what comes later is a thief's for all
/// that anybody can tell.
///
/// # Errors
/// The disk failed.
pub fn unheard(store: &Store, me: SiteId) -> Result<Vec<Unheard>, ReadError> {
    let (feeds, links) = (store.feeds()?, store.links()?);
    let mut unheard = Vec::new();
    for (feed, _) in feeds {
        for link in &links {
            let peer = (feed, Some(link.peer));
            if link.on(feed).is_some() && !store.was_heard(feed, link.peer)? && !unheard.contains(&peer) {
                unheard.push(peer);
            }
        }
        for gone in store.gone_unheard(feed)? {
            let peer = (feed, Some(gone));
            if !unheard.contains(&peer) {
                unheard.push(peer);
            }
        }
        let lacking = store.lacking_logs_of(feed, me)?;
        let authority = store.authority(feed)?;
        let is_closed = |log| authority.as_ref().is_some_and(|authority| authority.closed_at(log).is_some());
        if lacking.into_iter().any(|(log, _)| !is_closed(log)) {
            unheard.push((feed, None));
        }
    }
    Ok(unheard)
}

/// Keeps this site from signing until it knows how far its key has. Tells whether that is news: one that waits for the same cause already in
/// every feed goes on waiting. Where it goes on in one it may have been set back there since.
///
/// # Errors
/// The disk refused.
pub fn awaken(store: &Store, cause: Cause, at: Timestamp) -> Result<bool, AuthorError> {
    let standing = store.awakening()?;
    let is_silent = || waiting(store).is_ok_and(|waits| !waits.contains(&false));
    if standing.is_some_and(|standing| standing.cause == cause && is_silent()) {
        return Ok(false);
    }
    store.awaken(cause, at).map_err(AppendError::Write)?;
    Ok(true)
}

/// The feeds of which a run over a link brought everything that was said. Bytes that the other end lacks as well keep nobody from writing:
/// they may be nowhere any more, and are asked for once all ops are in.
#[must_use]
pub fn wholly_heard(agreed: &Agreed, outcome: Outcome, tally: &Tally) -> Vec<FeedId> {
    if outcome != Outcome::Done && tally.blobs_missing == 0 {
        return Vec::new();
    }
    let lets_in = |on: &&AgreedFeed| on.effective.in_add && on.effective.in_delete;
    agreed.feeds.iter().filter(lets_in).map(|on| on.feed).collect()
}

/// The newest log of a site that lost its end to damage, and how many ops, unless the site chose a later one since. The note of that choice may
/// be lost as well.
fn damaged(store: &Store, me: SiteId, feed: FeedId) -> Result<Option<(LogId, u64)>, ReadError> {
    let chosen = goes_on_in(store, me, feed)?.epoch;
    Ok(store.lacking_logs_of(feed, me)?.pop().filter(|(log, _)| log.epoch >= chosen))
}

/// Why a site writes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grounds {
    /// Its people say so.
    Told,
    /// A run brought everything of the feed. How often logs had been set back when the run before it over the link ended: what damage took
    /// since then that run may have counted as here.
    Heard { set_backs: Option<u64> },
}

/// Lets a site that waits, or whose own log lost its end to damage, write in a feed again: in a later epoch, which nothing it said before
/// can contradict. Gives that epoch, or nothing where neither is so.
///
/// # Errors
/// The disk refused, or there is no randomness.
pub fn resume(
    store: &Store,
    key: &SiteKey,
    feed: FeedId,
    grounds: Grounds,
    step: impl FnOnce() -> Result<u32, AuthorError>,
) -> Result<Option<u64>, AuthorError> {
    let damaged = damaged(store, key.site_id(), feed)?.map(|(log, _)| log.epoch);
    // Asked after the look at the log: one that is set back in between is none that was heard to be nowhere.
    let is_nowhere = match grounds {
        Grounds::Told => true,
        Grounds::Heard { set_backs } => set_backs == Some(store.set_backs()),
    };
    if store.waits(feed)?.is_none() && !(damaged.is_some() && is_nowhere) {
        return Ok(None);
    }
    must_be_newest(store, key, feed)?;
    let before = store.writing(feed)?.map_or(0, |writing| writing.epoch);
    let newest = heads(store, key.site_id(), feed)?.last().map_or(0, |head| head.log.epoch);
    let epoch = later_epoch(newest.max(before).max(damaged.unwrap_or_default()), key, step()?)?;
    store.write_in(feed, epoch).map_err(AppendError::Write)?;
    Ok(Some(epoch))
}
