//! Two sites that dial each other: one session serves both links, whoever asks for a run.

use super::*;

fn up(node: &Node) -> Vec<String> {
    node.inner
        .links
        .lock()
        .unwrap()
        .values()
        .filter(|state| state.agreed.is_some())
        .map(|state| state.link.name.clone())
        .collect()
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let seen = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_late| panic!("never: {what}"));
}

/// The site with the lower key, and the other one.
async fn dialling_each_other() -> (Lab, Lab) {
    let (one, two) = (lab("One").await, lab("Two").await);
    let (low, high) = if one.node.me() < two.node.me() { (one, two) } else { (two, one) };
    feed(&low.node, "tools").await;
    // The lower one lets the higher one write, and reads itself over the link by which it dials.
    pair(&low.node, &high.node, "push").await;
    pair(&high.node, &low.node, "pull").await;
    (low, high)
}

async fn named_run(node: &Node, link: &str) -> api::Run {
    let (steps, _) = mpsc::channel(8);
    let runs = node.sync(Some(link.to_owned()), None, false, steps);
    tokio::time::timeout(PATIENCE, runs).await.expect("in time").unwrap().runs.remove(0)
}

/// Row 64, E17, [P-19]
#[tokio::test(flavor = "multi_thread")]
async fn two_sites_that_dial_each_other_share_one_session_and_either_may_ask_for_a_run() {
    let (low, high) = dialling_each_other().await;
    eventually("a session", async || up(&low.node).len() == 1 && up(&high.node).len() == 1).await;
    for lab in [&low, &high] {
        let links = lab.node.links().await.unwrap().links;
        assert!(links.iter().all(|link| link.connection == "up" && link.twin.is_some()), "{links:?}");
        let found = lab.node.doctor().await.unwrap().findings;
        let duplicate = found.iter().filter(|finding| finding.kind == "duplicate-link");
        assert_eq!(duplicate.map(|finding| finding.severity.as_str()).collect::<Vec<_>>(), ["warning"]);
    }
    publish(&high.node, "from-high", b"1").await.unwrap();
    for link in high.node.links().await.unwrap().links {
        assert_eq!(named_run(&high.node, &link.name).await.outcome, "done", "{link:?}");
    }
    assert_eq!(names(&low.node).await, ready(&["from-high"]));
    publish(&low.node, "from-low", b"2").await.unwrap();
    for link in low.node.links().await.unwrap().links {
        assert_eq!(named_run(&low.node, &link.name).await.outcome, "done", "{link:?}");
    }
    let dials = |lab: &Lab| {
        let links = lab.node.inner.links.lock().unwrap();
        links.values().filter(|state| state.agreed.is_some()).all(|state| state.link.is_outgoing())
    };
    assert!(dials(&low) && !dials(&high), "the site with the lower key opened the connection");
    assert_eq!((up(&low.node).len(), up(&high.node).len()), (1, 1));
}

/// Row 64, [P-19] The site that waits opens the connection itself once the other one was waited for in vain.
#[tokio::test(flavor = "multi_thread")]
async fn the_site_that_waits_dials_where_the_other_one_cannot() {
    let (low, high) = dialling_each_other().await;
    let outgoing =
        low.node.links().await.unwrap().links.into_iter().find(|link| link.dial == "outgoing").unwrap();
    let wrong = api::LinkChange { addresses: Some(vec!["127.0.0.1:9".to_owned()]), ..Default::default() };
    low.node.change_link(&outgoing.name, wrong).await.unwrap();
    publish(&high.node, "from-high", b"1").await.unwrap();
    let calls =
        high.node.links().await.unwrap().links.into_iter().find(|link| link.dial == "outgoing").unwrap();
    eventually("a run that is done", async || named_run(&high.node, &calls.name).await.outcome == "done")
        .await;
    assert_eq!(names(&low.node).await, ready(&["from-high"]));
    assert_eq!(up(&low.node).len(), 1);
}
