//! New keys of sites, between real nodes: nobody has to be paired again, and the old key is worth nothing.

use super::*;
use crate::api::keys::RotateRequest;
use crate::api::ruling::RevokeRequest;
use crate::node::rotation::older_path;
use crate::node::sessions::ConnectError;
use crate::transport::endpoint::{DialError, is_refusal};
use crate::transport::settings::Pace;
use crate::transport::tls::Alpn;

const PATIENTLY: RotateRequest = RotateRequest { at_once: false, accept_loss: false };
const AT_ONCE: RotateRequest = RotateRequest { at_once: true, accept_loss: false };

/// Waits until other sites are shown the newest key.
async fn shown(node: &Node) {
    let shown = async {
        loop {
            if node.own_key().await.unwrap().shown {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let late = tokio::time::timeout(PATIENCE, shown).await.is_err();
    assert!(!late, "{:?} have not heard of it", node.own_key().await.unwrap().waiting);
}

/// Waits until what was published after a rotation is there.
async fn has_news(node: &Node) {
    let came = async {
        while names(node).await != ready(&["news"]) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, came).await.expect("they go on");
}

/// Each comes anew, as sites do whose lines break, and hears what is new.
async fn dial_again(diallers: &[&Node]) {
    for node in diallers {
        node.cut_connections();
        settle(node).await;
    }
}

/// Three sites in a row: New York, Los Angeles, Tokyo. Each dials the one before.
async fn row() -> (Lab, Lab, Lab) {
    let (ny, la, tokyo) = (lab("NY").await, lab("LA").await, lab("Tokyo").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &la.node, "mirror").await;
    sync(&la.node).await;
    pair(&la.node, &tokyo.node, "pull").await;
    sync(&tokyo.node).await;
    (ny, la, tokyo)
}

/// [P-58] [P-73] Whichever end of a link it is, and whoever relays what it says.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_changes_its_key_and_nobody_has_to_be_paired_again() {
    let (ny, la, tokyo) = row().await;
    publish(&la.node, "before", b"1").await.unwrap();
    settle(&la.node).await;
    let mut events = ny.node.read_events(None).await.unwrap().coming;
    let (site, first) = (la.node.me(), la.node.inner.endpoint.shown());
    let rotated = la.node.rotate_key(PATIENTLY).await.unwrap();
    assert_eq!((rotated.site, la.node.me()), (site.to_string(), site), "the site's id stays");
    assert_ne!(rotated.key, site.to_string());
    assert_eq!(la.node.inner.endpoint.shown(), first, "nobody has heard of the new one yet");
    publish(&la.node, "after", b"2").await.unwrap();
    for _ in 0..2 {
        dial_again(&[&la.node, &tokyo.node]).await;
    }
    shown(&la.node).await;
    assert!(!older_path(la.folder.path()).exists());
    let heard = async {
        loop {
            if let Event::PeerKeyChanged { site, key, .. } = &events.recv().await.unwrap().event {
                return (site.clone(), key.clone());
            }
        }
    };
    let heard = tokio::time::timeout(PATIENCE, heard).await.unwrap();
    assert_eq!(heard, ("LA".to_owned(), rotated.key));
    // The dialling end, the listening end, both anew.
    let (la, ny) = (again_as(la, "LA").await, again_as(ny, "NY").await);
    ny.node.rotate_key(PATIENTLY).await.unwrap();
    publish(&ny.node, "origin", b"3").await.unwrap();
    for _ in 0..2 {
        dial_again(&[&la.node, &tokyo.node]).await;
    }
    shown(&ny.node).await;
    for node in [&ny.node, &la.node, &tokyo.node] {
        assert_eq!(names(node).await, ready(&["after", "before", "origin"]));
    }
    let roots = [&ny.node, &tokyo.node].map(|node| node.feed("tools"));
    let [one, other] = roots;
    assert_eq!(one.await.unwrap().state_root, other.await.unwrap().state_root);
    // And a third key.
    la.node.rotate_key(PATIENTLY).await.unwrap();
    la.node.delete("tools", "before", "1.0", String::new(), false).await.unwrap();
    for _ in 0..2 {
        dial_again(&[&la.node, &tokyo.node]).await;
    }
    shown(&la.node).await;
    assert_eq!(la.node.own_key().await.unwrap().number, 2);
    let gone = ("before".to_owned(), "deleted".to_owned());
    assert_eq!(names(&tokyo.node).await, [&ready(&["after"])[..], &[gone], &ready(&["origin"])].concat());
}

/// A connection that stands tells no new key, however often it runs: the hourly renewal ends it, and who dials hears of the key when it
/// dials again.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_whose_connection_stands_hears_of_a_new_key_once_that_is_renewed() {
    let (ny, la) = (lab("NY").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &la.node, "mirror").await;
    settle(&la.node).await;
    ny.node.rotate_key(PATIENTLY).await.unwrap();
    publish(&ny.node, "after", b"1").await.unwrap();
    settle(&la.node).await;
    assert_eq!(names(&la.node).await, ready(&["after"]));
    assert_eq!(ny.node.own_key().await.unwrap().waiting, ["LA"]);
    let hears = async {
        while !ny.node.own_key().await.unwrap().shown {
            // One that runs still is left alone.
            ny.node.renew_untold().await;
            // A run may come upon the end of the connection, and the next one dials.
            let (steps, _) = mpsc::channel(8);
            drop(la.node.sync(None, None, false, steps).await);
        }
    };
    tokio::time::timeout(PATIENCE, hears).await.expect("it hears of it");
}

/// Whoever finds the old key on an old disk is turned away, and what it signs counts for nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_old_key_opens_nothing_once_the_new_one_was_shown() {
    let (ny, la) = (lab("NY").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &la.node, "mirror").await;
    publish(&la.node, "real", b"1").await.unwrap();
    settle(&la.node).await;
    let old = SiteKey::load(&key_path(la.folder.path())).unwrap();
    la.node.rotate_key(PATIENTLY).await.unwrap();
    settle(&la.node).await;
    shown(&la.node).await;
    // Ny takes the new key for La's once it has seen it.
    la.node.cut_connections();
    settle(&la.node).await;
    let thief =
        Endpoint::bind("127.0.0.1:0".parse().unwrap(), &old, Arc::new(Admitted::default()), Pace::Background);
    let thief = thief.unwrap();
    let host = ny.node.listen_address();
    let dialled = thief.dial(host, ny.node.me(), Alpn::Link, Pace::Background, PATIENCE).await;
    let turned_away = match dialled {
        Err(DialError::Refused { .. }) => true,
        Ok(connection) => is_refusal(&connection.closed().await),
        Err(_) => false,
    };
    assert!(turned_away, "the old key is let in no more");
    // What the thief signs in La's name reaches New York on another way.
    let tools = ny.node.inner.site.store().feed_named("tools").unwrap().unwrap().0;
    let log = protocol::id::LogId { feed: tools, author: la.node.me(), epoch: 1 };
    let store = ny.node.inner.site.store();
    let held = store.log_state(log).unwrap().unwrap().after;
    let stolen = store.facts(tools, "real", "1.0").unwrap().remove(0).op.body;
    let protocol::op::Body::Publish(mut publish) = stolen else { panic!("a publish") };
    publish.coordinate.name = "theft".to_owned();
    let said = protocol::log::Verified::author(
        old.signing_key(),
        log,
        &held,
        vec![protocol::op::Body::Publish(publish)],
        protocol::time::Hlc(wall_clock().0 << 16),
        wall_clock(),
    );
    store.append(&[protocol::grant::Permitted::local(said, false).unwrap()]).unwrap();
    // The site itself is told of it, and changes its key once more: what was left out stays left out.
    settle(&la.node).await;
    assert_eq!(la.node.inner.site.store().log_state(log).unwrap().unwrap().after.len(), held.len() + 1);
    la.node.rotate_key(PATIENTLY).await.unwrap();
    settle(&la.node).await;
    for node in [&ny.node, &la.node] {
        let theft = names(node).await.into_iter().find(|(name, _)| name == "theft");
        assert_ne!(theft.map(|(_, state)| state).as_deref(), Some("ready"));
    }
    assert_eq!(ny.node.package("tools", "real", "1.0").await.unwrap().state, "ready");
}

