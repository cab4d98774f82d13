//! Bytes move once: what was published, times the sites it goes to, and little more where lines were cut.

use crate::oracle::Seen;

/// How often a byte may move to one receiver when power and lines fail, in hundredths: what was not synced when power went comes again.
const AGAIN_PERCENT_MAX: u64 = 200;
/// What a run that is cut may have under way, for each cut: extents that are not whole yet, and blobs that were not synced. Of 870 worlds over
/// pipes and 40 over QUIC the worst moved 518 KB an interruption more than was due. This is twice that.
const UNDER_WAY_BYTES: u64 = 1 << 20;

/// `interruptions`: times at which something was cut off in the middle; none on quiet lines, where each byte moves at most once.
///
/// # Errors
/// More bytes moved.
pub fn check(seen: Seen<'_>, interruptions: u64) -> Result<(), String> {
    let moved: u64 =
        seen.sites.iter().flat_map(|site| &site.ended).map(|(_, tally)| tally.content_in_bytes).sum();
    let publishes =
        seen.oracle.facts(seen.sites).filter_map(|fact| fact.publish().map(|publish| (fact, publish)));
    let due: u64 = publishes
        .map(|(fact, publish)| {
            publish.manifest.size().saturating_mul(seen.oracle.spread.receivers(fact.id) as u64)
        })
        .sum();
    let most = if interruptions == 0 {
        due
    } else {
        due * AGAIN_PERCENT_MAX / 100 + interruptions * UNDER_WAY_BYTES
    };
    if moved > most {
        return Err(format!(
            "{moved} bytes moved, and {due} would have done, with {interruptions} interruptions"
        ));
    }
    Ok(())
}
