//! What a node acknowledged is there after kills under load and after losses of power. Run by `.ci/losses`; the second needs root.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may panic, and people read what this one counted"
)]
#![expect(dead_code, reason = "the lab is that of the end-to-end tests, which use more of it")]

#[path = "../e2e/lab.rs"]
mod lab;

/// Losses of power, on a file system in an image.
mod cuts;
/// Strangers.
mod floods;
/// A disk with no room.
mod full;
/// Kill -9.
mod kills;
/// Clients that publish and delete, and remember what was acknowledged.
mod load;

/// How many losses each test survives: `PACKETBOAT_ROUNDS`, or 20.
fn rounds() -> usize {
    std::env::var("PACKETBOAT_ROUNDS").map_or(20, |rounds| rounds.parse().unwrap())
}
