//! Machines that live twice: set back to what was kept of them.

use simulations::options::{Act, Layer, Options};
use simulations::world::play;

fn has(options: &Options, kind: impl Fn(&Act) -> bool) -> bool {
    options.acts.iter().any(|(_, act)| kind(act))
}

/// Plays the first seeds of short worlds in which something happens, so many of them.
fn plays(count: usize, kind: impl Fn(&Act) -> bool) {
    let seeds = (0..200).map(|seed| Options::over(Layer::Pipes, seed, None));
    let with: Vec<Options> = seeds.filter(|options| has(options, &kind)).take(count).collect();
    assert_eq!(with.len(), count);
    for options in with {
        play(options.clone()).unwrap_or_else(|broken| panic!("{broken}\n{options}"));
    }
}

#[test]
fn a_machine_that_is_restored_from_its_backup_forks_nothing_and_writes_again() {
    plays(8, |act| matches!(act, Act::SetBack { in_place: false, .. }));
}

#[test]
fn a_machine_that_is_set_back_in_its_place_hears_of_it_before_it_writes() {
    plays(8, |act| matches!(act, Act::SetBack { in_place: true, .. }));
}
