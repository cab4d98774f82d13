//! What a site says for itself alone, and what becomes of it once the site is given rights.

use super::*;
use crate::api::ruling::GrantRequest;

async fn as_mirror(node: &Node) {
    let name = only_link(node).await.name;
    let change = api::LinkChange { mode: Some("mirror".to_owned()), ..Default::default() };
    node.change_link(&name, change).await.unwrap();
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
    la.node.delete("tools", "later", "1.0", String::new(), true).await.unwrap();
    publish(&la.node, "private", b"private").await.unwrap();
    settle(&la.node).await;
    let rights = ["publish", "delete-wide", "block"].map(ToOwned::to_owned).to_vec();
    let (site, prefix) = (la.node.me().to_string(), String::new());
    ny.node.grant("tools", GrantRequest { site, rights, prefix, expires_ms: None }).await.unwrap();
    for node in [&ny.node, &la.node] {
        as_mirror(node).await;
    }
    let la = again_as(la, "LA").await;
    settle(&la.node).await;
    assert_eq!(names(&ny.node).await, ready(&["tool"]));
    assert_eq!(la.node.package("tools", "tool", "1.0").await.unwrap().state, "hidden-here");
    publish(&ny.node, "later", b"later").await.unwrap();
    publish(&la.node, "shared", b"shared").await.unwrap();
    settle(&la.node).await;
    assert_eq!(names(&ny.node).await, ready(&["later", "shared", "tool"]));
    // Said again, it is said with the rights.
    publish(&la.node, "private", b"private").await.unwrap();
    la.node.delete("tools", "tool", "1.0", String::new(), false).await.unwrap();
    settle(&la.node).await;
    let served = names(&ny.node).await.into_iter().filter(|(_, state)| state == "ready");
    let served: Vec<String> = served.map(|(name, _)| name).collect();
    assert_eq!(served, ["later", "private", "shared"]);
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
