//! What was deleted and that nobody restored is served nowhere the delete has arrived.

use std::collections::BTreeMap;

use protocol::id::OpId;

use crate::oracle::{Fact, Seen};

/// # Errors
/// What came back, and where.
pub fn check(seen: Seen<'_>) -> Result<(), String> {
    let facts: BTreeMap<OpId, &Fact> = seen.oracle.facts(seen.sites).map(|fact| (fact.id, fact)).collect();
    let deletes: Vec<&&Fact> =
        facts.values().filter(|fact| fact.delete().is_some() && seen.counts(fact)).collect();
    for (at, site) in seen.sites.iter().enumerate() {
        for (name, item) in site.items(seen.now, seen.feed) {
            let Some(publish) = item.winner.and_then(|id| facts.get(&id)).and_then(|fact| fact.publish())
            else {
                continue;
            };
            // A leaf's own package is row 20's.
            let leafs_own = item.local && !seen.is_author(at);
            let over = |by: &&Fact| {
                by.name() == name && !publish.supersedes.contains(&by.id) && site.counts(seen.now, by.id)
            };
            if !leafs_own && deletes.iter().any(|by| over(by)) {
                return Err(format!("{} serves {name} over a delete that it holds", site.name));
            }
        }
    }
    Ok(())
}
