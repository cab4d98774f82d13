//! What lies behind the cut of a forked log and counts nowhere else: its author or somebody else says it again where it is wanted.

use protocol::feed::Item;
use protocol::id::{FeedId, OpId};
use protocol::op::{Body, Publish};

use super::behind::{Behind, Last};
use crate::store::{Look, ReadError, Store};

/// A version of which something was said that a cut took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    pub name: String,
    pub version: String,
    /// Whether it was deleted there, and not published.
    pub deleted: bool,
}

/// The versions of a feed that this site has otherwise than a log of which a part was cut away, and about which nobody said anything since.
///
/// # Errors
/// The store cannot be read.
pub fn left(store: &Store, feed: FeedId, look: Look) -> Result<Vec<Left>, ReadError> {
    let Some(authority) = store.authority(feed)? else { return Ok(Vec::new()) };
    let mut cuts = Vec::new();
    for fork in store.forks(feed)?.iter() {
        let counts = authority.cut(fork.log()).map(|cut| cut.len());
        cuts.extend(
            counts.filter(|_| !fork.freezes(fork.log(), counts, false)).map(|counts| (fork.log(), counts)),
        );
    }
    let behind = Behind::of(store, &cuts)?;
    let mut found = Vec::new();
    for ((name, version), Last { stands, .. }) in &behind.about {
        let Some(last) = stands.and_then(|id| behind.ops.get(&id)) else { continue };
        let Some(item) = store.item(feed, name, version, look)? else { continue };
        let decisive = || item.winner.iter().chain(&item.deletes).filter(|id| !behind.has(**id));
        let since =
            |id: &OpId| Ok::<_, ReadError>(store.op(*id)?.is_some_and(|by| by.op.stamp > last.op.stamp));
        let stands = if let Body::Publish(publish) = &last.op.body {
            is_served(store, &item, publish)?
        } else {
            item.winner.is_none() && item.deletes.iter().any(|id| !behind.has(*id))
        };
        let mut settled = stands;
        for id in decisive() {
            settled = settled || since(id)?;
        }
        if !settled {
            let deleted = matches!(last.op.body, Body::Delete(_));
            found.push(Left { name: name.clone(), version: version.clone(), deleted });
        }
    }
    Ok(found)
}

/// Whether those bytes are served for all.
fn is_served(store: &Store, item: &Item, publish: &Publish) -> Result<bool, ReadError> {
    let Some(winner) = item.winner.filter(|_| !item.local) else { return Ok(false) };
    let named = store.op(winner)?;
    Ok(
        matches!(named.map(|named| named.op.body), Some(Body::Publish(served)) if served.manifest.same_bytes(&publish.manifest)),
    )
}
