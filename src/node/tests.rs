//! Two or three real nodes on loopback in temporary folders: pairing, syncing, permissions, restarts.

mod carriage;
mod clocks;
mod events;
mod evict;
mod healing;
mod ruling;
mod space;

use bytes::Bytes;
use protocol::fault::Reason;
use protocol::limits::PAIRING_ATTEMPTS_PER_MINUTE_MAX;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::*;
use crate::api::{AcceptRequest, InviteRequest, NewFeed, NewPackage};

mod followed;
mod forks;
mod keys;
mod line;
mod links;
mod merge;
mod new_feeds;
mod overlay;
mod partition;
mod receiver;
mod restores;
mod rotation;
mod threats;
mod tokens;
mod twins;
mod unreadable;
mod webhooks;

const PATIENCE: Duration = Duration::from_secs(60);

struct Lab {
    folder: TempDir,
    node: Node,
}

async fn lab(name: &str) -> Lab {
    let folder = tempfile::tempdir().unwrap();
    let node = start(folder.path(), name).await;
    Lab { folder, node }
}

async fn start(data: &Path, name: &str) -> Node {
    let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
    Node::start(data, Some(name), loopback).await.unwrap()
}

async fn feed(node: &Node, name: &str) {
    let new = NewFeed { name: name.to_owned(), kind: "raw".to_owned(), open_reads: true };
    node.create_feed(new).await.unwrap();
}

async fn uploaded(node: &Node, name: &str, content: &[u8]) -> NewPackage {
    let mut upload = node.begin_upload();
    upload.write(Bytes::copy_from_slice(content)).await.unwrap();
    let stored = upload.finish().await.unwrap();
    let file = api::File {
        name: "file.bin".to_owned(),
        size: stored.size,
        blake3: stored.blake3,
        sha256: stored.sha256,
    };
    NewPackage { name: name.to_owned(), version: "1.0".to_owned(), files: vec![file], restore: false }
}

async fn publish(node: &Node, name: &str, content: &[u8]) -> Result<api::Package, Problem> {
    let new = uploaded(node, name, content).await;
    node.publish("tools", new).await
}

async fn invited(host: &Node, may: &str, grant_life_ms: Option<u64>) -> String {
    let request = InviteRequest {
        feeds: vec!["tools".to_owned()],
        peer_may: may.to_owned(),
        expires_ms: wall_clock().0 + 60_000,
        grant_life_ms,
        addresses: vec![host.listen_address().to_string()],
    };
    host.invite(request).await.unwrap().ticket
}

async fn pair(host: &Node, joiner: &Node, may: &str) -> api::Link {
    let ticket = invited(host, may, None).await;
    joiner.accept(accept(&ticket)).await.unwrap()
}

fn accept(ticket: &str) -> AcceptRequest {
    AcceptRequest {
        ticket: ticket.to_owned(),
        mode: None,
        link: None,
        feeds: Vec::new(),
        every_ms: None,
        filter: None,
        merge: false,
    }
}

async fn sync(node: &Node) -> api::Run {
    let (steps, _) = mpsc::channel(8);
    let runs =
        tokio::time::timeout(PATIENCE, node.sync(None, None, false, steps)).await.expect("in time").unwrap();
    runs.runs.last().cloned().unwrap()
}

/// Runs the link until a run brings nothing: a seal follows what it seals. Gives that run.
async fn settle(node: &Node) -> api::Run {
    for _ in 0..20 {
        let run = sync(node).await;
        assert_eq!(run.outcome, "done", "{run:?}");
        if run.ops_in == 0 && run.ops_out == 0 {
            return run;
        }
    }
    panic!("the link never came to rest");
}

/// The same where the other end has just changed the link: it ends the session, and a run with it that was asked for before that is heard of.
async fn settle_after_a_change(node: &Node) -> api::Run {
    for _ in 0..20 {
        let run = sync(node).await;
        if run.outcome == "done" && run.ops_in == 0 && run.ops_out == 0 {
            return run;
        }
    }
    panic!("the link never came to rest");
}

