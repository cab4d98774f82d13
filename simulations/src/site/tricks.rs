//! What a cheat says in place of what its session would, or beside it: each trick waits for the next frame that it fits.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use packetboat::identity::SiteKey;
use packetboat::store::Store;
use protocol::frame::{Frame, Hello, OpsFrame, Piece, Supply, Welcome};
use protocol::id::{BlobId, FeedId, LogId, SiteId, StoreId};
use protocol::limits::FRAME_BYTES_MAX;
use protocol::log::{Batch, Mmr, NamedOp, SignedHead, Verified};
use protocol::op::Body;
use protocol::time::{Hlc, Timestamp};
use protocol::transfer::Ask;

use super::wire::Wire;
use super::{Site, grant_of};
use crate::forgery;
use crate::options::{Aside, Break, BytesTrick, CONTESTED, Lie, OpsTrick, Relayed, Share, Trick, contested};
use crate::plant::Plant;

/// Frames of a flood of ops, each of the most bytes that a frame may have.
const FLOOD_FRAMES: usize = 6;
/// Tricks that wait at a time on one link.
const WAITING_MAX: usize = 6;
/// Wants of the same bytes.
const SAME_WANTS: usize = 200;

/// Something that goes on the wire.
#[derive(Debug)]
pub(super) enum Out {
    Control(Vec<u8>),
    /// Bytes of the control stream as they are.
    Raw(Vec<u8>),
    Ops(Vec<u8>),
    Piece(Vec<u8>),
}

/// What is to be done on one link.
pub(super) struct Scheme {
    key: SiteKey,
    feed: FeedId,
    origin: SiteId,
    store: Store,
    wall: Timestamp,
    waiting: Vec<(Trick, u64)>,
    /// Blobs of which it knows the names.
    blobs: Vec<BlobId>,
    asked: BTreeSet<BlobId>,
    /// Ops that it signed beside those in its store.
    signed: Vec<NamedOp>,
    got: BTreeSet<BlobId>,
}

/// The scheme of a link, as the site and the wires over that link share it.
#[derive(Clone)]
pub(super) struct Plot(Rc<RefCell<Scheme>>);

/// One connection in the hands of a cheat.
pub(super) struct Tamper {
    plot: Plot,
    silent: bool,
    deaf: bool,
}

impl std::fmt::Debug for Tamper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tamper").field("silent", &self.silent).finish_non_exhaustive()
    }
}

impl Tamper {
    pub(super) const fn new(plot: Plot) -> Self {
        Self { plot, silent: false, deaf: false }
    }

    pub(super) const fn is_deaf(&self) -> bool {
        self.deaf
    }

    pub(super) fn control(&mut self, frame: &[u8]) -> Vec<Out> {
        let said = Frame::decode(frame).ok();
        let whole = || Out::Control(frame.to_vec());
        self.instead(whole, |scheme, trick, pick| scheme.control(trick, pick, said.as_ref()?, frame))
    }

    pub(super) fn ops(&mut self, frame: &[u8]) -> Vec<Out> {
        let said = OpsFrame::decode(frame).ok();
        let whole = || Out::Ops(frame.to_vec());
        self.instead(whole, |scheme, trick, pick| scheme.ops(trick, pick, said.as_ref()?))
    }

    pub(super) fn piece(&mut self, frame: &[u8]) -> Vec<Out> {
        let said = Piece::decode(frame).ok();
        let whole = || Out::Piece(frame.to_vec());
        self.instead(whole, |_, trick, _| piece(trick, said.clone()?))
    }

    fn instead(
        &mut self,
        whole: impl FnOnce() -> Out,
        play: impl Fn(&mut Scheme, Trick, u64) -> Option<Vec<Out>>,
    ) -> Vec<Out> {
        if self.silent {
            return Vec::new();
        }
        let mut scheme = self.plot.0.borrow_mut();
        for at in 0..scheme.waiting.len() {
            let Some((trick, pick)) = scheme.waiting.get(at).copied() else { break };
            if let Some(outs) = play(&mut scheme, trick, pick) {
                scheme.waiting.remove(at);
                self.silent = matches!(trick, Trick::Breaks(Break::Silent | Break::FloodOfOps));
                self.deaf |= trick == Trick::Breaks(Break::Deaf);
                return outs;
            }
        }
        vec![whole()]
    }

