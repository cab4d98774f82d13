//! Feeds that one site makes after the link was made with `--feed '*'`: they come by themselves, and nothing goes back that should not.

use protocol::filter::Filter;
use protocol::frame::Offered;
use protocol::limits::FEEDS_PER_LINK_MAX;
use protocol::link::LinkFeed;
use protocol::switches::Switches;

use super::*;

async fn invite_all(host: &Node, may: &str) -> String {
    let request = InviteRequest {
        feeds: vec!["*".to_owned()],
        peer_may: may.to_owned(),
        expires_ms: wall_clock().0 + 60_000,
        grant_life_ms: None,
        addresses: vec![host.listen_address().to_string()],
    };
    host.invite(request).await.unwrap().ticket
}

async fn pair_all(host: &Node, joiner: &Node, may: &str) -> api::Link {
    let ticket = invite_all(host, may).await;
    joiner.accept(accept(&ticket)).await.unwrap()
}

async fn publish_in(node: &Node, feed: &str, name: &str, content: &[u8]) {
    let mut upload = node.begin_upload();
    upload.write(Bytes::copy_from_slice(content)).await.unwrap();
    let stored = upload.finish().await.unwrap();
    let (blake3, sha256) = (stored.blake3, stored.sha256);
    let files = vec![api::File { name: "file.bin".to_owned(), size: stored.size, blake3, sha256 }];
    let new = NewPackage { name: name.to_owned(), version: "1.0".to_owned(), files, restore: false };
    node.publish(feed, new).await.unwrap();
}

/// Waits until a version is served at a site. Nothing is asked of either site.
pub(super) async fn arrives(node: &Node, feed: &str, name: &str) {
    let come = async {
        while !node.package(feed, name, "1.0").await.is_ok_and(|package| package.state == "ready") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, come).await.unwrap_or_else(|_late| panic!("{feed}/{name} did not come"));
}

pub(super) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let seen = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_late| panic!("never: {what}"))
}

/// Row 24: the offering site had no feed at all when the two paired.
#[tokio::test(flavor = "multi_thread")]
async fn a_feed_made_after_pairing_for_all_arrives_with_its_packages_and_no_further_command() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    let link = pair_all(&ny.node, &la.node, "pull").await;
    assert_eq!(
        link.new_feeds.map(|new| (new.offers, new.takes, new.mode)),
        Some((false, true, "pull".to_owned()))
    );
    feed(&ny.node, "tools").await;
    publish(&ny.node, "one", b"1").await.unwrap();
    arrives(&la.node, "tools", "one").await;
    feed(&ny.node, "docs").await;
    publish_in(&ny.node, "docs", "two", b"2").await;
    arrives(&la.node, "docs", "two").await;
    assert_eq!(la.node.feed("docs").await.unwrap().id, ny.node.feed("docs").await.unwrap().id);
    let here = only_link(&la.node).await;
    assert!(here.feeds.iter().all(|on| on.stated == "pull"), "{here:?}");

    feed(&la.node, "secret").await;
    publish_in(&la.node, "secret", "mine", b"3").await;
    publish(&ny.node, "three", b"3").await.unwrap();
    arrives(&la.node, "tools", "three").await;
    assert!(ny.node.feed("secret").await.is_err(), "a site that only pulls offers nothing back");
    let asked = api::LinkChange { new_feeds: Some("both".to_owned()), ..Default::default() };
    let refused = la.node.change_link(&here.name, asked).await.unwrap_err();
    assert!(refused.detail.contains("pull-only"), "{refused:?}");
}

/// Row 24: with mirror the joiner may write in what came later, and its own feeds go back once it says so.
#[tokio::test(flavor = "multi_thread")]
async fn feeds_made_at_either_end_of_a_mirror_for_all_are_written_at_both() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    let link = pair_all(&ny.node, &la.node, "mirror").await;
    feed(&ny.node, "tools").await;
    until("tools at LA", async || la.node.feed("tools").await.ok()).await;
    publish(&la.node, "from-la", b"1").await.unwrap();
    arrives(&ny.node, "tools", "from-la").await;
    feed(&la.node, "own").await;
    let both = api::LinkChange { new_feeds: Some("both".to_owned()), ..Default::default() };
    la.node.change_link(&link.name, both).await.unwrap();
    until("own at NY", async || ny.node.feed("own").await.ok()).await;
    feed(&la.node, "later").await;
    publish_in(&la.node, "later", "two", b"2").await;
    arrives(&ny.node, "later", "two").await;
    publish_in(&ny.node, "later", "back", b"3").await;
    arrives(&la.node, "later", "back").await;
    let there = only_link(&ny.node).await;
    assert!(there.feeds.iter().all(|on| on.stated == "mirror"), "{there:?}");
}

