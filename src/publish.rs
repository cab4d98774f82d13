//! Bytes to blobs to a signed op: what a publish or delete of this site's own may say, given what stands.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use protocol::feed::{Held, Item, Standing};
use protocol::frame::Fate;
use protocol::grant::{Authority, Verb};
use protocol::id::{FeedId, LogId, OpId, SiteId};
use protocol::limits::{OPS_NAMED_MAX, REASON_BYTES_MAX};
use protocol::log::NamedOp;
use protocol::manifest::{File, Manifest, ManifestError};
use protocol::op::{Body, Delete, Provenance, Publish};
use protocol::package::{BadName, Coordinate};
use protocol::time::{Hlc, Timestamp};

use crate::keeper::own_log::may_have_rights_unheard;
use crate::keeper::{AuthorError, SiteStore};
use crate::store::{BlobState, FeedRecord, Look, ReadError, Store, WriteError};

/// Why a version was not published.
#[derive(Debug, thiserror::Error)]
#[expect(clippy::module_name_repetitions, reason = "callers hold errors of several rooms side by side")]
pub enum PublishError {
    #[error(transparent)]
    Name(#[from] BadName),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("a version needs at least one file")]
    NoFiles,
    #[error("file {file:?} names bytes that were not uploaded here")]
    NotUploaded { file: String },
    #[error("{coordinate} is published already with other bytes: file {file:?} has blake3 {held}")]
    Exists { coordinate: Coordinate, file: String, held: String },
    #[error("{coordinate} was deleted by op {delete}")]
    Deleted { coordinate: Coordinate, delete: OpId },
    #[error("{coordinate} is blocked by op {block}")]
    Blocked { coordinate: Coordinate, block: OpId },
    #[error("the bytes of file {file:?} of {coordinate} are blocked by op {block}")]
    BytesBlocked { coordinate: Coordinate, file: String, block: OpId },
    #[error("{coordinate} was deleted, and this feed does not let it come back with other bytes")]
    Reused { coordinate: Coordinate },
    #[error(
        "feed {feed:?} may hold {quota} bytes at this site, and this version would take it {over} bytes beyond"
    )]
    Quota { feed: String, quota: u64, over: u64 },
    #[error(transparent)]
    Author(#[from] AuthorError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Why a version was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    #[error(transparent)]
    Name(#[from] BadName),
    #[error("the reason has {found} bytes, and at most {REASON_BYTES_MAX} are allowed")]
    LongReason { found: usize },
    #[error("{coordinate} is not here")]
    Absent { coordinate: Coordinate },
    #[error("{coordinate} is deleted already")]
    Deleted { coordinate: Coordinate },
    #[error(
        "{coordinate} is not here, and this site has no right to delete it for others: it hides what it has seen, and not what comes later"
    )]
    UnseenAtHome { coordinate: Coordinate },
    #[error(transparent)]
    Author(#[from] AuthorError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A version to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVersion {
    pub coordinate: Coordinate,
    pub manifest: Manifest,
    /// Publish over deletes of this version.
    pub restore: bool,
    /// Where it was promoted from.
    pub provenance: Option<Provenance>,
}

/// A publish as it now stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub coordinate: Coordinate,
    /// Whether the same bytes stood there before, so that nothing was said.
    pub already: bool,
}

/// A delete that was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    pub coordinate: Coordinate,
    pub op: OpId,
    /// Publishes it names.
    pub removed: usize,
}

