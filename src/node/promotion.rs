//! Promotion: a version of one feed is published in another, which says where it came from.

use protocol::op::Provenance;
use protocol::package::Coordinate;

use super::Node;
use super::feeds::{named, package};
use super::problem::{not_found, usage};
use crate::api::ruling::PromoteRequest;
use crate::api::{self, Problem};
use crate::publish::{NewVersion, PublishError, publish};
use protocol::op::Body;

impl Node {
    /// Publishes a version of `feed` in another feed of the same kind, with its provenance. No bytes are copied.
    ///
    /// # Errors
    /// The version is not served here or not whole, the kinds differ, a rule of the other feed refuses it, or the disk does.
    pub async fn promote(&self, feed: &str, asked: PromoteRequest) -> Result<api::Package, Problem> {
        let feed = feed.to_owned();
        let promoted = self
            .blocking(move |site| {
                let (from, record) = named(site, &feed)?;
                let (to, target) = named(site, &asked.to)?;
                if from == to {
                    return Err(usage("a version is promoted into another feed"));
                }
                if record.genesis.kind != target.genesis.kind {
                    return Err(usage(format!(
                        "feed {:?} is of kind {} and feed {:?} of kind {}",
                        record.name, record.genesis.kind, target.name, target.genesis.kind
                    )));
                }
                let at = Coordinate::new(record.genesis.kind, &asked.name, &asked.version)?;
                let item = site.store().item(from, &at.name, &at.version, site.look())?;
                let winner = item.and_then(|item| item.winner);
                let winner = winner.ok_or_else(|| not_found("version", &at.to_string()))?;
                let body = site.store().op(winner)?.map(|one| one.op.body);
                let Some(Body::Publish(held)) = body else {
                    return Err(not_found("version", &at.to_string()));
                };
                let version = NewVersion {
                    coordinate: at.clone(),
                    manifest: held.manifest,
                    restore: false,
                    provenance: Some(Provenance { feed: from, op: winner }),
                };
                let published = publish(site, to, &target, version);
                // Nobody uploads what is published already.
                if let Err(error @ PublishError::NotUploaded { .. }) = &published {
                    return Err(Problem::new(503, "pending", "The bytes are not here", error.to_string())
                        .hint(format!("packetboat fetch {} {} {}", record.name, at.name, at.version)));
                }
                published?;
                let item = site.store().item(to, &at.name, &at.version, site.look())?;
                let item = item.ok_or_else(|| not_found("version", &at.to_string()))?;
                package(site, to, &target, at, &item)
            })
            .await?;
        self.news(None);
        Ok(promoted)
    }
}
