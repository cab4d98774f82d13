//! Nobody is left with two ops that one author signed for one place of its log, whatever became of its machine; nor is anybody shown two
//! histories.

use crate::oracle::Seen;

/// # Errors
/// Whose log has two ops at one place.
pub fn check(seen: Seen<'_>) -> Result<(), String> {
    for author in seen.sites {
        let twice = author.signed().filter(|(_, ops)| ops.len() > 1);
        for ((_, seq), ops) in twice {
            // What was lost with a machine before anybody heard of it contradicts nothing.
            let known = |op| seen.sites.iter().any(|site| site.holds(op));
            if ops.iter().filter(|op| known(**op)).count() > 1 {
                return Err(format!("{} signed two ops as number {seq} of one log", author.name));
            }
        }
    }
    for site in seen.sites {
        if let Some(log) = site.forks.first() {
            let author = seen.sites.iter().find(|site| site.id() == log.author).map_or("?", |site| site.name);
            return Err(format!("{} was shown two histories of {author}, which is honest", site.name));
        }
    }
    Ok(())
}