/// Publishes a version whose bytes are in the store. Durable when this returns.
///
/// # Errors
/// A rule refuses it, or the disk does.
pub fn publish(
    site: &SiteStore,
    feed: FeedId,
    record: &FeedRecord,
    version: NewVersion,
) -> Result<Published, PublishError> {
    let NewVersion { coordinate, manifest, restore, provenance } = version;
    if manifest.files.is_empty() {
        return Err(PublishError::NoFiles);
    }
    manifest.check()?;
    // First durable, then looked at: what a failed sync took back is then seen to be missing.
    site.store().sync()?;
    let _kept = site.store().naming();
    for file in &manifest.files {
        match site.store().blob_state(file.blob)? {
            BlobState::Complete { size } if size == file.size => {}
            BlobState::Complete { .. } | BlobState::Partial { .. } | BlobState::Missing => {
                return Err(PublishError::NotUploaded { file: file.name.clone() });
            }
        }
    }
    let look = site.look();
    let said = site.author_if(feed, |store| {
        // What a person restores while its deletion waits is to stay once that takes effect.
        let item = match restore {
            true => store.item_if(feed, &coordinate, look, &Held::default())?,
            false => store.item(feed, &coordinate.name, &coordinate.version, look)?,
        };
        let Some(supersedes) = may_publish((store, look), record, &coordinate, &manifest, item, restore)?
        else {
            return Ok(Vec::new());
        };
        if let Some((file, block)) = blocked_bytes(site, feed, &manifest)? {
            return Err(PublishError::BytesBlocked { coordinate: coordinate.clone(), file, block });
        }
        // Looked at while nobody else signs: of two that come together one may take the room that both would have.
        let named = manifest.files.iter().map(|file| (file.blob, file.size));
        if let Some(over) = store.over_quota(feed, named)? {
            let quota = store.quota(feed)?.unwrap_or_default();
            return Err(PublishError::Quota { feed: record.name.clone(), quota, over });
        }
        let body = Publish { coordinate: coordinate.clone(), manifest, supersedes, provenance };
        Ok::<_, PublishError>(vec![Body::Publish(body)])
    })?;
    Ok(Published { coordinate, already: said.is_empty() })
}

/// The first file of a manifest whose bytes are blocked here, and the block: a version that names them is served nowhere where the block counts.
///
/// # Errors
/// When the disk fails, or the bytes of an op are damaged.
pub fn blocked_bytes(
    site: &SiteStore,
    feed: FeedId,
    manifest: &Manifest,
) -> Result<Option<(String, OpId)>, ReadError> {
    let Some(ledger) = site.store().ledger(feed)? else { return Ok(None) };
    let blocked = |file: &File| Some((file.name.clone(), *ledger.blocks_of(file.blob, site.me()).first()?));
    Ok(manifest.files.iter().find_map(blocked))
}

/// The deletes that the publish must supersede, or nothing where the same bytes stand already.
fn may_publish(
    (store, look): (&Store, Look),
    record: &FeedRecord,
    coordinate: &Coordinate,
    manifest: &Manifest,
    item: Option<Item>,
    restore: bool,
) -> Result<Option<Vec<OpId>>, PublishError> {
    let Some(item) = item else { return Ok(Some(Vec::new())) };
    let feed = record.genesis.feed_id();
    match item.standing {
        Standing::Served => {
            let held = item.winner.map(|winner| store.op(winner)).transpose()?.flatten();
            let Some((place, Body::Publish(held))) = held.map(|named| (named.op.place, named.op.body)) else {
                return Ok(Some(Vec::new()));
            };
            if held.manifest.same_bytes(manifest) {
                // Behind the cut of this site's forked log it counts here only: said again, it counts elsewhere.
                // So it does where it was said before this site had rights.
                if store.authority(feed)?.is_some_and(|authority| {
                    authority.is_cut_off(place.log, place.seq) || authority.stayed_home(place.log, look.now)
                }) {
                    return Ok(Some(Vec::new()));
                }
                // Another site deleted it, and its ops do not flow here: what it told is all that is known of the deletes.
                let deletes = if restore { deleted_elsewhere(store, feed, &item)? } else { Vec::new() };
                return Ok((!deletes.is_empty()).then_some(deletes));
            }
            let other = held.manifest.files.iter().find(|file| !manifest.files.contains(file));
            let first = other.or_else(|| held.manifest.files.first());
            Err(PublishError::Exists {
                coordinate: coordinate.clone(),
                file: first.map_or_else(String::new, |file| file.name.clone()),
                held: first.map_or_else(String::new, |file| file.blob.to_string()),
            })
        }
        Standing::Deleted | Standing::Suppressed | Standing::Hidden => {
            let delete = item.deletes.first().copied().unwrap_or(OpId([0; 32]));
            if !restore {
                return Err(PublishError::Deleted { coordinate: coordinate.clone(), delete });
            }
            let known = published(store, record, coordinate)?;
            if !record.genesis.reuse
                && !known.is_empty()
                && !known.iter().any(|held| held.same_bytes(manifest))
            {
                return Err(PublishError::Reused { coordinate: coordinate.clone() });
            }
            Ok(Some(item.deletes))
        }
        Standing::Blocked => {
            let block = item.blocks.first().copied().unwrap_or(OpId([0; 32]));
            Err(PublishError::Blocked { coordinate: coordinate.clone(), block })
        }
        Standing::Held | Standing::Parked | Standing::NotAuthorised | Standing::Absent => {
            Ok(Some(Vec::new()))
        }
    }
}

