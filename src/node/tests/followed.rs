//! What sessions tell of their runs while damage comes, or the next session: what is written down of it, and whether a key is changed.

use protocol::link::Link;

use super::*;
use crate::api::keys::RotateRequest;

const PATIENTLY: RotateRequest = RotateRequest { at_once: false, accept_loss: false };

async fn state(node: &Node, name: &str) -> String {
    node.why("tools", name, "1.0").await.unwrap().state
}

/// New York, LA, and New York's link with it, over which nothing goes but what a test tells.
async fn two_apart() -> (Lab, Lab, Link, FeedId) {
    let (ny, la) = (lab("NY").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &la.node, "mirror").await;
    settle(&la.node).await;
    publish(&ny.node, "doomed-to-rot", b"1").await.unwrap();
    settle(&la.node).await;
    for node in [&la.node, &ny.node] {
        pause(node, true).await;
    }
    let feed = ny.node.feed_id("tools").await.unwrap().unwrap().parse().unwrap();
    let link = ny.node.known_link(&only_link(&ny.node).await.name).unwrap();
    (ny, la, link, feed)
}

/// Every record with these bytes rots, and the index is built anew without the second copies.
fn rots(lab: &Lab, what: &[u8]) {
    let store = lab.node.inner.site.store();
    store.sync().unwrap();
    store.lose_spares();
    for pack in std::fs::read_dir(store_path(lab.folder.path()).join("packs")).unwrap() {
        let path = pack.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        for at in (0..bytes.len()).filter(|at| bytes[*at..].starts_with(what)) {
            std::os::unix::fs::FileExt::write_all_at(&file, b"D", at as u64).unwrap();
        }
    }
    store.rebuild_index().unwrap();
}

/// Nobody looked yet after an index that was built anew over damage, which a site would wait for.
#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_changed_over_damage_that_nobody_looked_after_yet() {
    let (ny, la, _, _) = two_apart().await;
    rots(&ny, b"doomed-to-rot");
    let refused = ny.node.rotate_key(PATIENTLY).await.unwrap_err();
    assert_eq!(refused.code, "restored", "{refused:?}");
    for node in [&ny.node, &la.node] {
        pause(node, false).await;
    }
    let changed = async || {
        settle(&la.node).await;
        ny.node.rotate_key(PATIENTLY).await.is_ok()
    };
    eventually("all were heard", changed).await;
    for node in [&ny.node, &la.node] {
        assert_eq!(state(node, "doomed-to-rot").await, "ready");
    }
}
