//! Logs, feeds, links and runs: what is appended, served again, found after a loss, and what stands.

use ed25519_dalek::SigningKey;
use protocol::fault::Outcome;
use protocol::feed::Standing;
use protocol::filter::Filter;
use protocol::id::{BlobId, SiteId};
use protocol::link::{Dial, Link};
use protocol::manifest::{File, Manifest};
use protocol::op::{Delete, Genesis, Grant, Publish, Rights, SetRef, Target};
use protocol::package::{Coordinate, FeedKind};
use protocol::session::view::{Holding, View};
use protocol::switches::Switches;
use protocol::time::{Hlc, Timestamp};

use super::*;
use crate::store::disk::fake::FakeDisk;
use crate::store::engine::{Engine, InMemory};
use crate::store::tests::{Dice, id, ingest, open};
use crate::store::{BlobState, Changed, FeedRecord, Look, RUNS_MAX, RunRecord};

const WALL: Timestamp = Timestamp(1_800_000_000_000);

pub(in crate::store) struct Author {
    key: SigningKey,
    mmr: BTreeMap<FeedId, Mmr>,
    pub(in crate::store) clock: Hlc,
}

impl Author {
    pub(in crate::store) fn new(n: u8) -> Self {
        Self { key: SigningKey::from_bytes(&[n; 32]), mmr: BTreeMap::new(), clock: Hlc::default().next(WALL) }
    }

    pub(in crate::store) fn site(&self) -> SiteId {
        SiteId(self.key.verifying_key().to_bytes())
    }

    pub(in crate::store) fn log(&self, feed: FeedId) -> LogId {
        LogId { feed, author: self.site(), epoch: 1 }
    }

    /// What it says next follows on that.
    pub(in crate::store) fn goes_on_from(&mut self, feed: FeedId, held: Mmr) {
        self.mmr.insert(feed, held);
    }

    pub(in crate::store) fn says(&mut self, feed: FeedId, bodies: Vec<Body>) -> Permitted<Verified> {
        let log = self.log(feed);
        let held = self.mmr.entry(feed).or_default();
        self.clock = Hlc(self.clock.0 + 1000);
        let said = Verified::author(&self.key, log, held, bodies, self.clock, WALL);
        *held = said.after().clone();
        Permitted::local(said, false).unwrap()
    }
}

pub(in crate::store) fn genesis(origin: &Author) -> Genesis {
    Genesis {
        kind: FeedKind::Raw,
        name: "tools".to_owned(),
        origin: origin.site(),
        second_origin: None,
        reuse: true,
        overwrite: false,
        created: WALL,
        nonce: [0; 16],
    }
}

pub(in crate::store) fn record(origin: &Author) -> FeedRecord {
    FeedRecord {
        genesis: genesis(origin),
        name: "tools".to_owned(),
        strict: false,
        local_wins: false,
        open_reads: false,
    }
}

pub(in crate::store) fn publish(name: &str, version: &str, content: &[u8]) -> Body {
    let file = File {
        name: "file".to_owned(),
        blob: BlobId(*blake3::hash(content).as_bytes()),
        size: content.len() as u64,
        sha256: [0; 32],
    };
    Body::Publish(Publish {
        coordinate: Coordinate::new(FeedKind::Raw, name, version).unwrap(),
        manifest: Manifest::of(vec![file]).unwrap(),
        supersedes: Vec::new(),
        provenance: None,
    })
}

pub(in crate::store) fn delete(name: &str, version: &str, saw: Vec<OpId>) -> Body {
    let coordinate = Coordinate::new(FeedKind::Raw, name, version).unwrap();
    Body::Delete(Delete { coordinate, saw, reason: String::new() })
}

pub(in crate::store) fn look(author: &Author) -> Look {
    Look { me: author.site(), now: Timestamp(WALL.0 + 60_000) }
}

fn fresh() -> (FakeDisk, InMemory, Store) {
    let (disk, engine) = (FakeDisk::new(), InMemory::default());
    let store = open(&disk, &engine);
    (disk, engine, store)
}

