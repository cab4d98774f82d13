//! Links: listed, shown, changed.

use clap::{Args, Subcommand};

use super::{Context, Name, Usage, duration_ms, plan, run, status, text};
use crate::api;
use crate::api::path::segment;

#[derive(Debug, Subcommand)]
pub(super) enum LinkCommand {
    /// All links of this site.
    List,
    /// One link.
    Show(Name),
    /// What a link, or a ticket before it is accepted, comes to; changes nothing.
    Plan(plan::PlanArgs),
    /// Change a link.
    #[command(
        after_help = "Examples:\n  packetboat link set new-york --every 15m\n  packetboat link set new-york --mode pull --every never"
    )]
    Set(Box<Set>),
    /// Stop a link from running until it is resumed.
    Pause(Name),
    /// Let a paused link run again.
    Resume(Name),
    /// Remove a link. What it brought stays.
    Remove(Name),
}

#[derive(Debug, Args)]
pub(super) struct Set {
    /// The link's name.
    name: String,
    /// What this site asks (outgoing) or lets the other site do (incoming): mirror, pull, push, off.
    #[arg(long)]
    mode: Option<String>,
    /// Run by itself this often, or `never`.
    #[arg(long)]
    every: Option<String>,
    /// HOST:PORT of the other site; may be given several times and replaces what was there.
    #[arg(long = "address")]
    addresses: Vec<String>,
    /// Mode and filter are meant for this feed only; `*`: for feeds that come later.
    #[arg(long)]
    feed: Option<String>,
    /// Feeds that neither site named when the link was made: `off`, `take` what the other site
    /// offers, `offer` what this site has, or `both`.
    #[arg(long)]
    new_feeds: Option<String>,
    /// Take up an offered feed under another name here: REMOTE=LOCAL.
    #[arg(long, value_parser = super::mapping)]
    take: Option<(String, String)>,
    /// Whose bytes come along: `none`, or parts of name=PATTERN|PATTERN, latest=N, size=100MB, age=90d
    /// separated by commas. Both sites' filters hold. What leaves a filter is not deleted.
    #[arg(long)]
    filter: Option<String>,
    /// `on`: news travel at once; `off`: at the interval.
    #[arg(long, value_parser = super::feed::on_or_off)]
    live: Option<bool>,
    /// When the link may run, such as `22:00-06:00` or `mon-fri 22:00-06:00@2mbit`; may be given
    /// several times and replaces what was there.
    #[arg(long = "window", conflicts_with = "no_windows")]
    windows: Vec<String>,
    /// Run at any hour.
    #[arg(long)]
    no_windows: bool,
    /// The windows' time zone, such as Asia/Tokyo; this machine's if never given.
    #[arg(long)]
    zone: Option<String>,
    /// The most the link carries each way, such as 2mbit or 500KB, or `none`.
    #[arg(long, conflicts_with_all = ["cap_in", "cap_out"])]
    cap: Option<String>,
    /// The most that comes in.
    #[arg(long)]
    cap_in: Option<String>,
    /// The most that goes out.
    #[arg(long)]
    cap_out: Option<String>,
    /// Which bytes come first: `smallest` or `newest`. Deletions always come before any bytes.
    #[arg(long)]
    priority: Option<String>,
    /// `always`, or `on-demand`: bytes are fetched when a client asks for them.
    #[arg(long)]
    fetch: Option<String>,
    /// On an incoming link: what the other site may do ends after this long, or `never`.
    #[arg(long)]
    grant_expires: Option<String>,
}

fn path(name: &str) -> String {
    format!("/api/v1/links/{}", segment(name))
}

pub(super) async fn link(context: &Context, command: LinkCommand) -> anyhow::Result<()> {
    let client = context.client();
    let (name, change) = match command {
        LinkCommand::List => {
            let links = client.get::<api::Links>("/api/v1/links").await?;
            if context.json {
                return text::say_json(&links);
            }
            table(&links.body.links);
            return Ok(());
        }
        LinkCommand::Show(Name { name }) => {
            let link = client.get::<api::Link>(&path(&name)).await?;
            if context.json {
                return text::say_json(&link);
            }
            show(&link.body);
            return Ok(());
        }
        LinkCommand::Plan(args) => return plan::plan(context, args).await,
        LinkCommand::Remove(Name { name }) => {
            client.delete(&path(&name)).await?;
            let object = serde_json::json!({ "schema": "packetboat.link-removed/1", "name": name });
            text::say_either(
                context.json,
                &object,
                &format!("link {name} is removed; what it brought stays"),
            );
            return Ok(());
        }
        LinkCommand::Set(set) => {
            let every_ms = until(set.every.as_deref())?;
            let grant_life_ms = until(set.grant_expires.as_deref())?;
            let addresses = (!set.addresses.is_empty()).then_some(set.addresses);
            let windows = (set.no_windows || !set.windows.is_empty()).then_some(set.windows);
            let change = api::LinkChange {
                mode: set.mode,
                every_ms,
                paused: None,
                addresses,
                feed: set.feed,
                new_feeds: set.new_feeds,
                take: set.take,
                filter: set.filter,
                live: set.live,
                windows,
                zone: set.zone,
                cap_in: set.cap_in.or_else(|| set.cap.clone()),
                cap_out: set.cap_out.or(set.cap),
                priority: set.priority,
                fetch: set.fetch,
                grant_life_ms,
            };
            (set.name, change)
        }
        LinkCommand::Pause(Name { name }) => {
            (name, api::LinkChange { paused: Some(true), ..Default::default() })
        }
        LinkCommand::Resume(Name { name }) => {
            (name, api::LinkChange { paused: Some(false), ..Default::default() })
        }
    };
    let link = client.patch::<api::Link>(&path(&name), &change).await?;
    if context.json {
        return text::say_json(&link);
    }
    show(&link.body);
    Ok(())
}

