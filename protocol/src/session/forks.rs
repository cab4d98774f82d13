//! Authors that signed two histories: shown to the peer as proof, and nothing more of such a log taken in or passed on.

use std::collections::BTreeSet;

use super::inbound::{Context, Inbound};
use super::outbound::Heads;
use super::stop::Stop;
use super::view::{Unreadable, View};
use super::{AgreedFeed, Event, Output, Session};
use crate::fault::{Misbehaved, Reason};
use crate::fork::ForkProof;
use crate::frame::{Forks, Frame, Known, Pull};
use crate::grant::{Authority, CutAt};
use crate::id::{FeedId, LogId, SiteId, StoreId};
use crate::limits::{FORKS_HEARD_MAX, FORKS_PER_FEED_MAX, FORKS_PER_FRAME_MAX};
use crate::log::{Batch, Reach, SignedHead};

/// What this session showed and heard of forks.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// Proofs that the peer has, by log and length.
    there: BTreeSet<(LogId, u64)>,
    /// Logs of which a person was told, each with how far it counted then.
    told: BTreeSet<(LogId, Option<u64>)>,
    /// Heads of the peer's own logs that it was shown because it told less of them.
    reminded: BTreeSet<(LogId, u64)>,
    /// Proofs and heads that the peer sent.
    heard: usize,
    /// Proofs about sites of which no grant is known here yet: it may be among the ops that come.
    waiting: Vec<ForkProof>,
}

/// Whether nothing more of a log is taken in or passed on.
pub(super) fn is_frozen(log: LogId, authority: &Authority, forks: &[ForkProof]) -> bool {
    let is_origin = authority.is_origin(log.author);
    forks.iter().any(|fork| {
        let cut = authority.cut(fork.log()).map(|cut| cut.len());
        fork.freezes(log, cut, is_origin)
    })
}

/// How far the logs of a feed travel: those of authors with rights and that of `also`, up to a cut, and none of a frozen one. [P-54]
pub(super) fn travelling(feed: FeedId, also: Option<SiteId>, view: &dyn View) -> Result<Heads, Unreadable> {
    let mut heads = Heads::new();
    let Some(authority) = view.authority(feed)? else { return Ok(heads) };
    let forks = view.forks(feed)?;
    for state in view.logs(feed)? {
        let (log, reach) = (state.log, state.reach);
        let travels = authority.is_author(log.author) || also == Some(log.author);
        let stays = !travels || authority.stays_home(log);
        if reach.len == 0 || stays || is_frozen(log, &authority, &forks) {
            continue;
        }
        match authority.cut(log) {
            Some(CutAt::Nothing) => {}
            Some(CutAt::Head(signed)) if signed.head.len < reach.len => {
                let cut = signed.head;
                // A site with a third history passes none of it on: its own proof is on its way.
                if view.root_at(log, cut.len)? == Some(cut.root) {
                    heads.insert(log, Reach { len: cut.len, root: cut.root, gaps: reach.gaps });
                }
            }
            Some(CutAt::Head(_)) | None => {
                heads.insert(log, reach);
            }
        }
    }
    Ok(heads)
}

/// A batch as it may be sent: what counts of it where its log was cut. A cut below what was `told` came after that: the peer would take this site for
/// a cheat if less came than it was told, and takes no more than counts once it knows of the cut.
pub(super) fn up_to_cut(batch: Batch, told: u64, view: &dyn View) -> Result<Option<Batch>, Unreadable> {
    if batch.head.head.len <= told {
        return Ok(Some(batch));
    }
    let log = batch.head.head.log;
    let cut = view.authority(log.feed)?.and_then(|authority| authority.cut(log));
    Ok(match cut {
        Some(CutAt::Head(signed)) if (told..batch.head.head.len).contains(&signed.head.len) => {
            batch.until(*signed)
        }
        Some(CutAt::Head(_) | CutAt::Nothing) | None => Some(batch),
    })
}

