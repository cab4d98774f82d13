//! The overview: how each link and feed stands, once or again and again.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use jiff::tz::TimeZone;

use super::{Context, Ends, duration_ms, feed, link, run, text, webhook};
use crate::api::keeping::Damage;
use crate::api::{self, Answer};

/// Time between two looks.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Damaged versions that are named.
const VERSIONS_SHOWN: usize = 5;
/// Clears the terminal and goes to its upper left corner.
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  packetboat status --watch\n  packetboat status --max-lag 15m || alert")]
pub(super) struct StatusArgs {
    /// Look again each second until Ctrl-C; with --json a line each time.
    #[arg(long)]
    watch: bool,
    /// A link whose last complete run is longer ago than this is behind.
    #[arg(long, value_parser = duration_ms)]
    max_lag: Option<u64>,
}

pub(super) async fn status(context: &Context, args: &StatusArgs) -> anyhow::Result<()> {
    let query = args.max_lag.map_or_else(String::new, |ms| format!("?max_lag_ms={ms}"));
    let path = format!("/api/v1/status{query}");
    let redraw = args.watch && !context.json && std::io::stdout().is_terminal();
    loop {
        let status = context.client().get::<api::Status>(&path).await?;
        let verdict = status.body.verdict;
        if redraw {
            text::steer(CLEAR);
        }
        told(context, status)?;
        if !args.watch {
            return if verdict == 0 { Ok(()) } else { Err(Ends(verdict).into()) };
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

fn told(context: &Context, status: Answer<api::Status>) -> anyhow::Result<()> {
    if context.json {
        return text::say_json(&status);
    }
    let status = status.body;
    text::say(&format!(
        "{} ({}): {}",
        status.site.name,
        status.site.id.chars().take(8).collect::<String>(),
        status.verdict_words
    ));
    text::say(&format!(
        "links on UDP {}, packages on http://{}, up for {}\n",
        status.site.listen,
        status.site.http,
        text::span(status.now_ms.saturating_sub(status.site.started_ms))
    ));
    if status.space.full {
        text::say(&format!(
            "FULL: {} are free on the disk and {} are kept: nothing is taken in; packetboat doctor tells what to do\n",
            text::size(status.space.free_bytes.unwrap_or_default()),
            text::size(status.space.reserve_bytes)
        ));
    }
    for line in damaged(&status) {
        text::say(&line);
    }
    feed::table(&status.feeds);
    text::say("");
    link::table(&status.links);
    for link in &status.links {
        text::say("");
        stands(link);
    }
    for line in status.webhooks.iter().filter_map(webhook::trouble) {
        text::say(&line);
    }
    Ok(())
}

/// What damage took and what is not back.
fn damaged(status: &api::Status) -> Vec<String> {
    if status.damage.is_nothing() {
        return Vec::new();
    }
    let Damage { places, blobs, logs, versions } = &status.damage;
    let mut lines =
        vec![format!("DAMAGED: {places} places of this disk, {blobs} blobs and {logs} logs not back yet")];
    lines.extend(versions.iter().take(VERSIONS_SHOWN).map(|version| format!("  {version}")));
    lines.push("  packetboat verify --heal\n".to_owned());
    lines
}

/// How one link stands, feed by feed.
fn stands(link: &api::Link) {
    text::say(&format!("{} with {}:", link.name, link.peer_name));
    for line in link::further(link) {
        text::say(&format!("    {line}"));
    }
    for line in as_of(link) {
        text::say(&format!("  {line}"));
    }
    for on in &link.feeds {
        let reason = on.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        text::say(&format!(
            "  {}: {}{reason}",
            on.feed,
            on.verdict.as_deref().unwrap_or("not spoken of yet")
        ));
        for line in lines(link, on) {
            text::say(&format!("    {line}"));
        }
    }
    if let Some(last) = &link.last_run {
        text::say(&format!("  last run {}", run::line(last)));
    }
    if let Some(next) = link.next_run_ms {
        text::say(&format!("  next run {}", text::ago(next)));
    }
}

/// How old what is here and there may be.
pub(super) fn as_of(link: &api::Link) -> Vec<String> {
    let mut lines = Vec::new();
    let flows_in = link.feeds.iter().any(|on| on.flows_in);
    let flows_out = link.feeds.iter().any(|on| on.flows_out);
    if let Some(refused) = &link.refused {
        let when = link.refused_ms.map_or_else(String::new, |at| format!(" {}", text::ago(at)));
        lines.push(format!("refused{when}: {refused}"));
    }
    match link.as_of_ms {
        Some(at) => lines.push(format!(
            "this site has everything {}{} had at {}, {}",
            if link.fetch == "on-demand" {
                "that clients asked for of what "
            } else {
                through_filter(link, |on| on.flows_in)
            },
            link.peer_name,
            clock(at),
            text::ago(at)
        )),
        None if flows_in => lines.push(format!("this site never had everything of {}", link.peer_name)),
        None => {}
    }
    match link.peer_as_of_ms {
        Some(at) => lines.push(format!(
            "{} has everything {}this site had at {}, {}",
            link.peer_name,
            through_filter(link, |on| on.flows_out),
            clock(at),
            text::ago(at)
        )),
        None if flows_out => lines.push(format!("{} never had everything of this site", link.peer_name)),
        None => {}
    }
    lines
}

/// Said of a link that carries only some of what there is: who has everything that it carries has not everything.
fn through_filter(link: &api::Link, flows: impl Fn(&api::LinkFeed) -> bool) -> &'static str {
    let filtered = link.feeds.iter().any(|on| flows(on) && on.filter != "everything");
    if filtered { "that the link's filter lets through of what " } else { "" }
}

/// What is still to come or go of a feed.
pub(super) fn lines(link: &api::Link, on: &api::LinkFeed) -> Vec<String> {
    let mut lines = Vec::new();
    if on.flows_in {
        let mut line = format!("to come: {} ops", on.ops_behind);
        if on.missing_blobs > 0 {
            let eta = match on.eta_ms {
                Some(ms) => format!("about {} left at this rate", text::span(ms)),
                None => "time left unknown".to_owned(),
            };
            line = format!("{line}, {} blobs of {}; {eta}", on.missing_blobs, text::size(on.missing_bytes));
        }
        if let Some(oldest) = on.oldest_missing_ms {
            line = format!("{line}; the oldest was published {}", text::ago(oldest));
        }
        lines.push(line);
    }
    if on.flows_out {
        let deletes = match on.deletes_behind_there {
            Some(0) => String::new(),
            Some(deletes) => format!(", of these {deletes} deletions"),
            None => ", too many to tell deletions apart".to_owned(),
        };
        lines.push(format!("not yet at {}: {} ops{deletes}", link.peer_name, on.ops_behind_there));
    }
    lines
}

/// A time of day in this machine's zone, with the day where it is another.
fn clock(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let Some(at) = at else { return format!("{at_ms} ms") };
    let (at, now) = (at.to_zoned(TimeZone::system()), jiff::Zoned::now());
    let today = at.date() == now.date();
    at.strftime(if today { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" }).to_string()
}
