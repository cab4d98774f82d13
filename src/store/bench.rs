//! Measures the store on this machine's disk: `cargo bench --bench store [FOLDER]`. Prints one JSON object a line.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use ed25519_dalek::SigningKey;
use packetboat::store::{FeedRecord, Options, Store};
use protocol::grant::Permitted;
use protocol::id::{LogId, SiteId};
use protocol::log::{Mmr, Verified};
use protocol::manifest::{File as Named, Manifest};
use protocol::op::{Body, Genesis, Publish};
use protocol::package::{Coordinate, FeedKind};
use protocol::time::{Hlc, Timestamp};

const MIB: usize = 1 << 20;
/// What is ingested in one piece, and copied for comparison.
const LARGE_BYTES: usize = 1 << 30;
/// What is ingested in each round of smaller pieces.
const ROUND_BYTES: usize = 64 * MIB;
const RESTART_BLOBS: u64 = 100_000;
/// Ops that are said one by one; ten times as many where they are said many at once.
const STATEMENTS: usize = 5000;

/// Bytes that do not repeat, so that nothing is held twice.
struct Source(u64);

impl Source {
    fn fill(&mut self, buffer: &mut [u8]) {
        self.0 = self.0.wrapping_add(1);
        blake3::Hasher::new().update(&self.0.to_le_bytes()).finalize_xof().fill(buffer);
    }
}

fn main() -> Result<()> {
    let asked = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let parent = asked.map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(parent).context("making a folder to measure in")?;
    let copied = copy(folder.path())?;
    large(&folder.path().join("large"), copied)?;
    for size in [4 << 10, 64 << 10, 256 << 10] {
        pieces(&folder.path().join(format!("pieces-{size}")), size)?;
    }
    for at_once in [1, 1000] {
        statements(&folder.path().join(format!("statements-{at_once}")), at_once)?;
    }
    restart(&folder.path().join("restart"))
}

/// Publishes of one small file each, so many in one batch of their author's log: what the packs and the index take for each.
fn statements(folder: &Path, at_once: usize) -> Result<()> {
    let store = open(folder)?;
    let key = SigningKey::from_bytes(&[7; 32]);
    let me = SiteId(key.verifying_key().to_bytes());
    let genesis = Genesis {
        origin: me,
        second_origin: None,
        name: "measured".to_owned(),
        kind: FeedKind::Raw,
        reuse: false,
        overwrite: false,
        created: Timestamp(1),
        nonce: [0; 16],
    };
    let record = FeedRecord {
        genesis,
        name: "measured".to_owned(),
        strict: false,
        local_wins: false,
        open_reads: false,
    };
    let feed = store.put_feed(&record)?;
    let (packs, index) = (bytes_in(&folder.join("packs"))?, bytes_in(&folder.join("index"))?);
    let ops = STATEMENTS * if at_once == 1 { 1 } else { 10 };
    let log = LogId { feed, author: me, epoch: 1 };
    let (mut held, mut clock) = (Mmr::default(), Hlc::default());
    let start = Instant::now();
    for first in (0..ops).step_by(at_once) {
        let bodies = (first..first + at_once).map(publish).collect::<Result<Vec<_>>>()?;
        let said = Verified::author(&key, log, &held, bodies, clock, Timestamp(1));
        held = said.after().clone();
        clock = said.ops().last().map_or(clock, |named| named.op.stamp);
        store.append(&[Permitted::local(said, false)?])?;
    }
    let rate = ops as f64 / start.elapsed().as_secs_f64();
    store.checkpoint()?;
    let each = |bytes: u64| bytes as f64 / ops as f64;
    let packs = each(bytes_in(&folder.join("packs"))? - packs);
    let index = each(bytes_in(&folder.join("index"))? - index);
    println!(
        r#"{{"what":"publishes, {at_once} at once","ops":{ops},"per_s":{rate:.0},"pack_bytes_each":{packs:.0},"index_bytes_each":{index:.0}}}"#
    );
    drop(store);
    Ok(fs::remove_dir_all(folder)?)
}

fn publish(number: usize) -> Result<Body> {
    let content = number.to_le_bytes();
    let file = Named {
        name: format!("package-{number}.tar.gz"),
        blob: protocol::id::BlobId(*blake3::hash(&content).as_bytes()),
        size: u64::try_from(content.len())?,
        sha256: [0; 32],
    };
    Ok(Body::Publish(Publish {
        coordinate: Coordinate::new(FeedKind::Raw, &format!("package-{number}"), "1.0.0")?,
        manifest: Manifest::of(vec![file])?,
        supersedes: Vec::new(),
        provenance: None,
    }))
}

