//! Rights, blocks, clashes, promotion and figures between real nodes.

use super::*;
use crate::api::ruling::{
    BlockRequest, Conflicts, FeedChange, GrantRequest, OfferRequest, PointRequest, PromoteRequest,
    ResolveRequest, RevokeRequest, Version,
};

fn tool() -> Version {
    Version { name: "tool".to_owned(), version: "1.0".to_owned() }
}

async fn state(node: &Node, name: &str) -> String {
    node.package("tools", name, "1.0").await.map_or_else(|problem| problem.code, |package| package.state)
}

async fn mirrored() -> (Lab, Lab) {
    let (la, ny) = (lab("Los Angeles").await, lab("New York").await);
    feed(&la.node, "tools").await;
    pair(&la.node, &ny.node, "mirror").await;
    settle(&ny.node).await;
    (la, ny)
}

/// C10, R1: a block reaches the other site and wins over a publish that comes later; lifting it lets the version be served.
#[tokio::test(flavor = "multi_thread")]
async fn a_block_travels_and_can_be_lifted() {
    let (la, ny) = mirrored().await;
    publish(&ny.node, "tool", b"bytes").await.unwrap();
    let Version { name, version } = tool();
    let asked =
        BlockRequest { name: Some(name), version: Some(version), blob: None, reason: "malware".to_owned() };
    let said = la.node.block("tools", asked.clone()).await.unwrap();
    assert!(!said.local);
    let blocks = la.node.blocks("tools").await.unwrap().blocks;
    assert_eq!((blocks.len(), &blocks[0].op, blocks[0].stands), (1, &said.op, true));
    settle(&ny.node).await;
    assert_eq!(
        (state(&la.node, "tool").await, state(&ny.node, "tool").await),
        ("blocked".into(), "blocked".into())
    );
    let conflict = publish(&ny.node, "tool", b"bytes").await.unwrap_err();
    assert_eq!((conflict.status, conflict.code.as_str()), (409, "conflict"));
    let why = ny.node.why("tools", "tool", "1.0").await.unwrap();
    assert!(why.because.contains("blocked"), "{}", why.because);
    assert!(
        why.ops.iter().any(|op| op.role == "blocks" && op.reason.as_deref() == Some("malware")),
        "{why:?}"
    );
    assert!(
        why.ops.iter().any(|op| (op.kind.as_str(), op.role.as_str()) == ("publish", "blocked")),
        "{why:?}"
    );
    // New York may not block for others: its own block and its lifting of one count there alone.
    assert!(ny.node.block("tools", asked).await.unwrap().local);
    la.node.unblock("tools", &said.op, String::new()).await.unwrap();
    settle(&ny.node).await;
    assert_eq!(
        (state(&la.node, "tool").await, state(&ny.node, "tool").await),
        ("ready".into(), "blocked".into())
    );
}

/// After a restore the site's log in the feed begins anew, with an op of its own.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_word_after_a_restore_is_told_by_its_own_op() {
    let ny = lab("New York").await;
    feed(&ny.node, "tools").await;
    for name in ["tool", "other"] {
        publish(&ny.node, name, b"bytes").await.unwrap();
    }
    let anew = async || {
        let restored = Cause::Restored { made: Timestamp(1_000_000) };
        assert!(ny.node.inner.site.awaken(restored, wall_clock()).unwrap());
        ny.node.resume_writing(api::writing::ResumeRequest { feed: None }).await.unwrap();
    };
    anew().await;
    let Version { name, version } = tool();
    let asked = BlockRequest { name: Some(name), version: Some(version), blob: None, reason: String::new() };
    let said = ny.node.block("tools", asked).await.unwrap();
    ny.node.unblock("tools", &said.op, String::new()).await.unwrap();
    anew().await;
    let deleted = ny.node.delete("tools", "other", "1.0", String::new(), false).await.unwrap();
    let why = ny.node.why("tools", "other", "1.0").await.unwrap();
    assert!(why.ops.iter().any(|op| op.op == deleted.op && op.kind == "delete"), "{why:?}");
}