/// A site that is away hears of it when it is back, whatever restarted in between.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_was_away_still_meets_the_key_that_it_knows() {
    let (ny, la, tokyo) = row().await;
    let offline = only_link(&la.node).await.name;
    pause(&la.node, true).await;
    ny.node.rotate_key(PATIENTLY).await.unwrap();
    let ny = again_as(ny, "NY").await;
    assert_eq!(ny.node.own_key().await.unwrap().waiting, ["LA"]);
    let refused = ny.node.rotate_key(PATIENTLY).await.unwrap_err();
    assert!(refused.status == 409 && refused.detail.contains("LA"), "{refused:?}");
    publish(&ny.node, "news", b"1").await.unwrap();
    la.node
        .change_link(&offline, api::LinkChange { paused: Some(false), ..Default::default() })
        .await
        .unwrap();
    settle(&la.node).await;
    settle(&tokyo.node).await;
    shown(&ny.node).await;
    assert_eq!(names(&tokyo.node).await, ready(&["news"]));
}

/// A key that may be stolen is let go at once; who has not heard of the new one must be paired with again, and is told so.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_shown_at_once_takes_a_new_ticket_for_those_who_know_the_old_one() {
    let (ny, la) = (lab("NY").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &la.node, "mirror").await;
    settle(&la.node).await;
    pause(&la.node, true).await;
    assert!(ny.node.rotate_key(AT_ONCE).await.unwrap().waiting.is_empty());
    assert!(ny.node.own_key().await.unwrap().shown && !older_path(ny.folder.path()).exists());
    publish(&ny.node, "news", b"1").await.unwrap();
    pause(&la.node, false).await;
    let run = sync(&la.node).await;
    assert_ne!(run.outcome, "done");
    let whom = la.node.whom(ny.node.me()).unwrap();
    let dialled = la.node.dial(&ny.node.listen_address().to_string(), whom, Alpn::Link).await;
    let Err(ConnectError::Dial(error @ DialError::WrongSite { .. })) = dialled else { panic!("{dialled:?}") };
    assert!(error.to_string().contains("ticket"), "{error}");
    pair(&ny.node, &la.node, "mirror").await;
    settle(&la.node).await;
    assert_eq!(names(&la.node).await, ready(&["news"]));
}