#[test]
fn ops_are_found_by_name_by_place_and_by_generation() {
    let (_, _, store) = fresh();
    let mut author = Author::new(1);
    let feed = store.put_feed(&record(&author)).unwrap();
    let first = author.says(feed, vec![publish("a", "1", b"a"), publish("b", "1", b"b")]);
    let second = author.says(feed, vec![publish("c", "1", b"c")]);
    assert_eq!(store.append(std::slice::from_ref(&first)).unwrap(), 2);
    assert_eq!(store.append(std::slice::from_ref(&second)).unwrap(), 3);
    let log = author.log(feed);
    for named in first.inner().ops() {
        assert_eq!(store.op(named.id).unwrap().as_ref(), Some(named));
    }
    assert_eq!(store.op(OpId([0; 32])).unwrap(), None);
    assert_eq!(store.heads(feed).unwrap(), [second.inner().head().clone()]);
    let state = store.log_state(log).unwrap().unwrap();
    assert_eq!((&state.after, &state.head), (second.inner().after(), second.inner().head()));
    let batches = store.batches(log, 0, u64::MAX).unwrap();
    assert_eq!(batches, [first.inner().to_batch(), second.inner().to_batch()]);
    assert_eq!(store.batches(log, 0, 1).unwrap().len(), 1);
    assert!(store.batches(log, 3, 1).unwrap().is_empty());
    let changed = |since| store.changed_since(since).unwrap();
    assert_eq!(changed(0), Changed { generation: 3, logs: BTreeMap::from([(log, 0)]) });
    assert_eq!(changed(2), Changed { generation: 3, logs: BTreeMap::from([(log, 2)]) });
    assert_eq!(changed(3), Changed { generation: 3, logs: BTreeMap::new() });
}

#[test]
fn a_run_from_any_position_verifies_against_what_its_reader_holds() {
    let (_, _, store) = fresh();
    let mut author = Author::new(2);
    let feed = store.put_feed(&record(&author)).unwrap();
    let mut held = vec![Mmr::default()];
    for n in 0..12_u8 {
        let bodies = (0..=n % 3).map(|m| publish("p", &format!("{n}.{m}"), &[n])).collect();
        let said = author.says(feed, bodies);
        for named in said.inner().ops() {
            let mut after = held.last().unwrap().clone();
            after.push(named.id);
            held.push(after);
        }
        store.append(&[said]).unwrap();
    }
    let view = store.view(look(&author));
    let log = author.log(feed);
    for (from, mmr) in held.iter().enumerate() {
        let run = view.run(log, from as u64, usize::MAX).unwrap();
        if mmr.len() == held.last().unwrap().len() {
            assert_eq!(run, None);
        } else {
            let verified = run.unwrap().verify(mmr).unwrap();
            assert_eq!(verified.after(), held.last().unwrap(), "from {from}");
        }
    }
}

#[test]
fn a_batch_that_does_not_follow_is_refused_and_one_that_adds_nothing_passed_over() {
    let (disk, _, store) = fresh();
    let mut author = Author::new(3);
    let feed = store.put_feed(&record(&author)).unwrap();
    let first = author.says(feed, vec![publish("a", "1", b"a")]);
    let second = author.says(feed, vec![publish("a", "2", b"b")]);
    let refused = store.append(std::slice::from_ref(&second)).unwrap_err();
    assert!(matches!(refused, AppendError::Moved { held: 0, first: 1, .. }), "{refused}");
    let used = disk.used();
    store.append(&[first.clone(), second]).unwrap();
    assert!(matches!(store.append(&[first]), Err(AppendError::Moved { held: 2, first: 0, .. })));
    let used_after = disk.used();
    assert!(used_after > used);
    store.append(&[author.says(feed, vec![])]).unwrap();
    assert_eq!(disk.used(), used_after);
}

