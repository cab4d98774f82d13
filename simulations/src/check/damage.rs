//! What rot took is back, or its site says that it is not: no byte of what it lacks is passed over, and nothing damaged is kept once all is back.

use protocol::id::LogId;
use protocol::op::Body;

use crate::oracle::Seen;

/// Looks once every site was scrubbed.
///
/// # Errors
/// What is gone and not told, or back and not noted.
pub fn check(seen: Seen<'_>) -> Result<(), String> {
    for (at, site) in seen.sites.iter().enumerate().filter(|(at, _)| seen.rotted.contains(at)) {
        if let Some(log) = site.lost_what_is_kept_twice() {
            return Err(format!(
                "{} set back a log of which its index has all a second time: {log:?}",
                site.name
            ));
        }
        let mut own = seen.oracle.rotted_at(at);
        if let Some(fact) = own.find(|fact| !site.holds(fact.id) && !site.tells_loss_of(fact.place.log)) {
            return Err(format!("{} lost what it said about {} and does not tell", site.name, fact.name()));
        }
        let lacking = site.lacking(seen.now, seen.feed);
        for (name, item) in site.items(seen.now, seen.feed) {
            let Some(winner) = item.winner.filter(|winner| !site.is_whole(*winner)) else { continue };
            let op = site.store().op(winner).ok().flatten();
            let Some(Body::Publish(publish)) = op.map(|named| named.op.body) else { continue };
            if !publish.manifest.files.iter().any(|file| lacking.contains(&file.blob)) {
                return Err(format!(
                    "{} lost bytes of {name} and does not say that it lacks them",
                    site.name
                ));
            }
        }
        let Ok(open) = site.store().open_damage(site.look(seen.now)) else {
            return Err(format!("{} cannot tell what is damaged", site.name));
        };
        let longer = |log| {
            let len =
                |of: usize| seen.sites.get(of).and_then(|site| site.store().log_state(log).ok().flatten());
            let held = len(at).map_or(0, |state| state.after.len());
            seen.shape.feeders(at).into_iter().any(|of| len(of).is_some_and(|state| state.after.len() > held))
        };
        // Of an author who was shown to have signed two histories nobody takes anything until that is resolved.
        let proofs = site.store().forks(seen.feed).unwrap_or_default();
        let frozen = |log: &&LogId| proofs.iter().any(|proof| proof.log() == **log);
        if open.logs.iter().filter(|log| !frozen(log)).any(|log| longer(*log)) {
            return Err(format!("{} lacks the end of a log that is whole where it takes from", site.name));
        }
        if open.blobs.is_empty() && open.logs.is_empty() && !open.places.is_empty() {
            return Err(format!(
                "{} keeps {} damaged places though all is back",
                site.name,
                open.places.len()
            ));
        }
    }
    Ok(())
}
