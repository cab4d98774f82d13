//! What is said of feeds and versions beside publishing and deleting, as the API asks for it.

use protocol::filter::parse_size_bytes;
use protocol::grant::Held;
use protocol::id::{BlobId, FeedId, OpId, SiteId};
use protocol::log::NamedOp;
use protocol::op::{Block, Blocked, Body, Offer, Rights};
use protocol::package::{Coordinate, check_feed_name};
use protocol::reference::references;
use protocol::time::Timestamp;

use super::Node;
use super::feeds::{described, named};
use super::problem::usage;
use crate::api::ruling as shapes;
use crate::api::{self, Problem};
use crate::keeper::SiteStore;
use crate::statement::{self, Spoken, StatementError, choice, rights};
use crate::store::{FeedRecord, ReadError, Topic};

fn said(feed: &str, spoken: Spoken) -> shapes::Said {
    shapes::Said { feed: feed.to_owned(), op: spoken.op.to_string(), local: spoken.local }
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error| usage(format!("{error}")))
}

/// The words of rights, in their order.
fn rights_words(rights: Rights) -> Vec<String> {
    let all = [
        (rights.publish, "publish"),
        (rights.delete_own, "delete-own"),
        (rights.delete_wide, "delete-wide"),
        (rights.block, "block"),
        (rights.admin, "admin"),
    ];
    all.into_iter().filter(|(held, _)| *held).map(|(_, word)| word.to_owned()).collect()
}

fn rights_of(words: &[String]) -> Result<Rights, Problem> {
    let mut rights = Rights::default();
    for word in words {
        match word.as_str() {
            "publish" => rights.publish = true,
            "delete-own" => rights.delete_own = true,
            "delete-wide" => rights.delete_wide = true,
            "block" => rights.block = true,
            "admin" => rights.admin = true,
            _ => {
                return Err(usage(format!(
                    "{word:?} is no right: use publish, delete-own, delete-wide, block, admin"
                )));
            }
        }
    }
    if rights == Rights::default() {
        return Err(usage("a grant names at least one right"));
    }
    Ok(rights)
}

/// `none`, or bytes.
/// The blocks of versions that stand.
fn blocks_of_versions(site: &SiteStore, feed: FeedId) -> Result<Vec<NamedOp>, Problem> {
    let mut ids = Vec::new();
    site.store().each_item(feed, site.look(), |_, item| {
        ids.extend(item.blocks);
        Ok::<_, ReadError>(())
    })?;
    let mut blocks = Vec::new();
    for id in ids {
        let of_a_version = |named: &NamedOp| {
            matches!(&named.op.body, Body::Block(Block { target: Blocked::Coordinate(_), .. }))
        };
        blocks.extend(site.store().op(id)?.filter(of_a_version));
    }
    Ok(blocks)
}

fn quota_of(text: &str) -> Result<Option<u64>, Problem> {
    match text {
        "none" => Ok(None),
        size => parse_size_bytes(size)
            .map(Some)
            .ok_or_else(|| usage(format!("{size:?} is no size: use 500MB, 50GB or none"))),
    }
}

impl Node {
    /// Says something in a feed and passes the news on.
    async fn speak(
        &self,
        feed: &str,
        say: impl FnOnce(&SiteStore, FeedId, &FeedRecord) -> Result<Spoken, StatementError> + Send + 'static,
    ) -> Result<shapes::Said, Problem> {
        let feed = feed.to_owned();
        let told = self
            .blocking(move |site| {
                let (id, record) = named(site, &feed)?;
                Ok(said(&feed, say(site, id, &record)?))
            })
            .await?;
        self.news(None);
        Ok(told)
    }

    /// Changes a feed at this site.
    ///
    /// # Errors
    /// There is none of that name, the new name is taken or not allowed, or the disk refuses.
    pub async fn change_feed(&self, name: &str, change: shapes::FeedChange) -> Result<api::Feed, Problem> {
        let name = name.to_owned();
        let counts = self.inner.counts.clone();
        let quota = change.quota.as_deref().map(quota_of).transpose()?;
        let (id, changed) = self
            .blocking(move |site| {
                let (feed, mut record) = named(site, &name)?;
                if let Some(new) = change.name.filter(|new| *new != record.name) {
                    check_feed_name(&new)?;
                    if site.store().feed_named(&new)?.is_some() {
                        let detail = format!("there is a feed {new:?} at this site already");
                        return Err(Problem::new(409, "conflict", "The feed's name is taken", detail));
                    }
                    record.name = new;
                }
                record.strict = change.strict.unwrap_or(record.strict);
                record.local_wins = change.local_wins.unwrap_or(record.local_wins);
                record.open_reads = change.open_reads.unwrap_or(record.open_reads);
                site.store().put_feed(&record)?;
                if let Some(quota) = quota {
                    site.store().set_quota(feed, quota)?;
                }
                Ok((feed, described(site, &counts, feed, &record)?))
            })
            .await?;
        if quota.is_some() {
            self.inner.counts.look_again();
            self.wake_links_in(Some(id));
            let node = self.clone();
            tokio::spawn(async move { node.merges_go_on().await });
        }
        Ok(changed)
    }

