//! What a thief signs with a key that its site changed is served nowhere once everybody has heard of the change.

use crate::oracle::Seen;
use crate::site::keys::STOLEN;

/// # Errors
/// Where what a thief published is served.
pub fn check(seen: Seen<'_>) -> Result<(), String> {
    for site in seen.sites {
        let items = site.items(seen.now, seen.feed);
        let mut stolen =
            items.iter().filter(|(name, item)| name.starts_with(STOLEN) && item.winner.is_some());
        if let Some((name, _)) = stolen.next() {
            return Err(format!(
                "{} serves {name}, which was signed with a key that its site changed",
                site.name
            ));
        }
    }
    Ok(())
}