/// Sites that are connected need no new ticket; and once they were shown the new key, as they are within a minute, the old one is let in no more.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_connected_hears_of_a_key_that_is_shown_at_once_and_lets_the_old_one_in_no_more() {
    let (ny, la, tokyo) = (lab("NY").await, lab("LA").await, lab("Tokyo").await);
    feed(&la.node, "tools").await;
    pair(&la.node, &ny.node, "mirror").await;
    settle(&ny.node).await;
    pair(&la.node, &tokyo.node, "mirror").await;
    settle(&tokyo.node).await;
    let old = la.node.inner.endpoint.shown();
    // Tokyo calls no more by itself; New York is connected.
    pause(&tokyo.node, true).await;
    la.node.rotate_key(AT_ONCE).await.unwrap();
    assert!(la.node.own_key().await.unwrap().shown);
    let lets_in = |node: &Node| node.whom(la.node.me()).unwrap().keys.contains(&old);
    let renewed = async {
        while lets_in(&ny.node) {
            la.node.renew_untold().await;
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, renewed).await.expect("it is shown the new key");
    publish(&la.node, "news", b"1").await.unwrap();
    has_news(&ny.node).await;
    assert!(lets_in(&tokyo.node), "it was never told");
}

/// [P-58] Where the site that has the new key dials, nobody has to wait for a renewal.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_dialled_hears_of_a_key_that_is_shown_at_once_and_is_shown_it() {
    let (ny, la) = (lab("NY").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &la.node, "mirror").await;
    settle(&la.node).await;
    let old = la.node.inner.endpoint.shown();
    la.node.rotate_key(AT_ONCE).await.unwrap();
    let lets_in = || ny.node.whom(la.node.me()).unwrap().keys.contains(&old);
    let shown = async {
        while lets_in() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, shown).await.expect("it is shown the new key");
    publish(&la.node, "news", b"1").await.unwrap();
    has_news(&ny.node).await;
}

