//! Who may write is judged everywhere by what is known there of it: nothing that does not count by that is served as if it did.

use std::collections::{BTreeMap, BTreeSet};

use protocol::id::OpId;

use crate::oracle::{Fact, Seen};
use crate::site::Site;

/// # Errors
/// What is served against the rights that are known where it is.
pub fn check(seen: Seen<'_>) -> Result<(), String> {
    let facts: BTreeMap<OpId, &Fact> = seen.oracle.facts(seen.sites).map(|fact| (fact.id, fact)).collect();
    for (at, site) in seen.sites.iter().enumerate() {
        for (name, item) in site.items(seen.now, seen.feed) {
            let Some(fact) = item.winner.and_then(|id| facts.get(&id)) else { continue };
            // Behind a cut that a site has not heard of yet it counts there.
            if fact.cut_off {
                continue;
            }
            match (seen.counts(at, fact), item.local) {
                (false, false) => {
                    return Err(format!("{} serves {name}, whose author might not publish it", site.name));
                }
                (false, true) if fact.site != at => {
                    return Err(format!("{} takes {name} of another site for its own", site.name));
                }
                (true, true) => {
                    return Err(format!(
                        "{} says that {name} counts there alone, and it does not",
                        site.name
                    ));
                }
                (true, false) | (false, true) => {}
            }
        }
    }
    Ok(())
}

/// Every word about rights is known wherever a link leads on which anything flows, one way or the other: ops bring it to where they flow, a
/// proof to the end to which none do. Of what it has by proof a site passes nothing on with ops.
///
/// # Errors
/// Who does not know what is known at the other end.
pub fn everywhere(seen: Seen<'_>) -> Result<(), String> {
    for word in seen.oracle.words.iter() {
        // What rot took of what the origin said, and nobody had in its log, is lost there.
        let lost = || seen.sites.first().is_some_and(Site::lost_own_words);
        let knows = |at: &usize| seen.known.get(*at).is_some_and(|known| known.contains(&word.id));
        let told: BTreeSet<usize> = (0..seen.sites.len()).filter(knows).collect();
        let said = |at: &usize| seen.sites.get(*at).is_some_and(|site| site.holds(word.id));
        let said = told.iter().copied().filter(said).collect();
        let by_ops = seen.shape.beyond(said, |on| on.in_add || on.in_delete);
        let due = seen.shape.beyond(&told | &by_ops, |on| !on.is_off() && !on.in_add && !on.in_delete);
        let mut lacking = due.difference(&told).filter(|at| **at != 0 || !lost());
        if let Some(site) = lacking.next().and_then(|at| seen.sites.get(*at)) {
            return Err(format!("{} does not know what was said about rights", site.name));
        }
        if word.certain && !told.contains(&0) && !lost() {
            return Err("the origin does not know what it said about rights".to_owned());
        }
    }
    Ok(())
}