fn bytes_in(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { bytes_in(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

/// Plain writing with a sync at the end: what the disk gives at best.
fn copy(folder: &Path) -> Result<f64> {
    let path = folder.join("copy");
    let mut buffer = vec![0; MIB];
    let mut source = Source(0);
    let mut spent = std::time::Duration::ZERO;
    let mut file = File::create(&path)?;
    for _ in 0..LARGE_BYTES / MIB {
        source.fill(&mut buffer);
        let start = Instant::now();
        file.write_all(&buffer)?;
        spent += start.elapsed();
    }
    let start = Instant::now();
    file.sync_data()?;
    spent += start.elapsed();
    fs::remove_file(path)?;
    let rate = 1024.0 / spent.as_secs_f64();
    println!(r#"{{"what":"copy","mib_per_s":{rate:.0}}}"#);
    Ok(rate)
}

/// One blob of a gibibyte.
fn large(folder: &Path, copied: f64) -> Result<()> {
    let store = open(folder)?;
    let mut buffer = vec![0; MIB];
    let mut source = Source(1 << 32);
    let before = resident_mib();
    let mut spent = std::time::Duration::ZERO;
    let mut ingest = store.ingest();
    for _ in 0..LARGE_BYTES / MIB {
        source.fill(&mut buffer);
        let start = Instant::now();
        ingest.write(&buffer)?;
        spent += start.elapsed();
    }
    let start = Instant::now();
    let stored = ingest.finish()?;
    spent += start.elapsed();
    let rate = 1024.0 / spent.as_secs_f64();
    let (after, ratio) = (resident_mib(), rate / copied);
    println!(
        r#"{{"what":"ingest 1 GiB","mib_per_s":{rate:.0},"of_copy":{ratio:.2},"rss_mib_before":{before},"rss_mib_peak":{after}}}"#
    );
    let start = Instant::now();
    let mut reader = store.reader(stored.blob, 0..u64::MAX)?;
    while reader.next_chunk()?.is_some() {}
    let rate = 1024.0 / start.elapsed().as_secs_f64();
    println!(r#"{{"what":"read 1 GiB","mib_per_s":{rate:.0}}}"#);
    drop(store);
    Ok(fs::remove_dir_all(folder)?)
}

/// Many blobs of one size, with a sync for each 16 MiB.
fn pieces(folder: &Path, size: usize) -> Result<()> {
    let store = open(folder)?;
    let mut buffer = vec![0; size];
    let mut source = Source(u64::try_from(size)? << 33);
    let mut spent = std::time::Duration::ZERO;
    for written in (0..ROUND_BYTES).step_by(size) {
        source.fill(&mut buffer);
        let blob = protocol::id::BlobId(*blake3::hash(&buffer).as_bytes());
        let start = Instant::now();
        store.put_small(blob, &buffer)?;
        if written % (16 * MIB) == 0 {
            store.sync()?;
        }
        spent += start.elapsed();
    }
    let start = Instant::now();
    store.sync()?;
    spent += start.elapsed();
    let rate = 64.0 / spent.as_secs_f64();
    println!(r#"{{"what":"put blobs of {size} bytes","mib_per_s":{rate:.0}}}"#);
    drop(store);
    Ok(fs::remove_dir_all(folder)?)
}

/// Opening a store of many blobs: after a crash, and after its index was lost.
fn restart(folder: &Path) -> Result<()> {
    let store = open(folder)?;
    for number in 0..RESTART_BLOBS {
        let bytes = number.to_le_bytes();
        store.put_small(protocol::id::BlobId(*blake3::hash(&bytes).as_bytes()), &bytes)?;
    }
    store.sync()?;
    drop(store);
    for what in ["reopen after no checkpoint at the end", "reopen again"] {
        let start = Instant::now();
        drop(open(folder)?);
        println!(r#"{{"what":"{what}","blobs":{RESTART_BLOBS},"ms":{}}}"#, start.elapsed().as_millis());
    }
    fs::remove_dir_all(folder.join("index"))?;
    let start = Instant::now();
    drop(open(folder)?);
    println!(r#"{{"what":"rebuild","blobs":{RESTART_BLOBS},"ms":{}}}"#, start.elapsed().as_millis());
    println!(r#"{{"what":"memory at the end","rss_mib_peak":{}}}"#, resident_mib());
    Ok(())
}

fn open(folder: &Path) -> Result<Store> {
    Store::open(folder, Options::new(1)).with_context(|| format!("opening {}", folder.display()))
}

/// The most memory this process has held, in MiB; 0 where the system does not tell.
fn resident_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
