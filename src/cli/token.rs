//! Tokens of package clients.

use clap::Subcommand;

use super::{Context, text};
use crate::api;
use crate::api::path::segment;

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token and print it. It is shown this once.
    #[command(after_help = "Example:\n  packetboat token create --feed tools --write --label ci")]
    Create {
        /// What it is for, for people.
        #[arg(long, default_value = "")]
        label: String,
        /// The feeds it is good for; all if not given.
        #[arg(long = "feed", value_delimiter = ',')]
        feeds: Vec<String>,
        /// May publish and delete, not only read.
        #[arg(long)]
        write: bool,
        /// May use the whole API over TCP.
        #[arg(long)]
        admin: bool,
    },
    /// All tokens, without their secrets.
    List,
    /// Withdraw a token.
    Revoke {
        /// As `packetboat token list` shows it.
        id: String,
    },
}

pub(super) async fn token(context: &Context, command: TokenCommand) -> anyhow::Result<()> {
    let client = context.client();
    match command {
        TokenCommand::Create { label, feeds, write, admin } => {
            let new = api::NewToken { label, feeds, write, admin };
            let made = client.post::<api::TokenMade>("/api/v1/tokens", &new).await?;
            if context.json {
                return text::say_json(&made);
            }
            text::say(&made.body.token);
            text::say_error(
                "It is shown this once. Clients give it as the password of HTTP Basic, or as Bearer.",
            );
        }
        TokenCommand::List => {
            let tokens = client.get::<api::Tokens>("/api/v1/tokens").await?;
            if context.json {
                return text::say_json(&tokens);
            }
            let row = |token: &api::Token| {
                let feeds = if token.feeds.is_empty() { "all".to_owned() } else { token.feeds.join(",") };
                let rights = match (token.admin, token.write) {
                    (true, _) => "admin",
                    (false, true) => "read and write",
                    (false, false) => "read",
                };
                vec![
                    token.id.clone(),
                    token.label.clone(),
                    feeds,
                    rights.to_owned(),
                    text::ago(token.created_ms),
                ]
            };
            let rows: Vec<_> = tokens.body.tokens.iter().map(row).collect();
            text::table_or(
                "no tokens: `packetboat token create` makes one",
                &["ID", "LABEL", "FEEDS", "RIGHTS", "MADE"],
                &rows,
            );
        }
        TokenCommand::Revoke { id } => {
            client.delete(&format!("/api/v1/tokens/{}", segment(&id))).await?;
            let object = serde_json::json!({ "schema": "packetboat.token-revoked/1", "id": id });
            text::say_either(context.json, &object, &format!("token {id} is withdrawn"));
        }
    }
    Ok(())
}
