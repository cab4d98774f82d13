//! Which bytes the other ends of links say they keep.

use std::collections::VecDeque;
use std::time::Duration;

use protocol::id::{BlobId, FeedId};
use protocol::link::Link;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Node;
use crate::transport::pump::Command;

/// How long another site has to be reached before it is asked.
const REACHED_WITHIN: Duration = Duration::from_secs(15);

/// Questions to the other end of one link, in the order in which they are answered.
#[derive(Debug, Default)]
pub(super) struct Questions {
    /// Not told to a session yet: it is still coming up.
    waiting: VecDeque<(Vec<BlobId>, oneshot::Sender<Vec<BlobId>>)>,
    asked: VecDeque<oneshot::Sender<Vec<BlobId>>>,
}

impl Questions {
    /// Tells a session that is up what waits.
    pub(super) fn ask(&mut self, commands: &UnboundedSender<Command>) {
        for (blobs, answer) in self.waiting.drain(..) {
            // A session that is over is heard of, and then its questions are dropped.
            if commands.send(Command::AskHeld(blobs)).is_ok() {
                self.asked.push_back(answer);
            }
        }
    }

    pub(super) fn answered(&mut self, held: Vec<BlobId>) {
        if let Some(answer) = self.asked.pop_front() {
            // Whoever asked may have given up.
            drop(answer.send(held));
        }
    }

    /// The session that was asked is over: who waits for it is told so.
    pub(super) fn lost(&mut self) {
        self.asked.clear();
    }

    /// No session is left or coming.
    pub(super) fn hopeless(&mut self) {
        self.lost();
        self.waiting.clear();
    }
}

/// What is known of the other end of a link that might keep bytes for this site.
#[derive(Debug)]
pub(super) enum Keeps {
    /// It says that it keeps these, and gives them out over the link.
    These(Vec<BlobId>),
    /// The link brings no bytes of the feed here: whatever the other end keeps would never come back over it.
    ComesNever,
}

impl Node {
    /// Which of the blobs of a feed in these questions the other end of a link says it keeps; nothing where it cannot be asked.
    pub(super) async fn ask_held(
        &self,
        name: &str,
        feed: FeedId,
        questions: &[Vec<BlobId>],
    ) -> Option<Keeps> {
        if !self.lets_in(name, feed) {
            return Some(Keeps::ComesNever);
        }
        let serving = self.served_by(name);
        let name = serving.as_deref().unwrap_or(name);
        timeout(REACHED_WITHIN, self.session(name)).await.ok()?.ok()?;
        let mut held = Vec::new();
        for question in questions {
            let (answer, answered) = oneshot::channel();
            self.with_link(name, |state| {
                state.questions.waiting.push_back((question.clone(), answer));
                if let (Some(commands), Some(_)) = (&state.commands, &state.agreed) {
                    state.questions.ask(commands);
                }
            })?;
            held.extend(answered.await.ok()?);
        }
        // What both ends let through is known once the session is up.
        let brings = self.with_link(name, |state| {
            let agreed = state.agreed.as_ref()?;
            Some(agreed.feeds.iter().any(|on| on.feed == feed && on.effective.in_add))
        });
        Some(if brings?? { Keeps::These(held) } else { Keeps::ComesNever })
    }

    /// Whether this end of a link, or of its twin whose session may serve it, lets bytes of a feed in.
    fn lets_in(&self, name: &str, feed: FeedId) -> bool {
        let lets = |link: &Link| link.on(feed).is_some_and(|on| on.switches.in_add);
        self.with_link(name, |state| lets(&state.link)) == Some(true)
            || self.twin(name).is_some_and(|twin| lets(&twin))
    }
}
