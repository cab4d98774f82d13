//! Everything arrives: each site holds what its links let it have, serves what stands with all its bytes, and agrees with the others.

use std::collections::{BTreeMap, BTreeSet};

use protocol::feed::Standing;
use protocol::id::OpId;

use crate::oracle::{Fact, Seen};

/// # Errors
/// What a site lacks, or where two differ.
pub fn check(seen: Seen<'_>) -> Result<(), String> {
    let mut roots: BTreeMap<BTreeSet<OpId>, (String, &str)> = BTreeMap::new();
    for (at, site) in seen.sites.iter().enumerate() {
        let due = seen.oracle.due(at, seen.sites, seen.shape);
        if let Some(lacking) = due.iter().find(|fact| !site.holds(fact.id)) {
            return Err(format!("{} lacks what was said about {}", site.name, lacking.name()));
        }
        complete(seen, at, &due)?;
        let shared = due.iter().filter(|fact| seen.counts(fact)).map(|fact| fact.id).collect();
        // What a site hides from itself alone is not in its root.
        let hides = due.iter().any(|fact| fact.site == at && !seen.counts(fact) && fact.delete().is_some());
        if !hides {
            let root = format!("{:?}", site.store().state_root(seen.feed, site.look(seen.now)));
            let (other, name) = roots.entry(shared).or_insert_with(|| (root.clone(), site.name));
            if *other != root {
                return Err(format!("{name} and {} hold the same and serve other things", site.name));
            }
        }
    }
    Ok(())
}

/// A name is served where a publish is left that no delete or hide removes, with all its bytes; and otherwise it is not.
fn complete(seen: Seen<'_>, at: usize, due: &[&Fact]) -> Result<(), String> {
    let Some(site) = seen.sites.get(at) else { return Ok(()) };
    let names: BTreeSet<&str> = due.iter().map(|fact| fact.name()).collect();
    for name in names {
        let about = || due.iter().filter(|fact| fact.name() == name);
        let left = about().any(|fact| {
            let Some(publish) = fact.publish().filter(|_| seen.counts(fact)) else { return false };
            let removes = |by: &&Fact| match by.delete() {
                Some(_) if seen.counts(by) => !publish.supersedes.contains(&by.id),
                Some(hide) => by.site == at && hide.saw.contains(&fact.id),
                None => false,
            };
            !about().any(removes)
        });
        let item = site.item(seen.now, seen.feed, name);
        let served = item.as_ref().filter(|item| item.standing == Standing::Served && !item.local);
        match (left, served.and_then(|item| item.winner)) {
            (true, None) => {
                let standing = item.map(|item| item.standing);
                return Err(format!("{} does not serve {name}, which stands: {standing:?}", site.name));
            }
            (false, Some(_)) => return Err(format!("{} serves {name}, which is gone", site.name)),
            // Bytes that were deleted upstream before they were fetched are nowhere for one to whom no deletions come.
            (true, Some(winner)) if !site.is_whole(winner) && someone_has(seen, at, winner) => {
                return Err(format!("{} lacks bytes of {name}", site.name));
            }
            (true, Some(_)) | (false, None) => {}
        }
    }
    Ok(())
}

/// Whether a site from which this one takes additions has all bytes of a publish.
fn someone_has(seen: Seen<'_>, at: usize, publish: OpId) -> bool {
    let from = seen.shape.feeders(at);
    from.iter().any(|from| seen.sites.get(*from).is_some_and(|site| site.is_whole(publish)))
}
