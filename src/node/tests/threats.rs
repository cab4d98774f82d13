//! Those who are no peers: on the line, between two sites, with an old ticket, with a copy of somebody's answer.

use std::sync::atomic::{AtomicUsize, Ordering};

use protocol::limits::{PAIRINGS_MAX, TICKET_ADDRESSES_MAX, TICKET_FEEDS_MAX, TICKET_LIFE_MS_MAX};
use protocol::link::{Dial, Link};
use protocol::ticket::{Joining, Ticket, prove};

use super::line::{Act, Line};
use super::*;
use crate::api::Invite;
use crate::node::judged::judged;
use crate::node::sessions::ConnectError;
use crate::transport::endpoint::DialError;
use crate::transport::tls::Alpn;

fn untouched() -> Act {
    Arc::new(|datagram| vec![datagram])
}

async fn invited(host: &Node, at: SocketAddr) -> Invite {
    let request = InviteRequest {
        feeds: vec!["tools".to_owned()],
        peer_may: "mirror".to_owned(),
        expires_ms: wall_clock().0 + 60_000,
        grant_life_ms: None,
        addresses: vec![at.to_string()],
    };
    host.invite(request).await.unwrap()
}

fn contains(datagrams: &[Vec<u8>], secret: &[u8]) -> bool {
    datagrams.iter().any(|datagram| datagram.windows(secret.len()).any(|window| window == secret))
}

/// [P-1] TLS 1.3 without server name; keys are shown inside it.
#[tokio::test(flavor = "multi_thread")]
async fn who_listens_on_the_line_sees_no_name_key_version_or_byte_of_a_package() {
    let (ny, la) = (lab("Newyorksite").await, lab("Losangelessite").await);
    feed(&ny.node, "tools").await;
    let content = b"bytes that nobody on the line shall see".repeat(1000);
    publish(&ny.node, "secretproject", &content).await.unwrap();
    let line = Line::to(ny.node.listen_address(), untouched()).await;
    let invite = invited(&ny.node, line.address).await;
    la.node.accept(accept(&invite.ticket)).await.unwrap();
    sync(&la.node).await;
    assert_eq!(names(&la.node).await, ready(&["secretproject"]));
    let passed = line.passed();
    assert!(passed.iter().map(Vec::len).sum::<usize>() > content.len(), "the line carried it all");
    let (host, joiner) = (ny.node.me(), la.node.me());
    let blob = *blake3::hash(&content).as_bytes();
    for secret in [
        b"secretproject".as_slice(),
        b"tools",
        b"file.bin",
        b"Newyorksite",
        b"Losangelessite",
        &host.0,
        &joiner.0,
        &blob,
        b"nobody on the line",
        b"packetboat",
        crate::transport::tls::SERVER_NAME.as_bytes(),
    ] {
        assert!(!contains(&passed, secret), "{:?} was to be read", String::from_utf8_lossy(secret));
    }
}

/// A line that flips bits and says everything again costs repeats, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_changes_and_repeats_what_it_carries_changes_nothing() {
    let (ny, la) = (lab("New York").await, lab("Los Angeles").await);
    feed(&ny.node, "tools").await;
    let content: Vec<u8> = (0..400_000_u32).flat_map(|n| n.to_le_bytes()).collect();
    publish(&ny.node, "large", &content).await.unwrap();
    let count = AtomicUsize::new(0);
    let meddling: Act = Arc::new(move |mut datagram| {
        let turn = count.fetch_add(1, Ordering::Relaxed);
        if turn % 16 == 3 {
            let at = turn.wrapping_mul(2_654_435_761) % datagram.len();
            datagram[at] ^= 1 << (turn % 8);
        }
        if turn.is_multiple_of(5) { vec![datagram.clone(), datagram] } else { vec![datagram] }
    });
    let line = Line::to(ny.node.listen_address(), meddling).await;
    let invite = invited(&ny.node, line.address).await;
    la.node.accept(accept(&invite.ticket)).await.unwrap();
    let run = sync(&la.node).await;
    assert_eq!((run.outcome.as_str(), run.blobs_missing), ("done", 0), "{run:?}");
    assert_eq!(names(&la.node).await, ready(&["large"]));
    let (steps, _) = mpsc::channel(8);
    let verified = la.node.verify(Thorough::default(), steps).await.unwrap();
    assert_eq!((verified.blobs_damaged, verified.damaged.len()), (0, 0));
}

