//! An author's stamps rise through its log, whatever became of its clock and its power: of two words about one ref the later one wins.

use protocol::id::LogId;
use protocol::log::Entry;
use protocol::op::{Op, Place};
use protocol::time::Hlc;

use crate::oracle::Seen;
use crate::site::Site;
use crate::site::keys::STOLEN;

/// # Errors
/// Whose stamps fell.
pub fn check(seen: Seen<'_>) -> Result<(), String> {
    for site in seen.sites {
        let heads = site.store().heads(seen.feed).unwrap_or_default().into_iter();
        let mut own = heads.map(|signed| signed.head.log).filter(|log| log.author == site.id());
        own.try_for_each(|log| rise(site, log))?;
    }
    Ok(())
}

fn rise(site: &Site, log: LogId) -> Result<(), String> {
    let mut last = Hlc::default();
    for batch in site.store().batches(log, 0, u64::MAX).unwrap_or_default() {
        for (seq, entry) in (batch.first..).zip(&batch.entries) {
            let Entry::Op(statement) = entry else { continue };
            let Ok(op) = Op::decode_statement(Place { log, seq }, statement) else { continue };
            // What a thief signed with the site's old key is stamped by the thief's clock.
            if op.body.coordinate().is_some_and(|at| at.name.starts_with(STOLEN)) {
                continue;
            }
            if op.stamp <= last {
                return Err(format!(
                    "{} gave its op {seq} a stamp that is not above the one before",
                    site.name
                ));
            }
            last = op.stamp;
        }
    }
    Ok(())
}
