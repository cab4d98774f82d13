//! A fork that an origin resolves: what counted by ops behind the cut goes on counting, and what did not gains nothing.

use protocol::grant::Permitted;
use protocol::id::{BlobId, LogId, OpId};
use protocol::log::{Mmr, Verified};
use protocol::manifest::{File, Manifest};
use protocol::op::{
    Block, Blocked, Body, Delete, Grant, Offer, Publish, Revoke, Rights, SetRef, SetState, Target,
};
use protocol::package::{Coordinate, FeedKind};
use protocol::time::Hlc;

use super::*;
use crate::api::forks::ResolveFork;
use crate::api::ruling::{GrantRequest, RevokeRequest};

/// Somebody whose key signs here whatever the test wants.
struct Author {
    key: SiteKey,
    feed: FeedId,
    held: Mmr,
    clock: Hlc,
}

impl Author {
    fn says(&mut self, bodies: Vec<Body>) -> Verified {
        let log = LogId { feed: self.feed, author: self.key.site_id(), epoch: 1 };
        let signer = (self.key.signing_key(), self.key.succession().clone());
        let said = Verified::author_as(signer, log, &self.held, bodies, self.clock, wall_clock());
        self.clock = said.ops().last().unwrap().op.stamp;
        self.held = said.after().clone();
        said
    }
}

fn at(name: &str) -> Coordinate {
    Coordinate::new(FeedKind::Raw, name, "1.0").unwrap()
}

fn published(name: &str) -> Body {
    let blob = BlobId(*blake3::hash(name.as_bytes()).as_bytes());
    let file = File { name: "file".to_owned(), blob, size: name.len() as u64, sha256: [0; 32] };
    let manifest = Manifest::of(vec![file]).unwrap();
    Body::Publish(Publish { coordinate: at(name), manifest, supersedes: Vec::new(), provenance: None })
}

fn deleted(name: &str, saw: OpId) -> Body {
    Body::Delete(Delete { coordinate: at(name), saw: vec![saw], reason: String::new() })
}

fn granted(grantee: SiteId) -> Body {
    let (label, prefix) = (String::new(), String::new());
    Body::Grant(Grant { grantee, label, rights: Rights::WRITE, prefix, expires: None })
}

fn key(name: u8) -> SiteKey {
    SiteKey::from_seed(&[name; 32])
}

