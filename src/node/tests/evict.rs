//! Evicting between real nodes: who is asked, what is refused, and how bytes come back.

use super::*;
use crate::api::evict::{Evicted, Request};
use crate::api::ruling::{self, PromoteRequest, Version};

async fn evict(node: &Node, name: &str, force: bool) -> Result<Evicted, Problem> {
    let asked = Request { name: name.to_owned(), version: "1.0".to_owned(), force };
    tokio::time::timeout(PATIENCE, node.evict("tools", asked)).await.expect("in time")
}

async fn fetch(node: &Node, name: &str) -> Result<api::Package, Problem> {
    let at = Version { name: name.to_owned(), version: "1.0".to_owned() };
    tokio::time::timeout(PATIENCE, node.fetch("tools", at)).await.expect("in time")
}

async fn state(node: &Node, name: &str) -> String {
    node.package("tools", name, "1.0").await.unwrap().state
}

/// Two sites on a link of that kind, with one large version at both.
async fn both_hold(may: &str) -> (Lab, Lab) {
    let (la, ny) = (lab("Los Angeles").await, lab("New York").await);
    feed(&la.node, "tools").await;
    publish(&la.node, "tool", &vec![5; 700_000]).await.unwrap();
    pair(&la.node, &ny.node, may).await;
    settle(&ny.node).await;
    assert_eq!(names(&ny.node).await, ready(&["tool"]));
    (la, ny)
}

/// E22
#[tokio::test(flavor = "multi_thread")]
async fn an_evicted_version_stays_away_over_runs_and_comes_when_a_client_asks() {
    let (la, ny) = both_hold("pull").await;
    let evicted = evict(&ny.node, "tool", false).await.unwrap();
    assert_eq!((evicted.blobs, evicted.held_by), (1, vec!["Los Angeles".to_owned()]));
    assert!(evicted.bytes >= 700_000, "{}", evicted.bytes);
    publish(&la.node, "other", b"small").await.unwrap();
    settle(&ny.node).await;
    assert_eq!(state(&ny.node, "tool").await, "evicted-here");
    assert_eq!(state(&ny.node, "other").await, "ready");
    assert_eq!(ny.node.feed("tools").await.unwrap().missing_blobs, 0);
    let why = ny.node.why("tools", "tool", "1.0").await.unwrap();
    assert!(why.because.contains("evicted"), "{why:?}");
    assert_eq!(state(&la.node, "tool").await, "ready");
    feed(&ny.node, "approved").await;
    let promote = PromoteRequest { name: "tool".into(), version: "1.0".into(), to: "approved".into() };
    let refused = ny.node.promote("tools", promote).await.unwrap_err();
    assert!(refused.hint.as_deref() == Some("packetboat fetch tools tool 1.0"), "{refused:?}");
    let file = ny.node.open_file("tools", "tool", "1.0", "file.bin").await.unwrap();
    assert_eq!(file.size, 700_000);
    assert_eq!(state(&ny.node, "tool").await, "ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eviction_outlives_a_restart_and_ends_with_fetch() {
    let (la, ny) = both_hold("mirror").await;
    evict(&ny.node, "tool", false).await.unwrap();
    let Lab { folder, node } = ny;
    node.stop().await;
    drop(node);
    let again = restarted(folder.path(), "New York").await;
    settle(&again).await;
    assert_eq!(state(&again, "tool").await, "evicted-here");
    let package = fetch(&again, "tool").await.unwrap();
    assert_eq!(package.state, "ready", "{package:?}");
    assert_eq!(fetch(&again, "tool").await.unwrap().state, "ready", "nothing is left to do");
    assert_eq!(fetch(&again, "unknown").await.unwrap_err().status, 404);
    la.node.stop().await;
}

/// A site that has no other way to the bytes is not left without them by an eviction on that way.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_relay_evicted_comes_again_when_a_site_behind_it_asks() {
    let (la, ny) = both_hold("pull").await;
    let leaf = lab("Leaf").await;
    pair(&ny.node, &leaf.node, "pull").await;
    pause(&leaf.node, true).await;
    publish(&la.node, "late", &vec![6; 300_000]).await.unwrap();
    settle(&ny.node).await;
    evict(&ny.node, "late", false).await.unwrap();
    pause(&leaf.node, false).await;
    let run = sync(&leaf.node).await;
    assert!(run.blobs_missing > 0 || state(&leaf.node, "late").await == "ready", "{run:?}");
    let came = async {
        while state(&leaf.node, "late").await != "ready" {
            sync(&leaf.node).await;
        }
    };
    tokio::time::timeout(PATIENCE, came).await.expect("in time");
    assert_eq!(state(&ny.node, "late").await, "ready");
}

