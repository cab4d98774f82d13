//! A delete upstream removes a leaf's own upload of that coordinate, seen or not, unless the leaf knowingly restored it.

use crate::oracle::Seen;

/// # Errors
/// Which leaf serves what.
pub fn check(seen: Seen<'_>) -> Result<(), String> {
    let facts: Vec<_> = seen.oracle.facts(seen.sites).collect();
    for (at, site) in seen.sites.iter().enumerate().filter(|(at, _)| !seen.is_author(*at)) {
        let own = facts.iter().filter(|fact| fact.site == at);
        for (fact, publish) in own.filter_map(|fact| fact.publish().map(|publish| (fact, publish))) {
            let item = site.item(seen.now, seen.feed, fact.name());
            if item.is_none_or(|item| item.winner != Some(fact.id)) {
                continue;
            }
            let gone = facts.iter().any(|by| {
                by.delete().is_some()
                    && seen.counts(by)
                    && by.name() == fact.name()
                    && !publish.supersedes.contains(&by.id)
                    && site.counts(seen.now, by.id)
            });
            if gone {
                return Err(format!(
                    "{} serves its own {} though it was deleted upstream",
                    site.name,
                    fact.name()
                ));
            }
        }
    }
    Ok(())
}
