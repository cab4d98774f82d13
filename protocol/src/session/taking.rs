//! A run of ops of one log, as it is taken in: verified, permitted, handed out to be stored.

use super::Output;
use super::forks::is_frozen;
use super::inbound::{Context, Inbound};
use super::stop::Stop;
use super::view::{Unreadable, View};
use crate::fault::{Misbehaved, Reason};
use crate::grant::Permitted;
use crate::id::LogId;
use crate::limits::UNSERVED_TOLD_MAX;
use crate::log::{Batch, BatchError, Entry, Mmr, Reach, SignedHead};
use crate::op::Body;

impl Inbound {
    /// A batch came.
    pub(super) fn batch(&mut self, batch: Batch, context: &mut Context<'_>) -> Result<(), Stop> {
        let log = batch.head.head.log;
        let found = context.feeds.iter().enumerate().find(|(_, on)| on.feed == log.feed);
        let (index, on) = found.ok_or(Misbehaved::FeedNotAgreed)?;
        if self.refused_logs.contains(&log) {
            return Ok(());
        }
        let held = context.view.log(log)?;
        let head = batch.head.clone();
        let authority = context.authority(log.feed)?;
        let beyond = authority.cut(log).is_some_and(|cut| head.head.len > cut.len());
        if beyond || is_frozen(log, &authority, &context.view.forks(log.feed)?) {
            // The cut may be among the ops that come after it.
            self.refuse_for_now(log);
            context.tally.refuse(Reason::Fork, batch.entries.iter().map(Entry::span).sum());
            return Ok(());
        }
        if head.head.len <= held.len() && self.contradicts(&head, &held, context)? {
            head.verify().map_err(|_forged| Misbehaved::BatchInvalid)?;
            return self.forked(head, context);
        }
        Self::fill(&batch, held.len(), on, context)?;
        let Some(batch) = batch.beyond(held.len()) else { return Ok(()) };
        let verified = match batch.verify(&held) {
            Ok(verified) => verified,
            Err(BatchError::Forked { .. }) => {
                // The author signed two histories; whoever relays one of them is not to blame.
                return self.forked(head, context);
            }
            // What lies before it never flowed here, where its feed came on the link since: it is asked for when the stream has ended.
            Err(BatchError::Gap { .. }) => return Ok(()),
            Err(
                BatchError::WeakKey { .. }
                | BatchError::BadSignature { .. }
                | BatchError::WrongKey { .. }
                | BatchError::Succession(_)
                | BatchError::WrongLength { .. }
                | BatchError::Op { .. }
                | BatchError::LeftOutTogether { .. }
                | BatchError::Misaligned(_),
            ) => return Err(Misbehaved::BatchInvalid.into()),
        };
        let ops = verified.ops().len() as u64;
        match Permitted::received(verified, on.feed, on.effective, &authority, context.me) {
            Ok(permitted) => {
                context.tally.ops_in += ops;
                let unseen = log.author == context.peer && !on.effective.flows_out();
                for named in permitted.inner().ops() {
                    context.tally.came.count(on.feed, &named.op.body);
                    if let Body::Publish(publish) = &named.op.body
                        && unseen
                        && self.pushed.len() < UNSERVED_TOLD_MAX
                    {
                        let feed = u16::try_from(index).unwrap_or(u16::MAX);
                        self.pushed.push((feed, named.id, publish.coordinate.clone()));
                    }
                }
                if let Some(target) = &mut self.target {
                    let came = target.came.entry(log).or_default();
                    *came = head.head.len.max(*came);
                }
                context.outputs.push_back(Output::Append(permitted));
                Ok(())
            }
            Err(reason @ (Reason::AuthorNotAllowed | Reason::KeyContested)) => {
                self.refuse_for_now(log);
                context.tally.refuse(reason, ops);
                Ok(())
            }
            Err(_held_back) => Err(Misbehaved::OpsNotPermitted.into()),
        }
    }

    /// Whether a head of a part of the held log, as the peer has it, is not of the history held.
    fn contradicts(&self, head: &SignedHead, held: &Mmr, context: &Context<'_>) -> Result<bool, Unreadable> {
        let (log, len) = (head.head.log, head.head.len);
        if len == held.len() {
            return Ok(head.head.root != held.root());
        }
        // An older head is looked at only where the peer said that it is its newest.
        let newest = self.target.as_ref().and_then(|target| target.notes.get(&log));
        if newest.is_none_or(|told| told.len != len) {
            return Ok(false);
        }
        Ok(context.view.root_at(log, len)?.is_some_and(|root| root != head.head.root))
    }

    /// Takes nothing more of a log in this session.
    pub(super) fn give_up(&mut self, log: LogId) {
        self.refused_logs.insert(log);
    }

    /// Takes nothing more of a log in this run, by what this site knows now.
    fn refuse_for_now(&mut self, log: LogId) {
        self.refused_logs.insert(log);
        self.for_now.insert(log);
    }

    /// What of a told log is asked for because it is not here: from which position on, if from any. The last op again, where the peer holds
    /// another history of the same length or a shorter one: its signed head is the proof.
    pub(super) fn lacks(&self, log: LogId, told: &Reach, view: &dyn View) -> Result<Option<u64>, Unreadable> {
        if self.refused_logs.contains(&log) || told.len == 0 {
            return Ok(None);
        }
        let mine = view.log(log)?;
        let here = if mine.len() == told.len { Some(mine.root()) } else { view.root_at(log, told.len)? };
        let differs = mine.len() >= told.len && here.is_some_and(|root| root != told.root);
        let held = if differs { told.len.saturating_sub(1) } else { mine.len() };
        Ok((held < told.len).then_some(held))
    }
}
