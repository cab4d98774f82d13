//! Keys of other sites that are let in no more: links end, rights are taken back, and no ticket admits them.

use protocol::id::{FeedId, SiteId};
use protocol::op::Rights;

use super::Node;
use super::problem::not_found;
use crate::api::Problem;
use crate::api::doctor::Finding;
use crate::api::keys::{Keys, Revoked, RevokedKey};
use crate::api::ruling::RevokeRequest;
use crate::events::Event;
use crate::keeper::{SiteStore, wall_clock};
use crate::statement::rights;
use crate::store::{FeedRecord, ReadError, Shelf};

/// Revoked keys that are listed: more than a company has sites.
const LISTED_MAX: usize = 10_000;

/// Whether a key is let in no more.
pub(super) fn is_revoked(site: &SiteStore, key: SiteId) -> Result<bool, ReadError> {
    Ok(site.store().record(Shelf::RevokedKeys, key.as_bytes())?.is_some())
}

fn all(site: &SiteStore) -> Result<Vec<RevokedKey>, ReadError> {
    let records = site.store().records(Shelf::RevokedKeys, &[], &[], LISTED_MAX)?;
    Ok(records.iter().filter_map(|(_, value)| serde_json::from_slice(value).ok()).collect())
}

/// The feeds in which a site may write, with whether this site may take that back. An origin's rights cannot be.
fn writable(site: &SiteStore, key: SiteId) -> Result<Vec<(FeedId, FeedRecord, bool)>, ReadError> {
    let mut feeds = Vec::new();
    for (feed, record) in site.store().feeds()? {
        let Some(authority) = site.store().authority(feed)? else { continue };
        if authority.rights(key) != Rights::default() {
            let ours = authority.is_admin(site.me()) && !authority.is_origin(key);
            feeds.push((feed, record, ours));
        }
    }
    Ok(feeds)
}

/// Revoked keys that still may write somewhere.
pub(super) fn findings(site: &SiteStore) -> Result<Vec<Finding>, ReadError> {
    let mut findings = Vec::new();
    for key in all(site)? {
        let Ok(id) = key.site.parse() else { continue };
        for (_, record, _) in writable(site, id)? {
            findings.push(Finding {
                severity: "warning".to_owned(),
                kind: "revoked-key".to_owned(),
                text: format!(
                    "the key of {} was revoked here and may write in feed {}",
                    key.site_name, record.name
                ),
                hint: "let the feed's origin take its rights back: packetboat rights revoke".to_owned(),
            });
        }
    }
    Ok(findings)
}

impl Node {
    /// # Errors
    /// The key was revoked here, or the disk fails.
    pub(super) async fn must_not_be_revoked(&self, key: SiteId, status: u16) -> Result<(), Problem> {
        if !self.blocking(move |site| Ok(is_revoked(site, key)?)).await? {
            return Ok(());
        }
        let detail = format!("the key of site {} was revoked here", key.short());
        Err(Problem::new(status, "refused", "The key was revoked", detail)
            .hint("packetboat key readmit, if it is to be trusted again"))
    }

    /// This site's key, and those that it lets in no more.
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) async fn keys(&self) -> Result<Keys, Problem> {
        let (site, own) = (self.me().to_string(), self.own_key().await?);
        self.blocking(|of| Ok(all(of)?)).await.map(|revoked| Keys { site, own, revoked })
    }

    /// Lets a site's key in no more. Its sessions end at once, its links are removed, and its rights are taken back where this site may.
    ///
    /// # Errors
    /// The site is this one or none, the reason is too long, or the disk refuses.
    pub(crate) async fn revoke_key(&self, asked: RevokeRequest) -> Result<Revoked, Problem> {
        let (peer, site_name) = self.site_named(&asked.site)?;
        if peer == self.me() {
            let detail = "a site cannot revoke its own key: the sites that trust it can";
            return Err(Problem::new(409, "refused", "The key is this site's own", detail));
        }
        let RevokeRequest { reason, accept_all, .. } = asked;
        let site_name = if site_name.is_empty() { peer.short() } else { site_name };
        let key = RevokedKey {
            site: peer.to_string(),
            site_name,
            reason: reason.clone(),
            revoked_ms: wall_clock().0,
        };
        // First what keeps it out, so that a crash half-way leaves it out.
        let kept = key.clone();
        self.blocking(move |site| {
            crate::statement::fitting(&kept.reason)?;
            let value = serde_json::to_vec(&kept).unwrap_or_default();
            Ok(site.store().put_record(Shelf::RevokedKeys, peer.as_bytes(), &value)?)
        })
        .await?;
        // Whoever gives the site a link, a feed or rights looks at what keeps it out while it holds this.
        let _edits = self.inner.link_edits.lock().await;
        let mut links = Vec::new();
        for (name, _) in self.link_names().into_iter().filter(|(_, link)| link.peer == peer) {
            self.unlink(&name).await?;
            links.push(name);
        }
        let taken = self.blocking(move |site| {
            let (mut feeds, mut feeds_left) = (Vec::new(), Vec::new());
            for (feed, record, ours) in writable(site, peer)? {
                if !ours {
                    feeds_left.push(record.name);
                    continue;
                }
                match rights::revoke(site, feed, &record, peer, reason.clone(), accept_all) {
                    Ok(_) => feeds.push(record.name),
                    Err(error) if error.is_of_one_feed() => {
                        tracing::warn!(%error, feed = record.name, "the rights of a revoked key are left there");
                        feeds_left.push(record.name);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Ok((feeds, feeds_left))
        });
        let (feeds, feeds_left) = taken.await?;
        self.news(None);
        let RevokedKey { site, site_name, reason, .. } = key.clone();
        self.event(Event::KeyRevoked { site, site_name, reason });
        Ok(Revoked { key, links, feeds, feeds_left })
    }

    /// Lets a key be paired with again. Links and rights do not come back by themselves. By which later keys the site was known is forgotten: they may
    /// be a thief's, and the ticket tells who comes.
    ///
    /// # Errors
    /// It was not revoked, or the disk refuses.
    pub(crate) async fn readmit_key(&self, site: &str) -> Result<RevokedKey, Problem> {
        let named = site.to_owned();
        self.blocking(move |site| {
            let missing = || not_found("revoked key", &named).hint("`packetboat key list` shows all");
            let key = all(site)?.into_iter().find(|key| key.site == named).ok_or_else(missing)?;
            let id: SiteId = key.site.parse().map_err(|_not_one| missing())?;
            // First, so that a crash half-way lets nobody in.
            site.store().remove_record(Shelf::KeysOf, id.as_bytes())?;
            site.store().remove_record(Shelf::RevokedKeys, id.as_bytes())?;
            Ok(key)
        })
        .await
    }
}
