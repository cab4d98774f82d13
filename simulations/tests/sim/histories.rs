//! The history model in the small; `cargo sim --histories 2000` plays the whole table.

use simulations::model::{CLOCKS, cell};

/// Random histories of five shapes under three clocks: nothing diverges, no delete is without effect, row 20 holds, and what was
/// sealed keeps its bytes.
#[test]
fn no_history_breaks_a_promise_whatever_the_clocks_say() {
    for clock in CLOCKS {
        let counts = cell(0, 40, clock).unwrap_or_else(|broken| panic!("{broken}"));
        assert_eq!(counts.histories, 200);
        assert!(counts.deletes > 100 && counts.row_20 > 5 && counts.sealed > 50, "{counts:?}");
        assert!(counts.suppressed > 0 && counts.clashes > 0, "{counts:?}");
    }
}
