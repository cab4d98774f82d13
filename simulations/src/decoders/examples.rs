//! Inputs that each decoder accepts: where the fuzzer begins, and what shows that a decoder is not one that refuses everything.

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use packetboat::backup;
use packetboat::identity::SiteKey;
use packetboat::store::disk::Disk;
use packetboat::store::{FeedRecord, Look, Options, SiteView, Store, engine};
use packetboat::transport::tls::SPKI_PREFIX;
use protocol::fault::Reason;
use protocol::filter::Filter;
use protocol::fork::Fork;
use protocol::frame::{Exports, FeedAsk, Forks, Frame, Hello, Openness, OpsFrame, Piece, Poll, Pull, Supply};
use protocol::grant::Permitted;
use protocol::id::{BlobId, FeedId, LogId, SiteId, StoreId};
use protocol::log::{Batch, Mmr, Verified};
use protocol::manifest::{File, Manifest};
use protocol::op::{Body, Delete, Genesis, Grant, Publish, Rights};
use protocol::package::{Coordinate, FeedKind};
use protocol::succession::Succession;
use protocol::switches::Switches;
use protocol::ticket::{JoinAnswer, Joining, Offer, Ticket, TicketName};
use protocol::time::Hlc;

use super::{NOW, files};
use crate::disk::InMemory;

/// The life of every store of these examples.
pub(super) const GENERATION: u128 = 7;

/// A feed and the key of its origin.
pub(super) fn feed() -> (Genesis, SigningKey) {
    let key = SigningKey::from_bytes(&[1; 32]);
    let genesis = Genesis {
        kind: FeedKind::Raw,
        name: "tools".to_owned(),
        origin: SiteId(key.verifying_key().to_bytes()),
        second_origin: None,
        reuse: false,
        overwrite: false,
        created: NOW,
        nonce: [0; 16],
    };
    (genesis, key)
}

fn bodies() -> Vec<Body> {
    let coordinate = |name| Coordinate::new(FeedKind::Raw, name, "1.0").expect("a plain name");
    let blob = BlobId(*blake3::hash(b"content").as_bytes());
    let file = File { name: "file".to_owned(), blob, size: 7, sha256: [0; 32] };
    let manifest = Manifest::of(vec![file]).expect("one file");
    let grant = Grant {
        grantee: SiteId([9; 32]),
        label: "Tokyo".to_owned(),
        rights: Rights::WRITE,
        prefix: String::new(),
        expires: None,
    };
    vec![
        Body::Grant(grant),
        Body::Publish(Publish {
            coordinate: coordinate("a"),
            manifest,
            supersedes: vec![],
            provenance: None,
        }),
        Body::Delete(Delete { coordinate: coordinate("b"), saw: vec![], reason: "old".to_owned() }),
    ]
}

fn said(bodies: Vec<Body>) -> Verified {
    let (genesis, key) = feed();
    let log = LogId { feed: genesis.feed_id(), author: genesis.origin, epoch: 1 };
    Verified::author(&key, log, &Mmr::default(), bodies, Hlc::default(), NOW)
}

fn batch() -> Batch {
    said(bodies()).to_batch()
}

/// A disk with one store of a few records, and its blobs.
pub(super) fn packed() -> (InMemory, Vec<(BlobId, Vec<u8>)>) {
    thread_local! {
        static DISK: (InMemory, Vec<(BlobId, Vec<u8>)>) = {
            let disk = InMemory::default();
            let contents: Vec<Vec<u8>> = vec![b"content".to_vec(), vec![5; 300]];
            let blobs: Vec<_> =
                contents.into_iter().map(|bytes| (BlobId(*blake3::hash(&bytes).as_bytes()), bytes)).collect();
            let store = opened(&disk);
            for (blob, bytes) in &blobs {
                store.put_small(*blob, bytes).expect("room in memory");
            }
            fill(&store);
            drop(store);
            (disk, blobs)
        };
    }
    DISK.with(|(disk, blobs)| (disk.copied(), blobs.clone()))
}

fn opened(disk: &InMemory) -> Store {
    let on = Arc::new(disk.clone()) as Arc<dyn Disk>;
    Store::open_on(on, Box::new(engine::InMemory::default()), Options::new(GENERATION))
        .expect("an empty disk")
}

fn fill(store: &Store) -> FeedId {
    let (genesis, _) = feed();
    let (name, feed) = (genesis.name.clone(), genesis.feed_id());
    let record = FeedRecord { genesis, name, strict: false, local_wins: false, open_reads: true };
    store.put_feed(&record).expect("room in memory");
    let permitted = Permitted::local(said(bodies()), false).expect("not strict");
    store.append(&[permitted]).expect("room in memory");
    store.sync().expect("memory syncs");
    feed
}

/// A site with a feed, as a session reads it.
pub(super) fn site() -> (FeedId, Look, SiteView) {
    let (_, key) = feed();
    let store = opened(&InMemory::default());
    let feed = fill(&store);
    let look = Look { me: SiteId(key.verifying_key().to_bytes()), now: NOW };
    (feed, look, store.view(look))
}

fn part(stream: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a short frame");
    [&[stream], length.to_be_bytes().as_slice(), bytes].concat()
}

/// The keys of the site of [`feed`], had it a second one.
fn rotated() -> Succession {
    let (_, key) = feed();
    let site = SiteId(key.verifying_key().to_bytes());
    let second = SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes();
    Succession::NONE.followed_by(site, &key, SiteId(second))
}

