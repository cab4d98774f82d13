//! Streams of events as a reader sees them: what comes, what was missed, heartbeats, slowness, the end.

use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::events::{EVENTS_IN_MEMORY_MAX, Event};

const PATIENCE: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(3600);

async fn node() -> (TempDir, Node) {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path(), Some("Lab"), ([127, 0, 0, 1], 0).into()).await.unwrap();
    (folder, node)
}

fn low(node: &Node, free_bytes: u64) {
    node.event(Event::DiskLow { free_bytes, floor_bytes: 9 });
}

fn up(node: &Node) {
    let (link, peer, peer_name) = ("la".to_owned(), "aa".to_owned(), "LA".to_owned());
    node.event(Event::LinkUp { link, peer, peer_name });
}

async fn next(stream: &mut (impl Stream<Item = Result<Bytes, Infallible>> + Unpin)) -> Option<String> {
    let came = tokio::time::timeout(PATIENCE, stream.next()).await.expect("in time");
    came.map(|bytes| String::from_utf8(bytes.unwrap().to_vec()).unwrap())
}

fn data(message: &str) -> Value {
    let line = message.lines().find_map(|line| line.strip_prefix("data: ")).expect("data");
    serde_json::from_str(line).unwrap()
}

#[tokio::test]
async fn a_reader_gets_what_it_missed_and_then_what_comes() {
    let (_folder, node) = node().await;
    low(&node, 1);
    up(&node);
    let before = node.recent_events(Selection::default(), 10).await.unwrap().events;
    let [newest, oldest] = before.as_slice() else { panic!("{before:?}") };
    let reader = node.read_events(Some(oldest.number)).await.unwrap();
    let after = Some(oldest.number);
    let mut stream = Box::pin(messages(node.clone(), reader, Selection::default(), after, LONG));
    assert_eq!(next(&mut stream).await.unwrap(), ": connected\n\n");
    let missed = next(&mut stream).await.unwrap();
    assert!(missed.starts_with(&format!("id: {}\nevent: link-up\ndata: {{", newest.number)), "{missed}");
    assert!(missed.ends_with("}\n\n"), "{missed}");
    low(&node, 2);
    let told = data(&next(&mut stream).await.unwrap());
    assert_eq!(told["schema"], "packetboat.event/1");
    assert_eq!((&told["fields"]["free_bytes"], &told["severity"]), (&2.into(), &"warning".into()));
    node.end_event_readers();
    assert_eq!(next(&mut stream).await, None);
}

#[tokio::test]
async fn a_quiet_stream_says_that_it_lives() {
    let (_folder, node) = node().await;
    let reader = node.read_events(None).await.unwrap();
    let every = Duration::from_millis(5);
    let errors = asked_for(Some("error"), "", None).unwrap();
    let mut stream = Box::pin(messages(node.clone(), reader, errors, None, every));
    next(&mut stream).await.unwrap();
    low(&node, 1);
    assert_eq!(next(&mut stream).await.unwrap(), ": alive\n\n");
    assert_eq!(next(&mut stream).await.unwrap(), ": alive\n\n");
}

#[tokio::test]
async fn a_slow_reader_is_sent_away_with_a_last_word() {
    let (_folder, node) = node().await;
    let reader = node.read_events(None).await.unwrap();
    let mut stream = Box::pin(messages(node.clone(), reader, Selection::default(), None, LONG));
    for _ in 0..2000 {
        up(&node);
    }
    next(&mut stream).await.unwrap();
    let last = next(&mut stream).await.unwrap();
    assert!(last.starts_with("event: events-behind\n"), "{last}");
    assert!(data(&last)["events"].as_u64().is_some_and(|events| events > 0), "{last}");
    assert_eq!(next(&mut stream).await, None);
}

#[tokio::test]
async fn who_was_away_too_long_is_told_and_gets_warnings_and_errors() {
    let (_folder, node) = node().await;
    low(&node, 1);
    up(&node);
    for _ in 0..EVENTS_IN_MEMORY_MAX {
        up(&node);
    }
    node.events_kept().await;
    let reader = node.read_events(Some(0)).await.unwrap();
    let mut stream = Box::pin(messages(node.clone(), reader, Selection::default(), Some(0), LONG));
    next(&mut stream).await.unwrap();
    let first = next(&mut stream).await.unwrap();
    assert!(first.starts_with("event: events-missed\n"), "{first}");
    let kept = data(&next(&mut stream).await.unwrap());
    assert_eq!(kept["kind"], "disk-low", "{kept}");
    let then = data(&next(&mut stream).await.unwrap());
    assert_eq!(then["kind"], "link-up", "{then}");
}

#[tokio::test]
async fn a_word_that_is_no_kind_or_severity_is_refused() {
    for (severity, kinds) in [(Some("loud"), ""), (None, "link-up,nonsense")] {
        let problem = asked_for(severity, kinds, None).unwrap_err();
        assert_eq!(problem.exit_code(), 2, "{problem:?}");
    }
    assert_eq!(asked_for(None, "link-up, disk-low", None).unwrap().kinds, ["link-up", "disk-low"]);
}