#[test]
fn batches_of_one_call_share_one_sync() {
    let (disk, _, store) = fresh();
    let mut author = Author::new(4);
    let feed = store.put_feed(&record(&author)).unwrap();
    let batches: Vec<_> =
        (0..20_u8).map(|n| author.says(feed, vec![publish("a", &n.to_string(), &[n])])).collect();
    let before = disk.syncs();
    store.append(&batches).unwrap();
    assert_eq!(disk.syncs() - before, 1);
}

#[test]
fn logs_and_generations_survive_cuts_and_the_loss_of_the_index() {
    let (disk, engine, mut store) = fresh();
    let mut author = Author::new(5);
    let feed = store.put_feed(&record(&author)).unwrap();
    let log = author.log(feed);
    let mut expected: Vec<Batch> = Vec::new();
    for round in 0..30_u64 {
        let mut dice = Dice::new(round);
        for n in 0..dice.roll(4) {
            let said = author.says(feed, vec![publish("p", &format!("{round}.{n}"), &[1])]);
            store.append(std::slice::from_ref(&said)).unwrap();
            expected.push(said.inner().to_batch());
        }
        drop(store);
        disk.cut_power(|| dice.roll(2) == 0);
        if dice.roll(3) == 0 {
            engine.set_aside().unwrap();
        }
        store = open(&disk, &engine);
        assert_eq!(store.batches(log, 0, u64::MAX).unwrap(), expected, "round {round}");
        assert_eq!(store.newest_generation().unwrap(), expected.len() as u64);
    }
    assert!(expected.len() > 20);
}

#[test]
fn what_stands_follows_ops_rights_and_time() {
    let (disk, engine, store) = fresh();
    let (mut origin, mut other) = (Author::new(6), Author::new(7));
    let feed = store.put_feed(&record(&origin)).unwrap();
    let stands = |store: &Store, name: &str, look: Look| {
        store.item(feed, name, "1", look).unwrap().map(|item| item.standing)
    };
    let here = look(&origin);
    let said = origin.says(feed, vec![publish("a", "1", b"a")]);
    let published = said.inner().ops()[0].id;
    store.append(&[said]).unwrap();
    assert_eq!(stands(&store, "a", here), Some(Standing::Served));
    assert_eq!(stands(&store, "b", here), None);
    store.append(&[other.says(feed, vec![publish("b", "1", b"b")])]).unwrap();
    assert_eq!(stands(&store, "b", here), Some(Standing::NotAuthorised));
    assert_eq!(stands(&store, "b", look(&other)), Some(Standing::Served), "its own overlay");
    let grant = Grant {
        grantee: other.site(),
        label: String::new(),
        rights: Rights::WRITE,
        prefix: String::new(),
        expires: None,
    };
    store.append(&[origin.says(feed, vec![Body::Grant(grant)])]).unwrap();
    assert_eq!(stands(&store, "b", here), Some(Standing::Served));
    store.append(&[origin.says(feed, vec![delete("a", "1", vec![published])])]).unwrap();
    assert_eq!(stands(&store, "a", here), Some(Standing::Deleted));

    other.clock = Hlc((WALL.0 + 3_600_000) << 16);
    store.append(&[other.says(feed, vec![publish("c", "1", b"c")])]).unwrap();
    assert_eq!(stands(&store, "c", here), Some(Standing::Parked));
    let later = Look { now: Timestamp(WALL.0 + 3_600_000), ..here };
    assert_eq!(stands(&store, "c", later), Some(Standing::Served));
    drop(store);
    engine.set_aside().unwrap();
    let store = open(&disk, &engine);
    assert_eq!(stands(&store, "a", here), Some(Standing::Deleted));
    assert_eq!(stands(&store, "b", here), Some(Standing::Served));
}

