//! Nobody honest is called a cheat: all sites here keep the rules, so no session may end by a breach.

use protocol::fault::{Misbehaved, Outcome};

use crate::oracle::Seen;

/// # Errors
/// Which breach was found where there was none.
pub fn check(seen: Seen<'_>) -> Result<(), String> {
    for site in seen.sites {
        let breach = site.ended.iter().find_map(|(outcome, _)| match outcome {
            // A line that is cut looks like a peer that stalls.
            Outcome::Misbehaved(Misbehaved::Stalled) => None,
            Outcome::Misbehaved(fault) => Some(*fault),
            Outcome::Done | Outcome::Refused(_) | Outcome::Interrupted | Outcome::Fault => None,
        });
        if let Some(fault) = breach {
            return Err(format!("{} saw a breach where all are honest: {fault}", site.name));
        }
    }
    Ok(())
}
