//! The receiving half of a session: what the peer exports, which of it is missing here, and taking it in.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::forks::{Shown, is_frozen};
use super::gaps::gap_wants;
use super::outbound::{Heads, half, head_item, root_of};
use super::outlines::{Came, Outlines};
use super::rights::{Pushed, unserved};
use super::stop::Stop;
use super::tally::Tally;
use super::view::{Holding, Missing, Unreadable, View};
use super::{AgreedFeed, Output};
use crate::fault::Misbehaved;
use crate::frame::{Frame, HeadNote, Known, OpsFrame, Piece, Pull, Supply, Unserved, WantOps};
use crate::grant::Authority;
use crate::id::{BlobId, FeedId, LogId, SiteId, StoreId};
use crate::limits::{LOGS_PER_FRAME_MAX, RANGES_PER_FRAME_MAX};
use crate::link::Priority;
use crate::log::Reach;
use crate::reconcile::{Answers, Asker, Salt};
use crate::succession::generation_of;
use crate::summary::Summary;
use crate::transfer::{Arrived, Ask, Stored, Transfer};

/// What a site keeps of a peer between sessions: the exports it was last told and has taken in.
/// Losing it costs a repair, nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    pub known: Option<Known>,
    pub heads: Vec<(LogId, Reach)>,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Idle,
    /// Waiting for the ops that were promised.
    Ops,
    /// Finding out by ranges which heads the peer has.
    Ranges(Box<(Asker, Summary)>),
    /// Waiting for the heads behind the ids that ranges gave.
    Heads {
        left: usize,
    },
    /// Ops are in; bytes are coming.
    Fetching,
    /// All is in; waiting for the disk.
    Settling,
    Done,
}

pub(super) struct Target {
    pub(super) generation: u64,
    pub(super) root: [u8; 32],
    pub(super) notes: Heads,
    /// The logs told in this run: those whose ops must be here at its end.
    pub(super) told: BTreeSet<LogId>,
    pub(super) repaired: bool,
    /// Logs whose ops were told and did not come, and were asked for since the heads were told or, where these did not add up, compared.
    pub(super) asked: BTreeSet<LogId>,
    /// How far the batches reach that came of a log and were taken in.
    pub(super) came: BTreeMap<LogId, u64>,
    /// Ops that were left out were asked for.
    pub(super) gaps_asked: bool,
}

impl Target {
    /// Who is to blame where logs were asked for and lack ops that were told: nobody else where the ops came, and damage took them since.
    fn lacking_still(&self, logs: &[LogId]) -> Stop {
        let lost = |log: &LogId| {
            let told = self.notes.get(log).map_or(0, |reach| reach.len);
            self.came.get(log).is_some_and(|came| *came >= told)
        };
        if logs.iter().filter(|log| self.asked.contains(log)).all(lost) {
            Unreadable("damage took a part of a log that had just come".to_owned()).into()
        } else {
            Misbehaved::RootContradicted.into()
        }
    }
}

/// The receiving half.
pub(super) struct Inbound {
    stage: Stage,
    /// The peer's exports as they were told and taken in.
    pub(super) copy: Heads,
    pub(super) known: Option<Known>,
    pub(super) target: Option<Target>,
    pub(super) refused_logs: BTreeSet<LogId>,
    /// Logs refused in this session: that they are shorter here than told is no loss.
    given_up: BTreeSet<LogId>,
    /// Logs that were refused in an earlier run by what this site knew then. Their authors had no rights: damage may have taken what gave them,
    /// and it comes back. Or two histories were signed, and no cut was known.
    pub(super) for_now: BTreeSet<LogId>,
    transfer: Transfer,
    outlines: Outlines,
    /// Blobs the peer said it does not have. Pieces of them that were on the way arrive all the same.
    forsaken: BTreeSet<BlobId>,
    missing: u64,
    /// Whether the pull of this run said that bytes are lacking.
    lacking: bool,
    /// Whether the peer has ops that are known here by their hash alone.
    gaps: bool,
    /// The peer's own publishes of this run, in feeds of which nothing flows back to it.
    pub(super) pushed: Vec<Pushed>,
}

impl Inbound {
    pub(super) fn new(memory: Memory) -> Self {
        Self {
            stage: Stage::Idle,
            copy: memory.heads.into_iter().collect(),
            known: memory.known,
            target: None,
            refused_logs: BTreeSet::new(),
            given_up: BTreeSet::new(),
            for_now: BTreeSet::new(),
            transfer: Transfer::new(),
            outlines: Outlines::default(),
            forsaken: BTreeSet::new(),
            missing: 0,
            lacking: false,
            gaps: false,
            pushed: Vec::new(),
        }
    }

