//! Events as a list and as a stream that goes on (Server-Sent Events).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Response};
use axum::routing::get;
use futures_util::{Stream, StreamExt, stream};
use protocol::limits::RECENT_EVENTS_MAX;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use super::answer::told;
use super::api_routes::{Answered, Asked, query};
use super::{Caller, Refusal, Served};
use crate::api::Schema;
use crate::api::events as shapes;
use crate::events::{Recorded, Selection};
use crate::node::{EventReader, Node, asked_for};

/// Events in one answer where the caller names no number.
const RECENT: usize = 100;
/// A quiet stream says that it lives, so that proxies keep it and readers notice a dead one.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);
/// Where a browser or library says what it last got.
const LAST_EVENT_ID: &str = "last-event-id";

pub(super) fn routes() -> Router<Served> {
    Router::new().route("/api/v1/events", get(follow)).route("/api/v1/events/recent", get(recent))
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    severity: Option<String>,
    /// One kind, or several with commas between.
    kind: Option<String>,
    link: Option<String>,
    feed: Option<String>,
    limit: Option<usize>,
    after: Option<u64>,
}

impl EventsQuery {
    fn selection(&self) -> Result<Selection, Refusal> {
        let kinds = self.kind.as_deref().unwrap_or_default();
        let selection = asked_for(self.severity.as_deref(), kinds, self.link.clone())?;
        Ok(Selection { feed: self.feed.clone(), ..selection })
    }
}

async fn recent(State(served): State<Served>, asked: Asked<EventsQuery>) -> Answered {
    let asked = query(asked)?;
    let limit = asked.limit.unwrap_or(RECENT).clamp(1, RECENT_EVENTS_MAX);
    Ok(told(served.node.recent_events(asked.selection()?, limit).await?))
}

async fn follow(
    State(served): State<Served>,
    caller: Caller,
    headers: HeaderMap,
    asked: Asked<EventsQuery>,
) -> Answered {
    let asked = query(asked)?;
    let last = headers.get(LAST_EVENT_ID).and_then(|value| value.to_str().ok());
    // A reader that reconnects repeats its first query and adds what it last got.
    let after = last.and_then(|last| last.trim().parse().ok()).or(asked.after);
    let selection = asked.selection()?;
    let reader = served.node.read_events(after).await?;
    let messages = messages(served.node.clone(), reader, selection, after, HEARTBEAT_EVERY);
    let mut response = Response::new(Body::from_stream(as_long_as_known(messages, served.node, caller)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Ends a stream, which has no end of its own, once the token of its reader is revoked, or cannot be asked for.
fn as_long_as_known(
    messages: impl Stream<Item = Result<Bytes, Infallible>>,
    node: Node,
    caller: Caller,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    messages.take_while(move |_message| {
        let (node, caller) = (node.clone(), caller.clone());
        async move { caller.is_known_still(&node).await.is_ok() }
    })
}

/// A stream under way.
struct Following {
    node: Node,
    reader: EventReader,
    selection: Selection,
    waiting: VecDeque<Bytes>,
    heartbeat: Interval,
    /// The number up to which the reader has everything.
    sent: u64,
    over: bool,
}

fn messages(
    node: Node,
    mut reader: EventReader,
    selection: Selection,
    after: Option<u64>,
    heartbeat_every: Duration,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    // The first bytes tell the reader that it is connected.
    let mut waiting = VecDeque::from([Bytes::from_static(b": connected\n\n")]);
    if let (false, Some(after)) = (reader.whole, after) {
        waiting.push_back(message(None, "events-missed", &shapes::Missed { after }.answer()));
    }
    let mut sent = after.unwrap_or(0);
    for recorded in std::mem::take(&mut reader.missed) {
        sent = recorded.number;
        if selection.takes(&recorded) {
            waiting.push_back(event(&node, &recorded));
        }
    }
    let mut heartbeat = interval_at(tokio::time::Instant::now() + heartbeat_every, heartbeat_every);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let following = Following { node, reader, selection, waiting, heartbeat, sent, over: false };
    stream::unfold(following, |mut following| async move {
        let bytes = following.next().await?;
        Some((Ok(bytes), following))
    })
}

impl Following {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.waiting.pop_front() {
                return Some(bytes);
            }
            if self.over || *self.reader.closing.borrow() {
                return None;
            }
            tokio::select! {
                biased;
                _ = self.reader.closing.changed() => return None,
                came = self.reader.coming.recv() => self.take(came),
                _ = self.heartbeat.tick() => return Some(Bytes::from_static(b": alive\n\n")),
            }
        }
    }

    fn take(&mut self, came: Result<Arc<Recorded>, RecvError>) {
        match came {
            Ok(recorded) => {
                if recorded.number > self.sent && self.selection.takes(&recorded) {
                    self.waiting.push_back(event(&self.node, &recorded));
                }
            }
            Err(RecvError::Lagged(events)) => {
                self.waiting.push_back(message(None, "events-behind", &shapes::Behind { events }.answer()));
                self.over = true;
            }
            Err(RecvError::Closed) => self.over = true,
        }
    }
}

fn event(node: &Node, recorded: &Recorded) -> Bytes {
    message(Some(recorded.number), recorded.event.kind(), &node.event_told(recorded).answer())
}

/// One message of the stream. JSON has no line ends of its own.
fn message(id: Option<u64>, event: &str, data: &impl Serialize) -> Bytes {
    let id = id.map_or_else(String::new, |id| format!("id: {id}\n"));
    let data = serde_json::to_string(data).unwrap_or_default();
    Bytes::from(format!("{id}event: {event}\ndata: {data}\n\n"))
}

#[cfg(test)]
mod tests;
