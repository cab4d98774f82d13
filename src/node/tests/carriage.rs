//! What links carry between real nodes: filters, bytes on demand, the brake, windows, news, and what sites tell of their links.

use protocol::limits::WINDOWS_MAX;
use protocol::switches::Switches;
use protocol::topology::{LinkNote, NOTE_LIFE_MS};

use super::*;
use crate::api::merge::MergeRequest;

async fn pulled() -> (Lab, Lab) {
    let (ny, tokyo) = (lab("New York").await, lab("Tokyo").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &tokyo.node, "pull").await;
    settle(&tokyo.node).await;
    (ny, tokyo)
}

async fn states(node: &Node) -> BTreeMap<String, String> {
    names(node).await.into_iter().collect()
}

async fn set(node: &Node, change: api::LinkChange) -> Result<api::Link, Problem> {
    let link = node.links().await.unwrap().links.remove(0).name;
    node.change_link(&link, change).await
}

/// P14: a filter leaves bytes out, never an op; narrowing it deletes nothing and widening it fetches.
#[tokio::test(flavor = "multi_thread")]
async fn a_filter_leaves_bytes_out_and_leaving_it_deletes_nothing() {
    let (ny, tokyo) = pulled().await;
    let filter = |text: &str| api::LinkChange { filter: Some(text.to_owned()), ..Default::default() };
    set(&tokyo.node, filter("name=acme-*")).await.unwrap();
    publish(&ny.node, "acme-pad", b"wanted").await.unwrap();
    publish(&ny.node, "other", b"not wanted").await.unwrap();
    settle(&tokyo.node).await;
    let seen = states(&tokyo.node).await;
    assert_eq!((seen["acme-pad"].as_str(), seen["other"].as_str()), ("ready", "filtered-out"));
    let why = tokyo.node.why("tools", "other", "1.0").await.unwrap();
    assert!(why.because.contains("filter"), "{}", why.because);
    set(&tokyo.node, filter("name=nothing-else")).await.unwrap();
    settle(&tokyo.node).await;
    assert_eq!(states(&tokyo.node).await["acme-pad"], "ready");
    set(&tokyo.node, filter("none")).await.unwrap();
    settle(&tokyo.node).await;
    assert_eq!(states(&tokyo.node).await["other"], "ready");
    assert!(set(&tokyo.node, filter("colour=red")).await.is_err());
}

/// Row 62: bytes that no client asked for stay away; a client that asks gets them.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_on_demand_come_when_a_client_asks() {
    let (ny, tokyo) = pulled().await;
    set(&tokyo.node, api::LinkChange { fetch: Some("on-demand".to_owned()), ..Default::default() })
        .await
        .unwrap();
    publish(&ny.node, "tool", b"bytes").await.unwrap();
    settle(&tokyo.node).await;
    assert_eq!(states(&tokyo.node).await["tool"], "on-demand");
    let file = tokyo.node.open_file("tools", "tool", "1.0", "file.bin").await.unwrap();
    assert_eq!(file.size, 5);
    assert_eq!(states(&tokyo.node).await["tool"], "ready");
}

/// P14: what a filter leaves out is known all the same, and so its deletion comes: nothing is wanted once the filter is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_of_what_a_filter_leaves_out_comes_all_the_same() {
    let (ny, tokyo) = pulled().await;
    let filter = |text: &str| api::LinkChange { filter: Some(text.to_owned()), ..Default::default() };
    set(&tokyo.node, filter("name=acme-*")).await.unwrap();
    publish(&ny.node, "other", b"not wanted").await.unwrap();
    settle(&tokyo.node).await;
    assert_eq!(states(&tokyo.node).await["other"], "filtered-out");
    ny.node.delete("tools", "other", "1.0", String::new(), false).await.unwrap();
    settle(&tokyo.node).await;
    assert_eq!(states(&tokyo.node).await["other"], states(&ny.node).await["other"]);
    assert_eq!(states(&tokyo.node).await["other"], "deleted");
}

/// A live link's dialler hears that the listener has news, and runs: nobody asks, and its interval is a quarter of an hour.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_listening_site_publishes_comes_over_a_live_link_by_itself() {
    let (ny, tokyo) = pulled().await;
    publish(&ny.node, "tool", b"bytes").await.unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while states(&tokyo.node).await.get("tool").is_none_or(|state| state != "ready") {
        assert!(tokio::time::Instant::now() < deadline, "the news never came");
        tokio::task::yield_now().await;
    }
}

