//! Nobody is left with two ops that one author signed for one place of its log, whatever became of its machine; nor is anybody shown two
//! histories. What stands at an origin that resolves a fork stands there after it.

use std::collections::BTreeMap;

use protocol::id::{FeedId, LogId, OpId, SiteId};
use protocol::manifest::Manifest;

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

/// What stands at an origin for all: the bytes that each name is served with, and the names at which nothing is. Not what is served of who
/// deletes no more than its own: that is listed there, and not said again.
#[derive(Debug)]
pub struct Standing(BTreeMap<String, Option<Manifest>>);

impl Standing {
    #[must_use]
    pub fn of(site: &Site, now: u64, feed: FeedId) -> Self {
        let bytes = |name: &str, winner: OpId| {
            let mut publishes = site.publishes(feed, name).into_iter();
            publishes.find(|(id, _)| *id == winner).map(|(_, publish)| publish.manifest)
        };
        let authority = site.reads(|store| store.authority(feed)).flatten();
        let careful = |winner: OpId| {
            let author =
                site.reads(|store| store.op(winner)).flatten().map(|named| named.op.place.log.author);
            let rights = authority.as_ref().zip(author).map(|(authority, author)| authority.rights(author));
            rights.is_some_and(|rights| rights.delete_own && !rights.delete_wide)
        };
        let items = site.items(now, feed).into_iter();
        let items = items.filter(|(_, item)| !item.local && !item.winner.is_some_and(careful));
        let served = |name: &str, winner: Option<OpId>| winner.and_then(|winner| bytes(name, winner));
        Self(items.map(|(name, item)| (name.clone(), served(&name, item.winner))).collect())
    }

    /// # Errors
    /// What is served that was not, or is not served as it was, now that the fork is resolved.
    pub fn after(self, site: &Site, now: u64, feed: FeedId) -> Result<(), String> {
        // What was served before a clock was set back may have to wait again once no seal covers it.
        if site.was_set_back {
            return Ok(());
        }
        let Self(now) = Self::of(site, now, feed);
        let of = |name: &str| now.get(name).and_then(Option::as_ref);
        let same = |bytes: &Option<Manifest>, of: Option<&Manifest>| match (bytes, of) {
            (Some(before), Some(after)) => before.same_bytes(after),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        match self.0.iter().find(|(name, bytes)| !same(bytes, of(name))) {
            Some((name, bytes)) => {
                let was = if bytes.is_some() { "served with its bytes" } else { "not served" };
                Err(format!("{name} was {was} at {} until a fork was resolved there", site.name))
            }
            None => Ok(()),
        }
    }
}
