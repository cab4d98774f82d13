//! A delete upstream removes a site's own upload of that coordinate which counts there alone, seen or not, unless the site knowingly restored it.

use crate::oracle::Seen;

/// # Errors
/// Which site serves what.
pub fn check(seen: Seen<'_>) -> Result<(), String> {
    let facts: Vec<_> = seen.oracle.facts(seen.sites).collect();
    for (at, site) in seen.sites.iter().enumerate() {
        let own = facts.iter().filter(|fact| fact.site == at && fact.publish().is_some());
        for fact in own.filter(|fact| !seen.counts(at, fact)) {
            let item = site.item(seen.now, seen.feed, fact.name());
            if item.is_none_or(|item| item.winner != Some(fact.id)) {
                continue;
            }
            let gone = facts.iter().any(|by| seen.removes(at, by, fact) && site.counts(seen.now, by.id));
            if gone {
                let name = fact.name();
                return Err(format!("{} serves its own {name} though it was deleted upstream", site.name));
            }
        }
    }
    Ok(())
}