/// E1: two sites publish other bytes while apart; one build is served at both, both are kept, and a person may choose.
#[tokio::test(flavor = "multi_thread")]
async fn a_clash_is_told_at_both_sites_and_resolved_for_both() {
    let (la, ny) = mirrored().await;
    pause(&ny.node, true).await;
    publish(&la.node, "tool", b"from la").await.unwrap();
    publish(&ny.node, "tool", b"from ny").await.unwrap();
    pause(&ny.node, false).await;
    settle(&ny.node).await;
    let (here, there) = (la.node.conflicts(None).await.unwrap(), ny.node.conflicts(None).await.unwrap());
    assert_eq!((here.open, there.open), (1, 1));
    let served = |conflicts: &Conflicts| {
        conflicts.conflicts[0].builds.iter().find(|build| build.served).unwrap().op.clone()
    };
    assert_eq!(served(&here), served(&there));
    let loser = here.conflicts[0].builds.iter().find(|build| !build.served).unwrap().op.clone();
    let ask = |winner: &str| ResolveRequest {
        name: "tool".into(),
        version: "1.0".into(),
        winner: winner.to_owned(),
    };
    let refused = ny.node.resolve("tools", ask(&loser)).await.unwrap_err();
    assert_eq!(refused.code, "refused");
    la.node.resolve("tools", ask(&loser[..12])).await.unwrap();
    settle(&ny.node).await;
    let (here, there) = (la.node.conflicts(None).await.unwrap(), ny.node.conflicts(None).await.unwrap());
    assert_eq!((served(&here), served(&there), there.open), (loser.clone(), loser, 0));
}

/// R6: once the origin has sealed a build, one with an earlier stamp that comes later does not replace it.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_origin_sealed_is_not_replaced_by_what_was_published_earlier_elsewhere() {
    let (la, ny) = mirrored().await;
    pause(&ny.node, true).await;
    publish(&ny.node, "tool", b"earlier, at a site that is away").await.unwrap();
    publish(&la.node, "tool", b"served").await.unwrap();
    la.node.seal_feeds().await;
    pause(&ny.node, false).await;
    let before = la.node.package("tools", "tool", "1.0").await.unwrap().op;
    settle(&ny.node).await;
    let (here, there) = (
        la.node.package("tools", "tool", "1.0").await.unwrap(),
        ny.node.package("tools", "tool", "1.0").await.unwrap(),
    );
    assert_eq!((here.op.clone(), there.op), (before, here.op));
    assert_eq!(here.clashes, 1);
    let why = ny.node.why("tools", "tool", "1.0").await.unwrap();
    assert!(why.because.contains("seal 1"), "{}", why.because);
}

/// E26: what a revoked site says after the last seal waits everywhere; what is sealed stands.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_sites_unsealed_ops_wait() {
    let (la, ny) = mirrored().await;
    publish(&ny.node, "sealed", b"1").await.unwrap();
    settle(&ny.node).await;
    la.node.seal_feeds().await;
    publish(&ny.node, "unsealed", b"2").await.unwrap();
    let site = ny.node.me().to_string();
    let asked = RevokeRequest { site: site.clone(), reason: "left".to_owned(), accept_all: false };
    let refused = ny.node.revoke("tools", asked.clone()).await.unwrap_err();
    assert_eq!(refused.code, "refused");
    la.node.revoke("tools", asked).await.unwrap();
    settle(&ny.node).await;
    assert_eq!(
        (state(&la.node, "sealed").await, state(&la.node, "unsealed").await),
        ("ready".into(), "held".into())
    );
    let rights = ny.node.rights("tools").await.unwrap();
    assert!(rights.grants.iter().all(|grant| grant.revoked));
    // A seal that covers what was held in the meantime makes no second revoke accept it.
    publish(&la.node, "worth", b"a seal").await.unwrap();
    la.node.seal_feeds().await;
    let again = RevokeRequest { site: site.clone(), reason: String::new(), accept_all: false };
    la.node.revoke("tools", again).await.unwrap();
    assert_eq!(state(&la.node, "unsealed").await, "held");
    let asked =
        GrantRequest { site, rights: vec!["publish".to_owned()], prefix: "un".to_owned(), expires_ms: None };
    la.node.grant("tools", asked).await.unwrap();
    settle(&ny.node).await;
    assert_eq!(state(&la.node, "unsealed").await, "ready");
}