#[test]
fn items_are_listed_in_pages_by_prefix() {
    let (_, _, store) = fresh();
    let mut origin = Author::new(8);
    let feed = store.put_feed(&record(&origin)).unwrap();
    let names = ["app", "app-ui", "apple", "bee"];
    for name in names {
        let bodies = ["1", "2", "3"].map(|version| publish(name, version, name.as_bytes()));
        store.append(&[origin.says(feed, bodies.to_vec())]).unwrap();
    }
    let here = look(&origin);
    let mut seen = Vec::new();
    let mut after: Option<(String, String)> = None;
    loop {
        let from = after.as_ref().map(|(name, version)| (name.as_str(), version.as_str()));
        let page = store.items(feed, "app", from, 2, here).unwrap();
        let Some((last, _)) = page.last() else { break };
        after = Some((last.name.clone(), last.version.clone()));
        seen.extend(page.into_iter().map(|(coordinate, _)| (coordinate.name, coordinate.version)));
    }
    assert_eq!(seen.len(), 9);
    assert!(seen.is_sorted());
    let versions = store.versions(feed, "app", here).unwrap();
    assert_eq!(versions.len(), 3, "app-ui and apple are other packages");
    assert!(versions.iter().all(|(_, item)| item.standing == Standing::Served));
}

#[test]
fn a_walk_over_a_feed_of_many_pages_shows_each_version_once_and_ends_where_the_visitor_fails() {
    let (_, _, store) = fresh();
    let mut origin = Author::new(8);
    let feed = store.put_feed(&record(&origin)).unwrap();
    let versions: Vec<String> = (0..1100).map(|version| format!("{version:04}")).collect();
    let bodies = versions.iter().map(|version| publish("app", version, b"app")).collect();
    store.append(&[origin.says(feed, bodies)]).unwrap();
    let mut seen = Vec::new();
    let walked = store.each_item(feed, look(&origin), |coordinate, _| {
        seen.push(coordinate.version);
        Ok::<_, ReadError>(())
    });
    walked.unwrap();
    assert_eq!(seen, versions);
    let mut visits = 0;
    let stopped = store.each_item(feed, look(&origin), |_, _| {
        visits += 1;
        if visits == 700 { Err(anyhow::anyhow!("seen enough")) } else { Ok(()) }
    });
    assert_eq!(stopped.unwrap_err().to_string(), "seen enough");
    assert_eq!(visits, 700);
}

/// [P-41] The root of a site's exports depends on its logs alone.
#[test]
fn sites_with_the_same_ops_have_the_same_root_whatever_came_first() {
    let (_, _, one) = fresh();
    let (_, _, two) = fresh();
    let (mut origin, mut other) = (Author::new(14), Author::new(15));
    let feed = one.put_feed(&record(&origin)).unwrap();
    two.put_feed(&record(&origin)).unwrap();
    let grant = Grant {
        grantee: other.site(),
        label: String::new(),
        rights: Rights::WRITE,
        prefix: String::new(),
        expires: None,
    };
    let first = origin.says(feed, vec![Body::Grant(grant), publish("a", "1", b"a")]);
    let second = other.says(feed, vec![publish("a", "1", b"other"), publish("b", "1", b"b")]);
    one.append(std::slice::from_ref(&first)).unwrap();
    one.append(std::slice::from_ref(&second)).unwrap();
    two.append(&[second]).unwrap();
    let root = |store: &Store, author: &Author| store.state_root(feed, look(author)).unwrap();
    assert_ne!(root(&one, &origin), root(&two, &origin));
    two.append(&[first]).unwrap();
    assert_eq!(root(&one, &origin), root(&two, &other));
    let overlay = Author::new(16).says(feed, vec![publish("local", "1", b"x")]);
    let before = root(&two, &Author::new(16));
    two.append(&[overlay]).unwrap();
    assert_eq!(root(&two, &Author::new(16)), before, "a local package is no part of the feed");
}