    fn memory(&self) -> Memory {
        let heads = self.copy.iter().map(|(log, reach)| (*log, *reach)).collect();
        Memory { known: self.known, heads }
    }

    pub(super) fn begin(&mut self) {
        self.stage = Stage::Idle;
        self.target = None;
        let refused = std::mem::take(&mut self.refused_logs);
        self.given_up.extend(refused.into_iter().filter(|log| !self.for_now.contains(log)));
        self.transfer = Transfer::new();
        self.outlines = Outlines::default();
        self.pushed.clear();
        self.missing = 0;
    }

    pub(super) const fn awaits_ops(&self) -> bool {
        matches!(self.stage, Stage::Ops)
    }

    pub(super) const fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// Whether the ops of this run are in, so that this site may push in turn.
    pub(super) const fn ops_are_in(&self) -> bool {
        matches!(self.stage, Stage::Fetching | Stage::Settling | Stage::Done)
    }

    pub(super) fn root_known(&self, store: StoreId) -> Option<[u8; 16]> {
        self.known.filter(|known| known.store == store).map(|known| known.root)
    }

    /// What to ask of the peer, if anything flows in.
    pub(super) fn pull(
        &mut self,
        me: SiteId,
        feeds: &[AgreedFeed],
        view: &dyn View,
    ) -> Result<Option<Pull>, Unreadable> {
        if !feeds.iter().any(|on| on.effective.flows_in()) {
            return Ok(None);
        }
        if self.has_lost(feeds, view)? {
            self.known = None;
            self.copy.clear();
        }
        let mut lacking = false;
        for on in feeds.iter().filter(|on| on.effective.in_add) {
            // The peer is not to believe that what waits for room is here.
            lacking = lacking || !view.missing(on.feed, &on.filter)?.is_empty();
        }
        self.gaps = self.has_gaps(me, feeds, view)?;
        let lacking = lacking || self.gaps;
        self.lacking = lacking;
        Ok(Some(Pull { known: self.known, lacking }))
    }