/// The deletes by which other sites do not serve what stands here, as they told.
fn deleted_elsewhere(store: &Store, feed: FeedId, item: &Item) -> Result<Vec<OpId>, ReadError> {
    let fates = store.fates_of(feed, item)?.into_iter().filter(|there| there.fate == Fate::Deleted);
    let deletes: BTreeSet<OpId> = fates.flat_map(|there| there.by).collect();
    Ok(deletes.into_iter().take(OPS_NAMED_MAX).collect())
}

fn published(
    store: &Store,
    record: &FeedRecord,
    coordinate: &Coordinate,
) -> Result<Vec<Manifest>, ReadError> {
    let facts = store.facts(record.genesis.feed_id(), &coordinate.name, &coordinate.version)?;
    let manifest = |named: NamedOp| {
        if let Body::Publish(publish) = named.op.body { Some(publish.manifest) } else { None }
    };
    Ok(facts.into_iter().filter_map(manifest).collect())
}

/// Deletes a version. Durable when this returns. `unseen`: also where nothing is known of it, so that it never appears.
///
/// # Errors
/// There is nothing to delete, or the disk refused.
pub fn delete(
    site: &SiteStore,
    feed: FeedId,
    coordinate: Coordinate,
    reason: String,
    unseen: bool,
) -> Result<Deletion, DeleteError> {
    if reason.len() > REASON_BYTES_MAX {
        return Err(DeleteError::LongReason { found: reason.len() });
    }
    let look = site.look();
    let mut removed = 0;
    let said = site.author_if(feed, |store| {
        let item = store.item(feed, &coordinate.name, &coordinate.version, look)?;
        match item.map(|item| item.standing) {
            Some(Standing::Served | Standing::Parked) => {}
            _ if unseen => {}
            // What it said before counts at this site alone; what it says now may count everywhere.
            Some(Standing::Hidden) if may_delete_everywhere(store, site, feed, &coordinate.name)? => {}
            Some(Standing::Deleted | Standing::Suppressed | Standing::Hidden) => {
                return Err(DeleteError::Deleted { coordinate: coordinate.clone() });
            }
            _ => return Err(DeleteError::Absent { coordinate: coordinate.clone() }),
        }
        let facts = store.facts(feed, &coordinate.name, &coordinate.version)?;
        let publishes = facts.iter().filter(|named| matches!(named.op.body, Body::Publish(_)));
        let saw: Vec<OpId> = publishes.map(|named| named.id).take(OPS_NAMED_MAX).collect();
        if saw.is_empty()
            && !may_delete_everywhere(store, site, feed, &coordinate.name)?
            && !may_have_rights_unheard(store, look.me, feed)?
        {
            return Err(DeleteError::UnseenAtHome { coordinate: coordinate.clone() });
        }
        removed = saw.len();
        Ok(vec![Body::Delete(Delete { coordinate: coordinate.clone(), saw, reason })])
    })?;
    let op = said.first().map_or(OpId([0; 32]), |named| named.id);
    Ok(Deletion { coordinate, op, removed })
}

fn may_delete_everywhere(
    store: &Store,
    site: &SiteStore,
    feed: FeedId,
    name: &str,
) -> Result<bool, ReadError> {
    let authority = store.authority(feed)?;
    let at = (feed, site.look().now);
    Ok(authority.is_some_and(|authority| counts_elsewhere(&authority, at, site.me(), Verb::DeleteWide, name)))
}

/// Whether what a site says of that kind now counts in the feed at other sites.
#[must_use]
pub fn counts_elsewhere(
    authority: &Authority,
    (feed, now): (FeedId, Timestamp),
    site: SiteId,
    verb: Verb,
    name: &str,
) -> bool {
    let log = LogId { feed, author: site, epoch: u64::MAX };
    authority.allows(log, u64::MAX, Hlc::default().next(now), verb, name)
}