    /// Who may write in a feed.
    ///
    /// # Errors
    /// There is none of that name, or the disk fails.
    pub async fn rights(&self, feed: &str) -> Result<shapes::Rights, Problem> {
        let feed = feed.to_owned();
        self.blocking(move |site| {
            let (id, record) = named(site, &feed)?;
            let authority = site.store().authority(id)?;
            let mut grants = Vec::new();
            for (grantee, held) in authority.as_ref().map(|authority| authority.grants()).unwrap_or_default()
            {
                grants.extend(held.into_iter().map(|Held { grant, revoked }| shapes::Right {
                    site: grantee.to_string(),
                    label: grant.label.clone(),
                    rights: rights_words(grant.rights),
                    prefix: grant.prefix.clone(),
                    expires_ms: grant.expires.map(|at| at.0),
                    revoked,
                }));
            }
            Ok(shapes::Rights {
                feed,
                origin: record.genesis.origin.to_string(),
                second_origin: record.genesis.second_origin.map(|site| site.to_string()),
                grants,
            })
        })
        .await
    }

    /// The site of that id, or at the other end of the link of that name, with what it is called.
    pub(super) fn site_named(&self, text: &str) -> Result<(SiteId, String), Problem> {
        let links = self.link_names();
        if let Some(link) = links.get(text) {
            return Ok((link.peer, link.peer_name.clone()));
        }
        let site: SiteId = parsed(text)?;
        let known = links.values().find(|link| link.peer == site);
        Ok((site, known.map_or_else(String::new, |link| link.peer_name.clone())))
    }

    /// Gives a site rights.
    ///
    /// # Errors
    /// This site may not, the words make no sense, or the disk refuses.
    pub async fn grant(&self, feed: &str, asked: shapes::GrantRequest) -> Result<shapes::Said, Problem> {
        let grantee = self.site_named(&asked.site)?;
        let grantee_id = grantee.0;
        let given = rights_of(&asked.rights)?;
        let expires = asked.expires_ms.map(Timestamp);
        let _edits = self.inner.link_edits.lock().await;
        self.must_not_be_revoked(grantee_id, 409).await?;
        self.speak(feed, move |site, id, record| {
            rights::grant(site, id, record, grantee, given, asked.prefix, expires)
        })
        .await
    }

    /// Takes a site's rights back.
    ///
    /// # Errors
    /// This site may not, the words make no sense, or the disk refuses.
    pub async fn revoke(&self, feed: &str, asked: shapes::RevokeRequest) -> Result<shapes::Said, Problem> {
        let (grantee, _) = self.site_named(&asked.site)?;
        self.speak(feed, move |site, id, record| {
            rights::revoke(site, id, record, grantee, asked.reason, asked.accept_all)
        })
        .await
    }

    /// Blocks a version or bytes.
    ///
    /// # Errors
    /// The names are not allowed, or the disk refuses.
    pub async fn block(&self, feed: &str, asked: shapes::BlockRequest) -> Result<shapes::Said, Problem> {
        let blob = asked.blob.as_deref().map(parsed::<BlobId>).transpose()?;
        let version = asked.name.zip(asked.version);
        if blob.is_some() == version.is_some() {
            return Err(usage("a block names either a version or a blob"));
        }
        self.speak(feed, move |site, id, record| {
            let target = match (blob, version) {
                (Some(blob), _) => Blocked::Blob(blob),
                (None, Some((name, version))) => {
                    Blocked::Coordinate(Coordinate::new(record.genesis.kind, &name, &version)?)
                }
                (None, None) => return Err(StatementError::NoSuchOp { op: String::new() }),
            };
            statement::block(site, id, target, asked.reason)
        })
        .await
    }

    /// Lifts a block.
    ///
    /// # Errors
    /// There is no such block, or the disk refuses.
    pub async fn unblock(&self, feed: &str, op: &str, reason: String) -> Result<shapes::Said, Problem> {
        let op: OpId = parsed(op)?;
        self.speak(feed, move |site, id, _| statement::unblock(site, id, op, reason)).await
    }

