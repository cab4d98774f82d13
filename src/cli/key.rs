//! Keys: this site's own, and those of other sites that it lets in no more.

use clap::Subcommand;

use super::{Context, text};
use crate::api::keys::{Keys, Revoked, RevokedKey};
use crate::api::path::segment;
use crate::api::ruling::RevokeRequest;

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// This site's key, and those it revoked.
    List,
    /// Let a site's key in no more: it was stolen, or the site is gone
    ///
    /// Its sessions end at once, its links are removed, no ticket admits it, and its rights are taken
    /// back in every feed where this site may. What it said counts as far as the feed's origin has
    /// sealed it; the rest waits. Every site that is linked with the key has to revoke it.
    #[command(verbatim_doc_comment)]
    #[command(after_help = "Example:\n  packetboat key revoke tokyo --reason \"the machine was stolen\"")]
    Revoke {
        /// The site's id, or the name of the link with it.
        site: String,
        /// Told with the revoke, to every site of the feeds.
        #[arg(long, default_value = "")]
        reason: String,
        /// What it said counts as far as this site holds it.
        #[arg(long)]
        accept_all: bool,
    },
    /// Let a revoked key be paired with again. Links and rights do not come back by themselves.
    Readmit {
        /// The site's id, as `packetboat key list` shows it.
        site: String,
    },
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
            text::say(&format!("this site: {}", keys.body.site));
            let row = |key: &RevokedKey| {
                vec![key.site.clone(), key.site_name.clone(), text::ago(key.revoked_ms), key.reason.clone()]
            };
            let rows: Vec<_> = keys.body.revoked.iter().map(row).collect();
            text::table_or("no key was revoked here", &["REVOKED", "NAME", "WHEN", "REASON"], &rows);
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