/// Nobody would take it for the site, and what it signs is of a log that the newer key closed.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_key_of_the_site_that_is_put_back_is_not_served_with() {
    let ny = lab("NY").await;
    feed(&ny.node, "tools").await;
    let old = std::fs::read(key_path(ny.folder.path())).unwrap();
    ny.node.rotate_key(PATIENTLY).await.unwrap();
    let newest = ny.node.inner.site.key().public();
    ny.node.stop().await;
    let Lab { folder, node } = ny;
    drop(node);
    let path = key_path(folder.path());
    let new = std::fs::read(&path).unwrap();
    std::fs::write(&path, old).unwrap();
    let refused = started(folder.path()).await.unwrap_err();
    assert!(matches!(refused, StartError::OlderKey { newest: told, .. } if told == newest), "{refused}");
    std::fs::write(&path, new).unwrap();
    started(folder.path()).await.unwrap();
}

/// Both ends of a ticket may have changed their keys before.
#[tokio::test(flavor = "multi_thread")]
async fn sites_that_changed_their_keys_pair_as_any_others() {
    let (ny, la) = (lab("NY").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    publish(&ny.node, "old", b"1").await.unwrap();
    ny.node.rotate_key(PATIENTLY).await.unwrap();
    for _ in 0..2 {
        la.node.rotate_key(PATIENTLY).await.unwrap();
    }
    pair(&ny.node, &la.node, "mirror").await;
    publish(&la.node, "new", b"2").await.unwrap();
    settle(&la.node).await;
    for node in [&ny.node, &la.node] {
        assert_eq!(names(node).await, ready(&["new", "old"]));
    }
    assert_eq!(ny.node.link("la").await.unwrap().peer, la.node.me().to_string());
}

/// A crash between the two files leaves the old key or the new one, and never none.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_a_crash_cut_short_is_none() {
    let ny = lab("NY").await;
    feed(&ny.node, "tools").await;
    publish(&ny.node, "one", b"1").await.unwrap();
    let before = ny.node.inner.endpoint.shown();
    SiteKey::load(&key_path(ny.folder.path())).unwrap().copy_to(&older_path(ny.folder.path())).unwrap();
    let ny = again_as(ny, "NY").await;
    assert!(!older_path(ny.folder.path()).exists());
    assert_eq!((ny.node.inner.endpoint.shown(), ny.node.own_key().await.unwrap().number), (before, 0));
    publish(&ny.node, "two", b"2").await.unwrap();
    ny.node.rotate_key(PATIENTLY).await.unwrap();
    publish(&ny.node, "three", b"3").await.unwrap();
    assert_eq!(names(&ny.node).await, ready(&["one", "three", "two"]));
}

/// Standing sessions go on under the key that they began with.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_changes_during_a_transfer_fails_no_run() {
    let (ny, la) = (lab("NY").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &la.node, "mirror").await;
    settle(&la.node).await;
    pause(&la.node, true).await;
    publish(&ny.node, "large", &vec![7; 24 << 20]).await.unwrap();
    let name = only_link(&la.node).await.name;
    let capped =
        api::LinkChange { paused: Some(false), cap_in: Some("64mbit".to_owned()), ..Default::default() };
    la.node.change_link(&name, capped).await.unwrap();
    let (steps, mut seen) = mpsc::channel(8);
    let running = tokio::spawn({
        let node = la.node.clone();
        async move { node.sync(None, None, false, steps).await }
    });
    // Bytes are under way.
    tokio::time::timeout(PATIENCE, seen.recv()).await.unwrap().expect("a step of the run");
    ny.node.rotate_key(PATIENTLY).await.unwrap();
    la.node.rotate_key(PATIENTLY).await.unwrap();
    drop(seen);
    let runs = tokio::time::timeout(PATIENCE, running).await.unwrap().unwrap().unwrap();
    assert_eq!(runs.runs.last().map(|run| run.outcome.as_str()), Some("done"), "{runs:?}");
    dial_again(&[&la.node]).await;
    for node in [&ny.node, &la.node] {
        shown(node).await;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let all = loop {
            let all = node.runs(None, None, 100).await.unwrap().runs;
            // One that the other end has begun by itself comes to its end, too.
            if all.iter().all(|run| run.outcome != "running") || tokio::time::Instant::now() > deadline {
                break all;
            }
            tokio::task::yield_now().await;
        };
        // One that was begun just before this test hung up was cut by that.
        let cut = |run: &api::Run| run.trigger == "live" && run.outcome == "interrupted";
        assert!(all.iter().all(|run| run.outcome == "done" || cut(run)), "{all:?}");
    }
    assert_eq!(names(&la.node).await, ready(&["large"]));
}

