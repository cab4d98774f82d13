//! Los Angeles and New York mirror each other, Tokyo pulls from New York, in virtual time.

use simulations::world::{Faults, three_sites};

/// Two per cent loss, a cut of two hours, three losses of power and clocks up to twenty minutes wrong: after healing all agree.
#[test]
fn three_sites_converge_through_loss_a_long_cut_power_losses_and_wrong_clocks() {
    for seed in 0..4 {
        let report = three_sites(seed, &Faults::default()).unwrap_or_else(|broken| {
            panic!("{broken}; cargo sim --seed {seed}\n{}", broken.lines.join("\n"))
        });
        assert!(report.packages > 10 && report.passed.lost > 0 && report.passed.cut > 0, "{report:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_to_the_last_byte() {
    for seed in [4, 5] {
        let one = three_sites(seed, &Faults::default()).unwrap();
        let other = three_sites(seed, &Faults::default()).unwrap();
        assert_eq!(one, other);
    }
    let digest = |seed| three_sites(seed, &Faults::default()).unwrap().digest;
    assert_ne!(digest(4), digest(5));
}

#[test]
fn on_quiet_lines_no_byte_of_a_package_moves_more_than_once_a_hop() {
    let quiet = Faults { loss_per_million: 0, long_cut: false, power_losses: 0, skew_ms: 0 };
    let report = three_sites(1, &quiet).unwrap();
    // Each package goes to two other sites, unless a delete overtakes it.
    assert!(report.content_bytes <= 2 * report.published_bytes, "{report:?}");
}