/// A duration, or zero for `never`.
fn until(text: Option<&str>) -> Result<Option<u64>, Usage> {
    match text {
        None => Ok(None),
        Some("never") => Ok(Some(0)),
        Some(text) => duration_ms(text).map(Some).map_err(Usage),
    }
}

fn every(link: &api::Link) -> String {
    match (link.paused, link.every_ms) {
        (true, _) => "paused".to_owned(),
        (false, Some(ms)) => format!("every {}", text::span(ms)),
        (false, None) if link.dial == "incoming" => "when the other site calls".to_owned(),
        (false, None) if link.live => "when there is news".to_owned(),
        (false, None) => "when told".to_owned(),
    }
}

pub(super) fn table(links: &[api::Link]) {
    let row = |link: &api::Link| {
        let feeds: Vec<String> = link.feeds.iter().map(|on| format!("{} ({})", on.feed, on.stated)).collect();
        vec![
            link.name.clone(),
            link.peer_name.clone(),
            link.dial.clone(),
            feeds.join(", "),
            link.connection.clone(),
            link.last_run.as_ref().map_or_else(|| "never ran".to_owned(), |run| run.outcome.clone()),
            link.as_of_ms.map_or_else(String::new, text::ago),
            every(link),
        ]
    };
    let head = ["LINK", "SITE", "DIAL", "FEEDS", "CONNECTION", "LAST RUN", "AS OF", "RUNS"];
    let rows: Vec<_> = links.iter().map(row).collect();
    text::table_or(
        "no links yet: `packetboat pair invite` and `packetboat pair accept` make one",
        &head,
        &rows,
    );
}

fn show(link: &api::Link) {
    text::say(&format!("link {} with {} (site {})", link.name, link.peer_name, link.peer));
    text::say(&format!("  {}{}, connection {}", link.dial, addresses(link), link.connection));
    text::say(&format!("  {}", settings(link)));
    text::say(&format!("  runs {}; both sites show the words {}", every(link), link.check_words));
    for on in &link.feeds {
        let whose = if link.dial == "incoming" { "the other site may" } else { "this site asks" };
        let mut line = format!("  feed {}: {whose} {}", on.feed, on.stated);
        if let Some(verdict) = &on.verdict {
            let effective = on.effective.as_deref().unwrap_or("off");
            line = format!("{line}; {verdict}, in effect here: {effective}");
        }
        if let Some(reason) = &on.reason {
            line = format!("{line} ({reason})");
        }
        if on.filter != "everything" {
            line = format!("{line}; carries {}", on.filter);
        }
        if let Some(expires) = on.grant_expires_ms {
            line = format!("{line}; the grant ends {}", text::ago(expires));
        }
        text::say(&line);
        for line in status::lines(link, on) {
            text::say(&format!("    {line}"));
        }
    }
    for line in further(link) {
        text::say(&format!("  {line}"));
    }
    for line in status::as_of(link) {
        text::say(&format!("  {line}"));
    }
    if let Some(last) = &link.last_run {
        text::say(&format!("  last run {}", run::line(last)));
    }
    if let Some(next) = link.next_run_ms {
        text::say(&format!("  next run {}", text::ago(next)));
    }
}

/// What becomes of feeds that come later, and which did not go on the link.
pub(super) fn further(link: &api::Link) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(new) = &link.new_feeds {
        let what = match (new.offers, new.takes) {
            (true, true) => "offered and taken up",
            (true, false) => "offered",
            (false, _) => "taken up",
        };
        lines.push(format!("feeds that come later are {what}, as {}", new.mode));
    }
    if let Some(twin) = &link.twin {
        lines.push(match &link.served_by {
            Some(serving) => format!("warning: duplicate link: both sites dial each other; the session of {serving} serves this one"),
            None => format!("warning: duplicate link: both sites dial each other; one session serves this and {twin}"),
        });
    }
    for one in &link.untaken {
        let whose = if one.here { "here" } else { "there" };
        lines.push(format!("feed {} was not taken up {whose}: {}", one.feed, one.reason));
    }
    lines
}

fn settings(link: &api::Link) -> String {
    let mut parts = vec![if link.live { "live" } else { "not live" }.to_owned()];
    if !link.windows.is_empty() {
        let change = link.window_changes_in_minutes.map(|minutes| text::span(u64::from(minutes) * 60_000));
        let state = match (link.open, change) {
            (true, Some(change)) => format!("open for {change}"),
            (true, None) => "open".to_owned(),
            (false, Some(change)) => format!("closed for {change}"),
            (false, None) => "closed".to_owned(),
        };
        parts.push(format!("window {} ({state})", link.windows.join(" and ")));
    }
    for (way, cap) in [("in", link.cap_in_bytes_per_s), ("out", link.cap_out_bytes_per_s)] {
        parts.extend(cap.map(|cap| format!("at most {}/s {way}", text::size(cap))));
    }
    parts.push(format!("{} first", link.priority));
    if link.fetch == "on-demand" {
        parts.push("bytes on demand".to_owned());
    }
    parts.join(", ")
}

fn addresses(link: &api::Link) -> String {
    if link.addresses.is_empty() { String::new() } else { format!(" to {}", link.addresses.join(" or ")) }
}
