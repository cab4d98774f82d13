//! One feed's contents brought into another.

use clap::Args;

use super::{Context, text};
use crate::api::merge::{MergeRequest, Merging};
use crate::api::path::segment;

#[derive(Debug, Args)]
pub(super) struct Merge {
    /// The feed whose contents are brought in. It stays readable under another name, and its tokens stay with it.
    feed: String,
    /// The feed that takes them in, and the name.
    #[arg(long)]
    into: String,
    /// Only say what would come of it.
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn merge(context: &Context, merge: Merge) -> anyhow::Result<()> {
    let path = format!("/api/v1/feeds/{}/merge", segment(&merge.feed));
    let asked = MergeRequest { into: merge.into, dry_run: merge.dry_run };
    let told = context.client().post::<Merging>(&path, &asked).await?;
    if context.json {
        return text::say_json(&told);
    }
    let told = told.body;
    let verb = if told.done { "were" } else { "would be" };
    text::say(&format!(
        "of {} versions of {}, {} {verb} published in {}; {} are there with the same bytes, {} clash, {} are deleted there, {} wait for bytes, or for room under the feed's quota",
        told.versions, told.from, told.fresh, told.into, told.same, told.clashes, told.deleted, told.pending
    ));
    for one in &told.clashing {
        text::say(&format!("  clash: {one}"));
    }
    if told.local {
        text::say("this site may not publish there: what it brings stays at this site");
    }
    Ok(())
}
