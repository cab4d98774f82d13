//! Nobody honest is called a cheat: no session with a site that keeps the rules may end by a breach.

use protocol::fault::Misbehaved;

use crate::oracle::Seen;
use crate::site::Site;

/// # Errors
/// Which breach was found where there was none.
pub fn check(seen: Seen<'_>) -> Result<(), String> {
    let cheat = seen.cheat.map(Site::id);
    for site in seen.sites {
        // A line that is cut looks like a peer that stalls.
        let mut breaches = site.breaches.iter().filter(|(_, fault)| *fault != Misbehaved::Stalled);
        if let Some((peer, fault)) = breaches.find(|(peer, _)| Some(*peer) != cheat) {
            let of = seen.sites.iter().find(|site| site.id() == *peer).map_or("?", |site| site.name);
            return Err(format!("{} saw a breach of {of}, which is honest: {fault}", site.name));
        }
    }
    Ok(())
}
