//! Authors that signed two histories of a log, as the API tells and resolves them.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use protocol::fork::ForkProof;
use protocol::id::SiteId;
use protocol::log::SignedHead;

use super::Node;
use super::feeds::named;
use super::op_log::author_of;
use crate::api::Problem;
use crate::api::forks as shapes;
use crate::api::ruling::Said;
use crate::keeper::SiteStore;
use crate::statement::forks as statement;

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
    pub async fn resolve_fork(&self, asked: shapes::ResolveFork) -> Result<Said, Problem> {
        let names = self.site_names();
        let resolved = self.blocking(move |site| {
            let author = author_of(&asked.author, site.me(), &names)?;
            let (feed, record) = named(site, &asked.feed)?;
            let spoken = statement::resolve(site, feed, &record, author, asked.at_most, asked.reason)?;
            Ok(Said { feed: asked.feed, op: spoken.op.to_string(), local: spoken.local })
        });
        let resolved = resolved.await?;
        self.news(None);
        Ok(resolved)
    }
}