#[test]
fn a_feed_wants_the_blobs_it_serves_until_they_are_whole_and_again_when_they_are_damaged() {
    let (disk, _, store) = fresh();
    let mut origin = Author::new(9);
    let feed = store.put_feed(&record(&origin)).unwrap();
    let big = vec![3; 600_000];
    let said = origin.says(feed, vec![publish("a", "1", &big), publish("b", "1", b"small")]);
    let gone = said.inner().ops()[1].id;
    store.append(&[said]).unwrap();
    let view = store.view(look(&origin));
    let blob = BlobId(*blake3::hash(&big).as_bytes());
    let small = BlobId(*blake3::hash(b"small").as_bytes());
    let everything = Filter::default();
    let missing = |filter: &Filter| -> Vec<(BlobId, u64)> {
        let mut missing: Vec<_> =
            view.missing(feed, filter).unwrap().iter().map(|one| (one.blob, one.size)).collect();
        missing.sort_unstable();
        missing
    };
    let wanted = missing(&everything);
    let mut both = [(blob, 600_000), (small, 5)];
    both.sort_unstable();
    assert_eq!(wanted, both);
    assert!(view.carries(feed, blob, &everything, None).unwrap());
    assert!(!view.carries(FeedId([0; 32]), blob, &everything, None).unwrap());
    assert_eq!(store.uses(small, 9).unwrap(), [(feed, gone)]);
    store.append(&[origin.says(feed, vec![delete("b", "1", vec![gone])])]).unwrap();
    assert_eq!(missing(&everything), [(blob, 600_000)]);
    let mut ingest = store.ingest();
    ingest.write(&big).unwrap();
    assert_eq!(ingest.finish().unwrap().blob, blob);
    assert_eq!(missing(&everything), []);
    assert_eq!(view.holding(blob).unwrap(), Holding::Complete);
    disk.damage(1, |pack| {
        let at = pack.windows(100).position(|part| part == [3; 100]).unwrap();
        pack[at] ^= 1;
    });
    assert_eq!(view.extent(blob, 0).unwrap(), None);
    assert_eq!(missing(&everything), [(blob, 600_000)]);
    assert!(matches!(view.holding(blob).unwrap(), Holding::Partial { missing, .. } if missing == [0]));
}

#[test]
fn ops_about_refs_and_rights_are_found_by_what_they_are_about() {
    let (_, _, store) = fresh();
    let mut origin = Author::new(10);
    let feed = store.put_feed(&record(&origin)).unwrap();
    let set = |package: &str, name: &str| {
        let target = Some(Target::Version("1".to_owned()));
        Body::SetRef(SetRef { package: package.to_owned(), name: name.to_owned(), target })
    };
    let bodies = vec![set("a", "latest"), set("a", "next"), set("ab", "latest")];
    store.append(&[origin.says(feed, bodies)]).unwrap();
    assert_eq!(store.ref_ops(feed, "a").unwrap().len(), 2);
    assert_eq!(store.ref_ops(feed, "ab").unwrap().len(), 1);
    assert!(store.ops_about(feed, Topic::Rights).unwrap().is_empty());
}

