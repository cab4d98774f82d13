//! Sites that are made anew of a backup, between real nodes, and what they may do before all that had their words were heard.

use super::*;
use crate::api::backup::BackupRequest;
use crate::api::keys::RotateRequest;
use crate::api::ruling::{BlockRequest, OfferRequest, PointRequest};

const PATIENTLY: RotateRequest = RotateRequest { at_once: false, accept_loss: false };

/// A backup of a site, with its keys.
async fn backed_up(lab: &Lab) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (steps, _) = mpsc::channel(8);
    let to = folder.path().join("backup").to_str().unwrap().to_owned();
    lab.node.backup(BackupRequest { folder: to, with_key: true }, steps).await.unwrap();
    folder
}

/// The site is lost and made anew of that backup, at the same address.
async fn restored(lab: Lab, backup: &TempDir, name: &str) -> Lab {
    let listen = lab.node.listen_address();
    lab.node.stop().await;
    drop(lab);
    let folder = tempfile::tempdir().unwrap();
    let random = u128::from_le_bytes(random::<16>().unwrap());
    crate::backup::restore(&backup.path().join("backup"), folder.path(), None, random, &mut |_, _| {})
        .unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let node = loop {
        match Node::start(folder.path(), Some(name), listen).await {
            Ok(node) => break node,
            // The socket is given back once every task of the old node is gone.
            Err(StartError::Bind(_)) if tokio::time::Instant::now() < deadline => {
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
    };
    Lab { folder, node }
}

async fn state(node: &Node, name: &str) -> String {
    node.why("tools", name, "1.0").await.unwrap().state
}

/// Three sites: New York, which was restored from a backup, LA, which has what New York said after that and is away, and Tokyo, which only
/// pushes and was heard.
async fn restored_and_heard_by_one_alone() -> (Lab, Lab, Lab) {
    let (ny, la, tokyo) = (lab("NY").await, lab("LA").await, lab("Tokyo").await);
    feed(&ny.node, "tools").await;
    publish(&ny.node, "old", b"1").await.unwrap();
    pair(&ny.node, &la.node, "mirror").await;
    settle(&la.node).await;
    pair(&ny.node, &tokyo.node, "push").await;
    settle(&tokyo.node).await;
    let backup = backed_up(&ny).await;
    publish(&ny.node, "new", b"2").await.unwrap();
    ny.node.delete("tools", "old", "1.0", String::new(), false).await.unwrap();
    settle(&la.node).await;
    pause(&la.node, true).await;
    let ny = restored(ny, &backup, "NY").await;
    assert_eq!(publish(&ny.node, "early", b"3").await.unwrap_err().code, "restored");
    settle(&tokyo.node).await;
    eventually("it writes again", async || publish(&ny.node, "later", b"4").await.is_ok()).await;
    (ny, la, tokyo)
}

/// What the new key's closing does not accept counts nowhere, so that an absent site's words of the lost end would be gone with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_site_changes_no_key_before_every_site_that_may_have_its_words_was_heard() {
    let (ny, la, _tokyo) = restored_and_heard_by_one_alone().await;
    let refused = ny.node.rotate_key(PATIENTLY).await.unwrap_err();
    assert!(refused.status == 409 && refused.detail.contains("LA may have more"), "{refused:?}");
    assert!(!refused.detail.contains("Tokyo"), "it was heard: {refused:?}");
    assert_eq!(ny.node.own_key().await.unwrap().number, 0);
    pause(&la.node, false).await;
    settle(&la.node).await;
    eventually("all were heard", async || ny.node.rotate_key(PATIENTLY).await.is_ok()).await;
    la.node.cut_connections();
    settle(&la.node).await;
    for node in [&ny.node, &la.node] {
        assert_eq!(
            (state(node, "new").await, state(node, "old").await),
            ("ready".to_owned(), "deleted".to_owned())
        );
    }
}

/// A site that was away hears of a newer key of the other one, and brings what it has of that one's words.
async fn brings_what_it_has(node: &Node) {
    pause(node, false).await;
    for _ in 0..2 {
        node.cut_connections();
        settle(node).await;
    }
}

/// What doctor names as left out by the site's newest key.
async fn left_out(node: &Node) -> Option<String> {
    let findings = node.doctor().await.unwrap().findings;
    findings.into_iter().find(|finding| finding.kind == "behind-key").map(|finding| finding.text)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_key_that_was_changed_in_spite_of_a_loss_leaves_out_is_named_by_doctor() {
    let (ny, la, _tokyo) = restored_and_heard_by_one_alone().await;
    ny.node.rotate_key(RotateRequest { accept_loss: true, ..PATIENTLY }).await.unwrap();
    brings_what_it_has(&la.node).await;
    let told = async || left_out(&ny.node).await;
    let text = told().await.expect("it is told");
    assert!(text.contains("new@1.0 published") && text.contains("old@1.0 deleted"), "{text}");
    let why = ny.node.why("tools", "new", "1.0").await.unwrap();
    assert!(why.because.contains("published again"), "{why:?}");
    publish(&ny.node, "new", b"2").await.unwrap();
    ny.node.delete("tools", "old", "1.0", String::new(), false).await.unwrap();
    assert_eq!(told().await, None);
    settle(&la.node).await;
    assert_eq!(
        (state(&la.node, "new").await, state(&la.node, "old").await),
        ("ready".to_owned(), "deleted".to_owned())
    );
}

/// Tags, offers and lifted blocks are acknowledged like anything else.
#[tokio::test(flavor = "multi_thread")]
async fn of_what_a_changed_key_leaves_out_tags_offers_and_lifted_blocks_are_named_as_well() {
    let (ny, la) = (lab("NY").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    for name in ["yanked", "tagged", "blocked"] {
        publish(&ny.node, name, name.as_bytes()).await.unwrap();
    }
    let (name, version) = (Some("blocked".to_owned()), Some("1.0".to_owned()));
    let block = BlockRequest { name, version, blob: None, reason: String::new() };
    let block = ny.node.block("tools", block).await.unwrap();
    pair(&ny.node, &la.node, "mirror").await;
    settle(&la.node).await;
    let backup = backed_up(&ny).await;
    let say = async |node: &Node| {
        let offer = OfferRequest {
            name: "yanked".to_owned(),
            version: "1.0".to_owned(),
            offer: "yanked".to_owned(),
            text: String::new(),
        };
        node.offer("tools", offer).await.unwrap();
        let point = PointRequest {
            package: "tagged".to_owned(),
            name: "latest".to_owned(),
            version: Some("1.0".to_owned()),
        };
        node.point("tools", point).await.unwrap();
        node.unblock("tools", &block.op, String::new()).await.unwrap();
    };
    say(&ny.node).await;
    settle(&la.node).await;
    pause(&la.node, true).await;
    let ny = restored(ny, &backup, "NY").await;
    ny.node.resume_writing(api::writing::ResumeRequest { feed: None }).await.unwrap();
    ny.node.rotate_key(RotateRequest { accept_loss: true, ..PATIENTLY }).await.unwrap();
    brings_what_it_has(&la.node).await;
    let told = async || left_out(&ny.node).await;
    eventually("it came", async || told().await.is_some()).await;
    let text = told().await.unwrap();
    for what in ["yanked@1.0 yanked", "the tag latest of tagged", "a block of blocked@1.0 lifted"] {
        assert!(text.contains(what), "{what}: {text}");
    }
    say(&ny.node).await;
    assert_eq!(told().await, None);
}

/// A site changes its key while another one is away, and is backed up. Then all hear of the newer key and are shown it.
async fn backed_up_before_all_had_heard(site: &Lab, dialler: &Lab) -> TempDir {
    pause(&dialler.node, true).await;
    site.node.rotate_key(PATIENTLY).await.unwrap();
    let backup = backed_up(site).await;
    pause(&dialler.node, false).await;
    let heard = async || {
        dialler.node.cut_connections();
        sync(&dialler.node).await;
        site.node.own_key().await.unwrap().shown
    };
    eventually("it is heard of", heard).await;
    backup
}

/// The key by which another site took this one before lets nobody in there any more.
async fn takes_the_newest_alone(peer: &Node, site: &Node, dialler: &Node) {
    let newest = site.inner.site.key().public();
    let alone = async || {
        dialler.cut_connections();
        sync(dialler).await;
        peer.whom(site.me()).unwrap().keys == [newest]
    };
    eventually("the older key is let go", alone).await;
}

/// The backup has both keys, and by the older one nobody knows the site.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_restored_from_before_its_new_key_was_shown_dials_with_the_one_that_is_taken() {
    let (ny, la) = (lab("NY").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &la.node, "mirror").await;
    settle(&la.node).await;
    let backup = backed_up_before_all_had_heard(&la, &la).await;
    takes_the_newest_alone(&ny.node, &la.node, &la.node).await;
    publish(&la.node, "after", b"1").await.unwrap();
    settle(&la.node).await;
    let la = restored(la, &backup, "LA").await;
    pause(&la.node, false).await;
    assert!(!la.node.own_key().await.unwrap().shown, "it cannot know that it was");
    assert_eq!(sync(&la.node).await.outcome, "done", "the first run is no refusal");
    settle(&la.node).await;
    assert_eq!(names(&la.node).await, ready(&["after"]));
    eventually("all have heard", async || la.node.own_key().await.unwrap().shown).await;
    settle(&la.node).await;
}

/// The same for one that is called: who calls from where the key was refused is shown the other one.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_restored_from_before_its_new_key_was_shown_shows_callers_the_one_that_they_take() {
    let (ny, la) = (lab("NY").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &la.node, "mirror").await;
    settle(&la.node).await;
    let backup = backed_up_before_all_had_heard(&ny, &la).await;
    takes_the_newest_alone(&la.node, &ny.node, &la.node).await;
    let ny = restored(ny, &backup, "NY").await;
    assert!(!ny.node.own_key().await.unwrap().shown);
    eventually("it is taken for itself", async || sync(&la.node).await.outcome == "done").await;
    eventually("all have heard", async || ny.node.own_key().await.unwrap().shown).await;
    settle(&la.node).await;
}

/// One site takes the newest key alone and another, which was never told of it, the older one.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_with_two_keys_shows_each_site_that_it_dials_the_one_that_is_taken_there() {
    let (ny, la, tokyo) = (lab("NY").await, lab("LA").await, lab("Tokyo").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &la.node, "mirror").await;
    settle(&la.node).await;
    let to_ny = only_link(&la.node).await.name;
    feed(&tokyo.node, "maps").await;
    let invite = InviteRequest {
        feeds: vec!["maps".to_owned()],
        peer_may: "mirror".to_owned(),
        expires_ms: wall_clock().0 + 60_000,
        grant_life_ms: None,
        addresses: vec![tokyo.node.listen_address().to_string()],
    };
    let to_tokyo =
        la.node.accept(accept(&tokyo.node.invite(invite).await.unwrap().ticket)).await.unwrap().name;
    let run = async |node: &Node, link: &str| {
        let (steps, _) = mpsc::channel(8);
        node.sync(Some(link.to_owned()), None, false, steps).await.unwrap().runs.remove(0).outcome
    };
    assert_eq!(run(&la.node, &to_tokyo).await, "done");
    for link in [&to_ny, &to_tokyo] {
        let change = api::LinkChange { paused: Some(true), ..Default::default() };
        la.node.change_link(link, change).await.unwrap();
    }
    let older = la.node.inner.endpoint.shown();
    la.node.rotate_key(PATIENTLY).await.unwrap();
    let backup = backed_up(&la).await;
    la.node.rotate_key(RotateRequest { at_once: true, ..PATIENTLY }).await.unwrap();
    let change = api::LinkChange { paused: Some(false), ..Default::default() };
    la.node.change_link(&to_ny, change.clone()).await.unwrap();
    assert_ne!(run(&la.node, &to_ny).await, "done");
    pair(&ny.node, &la.node, "mirror").await;
    let newest = la.node.inner.site.key().public();
    assert_eq!(ny.node.whom(la.node.me()).unwrap().keys, [newest]);
    let la = restored(la, &backup, "LA").await;
    la.node.change_link(&to_ny, change.clone()).await.unwrap();
    assert_eq!(run(&la.node, &to_ny).await, "done");
    assert_eq!(la.node.inner.endpoint.shown(), older, "Tokyo has not heard");
    la.node.change_link(&to_tokyo, change).await.unwrap();
    assert_eq!(run(&la.node, &to_tokyo).await, "done");
    eventually("all have heard", async || la.node.own_key().await.unwrap().shown).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_restored_from_before_its_new_key_was_shown_joins_by_the_one_that_is_taken() {
    let (ny, la) = (lab("NY").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &la.node, "mirror").await;
    settle(&la.node).await;
    let backup = backed_up_before_all_had_heard(&la, &la).await;
    takes_the_newest_alone(&ny.node, &la.node, &la.node).await;
    let la = restored(la, &backup, "LA").await;
    pair(&ny.node, &la.node, "mirror").await;
    pause(&la.node, false).await;
    settle(&la.node).await;
}

/// Whoever is not linked any more may still have what this site does not know.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_was_not_heard_stands_in_the_way_of_a_new_key_though_its_link_was_removed() {
    let (ny, la, _tokyo) = restored_and_heard_by_one_alone().await;
    let links = ny.node.link_names();
    let (name, _) = links.iter().find(|(_, link)| link.peer == la.node.me()).unwrap();
    let closed = api::LinkChange { mode: Some("push".to_owned()), ..Default::default() };
    ny.node.change_link(name, closed).await.unwrap();
    let refused = ny.node.rotate_key(PATIENTLY).await.unwrap_err();
    assert!(refused.status == 409 && refused.detail.contains("LA may have more"), "narrowed: {refused:?}");
    ny.node.unlink(name).await.unwrap();
    let refused = ny.node.rotate_key(PATIENTLY).await.unwrap_err();
    assert!(refused.status == 409 && refused.detail.contains(&la.node.me().short()), "{refused:?}");
    ny.node.rotate_key(RotateRequest { accept_loss: true, ..PATIENTLY }).await.unwrap();
}

