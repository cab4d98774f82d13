//! Authors that signed two histories of a log, as the API tells and resolves them.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use protocol::fork::ForkProof;
use protocol::id::{LogId, SiteId};
use protocol::log::SignedHead;

use super::feeds::named;
use super::op_log::author_of;
use super::{Node, locked};
use crate::api::Problem;
use crate::api::forks as shapes;
use crate::keeper::SiteStore;
use crate::statement::StatementError;
use crate::statement::forks::{self as statement, Wish};

fn head(signed: &SignedHead) -> shapes::Head {
    let head = signed.head;
    shapes::Head { len: head.len, root: HEXLOWER.encode(&head.root), signed_ms: head.time.0 }
}

fn told(
    site: &SiteStore,
    proof: &ForkProof,
    names: &BTreeMap<SiteId, String>,
) -> Result<shapes::Fork, Problem> {
    let (store, log) = (site.store(), proof.log());
    let feed = store.feed(log.feed)?;
    let counts = store.authority(log.feed)?.and_then(|authority| authority.cut(log)).map(|cut| cut.len());
    Ok(shapes::Fork {
        feed: feed.map_or_else(|| log.feed.to_string(), |record| record.name),
        author: log.author.to_string(),
        author_name: names.get(&log.author).cloned(),
        epoch: log.epoch,
        one: head(&proof.fork().one),
        other: head(&proof.fork().other),
        held: store.log_state(log)?.map_or(0, |state| state.after.len()),
        own: log.author == site.me(),
        counts,
        resolved: !proof.freezes(log, counts, false),
    })
}

/// What was asked for of each forked log.
pub(super) type Resolved = BTreeMap<LogId, Wish>;

impl Node {
    /// All forks that are proved at this site.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn forks(&self) -> Result<shapes::Forks, Problem> {
        let names = self.site_names();
        self.blocking(move |site| {
            let forks = site.store().all_forks()?;
            Ok(shapes::Forks {
                forks: forks.iter().map(|proof| told(site, proof, &names)).collect::<Result<_, _>>()?,
            })
        })
        .await
    }

    /// Says, as the feed's origin, how far a forked log counts.
    ///
    /// # Errors
    /// There is no such fork, this site is not the origin, or the disk refuses.
    pub async fn resolve_fork(&self, asked: shapes::ResolveFork) -> Result<shapes::Resolved, Problem> {
        let names = self.site_names();
        let resolved = self.blocking(move |site| {
            let author = author_of(&asked.author, site.me(), &names)?;
            let (feed, record) = named(site, &asked.feed)?;
            let wish = Wish { log: None, most: asked.at_most, drop: asked.drop, reason: asked.reason };
            let said = statement::resolve(site, feed, &record, author, &wish)?;
            let (published_again, deleted_again, others_again) = said.again;
            let op = said.cut.to_string();
            let told =
                shapes::Resolved { feed: asked.feed, op, published_again, deleted_again, others_again };
            Ok((told, said.logs, wish))
        });
        let (told, logs, wish) = resolved.await?;
        let wishes = logs.into_iter().map(|log| (log, Wish { log: Some(log), ..wish.clone() }));
        locked(&self.inner.resolved).extend(wishes);
        self.news(None);
        Ok(told)
    }

    /// A fork came to light, or another proof of one. Where the two histories part is not told by the proof that this site had if its own is
    /// the longer one; a site with the other proves that it has another up to the cut, and what was asked for is done with that.
    pub(super) async fn resolve_once_more(&self, log: LogId) {
        let Some(wish) = locked(&self.inner.resolved).get(&log).cloned() else { return };
        let resolved = self.blocking(move |site| {
            let Some(record) = site.store().feed(log.feed)? else { return Ok(false) };
            match statement::resolve(site, log.feed, &record, log.author, &wish) {
                Err(StatementError::NoFork { .. }) => Ok(false),
                said => Ok(said.map(|_resolved| true)?),
            }
        });
        match resolved.await {
            Ok(true) => {
                tracing::info!(author = %log.author, "a fork was open again and is resolved once more");
                self.news(None);
            }
            Ok(false) => {}
            Err(problem) => {
                tracing::warn!(problem = problem.detail, "a fork that is open again was not resolved");
            }
        }
    }
}
