//! Clients that publish and delete as fast as a node lets them, and remember what it acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::lab::{PATIENCE, Site, bytes_of, until};

/// Clients at once.
const CLIENTS: usize = 4;
/// Every so many publishes one is taken back.
const DELETE_EVERY: u64 = 5;
/// After each loss what changed since the one before is asked for, and one in so many of the rest in turn: asking for all of it each time
/// would make the hundredth round a hundred times as long as the first.
const TURNS: usize = 16;
/// Bytes of the largest package, more than a blob of one record.
const BYTES_MAX: u64 = 400_000;

/// What was acknowledged: each package's content by its seed and size, or that it is deleted.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged {
    packages: BTreeMap<String, Option<(u64, usize)>>,
    /// Deletes that were asked for and not acknowledged: either outcome is right.
    unsure: BTreeSet<String>,
    /// What was acknowledged since the last check.
    changed: BTreeSet<String>,
    pub published: usize,
    pub deleted: usize,
    next: u64,
}

/// One client's request; none where the connection or the node went away first.
fn ask(http: &str, token: &str, method: &str, path: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(http).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let split = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..split]).into_owned();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer[split + 4..].to_vec()))
}

fn size_of(seed: u64) -> usize {
    // Mostly small, now and then one of several extents.
    let most = if seed.is_multiple_of(9) { BYTES_MAX } else { 3_000 };
    usize::try_from(1 + seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % most).unwrap()
}

impl Acknowledged {
    /// Loads a site until it acknowledged at least so much more, then calls `lose`, and ends once every client has noticed.
    pub(crate) fn load_until_lost(
        &mut self,
        site: &mut Site,
        token: &str,
        more: usize,
        lose: impl FnOnce(&mut Site),
    ) {
        let (lost, acknowledged) = (AtomicBool::new(false), AtomicUsize::new(0));
        let http = site.http.clone();
        let shared = Mutex::new(std::mem::take(self));
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    while !lost.load(Ordering::SeqCst) && act(&shared, &http, token) {
                        acknowledged.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            until("the node acknowledges", || acknowledged.load(Ordering::SeqCst) >= more);
            lose(site);
            lost.store(true, Ordering::SeqCst);
        });
        *self = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    }

    /// After loss number `round`: what was acknowledged since the one before is there, and a part of what was acknowledged earlier.
    pub(crate) fn check(&mut self, site: &Site, token: &str, what: &str, round: usize) {
        let changed = std::mem::take(&mut self.changed);
        let due = |at: usize, name: &String| changed.contains(name) || at % TURNS == round % TURNS;
        for (at, (name, content)) in self.packages.iter().enumerate() {
            if due(at, name) {
                self.check_one(site, token, &format!("{what} {round}"), name, *content);
            }
        }
    }

    /// Everything acknowledged is there, byte for byte, and what was deleted is not.
    pub(crate) fn check_all(&self, site: &Site, token: &str) {
        for (name, content) in &self.packages {
            self.check_one(site, token, "in the end", name, *content);
        }
    }

    fn check_one(&self, site: &Site, token: &str, what: &str, name: &str, content: Option<(u64, usize)>) {
        if self.unsure.contains(name) {
            return;
        }
        let (status, body) = ask(&site.http, token, "GET", &path(name), &[]).unwrap();
        match content {
            Some((seed, size)) => {
                assert_eq!(status, 200, "{what}: {name} was acknowledged and is lost");
                assert!(body == bytes_of(seed, size), "{what}: {name} has other bytes");
            }
            None => assert_eq!(status, 404, "{what}: {name} was deleted and is back"),
        }
    }
}

fn path(name: &str) -> String {
    format!("/feeds/tools/{name}/1.0/file.bin")
}

/// Publishes or deletes one package. Tells whether the node acknowledged it.
fn act(shared: &Mutex<Acknowledged>, http: &str, token: &str) -> bool {
    let locked = || shared.lock().unwrap_or_else(PoisonError::into_inner);
    let (seed, victim) = {
        let mut state = locked();
        state.next += 1;
        let standing = state
            .packages
            .iter()
            .find(|(name, content)| content.is_some() && !state.unsure.contains(name.as_str()));
        let victim = standing.map(|(name, _)| name.clone());
        let victim = victim.filter(|_| state.next.is_multiple_of(DELETE_EVERY));
        // From here on the package may be gone, whether the node says so or dies first.
        state.unsure.extend(victim.clone());
        (state.next, victim)
    };
    if let Some(name) = victim {
        let version = format!("/feeds/tools/{name}/1.0");
        let Some((status, body)) = ask(http, token, "DELETE", &version, &[]) else { return false };
        assert!((200..300).contains(&status), "{status}: {}", String::from_utf8_lossy(&body));
        let mut state = locked();
        state.unsure.remove(&name);
        state.changed.insert(name.clone());
        state.packages.insert(name, None);
        state.deleted += 1;
        return true;
    }
    let (name, content) = (format!("p{seed}"), bytes_of(seed, size_of(seed)));
    let Some((status, body)) = ask(http, token, "PUT", &path(&name), &content) else { return false };
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
    let mut state = locked();
    state.changed.insert(name.clone());
    state.packages.insert(name, Some((seed, content.len())));
    state.published += 1;
    true
}
