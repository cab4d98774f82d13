//! Rights, blocks, offers, tags, clashes, promotion.

use clap::{Args, Subcommand};
use protocol::time::Timestamp;

use super::{Context, Ends, Usage, duration_ms, text};
use crate::api::path::segment;
use crate::api::{self, Answer, ruling};

/// One version of a feed.
#[derive(Debug, Args)]
pub(super) struct At {
    /// The feed's name.
    pub(super) feed: String,
    /// The package's name.
    pub(super) name: String,
    /// The version.
    pub(super) version: String,
}

#[derive(Debug, Subcommand)]
pub(super) enum RightsCommand {
    /// Who may write in a feed.
    List {
        /// The feed's name.
        feed: String,
    },
    /// Let a site write in a feed
    ///
    /// Only the feed's origin, and sites with the right `admin`, can.
    #[command(verbatim_doc_comment)]
    #[command(
        after_help = "Example:\n  packetboat rights grant tools tokyo --right publish --right delete-own --prefix tokyo-"
    )]
    Grant(GrantArgs),
    /// Take a site's rights back
    ///
    /// What it said counts as far as the feed's seals reach. What it said after that waits at
    /// every site, and counts again only if rights are given anew. What it says once it has heard
    /// of this stays there for good.
    #[command(verbatim_doc_comment)]
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
pub(super) struct GrantArgs {
    /// The feed's name.
    feed: String,
    /// A link's name or a site's id.
    site: String,
    /// publish, delete-own, delete-wide, block, admin; may be given several times.
    #[arg(long = "right", required = true)]
    rights: Vec<String>,
    /// Only packages whose names begin with this.
    #[arg(long, default_value = "")]
    prefix: String,
    /// For so long, such as 90d.
    #[arg(long)]
    expires: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    /// The feed's name.
    feed: String,
    /// A link's name or a site's id.
    site: String,
    /// Why, for whoever asks later.
    #[arg(long, default_value = "")]
    reason: String,
    /// Count everything of it that is here, not only what is sealed.
    #[arg(long)]
    accept_all: bool,
}

#[derive(Debug, Args)]
pub(super) struct Block {
    /// The feed's name.
    feed: String,
    /// The package's name.
    #[arg(requires = "version", conflicts_with = "blob")]
    name: Option<String>,
    /// The version.
    version: Option<String>,
    /// Bytes, by their blake3, instead of a version.
    #[arg(long)]
    blob: Option<String>,
    /// Why, for whoever asks later.
    #[arg(long, default_value = "")]
    reason: String,
}

#[derive(Debug, Args)]
pub(super) struct Unblock {
    /// The feed's name.
    feed: String,
    /// The op of the block, as `blocks` and `why` print it.
    op: String,
    /// Why, for whoever asks later.
    #[arg(long, default_value = "")]
    reason: String,
}

#[derive(Debug, Args)]
pub(super) struct Offer {
    #[command(flatten)]
    at: At,
    /// listed, unlisted, yanked or deprecated.
    offer: String,
    /// Why, for yanked and deprecated.
    #[arg(long, default_value = "")]
    text: String,
}

