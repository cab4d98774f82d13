//! Keys that are let in no more, between real nodes.

use super::*;
use crate::api::ruling::GrantRequest;
use crate::api::ruling::RevokeRequest;

fn stolen(site: &str) -> RevokeRequest {
    RevokeRequest { site: site.to_owned(), reason: "stolen".to_owned(), accept_all: false }
}

fn invitation(host: &Node) -> InviteRequest {
    InviteRequest {
        feeds: vec!["tools".to_owned()],
        peer_may: "mirror".to_owned(),
        expires_ms: wall_clock().0 + 60_000,
        grant_life_ms: None,
        addresses: vec![host.listen_address().to_string()],
    }
}

async fn joins(joiner: &Node, host: &Node) -> Result<api::Link, Problem> {
    let invite = host.invite(invitation(host)).await.unwrap();
    joiner.accept(accept(&invite.ticket)).await
}

/// [P-72] Standing sessions end, the rights are taken back, and no ticket helps, whatever restarts.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_out_at_once_and_stays_out_until_it_is_readmitted() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &la.node, "mirror").await;
    publish(&la.node, "before", b"not sealed yet").await.unwrap();
    sync(&la.node).await;
    let mut events = ny.node.read_events(None).await.unwrap().coming;
    let revoked = ny.node.revoke_key(stolen("la")).await.unwrap();
    assert_eq!((revoked.links, revoked.feeds), (vec!["la".to_owned()], vec!["tools".to_owned()]));
    assert!(revoked.feeds_left.is_empty());
    let (mut down, mut told) = (false, false);
    while !(down && told) {
        let event = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
        down |= matches!(&event.event, Event::LinkDown { link, .. } if link == "la");
        told |= matches!(&event.event, Event::KeyRevoked { reason, .. } if reason == "stolen");
    }
    assert!(ny.node.rights("tools").await.unwrap().grants.iter().all(|right| right.revoked));
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while sync(&la.node).await.reason != Some(Reason::SiteUnknown.to_string()) {
        assert!(tokio::time::Instant::now() < deadline, "it is not refused by name");
    }
    let refused = joins(&la.node, &ny.node).await.unwrap_err();
    assert_eq!((refused.detail, refused.code.as_str()), (Reason::KeyRevoked.to_string(), "refused"));

    let ny = again_as(ny, "NY").await;
    assert_eq!(joins(&la.node, &ny.node).await.unwrap_err().detail, Reason::KeyRevoked.to_string());
    let its = la.node.me().to_string();
    let asked = GrantRequest {
        site: its.clone(),
        rights: vec!["publish".to_owned()],
        prefix: String::new(),
        expires_ms: None,
    };
    assert_eq!(ny.node.grant("tools", asked).await.unwrap_err().code, "refused");
    assert_eq!(ny.node.keys().await.unwrap().revoked[0].reason, "stolen");
    ny.node.readmit_key(&its).await.unwrap();
    assert_eq!(ny.node.readmit_key(&its).await.unwrap_err().status, 404);
    joins(&la.node, &ny.node).await.unwrap();
    settle(&la.node).await;
    assert_eq!(names(&ny.node).await, names(&la.node).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_without_the_right_says_where_a_key_it_revoked_may_still_write() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &la.node, "mirror").await;
    sync(&la.node).await;
    let revoked = la.node.revoke_key(stolen("new-york")).await.unwrap();
    assert_eq!((revoked.feeds.len(), revoked.feeds_left), (0, vec!["tools".to_owned()]));
    let found = la.node.doctor().await.unwrap().findings;
    assert!(found.iter().any(|finding| finding.kind == "revoked-key"), "{found:?}");
    let refused = joins(&la.node, &ny.node).await.unwrap_err();
    assert_eq!((refused.status, refused.code.as_str()), (403, "refused"), "{refused:?}");
    let own = ny.node.revoke_key(stolen(&ny.node.me().to_string())).await.unwrap_err();
    assert_eq!(own.code, "refused");
    let long = RevokeRequest { reason: "r".repeat(10_000), ..stolen(&la.node.me().to_string()) };
    assert_eq!(ny.node.revoke_key(long).await.unwrap_err().exit_code(), 2);
    assert!(ny.node.keys().await.unwrap().revoked.is_empty());
}
