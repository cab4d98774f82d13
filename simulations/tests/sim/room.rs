//! The room that sites give a feed: a trash whose bytes stay for a while, and quotas.

use simulations::net::SECOND;
use simulations::options::{Act, Layer, Options};
use simulations::topology::Topology;
use simulations::world::{Report, play};

const MINUTE: u64 = 60 * SECOND;
const GRACE_MINUTES: u64 = 20;

/// Two sites, a minute between runs, nothing wrong, and people who do this, by the minute.
fn plays(acts: impl IntoIterator<Item = (u64, Act)>) -> Report {
    let mut options = Options::over(Layer::Pipes, 0, Some(Topology::Pair)).quiet();
    options.beat = MINUTE;
    options.healed_at = 60 * MINUTE;
    options.acts = acts.into_iter().map(|(at, act)| (at * MINUTE, act)).collect();
    options.acts.sort_by_key(|(at, _)| *at);
    play(options.clone()).unwrap_or_else(|broken| panic!("{broken}\n{options}\n{}", broken.lines.join("\n")))
}

/// One package is published at one site and deleted there; both keep a trash and sweep every other minute.
fn deleted_at_10_and_restored_at(minute: u64) -> Report {
    let bytes = 300_000;
    let mut acts = vec![
        (1, Act::Publish { site: 0, contested: None, bytes }),
        (10, Act::Delete { site: 0, pick: 0 }),
        (minute, Act::Restore { site: 1, pick: 0 }),
    ];
    for site in [0, 1] {
        acts.push((0, Act::KeepTrash { site, grace_ms: GRACE_MINUTES * 60_000 }));
        acts.extend((1..30).map(|at| (2 * at, Act::Sweep { site })));
    }
    plays(acts)
}

fn told(report: &Report, what: &str) -> usize {
    report.lines.iter().filter(|line| line.contains(what)).count()
}

#[test]
fn what_is_deleted_is_taken_back_at_another_site_within_the_grace_and_no_byte_is_sent_again() {
    let report = deleted_at_10_and_restored_at(28);
    assert_eq!((told(&report, "restores"), report.content_bytes), (1, 300_000));
}

#[test]
fn what_is_deleted_is_gone_once_its_grace_is_over_and_a_sweep_came() {
    let report = deleted_at_10_and_restored_at(36);
    assert_eq!((told(&report, "restores"), report.content_bytes), (0, 300_000));
}

/// Of two packages one has room, at the site that writes as at the one that fetches; room is made, and both go on.
#[test]
fn a_full_quota_refuses_and_lets_wait_and_both_go_on_once_there_is_room() {
    let publish = |at, site, bytes| (at, Act::Publish { site, contested: None, bytes });
    let quota = |site| (0, Act::Quota { site, bytes: Some(50_000) });
    let report = plays([quota(0), publish(1, 0, 40_000), publish(2, 0, 40_000), publish(10, 1, 30_000)]);
    assert_eq!(told(&report, "and is refused"), 2, "the second, and one byte more than there was room for");
    // What the other site published waits, until the first package is deleted.
    assert_eq!((report.facts, report.content_bytes), (4, 40_000 + 30_000 + 10_001));
    let report = plays([quota(1), publish(1, 0, 40_000), publish(10, 0, 30_000)]);
    assert_eq!(told(&report, "and is refused"), 1);
}
