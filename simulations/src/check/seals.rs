//! Bytes that a site served under a seal never change while they stand.

use packetboat::store::Topic;
use protocol::id::LogId;
use protocol::op::Body;

use crate::options::CONTESTED;
use crate::oracle::Oracle;
use crate::site::Site;

/// Looks at what all fight over, at one site after a run, and remembers what stands under a seal.
///
/// # Errors
/// What gave way to other bytes.
pub fn follow(
    at: usize,
    site: &Site,
    now: u64,
    feed: protocol::id::FeedId,
    oracle: &mut Oracle,
) -> Result<(), String> {
    // A run that was cut may have brought a seal and not yet all that it covers.
    if !holds_what_is_sealed(site, feed) {
        return Ok(());
    }
    for contested in 0..CONTESTED {
        let name = crate::options::contested(contested);
        let Some(item) = site.item(now, feed, &name) else { continue };
        let key = (at, name);
        if let Some(sealed) = oracle.sealed.get(&key)
            && item.clash.contains(sealed)
        {
            return Err(format!("{} served {} under a seal and now serves other bytes", site.name, key.1));
        }
        if let (Some(winner), Some(_), false) = (item.winner, item.seal, item.local) {
            oracle.sealed.insert(key, winner);
        }
    }
    Ok(())
}

fn holds_what_is_sealed(site: &Site, feed: protocol::id::FeedId) -> bool {
    let seals = site.store().ops_about(feed, Topic::Seals).unwrap_or_default();
    seals.iter().all(|named| {
        let Body::Seal(seal) = &named.op.body else { return true };
        seal.frontier.iter().all(|tip| {
            let log = LogId { feed, author: tip.author, epoch: tip.epoch };
            let held = site.store().log_state(log).ok().flatten().map_or(0, |state| state.after.len());
            held >= tip.len
        })
    })
}
