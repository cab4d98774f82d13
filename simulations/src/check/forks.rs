//! Nobody is left with two ops that one author signed for one place of its log, whatever became of its machine; nor is anybody shown two
//! histories.

use protocol::id::{LogId, OpId, SiteId};

use crate::oracle::Seen;
use crate::site::Site;

/// The places of an author's logs for which it signed two ops that are both known to some site. What was lost with a machine before anybody
/// heard of it contradicts nothing.
pub fn forked<'a>(author: &'a Site, sites: &'a [&'a Site]) -> impl Iterator<Item = (LogId, u64)> + 'a {
    let known = |op: OpId| sites.iter().any(|site| site.holds(op));
    let twice = author.signed().filter(|(_, ops)| ops.len() > 1);
    twice.filter(move |(_, ops)| ops.iter().filter(|op| known(**op)).count() > 1).map(|(place, _)| *place)
}

/// # Errors
/// Whose log has two ops at one place.
pub fn check(seen: Seen<'_>) -> Result<(), String> {
    let honest = |author: &SiteId| !seen.oracle.doubled.contains(author);
    let sites: Vec<&Site> = seen.sites.iter().collect();
    for author in seen.sites.iter().filter(|author| honest(&author.id())) {
        if let Some((_, seq)) = forked(author, &sites).next() {
            return Err(format!("{} signed two ops as number {seq} of one log", author.name));
        }
    }
    for site in seen.sites {
        if let Some(log) = site.forks.iter().find(|log| honest(&log.author)) {
            let author = seen.sites.iter().find(|site| site.id() == log.author).map_or("?", |site| site.name);
            return Err(format!("{} was shown two histories of {author}, which is honest", site.name));
        }
    }
    Ok(())
}
