//! Nothing flows against the switches: an author without rights is in nobody else's logs, and no op is where no link lets it come.

use crate::oracle::Seen;

/// # Errors
/// Whose op is where.
pub fn check(seen: Seen<'_>) -> Result<(), String> {
    for (author, from) in seen.sites.iter().enumerate() {
        let reach = seen.shape.reach(author, false);
        for (_, site) in seen.sites.iter().enumerate().filter(|(at, _)| !reach.contains(at)) {
            // The origin's first words were handed over when the sites were paired.
            let heads = site.store().heads(seen.feed).unwrap_or_default();
            if author != 0 && heads.iter().any(|signed| signed.head.log.author == from.id()) {
                return Err(format!("ops of {} are at {}, where no link lets them", from.name, site.name));
            }
        }
    }
    for fact in seen.oracle.facts(seen.sites).filter(|fact| fact.delete().is_some()) {
        let reach = seen.shape.reach(fact.site, true);
        let outside = seen.sites.iter().enumerate().filter(|(at, _)| !reach.contains(at));
        if let Some((_, site)) = outside.into_iter().find(|(_, site)| site.holds(fact.id)) {
            return Err(format!("a delete of {} is at {}, where no link lets it", fact.name(), site.name));
        }
    }
    Ok(())
}
