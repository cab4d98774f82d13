//! Room on this site's disk.

use clap::{Args, Subcommand};

use super::ruling::At;
use super::{Context, text};
use crate::api::Package;
use crate::api::path::segment;
use crate::api::ruling::Version;
use crate::api::space::{Sweeping, Trash};

#[derive(Debug, Args)]
pub(super) struct Sweep {
    /// Only tell what would be dropped.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum TrashCommand {
    /// Deleted versions whose bytes are all still here.
    List {
        /// Only this feed.
        #[arg(long)]
        feed: Option<String>,
    },
    /// Publish a deleted version again from the bytes that are still here.
    #[command(after_help = "Example:\n  packetboat trash restore tools hello 1.0")]
    Restore(At),
    /// Drop everything in the trash now; it cannot be taken back.
    Empty,
}

pub(super) async fn sweep(context: &Context, asked: &Sweep) -> anyhow::Result<()> {
    let path = format!("/api/v1/sweep?dry_run={}", asked.dry_run);
    let swept = context.client().post::<Sweeping>(&path, &()).await?;
    if context.json {
        return text::say_json(&swept);
    }
    told(&swept.body);
    Ok(())
}

pub(super) async fn trash(context: &Context, command: TrashCommand) -> anyhow::Result<()> {
    let client = context.client();
    match command {
        TrashCommand::List { feed } => {
            let query = feed.map_or_else(String::new, |feed| format!("?feed={}", segment(&feed)));
            let trash = client.get::<Trash>(&format!("/api/v1/trash{query}")).await?;
            if context.json {
                return text::say_json(&trash);
            }
            listed(&trash.body);
        }
        TrashCommand::Restore(At { feed, name, version }) => {
            let path = format!("/api/v1/feeds/{}/restore", segment(&feed));
            let package = client.post::<Package>(&path, &Version { name, version }).await?;
            if context.json {
                return text::say_json(&package);
            }
            text::say(&format!("{}@{} is {}", package.body.name, package.body.version, package.body.state));
        }
        TrashCommand::Empty => {
            let swept = client.post::<Sweeping>("/api/v1/trash/empty", &()).await?;
            if context.json {
                return text::say_json(&swept);
            }
            told(&swept.body);
        }
    }
    Ok(())
}

fn told(swept: &Sweeping) {
    let Sweeping {
        dry_run,
        blobs,
        bytes,
        packs,
        bytes_moved,
        bytes_freed,
        bytes_lacking,
        trash_blobs,
        trash_bytes,
    } = swept;
    if *dry_run {
        text::say(&format!("{blobs} blobs of {} would be dropped", text::size(*bytes)));
    } else {
        text::say(&format!("{blobs} blobs of {} dropped", text::size(*bytes)));
        text::say(&format!(
            "{packs} packs written anew: {} moved, {} given back to the disk",
            text::size(*bytes_moved),
            text::size(*bytes_freed)
        ));
        if *bytes_lacking > 0 {
            text::say(&format!(
                "more can be given back once {} more are free on this disk: what is kept of a pack is written elsewhere before \
                 the pack goes; free them outside of this folder, and run this again",
                text::size(*bytes_lacking)
            ));
        }
    }
    text::say(&format!("{trash_blobs} blobs of {} stay in the trash", text::size(*trash_bytes)));
}

fn listed(trash: &Trash) {
    let row = |one: &crate::api::space::Trashed| {
        let until = one.until_ms.map_or_else(|| "not before the grace time".to_owned(), text::ago);
        vec![format!("{}/{}@{}", one.feed, one.name, one.version), text::size(one.bytes), until]
    };
    let rows: Vec<_> = trash.versions.iter().map(row).collect();
    text::table(&["VERSION", "SIZE", "GOES"], &rows);
    if trash.more {
        text::say("and more: name a feed with --feed");
    }
}
