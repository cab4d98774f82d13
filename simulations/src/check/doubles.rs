//! Two machines with one key are told apart: a life of a site that another one followed is not let in again while it may still run.

use protocol::limits::SITE_LIVES_MS;

use crate::oracle::Seen;

/// # Errors
/// Whose double was let in, and where.
pub fn check(seen: Seen<'_>) -> Result<(), String> {
    // Who sets a clock back forgets by the one time and is looked at by the other.
    for site in seen.sites.iter().filter(|site| !site.was_set_back) {
        let calls = site.lives_let_in();
        for (at, (peer, life, now)) in calls.iter().enumerate() {
            let before = calls.iter().take(at).filter(|(other, ..)| other == peer);
            let mut recent = before.skip_while(|(_, other, then)| {
                other != life || now.0.saturating_sub(then.0) >= SITE_LIVES_MS
            });
            if recent.any(|(_, other, _)| other != life) {
                return Err(format!("{} listened in turn to two machines with one key", site.name));
            }
        }
    }
    Ok(())
}
