//! Tests with real quinn on loopback: who gets in, what they are told, and how a restart shows.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use tokio::runtime::Runtime;

use super::*;
use crate::transport::framing::{ReadFrameError, read_frame, write_frame};

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct Table {
    known: Vec<SiteId>,
    pairing: bool,
}

impl Peers for Table {
    fn site_of(&self, key: &SiteId) -> Option<SiteId> {
        self.known.iter().find(|known| *known == key).copied()
    }

    fn pairing_open(&self) -> bool {
        self.pairing
    }
}

fn key(seed: u8) -> SiteKey {
    SiteKey::from_seed(&[seed; 32])
}

fn listener(address: SocketAddr, knows: &[u8], pairing: bool) -> Endpoint {
    let known = knows.iter().map(|seed| key(*seed).site_id()).collect();
    Endpoint::bind(address, &key(1), Arc::new(Table { known, pairing }), Pace::Background).unwrap()
}

fn dialler(seed: u8) -> Endpoint {
    Endpoint::bind(LOOPBACK, &key(seed), Arc::new(Table::default()), Pace::Background).unwrap()
}

async fn dial(from: &Endpoint, to: &Endpoint, expected: u8, alpn: Alpn) -> Result<Connection, DialError> {
    from.dial(to.local_addr().unwrap(), key(expected).site_id(), alpn, Pace::Background, PATIENCE).await
}

/// The error that ends a connection, which must come soon.
async fn end_of(connection: &Connection) -> ConnectionError {
    timeout(PATIENCE, connection.closed()).await.unwrap()
}

/// How a dial that was turned away ends: during the handshake, or right after.
async fn was_refused(outcome: Result<Connection, DialError>) -> bool {
    match outcome {
        Ok(connection) => is_refusal(&end_of(&connection).await),
        Err(error) => matches!(error, DialError::Refused { .. }),
    }
}

/// Whether anything was handed over, asked after the endpoint has finished with all visitors.
async fn admitted_nobody(listener: &Endpoint) -> bool {
    listener.close(0, "").await;
    timeout(PATIENCE, listener.accept()).await.unwrap().is_none()
}

#[tokio::test]
async fn known_sites_meet_and_exchange_frames() {
    let (listener, dialler) = (listener(LOOPBACK, &[2], false), dialler(2));
    let connection = dial(&dialler, &listener, 1, Alpn::Link).await.unwrap();
    assert_eq!(key_of(&connection), Some(key(1).site_id()));
    let accepted = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    assert_eq!((accepted.peer, accepted.alpn), (key(2).site_id(), Alpn::Link));

    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    write_frame(&mut send, b"hello").await.unwrap();
    let (mut answer, mut question) = accepted.connection.accept_bi().await.unwrap();
    assert_eq!(read_frame(&mut question).await.unwrap().unwrap(), b"hello".as_slice());
    write_frame(&mut answer, b"welcome").await.unwrap();
    assert_eq!(read_frame(&mut receive).await.unwrap().unwrap(), b"welcome".as_slice());
}

/// [P-1], [P-30] A site is its key: the dialler accepts that one only.
#[tokio::test]
async fn a_listener_with_another_key_is_refused_by_both_names() {
    let (listener, dialler) = (listener(LOOPBACK, &[2], false), dialler(2));
    let error = dial(&dialler, &listener, 9, Alpn::Link).await.unwrap_err();
    let text = error.to_string();
    let DialError::WrongSite { wrong, .. } = error else { panic!("{error:?}") };
    assert_eq!(wrong, WrongSite { expected: key(9).site_id(), found: key(1).site_id() });
    assert!(text.contains(&wrong.expected.to_string()) && text.contains(&wrong.found.to_string()), "{text}");
    assert!(admitted_nobody(&listener).await);
}

#[tokio::test]
async fn a_stranger_is_refused_before_any_stream_is_read() {
    let (listener, dialler) = (listener(LOOPBACK, &[2], false), dialler(3));
    assert!(was_refused(dial(&dialler, &listener, 1, Alpn::Link).await).await);
    assert!(admitted_nobody(&listener).await);
}

/// [P-30] While a ticket is open any key may pair, and do nothing else.
#[tokio::test]
async fn an_open_ticket_admits_a_stranger_to_pairing_only() {
    let (listener, dialler) = (listener(LOOPBACK, &[], true), dialler(3));
    assert!(was_refused(dial(&dialler, &listener, 1, Alpn::Link).await).await);
    let connection = dial(&dialler, &listener, 1, Alpn::Pairing).await.unwrap();
    let accepted = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    assert_eq!((accepted.peer, accepted.alpn), (key(3).site_id(), Alpn::Pairing));

    let (mut here, mut there) = ([0; 32], [1; 32]);
    connection.export_keying_material(&mut here, b"pairing", b"").unwrap();
    accepted.connection.export_keying_material(&mut there, b"pairing", b"").unwrap();
    assert_eq!(here, there);
}

