//! Two sessions and two sites in memory, frame by frame: what flows, what does not, and what it costs.

mod breaches;
mod endings;
mod forks;
mod gaps;
mod keys;
mod lives;
mod offers;
mod reading;
mod rights;
mod streams;
mod twins;

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;

use super::view::{Growth, Holding, LogState, Missing, Unreadable};
use super::*;
use crate::feed::{Held, Rules, Standing, decide};
use crate::filter::Filter;
use crate::fork::ForkProof;
use crate::frame::Fate;
use crate::grant::{Authority, Permitted, RightsProof};
use crate::id::{BlobId, FeedId, LogId, OpId, SiteId, StoreId};
use crate::ledger::Ledger;
use crate::limits::{EXTENT_BYTES, FRAME_BYTES_MAX};
use crate::log::{Batch, Entry, Filling, Mmr, NamedOp, Reach, Verified};
use crate::manifest::{File, Manifest};
use crate::op::{Body, Delete, Genesis, Grant, Publish, Rights};
use crate::outline::{Outline, OutlineBuilder, extent_count};
use crate::package::{Coordinate, FeedKind};
use crate::switches::Switches;
use crate::time::Hlc;
use crate::transfer::Stored;

const WALL: Timestamp = Timestamp(1_795_000_000_000);

fn genesis() -> Genesis {
    Genesis {
        kind: FeedKind::Raw,
        name: "tools".to_owned(),
        origin: SiteId(SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes()),
        second_origin: None,
        reuse: false,
        overwrite: false,
        created: WALL,
        nonce: [0; 16],
    }
}

/// One site in memory: logs, blobs and what it remembers of its peer.
struct Site {
    key: SigningKey,
    store: StoreId,
    runs: BTreeMap<LogId, Vec<(u64, Verified)>>,
    generation: u64,
    authority: Authority,
    blobs: BTreeMap<BlobId, Vec<u8>>,
    outlines: BTreeMap<BlobId, Outline>,
    extents: BTreeMap<(BlobId, u32), Vec<u8>>,
    memory: Memory,
    ended: Vec<(Outcome, Tally)>,
    notes: Vec<Event>,
    /// What it was last told that a peer holds.
    there: Vec<(LogId, u64)>,
    unserved: Vec<UnservedThere>,
    /// Ops that came later than their places.
    filled: Vec<(u64, NamedOp)>,
    forks: Vec<ForkProof>,
    closed: Vec<Outcome>,
    /// The epoch it writes in.
    epoch: u64,
    /// Whether it pays no heed to forks.
    deaf: bool,
    /// Whether damage took the record of the feed.
    forgot: bool,
}

impl Site {
    fn new(n: u8) -> Self {
        Self {
            key: SigningKey::from_bytes(&[n; 32]),
            store: StoreId([n; 8]),
            runs: BTreeMap::new(),
            generation: 0,
            authority: Authority::new(&genesis()),
            blobs: BTreeMap::new(),
            outlines: BTreeMap::new(),
            extents: BTreeMap::new(),
            memory: Memory::default(),
            ended: Vec::new(),
            notes: Vec::new(),
            there: Vec::new(),
            unserved: Vec::new(),
            filled: Vec::new(),
            forks: Vec::new(),
            closed: Vec::new(),
            epoch: 1,
            deaf: false,
            forgot: false,
        }
    }

    fn id(&self) -> SiteId {
        SiteId(self.key.verifying_key().to_bytes())
    }

    fn own_log(&self) -> LogId {
        LogId { feed: genesis().feed_id(), author: self.id(), epoch: self.epoch }
    }

    fn say(&mut self, body: Body) -> OpId {
        let held = self.log(self.own_log()).unwrap();
        let clock = Hlc((WALL.0 << 16) + self.generation);
        let said = Verified::author(&self.key, self.own_log(), &held, vec![body], clock, WALL);
        let id = said.ops()[0].id;
        self.append(Permitted::local(said, false).unwrap());
        id
    }

    fn append(&mut self, run: Permitted<Verified>) {
        let run = run.into_inner();
        self.generation += 1;
        for named in run.ops() {
            self.authority.apply(named);
        }
        self.runs.entry(run.log()).or_default().push((self.generation, run));
    }

    fn fill(&mut self, filling: Permitted<Filling>) {
        self.generation += 1;
        for named in filling.into_inner().ops() {
            self.authority.apply(named);
            self.filled.push((self.generation, named.clone()));
        }
    }

