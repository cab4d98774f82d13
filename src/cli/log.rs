//! The log of ops, and the level of the log lines.

use clap::Args;

use super::{Context, duration_ms, text};
use crate::api::log as shapes;
use crate::api::path::segment;

/// Milliseconds that an answer waits for the next op.
const WAIT_MS: u64 = 20_000;

#[derive(Debug, Args)]
pub(super) struct Log {
    /// Only ops of this feed.
    #[arg(long)]
    feed: Option<String>,
    /// Only ops of this site: its id, its beginning, its name, or `me`.
    #[arg(long)]
    author: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Stay, and tell ops as they arrive.
    #[arg(long)]
    follow: bool,
}

#[derive(Debug, Args)]
pub(super) struct Level {
    /// error, warn, info, debug, trace, or TARGET=LEVEL with commas between; shows the level if not given.
    level: Option<String>,
    /// For how long.
    #[arg(long = "for", default_value = "30m", value_name = "DURATION", value_parser = duration_ms)]
    for_ms: u64,
    /// Go back to the level of the settings now.
    #[arg(long, conflicts_with = "level")]
    reset: bool,
}

fn line(op: &shapes::LoggedOp) -> String {
    let author = op.author_name.clone().unwrap_or_else(|| op.author.chars().take(8).collect());
    let about =
        op.version.as_ref().map_or_else(|| op.feed.clone(), |version| format!("{}/{version}", op.feed));
    format!("{:>6}  {}  {} {} by {author} ({})", op.number, text::ago(op.stamp_ms), op.kind, about, op.role)
}

pub(super) async fn log(context: &Context, asked: Log) -> anyhow::Result<()> {
    let mut only = String::new();
    for (key, value) in [("feed", &asked.feed), ("author", &asked.author)] {
        if let Some(value) = value {
            only.push_str(&format!("&{key}={}", segment(value)));
        }
    }
    let client = context.client();
    let ops = client.get::<shapes::Ops>(&format!("/api/v1/log?limit={}{only}", asked.limit)).await?;
    if context.json && !asked.follow {
        return text::say_json(&ops);
    }
    let tell = |ops: &shapes::Ops| -> anyhow::Result<()> {
        for op in &ops.ops {
            text::say(&if context.json { serde_json::to_string(op)? } else { line(op) });
        }
        Ok(())
    };
    tell(&ops.body)?;
    if ops.body.ops.is_empty() && !asked.follow {
        text::say("no op that is asked for arrived here");
    }
    let mut seen = ops.body.seen;
    if !asked.follow {
        return Ok(());
    }
    loop {
        let path = format!("/api/v1/log?after={seen}&wait_ms={WAIT_MS}{only}");
        let more = client.get::<shapes::Ops>(&path).await?;
        tell(&more.body)?;
        seen = more.body.seen;
    }
}

pub(super) async fn level(context: &Context, asked: Level) -> anyhow::Result<()> {
    let (client, path) = (context.client(), "/api/v1/log-level");
    let level = match asked.level {
        Some(level) => {
            let request = shapes::RaiseRequest { level, for_ms: asked.for_ms };
            client.put::<shapes::Level>(path, &request).await?
        }
        None => {
            if asked.reset {
                client.delete(path).await?;
            }
            client.get::<shapes::Level>(path).await?
        }
    };
    if context.json {
        return text::say_json(&level);
    }
    let shapes::Level { configured, now, left_ms } = &level.body;
    text::say(&match left_ms {
        Some(left_ms) => format!("{now} for another {} s, then {configured}", left_ms.div_ceil(1000)),
        None => format!("{now}, as the settings say"),
    });
    Ok(())
}
