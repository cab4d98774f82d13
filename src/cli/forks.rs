//! Authors that signed two histories of a log.

use clap::{Args, Subcommand};

use super::{Context, Ends, text};
use crate::api::forks::{Fork, Forks, ResolveFork, Resolved};

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
    /// counts at no other site. What the origin has of it the origin says again itself, so that
    /// no version comes or goes by the cut; what the author alone has it publishes again where
    /// it is wanted, and `packetboat doctor` lists it there.
    ///
    /// A site that has another history up to the cut proves that, and the fork is open again:
    /// run this again then.
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
    /// Say nothing again: what the author said after that goes, for one because a thief said it.
    #[arg(long)]
    drop: bool,
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
        Some(counts) => {
            format!("open again: {counts} ops count, and the histories differ there; resolve it once more")
        }
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
    let ResolveArgs { author, feed, at_most, drop, reason } = asked;
    let asked = ResolveFork { feed, author, at_most, drop, reason };
    let said = context.client().post::<Resolved>("/api/v1/forks/resolve", &asked).await?;
    if context.json {
        return text::say_json(&said);
    }
    let Resolved { feed, op, published_again, deleted_again, others_again } = &said.body;
    text::say(&format!("cut in {feed} by op {op}; it travels with the next runs"));
    text::say(&format!(
        "said again by this site: {published_again} versions, {deleted_again} deletions, {others_again} other statements"
    ));
    text::say(
        "once other sites were heard, look at `packetboat forks`: one with another history up to the cut opens the fork again",
    );
    Ok(())
}