/// E27: a run that takes much of a feed away is held, additions are applied, and a person lets the deletions take effect; the hold
/// outlives a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_deletes_much_waits_for_a_person() {
    let (ny, tokyo) = pulled().await;
    let many = 150;
    for n in 0..many {
        publish(&ny.node, &format!("p{n}"), b"same bytes").await.unwrap();
    }
    settle(&tokyo.node).await;
    pause(&tokyo.node, true).await;
    for n in 0..many {
        ny.node.delete("tools", &format!("p{n}"), "1.0", String::new(), false).await.unwrap();
    }
    publish(&ny.node, "new", b"more").await.unwrap();
    pause(&tokyo.node, false).await;
    settle(&tokyo.node).await;
    let ready = |seen: &BTreeMap<String, String>| seen.values().filter(|state| *state == "ready").count();
    assert_eq!(ready(&states(&tokyo.node).await), many + 1);
    let holds = tokyo.node.holds().await.unwrap().holds;
    assert_eq!((holds.len(), holds[0].deletes, holds[0].names.len()), (1, many as u64, 20));
    let told = tokyo.node.status(None).await.unwrap().verdict_words;
    assert!(told.ends_with("150 deletions wait for a person: packetboat holds"), "{told}");
    let why = tokyo.node.why("tools", "p7", "1.0").await.unwrap();
    assert!(why.because.contains("waits for approval"), "{}", why.because);
    tokyo.node.stop().await;
    let Lab { folder, node } = tokyo;
    drop(node);
    let node = restarted(folder.path(), "Tokyo").await;
    assert_eq!(ready(&states(&node).await), many + 1);
    assert!(node.approve("nonsense").await.is_err());
    let feed = async || node.feed("tools").await.unwrap();
    let before = feed().await;
    node.approve(&holds[0].hold).await.unwrap();
    assert_eq!(ready(&states(&node).await), 1);
    let (after, at_ny) = (feed().await, ny.node.feed("tools").await.unwrap());
    assert_eq!((before.packages, after.packages), (many as u64 + 1, 1));
    assert_eq!(after.state_root, at_ny.state_root, "figures are of what stands now");
    assert!(node.holds().await.unwrap().holds.is_empty());
}

/// A person who rescues one version from a hold, and a merge, which would say all of them anew.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_restored_while_its_deletion_waits_stays_and_nothing_that_waits_is_merged() {
    let (ny, tokyo) = (lab("New York").await, lab("Tokyo").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &tokyo.node, "mirror").await;
    for n in 0..130 {
        publish(&ny.node, &format!("p{n}"), b"same bytes").await.unwrap();
    }
    settle(&tokyo.node).await;
    pause(&tokyo.node, true).await;
    for n in 0..130 {
        ny.node.delete("tools", &format!("p{n}"), "1.0", String::new(), false).await.unwrap();
    }
    pause(&tokyo.node, false).await;
    settle(&tokyo.node).await;
    let hold = tokyo.node.holds().await.unwrap().holds.remove(0);
    let restored = NewPackage { restore: true, ..uploaded(&tokyo.node, "p7", b"same bytes").await };
    tokyo.node.publish("tools", restored).await.unwrap();
    feed(&tokyo.node, "other").await;
    let merge = MergeRequest { into: "other".to_owned(), dry_run: false };
    let refused = tokyo.node.merge_feed("tools", merge.clone()).await.unwrap_err();
    assert!(refused.status == 409 && refused.hint.unwrap().contains(&hold.hold), "{}", refused.detail);
    tokyo.node.approve(&hold.hold).await.unwrap();
    settle(&tokyo.node).await;
    for node in [&ny.node, &tokyo.node] {
        let states = states(node).await;
        let ready: Vec<_> = states.iter().filter(|(_, state)| *state == "ready").collect();
        assert!(ready.len() == 1 && ready[0].0 == "p7", "{ready:?}");
    }
    assert_eq!(tokyo.node.merge_feed("tools", merge).await.unwrap().versions, 1);
}

