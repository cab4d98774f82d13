//! Nothing that was acknowledged is lost: its author holds the op and the bytes, whatever became of power and disk since.

use protocol::feed::Item;

use super::convergence::someone_has;
use super::quota;
use crate::oracle::{Fact, Seen};

/// # Errors
/// What is gone.
pub fn check(seen: Seen<'_>) -> Result<(), String> {
    for fact in seen.oracle.facts(seen.sites).filter(|fact| fact.certain) {
        let Some(site) = seen.sites.get(fact.site) else { continue };
        if let Some(witnesses) = &fact.witnesses {
            let lost =
                witnesses.iter().filter_map(|at| seen.sites.get(*at)).find(|site| !site.holds(fact.id));
            if let Some(site) = lost {
                let what = fact.name();
                return Err(format!("{} lost an op about {what} that its author no longer has", site.name));
            }
            continue;
        }
        if !site.holds(fact.id) {
            return Err(format!("{} acknowledged an op about {} and lost it", site.name, fact.name()));
        }
        if fact.again {
            continue;
        }
        // Bytes that rotted or were swept are there where they are served, and need not be elsewhere. A sweep leaves those of a build that
        // lost a clash as well: a person may choose it.
        let rotted = seen.rotted.contains(&fact.site);
        let dropped = rotted || site.swept;
        // A delete counted until it was cut away or its author's rights were taken back, and a sweep took what it had removed.
        let of_it = |by: &&Fact| by.delete().is_some() && by.name() == fact.name();
        let has_bytes = || someone_has(seen, fact.site, fact.id);
        if site.swept
            && !has_bytes()
            && seen.oracle.facts(seen.sites).filter(of_it).any(|by| undone(seen, by))
        {
            continue;
        }
        let item = || site.item(seen.now, seen.feed, fact.name());
        // What stands at its own site alone has nowhere to come back from once it rotted.
        let stands = |item: Item| {
            (item.winner == Some(fact.id) && !(item.local && rotted))
                || (!rotted && item.clash.contains(&fact.id))
        };
        // What rotted and is nowhere from where it could come is lost, and its site says so.
        let needed = || item().is_some_and(stands) && (!rotted || has_bytes());
        // What was dropped and is needed again waits where a quota has no room for it.
        let waits = || dropped && quota::parks(site, seen.now, seen.feed, fact.id);
        if fact.publish().is_some() && !site.is_whole(fact.id) && (!dropped || needed()) && !waits() {
            return Err(format!("{} acknowledged the bytes of {} and lost them", site.name, fact.name()));
        }
    }
    Ok(())
}

/// Whether an op that may have counted does not any more.
fn undone(seen: Seen<'_>, fact: &Fact) -> bool {
    let is_held = |word| seen.known.iter().any(|known| known.contains(&word));
    let accepted = seen.oracle.words.accepted(fact.place.log.author, fact.place.log.epoch, is_held);
    fact.cut_off || accepted.is_some_and(|len| fact.place.seq >= len)
}