    /// Notes a piece that came. Tells whether its session is to know nothing of it.
    pub(super) fn takes(&self, frame: &[u8]) -> bool {
        let Ok(piece) = Piece::decode(frame) else { return false };
        let mut scheme = self.plot.0.borrow_mut();
        scheme.got.insert(piece.blob());
        scheme.asked.contains(&piece.blob())
    }
}

impl Scheme {
    fn control(&mut self, trick: Trick, pick: u64, said: &Frame, frame: &[u8]) -> Option<Vec<Out>> {
        let whole = Out::Control(frame.to_vec());
        match trick {
            Trick::Breaks(how) => broken(how, said, frame),
            Trick::Tells(how) => Some(vec![Out::Control(lie(how, pick, said.clone())?.encode())]),
            Trick::Relays(what) => {
                let mut said = said.clone();
                let supply = supply_of(&mut said).filter(|supply| matches!(supply, Supply::Since { .. }));
                supply.and_then(|_| self.batch_of_another(what)).map(|batch| vec![whole, ops(batch)])
            }
            // They are looked at where they were asked for.
            Trick::Says(Aside::ForgedRights) if matches!(said, Frame::Rights(_)) => {
                self.aside(Aside::ForgedRights, pick)
            }
            Trick::Says(what) => {
                // Some of it comes before the two have greeted each other.
                let greets = matches!(said, Frame::Hello(_) | Frame::Welcome(_));
                if greets && !pick.is_multiple_of(4) {
                    return None;
                }
                let mut outs = self.aside(what, pick)?;
                outs.insert(if greets { outs.len() } else { 0 }, whole);
                Some(outs)
            }
            Trick::Signs(_) | Trick::Ops(_) | Trick::Bytes(_) => None,
        }
    }

    fn batch_of_another(&self, what: Relayed) -> Option<Batch> {
        Some(match what {
            Relayed::Strangers => forgery::foreign(self.feed),
            Relayed::AnotherFeeds => forgery::foreign(FeedId([5; 32])),
            Relayed::Forged => {
                let log = LogId { feed: self.feed, author: self.origin, epoch: 1 };
                let held = self.store.log_state(log).ok()?.map(|state| state.after).unwrap_or_default();
                let name = contested(self.wall.0 % CONTESTED);
                self.forged(log, &held, forgery::publish(&name, b"forged"))
            }
        })
    }

    fn forged(&self, log: LogId, held: &Mmr, body: Body) -> Batch {
        forgery::in_the_name_of(log, held, vec![body], self.key.signing_key(), self.wall)
    }

    /// What is said beside the rest.
    fn aside(&mut self, what: Aside, pick: u64) -> Option<Vec<Out>> {
        let frame = match what {
            Aside::Unasked => forgery::unasked(pick, &self.blobs),
            Aside::FloodOfRanges => {
                let flood = forgery::ranges_without_end().into_iter();
                return Some(flood.map(|frame| Out::Control(frame.encode())).collect());
            }
            Aside::FloodOfHeads => forgery::heads_without_end(),
            Aside::FloodOfOneLog => forgery::log_without_end(self.origin),
            Aside::FloodOfWants => forgery::wants_without_end(),
            Aside::AsksForBytes => {
                self.asked.extend(self.blobs.iter().copied());
                Frame::Want(self.blobs.iter().map(|blob| Ask::Small { blob: *blob }).collect())
            }
            Aside::EndlessWants => {
                let blob = *self.blobs.first()?;
                self.asked.insert(blob);
                Frame::Want(vec![Ask::Small { blob }; SAME_WANTS])
            }
            Aside::ForgedRights => {
                let log = LogId { feed: self.feed, author: self.origin, epoch: 1 };
                let stranger = SiteId(forgery::stranger().verifying_key().to_bytes());
                let grant = Body::Grant(grant_of(stranger, Share::All, None));
                forgery::rights_of_nobody(self.forged(log, &Mmr::default(), grant))
            }
            Aside::ForgedFork => {
                let (real, history) = self.head_of_another()?;
                forgery::fork_of_nobody(&real, &history)
            }
            Aside::LongFrame => return Some(vec![Out::Raw(forgery::TOO_LONG.to_vec())]),
            Aside::MalformedFrame => return Some(vec![Out::Control(forgery::MALFORMED.to_vec())]),
            Aside::UnknownFrame => return Some(vec![Out::Control(forgery::UNKNOWN.to_vec())]),
        };
        Some(vec![Out::Control(frame.encode())])
    }