/// Nothing is taken away from a site that never had it, however much was deleted before it joined.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_site_of_a_feed_of_which_much_was_deleted_holds_nothing_back() {
    let (ny, tokyo) = (lab("New York").await, lab("Tokyo").await);
    feed(&ny.node, "tools").await;
    for n in 0..160 {
        publish(&ny.node, &format!("p{n}"), b"same bytes").await.unwrap();
    }
    for n in 0..130 {
        ny.node.delete("tools", &format!("p{n}"), "1.0", String::new(), false).await.unwrap();
    }
    pair(&ny.node, &tokyo.node, "pull").await;
    settle(&tokyo.node).await;
    assert!(tokyo.node.holds().await.unwrap().holds.is_empty());
    assert_eq!(states(&tokyo.node).await, states(&ny.node).await);
}

/// E27: deletions that come one by one over a live link add up; what was approved counts no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_trickle_of_deletions_waits_for_a_person_once_it_is_too_much() {
    let (ny, tokyo) = pulled().await;
    for n in 0..160 {
        publish(&ny.node, &format!("p{n}"), b"same bytes").await.unwrap();
    }
    settle(&tokyo.node).await;
    let ready = async || states(&tokyo.node).await.values().filter(|state| *state == "ready").count();
    let delete = async |from: usize, to: usize| {
        for n in from..to {
            ny.node.delete("tools", &format!("p{n}"), "1.0", String::new(), false).await.unwrap();
        }
        settle(&tokyo.node).await;
    };
    for step in 0..5 {
        delete(step * 20, step * 20 + 20).await;
    }
    assert_eq!((ready().await, tokyo.node.holds().await.unwrap().holds.len()), (60, 0));
    delete(100, 101).await;
    let hold = tokyo.node.holds().await.unwrap().holds.remove(0);
    assert_eq!((hold.deletes, hold.standing, ready().await), (101, 160, 160), "all of the hour come back");
    delete(101, 110).await;
    let holds = tokyo.node.holds().await.unwrap().holds;
    assert_eq!(
        (holds.len(), holds[0].deletes, ready().await),
        (1, 110, 160),
        "one hold takes in what follows"
    );
    tokyo.node.approve(&hold.hold).await.unwrap();
    assert_eq!(ready().await, 50);
    delete(110, 150).await;
    assert_eq!((ready().await, tokyo.node.holds().await.unwrap().holds.len()), (10, 0), "counted anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_whose_window_is_closed_runs_only_when_a_person_insists() {
    let (ny, tokyo) = pulled().await;
    publish(&ny.node, "tool", b"bytes").await.unwrap();
    // A window on the day after tomorrow is closed whatever the hour is.
    let day = i64::try_from(wall_clock().0 / 86_400_000 + 3 + 2).unwrap() % 7;
    let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let window = format!("{} 00:00-00:01", days[usize::try_from(day).unwrap()]);
    let change =
        api::LinkChange { windows: Some(vec![window]), zone: Some("UTC".to_owned()), ..Default::default() };
    assert!(!set(&tokyo.node, change).await.unwrap().open);
    let (steps, _) = mpsc::channel(8);
    let refused = tokyo.node.sync(None, None, false, steps.clone()).await.unwrap_err();
    assert_eq!(refused.code, "refused");
    let runs = tokyo.node.sync(None, None, true, steps).await.unwrap();
    assert_eq!(runs.runs[0].outcome, "done");
    assert_eq!(states(&tokyo.node).await["tool"], "ready");
}

/// Each of them is looked at whenever the link asks whether it may run.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_has_as_many_windows_as_are_allowed_and_not_one_more() {
    let (_ny, tokyo) = pulled().await;
    let windows = |count: usize| {
        let windows = (0..count).map(|n| format!("mon 00:{n:02}-01:00")).collect();
        api::LinkChange { windows: Some(windows), zone: Some("UTC".to_owned()), ..Default::default() }
    };
    assert_eq!(set(&tokyo.node, windows(WINDOWS_MAX)).await.unwrap().windows.len(), WINDOWS_MAX);
    let refused = set(&tokyo.node, windows(WINDOWS_MAX + 1)).await.unwrap_err();
    assert_eq!(refused.exit_code(), 2, "{refused:?}");
    assert_eq!(only_link(&tokyo.node).await.windows.len(), WINDOWS_MAX, "what was refused changes nothing");
}

