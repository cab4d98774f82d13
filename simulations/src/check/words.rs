//! A site's word of a run holds: what it says that a peer has is there, and a run that ended as done left nothing that was not synced.

use std::collections::BTreeSet;

use protocol::id::SiteId;

use crate::site::Site;

/// Whether a site said something since the last look.
#[must_use]
pub fn has_spoken(site: &Site) -> bool {
    !site.claims.is_empty() || site.ended_unsynced > 0
}

/// Looks at what was said since the last look: of what a peer has now nobody may say that it had it before. Of logs by authors of `two`
/// histories a peer may hold the other one, and what one had that was set back it is asked for anew.
///
/// # Errors
/// Whose word did not hold.
pub fn check(sites: &mut [Site], two: &BTreeSet<SiteId>, set_back: &BTreeSet<usize>) -> Result<(), String> {
    for at in 0..sites.len() {
        let Some(site) = sites.get_mut(at) else { continue };
        let (name, claims) = (site.name, std::mem::take(&mut site.claims));
        if site.ended_unsynced > 0 {
            return Err(format!(
                "{name} told that a run was done before its disk had all that the run brought"
            ));
        }
        let each = claims.into_iter().flat_map(|(peer, held)| held.into_iter().map(move |held| (peer, held)));
        for (peer, (log, len)) in each.filter(|(_, (log, _))| !two.contains(&log.author)) {
            let Some(at) = sites.iter().position(|site| site.id() == peer) else { continue };
            let Some(peer) = sites.get(at).filter(|_| !set_back.contains(&at)) else { continue };
            let held = peer.store().log_longest(log).unwrap_or_default();
            if held < len {
                return Err(format!(
                    "{name} said that {} has {len} ops of a log of which it has {held}",
                    peer.name
                ));
            }
        }
    }
    Ok(())
}
