//! Measures the store on this machine's disk: `cargo bench --bench store [FOLDER]`. Prints one JSON object a line.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use packetboat::store::{Options, Store};

const MIB: usize = 1 << 20;
/// What is ingested in one piece, and copied for comparison.
const LARGE_BYTES: usize = 1 << 30;
/// What is ingested in each round of smaller pieces.
const ROUND_BYTES: usize = 64 * MIB;
const RESTART_BLOBS: u64 = 100_000;

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
    restart(&folder.path().join("restart"))
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