/// It was restored from before it changed its key, and hears of that from the one that had heard.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_hears_of_a_later_key_of_its_own_says_nothing_with_the_older_one() {
    let (ny, la, tokyo) = (lab("NY").await, lab("LA").await, lab("Tokyo").await);
    feed(&ny.node, "tools").await;
    publish(&ny.node, "old", b"1").await.unwrap();
    pair(&ny.node, &la.node, "mirror").await;
    settle(&la.node).await;
    pair(&ny.node, &tokyo.node, "push").await;
    settle(&tokyo.node).await;
    pause(&tokyo.node, true).await;
    let backup = backed_up(&ny).await;
    ny.node.rotate_key(PATIENTLY).await.unwrap();
    publish(&ny.node, "new", b"2").await.unwrap();
    settle(&la.node).await;
    pause(&la.node, true).await;
    let ny = restored(ny, &backup, "NY").await;
    pause(&tokyo.node, false).await;
    settle(&tokyo.node).await;
    eventually("it writes again", async || publish(&ny.node, "early", b"3").await.is_ok()).await;
    pause(&la.node, false).await;
    settle(&la.node).await;
    let refused = |problem: Problem| problem.title == "This site has an older key of its own";
    eventually("it hears of its key", async || publish(&ny.node, "late", b"4").await.is_err_and(refused))
        .await;
    let deleted = ny.node.delete("tools", "old", "1.0", String::new(), false).await;
    assert!(deleted.is_err_and(refused));
    assert!(ny.node.rotate_key(PATIENTLY).await.is_err_and(refused));
    let findings = ny.node.doctor().await.unwrap().findings;
    assert!(findings.iter().any(|finding| finding.kind == "older-key" && finding.severity == "error"));
    let status = ny.node.status(None).await.unwrap();
    assert!(status.verdict == 3 && status.verdict_words.contains("older key of its own"), "{status:?}");
}

