//! Webhooks of real nodes with a real receiver: what arrives, signed by whom, how often, and what is left behind.

use super::receiver::{Came, Receiver};
use super::*;
use crate::api::ruling::FeedChange;
use crate::api::webhooks::{Made, NewWebhook, Webhook};
use crate::events::{Recorded, Severity};
use crate::store::Shelf;
use crate::webhook::secret::Secret;

const OK: &str = "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n";
const BROKEN: &str = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";
const MOVED: &str = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
const SILENT: &str = "";

fn new(url: &str) -> NewWebhook {
    NewWebhook { url: url.to_owned(), events: Vec::new(), feed: None, secret: None, plain_http: false }
}

async fn add(node: &Node, url: &str) -> Made {
    node.add_webhook(new(url)).await.unwrap()
}

fn low(node: &Node, free_bytes: u64) {
    node.event(Event::DiskLow { free_bytes, floor_bytes: 9 });
}

fn up(node: &Node, link: &str) {
    let (peer, peer_name) = ("aa".to_owned(), "LA".to_owned());
    node.event(Event::LinkUp { link: link.to_owned(), peer, peer_name });
}

/// Checks the signature as any receiver would, and gives what the message tells.
fn verified(came: &Came, secret: &str) -> serde_json::Value {
    let at = came.header("webhook-timestamp").parse().unwrap();
    let expected = Secret::parse(secret).unwrap().sign(came.header("webhook-id"), at, &came.body);
    assert_eq!(came.header("webhook-signature"), expected);
    assert!(at.abs_diff(wall_clock().0 / 1000) < 300, "{at}");
    came.json()
}

async fn only(node: &Node) -> Webhook {
    node.webhooks().await.unwrap().webhooks.into_iter().next().unwrap()
}

/// Waits until the one webhook is as asked for.
async fn until(node: &Node, what: impl Fn(&Webhook) -> bool) -> Webhook {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let webhook = only(node).await;
        if what(&webhook) {
            return webhook;
        }
        assert!(tokio::time::Instant::now() < deadline, "{webhook:?}");
        tokio::task::yield_now().await;
    }
}

