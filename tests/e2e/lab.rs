//! Nodes of the built binary in temporary folders: start, wait for the ready line, run commands, kill on drop.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// One command's end.
#[derive(Debug)]
pub(crate) struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in {:?}; stderr: {}", self.stdout, self.stderr))
    }
}

/// One site: its data folder and, while it is up, its daemon.
pub(crate) struct Site {
    /// Removed with the site, where it is the site's own.
    own: Option<TempDir>,
    /// Where its data lies.
    pub data: PathBuf,
    name: &'static str,
    daemon: Option<Child>,
    pub listen: String,
    pub http: String,
}

fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_packetboat"));
    for variable in [
        "PACKETBOAT_DATA",
        "PACKETBOAT_LISTEN",
        "PACKETBOAT_HTTP",
        "PACKETBOAT_NAME",
        "PACKETBOAT_LOG",
        "PACKETBOAT_RESERVE",
        "PACKETBOAT_TRASH",
        "PACKETBOAT_SCRUB",
        "PACKETBOAT_SCRUB_EVERY",
    ] {
        command.env_remove(variable);
    }
    command
}

/// Runs the binary in no particular folder.
pub(crate) fn run(args: &[&str]) -> Ended {
    ended(binary().args(args))
}

fn ended(command: &mut Command) -> Ended {
    let output = command.stdin(Stdio::null()).output().unwrap();
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Site {
    /// A new site whose daemon is up.
    pub(crate) fn new(name: &'static str) -> Self {
        let folder = tempfile::Builder::new().prefix("packetboat-e2e-").tempdir().unwrap();
        let data = folder.path().to_owned();
        let mut site = Self::within(name, data);
        site.own = Some(folder);
        site
    }

    /// A site over a folder that was made before, whose daemon is up.
    pub(crate) fn over(name: &'static str, data: PathBuf) -> Self {
        let mut site = Self::stopped(name, data);
        site.start();
        site
    }

    /// A site over a folder, whose daemon is not up.
    pub(crate) fn stopped(name: &'static str, data: PathBuf) -> Self {
        Self { own: None, data, name, daemon: None, listen: own_address(), http: own_address() }
    }

    pub(crate) fn start_if_down(&mut self) {
        if self.daemon.is_none() {
            self.start();
        }
    }

    /// A new site in a folder of somebody else's whose daemon is up.
    pub(crate) fn within(name: &'static str, data: PathBuf) -> Self {
        let mut site = Self::stopped(name, data);
        let init = site.offline(&["init", "--name", name]);
        assert_eq!(init.code, 0, "{init:?}");
        site.start();
        site
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Runs a command on this site's folder.
    pub(crate) fn offline(&self, args: &[&str]) -> Ended {
        ended(binary().arg("--data").arg(self.data()).args(args))
    }

    /// Runs a command and expects it to succeed. Gives its JSON.
    pub(crate) fn ok(&self, args: &[&str]) -> Value {
        let mut all = vec!["--json"];
        all.extend(args);
        let end = self.offline(&all);
        assert_eq!(end.code, 0, "{}: {args:?}: {end:?}", self.name);
        if end.stdout.trim().is_empty() { Value::Null } else { end.json() }
    }

    /// Runs a command and expects this exit code. Gives what it said on stderr.
    pub(crate) fn fails(&self, code: i32, args: &[&str]) -> String {
        let end = self.offline(args);
        assert_eq!(end.code, code, "{}: {args:?}: {end:?}", self.name);
        end.stderr
    }

    /// Starts the daemon on the addresses of its own, and waits for its ready line.
    pub(crate) fn start(&mut self) {
        let mut child = binary()
            .arg("--json")
            .arg("--data")
            .arg(self.data())
            .args(["serve", "--listen", &self.listen, "--http", &self.http])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::from(std::fs::File::options().create(true).append(true).open(self.log()).unwrap()))
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let site: Value = serde_json::from_str(&ready).unwrap_or_else(|_| {
            panic!("{} did not come up: {}", self.name, std::fs::read_to_string(self.log()).unwrap())
        });
        assert_eq!((&site["listen"], &site["http"]), (&json!(self.listen), &json!(self.http)));
        self.daemon = Some(child);
    }

    fn log(&self) -> PathBuf {
        self.data().join("e2e.log")
    }

    /// Kill -9.
    pub(crate) fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().unwrap();
            daemon.wait().unwrap();
        }
    }

    /// The daemon's process.
    pub(crate) fn process(&self) -> u32 {
        self.daemon.as_ref().expect("the daemon is up").id()
    }

    /// Asks the daemon to stop, as a service keeper does, and expects it to end well: by itself, and not by the bound after which it cuts off what
    /// hangs and ends all the same.
    pub(crate) fn stop(&mut self) {
        let asked = Command::new("kill").args(["-TERM", &self.process().to_string()]).status().unwrap();
        assert!(asked.success(), "{}", self.name);
        let mut daemon = self.daemon.take().expect("the daemon is up");
        until("the daemon stops", || daemon.try_wait().unwrap().is_some());
        assert!(daemon.wait().unwrap().success(), "{}", self.name);
        let log = std::fs::read_to_string(self.log()).unwrap();
        assert!(!log.contains("not all work ended"), "{}: {log}", self.name);
    }

    /// Pairs `joiner` with this site's feed.
    pub(crate) fn pair(&self, joiner: &Self, feed: &str, may: &str) {
        let invite =
            self.ok(&["pair", "invite", "--feed", feed, "--peer-may", may, "--address", &self.listen]);
        joiner.ok(&["pair", "accept", invite["ticket"].as_str().unwrap()]);
    }

    /// Runs the outgoing link and expects it to be done. Gives the run.
    pub(crate) fn sync(&self) -> Value {
        let runs = self.ok(&["sync"]);
        let run = runs["runs"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(run["outcome"], "done", "{}: {run}", self.name);
        run
    }

    pub(crate) fn state_root(&self, feed: &str) -> String {
        self.ok(&["feed", "show", feed])["state_root"].as_str().unwrap().to_owned()
    }

    /// Writes a file into the folder and publishes it.
    pub(crate) fn publish(&self, feed: &str, name: &str, content: &[u8]) {
        let path = self.data().join(format!("{name}.bin"));
        std::fs::write(&path, content).unwrap();
        self.ok(&["publish", feed, name, "1.0", path.to_str().unwrap()]);
    }

    /// One HTTP request to the package clients' door: status, head, body.
    pub(crate) fn http(&self, request: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let split = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
        let head = String::from_utf8_lossy(&answer[..split]).into_owned();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head, answer[split + 4..].to_vec())
    }
}