    /// What another site signed, with the history behind it.
    fn head_of_another(&self) -> Option<(SignedHead, Mmr)> {
        let heads = self.store.heads(self.feed).ok()?;
        let real = heads.into_iter().find(|signed| signed.head.log.author != self.key.site_id())?;
        let state = self.store.log_state(real.head.log).ok()??;
        (state.after.root() == real.head.root).then_some((real, state.after))
    }

    fn ops(&mut self, trick: Trick, pick: u64, said: &OpsFrame) -> Option<Vec<Out>> {
        let (OpsFrame::Ops(batch), Trick::Ops(how)) = (said, trick) else { return None };
        let batch = batch.clone();
        Some(match how {
            OpsTrick::Changed => vec![ops(forgery::changed(batch))],
            OpsTrick::Short => vec![ops(forgery::shortened(batch))],
            OpsTrick::Garbled => vec![ops(forgery::garbled(batch))],
            OpsTrick::Twice => vec![ops(batch.clone()), ops(batch)],
            OpsTrick::EndsEarly => vec![Out::Ops(OpsFrame::End.encode()), ops(batch)],
            OpsTrick::TwoHistories => vec![ops(self.another_history(&batch, pick)?)],
        })
    }

    /// The end of this site's own log as it tells it this peer alone.
    fn another_history(&mut self, told: &Batch, pick: u64) -> Option<Batch> {
        let log = told.head.head.log;
        if log.author != self.key.site_id() {
            return None;
        }
        let held = self.history(log, told.first)?;
        let name = contested(pick % CONTESTED);
        let body = |at: usize| forgery::publish(&name, &[pick.to_le_bytes(), at.to_le_bytes()].concat());
        let bodies = (0..told.entries.len()).map(body).collect();
        let signer = (self.key.signing_key(), self.key.succession().clone());
        let said = Verified::author_as(signer, log, &held, bodies, Hlc::default(), self.wall);
        self.signed.extend(said.ops().iter().cloned());
        Some(said.to_batch())
    }

    /// The beginning of a log, if a batch ends there.
    fn history(&self, log: LogId, len: u64) -> Option<Mmr> {
        let mut held = Mmr::default();
        for batch in self.store.batches(log, 0, u64::MAX).ok()? {
            if held.len() >= len {
                break;
            }
            held = batch.verify(&held).ok()?.after().clone();
        }
        (held.len() == len).then_some(held)
    }
}

fn ops(batch: Batch) -> Out {
    Out::Ops(OpsFrame::Ops(batch).encode())
}

fn supply_of(frame: &mut Frame) -> Option<&mut Supply> {
    if let Frame::Polled(polled) = frame {
        Some(&mut polled.supply)
    } else if let Frame::Supply(supply) = frame {
        Some(supply)
    } else {
        None
    }
}

fn broken(how: Break, said: &Frame, frame: &[u8]) -> Option<Vec<Out>> {
    let whole = Out::Control(frame.to_vec());
    match how {
        Break::Silent => Some(Vec::new()),
        Break::Deaf => Some(vec![whole]),
        Break::CutFrame => frame.get(..frame.len() / 2).map(|half| vec![Out::Control(half.to_vec())]),
        Break::FloodOfOps => {
            let flood = (0..FLOOD_FRAMES).map(|_| Out::Ops(vec![0x20; FRAME_BYTES_MAX]));
            matches!(said, Frame::Poll(_) | Frame::Polled(_))
                .then(|| [whole].into_iter().chain(flood).collect())
        }
    }
}

