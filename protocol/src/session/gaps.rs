//! Ops that a link held back and that are known by their hash alone: asked for where a link now lets everything in, and put in their places.

use std::collections::{BTreeMap, BTreeSet};

use super::inbound::{Context, Inbound, Target};
use super::outbound::{Heads, root_of};
use super::stop::Stop;
use super::view::{Unreadable, View};
use super::{AgreedFeed, Output};
use crate::fault::Misbehaved;
use crate::frame::WantOps;
use crate::grant::Permitted;
use crate::id::SiteId;
use crate::log::{Batch, BatchError};

/// Whether a link lets all of an author's ops in, so that what is lacking is lacking for no reason of the link's: of what this site said itself it
/// holds nothing back.
fn lets_all_in(on: &AgreedFeed, author: SiteId, me: SiteId) -> bool {
    let effective = on.effective.of_author(author == me);
    effective.in_add && effective.in_delete
}

/// Why a gap was not filled.
enum Unfilled {
    Batch(BatchError),
    Unreadable(Unreadable),
}

impl From<BatchError> for Unfilled {
    fn from(error: BatchError) -> Self {
        Self::Batch(error)
    }
}

impl Inbound {
    /// Whether the peer, as it told, has ops of which only the hash is here.
    pub(super) fn has_gaps(
        &self,
        me: SiteId,
        feeds: &[AgreedFeed],
        view: &dyn View,
    ) -> Result<bool, Unreadable> {
        for on in feeds.iter().filter(|on| on.effective.flows_in()) {
            let logs = view.logs(on.feed)?.into_iter();
            for state in logs.filter(|state| lets_all_in(on, state.log.author, me)) {
                if self.copy.get(&state.log).is_some_and(|there| there.gaps < state.reach.gaps) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The peer has no news, and it has what is lacking: a run with nothing else in it.
    pub(super) fn ask_gaps(&mut self, context: &mut Context<'_>) -> Result<(), Stop> {
        let notes = self.copy.clone();
        self.target = Some(Target {
            generation: self.known.map_or(0, |known| known.generation),
            root: root_of(&notes),
            notes,
            told: BTreeSet::new(),
            repaired: true,
            asked: BTreeSet::new(),
            came: BTreeMap::new(),
            gaps_asked: false,
        });
        self.ops_ended([0; 8], context)
    }

    /// Puts what a batch has for gaps of the held part of its log in its places.
    pub(super) fn fill(
        batch: &Batch,
        held: u64,
        on: &AgreedFeed,
        context: &mut Context<'_>,
    ) -> Result<(), Stop> {
        let log = batch.head.head.log;
        let first = if lets_all_in(on, log.author, context.me) { context.view.first_gap(log)? } else { None };
        if first.is_none_or(|first| first >= held || batch.head.head.len <= first) {
            return Ok(());
        }
        let gap = |seq| {
            if seq < held { context.view.gap(log, seq).map_err(Unfilled::Unreadable) } else { Ok(None) }
        };
        let filling = match batch.filling(gap) {
            Ok(filling) => filling,
            // The author signed two histories, and the peer holds the other one: the heads tell of that.
            Err(Unfilled::Batch(BatchError::Forked { .. })) => return Ok(()),
            Err(Unfilled::Batch(_)) => return Err(Misbehaved::BatchInvalid.into()),
            Err(Unfilled::Unreadable(unreadable)) => return Err(unreadable.into()),
        };
        let authority = context.authority(log.feed)?;
        let ops = filling.ops().len() as u64;
        if ops == 0 {
            return Ok(());
        }
        match Permitted::filled(filling, on.feed, on.effective, &authority, context.me) {
            Ok(permitted) => {
                context.tally.ops_in += ops;
                for named in permitted.inner().ops() {
                    context.tally.came.count(on.feed, &named.op.body);
                }
                context.outputs.push_back(Output::Fill(permitted));
            }
            Err(reason) => context.tally.refuse(reason, ops),
        }
        Ok(())
    }
}

/// What to ask for of logs in which the peer lacks less than this site; not of those that are asked for anyway.
pub(super) fn gap_wants(
    notes: &Heads,
    asked: &BTreeSet<(u16, SiteId, u64)>,
    context: &Context<'_>,
) -> Result<Vec<WantOps>, Unreadable> {
    let mut wants = Vec::new();
    for (index, on) in (0..).zip(context.feeds).filter(|(_, on)| on.effective.flows_in()) {
        for state in context.view.logs(on.feed)?.into_iter().filter(|state| state.reach.gaps > 0) {
            let log = state.log;
            if !lets_all_in(on, log.author, context.me) {
                continue;
            }
            let fewer = notes.get(&log).is_some_and(|there| there.gaps < state.reach.gaps);
            if let Some(from) = context.view.first_gap(log)?
                && fewer
                && !asked.contains(&(index, log.author, log.epoch))
            {
                wants.push(WantOps { feed: index, author: log.author, epoch: log.epoch, from });
            }
        }
    }
    Ok(wants)
}
