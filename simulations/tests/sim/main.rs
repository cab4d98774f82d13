//! The simulations as tests: few seeds here, more by `cargo sim --seeds N`.

/// Random histories of the merge rules.
mod histories;
/// Three sites, faults on, then healed: everything arrives, and the same seed gives the same trace.
mod three_sites;
