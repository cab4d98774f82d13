//! Rights given and taken back: ops of the feed's origin, or of an admin by a chain of grants from it.

use protocol::grant::Verb;
use protocol::id::{FeedId, SiteId};
use protocol::limits::NAME_BYTES_MAX;
use protocol::op::{Body, Grant, Revoke, Rights, Tip};
use protocol::package::check_label;
use protocol::time::Timestamp;

use super::{Spoken, StatementError, fitting, say};
use crate::keeper::SiteStore;
use crate::publish::counts_elsewhere;
use crate::store::{FeedRecord, ReadError, Store};

fn must_be_admin(
    site: &SiteStore,
    feed: FeedId,
    record: &FeedRecord,
    prefix: &str,
    what: &'static str,
) -> Result<(), StatementError> {
    let admin = site.store().authority(feed)?.is_some_and(|authority| {
        counts_elsewhere(&authority, (feed, site.look().now), site.me(), Verb::Admin, prefix)
    });
    if admin { Ok(()) } else { Err(StatementError::NotAllowed { feed: record.name.clone(), what }) }
}

/// Gives a site rights in a feed, for package names with a prefix and until a time.
///
/// # Errors
/// This site may not, the label is not allowed, or the disk refused.
pub fn grant(
    site: &SiteStore,
    feed: FeedId,
    record: &FeedRecord,
    (grantee, label): (SiteId, String),
    rights: Rights,
    prefix: String,
    expires: Option<Timestamp>,
) -> Result<Spoken, StatementError> {
    if !label.is_empty() {
        check_label("site name", &label)?;
    }
    if prefix.len() > NAME_BYTES_MAX {
        return Err(StatementError::LongPrefix { found: prefix.len() });
    }
    must_be_admin(site, feed, record, &prefix, "give rights")?;
    let name = prefix.clone();
    let body = Body::Grant(Grant { grantee, label, rights, prefix, expires });
    say(site, feed, body, Verb::Admin, &name)
}

/// Takes back what a site was granted. What it said counts as far as it is sealed; with `all_held`, as far as this site holds it.
///
/// # Errors
/// This site may not, the reason is too long, or the disk refused.
pub fn revoke(
    site: &SiteStore,
    feed: FeedId,
    record: &FeedRecord,
    grantee: SiteId,
    reason: String,
    all_held: bool,
) -> Result<Spoken, StatementError> {
    fitting(&reason)?;
    must_be_admin(site, feed, record, "", "take rights back")?;
    let accepted = accepted(site.store(), feed, grantee, all_held)?;
    let body = Body::Revoke(Revoke { grantee, accepted, reason });
    say(site, feed, body, Verb::Admin, "")
}

/// How far a site's logs count once its rights are taken back: as far as they are sealed, and no further than they counted if its rights
/// are taken back already; with `all_held`, as far as they are held here.
///
/// # Errors
/// The disk failed.
pub fn accepted(store: &Store, feed: FeedId, grantee: SiteId, all_held: bool) -> Result<Vec<Tip>, ReadError> {
    let ledger = store.ledger(feed)?;
    let mut tips = Vec::new();
    for signed in store.heads(feed)? {
        let head = signed.head;
        if head.log.author != grantee {
            continue;
        }
        let sealed = ledger.as_ref().map_or(0, |ledger| ledger.sealed_len(head.log));
        let before = ledger.as_ref().and_then(|ledger| ledger.authority().accepted_len(head.log));
        let counts = sealed.min(before.unwrap_or(u64::MAX)).min(head.len);
        let len = if all_held { head.len } else { counts };
        // A log that is not named counts no further either.
        if len == 0 {
            continue;
        }
        // The root names the state that was seen where the whole log counts; a shorter length stands by itself.
        let root = if len == head.len { head.root } else { [0; 32] };
        tips.push(Tip { author: grantee, epoch: head.log.epoch, len, root });
    }
    Ok(Tip::those_that_fit(tips))
}
