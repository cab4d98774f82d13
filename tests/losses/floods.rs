//! Strangers who flood a node with garbage, handshakes and slow requests while its link works: its memory is bounded and the link goes on.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use packetboat::identity::SiteKey;
use packetboat::transport::endpoint::{DialError, Endpoint, is_refusal};
use packetboat::transport::settings::Pace;
use packetboat::transport::tls::{Alpn, Peers};
use protocol::id::SiteId;

use crate::lab::{Site, bytes_of, until};
use crate::rounds;

/// Datagrams of garbage a round.
const GARBAGE_EACH: usize = 5_000;
/// Handshakes of strangers a round.
const HANDSHAKES_EACH: usize = 50;
/// Handshakes at once: half of what a node admits unproven.
const AT_ONCE: usize = 32;
/// HTTP connections that send a byte and wait: more than a node has places for.
const SLOW_CLIENTS: usize = 1_100;
/// By how much the flood may raise what a node ever held in memory: 32 MiB for garbage and handshakes, and 24 KiB for each HTTP connection that has a place.
const GROWTH_KIB_MAX: u64 = (32 << 10) + 24 * 1024;
/// Runs before the flood, to compare with those in it.
const QUIET_RUNS: u64 = 15;
/// How long a stranger waits for its refusal.
const REFUSED_WITHIN: Duration = Duration::from_secs(20);

#[derive(Debug)]
struct Nobody;

impl Peers for Nobody {
    fn site_of(&self, _key: &SiteId) -> Option<SiteId> {
        None
    }

    fn pairing_open(&self) -> bool {
        false
    }
}

/// Garbage of all lengths; every second datagram begins as a QUIC version 1 Initial does and is as long.
fn garbage(to: SocketAddr, count: usize) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let noise = bytes_of(7, 1 << 20);
    for n in 0..count {
        let at = n * 997 % (noise.len() - 1_500);
        let mut datagram = noise[at..at + 1 + n * 31 % 1_400].to_vec();
        if n % 2 == 0 {
            datagram = noise[at..at + 1_200].to_vec();
            datagram[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
        }
        // A full queue drops what the kernel cannot take: that is the flood's loss.
        drop(socket.send_to(&datagram, to));
    }
}

/// Dials as a site that is not known, again and again. Gives how many were turned away.
fn handshakes(to: SocketAddr, host: SiteId, count: usize) -> usize {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let key = SiteKey::from_seed(&[77; 32]);
        let any = "127.0.0.1:0".parse().unwrap();
        let stranger = Arc::new(Endpoint::bind(any, &key, Arc::new(Nobody), Pace::Background).unwrap());
        let mut under_way = tokio::task::JoinSet::new();
        let mut refused = 0;
        for n in 0..count {
            if n >= AT_ONCE {
                refused += usize::from(under_way.join_next().await.unwrap().unwrap());
            }
            let stranger = Arc::clone(&stranger);
            under_way.spawn(async move {
                match stranger.dial(to, host, Alpn::Link, Pace::Background, REFUSED_WITHIN).await {
                    Ok(connection) => is_refusal(&connection.closed().await),
                    Err(error) => matches!(error, DialError::Refused { .. }),
                }
            });
        }
        refused + under_way.join_all().await.into_iter().filter(|refused| *refused).count()
    })
}

/// The most memory the site's daemon ever held, in KiB, as Linux tells.
fn memory_peak_kib(site: &Site) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", site.process())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells the peak");
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

fn median(mut of: Vec<Duration>) -> Duration {
    of.sort();
    of[of.len() / 2]
}

/// Connections that never end their request's head.
fn slow_clients(http: &str) -> Vec<TcpStream> {
    use std::io::Write;
    let clients = (0..SLOW_CLIENTS).filter_map(|_| TcpStream::connect(http).ok());
    clients.filter_map(|mut stream| stream.write_all(b"G").ok().map(|()| stream)).collect()
}

#[test]
fn a_flood_of_strangers_costs_little_memory_and_the_link_goes_on() {
    let (host, joiner) = (Site::new("Host"), Site::new("Joiner"));
    host.ok(&["feed", "create", "tools", "--kind", "raw"]);
    host.pair(&joiner, "tools", "mirror");
    let id: SiteId = host.ok(&["status"])["site"]["id"].as_str().unwrap().parse().unwrap();
    let to: SocketAddr = host.listen.parse().unwrap();
    // What ordinary work takes is no part of what the flood takes.
    host.publish("tools", "before", &bytes_of(1, 4 << 20));
    joiner.sync();
    let run = |name: String, seed| {
        let began = Instant::now();
        host.publish("tools", &name, &bytes_of(seed, 100_000));
        joiner.sync();
        began.elapsed()
    };
    let quiet: Vec<Duration> = (0..QUIET_RUNS).map(|n| run(format!("quiet-{n}"), 1000 + n)).collect();
    let mut flooded = Vec::new();
    let before = memory_peak_kib(&host);
    let flooding = AtomicBool::new(true);
    let (mut synced, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let slow = slow_clients(&host.http);
            let noise = std::thread::spawn(move || garbage(to, GARBAGE_EACH * rounds()));
            let refused = handshakes(to, id, HANDSHAKES_EACH * rounds());
            noise.join().unwrap();
            flooding.store(false, Ordering::SeqCst);
            drop(slow);
            refused
        });
        while flooding.load(Ordering::SeqCst) {
            flooded.push(run(format!("during-{synced}"), synced));
            synced += 1;
        }
        refused = flood.join().unwrap();
    });
    let growth = memory_peak_kib(&host) - before;
    assert!(synced > 0, "the link went on");
    assert!(growth < GROWTH_KIB_MAX, "the flood took {growth} KiB");
    assert_eq!(refused, HANDSHAKES_EACH * rounds(), "every stranger was told");
    until("the slow clients are gone and HTTP is served", || {
        TcpStream::connect(&host.http).is_ok()
            && host.http("GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", &[]).0 == 200
    });
    println!(
        "{} datagrams of garbage, {refused} handshakes refused, {SLOW_CLIENTS} slow clients: {growth} KiB, {synced} runs done meanwhile, \
         each in {:.2} of the time before (median; both share the processors with the flood)",
        GARBAGE_EACH * rounds(),
        median(flooded).as_secs_f64() / median(quiet).as_secs_f64(),
    );
}
