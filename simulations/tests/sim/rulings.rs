//! Rights, links and programs that change in mid-run, by seed: each kind of change is met, and no promise broken.

use std::collections::BTreeSet;

use protocol::fault::Reason;
use protocol::switches::Switches;
use simulations::net::SECOND;
use simulations::options::{Act, Change, Fault, Layer, Options, Ruling};
use simulations::topology::Topology;
use simulations::world::{Report, play};

const MINUTE: u64 = 60 * SECOND;
/// Seeds looked through for what a test is about.
const SEEDS: u64 = 120;

fn plays(options: Options) -> Report {
    play(options.clone()).unwrap_or_else(|broken| panic!("{broken}\n{options}\n{}", broken.lines.join("\n")))
}

fn kind(act: &Act) -> Option<&'static str> {
    Some(match act {
        Act::Rule(Ruling::Grant { lasts_ms: Some(_), .. }) => "lend",
        Act::Rule(Ruling::Grant { instead: true, .. }) => "narrow",
        Act::Rule(Ruling::Grant { .. }) => "grant",
        Act::Rule(Ruling::Revoke { .. }) => "revoke",
        Act::Rule(Ruling::RevokeKey { .. }) => "revoke a key",
        Act::Rule(Ruling::ReadmitKey { .. }) => "readmit a key",
        Act::Rule(Ruling::Link { change: Change::Pause, .. }) => "pause",
        Act::Rule(Ruling::Link { change: Change::Resume, .. }) => "resume",
        Act::Rule(Ruling::Link { change: Change::Remove, .. }) => "remove",
        Act::Rule(Ruling::Link { change: Change::PairAgain, .. }) => "pair again",
        Act::Rule(Ruling::Link { .. }) => "set the mode",
        Act::Kill { .. } => "kill",
        Act::Upgrade { .. } => "upgrade",
        Act::Publish { .. }
        | Act::Delete { .. }
        | Act::Restore { .. }
        | Act::PowerLoss { .. }
        | Act::PowerLossInSync { .. }
        | Act::PowerLossInWrite { .. }
        | Act::Restart { .. }
        | Act::ClockJump { .. }
        | Act::FailSyncs { .. }
        | Act::DiskFull { .. }
        | Act::DiskFree { .. }
        | Act::Sweep { .. }
        | Act::KeepTrash { .. }
        | Act::EmptyTrash { .. }
        | Act::Quota { .. }
        | Act::Rot { .. }
        | Act::LosePack { .. }
        | Act::Scrub { .. }
        | Act::BackUp { .. }
        | Act::SetBack { .. }
        | Act::Double { .. }
        | Act::DoublePublishes { .. }
        | Act::DoubleDeletes { .. }
        | Act::NewKey { .. }
        | Act::UseOldKey { .. }
        | Act::Cheat { .. } => return None,
    })
}

/// One seed for each kind of change, as few as will do.
#[test]
fn whatever_is_ruled_in_mid_run_holds_everywhere_and_breaks_no_promise() {
    let mut met = BTreeSet::new();
    for seed in 0..SEEDS {
        let options = Options::over(Layer::Pipes, seed, None);
        let news: BTreeSet<_> = options.acts.iter().filter_map(|(_, act)| kind(act)).collect();
        if !news.is_subset(&met) {
            met.extend(news);
            plays(options);
        }
    }
    assert_eq!(met.len(), 13, "{met:?}");
}

/// Two sites, a minute between runs, and one of them speaks a later version until it gets a program that speaks both.
fn releases(layer: Layer, upgraded_at: u64) -> Options {
    let mut options = Options::over(layer, 0, Some(Topology::Pair)).quiet();
    options.beat = MINUTE;
    options.healed_at = 200 * MINUTE;
    for link in &mut options.shape.links {
        link.every = 1;
    }
    options.faults = vec![Fault::Versions { site: 1, min: 2, max: 2 }];
    options.acts = (0..10)
        .map(|at| (at * MINUTE, Act::Publish { site: usize::from(at % 2 == 0), contested: None, bytes: 100 }))
        .collect();
    options.acts.push((upgraded_at, Act::Upgrade { site: 1, min: 1, max: 2 }));
    options
}

#[test]
fn releases_that_do_not_meet_are_refused_by_name_tried_again_ever_later_and_agree_once_one_is_updated() {
    for layer in [Layer::Quic, Layer::Pipes] {
        let report = plays(releases(layer, 120 * MINUTE));
        let apart = report.refused.get(&Reason::VersionsApart).copied().unwrap_or_default();
        // After 1, 3, 7, 15, 31, 63 minutes and hourly, and each time at both ends.
        assert!((12..=18).contains(&apart), "{apart} refusals");
        assert_eq!((report.facts, report.content_bytes), (10, 1000));
    }
    let meets = releases(Layer::Pipes, 120 * MINUTE);
    let report = plays(Options { faults: vec![Fault::Versions { site: 1, min: 1, max: 9 }], ..meets });
    assert_eq!(report.refused.get(&Reason::VersionsApart), None);
}

/// New York pushes and pulls; what its end lets through is narrowed for a while and widened again, at either end.
#[test]
fn a_link_that_is_narrowed_and_widened_in_mid_run_ends_with_everything_everywhere() {
    for end in [0, 1] {
        let mut options = releases(Layer::Pipes, 190 * MINUTE);
        options.faults.clear();
        let narrow = if end == 0 { Switches::PULL } else { Switches::PULL.adds_only() };
        for (at, change) in [(2, Change::Mode(narrow)), (60, Change::FirstMode)] {
            options.acts.push((at * MINUTE, Act::Rule(Ruling::Link { link: 0, end, change })));
        }
        options.acts.push((20 * MINUTE, Act::Delete { site: 1, pick: 3 }));
        options.acts.sort_by_key(|(at, _)| *at);
        assert!(plays(options).facts > 10);
    }
}
