//! The sending half of a session: what this site exports, the ops it owes, and the bytes it was asked for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::AgreedFeed;
use super::forks::{travelling, up_to_cut};
use super::stop::Stop;
use super::tally::Moved;
use super::view::{Unreadable, View};
use crate::fault::Misbehaved;
use crate::frame::{Exports, HeadNote, Known, OpsFrame, Piece, Pull, Supply, WantOps};
use crate::id::{BlobId, FeedId, LogId, SiteId, StoreId};
use crate::limits::{
    EXTENT_BYTES, LOGS_PER_FRAME_MAX, OPS_FRAME_BYTES_TARGET, RANGES_PER_RUN_MAX, WANTED_BYTES_MAX,
    WANTED_ITEMS_MAX,
};
use crate::log::{Batch, Entry, Reach, head_item_bytes};
use crate::op::{Body, Op, Place};
use crate::reconcile::{Answers, Questions, answer};
use crate::summary::{Summary, Tree, root_of as root_of_ids};
use crate::switches::Switches;
use crate::transfer::Ask;

/// Subtree hashes in one outline piece: half a frame.
const OUTLINE_PER_PIECE: usize = 16_384;

/// The exported heads of a set of feeds, by log.
pub(super) type Heads = BTreeMap<LogId, Reach>;

/// One head's place in a set of heads.
pub(super) fn head_item(log: LogId, reach: &Reach) -> [u8; 32] {
    Tree::Heads.item(&head_item_bytes(log, reach))
}

/// The root of a set of heads: what polls compare.
pub(super) fn root_of(heads: &Heads) -> [u8; 32] {
    let mut items: Vec<[u8; 32]> = heads.iter().map(|(log, reach)| head_item(*log, reach)).collect();
    items.sort_unstable();
    root_of_ids(items).0
}

/// The first half of a root: enough where a mistake only costs a repair.
pub(super) fn half(root: [u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    for (to, from) in half.iter_mut().zip(root) {
        *to = from;
    }
    half
}

/// Everything this site lets flow out over the link: the logs of authors with rights. An overlay stays at home, but where this site only
/// pushes and so cannot know what it was granted.
pub(super) fn exports(feeds: &[AgreedFeed], view: &dyn View) -> Result<Heads, Unreadable> {
    let mut heads = Heads::new();
    for on in feeds.iter().filter(|on| on.effective.flows_out()) {
        heads.append(&mut travelling(on.feed, on.pushes, view)?);
    }
    Ok(heads)
}

/// The root of a feed's heads that may travel: equal at two sites that hold the same ops, local ones aside.
///
/// # Errors
/// The store cannot be read.
pub fn travelling_root(feed: FeedId, view: &dyn View) -> Result<[u8; 32], Unreadable> {
    Ok(root_of(&travelling(feed, None, view)?))
}

#[derive(Debug)]
struct Stretch {
    log: LogId,
    from: u64,
    to: u64,
    adds: bool,
    deletes: bool,
}

/// The sending half.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    stretches: VecDeque<Stretch>,
    end_due: bool,
    serving: VecDeque<Ask>,
    serving_items: usize,
    /// An outline too long for one piece, and where it goes on.
    outline_rest: Option<(BlobId, u32)>,
    /// The heads told to the peer in this run.
    pub(super) told: Heads,
    told_summary: Option<Summary>,
    /// Whether the peer needs no more of this run.
    pub(super) done: bool,
    pub(super) ops_sent: u64,
    pub(super) went: Moved,
    /// What this site exported when it last compared with the peer: all of it is there where nothing had to be told.
    pub(super) compared: Heads,
    pub(super) content_bytes: u64,
    asked: Asked,
    /// Blobs that the peer asked for and that are not here, as far as that was told.
    lacks_told: BTreeSet<BlobId>,
}

/// What the peer asked for in this run. An honest one asks each thing once.
#[derive(Debug, Default)]
struct Asked {
    ranges: usize,
    heads: usize,
    logs: usize,
}

impl Asked {
    /// Counts what is asked of one kind.
    fn count(asked: &mut usize, more: usize, most: usize, fault: Misbehaved) -> Result<(), Stop> {
        *asked = asked.saturating_add(more);
        if *asked > most { Err(fault.into()) } else { Ok(()) }
    }
}

