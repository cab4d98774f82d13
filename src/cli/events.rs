//! What happened at this site, as a list or as it comes.

use clap::Args;

use super::{Context, text};
use crate::api::path::segment;
use crate::api::{Answer, events as shapes};

#[derive(Debug, Args)]
pub(super) struct Events {
    /// Stay, and tell events as they come.
    #[arg(long)]
    follow: bool,
    /// This severe or more: info, warning, error.
    #[arg(long)]
    severity: Option<String>,
    /// Only these kinds, such as run-failed.
    #[arg(long = "kind", value_delimiter = ',')]
    kinds: Vec<String>,
    /// Only about this link.
    #[arg(long)]
    link: Option<String>,
    /// Only about this feed.
    #[arg(long)]
    feed: Option<String>,
    /// At most so many; not with --follow.
    #[arg(long, conflicts_with = "follow")]
    limit: Option<usize>,
}

impl Events {
    fn query(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.severity.as_ref().map(|severity| format!("severity={}", segment(severity))));
        if !self.kinds.is_empty() {
            parts.push(format!("kind={}", segment(&self.kinds.join(","))));
        }
        parts.extend(self.link.as_ref().map(|link| format!("link={}", segment(link))));
        parts.extend(self.feed.as_ref().map(|feed| format!("feed={}", segment(feed))));
        parts.extend(self.limit.map(|limit| format!("limit={limit}")));
        parts.join("&")
    }
}

fn line(event: &shapes::Event) -> String {
    format!(
        "{} {:<7} {} ({}, {})",
        event.number,
        event.severity,
        event.text,
        event.kind,
        text::ago(event.at_ms)
    )
}

pub(super) async fn events(context: &Context, asked: Events) -> anyhow::Result<()> {
    let query = asked.query();
    if asked.follow {
        return follow(context, &query).await;
    }
    let path = format!("/api/v1/events/recent?{query}");
    let events = context.client().get::<shapes::Events>(&path).await?;
    if context.json {
        return text::say_json(&events);
    }
    for event in &events.body.events {
        text::say(&line(event));
    }
    if events.body.events.is_empty() {
        text::say("nothing happened that is asked for");
    }
    Ok(())
}

/// Tells events until the node stops or the person has enough.
async fn follow(context: &Context, query: &str) -> anyhow::Result<()> {
    let json = context.json;
    let mut behind = false;
    let mut kind = String::new();
    let each = |came: &str| {
        if let Some(told) = came.strip_prefix("event: ") {
            told.clone_into(&mut kind);
        }
        let Some(data) = came.strip_prefix("data: ") else { return Ok(true) };
        match kind.as_str() {
            "events-behind" => behind = true,
            "events-missed" => {}
            _ if json => text::say(data),
            _ => text::say(&line(&serde_json::from_str::<Answer<shapes::Event>>(data)?.body)),
        }
        Ok(!behind)
    };
    context.client().lines(&format!("/api/v1/events?{query}"), each).await?;
    if behind {
        anyhow::bail!("events came faster than they were read: follow again, and see `packetboat events`");
    }
    anyhow::bail!("the daemon stopped")
}
