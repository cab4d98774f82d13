//! What is said of an op comes after it: its stamp is above those of all that its author had seen of what it names.

use protocol::log::NamedOp;
use protocol::op::Body;

use crate::site::Site;

/// Looks at an op where it was just said.
///
/// # Errors
/// What it names and does not follow.
pub fn check(site: &Site, now: u64, said: &NamedOp) -> Result<(), String> {
    let named = match &said.op.body {
        Body::Publish(publish) => &publish.supersedes,
        Body::Delete(delete) => &delete.saw,
        Body::SetState(_)
        | Body::SetRef(_)
        | Body::Block(_)
        | Body::Unblock(_)
        | Body::Resolve(_)
        | Body::Seal(_)
        | Body::Statistics(_)
        | Body::OpenEpoch(_)
        | Body::Cut(_)
        | Body::Grant(_)
        | Body::Revoke(_)
        | Body::Unknown { .. } => return Ok(()),
    };
    for id in named {
        let Some(before) = site.store().op(*id).ok().flatten() else { continue };
        // An op that waits until it is due was not seen by the clock.
        if before.op.stamp >= said.op.stamp && site.counts(now, *id) {
            return Err(format!("{} said something of an op and stamped it before that op", site.name));
        }
    }
    Ok(())
}
