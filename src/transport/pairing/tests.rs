//! Pairing over real QUIC on loopback: the right ticket, a wrong one, an expired one, and peers that do not keep to it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use protocol::limits::CALLER_WINDOW_BYTES;
use protocol::op::Genesis;
use protocol::package::FeedKind;
use protocol::switches::Switches;
use protocol::ticket::{Admitted, proved};
use protocol::time::Timestamp;

use super::*;
use crate::identity::SiteKey;
use crate::transport::endpoint::Endpoint;
use crate::transport::settings::Pace;
use crate::transport::tls::{Alpn, Peers};

/// Longer than a loopback takes for two mebibytes.
const WITHIN: Duration = Duration::from_millis(500);
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

#[derive(Debug)]
struct Open;

impl Peers for Open {
    fn site_of(&self, _key: &SiteId) -> Option<SiteId> {
        None
    }

    fn pairing_open(&self) -> bool {
        true
    }
}

fn key(seed: u8) -> SiteKey {
    SiteKey::from_seed(&[seed; 32])
}

fn me() -> Joiner {
    let (site, succession) = (key(2).site_id(), Succession::NONE);
    Joiner { site, name: "Tokyo".to_owned(), succession, shown: site }
}

fn ticket() -> Ticket {
    Ticket {
        succession: Succession::NONE,
        site: key(1).site_id(),
        name: "New York".to_owned(),
        addresses: vec![],
        secret: [0x22; 16],
        expires: Timestamp(1_795_000_000_000),
        offers: vec![],
        every: None,
    }
}

fn admission() -> JoinAnswer {
    let genesis = Genesis {
        kind: FeedKind::Raw,
        name: "tools".to_owned(),
        origin: key(1).site_id(),
        second_origin: None,
        reuse: false,
        overwrite: false,
        created: Timestamp(1_795_000_000_000),
        nonce: [0; 16],
    };
    let feed = Admitted { genesis, feed: "tools".to_owned(), may: Switches::PULL };
    JoinAnswer::Admitted { name: "New York".to_owned(), feeds: vec![feed], every: None }
}

/// A pairing connection as the joiner and as the inviting site have it. The endpoints go with it.
async fn connected() -> (Connection, Connection, [Endpoint; 2]) {
    let [inviting, joining] =
        [1, 2].map(|seed| Endpoint::bind(LOOPBACK, &key(seed), Arc::new(Open), Pace::Background).unwrap());
    let to = inviting.local_addr().unwrap();
    let dialled =
        joining.dial(to, key(1).site_id(), Alpn::Pairing, Pace::Background, PATIENCE).await.unwrap();
    let accepted = timeout(PATIENCE, inviting.accept()).await.unwrap().unwrap();
    assert_eq!(accepted.peer, key(2).site_id());
    (dialled, accepted.connection, [inviting, joining])
}

/// Joins with `held` at a site that issued [`ticket`] and whose clock says `now`.
async fn pair(held: Ticket, now: Timestamp) -> JoinAnswer {
    let (dialled, accepted, _endpoints) = connected().await;
    let joiner = key(2).site_id();
    let decide = async |joining: Joining, exporter: [u8; 32]| {
        let issued = ticket();
        assert_eq!(joining.name, "Tokyo");
        if joining.ticket != issued.ticket_name() {
            JoinAnswer::Refused(Reason::TicketUnknown)
        } else if !proved(&issued.proof_key(), &exporter, joiner, joining.proof) {
            JoinAnswer::Refused(Reason::TicketNotProved)
        } else if now > issued.expires {
            JoinAnswer::Refused(Reason::TicketExpired)
        } else {
            admission()
        }
    };
    let me = me();
    let (joined, admitted) = tokio::join!(join(&dialled, &held, &me), admit(&accepted, joiner, decide));
    admitted.unwrap();
    joined.unwrap()
}

/// Who calls without being known may send so much that nobody reads.
#[tokio::test]
async fn a_stranger_who_pairs_fills_little_memory() {
    let (joiner, inviting, _ends) = connected().await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut stream = joiner.open_uni().await.unwrap();
        let written = timeout(WITHIN, stream.write_all(&vec![7; 2 << 20])).await;
        assert!(written.is_err(), "it is held up, and not sent away: {written:?}");
        streams.push(stream);
    }
    let came = inviting.stats().udp_rx.bytes;
    assert!(came < 4 * u64::from(CALLER_WINDOW_BYTES), "{came} bytes of a stranger are here");
}

