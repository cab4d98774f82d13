//! Whole worlds by seed: faults on, nothing may be wrong; healed, everything arrives.

use std::convert::Infallible;

use simulations::kept::kept;
use simulations::many::each_of;
use simulations::options::{Kept, Options};
use simulations::topology::{TOPOLOGIES, Topology};
use simulations::world::{Report, play};

/// One of so many kept seeds is played without optimisation.
const KEPT_STEP: usize = 8;

fn plays(options: Options) -> Report {
    play(options.clone()).unwrap_or_else(|broken| panic!("{broken}\n{options}\n{}", broken.lines.join("\n")))
}

/// On every core.
fn plays_all(worlds: &[Options]) -> Vec<Report> {
    let played = each_of(worlds, |world| Ok::<_, Infallible>(plays(world.clone())));
    played.expect("a world that fails panics")
}

/// Of the list of kept seeds a few; `cargo sim --kept` plays all, at a tenth of the time.
#[test]
fn seeds_that_are_kept_keep_every_promise() {
    let worlds = kept().unwrap();
    assert!(worlds.len() > 50);
    plays_all(&worlds.into_iter().step_by(KEPT_STEP).collect::<Vec<_>>());
}

/// Loss, doubles, jitter, cuts, wrong clocks, losses of power, disks that are full or fail: a few fresh seeds of every shape.
#[test]
fn sites_of_every_shape_converge_through_whatever_goes_wrong() {
    let (mut lost, mut doubled, mut mended, mut clashes, mut sealed) = (0, 0, 0, 0, 0);
    for report in plays_all(&(104..112).map(|seed| Options::of(seed, None)).collect::<Vec<_>>()) {
        assert!(report.facts > 10 && report.runs > 10, "{report:?}");
        lost += report.passed.lost + report.passed.cut;
        doubled += report.passed.doubled;
        mended += report.flips;
        clashes += report.clashes;
        sealed += report.sealed;
    }
    assert!(lost > 0 && doubled > 0 && mended > 0, "{lost} lost, {doubled} doubled, {mended} mended");
    assert!(clashes > 0 && sealed > 0, "{clashes} clashes, {sealed} sealed");
}

#[test]
fn the_same_seed_gives_the_same_trace_to_the_last_byte() {
    for topology in [Topology::Pair, Topology::Partial] {
        assert_eq!(plays(Options::of(5, Some(topology))), plays(Options::of(5, Some(topology))));
    }
    let digest = |seed| plays(Options::of(seed, Some(Topology::Pair))).digest;
    assert_ne!(digest(4), digest(5));
}

#[test]
fn on_quiet_lines_no_byte_of_a_package_moves_more_than_once_a_hop() {
    for topology in TOPOLOGIES {
        let report = plays(Options::of(1, Some(topology)).quiet());
        assert!(report.content_bytes > 0, "{topology:?}: {report:?}");
    }
}

/// The model's histories, with everything under them.
#[test]
fn histories_keep_their_promises_over_real_quic() {
    for seed in 0..10 {
        assert!(plays(Options::history(seed)).facts > 5);
    }
}

/// A seed with fewer of its acts and faults is the same seed otherwise: shrinking leads somewhere.
#[test]
fn a_seed_can_be_played_with_some_of_its_acts_alone() {
    let whole = Options::of(6, None);
    let kept = Kept { faults: Some(vec![]), acts: Some(vec![0, 1, 2]) };
    let part = whole.clone().only(&kept);
    assert_eq!((part.acts.as_slice(), part.faults.len()), (&whole.acts[..3], 0));
    assert!(plays(part).facts <= 3);
}
