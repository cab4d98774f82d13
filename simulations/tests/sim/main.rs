//! The simulations as tests: few seeds here, more by `cargo sim --seeds N`.

/// What a peer that keeps no rules may try.
mod cheats;
/// Random histories of the merge rules.
mod histories;
/// Whole worlds by seed.
mod seeds;
