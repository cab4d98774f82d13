//! Bytes that a site served under a seal never change while they stand, and what a seal covers is known to be under it.

use packetboat::store::Topic;
use protocol::id::{LogId, OpId};
use protocol::log::NamedOp;
use protocol::op::{Body, Tip};

use crate::options::CONTESTED;
use crate::oracle::{Oracle, Words};
use crate::site::Site;

/// Looks at what all fight over, at one site after a run, and remembers what stands under a seal.
///
/// # Errors
/// What gave way to other bytes.
pub fn follow(
    at: usize,
    sites: &[Site],
    now: u64,
    feed: protocol::id::FeedId,
    oracle: &mut Oracle,
) -> Result<(), String> {
    let Some(site) = sites.get(at) else { return Ok(()) };
    let held = site.store().ops_about(feed, Topic::Seals).unwrap_or_default();
    if held.is_empty() && !oracle.sealed.keys().any(|(sealed, _)| *sealed == at) {
        return Ok(());
    }
    // An origin with two histories seals different things in each, and one of them is cut off.
    if sites.first().is_some_and(|origin| oracle.doubled.contains(&origin.id())) {
        return Ok(());
    }
    // One that was set back and sealed anew while others had a seal that it had not heard of again fixed the same twice: one gives way.
    let kept = |seal: &OpId| sites.iter().any(|site| site.holds(*seal));
    if sites.first().is_some_and(|origin| origin.sealed_over.iter().any(kept)) {
        return Ok(());
    }
    // So do an origin and a copy of its folder which its peers took for it.
    let said = |seal: OpId| sites.iter().any(|site| site.seals.iter().any(|(id, _)| *id == seal));
    let origin = sites.first().map(Site::id);
    if held.iter().any(|seal| Some(seal.op.place.log.author) == origin && !said(seal.id)) {
        return Ok(());
    }
    // A run that was cut may have brought a seal and not yet all that it covers.
    if !holds_what_is_sealed(site, feed, &held) {
        return Ok(());
    }
    for contested in 0..CONTESTED {
        let name = crate::options::contested(contested);
        let Some(item) = site.item(now, feed, &name).filter(|_| !oracle.chosen_again.contains(&name)) else {
            continue;
        };
        let key = (at, name);
        if let Some(sealed) = oracle.sealed.get(&key)
            && item.clash.contains(sealed)
        {
            return Err(format!("{} served {} under a seal and now serves other bytes", site.name, key.1));
        }
        // Where nothing clashes, what was worked out before the seal came still holds.
        let unsealed = !item.local && item.seal_matters && item.seal.is_none();
        let covers = |winner| unsealed && is_covered(site, sites, winner, &oracle.words);
        if item.winner.is_some_and(covers) {
            return Err(format!("{} does not know that {} is under a seal which it holds", site.name, key.1));
        }
        if let (Some(winner), Some(_), false) = (item.winner, item.seal, item.local) {
            oracle.sealed.insert(key, winner);
        }
    }
    Ok(())
}

fn holds_what_is_sealed(site: &Site, feed: protocol::id::FeedId, seals: &[NamedOp]) -> bool {
    seals.iter().all(|named| {
        let Body::Seal(seal) = &named.op.body else { return true };
        seal.frontier.iter().all(|tip| {
            let log = LogId { feed, author: tip.author, epoch: tip.epoch };
            let held = site.store().log_state(log).ok().flatten().map_or(0, |state| state.after.len());
            held >= tip.len
        })
    })
}

/// Whether a seal that its origin said, and that is here, covers an op.
fn is_covered(site: &Site, sites: &[Site], op: OpId, words: &Words) -> bool {
    let Some(place) = site.store().op(op).ok().flatten().map(|named| named.op.place) else { return false };
    // A seal that was said while the op did not count fixes nothing.
    if words.took_back(place.log.author) {
        return false;
    }
    let covers =
        |tip: &Tip| tip.author == place.log.author && tip.epoch == place.log.epoch && place.seq < tip.len;
    let mut seals = sites.iter().flat_map(|site| &site.seals);
    seals.any(|(said, seal)| seal.frontier.iter().any(covers) && site.holds(*said))
}