impl Site {
    /// Begins a sync over HTTP and gives what the node says of it, line by line, until it ends or dies.
    pub(crate) fn steps_of_a_sync(&self, token: &str) -> impl Iterator<Item = Value> + use<> {
        let mut stream = TcpStream::connect(&self.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "POST /api/v1/sync HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        lines.filter_map(|line| serde_json::from_str(&line).ok())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An address that stays free while nobody listens on it: a site that is down, or a receiver that is not up yet, gets it back.
///
/// A port the system picks (Linux from 32,768, others from 49,152) may be another connection's by then.
pub(crate) fn own_address() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Programs that run at once begin at different places.
    let first = (std::process::id() % 200) as u16 * 100;
    loop {
        let port = 10_000 + first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let address = format!("127.0.0.1:{port}");
        if TcpListener::bind(&address).is_ok() && UdpSocket::bind(&address).is_ok() {
            return address;
        }
    }
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn bytes_of(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(size + 8);
    while out.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend(state.to_le_bytes());
    }
    out.truncate(size);
    out
}

/// The packages cargo downloaded to build this program: real ones, smallest first.
pub(crate) fn crate_files(most: usize) -> Vec<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let cache = home.map(|home| home.join("registry/cache"));
    let mut found: Vec<(u64, PathBuf)> = cache
        .into_iter()
        .flat_map(|cache| std::fs::read_dir(cache).into_iter().flatten().flatten())
        .flat_map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().flatten())
        .filter(|file| file.path().extension().is_some_and(|extension| extension == "crate"))
        .map(|file| (file.metadata().unwrap().len(), file.path()))
        .collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).take(most).collect()
}

/// Waits until `done` holds.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::yield_now();
    }
}
