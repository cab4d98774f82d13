//! Feeds and versions: create, publish, delete, list, get, why.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use protocol::package::check_file_name;

use super::{Context, Name, Told, Usage, merge, text};
use crate::api::path::segment;
use crate::api::{self, Problem, ruling};

#[derive(Debug, Subcommand)]
pub(super) enum FeedCommand {
    /// Make a feed whose origin is this site.
    #[command(after_help = "Example:\n  packetboat feed create tools --kind raw")]
    Create {
        /// Its name at this site: at most 64 bytes, no slashes.
        name: String,
        /// raw, oci, npm, pypi, cargo, nuget, maven or apt.
        #[arg(long)]
        kind: protocol::package::FeedKind,
        /// Let package clients read without a token.
        #[arg(long)]
        open_reads: bool,
    },
    /// Change a feed at this site.
    #[command(after_help = "Example:\n  packetboat feed set tools --strict on")]
    Set(FeedSet),
    /// Bring a feed's contents into another feed, which takes its name too.
    #[command(after_help = "Example:\n  packetboat feed merge tools --into ny-tools --dry-run")]
    Merge(merge::Merge),
    /// All feeds of this site.
    List,
    /// One feed.
    Show(Name),
}

#[derive(Debug, Args)]
pub(super) struct FeedSet {
    /// The feed's name.
    feed: String,
    /// Another name at this site.
    #[arg(long)]
    name: Option<String>,
    /// `on`: this site takes no local changes in it, as a standby or a shop does.
    #[arg(long, value_parser = on_or_off)]
    strict: Option<bool>,
    /// `on`: a local build is served before that of a site with rights.
    #[arg(long, value_parser = on_or_off)]
    local_wins: Option<bool>,
    /// `on`: package clients read without a token.
    #[arg(long, value_parser = on_or_off)]
    open_reads: Option<bool>,
    /// Bytes of it that this site keeps at most, as 50GB; none: no bound.
    #[arg(long, value_name = "SIZE")]
    quota: Option<String>,
}

pub(super) fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" | "yes" | "true" => Ok(true),
        "off" | "no" | "false" => Ok(false),
        _ => Err(format!("{text:?} is neither on nor off")),
    }
}

#[derive(Debug, Args)]
pub(super) struct Publish {
    /// The feed's name.
    feed: String,
    /// The package's name.
    name: String,
    /// The version, as its kind of feed writes versions.
    version: String,
    /// Its files; each is called by the last part of its path.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Publish a version that was deleted.
    #[arg(long)]
    restore: bool,
}

#[derive(Debug, Args)]
pub(super) struct Delete {
    /// The feed's name.
    feed: String,
    /// The package's name.
    name: String,
    /// The version, as its kind of feed writes versions.
    version: String,
    /// Why, for whoever asks later.
    #[arg(long, default_value = "")]
    reason: String,
    /// Also where nothing is known of the version, so that it never appears. Needs the right to delete.
    #[arg(long)]
    unseen: bool,
}

#[derive(Debug, Args)]
pub(super) struct Get {
    /// The feed's name.
    feed: String,
    /// The package's name.
    name: String,
    /// The version, as its kind of feed writes versions.
    version: String,
    /// The folder to write into.
    #[arg(short, long, default_value = ".")]
    output: PathBuf,
}

