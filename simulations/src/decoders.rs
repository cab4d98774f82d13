//! Every decoder that reads bytes of a peer, a client, a disk, a file or a person, as a function that must not panic, and what must
//! hold of whatever it accepts. The fuzzer calls them, and a test plays its corpus.

mod examples;
mod files;

use std::path::Path;
use std::sync::Arc;

use packetboat::config::Config;
use packetboat::store::disk::Disk;
use packetboat::store::engine;
use packetboat::store::{Look, Options, SiteView, Store};
use protocol::filter::Filter;
use protocol::frame::{Frame, Openness, OpsFrame, Piece};
use protocol::grant::{Authority, RightsProof};
use protocol::id::{BlobId, FeedId, LogId, SiteId, StoreId};
use protocol::link::Priority;
use protocol::log::{Batch, Mmr};
use protocol::op::{Genesis, Op, Place};
use protocol::package::{Coordinate, FeedKind, check_file_name, check_label};
use protocol::session::{Config as SessionConfig, Input, Memory, Session, Side, Terms};
use protocol::switches::Switches;
use protocol::ticket::{JoinAnswer, Joining, Ticket};
use protocol::time::{Instant, Timestamp};
use protocol::timetable::{Window, parse_rate};

use crate::disk::InMemory;

pub use examples::examples;

/// The time at which everything happens.
const NOW: Timestamp = Timestamp(1_795_000_000_000);

