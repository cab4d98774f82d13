//! Two sites link feeds that both have content: nothing of either is lost, whatever the link lets through and wherever the work is cut off.

use super::*;
use crate::api::merge::MergeRequest;
use crate::api::plan::TicketPlan;
use crate::api::ruling::FeedChange;
use crate::store::Merge;

async fn with_content() -> (Lab, Lab) {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    for (node, names) in [(&ny.node, ["a", "same", "d"]), (&la.node, ["a", "same", "b"])] {
        feed(node, "tools").await;
        for name in names {
            let content = if name == "same" { name.to_owned() } else { format!("{name} of {}", node.me()) };
            publish(node, name, content.as_bytes()).await.unwrap();
        }
    }
    (ny, la)
}

async fn ticket(host: &Node, may: &str) -> String {
    let request = InviteRequest {
        feeds: vec!["tools".to_owned()],
        peer_may: may.to_owned(),
        expires_ms: wall_clock().0 + 60_000,
        grant_life_ms: None,
        addresses: vec![host.listen_address().to_string()],
    };
    host.invite(request).await.unwrap().ticket
}

async fn served(node: &Node, feed: &str) -> Vec<String> {
    let page = node.packages(feed, None, None, 1000).await.unwrap();
    let ready = page.packages.into_iter().filter(|package| package.state == "ready");
    ready.map(|package| package.name).collect()
}

/// E28
#[tokio::test(flavor = "multi_thread")]
async fn two_feeds_with_content_become_one_when_asked_to_and_both_builds_of_a_clash_are_kept() {
    let (ny, la) = with_content().await;
    let ticket = ticket(&ny.node, "mirror").await;
    let plan = TicketPlan { ticket: ticket.clone(), mode: None, feeds: Vec::new() };
    let obstacle = la.node.plan_ticket(plan).await.unwrap().feeds.remove(0).obstacle.unwrap();
    assert!(obstacle.contains("--merge"), "{obstacle}");
    let refused = la.node.accept(accept(&ticket)).await.unwrap_err();
    assert!(refused.exit_code() == 4 && refused.hint.unwrap().contains("--merge"), "{}", refused.detail);

    let old = la.node.feed("tools").await.unwrap().id;
    let link = la.node.accept(AcceptRequest { merge: true, ..accept(&ticket) }).await.unwrap();
    let plan = la.node.plan(&link.name, None).await.unwrap();
    assert!(plan.notes.iter().any(|note| note.contains("of 3 versions of tools-before-merge")), "{plan:?}");
    settle(&la.node).await;
    eventually("b at New York", async || served(&ny.node, "tools").await == ["a", "b", "d", "same"]).await;
    assert_eq!(served(&la.node, "tools").await, ["a", "b", "d", "same"]);
    assert_eq!(served(&la.node, "tools-before-merge").await, ["a", "b", "same"], "it stays readable");
    let brought = ny.node.package("tools", "b", "1.0").await.unwrap();
    assert!(brought.promoted_from.unwrap().starts_with(&old), "where it came from is told");
    for node in [&ny.node, &la.node] {
        let clashes = node.conflicts(None).await.unwrap().conflicts;
        assert_eq!(clashes.iter().map(|clash| clash.name.as_str()).collect::<Vec<_>>(), ["a"]);
        assert_eq!(clashes[0].builds.len(), 2);
    }
    assert_eq!(la.node.feed(&old).await.unwrap().name, "tools", "the old id leads to the merged feed");
}

/// E28: over a link that only pulls, what is brought is this site's overlay.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_only_pulls_merges_for_itself() {
    let (ny, la) = with_content().await;
    let ticket = ticket(&ny.node, "pull").await;
    la.node.accept(AcceptRequest { merge: true, ..accept(&ticket) }).await.unwrap();
    settle(&la.node).await;
    eventually("b at LA", async || served(&la.node, "tools").await == ["a", "b", "d", "same"]).await;
    assert!(la.node.package("tools", "b", "1.0").await.unwrap().local);
    assert!(!la.node.package("tools", "a", "1.0").await.unwrap().local, "New York's is served");
    settle(&la.node).await;
    assert_eq!(served(&ny.node, "tools").await, ["a", "d", "same"]);
}

