//! What real nodes tell of what happens to them, and what they still know of it after a restart.

use super::*;
use crate::api::events as shapes;
use crate::events::Selection;

async fn told(node: &Node, kind: &str) -> Vec<shapes::Event> {
    let selection = asked_for(None, kind, None).unwrap();
    node.recent_events(selection, 100).await.unwrap().events
}

#[tokio::test(flavor = "multi_thread")]
async fn links_runs_verdicts_and_feeds_are_told() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    publish(&ny.node, "one", b"1").await.unwrap();
    pair(&ny.node, &la.node, "pull").await;
    sync(&la.node).await;
    assert_eq!(told(&ny.node, "feed-taken-up").await[0].fields["link"], serde_json::Value::Null);
    assert_eq!(told(&la.node, "feed-taken-up").await[0].fields["link"], "new-york");
    let up = &told(&la.node, "link-up").await[0];
    assert_eq!((&up.fields["peer_name"], up.site_name.as_str()), (&"New York".into(), "LA"));
    let ended = told(&la.node, "run-ended").await;
    assert!(ended.iter().any(|run| run.fields["ops_in"].as_u64() > Some(0)), "{ended:?}");
    let verdicts = told(&la.node, "verdict-changed").await;
    assert_eq!(verdicts.len(), 1, "once a change: {verdicts:?}");
    assert_eq!((&verdicts[0].fields["to"], verdicts[0].severity.as_str()), (&"valid".into(), "info"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_a_warning_once_and_is_known_after_a_restart() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &la.node, "pull").await;
    sync(&la.node).await;
    ny.node.stop().await;
    sync(&la.node).await;
    sync(&la.node).await;
    let failed = told(&la.node, "run-failed").await;
    let severities: Vec<&str> = failed.iter().rev().map(|event| event.severity.as_str()).collect();
    assert_eq!(severities.first(), Some(&"warning"), "{failed:?}");
    assert!(severities.len() > 1 && severities[1..].iter().all(|severity| *severity == "info"), "{failed:?}");
    let last = la.node.recent_events(Selection::default(), 1).await.unwrap().events[0].number;
    la.node.stop().await;
    let Lab { folder, node } = la;
    drop(node);
    let again = restarted(folder.path(), "LA").await;
    let kept = told(&again, "run-failed").await;
    assert!(kept.iter().any(|event| event.severity == "warning"), "{kept:?}");
    feed(&again, "docs").await;
    let made = told(&again, "feed-taken-up").await;
    assert!(made[0].number > last, "numbers rise over restarts: {made:?}, {last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_low_disk_is_told_once_until_it_is_well_again() {
    let ny = lab("New York").await;
    ny.node.look_at_disk(0).await;
    assert_eq!(told(&ny.node, "disk-low").await.len(), 0);
    ny.node.look_at_disk(u64::MAX).await;
    ny.node.look_at_disk(u64::MAX).await;
    assert_eq!(told(&ny.node, "disk-low").await.len(), 1);
    ny.node.look_at_disk(0).await;
    ny.node.look_at_disk(u64::MAX).await;
    assert_eq!(told(&ny.node, "disk-low").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn sites_that_publish_different_bytes_are_told_of_the_clash() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &la.node, "mirror").await;
    sync(&la.node).await;
    publish(&ny.node, "same", b"ny").await.unwrap();
    publish(&la.node, "same", b"la").await.unwrap();
    sync(&la.node).await;
    let clashes = [told(&la.node, "clash-found").await, told(&ny.node, "clash-found").await].concat();
    assert!(clashes.iter().any(|event| event.fields["package"] == "same@1.0"), "{clashes:?}");
}

/// Every op is in the log in the order of arrival, with what it does here; who waits for the next one gets it.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_ops_as_they_arrive_and_what_each_does() {
    let (ny, leaf) = (lab("New York").await, lab("Leaf").await);
    feed(&ny.node, "tools").await;
    publish(&ny.node, "tool", b"bytes").await.unwrap();
    pair(&ny.node, &leaf.node, "pull").await;
    settle(&leaf.node).await;
    publish(&leaf.node, "own", b"own").await.unwrap();
    let asked = |after, wait_ms| OpsAsked { feed: None, author: None, after, limit: 50, wait_ms };
    let told = leaf.node.ops(asked(None, 0)).await.unwrap();
    let rows: Vec<_> =
        told.ops.iter().map(|op| (op.kind.as_str(), op.version.as_deref(), op.role.as_str())).collect();
    assert!(rows.contains(&("publish", Some("tool@1.0"), "serves")), "{rows:?}");
    assert!(rows.contains(&("publish", Some("own@1.0"), "serves")), "{rows:?}");
    assert!(told.ops.is_sorted_by_key(|op| op.number));
    let mine = OpsAsked { author: Some("me".to_owned()), ..asked(None, 0) };
    assert!(leaf.node.ops(mine).await.unwrap().ops.iter().all(|op| op.version.as_deref() == Some("own@1.0")));
    let newest = OpsAsked { limit: 1, ..asked(None, 0) };
    assert_eq!(leaf.node.ops(newest).await.unwrap().ops, told.ops[told.ops.len() - 1..]);

    let waiting = leaf.node.clone();
    let next = tokio::spawn(async move { waiting.ops(asked(Some(told.seen), 60_000)).await.unwrap() });
    publish(&leaf.node, "next", b"next").await.unwrap();
    let next = tokio::time::timeout(PATIENCE, next).await.unwrap().unwrap();
    assert_eq!(next.ops[0].version.as_deref(), Some("next@1.0"));
    let nobody = OpsAsked { author: Some("nobody".to_owned()), ..asked(None, 0) };
    assert_eq!(leaf.node.ops(nobody).await.unwrap_err().code, "usage");
}

/// A relay that shows an old state for ever, or an origin that is gone: what should come every day does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_feed_whose_origin_is_not_heard_of_for_two_days_is_told_as_stale_once() {
    const HOUR_MS: u64 = 3_600_000;
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    publish(&ny.node, "one", b"1").await.unwrap();
    pair(&ny.node, &la.node, "mirror").await;
    ny.node.seal_feeds().await;
    settle(&la.node).await;
    let later = |hours: u64| Timestamp(wall_clock().0 + hours * HOUR_MS);
    la.node.look_at_feeds(later(47)).await;
    assert_eq!(told(&la.node, "feed-stale").await.len(), 0);
    la.node.look_at_feeds(later(49)).await;
    la.node.look_at_feeds(later(50)).await;
    ny.node.look_at_feeds(later(50)).await;
    let stale = told(&la.node, "feed-stale").await;
    assert_eq!(stale.len(), 1, "{stale:?}");
    assert_eq!((&stale[0].fields["feed"], stale[0].severity.as_str()), (&"tools".into(), "warning"));
    assert_eq!(told(&ny.node, "feed-stale").await.len(), 0, "it is the origin itself");
    la.node.look_at_feeds(later(0)).await;
    la.node.look_at_feeds(later(49)).await;
    assert_eq!(told(&la.node, "feed-stale").await.len(), 2, "it was well in between");
}
