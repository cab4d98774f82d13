//! What a thief signs with a key that its site changed is served nowhere once everybody has heard of the change.

use protocol::op::Place;

use crate::oracle::{Seen, accepts};
use crate::site::Site;
use crate::site::keys::STOLEN;

/// # Errors
/// Where what a thief published is served.
pub fn check(seen: Seen<'_>) -> Result<(), String> {
    for site in seen.sites {
        let items = site.items(seen.now, seen.feed);
        let stolen = items.iter().filter(|(name, _)| name.starts_with(STOLEN));
        for (name, item) in stolen {
            let Some(served) = item.winner.and_then(|op| site.store().op(op).ok().flatten()) else {
                continue;
            };
            if !change_is_lost(seen, served.op.place) {
                return Err(format!(
                    "{} serves {name}, which was signed with a key that its site changed",
                    site.name
                ));
            }
        }
    }
    Ok(())
}

/// Whether the word that closed a log rotted, or went with its machine, before anybody else had heard it: it is known nowhere, and what its
/// site says in its place accepts what came to it meanwhile.
fn change_is_lost(seen: Seen<'_>, stolen: Place) -> bool {
    let lost = |(at, site): (usize, &Site)| {
        site.lost_own_words() || site.had_to_learn() || seen.set_back.contains(&at)
    };
    let mut sites = seen.sites.iter().enumerate();
    sites.any(|(at, site)| site.id() == stolen.log.author && lost((at, site)))
        && seen
            .sites
            .iter()
            .flat_map(|site| site.closings(stolen.log))
            .all(|closing| accepts(&closing, stolen))
}