#[tokio::test]
async fn a_good_ticket_is_answered_with_its_feeds() {
    assert_eq!(pair(ticket(), Timestamp(0)).await, admission());
}

#[tokio::test]
async fn a_wrong_or_late_ticket_is_answered_with_the_reason() {
    let wrong = Ticket { secret: [0x23; 16], ..ticket() };
    assert_eq!(pair(wrong, Timestamp(0)).await, JoinAnswer::Refused(Reason::TicketUnknown));
    assert_eq!(pair(ticket(), Timestamp(u64::MAX)).await, JoinAnswer::Refused(Reason::TicketExpired));
}

/// [P-70] The proof is bound to the connection and the joiner's key.
#[tokio::test]
async fn a_proof_overheard_on_another_connection_is_worth_nothing() {
    let (dialled, accepted, _endpoints) = connected().await;
    let joiner = key(2).site_id();
    let proof = prove(&ticket().proof_key(), &[9; 32], joiner);
    let stolen = Joining {
        ticket: ticket().ticket_name(),
        proof,
        name: "Tokyo".to_owned(),
        site: joiner,
        succession: Succession::NONE,
    };
    let decide = async |joining: Joining, exporter: [u8; 32]| {
        assert!(!proved(&ticket().proof_key(), &exporter, joiner, joining.proof));
        JoinAnswer::Refused(Reason::TicketNotProved)
    };
    let replaying = async {
        let (mut send, mut receive) = dialled.open_bi().await.unwrap();
        write_frame(&mut send, &stolen.encode()).await.unwrap();
        let answer = read_frame(&mut receive).await.unwrap().unwrap();
        assert_eq!(JoinAnswer::decode(&answer), Ok(JoinAnswer::Refused(Reason::TicketNotProved)));
    };
    let (admitted, ()) = tokio::join!(admit(&accepted, joiner, decide), replaying);
    admitted.unwrap();
}

#[tokio::test]
async fn a_ticket_of_another_site_is_not_shown_to_this_one() {
    let (dialled, accepted, _endpoints) = connected().await;
    let elsewhere = Ticket { site: key(7).site_id(), ..ticket() };
    let error = join(&dialled, &elsewhere, &me()).await.unwrap_err();
    let JoinError::WrongSite(wrong) = error else { panic!("{error:?}") };
    assert_eq!(wrong, WrongSite { expected: key(7).site_id(), found: key(1).site_id() });
    let decide = async |_joining: Joining, _exporter: [u8; 32]| admission();
    let error = admit(&accepted, key(2).site_id(), decide).await.unwrap_err();
    assert!(matches!(error, AdmitError::Gone { .. }), "{error:?}");
}

#[tokio::test]
async fn a_joiner_is_told_apart_an_end_without_answer_and_an_answer_that_does_not_read() {
    let (dialled, accepted, _endpoints) = connected().await;
    accepted.close(VarInt::from_u32(0), b"");
    let error = join(&dialled, &ticket(), &me()).await.unwrap_err();
    assert!(matches!(error, JoinError::ClosedEarly), "{error:?}");

    let (dialled, accepted, _endpoints) = connected().await;
    let answering = async {
        let (mut send, _receive) = accepted.accept_bi().await.unwrap();
        write_frame(&mut send, b"\xff\xff").await.unwrap();
        accepted.closed().await;
    };
    let ticket = ticket();
    let me = me();
    let (joined, ()) = tokio::join!(join(&dialled, &ticket, &me), answering);
    assert!(matches!(joined, Err(JoinError::Malformed(Misbehaved::FrameMalformed))), "{joined:?}");
}

#[tokio::test]
async fn a_joiner_that_talks_rubbish_is_named() {
    let (dialled, accepted, _endpoints) = connected().await;
    let (mut send, _receive) = dialled.open_bi().await.unwrap();
    write_frame(&mut send, b"rubbish").await.unwrap();
    let decide = async |_joining: Joining, _exporter: [u8; 32]| admission();
    let error = admit(&accepted, key(2).site_id(), decide).await.unwrap_err();
    let AdmitError::Malformed { joiner, source } = error else { panic!("{error:?}") };
    assert_eq!((joiner, source), (key(2).site_id(), Misbehaved::FrameMalformed));
}