/// [P-17] A window at the listening end refuses runs outside it, by name at both ends, and tells of it once.
#[tokio::test(flavor = "multi_thread")]
async fn a_window_of_the_listening_site_refuses_runs_outside_it_and_says_so_at_both_ends() {
    let (ny, tokyo) = pulled().await;
    let day = i64::try_from(wall_clock().0 / 86_400_000 + 3 + 2).unwrap() % 7;
    let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let window = format!("{} 00:00-00:01", days[usize::try_from(day).unwrap()]);
    let change =
        api::LinkChange { windows: Some(vec![window]), zone: Some("UTC".to_owned()), ..Default::default() };
    assert!(!set(&ny.node, change).await.unwrap().open, "the standing session is ended too");
    publish(&ny.node, "tool", b"bytes").await.unwrap();
    let reason = Reason::OutsideWindow.to_string();
    let refused = async |node: &Node| {
        let link = node.links().await.unwrap().links.remove(0);
        link.refused.is_some_and(|told| told == reason)
    };
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        assert!(tokio::time::Instant::now() < deadline, "never refused at both ends");
        let run = sync(&tokyo.node).await;
        if run.reason.as_ref() == Some(&reason) && refused(&tokyo.node).await && refused(&ny.node).await {
            break;
        }
    }
    assert!(states(&tokyo.node).await.is_empty());
    let anew = tokyo.node.with_link(&only_link(&tokyo.node).await.name, |state| state.record.failures);
    assert!(anew > Some(0), "the next run is put off");
    let open = api::LinkChange { windows: Some(Vec::new()), ..Default::default() };
    set(&ny.node, open).await.unwrap();
    assert_eq!(sync(&tokyo.node).await.outcome, "done");
    assert_eq!(states(&tokyo.node).await["tool"], "ready");
}

/// C14: three sites in a ring of one-way links tell each other of them, and each sees the way around.
#[tokio::test(flavor = "multi_thread")]
async fn sites_tell_each_other_of_their_links_and_a_side_path_is_named() {
    let (la, ny, tokyo) = (lab("Los Angeles").await, lab("New York").await, lab("Tokyo").await);
    feed(&la.node, "tools").await;
    pair(&la.node, &ny.node, "pull").await;
    pair(&la.node, &tokyo.node, "push").await;
    settle(&ny.node).await;
    sync(&tokyo.node).await;
    assert!(!kinds(&la.node).await.contains(&"side-path".to_owned()));
    pair(&ny.node, &tokyo.node, "pull").await;
    sync(&tokyo.node).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    for node in [&la.node, &ny.node, &tokyo.node] {
        while !kinds(node).await.contains(&"side-path".to_owned()) {
            assert!(tokio::time::Instant::now() < deadline, "no side path was seen");
            tokio::task::yield_now().await;
        }
    }
    let believed: Vec<LinkNote> = locked(&la.node.inner.notes).values().cloned().collect();
    tokyo.node.remove_link("new-york").await.unwrap();
    for node in [&la.node, &ny.node, &tokyo.node] {
        while kinds(node).await.contains(&"side-path".to_owned()) {
            assert!(tokio::time::Instant::now() < deadline, "a link that was removed lives on");
            tokio::task::yield_now().await;
        }
    }
    // Whoever missed the removal, and a teller that has forgotten it, come to the same.
    locked(&tokyo.node.inner.notes).clear();
    locked(&la.node.inner.notes).clear();
    la.node.noted("new-york", believed);
    let (tokyo, ny) = (tokyo.node.me(), ny.node.me());
    let taken_back = || {
        let notes = locked(&la.node.inner.notes);
        let of_link = |note: &&LinkNote| note.teller == tokyo && note.peer == ny;
        notes.values().find(of_link).is_some_and(|note| note.effective == Switches::OFF)
    };
    while !taken_back() {
        assert!(tokio::time::Instant::now() < deadline, "the teller does not take it back");
        tokio::task::yield_now().await;
    }
}