/// Less is given by taking all back and giving less: what the site says beyond that, or after its time is over, counts at home alone, and it is told so.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_whose_rights_were_narrowed_is_told_what_counts_elsewhere() {
    let (la, ny) = mirrored().await;
    publish(&la.node, "tool", b"bytes").await.unwrap();
    settle(&ny.node).await;
    let site = ny.node.me().to_string();
    let back = RevokeRequest { site: site.clone(), reason: String::new(), accept_all: true };
    let less = |expires_ms| GrantRequest {
        site: site.clone(),
        rights: vec!["publish".to_owned()],
        prefix: String::new(),
        expires_ms,
    };
    la.node.revoke("tools", back.clone()).await.unwrap();
    la.node.grant("tools", less(None)).await.unwrap();
    settle(&ny.node).await;
    assert!(ny.node.feed("tools").await.unwrap().may_publish);
    assert!(ny.node.delete("tools", "tool", "1.0", String::new(), false).await.unwrap().local);
    settle(&ny.node).await;
    assert_eq!(
        (state(&la.node, "tool").await, state(&ny.node, "tool").await),
        ("ready".into(), "hidden-here".into())
    );

    la.node.revoke("tools", back).await.unwrap();
    la.node.grant("tools", less(Some(1))).await.unwrap();
    settle(&ny.node).await;
    assert!(!ny.node.feed("tools").await.unwrap().may_publish);
}

/// E4, E5: a pull-only site's own build is served until upstream publishes one, is kept behind it, and can be taken back.
#[tokio::test(flavor = "multi_thread")]
async fn a_local_build_is_shadowed_by_upstreams_and_can_be_taken_back() {
    let (ny, tokyo) = (lab("New York").await, lab("Tokyo").await);
    feed(&ny.node, "tools").await;
    pair(&ny.node, &tokyo.node, "pull").await;
    settle(&tokyo.node).await;
    publish(&tokyo.node, "tool", b"local").await.unwrap();
    assert!(tokyo.node.package("tools", "tool", "1.0").await.unwrap().local);
    publish(&ny.node, "tool", b"upstream").await.unwrap();
    settle(&tokyo.node).await;
    let package = tokyo.node.package("tools", "tool", "1.0").await.unwrap();
    assert_eq!((package.local, package.state.as_str()), (false, "ready"));
    let wins = FeedChange { local_wins: Some(true), ..FeedChange::default() };
    tokyo.node.change_feed("tools", wins).await.unwrap();
    assert!(tokyo.node.package("tools", "tool", "1.0").await.unwrap().local);
    assert!(tokyo.node.revert_local("tools", tool()).await.unwrap().local);
    assert!(!tokyo.node.package("tools", "tool", "1.0").await.unwrap().local);
    assert_eq!(tokyo.node.revert_local("tools", tool()).await.unwrap_err().code, "not-found");
    let strict = FeedChange { strict: Some(true), ..FeedChange::default() };
    tokyo.node.change_feed("tools", strict).await.unwrap();
    let refused = publish(&tokyo.node, "other", b"x").await.unwrap_err();
    assert!(refused.code == "refused" && refused.hint.is_some_and(|hint| hint.contains("--strict off")));
    let told = tokyo.node.feed("tools").await.unwrap();
    assert_eq!((told.strict, told.local_wins, told.may_publish), (true, true, false));
    let strict = FeedChange { strict: Some(true), ..FeedChange::default() };
    assert!(
        !ny.node.change_feed("tools", strict).await.unwrap().may_publish,
        "nor does what its origin says"
    );
}