    /// What is known by its hash alone, by position.
    fn gaps(&self, log: LogId) -> BTreeMap<u64, OpId> {
        let mut gaps = BTreeMap::new();
        for (_, run) in self.runs.get(&log).into_iter().flatten() {
            let batch = run.to_batch();
            let mut seq = batch.first;
            for entry in &batch.entries {
                if let Entry::Skip { height: 0, hash } = entry
                    && !self.filled.iter().any(|(_, named)| named.id.0 == *hash)
                {
                    gaps.insert(seq, OpId(*hash));
                }
                seq += entry.span();
            }
        }
        gaps
    }

    fn learn(&mut self, proof: &RightsProof) {
        for named in proof.ops() {
            self.authority.apply(named);
        }
    }

    fn grant(&mut self, to: &Self) {
        let grant = Grant {
            grantee: to.id(),
            label: String::new(),
            rights: Rights::WRITE,
            prefix: String::new(),
            expires: None,
        };
        self.say(Body::Grant(grant));
    }

    fn publish(&mut self, name: &str, bytes: &[u8]) -> BlobId {
        let mut builder = OutlineBuilder::new();
        builder.push(bytes).unwrap();
        let (blob, size, outline) = builder.finish();
        if let Some(outline) = outline {
            for index in 0..extent_count(size) {
                let from = index as usize * EXTENT_BYTES;
                let to = (from + EXTENT_BYTES).min(bytes.len());
                self.extents.insert((blob, index), bytes[from..to].to_vec());
            }
            self.outlines.insert(blob, outline);
        } else {
            self.blobs.insert(blob, bytes.to_vec());
        }
        let file = File { name: "file".to_owned(), blob, size, sha256: [0; 32] };
        let coordinate = Coordinate::new(FeedKind::Raw, name, "1").unwrap();
        let manifest = Manifest::of(vec![file]).unwrap();
        self.say(Body::Publish(Publish { coordinate, manifest, supersedes: vec![], provenance: None }));
        blob
    }

    fn delete(&mut self, name: &str) {
        let coordinate = Coordinate::new(FeedKind::Raw, name, "1").unwrap();
        self.say(Body::Delete(Delete { coordinate, saw: vec![], reason: String::new() }));
    }

    fn ops(&self) -> Vec<NamedOp> {
        let runs = self.runs.values().flatten();
        runs.flat_map(|(_, run)| run.ops().to_vec())
            .chain(self.filled.iter().map(|(_, named)| named.clone()))
            .collect()
    }

    /// Package name to the blob that is served.
    fn served(&self) -> BTreeMap<String, BlobId> {
        let ops = self.ops();
        let names: BTreeSet<Coordinate> =
            ops.iter().filter_map(|named| named.op.body.coordinate().cloned()).collect();
        let mut ledger = Ledger::new(&genesis());
        for named in &ops {
            ledger.apply(named);
        }
        let held = Held::default();
        let rules = Rules { ledger: &ledger, me: self.id(), now: WALL, local_wins: false, held: &held };
        let mut served = BTreeMap::new();
        for coordinate in names {
            let about: Vec<NamedOp> =
                ops.iter().filter(|named| named.op.body.coordinate() == Some(&coordinate)).cloned().collect();
            let item = decide(&about, rules);
            if item.standing == Standing::Served {
                let won = about.iter().find(|named| Some(named.id) == item.winner).unwrap();
                if let Body::Publish(publish) = &won.op.body {
                    served.insert(coordinate.name, publish.manifest.files[0].blob);
                }
            }
        }
        served
    }

    fn sizes(&self) -> BTreeMap<BlobId, u64> {
        self.ops()
            .iter()
            .filter_map(|named| {
                let Body::Publish(publish) = &named.op.body else { return None };
                publish.manifest.files.first().map(|file| (file.blob, file.size))
            })
            .collect()
    }

    fn keep(&mut self, stored: Stored) {
        match stored {
            Stored::Small { blob, bytes } => drop(self.blobs.insert(blob, bytes)),
            Stored::Outline { outline } => drop(self.outlines.insert(outline.blob, outline)),
            Stored::Extent { blob, index, bytes } => drop(self.extents.insert((blob, index), bytes)),
            Stored::Complete { .. } => {}
        }
    }
}

struct Wire {
    dialler: Session,
    listener: Session,
    pieces_left: usize,
}

