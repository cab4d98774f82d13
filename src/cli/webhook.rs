//! Webhooks: URLs that this site tells its events to.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use zeroize::Zeroizing;

use super::{Context, text};
use crate::api::path::segment;
use crate::api::webhooks::{Made, NewWebhook, Tested, Webhook, Webhooks};

#[derive(Debug, Subcommand)]
pub(super) enum WebhookCommand {
    /// Tell events to a URL from now on. Prints the secret that signs them, this once.
    #[command(
        after_help = "Examples:\n  packetboat webhook add https://chat.example.com/hook --events run-failed,hold-opened\n  packetboat webhook add http://127.0.0.1:9000/ --feed tools"
    )]
    Add {
        /// Where to. Plain http only to this machine or a private network.
        url: String,
        /// Only these kinds, such as run-failed; all if not given.
        #[arg(long, value_delimiter = ',')]
        events: Vec<String>,
        /// Only what is about this feed, by its name here: after a rename or a merge, what is about the one that is called so then.
        #[arg(long)]
        feed: Option<String>,
        /// Sign with the secret in this file (whsec_…) rather than one that is made.
        #[arg(long, value_name = "F")]
        secret_file: Option<PathBuf>,
        /// Allow plain http anywhere. Everybody on the way can read the events.
        #[arg(long)]
        plain_http: bool,
    },
    /// All webhooks and how their deliveries stand, without their secrets.
    List,
    /// Stop telling events to a URL, at once, and forget its secret.
    Remove {
        /// As `packetboat webhook list` shows it.
        id: String,
    },
    /// Send a message of kind webhook-test now, once; exit code 5 where the receiver is not reached.
    Test {
        /// As `packetboat webhook list` shows it.
        id: String,
    },
}

/// A line about a webhook that does not deliver.
pub(super) fn trouble(webhook: &Webhook) -> Option<String> {
    let error = webhook.error.as_deref().unwrap_or("its last attempts failed");
    match webhook.failing_since_ms {
        Some(since) => {
            Some(format!("webhook {} has been failing since {}: {error}", webhook.id, text::ago(since)))
        }
        None => webhook.error.as_ref().map(|error| format!("webhook {} is retried: {error}", webhook.id)),
    }
}

fn row(webhook: &Webhook) -> Vec<String> {
    let events = if webhook.events.is_empty() { "all".to_owned() } else { webhook.events.join(",") };
    let feed = webhook.feed.clone().unwrap_or_else(|| "any".to_owned());
    let last = webhook.delivered_ms.map_or_else(|| "never".to_owned(), text::ago);
    vec![
        webhook.id.clone(),
        webhook.state.clone(),
        webhook.waiting.to_string(),
        webhook.given_up.saturating_add(webhook.lost).to_string(),
        last,
        events,
        feed,
        webhook.url.clone(),
    ]
}

pub(super) async fn webhook(context: &Context, command: WebhookCommand) -> anyhow::Result<()> {
    let client = context.client();
    match command {
        WebhookCommand::Add { url, events, feed, secret_file, plain_http } => {
            let secret = match &secret_file {
                None => None,
                Some(file) => Some(
                    std::fs::read_to_string(file)
                        .with_context(|| format!("cannot read {}", file.display()))?,
                ),
            };
            let new = NewWebhook { url, events, feed, secret, plain_http };
            let made = client.post::<Made>("/api/v1/webhooks", &new).await?;
            if context.json {
                return text::say_json(&made);
            }
            let Made { secret, webhook } = made.body;
            text::say_error(&format!("webhook {} tells events from now on", webhook.id));
            if let Some(secret) = secret.map(Zeroizing::new) {
                text::say(&secret);
                text::say_error("It is shown this once. The receiver checks the signature with it.");
            }
        }
        WebhookCommand::List => {
            let webhooks = client.get::<Webhooks>("/api/v1/webhooks").await?;
            if context.json {
                return text::say_json(&webhooks);
            }
            let rows: Vec<_> = webhooks.body.webhooks.iter().map(row).collect();
            let titles = ["ID", "STATE", "WAITING", "MISSED", "LAST", "EVENTS", "FEED", "URL"];
            text::table_or("no webhooks: `packetboat webhook add` makes one", &titles, &rows);
            for line in webhooks.body.webhooks.iter().filter_map(trouble) {
                text::say(&line);
            }
        }
        WebhookCommand::Remove { id } => {
            client.delete(&format!("/api/v1/webhooks/{}", segment(&id))).await?;
            let object = serde_json::json!({ "schema": "packetboat.webhook-removed/1", "id": id });
            text::say_either(context.json, &object, &format!("webhook {id} is removed"));
        }
        WebhookCommand::Test { id } => {
            let path = format!("/api/v1/webhooks/{}/test", segment(&id));
            let tested = client.post::<Tested>(&path, &serde_json::json!({})).await?;
            if context.json {
                return text::say_json(&tested);
            }
            let Tested { status, took_ms, .. } = tested.body;
            text::say(&format!("the receiver answered {status} after {}", text::span(took_ms)));
        }
    }
    Ok(())
}
