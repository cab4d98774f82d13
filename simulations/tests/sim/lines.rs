//! A few of the lines that `cargo sim --lines` fills.

use simulations::lines::cross;

/// Over 1,024 holes in one stream kill a connection; eight lanes of bounded windows cannot have them.
#[test]
fn a_connection_outlives_slow_far_and_lossy_lines_and_a_line_is_the_same_each_time() {
    for seed in [6, 9, 18] {
        let crossing = cross(seed);
        assert!(!crossing.died && crossing.arrived == crossing.bytes, "line {seed}: {crossing}");
        assert!(crossing.goodput_mbit() > crossing.rate_mbit as f64 / 4.0, "line {seed}: {crossing}");
    }
    assert_eq!(cross(6), cross(6));
}
