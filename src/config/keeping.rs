//! How a site looks after its bytes: how much room it leaves, how long it keeps what was deleted, how often all is read again.

use std::time::Duration;

use protocol::filter::{parse_age_ms, parse_size_bytes};
use protocol::timetable::parse_rate;

/// 20 MB a second: a tenth of a slow disk; a terabyte takes 14 hours.
pub(super) const SCRUB: &str = "20MB/s";

/// Twice a month: a bit that rots is found while other sites still have the bytes.
pub(super) const SCRUB_EVERY: &str = "14d";

/// Room for a million deletions and their index, and for others who write to the same disk.
pub(super) const RESERVE: &str = "1GB";

/// Long enough to come back from a holiday and miss what was deleted.
pub(super) const TRASH: &str = "14d";

/// What was set of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeping {
    /// Bytes of the disk that bytes of packages may not fill.
    pub reserve_bytes: u64,
    /// How long bytes that nothing needs any more stay.
    pub trash: Duration,
    /// Bytes a second that the scrub reads; none where it is off.
    pub scrub_bytes_per_s: Option<u64>,
    /// From the end of one pass over all bytes to the beginning of the next.
    pub scrub_every: Duration,
}

impl Default for Keeping {
    fn default() -> Self {
        Self {
            reserve_bytes: size(RESERVE).unwrap_or_default(),
            trash: age(TRASH).unwrap_or(Duration::MAX),
            scrub_bytes_per_s: rate(SCRUB).unwrap_or_default(),
            scrub_every: age(SCRUB_EVERY).unwrap_or(Duration::MAX),
        }
    }
}

/// `off`, or bytes a second.
pub(super) fn rate(text: &str) -> Option<Option<u64>> {
    if text == "off" { Some(None) } else { parse_rate(text).ok().map(Some) }
}

/// Bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    parse_size_bytes(text)
}

/// A time such as `14d`.
pub(super) fn age(text: &str) -> Option<Duration> {
    parse_age_ms(text).map(Duration::from_millis)
}
