//! Authors that signed two histories of a log.

use clap::{Args, Subcommand};

use super::{Context, Ends, text};
use crate::api::forks::{Fork, Forks, ResolveFork};
use crate::api::ruling::Said;

#[derive(Debug, Args)]
pub(super) struct ForksArgs {
    #[command(subcommand)]
    command: Option<ForksCommand>,
}

#[derive(Debug, Subcommand)]
enum ForksCommand {
    /// Say how far a forked log counts, as the feed's origin, so that its author can go on
    ///
    /// As many ops count as both histories are known to have. What the author said after that
    /// counts at no other site; the author publishes it again where it is wanted.
    #[command(verbatim_doc_comment)]
    Resolve(ResolveArgs),
}

#[derive(Debug, Args)]
struct ResolveArgs {
    /// The author: its id, the start of it, or its name; `me` for this site.
    author: String,
    #[arg(long)]
    feed: String,
    /// No more than so many of the log's ops count.
    #[arg(long)]
    at_most: Option<u64>,
    /// For people at other sites; it travels with the cut.
    #[arg(long, default_value = "")]
    reason: String,
}

pub(super) async fn forks(context: &Context, args: ForksArgs) -> anyhow::Result<()> {
    match args.command {
        None => list(context).await,
        Some(ForksCommand::Resolve(asked)) => resolve(context, asked).await,
    }
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let forks = context.client().get::<Forks>("/api/v1/forks").await?;
    let open = forks.body.forks.iter().any(|fork| !fork.resolved);
    if context.json {
        text::say_json(&forks)?;
    } else if forks.body.forks.is_empty() {
        text::say("no author signed two histories, as far as this site was shown");
    } else {
        for fork in &forks.body.forks {
            tell(fork);
        }
        if open {
            text::say(
                "at the feed's origin: packetboat forks resolve AUTHOR --feed FEED; before that, stop the copy of \
                 the site that should not run",
            );
        }
    }
    if open { Err(Ends(4).into()) } else { Ok(()) }
}

fn tell(fork: &Fork) {
    let author = fork.author_name.as_deref().unwrap_or(if fork.own { "this site" } else { &fork.author });
    let state = match fork.counts {
        Some(counts) if fork.resolved => format!("resolved: {counts} ops count"),
        Some(counts) => format!("open again: {counts} ops count, and the histories differ there"),
        None => "open: nothing more of it is taken in or passed on".to_owned(),
    };
    text::say(&format!("{author} signed two histories of its log in {}, epoch {}", fork.feed, fork.epoch));
    for head in [&fork.one, &fork.other] {
        text::say(&format!(
            "  {} ops, signed {}: {}",
            head.len,
            text::ago(head.signed_ms),
            head.root.get(..16).unwrap_or(&head.root)
        ));
    }
    text::say(&format!("  {} ops are held here; {state}", fork.held));
}

async fn resolve(context: &Context, asked: ResolveArgs) -> anyhow::Result<()> {
    let ResolveArgs { author, feed, at_most, reason } = asked;
    let asked = ResolveFork { feed, author, at_most, reason };
    let said = context.client().post::<Said>("/api/v1/forks/resolve", &asked).await?;
    if context.json {
        return text::say_json(&said);
    }
    text::say(&format!("cut in {} by op {}; it travels with the next runs", said.body.feed, said.body.op));
    Ok(())
}