impl Inbound {
    /// A peer's history of a log is not the one held: proves it, or asks the peer to. The rest of the run goes on.
    pub(super) fn forked(&mut self, head: SignedHead, context: &mut Context<'_>) -> Result<(), Stop> {
        let log = head.head.log;
        self.give_up(log);
        if let Some(proof) = context.view.fork(&head)? {
            context.keep_fork(proof)?;
        } else if let Some(last) = context.view.log(log)?.len().checked_sub(1)
            && let Some(batch) = context.view.run(log, last, 0)?
        {
            context.send(&Frame::Forks(Forks { heads: vec![batch.head], forks: vec![] }));
        }
        Ok(context.note_fork(log)?)
    }
}

/// Whether a log may be kept here at all, so that a proof about it is worth keeping.
fn concerns(log: LogId, me: SiteId, view: &dyn View) -> Result<bool, Unreadable> {
    let authority = view.authority(log.feed)?;
    Ok(log.author == me || authority.is_some_and(|authority| authority.is_author(log.author)))
}

/// The peer's own logs of which it told less than is here, and how long they are: it was set back to before it said that.
pub(super) fn told_less(
    peer: SiteId,
    told: &Heads,
    feeds: &[AgreedFeed],
    view: &dyn View,
) -> Result<Vec<(LogId, u64)>, Unreadable> {
    let mut less = Vec::new();
    for feed in feeds.iter().filter(|on| on.effective.flows_in()).map(|on| on.feed) {
        let Some(authority) = view.authority(feed)? else { continue };
        let forks = view.forks(feed)?;
        let own = view.logs(feed)?.into_iter().filter(|state| state.log.author == peer);
        let lens = own.map(|state| (state.log, state.reach.len));
        less.extend(lens.filter(|(log, len)| {
            told.get(log).map_or(0, |reach| reach.len) < *len
                && authority.cut(*log).is_none()
                && !is_frozen(*log, &authority, &forks)
        }));
    }
    Ok(less)
}

impl Context<'_> {
    /// Keeps the proofs that wait, as far as they concern this site by what it knows now.
    pub(super) fn weigh_forks(&mut self) -> Result<(), Unreadable> {
        for proof in std::mem::take(&mut self.shown.waiting) {
            if concerns(proof.log(), self.me, self.view)? {
                self.keep_fork(proof)?;
            } else {
                self.shown.waiting.push(proof);
            }
        }
        self.shown.waiting.truncate(FORKS_PER_FEED_MAX);
        Ok(())
    }

    /// Tells a person, once a session and cut, of a log that was not known to be forked, or of which the histories part before the cut.
    fn note_fork(&mut self, log: LogId) -> Result<(), Unreadable> {
        let cut =
            self.view.authority(log.feed)?.and_then(|authority| authority.cut(log).map(|cut| cut.len()));
        let open = |fork: &ForkProof| fork.log() == log && fork.freezes(log, cut, false);
        let known = self.view.forks(log.feed)?.iter().any(open);
        if self.shown.told.insert((log, cut)) && !known {
            self.outputs.push_back(Output::Note(Event::Forked { log }));
        }
        Ok(())
    }

    /// A cut brings the signed head of the history that counts. Who holds another one up to there has the proof of that, also where nothing of
    /// the log flows to it: what it holds could be neither passed on nor told apart from what counts.
    fn prove_cuts_wrong(&mut self) -> Result<(), Stop> {
        for feed in self.feeds.iter().filter(|on| !on.effective.is_off()).map(|on| on.feed) {
            let Some(authority) = self.view.authority(feed)? else { continue };
            for (log, at) in authority.cuts() {
                if let CutAt::Head(signed) = at
                    && concerns(log, self.me, self.view)?
                    && let Some(proof) = self.view.fork(signed)?
                {
                    self.keep_fork(proof)?;
                }
            }
        }
        Ok(())
    }

    /// Shows the peer the heads of its own logs of which it told less than is here: where its store has grown since, no generation tells it that it
    /// was set back. The heads that it signed do. [P-56]
    pub(super) fn remind(&mut self, told: &Heads) -> Result<(), Unreadable> {
        let mut heads = Vec::new();
        for (log, len) in told_less(self.peer, told, self.feeds, self.view)? {
            if self.shown.reminded.insert((log, len))
                && let Some(batch) = self.view.run(log, len.saturating_sub(1), 0)?
            {
                heads.push(batch.head);
            }
        }
        for heads in heads.chunks(FORKS_PER_FRAME_MAX) {
            self.send(&Frame::Forks(Forks { heads: heads.to_vec(), forks: vec![] }));
        }
        Ok(())
    }

    /// Keeps a proof that is new here, and shows it to the peer if it may not have it.
    fn keep_fork(&mut self, proof: ForkProof) -> Result<(), Unreadable> {
        let log = proof.log();
        let known =
            self.view.forks(log.feed)?.iter().any(|fork| fork.log() == log && fork.len() <= proof.len());
        if known {
            return Ok(());
        }
        if self.shown.there.insert((log, proof.len())) {
            self.send(&Frame::Forks(Forks { heads: vec![], forks: vec![proof.fork().clone()] }));
        }
        // Whoever is told finds the proof.
        self.outputs.push_back(Output::Fork(Box::new(proof)));
        self.note_fork(log)
    }
}