/// Row 4: a promoted version says where it came from, and travels with the feed it was promoted into.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_promoted_with_its_provenance() {
    let (la, ny) = mirrored().await;
    let new = NewFeed { name: "incoming".to_owned(), kind: "raw".to_owned(), open_reads: true };
    la.node.create_feed(new).await.unwrap();
    let approved = publish(&la.node, "tool", b"bytes").await.unwrap();
    let promote = |to: &str| PromoteRequest { name: "tool".into(), version: "1.0".into(), to: to.to_owned() };
    let promoted = la.node.promote("tools", promote("incoming")).await.unwrap();
    assert!(promoted.promoted_from.unwrap().ends_with(&approved.op.unwrap()));
    assert_eq!(promoted.files, approved.files);
    assert_eq!(la.node.promote("tools", promote("tools")).await.unwrap_err().code, "usage");
    let nothing = PromoteRequest { name: "nothing".into(), version: "1.0".into(), to: "incoming".into() };
    assert_eq!(la.node.promote("tools", nothing).await.unwrap_err().code, "not-found");
    drop(ny);
}

/// Row 68: publish dates and downloads of all sites that tell add up at each.
#[tokio::test(flavor = "multi_thread")]
async fn downloads_add_up_over_sites() {
    let (la, ny) = mirrored().await;
    let published = publish(&la.node, "tool", b"bytes").await.unwrap();
    settle(&ny.node).await;
    for _ in 0..3 {
        la.node.downloaded("tools", "tool", "1.0").await;
    }
    ny.node.downloaded("tools", "tool", "1.0").await;
    assert_eq!(la.node.package("tools", "tool", "1.0").await.unwrap().downloads, 3);
    la.node.tell_downloads().await;
    ny.node.tell_downloads().await;
    settle(&ny.node).await;
    for node in [&la.node, &ny.node] {
        let package = node.package("tools", "tool", "1.0").await.unwrap();
        assert_eq!((package.downloads, package.published_ms), (4, published.published_ms));
        assert!(package.last_used_ms.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn offers_and_tags_travel() {
    let (la, ny) = mirrored().await;
    publish(&la.node, "tool", b"bytes").await.unwrap();
    settle(&ny.node).await;
    let offer = |offer: &str| OfferRequest {
        name: "tool".into(),
        version: "1.0".into(),
        offer: offer.to_owned(),
        text: "broken".to_owned(),
    };
    assert_eq!(ny.node.offer("tools", offer("gone")).await.unwrap_err().code, "usage");
    ny.node.offer("tools", offer("yanked")).await.unwrap();
    let point = |version: Option<&str>| PointRequest {
        package: "tool".into(),
        name: "latest".into(),
        version: version.map(ToOwned::to_owned),
    };
    assert_eq!(ny.node.point("tools", point(Some("9.9"))).await.unwrap_err().code, "not-found");
    ny.node.point("tools", point(Some("1.0"))).await.unwrap();
    settle(&ny.node).await;
    let package = la.node.package("tools", "tool", "1.0").await.unwrap();
    assert_eq!((package.offer.as_str(), package.offer_text.as_deref()), ("yanked", Some("broken")));
    let refs = la.node.references("tools", "tool").await.unwrap().refs;
    assert_eq!((refs.len(), refs[0].target.as_str(), refs[0].local), (1, "1.0", false));
    la.node.point("tools", point(None)).await.unwrap();
    settle(&ny.node).await;
    assert!(ny.node.references("tools", "tool").await.unwrap().refs.is_empty());
}

/// Row 42: a site that pushes and takes nothing in reaches the hub with what it was granted at pairing.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_only_site_reaches_the_hub_and_takes_nothing() {
    let (hub, shop) = (lab("Hub").await, lab("Shop").await);
    feed(&hub.node, "tools").await;
    publish(&hub.node, "hubs", b"stays there").await.unwrap();
    pair(&hub.node, &shop.node, "push").await;
    publish(&shop.node, "shops", b"goes there").await.unwrap();
    settle(&shop.node).await;
    assert_eq!(state(&hub.node, "shops").await, "ready");
    assert_eq!(state(&shop.node, "hubs").await, "not-found");
    let package = shop.node.package("tools", "shops", "1.0").await.unwrap();
    assert!(!package.local, "the shop knows that its publish counts everywhere");
    let rights = shop.node.rights("tools").await.unwrap();
    assert!(rights.grants.iter().any(|grant| grant.site == shop.node.me().to_string()), "{rights:?}");
}

/// E13: what a push-only site publishes over a delete is not served at the hub; the site hears why, and can restore knowingly.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_only_site_hears_that_its_publish_meets_a_delete_and_restores_it() {
    let (hub, shop) = (lab("Hub").await, lab("Shop").await);
    feed(&hub.node, "tools").await;
    publish(&hub.node, "tool", b"bytes").await.unwrap();
    hub.node.delete("tools", "tool", "1.0", String::new(), false).await.unwrap();
    pair(&hub.node, &shop.node, "push").await;
    publish(&shop.node, "tool", b"bytes").await.unwrap();
    settle(&shop.node).await;
    assert_eq!(state(&hub.node, "tool").await, "suppressed");
    let why = shop.node.why("tools", "tool", "1.0").await.unwrap();
    assert!(
        why.because.contains("Hub has it and does not serve it: a delete there holds"),
        "{}",
        why.because
    );
    let mut again = uploaded(&shop.node, "tool", b"bytes").await;
    again.restore = true;
    shop.node.publish("tools", again).await.unwrap();
    settle(&shop.node).await;
    assert_eq!(state(&hub.node, "tool").await, "ready");
    let why = shop.node.why("tools", "tool", "1.0").await.unwrap();
    assert!(!why.because.contains("does not serve it"), "{}", why.because);
}

/// What is acknowledged is served: of bytes that are blocked nothing is published, at any site that knows of the block.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_blocked_are_not_published_under_another_name() {
    let (la, ny) = mirrored().await;
    publish(&la.node, "tool", b"bad").await.unwrap();
    let blob = la.node.package("tools", "tool", "1.0").await.unwrap().files[0].blake3.clone();
    let block = BlockRequest { name: None, version: None, blob: Some(blob), reason: String::new() };
    let op = la.node.block("tools", block).await.unwrap().op;
    settle(&ny.node).await;
    for node in [&la.node, &ny.node] {
        let refused = publish(node, "again", b"bad").await.unwrap_err();
        assert_eq!((refused.status, refused.code.as_str()), (409, "conflict"), "{refused:?}");
        assert!(refused.detail.contains("file.bin") && refused.detail.contains(&op), "{refused:?}");
        let mut two = uploaded(node, "two", b"good").await;
        two.files[0].name = "good.bin".to_owned();
        two.files.extend(uploaded(node, "two", b"bad").await.files);
        assert_eq!(node.publish("tools", two).await.unwrap_err().status, 409);
    }
    la.node.unblock("tools", &op, String::new()).await.unwrap();
    publish(&la.node, "again", b"bad").await.unwrap();
    assert_eq!(state(&la.node, "again").await, "ready");
}

