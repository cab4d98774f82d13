//! How often strangers of one network may begin a handshake: each costs both ends a millisecond, and a flood of them the site.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use protocol::limits::{HANDSHAKES_A_SECOND, HANDSHAKES_AT_ONCE, NETWORKS_REMEMBERED_MAX};

/// What one network has left.
#[derive(Debug, Clone, Copy)]
struct Account {
    /// Handshakes, in thousandths.
    left_thousandths: u64,
    at: Instant,
    /// A site that is known here has come from there.
    trusted: bool,
}

/// The networks that called lately. Those who proved their address have an account of their own, so that nobody can use it up in their name.
#[derive(Debug, Default)]
pub(super) struct Callers {
    networks: BTreeMap<(u64, bool), Account>,
}

/// A network: 24 bits of an IPv4 address, 56 of an IPv6 one, which is what one customer gets.
fn network(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits() >> 8),
        IpAddr::V6(address) => (1 << 60) | u64::try_from(address.to_bits() >> 72).unwrap_or(u64::MAX),
    }
}

const FULL_THOUSANDTHS: u64 = HANDSHAKES_AT_ONCE * 1000;

impl Callers {
    /// Whether somebody from there, by an address that was `proved` or not, may begin one more handshake now.
    pub(super) fn may_call(&mut self, from: IpAddr, proved: bool, now: Instant) -> bool {
        self.make_room(now);
        let fresh = Account { left_thousandths: FULL_THOUSANDTHS, at: now, trusted: false };
        let account = self.networks.entry((network(from), proved)).or_insert(fresh);
        if account.trusted {
            return true;
        }
        let passed_ms =
            u64::try_from(now.saturating_duration_since(account.at).as_millis()).unwrap_or(u64::MAX);
        let earned = passed_ms.saturating_mul(HANDSHAKES_A_SECOND);
        account.left_thousandths = account.left_thousandths.saturating_add(earned).min(FULL_THOUSANDTHS);
        // What passed of the next millisecond counts with it: a flood of thousands a second must not stand the clock still.
        account.at += Duration::from_millis(passed_ms);
        let enough = account.left_thousandths >= 1000;
        account.left_thousandths = account.left_thousandths.saturating_sub(if enough { 1000 } else { 0 });
        enough
    }

    /// A known site came from there: it may come as often as it likes, and so may its neighbours.
    pub(super) fn trust(&mut self, from: IpAddr, now: Instant) {
        let fresh = Account { left_thousandths: FULL_THOUSANDTHS, at: now, trusted: true };
        for proved in [false, true] {
            self.networks.insert((network(from), proved), fresh);
        }
    }

    /// Forgets networks whose account is full again, and where that is not enough all that are not trusted.
    fn make_room(&mut self, now: Instant) {
        if self.networks.len() < NETWORKS_REMEMBERED_MAX {
            return;
        }
        let full_after = Duration::from_millis(FULL_THOUSANDTHS / HANDSHAKES_A_SECOND);
        let recent = |account: &Account| now.saturating_duration_since(account.at) < full_after;
        self.networks.retain(|_, account| account.trusted || recent(account));
        if self.networks.len() >= NETWORKS_REMEMBERED_MAX {
            self.networks.retain(|_, account| account.trusted);
        }
        if self.networks.len() >= NETWORKS_REMEMBERED_MAX {
            self.networks.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// How many of `tries` are let through at one moment.
    fn admitted(callers: &mut Callers, from: &str, now: Instant, tries: u64) -> u64 {
        (0..tries).map(|_| u64::from(callers.may_call(address(from), true, now))).sum()
    }

    #[test]
    fn a_network_of_strangers_calls_in_bursts_and_then_at_a_rate_and_others_do_not_wait_for_it() {
        let (mut callers, now) = (Callers::default(), Instant::now());
        assert_eq!(admitted(&mut callers, "192.0.2.1", now, 1000), HANDSHAKES_AT_ONCE);
        assert_eq!(
            admitted(&mut callers, "192.0.2.77", now, 1000),
            0,
            "its neighbour is of the same network"
        );
        assert_eq!(admitted(&mut callers, "::ffff:192.0.2.3", now, 1000), 0, "however it is written");
        assert_eq!(admitted(&mut callers, "192.0.3.1", now, 1), 1);
        assert!(
            callers.may_call(address("192.0.2.1"), false, now),
            "who did not prove their address is told to"
        );
        assert_eq!(admitted(&mut callers, "2001:db8:0:1::1", now, 1000), HANDSHAKES_AT_ONCE);
        assert_eq!(admitted(&mut callers, "2001:db8:0:2::1", now, 1000), 0);
        let later = now + Duration::from_secs(1);
        assert_eq!(admitted(&mut callers, "192.0.2.1", later, 1000), HANDSHAKES_A_SECOND);
        let much_later = now + Duration::from_secs(3600);
        assert_eq!(admitted(&mut callers, "192.0.2.1", much_later, 1000), HANDSHAKES_AT_ONCE);
    }

    #[test]
    fn a_flood_faster_than_the_clock_counts_does_not_stop_what_is_earned() {
        let (mut callers, begun) = (Callers::default(), Instant::now());
        admitted(&mut callers, "192.0.2.1", begun, HANDSHAKES_AT_ONCE);
        let tenths_of_ms = (1..=10_000).map(|n| begun + Duration::from_micros(100 * n));
        let through: u64 = tenths_of_ms.map(|now| admitted(&mut callers, "192.0.2.1", now, 1)).sum();
        assert_eq!(through, HANDSHAKES_A_SECOND);
    }

    #[test]
    fn where_a_known_site_came_from_nobody_is_held_up() {
        let (mut callers, now) = (Callers::default(), Instant::now());
        callers.trust(address("192.0.2.9"), now);
        assert_eq!(admitted(&mut callers, "192.0.2.1", now, 1000), 1000);
    }

    #[test]
    fn of_any_number_of_networks_so_many_are_remembered() {
        let (mut callers, now) = (Callers::default(), Instant::now());
        callers.trust(address("192.0.2.9"), now);
        for n in 0..200_000_u32 {
            callers.may_call(IpAddr::from((0x0a00_0000 + (n << 8)).to_be_bytes()), false, now);
            assert!(callers.networks.len() <= NETWORKS_REMEMBERED_MAX);
        }
        assert_eq!(admitted(&mut callers, "192.0.2.1", now, 1000), 1000, "a trusted one stays");
    }
}