/// An origin that was restored grants nothing new before it heard what it had said; whoever it granted this before may be the one to tell it.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_origin_pairs_with_whom_it_knew_and_tells_others_why_not() {
    let (ny, la, tokyo) = (lab("New York").await, lab("LA").await, lab("Tokyo").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &la.node, "mirror").await;
    publish(&ny.node, "tool", b"tool").await.unwrap();
    settle(&la.node).await;
    ny.node.remove_link("la").await.unwrap();
    la.node.remove_link(&only_link(&la.node).await.name).await.unwrap();
    let backup = backed_up(&ny).await;
    let ny = restored(ny, &backup, "New York").await;
    let ticket = invited(&ny.node, "mirror", None).await;
    let refused = tokyo.node.accept(accept(&ticket)).await.unwrap_err();
    assert_eq!(refused.detail, Reason::Restored.to_string());
    assert!(refused.hint.unwrap().contains("good still"));
    pair(&ny.node, &la.node, "mirror").await;
    settle(&la.node).await;
    eventually("it writes again", async || publish(&ny.node, "more", b"more").await.is_ok()).await;
    tokyo.node.accept(accept(&ticket)).await.unwrap();
    settle(&tokyo.node).await;
    assert_eq!(names(&tokyo.node).await, ready(&["more", "tool"]));
}

/// What was deleted since has no offer that anybody could say again.
#[tokio::test(flavor = "multi_thread")]
async fn an_offer_of_what_was_deleted_since_is_not_named_by_doctor() {
    let (ny, la) = (lab("NY").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    publish(&ny.node, "yanked", b"yanked").await.unwrap();
    pair(&ny.node, &la.node, "mirror").await;
    settle(&la.node).await;
    let backup = backed_up(&ny).await;
    let offer = OfferRequest {
        name: "yanked".to_owned(),
        version: "1.0".to_owned(),
        offer: "yanked".to_owned(),
        text: String::new(),
    };
    ny.node.offer("tools", offer).await.unwrap();
    settle(&la.node).await;
    pause(&la.node, true).await;
    let ny = restored(ny, &backup, "NY").await;
    ny.node.resume_writing(api::writing::ResumeRequest { feed: None }).await.unwrap();
    ny.node.rotate_key(RotateRequest { accept_loss: true, ..PATIENTLY }).await.unwrap();
    brings_what_it_has(&la.node).await;
    eventually("it came", async || left_out(&ny.node).await.is_some()).await;
    ny.node.delete("tools", "yanked", "1.0", String::new(), false).await.unwrap();
    assert_eq!(left_out(&ny.node).await, None);
}
