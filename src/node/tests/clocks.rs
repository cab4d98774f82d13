//! Clocks that were wrong, as the sites see it where that is felt.

use protocol::grant::Permitted;
use protocol::id::LogId;
use protocol::log::{Mmr, Verified};
use protocol::time::Hlc;

use super::*;
use crate::api::doctor::Finding;

/// Its author's clock is right again, and its own doctor tells; the site that holds what waits tells as well.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_until_its_stamp_is_due_is_told_where_it_waits() {
    let (la, ny) = (lab("Los Angeles").await, lab("New York").await);
    feed(&la.node, "tools").await;
    publish(&la.node, "tool", b"1").await.unwrap();
    pair(&la.node, &ny.node, "mirror").await;
    settle(&ny.node).await;
    let waiting = |found: &Finding| found.kind == "clock";
    assert!(!ny.node.doctor().await.unwrap().findings.iter().any(waiting));
    let (site, store) = (&la.node.inner.site, la.node.inner.site.store());
    let (feed, _) = store.feed_named("tools").unwrap().unwrap();
    let again = store.facts(feed, "tool", "1.0").unwrap()[0].op.body.clone();
    let key = SiteKey::load(&key_path(la.folder.path())).unwrap();
    let log = LogId { feed, author: site.me(), epoch: 1 };
    let held = store.log_state(log).unwrap().map_or_else(Mmr::default, |state| state.after);
    let tomorrow = Timestamp(wall_clock().0 + 86_400_000);
    let said = Verified::author(key.signing_key(), log, &held, vec![again], Hlc::default(), tomorrow);
    store.append(&[Permitted::local(said, false).unwrap()]).unwrap();
    sync(&ny.node).await;
    let findings = ny.node.doctor().await.unwrap().findings;
    let told = findings.iter().find(|found| waiting(found)).unwrap();
    assert!(told.text.contains("feed tools") && told.text.contains("1 versions"), "{findings:?}");
}