/// E28: whoever wants to see the clashes first takes the feed under another name.
#[tokio::test(flavor = "multi_thread")]
async fn clashes_are_listed_before_a_merge_and_a_cut_one_comes_to_the_same() {
    let (ny, la) = with_content().await;
    let ticket = ticket(&ny.node, "mirror").await;
    let renamed = vec![("tools".to_owned(), "ny-tools".to_owned())];
    la.node.accept(AcceptRequest { feeds: renamed, ..accept(&ticket) }).await.unwrap();
    settle(&la.node).await;
    let request = |dry_run: bool| MergeRequest { into: "ny-tools".to_owned(), dry_run };
    let plan = la.node.merge_feed("tools", request(true)).await.unwrap();
    assert_eq!((plan.versions, plan.fresh, plan.same, plan.clashes), (3, 1, 1, 1), "{plan:?}");
    assert_eq!((plan.clashing, plan.done, plan.local), (vec!["a@1.0".to_owned()], false, false));
    assert_eq!(served(&la.node, "ny-tools").await, ["a", "d", "same"], "a plan changes nothing");

    // What was deleted there stays so, whichever bytes it had.
    la.node.delete("ny-tools", "same", "1.0", String::new(), true).await.unwrap();
    let plan = la.node.merge_feed("tools", request(true)).await.unwrap();
    assert_eq!((plan.fresh, plan.same, plan.clashes, plan.deleted), (1, 0, 1, 1), "{plan:?}");

    // Cut off after the first step: only the record is there.
    let store = la.node.inner.site.store();
    let (old, record) = store.feed_named("tools").unwrap().unwrap();
    let (into, other) = store.feed_named("ny-tools").unwrap().unwrap();
    let (name, since) = (record.name, wall_clock());
    store.put_merge(&Merge { old, into: other.genesis, name, link: None, since, brought_ops: None }).unwrap();
    // Cut off again, after some of the contents.
    la.node.merges_go_on().await;
    let ops = |node: &Node| {
        node.inner.site.store().heads(into).unwrap().iter().map(|head| head.head.len).sum::<u64>()
    };
    let after = ops(&la.node);
    let store = la.node.inner.site.store();
    let merge = store.merges().unwrap().remove(0);
    assert!(merge.brought_ops.is_some());
    store.put_merge(&Merge { brought_ops: None, ..merge }).unwrap();
    la.node.merges_go_on().await;
    assert_eq!(ops(&la.node), after, "nothing is said twice");
    assert_eq!(served(&la.node, "tools").await, ["a", "b", "d"]);
    assert!(la.node.feed("ny-tools").await.is_err(), "it has the old name");
    settle(&la.node).await;
    assert_eq!(served(&ny.node, "tools").await, ["a", "b", "d"]);
}

/// A run that ends and a start, or two runs that end together, each let merges go on.
#[tokio::test(flavor = "multi_thread")]
async fn merges_that_go_on_at_the_same_time_bring_each_version_once() {
    const VERSIONS: usize = 200;
    let la = lab("LA").await;
    for name in ["tools", "other"] {
        feed(&la.node, name).await;
    }
    for n in 0..VERSIONS {
        publish(&la.node, &format!("p-{n}"), b"bytes").await.unwrap();
    }
    let store = la.node.inner.site.store().clone();
    let named = |name: &str| store.feed_named(name).unwrap().unwrap();
    let ((old, record), (into, other)) = (named("tools"), named("other"));
    let merge = Merge {
        old,
        into: other.genesis,
        name: record.name,
        link: None,
        since: wall_clock(),
        brought_ops: None,
    };
    store.put_merge(&merge).unwrap();
    let mut going = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let node = la.node.clone();
        going.spawn(async move { node.merges_go_on().await });
    }
    going.join_all().await;
    let ops: u64 = store.heads(into).unwrap().iter().map(|signed| signed.head.len).sum();
    assert_eq!(ops, VERSIONS as u64);
}