/// What was asked for and is not answered with bytes.
#[derive(Debug)]
pub(super) struct NotHere {
    pub(super) ask: Ask,
    /// Whether the peer might have had it if it were here.
    pub(super) lacks: bool,
}

impl Outbound {
    pub(super) fn begin(&mut self) {
        *self = Self {
            serving: std::mem::take(&mut self.serving),
            serving_items: self.serving_items,
            ..Self::default()
        };
    }

    /// How to bring a peer that knows `pull.known` up to date. `copy` is what the peer itself has told to export: it needs no ops from there.
    pub(super) fn supply(
        &mut self,
        pull: Pull,
        store: StoreId,
        feeds: &[AgreedFeed],
        copy: &Heads,
        view: &dyn View,
    ) -> Result<Supply, Unreadable> {
        let generation = view.generation();
        let heads = exports(feeds, view)?;
        let root = root_of(&heads);
        // A peer that knows of a later state than this one is told where this store is, or it would ask by that state for ever. [P-56]
        let same =
            |known: Known| known.store == store && known.root == half(root) && known.generation <= generation;
        if pull.known.is_some_and(same) {
            self.done = !pull.lacking;
            self.told.clone_from(&heads);
            self.compared = heads;
            return Ok(Supply::Same);
        }
        self.told.clone_from(&heads);
        self.told_summary = None;
        let since = match pull.known {
            None => 0,
            Some(Known { store: of, generation: at, .. }) if of == store && at <= generation => at,
            Some(_) => return Ok(Supply::Ranges { generation, root }),
        };
        let (mut notes, mut promises) = (Vec::new(), Vec::new());
        for (index, on) in feeds.iter().enumerate().filter(|(_, on)| on.effective.flows_out()) {
            let origin = view.authority(on.feed)?.and_then(|authority| authority.origin());
            let mut grown = view.grown_since(on.feed, since)?;
            // The origin's log first: its grants are what the other logs' ops count by.
            grown.sort_by_key(|growth| (Some(growth.log.author) != origin, growth.log));
            for growth in grown {
                let Some(reach) = heads.get(&growth.log) else { continue };
                notes.push(note(index, growth.log, *reach));
                let there = copy.get(&growth.log).copied().unwrap_or_default();
                // What the peer has by its hash alone it needs from here, if this site has it.
                let held = if there.gaps > reach.gaps { 0 } else { there.len };
                promises.push((growth.log, growth.first.max(held), reach.len, on.effective));
            }
        }
        if notes.len() > LOGS_PER_FRAME_MAX {
            return Ok(Supply::Ranges { generation, root });
        }
        for (log, from, to, effective) in promises {
            self.promise(log, from, to, effective);
        }
        self.end_due = true;
        Ok(Supply::Since { generation, root, heads: notes })
    }

    fn promise(&mut self, log: LogId, from: u64, to: u64, effective: Switches) {
        if from < to {
            let (adds, deletes) = (effective.out_add, effective.out_delete);
            self.stretches.push_back(Stretch { log, from, to, adds, deletes });
        }
    }

    /// Ops owed, by feed.
    pub(super) fn promised(&self) -> BTreeMap<FeedId, u64> {
        let mut promised: BTreeMap<FeedId, u64> = BTreeMap::new();
        for stretch in &self.stretches {
            let ops = promised.entry(stretch.log.feed).or_default();
            *ops = ops.saturating_add(stretch.to.saturating_sub(stretch.from));
        }
        promised
    }

    /// The peer asks for logs from positions on.
    pub(super) fn want_ops(&mut self, wants: &[WantOps], feeds: &[AgreedFeed]) -> Result<(), Stop> {
        Asked::count(&mut self.asked.logs, wants.len(), self.told.len(), Misbehaved::WantsFlooded)?;
        for want in wants {
            let on = feeds.get(usize::from(want.feed)).ok_or(Misbehaved::FeedNotAgreed)?;
            let log = LogId { feed: on.feed, author: want.author, epoch: want.epoch };
            let len = self.told.get(&log).ok_or(Misbehaved::FeedNotAgreed)?.len;
            self.promise(log, want.from, len, on.effective);
        }
        self.end_due = true;
        Ok(())
    }

