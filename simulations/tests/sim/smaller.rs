//! A failure that is made smaller: less is left of it, and what is left breaks the same promise.

use simulations::options::{Kept, Layer, Options};
use simulations::plant::Plant;
use simulations::shrink::shrink;
use simulations::topology::Topology;
use simulations::world::play;

/// A bug that two acts are enough for, somewhere in a seed of fifty. What is told to be left is played again, as a person would.
#[test]
fn a_failure_is_made_smaller_and_breaks_the_same_promise() {
    let whole = Options::over(Layer::Pipes, 0, Some(Topology::Pair));
    let whole = Options { plant: Some(Plant::StaleViewServed), ..whole };
    let found = play(whole.clone()).unwrap_err();
    let small = shrink(&whole, found.clone());
    assert!(small.tries > 0 && small.options != whole);
    assert_eq!(small.options, whole.clone().only(&small.kept));
    assert_eq!(small.broken.fault.check, found.fault.check);
    assert_eq!(play(small.options.clone()).as_ref(), Err(&small.broken), "what is left fails as it was told");
    let drawn = (whole.acts.len(), whole.faults.len());
    let left = (small.options.acts.len(), small.options.faults.len());
    assert!(drawn.0 > 40 && drawn.1 > 0 && left.0 <= 4 && left.1 == 0, "{left:?} of {drawn:?} are left");
    assert!(play(Options { plant: None, ..small.options }).is_ok(), "it is the bug that fails");
}

/// Where whatever is left out takes the failure away, nothing is: here no world fails at all.
#[test]
fn what_fails_only_as_a_whole_stays_whole() {
    let drawn = Options::over(Layer::Pipes, 0, Some(Topology::Pair));
    let planted = Options { plant: Some(Plant::StaleViewServed), ..drawn.clone() };
    let told = play(planted).unwrap_err();
    let few = drawn.only(&Kept { faults: Some(vec![]), acts: Some((0..6).collect()) });
    let small = shrink(&few, told.clone());
    assert_eq!((small.options, small.broken), (few, told));
}