    /// The blocks of bytes in a feed, and those of versions that stand.
    ///
    /// # Errors
    /// There is no such feed, or the disk fails.
    pub async fn blocks(&self, feed: &str) -> Result<shapes::Blocks, Problem> {
        let feed = feed.to_owned();
        self.blocking(move |site| {
            let (id, _) = named(site, &feed)?;
            let ledger = site.store().ledger(id)?;
            let mut blocks = Vec::new();
            let mut said = site.store().ops_about(id, Topic::Blocks)?;
            said.extend(blocks_of_versions(site, id)?);
            for one in said {
                let Body::Block(Block { target, reason }) = &one.op.body else { continue };
                let (target, name) = match target {
                    Blocked::Blob(blob) => (blob.to_string(), String::new()),
                    Blocked::Coordinate(at) => (at.to_string(), at.name.clone()),
                };
                let (place, stamp) = (one.op.place, one.op.stamp);
                blocks.push(shapes::Block {
                    op: one.id.to_string(),
                    target,
                    author: place.log.author.to_string(),
                    reason: reason.clone(),
                    stamp_ms: stamp.wall().0,
                    stands: ledger
                        .as_ref()
                        .is_some_and(|ledger| ledger.block_stands(one.id, place, stamp, &name, site.me())),
                });
            }
            Ok(shapes::Blocks { feed, blocks })
        })
        .await
    }

    /// Says how a version is offered.
    ///
    /// # Errors
    /// The word is none, nothing is known of the version, or the disk refuses.
    pub async fn offer(&self, feed: &str, asked: shapes::OfferRequest) -> Result<shapes::Said, Problem> {
        let offer = match asked.offer.as_str() {
            "listed" => Offer::Listed,
            "unlisted" => Offer::Unlisted,
            "yanked" => Offer::Yanked { reason: asked.text },
            "deprecated" => Offer::Deprecated { text: asked.text },
            other => {
                return Err(usage(format!(
                    "{other:?} is no way to offer a version: use listed, unlisted, yanked or deprecated"
                )));
            }
        };
        self.speak(feed, move |site, id, record| {
            let at = Coordinate::new(record.genesis.kind, &asked.name, &asked.version)?;
            statement::offer(site, id, at, offer)
        })
        .await
    }

    /// Sets a ref, or takes it away.
    ///
    /// # Errors
    /// A name is not allowed, there is no such version, or the disk refuses.
    pub async fn point(&self, feed: &str, asked: shapes::PointRequest) -> Result<shapes::Said, Problem> {
        self.speak(feed, move |site, id, record| {
            let kind = record.genesis.kind;
            // Any version tells the package's normal form.
            let package = Coordinate::new(kind, &asked.package, "0")?.name;
            let version =
                asked.version.map(|version| Coordinate::new(kind, &package, &version)).transpose()?;
            statement::point(site, id, &package, &asked.name, version)
        })
        .await
    }

    /// The refs of a package.
    ///
    /// # Errors
    /// There is no such feed, or the disk fails.
    pub async fn references(&self, feed: &str, package: &str) -> Result<shapes::References, Problem> {
        let (feed, package) = (feed.to_owned(), package.to_owned());
        self.blocking(move |site| {
            let (id, record) = named(site, &feed)?;
            let package = Coordinate::new(record.genesis.kind, &package, "0")?.name;
            let ops = site.store().ref_ops(id, &package)?;
            let look = site.look();
            let ledger = site.store().ledger(id)?;
            let told = ledger.map_or_else(Vec::new, |ledger| references(&ops, &ledger, look.me, look.now));
            let refs = told.into_iter().map(|one| shapes::Reference {
                target: match one.target {
                    protocol::op::Target::Version(version) => version,
                    protocol::op::Target::Blob(blob) => blob.to_string(),
                },
                name: one.name,
                local: one.local,
                op: one.op.to_string(),
                set_ms: one.set.0,
            });
            Ok(shapes::References { feed, package, refs: refs.collect() })
        })
        .await
    }

    /// Takes this site's own builds of a version back.
    ///
    /// # Errors
    /// There is none, or the disk refuses.
    pub async fn revert_local(&self, feed: &str, at: shapes::Version) -> Result<shapes::Said, Problem> {
        self.speak(feed, move |site, id, record| {
            choice::revert_local(site, id, Coordinate::new(record.genesis.kind, &at.name, &at.version)?)
        })
        .await
    }

    /// Chooses the build that is served of a version on which sites clash.
    ///
    /// # Errors
    /// This site may not, there is no such build, or the disk refuses.
    pub async fn resolve(&self, feed: &str, asked: shapes::ResolveRequest) -> Result<shapes::Said, Problem> {
        let (name, version) = (asked.name.clone(), asked.version.clone());
        let conflict = self.conflict(feed, &name, &version).await?;
        let mut found = conflict.builds.iter().filter(|build| build.op.starts_with(&asked.winner));
        let winner = match (found.next(), found.next()) {
            (Some(build), None) if !asked.winner.is_empty() => parsed::<OpId>(&build.op)?,
            _ => {
                let ops: Vec<&str> = conflict.builds.iter().map(|build| build.op.as_str()).collect();
                return Err(usage(format!("name one build by its op: {}", ops.join(", "))));
            }
        };
        self.speak(feed, move |site, id, record| {
            let at = Coordinate::new(record.genesis.kind, &name, &version)?;
            choice::resolve(site, id, record, at, winner)
        })
        .await
    }
}