pub(super) async fn feed(context: &Context, command: FeedCommand) -> anyhow::Result<()> {
    let client = context.client();
    match command {
        FeedCommand::Create { name, kind, open_reads } => {
            let new = api::NewFeed { name, kind: kind.to_string(), open_reads };
            let feed = client.post::<api::Feed>("/api/v1/feeds", &new).await?;
            if context.json {
                return text::say_json(&feed);
            }
            let name = &feed.body.name;
            text::say(&format!(
                "feed {name} of kind {} is made. Next: packetboat publish {name} NAME VERSION FILE",
                feed.body.kind
            ));
        }
        FeedCommand::Set(set) => {
            let FeedSet { feed, name, strict, local_wins, open_reads, quota } = set;
            let change = ruling::FeedChange { name, strict, local_wins, open_reads, quota };
            let path = format!("/api/v1/feeds/{}", segment(&feed));
            let feed = client.patch::<api::Feed>(&path, &change).await?;
            if context.json {
                return text::say_json(&feed);
            }
            show(&feed.body);
        }
        FeedCommand::Merge(merge) => return merge::merge(context, merge).await,
        FeedCommand::List => {
            let feeds = client.get::<api::Feeds>("/api/v1/feeds").await?;
            if context.json {
                return text::say_json(&feeds);
            }
            table(&feeds.body.feeds);
        }
        FeedCommand::Show(Name { name }) => {
            let feed = client.get::<api::Feed>(&format!("/api/v1/feeds/{}", segment(&name))).await?;
            if context.json {
                return text::say_json(&feed);
            }
            show(&feed.body);
        }
    }
    Ok(())
}

/// Feeds, a line each.
pub(super) fn table(feeds: &[api::Feed]) {
    let row = |feed: &api::Feed| {
        vec![
            feed.name.clone(),
            feed.kind.clone(),
            feed.packages.to_string(),
            publishes(feed, "here only").to_owned(),
            missing(feed.missing_blobs, feed.missing_bytes),
            feed.state_root.chars().take(12).collect(),
        ]
    };
    text::table_or(
        "no feeds yet: `packetboat feed create NAME --kind raw` makes one",
        &["FEED", "KIND", "VERSIONS", "PUBLISHES", "MISSING", "STATE"],
        &feeds.iter().map(row).collect::<Vec<_>>(),
    );
}

fn publishes(feed: &api::Feed, else_word: &'static str) -> &'static str {
    match (feed.strict, feed.may_publish) {
        (true, _) => "refused: strict",
        (false, true) => "yes",
        (false, false) => else_word,
    }
}

fn missing(blobs: u64, bytes: u64) -> String {
    if blobs == 0 { "nothing".to_owned() } else { format!("{blobs} blobs, {}", text::size(bytes)) }
}

fn quota(feed: &api::Feed) -> String {
    let Some(most) = feed.quota_bytes else { return "none".to_owned() };
    format!("{} of {}", text::size(feed.held_bytes.unwrap_or_default()), text::size(most))
}

fn show(feed: &api::Feed) {
    for (what, value) in [
        ("feed", feed.name.clone()),
        ("id", feed.id.clone()),
        ("kind", feed.kind.clone()),
        ("origin", feed.origin.clone()),
        ("versions", feed.packages.to_string()),
        ("ops", feed.ops.to_string()),
        ("missing", missing(feed.missing_blobs, feed.missing_bytes)),
        ("quota", quota(feed)),
        ("state", feed.state_root.clone()),
        ("reads", if feed.open_reads { "open" } else { "with a token" }.to_owned()),
        ("local changes", if feed.strict { "refused: strict" } else { "taken" }.to_owned()),
        ("local builds", if feed.local_wins { "served first" } else { "behind those of others" }.to_owned()),
        ("publishes here reach other sites", if feed.may_publish { "yes" } else { "no" }.to_owned()),
        ("deletes here reach other sites", if feed.may_delete { "yes" } else { "no" }.to_owned()),
    ] {
        text::say(&format!("{what:<34}{value}"));
    }
}

pub(super) async fn publish(context: &Context, publish: Publish) -> anyhow::Result<()> {
    let client = context.client();
    let mut names = BTreeSet::new();
    for path in &publish.files {
        let name = plain_name(path)?;
        check_file_name(name).map_err(|error| Usage(error.to_string()))?;
        if !names.insert(name) {
            return Err(Usage(format!("two files are called {name:?}: a version has each name once")).into());
        }
    }
    let mut files = Vec::new();
    for path in &publish.files {
        let name = plain_name(path)?;
        let file =
            tokio::fs::File::open(path).await.with_context(|| format!("cannot read {}", path.display()))?;
        let size = file.metadata().await.with_context(|| format!("cannot read {}", path.display()))?;
        if !size.is_file() {
            return Err(
                Usage(format!("{} is no file: name files, or pack a folder first", path.display())).into()
            );
        }
        let bar = text::bar(name, Some(size.len()));
        let ticking = bar.clone();
        let upload =
            client.upload::<api::Upload>("/api/v1/blobs", file, move |bytes| ticking.inc(bytes)).await?;
        bar.finish_and_clear();
        let upload = upload.body;
        files.push(api::File {
            name: name.to_owned(),
            size: upload.size,
            blake3: upload.blake3,
            sha256: upload.sha256,
        });
    }
    let new =
        api::NewPackage { name: publish.name, version: publish.version, files, restore: publish.restore };
    let path = format!("/api/v1/feeds/{}/packages", segment(&publish.feed));
    let package = client.post::<api::Package>(&path, &new).await?;
    if context.json {
        return text::say_json(&package);
    }
    let package = package.body;
    let bytes = package.files.iter().map(|file| file.size).sum();
    let home = if package.local {
        " at this site only, which has heard of no right to publish in this feed"
    } else {
        ""
    };
    text::say(&format!(
        "published {}@{} in {}: {}{home}",
        package.name,
        package.version,
        package.feed,
        text::size(bytes)
    ));
    Ok(())
}

/// The last part of a path: what the file is called inside its version.
fn plain_name(path: &Path) -> Result<&str, Usage> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.ok_or_else(|| Usage(format!("{} is no file with a plain name", path.display())))
}