#[derive(Debug, Subcommand)]
pub(super) enum TagCommand {
    /// Point a tag of a package at a version.
    Set {
        /// The feed's name.
        feed: String,
        /// The package's name.
        package: String,
        /// The tag's name, such as latest.
        tag: String,
        /// The version.
        version: String,
    },
    /// Take a tag away.
    Remove {
        /// The feed's name.
        feed: String,
        /// The package's name.
        package: String,
        /// The tag's name.
        tag: String,
    },
    /// All tags of a package.
    List {
        /// The feed's name.
        feed: String,
        /// The package's name.
        package: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Resolve {
    #[command(flatten)]
    at: At,
    /// The op of the build to serve, or its beginning, as `conflicts` prints it.
    #[arg(long)]
    winner: String,
}

#[derive(Debug, Args)]
pub(super) struct Promote {
    #[command(flatten)]
    at: At,
    /// The feed it goes to.
    #[arg(long)]
    to: String,
}

fn path(feed: &str, rest: &str) -> String {
    format!("/api/v1/feeds/{}/{rest}", segment(feed))
}

/// Tells what was said, and whether it counts elsewhere.
fn tell(context: &Context, said: &Answer<ruling::Said>, what: &str) -> anyhow::Result<()> {
    if context.json {
        return text::say_json(said);
    }
    let reach =
        if said.body.local { "at this site only: it has no such right in the feed" } else { "everywhere" };
    text::say(&format!("{what} {reach} (op {})", said.body.op));
    Ok(())
}

pub(super) async fn rights(context: &Context, command: RightsCommand) -> anyhow::Result<()> {
    let client = context.client();
    match command {
        RightsCommand::List { feed } => {
            let rights = client.get::<ruling::Rights>(&path(&feed, "rights")).await?;
            if context.json {
                return text::say_json(&rights);
            }
            rights_table(&rights.body);
        }
        RightsCommand::Grant(args) => {
            let expires = args.expires.as_deref().map(duration_ms).transpose().map_err(Usage)?;
            let now = crate::keeper::wall_clock();
            let asked = ruling::GrantRequest {
                site: args.site,
                rights: args.rights,
                prefix: args.prefix,
                expires_ms: expires.map(|ms| Timestamp(now.0.saturating_add(ms)).0),
            };
            let said = client.post::<ruling::Said>(&path(&args.feed, "grants"), &asked).await?;
            tell(context, &said, "granted")?;
        }
        RightsCommand::Revoke(args) => {
            let asked =
                ruling::RevokeRequest { site: args.site, reason: args.reason, accept_all: args.accept_all };
            let said = client.post::<ruling::Said>(&path(&args.feed, "revokes"), &asked).await?;
            tell(context, &said, "taken back")?;
        }
    }
    Ok(())
}

fn rights_table(rights: &ruling::Rights) {
    text::say(&format!("origin {}: everything", rights.origin));
    if let Some(second) = &rights.second_origin {
        text::say(&format!("second origin {second}: everything"));
    }
    let row = |right: &ruling::Right| {
        vec![
            if right.label.is_empty() { right.site.chars().take(8).collect() } else { right.label.clone() },
            right.rights.join(", "),
            if right.prefix.is_empty() { "all packages".to_owned() } else { format!("{}*", right.prefix) },
            right.expires_ms.map_or_else(|| "never".to_owned(), text::ago),
            if right.revoked { "taken back" } else { "" }.to_owned(),
        ]
    };
    text::table_or(
        "no other site may write here",
        &["SITE", "RIGHTS", "PACKAGES", "EXPIRES", ""],
        &rights.grants.iter().map(row).collect::<Vec<_>>(),
    );
}

pub(super) async fn block(context: &Context, block: Block) -> anyhow::Result<()> {
    let Block { feed, name, version, blob, reason } = block;
    let asked = ruling::BlockRequest { name, version, blob, reason };
    let said = context.client().post::<ruling::Said>(&path(&feed, "blocks"), &asked).await?;
    tell(context, &said, "blocked")
}

pub(super) async fn unblock(context: &Context, unblock: Unblock) -> anyhow::Result<()> {
    let asked = ruling::UnblockRequest { reason: unblock.reason };
    let lift = path(&unblock.feed, &format!("blocks/{}/lift", segment(&unblock.op)));
    let said = context.client().post::<ruling::Said>(&lift, &asked).await?;
    tell(context, &said, "lifted")
}

pub(super) async fn blocks(context: &Context, feed: &str) -> anyhow::Result<()> {
    let blocks = context.client().get::<ruling::Blocks>(&path(feed, "blocks")).await?;
    if context.json {
        return text::say_json(&blocks);
    }
    let row = |block: &ruling::Block| {
        vec![
            block.target.clone(),
            if block.stands { "stands" } else { "lifted, or not allowed" }.to_owned(),
            text::ago(block.stamp_ms),
            block.author.chars().take(8).collect(),
            block.op.clone(),
            block.reason.clone(),
        ]
    };
    let rows: Vec<_> = blocks.body.blocks.iter().map(row).collect();
    text::table_or("nothing is blocked", &["BLOCKED", "STATE", "SINCE", "BY", "OP", "REASON"], &rows);
    Ok(())
}

pub(super) async fn offer(context: &Context, offer: Offer) -> anyhow::Result<()> {
    let Offer { at: At { feed, name, version }, offer, text } = offer;
    let what = format!("{name}@{version} is {offer}");
    let asked = ruling::OfferRequest { name, version, offer, text };
    let said = context.client().put::<ruling::Said>(&path(&feed, "offers"), &asked).await?;
    tell(context, &said, &what)
}

pub(super) async fn tag(context: &Context, command: TagCommand) -> anyhow::Result<()> {
    let client = context.client();
    let (feed, asked) = match command {
        TagCommand::List { feed, package } => {
            let refs = client
                .get::<ruling::References>(&path(&feed, &format!("refs/{}", segment(&package))))
                .await?;
            if context.json {
                return text::say_json(&refs);
            }
            let row = |one: &ruling::Reference| {
                let reach = if one.local { "here only" } else { "" };
                vec![one.name.clone(), one.target.clone(), text::ago(one.set_ms), reach.to_owned()]
            };
            let rows: Vec<_> = refs.body.refs.iter().map(row).collect();
            text::table_or("no tags", &["TAG", "VERSION", "SET", ""], &rows);
            return Ok(());
        }
        TagCommand::Set { feed, package, tag, version } => {
            (feed, ruling::PointRequest { package, name: tag, version: Some(version) })
        }
        TagCommand::Remove { feed, package, tag } => {
            (feed, ruling::PointRequest { package, name: tag, version: None })
        }
    };
    let said = client.put::<ruling::Said>(&path(&feed, "refs"), &asked).await?;
    tell(context, &said, if asked.version.is_some() { "set" } else { "taken away" })
}

pub(super) async fn conflicts(context: &Context, feed: Option<&str>) -> anyhow::Result<()> {
    let query = feed.map_or_else(String::new, |feed| format!("?feed={}", segment(feed)));
    let found = context.client().get::<ruling::Conflicts>(&format!("/api/v1/conflicts{query}")).await?;
    let open = found.body.open;
    if context.json {
        text::say_json(&found)?;
    } else if found.body.conflicts.is_empty() {
        text::say("no clashes");
    } else {
        for conflict in &found.body.conflicts {
            let state = if conflict.resolved { "resolved" } else { "open" };
            text::say(&format!("{}/{}@{}: {state}", conflict.feed, conflict.name, conflict.version));
            for build in &conflict.builds {
                let who = build.author_name.clone().unwrap_or_else(|| build.author.chars().take(8).collect());
                let served =
                    if build.served { format!("served: {}", conflict.because) } else { String::new() };
                text::say(&format!(
                    "  {}  {} by {who}, {}  {served}",
                    build.op.chars().take(16).collect::<String>(),
                    text::ago(build.published_ms),
                    text::size(build.size),
                ));
            }
        }
        text::say("choose with: packetboat resolve FEED NAME VERSION --winner OP");
    }
    if open > 0 { Err(Ends(4).into()) } else { Ok(()) }
}

pub(super) async fn resolve(context: &Context, resolve: Resolve) -> anyhow::Result<()> {
    let Resolve { at: At { feed, name, version }, winner } = resolve;
    let asked = ruling::ResolveRequest { name, version, winner };
    let said = context.client().post::<ruling::Said>(&path(&feed, "resolve"), &asked).await?;
    tell(context, &said, "resolved")
}

pub(super) async fn promote(context: &Context, promote: Promote) -> anyhow::Result<()> {
    let Promote { at: At { feed, name, version }, to } = promote;
    let asked = ruling::PromoteRequest { name, version, to };
    let package = context.client().post::<api::Package>(&path(&feed, "promote"), &asked).await?;
    if context.json {
        return text::say_json(&package);
    }
    let promoted = &package.body;
    text::say(&format!("{}@{} of {feed} is published in {}", promoted.name, promoted.version, promoted.feed));
    Ok(())
}

pub(super) async fn revert_local(context: &Context, at: At) -> anyhow::Result<()> {
    let asked = ruling::Version { name: at.name, version: at.version };
    let said = context.client().post::<ruling::Said>(&path(&at.feed, "revert-local"), &asked).await?;
    tell(context, &said, "taken back")
}