fn joining() -> Joining {
    let (_, key) = feed();
    let site = SiteId(key.verifying_key().to_bytes());
    Joining {
        ticket: TicketName([1; 16]),
        proof: [2; 32],
        name: "LA".to_owned(),
        site,
        succession: rotated(),
    }
}

fn hello(succession: Succession) -> Vec<u8> {
    let (genesis, _) = feed();
    let ask = FeedAsk {
        feed: genesis.feed_id(),
        kind: FeedKind::Raw,
        ask: Switches::MIRROR,
        filter: Filter::default(),
    };
    Frame::Hello(Hello {
        version_min: 1,
        version_max: 1,
        store: StoreId([2; 8]),
        name: "Tokyo".to_owned(),
        now: NOW,
        feeds: vec![ask],
        new_feeds: Openness::default(),
        twins: vec![],
        succession,
    })
    .encode()
}

fn talk() -> Vec<Vec<u8>> {
    let exports = Exports { generation: 3, root: [4; 16] };
    let pull = Pull { known: None, lacking: false };
    vec![
        hello(Succession::NONE),
        Frame::Poll(Poll { pull: Some(pull), offer: Some(exports), dry: false }).encode(),
        Frame::Supply(Supply::Since { generation: 3, root: [4; 32], heads: vec![] }).encode(),
    ]
}

fn of_files() -> Vec<Vec<u8>> {
    let manifest = backup::Manifest {
        site: "ab".to_owned(),
        name: "LA".to_owned(),
        made_ms: 1,
        life: "cd".to_owned(),
        key_number: 0,
        files: vec![backup::Entry { path: "store/FORMAT".to_owned(), bytes: 5, blake3: "ef".to_owned() }],
    };
    let (_, key) = feed();
    let spki = [&SPKI_PREFIX, key.verifying_key().to_bytes().as_slice()].concat();
    let first = SiteKey::from_seed(&[1; 32]);
    let second = first.followed_by(&[2; 32]);
    let said = |which: u8, bytes: &[u8]| [&[which], bytes].concat();
    let mut all = vec![
        said(files::KEY, &[1; 32]),
        said(files::KEY, &second.encode()),
        said(files::MANIFEST, manifest.to_text().expect("a plain list").as_bytes()),
        said(files::HANDSHAKE_KEY, &spki),
        said(files::INDEX, &[1, 0, 1, 0]),
        said(files::INDEX, &[4, 0, 1, 0]),
        said(files::INDEX, &[14, 1, 1, 0]),
    ];
    let (disk, _) = packed();
    for (which, name) in (0..).zip(files::SMALL_FILES) {
        let bytes = disk.read_small(name).expect("memory reads").expect("each store has it");
        all.push(said(files::SMALL, &said(which, &bytes)));
    }
    all
}

/// Inputs that the decoder of that name accepts.
#[must_use]
pub fn examples(name: &str) -> Vec<Vec<u8>> {
    let (genesis, key) = feed();
    let blob = BlobId(*blake3::hash(b"content").as_bytes());
    match name {
        "frame" => {
            let said = said(bodies()).to_batch();
            let path = said.runs();
            let fork = Fork { one: said.head.clone(), other: said.head.clone(), path };
            let mut frames = talk();
            frames.extend([
                hello(rotated()),
                OpsFrame::Ops(batch()).encode(),
                OpsFrame::End.encode(),
                Frame::Forks(Forks { heads: vec![said.head], forks: vec![fork] }).encode(),
                Piece::Small { blob, bytes: b"content".to_vec() }.encode(),
                joining().encode(),
                JoinAnswer::Refused(Reason::TicketNotProved).encode(),
            ]);
            frames
        }
        "op" => {
            let ops = said(bodies());
            let mut all: Vec<Vec<u8>> = ops.ops().iter().map(|named| named.statement.clone()).collect();
            all.extend([genesis.encode(), batch().encode()]);
            all
        }
        "rights" => vec![said(bodies().into_iter().take(1).collect()).to_batch().encode()],
        "ticket" => {
            let ticket = Ticket {
                site: SiteId(key.verifying_key().to_bytes()),
                name: "New York".to_owned(),
                addresses: vec!["127.0.0.1:7440".to_owned()],
                secret: [3; 16],
                expires: NOW,
                succession: rotated(),
                every: None,
                offers: vec![Offer {
                    feed: genesis.name.clone(),
                    id: genesis.feed_id(),
                    kind: FeedKind::Raw,
                    may: Switches::MIRROR,
                }],
            };
            vec![ticket.to_text().into_bytes()]
        }
        "text" => {
            let all = [
                "name=acme-*,latest=3",
                "in.add,out.delete",
                "mirror",
                "mon-fri 22:00-06:00 cap=2mbit",
                "2mbit",
                "acme/tool\n1.0.0-rc.1",
            ];
            all.map(|text| text.replace("\\n", "\n").into_bytes()).to_vec()
        }
        "config" => vec![b"name = \"LA\"\nlisten = \"127.0.0.1:7440\"\nlog = \"debug\"\n".to_vec()],
        "pack" => vec![vec![0], vec![0, 0, 70, 0, 1, 0, 200, 255, 0], vec![255, 1, 2, 3]],
        "files" => of_files(),
        "session" => {
            let talk: Vec<Vec<u8>> = talk().iter().map(|frame| part(0, frame)).collect();
            let ops = [OpsFrame::Ops(batch()).encode(), OpsFrame::End.encode()].map(|frame| part(1, &frame));
            vec![talk.concat(), [talk.concat(), ops.concat()].concat()]
        }
        _ => Vec::new(),
    }
}
