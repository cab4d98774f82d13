//! Forks: two heads that one author signed and that no single history has. Proof of that for anyone, by arithmetic alone.

use serde::{Deserialize, Serialize};

use crate::id::LogId;
use crate::limits::{FORK_PATH_MAX, FORK_TAIL_OPS};
use crate::log::{BatchError, Misaligned, Mmr, Run, SignedHead};
use crate::succession::generation_of;

#[cfg(test)]
mod tests;

/// Two contradicting heads of one log, as they travel and are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork {
    /// The shorter one, or either where both are as long.
    pub one: SignedHead,
    pub other: SignedHead,
    /// The whole history behind `other` in runs of ops, each by its hash; one of them ends where `one` does.
    pub path: Vec<Run>,
}

/// A fork that was checked. Only this file makes one.
#[expect(clippy::module_name_repetitions, reason = "Proof alone would read as any proof, of rights for one")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkProof(Fork);

/// Why two heads prove no fork.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unproved {
    #[error(transparent)]
    Head(#[from] BatchError),
    #[error("the two heads are of different logs")]
    LogsDiffer,
    #[error("the history has {found} runs, and at most {FORK_PATH_MAX} are allowed")]
    LongPath { found: usize },
    #[error("the history is not the one behind the longer head")]
    OtherPath,
    #[error("no run of the history ends where the shorter head does")]
    NoBoundary,
    #[error("one history has both heads")]
    Agree,
}

impl From<Misaligned> for Unproved {
    fn from(misaligned: Misaligned) -> Self {
        Self::Head(misaligned.into())
    }
}

impl ForkProof {
    /// Checks what came from elsewhere, or from this site's own disk. [P-53]
    ///
    /// # Errors
    /// See [`Unproved`].
    pub fn check(fork: Fork) -> Result<Self, Unproved> {
        let (one, other) = (&fork.one.head, &fork.other.head);
        if one.log != other.log || one.len > other.len {
            return Err(Unproved::LogsDiffer);
        }
        if fork.path.len() > FORK_PATH_MAX {
            return Err(Unproved::LongPath { found: fork.path.len() });
        }
        fork.one.verify()?;
        fork.other.verify()?;
        let mut history = Mmr::default();
        let mut there = None;
        for run in &fork.path {
            history.push_subtree(run.height, run.hash)?;
            if history.len() == one.len {
                there = Some(history.root());
            }
        }
        if history.len() != other.len || history.root() != other.root {
            return Err(Unproved::OtherPath);
        }
        match there {
            None => Err(Unproved::NoBoundary),
            Some(root) if root == one.root => Err(Unproved::Agree),
            Some(_) => Ok(Self(fork)),
        }
    }

    /// What two heads prove, where `other` is the head of a history: `before` is that history up to some length, `rest` what follows. None
    /// if the history has both heads, is shorter than `one`, or knows the ops around its end only in larger runs.
    #[must_use]
    pub fn between(one: SignedHead, other: SignedHead, before: &Mmr, rest: &[Run]) -> Option<Self> {
        let (end, mut at) = (one.head.len, before.len());
        let tail = end.saturating_sub(FORK_TAIL_OPS);
        let (mut early, mut near, mut late) = (Vec::new(), Vec::new(), Vec::new());
        for run in rest {
            let from = at;
            at = at.saturating_add(run.span());
            let part = if from >= end {
                &mut late
            } else if at <= tail {
                &mut early
            } else {
                &mut near
            };
            part.push((from, *run));
        }
        let mut path = before.runs();
        path.extend(folded(&early));
        path.extend(near.into_iter().map(|(_, run)| run));
        path.extend(folded(&late));
        Self::check(Fork { one, other, path }).ok()
    }

    /// The log of which two histories were signed.
    #[must_use]
    pub const fn log(&self) -> LogId {
        self.0.one.head.log
    }

    /// The length at which the histories differ for certain.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.0.one.head.len
    }

    /// Never: two heads of no ops are the same.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The proof as it travels and is kept.
    #[must_use]
    pub const fn fork(&self) -> &Fork {
        &self.0
    }

    /// How far a history goes along with that behind the longer head, as far as its runs tell. `run` has the hash of the history's aligned
    /// run of `2^height` ops that begins at a position, if it has that many.
    ///
    /// # Errors
    /// What `run` says.
    pub fn in_common<E>(
        &self,
        mut run: impl FnMut(u64, u8) -> Result<Option<[u8; 32]>, E>,
    ) -> Result<u64, E> {
        let mut at = 0_u64;
        for part in &self.0.path {
            if run(at, part.height)? != Some(part.hash) {
                break;
            }
            at = at.saturating_add(part.span());
        }
        Ok(at)
    }

    /// Whether nothing more of `log` is taken in or passed on because of this fork. `cut` is how far the origin said that the forked log
    /// counts. An origin goes on in a later epoch, for it alone can say how far the forked one counts, and everyone with a later key. [P-54]
    #[must_use]
    pub fn freezes(&self, log: LogId, cut: Option<u64>, is_origin: bool) -> bool {
        let forked = self.log();
        let same_author = forked.feed == log.feed && forked.author == log.author;
        let open = cut.is_none_or(|cut| cut >= self.len());
        // A later key fixed what counts of an earlier one's logs.
        let later = log.epoch > forked.epoch && generation_of(log.epoch) == generation_of(forked.epoch);
        let reached = log.epoch == forked.epoch || (later && !is_origin);
        same_author && open && reached
    }
}

/// Neighbouring runs put together as far as they stand at multiples of their size.
fn folded(runs: &[(u64, Run)]) -> Vec<Run> {
    let mut folded: Vec<(u64, Run)> = Vec::new();
    for &(from, run) in runs {
        let mut next = (from, run);
        while let Some((start, left)) = folded.last().copied() {
            let Some(both) = left.join(&next.1, start) else { break };
            folded.pop();
            next = (start, both);
        }
        folded.push(next);
    }
    folded.into_iter().map(|(_, run)| run).collect()
}
