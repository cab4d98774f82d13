//! What waits in memory stays small, however slow the other end is.

use crate::oracle::Seen;

/// Bytes that wait on one connection: each way one control frame of the longest kind, one of ops and one for each lane.
const WAITING_BYTES_MAX: usize = 20 << 20;
/// Datagrams on all lines of one site: a full queue and what is on the way.
const UNDER_WAY_MAX: usize = 20_000;

/// # Errors
/// What grew.
pub fn check(seen: Seen<'_>) -> Result<(), String> {
    let fat = seen.sites.iter().find(|site| site.waiting_bytes_peak > WAITING_BYTES_MAX);
    match fat {
        Some(site) => {
            Err(format!("{} let {} bytes wait on one connection", site.name, site.waiting_bytes_peak))
        }
        None => Ok(()),
    }
}

/// # Errors
/// More datagrams are under way than lines and queues hold.
pub fn under_way(datagrams: usize) -> Result<(), String> {
    if datagrams > UNDER_WAY_MAX { Err(format!("{datagrams} datagrams are under way")) } else { Ok(()) }
}