fn package_path(feed: &str, name: &str, version: &str) -> String {
    format!("/api/v1/feeds/{}/packages/{}/{}", segment(feed), segment(name), segment(version))
}

pub(super) async fn delete(context: &Context, delete: Delete) -> anyhow::Result<()> {
    let path = package_path(&delete.feed, &delete.name, &delete.version);
    let path = format!("{path}?reason={}&unseen={}", segment(&delete.reason), delete.unseen);
    let deleted = context.client().delete_for::<api::Deleted>(&path).await?;
    if context.json {
        return text::say_json(&deleted);
    }
    let gone = deleted.body;
    let verb = if gone.local {
        "hidden at this site only (which has heard of no right to delete in this feed)"
    } else {
        "deleted"
    };
    text::say(&format!("{}@{} of {} is {verb}", gone.name, gone.version, gone.feed));
    Ok(())
}

pub(super) async fn list(context: &Context, feed: &str, pattern: Option<&str>) -> anyhow::Result<()> {
    let client = context.client();
    let mut all = api::Packages { feed: feed.to_owned(), packages: Vec::new(), next: None };
    loop {
        let mut path =
            format!("/api/v1/feeds/{}/packages?pattern={}", segment(feed), segment(pattern.unwrap_or("")));
        if let Some(after) = &all.next {
            path = format!("{path}&after={}", segment(after));
        }
        let page = client.get::<api::Packages>(&path).await?.body;
        all.packages.extend(page.packages);
        all.next = page.next;
        if all.next.is_none() {
            break;
        }
    }
    if context.json {
        return text::say_json(&api::Schema::answer(all));
    }
    let row = |package: &api::Package| {
        let mut state = package.state.clone();
        if package.local {
            state.push_str(", local");
        }
        if package.clashes > 0 {
            state = format!("{state}, {} other builds", package.clashes);
        }
        vec![
            package.name.clone(),
            package.version.clone(),
            state,
            text::size(package.files.iter().map(|file| file.size).sum()),
            package.published_ms.map_or_else(String::new, text::ago),
        ]
    };
    text::table_or(
        "no packages",
        &["NAME", "VERSION", "STATE", "SIZE", "PUBLISHED"],
        &all.packages.iter().map(row).collect::<Vec<_>>(),
    );
    Ok(())
}