fn config(side: Side, me: &Site, peer: &Site, switches: Switches) -> Config {
    Config {
        keys: Keys::default(),
        side,
        me: me.id(),
        peer: peer.id(),
        store: me.store,
        name: "site".to_owned(),
        terms: vec![Terms {
            feed: genesis().feed_id(),
            kind: FeedKind::Raw,
            switches,
            filter: Filter::default(),
            expires: None,
            twin: None,
        }],
        priority: Default::default(),
        refuses: None,
        versions: Default::default(),
        barred: vec![],
        new_feeds: Default::default(),
        memory: me.memory.clone(),
        salt: [5; 8],
    }
}

fn connect(dialler: &Site, listener: &Site, asks: Switches, allows: Switches) -> Wire {
    let new = |config| Session::new(config, Instant(0), WALL);
    Wire {
        dialler: new(config(Side::Dialler, dialler, listener, asks)),
        listener: new(config(Side::Listener, listener, dialler, allows)),
        pieces_left: usize::MAX,
    }
}

/// Does everything a session asks for, and gives back the frames it sends.
fn drain(session: &mut Session, site: &mut Site) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let (now, wall) = (Instant(1), WALL);
    while let Some(output) = session.poll() {
        match output {
            Output::Send(frame) => {
                assert!(frame.len() <= FRAME_BYTES_MAX, "a frame that no peer takes");
                frames.push(frame);
            }
            Output::Append(run) => site.append(run),
            Output::Fill(filling) => site.fill(filling),
            Output::Keep(stored) => site.keep(stored),
            Output::Settle => session.handle(now, wall, Input::Settled, site),
            Output::Remember(memory) => site.memory = memory,
            Output::Note(event) => site.notes.push(event),
            Output::PeerHolds(held) => site.there = held,
            Output::Fork(proof) => site.forks.push(*proof),
            Output::Learn(proof) => site.learn(&proof),
            Output::Unserved(fates) => site.unserved.extend(fates),
            Output::RunEnded { outcome, tally } => site.ended.push((outcome, tally)),
            Output::Offered(_)
            | Output::Taken(_)
            | Output::Stated(_)
            | Output::Up(_)
            | Output::Forecast(_)
            | Output::RunBegan
            | Output::Nudged { .. }
            | Output::Pace(_)
            | Output::Links(_)
            | Output::Held(_) => {}
            Output::Close(outcome) => site.closed.push(outcome),
        }
    }
    frames
}

/// Carries what one session sends to the other, frame by frame. Tells whether anything happened.
fn turn(from: &mut Session, site: &mut Site, to: &mut Session, other: &mut Site, pieces: &mut usize) -> bool {
    let (now, wall) = (Instant(1), WALL);
    let frames = drain(from, site);
    let mut busy = !frames.is_empty();
    let mut back = Vec::new();
    for frame in frames {
        to.handle(now, wall, Input::Control(&frame), other);
        back.extend(drain(to, other));
    }
    while let Some(frame) = from.poll_ops(site) {
        busy = true;
        to.handle(now, wall, Input::Ops(&frame), other);
        back.extend(drain(to, other));
    }
    if *pieces > 0 {
        if let Some(piece) = from.poll_piece(now, site) {
            *pieces -= 1;
            busy = true;
            to.handle(now, wall, Input::Piece(&piece), other);
            back.extend(drain(to, other));
        }
        for frame in drain(from, site) {
            busy = true;
            to.handle(now, wall, Input::Control(&frame), other);
            back.extend(drain(to, other));
        }
    }
    for frame in back {
        from.handle(now, wall, Input::Control(&frame), site);
        let frames = drain(from, site);
        for frame in frames {
            to.handle(now, wall, Input::Control(&frame), other);
        }
    }
    busy
}

impl Wire {
    fn settle(&mut self, dialler: &mut Site, listener: &mut Site) {
        loop {
            let one = turn(&mut self.dialler, dialler, &mut self.listener, listener, &mut self.pieces_left);
            let two = turn(&mut self.listener, listener, &mut self.dialler, dialler, &mut self.pieces_left);
            if !one && !two {
                return;
            }
        }
    }

    fn sync(&mut self, dialler: &mut Site, listener: &mut Site) -> (Outcome, Tally) {
        self.settle(dialler, listener);
        self.dialler.run(Instant(1), dialler);
        self.settle(dialler, listener);
        dialler.ended.last().cloned().expect("the run ended")
    }
}

