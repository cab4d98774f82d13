//! What a site says for itself alone, and what becomes of it once the site is given rights.

use super::*;
use crate::api::ruling::{BlockRequest, GrantRequest, OfferRequest, PointRequest, RevokeRequest};

/// The origin gives a site all that a mirror has, and to block.
async fn is_given_rights(site: &Node, origin: &Node) {
    let rights = ["publish", "delete-wide", "block"].map(ToOwned::to_owned).to_vec();
    let (site, prefix) = (site.me().to_string(), String::new());
    origin.grant("tools", GrantRequest { site, rights, prefix, expires_ms: None }).await.unwrap();
}

async fn as_mirror(node: &Node) {
    in_mode(node, "mirror").await;
}

async fn in_mode(node: &Node, mode: &str) {
    let name = only_link(node).await.name;
    let change = api::LinkChange { mode: Some(mode.to_owned()), ..Default::default() };
    node.change_link(&name, change).await.unwrap();
}

/// The logs of a site's own in the feed.
fn own_logs(node: &Node) -> usize {
    let (store, me) = (node.inner.site.store(), node.me());
    let (feed, _) = store.feed_named("tools").unwrap().unwrap();
    crate::keeper::own_log::heads(store, me, feed).unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_site_said_for_itself_alone_stays_there_when_it_is_given_rights() {
    let (ny, la, tokyo) = (lab("New York").await, lab("LA").await, lab("Tokyo").await);
    feed(&ny.node, "tools").await;
    publish(&ny.node, "tool", b"tool").await.unwrap();
    pair(&ny.node, &la.node, "pull").await;
    // That others pull from it gives it no rights.
    pair(&la.node, &tokyo.node, "pull").await;
    settle(&la.node).await;
    la.node.delete("tools", "tool", "1.0", String::new(), false).await.unwrap();
    publish(&la.node, "private", b"private").await.unwrap();
    settle(&la.node).await;
    is_given_rights(&la.node, &ny.node).await;
    for node in [&ny.node, &la.node] {
        as_mirror(node).await;
    }
    let la = again_as(la, "LA").await;
    settle(&la.node).await;
    assert_eq!(names(&ny.node).await, ready(&["tool"]));
    assert_eq!(la.node.package("tools", "tool", "1.0").await.unwrap().state, "hidden-here");
    publish(&la.node, "shared", b"shared").await.unwrap();
    settle(&la.node).await;
    assert_eq!(names(&ny.node).await, ready(&["shared", "tool"]));
    // Said again, it is said with the rights.
    publish(&la.node, "private", b"private").await.unwrap();
    la.node.delete("tools", "tool", "1.0", String::new(), false).await.unwrap();
    settle(&la.node).await;
    let served = names(&ny.node).await.into_iter().filter(|(_, state)| state == "ready");
    let served: Vec<String> = served.map(|(name, _)| name).collect();
    assert_eq!(served, ["private", "shared"]);
    assert!(!publish(&la.node, "private", b"private").await.unwrap().local);
}

/// A site that joined as one that may write, and has not heard of its rights yet, says what it says for all.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_joiner_says_before_it_heard_of_its_rights_is_said_for_all() {
    for mode in ["mirror", "push"] {
        let (ny, la) = (lab("New York").await, lab("LA").await);
        feed(&ny.node, "tools").await;
        pair(&ny.node, &la.node, mode).await;
        pause(&la.node, true).await;
        publish(&la.node, "early", b"early").await.unwrap();
        pause(&la.node, false).await;
        settle(&la.node).await;
        assert_eq!(names(&ny.node).await, ready(&["early"]), "{mode}");
    }
}

