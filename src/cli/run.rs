//! Running links and reading what they did.

use clap::{Args, Subcommand};

use super::{Context, Ends, text};
use crate::api;
use crate::api::forks::{Fork, Forks};
use crate::api::holds::Holds;
use crate::api::path::segment;

#[derive(Debug, Subcommand)]
pub(super) enum RunCommand {
    /// One run, whole.
    Show {
        /// As `packetboat runs` shows it.
        id: String,
    },
}

pub(super) async fn sync(
    context: &Context,
    link: Option<&str>,
    feed: Option<&str>,
    outside_window: bool,
) -> anyhow::Result<()> {
    let mut query = Vec::new();
    query.extend(link.map(|link| format!("link={}", segment(link))));
    query.extend(feed.map(|feed| format!("feed={}", segment(feed))));
    query.extend(outside_window.then(|| "outside_window=true".to_owned()));
    let path = format!("/api/v1/sync?{}", query.join("&"));
    let bar = text::bar("syncing", None);
    let told = context
        .client()
        .watch::<api::Runs>(&path, |what, done, _of| {
            if what == "bytes" {
                bar.set_position(done);
            } else {
                bar.set_message(format!("syncing {what}"));
            }
        })
        .await;
    bar.finish_and_clear();
    let runs = told?;
    let code = runs.body.runs.iter().map(exit_code).max().unwrap_or(0);
    if context.json {
        text::say_json(&runs)?;
    } else {
        for run in &runs.body.runs {
            text::say(&line(run));
        }
        tell_holds(context, &runs.body.runs).await?;
        tell_forks(context, &runs.body.runs).await?;
    }
    if code == 0 { Ok(()) } else { Err(Ends(code).into()) }
}

/// Of deletions that came over these links and wait it is not enough that a run is done.
async fn tell_holds(context: &Context, runs: &[api::Run]) -> anyhow::Result<()> {
    let holds = context.client().get::<Holds>("/api/v1/holds").await?.body.holds;
    for hold in holds.iter().filter(|hold| runs.iter().any(|run| run.link == hold.link)) {
        text::say(&format!(
            "  {} deletions in {} wait for a person, and what they delete is served: packetboat holds",
            hold.deletes, hold.feed
        ));
    }
    Ok(())
}

/// Nor of a log of which two histories are signed: one of them waits, at this end or the other.
async fn tell_forks(context: &Context, runs: &[api::Run]) -> anyhow::Result<()> {
    let forks = context.client().get::<Forks>("/api/v1/forks").await?.body.forks;
    let carried = |fork: &&Fork| runs.iter().any(|run| run.feeds.iter().any(|on| on.feed == fork.feed));
    for fork in forks.iter().filter(|fork| !fork.resolved).filter(carried) {
        let who = match (fork.own, &fork.author_name) {
            (true, _) => "this site",
            (false, Some(name)) => name,
            (false, None) => &fork.author,
        };
        text::say(&format!(
            "  {who} signed two histories in {}, and one of them waits: packetboat forks",
            fork.feed
        ));
    }
    Ok(())
}

/// The exit code of a command that waited for a run: 0 says that everything came, and went.
fn exit_code(run: &api::Run) -> u8 {
    match run.outcome.as_str() {
        "done" | "interrupted"
            if run.blobs_missing > 0 || run.blobs_over_quota > 0 || run.blobs_missing_there > 0 =>
        {
            3
        }
        "done" => 0,
        "interrupted" => 5,
        "refused" => 6,
        // What the other site sent does not fit its signatures or hashes.
        "misbehaved" => 7,
        _ => 1,
    }
}