/// A folder of before the key was changed comes back, or the key on it does in other hands.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_joins_with_an_older_key_than_the_newest_that_was_shown() {
    let (ny, la, old) = (lab("NY").await, lab("LA").await, tempfile::tempdir().unwrap());
    feed(&ny.node, "tools").await;
    pair(&ny.node, &la.node, "mirror").await;
    settle(&la.node).await;
    SiteKey::load(&key_path(la.folder.path())).unwrap().copy_to(&key_path(old.path())).unwrap();
    la.node.rotate_key(AT_ONCE).await.unwrap();
    let lets_in = || ny.node.whom(la.node.me()).unwrap().keys.contains(&la.node.me());
    let heard = async {
        while lets_in() {
            tokio::task::yield_now().await;
        }
    };
    settle(&la.node).await;
    tokio::time::timeout(PATIENCE, heard).await.expect("it is shown the new key");
    let old = started(old.path()).await.unwrap();
    let invite = ny.node.invite(InviteRequest {
        feeds: vec!["tools".to_owned()],
        peer_may: "mirror".to_owned(),
        expires_ms: wall_clock().0 + 60_000,
        grant_life_ms: None,
        addresses: vec![ny.node.listen_address().to_string()],
    });
    let ticket = invite.await.unwrap().ticket;
    let refused = old.accept(accept(&ticket)).await.unwrap_err();
    assert_eq!(refused.detail, Reason::KeyOutdated.to_string());
    la.node.accept(accept(&ticket)).await.unwrap();
}

/// A copy of the site from before it changed its key names a key of its own, and comes before the site itself does.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_whose_thief_was_taken_for_it_is_paired_with_once_it_was_revoked_and_readmitted() {
    let (ny, la, old) = (lab("NY").await, lab("LA").await, tempfile::tempdir().unwrap());
    feed(&ny.node, "tools").await;
    SiteKey::load(&key_path(la.folder.path())).unwrap().copy_to(&key_path(old.path())).unwrap();
    la.node.rotate_key(AT_ONCE).await.unwrap();
    let thief = started(old.path()).await.unwrap();
    thief.rotate_key(AT_ONCE).await.unwrap();
    let ticket = async || {
        let invite = InviteRequest {
            feeds: vec!["tools".to_owned()],
            peer_may: "mirror".to_owned(),
            expires_ms: wall_clock().0 + 60_000,
            grant_life_ms: None,
            addresses: vec![ny.node.listen_address().to_string()],
        };
        ny.node.invite(invite).await.unwrap().ticket
    };
    thief.accept(accept(&ticket().await)).await.unwrap();
    let refused = la.node.accept(accept(&ticket().await)).await.unwrap_err();
    assert_eq!(refused.detail, Reason::KeyContested.to_string());
    let its = la.node.me().to_string();
    let stolen = RevokeRequest { site: its.clone(), reason: String::new(), accept_all: false };
    ny.node.revoke_key(stolen).await.unwrap();
    ny.node.readmit_key(&its).await.unwrap();
    la.node.accept(accept(&ticket().await)).await.unwrap();
    let newest = la.node.own_key().await.unwrap().key;
    assert_eq!(ny.node.whom(la.node.me()).unwrap().keys, [newest.parse().unwrap()]);
}

/// A start shows the older key as long as its file is there.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_key_that_cannot_be_removed_is_shown_until_it_is() {
    let (ny, la) = (lab("NY").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &la.node, "mirror").await;
    sync(&la.node).await;
    pause(&la.node, true).await;
    ny.node.rotate_key(PATIENTLY).await.unwrap();
    let older = older_path(ny.folder.path());
    let in_its_place = older.join("in its place");
    std::fs::remove_file(&older).unwrap();
    std::fs::create_dir_all(&in_its_place).unwrap();
    for _ in 0..2 {
        let refused = ny.node.rotate_key(AT_ONCE).await.unwrap_err();
        assert_eq!((refused.code.as_str(), ny.node.own_key().await.unwrap().shown), ("disk", false));
    }
    std::fs::remove_dir_all(&older).unwrap();
    ny.node.rotate_key(AT_ONCE).await.unwrap();
    let key = ny.node.own_key().await.unwrap();
    assert_eq!((key.number, key.shown), (1, true), "it is the key that was drawn");
}
