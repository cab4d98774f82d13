//! When a site that was restored or copied may write again: once a peer brought back what it said, or a person says that none is left.

use protocol::fault::{Outcome, Reason};
use protocol::id::FeedId;
use protocol::link::Link;
use protocol::session::Event as Noticed;

use super::feeds::label;
use super::problem::not_found;
use super::sessions::tell;
use super::{Node, locked};
use crate::api::Problem;
use crate::api::writing as shapes;
use crate::events::Event;
use crate::keeper::own_log::{self, Grounds};
use crate::keeper::wall_clock;
use crate::store::Cause;
use crate::transport::pump::Command;

impl Node {
    /// Tells of what was noticed when the store was opened.
    pub(super) fn awoke(&self, cause: Cause) {
        self.event(Event::SiteAwoke { cause: cause.words().to_owned() });
    }

    /// A peer knows of more than this store, or another node has its key: nothing more is signed until a run brought back what is lacking.
    pub(super) async fn awaken(&self, cause: Cause) {
        match self.blocking(move |site| Ok(site.awaken(cause, wall_clock())?)).await {
            Ok(true) => {
                self.awoke(cause);
            }
            Ok(false) => {}
            Err(problem) => {
                tracing::error!(detail = problem.detail, "this site could not be kept from writing");
            }
        }
    }

    /// A run is over, and everything of these feeds flowed in: this site knows what it said there, and goes on in a later epoch. Not where
    /// damage took something since the run began, which that may have counted as here.
    pub(super) async fn learned(&self, link: &Link, whole: Vec<FeedId>, set_backs_before: Option<u64>) {
        let (peer, now) = (link.peer, self.inner.site.store().set_backs());
        let whole = if set_backs_before == Some(now) { whole } else { Vec::new() };
        let heard = whole.clone();
        let noting = self.blocking(move |site| {
            heard.into_iter().try_for_each(|feed| Ok(site.store().note_heard(feed, peer)?))
        });
        if let Err(problem) = noting.await {
            tracing::warn!(problem = problem.detail, "what this site was told of itself could not be noted");
        }
        let set_backs = self.with_link(&link.name, |state| state.set_backs.replace(now)).flatten();
        if let Err(problem) = self.resume(whole, Grounds::Heard { set_backs }).await {
            tracing::error!(detail = problem.detail, "this site could not begin to write again");
        }
    }

    async fn resume(&self, feeds: Vec<FeedId>, grounds: Grounds) -> Result<Vec<shapes::Resumed>, Problem> {
        let resumed = self
            .blocking(move |site| {
                let mut resumed = Vec::new();
                for feed in feeds {
                    if let Some(epoch) = site.resume(feed, grounds)? {
                        resumed.push(shapes::Resumed { feed: label(site, feed)?, epoch });
                    }
                }
                Ok(resumed)
            })
            .await?;
        for one in &resumed {
            self.event(Event::WritingResumed { feed: one.feed.clone(), epoch: one.epoch });
        }
        Ok(resumed)
    }

    /// Lets this site write again though no peer told what it said: in a later epoch, so that nothing said twice can contradict it.
    ///
    /// # Errors
    /// There is no such feed, or the disk refuses.
    pub async fn resume_writing(&self, asked: shapes::ResumeRequest) -> Result<shapes::Resuming, Problem> {
        let feeds = self.blocking(move |site| {
            let all = site.store().feeds()?;
            let wanted = |name: &str| asked.feed.as_deref().is_none_or(|feed| feed == name);
            let feeds: Vec<FeedId> =
                all.into_iter().filter(|(_, record)| wanted(&record.name)).map(|(feed, _)| feed).collect();
            match &asked.feed {
                Some(feed) if feeds.is_empty() => Err(not_found("feed", feed)),
                Some(_) | None => Ok(feeds),
            }
        });
        let feeds = feeds.await?;
        Ok(shapes::Resuming { resumed: self.resume(feeds, Grounds::Told).await? })
    }

    /// A session noticed something that a person should know.
    pub(super) async fn noticed(&self, link: &Link, event: Noticed) {
        match event {
            Noticed::Forked { log } => {
                self.fork_seen(&link.name, log);
                self.resolve_once_more(log).await;
            }
            Noticed::SetBack => self.awaken(Cause::SetBack).await,
            Noticed::Ahead { log, len } => {
                let behind =
                    self.blocking(move |site| Ok(own_log::is_behind(site.store(), site.me(), log, len)?));
                if behind.await.unwrap_or(true) {
                    self.awaken(Cause::SetBack).await;
                }
            }
            Noticed::Lacks { blob } => self.asked_by_a_site(link, blob).await,
            Noticed::Doubled { life } => {
                locked(&self.inner.lives).saw(link.peer, life, wall_clock());
                self.copy_seen(&link.name);
            }
        }
    }

    /// A session was closed. Where the other end did that because this site has a double, this site stops writing.
    pub(super) async fn closed_as_copy(&self, link: &Link, closed: Outcome) {
        let told = locked(&self.inner.lives).is_told_of_own(closed, link.peer, wall_clock());
        if told {
            self.doubled(&link.name).await;
        }
    }

    /// The other end of a link was called by two nodes with this site's key, or says so.
    pub(super) async fn doubled(&self, link: &str) {
        let peer = self.with_link(link, |state| state.link.peer_name.clone()).unwrap_or_default();
        self.event(Event::SiteCopied {
            link: link.to_owned(),
            site: self.inner.name.clone(),
            told_by: Some(peer),
        });
        self.awaken(Cause::Doubled).await;
    }

    /// Two nodes with one key call: both are told, and neither is listened to while both do.
    pub(super) fn copy_seen(&self, link: &str) {
        let state = self.with_link(link, |state| {
            if let Some(commands) = state.commands.take() {
                tell(&commands, Command::Close(Outcome::Refused(Reason::SiteCopied)));
            }
            (state.link.peer, state.link.peer_name.clone())
        });
        let Some((peer, site)) = state else { return };
        if locked(&self.inner.lives).doubled(peer, wall_clock()) {
            self.event(Event::SiteCopied { link: link.to_owned(), site, told_by: None });
        }
    }
}