/// [P-1] Somebody in between has a key of their own, and that is not the one that was dialled or that was admitted.
#[tokio::test(flavor = "multi_thread")]
async fn who_stands_between_two_sites_with_a_key_of_their_own_gets_nothing() {
    const ATTEMPTS: usize = 1000;
    let (ny, la, between) = (lab("New York").await, lab("Los Angeles").await, lab("Between").await);
    feed(&ny.node, "tools").await;
    publish(&ny.node, "a", b"one").await.unwrap();
    pair(&ny.node, &la.node, "mirror").await;
    sync(&la.node).await;
    // The one in between answers everybody from here as often as they call, as an attacker would.
    let friend = lab("Friend").await;
    feed(&between.node, "tools").await;
    pair(&between.node, &friend.node, "pull").await;
    sync(&friend.node).await;
    // Whoever dials New York comes to the one in between, who dials on.
    let real = ny.node.listen_address().to_string();
    let theirs = between.node.listen_address().to_string();
    let link = only_link(&la.node).await.name;
    let moved = |to: &str| api::LinkChange { addresses: Some(vec![to.to_owned()]), ..Default::default() };
    la.node.change_link(&link, moved(&theirs)).await.unwrap();
    la.node.cut_connections();
    publish(&ny.node, "b", b"two").await.unwrap();
    for _ in 0..ATTEMPTS {
        let dialled = la.node.dial(&theirs, ny.node.me().into(), Alpn::Link).await;
        assert!(matches!(dialled, Err(ConnectError::Dial(DialError::WrongSite { .. }))), "{dialled:?}");
        let onward = between.node.dial(&real, ny.node.me().into(), Alpn::Link).await;
        let turned_away = match onward {
            Err(ConnectError::Dial(DialError::Refused { .. })) => true,
            Ok(connection) => crate::transport::endpoint::is_refusal(&connection.closed().await),
            Err(_) => false,
        };
        assert!(turned_away, "a stranger is turned away");
    }
    let run = sync(&la.node).await;
    assert_ne!(run.outcome, "done");
    assert_eq!(names(&la.node).await, ready(&["a"]), "nothing came, and nothing went");
    assert_eq!(names(&between.node).await, []);
    la.node.change_link(&link, moved(&real)).await.unwrap();
    assert_eq!(sync(&la.node).await.outcome, "done");
    assert_eq!(names(&la.node).await, ready(&["a", "b"]));
}

/// A ticket admits one site, whoever is first.
#[tokio::test(flavor = "multi_thread")]
async fn of_joiners_that_come_with_one_ticket_at_the_same_time_exactly_one_is_let_in() {
    let host = lab("Host").await;
    feed(&host.node, "tools").await;
    let invite = invited(&host.node, host.node.listen_address()).await;
    let joiners = [lab("One").await, lab("Two").await, lab("Three").await, lab("Four").await];
    let mut racing = tokio::task::JoinSet::new();
    for joiner in &joiners {
        let (node, request) = (joiner.node.clone(), accept(&invite.ticket));
        racing.spawn(async move { node.accept(request).await });
    }
    let ended = racing.join_all().await;
    assert_eq!(ended.iter().filter(|joined| joined.is_ok()).count(), 1, "{ended:?}");
    assert_eq!(host.node.links().await.unwrap().links.len(), 1);
    for refused in ended.into_iter().filter_map(Result::err) {
        assert!(refused.detail.contains("ticket"), "{refused:?}");
    }
}

/// Whoever is told that a ticket is withdrawn takes it for one that let nobody in.
#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_that_is_withdrawn_while_it_is_used_is_used_or_withdrawn_and_not_both() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    let invite = invited(&ny.node, ny.node.listen_address()).await;
    // Whoever signs waits, so that the joiner is judged and not let in yet.
    let (site, (held, holds)) = (ny.node.inner.site.clone(), tokio::sync::oneshot::channel());
    let (release, released) = std::sync::mpsc::channel::<()>();
    let feed = site.store().feed_named("tools").unwrap().unwrap().0;
    let holding = tokio::task::spawn_blocking(move || {
        site.author_if(feed, |_store| {
            held.send(()).unwrap();
            released.recv().unwrap();
            Ok::<_, crate::keeper::AuthorError>(Vec::new())
        })
    });
    holds.await.unwrap();
    let joining = tokio::spawn(async move { (la.node.accept(accept(&invite.ticket)).await, la) });
    while ny.node.inner.link_edits.try_lock().is_ok() {
        tokio::task::yield_now().await;
    }
    let node = ny.node.clone();
    let withdrawing = tokio::spawn(async move { node.revoke_pairing("all-open").await });
    for _ in 0..100_000 {
        if withdrawing.is_finished() {
            break;
        }
        tokio::task::yield_now().await;
    }
    release.send(()).unwrap();
    holding.await.unwrap().unwrap();
    let (joined, withdrawn) = (joining.await.unwrap().0, withdrawing.await.unwrap().unwrap());
    assert_ne!(joined.is_ok(), !withdrawn.pairings.is_empty(), "{joined:?} {withdrawn:?}");
    let state = ny.node.pairings().await.unwrap().pairings[0].state.clone();
    assert_eq!(state, if joined.is_ok() { "used" } else { "withdrawn" });
}