#[test]
fn a_damaged_batch_is_told_its_log_set_back_and_mended_by_pulling_it_again() {
    let (disk, engine, store) = fresh();
    let mut origin = Author::new(11);
    let feed = store.put_feed(&record(&origin)).unwrap();
    let names = ["before", "damaged-here", "behind", "last"];
    let said = names.map(|name| origin.says(feed, vec![publish(name, "1", b"a")]));
    for batch in &said {
        store.append(std::slice::from_ref(batch)).unwrap();
    }
    let log = origin.log(feed);
    let memory = protocol::session::Memory {
        known: None,
        heads: vec![(log, protocol::log::Reach { len: 4, root: [1; 32], gaps: 0 })],
    };
    store.remember(origin.site(), "tokyo", &memory).unwrap();
    store.lose_spares();
    disk.damage(1, |pack| {
        let at = pack.windows(12).position(|part| part == b"damaged-here").unwrap();
        pack[at] ^= 1;
    });
    assert!(matches!(store.batches(log, 0, u64::MAX), Err(ReadError::CorruptRecord { .. })));
    assert!(matches!(store.op(said[1].inner().ops()[0].id), Err(ReadError::CorruptRecord { .. })));
    assert_eq!(store.batches(log, 2, u64::MAX).unwrap().len(), 2);
    let view = store.view(look(&origin));
    // The peer was told of it: the session ends, and the next one tells of less.
    assert!(view.run(log, 1, usize::MAX).is_err());
    assert_eq!(view.run(log, 1, usize::MAX).unwrap(), None);
    assert_eq!(store.log_state(log).unwrap().unwrap().head, *said[0].inner().head());
    assert_eq!(store.log_longest(log).unwrap(), 4);
    assert_eq!(store.memory(origin.site(), "tokyo").unwrap(), protocol::session::Memory::default());

    // One run brings what is behind in one batch, so batches overlap from here on.
    let mut run = said[1].inner().to_batch();
    for batch in &said[2..] {
        run.entries.extend(batch.inner().to_batch().entries);
        run.head = batch.inner().head().clone();
    }
    let held = store.log_state(log).unwrap().unwrap().after;
    let pulled = Permitted::local(run.verify(&held).unwrap(), false).unwrap();
    store.append(&[pulled]).unwrap();
    drop((view, store));
    engine.set_aside().unwrap();
    let store = open(&disk, &engine);
    for from in 0..4_u64 {
        let batches = store.batches(log, from, u64::MAX).unwrap();
        assert_eq!(batches.first().unwrap().first, from);
        assert_eq!(batches.last().unwrap().head, *said[3].inner().head());
    }
    for batch in &said {
        let named = &batch.inner().ops()[0];
        assert_eq!(store.op(named.id).unwrap().as_ref(), Some(named));
    }
    let verified = store.verify(|_| {}).unwrap();
    assert_eq!((verified.damage.len(), verified.logs_set_back.len()), (1, 0));
}

/// Whoever sees an op may pass it on: one whose sync failed was never there, and can be said again.
#[test]
fn ops_whose_sync_failed_are_seen_by_nobody() {
    let (disk, _, store) = fresh();
    let mut origin = Author::new(21);
    let feed = store.put_feed(&record(&origin)).unwrap();
    let said = origin.says(feed, vec![publish("a", "1", b"a")]);
    disk.fail_next_sync();
    store.append(std::slice::from_ref(&said)).unwrap_err();
    assert_eq!(store.log_state(origin.log(feed)).unwrap(), None);
    assert_eq!(store.op(said.inner().ops()[0].id).unwrap(), None);
    store.append(&[said]).unwrap();
    assert_eq!(store.log_state(origin.log(feed)).unwrap().unwrap().after.len(), 1);
}

#[test]
fn verify_sets_a_damaged_log_back() {
    let (disk, _, store) = fresh();
    let mut origin = Author::new(13);
    let feed = store.put_feed(&record(&origin)).unwrap();
    let said = origin.says(feed, vec![publish("damaged-here", "1", b"a")]);
    ingest(&store, b"a").unwrap();
    store.append(std::slice::from_ref(&said)).unwrap();
    store.append(&[origin.says(feed, vec![publish("behind", "1", b"b")])]).unwrap();
    store.lose_spares();
    disk.damage(1, |pack| {
        let at = pack.windows(12).position(|part| part == b"damaged-here").unwrap();
        pack[at] ^= 1;
    });
    let log = origin.log(feed);
    assert_eq!(store.verify(|_| {}).unwrap().logs_set_back, [log]);
    assert_eq!(store.log_state(log).unwrap(), None);
    assert_eq!(store.log_longest(log).unwrap(), 2);
    assert!(store.heads(feed).unwrap().is_empty());

    // It stops no question with which its mending begins, and what it named is not given away before it is back.
    assert_eq!(store.op(said.inner().ops()[0].id).unwrap(), None);
    store.missing_blobs(feed, look(&origin), &Filter::default()).unwrap();
    for _ in 0..3 {
        store.sweep(look(&origin), false, |_, _| false).unwrap();
    }
    assert!(matches!(store.blob_state(id(b"a")).unwrap(), BlobState::Complete { .. }));
}

