//! This site's store with its key and clock: what sessions read and write, and the one place where this site's own ops are signed.

pub mod own_log;

mod braking;
mod clock;
mod reading;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use protocol::fork::ForkProof;
use protocol::grant::{Permitted, RightsProof, Unsayable};
use protocol::id::{BlobId, FeedId, LogId, SiteId};
use protocol::limits::STRANGERS_WORDS_MAX;
use protocol::link::{Fetch, Link};
use protocol::log::{Filling, Mmr, NamedOp, Verified};
use protocol::op::{Body, Place};
use protocol::session::Memory;
use protocol::session::view::View;
use protocol::succession::generation_of;
use protocol::time::{Hlc, Timestamp};
use protocol::transfer::Stored;

use braking::{BrakeError, Brought};
pub use clock::Clock;

use self::own_log::Grounds;
use crate::identity::SiteKey;
use crate::store::{AppendError, Cause, Look, PutError, ReadError, SiteView, Store, WriteError};
use crate::transport::pump::{KeepError, Keeper};

/// The wall clock.
#[must_use]
pub fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Why this site's own ops were not appended.
#[derive(Debug, thiserror::Error)]
pub enum AuthorError {
    /// The feed takes no local changes here.
    #[error("this site is a strict replica of the feed and takes no local changes in it")]
    Strict,
    /// Other sites would refuse it, and with it all that this site says after it.
    #[error("this is not what an op can say: {0}")]
    Unsayable(Unsayable),
    /// Damage took the end of this site's own log. Signing on would fork it.
    #[error(
        "{lost} ops of this site's own log in the feed are damaged here; sync with a site that has them first"
    )]
    SetBack { lost: u64 },
    /// Other sites take in nothing more of such a log.
    #[error(
        "another history of this site's own log in the feed was signed with its key; `packetboat forks` tells more"
    )]
    Forked,
    /// It may have said more than it knows of.
    #[error("this site {what} and waits for a peer to tell what it said")]
    Restored { what: &'static str },
    /// What it signs with this one counts nowhere.
    #[error(
        "a later key of this site is known to follow the one that it has here: what it signs counts nowhere any more"
    )]
    Superseded,
    /// A log can be begun anew so often and no more.
    #[error(
        "this site's key has opened as many epochs of a log as one key can; rotate it: packetboat key rotate"
    )]
    EpochsSpent,
    #[error("no random bytes: {0}")]
    Randomness(getrandom::Error),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<Unsayable> for AuthorError {
    fn from(unsayable: Unsayable) -> Self {
        match unsayable {
            Unsayable::Strict => Self::Strict,
            unsayable @ (Unsayable::Form(_) | Unsayable::Long { .. }) => Self::Unsayable(unsayable),
        }
    }
}

/// The store with this site's key in front of it. Clones share everything.
#[derive(Debug, Clone)]
pub struct SiteStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    me: SiteId,
    /// Changed only while the clock is held.
    key: Mutex<Arc<SiteKey>>,
    /// Held while an op is signed, so that a log has one writer.
    clock: Mutex<Clock>,
    /// Held while deletions are counted and held, and while a hold is approved: what was read of one is not written again once it is gone.
    brakes: Mutex<()>,
    /// Nothing of this site's own came from elsewhere since its key was found to be its newest.
    is_newest: AtomicBool,
    /// Blobs that clients asked for, the oldest first: links that fetch on demand fetch these.
    asked: Mutex<VecDeque<BlobId>>,
}

/// Blobs that clients asked for and that are remembered. One that is forgotten is asked for again by its client.
const ASKED_MAX: usize = 4096;

/// When a later epoch of this site's log begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opens {
    /// Where the log cannot go on.
    IfNeeded,
    /// In any case.
    Anew,
    /// Only where this site has a newer key than the log, and then with nothing more to say.
    ForKey,
}

