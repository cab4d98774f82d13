//! What an administrator sees of links at both ends: verdicts, plans, runs, lag, and grants that end.

use protocol::id::LogId;
use protocol::session::{Event as Noticed, Side};
use protocol::ticket::Ticket;

use super::*;
use crate::api::plan::TicketPlan;
use crate::node::sessions::ConnectError;
use crate::transport::tls::Alpn;

async fn asking(host: &Node, joiner: &Node, may: &str, mode: &str) -> api::Link {
    let ticket = invited(host, may, None).await;
    let request = AcceptRequest { mode: Some(mode.to_owned()), ..accept(&ticket) };
    joiner.accept(request).await.unwrap()
}

/// The newest run of that sort. Its end reaches the listener's record a moment after the dialler's.
async fn ended_run(node: &Node, sort: impl Fn(&api::Run) -> bool) -> api::Run {
    let found = async {
        loop {
            let runs = node.runs(None, None, 20).await.unwrap();
            match runs.runs.into_iter().find(|run| run.outcome == "running" || sort(run)) {
                Some(run) if run.outcome != "running" => return run,
                Some(_) | None => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("a run in time")
}

async fn last_run(node: &Node) -> api::Run {
    ended_run(node, |_| true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_record_a_run_with_its_verdict_what_moved_and_the_same_roots() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &la.node, "mirror").await;
    sync(&la.node).await;
    pause(&la.node, true).await;
    for n in 0..25 {
        publish(&la.node, &format!("from-la-{n}"), format!("{n}").as_bytes()).await.unwrap();
    }
    la.node.delete("tools", "from-la-3", "1.0", String::new(), false).await.unwrap();
    pause(&la.node, false).await;
    sync(&la.node).await;
    let dialler = ended_run(&la.node, |run| run.ops_out > 0).await;
    let listener = ended_run(&ny.node, |run| run.ops_in > 0).await;
    assert_eq!((dialler.outcome.as_str(), listener.outcome.as_str()), ("done", "done"), "{listener:?}");
    assert_eq!((listener.came.adds, listener.came.deletes), (25, 1), "{listener:?}");
    assert_eq!(listener.came, dialler.went);
    assert_eq!((listener.came.added.len(), listener.came.deleted.len()), (20, 1));
    assert_eq!(listener.came.deleted, ["tools/from-la-3@1.0"]);
    assert_eq!(listener.feeds[0].verdict.as_deref(), Some("valid"));
    let (pushed, took) = (&dialler.feeds[0], &listener.feeds[0]);
    assert_eq!(pushed.root_after, took.root_after);
    assert_eq!(pushed.root_before, pushed.root_after, "it had them before the run");
    assert_ne!(took.root_before, took.root_after);
    assert!(dialler.rtt_ms.is_some() && listener.rtt_ms.is_some());
    let refused = la.node.runs(None, Some("refused".to_owned()), 10).await.unwrap();
    assert!(refused.runs.is_empty());
    assert_eq!(la.node.runs(None, Some("lost".to_owned()), 10).await.unwrap_err().exit_code(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warning_says_at_both_ends_and_in_the_plan_what_is_missing() {
    let (ny, tokyo) = (lab("New York").await, lab("Tokyo").await);
    feed(&ny.node, "tools").await;
    publish(&ny.node, "a", b"1").await.unwrap();
    let link = asking(&ny.node, &tokyo.node, "pull", "mirror").await;
    assert_eq!(link.feeds[0].verdict.as_deref(), Some("warning"), "known from pairing");
    let plan = tokyo.node.plan(&link.name, None).await.unwrap();
    let on = &plan.feeds[0];
    assert_eq!(on.lost, ["out.add", "out.delete"]);
    assert_eq!(on.sentences[0], "Tokyo may read tools.");
    assert_eq!(on.sentences[1], "It may not change tools at New York.");
    assert!(on.sentences[2].contains("New York does not allow it"), "{on:?}");
    let better = tokyo.node.plan(&link.name, Some("pull".to_owned())).await.unwrap();
    assert_eq!((better.feeds[0].verdict.as_deref(), better.sound), (Some("valid"), true));

    let run = sync(&tokyo.node).await;
    assert_eq!((run.outcome.as_str(), run.feeds[0].verdict.as_deref()), ("done", Some("warning")));
    last_run(&ny.node).await;
    let there = only_link(&ny.node).await;
    assert_eq!(there.feeds[0].verdict.as_deref(), Some("warning"), "{there:?}");
    assert!(there.feeds[0].reason.as_ref().unwrap().contains("out.add, out.delete"), "{there:?}");
    let plan = ny.node.plan(&there.name, Some("mirror".to_owned())).await.unwrap();
    assert_eq!(plan.feeds[0].verdict.as_deref(), Some("valid"), "with a wider grant: {plan:?}");
    assert_eq!(only_link(&ny.node).await.feeds[0].stated, "pull", "a plan changes nothing");
}

/// The verdict and its reason are at both ends, in the run records and in what is shown of the link.
#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_link_is_recorded_and_shown_at_both_ends() {
    let (ny, tokyo) = (lab("New York").await, lab("Tokyo").await);
    feed(&ny.node, "tools").await;
    asking(&ny.node, &tokyo.node, "pull", "push").await;
    let here = sync(&tokyo.node).await;
    let there = last_run(&ny.node).await;
    for run in [&here, &there] {
        assert_eq!(run.outcome, "refused", "{run:?}");
        assert_eq!(run.reason, Some(Reason::NothingAllowed.to_string()));
        assert_eq!(run.feeds[0].verdict.as_deref(), Some("invalid"));
    }
    for node in [&ny.node, &tokyo.node] {
        let link = only_link(node).await;
        assert_eq!(link.feeds[0].verdict.as_deref(), Some("invalid"), "{link:?}");
        assert_eq!(link.refused, Some(Reason::NothingAllowed.to_string()));
        let kept = node.inner.site.store().peer(&link.name).unwrap();
        assert!(
            kept.stated.len() == 1 && kept.refused.is_some(),
            "a restart forgets nothing of it: {kept:?}"
        );
    }
    let there = only_link(&ny.node).await.name;
    let plan = ny.node.plan(&there, Some("mirror".to_owned())).await.unwrap();
    assert_eq!((plan.feeds[0].asked.as_deref(), plan.sound), (Some("push"), true), "HELLO was kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_has_expired_is_an_invalid_link_until_it_is_given_again() {
    let (ny, tokyo) = (lab("New York").await, lab("Tokyo").await);
    feed(&ny.node, "tools").await;
    let ticket = invited(&ny.node, "pull", Some(1)).await;
    tokyo.node.accept(accept(&ticket)).await.unwrap();
    let run = sync(&tokyo.node).await;
    assert_eq!(run.reason, Some(Reason::GrantExpired.to_string()), "{run:?}");
    let there = last_run(&ny.node).await;
    assert_eq!(there.reason, Some(Reason::GrantExpired.to_string()), "{there:?}");
    let link = only_link(&ny.node).await;
    assert_eq!(link.feeds[0].reason, Some(Reason::GrantExpired.to_string()));

    let longer = api::LinkChange { grant_life_ms: Some(60_000), ..Default::default() };
    ny.node.change_link(&link.name, longer.clone()).await.unwrap();
    assert_eq!(sync(&tokyo.node).await.outcome, "done");
    let outgoing = only_link(&tokyo.node).await.name;
    assert_eq!(tokyo.node.change_link(&outgoing, longer).await.unwrap_err().exit_code(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standing_peer_is_told_when_its_link_is_removed() {
    let (ny, tokyo) = (lab("New York").await, lab("Tokyo").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &tokyo.node, "pull").await;
    assert_eq!(sync(&tokyo.node).await.outcome, "done");
    let name = only_link(&ny.node).await.name;
    ny.node.remove_link(&name).await.unwrap();
    let run = ended_run(&tokyo.node, |run| run.outcome == "refused").await;
    assert_eq!(run.reason, Some(Reason::GrantWithdrawn.to_string()), "{run:?}");
    let again = sync(&tokyo.node).await;
    assert_eq!(again.reason, Some(Reason::SiteUnknown.to_string()), "{again:?}");
}

/// What was withdrawn ends in the middle of a transfer, not after it, and the site is not let in again.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_removed_in_a_transfer_moves_nothing_more() {
    let (ny, tokyo) = (lab("New York").await, lab("Tokyo").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &tokyo.node, "pull").await;
    assert_eq!(sync(&tokyo.node).await.outcome, "done");
    let name = only_link(&ny.node).await.name;
    // Ten minutes at this pace.
    let slow = api::LinkChange { cap_out: Some("1mbit".to_owned()), ..Default::default() };
    ny.node.change_link(&name, slow).await.unwrap();
    let content: Vec<u8> =
        (0..75_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    publish(&ny.node, "large", &content).await.unwrap();
    let here = async || tokyo.node.feed_progress("tools", "large", "1.0").await.unwrap_or(0);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while here().await == 0 {
        assert!(tokio::time::Instant::now() < deadline, "nothing came");
        tokio::task::yield_now().await;
    }
    ny.node.remove_link(&name).await.unwrap();
    let run = ended_run(&tokyo.node, |run| run.outcome == "refused").await;
    assert_eq!(run.reason, Some(Reason::GrantWithdrawn.to_string()), "{run:?}");
    let came = here().await;
    assert!(came < content.len() as u64, "{came}");
    while sync(&tokyo.node).await.reason != Some(Reason::SiteUnknown.to_string()) {
        assert!(tokio::time::Instant::now() < deadline, "it is not refused by name");
    }
    assert_eq!(here().await, came);
    assert!(ny.node.links().await.unwrap().links.is_empty());
}

/// Two linked sites, of which the second changes the link while it calls the first; and whether a session was made of that call.
async fn changed_while_it_rang(change: api::LinkChange) -> (Lab, Lab, Result<(), ConnectError>) {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &la.node, "mirror").await;
    settle(&la.node).await;
    let link = la.node.known_link(&only_link(&la.node).await.name).unwrap();
    let (address, whom) = (ny.node.listen_address().to_string(), la.node.whom(link.peer).unwrap());
    let called = la.node.dial(&address, whom, Alpn::Link).await.unwrap();
    la.node.change_link(&link.name, change).await.unwrap();
    let begun = la.node.attach(&link, Side::Dialler, called).map(drop);
    (ny, la, begun)
}

/// The session that is made of a call goes by what was set while it rang, not by what was set when it began.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_narrowed_while_it_is_dialled_moves_nothing_that_it_carries_no_more() {
    let narrower = api::LinkChange { mode: Some("pull".to_owned()), ..Default::default() };
    let (ny, la, begun) = changed_while_it_rang(narrower).await;
    begun.unwrap();
    publish(&la.node, "kept", b"here").await.unwrap();
    publish(&ny.node, "taken", b"there").await.unwrap();
    settle(&la.node).await;
    assert_eq!(la.node.package("tools", "taken", "1.0").await.unwrap().state, "ready");
    assert_eq!(ny.node.package("tools", "kept", "1.0").await.unwrap_err().status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_paused_while_it_is_dialled_begins_no_session() {
    let paused = api::LinkChange { paused: Some(true), ..Default::default() };
    let (_ny, _la, begun) = changed_while_it_rang(paused).await;
    let refused = begun.unwrap_err();
    assert!(matches!(refused, ConnectError::Paused(_)), "{refused}");
}

/// A restored site makes a ticket. Then a peer shows it what it said after the backup, which is no second restore.
#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_from_after_a_restore_admits_whatever_the_site_hears_of_itself() {
    let (ny, la, tokyo) = (lab("New York").await, lab("LA").await, lab("Tokyo").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &la.node, "mirror").await;
    settle(&la.node).await;
    let restored = Cause::Restored { made: Timestamp(1_000_000) };
    assert!(ny.node.inner.site.awaken(restored, wall_clock()).unwrap());
    let ticket = invited(&ny.node, "pull", None).await;
    let feed = ny.node.inner.site.store().feeds().unwrap()[0].0;
    let log = LogId { feed, author: ny.node.inner.site.me(), epoch: 1 };
    let link = ny.node.known_link(&only_link(&ny.node).await.name).unwrap();
    ny.node.noticed(&link, Noticed::Ahead { log, len: 1_000 }).await;
    tokyo.node.accept(accept(&ticket)).await.expect("the ticket was made after the restore");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_planned_without_being_used_and_a_taken_name_is_told() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    let ticket = invited(&ny.node, "pull", None).await;
    feed(&la.node, "tools").await;
    publish(&la.node, "own", b"1").await.unwrap();
    let asked = |mode: Option<&str>, feeds: Vec<(String, String)>| TicketPlan {
        ticket: ticket.clone(),
        mode: mode.map(ToOwned::to_owned),
        feeds,
    };
    let plan = la.node.plan_ticket(asked(Some("mirror"), Vec::new())).await.unwrap();
    assert_eq!((plan.feeds[0].verdict.as_deref(), plan.sound), (Some("warning"), false));
    let obstacle = plan.feeds[0].obstacle.as_ref().unwrap();
    assert!(obstacle.contains("--feed tools=OTHER") && obstacle.contains("1 statements"), "{obstacle}");
    let renamed = vec![("tools".to_owned(), "ny-tools".to_owned())];
    let plan = la.node.plan_ticket(asked(None, renamed.clone())).await.unwrap();
    assert!(plan.sound && plan.feeds[0].local == "ny-tools", "{plan:?}");
    let own = ny.node.plan_ticket(asked(None, Vec::new())).await.unwrap();
    assert_eq!(own.feeds[0].reason, Some(Reason::SameSite.to_string()));
    assert!(la.node.links().await.unwrap().links.is_empty());
    la.node.accept(AcceptRequest { feeds: renamed, ..accept(&ticket) }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_ticket_can_be_withdrawn_and_a_used_one_not() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    let ticket = invited(&ny.node, "pull", None).await;
    let name = ny.node.pairings().await.unwrap().pairings[0].name.clone();
    let withdrawn = ny.node.revoke_pairing(&name[..6]).await.unwrap();
    assert_eq!(withdrawn.pairings[0].state, "withdrawn");
    assert_eq!(la.node.accept(accept(&ticket)).await.unwrap_err().exit_code(), 6);
    assert_eq!(ny.node.revoke_pairing(&name).await.unwrap_err().exit_code(), 4);
    assert_eq!(ny.node.revoke_pairing("zz").await.unwrap_err().status, 404);

    let (one, two) = (invited(&ny.node, "pull", None).await, invited(&ny.node, "pull", None).await);
    la.node.accept(accept(&one)).await.unwrap();
    assert_eq!(ny.node.revoke_pairing("all-open").await.unwrap().pairings.len(), 1);
    let refused = la.node.accept(accept(&two)).await.unwrap_err();
    assert_eq!(refused.exit_code(), 6, "{refused:?}");
    assert_eq!(sync(&la.node).await.outcome, "done", "what was joined by a used ticket stays");
}

/// Whether a ticket of before was used or withdrawn since, a restored site cannot know. What it cannot know is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_from_before_a_restore_admits_nobody_and_what_was_revoked_since_is_told() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    let before = invited(&ny.node, "pull", None).await;
    let restored = Cause::Restored { made: Timestamp(1_000_000) };
    assert!(ny.node.inner.site.awaken(restored, wall_clock()).unwrap());
    let refused = la.node.accept(accept(&before)).await.unwrap_err();
    assert_eq!(refused.exit_code(), 6, "{refused:?}");
    assert_eq!(ny.node.pairings().await.unwrap().pairings[0].state, "void");
    let findings = ny.node.doctor().await.unwrap().findings;
    let told = findings.iter().find(|one| one.kind == "earlier-life").unwrap();
    assert!(told.text.contains("of 1970-01-01T00:16:40Z") && told.hint.contains("token list"), "{told:?}");
    let after = invited(&ny.node, "pull", None).await;
    la.node.accept(accept(&after)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_site_wrote_itself_is_not_told_as_lacking_there() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &la.node, "mirror").await;
    settle(&la.node).await;
    publish(&ny.node, "a", b"1").await.unwrap();
    let came = async {
        while la.node.package("tools", "a", "1.0").await.map_or(true, |version| version.state != "ready") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, came).await.expect("in time");
    // LA says nothing in this feed, so that nothing can be lacking at its origin.
    assert_eq!(only_link(&la.node).await.feeds[0].ops_behind_there, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_that_expired_by_the_joiners_clock_is_told_as_that_clocks_word() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    let text = invited(&ny.node, "mirror", None).await;
    let old = Ticket { expires: Timestamp(wall_clock().0 - 120_000), ..Ticket::parse(&text).unwrap() };
    let told = la.node.accept(accept(&old.to_text())).await.unwrap_err();
    assert_eq!((told.status, told.exit_code()), (403, 6));
    assert!(told.detail.contains("this site's clock") && told.detail.contains("2 min ago"), "{told:?}");
    la.node.accept(accept(&text)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_end_knows_what_the_other_lacks_and_how_old_it_is() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    publish(&ny.node, "a", b"1").await.unwrap();
    pair(&ny.node, &la.node, "pull").await;
    let before = wall_clock().0;
    sync(&la.node).await;
    last_run(&ny.node).await;
    let (here, there) = (only_link(&la.node).await, only_link(&ny.node).await);
    assert!(here.as_of_ms.is_some_and(|at| at >= before) && here.peer_as_of_ms.is_none(), "{here:?}");
    assert!(there.peer_as_of_ms.is_some_and(|at| at >= before) && there.as_of_ms.is_none(), "{there:?}");
    assert_eq!(there.feeds[0].ops_behind_there, 0, "{there:?}");

    // No news may reach the other end, so that it lags.
    pause(&la.node, true).await;
    publish(&ny.node, "b", b"2").await.unwrap();
    ny.node.delete("tools", "a", "1.0", String::new(), false).await.unwrap();
    let there = only_link(&ny.node).await;
    assert_eq!((there.feeds[0].ops_behind_there, there.feeds[0].deletes_behind_there), (2, Some(1)));
    assert_eq!(ny.node.status(Some(u64::MAX)).await.unwrap().verdict, 0);
    let aged = async {
        while ny.node.status(Some(1)).await.unwrap().verdict != 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, aged).await.expect("it ages");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_from_the_listening_side_waits_for_the_end_of_its_run() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &la.node, "mirror").await;
    sync(&la.node).await;
    publish(&la.node, "late", b"1").await.unwrap();
    let (steps, _) = mpsc::channel(8);
    let link = only_link(&ny.node).await.name;
    let runs =
        tokio::time::timeout(PATIENCE, ny.node.sync(Some(link), None, false, steps)).await.unwrap().unwrap();
    assert_eq!(runs.runs[0].outcome, "done");
    assert_eq!(names(&ny.node).await, ready(&["late"]), "it is here when sync returns");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forecast_counts_what_a_run_would_move_and_moves_nothing() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &la.node, "mirror").await;
    sync(&la.node).await;
    last_run(&ny.node).await;
    pause(&la.node, true).await;
    publish(&la.node, "one", b"1").await.unwrap();
    publish(&la.node, "two", b"2").await.unwrap();
    let asked = || la.node.forecasts(Some("new-york".to_owned()));
    let told = asked().await.unwrap();
    let on = &told.links[0].feeds[0];
    assert_eq!((on.ops_to_come, on.ops_to_go), (Some(0), Some(2)), "{told:?}");
    assert_eq!(names(&ny.node).await, []);
    assert_eq!(asked().await.unwrap(), told);
    assert_eq!(ny.node.runs(None, None, 10).await.unwrap().runs.len(), 1, "it is no run");
    assert_eq!(la.node.forecasts(None).await.unwrap_err().exit_code(), 2, "the only link is paused");
    let incoming = only_link(&ny.node).await.name;
    assert_eq!(ny.node.forecasts(Some(incoming)).await.unwrap_err().exit_code(), 2);
}

/// E24: there is no horizon after which a deletion could be missed. Bytes are swept and packs written anew meanwhile, deletes are not.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_was_away_brings_back_nothing_that_was_deleted_meanwhile() {
    let (ny, la) = (lab("New York").await, lab("LA").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &la.node, "mirror").await;
    publish(&ny.node, "old", b"of both").await.unwrap();
    settle(&la.node).await;
    pause(&la.node, true).await;
    publish(&la.node, "own", b"published while away").await.unwrap();
    for name in ["old", "own"] {
        ny.node.delete("tools", name, "1.0", "withdrawn".to_owned(), true).await.unwrap();
    }
    ny.node.seal_feeds().await;
    let store = ny.node.inner.site.store();
    store.sweep(ny.node.inner.site.look(), false, |_, _| false).unwrap();
    store.reclaim(100).unwrap();
    pause(&la.node, false).await;
    settle(&la.node).await;
    let states = |names: Vec<(String, String)>| names.into_iter().map(|(_, state)| state).collect::<Vec<_>>();
    assert_eq!(states(names(&ny.node).await), ["deleted", "suppressed"]);
    assert_eq!(names(&ny.node).await, names(&la.node).await);
}

/// Whoever paused all links is told so, and how to let one run again; not to make another one.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_syncs_while_all_links_are_paused_is_told_which() {
    let (la, ny) = (lab("Los Angeles").await, lab("New York").await);
    let (steps, _) = mpsc::channel(8);
    let none = ny.node.sync(None, None, false, steps.clone()).await.unwrap_err();
    assert!(none.hint.unwrap().contains("pair accept"), "there is none yet");
    feed(&la.node, "tools").await;
    let link = pair(&la.node, &ny.node, "mirror").await.name;
    pause(&ny.node, true).await;
    let refused = ny.node.sync(None, None, false, steps).await.unwrap_err();
    assert!(refused.detail.contains(&link) && refused.hint.unwrap().contains("link resume"));
    let findings = ny.node.doctor().await.unwrap().findings;
    assert!(findings.iter().any(|finding| finding.kind == "paused" && finding.text.contains(&link)));
}