/// A run in one line.
pub(super) fn line(run: &api::Run) -> String {
    let reason = run.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
    format!(
        "{}: {}{reason}; {} ops in ({} deletions), {} out; {} of packages in, {} out; {} round trips, {}, {}",
        run.link,
        run.outcome,
        run.ops_in,
        run.deletes_in,
        run.ops_out,
        text::size(run.content_in_bytes),
        text::size(run.content_out_bytes),
        run.round_trips,
        text::span(run.duration_ms),
        text::ago(run.started_ms)
    )
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  packetboat runs --link new-york --outcome refused --limit 10")]
pub(super) struct RunsArgs {
    /// Only of this link.
    #[arg(long)]
    link: Option<String>,
    /// Only those that ended so: done, refused, interrupted, misbehaved, disk-full, fault, running.
    #[arg(long)]
    outcome: Option<String>,
    /// At most so many.
    #[arg(long)]
    limit: Option<usize>,
}

pub(super) async fn runs(context: &Context, args: &RunsArgs) -> anyhow::Result<()> {
    let mut query = Vec::new();
    query.extend(args.link.as_ref().map(|link| format!("link={}", segment(link))));
    query.extend(args.outcome.as_ref().map(|outcome| format!("outcome={}", segment(outcome))));
    query.extend(args.limit.map(|limit| format!("limit={limit}")));
    let path = format!("/api/v1/runs?{}", query.join("&"));
    let runs = context.client().get::<api::Runs>(&path).await?;
    if context.json {
        return text::say_json(&runs);
    }
    let row = |run: &api::Run| {
        vec![
            run.id.clone(),
            run.link.clone(),
            run.trigger.clone(),
            run.outcome.clone(),
            format!("{} in, {} out", run.ops_in, run.ops_out),
            text::size(run.content_in_bytes.saturating_add(run.content_out_bytes)),
            run.round_trips.to_string(),
            text::span(run.duration_ms),
            text::ago(run.started_ms),
        ]
    };
    let head = ["RUN", "LINK", "TRIGGER", "OUTCOME", "OPS", "PACKAGES", "TRIPS", "TOOK", "STARTED"];
    let rows: Vec<_> = runs.body.runs.iter().map(row).collect();
    text::table_or("no runs yet: `packetboat sync` makes one", &head, &rows);
    Ok(())
}

pub(super) async fn show(context: &Context, RunCommand::Show { id }: RunCommand) -> anyhow::Result<()> {
    let run = context.client().get::<api::Run>(&format!("/api/v1/runs/{}", segment(&id))).await?;
    if context.json {
        return text::say_json(&run);
    }
    let run = run.body;
    text::say(&format!("run {} of link {} with site {}", run.id, run.link, run.peer));
    text::say(&format!(
        "  {} by {}, started {}, took {}",
        run.outcome,
        run.trigger,
        text::ago(run.started_ms),
        text::span(run.duration_ms)
    ));
    if let Some(reason) = &run.reason {
        text::say(&format!("  why: {reason}"));
    }
    for on in &run.feeds {
        let reason = on.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
        let verdict = on.verdict.as_deref().unwrap_or("not spoken of");
        let root = |root: &str| root.chars().take(12).collect::<String>();
        text::say(&format!(
            "  feed {}: {verdict}{reason}; heads {} before, {} after",
            on.feed,
            root(&on.root_before),
            root(&on.root_after)
        ));
    }
    moved("in", run.ops_in, &run.came);
    moved("out", run.ops_out, &run.went);
    text::say(&format!("  blobs: {} in, {} could not be had", run.blobs_in, run.blobs_missing));
    text::say(&format!(
        "  packages: {} in, {} out",
        text::size(run.content_in_bytes),
        text::size(run.content_out_bytes)
    ));
    let rtt = run.rtt_ms.map_or_else(String::new, |ms| format!(" of {ms} ms"));
    text::say(&format!(
        "  frames: {} bytes in, {} bytes out, {} round trips{rtt}",
        run.frames_in_bytes, run.frames_out_bytes, run.round_trips
    ));
    for (whose, refusals) in [("here", &run.refused), ("there", &run.refused_there)] {
        for refusal in refusals {
            text::say(&format!("  not taken {whose}: {} ops, {}", refusal.ops, refusal.reason));
        }
    }
    Ok(())
}

/// What moved one way: counts by verb, then the first names.
fn moved(way: &str, ops: u64, moved: &api::run::Moved) {
    text::say(&format!(
        "  ops {way}: {ops}, of these {} additions, {} deletions, {} other",
        moved.adds, moved.deletes, moved.other
    ));
    for (sign, names, all) in [("+", &moved.added, moved.adds), ("-", &moved.deleted, moved.deletes)] {
        for name in names {
            text::say(&format!("    {sign} {name}"));
        }
        let rest = all.saturating_sub(names.len() as u64);
        if rest > 0 {
            text::say(&format!("    {sign} and {rest} more"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(outcome: &str, blobs_missing: u64) -> api::Run {
        serde_json::from_value(serde_json::json!({
            "id": "1", "link": "l", "peer": "p", "trigger": "manual", "started_ms": 0, "duration_ms": 0,
            "outcome": outcome, "reason": null, "feeds": [], "ops_in": 0, "deletes_in": 0, "ops_out": 0, "came": api::run::Moved::default(), "went": api::run::Moved::default(), "blobs_in": 0,
            "blobs_missing": blobs_missing, "blobs_over_quota": 0, "blobs_missing_there": 0, "content_in_bytes": 0, "content_out_bytes": 0, "frames_in_bytes": 0,
            "frames_out_bytes": 0, "round_trips": 0, "rtt_ms": null, "refused": [], "refused_there": [],
        }))
        .unwrap()
    }

    #[test]
    fn a_run_that_did_not_bring_everything_ends_with_its_own_code() {
        let cases = [
            ("done", 0, 0),
            ("done", 1, 3),
            ("interrupted", 0, 5),
            ("interrupted", 1, 3),
            ("refused", 0, 6),
            ("misbehaved", 0, 7),
            ("fault", 0, 1),
        ];
        for (outcome, missing, code) in cases {
            assert_eq!(exit_code(&run(outcome, missing)), code, "{outcome}, {missing} missing");
        }
    }
}
