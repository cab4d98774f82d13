//! The simulations as tests: few seeds here, more by `cargo sim --seeds N`.

/// What a peer that keeps no rules may try.
mod cheats;
/// What the decoders accept, and what they must not fall over.
mod decoders;
/// Random histories of the merge rules.
mod histories;
/// Lines of every kind, filled by one connection each.
mod lines;
/// Machines that live twice.
mod machines;
/// What is malformed, class by class.
mod malformed;
/// Bugs put in on purpose.
mod plants;
/// A trash whose bytes stay for a while, and quotas.
mod room;
/// Rights, links and programs that change in mid-run.
mod rulings;
/// Whole worlds by seed.
mod seeds;
/// Every way to join three sites.
mod shapes;
/// Failures that are made smaller.
mod smaller;