/// A note that its teller stands by no more is forgotten, and this site stands by those of links that are up.
#[tokio::test(flavor = "multi_thread")]
async fn notes_of_links_end_with_their_time() {
    let (ny, tokyo) = pulled().await;
    let tellers = |node: &Node| {
        let notes = locked(&node.inner.notes);
        notes
            .values()
            .filter(|note| note.effective != Switches::OFF)
            .map(|note| note.teller)
            .collect::<BTreeSet<_>>()
    };
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while tellers(&tokyo.node).len() < 2 {
        assert!(tokio::time::Instant::now() < deadline, "no notes came");
        tokio::task::yield_now().await;
    }
    let later = Timestamp(wall_clock().0 + NOTE_LIFE_MS + 60_000);
    tokyo.node.renew_notes(later);
    assert_eq!(tellers(&tokyo.node), BTreeSet::from([tokyo.node.me()]));
    drop(ny);
}

/// What this site's own filter leaves out is not waited for: it is refused, and the filter named.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_filter_leaves_out_is_refused_with_the_filter_when_somebody_fetches_it() {
    let (ny, tokyo) = pulled().await;
    let filter = |text: &str| api::LinkChange { filter: Some(text.to_owned()), ..Default::default() };
    set(&tokyo.node, filter("name=acme-*")).await.unwrap();
    publish(&ny.node, "other", b"not wanted").await.unwrap();
    settle(&tokyo.node).await;
    let at = || api::ruling::Version { name: "other".to_owned(), version: "1.0".to_owned() };
    let refused = tokyo.node.fetch("tools", at()).await.unwrap_err();
    assert_eq!((refused.status, refused.code.as_str(), refused.exit_code()), (409, "filtered-out", 6));
    assert!(refused.detail.contains("link new-york (name=acme-*)"), "{refused:?}");
    let client = tokyo.node.open_file("tools", "other", "1.0", "file.bin").await.map(drop).unwrap_err();
    assert_eq!((client.status, client.code.as_str()), (503, "filtered-out"), "{client:?}");
    set(&tokyo.node, filter("none")).await.unwrap();
    assert_eq!(tokyo.node.fetch("tools", at()).await.unwrap().state, "ready");
}

/// What is refused changes nothing: the version does not come by itself once the filter is gone.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_evicted_stays_so_where_fetching_it_is_refused() {
    let (ny, tokyo) = pulled().await;
    publish(&ny.node, "other", b"not wanted").await.unwrap();
    settle(&tokyo.node).await;
    let asked = api::evict::Request { name: "other".to_owned(), version: "1.0".to_owned(), force: true };
    tokyo.node.evict("tools", asked).await.unwrap();
    let filter = api::LinkChange { filter: Some("name=acme-*".to_owned()), ..Default::default() };
    set(&tokyo.node, filter).await.unwrap();
    settle(&tokyo.node).await;
    let at = api::ruling::Version { name: "other".to_owned(), version: "1.0".to_owned() };
    let refused = tokyo.node.fetch("tools", at).await.unwrap_err();
    let client = tokyo.node.open_file("tools", "other", "1.0", "file.bin").await.map(drop).unwrap_err();
    assert_eq!((refused.code.as_str(), client.code.as_str()), ("filtered-out", "filtered-out"));
    assert_eq!(states(&tokyo.node).await["other"], "evicted-here");
}

async fn kinds(node: &Node) -> Vec<String> {
    node.doctor().await.unwrap().findings.into_iter().map(|finding| finding.kind).collect()
}

/// A link that held deletions back and is widened brings them, though nobody said anything new.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_widened_brings_the_deletions_it_held_back() {
    let (ny, leaf) = (lab("New York").await, lab("Leaf").await);
    feed(&ny.node, "tools").await;
    publish(&ny.node, "tool", b"bytes").await.unwrap();
    pair(&ny.node, &leaf.node, "pull").await;
    let link = leaf.node.links().await.unwrap().links[0].name.clone();
    let mode = |mode: &str| api::LinkChange { mode: Some(mode.to_owned()), ..api::LinkChange::default() };
    leaf.node.change_link(&link, mode("in.add")).await.unwrap();
    settle(&leaf.node).await;
    ny.node.delete("tools", "tool", "1.0", String::new(), false).await.unwrap();
    settle(&leaf.node).await;
    assert_eq!(leaf.node.package("tools", "tool", "1.0").await.unwrap().state, "ready");
    leaf.node.change_link(&link, mode("pull")).await.unwrap();
    settle(&leaf.node).await;
    assert_eq!(leaf.node.package("tools", "tool", "1.0").await.unwrap().state, "deleted");
}