pub(super) async fn get(context: &Context, get: Get) -> anyhow::Result<()> {
    let client = context.client();
    let package = client.get::<api::Package>(&package_path(&get.feed, &get.name, &get.version)).await?;
    if package.body.files.is_empty() {
        let detail = format!("{}@{} is {} and has no files here", get.name, get.version, package.body.state);
        return Err(Told(Problem::new(404, "not-found", "Nothing to fetch", detail)).into());
    }
    tokio::fs::create_dir_all(&get.output)
        .await
        .with_context(|| format!("cannot make {}", get.output.display()))?;
    for file in &package.body.files {
        check_file_name(&file.name)?;
        let target = get.output.join(&file.name);
        // Not by the file's name, which may be as long as a name may be.
        let part = get.output.join(format!(".{}.part", file.blake3.get(..16).unwrap_or(&file.blake3)));
        let path = format!(
            "/feeds/{}/{}/{}/{}",
            segment(&get.feed),
            segment(&get.name),
            segment(&get.version),
            segment(&file.name)
        );
        let mut out = tokio::fs::File::create(&part)
            .await
            .with_context(|| format!("cannot write {}", part.display()))?;
        let hash = client.download(&path, &mut out).await;
        let sound = hash.as_ref().is_ok_and(|hash| hash.to_string() == file.blake3);
        if !sound {
            tokio::fs::remove_file(&part)
                .await
                .with_context(|| format!("cannot remove {}", part.display()))?;
            hash?;
            let detail = format!("{} does not have the hash it was published with", file.name);
            return Err(Told(
                Problem::new(500, "integrity", "The bytes are damaged", detail)
                    .hint("run `packetboat verify`, then `packetboat sync`"),
            )
            .into());
        }
        tokio::fs::rename(&part, &target)
            .await
            .with_context(|| format!("cannot write {}", target.display()))?;
        if !context.json {
            text::say(&format!("{}  {}", target.display(), text::size(file.size)));
        }
    }
    if context.json { text::say_json(&package) } else { Ok(()) }
}

pub(super) async fn why(context: &Context, what: &str) -> anyhow::Result<()> {
    let (feed, name, version) =
        coordinate(what).ok_or_else(|| Usage(format!("{what:?} is not FEED/NAME@VERSION")))?;
    let path = format!("/api/v1/why/{}/{}/{}", segment(feed), segment(name), segment(version));
    let why = context.client().get::<api::Why>(&path).await?;
    if context.json {
        return text::say_json(&why);
    }
    let why = why.body;
    text::say(&format!("{}@{} in {} is {}: {}.", why.name, why.version, why.feed, why.state, why.because));
    if !why.ops.is_empty() {
        let row = |op: &api::WhyOp| {
            vec![
                op.kind.clone(),
                op.op.chars().take(12).collect(),
                op.author_name.clone().unwrap_or_else(|| op.author.chars().take(8).collect()),
                text::ago(op.stamp_ms),
                op.role.clone(),
                op.reason.clone().unwrap_or_default(),
            ]
        };
        text::table(
            &["OP", "ID", "BY", "WHEN", "ROLE", "REASON"],
            &why.ops.iter().map(row).collect::<Vec<_>>(),
        );
    }
    Ok(())
}

/// `FEED/NAME@VERSION`; a name may hold `/` and begin with `@`.
fn coordinate(what: &str) -> Option<(&str, &str, &str)> {
    let (feed, rest) = what.split_once('/')?;
    let (name, version) = rest.rsplit_once('@')?;
    (!feed.is_empty() && !name.is_empty() && !version.is_empty()).then_some((feed, name, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinate_is_taken_apart_from_both_ends() {
        assert_eq!(coordinate("tools/hello@1.0"), Some(("tools", "hello", "1.0")));
        assert_eq!(coordinate("npm/@acme/pad@1.0"), Some(("npm", "@acme/pad", "1.0")));
        for bad in ["", "tools", "tools/hello", "/a@1", "t/@1", "t/a@"] {
            assert_eq!(coordinate(bad), None, "{bad:?}");
        }
    }
}
