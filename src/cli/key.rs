//! Keys: this site's own, and those of other sites that it lets in no more.

use clap::Subcommand;

use super::{Context, text};
use crate::api::keys::{Keys, Revoked, RevokedKey, RotateRequest, Rotated};
use crate::api::path::segment;
use crate::api::ruling::RevokeRequest;

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// This site's key, and those it revoked.
    List,
    /// Give this site a new key; no peer has to be paired with again
    ///
    /// It signs from now on. Linked sites hear of it when they next connect, within two minutes where
    /// they are connected, and are shown it once all have; until then the older key is kept. Rights, links and the site's id stay.
    /// Back this site up anew, and the linked ones: one that is restored from before it heard of the key has to be paired with again.
    #[command(verbatim_doc_comment)]
    #[command(after_help = "Example:\n  packetboat key rotate")]
    Rotate {
        /// Show the new key now, and delete the older one. Who has not heard of it must be paired with again.
        #[arg(long)]
        at_once: bool,
        /// Leave out for good what this site may have said before it was restored, set back or damaged, and has not been told.
        #[arg(long)]
        accept_loss: bool,
    },
    /// Let a site's key in no more: it was stolen, or the site is gone
    ///
    /// Its sessions end at once, its links are removed, no ticket admits it, and its rights are taken
    /// back in every feed where this site may. What it said counts as far as the feed's origin has
    /// sealed it; the rest waits. Every site that is linked with the key has to revoke it.
    #[command(verbatim_doc_comment)]
    #[command(after_help = "Example:\n  packetboat key revoke tokyo --reason \"the machine was stolen\"")]
    Revoke {
        /// The site's id, all 64 digits of it, or the name of the link with it.
        site: String,
        /// Told with the revoke, to every site of the feeds.
        #[arg(long, default_value = "")]
        reason: String,
        /// What it said counts as far as this site holds it.
        #[arg(long)]
        accept_all: bool,
    },
    /// Let a revoked key be paired with again. Links and rights do not come back by themselves
    ///
    /// By which newer keys the site was known here is forgotten: where a thief of an older key was taken for the site, revoke it,
    /// readmit it, and pair with the site itself.
    #[command(verbatim_doc_comment)]
    Readmit {
        /// The site's id, all 64 digits of it, as `packetboat key list` shows it.
        site: String,
    },
}

fn times(number: u64) -> String {
    match number {
        1 => "first".to_owned(),
        2 => "second".to_owned(),
        3 => "third".to_owned(),
        _ => format!("{number}th"),
    }
}

fn listed(feeds: &[String]) -> String {
    if feeds.is_empty() { "none".to_owned() } else { feeds.join(", ") }
}

pub(super) async fn key(context: &Context, command: KeyCommand) -> anyhow::Result<()> {
    let client = context.client();
    match command {
        KeyCommand::List => {
            let keys = client.get::<Keys>("/api/v1/keys").await?;
            if context.json {
                return text::say_json(&keys);
            }
            let Keys { site, own, .. } = &keys.body;
            text::say(&format!("this site: {site}"));
            if own.number > 0 {
                text::say(&format!("its key:   {}, the {} after its first", own.key, times(own.number)));
            }
            if !own.shown {
                text::say(&format!(
                    "not shown yet: {} are not known to have heard of it",
                    listed(&own.waiting)
                ));
            }
            let row = |key: &RevokedKey| {
                vec![key.site.clone(), key.site_name.clone(), text::ago(key.revoked_ms), key.reason.clone()]
            };
            let rows: Vec<_> = keys.body.revoked.iter().map(row).collect();
            text::table_or("no key was revoked here", &["REVOKED", "NAME", "WHEN", "REASON"], &rows);
        }
        KeyCommand::Rotate { at_once, accept_loss } => {
            return rotate(context, RotateRequest { at_once, accept_loss }).await;
        }
        KeyCommand::Revoke { site, reason, accept_all } => {
            let asked = RevokeRequest { site, reason, accept_all };
            let revoked = client.post::<Revoked>("/api/v1/keys/revoked", &asked).await?;
            if context.json {
                return text::say_json(&revoked);
            }
            let Revoked { key, links, feeds, feeds_left } = revoked.body;
            text::say(&format!("the key of {} is let in no more", key.site_name));
            text::say(&format!("  links removed: {}", listed(&links)));
            text::say(&format!("  rights taken back in: {}", listed(&feeds)));
            if !feeds_left.is_empty() {
                text::say(&format!(
                    "  it may still write in {}: their origins have to take that back",
                    listed(&feeds_left)
                ));
            }
        }
        KeyCommand::Readmit { site } => {
            let path = format!("/api/v1/keys/revoked/{}", segment(&site));
            let key = client.delete_for::<RevokedKey>(&path).await?;
            let told = format!("the key of {} may be paired with again", key.body.site_name);
            if context.json {
                return text::say_json(&key);
            }
            text::say(&told);
        }
    }
    Ok(())
}

async fn rotate(context: &Context, asked: RotateRequest) -> anyhow::Result<()> {
    let rotated = context.client().post::<Rotated>("/api/v1/keys/rotation", &asked).await?;
    if context.json {
        return text::say_json(&rotated);
    }
    let Rotated { key, waiting, .. } = &rotated.body;
    text::say(&format!("this site signs with the key {key}"));
    if waiting.is_empty() {
        text::say("  other sites are shown it, and the older key is deleted");
    } else {
        text::say(&format!(
            "  it is shown once these have heard of it, within two minutes where they are connected: {}",
            listed(waiting)
        ));
    }
    text::say("  backups made before hold the older key, with which no site lets this one in: make one now");
    Ok(())
}
