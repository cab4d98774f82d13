//! Bugs put in on purpose: each is found. All of them by `cargo sim --plants`; here those that the first seeds find.

use simulations::many::find;
use simulations::options::{Layer, Options, numbers};
use simulations::plant::Plant;
use simulations::world::play;

#[test]
fn a_bug_that_is_put_in_is_found_by_the_check_of_the_promise_it_breaks() {
    let found = [
        (Plant::StaleViewServed, "people"),
        (Plant::RottenBytesServed, "silence"),
        (Plant::ScrubEndsEarly, "ready"),
        (Plant::TrashGoesAtOnce, "trash"),
        (Plant::QuotaIgnored, "quota"),
        (Plant::RightsIgnored, "permission"),
    ];
    for (plant, check) in found {
        let caught = find(plant).unwrap_or_else(|| panic!("{} is not found", plant.name()));
        assert_eq!(caught.fault.check, check, "{}: {}", plant.name(), caught.fault);
    }
}

#[test]
fn there_are_at_least_twenty_bugs_to_put_in() {
    assert!(Plant::all().len() >= 20);
}

/// Where a bug is found the same seed passes without it: it is the bug that was found.
#[test]
fn the_seed_that_finds_a_bug_passes_without_it() {
    let caught = find(Plant::RightsIgnored).unwrap();
    play(Options::over(Layer::Pipes, caught.seed, None)).unwrap();
}

/// What `cargo sim` prints of a failure is what it can read: a list may be empty.
#[test]
fn the_acts_and_faults_of_a_printed_command_are_read_back() {
    assert_eq!(numbers(""), Ok(vec![]));
    assert_eq!(numbers("3,14"), Ok(vec![3, 14]));
    assert!(numbers("all").is_err());
}
