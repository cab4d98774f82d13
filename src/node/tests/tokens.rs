//! Tokens that are good for some feeds, whatever these are called meanwhile.

use super::*;
use crate::api::ruling::FeedChange;
use crate::store::Shelf;

/// As they were kept before: with the names of feeds alone.
fn forgets_its_feeds_ids(node: &Node, token: &str) {
    let store = node.inner.site.store();
    let value = store.record(Shelf::Tokens, token.as_bytes()).unwrap().unwrap();
    let mut record: serde_json::Value = serde_json::from_slice(&value).unwrap();
    record.as_object_mut().unwrap().remove("bound");
    record["about"].as_object_mut().unwrap().remove("feed_ids");
    let value = serde_json::to_vec(&record).unwrap();
    store.put_record(Shelf::Tokens, token.as_bytes(), &value).unwrap();
}

async fn for_feed(node: &Node, feed: &str) -> api::TokenMade {
    let feeds = vec![feed.to_owned()];
    let new = api::NewToken { label: "ci".to_owned(), feeds, write: false, admin: false };
    node.create_token(new).await.unwrap()
}

async fn renamed(node: &Node, feed: &str, name: &str) {
    let change = FeedChange { name: Some(name.to_owned()), ..Default::default() };
    node.change_feed(feed, change).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_before_is_bound_at_the_next_start_to_the_feed_that_has_the_name_then() {
    let ny = lab("New York").await;
    for name in ["tools", "gone"] {
        feed(&ny.node, name).await;
    }
    let tools = ny.node.feed("tools").await.unwrap().id;
    let (made, other) = (for_feed(&ny.node, "tools").await, for_feed(&ny.node, "gone").await);
    renamed(&ny.node, "gone", "elsewhere").await;
    for made in [&made, &other] {
        forgets_its_feeds_ids(&ny.node, &made.about.id);
    }
    let ny = again_as(ny, "New York").await;
    renamed(&ny.node, "tools", "archive").await;
    for name in ["tools", "gone"] {
        feed(&ny.node, name).await;
    }
    let ny = again_as(ny, "New York").await;
    let known = ny.node.check_token(&made.token).await.unwrap().unwrap();
    assert_eq!((known.feeds, known.feed_ids), (vec!["archive".to_owned()], vec![tools]));
    // Its feed was not there: it opens nothing, rather than everything, and not what came by that name since.
    let known = ny.node.check_token(&other.token).await.unwrap().unwrap();
    assert_eq!((known.feeds, known.feed_ids), (vec!["gone".to_owned()], vec![]));
}
