//! Pairing: tickets made, accepted and listed.

use clap::Subcommand;

use super::{Context, duration_ms, mapping, plan, text};
use crate::api;
use crate::api::path::segment;
use crate::keeper::wall_clock;

#[derive(Debug, Subcommand)]
pub(super) enum PairCommand {
    /// Print a ticket that lets one other site join, once.
    #[command(
        after_help = "Examples:\n  packetboat pair invite --feed tools --peer-may pull\n  packetboat pair invite --feed tools,docs --peer-may mirror --expires 1h --address ny.example:7440"
    )]
    Invite {
        /// The feeds it offers; `*`: all there are, and those that come later.
        #[arg(long = "feed", required = true, value_delimiter = ',')]
        feeds: Vec<String>,
        /// What the joiner may do: mirror, pull, push, or a list of in.add, in.delete, out.add, out.delete.
        #[arg(long)]
        peer_may: String,
        /// How long it is valid.
        #[arg(long, default_value = "24h", value_parser = duration_ms)]
        expires: u64,
        /// How long the joiner may do it, from when it joins; without end if not given.
        #[arg(long, value_parser = duration_ms)]
        grant_expires: Option<u64>,
        /// HOST:PORT by which the joiner reaches this site (UDP); may be given several times.
        #[arg(long = "address")]
        addresses: Vec<String>,
        /// Only say what would be offered.
        #[arg(long)]
        dry_run: bool,
    },
    /// Join another site by its ticket.
    #[command(after_help = "Example:\n  packetboat pair accept pb1… --every 15m")]
    Accept {
        /// What `packetboat pair invite` printed at the other site.
        ticket: String,
        /// What this site asks: mirror, pull, push. All that is offered if not given.
        #[arg(long)]
        mode: Option<String>,
        /// Another name here for a feed: REMOTE=LOCAL.
        #[arg(long = "feed", value_parser = mapping)]
        feeds: Vec<(String, String)>,
        /// This site's name for the link.
        #[arg(long)]
        name: Option<String>,
        /// Run by itself this often.
        #[arg(long, value_parser = duration_ms)]
        every: Option<u64>,
        /// Whose bytes come along: parts of name=PATTERN|PATTERN, latest=N, size=100MB, age=90d.
        #[arg(long)]
        filter: Option<String>,
        /// Where a feed's name is that of another one here: bring what that one serves into it.
        #[arg(long)]
        merge: bool,
    },
    /// Tickets made here, and who used them.
    List,
    /// Withdraw a ticket that nobody has used.
    Revoke {
        /// The ticket's name as `packetboat pair list` shows it, or the beginning of it, or `all-open`.
        ticket: String,
    },
}

pub(super) async fn pair(context: &Context, command: PairCommand) -> anyhow::Result<()> {
    let client = context.client();
    match command {
        PairCommand::Invite { feeds, peer_may, expires, grant_expires, addresses, dry_run } => {
            let expires_ms = wall_clock().0.saturating_add(expires);
            let request =
                api::InviteRequest { feeds, peer_may, expires_ms, grant_life_ms: grant_expires, addresses };
            if dry_run {
                plan::preview(context, &request).await?;
            } else {
                invite(context, request).await?;
            }
        }
        PairCommand::Accept { ticket, mode, feeds, name, every, filter, merge } => {
            let request =
                api::AcceptRequest { ticket, mode, link: name, feeds, every_ms: every, filter, merge };
            accept(context, request).await?;
        }
        PairCommand::Revoke { ticket } => {
            let path = format!("/api/v1/pair/tickets/{}", segment(&ticket));
            let withdrawn = client.delete_for::<api::Pairings>(&path).await?;
            if context.json {
                return text::say_json(&withdrawn);
            }
            let count = withdrawn.body.pairings.len();
            text::say(&format!("{count} tickets are withdrawn; links that were made by used ones stay"));
        }
        PairCommand::List => {
            let pairings = client.get::<api::Pairings>("/api/v1/pair").await?;
            if context.json {
                return text::say_json(&pairings);
            }
            let row = |pairing: &api::Pairing| {
                vec![
                    pairing.name.chars().take(12).collect(),
                    pairing.state.clone(),
                    pairing.feeds.join(","),
                    pairing.may.clone(),
                    text::ago(pairing.expires_ms),
                    pairing.site_name.clone().unwrap_or_default(),
                ]
            };
            let rows: Vec<_> = pairings.body.pairings.iter().map(row).collect();
            text::table_or(
                "no tickets yet: `packetboat pair invite` makes one",
                &["TICKET", "STATE", "FEEDS", "JOINER MAY", "EXPIRES", "USED BY"],
                &rows,
            );
        }
    }
    Ok(())
}

async fn accept(context: &Context, request: api::AcceptRequest) -> anyhow::Result<()> {
    let client = context.client();
    let asked = serde_json::json!({ "ticket": request.ticket });
    let preview = client.post::<api::TicketPreview>("/api/v1/pair/inspect", &asked).await?.body;
    let link = client.post::<api::Link>("/api/v1/pair/accept", &request).await?;
    if context.json {
        return text::say_json(&link);
    }
    for feed in &preview.feeds {
        text::say(&feed.sentence);
    }
    let link = link.body;
    text::say(&format!(
        "joined {} by link {}. Both sites show the words: {}",
        link.peer_name, link.name, link.check_words
    ));
    text::say(&match link.every_ms {
        Some(every) => {
            format!("it runs every {}; to run it now: packetboat sync {}", text::span(every), link.name)
        }
        None if link.live => format!(
            "it runs in a few seconds and whenever there is news; to run it now: packetboat sync {}",
            link.name
        ),
        None => format!(
            "it runs when told: packetboat sync {0}, or packetboat link set {0} --every 15m",
            link.name
        ),
    });
    Ok(())
}

async fn invite(context: &Context, request: api::InviteRequest) -> anyhow::Result<()> {
    let invite = context.client().post::<api::Invite>("/api/v1/pair/invite", &request).await?;
    if context.json {
        return text::say_json(&invite);
    }
    text::say(&invite.body.ticket);
    for feed in &invite.body.preview.feeds {
        text::say_error(&feed.sentence);
    }
    text::say_error(&format!(
        "One site may use this ticket once. It expires {} and leads to {} (UDP). There: packetboat pair accept TICKET",
        text::ago(invite.body.preview.expires_ms),
        invite.body.preview.addresses.join(" or ")
    ));
    if invite
        .body
        .preview
        .addresses
        .iter()
        .all(|address| address.starts_with("127.") || address.starts_with("[::1]"))
    {
        text::say_error(
            "Only this machine reaches that address. For another one: --address HOST:PORT, by which it reaches this site",
        );
    }
    Ok(())
}