/// The site stops between the two: "used" is on its disk, and the answer never went out.
#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_whose_use_was_kept_and_never_answered_is_used_and_a_fresh_one_lets_its_joiner_in() {
    let (ny, la, thief) = (lab("New York").await, lab("LA").await, lab("Thief").await);
    feed(&ny.node, "tools").await;
    publish(&ny.node, "a", b"one").await.unwrap();
    let old = invited(&ny.node, ny.node.listen_address()).await;
    // A second ticket stays open, so that the door is open to joiners.
    let fresh = invited(&ny.node, ny.node.listen_address()).await;
    let ticket = Ticket::parse(&old.ticket).unwrap();
    let (joiner, exporter) = (la.node.me(), [7; 32]);
    let me = la.node.joiner(joiner);
    let joining = Joining {
        ticket: ticket.ticket_name(),
        proof: prove(&ticket.proof_key(), &exporter, joiner),
        name: me.name.clone(),
        site: joiner,
        succession: me.succession,
    };
    let link = Link::new("la".to_owned(), joiner, me.name, Dial::Incoming, Vec::new());
    judged(&ny.node.inner.site, link, &joining, (joiner, &exporter)).unwrap();
    let ny = again_as(ny, "New York").await;

    for who in [&thief, &la] {
        let refused = who.node.accept(accept(&old.ticket)).await.unwrap_err();
        assert_eq!((refused.code.as_str(), refused.exit_code()), ("refused", 6), "{refused:?}");
        assert!(refused.detail.contains("used before"), "{refused:?}");
        assert!(refused.hint.is_some_and(|hint| hint.contains("a fresh ticket")));
        assert!(who.node.links().await.unwrap().links.is_empty());
    }
    la.node.accept(accept(&fresh.ticket)).await.unwrap();
    assert_eq!(ny.node.links().await.unwrap().links.len(), 1, "the link that was kept is the one it has");
    assert_eq!(sync(&la.node).await.outcome, "done");
    assert_eq!(names(&la.node).await, ready(&["a"]));
}

/// Each of them may hold memory and a task here for as long as a pairing may take.
#[tokio::test(flavor = "multi_thread")]
async fn one_joiner_over_the_limit_is_told_that_too_many_join_and_the_others_keep_their_places() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    // A known site has come from this network, so that its calls are not counted.
    pair(&ny.node, &la.node, "mirror").await;
    sync(&la.node).await;
    let open = invited(&ny.node, ny.node.listen_address()).await;
    let tokyo = lab("Tokyo").await;
    let (at, host) = (ny.node.listen_address().to_string(), ny.node.me());
    let mut silent = Vec::new();
    for _ in 0..=PAIRINGS_MAX {
        silent.push(la.node.dial(&at, host.into(), Alpn::Pairing).await.unwrap());
    }
    let ends = silent.iter().map(|joiner| Box::pin(joiner.closed()));
    let (end, ..) = tokio::time::timeout(PATIENCE, futures_util::future::select_all(ends))
        .await
        .expect("one is turned away");
    assert!(end.to_string().contains("too many join at once"), "{end}");
    let turned_away = silent.iter().filter(|joiner| joiner.close_reason().is_some()).count();
    assert_eq!(turned_away, 1);
    let busy = tokyo.node.accept(accept(&open.ticket)).await.unwrap_err();
    assert_eq!((busy.status, busy.exit_code()), (503, 5), "{busy:?}");
    assert!(busy.hint.is_some_and(|hint| hint.contains("good still")), "a fresh ticket is not what helps");
    drop(silent);
    eventually("a place for a joiner", async || tokyo.node.accept(accept(&open.ticket)).await.is_ok()).await;
}

/// What a ticket cannot hold is said where it is made, and not by who gets it.
#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_for_too_many_feeds_or_for_too_long_is_not_made_and_one_for_all_feeds_can_be_read() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    let feeds: Vec<String> = (0..=TICKET_FEEDS_MAX).map(|n| format!("feed-{n:02}")).collect();
    for name in &feeds {
        feed(&ny.node, name).await;
    }
    let address = ny.node.listen_address().to_string();
    let request = |feeds: &[String], life_ms: u64| InviteRequest {
        feeds: feeds.to_vec(),
        peer_may: "pull".to_owned(),
        expires_ms: wall_clock().0 + life_ms,
        grant_life_ms: None,
        addresses: vec![address.clone(); TICKET_ADDRESSES_MAX + 1],
    };
    let many = ny.node.invite(request(&feeds, 60_000)).await.unwrap_err();
    assert_eq!(many.exit_code(), 2, "{many:?}");
    assert!(many.detail.contains(&TICKET_FEEDS_MAX.to_string()), "{many:?}");
    let long = ny.node.invite(request(&feeds[..1], TICKET_LIFE_MS_MAX + 60_000)).await.unwrap_err();
    assert_eq!(long.exit_code(), 2, "{long:?}");
    assert!(long.detail.contains("30 days"), "{long:?}");
    assert!(ny.node.pairings().await.unwrap().pairings.is_empty(), "none was made");

    let all = ny.node.invite(request(&["*".to_owned()], TICKET_LIFE_MS_MAX - 60_000)).await.unwrap();
    let ticket = Ticket::parse(&all.ticket).unwrap();
    assert_eq!((ticket.offers.len(), ticket.addresses.len()), (TICKET_FEEDS_MAX, TICKET_ADDRESSES_MAX));
    la.node.accept(accept(&all.ticket)).await.unwrap();
    eventually("the feeds that the ticket had no room for", async || {
        la.node.feeds().await.unwrap().feeds.len() == feeds.len()
    })
    .await;
}
