//! Bytes that leave this site and come back.

use clap::Args;

use super::ruling::At;
use super::{Context, Ends, text};
use crate::api::Package;
use crate::api::evict::{Evicted, Request};
use crate::api::path::segment;
use crate::api::ruling::Version;

#[derive(Debug, Args)]
pub(super) struct Evict {
    #[command(flatten)]
    at: At,
    /// Also where no other site says that it has the bytes: they may be lost.
    #[arg(long)]
    force: bool,
}

pub(super) async fn evict(context: &Context, evict: Evict) -> anyhow::Result<()> {
    let Evict { at: At { feed, name, version }, force } = evict;
    let path = format!("/api/v1/feeds/{}/evict", segment(&feed));
    let evicted = context.client().post::<Evicted>(&path, &Request { name, version, force }).await?;
    if context.json {
        return text::say_json(&evicted);
    }
    let Evicted { name, version, bytes, held_by, .. } = &evicted.body;
    let kept = if held_by.is_empty() { String::new() } else { format!(", kept by {}", held_by.join(", ")) };
    text::say(&format!("{name}@{version} is evicted here: {} dropped{kept}", text::size(*bytes)));
    Ok(())
}

pub(super) async fn fetch(context: &Context, at: At) -> anyhow::Result<()> {
    let At { feed, name, version } = at;
    let path = format!("/api/v1/feeds/{}/fetch", segment(&feed));
    let package = context.client().post::<Package>(&path, &Version { name, version }).await?;
    if context.json {
        text::say_json(&package)?;
    } else {
        text::say(&format!("{}@{} is {}", package.body.name, package.body.version, package.body.state));
    }
    if package.body.state == "ready" { Ok(()) } else { Err(Ends(3).into()) }
}