    /// Whether a log that was taken in is shorter here than it was: damage set it back, and the peer is to bring it again.
    fn has_lost(&self, feeds: &[AgreedFeed], view: &dyn View) -> Result<bool, Unreadable> {
        for on in feeds.iter().filter(|on| on.effective.flows_in()) {
            let authority = view.authority(on.feed)?;
            let forks = view.forks(on.feed)?;
            let held: BTreeMap<LogId, u64> =
                view.logs(on.feed)?.into_iter().map(|state| (state.log, state.reach.len)).collect();
            let taken_in = self.copy.iter().filter(|(log, _)| log.feed == on.feed);
            let lost = |(log, taken): (&LogId, &Reach)| {
                let Some(authority) = &authority else { return false };
                // Of a log with two histories the peer may have told more than is taken in.
                let counts = authority.cut(*log).map_or(u64::MAX, |cut| cut.len());
                match held.get(log) {
                    _ if is_frozen(*log, authority, &forks) => false,
                    // Its author may be known here since.
                    _ if self.for_now.contains(log) && !authority.is_author(log.author) => false,
                    // It may have been refused for the keys that lead to it.
                    None if generation_of(log.epoch) > 0 && authority.knows(log.author) => false,
                    Some(have) => *have < taken.len.min(counts),
                    None => counts > 0 && authority.is_author(log.author),
                }
            };
            if taken_in.filter(|(log, _)| !self.given_up.contains(log)).any(lost) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn nothing_to_do(&mut self) {
        self.stage = Stage::Done;
    }

    /// The peer said how it brings this site up to date.
    pub(super) fn supplied(
        &mut self,
        supply: Supply,
        salt: [u8; 8],
        context: &mut Context<'_>,
    ) -> Result<(), Stop> {
        if matches!(supply, Supply::Same) {
            context.remind(&self.copy)?;
        }
        match supply {
            Supply::Nothing => self.stage = Stage::Done,
            Supply::Same if self.gaps => self.ask_gaps(context)?,
            Supply::Same if self.lacking => self.fetch(context)?,
            Supply::Same => self.stage = Stage::Done,
            Supply::Since { generation, root, heads } => {
                self.target = Some(Target {
                    generation,
                    root,
                    notes: self.copy.clone(),
                    told: BTreeSet::new(),
                    repaired: false,
                    asked: BTreeSet::new(),
                    came: BTreeMap::new(),
                    gaps_asked: false,
                });
                self.note(&heads, context)?;
                self.stage = Stage::Ops;
            }
            Supply::Ranges { generation, root } => {
                self.target = Some(Target {
                    generation,
                    root,
                    notes: self.copy.clone(),
                    told: BTreeSet::new(),
                    repaired: true,
                    asked: BTreeSet::new(),
                    came: BTreeMap::new(),
                    gaps_asked: false,
                });
                self.ask_ranges(salt, context)?;
            }
        }
        Ok(())
    }

    fn note(&mut self, heads: &[HeadNote], context: &Context<'_>) -> Result<(), Stop> {
        let Some(target) = &mut self.target else { return Err(Misbehaved::FrameUnexpected.into()) };
        let feeds: Vec<FeedId> = context.feeds.iter().map(|on| on.feed).collect();
        for head in heads {
            let log = head.log(&feeds).ok_or(Misbehaved::FeedNotAgreed)?;
            let flows = context.feeds.get(usize::from(head.feed)).is_some_and(|on| on.effective.flows_in());
            if !flows {
                return Err(Misbehaved::FeedNotAgreed.into());
            }
            target.notes.insert(log, head.reach);
            target.told.insert(log);
        }
        Ok(())
    }

    fn ask_ranges(&mut self, salt: [u8; 8], context: &mut Context<'_>) -> Result<(), Stop> {
        let Some(target) = &self.target else { return Ok(()) };
        let mine: Summary = target.notes.iter().map(|(log, reach)| head_item(*log, reach)).collect();
        let mut spare = salt;
        spare.reverse();
        let asker = Asker::new(&mine, Salt(salt), Salt(spare));
        self.stage = Stage::Ranges(Box::new((asker, mine)));
        self.question(context)
    }

    fn question(&mut self, context: &mut Context<'_>) -> Result<(), Stop> {
        let Stage::Ranges(asking) = &mut self.stage else { return Ok(()) };
        let (asker, mine) = asking.as_mut();
        let mut asked = false;
        while let Some(questions) = asker.poll(mine).map_err(Misbehaved::from)? {
            context.send(&Frame::Questions(questions));
            asked = true;
        }
        context.tally.round_trips += u64::from(asked);
        Ok(())
    }

    /// Answers to range questions.
    pub(super) fn answered(&mut self, answers: Answers, context: &mut Context<'_>) -> Result<(), Stop> {
        let Stage::Ranges(asking) = &mut self.stage else { return Err(Misbehaved::FrameUnexpected.into()) };
        let (asker, mine) = asking.as_mut();
        let Some(difference) = asker.handle(mine, answers).map_err(Misbehaved::from)? else {
            return self.question(context);
        };
        let Some(target) = &mut self.target else { return Err(Misbehaved::FrameUnexpected.into()) };
        if difference.root.0 != target.root {
            return Err(Misbehaved::RootContradicted.into());
        }
        target.notes.retain(|log, reach| !difference.extra.contains(&head_item(*log, reach)));
        let lack: Vec<[u8; 32]> = difference.missing.into_iter().collect();
        for ids in lack.chunks(RANGES_PER_FRAME_MAX) {
            context.send(&Frame::HeadsOf(ids.to_vec()));
        }
        if lack.is_empty() {
            return self.ops_ended([0; 8], context);
        }
        context.tally.round_trips += 1;
        self.stage = Stage::Heads { left: lack.len() };
        Ok(())
    }

    /// Heads that were asked for by id.
    pub(super) fn heads(&mut self, heads: &[HeadNote], context: &mut Context<'_>) -> Result<(), Stop> {
        let Stage::Heads { left } = self.stage else { return Err(Misbehaved::FrameUnexpected.into()) };
        if heads.is_empty() || heads.len() > left {
            return Err(Misbehaved::RangesInvalid.into());
        }
        self.note(heads, context)?;
        let left = left - heads.len();
        self.stage = Stage::Heads { left };
        if left == 0 { self.ops_ended([0; 8], context) } else { Ok(()) }
    }

    /// A frame of the ops stream.
    pub(super) fn ops(
        &mut self,
        frame: OpsFrame,
        salt: [u8; 8],
        context: &mut Context<'_>,
    ) -> Result<(), Stop> {
        if !matches!(self.stage, Stage::Ops) {
            return Err(Misbehaved::FrameUnexpected.into());
        }
        match frame {
            OpsFrame::Ops(batch) => self.batch(batch, context),
            OpsFrame::End => self.ops_ended(salt, context),
        }
    }

    /// All promised ops came: is everything told really here, and do the heads add up?
    pub(super) fn ops_ended(&mut self, salt: [u8; 8], context: &mut Context<'_>) -> Result<(), Stop> {
        let Some(target) = &self.target else { return Err(Misbehaved::FrameUnexpected.into()) };
        let (mut wants, mut lacking) = (Vec::new(), Vec::new());
        for log in &target.told {
            let told = target.notes.get(log).copied().unwrap_or_default();
            if let Some(from) = self.lacks(*log, &told, context.view)? {
                let feed = context.feeds.iter().position(|on| on.feed == log.feed).unwrap_or_default();
                let feed = u16::try_from(feed).unwrap_or(u16::MAX);
                wants.push(WantOps { feed, author: log.author, epoch: log.epoch, from });
                lacking.push(*log);
            }
        }
        let Some(target) = &mut self.target else { return Err(Misbehaved::FrameUnexpected.into()) };
        if lacking.iter().any(|log| target.asked.contains(log)) {
            return Err(target.lacking_still(&lacking));
        }
        // A log that waits for a cut is told no more, and only a comparison shows that.
        let is_right = root_of(&target.notes) == target.root;
        if is_right && wants.len() < LOGS_PER_FRAME_MAX && !std::mem::replace(&mut target.gaps_asked, true) {
            let full = wants.iter().map(|want| (want.feed, want.author, want.epoch)).collect();
            // Those for which there is no room are asked for in the next run.
            wants.extend(gap_wants(&target.notes, &full, context)?);
        }
        wants.truncate(LOGS_PER_FRAME_MAX);
        if !wants.is_empty() {
            target.asked.extend(lacking.into_iter().take(LOGS_PER_FRAME_MAX));
            context.send(&Frame::WantOps(wants));
            context.tally.round_trips += 1;
            self.stage = Stage::Ops;
            return Ok(());
        }
        if !is_right {
            if std::mem::replace(&mut target.repaired, true) {
                return Err(Misbehaved::RootContradicted.into());
            }
            // The comparison may name logs of which nothing was told before.
            target.asked.clear();
            return self.ask_ranges(salt, context);
        }
        self.copy = std::mem::take(&mut target.notes);
        self.known =
            Some(Known { store: context.peer_store, generation: target.generation, root: half(target.root) });
        context.outputs.push_back(Output::Remember(self.memory()));
        context.weigh_forks()?;
        context.remind(&self.copy)?;
        let unserved = unserved(std::mem::take(&mut self.pushed), context)?;
        context.applied(unserved)?;
        self.fetch(context)
    }

    /// The peer took in what it was told: where it exports the same logs back, its exports grew by that.
    pub(super) fn peer_applied(
        &mut self,
        exports: crate::frame::Exports,
        told: &Heads,
        context: &mut Context<'_>,
    ) {
        let back = |feed| context.feeds.iter().any(|on| on.feed == feed && on.effective.flows_in());
        let mut heads = self.copy.clone();
        for (log, state) in told.iter().filter(|(log, _)| back(log.feed)) {
            let longer = heads.get(log).is_none_or(|held| held.len < state.len);
            if longer {
                heads.insert(*log, *state);
            }
        }
        if half(root_of(&heads)) == exports.root {
            self.copy = heads;
            let (store, generation, root) = (context.peer_store, exports.generation, exports.root);
            self.known = Some(Known { store, generation, root });
            context.outputs.push_back(Output::Remember(self.memory()));
        }
    }

    /// Wants the bytes of what stands once all ops are in, so that nothing deleted is fetched.
    fn fetch(&mut self, context: &mut Context<'_>) -> Result<(), Stop> {
        self.stage = Stage::Fetching;
        for on in context.feeds.iter().filter(|on| on.effective.in_add) {
            let missing = context.view.missing(on.feed, &on.filter)?;
            let all = missing.len();
            let wanted = context.view.with_room(on.feed, missing)?;
            self.missing = self.missing.saturating_add(all.saturating_sub(wanted.len()) as u64);
            for missing in wanted {
                self.want(missing, context)?;
            }
        }
        self.ask(context);
        Ok(())
    }

    fn want(&mut self, wanted: Missing, context: &Context<'_>) -> Result<(), Stop> {
        let Missing { blob, size, published } = wanted;
        let urgency = match context.priority {
            Priority::SmallestFirst => size,
            Priority::NewestFirst => u64::MAX - published.0,
        };
        match context.view.holding(blob)? {
            Holding::Complete => {}
            Holding::Missing => self.transfer.want(blob, size, urgency, None),
            Holding::Partial { outline, missing } => {
                self.transfer.want(blob, size, urgency, Some((outline, missing)));
            }
        }
        Ok(())
    }

    /// Asks for as much as the window allows; when nothing is left, lets the disk settle.
    fn ask(&mut self, context: &mut Context<'_>) {
        let mut asks = Vec::new();
        while let Some(ask) = self.transfer.poll() {
            asks.push(ask);
        }
        if !asks.is_empty() {
            if self.transfer.asked_first() {
                context.tally.round_trips += 1;
            }
            context.send(&Frame::Want(asks));
        }
        if matches!(self.stage, Stage::Fetching) && self.transfer.is_idle() {
            self.stage = Stage::Settling;
            context.outputs.push_back(Output::Settle);
        }
    }

    /// Bytes that were asked for.
    pub(super) fn piece(&mut self, piece: Piece, context: &mut Context<'_>) -> Result<(), Stop> {
        let bytes = piece.content_bytes();
        let forsaken = self.forsaken.contains(&piece.blob());
        let arrived = match piece {
            Piece::Small { blob, bytes } => Arrived::Small { blob, bytes },
            Piece::Extent { blob, index, groups: _, bytes } => Arrived::Extent { blob, index, bytes },
            Piece::Outline { blob, .. } if forsaken && !self.transfer.awaits_outline(blob) => return Ok(()),
            Piece::Outline { blob, size, first, extents } => {
                if !self.transfer.awaits_outline(blob) {
                    return Err(Misbehaved::BytesUnasked.into());
                }
                match self.outlines.take(blob, size, first, extents)? {
                    Came::Part => return Ok(()),
                    Came::Whole(outline) if !self.transfer.is_of_another_size(&outline) => {
                        Arrived::Outline { outline }
                    }
                    Came::Whole(_) | Came::NoRoom => {
                        self.not_have(&[Ask::Outline { blob }], context);
                        return Ok(());
                    }
                }
            }
        };
        let stored = match self.transfer.handle(arrived) {
            Ok(stored) => stored,
            Err(Misbehaved::BytesUnasked) if forsaken => return Ok(()),
            Err(fault) => return Err(fault.into()),
        };
        context.tally.content_in_bytes += bytes;
        for kept in stored {
            if matches!(kept, Stored::Complete { .. } | Stored::Small { .. }) {
                context.tally.blobs_in += 1;
            }
            context.outputs.push_back(Output::Keep(kept));
        }
        self.ask(context);
        Ok(())
    }

    /// The peer does not have what was asked.
    pub(super) fn not_have(&mut self, asks: &[Ask], context: &mut Context<'_>) {
        for ask in asks {
            if self.transfer.not_have(ask.blob()) {
                self.forsaken.insert(ask.blob());
                self.outlines.forget(ask.blob());
                self.missing += 1;
                context.tally.blobs_missing += 1;
            }
        }
        self.ask(context);
    }

    /// The disk has everything: the run is over on this side.
    pub(super) fn settled(&mut self, context: &mut Context<'_>) {
        if matches!(self.stage, Stage::Settling) {
            self.stage = Stage::Done;
            context.send(&Frame::Finished { missing: self.missing });
        }
    }
}

/// What the half works with during one call.
pub(super) struct Context<'a> {
    pub(super) me: SiteId,
    pub(super) peer: SiteId,
    pub(super) peer_store: StoreId,
    pub(super) priority: Priority,
    pub(super) feeds: &'a [AgreedFeed],
    pub(super) view: &'a dyn View,
    pub(super) tally: &'a mut Tally,
    pub(super) shown: &'a mut Shown,
    pub(super) outputs: &'a mut std::collections::VecDeque<Output>,
}

impl Context<'_> {
    pub(super) fn send(&mut self, frame: &Frame) {
        let bytes = frame.encode();
        self.tally.frames_out_bytes += bytes.len() as u64;
        self.outputs.push_back(Output::Send(bytes));
    }

    /// Who may do what in a feed of this session. Where its record is not here any more no peer is to blame.
    pub(super) fn authority(&self, feed: FeedId) -> Result<Authority, Unreadable> {
        self.view
            .authority(feed)?
            .ok_or_else(|| Unreadable(format!("the record of feed {feed} went while its ops came")))
    }

    fn applied(&mut self, unserved: Vec<Unserved>) -> Result<(), Stop> {
        let exports = super::outbound::Outbound::offer(self.feeds, self.view)?.map(|(exports, _)| exports);
        let refused = self.tally.refused.iter().map(|(reason, ops)| (*reason, *ops)).collect();
        self.send(&Frame::Applied(crate::frame::Applied { exports, refused, unserved }));
        Ok(())
    }
}
