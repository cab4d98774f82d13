//! Nothing flows against the switches: an author without rights is in nobody else's logs, and no op is where no link ever let it come.

use crate::oracle::Seen;

/// # Errors
/// Whose op is where.
pub fn check(seen: Seen<'_>) -> Result<(), String> {
    let spread = &seen.oracle.spread;
    for (at, site) in seen.sites.iter().enumerate() {
        let heads = site.store().heads(seen.feed).unwrap_or_default();
        // The origin's first words were handed over when the sites were paired.
        for (author, from) in seen.sites.iter().enumerate().skip(1) {
            let is_here = || heads.iter().any(|signed| signed.head.log.author == from.id());
            if !spread.log_may_be_at(author, at) && is_here() {
                return Err(format!("ops of {} are at {}, where no link lets them", from.name, site.name));
            }
        }
    }
    for fact in seen.oracle.facts(seen.sites) {
        let deletes = fact.delete().is_some();
        // What a link lets nothing else of through is known there by its hash alone.
        let outside = (0..seen.sites.len()).filter(|at| !spread.op_may_be_at(fact.id, *at));
        let mut outside = outside.filter_map(|at| seen.sites.get(at));
        if (deletes || seen.oracle.ruled)
            && let Some(site) = outside.find(|site| site.holds(fact.id))
        {
            let what = if deletes { "a delete" } else { "a publish" };
            return Err(format!("{what} of {} is at {}, where no link lets it", fact.name(), site.name));
        }
    }
    Ok(())
}