/// A decoder: its name, and what plays an input to it and tells whether it was accepted.
pub type Decoder = (&'static str, fn(&[u8]) -> bool);

/// All of them.
pub const DECODERS: [Decoder; 9] = [
    ("frame", frame),
    ("op", op),
    ("rights", rights),
    ("ticket", ticket),
    ("text", text),
    ("config", config),
    ("pack", pack),
    ("files", files::files),
    ("session", session),
];

/// Plays an input to the decoder of that name. Tells whether it was accepted.
///
/// # Panics
/// There is no decoder of that name, or the input shows a defect.
pub fn play(name: &str, bytes: &[u8]) -> bool {
    let decoder = DECODERS.iter().find(|(known, _)| *known == name);
    let (_, decoder) = decoder.expect("a decoder of that name");
    decoder(bytes)
}

/// Whether a value decodes; what does is the same after another turn.
fn turns<T: PartialEq + std::fmt::Debug, E: PartialEq + std::fmt::Debug>(
    decoded: Result<T, E>,
    again: impl FnOnce(&T) -> Result<T, E>,
) -> bool {
    decoded.is_ok_and(|value| {
        assert_eq!(again(&value).as_ref(), Ok(&value));
        true
    })
}

/// Frames of all streams, and of pairing.
fn frame(bytes: &[u8]) -> bool {
    let of_link = turns(Frame::decode(bytes), |frame| Frame::decode(&frame.encode()));
    let of_ops = turns(OpsFrame::decode(bytes), |frame| OpsFrame::decode(&frame.encode()));
    let of_pieces = turns(Piece::decode(bytes), |piece| Piece::decode(&piece.encode()));
    let of_joining = turns(Joining::decode(bytes), |joining| Joining::decode(&joining.encode()));
    let of_answer = turns(JoinAnswer::decode(bytes), |answer| JoinAnswer::decode(&answer.encode()));
    of_link || of_ops || of_pieces || of_joining || of_answer
}

/// Statements, genesis records and batches. No op has two encodings: what is signed is what was read.
fn op(bytes: &[u8]) -> bool {
    let log = LogId { feed: FeedId([1; 32]), author: SiteId([2; 32]), epoch: 1 };
    let op = Op::decode_statement(Place { log, seq: 0 }, bytes);
    let of_op = op.is_ok_and(|op| {
        assert_eq!(op.encode_statement(), bytes);
        true
    });
    let of_genesis = Genesis::decode(bytes).is_ok_and(|genesis| {
        assert_eq!(genesis.encode(), bytes);
        true
    });
    let of_batch = Batch::decode(bytes).is_ok_and(|batch| {
        if let Ok(verified) = batch.clone().verify(&Mmr::default()) {
            assert_eq!((batch.first, verified.to_batch()), (0, batch.clone()));
        }
        drop(batch.clone().beyond(1));
        drop(batch.proving(&Mmr::default(), |_| false));
        true
    });
    of_op || of_genesis || of_batch
}

/// Proofs of rights: what passes is signed, and is grants and revokes alone.
fn rights(bytes: &[u8]) -> bool {
    let (genesis, _) = examples::feed();
    let Ok(batch) = Batch::decode(bytes) else { return false };
    RightsProof::check(batch, genesis.feed_id()).is_ok_and(|proof| {
        let mut authority = Authority::new(&genesis);
        for named in proof.ops() {
            assert!(authority.apply(named), "an op that is neither a grant nor a revoke");
        }
        true
    })
}

fn ticket(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    turns(Ticket::parse(&text), |ticket| Ticket::parse(&ticket.to_text()))
}

/// What people and clients write: names, filters, modes, windows, rates, ids.
fn text(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let of_filter = turns(text.parse::<Filter>(), |filter| filter.to_string().parse());
    let of_mode = turns(text.parse::<Switches>(), |switches| switches.to_string().parse());
    let of_window = turns(text.parse::<Window>(), |window| window.to_string().parse());
    let of_rate = parse_rate(&text).is_ok();
    drop(text.parse::<BlobId>());
    drop(check_label("name", &text));
    drop(check_file_name(&text));
    let (name, version) = text.split_once('\n').unwrap_or((&text, "1"));
    let mut of_name = false;
    for kind in FeedKind::ALL {
        of_name |= turns(Coordinate::new(kind, name, version), |coordinate| {
            assert!(!coordinate.name.contains(['\0', '\\']), "a name that could lead a path astray");
            Coordinate::new(kind, &coordinate.name, &coordinate.version)
        });
    }
    of_filter || of_mode || of_window || of_rate || of_name
}

thread_local! {
    static SITE: (FeedId, Look, SiteView) = examples::site();
}

/// The configuration file.
fn config(bytes: &[u8]) -> bool {
    Config::of_text(&String::from_utf8_lossy(bytes), Path::new("config")).is_ok()
}

/// A pack whose bytes were changed. The first byte 255: the rest is the pack. Else each four bytes are a position (16 bits), whether the
/// pack ends there (255), and the byte that is written there. The store opens, serves nothing wrong, and goes on.
fn pack(bytes: &[u8]) -> bool {
    let (disk, blobs) = examples::packed();
    let (whole, rest) = bytes.split_first().unwrap_or((&0, &[]));
    disk.edit(1, |pack| {
        if *whole == u8::MAX {
            *pack = rest.to_vec();
            return;
        }
        for part in rest.chunks_exact(4) {
            let [high, low, ends, new] = part else { continue };
            let at = usize::from(u16::from_be_bytes([*high, *low])).min(pack.len());
            if *ends == u8::MAX {
                pack.truncate(at);
            } else if let Some(byte) = pack.get_mut(at) {
                *byte = *new;
            }
        }
    });
    goes_on(&disk, &engine::InMemory::default(), &blobs)
}

/// Whether a store opens on a disk and an index. One that does serves nothing wrong, and goes on.
fn goes_on(disk: &InMemory, index: &engine::InMemory, blobs: &[(BlobId, Vec<u8>)]) -> bool {
    let (disk, index) = (Arc::new(disk.clone()) as Arc<dyn Disk>, Box::new(index.clone()));
    let Ok(store) = Store::open_on(disk, index, Options::new(examples::GENERATION)) else { return false };
    for (blob, content) in blobs {
        if let Ok(read) = store.read_at(*blob, 0, content.len()) {
            assert!(content.starts_with(&read), "bytes that are not the blob's");
        }
    }
    drop(store.verify(|_| ()));
    for (feed, record) in store.feeds().into_iter().flatten() {
        let look = Look { me: record.genesis.origin, now: NOW };
        drop(store.items(feed, "", None, usize::MAX, look));
        drop(store.state_root(feed, look));
    }
    store.put_small(BlobId(*blake3::hash(b"new").as_bytes()), b"new").expect("the store goes on");
    store.sync().expect("the store goes on");
    true
}

/// A listening site to which a peer sends frames: the first byte of each part says on which stream, the next two how long it is. Tells
/// whether the link came up.
fn session(bytes: &[u8]) -> bool {
    SITE.with(|(feed, look, view)| {
        let terms = Terms {
            feed: *feed,
            kind: FeedKind::Raw,
            switches: Switches::MIRROR,
            filter: Filter::default(),
            expires: None,
            twin: None,
        };
        let config = SessionConfig {
            side: Side::Listener,
            me: look.me,
            peer: SiteId([9; 32]),
            store: StoreId([1; 8]),
            name: "site".to_owned(),
            terms: vec![terms],
            new_feeds: Openness::default(),
            priority: Priority::default(),
            refuses: None,
            versions: Default::default(),
            barred: vec![],
            memory: Memory::default(),
            keys: Default::default(),
            salt: [3; 8],
        };
        let mut session = Session::new(config, Instant(0), NOW);
        let (mut rest, mut up) = (bytes, false);
        while let Some(([stream, high, low], behind)) = rest.split_first_chunk::<3>() {
            let length = usize::from(u16::from_be_bytes([*high, *low])).min(behind.len());
            let (part, behind) = behind.split_at(length);
            rest = behind;
            let input = match stream % 3 {
                0 => Input::Control(part),
                1 => Input::Ops(part),
                _ => Input::Piece(part),
            };
            session.handle(Instant(1), NOW, input, view);
            while session.poll().is_some() {}
            while session.poll_ops(view).is_some() {}
            while session.poll_piece(Instant(1), view).is_some() {}
            up |= session.agreed().is_some();
        }
        up
    })
}