#[test]
fn feeds_links_and_memories_are_kept_replaced_and_forgotten() {
    let (disk, engine, store) = fresh();
    let origin = Author::new(12);
    let feed = store.put_feed(&record(&origin)).unwrap();
    store.put_feed(&FeedRecord { name: "renamed".to_owned(), ..record(&origin) }).unwrap();
    let link = |name: &str, paused| Link {
        paused,
        ..Link::new(
            name.to_owned(),
            origin.site(),
            "Tokyo".to_owned(),
            Dial::Incoming,
            vec![protocol::link::LinkFeed {
                feed,
                switches: Switches::PULL,
                filter: Default::default(),
                expires: None,
            }],
        )
    };
    for (name, paused) in [("tokyo", false), ("oslo", false), ("tokyo", true)] {
        store.put_link(&link(name, paused)).unwrap();
    }
    let memory = protocol::session::Memory {
        known: None,
        heads: vec![(origin.log(feed), protocol::log::Reach { len: 3, root: [1; 32], gaps: 0 })],
    };
    store.remember(origin.site(), "tokyo", &memory).unwrap();
    let used = disk.used();
    store.remember(origin.site(), "tokyo", &memory).unwrap();
    assert_eq!(disk.used(), used);
    store.checkpoint().unwrap();
    drop(store);
    engine.set_aside().unwrap();
    let store = open(&disk, &engine);
    assert_eq!(store.feed_named("renamed").unwrap().unwrap().0, feed);
    assert_eq!(store.feed_named("tools").unwrap(), None);
    let names: Vec<_> = store.links().unwrap().into_iter().map(|link| (link.name, link.paused)).collect();
    assert_eq!(names, [("oslo".to_owned(), false), ("tokyo".to_owned(), true)]);
    assert_eq!(store.memory(origin.site(), "tokyo").unwrap(), memory);
    store.forget(origin.site(), "tokyo").unwrap();
    assert_eq!(store.memory(origin.site(), "tokyo").unwrap(), protocol::session::Memory::default());
    store.remove_link("oslo").unwrap();
    assert_eq!(store.link("oslo").unwrap(), None);
    store.remove_feed(feed).unwrap();
    assert!(store.feeds().unwrap().is_empty());
}

#[test]
fn the_newest_runs_are_kept_and_the_oldest_forgotten() {
    let (_, _, store) = fresh();
    let mut record = RunRecord {
        link: "tokyo".to_owned(),
        peer: SiteId([1; 32]),
        started: WALL,
        ended: None,
        outcome: None,
        trigger: crate::store::Trigger::Manual,
        feeds: Vec::new(),
        rtt_ms: None,
        tally: protocol::session::tally::Tally::default(),
        notes: Vec::new(),
    };
    let first = store.begin_run(&record).unwrap();
    let after = Timestamp(WALL.0 + 5);
    store.end_interrupted_runs(after).unwrap();
    let ended = store.run(first).unwrap().unwrap();
    assert_eq!(
        (ended.ended, ended.outcome),
        (Some(after), Some(Outcome::Interrupted)),
        "its program was killed"
    );
    record.ended = Some(WALL);
    store.put_run(first, &record).unwrap();
    store.end_interrupted_runs(after).unwrap();
    assert_eq!(store.run(first).unwrap().unwrap(), record, "what ended stays as it is");
    for _ in 0..RUNS_MAX {
        store.begin_run(&record).unwrap();
    }
    assert_eq!(store.run(first).unwrap(), None);
    let newest = store.runs(None, 3).unwrap();
    assert_eq!(newest.len(), 3);
    assert!(newest.is_sorted_by(|one, other| one.0 > other.0));
    let older = store.runs(Some(newest[2].0), usize::MAX).unwrap();
    assert_eq!(older.len() as u64, RUNS_MAX - 3);
}
