//! What two daemons tell of what happens between them, by the stream of the API and by a webhook alike.

use crate::lab::{Site, until};
use crate::receiver::Told;

/// One site with both ways of listening.
struct Watched {
    site: Site,
    ways: Vec<Told>,
}

impl Watched {
    fn new(name: &'static str) -> Self {
        let site = Site::new(name);
        let ways = vec![Told::by_stream(&site), Told::by_webhook(&site)];
        Self { site, ways }
    }

    /// Both ways tell it.
    fn hears(&mut self, kind: &str, field: &str, value: &str) {
        let told: Vec<_> = self.ways.iter_mut().map(|way| way.hears(kind, field, value)).collect();
        assert_eq!(told[0], told[1], "the same by both ways");
    }

    /// Runs the link until that ends with this exit code: a run that meets a session which just closes is interrupted.
    fn syncs_with(&self, code: i32) {
        until("a run ends so", || self.site.offline(&["sync"]).code == code);
    }

    fn pause(&self, link: &str, paused: bool) {
        self.site.ok(&["link", if paused { "pause" } else { "resume" }, link]);
    }
}

/// Los Angeles dials New York, which lets it do `may`.
fn linked(may: &str) -> (Watched, Watched) {
    let (ny, la) = (Watched::new("New York"), Watched::new("LA"));
    ny.site.ok(&["feed", "create", "tools", "--kind", "raw"]);
    ny.site.pair(&la.site, "tools", may);
    la.site.sync();
    (ny, la)
}

#[test]
fn runs_verdicts_and_clashes_are_told_at_both_sites() {
    let (mut ny, mut la) = linked("mirror");
    for (site, link) in [(&mut ny, "la"), (&mut la, "new-york")] {
        site.hears("run-ended", "link", link);
        site.hears("verdict-changed", "to", "valid");
        site.hears("link-up", "link", link);
    }
    la.pause("new-york", true);
    for n in 0..30 {
        let name = format!("p{n}");
        ny.site.publish("tools", &name, format!("{name} of New York").as_bytes());
        la.site.publish("tools", &name, format!("{name} of Los Angeles").as_bytes());
    }
    ny.site.publish("tools", "back", b"nobody deleted this one yet");
    la.site.ok(&["delete", "tools", "back", "1.0", "--unseen"]);
    la.pause("new-york", false);
    la.syncs_with(0);
    for site in [&mut ny, &mut la] {
        for n in 0..30 {
            site.hears("clash-found", "package", &format!("p{n}@1.0"));
        }
        site.hears("publish-suppressed", "package", "back@1.0");
    }

    ny.site.ok(&["link", "set", "la", "--mode", "pull"]);
    la.syncs_with(0);
    la.hears("verdict-changed", "to", "warning");
    ny.hears("verdict-changed", "to", "warning");
    ny.site.ok(&["link", "set", "la", "--mode", "off"]);
    la.syncs_with(6);
    la.hears("verdict-changed", "to", "invalid");

    ny.site.kill();
    la.syncs_with(5);
    la.hears("run-failed", "link", "new-york");
    la.hears("link-down", "link", "new-york");
}

#[test]
fn deletions_that_wait_and_their_approval_are_told() {
    let (ny, mut la) = linked("pull");
    for n in 0..110 {
        ny.site.publish("tools", &format!("p{n}"), b"the same bytes");
    }
    la.site.sync();
    la.pause("new-york", true);
    for n in 0..110 {
        ny.site.ok(&["delete", "tools", &format!("p{n}"), "1.0"]);
    }
    la.pause("new-york", false);
    let told = la.site.offline(&["sync"]);
    assert!(told.code == 0 && told.stdout.contains("110 deletions in tools wait"), "{told:?}");
    la.hears("hold-opened", "link", "new-york");
    let hold = la.site.offline(&["--json", "holds"]).json()["holds"][0]["hold"].as_str().unwrap().to_owned();
    la.hears("hold-opened", "hold", &hold);
    la.site.ok(&["approve", &hold]);
    la.hears("hold-approved", "hold", &hold);
    la.hears("hold-approved", "feed", "tools");
}

#[test]
fn a_publish_that_the_other_end_does_not_serve_is_told_where_it_was_made() {
    let (ny, mut la) = linked("push");
    ny.site.ok(&["delete", "tools", "gone", "1.0", "--unseen"]);
    la.site.publish("tools", "gone", b"bytes");
    la.site.sync();
    la.hears("publish-unserved", "package", "gone@1.0");
}