/// Row 24: a taken name holds up that feed alone, is told at both ends, and is settled by another name.
#[tokio::test(flavor = "multi_thread")]
async fn an_offered_feed_whose_name_is_taken_is_told_and_the_others_go_on() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&la.node, "tools").await;
    let link = pair_all(&ny.node, &la.node, "pull").await;
    feed(&ny.node, "tools").await;
    publish(&ny.node, "one", b"1").await.unwrap();
    feed(&ny.node, "docs").await;
    publish_in(&ny.node, "docs", "two", b"2").await;
    arrives(&la.node, "docs", "two").await;
    let there = until("NY hears of it", async || only_link(&ny.node).await.untaken.pop()).await;
    assert_eq!((there.feed.as_str(), there.here), ("tools", false));
    let here = only_link(&la.node).await.untaken;
    assert_eq!(here.len(), 1, "{here:?}");
    assert_eq!((here[0].reason.as_str(), here[0].here), (Reason::NameTaken.to_string().as_str(), true));
    for node in [&ny.node, &la.node] {
        let found = node.doctor().await.unwrap().findings;
        assert!(found.iter().any(|finding| finding.kind == "feed-not-taken"), "{found:?}");
    }
    let taken = |local: &str| api::LinkChange {
        take: Some(("tools".to_owned(), local.to_owned())),
        ..Default::default()
    };
    assert_eq!(la.node.change_link(&link.name, taken("docs")).await.unwrap_err().exit_code(), 4);
    la.node.change_link(&link.name, taken("ny-tools")).await.unwrap();
    arrives(&la.node, "ny-tools", "one").await;
    until("both ends are content", async || {
        let open = only_link(&ny.node).await.untaken.len() + only_link(&la.node).await.untaken.len();
        (open == 0).then_some(())
    })
    .await;
    assert!(la.node.change_link(&link.name, taken("again")).await.is_err(), "nothing waits any more");
}

/// Row 24: a feed set by name keeps that, and only `*` and no name at all reach the feeds to come.
#[tokio::test(flavor = "multi_thread")]
async fn the_terms_of_feeds_to_come_are_set_apart_from_those_of_feeds_there_are() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    let link = pair_all(&ny.node, &la.node, "mirror").await;
    let set = |feed: &str, mode: &str| api::LinkChange {
        feed: Some(feed.to_owned()),
        mode: Some(mode.to_owned()),
        ..Default::default()
    };
    la.node.change_link(&link.name, set("*", "pull")).await.unwrap();
    feed(&ny.node, "docs").await;
    publish_in(&ny.node, "docs", "two", b"2").await;
    arrives(&la.node, "docs", "two").await;
    let here = only_link(&la.node).await;
    let stated = |name: &str| here.feeds.iter().find(|on| on.feed == name).unwrap().stated.clone();
    assert_eq!((stated("tools"), stated("docs")), ("mirror".to_owned(), "pull".to_owned()));
    let off = api::LinkChange { new_feeds: Some("off".to_owned()), ..Default::default() };
    la.node.change_link(&link.name, off).await.unwrap();
    assert!(la.node.change_link(&link.name, set("*", "pull")).await.is_err(), "it takes none up any more");
    feed(&ny.node, "late").await;
    publish(&ny.node, "one", b"1").await.unwrap();
    settle(&la.node).await;
    assert!(la.node.feed("late").await.is_err());
}

/// A link is named whole in one frame, so that it does not grow without end.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_full_takes_no_more_feeds_and_says_so() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    let name = pair_all(&ny.node, &la.node, "pull").await.name;
    feed(&ny.node, "tools").await;
    let (_, record) = ny.node.inner.site.store().feed_named("tools").unwrap().unwrap();
    pause(&la.node, true).await;
    la.node.with_link(&name, |state| {
        let on = |n: usize| LinkFeed {
            feed: FeedId(*blake3::hash(&n.to_le_bytes()).as_bytes()),
            switches: Switches::PULL,
            filter: Filter::default(),
            expires: None,
        };
        state.link.feeds = (0..FEEDS_PER_LINK_MAX).map(on).collect();
        state.peer.untaken.clear();
    });
    let one = Offered { genesis: record.genesis, feed: "tools".to_owned(), may: Switches::PULL };
    la.node.feeds_offered(&name, 0, vec![one]).await;
    let untaken = la.node.with_link(&name, |state| state.peer.untaken.clone()).unwrap();
    assert_eq!(untaken.iter().map(|(_, reason)| *reason).collect::<Vec<_>>(), [Reason::LinkFull]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_in_which_nothing_can_be_said_keeps_no_other_from_being_offered() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    feed(&ny.node, "strict").await;
    let strict = api::ruling::FeedChange { strict: Some(true), ..Default::default() };
    ny.node.change_feed("strict", strict).await.unwrap();
    pair(&ny.node, &la.node, "mirror").await;
    let rule = |word: &str| api::LinkChange { new_feeds: Some(word.to_owned()), ..Default::default() };
    la.node.change_link(&only_link(&la.node).await.name, rule("take")).await.unwrap();
    ny.node.change_link(&only_link(&ny.node).await.name, rule("offer")).await.unwrap();
    feed(&ny.node, "later").await;
    until("later at LA", async || la.node.feed("later").await.ok()).await;
}