async fn again(lab: Lab) -> Lab {
    lab.node.stop().await;
    let Lab { folder, node } = lab;
    drop(node);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match Node::start(folder.path(), Some("NY"), "127.0.0.1:0".parse().unwrap()).await {
            Ok(node) => return Lab { folder, node },
            Err(StartError::Store(OpenError::InUse { .. })) if tokio::time::Instant::now() < deadline => {
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_arrives_once_signed_and_in_the_words_of_the_stream() {
    let ny = lab("New York").await;
    let mut receiver = Receiver::start(&[OK]).await;
    low(&ny.node, 1);
    let Made { secret, webhook } = add(&ny.node, &receiver.url).await;
    let secret = secret.unwrap();
    assert!(secret.starts_with("whsec_"));
    up(&ny.node, "la");
    low(&ny.node, 2);
    let first = receiver.next().await;
    let told = verified(&first, &secret);
    assert_eq!(told["type"], "link-up", "what was before the webhook is not told");
    assert_eq!(told["data"]["schema"], "packetboat.event/1");
    assert_eq!(
        (&told["data"]["fields"]["link"], &told["data"]["site_name"]),
        (&"la".into(), &"New York".into())
    );
    assert!(first.header("webhook-id").starts_with(&format!("msg_{}_", webhook.id)));
    assert_eq!(first.header("content-type"), "application/json");
    let second = verified(&receiver.next().await, &secret);
    assert_eq!(second["data"]["fields"]["free_bytes"], 2);
    let done = until(&ny.node, |webhook| webhook.waiting == 0 && webhook.delivered_ms.is_some()).await;
    assert_eq!((done.state.as_str(), done.given_up, done.lost), ("ok", 0, 0));
    assert!(receiver.is_quiet());
    // One that matters to nobody else leaves the disk once it is delivered.
    ny.node.events_kept().await;
    let kept = ny.node.inner.site.store().records(Shelf::Events, &[], &[], 99).unwrap();
    let kept: Vec<Recorded> = kept.iter().map(|(_, value)| serde_json::from_slice(value).unwrap()).collect();
    assert!(kept.iter().all(|recorded| recorded.severity == Severity::Warning), "{kept:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_refused_or_redirected_comes_again_with_the_same_id() {
    let ny = lab("New York").await;
    let mut receiver = Receiver::start(&[BROKEN, MOVED, OK]).await;
    let secret = add(&ny.node, &receiver.url).await.secret.unwrap();
    low(&ny.node, 1);
    let tries = [receiver.next().await, receiver.next().await, receiver.next().await];
    for came in &tries {
        verified(came, &secret);
        assert_eq!(came.header("webhook-id"), tries[0].header("webhook-id"));
        assert_eq!(came.body, tries[0].body);
    }
    until(&ny.node, |webhook| webhook.state == "ok" && webhook.waiting == 0).await;
    assert!(receiver.is_quiet(), "a redirect is not followed, and what was taken is not sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_with_what_no_receiver_took() {
    let ny = lab("New York").await;
    let receiver = Receiver::start(&[OK]).await;
    let secret = add(&ny.node, &receiver.url).await.secret.unwrap();
    let url = receiver.stop().await;
    up(&ny.node, "la");
    up(&ny.node, "tokyo");
    let refused = until(&ny.node, |webhook| webhook.error.is_some() && webhook.waiting == 2).await;
    assert_eq!(refused.state, "retrying");
    assert!(refused.error.unwrap().contains("not reached"));
    let ny = again(ny).await;
    let address = url.trim_start_matches("http://").trim_end_matches("/hook");
    let mut receiver = Receiver::on(address, &[OK]).await;
    for link in ["la", "tokyo"] {
        let told = verified(&receiver.next().await, &secret);
        assert_eq!(told["data"]["fields"]["link"], link, "in order, the same secret");
    }
    until(&ny.node, |webhook| webhook.waiting == 0 && webhook.error.is_none()).await;
    let ny = again(ny).await;
    low(&ny.node, 3);
    let next = verified(&receiver.next().await, &secret);
    assert_eq!(next["type"], "disk-low", "what was taken is not sent again: {next}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_silent_receiver_holds_back_neither_the_others_nor_the_node() {
    let ny = lab("New York").await;
    let mut silent = Receiver::start(&[SILENT]).await;
    let mut well = Receiver::start(&[OK]).await;
    add(&ny.node, &silent.url).await;
    add(&ny.node, &well.url).await;
    for number in 0..50 {
        low(&ny.node, number);
    }
    silent.next().await;
    for number in 0..50 {
        assert_eq!(well.next().await.json()["data"]["fields"]["free_bytes"], number);
    }
    assert!(silent.is_quiet(), "one message at a time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_what_it_asked_for() {
    let ny = lab("New York").await;
    feed(&ny.node, "tools").await;
    let (mut kinds, mut of_feed) = (Receiver::start(&[OK]).await, Receiver::start(&[OK]).await);
    let asked = NewWebhook { events: vec!["disk-low".to_owned(), "link-down".to_owned()], ..new(&kinds.url) };
    ny.node.add_webhook(asked).await.unwrap();
    let asked = NewWebhook { feed: Some("tools".to_owned()), ..new(&of_feed.url) };
    ny.node.add_webhook(asked).await.unwrap();
    up(&ny.node, "la");
    ny.node.event(Event::PublishSuppressed { feed: "docs".to_owned(), package: "a@1".to_owned() });
    ny.node.event(Event::PublishSuppressed { feed: "tools".to_owned(), package: "b@1".to_owned() });
    low(&ny.node, 7);
    assert_eq!(kinds.next().await.json()["type"], "disk-low");
    assert_eq!(of_feed.next().await.json()["data"]["fields"]["package"], "b@1");
    assert!(kinds.is_quiet() && of_feed.is_quiet());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_webhook_is_told_nothing_more_and_leaves_nothing_behind() {
    let ny = lab("New York").await;
    let mut receiver = Receiver::start(&[BROKEN]).await;
    let webhook = add(&ny.node, &receiver.url).await.webhook;
    low(&ny.node, 1);
    receiver.next().await;
    let secrets = || {
        let names = std::fs::read_dir(ny.folder.path().join("key")).unwrap();
        names.filter(|name| name.as_ref().unwrap().path().extension().is_some_and(|e| e == "secret")).count()
    };
    assert_eq!(secrets(), 1);
    ny.node.remove_webhook(&webhook.id).await.unwrap();
    assert_eq!(secrets(), 0);
    let store = ny.node.inner.site.store();
    for shelf in [Shelf::Webhooks, Shelf::Deliveries] {
        assert!(store.records(shelf, &[], &[], 9).unwrap().is_empty());
    }
    let unknown = ny.node.remove_webhook(&webhook.id).await.unwrap_err();
    assert_eq!((unknown.status, ny.node.webhooks().await.unwrap().webhooks.len()), (404, 0));
    // A second one at the same place is the witness that the first is not told: it gets the event, and nobody else does.
    let mut witness = Receiver::start(&[OK]).await;
    add(&ny.node, &witness.url).await;
    while !receiver.is_quiet() {}
    low(&ny.node, 2);
    assert_eq!(witness.next().await.json()["data"]["fields"]["free_bytes"], 2);
    assert!(receiver.is_quiet());
}

/// Puts an event on disk as if it had happened then. Its number is above all that the node gives.
fn happened(node: &Node, number: u64, at_ms: u64) {
    let event = Event::DiskLow { free_bytes: number, floor_bytes: 9 };
    let recorded = Recorded { number: (1 << 40) + number, at_ms, severity: Severity::Warning, event };
    let (key, value) = (recorded.number.to_be_bytes(), serde_json::to_vec(&recorded).unwrap());
    node.inner.site.store().put_record(Shelf::Events, &key, &value).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_the_day_before_gets_one_attempt_and_the_webhook_is_failing_until_one_is_taken() {
    let ny = lab("New York").await;
    let mut receiver = Receiver::start(&[OK, BROKEN, OK]).await;
    let webhook = add(&ny.node, &receiver.url).await.webhook;
    low(&ny.node, 1);
    receiver.next().await;
    until(&ny.node, |webhook| webhook.waiting == 0).await;
    happened(&ny.node, 70, 1);
    // The webhook looks at the record at a start, if not before.
    let ny = again(ny).await;
    assert_eq!(receiver.next().await.json()["data"]["fields"]["free_bytes"], 70);
    let failing = until(&ny.node, |webhook| webhook.given_up == 1).await;
    assert_eq!(failing.state, "failing");
    let failures = asked_for(None, "webhook-failing", None).unwrap();
    let told = ny.node.recent_events(failures, 9).await.unwrap().events;
    assert_eq!((told.len(), &told[0].fields["webhook"]), (1, &webhook.id.as_str().into()), "{told:?}");
    assert_eq!(ny.node.status(None).await.unwrap().webhooks[0].state, "failing");

    let ny = again(ny).await;
    assert_eq!(only(&ny.node).await.state, "failing", "known after a restart");
    happened(&ny.node, 71, wall_clock().0);
    low(&ny.node, 3);
    assert_eq!(
        receiver.next().await.json()["data"]["fields"]["free_bytes"],
        71,
        "the old one is not offered again"
    );
    let well = until(&ny.node, |webhook| webhook.state == "ok" && webhook.waiting == 0).await;
    assert_eq!(well.given_up, 1);
    let reader = ny.node.read_events(Some(0)).await.unwrap();
    let recovers = |recorded: &Recorded| matches!(recorded.event, Event::WebhookRecovered { .. });
    let (mut seen, mut coming) = (reader.missed.iter().any(|recorded| recovers(recorded)), reader.coming);
    while !seen {
        seen = recovers(&tokio::time::timeout(PATIENCE, coming.recv()).await.unwrap().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_message_tells_what_the_receiver_answered() {
    let ny = lab("New York").await;
    let mut receiver = Receiver::start(&[OK, MOVED, BROKEN]).await;
    let Made { secret, webhook } = add(&ny.node, &receiver.url).await;
    let tested = ny.node.test_webhook(&webhook.id).await.unwrap();
    let came = receiver.next().await;
    assert_eq!((tested.status, came.header("webhook-id")), (204, tested.message.as_str()));
    assert_eq!(verified(&came, &secret.unwrap())["type"], "webhook-test");
    let moved = ny.node.test_webhook(&webhook.id).await.unwrap_err();
    assert!(moved.detail.contains("redirect"), "{moved:?}");
    let broken = ny.node.test_webhook(&webhook.id).await.unwrap_err();
    assert_eq!((broken.code.as_str(), broken.exit_code()), ("undelivered", 1));
    receiver.stop().await;
    let gone = ny.node.test_webhook(&webhook.id).await.unwrap_err();
    assert_eq!((gone.code.as_str(), gone.exit_code()), ("unreachable", 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_webhook_is_refused_and_the_number_is_bounded() {
    let ny = lab("New York").await;
    let url = "http://127.0.0.1:9/";
    let nonsense = NewWebhook { events: vec!["nonsense".to_owned()], ..new(url) };
    let nowhere = NewWebhook { feed: Some("none".to_owned()), ..new(url) };
    let open = NewWebhook { secret: Some("hunter2".to_owned()), ..new(url) };
    for (asked, status) in [(new("http://example.com/"), 400), (nonsense, 400), (nowhere, 404), (open, 400)] {
        let refused = ny.node.add_webhook(asked).await.unwrap_err();
        assert_eq!(refused.status, status, "{refused:?}");
        assert!(!format!("{refused:?}").contains("hunter2"));
    }
    let given = Secret::draw().unwrap().text().to_string();
    let made = ny.node.add_webhook(NewWebhook { secret: Some(given), ..new(url) }).await.unwrap();
    assert_eq!(made.secret, None, "a secret that was given is not shown");
    for _ in 1..protocol::limits::WEBHOOKS_MAX {
        add(&ny.node, url).await;
    }
    let full = ny.node.add_webhook(new(url)).await.unwrap_err();
    assert_eq!((full.status, full.exit_code()), (409, 4), "{full:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_for_a_name_that_no_feed_has_is_named_by_doctor() {
    let ny = lab("New York").await;
    feed(&ny.node, "tools").await;
    let receiver = Receiver::start(&[OK]).await;
    let asked = NewWebhook { feed: Some("tools".to_owned()), ..new(&receiver.url) };
    let made = ny.node.add_webhook(asked).await.unwrap();
    let named = async || {
        let findings = ny.node.doctor().await.unwrap().findings;
        findings.iter().any(|one| one.kind == "webhook-feed" && one.text.contains(&made.webhook.id))
    };
    assert!(!named().await);
    let change = FeedChange { name: Some("archive".to_owned()), ..Default::default() };
    ny.node.change_feed("tools", change).await.unwrap();
    assert!(named().await);
}