/// A frame that says something else than it did.
fn lie(how: Lie, pick: u64, mut frame: Frame) -> Option<Frame> {
    if how == Lie::AnotherLife {
        let life = StoreId(pick.to_le_bytes());
        let (Frame::Hello(Hello { store, .. }) | Frame::Welcome(Welcome { store, .. })) = &mut frame else {
            return None;
        };
        *store = life;
        return Some(frame);
    }
    let supply = supply_of(&mut frame)?;
    let Supply::Since { root, heads, .. } = supply else { return None };
    let some = usize::try_from(pick).unwrap_or(0) % heads.len().max(1);
    match how {
        Lie::LongerLog => heads.get_mut(some)?.reach.len += 10,
        Lie::OtherHistory => heads.get_mut(some)?.reach.root = [3; 32],
        Lie::WrongRoot => *root = [3; 32],
        Lie::NoHeads => heads.clear(),
        Lie::Same | Lie::AnotherLife => *supply = Supply::Same,
    }
    Some(frame)
}

fn piece(trick: Trick, mut said: Piece) -> Option<Vec<Out>> {
    let Trick::Bytes(how) = trick else { return None };
    let out = |piece: &Piece| Out::Piece(piece.encode());
    Some(match how {
        BytesTrick::Twice => vec![out(&said), out(&said)],
        BytesTrick::Other => {
            let bytes = b"other".to_vec();
            vec![out(&Piece::Small { blob: forgery::blob(&bytes), bytes })]
        }
        BytesTrick::HasNot => {
            let Piece::Small { blob, .. } = said else { return None };
            vec![Out::Control(Frame::NotHave(vec![Ask::Small { blob }]).encode())]
        }
        BytesTrick::Wrong => {
            match &mut said {
                Piece::Small { bytes, .. } | Piece::Extent { bytes, .. } => *bytes.first_mut()? ^= 1,
                Piece::Outline { extents, .. } => extents.reverse(),
            }
            vec![out(&said)]
        }
    })
}

impl Site {
    /// The streams of a new connection over a link.
    pub(super) fn wire(&self, link: usize) -> Wire {
        Wire::of(self.plots.get(link).cloned(), self.has(Plant::StreamReadWithoutEnd))
    }

    /// From here on this site keeps no rules.
    pub fn turn(&mut self, feed: FeedId, origin: SiteId) {
        let scheme = || Scheme {
            key: self.key.clone(),
            feed,
            origin,
            store: self.store().clone(),
            wall: Timestamp(0),
            waiting: Vec::new(),
            blobs: Vec::new(),
            asked: BTreeSet::new(),
            signed: Vec::new(),
            got: BTreeSet::new(),
        };
        self.plots = self.links.iter().map(|_| Plot(Rc::new(RefCell::new(scheme())))).collect();
    }

    /// A trick is played over a link as soon as it fits. `blobs`: those of which it knows the names.
    pub fn plan(&self, now: u64, link: usize, trick: Trick, pick: u64, blobs: Vec<BlobId>) {
        let Some(Plot(scheme)) = self.plots.get(link) else { return };
        let mut scheme = scheme.borrow_mut();
        scheme.wall = self.wall(now);
        scheme.blobs = blobs;
        if scheme.waiting.len() < WAITING_MAX {
            scheme.waiting.push((trick, pick));
        }
    }

    /// The ops that this site signed on the way to a peer since the last look.
    pub fn forged(&mut self) -> Vec<NamedOp> {
        let forged: Vec<NamedOp> = self
            .plots
            .iter()
            .flat_map(|Plot(scheme)| std::mem::take(&mut scheme.borrow_mut().signed))
            .collect();
        self.again.said(forged.iter().map(|named| (named.op.place, named.id)));
        forged
    }

    /// Every blob of which a peer sent this site anything.
    #[must_use]
    pub fn got(&self) -> BTreeSet<BlobId> {
        self.plots.iter().flat_map(|Plot(scheme)| scheme.borrow().got.clone()).collect()
    }
}
