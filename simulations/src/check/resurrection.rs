//! What was deleted and that nobody restored is served nowhere the delete has arrived.

use std::collections::BTreeMap;

use protocol::id::OpId;

use crate::oracle::{Fact, Seen};

/// # Errors
/// What came back, and where.
pub fn check(seen: Seen<'_>) -> Result<(), String> {
    let facts: BTreeMap<OpId, &Fact> = seen.oracle.facts(seen.sites).map(|fact| (fact.id, fact)).collect();
    let deletes: Vec<&&Fact> = facts.values().filter(|fact| fact.delete().is_some()).collect();
    for (at, site) in seen.sites.iter().enumerate() {
        for (name, item) in site.items(seen.now, seen.feed) {
            let Some(winner) = item.winner.and_then(|id| facts.get(&id)) else { continue };
            // A package that stands at its own site alone is row 20's.
            let at_home = item.local && !seen.counts(at, winner);
            let over = |by: &Fact| seen.removes(at, by, winner) && site.counts(seen.now, by.id);
            if !at_home && deletes.iter().any(|by| over(by)) {
                return Err(format!("{} serves {name} over a delete that it holds", site.name));
            }
        }
    }
    Ok(())
}
