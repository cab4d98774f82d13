//! Commands that are the node, or work on a data folder without one.

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::{Context, Usage, logs, text};
use crate::api::{self, Schema};
use crate::config::{Config, ConfigError, Flags};
use crate::node;

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// UDP address for other sites [default: 0.0.0.0:7440]
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<String>,
    /// TCP address for package clients [default: 127.0.0.1:7480]
    #[arg(long, value_name = "IP:PORT")]
    http: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Read the settings, say where each comes from, and what is wrong with them.
    Check,
}

pub(super) async fn demo(context: &Context, exit: bool) -> anyhow::Result<()> {
    let json = context.json;
    let mut lines = Vec::new();
    let mut say = |line: &str| if json { lines.push(line.to_owned()) } else { text::say(line) };
    // One object has to be whole before it is printed: with --json there is nobody to look around.
    crate::demo::run(exit || json, &mut say).await.context("the demonstration ended early")?;
    if json {
        text::say(&serde_json::json!({ "schema": "packetboat.demo/1", "lines": lines }).to_string());
    }
    Ok(())
}

pub(super) fn init(context: &Context, name: Option<&str>) -> anyhow::Result<()> {
    let site =
        node::init(&context.data, name).with_context(|| format!("cannot make {}", context.data.display()))?;
    if context.json {
        let site = api::Site {
            id: site.to_string(),
            name: name.map_or_else(|| site.short(), ToOwned::to_owned),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            listen: String::new(),
            http: String::new(),
            started_ms: 0,
        };
        return text::say_json(&site.answer());
    }
    text::say(&format!("site {site}"));
    text::say(&format!("its data is in {}; next: {}", context.data.display(), context.serve_command()));
    Ok(())
}

fn settings(context: &Context, flags: &Flags) -> anyhow::Result<Config> {
    Config::load(&context.data, flags).map_err(|error| match error {
        // What a person typed is the person's to mend.
        ConfigError::Address { .. }
        | ConfigError::Name { .. }
        | ConfigError::Log { .. }
        | ConfigError::Keeping { .. } => Usage(error.to_string()).into(),
        ConfigError::Read { .. }
        | ConfigError::Write { .. }
        | ConfigError::Syntax { .. }
        | ConfigError::UnknownKey { .. }
        | ConfigError::NotText { .. } => anyhow::Error::new(error),
    })
}

pub(super) async fn serve(context: &Context, serve: Serve, level: &str) -> anyhow::Result<()> {
    let flags = Flags { listen: serve.listen, http: serve.http, ..Flags::default() };
    let config = settings(context, &flags)?;
    logs(if level == "warn" { &config.log } else { level });
    let json = context.json;
    let ready = move |site: &api::Site| {
        if json {
            if let Err(error) = text::say_json(&site.clone().answer()) {
                text::warn(&format!("{error}"));
            }
        } else {
            text::say(&format!("{} is up: site {}", site.name, site.id));
            text::say(&format!("links on UDP {}, packages on http://{}", site.listen, site.http));
        }
    };
    node::serve(&context.data, config, ready).await.context("the node ended")
}

pub(super) fn config(context: &Context, command: &ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check => {
            let (_, settings) = Config::explained(&context.data, &Flags::default())?;
            if context.json {
                let object: serde_json::Map<String, serde_json::Value> = settings
                    .iter()
                    .map(|(key, value, origin)| {
                        let told = serde_json::json!({ "value": value, "origin": origin.to_string() });
                        (key.as_str().to_owned(), told)
                    })
                    .collect();
                text::say(
                    &serde_json::json!({ "schema": "packetboat.config/1", "settings": object }).to_string(),
                );
                return Ok(());
            }
            let rows: Vec<Vec<String>> = settings
                .into_iter()
                .map(|(key, value, origin)| vec![key.as_str().to_owned(), value, origin.to_string()])
                .collect();
            text::table(&["SETTING", "VALUE", "FROM"], &rows);
            Ok(())
        }
    }
}
