//! Kill -9 under load, again and again, at one node.

use crate::lab::Site;
use crate::load::Acknowledged;
use crate::rounds;

#[test]
fn nothing_acknowledged_is_lost_by_kills_under_load() {
    let mut site = Site::new("New York");
    site.ok(&["feed", "create", "tools", "--kind", "raw"]);
    let token = site.ok(&["token", "create", "--admin"])["token"].as_str().unwrap().to_owned();
    let mut acknowledged = Acknowledged::default();
    for round in 0..rounds() {
        acknowledged.load_until_lost(&mut site, &token, 1 + round * 7 % 40, Site::kill);
        site.start();
        acknowledged.check(&site, &token, &format!("kill {round}"));
    }
    let verified = site.ok(&["verify"]);
    assert_eq!((&verified["damaged"], &verified["blobs_damaged"]), (&serde_json::json!([]), &0.into()));
    println!(
        "{} kills: {} publishes and {} deletes acknowledged, 0 lost",
        rounds(),
        acknowledged.published,
        acknowledged.deleted
    );
}