/// A feed was merged into one that this site only pulled; then it is given rights, and merges once more.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_merged_at_home_is_brought_once_there_are_rights() {
    use crate::api::merge::MergeRequest;
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    publish(&ny.node, "tool", b"tool").await.unwrap();
    pair(&ny.node, &la.node, "pull").await;
    settle(&la.node).await;
    feed(&la.node, "own").await;
    let new = uploaded(&la.node, "mine", b"mine").await;
    la.node.publish("own", new).await.unwrap();
    let merge = || MergeRequest { into: "tools".to_owned(), dry_run: false };
    let told = la.node.merge_feed("own", merge()).await.unwrap();
    assert_eq!((told.fresh, told.local), (1, true));
    settle(&la.node).await;
    let feeds = ny.node.feed("tools").await.unwrap().id;
    is_given_rights(&la.node, &ny.node).await;
    for node in [&ny.node, &la.node] {
        as_mirror(node).await;
    }
    settle(&la.node).await;
    let all = la.node.feeds().await.unwrap();
    let old = all.feeds.iter().find(|one| one.id != feeds).unwrap().name.clone();
    let again = la.node.merge_feed(&old, MergeRequest { into: feeds.clone(), dry_run: false }).await.unwrap();
    settle(&la.node).await;
    settle(&la.node).await;
    assert_eq!(names(&ny.node).await, ready(&["mine", "tool"]), "{again:?}");
}

/// The same as with a pull link alone, but another site mirrors from this one.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_site_that_others_pull_from_said_for_itself_stays_there_when_it_is_given_rights() {
    let (ny, la, tokyo) = (lab("New York").await, lab("LA").await, lab("Tokyo").await);
    feed(&ny.node, "tools").await;
    publish(&ny.node, "tool", b"tool").await.unwrap();
    pair(&ny.node, &la.node, "pull").await;
    settle(&la.node).await;
    let up = only_link(&la.node).await.name;
    pair(&la.node, &tokyo.node, "pull").await;
    la.node.delete("tools", "tool", "1.0", String::new(), false).await.unwrap();
    publish(&la.node, "private", b"private").await.unwrap();
    is_given_rights(&la.node, &ny.node).await;
    as_mirror(&ny.node).await;
    let change = api::LinkChange { mode: Some("mirror".to_owned()), ..Default::default() };
    la.node.change_link(&up, change).await.unwrap();
    let (steps, _) = mpsc::channel(8);
    la.node.sync(Some(up.clone()), None, false, steps).await.unwrap();
    let (steps, _) = mpsc::channel(8);
    la.node.sync(Some(up), None, false, steps).await.unwrap();
    assert_eq!(names(&ny.node).await, ready(&["tool"]));
}

/// Nobody waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_stays_at_home_is_not_told_to_be_lacking_at_the_other_end() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    publish(&ny.node, "tool", b"tool").await.unwrap();
    pair(&ny.node, &la.node, "pull").await;
    settle(&la.node).await;
    la.node.delete("tools", "tool", "1.0", String::new(), false).await.unwrap();
    publish(&la.node, "private", b"private").await.unwrap();
    is_given_rights(&la.node, &ny.node).await;
    for node in [&ny.node, &la.node] {
        as_mirror(node).await;
    }
    settle(&la.node).await;
    settle(&la.node).await;
    let link = only_link(&la.node).await;
    let text = format!("{link:?}");
    let at = text.find("ops_behind_there").expect("told");
    assert!(text[at..].starts_with("ops_behind_there: 0"), "{}", &text[at..(at + 80).min(text.len())]);
}

/// As the one before, but the site had rights once. What it said before it heard that they were taken back waits for them, as the revoke says.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_site_said_once_its_rights_were_taken_back_stays_there_when_they_are_given_anew() {
    for both in [true, false] {
        stays_home_between_rights(both).await;
    }
}

