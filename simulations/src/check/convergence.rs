//! Everything arrives: each site holds what its links let it have, serves what stands with all its bytes, and agrees with the others.

use std::collections::{BTreeMap, BTreeSet};

use packetboat::store::Topic;
use protocol::feed::{Item, Standing};
use protocol::id::OpId;

use super::quota;
use crate::oracle::{Fact, Seen};
use crate::site::Site;
use crate::site::keys::STOLEN;

/// What decides what a site serves to all, and what it serves then.
type Roots<'a> = BTreeMap<BTreeSet<OpId>, (String, &'a str)>;

/// # Errors
/// What a site lacks, or where two differ.
pub fn check(seen: Seen<'_>) -> Result<(), String> {
    let mut roots = Roots::new();
    let all_due = seen.oracle.due(seen);
    for (at, site) in seen.sites.iter().enumerate() {
        let due = all_due.iter().filter(|(_, reached)| reached.contains(&at));
        let due: Vec<&Fact> = due.map(|(fact, _)| *fact).collect();
        if let Some(lacking) = due.iter().find(|fact| !site.holds(fact.id)) {
            return Err(format!("{} lacks what was said about {}", site.name, lacking.name()));
        }
        complete(seen, at, &due)?;
        agrees(seen, at, &due, &mut roots)?;
    }
    Ok(())
}

/// Two sites that know the same words about rights, and the same that counts by them, serve the same.
fn agrees<'a>(seen: Seen<'a>, at: usize, due: &[&Fact], roots: &mut Roots<'a>) -> Result<(), String> {
    let (Some(site), Some(known)) = (seen.sites.get(at), seen.known.get(at)) else { return Ok(()) };
    // What a site hides from itself alone is not in its root.
    if due.iter().any(|fact| fact.site == at && fact.delete().is_some() && !seen.counts(at, fact)) {
        return Ok(());
    }
    // What a thief said counts here where the word was lost that its key is worth nothing; another check judges that.
    let is_stolen = |(name, item): &(String, Item)| name.starts_with(STOLEN) && item.winner.is_some();
    let lost = !seen.set_back.is_empty() || seen.sites.iter().any(Site::had_to_learn);
    if lost && site.items(seen.now, seen.feed).iter().any(is_stolen) {
        return Ok(());
    }
    // What is here of the cheat's came by its grant.
    let writes = |at: usize| seen.shape.authors.get(at).is_none_or(|may| *may);
    let travels = |fact: &&&Fact| !fact.cut_off && writes(fact.site);
    let counted = due.iter().filter(travels).map(|fact| fact.id);
    // The cheat passes on the ops of a log that no link leads to, and is gone before what seals them. So is a link that was removed.
    let ruled = seen.oracle.ruled || seen.cheat.is_some();
    let sealed = ruled.then(|| site.store().ops_about(seen.feed, Topic::Seals).ok()).flatten();
    let seals = sealed.unwrap_or_default().into_iter().map(|named| named.id);
    let shared = counted.chain(known.iter().copied()).chain(seals).collect();
    let root = format!("{:?}", site.store().state_root(seen.feed, site.look(seen.now)));
    let (other, name) = roots.entry(shared).or_insert_with(|| (root.clone(), site.name));
    if *other == root {
        return Ok(());
    }
    Err(format!("{name} and {} hold the same and serve other things", site.name))
}

/// A name is served where a publish is left that no delete or hide removes, with all its bytes; and otherwise it is not.
fn complete(seen: Seen<'_>, at: usize, due: &[&Fact]) -> Result<(), String> {
    let Some(site) = seen.sites.get(at) else { return Ok(()) };
    let mut by_name: BTreeMap<&str, Vec<&Fact>> = BTreeMap::new();
    for fact in due {
        by_name.entry(fact.name()).or_default().push(fact);
    }
    for (name, about) in by_name {
        let left = about.iter().any(|fact| is_left(seen, at, fact, &about));
        let item = site.item(seen.now, seen.feed, name);
        let served = item.as_ref().filter(|item| item.standing == Standing::Served && !item.local);
        match (left, served.and_then(|item| item.winner)) {
            (true, None) => {
                let standing = item.map(|item| item.standing);
                return Err(format!("{} does not serve {name}, which stands: {standing:?}", site.name));
            }
            (false, Some(_)) => return Err(format!("{} serves {name}, which is gone", site.name)),
            // Bytes that were deleted upstream before they were fetched are nowhere for one to whom no deletions come.
            // What a quota has no room for waits.
            (true, Some(winner))
                if !site.is_whole(winner)
                    && someone_has(seen, at, winner)
                    && !quota::parks(site, seen.now, seen.feed, winner) =>
            {
                return Err(format!("{} lacks bytes of {name}", site.name));
            }
            (true, Some(_)) | (false, None) => {}
        }
    }
    Ok(())
}

fn is_left(seen: Seen<'_>, at: usize, fact: &Fact, about: &[&Fact]) -> bool {
    let hides = |by: &Fact| {
        let saw = by.delete().is_some_and(|hide| hide.saw.contains(&fact.id));
        by.site == at && saw && !seen.is_closed(at, by)
    };
    fact.publish().is_some()
        && seen.counts(at, fact)
        && !about.iter().any(|by| seen.removes(at, by, fact) || !seen.counts(at, by) && hides(by))
        && !seen.reuses(at, fact, about)
}

/// Whether a site from which this one takes additions has all bytes of a publish.
pub(super) fn someone_has(seen: Seen<'_>, at: usize, publish: OpId) -> bool {
    let from = seen.shape.feeders(at);
    from.iter().any(|from| seen.sites.get(*from).is_some_and(|site| site.is_whole(publish)))
}