/// E23
#[tokio::test(flavor = "multi_thread")]
async fn the_last_copy_is_not_evicted_unless_it_is_forced() {
    let (la, ny) = both_hold("pull").await;
    publish(&ny.node, "local", b"nowhere else").await.unwrap();
    let refused = evict(&ny.node, "local", false).await.unwrap_err();
    assert_eq!((refused.status, refused.code.as_str()), (409, "last-copy"), "{refused:?}");
    assert_eq!(state(&ny.node, "local").await, "ready");
    assert_eq!(evict(&ny.node, "unknown", true).await.unwrap_err().status, 404);

    let evicted = evict(&ny.node, "local", true).await.unwrap();
    assert_eq!((evicted.blobs, evicted.held_by), (1, Vec::new()));
    assert_eq!(state(&ny.node, "local").await, "evicted-here");

    evict(&la.node, "tool", true).await.unwrap();
    assert_eq!(state(&la.node, "tool").await, "evicted-here");
    let last = evict(&ny.node, "tool", false).await.unwrap_err();
    assert_eq!(last.code, "last-copy", "{last:?}");
    la.node.stop().await;
    ny.node.cut_connections();
    let nobody = evict(&ny.node, "tool", false).await.unwrap_err();
    assert_eq!((nobody.code.as_str(), nobody.exit_code()), ("unreachable", 5), "{nobody:?}");
    assert_eq!(state(&ny.node, "tool").await, "ready");
}

/// E23
#[tokio::test(flavor = "multi_thread")]
async fn two_sites_that_evict_at_the_same_time_do_not_both_let_go() {
    let (la, ny) = both_hold("mirror").await;
    let (at_la, at_ny) = tokio::join!(evict(&la.node, "tool", false), evict(&ny.node, "tool", false));
    assert!(at_la.is_err() || at_ny.is_err(), "{at_la:?} {at_ny:?}");
    let states = [state(&la.node, "tool").await, state(&ny.node, "tool").await];
    assert!(states.contains(&"ready".to_owned()), "{states:?}");
}

fn is_refused_for_the_way_back(refused: Result<Evicted, Problem>, peer: &str) {
    let refused = refused.unwrap_err();
    assert_eq!((refused.status, refused.code.as_str()), (409, "last-copy"), "{refused:?}");
    assert!(refused.detail.contains(&format!("the link with {peer} brings no packages")), "{refused:?}");
}