#[tokio::test]
async fn without_an_open_ticket_pairing_is_refused_even_to_a_known_site() {
    let (listener, dialler) = (listener(LOOPBACK, &[2], false), dialler(2));
    assert!(was_refused(dial(&dialler, &listener, 1, Alpn::Pairing).await).await);
    assert!(admitted_nobody(&listener).await);
}

#[tokio::test]
async fn a_client_that_asks_for_both_protocols_is_refused() {
    let (listener, dialler) = (listener(LOOPBACK, &[3], true), dialler(3));
    let provider = &dialler.provider;
    let mut spki = vec![0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
    spki.extend_from_slice(key(3).site_id().as_bytes());
    let der = key(3).to_pkcs8_der();
    let signer = rustls::pki_types::PrivateKeyDer::try_from(der.to_vec()).unwrap();
    let certified = rustls::sign::CertifiedKey::new(
        vec![CertificateDer::from(spki)],
        provider.key_provider.load_private_key(signer).unwrap(),
    );
    let mut both = rustls::ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Expected::new(key(1).site_id(), provider))
        .with_client_cert_resolver(Arc::new(rustls::client::AlwaysResolvesClientRawPublicKeys::new(
            Arc::new(certified),
        )));
    both.alpn_protocols = Alpn::ALL.map(|alpn| alpn.as_bytes().to_vec()).into();
    let tls = crypto::rustls::QuicClientConfig::try_from(both).unwrap();
    let config = settings::client(Arc::new(tls), Pace::Background);
    let connecting = dialler.quinn.connect_with(config, listener.local_addr().unwrap(), SERVER_NAME).unwrap();
    assert!(is_refusal(&timeout(PATIENCE, connecting).await.unwrap().unwrap_err()));
    assert!(admitted_nobody(&listener).await);
}

/// [P-31] A frame over the limit ends the session before it is read.
#[tokio::test]
async fn an_oversized_frame_over_a_real_stream_is_refused_unread() {
    let (listener, dialler) = (listener(LOOPBACK, &[2], false), dialler(2));
    let connection = dial(&dialler, &listener, 1, Alpn::Link).await.unwrap();
    let accepted = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let mut send = connection.open_uni().await.unwrap();
    send.write_all(&[0xbf, 0xff, 0xff, 0xff]).await.unwrap();
    let mut receive = accepted.connection.accept_uni().await.unwrap();
    let error = timeout(PATIENCE, read_frame(&mut receive)).await.unwrap().unwrap_err();
    assert!(matches!(error, ReadFrameError::Oversized { announced: 0x3fff_ffff }), "{error:?}");
}

#[tokio::test]
async fn nobody_there_is_silence_not_a_hang() {
    let dialler = dialler(2);
    let deaf = UdpSocket::bind(LOOPBACK).unwrap();
    let (address, within) = (deaf.local_addr().unwrap(), Duration::from_millis(200));
    let outcome = dialler.dial(address, key(1).site_id(), Alpn::Link, Pace::Background, within).await;
    assert!(matches!(outcome, Err(DialError::Silent { .. })), "{outcome:?}");
}

/// Nothing is written, so only the keep-alive can meet the second life.
#[test]
fn a_restarted_peer_is_noticed_by_a_reset_and_not_by_silence() {
    const AT_REST: Duration = Duration::from_secs(1);
    let here = Runtime::new().unwrap();
    let first_life = Runtime::new().unwrap();
    let killed = first_life.block_on(async { listener(LOOPBACK, &[2], false) });
    let address = killed.local_addr().unwrap();
    let dialler = here.block_on(async { dialler(2) });
    let connection = here.block_on(dial(&dialler, &killed, 1, Alpn::Link)).unwrap();
    let accepted = first_life.block_on(killed.accept()).unwrap();
    // What the handshake leaves to say would be said again to the second life, and answered by it: that must be over.
    let early = here.block_on(async { timeout(AT_REST, connection.closed()).await });
    assert!(early.is_err(), "{early:?}");
    // Dropping the runtime first is a kill: no task is left that could say goodbye.
    drop(first_life);
    drop((accepted, killed));

    here.block_on(async {
        let _second_life = listener(address, &[2], false);
        let within = Duration::from_millis(settings::KEEP_ALIVE_MS) + Duration::from_secs(1);
        let end = timeout(within, connection.closed()).await.expect("a keep-alive is answered by a reset");
        assert_eq!(end, ConnectionError::Reset);
    });
}

