//! No byte changes in silence: what a site hands to a peer has the hash by which it is named.

use crate::oracle::Seen;

/// # Errors
/// Who handed out what.
pub fn check(seen: Seen<'_>) -> Result<(), String> {
    for site in seen.sites {
        if let Some(wrong) = site.handed_wrong() {
            return Err(format!("{} hands out {wrong}", site.name));
        }
    }
    Ok(())
}
