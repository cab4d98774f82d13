//! Versions on which sites clash, with every build.

use std::collections::BTreeMap;

use protocol::feed::Item;
use protocol::id::{FeedId, OpId, SiteId};
use protocol::op::Body;
use protocol::package::Coordinate;

use super::Node;
use super::feeds::{file_told, named};
use super::problem::not_found;
use crate::api::Problem;
use crate::api::ruling as shapes;
use crate::keeper::SiteStore;
use crate::store::FeedRecord;

impl Node {
    /// What sites are called here, by their links.
    pub(super) fn site_names(&self) -> BTreeMap<SiteId, String> {
        let mut names: BTreeMap<SiteId, String> =
            self.link_names().into_values().map(|link| (link.peer, link.peer_name)).collect();
        names.insert(self.me(), "this site".to_owned());
        names
    }

    /// The clashes of one feed or all.
    ///
    /// # Errors
    /// There is no such feed, or the disk fails.
    pub async fn conflicts(&self, feed: Option<String>) -> Result<shapes::Conflicts, Problem> {
        let names = self.site_names();
        self.blocking(move |site| {
            let feeds = match feed {
                Some(name) => vec![named(site, &name)?],
                None => site.store().feeds()?,
            };
            let mut conflicts = Vec::new();
            for (id, record) in feeds {
                site.store().each_item(id, site.look(), |at, item| {
                    if !item.clash.is_empty() {
                        conflicts.push(told(site, id, &record, &at, &item, &names)?);
                    }
                    Ok::<_, Problem>(())
                })?;
            }
            let open = conflicts.iter().filter(|conflict| !conflict.resolved).count() as u64;
            Ok(shapes::Conflicts { conflicts, open })
        })
        .await
    }

    /// One version with all its builds.
    ///
    /// # Errors
    /// Nothing is known of it, or the disk fails.
    pub async fn conflict(&self, feed: &str, name: &str, version: &str) -> Result<shapes::Conflict, Problem> {
        let (feed, name, version) = (feed.to_owned(), name.to_owned(), version.to_owned());
        let names = self.site_names();
        self.blocking(move |site| {
            let (id, record) = named(site, &feed)?;
            let at = Coordinate::new(record.genesis.kind, &name, &version)?;
            let item = site.store().item(id, &at.name, &at.version, site.look())?;
            let item = item.ok_or_else(|| not_found("version", &at.to_string()))?;
            told(site, id, &record, &at, &item, &names)
        })
        .await
    }
}

/// Why the served build of a clash is served.
pub(super) fn reason_of_winner(item: &Item) -> String {
    match (&item.resolved, item.seal) {
        (Some(op), _) => format!("chosen by op {op}"),
        (None, Some(seal)) => format!("covered by the feed's seal {seal}, the earliest of the builds"),
        (None, None) => "the earliest stamp of the builds, and none is sealed yet".to_owned(),
    }
}

fn told(
    site: &SiteStore,
    feed: FeedId,
    record: &FeedRecord,
    at: &Coordinate,
    item: &Item,
    names: &BTreeMap<SiteId, String>,
) -> Result<shapes::Conflict, Problem> {
    debug_assert_eq!(feed, record.genesis.feed_id(), "a record is that of its feed");
    let ops: Vec<OpId> =
        item.winner.iter().chain(&item.clash).chain(&item.twins).chain(&item.shadowed).copied().collect();
    let mut builds = Vec::new();
    for op in ops {
        let Some(one) = site.store().op(op)? else { continue };
        let Body::Publish(publish) = &one.op.body else { continue };
        let author = one.op.place.log.author;
        builds.push(shapes::Build {
            op: op.to_string(),
            author: author.to_string(),
            author_name: names.get(&author).cloned(),
            published_ms: one.op.stamp.wall().0,
            size: publish.manifest.size(),
            files: publish.manifest.files.iter().map(file_told).collect(),
            served: item.winner == Some(op),
        });
    }
    Ok(shapes::Conflict {
        feed: record.name.clone(),
        name: at.name.clone(),
        version: at.version.clone(),
        resolved: item.resolved.is_some(),
        because: reason_of_winner(item),
        builds,
    })
}
