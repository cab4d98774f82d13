//! When a message is offered again, when it is given up, and when its receiver counts as failing. Arithmetic only.

use protocol::limits::{
    WEBHOOK_FAILING_MS, WEBHOOK_OFFERED_MS_MAX, WEBHOOK_RETRY_MS_MAX, WEBHOOK_RETRY_MS_MIN,
};

/// What follows an attempt that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Next {
    /// Nothing is sent to the receiver before this much time has passed.
    pub(crate) wait_ms: u64,
    /// The message is not offered again.
    pub(crate) give_up: bool,
    /// Somebody should look at the receiver.
    pub(crate) failing: bool,
}

/// After the `failures`th attempt in a row failed, the first of them `failing_for_ms` ago, to deliver a message that is `age_ms` old.
/// `chance` spreads the attempts of many senders.
pub(crate) fn after_failure(failures: u32, failing_for_ms: u64, age_ms: u64, chance: u64) -> Next {
    let doublings = failures.saturating_sub(1).min(u64::BITS - 1);
    let most = WEBHOOK_RETRY_MS_MIN
        .saturating_mul(1_u64.checked_shl(doublings).unwrap_or(u64::MAX))
        .min(WEBHOOK_RETRY_MS_MAX);
    let half = most / 2;
    let give_up = age_ms >= WEBHOOK_OFFERED_MS_MAX;
    Next {
        wait_ms: half.saturating_add(chance % half.saturating_add(1)),
        give_up,
        failing: give_up || failing_for_ms >= WEBHOOK_FAILING_MS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_chance_moves_them_by_half() {
        let waits = |chance| move |failures| after_failure(failures, 0, 0, chance).wait_ms;
        let least: Vec<u64> = (1..=4).map(waits(0)).collect();
        assert_eq!(least, [500, 1_000, 2_000, 4_000]);
        assert_eq!(after_failure(1, 0, 0, 500).wait_ms, WEBHOOK_RETRY_MS_MIN);
        for chance in [0, 1, 77, u64::MAX] {
            let wait = after_failure(u32::MAX, 0, 0, chance).wait_ms;
            assert!((WEBHOOK_RETRY_MS_MAX / 2..=WEBHOOK_RETRY_MS_MAX).contains(&wait), "{wait}");
        }
    }

    #[test]
    fn a_receiver_fails_after_a_quarter_of_an_hour_and_a_message_is_given_up_after_a_day() {
        let next = |failing_for_ms, age_ms| {
            let next = after_failure(9, failing_for_ms, age_ms, 0);
            (next.failing, next.give_up)
        };
        assert_eq!(next(WEBHOOK_FAILING_MS - 1, 0), (false, false));
        assert_eq!(next(WEBHOOK_FAILING_MS, 0), (true, false));
        assert_eq!(next(0, WEBHOOK_OFFERED_MS_MAX - 1), (false, false));
        assert_eq!(next(0, WEBHOOK_OFFERED_MS_MAX), (true, true));
    }
}
