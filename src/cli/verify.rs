//! Checking every byte that is kept.

use clap::Args;

use super::{Context, Ends, text};
use crate::api::keeping::{Damage, Healed, Verification};
use crate::api::{Answer, Schema as _};
use crate::node;
use crate::store::OpenError;

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// Fetch what is damaged from other sites now; needs a running node.
    #[arg(long)]
    heal: bool,
    /// Also work out anew what is derived, and compare: signatures and roots of logs, the index, what
    /// stands, counts. Writing waits for a part of it.
    #[arg(long)]
    deep: bool,
}

pub(super) async fn verify(context: &Context, asked: &Verify) -> anyhow::Result<()> {
    let bar = text::bar("checking", Some(0));
    let found = if asked.heal { None } else { offline(context, asked.deep, &bar).await? };
    let found = match found {
        Some(found) => found,
        None => {
            let watch = |_what: &str, done, of: Option<u64>| {
                bar.set_length(of.unwrap_or(0));
                bar.set_position(done);
            };
            let path = format!("/api/v1/verify?heal={}&deep={}", asked.heal, asked.deep);
            context.client().watch::<Verification>(&path, watch).await?
        }
    };
    bar.finish_and_clear();
    if context.json {
        text::say_json(&found)?;
    } else {
        told(&found.body);
    }
    if found.body.is_sound() { Ok(()) } else { Err(Ends(7).into()) }
}

/// Checks the folder itself; nothing where a daemon has it open, which then checks while it serves.
async fn offline(
    context: &Context,
    deep: bool,
    bar: &indicatif::ProgressBar,
) -> anyhow::Result<Option<Answer<Verification>>> {
    let (step, data) = (bar.clone(), context.data.clone());
    let offline = tokio::task::spawn_blocking(move || {
        node::verify_offline(&data, deep, &mut |done, of| {
            step.set_length(of);
            step.set_position(done);
        })
    })
    .await?;
    match offline {
        Ok(found) => Ok(Some(found.answer())),
        Err(node::VerifyError::Store(OpenError::InUse { .. })) => Ok(None),
        Err(error) => Err(anyhow::Error::new(error).context("the folder cannot be checked")),
    }
}

fn told(found: &Verification) {
    let words = match (&found.healed, found.is_sound()) {
        (None, true) => "all sound",
        (Some(_), true) if found.damaged.is_empty() => "all sound, nothing left to mend",
        (Some(_), true) => "damage found and healed",
        (_, false) => "damage found",
    };
    text::say(&format!("{} records, {}: {words}", found.records, text::size(found.bytes)));
    for damage in &found.damaged {
        text::say(&format!("  {damage}"));
    }
    if let Some(Healed { blobs, packs, links, links_failed }) = &found.healed {
        text::say(&format!(
            "  {blobs} blobs are whole again, {packs} packs were written anew; links run: {}",
            if links.is_empty() { "none".to_owned() } else { links.join(", ") }
        ));
        for failed in links_failed {
            text::say(&format!("  {failed}"));
        }
    }
    if let Some(deep) = &found.deep {
        text::say(&format!(
            "  {} logs with {} ops, {} entries of the index, {} versions in {} feeds worked out anew: {} wrong",
            deep.logs, deep.ops, deep.index_entries, deep.versions, deep.feeds, deep.wrong
        ));
        for named in &deep.named {
            text::say(&format!("    {named}; it was put right"));
        }
        if let Some(why) = &deep.index_left_out {
            text::say(&format!("    the index was not compared: {why}"));
        }
    }
    let Damage { places, blobs, logs, versions } = &found.open;
    if found.open.is_nothing() {
        return;
    }
    text::say(&format!("  left to mend: {places} damaged places, {blobs} blobs, {logs} logs"));
    for version in versions {
        text::say(&format!("    {version}"));
    }
    text::say("  packetboat verify --heal fetches it from sites that have it; packetboat doctor tells more");
}
