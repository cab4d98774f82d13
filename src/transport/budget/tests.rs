//! Shares shrink as sessions come and grow as they go, and a greedy session is told so before it takes from others.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use protocol::id::SiteId;
use protocol::limits::STREAM_WINDOW_BYTES;
use quinn::SendStream;
use tokio::time::timeout;

use super::*;
use crate::identity::SiteKey;
use crate::transport::endpoint::Endpoint;
use crate::transport::settings::Pace;
use crate::transport::tls::{Alpn, Peers};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const PATIENCE: Duration = Duration::from_secs(60);
/// So long nothing more is taken once a window is full: many round trips of loopback.
const QUIET: Duration = Duration::from_millis(500);

#[derive(Debug)]
struct Everybody;

impl Peers for Everybody {
    fn site_of(&self, key: &SiteId) -> Option<SiteId> {
        Some(*key)
    }

    fn pairing_open(&self) -> bool {
        false
    }
}

fn endpoint(seed: u8) -> Endpoint {
    let key = SiteKey::from_seed(&[seed; 32]);
    Endpoint::bind(LOOPBACK, &key, Arc::new(Everybody), Pace::Background).unwrap()
}

/// A connection, as its dialler and as its listener have it.
async fn connect(dialler: &Endpoint, listener: &Endpoint) -> (Connection, Connection) {
    let (to, site) = (listener.local_addr().unwrap(), SiteKey::from_seed(&[1; 32]).site_id());
    let dialled = dialler.dial(to, site, Alpn::Link, Pace::Background, PATIENCE).await.unwrap();
    (dialled, timeout(PATIENCE, listener.accept()).await.unwrap().unwrap().connection)
}

/// Writes until nothing more is taken, and tells how much was.
async fn fill(stream: &mut SendStream) -> u64 {
    let mut taken = 0;
    while let Ok(written) = timeout(QUIET, stream.write(&[7; 64 << 10])).await {
        taken += written.unwrap() as u64;
    }
    taken
}

#[tokio::test]
async fn few_sessions_have_full_windows_many_share_what_there_is_and_who_leaves_gives_back() {
    let (listener, dialler) = (endpoint(1), endpoint(2));
    let (_dialled, accepted) = connect(&dialler, &listener).await;
    let budget = Arc::<Budget>::default();
    let window = |share: &Share| {
        let sessions = budget.locked();
        u64::from(CONNECTION_WINDOW_BYTES_MIN) + sessions.members[&share.number].more_bytes
    };
    let mut shares: Vec<Share> = (0..SESSIONS_MAX).map(|_| budget.join(&accepted).unwrap()).collect();
    assert!(budget.join(&accepted).is_none(), "there are as many as there may be");
    let full = shares.iter().filter(|share| window(share) == u64::from(CONNECTION_WINDOW_BYTES)).count();
    assert_eq!(full, 19);
    let all: u64 = shares.iter().map(window).sum();
    assert!(
        all <= FLIGHT_BYTES_MAX + (SESSIONS_MAX as u64) * u64::from(CONNECTION_WINDOW_BYTES_MIN),
        "{all}"
    );

    let last = shares.pop().unwrap();
    assert!(window(&last) < u64::from(CONNECTION_WINDOW_BYTES_MIN) + WIDER_BYTES_MIN);
    shares.clear();
    assert_eq!(window(&last), u64::from(CONNECTION_WINDOW_BYTES));
    drop(last);
    assert_eq!(budget.locked().given_bytes, 0);
}

#[tokio::test]
async fn what_a_peer_can_fill_that_nobody_reads_is_the_window_of_its_session() {
    let (listener, dialler) = (endpoint(1), endpoint(2));
    let (others, accepted) = connect(&dialler, &listener).await;
    let budget = Arc::<Budget>::default();
    let many: Vec<Share> = (0..100).map(|_| budget.join(&accepted).unwrap()).collect();
    let (dialled, accepted) = connect(&dialler, &listener).await;
    let ours = Arc::<Budget>::default().join(&dialled).unwrap();
    let late = budget.join(&accepted).unwrap();
    // Three streams nobody reads: together they may hold more than the least window, and less than the full one.
    let mut taken = 0;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = dialled.open_uni().await.unwrap();
        taken += fill(&mut stream).await;
        streams.push(stream);
    }
    assert_eq!(taken, u64::from(CONNECTION_WINDOW_BYTES_MIN));
    drop((many, others));
    for stream in &mut streams {
        taken += fill(stream).await;
    }
    assert_eq!(taken, 3 * u64::from(STREAM_WINDOW_BYTES));
    drop((ours, late));
}

#[tokio::test]
async fn whoever_has_more_waiting_than_a_share_is_told_once_all_have_much() {
    let (listener, dialler) = (endpoint(1), endpoint(2));
    let (_dialled, accepted) = connect(&dialler, &listener).await;
    let budget = Arc::<Budget>::default();
    let alone = budget.join(&accepted).unwrap();
    assert!(alone.waits(CONTROL_BYTES_MAX));
    assert!(!alone.waits(1), "more than one session may have");
    drop(alone);

    let greedy: Vec<Share> = (0..5).map(|_| budget.join(&accepted).unwrap()).collect();
    let modest = budget.join(&accepted).unwrap();
    let full = greedy.iter().filter(|share| share.waits(CONTROL_BYTES_MAX)).count();
    assert_eq!(full, CONTROL_BYTES_ALL_MAX / CONTROL_BYTES_MAX);
    assert!(modest.waits(1 << 20), "less than a share is always taken");
    // What was written and who left make room.
    greedy[0].written(CONTROL_BYTES_MAX);
    drop(greedy);
    assert!(modest.waits(CONTROL_BYTES_MAX - (1 << 20)));
}