/// More than a network's share: the rest is turned away without a handshake, and who is known there is not.
#[tokio::test]
async fn strangers_who_call_too_often_are_turned_away_before_a_handshake_and_known_sites_are_not() {
    let listener = listener(LOOPBACK, &[2], false);
    let stranger = dialler(3);
    let mut before_a_handshake = 0;
    for _ in 0..2 * protocol::limits::HANDSHAKES_AT_ONCE + 20 {
        let outcome = dial(&stranger, &listener, 1, Alpn::Link).await;
        before_a_handshake += u64::from(matches!(outcome, Err(DialError::Handshake { .. })));
    }
    assert!(before_a_handshake > 0, "all of them got a handshake");
    let known = dialler(2);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let connection = loop {
        match dial(&known, &listener, 1, Alpn::Link).await {
            Ok(connection) => break connection,
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
        }
    };
    drop(timeout(PATIENCE, listener.accept()).await.unwrap().unwrap());
    for _ in 0..2 * protocol::limits::HANDSHAKES_AT_ONCE {
        dial(&known, &listener, 1, Alpn::Link).await.unwrap();
        drop(timeout(PATIENCE, listener.accept()).await.unwrap().unwrap());
    }
    drop(connection);
}

/// The first datagram of somebody who calls, and says nothing more.
fn call(seed: u8, to: SocketAddr) -> Vec<u8> {
    let caller = key(seed);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let expected = Expected::new(key(1).site_id(), &provider);
    let tls = Arc::new(tls::client(&caller, expected, Alpn::Link, provider, None).unwrap());
    let endpoint = Arc::new(settings::endpoint(&caller));
    let mut endpoint = quinn_proto::Endpoint::new(endpoint, None, true, None);
    let config = settings::client(tls, Pace::Background);
    let (_, mut connection) = endpoint.connect(Instant::now(), config, to, SERVER_NAME).unwrap();
    let mut datagram = Vec::new();
    let sent = connection.poll_transmit(Instant::now(), 1, &mut datagram).unwrap();
    datagram.truncate(sent.size);
    datagram
}

/// Whether a call from an address of its own is answered by a Retry: the caller is to prove that address first.
async fn is_asked_for_proof(to: SocketAddr) -> bool {
    // The form and the type of a long header.
    const KIND: u8 = 0xf0;
    const RETRY: u8 = 0xf0;
    let socket = tokio::net::UdpSocket::bind(LOOPBACK).await.unwrap();
    socket.send_to(&call(3, to), to).await.unwrap();
    let mut answer = [0; 2048];
    timeout(PATIENCE, socket.recv(&mut answer)).await.expect("a call is answered").unwrap();
    answer[0] & KIND == RETRY
}

/// A known site has come from this network, so that the count of its calls does not come first.
#[tokio::test]
async fn with_so_many_handshakes_under_way_the_next_caller_is_to_prove_its_address_and_gets_in_by_that() {
    let listener = listener(LOOPBACK, &[2], false);
    let to = listener.local_addr().unwrap();
    let known = dialler(2);
    dial(&known, &listener, 1, Alpn::Link).await.unwrap();
    drop(timeout(PATIENCE, listener.accept()).await.unwrap().unwrap());
    for n in 0..HANDSHAKES_UNPROVEN_MAX {
        assert!(!is_asked_for_proof(to).await, "caller {n}");
    }
    assert!(is_asked_for_proof(to).await);
    dial(&known, &listener, 1, Alpn::Link).await.unwrap();
    let accepted = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    assert_eq!(accepted.peer, key(2).site_id());
}

/// Both are behind one address, and know this site by different keys: what the one refuses the other takes.
#[tokio::test]
async fn two_sites_behind_one_address_that_know_this_one_by_different_keys_are_both_let_in() {
    let listener = listener(LOOPBACK, &[2, 3], false);
    listener.show_also(&key(8)).unwrap();
    let (by_second, by_first) = (dialler(2), dialler(3));
    let calls = async {
        let (mut first, mut second) = (false, false);
        while !first || !second {
            second |= dial(&by_second, &listener, 8, Alpn::Link).await.is_ok();
            first |= dial(&by_first, &listener, 1, Alpn::Link).await.is_ok();
        }
    };
    timeout(PATIENCE, calls).await.expect("each is let in");
}

/// Calls take turns in such a way that each refuses what the other one was to be shown.
#[test]
fn where_both_keys_were_refused_either_is_shown() {
    let (key, from) = (key(1), LOOPBACK.ip());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = tls::server(&key, Arc::new(Table::default()), provider, None).unwrap();
    let doors = SecondDoor::default();
    doors.open(Some(door(&key, tls, Pace::Background)));
    let shows_second = || doors.config_for(from).is_some();
    let refuses = |second| {
        let error_code = quinn_proto::TransportErrorCode::crypto(42);
        let close =
            quinn_proto::ConnectionClose { error_code, frame_type: None, reason: bytes::Bytes::new() };
        doors.refused_by(from, second, &ConnectionError::ConnectionClosed(close));
    };
    assert!(!shows_second());
    refuses(false);
    assert!(shows_second());
    refuses(true);
    let shown: BTreeSet<bool> = (0..128).map(|_| shows_second()).collect();
    assert_eq!(shown.len(), 2);
}
