//! Backups: made, read again, restored; and writing again after that.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::{Context, Ends, Told, text};
use crate::api::backup as shapes;
use crate::api::writing::{ResumeRequest, Resuming};
use crate::api::{Problem, Schema};
use crate::backup::{self, ManifestError, RestoreError};
use crate::node::{self, OfflineBackupError};
use crate::store::OpenError;

#[derive(Debug, Args)]
pub(super) struct Backup {
    /// The folder; an earlier backup of this site in it is brought up to date.
    folder: PathBuf,
    /// Take the site's key along: whoever has the backup can then be this site.
    #[arg(long, conflicts_with = "check")]
    with_key: bool,
    /// Copy nothing; read the backup in the folder again, whole.
    #[arg(long)]
    check: bool,
}

#[derive(Debug, Args)]
pub(super) struct Restore {
    /// The backup's folder.
    folder: PathBuf,
    /// The site's key, where it is not in the backup.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

pub(super) async fn backup(context: &Context, asked: Backup) -> anyhow::Result<()> {
    let folder = std::path::absolute(&asked.folder)
        .with_context(|| format!("{} is no folder's name", asked.folder.display()))?;
    if asked.check { check(context, folder).await } else { make(context, &folder, asked.with_key).await }
}

async fn make(context: &Context, folder: &Path, with_key: bool) -> anyhow::Result<()> {
    let bar = text::bar("copying", Some(0));
    let step = bar.clone();
    let asked = shapes::BackupRequest { folder: folder.display().to_string(), with_key };
    let (data, request) = (context.data.clone(), asked.clone());
    let offline = tokio::task::spawn_blocking(move || {
        node::backup_offline(&data, &request, &mut |done, of| {
            step.set_length(of);
            step.set_position(done);
        })
    })
    .await?;
    let made = match offline {
        Ok(made) => made.answer(),
        // A daemon has the folder open: it copies while it serves.
        Err(OfflineBackupError::Store(OpenError::InUse { .. })) => {
            let watch = |_what: &str, done, of: Option<u64>| {
                bar.set_length(of.unwrap_or(0));
                bar.set_position(done);
            };
            context.client().watch_with::<shapes::Backup>("/api/v1/backup", &asked, watch).await?
        }
        Err(error) => return Err(anyhow::Error::new(error).context("no backup was made")),
    };
    bar.finish_and_clear();
    let body = &made.body;
    let ended = if body.damaged.is_empty() { Ok(()) } else { Err(Ends(7).into()) };
    if context.json {
        text::say_json(&made)?;
        return ended;
    }
    text::say(&format!(
        "{} files, {} in {}; {} were new",
        body.files,
        text::size(body.bytes),
        body.folder,
        text::size(body.copied_bytes)
    ));
    if !body.with_key {
        text::say(
            "the site's key is not in it: keep key/site.key of the data folder elsewhere, or use --with-key",
        );
    }
    for damage in &body.damaged {
        text::warn(damage);
    }
    if !body.damaged.is_empty() {
        text::warn(
            "this site's packs are damaged; what was backed up before can still be restored. Have it back from other sites: packetboat verify \
             --heal; or restore from this backup. Where nothing is lacking any more (packetboat doctor), back up into an empty folder",
        );
    }
    ended
}

async fn check(context: &Context, folder: PathBuf) -> anyhow::Result<()> {
    let bar = text::bar("reading", Some(0));
    let step = bar.clone();
    let read = folder.clone();
    let (manifest, damaged) = tokio::task::spawn_blocking(move || {
        backup::check(&read, &mut |done, of| {
            step.set_length(of);
            step.set_position(done);
        })
    })
    .await?
    .map_err(unread)?;
    bar.finish_and_clear();
    let checked = shapes::Checked {
        folder: folder.display().to_string(),
        site: manifest.site.clone(),
        made_ms: manifest.made_ms,
        files: manifest.files.len() as u64,
        bytes: manifest.files.iter().map(|entry| entry.bytes).sum(),
        damaged,
    };
    let sound = checked.damaged.is_empty();
    let checked = checked.answer();
    if context.json {
        text::say_json(&checked)?;
    } else {
        let body = &checked.body;
        let word = if sound { "all as it was backed up" } else { "damage found" };
        text::say(&format!(
            "{} files, {}, of {}: {word}",
            body.files,
            text::size(body.bytes),
            text::ago(body.made_ms)
        ));
        for damage in &body.damaged {
            text::say(&format!("  {damage}"));
        }
    }
    if sound { Ok(()) } else { Err(Ends(7).into()) }
}

/// Why a backup cannot be read. Damage has an exit code of its own, so that whoever checks backups by a script can tell it from the rest.
fn unread(error: ManifestError) -> anyhow::Error {
    if matches!(error, ManifestError::Damaged { .. }) { damaged(error.to_string()) } else { error.into() }
}

/// Why nothing was restored, with the exit code that `--check` has for the same damage.
fn not_restored(error: RestoreError) -> anyhow::Error {
    let found =
        matches!(error, RestoreError::Damaged { .. } | RestoreError::Manifest(ManifestError::Damaged { .. }));
    if found { damaged(error.to_string()) } else { error.into() }
}

fn damaged(detail: String) -> anyhow::Error {
    Told(Problem::new(500, "integrity", "The backup is damaged", detail)).into()
}

pub(super) async fn restore(context: &Context, asked: Restore) -> anyhow::Result<()> {
    let bar = text::bar("restoring", Some(0));
    let step = bar.clone();
    let data = context.data.clone();
    let generation = node::fresh_life()?;
    let restored = tokio::task::spawn_blocking(move || {
        backup::restore(&asked.folder, &data, asked.key.as_deref(), generation, &mut |done, of| {
            step.set_length(of);
            step.set_position(done);
        })
    })
    .await?
    .map_err(not_restored)?;
    bar.finish_and_clear();
    let told = shapes::Restored {
        data: context.data.display().to_string(),
        site: restored.manifest.site.clone(),
        name: restored.manifest.name.clone(),
        made_ms: restored.manifest.made_ms,
        bytes: restored.bytes,
    };
    if context.json {
        return text::say_json(&told.answer());
    }
    text::say(&format!("{} of {} are in {}", text::size(told.bytes), told.name, told.data));
    text::say(&format!("the backup was made {}; next: {}", text::ago(told.made_ms), context.serve_command()));
    text::say(
        "tokens, keys and links that were revoked or removed since count here again: take them away again (packetboat token list, key list, \
         link list); open tickets are void",
    );
    Ok(())
}

pub(super) async fn resume_writing(context: &Context, feed: Option<String>) -> anyhow::Result<()> {
    let resuming =
        context.client().post::<Resuming>("/api/v1/resume-writing", &ResumeRequest { feed }).await?;
    if context.json {
        return text::say_json(&resuming);
    }
    if resuming.body.resumed.is_empty() {
        text::say("this site waits in no such feed");
    }
    for one in &resuming.body.resumed {
        text::say(&format!("this site writes in {} again, in epoch {} of its log", one.feed, one.epoch));
    }
    Ok(())
}
