//! What waits in memory stays small, however slow the other end is.

use protocol::limits::{EXTENT_BYTES, FRAME_BYTES_MAX};

use crate::oracle::Seen;

/// Bytes that wait on one lane: the longest piece, of an extent with the hashes of its parts.
const WAITING_BYTES_MAX: usize = EXTENT_BYTES + (64 << 10);
/// Bytes of one stream that are read and not yet taken in: what arrived at once where less than the longest frame was held.
const HELD_BYTES_MAX: usize = 4 * FRAME_BYTES_MAX;
/// Datagrams on all lines of one site: a full queue and what is on the way.
const UNDER_WAY_MAX: usize = 20_000;

/// # Errors
/// What grew.
pub fn check(seen: Seen<'_>) -> Result<(), String> {
    for site in seen.sites {
        let (waiting, held) = (site.waiting_bytes_peak, site.held_bytes_peak);
        if waiting > WAITING_BYTES_MAX {
            return Err(format!("{} let {waiting} bytes wait on one lane", site.name));
        }
        if held > HELD_BYTES_MAX {
            return Err(format!("{} held {held} bytes of one stream in memory", site.name));
        }
    }
    Ok(())
}

/// # Errors
/// More datagrams are under way than lines and queues hold.
pub fn under_way(datagrams: usize) -> Result<(), String> {
    if datagrams > UNDER_WAY_MAX { Err(format!("{datagrams} datagrams are under way")) } else { Ok(()) }
}
