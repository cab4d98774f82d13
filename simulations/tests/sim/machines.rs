//! Machines that live twice: set back to what was kept of them, or run beside a copy.

use simulations::options::{Act, Back, Layer, Options};
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
    plays(8, |act| matches!(act, Act::SetBack { how: Back::Restored, .. }));
}

#[test]
fn a_machine_that_is_set_back_in_its_place_hears_of_it_before_it_writes() {
    plays(8, |act| matches!(act, Act::SetBack { how: Back::InPlace, .. }));
}

/// Where people go on at once there are two histories: a proof reaches the origin, which cuts the log, and all agree.
#[test]
fn a_machine_that_is_set_back_and_goes_on_at_once_is_cut_where_it_forked() {
    plays(6, |act| matches!(act, Act::SetBack { how: Back::Hasty, .. }));
}

#[test]
fn a_copy_of_a_folder_forks_nothing_and_is_told_apart_from_what_it_was_copied_from() {
    plays(8, |act| matches!(act, Act::Double { noticed: true, .. }));
}

#[test]
fn a_copy_of_a_whole_machine_is_found_by_its_fork_and_all_agree_once_that_is_cut() {
    plays(8, |act| matches!(act, Act::Double { noticed: false, .. }));
}
