//! Keys that are let in no more, between real nodes.

use super::*;
use crate::api::ruling::GrantRequest;
use crate::api::ruling::RevokeRequest;
use crate::node::new_feeds::EVERY;
use crate::store::Shelf;

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

/// Longer than it takes to remove a link that nobody edits.
const WITHIN: Duration = Duration::from_millis(300);

/// Two sites with a link on which every feed of the first one goes.
async fn linked_for_all() -> (Lab, Lab) {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    let asked = InviteRequest { feeds: vec![EVERY.to_owned()], ..invitation(&ny.node) };
    let invite = ny.node.invite(asked).await.unwrap();
    la.node.accept(accept(&invite.ticket)).await.unwrap();
    settle(&la.node).await;
    (ny, la)
}

/// A feed is made at a site and goes on its links, which takes until something is sent: nothing of the site's own can be said before.
async fn spreads_a_feed(node: &Node) -> (std::sync::mpsc::Sender<()>, tokio::task::JoinHandle<()>) {
    let (site, id) =
        (node.inner.site.clone(), node.inner.site.store().feed_named("tools").unwrap().unwrap().0);
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let (held, holds) = std::sync::mpsc::channel::<()>();
    let holder = tokio::task::spawn_blocking(move || {
        let said = site.author_if(id, |_store| {
            held.send(()).unwrap();
            gone.recv().unwrap();
            Ok::<_, crate::keeper::AuthorError>(Vec::new())
        });
        said.unwrap();
    });
    holds.recv().unwrap();
    let making = node.clone();
    let making = tokio::spawn(async move {
        feed(&making, "secret").await;
        holder.await.unwrap();
    });
    let edits = async {
        while node.inner.link_edits.try_lock().is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, edits).await.expect("the feed goes on the link");
    (go, making)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_removed_while_a_feed_goes_on_it_stays_removed() {
    let (ny, la) = linked_for_all().await;
    let (go, making) = spreads_a_feed(&ny.node).await;
    let node = ny.node.clone();
    let mut removing = tokio::spawn(async move { node.remove_link("la").await });
    assert!(tokio::time::timeout(WITHIN, &mut removing).await.is_err(), "the link is being edited");
    go.send(()).unwrap();
    making.await.unwrap();
    removing.await.unwrap().unwrap();
    assert!(ny.node.inner.site.store().links().unwrap().is_empty());
    let ny = again_as(ny, "NY").await;
    assert!(ny.node.links().await.unwrap().links.is_empty());
    assert_ne!(sync(&la.node).await.outcome, "done");
}

/// [P-72]
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_revoked_while_a_feed_goes_on_its_link_stays_out() {
    let (ny, la) = linked_for_all().await;
    let (go, making) = spreads_a_feed(&ny.node).await;
    let node = ny.node.clone();
    let mut revoking = tokio::spawn(async move { node.revoke_key(stolen("la")).await });
    assert!(tokio::time::timeout(WITHIN, &mut revoking).await.is_err(), "its link is being edited");
    go.send(()).unwrap();
    making.await.unwrap();
    assert_eq!(revoking.await.unwrap().unwrap().feeds.len(), 2);
    let ny = again_as(ny, "NY").await;
    assert!(ny.node.links().await.unwrap().links.is_empty());
    for feed in ["tools", "secret"] {
        assert!(ny.node.rights(feed).await.unwrap().grants.iter().all(|right| right.revoked), "{feed}");
    }
    assert_ne!(sync(&la.node).await.outcome, "done");
}

/// A crash comes between the word that keeps a site out and the end of its links.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_revoking_was_cut_short_is_out_after_a_start() {
    let (ny, la) = linked_for_all().await;
    let site = la.node.me();
    let (site_name, reason) = ("LA".to_owned(), "stolen".to_owned());
    let key = api::keys::RevokedKey { site: site.to_string(), site_name, reason, revoked_ms: 1 };
    let word = serde_json::to_vec(&key).unwrap();
    ny.node.inner.site.store().put_record(Shelf::RevokedKeys, site.as_bytes(), &word).unwrap();
    let ny = again_as(ny, "NY").await;
    assert!(ny.node.links().await.unwrap().links.is_empty());
    assert_ne!(sync(&la.node).await.outcome, "done");
}

/// Strict, forked or waiting: of two feeds the one in which this site can say nothing comes first.
async fn of_two_feeds_the_first_takes_no_words(node: &Node) -> [String; 2] {
    let mut names = ["tools", "docs"].map(ToOwned::to_owned);
    let [one, other] = [node.feed("tools").await.unwrap().id, node.feed("docs").await.unwrap().id];
    if other < one {
        names.reverse();
    }
    let strict = api::ruling::FeedChange { strict: Some(true), ..Default::default() };
    node.change_feed(&names[0], strict).await.unwrap();
    names
}

async fn with_two_feeds() -> (Lab, Lab) {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    feed(&ny.node, "docs").await;
    let request =
        InviteRequest { feeds: vec!["tools".to_owned(), "docs".to_owned()], ..invitation(&ny.node) };
    let ticket = ny.node.invite(request).await.unwrap().ticket;
    la.node.accept(accept(&ticket)).await.unwrap();
    (ny, la)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_in_which_nothing_can_be_said_keeps_no_right_of_a_revoked_key_in_another() {
    let (ny, la) = with_two_feeds().await;
    let [strict, other] = of_two_feeds_the_first_takes_no_words(&ny.node).await;
    let revoked = ny.node.revoke_key(stolen(&la.node.me().to_string())).await;
    assert!(ny.node.rights(&other).await.unwrap().grants.iter().all(|right| right.revoked), "{revoked:?}");
    let revoked = revoked.unwrap();
    assert_eq!((revoked.feeds, revoked.feeds_left), (vec![other], vec![strict]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_in_which_nothing_can_be_said_keeps_no_other_from_being_sealed() {
    let (ny, _la) = with_two_feeds().await;
    let [_, other] = of_two_feeds_the_first_takes_no_words(&ny.node).await;
    let new = uploaded(&ny.node, "late", b"late").await;
    ny.node.publish(&other, new).await.unwrap();
    ny.node.seal_feeds().await;
    let store = ny.node.inner.site.store();
    let (id, _) = store.feed_named(&other).unwrap().unwrap();
    assert!(store.ledger(id).unwrap().unwrap().newest_seal().is_some());
}
