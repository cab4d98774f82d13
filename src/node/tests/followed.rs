//! What sessions tell of their runs while damage comes, or the next session: what is written down of it, and whether a key is changed.

use protocol::filter::Filter;
use protocol::frame::Openness;
use protocol::link::Link;
use protocol::session::tally::Tally;
use protocol::session::{Agreed, AgreedFeed};
use protocol::succession::Succession;
use protocol::switches::{Switches, Verdict};

use super::*;
use crate::api::keys::RotateRequest;
use crate::node::sessions::Spoken;
use crate::transport::pump::Happening;

const PATIENTLY: RotateRequest = RotateRequest { at_once: false, accept_loss: false };

async fn state(node: &Node, name: &str) -> String {
    node.why("tools", name, "1.0").await.unwrap().state
}

fn terms(peer: &Node, feed: FeedId, effective: Switches) -> Agreed {
    Agreed {
        peer_succession: Succession::default(),
        version: 1,
        peer_store: peer.inner.site.store().id(),
        peer_name: "LA".to_owned(),
        clock_ahead_ms: 0,
        feeds: vec![AgreedFeed {
            feed,
            verdict: Verdict::of(Switches::MIRROR, effective),
            effective,
            filter: Filter::default(),
            pushes: None,
        }],
        peer_new_feeds: Openness::default(),
    }
}

fn run_begins(node: &Node) -> Happening {
    Happening::RunBegan { roots: Vec::new(), set_backs: node.inner.site.store().set_backs() }
}

fn run_ends() -> Happening {
    Happening::RunEnded { outcome: Outcome::Done, tally: Tally::default(), rtt_ms: 1, roots: Vec::new() }
}

/// A session of a link that is told by the test, and its end.
struct Session {
    tells: mpsc::UnboundedSender<Happening>,
    ends: tokio::task::JoinHandle<()>,
}

impl Session {
    /// The newest session of a link.
    fn begins(node: &Node, link: &Link, turn: u64) -> Self {
        node.with_link(&link.name, |state| state.turn = turn);
        let (tells, told) = mpsc::unbounded_channel();
        let (node, link) = (node.clone(), link.clone());
        let spoken = Spoken { turn, told: 0, shown: None };
        Self { tells, ends: tokio::spawn(async move { node.follow(link, spoken, told).await }) }
    }

    fn tells(&self, happening: Happening) {
        self.tells.send(happening).unwrap();
    }

    async fn closes(self) {
        drop(self.tells);
        self.ends.await.unwrap();
    }
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

/// A run was compared before damage took a word of this site's: what the other end has of it that run did not bring.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_compared_before_damage_is_no_word_of_what_damage_took() {
    let (ny, la, link, feed) = two_apart().await;
    let session = Session::begins(&ny.node, &link, 101);
    session.tells(Happening::Up(terms(&la.node, feed, Switches::MIRROR)));
    session.tells(run_begins(&ny.node));
    rots(&ny, b"doomed-to-rot");
    let store = ny.node.inner.site.store();
    store.look_after_rebuild().unwrap();
    session.tells(run_ends());
    session.tells(run_begins(&ny.node));
    let heard = || (store.was_heard(feed, link.peer).unwrap(), store.waits(feed).unwrap().is_none());
    eventually("the run is over", async || {
        ny.node.with_link(&link.name, |state| state.set_backs) == Some(Some(store.set_backs()))
    })
    .await;
    assert_eq!(heard(), (false, false));
    session.tells(run_ends());
    session.closes().await;
    assert_eq!(heard(), (true, true), "that one was compared since");
}

/// A link that let nothing in is widened, and its next session is up, while what the last run of the one before did is still being written down.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_told_is_judged_by_the_terms_of_its_own_session() {
    let (ny, la, link, feed) = two_apart().await;
    let site = &ny.node.inner.site;
    assert!(site.awaken(Cause::SetBack, wall_clock()).unwrap());
    let up = async |is: &Agreed| {
        eventually("it is up", async || {
            ny.node.with_link(&link.name, |state| state.agreed.as_ref() == Some(is)) == Some(true)
        })
        .await;
    };
    let (narrow, wide) = (terms(&la.node, feed, Switches::PUSH), terms(&la.node, feed, Switches::MIRROR));
    let old = Session::begins(&ny.node, &link, 101);
    old.tells(Happening::Up(narrow.clone()));
    old.tells(run_begins(&ny.node));
    up(&narrow).await;
    let new = Session::begins(&ny.node, &link, 102);
    new.tells(Happening::Up(wide.clone()));
    up(&wide).await;
    old.tells(run_ends());
    old.closes().await;
    let heard = site.store().was_heard(feed, link.peer).unwrap();
    let waits = site.store().waits(feed).unwrap().is_some();
    assert_eq!((heard, waits), (false, true), "that run let nothing in");
    new.closes().await;
}