/// A site that may only publish hid at home what the origin deleted since. It is told so, and lifting its own hide brings nothing back elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_hidden_here_and_deleted_everywhere_since_is_told_as_deleted() {
    let (la, ny) = mirrored().await;
    publish(&la.node, "tool", b"bytes").await.unwrap();
    settle(&ny.node).await;
    let site = ny.node.me().to_string();
    let back = RevokeRequest { site: site.clone(), reason: String::new(), accept_all: true };
    la.node.revoke("tools", back).await.unwrap();
    let rights = vec!["publish".to_owned()];
    let less = GrantRequest { site, rights, prefix: String::new(), expires_ms: None };
    la.node.grant("tools", less).await.unwrap();
    settle(&ny.node).await;
    assert!(ny.node.delete("tools", "tool", "1.0", String::new(), false).await.unwrap().local);
    assert_eq!(state(&ny.node, "tool").await, "hidden-here");
    la.node.delete("tools", "tool", "1.0", "poisoned".to_owned(), false).await.unwrap();
    settle(&ny.node).await;
    let why = ny.node.why("tools", "tool", "1.0").await.unwrap();
    let of_origin = why.ops.iter().find(|op| op.reason.as_deref() == Some("poisoned")).unwrap();
    assert_eq!((why.state.as_str(), of_origin.role.as_str()), ("deleted", "deletes"));
    assert!(!why.because.contains("other sites still serve it"), "{}", why.because);
    let roots = [&la.node, &ny.node].map(|node| node.feed("tools"));
    let [one, other] = roots;
    assert_eq!(one.await.unwrap().state_root, other.await.unwrap().state_root);
}