/// [P-42] Only what is new since the last run moves, and nothing goes back to where it came from.
#[test]
fn a_mirror_carries_packages_and_deletions_both_ways() {
    let (mut ny, mut la) = (Site::new(1), Site::new(2));
    ny.grant(&la);
    ny.publish("from-ny", b"one");
    let mut wire = connect(&la, &ny, Switches::MIRROR, Switches::MIRROR);
    assert_eq!(wire.sync(&mut la, &mut ny).0, Outcome::Done);
    la.publish("from-la", b"two");
    ny.delete("from-ny");
    let (outcome, tally) = wire.sync(&mut la, &mut ny);
    assert_eq!(outcome, Outcome::Done);
    assert_eq!((tally.came.deletes, tally.ops_out), (1, 1));
    assert_eq!(la.served(), ny.served());
    assert_eq!(ny.served().keys().collect::<Vec<_>>(), ["from-la"]);
    assert!(ny.missing(genesis().feed_id(), &Filter::default()).unwrap().is_empty(), "the bytes came too");
}

/// [P-40] Nothing new costs one round trip and a constant number of bytes, for mirrors and for leaves with packages of their own.
#[test]
fn a_poll_without_news_is_one_round_trip_and_few_bytes() {
    for mode in [Switches::MIRROR, Switches::PULL] {
        let (mut ny, mut la) = (Site::new(1), Site::new(2));
        if mode == Switches::MIRROR {
            ny.grant(&la);
        }
        for n in 0..50 {
            ny.publish(&format!("ny-{n}"), &[n]);
            la.publish(&format!("la-{n}"), &[n, n]);
        }
        let mut wire = connect(&la, &ny, mode, Switches::MIRROR);
        wire.sync(&mut la, &mut ny);
        let (outcome, tally) = wire.sync(&mut la, &mut ny);
        assert_eq!((outcome, tally.round_trips), (Outcome::Done, 1), "{mode}");
        assert!(tally.frames_out_bytes <= 100 && tally.frames_in_bytes <= 100, "{tally:?}");
        assert_eq!(ny.ended.last().unwrap().0, Outcome::Done);
        let mut again = connect(&la, &ny, mode, Switches::MIRROR);
        let (_, tally) = again.sync(&mut la, &mut ny);
        assert_eq!((tally.round_trips, tally.ops_in), (1, 0), "a new connection goes on from there");
    }
}

/// [P-11] What a leaf publishes reaches nobody it may not: not offered, and refused if offered.
#[test]
fn a_pull_link_takes_nothing_from_the_leaf() {
    let (mut ny, mut tokyo) = (Site::new(1), Site::new(3));
    ny.publish("approved", b"bytes");
    tokyo.publish("local", b"mine");
    let mut wire = connect(&tokyo, &ny, Switches::PULL, Switches::PUSH);
    wire.sync(&mut tokyo, &mut ny);
    assert_eq!(tokyo.served().len(), 2);
    assert_eq!(ny.served().len(), 1);
    // Even over a link that lets everything through, an author without rights is not passed on.
    let mut wide = connect(&tokyo, &ny, Switches::MIRROR, Switches::MIRROR);
    wide.sync(&mut tokyo, &mut ny);
    assert_eq!(ny.served().len(), 1);
    assert_eq!(ny.runs.len(), 1);
}

#[test]
fn a_push_link_brings_nothing_back() {
    let (mut hub, mut site) = (Site::new(1), Site::new(2));
    hub.grant(&site);
    hub.publish("at-hub", b"1");
    site.publish("at-site", b"2");
    // The contributor learns the hub's ops about itself by mirror once, else the hub alone knows of the grant.
    let mut wire = connect(&site, &hub, Switches::MIRROR, Switches::MIRROR);
    wire.sync(&mut site, &mut hub);
    site.publish("later", b"3");
    hub.publish("hub-later", b"4");
    let mut push = connect(&site, &hub, Switches::PUSH, Switches::PULL);
    let (outcome, tally) = push.sync(&mut site, &mut hub);
    assert_eq!((outcome, tally.ops_in), (Outcome::Done, 0));
    assert!(hub.served().contains_key("later"));
    assert!(!site.served().contains_key("hub-later"));
}

/// [P-45] Bytes are asked for after the ops are in.
#[test]
fn ops_and_deletions_arrive_before_bytes() {
    let (mut ny, mut la) = (Site::new(1), Site::new(2));
    ny.publish("keep", &vec![7; EXTENT_BYTES * 9]);
    ny.publish("gone", &vec![8; EXTENT_BYTES * 9]);
    ny.delete("gone");
    let mut wire = connect(&la, &ny, Switches::PULL, Switches::MIRROR);
    wire.pieces_left = 3;
    wire.dialler.run(Instant(0), &la);
    wire.settle(&mut la, &mut ny);
    assert_eq!(la.served().keys().collect::<Vec<_>>(), ["keep"]);
    wire.pieces_left = usize::MAX;
    wire.settle(&mut la, &mut ny);
    let (outcome, tally) = la.ended.last().unwrap();
    assert_eq!(*outcome, Outcome::Done);
    assert_eq!(tally.content_in_bytes, 9 * EXTENT_BYTES as u64, "what was deleted is not fetched");
}