/// The other end of a run may come to its end later than this one.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let seen = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_late| panic!("never: {what}"));
}

/// Nothing runs over a paused link, so what is published meanwhile goes in one run after.
async fn pause(node: &Node, paused: bool) {
    let name = only_link(node).await.name;
    node.change_link(&name, api::LinkChange { paused: Some(paused), ..Default::default() }).await.unwrap();
}

async fn only_link(node: &Node) -> api::Link {
    node.links().await.unwrap().links.into_iter().next().unwrap()
}

async fn names(node: &Node) -> Vec<(String, String)> {
    let page = node.packages("tools", None, None, 1000).await.unwrap();
    page.packages.into_iter().map(|package| (package.name, package.state)).collect()
}

fn ready(names: &[&str]) -> Vec<(String, String)> {
    names.iter().map(|name| ((*name).to_owned(), "ready".to_owned())).collect()
}

/// The same node once more, at the same address.
async fn again_as(lab: Lab, name: &str) -> Lab {
    let listen = lab.node.listen_address();
    lab.node.stop().await;
    let Lab { folder, node } = lab;
    drop(node);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match Node::start(folder.path(), Some(name), listen).await {
            Ok(node) => return Lab { folder, node },
            Err(StartError::Store(OpenError::InUse { .. })) if tokio::time::Instant::now() < deadline => {
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_link_carries_packages_and_deletions_both_ways() {
    let (ny, la) = (lab("New York").await, lab("Los Angeles").await);
    feed(&ny.node, "tools").await;
    publish(&ny.node, "from-ny", b"one").await.unwrap();
    pair(&ny.node, &la.node, "mirror").await;
    let run = sync(&la.node).await;
    assert_eq!(run.outcome, "done", "{run:?}");
    assert_eq!(names(&la.node).await, ready(&["from-ny"]));

    publish(&la.node, "from-la", &vec![7; 3_000_000]).await.unwrap();
    la.node.delete("tools", "from-ny", "1.0", "old".to_owned(), false).await.unwrap();
    settle(&la.node).await;
    // The link is live: one of the two may have gone before anybody asked for a run.
    let went = la.node.runs(None, None, 100).await.unwrap().runs.iter().map(|run| run.ops_out).sum::<u64>();
    assert_eq!(went, 2);
    let gone = ("from-ny".to_owned(), "deleted".to_owned());
    assert_eq!(names(&ny.node).await, [&ready(&["from-la"])[..], &[gone]].concat());
    let roots =
        (ny.node.feed("tools").await.unwrap().state_root, la.node.feed("tools").await.unwrap().state_root);
    assert_eq!(roots.0, roots.1);

    ny.node.seal_feeds().await;
    let run = settle(&la.node).await;
    assert_eq!(run.round_trips, 1, "{run:?}");
    assert!(run.frames_in_bytes <= 200 && run.frames_out_bytes <= 200, "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_link_keeps_a_leafs_packages_at_home_and_says_why() {
    let (ny, tokyo) = (lab("New York").await, lab("Tokyo").await);
    feed(&ny.node, "tools").await;
    publish(&ny.node, "approved", b"one").await.unwrap();
    pair(&ny.node, &tokyo.node, "pull").await;
    publish(&tokyo.node, "local", b"mine").await.unwrap();
    sync(&tokyo.node).await;
    assert_eq!(names(&tokyo.node).await, ready(&["approved", "local"]));
    assert_eq!(names(&ny.node).await, ready(&["approved"]));
    let why = tokyo.node.why("tools", "local", "1.0").await.unwrap();
    assert!(why.because.contains("no other site"), "{why:?}");
    let absent = ny.node.why("tools", "local", "1.0").await.unwrap();
    assert_eq!(absent.state, "absent");

    let hidden = tokyo.node.delete("tools", "approved", "1.0", String::new(), false).await.unwrap();
    assert!(hidden.local);
    sync(&tokyo.node).await;
    assert_eq!(names(&ny.node).await, ready(&["approved"]));
    let why = tokyo.node.why("tools", "approved", "1.0").await.unwrap();
    assert_eq!(why.state, "hidden-here");
}

/// [P-71] One use, told apart from unknown, expired and mistyped.
#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_good_for_one_site_and_one_use() {
    let (ny, la, thief) = (lab("New York").await, lab("LA").await, lab("Thief").await);
    feed(&ny.node, "tools").await;
    let mut request = InviteRequest {
        feeds: vec!["tools".to_owned()],
        peer_may: "pull".to_owned(),
        expires_ms: wall_clock().0 + 60_000,
        grant_life_ms: None,
        addresses: vec![ny.node.listen_address().to_string()],
    };
    let invite = ny.node.invite(request.clone()).await.unwrap();
    // A second ticket stays open, so that the door is open to joiners.
    ny.node.invite(request.clone()).await.unwrap();
    la.node.accept(accept(&invite.ticket)).await.unwrap();
    let again = thief.node.accept(accept(&invite.ticket)).await.unwrap_err();
    assert_eq!((again.code.as_str(), again.exit_code()), ("refused", 6), "{again:?}");
    assert!(again.detail.contains("used before"), "{again:?}");

    let mut forged = protocol::ticket::Ticket::parse(&invite.ticket).unwrap();
    forged.secret = [9; 16];
    let unknown = thief.node.accept(accept(&forged.to_text())).await.unwrap_err();
    assert!(unknown.detail.contains("no such ticket"), "{unknown:?}");
    let own = ny.node.accept(accept(&invite.ticket)).await.unwrap_err();
    assert_eq!(own.code, "refused");
    let text = thief.node.accept(accept("pb1nonsense")).await.unwrap_err();
    assert_eq!(text.exit_code(), 2);
    forged.expires = Timestamp(1);
    let expired = thief.node.accept(accept(&forged.to_text())).await.unwrap_err();
    assert!(expired.detail.contains("expired"), "{expired:?}");
    request.expires_ms = 1;
    assert_eq!(ny.node.invite(request).await.unwrap_err().exit_code(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_origin_lets_others_write() {
    let (ny, la, tokyo) = (lab("New York").await, lab("LA").await, lab("Tokyo").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &la.node, "mirror").await;
    let request = InviteRequest {
        feeds: vec!["tools".to_owned()],
        peer_may: "mirror".to_owned(),
        expires_ms: wall_clock().0 + 60_000,
        grant_life_ms: None,
        addresses: vec![la.node.listen_address().to_string()],
    };
    assert_eq!(la.node.invite(request).await.unwrap_err().exit_code(), 6);
    pair(&la.node, &tokyo.node, "pull").await;
    publish(&ny.node, "relayed", b"bytes").await.unwrap();
    sync(&la.node).await;
    sync(&tokyo.node).await;
    assert_eq!(names(&tokyo.node).await, ready(&["relayed"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_restarted_goes_on_where_it_was() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &la.node, "mirror").await;
    publish(&ny.node, "one", b"1").await.unwrap();
    sync(&la.node).await;
    la.node.stop().await;
    let Lab { folder, node } = la;
    drop(node);
    // The store's lock is given back once every task of the old node is gone.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let again = loop {
        match Node::start(folder.path(), Some("LA"), "127.0.0.1:0".parse().unwrap()).await {
            Ok(node) => break node,
            Err(StartError::Store(OpenError::InUse { .. })) if tokio::time::Instant::now() < deadline => {
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(names(&again).await, ready(&["one"]));
    publish(&ny.node, "two", b"2").await.unwrap();
    let run = sync(&again).await;
    assert_eq!((run.outcome.as_str(), run.ops_in), ("done", 1), "{run:?}");
}

/// Starts a node on a folder that another one may still be leaving.
async fn started(folder: &Path) -> Result<Node, StartError> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match Node::start(folder, Some("NY"), "127.0.0.1:0".parse().unwrap()).await {
            Err(StartError::Store(OpenError::InUse { .. })) if tokio::time::Instant::now() < deadline => {
                tokio::task::yield_now().await;
            }
            ended => return ended,
        }
    }
}

/// It would say in the other one's name what it holds of this one.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_not_served_with_the_key_of_another_site() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    let (me, other) = (ny.node.me(), la.node.me());
    ny.node.stop().await;
    let Lab { folder, node } = ny;
    drop(node);
    std::fs::copy(key_path(la.folder.path()), key_path(folder.path())).unwrap();
    let refused = started(folder.path()).await.unwrap_err();
    assert!(matches!(refused, StartError::OtherKey { was, is, .. } if (was, is) == (me, other)), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_is_not_there_is_named_and_the_run_recorded() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &la.node, "pull").await;
    ny.node.stop().await;
    let run = sync(&la.node).await;
    assert_eq!(run.outcome, "interrupted", "{run:?}");
    let status = la.node.status(None).await.unwrap();
    assert_eq!(status.verdict, 3, "{status:?}");
}

/// Clients of package tools trust the sum that was signed. A node that was restarted since the upload reads the bytes once more.
#[tokio::test(flavor = "multi_thread")]
async fn no_other_sum_than_that_of_the_bytes_is_signed() {
    let la = lab("Los Angeles").await;
    feed(&la.node, "tools").await;
    let right = uploaded(&la.node, "tool", b"bytes").await;
    let la = again_as(la, "Los Angeles").await;
    let mut wrong = right.clone();
    wrong.files[0].sha256 = wrong.files[0].blake3.clone();
    for _ in 0..2 {
        let refused = la.node.publish("tools", wrong.clone()).await.unwrap_err();
        assert_eq!(refused.status, 400);
        assert!(refused.detail.contains(&right.files[0].sha256), "{refused:?}");
        assert!(names(&la.node).await.is_empty());
    }
    la.node.publish("tools", right.clone()).await.unwrap();
    wrong.version = "2.0".to_owned();
    la.node.publish("tools", wrong).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_version_with_other_bytes_is_a_conflict_and_a_deleted_one_needs_restore() {
    let ny = lab("New York").await;
    feed(&ny.node, "tools").await;
    publish(&ny.node, "a", b"1").await.unwrap();
    publish(&ny.node, "a", b"1").await.expect("the same bytes again are no conflict");
    let conflict = publish(&ny.node, "a", b"2").await.unwrap_err();
    assert_eq!((conflict.status, conflict.exit_code()), (409, 4));
    let held = blake3::hash(b"1").to_string();
    assert!(conflict.detail.contains(&held), "{conflict:?}");
    ny.node.delete("tools", "a", "1.0", String::new(), false).await.unwrap();
    assert_eq!(publish(&ny.node, "a", b"1").await.unwrap_err().exit_code(), 4);
    let absent = ny.node.delete("tools", "a", "1.0", String::new(), false).await.unwrap_err();
    assert_eq!(absent.status, 404);
    ny.node.delete("tools", "never", "1.0", String::new(), true).await.unwrap();
    assert!(matches!(publish(&ny.node, "../x", b"1").await, Err(problem) if problem.status == 400));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_known_until_it_is_revoked_and_its_text_is_not_kept() {
    let ny = lab("New York").await;
    feed(&ny.node, "tools").await;
    let new =
        api::NewToken { label: "ci".to_owned(), feeds: vec!["tools".to_owned()], write: true, admin: false };
    let made = ny.node.create_token(new).await.unwrap();
    assert_eq!(ny.node.check_token(&made.token).await.unwrap(), Some(made.about.clone()));
    assert_eq!(ny.node.check_token("pbt_other").await.unwrap(), None);
    assert_eq!(ny.node.tokens().await.unwrap().tokens, vec![made.about.clone()]);
    ny.node.revoke_token(&made.about.id).await.unwrap();
    assert_eq!(ny.node.check_token(&made.token).await.unwrap(), None);
    assert_eq!(ny.node.revoke_token(&made.about.id).await.unwrap_err().status, 404);
    let of_one_feed = vec!["tools".to_owned()];
    let bound = api::NewToken { label: "ci".to_owned(), feeds: of_one_feed, write: false, admin: true };
    let refused = ny.node.create_token(bound).await.unwrap_err();
    assert_eq!(refused.status, 400, "one of an administrator is for everything, and must not seem bound");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_ticket_of_the_same_site_extends_the_link_and_a_taken_name_is_refused_before_it_is_used() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    feed(&ny.node, "docs").await;
    let first = pair(&ny.node, &la.node, "pull").await;
    let request = InviteRequest {
        feeds: vec!["docs".to_owned()],
        peer_may: "mirror".to_owned(),
        expires_ms: wall_clock().0 + 60_000,
        grant_life_ms: None,
        addresses: vec![ny.node.listen_address().to_string()],
    };
    let invite = ny.node.invite(request).await.unwrap();
    feed(&la.node, "docs").await;
    let taken = la.node.accept(accept(&invite.ticket)).await.unwrap_err();
    assert_eq!((taken.status, taken.exit_code()), (409, 4), "{taken:?}");
    let mut renamed = accept(&invite.ticket);
    renamed.feeds = vec![("docs".to_owned(), "ny-docs".to_owned())];
    let link = la.node.accept(renamed).await.unwrap();
    assert_eq!((link.name, link.feeds.len()), (first.name, 2));
    assert_eq!(ny.node.links().await.unwrap().links.len(), 1);
    publish(&ny.node, "in-tools", b"1").await.unwrap();
    let run = sync(&la.node).await;
    assert_eq!(run.outcome, "done", "{run:?}");
    assert_eq!(names(&la.node).await, ready(&["in-tools"]));
    assert_eq!(la.node.feed("ny-docs").await.unwrap().id, ny.node.feed("docs").await.unwrap().id);
}

/// [P-71] A sixth attempt within a minute learns nothing of what was wrong, and who has the ticket is let in all the same.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_guesses_tickets_is_told_to_wait() {
    let (ny, thief) = (lab("New York").await, lab("Thief").await);
    feed(&ny.node, "tools").await;
    let request = InviteRequest {
        feeds: vec!["tools".to_owned()],
        peer_may: "pull".to_owned(),
        expires_ms: wall_clock().0 + 60_000,
        grant_life_ms: None,
        addresses: vec![ny.node.listen_address().to_string()],
    };
    let invite = ny.node.invite(request).await.unwrap();
    let mut ticket = protocol::ticket::Ticket::parse(&invite.ticket).unwrap();
    let mut answers = Vec::new();
    for guess in 0..=PAIRING_ATTEMPTS_PER_MINUTE_MAX {
        ticket.secret = [u8::try_from(guess).unwrap(); 16];
        answers.push(thief.node.accept(accept(&ticket.to_text())).await.unwrap_err());
    }
    let last = answers.pop().unwrap();
    assert!(last.detail.contains(&Reason::PairingTooOften.to_string()), "{last:?}");
    assert!(last.hint.is_some_and(|hint| hint.contains("minute")), "waiting is what helps");
    assert!(
        answers.iter().all(|answer| answer.detail.contains(&Reason::TicketUnknown.to_string())),
        "{answers:?}"
    );
    thief.node.accept(accept(&invite.ticket)).await.unwrap();
}

/// A node on a folder that another one of this process has just let go.
async fn restarted(data: &Path, name: &str) -> Node {
    let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match Node::start(data, Some(name), loopback).await {
            Ok(node) => return node,
            Err(StartError::Store(OpenError::InUse { .. })) if tokio::time::Instant::now() < deadline => {
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}
