//! Three real nodes in one process tell the whole story: packages and deletions travel, a leaf's do not, a cut transfer goes on.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::api::{self, Problem};
use crate::keeper::wall_clock;
use crate::node::{Node, StartError};
use crate::web::{DoorError, Doors};

const FEED: &str = "crates";
const VERSION: &str = "1";
/// Packages published: enough to see something, few enough to be quick.
const PACKAGES_MAX: usize = 40;
/// Bytes of the large file whose transfer is cut.
const LARGE_BYTES: usize = 96 << 20;
const TICKET_MS: u64 = 600_000;

/// Why the demonstration ended early.
#[derive(Debug, thiserror::Error)]
#[expect(clippy::module_name_repetitions, reason = "callers hold errors of several rooms side by side")]
pub enum DemoError {
    #[error("a demonstration node did not start")]
    Start(#[from] StartError),
    #[error("a demonstration node's door did not open")]
    Door(#[from] DoorError),
    #[error("{}: {}", .0.title, .0.detail)]
    Problem(Problem),
    #[error("a temporary folder or a package file cannot be used")]
    Disk(#[from] std::io::Error),
    #[error("the story did not go as told: {0}")]
    Unexpected(String),
}

impl From<Problem> for DemoError {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

struct Site {
    name: &'static str,
    node: Node,
    doors: Doors,
    _folder: TempDir,
}

async fn site(name: &'static str) -> Result<Site, DemoError> {
    let folder = tempfile::Builder::new().prefix("packetboat-demo-").tempdir()?;
    let loopback = ([127, 0, 0, 1], 0).into();
    let node = Node::start(folder.path(), Some(name), loopback).await?;
    let doors = crate::node::open_doors(&node, Some(folder.path()), loopback).await?;
    Ok(Site { name, node, doors, _folder: folder })
}

/// Runs the story and says it line by line. With `exit` it ends there, else it stays up until Ctrl-C.
///
/// # Errors
/// A node, a file or a step of the story failed.
pub async fn run(exit: bool, say: &mut (dyn FnMut(&str) + Send)) -> Result<(), DemoError> {
    let began = Instant::now();
    say(
        "Three sites, three real nodes, one feed. Los Angeles <-> New York mirror; Tokyo pulls from New York.",
    );
    let (la, ny, tokyo) = (site("Los Angeles").await?, site("New York").await?, site("Tokyo").await?);
    for one in [&la, &ny, &tokyo] {
        say(&format!(
            "  {:<12} site {}  links on UDP {}  packages on http://{}",
            one.name,
            one.node.me().short(),
            one.node.listen_address(),
            one.doors.tcp_address()
        ));
    }
    let new = api::NewFeed { name: FEED.to_owned(), kind: "raw".to_owned(), open_reads: true };
    la.node.create_feed(new).await?;
    pair(&la, &ny, "mirror", say).await?;
    pair(&ny, &tokyo, "pull", say).await?;
    let published = publish_all(&la, say).await?;
    arrive(&la, &ny, &tokyo, say).await?;
    delete_everywhere(&la, &ny, &tokyo, &published, say).await?;
    stay_at_home(&ny, &tokyo, say).await?;
    cut(&la, &ny, say).await?;
    say(&format!("Done in {:.1} s.", began.elapsed().as_secs_f64()));
    if !exit {
        say("The three nodes stay up until Ctrl-C. Try:");
        say(&format!("  curl http://{}/feeds/{FEED}/", tokyo.doors.tcp_address()));
        tokio::signal::ctrl_c().await?;
    }
    for one in [la, ny, tokyo] {
        one.node.end_event_readers();
        one.doors.close().await;
        one.node.stop().await;
    }
    Ok(())
}

async fn pair(
    host: &Site,
    joiner: &Site,
    may: &str,
    say: &mut (dyn FnMut(&str) + Send),
) -> Result<(), DemoError> {
    let invite = host
        .node
        .invite(api::InviteRequest {
            feeds: vec![FEED.to_owned()],
            peer_may: may.to_owned(),
            expires_ms: wall_clock().0 + TICKET_MS,
            grant_life_ms: None,
            addresses: vec![host.node.listen_address().to_string()],
        })
        .await?;
    let link = joiner
        .node
        .accept(api::AcceptRequest {
            ticket: invite.ticket,
            mode: None,
            link: None,
            feeds: Vec::new(),
            every_ms: None,
            filter: None,
            merge: false,
        })
        .await?;
    say(&format!(
        "\n{} joined {} by a one-time ticket as {may}. Both ends show the words {}.",
        joiner.name, host.name, link.check_words
    ));
    Ok(())
}

async fn publish_all(la: &Site, say: &mut (dyn FnMut(&str) + Send)) -> Result<Vec<String>, DemoError> {
    let found = tokio::task::spawn_blocking(crate_files).await.map_err(std::io::Error::other)?;
    let mut names = Vec::new();
    let mut bytes = 0;
    let made = found.is_empty();
    if made {
        for n in 0..PACKAGES_MAX {
            let name = format!("made-{n:02}");
            bytes += publish(la, &name, &stream_of(n as u64, 1_000 + n * 7_001)).await?;
            names.push(name);
        }
    }
    for path in found {
        let content = tokio::fs::read(&path).await?;
        let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        bytes += publish(la, &name, &content).await?;
        names.push(name);
    }
    let what =
        if made { "files made up here" } else { "real packages (the crates packetboat was built from)" };
    say(&format!("\nLos Angeles publishes {} {what}, {} KiB.", names.len(), bytes / 1024));
    Ok(names)
}

/// The packages cargo downloaded to build this program, smallest first.
fn crate_files() -> Vec<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let Some(cache) = home.map(|home| home.join("registry").join("cache")) else { return Vec::new() };
    let folders = std::fs::read_dir(cache).into_iter().flatten().flatten();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().flatten());
    let mut found: Vec<(u64, PathBuf)> = files
        .filter(|file| file.path().extension().is_some_and(|extension| extension == "crate"))
        .filter_map(|file| Some((file.metadata().ok()?.len(), file.path())))
        .collect();
    found.sort();
    found.truncate(PACKAGES_MAX);
    found.into_iter().map(|(_, path)| path).collect()
}

/// Bytes that do not compress, the same for the same seed.
fn stream_of(seed: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

async fn publish(at: &Site, name: &str, content: &[u8]) -> Result<usize, DemoError> {
    let mut upload = at.node.begin_upload();
    upload.write(Bytes::copy_from_slice(content)).await?;
    let stored = upload.finish().await?;
    let file = api::File {
        name: format!("{name}.bin"),
        size: stored.size,
        blake3: stored.blake3,
        sha256: stored.sha256,
    };
    let new = api::NewPackage {
        name: name.to_owned(),
        version: VERSION.to_owned(),
        files: vec![file],
        restore: false,
    };
    at.node.publish(FEED, new).await?;
    Ok(content.len())
}

async fn sync(at: &Site) -> Result<api::Run, DemoError> {
    let (steps, _unwatched) = mpsc::channel(1);
    let runs = at.node.sync(None, None, false, steps).await?;
    runs.runs.into_iter().next_back().ok_or_else(|| DemoError::Unexpected("no run".to_owned()))
}

fn told(at: &Site, run: &api::Run) -> String {
    format!(
        "  {:<9} {:<11} {:>3} ops in ({} deletions), {:>3} out; {:>8} KiB of packages, {} bytes of frames, {} round trips, {} ms",
        at.name,
        run.outcome,
        run.ops_in,
        run.deletes_in,
        run.ops_out,
        (run.content_in_bytes + run.content_out_bytes) / 1024,
        run.frames_in_bytes + run.frames_out_bytes,
        run.round_trips,
        run.duration_ms
    )
}

async fn arrive(
    la: &Site,
    ny: &Site,
    tokyo: &Site,
    say: &mut (dyn FnMut(&str) + Send),
) -> Result<(), DemoError> {
    say("\nSync: New York with Los Angeles, then Tokyo with New York.");
    for at in [ny, tokyo] {
        let run = sync(at).await?;
        say(&told(at, &run));
    }
    let mut roots = Vec::new();
    for at in [la, ny, tokyo] {
        let feed = at.node.feed(FEED).await?;
        say(&format!(
            "  {:<12} {} packages, state {}",
            at.name,
            feed.packages,
            feed.state_root.get(..16).unwrap_or("")
        ));
        roots.push((feed.state_root, feed.missing_blobs));
    }
    if roots.windows(2).any(|pair| pair.first() != pair.last()) {
        return Err(DemoError::Unexpected("the three sites differ".to_owned()));
    }
    let run = sync(tokyo).await?;
    say("Again, with nothing new:");
    say(&told(tokyo, &run));
    Ok(())
}

async fn delete_everywhere(
    la: &Site,
    ny: &Site,
    tokyo: &Site,
    published: &[String],
    say: &mut (dyn FnMut(&str) + Send),
) -> Result<(), DemoError> {
    let Some(name) = published.first() else {
        return Err(DemoError::Unexpected("nothing published".to_owned()));
    };
    la.node.delete(FEED, name, VERSION, "withdrawn in the demonstration".to_owned(), false).await?;
    say(&format!("\nLos Angeles deletes {name}. Sync again."));
    for at in [ny, tokyo] {
        let run = sync(at).await?;
        say(&told(at, &run));
    }
    let state = tokyo.node.package(FEED, name, VERSION).await?.state;
    say(&format!("  in Tokyo {name} is {state}"));
    if state != "deleted" {
        return Err(DemoError::Unexpected(format!("{name} is {state} in Tokyo")));
    }
    Ok(())
}

async fn stay_at_home(ny: &Site, tokyo: &Site, say: &mut (dyn FnMut(&str) + Send)) -> Result<(), DemoError> {
    publish(tokyo, "tokyo-only", b"made in Tokyo").await?;
    say("\nTokyo publishes tokyo-only and syncs.");
    let run = sync(tokyo).await?;
    say(&told(tokyo, &run));
    let here = tokyo.node.why(FEED, "tokyo-only", VERSION).await?;
    let there = ny.node.why(FEED, "tokyo-only", VERSION).await?;
    say(&format!("  why it is in Tokyo:        {}", here.because));
    say(&format!("  why it is not in New York: {}", there.because));
    if there.state != "absent" {
        return Err(DemoError::Unexpected("a leaf's package reached New York".to_owned()));
    }
    Ok(())
}

async fn cut(la: &Site, ny: &Site, say: &mut (dyn FnMut(&str) + Send)) -> Result<(), DemoError> {
    publish(la, "large", &stream_of(77, LARGE_BYTES)).await?;
    say(&format!(
        "\nLos Angeles publishes a file of {} MiB; the connection is cut on the way.",
        LARGE_BYTES >> 20
    ));
    let syncing = sync(ny);
    tokio::pin!(syncing);
    let mut look = tokio::time::interval(Duration::from_millis(2));
    let first = loop {
        tokio::select! {
            biased;
            run = &mut syncing => break run?,
            _ = look.tick() => {
                if ny.node.feed_progress(FEED, "large", VERSION).await.is_some_and(|got| got > LARGE_BYTES as u64 / 4) {
                    ny.node.cut_connections();
                }
            }
        }
    };
    say(&told(ny, &first));
    let second = sync(ny).await?;
    say(&told(ny, &second));
    let moved = first.content_in_bytes + second.content_in_bytes;
    say(&format!(
        "  {} bytes of content moved for a file of {LARGE_BYTES}: {:.1} % more than once",
        moved,
        (moved as f64 / LARGE_BYTES as f64 - 1.0) * 100.0
    ));
    let state = ny.node.package(FEED, "large", VERSION).await?.state;
    if state != "ready" {
        return Err(DemoError::Unexpected(format!("the large file is {state} in New York")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[tokio::test(flavor = "multi_thread")]
    async fn the_story_goes_as_told() {
        let mut lines = Vec::new();
        super::run(true, &mut |line| {
            lines.push(line.to_owned());
        })
        .await
        .unwrap();
        assert!(lines.iter().any(|line| line.contains("interrupted")), "the cut was seen: {lines:?}");
    }
}
