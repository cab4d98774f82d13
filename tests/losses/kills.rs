//! Kill -9 under load, again and again, at one node.

use std::time::{Duration, Instant};

use crate::lab::Site;
use crate::load::Acknowledged;
use crate::rounds;

/// A site that was killed is up again within this: thirty times what it takes.
const READY_WITHIN: Duration = Duration::from_secs(2);

#[test]
fn nothing_acknowledged_is_lost_by_kills_under_load() {
    let mut site = Site::new("New York");
    site.ok(&["feed", "create", "tools", "--kind", "raw"]);
    let token = site.ok(&["token", "create", "--admin"])["token"].as_str().unwrap().to_owned();
    let mut acknowledged = Acknowledged::default();
    let mut slowest = Duration::ZERO;
    for round in 0..rounds() {
        acknowledged.load_until_lost(&mut site, &token, 1 + round * 7 % 40, Site::kill);
        let started = Instant::now();
        site.start();
        slowest = slowest.max(started.elapsed());
        acknowledged.check(&site, &token, "kill", round);
    }
    assert!(slowest <= READY_WITHIN, "ready again after {slowest:?}");
    acknowledged.check_all(&site, &token);
    let verified = site.ok(&["verify"]);
    assert_eq!((&verified["damaged"], &verified["blobs_damaged"]), (&serde_json::json!([]), &0.into()));
    println!(
        "{} kills: {} publishes and {} deletes acknowledged, 0 lost, ready again after {} ms at most",
        rounds(),
        acknowledged.published,
        acknowledged.deleted,
        slowest.as_millis()
    );
}