/// A step to a later epoch that no copy of this site takes as well.
fn random_step() -> Result<u32, AuthorError> {
    let mut step = [0; 4];
    getrandom::fill(&mut step).map_err(AuthorError::Randomness)?;
    Ok(u32::from_le_bytes(step))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SiteStore {
    /// This site's store.
    #[must_use]
    pub fn new(store: Store, key: SiteKey) -> Self {
        let me = key.site_id();
        let look = Look { me, now: wall_clock() };
        let clock = Clock::after_start(&store, look).unwrap_or_else(|error| {
            tracing::warn!(%error, "the newest stamps cannot be read; this site's clock alone gives the next one");
            Clock::default()
        });
        let (key, clock) = (Mutex::new(Arc::new(key)), Mutex::new(clock));
        Self {
            inner: Arc::new(Inner {
                store,
                me,
                key,
                clock,
                brakes: Mutex::default(),
                is_newest: AtomicBool::new(false),
                asked: Mutex::default(),
            }),
        }
    }

    /// This site.
    #[must_use]
    pub fn me(&self) -> SiteId {
        self.inner.me
    }

    /// The key by which this site signs.
    #[must_use]
    pub fn key(&self) -> Arc<SiteKey> {
        Arc::clone(&locked(&self.inner.key))
    }

    /// Signs with the later key that `draw` gives from here on. Nothing is signed until then, and this site is told of nothing for which it
    /// would wait: what `draw` asks of it holds until the key is changed.
    ///
    /// # Errors
    /// What `draw` says. The key stays as it is.
    pub fn change_key<E>(&self, draw: impl FnOnce(&Store, &SiteKey) -> Result<SiteKey, E>) -> Result<(), E> {
        let _no_signing = locked(&self.inner.clock);
        let next = draw(self.store(), &self.key())?;
        *locked(&self.inner.key) = Arc::new(next);
        Ok(())
    }

    /// Begins this site's log in a feed anew under its newest key, where it has one of an older key there. Tells whether it did.
    ///
    /// # Errors
    /// As [`SiteStore::author`].
    pub fn open_for_key(&self, feed: FeedId) -> Result<bool, AuthorError> {
        let opened = self.speak(feed, Opens::ForKey, |_store| Ok::<_, AuthorError>(Vec::new()))?;
        Ok(!opened.is_empty())
    }

    /// The store itself, for reading and for records.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// How this site looks at a feed at this moment.
    #[must_use]
    pub fn look(&self) -> Look {
        Look { me: self.me(), now: wall_clock() }
    }

    /// Milliseconds by which the stamps that this site gives are ahead of its wall clock: what it says waits elsewhere until then, but for
    /// [`STAMP_AHEAD_MS_MAX`](protocol::limits::STAMP_AHEAD_MS_MAX).
    #[must_use]
    pub fn stamps_ahead_ms(&self) -> u64 {
        let look = self.look();
        locked(&self.inner.clock).newest(look).wall().0.saturating_sub(look.now.0)
    }

    /// Signs and appends ops of this site's own, one head for all, and gives them. They are durable when this returns.
    ///
    /// # Errors
    /// The feed is a strict replica here, or the disk failed or is full.
    pub fn author(&self, feed: FeedId, bodies: Vec<Body>) -> Result<Vec<NamedOp>, AuthorError> {
        self.author_if(feed, |_store| Ok::<_, AuthorError>(bodies))
    }

    /// The same, where what is said depends on what stands: nothing of this site's own comes between the two.
    ///
    /// # Errors
    /// What `decide` says, or as [`SiteStore::author`].
    pub fn author_if<E: From<AuthorError>>(
        &self,
        feed: FeedId,
        decide: impl FnOnce(&Store) -> Result<Vec<Body>, E>,
    ) -> Result<Vec<NamedOp>, E> {
        Ok(own_log::as_asked(self.speak(feed, Opens::IfNeeded, decide)?))
    }

    /// The same in a later epoch of this site's log, which begins with these ops.
    ///
    /// # Errors
    /// As [`SiteStore::author`].
    pub fn author_anew(&self, feed: FeedId, bodies: Vec<Body>) -> Result<Vec<NamedOp>, AuthorError> {
        Ok(own_log::as_asked(self.speak(feed, Opens::Anew, |_store| Ok::<_, AuthorError>(bodies))?))
    }

    fn speak<E: From<AuthorError>>(
        &self,
        feed: FeedId,
        opens: Opens,
        decide: impl FnOnce(&Store) -> Result<Vec<Body>, E>,
    ) -> Result<Vec<NamedOp>, E> {
        let mut clock = locked(&self.inner.clock);
        let bodies = decide(self.store())?;
        let key = self.key();
        let idle = if opens == Opens::ForKey {
            !self.has_older_log(feed, &key).map_err(AuthorError::from)?
        } else {
            bodies.is_empty()
        };
        if idle {
            return Ok(Vec::new());
        }
        self.must_be_newest(&key)?;
        let (said, strict) = self.said(feed, opens, bodies, clock.newest(self.look()))?;
        let ops = said.ops().to_vec();
        let permitted = Permitted::local(said, strict).map_err(AuthorError::from)?;
        self.store().append(&[permitted]).map_err(AuthorError::from)?;
        clock.see(stamps(&ops), None, self.look());
        Ok(ops)
    }

    /// Refuses an older key of this site than its newest in every feed, though one alone tells of that so far. All are looked through only where
    /// something came that may tell of a later key.
    fn must_be_newest(&self, key: &SiteKey) -> Result<(), AuthorError> {
        // Before the look: what comes meanwhile is looked at the next time.
        if self.inner.is_newest.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let superseded = own_log::is_superseded(self.store(), key);
        if !matches!(superseded, Ok(false)) {
            self.inner.is_newest.store(false, Ordering::SeqCst);
        }
        if superseded? { Err(AuthorError::Superseded) } else { Ok(()) }
    }

    /// Whether this site wrote in a feed, and not yet with this key.
    fn has_older_log(&self, feed: FeedId, key: &SiteKey) -> Result<bool, ReadError> {
        let last = own_log::newest(self.store(), self.me(), feed)?;
        Ok(last.is_some_and(|(log, _)| generation_of(log.epoch) < key.succession().generation()))
    }

    /// Stops this site from signing until it knows how far its key has: nothing is signed between the two. Tells whether that is news.
    ///
    /// # Errors
    /// The disk refused.
    pub fn awaken(&self, cause: Cause, at: Timestamp) -> Result<bool, AuthorError> {
        let _no_signing = locked(&self.inner.clock);
        own_log::awaken(self.store(), cause, at)
    }

    /// Lets this site sign in a feed again where it does not: in a later epoch. Gives that epoch, or nothing where it does not wait.
    ///
    /// # Errors
    /// The disk refused, or there is no randomness.
    pub fn resume(&self, feed: FeedId, grounds: Grounds) -> Result<Option<u64>, AuthorError> {
        let _no_signing = locked(&self.inner.clock);
        own_log::resume(self.store(), &self.key(), feed, grounds, random_step)
    }

    fn said(
        &self,
        feed: FeedId,
        opens: Opens,
        bodies: Vec<Body>,
        clock: Hlc,
    ) -> Result<(Verified, bool), AuthorError> {
        let store = self.store();
        let strict = store.feed(feed)?.is_some_and(|record| record.strict);
        let key = self.key();
        // What closes logs that others have must come to them.
        let closes = opens == Opens::ForKey
            && own_log::newest(store, self.me(), feed)?.is_some_and(|(_, stays)| !stays);
        let home = !closes && own_log::is_for_this_site(store, self.look(), feed)?;
        let anew = opens == Opens::Anew || own_log::goes_elsewhere(store, self.me(), feed, home)?;
        let own = own_log::next(store, &key, feed, anew, random_step)?;
        if home && !store.authority(feed)?.is_some_and(|authority| authority.stays_home(own.log)) {
            store.keep_home(own.log).map_err(AppendError::Write)?;
        }
        let bodies = own.opens.map(Body::OpenEpoch).into_iter().chain(bodies).collect();
        let signer = (key.signing_key(), key.succession().clone());
        Ok((Verified::author_as(signer, own.log, &own.held, bodies, clock, wall_clock()), strict))
    }

    /// A client asked for bytes that are not here.
    pub fn ask_for(&self, blob: BlobId) {
        let mut asked = locked(&self.inner.asked);
        if !asked.contains(&blob) {
            asked.push_back(blob);
        }
        while asked.len() > ASKED_MAX {
            asked.pop_front();
        }
    }

    /// The store as one link's session sees it.
    #[must_use]
    pub fn keeper(&self, link: &Link) -> LinkKeeper {
        LinkKeeper {
            site: self.clone(),
            peer: link.peer,
            link: link.name.clone(),
            fetch: link.fetch,
            era: None,
            brought: Brought::new(),
        }
    }
}

/// The store behind one link's session.
#[derive(Debug)]
#[expect(clippy::module_name_repetitions, reason = "it implements the transport's trait Keeper")]
pub struct LinkKeeper {
    site: SiteStore,
    peer: SiteId,
    link: String,
    fetch: Fetch,
    /// The store's era when bytes were first kept and not yet settled.
    era: Option<u64>,
    /// What the run that is under way brought.
    brought: Brought,
}

impl LinkKeeper {
    /// The store as it is looked at now: parked ops fall due while a session stands.
    fn view(&self) -> SiteView {
        self.site.store().view(self.site.look())
    }
}

impl LinkKeeper {
    /// Holds deletions of ops that are about to be stored where they are too many.
    fn brake(&self, log: LogId, ops: &[NamedOp]) -> Result<(), KeepError> {
        match braking::before(&self.site, &self.link, log, ops, &self.brought, wall_clock()) {
            Ok(None) => Ok(()),
            Ok(Some(hold)) => {
                let hold = HEXLOWER.encode(&hold);
                tracing::warn!(
                    link = self.link,
                    hold,
                    "a link would delete much of a feed within an hour: its deletions wait"
                );
                Ok(())
            }
            Err(BrakeError::Write(error)) => Err(write_failed(&error)),
            Err(error @ (BrakeError::Read(_) | BrakeError::Randomness(_))) => {
                tracing::error!(%error, "cannot tell whether a peer deletes too much");
                Err(KeepError::Failed)
            }
        }
    }

    /// Another session may bring the same ops at once in other batches: what is not here yet is taken in all the same, or the peer would be asked
    /// for it over and over.
    fn append_rest(&self, run: Permitted<Verified>) -> Result<(), KeepError> {
        let (store, log) = (self.site.store(), run.inner().log());
        let mut rest = Some(run);
        while let Some(run) = rest {
            match store.append(std::slice::from_ref(&run)) {
                Err(AppendError::Moved { .. }) => {}
                appended => return self.appended(appended),
            }
            let held = store.log_state(log);
            let held = held.or_else(|error| self.appended(Err(error.into())).map(|()| None))?;
            rest = run.beyond(&held.map_or_else(Mmr::default, |held| held.after));
        }
        Ok(())
    }

    fn appended(&self, appended: Result<u64, AppendError>) -> Result<(), KeepError> {
        match appended {
            Ok(_) => Ok(()),
            Err(AppendError::Write(error)) => Err(write_failed(&error)),
            Err(error @ (AppendError::Read(_) | AppendError::Moved { .. })) => {
                tracing::error!(%error, link = self.link, "cannot append what a peer sent");
                Err(KeepError::Failed)
            }
        }
    }

    /// Later stamps of this site lie above those that were taken in.
    fn see(&self, log: LogId, stamps: Vec<(Place, Hlc)>) -> Result<(), KeepError> {
        let look = self.site.look();
        // Only of this site's own logs some may be said by others.
        let authority = if log.author == look.me {
            self.site.inner.is_newest.store(false, Ordering::SeqCst);
            self.site.store().authority(log.feed).map_err(|error| {
                tracing::error!(%error, "cannot tell which of this site's stamps are its own");
                KeepError::Failed
            })?
        } else {
            None
        };
        locked(&self.site.inner.clock).see(stamps, authority.as_deref(), look);
        Ok(())
    }
}

fn stamps(ops: &[NamedOp]) -> Vec<(Place, Hlc)> {
    ops.iter().map(|named| (named.op.place, named.op.stamp)).collect()
}

fn write_failed(error: &WriteError) -> KeepError {
    tracing::error!(%error, "cannot store what a peer sent");
    if matches!(error, WriteError::DiskFull { .. }) { KeepError::Full } else { KeepError::Failed }
}

impl Keeper for LinkKeeper {
    fn append(&mut self, run: Permitted<Verified>) -> Result<(), KeepError> {
        let (log, first) = (run.inner().log(), run.inner().first());
        self.brake(log, run.inner().ops())?;
        self.brought.entry(log).or_insert(first);
        let stamps = stamps(run.inner().ops());
        self.append_rest(run)?;
        self.see(log, stamps)
    }

    fn fill(&mut self, filling: &Permitted<Filling>) -> Result<(), KeepError> {
        let (log, ops) = (filling.inner().log(), filling.inner().ops());
        self.brake(log, ops)?;
        self.appended(self.site.store().fill(filling))?;
        self.see(log, stamps(ops))
    }

    fn keep(&mut self, stored: Stored) -> Result<(), KeepError> {
        if self.era.is_none() {
            self.era = Some(self.site.store().era());
        }
        self.site.store().keep(&stored).map_err(|error| match error {
            PutError::Write(error) => write_failed(&error),
            PutError::Mismatch { .. } | PutError::NoOutline { .. } | PutError::Read(_) => {
                tracing::error!(%error, "cannot store what a peer sent");
                KeepError::Failed
            }
        })
    }

    fn settle(&mut self) -> Result<(), KeepError> {
        self.site.store().sync().map_err(|error| write_failed(&error))?;
        let now = self.site.store().era();
        if self.era.take().is_some_and(|era| era != now) {
            tracing::error!(
                link = self.link,
                "the disk took back bytes of this run: the next run asks for them again"
            );
            return Err(KeepError::Failed);
        }
        Ok(())
    }

    fn learn(&mut self, proof: &RightsProof) -> Result<(), KeepError> {
        let head = &proof.batch().head;
        let author = head.head.log.author;
        let authority = self.authority(head.head.log.feed).map_err(|error| {
            tracing::error!(?error, "cannot tell by which keys sites are known");
            KeepError::Failed
        })?;
        if authority.as_ref().is_some_and(|authority| authority.contradicts(author, &head.succession)) {
            tracing::warn!(link = self.link, %author, "words of another key than the one that this site is known by");
            return Ok(());
        }
        if authority.is_some_and(|authority| !authority.is_author(author)) {
            let strangers = self.site.store().words_of_strangers(head.head.log.feed).map_err(|error| {
                tracing::error!(%error, "cannot tell which words about rights are here");
                KeepError::Failed
            })?;
            if strangers >= STRANGERS_WORDS_MAX {
                return Ok(());
            }
        }
        let learned = self.site.store().put_rights(proof).map_err(|error| write_failed(&error));
        if author == self.site.me() {
            self.site.inner.is_newest.store(false, Ordering::SeqCst);
        }
        learned
    }

    fn keep_fork(&mut self, proof: &ForkProof) -> Result<(), KeepError> {
        self.site.store().put_fork(proof).map(drop).map_err(|error| write_failed(&error))
    }

    fn remember(&mut self, memory: Memory) {
        // All ops of the run are in.
        self.brought.clear();
        if let Err(error) = self.site.store().remember(self.peer, &self.link, &memory) {
            tracing::warn!(%error, link = self.link, "cannot remember what the peer has: the next run compares anew");
        }
    }

    fn set_backs(&self) -> u64 {
        self.site.store().set_backs()
    }
}

#[cfg(test)]
pub(crate) mod tests;