/// Both ends narrow the link meanwhile, or the origin alone.
async fn stays_home_between_rights(both: bool) {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    publish(&ny.node, "tool", b"tool").await.unwrap();
    pair(&ny.node, &la.node, "mirror").await;
    settle(&la.node).await;
    pause(&la.node, true).await;
    publish(&la.node, "unheard", b"unheard").await.unwrap();
    let site = la.node.me().to_string();
    let revoke = RevokeRequest { site, reason: String::new(), accept_all: true };
    ny.node.revoke("tools", revoke).await.unwrap();
    pause(&la.node, false).await;
    settle(&la.node).await;
    in_mode(&ny.node, "pull").await;
    if both {
        in_mode(&la.node, "pull").await;
    }
    let logs = own_logs(&la.node);
    assert!(publish(&la.node, "private", b"private").await.unwrap().local);
    la.node.delete("tools", "tool", "1.0", String::new(), false).await.unwrap();
    assert_eq!(own_logs(&la.node), logs + 1, "one log for all that stays");
    let why = la.node.why("tools", "private", "1.0").await.unwrap();
    assert!(why.because.contains("no other site"), "{why:?}");
    let why = la.node.why("tools", "unheard", "1.0").await.unwrap();
    assert!(why.because.contains("once the right is given anew"), "{why:?}");
    settle_after_a_change(&la.node).await;
    is_given_rights(&la.node, &ny.node).await;
    for node in [&ny.node, &la.node] {
        as_mirror(node).await;
    }
    let la = again_as(la, "LA").await;
    settle(&la.node).await;
    assert_eq!(names(&ny.node).await, ready(&["tool", "unheard"]));
    publish(&la.node, "shared", b"shared").await.unwrap();
    settle(&la.node).await;
    assert_eq!(names(&ny.node).await, ready(&["shared", "tool", "unheard"]));
    assert_eq!(la.node.package("tools", "tool", "1.0").await.unwrap().state, "hidden-here");
    // Said again, it is said with the rights.
    assert!(!publish(&la.node, "private", b"private").await.unwrap().local);
    settle(&la.node).await;
    assert_eq!(names(&ny.node).await, ready(&["private", "shared", "tool", "unheard"]));
    assert_eq!(own_logs(&la.node), logs + 2);
}

/// Of a ref, of how a version is offered, and of a block, the word of a site with the right goes first; what is not here cannot be hidden.
#[tokio::test(flavor = "multi_thread")]
async fn what_would_change_nothing_at_a_site_without_the_right_is_refused_there() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    publish(&ny.node, "tool", b"tool").await.unwrap();
    publish(&ny.node, "bad", b"bad").await.unwrap();
    let point = |name: &str, set: bool| PointRequest {
        package: "tool".to_owned(),
        name: name.to_owned(),
        version: set.then(|| "1.0".to_owned()),
    };
    let offer = |offer: &str| OfferRequest {
        name: "tool".to_owned(),
        version: "1.0".to_owned(),
        offer: offer.to_owned(),
        text: String::new(),
    };
    let block = |name: &str| BlockRequest {
        name: Some(name.to_owned()),
        version: Some("1.0".to_owned()),
        blob: None,
        reason: String::new(),
    };
    ny.node.point("tools", point("stable", true)).await.unwrap();
    ny.node.offer("tools", offer("deprecated")).await.unwrap();
    let blocked = ny.node.block("tools", block("bad")).await.unwrap();
    pair(&ny.node, &la.node, "pull").await;
    settle(&la.node).await;
    let unseen = la.node.delete("tools", "later", "1.0", String::new(), true).await.map(drop);
    for refused in [
        unseen,
        la.node.point("tools", point("stable", true)).await.map(drop),
        la.node.point("tools", point("stable", false)).await.map(drop),
        la.node.offer("tools", offer("listed")).await.map(drop),
        la.node.unblock("tools", &blocked.op, String::new()).await.map(drop),
    ] {
        let problem = refused.unwrap_err();
        assert!((problem.status, problem.hint.is_some()) == (403, true), "{problem:?}");
    }
    for node in [&ny.node, &la.node] {
        let absent = node.point("tools", point("nonesuch", false)).await.unwrap_err();
        assert_eq!((absent.status, absent.code.as_str()), (404, "not-found"));
    }
    // What nobody else said anything of it says for itself, and takes back.
    assert!(la.node.point("tools", point("ours", true)).await.unwrap().local);
    assert!(la.node.point("tools", point("ours", false)).await.unwrap().local);
    let own = la.node.block("tools", block("tool")).await.unwrap();
    assert!(la.node.unblock("tools", &own.op, String::new()).await.unwrap().local);
    assert_eq!(names(&la.node).await[1], ready(&["tool"])[0]);
}