impl Session {
    /// Listens to no life of the peer's that another one followed. [P-57]
    pub(super) fn unbarred(&mut self, life: StoreId) -> Result<(), Reason> {
        if self.config.barred.contains(&life) {
            self.outputs.push_back(Output::Note(Event::Doubled { life }));
            return Err(Reason::SiteCopied);
        }
        Ok(())
    }

    /// A peer that took in more of this store than is in it has seen it before it was set back, be it to nothing. A store that cannot be
    /// read looks so too, and then has better not sign either. [P-56]
    pub(super) fn look_back(&mut self, pull: Pull, view: &dyn View) {
        let generation = view.generation();
        let later = |known: Known| known.store == self.config.store && known.generation > generation;
        if pull.known.is_some_and(later) {
            self.outputs.push_back(Output::Note(Event::SetBack));
        }
    }

    /// Shows the peer the proofs that it may not have.
    pub(super) fn show_forks(&mut self, view: &dyn View) -> Result<(), Stop> {
        self.receiving(view, |_, context| context.prove_cuts_wrong())?;
        let mut news = Vec::new();
        for on in self.feeds().iter().filter(|on| !on.effective.is_off()) {
            for proof in view.forks(on.feed)?.iter() {
                if self.shown.there.insert((proof.log(), proof.len())) {
                    news.push(proof.fork().clone());
                }
            }
        }
        for forks in news.chunks(FORKS_PER_FRAME_MAX) {
            self.send(&Frame::Forks(Forks { heads: vec![], forks: forks.to_vec() }));
        }
        Ok(())
    }

    /// The peer shows proofs, and heads that are not of the history it holds.
    pub(super) fn hear_forks(&mut self, heard: Forks, view: &dyn View) -> Result<(), Stop> {
        self.shown.heard =
            self.shown.heard.saturating_add(heard.heads.len()).saturating_add(heard.forks.len());
        if self.shown.heard > FORKS_HEARD_MAX {
            return Err(Misbehaved::WantsFlooded.into());
        }
        let me = self.config.me;
        let feeds = self.feeds();
        let agreed = |log: LogId| -> Result<(), Misbehaved> {
            let on = feeds.iter().find(|on| on.feed == log.feed && !on.effective.is_off());
            on.map(drop).ok_or(Misbehaved::FeedNotAgreed)
        };
        for fork in heard.forks {
            let proof = ForkProof::check(fork).map_err(|_none| Misbehaved::BatchInvalid)?;
            agreed(proof.log())?;
            self.shown.there.insert((proof.log(), proof.len()));
            self.shown.waiting.push(proof);
        }
        self.receiving(view, |_, context| Ok(context.weigh_forks()?))?;
        for head in heard.heads {
            head.verify().map_err(|_forged| Misbehaved::BatchInvalid)?;
            let (log, len) = (head.head.log, head.head.len);
            agreed(log)?;
            if log.author == me && len > view.log(log)?.len() {
                self.outputs.push_back(Output::Note(Event::Ahead { log, len }));
            }
            if concerns(log, me, view)?
                && let Some(proof) = view.fork(&head)?
            {
                self.receiving(view, |_, context| Ok(context.keep_fork(proof)?))?;
            }
        }
        Ok(())
    }
}