    /// The notes of the told heads whose items have these ids.
    pub(super) fn notes_of(&mut self, ids: &[[u8; 32]], feeds: &[AgreedFeed]) -> Result<Vec<HeadNote>, Stop> {
        Asked::count(&mut self.asked.heads, ids.len(), self.told.len(), Misbehaved::RangesFlooded)?;
        let position: BTreeMap<FeedId, usize> =
            feeds.iter().enumerate().map(|(index, on)| (on.feed, index)).collect();
        Ok(self
            .told
            .iter()
            .filter(|(log, reach)| ids.contains(&head_item(**log, reach)))
            .filter_map(|(log, reach)| Some(note(*position.get(&log.feed)?, *log, *reach)))
            .collect())
    }

    /// Answers questions about ranges of the told heads.
    pub(super) fn answer(&mut self, questions: &Questions) -> Result<Answers, Stop> {
        let more = questions.questions.len();
        Asked::count(&mut self.asked.ranges, more, RANGES_PER_RUN_MAX, Misbehaved::RangesFlooded)?;
        Ok(answer(self.summary(), questions).map_err(Misbehaved::from)?)
    }

    /// The told heads as a set, for range questions. It stays the same through a run, whatever is published meanwhile.
    fn summary(&mut self) -> &mut Summary {
        let told = &self.told;
        self.told_summary
            .get_or_insert_with(|| told.iter().map(|(log, reach)| head_item(*log, reach)).collect())
    }

    /// The peer asks for bytes.
    pub(super) fn want(&mut self, asks: Vec<Ask>) -> Result<(), Stop> {
        self.serving_items = self.serving_items.saturating_add(asks.iter().map(Ask::items).sum());
        // Twice what an honest receiver has open, because what it got and what we know of cross on the way.
        let bytes = u64::try_from(self.serving_items * EXTENT_BYTES).unwrap_or(u64::MAX);
        if self.serving_items > WANTED_ITEMS_MAX * 2 && bytes > WANTED_BYTES_MAX * 2 {
            return Err(Misbehaved::WantsFlooded.into());
        }
        self.serving.extend(asks);
        Ok(())
    }

    /// The next frame for the ops stream, when that stream can take one. What the peer said itself is given back to it whole.
    pub(super) fn poll_ops(&mut self, peer: SiteId, view: &dyn View) -> Result<Option<Vec<u8>>, Unreadable> {
        while let Some(stretch) = self.stretches.front_mut() {
            if stretch.from >= stretch.to {
                self.stretches.pop_front();
                continue;
            }
            let Some(run) = view.run(stretch.log, stretch.from, OPS_FRAME_BYTES_TARGET)? else {
                // The peer would take this site for a cheat if the run went on without what it was told.
                return Err(Unreadable("damage took a part of a log that a peer was told of".to_owned()));
            };
            let Some(mut batch) = up_to_cut(run, stretch.to, view)? else {
                self.stretches.pop_front();
                continue;
            };
            stretch.from = batch.head.head.len;
            if stretch.log.author != peer && !(stretch.adds && stretch.deletes) {
                hold_back(&mut batch, stretch.adds, stretch.deletes);
            }
            count(&batch, &mut self.went);
            self.ops_sent = self.ops_sent.saturating_add(batch.entries.iter().map(Entry::span).sum());
            return Ok(Some(OpsFrame::Ops(batch).encode()));
        }
        if self.end_due {
            self.end_due = false;
            return Ok(Some(OpsFrame::End.encode()));
        }
        Ok(None)
    }

    /// The next frame for a piece stream, or a frame that says it cannot be had.
    pub(super) fn poll_piece(
        &mut self,
        feeds: &[AgreedFeed],
        view: &dyn View,
    ) -> Result<Option<Result<Vec<u8>, NotHere>>, Unreadable> {
        if let Some((blob, first)) = self.outline_rest.take() {
            return Ok(self.outline_piece(blob, first, view)?.map(|piece| Ok(piece.encode())));
        }
        let Some(ask) = self.serving.pop_front() else { return Ok(None) };
        self.serving_items = self.serving_items.saturating_sub(1);
        let blob = ask.blob();
        if !named(blob, feeds, view)? {
            return Ok(Some(Err(self.not_have(ask, false))));
        }
        let piece = match ask {
            Ask::Small { blob } => view.small(blob)?.map(|bytes| Piece::Small { blob, bytes }),
            Ask::Outline { blob } => self.outline_piece(blob, 0, view)?,
            Ask::Extents { blob, from, to } => {
                if from.saturating_add(1) < to {
                    self.serving.push_front(Ask::Extents { blob, from: from.saturating_add(1), to });
                }
                view.extent(blob, from)?.map(|bytes| {
                    let groups = crate::outline::group_cvs(from, &bytes);
                    Piece::Extent { blob, index: from, groups, bytes }
                })
            }
        };
        Ok(Some(match piece {
            Some(piece) => {
                self.content_bytes = self.content_bytes.saturating_add(piece.content_bytes());
                Ok(piece.encode())
            }
            None => Err(self.not_have(ask, true)),
        }))
    }