/// What stands of each version, and what each site may.
fn stands(node: &Node, guests: &[SiteId]) -> (Vec<(String, String, Option<String>)>, Vec<Rights>) {
    let site = &node.inner.site;
    let (feed, _) = site.store().feed_named("tools").unwrap().unwrap();
    let mut versions = Vec::new();
    for name in ["common", "kept", "old", "gone", "free", "blocked"] {
        let item = site.store().item(feed, name, "1.0", site.look()).unwrap().unwrap();
        let winner = item.winner.map(|winner| site.store().op(winner).unwrap().unwrap().op.body);
        let bytes = winner.map(|body| {
            let Body::Publish(publish) = body else { panic!("{body:?} serves") };
            publish.manifest.files[0].blob.to_string()
        });
        versions.push((name.to_owned(), format!("{:?}, {:?}", item.standing, item.offer), bytes));
    }
    let authority = site.store().authority(feed).unwrap().unwrap();
    (versions, guests.iter().map(|guest| authority.rights(*guest)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_counted_behind_a_cut_is_said_again_and_what_did_not_gains_nothing() {
    let ny = lab("New York").await;
    feed(&ny.node, "tools").await;
    for name in ["old", "free", "blocked"] {
        publish(&ny.node, name, name.as_bytes()).await.unwrap();
    }
    let store = ny.node.inner.site.store().clone();
    let (id, _) = store.feed_named("tools").unwrap().unwrap();
    let give = |site: SiteId, rights: &[&str]| GrantRequest {
        site: site.to_string(),
        rights: rights.iter().map(|right| (*right).to_owned()).collect(),
        prefix: String::new(),
        expires_ms: None,
    };
    let takes =
        |site: SiteId| RevokeRequest { site: site.to_string(), reason: String::new(), accept_all: true };
    let [stays, goes, comes_back, went] = [11, 12, 13, 14].map(|n| key(n).site_id());
    let mut author = Author { key: key(10), feed: id, held: Mmr::default(), clock: Hlc::default() };
    let of_author = ["publish", "delete-own", "delete-wide", "admin"];
    ny.node.grant("tools", give(author.key.site_id(), &of_author)).await.unwrap();
    for site in [comes_back, went] {
        ny.node.grant("tools", give(site, &["publish"])).await.unwrap();
    }
    let append = |said: Verified| store.append(&[Permitted::local(said, false).unwrap()]).unwrap();
    let old = store.item(id, "old", "1.0", ny.node.inner.site.look()).unwrap().unwrap().winner.unwrap();

    append(author.says(vec![published("common")]));
    let mut other = Author { key: key(10), feed: id, held: author.held.clone(), clock: author.clock };
    let said = author.says(vec![
        published("kept"),
        published("gone"),
        deleted("old", old),
        Body::SetState(SetState { coordinate: at("kept"), offer: Offer::Unlisted }),
        Body::SetRef(SetRef {
            package: "kept".to_owned(),
            name: "stable".to_owned(),
            target: Some(Target::Version("1.0".to_owned())),
        }),
        // It was given no right to block.
        Body::Block(Block { target: Blocked::Coordinate(at("free")), reason: String::new() }),
        granted(stays),
        granted(goes),
        Body::Revoke(Revoke { grantee: comes_back, accepted: Vec::new(), reason: String::new() }),
        Body::Revoke(Revoke { grantee: went, accepted: Vec::new(), reason: String::new() }),
    ]);
    let gone = said.ops()[1].id;
    append(said);
    append(author.says(vec![deleted("gone", gone)]));
    ny.node.revoke("tools", takes(goes)).await.unwrap();
    ny.node.grant("tools", give(comes_back, &["publish"])).await.unwrap();
    let head = other.says(vec![published("elsewhere")]).head().clone();
    assert!(store.put_fork(&store.fork_by(&head).unwrap().unwrap()).unwrap());

    let guests = [stays, goes, comes_back, went];
    let before = stands(&ny.node, &guests);
    let writes = before.1.iter().map(|rights| rights.publish).collect::<Vec<_>>();
    assert_eq!(writes, [true, false, true, false]);
    let asked = ResolveFork {
        feed: "tools".to_owned(),
        author: author.key.site_id().to_string(),
        at_most: None,
        drop: false,
        reason: String::new(),
    };
    let said = ny.node.resolve_fork(asked).await.unwrap();
    assert_eq!((said.published_again, said.deleted_again), (1, 2), "{said:?}");
    assert_eq!(stands(&ny.node, &guests), before);
    assert!(ny.node.forks().await.unwrap().forks.iter().all(|fork| fork.resolved && fork.counts == Some(1)));
    let refs = ny.node.references("tools", "kept").await.unwrap();
    assert!(serde_json::to_string(&refs).unwrap().contains("stable"), "{refs:?}");
    let findings = ny.node.doctor().await.unwrap().findings;
    assert!(findings.iter().all(|one| one.kind != "behind-cut"), "{findings:?}");
}

/// What was asked for of one forked log is not done, weeks later, with another one that nobody looked at.
#[tokio::test(flavor = "multi_thread")]
async fn another_fork_of_the_same_author_waits_for_a_person() {
    let ny = lab("New York").await;
    feed(&ny.node, "tools").await;
    let site = ny.node.inner.site.clone();
    let feed = site.store().feeds().unwrap()[0].0;
    let key = SiteKey::from_seed(&[9; 32]);
    let grantee = key.site_id();
    site.author(feed, vec![granted(grantee)]).unwrap();
    let fork = |epoch: u64| {
        let log = LogId { feed, author: grantee, epoch };
        let mut mmr = Mmr::default();
        let sign = |mmr: &Mmr, name: String| {
            let now = wall_clock();
            let signer = (key.signing_key(), key.succession().clone());
            Verified::author_as(signer, log, mmr, vec![published(&name)], Hlc::default(), now)
        };
        for n in 0..5 {
            let said = sign(&mmr, format!("v{epoch}-{n}"));
            mmr = said.after().clone();
            site.store().append(&[Permitted::local(said, false).unwrap()]).unwrap();
        }
        let other = sign(&mmr, format!("other-{epoch}"));
        let said = sign(&mmr, format!("v{epoch}-5"));
        site.store().append(&[Permitted::local(said, false).unwrap()]).unwrap();
        let proof = site.store().fork_by(other.head()).unwrap().unwrap();
        assert!(site.store().put_fork(&proof).unwrap());
        log
    };
    fork(1);
    let asked = ResolveFork {
        feed: "tools".to_owned(),
        author: grantee.to_string(),
        at_most: Some(1),
        drop: true,
        reason: "a thief said the rest".to_owned(),
    };
    ny.node.resolve_fork(asked).await.unwrap();
    // Its owner goes on in a later epoch, and that log forks as well, at its sixth op.
    let log = fork(7);
    ny.node.resolve_once_more(log).await;
    let cut = site.store().authority(feed).unwrap().unwrap().cut(log).map(|cut| cut.len());
    let standing =
        |n| site.store().item(feed, &format!("v7-{n}"), "1.0", site.look()).unwrap().unwrap().standing;
    let served: Vec<_> = (0..5).map(standing).collect();
    assert_eq!(cut, None, "it was cut without anybody's asking; what both histories have: {served:?}");
}
