//! Sites that are made anew of a backup, between real nodes, and what they may do before all that had their words were heard.

use super::*;
use crate::api::backup::BackupRequest;
use crate::api::keys::RotateRequest;

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
                tokio::task::yield_now().await
            }
            Err(error) => panic!("{error}"),
        }
    };
    Lab { folder, node }
}

/// The other end of a run may come to its end later than this one.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let seen = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_late| panic!("never: {what}"));
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

#[tokio::test(flavor = "multi_thread")]
async fn what_a_key_that_was_changed_in_spite_of_a_loss_leaves_out_is_named_by_doctor() {
    let (ny, la, _tokyo) = restored_and_heard_by_one_alone().await;
    ny.node.rotate_key(RotateRequest { accept_loss: true, ..PATIENTLY }).await.unwrap();
    pause(&la.node, false).await;
    for _ in 0..2 {
        la.node.cut_connections();
        settle(&la.node).await;
    }
    let told = || async {
        let findings = ny.node.doctor().await.unwrap().findings;
        findings.into_iter().find(|finding| finding.kind == "behind-key").map(|finding| finding.text)
    };
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