    /// Says that a blob cannot be had, once: what else was asked of it is not answered.
    fn not_have(&mut self, ask: Ask, lacks: bool) -> NotHere {
        self.serving.retain(|other| other.blob() != ask.blob());
        self.serving_items = self.serving.iter().map(Ask::items).sum();
        // A peer may ask again and again.
        NotHere { ask, lacks: lacks && self.lacks_told.insert(ask.blob()) }
    }

    /// The peer needs no more of this run.
    pub(super) fn finished(&mut self) {
        self.done = true;
        self.serving.clear();
        self.serving_items = 0;
        self.outline_rest = None;
    }

    fn outline_piece(
        &mut self,
        blob: BlobId,
        first: u32,
        view: &dyn View,
    ) -> Result<Option<Piece>, Unreadable> {
        let Some(outline) = view.outline(blob)? else { return Ok(None) };
        let skip = usize::try_from(first).unwrap_or(usize::MAX);
        let extents: Vec<_> = outline.extents.iter().skip(skip).take(OUTLINE_PER_PIECE).copied().collect();
        if skip.saturating_add(extents.len()) < outline.extents.len() {
            let next = u32::try_from(skip.saturating_add(extents.len())).unwrap_or(u32::MAX);
            self.outline_rest = Some((blob, next));
        }
        Ok(Some(Piece::Outline { blob, size: outline.size, first, extents }))
    }

    /// What this site exports, for a poll's offer or an APPLIED.
    pub(super) fn offer(
        feeds: &[AgreedFeed],
        view: &dyn View,
    ) -> Result<Option<(Exports, Heads)>, Unreadable> {
        if !feeds.iter().any(|on| on.effective.flows_out()) {
            return Ok(None);
        }
        let heads = exports(feeds, view)?;
        Ok(Some((Exports { generation: view.generation(), root: half(root_of(&heads)) }, heads)))
    }
}

fn note(index: usize, log: LogId, reach: Reach) -> HeadNote {
    let feed = u16::try_from(index).unwrap_or(u16::MAX);
    HeadNote { feed, author: log.author, epoch: log.epoch, reach }
}

/// Whether a version that flows out needs the blob: knowing a hash is no right to the bytes.
fn named(blob: BlobId, feeds: &[AgreedFeed], view: &dyn View) -> Result<bool, Unreadable> {
    for on in feeds.iter().filter(|on| on.effective.out_add) {
        if view.carries(on.feed, blob, &on.filter, on.pushes)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Counts what the ops of a batch say. This site's own store holds them, so they decode.
fn count(batch: &Batch, went: &mut Moved) {
    let log = batch.head.head.log;
    let mut seq = batch.first;
    for entry in &batch.entries {
        if let Entry::Op(statement) = entry
            && let Ok(op) = Op::decode_statement(Place { log, seq }, statement)
        {
            went.count(log.feed, &op.body);
        }
        seq = seq.saturating_add(entry.span());
    }
}

/// Puts the hash of each publish, or of each removing op, in its place, where the link lets none through.
fn hold_back(batch: &mut Batch, adds: bool, deletes: bool) {
    let log = batch.head.head.log;
    let mut seq = batch.first;
    for entry in &mut batch.entries {
        let span = entry.span();
        if let Entry::Op(statement) = entry {
            let place = Place { log, seq };
            let passes = Op::decode_statement(place, statement).is_ok_and(|op| {
                if op.body.is_removal() { deletes } else { adds || !matches!(op.body, Body::Publish(_)) }
            });
            if !passes {
                *entry = Entry::Skip { height: 0, hash: Op::id_of(place, statement).0 };
            }
        }
        seq = seq.saturating_add(span);
    }
}