/// A peer that keeps the bytes and never sends any of the feed here is no second copy.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_peer_keeps_from_which_nothing_comes_here_is_the_last_copy() {
    let (la, ny) = both_hold("pull").await;
    is_refused_for_the_way_back(evict(&la.node, "tool", false).await, "New York");
    assert_eq!(state(&la.node, "tool").await, "ready");
    // The mode that the puller asks makes no difference: what the listener lets in does.
    let mirror = api::LinkChange { mode: Some("mirror".to_owned()), ..Default::default() };
    ny.node.change_link(&only_link(&ny.node).await.name, mirror).await.unwrap();
    settle(&ny.node).await;
    is_refused_for_the_way_back(evict(&la.node, "tool", false).await, "New York");

    // A pusher that asks for more than it may.
    let (berlin, rome) = (lab("Berlin").await, lab("Rome").await);
    feed(&berlin.node, "tools").await;
    pair(&berlin.node, &rome.node, "push").await;
    let mirror = api::LinkChange { mode: Some("mirror".to_owned()), ..Default::default() };
    rome.node.change_link(&only_link(&rome.node).await.name, mirror).await.unwrap();
    settle(&rome.node).await;
    publish(&rome.node, "tool", b"pushed").await.unwrap();
    settle(&rome.node).await;
    assert_eq!(names(&berlin.node).await, ready(&["tool"]));
    is_refused_for_the_way_back(evict(&rome.node, "tool", false).await, "Berlin");
    assert_eq!(state(&rome.node, "tool").await, "ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_keeps_what_else_only_a_leaf_behind_it_has() {
    let (la, relay, leaf) = (lab("Los Angeles").await, lab("Relay").await, lab("Leaf").await);
    feed(&la.node, "tools").await;
    let up = pair(&la.node, &relay.node, "mirror").await.name;
    settle(&relay.node).await;
    pair(&relay.node, &leaf.node, "pull").await;
    settle(&leaf.node).await;
    let paused = |paused| api::LinkChange { paused: Some(paused), ..Default::default() };
    relay.node.change_link(&up, paused(true)).await.unwrap();
    publish(&relay.node, "tool", &vec![5; 300_000]).await.unwrap();
    settle(&leaf.node).await;
    assert_eq!(names(&leaf.node).await, ready(&["tool"]));
    is_refused_for_the_way_back(evict(&relay.node, "tool", false).await, "Leaf");
    relay.node.change_link(&up, paused(false)).await.unwrap();
    settle(&relay.node).await;
    assert_eq!(names(&la.node).await, ready(&["tool"]));
    assert_eq!(evict(&relay.node, "tool", false).await.unwrap().held_by, ["Los Angeles"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_site_that_is_called_evicts_what_a_mirror_of_it_keeps_and_fetches_it_from_there() {
    let (la, ny) = both_hold("mirror").await;
    assert_eq!(evict(&la.node, "tool", false).await.unwrap().held_by, ["New York"]);
    assert_eq!(state(&la.node, "tool").await, "evicted-here");
    assert_eq!(evict(&ny.node, "tool", false).await.unwrap_err().code, "last-copy");
    assert_eq!(fetch(&la.node, "tool").await.unwrap().state, "ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_evicted_by_force_and_is_asked_for_in_vain_is_told_by_doctor() {
    let (la, _ny) = both_hold("pull").await;
    let told = async || {
        let findings = la.node.doctor().await.unwrap().findings;
        findings.into_iter().any(|finding| finding.kind == "from-nowhere" && finding.severity == "error")
    };
    evict(&la.node, "tool", true).await.unwrap();
    assert!(!told().await, "nobody asks for it");
    assert_ne!(fetch(&la.node, "tool").await.unwrap().state, "ready");
    assert!(told().await);
    publish(&la.node, "tool", &vec![5; 700_000]).await.unwrap();
    assert!(!told().await);
}

/// What a site does not serve itself it keeps and gives to sites that do.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_relay_hides_or_blocks_at_home_comes_back_from_there() {
    let (la, relay) = both_hold("pull").await;
    publish(&la.node, "other", &vec![6; 300_000]).await.unwrap();
    settle(&relay.node).await;
    let leaf = lab("Leaf").await;
    pair(&relay.node, &leaf.node, "pull").await;
    settle(&leaf.node).await;
    assert_eq!(names(&leaf.node).await, ready(&["other", "tool"]));
    relay.node.delete("tools", "tool", "1.0", String::new(), false).await.unwrap();
    let block = ruling::BlockRequest {
        name: Some("other".to_owned()),
        version: Some("1.0".to_owned()),
        blob: None,
        reason: String::new(),
    };
    relay.node.block("tools", block).await.unwrap();
    relay.node.empty_trash().await.unwrap();
    relay.node.sweep(false).await.unwrap();
    for name in ["tool", "other"] {
        assert_ne!(state(&relay.node, name).await, "ready");
        assert_eq!(evict(&leaf.node, name, false).await.unwrap().held_by, ["New York"]);
        assert_eq!(fetch(&leaf.node, name).await.unwrap().state, "ready");
    }
}

/// More publishes have the same bytes than are looked at, in a feed that the site behind has nothing to do with.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_relay_evicted_comes_again_however_many_publishes_elsewhere_have_the_same_bytes() {
    let (la, ny) = both_hold("pull").await;
    let leaf = lab("Leaf").await;
    pair(&ny.node, &leaf.node, "pull").await;
    pause(&leaf.node, true).await;
    let bytes = vec![6; 300_000];
    publish(&la.node, "late", &bytes).await.unwrap();
    settle(&ny.node).await;
    let id = async |name: &str| -> FeedId { ny.node.feed_id(name).await.unwrap().unwrap().parse().unwrap() };
    let tools = id("tools").await;
    let mut names = (0..).map(|number| format!("other-{number}"));
    let before = loop {
        let name = names.next().unwrap();
        feed(&ny.node, &name).await;
        if id(&name).await < tools {
            break name;
        }
    };
    for number in 0..64 {
        let new = uploaded(&ny.node, &format!("same-{number}"), &bytes).await;
        ny.node.publish(&before, new).await.unwrap();
    }
    for number in 0..64 {
        let asked = Request { name: format!("same-{number}"), version: "1.0".to_owned(), force: true };
        ny.node.evict(&before, asked).await.unwrap();
    }
    evict(&ny.node, "late", false).await.unwrap();
    assert_eq!(state(&ny.node, "late").await, "evicted-here");
    pause(&leaf.node, false).await;
    let comes = async || {
        sync(&leaf.node).await;
        leaf.node.package("tools", "late", "1.0").await.is_ok_and(|it| it.state == "ready")
    };
    eventually("it comes", comes).await;
}