/// [P-60] A cut costs what was on the way: extents that arrived are not sent again.
#[test]
fn a_cut_transfer_goes_on_where_it_stopped() {
    let (mut ny, mut la) = (Site::new(1), Site::new(2));
    let blob = ny.publish("large", &vec![7; EXTENT_BYTES * 40 + 11]);
    let mut wire = connect(&la, &ny, Switches::PULL, Switches::MIRROR);
    wire.pieces_left = 26;
    wire.dialler.run(Instant(0), &la);
    wire.settle(&mut la, &mut ny);
    wire.dialler.handle(Instant(2), WALL, Input::Closed, &la);
    wire.settle(&mut la, &mut ny);
    assert_eq!(la.ended.last().unwrap().0, Outcome::Interrupted);
    assert!(wire.dialler.is_closed());
    assert!(matches!(la.holding(blob), Ok(Holding::Partial { missing, .. }) if missing.len() == 16));
    let mut again = connect(&la, &ny, Switches::PULL, Switches::MIRROR);
    let (outcome, tally) = again.sync(&mut la, &mut ny);
    assert_eq!((outcome, tally.blobs_in), (Outcome::Done, 1));
    assert_eq!(tally.content_in_bytes, 15 * EXTENT_BYTES as u64 + 11);
    assert!(matches!(la.holding(blob), Ok(Holding::Complete)));
}

/// [P-50] After a restore the sender's store is another one: ranges find what differs, and only that travels.
#[test]
fn a_sender_with_another_store_is_compared_by_ranges() {
    let (mut ny, mut la) = (Site::new(1), Site::new(2));
    for n in 0..20 {
        ny.publish(&format!("p-{n}"), &[n]);
    }
    connect(&la, &ny, Switches::PULL, Switches::MIRROR).sync(&mut la, &mut ny);
    ny.store = StoreId([99; 8]);
    ny.publish("new", b"new");
    let (outcome, tally) = connect(&la, &ny, Switches::PULL, Switches::MIRROR).sync(&mut la, &mut ny);
    assert_eq!((outcome, tally.ops_in), (Outcome::Done, 1));
    assert_eq!(la.served(), ny.served());
    let (_, tally) = connect(&la, &ny, Switches::PULL, Switches::MIRROR).sync(&mut la, &mut ny);
    assert_eq!(tally.round_trips, 1);
}

/// [P-46] A run that lacks a blob is interrupted, never done.
#[test]
fn a_blob_the_sender_lost_leaves_the_run_incomplete_and_the_rest_arrives() {
    let (mut ny, mut la) = (Site::new(1), Site::new(2));
    let lost = ny.publish("lost", b"lost bytes");
    ny.publish("kept", b"kept bytes");
    ny.blobs.remove(&lost);
    let mut wire = connect(&la, &ny, Switches::PULL, Switches::MIRROR);
    let (outcome, tally) = wire.sync(&mut la, &mut ny);
    assert_eq!((outcome, tally.blobs_in, tally.blobs_missing), (Outcome::Interrupted, 1, 1));
    ny.blobs.insert(lost, b"lost bytes".to_vec());
    let (outcome, tally) = wire.sync(&mut la, &mut ny);
    assert_eq!((outcome, tally.blobs_in), (Outcome::Done, 1));
}

#[test]
fn a_forked_author_is_noted_and_the_rest_goes_on() {
    let (mut ny, mut la) = (Site::new(1), Site::new(2));
    ny.grant(&la);
    ny.publish("one", b"1");
    connect(&la, &ny, Switches::MIRROR, Switches::MIRROR).sync(&mut la, &mut ny);
    let fork = ny.own_log();
    let mut clone = Site::new(1);
    clone.publish("two", b"2");
    clone.publish("three", b"3");
    clone.publish("four", b"4");
    clone.store = StoreId([77; 8]);
    clone.authority = ny.authority.clone();
    let (outcome, _) = connect(&la, &clone, Switches::PULL, Switches::MIRROR).sync(&mut la, &mut clone);
    assert_eq!(outcome, Outcome::Done);
    assert!(matches!(la.notes.as_slice(), [Event::Forked { log }] if *log == fork));
    assert_eq!(la.served().keys().collect::<Vec<_>>(), ["one"]);
}