/// A package with more refs than go under one signature.
#[tokio::test(flavor = "multi_thread")]
async fn a_package_with_thousands_of_refs_is_merged() {
    use protocol::op::{Body, SetRef, Target};
    let one = lab("New York").await;
    feed(&one.node, "tools").await;
    feed(&one.node, "other").await;
    publish(&one.node, "a", b"a").await.unwrap();
    let site = one.node.inner.site.clone();
    let id = site.store().feed_named("tools").unwrap().unwrap().0;
    for part in 0..5 {
        let bodies = (0..1000).map(|n| {
            Body::SetRef(SetRef {
                package: "a".to_owned(),
                name: format!("nightly-{part}-{n}"),
                target: Some(Target::Version("1.0".to_owned())),
            })
        });
        site.author(id, bodies.collect()).unwrap();
    }
    let told = one.node.merge_feed("tools", MergeRequest { into: "other".to_owned(), dry_run: false }).await;
    assert!(told.is_ok(), "{:?}", told.unwrap_err());
}

/// A merge is no way around the quota of the feed that it fills, and goes on once there is room.
#[tokio::test(flavor = "multi_thread")]
async fn a_merge_brings_what_the_quota_has_room_for_and_the_rest_once_it_is_raised() {
    let one = lab("New York").await;
    feed(&one.node, "tools").await;
    feed(&one.node, "other").await;
    for (n, name) in [(1, "a"), (2, "b"), (3, "c")] {
        publish(&one.node, name, &[n; 60_000]).await.unwrap();
    }
    let quota = |size: &str| FeedChange { quota: Some(size.to_owned()), ..FeedChange::default() };
    one.node.change_feed("other", quota("130KB")).await.unwrap();
    for dry_run in [true, false] {
        let request = MergeRequest { into: "other".to_owned(), dry_run };
        let told = one.node.merge_feed("tools", request).await.unwrap();
        assert_eq!((told.fresh, told.pending), (2, 1), "{told:?}");
    }
    assert_eq!(served(&one.node, "tools").await, ["a", "b"]);
    let held = one.node.change_feed("tools", quota("180KB")).await.unwrap().held_bytes;
    assert_eq!(held, Some(120_000));
    eventually("c", async || served(&one.node, "tools").await == ["a", "b", "c"]).await;
}

/// A sweep between the look at the bytes and the op that names them would take them.
#[tokio::test(flavor = "multi_thread")]
async fn a_merge_keeps_the_bytes_that_it_looked_at_until_it_named_them() {
    let one = lab("New York").await;
    feed(&one.node, "tools").await;
    feed(&one.node, "other").await;
    publish(&one.node, "a", b"a").await.unwrap();
    let site = one.node.inner.site.clone();
    let into = site.store().feed_named("other").unwrap().unwrap().0;
    let runtime = tokio::runtime::Handle::current();
    let (node, mut merging) = (one.node.clone(), None);
    let looked = move || {
        let mut kept = false;
        // While this site signs something else the merge waits to be signed.
        let said = site.author_if(into, |store| {
            let request = MergeRequest { into: "other".to_owned(), dry_run: false };
            merging = Some(runtime.spawn(async move { node.merge_feed("tools", request).await }));
            let deadline = std::time::Instant::now() + PATIENCE;
            while !kept && std::time::Instant::now() < deadline {
                kept = store.is_naming();
                std::thread::yield_now();
            }
            Ok::<_, crate::keeper::AuthorError>(Vec::new())
        });
        said.unwrap();
        (kept, merging.unwrap())
    };
    let (kept, merging) = tokio::task::spawn_blocking(looked).await.unwrap();
    assert!(kept);
    assert_eq!(merging.await.unwrap().unwrap().fresh, 1);
}
