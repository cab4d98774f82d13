//! Frames on streams, as the node's transport lays them: a control stream, an ops stream and lanes of pieces each way.

use std::collections::BTreeMap;

use protocol::fault::Misbehaved;
use protocol::limits::{BULK_LANES, FRAME_BYTES_MAX};
use protocol::session::Side;
use quinn_proto::{Dir, StreamId};

use super::tricks::{Out, Plot, Tamper};
use crate::quic::{Quic, Talk};

const OPS: u8 = 1;
const PIECE: u8 = 2;
/// Bytes of a stream that are read before anyone wants them: the longest frame.
const HELD_BYTES_MAX: usize = FRAME_BYTES_MAX + 8;
const CONTROL_PRIORITY: i32 = 100;
const OPS_PRIORITY: i32 = 50;

/// A whole frame that arrived.
#[derive(Debug)]
pub(super) enum Arrival {
    Control(Vec<u8>),
    Ops(Vec<u8>),
    Piece(Vec<u8>),
    /// The peer broke the framing.
    Broken(Misbehaved),
}

#[derive(Debug, Default)]
struct Inward {
    kind: Option<u8>,
    held: Vec<u8>,
}

#[derive(Debug)]
struct Outward {
    stream: StreamId,
    waiting: Vec<u8>,
}

/// The streams of one connection.
#[derive(Debug, Default)]
pub(super) struct Wire {
    control: Option<Outward>,
    /// What was said before the connection stood.
    early: Vec<u8>,
    ops: Option<Outward>,
    lanes: Vec<Outward>,
    control_in: Inward,
    inward: BTreeMap<StreamId, Inward>,
    /// The hands of a cheat.
    tamper: Option<Tamper>,
    /// It reads whatever has come.
    reads_all: bool,
}

impl Outward {
    fn flush(&mut self, quic: &mut Quic, talk: Talk) {
        while !self.waiting.is_empty() {
            let written = quic.write(talk, self.stream, &self.waiting);
            if written == 0 {
                return;
            }
            self.waiting.drain(..written.min(self.waiting.len()));
        }
    }

    fn send(&mut self, quic: &mut Quic, talk: Talk, frame: &[u8]) {
        self.waiting.extend(varint(frame.len()));
        self.waiting.extend_from_slice(frame);
        self.flush(quic, talk);
    }
}

/// A length as RFC 9000 writes it.
pub(crate) fn varint(length: usize) -> Vec<u8> {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    if length < 1 << 6 {
        vec![u8::try_from(length).unwrap_or(0)]
    } else if length < 1 << 14 {
        (u16::try_from(length).unwrap_or(0) | 0x4000).to_be_bytes().to_vec()
    } else {
        (length | 0x8000_0000).to_be_bytes().to_vec()
    }
}

/// The next whole frame of what is held.
pub(crate) fn next_frame(held: &mut Vec<u8>) -> Option<Result<Vec<u8>, Misbehaved>> {
    let first = *held.first()?;
    let width = 1_usize << (first >> 6);
    let mut length = usize::from(first & 0x3f);
    for byte in held.get(1..width)? {
        length = length << 8 | usize::from(*byte);
    }
    if length > FRAME_BYTES_MAX {
        return Some(Err(Misbehaved::FrameTooLong));
    }
    let whole = held.get(width..width.checked_add(length)?)?.to_vec();
    held.drain(..width + length);
    Some(Ok(whole))
}

fn arrival(frame: Result<Vec<u8>, Misbehaved>, of: fn(Vec<u8>) -> Arrival) -> Arrival {
    frame.map_or_else(Arrival::Broken, of)
}

impl Wire {
    /// The streams of a connection of a site that has a plot, or of an honest one.
    pub(super) fn of(plot: Option<Plot>, reads_all: bool) -> Self {
        Self { tamper: plot.map(Tamper::new), reads_all, ..Self::default() }
    }

    /// The next whole frame, if one has arrived. Ops wait until the session awaits them: their stream may overtake the control stream.
    pub(super) fn next(
        &mut self,
        quic: &mut Quic,
        talk: Talk,
        side: Side,
        awaits_ops: bool,
    ) -> Option<Arrival> {
        self.flush(quic, talk);
        if self.tamper.as_ref().is_some_and(Tamper::is_deaf) {
            return None;
        }
        if side == Side::Listener
            && self.control.is_none()
            && let Some(stream) = quic.accept(talk, Dir::Bi)
        {
            self.control = Some(Outward { stream, waiting: Vec::new() });
        }
        if let Some(control) = &self.control {
            quic.read(talk, control.stream, &mut self.control_in.held);
        }
        if let Some(frame) = next_frame(&mut self.control_in.held) {
            return Some(arrival(frame, Arrival::Control));
        }
        while let Some(stream) = quic.accept(talk, Dir::Uni) {
            self.inward.insert(stream, Inward::default());
        }
        for (stream, inward) in &mut self.inward {
            // What is not taken in stays with the sender, as at the node.
            if inward.held.len() < HELD_BYTES_MAX || self.reads_all {
                quic.read(talk, *stream, &mut inward.held);
            }
            if inward.kind.is_none() && !inward.held.is_empty() {
                inward.kind = Some(inward.held.remove(0));
            }
            match inward.kind {
                Some(OPS) if awaits_ops => {
                    if let Some(frame) = next_frame(&mut inward.held) {
                        return Some(arrival(frame, Arrival::Ops));
                    }
                }
                Some(PIECE) => {
                    while let Some(frame) = next_frame(&mut inward.held) {
                        let takes = |tamper: &Tamper| frame.as_ref().is_ok_and(|frame| tamper.takes(frame));
                        if !self.tamper.as_ref().is_some_and(takes) {
                            return Some(arrival(frame, Arrival::Piece));
                        }
                    }
                }
                Some(_) | None => {}
            }
        }
        None
    }

    /// The most bytes that wait to be sent on one lane.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.lanes.iter().map(|lane| lane.waiting.len()).max().unwrap_or(0)
    }

    /// The most bytes of one stream that wait to be taken in.
    pub(super) fn held_bytes(&self) -> usize {
        self.inward.values().map(|inward| inward.held.len()).max().unwrap_or(0)
    }

    fn flush(&mut self, quic: &mut Quic, talk: Talk) {
        if !self.early.is_empty()
            && let Some(stream) = quic.open(talk, Dir::Bi, CONTROL_PRIORITY)
        {
            self.control = Some(Outward { stream, waiting: std::mem::take(&mut self.early) });
        }
        for out in self.control.iter_mut().chain(&mut self.ops).chain(&mut self.lanes) {
            out.flush(quic, talk);
        }
    }

    /// Whether frames of an ended session are still to be sent.
    pub(super) fn has_more(&self, quic: &mut Quic, talk: Talk) -> bool {
        quic.stands(talk) && self.control.as_ref().is_some_and(|control| !control.waiting.is_empty())
    }

    pub(super) fn send_control(&mut self, quic: &mut Quic, talk: Talk, side: Side, frame: &[u8]) {
        match self.tamper.as_mut().map(|tamper| tamper.control(frame)) {
            None => self.put_control(quic, talk, side, frame),
            Some(outs) => self.put(quic, talk, side, outs),
        }
    }

    fn put_control(&mut self, quic: &mut Quic, talk: Talk, side: Side, frame: &[u8]) {
        let mut bytes = varint(frame.len());
        bytes.extend_from_slice(frame);
        self.put_raw(quic, talk, side, &bytes);
    }

    fn put_raw(&mut self, quic: &mut Quic, talk: Talk, side: Side, bytes: &[u8]) {
        match &mut self.control {
            Some(control) => {
                control.waiting.extend_from_slice(bytes);
                control.flush(quic, talk);
            }
            None if side == Side::Dialler => {
                self.early.extend_from_slice(bytes);
                self.flush(quic, talk);
            }
            None => {}
        }
    }

    /// Sends what a cheat says instead.
    fn put(&mut self, quic: &mut Quic, talk: Talk, side: Side, outs: Vec<Out>) {
        for out in outs {
            match out {
                Out::Control(frame) => self.put_control(quic, talk, side, &frame),
                Out::Raw(bytes) => self.put_raw(quic, talk, side, &bytes),
                Out::Ops(frame) => self.put_ops(quic, talk, &frame),
                Out::Piece(frame) => self.put_piece(quic, talk, 0, &frame),
            }
        }
    }

    pub(super) fn ops_have_room(&mut self, quic: &mut Quic, talk: Talk) -> bool {
        if let Some(ops) = &mut self.ops {
            ops.flush(quic, talk);
        }
        quic.stands(talk) && self.ops.as_ref().is_none_or(|ops| ops.waiting.is_empty())
    }

    pub(super) fn send_ops(&mut self, quic: &mut Quic, talk: Talk, frame: &[u8]) {
        match self.tamper.as_mut().map(|tamper| tamper.ops(frame)) {
            None => self.put_ops(quic, talk, frame),
            // The control stream stands by now, whoever opened it.
            Some(outs) => self.put(quic, talk, Side::Listener, outs),
        }
    }

    fn put_ops(&mut self, quic: &mut Quic, talk: Talk, frame: &[u8]) {
        if self.ops.is_none() {
            let stream = quic.open(talk, Dir::Uni, OPS_PRIORITY);
            self.ops = stream.map(|stream| Outward { stream, waiting: vec![OPS] });
        }
        if let Some(ops) = &mut self.ops {
            ops.send(quic, talk, frame);
        }
    }

    /// The first lane whose last frame is on its way; a new one while there are fewer than the most.
    pub(super) fn lane_with_room(&mut self, quic: &mut Quic, talk: Talk) -> Option<usize> {
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            lane.flush(quic, talk);
            if lane.waiting.is_empty() {
                return Some(at);
            }
        }
        let next = self.lanes.len();
        (next < usize::from(BULK_LANES) && quic.stands(talk)).then_some(next)
    }

    pub(super) fn send_piece(&mut self, quic: &mut Quic, talk: Talk, lane: usize, frame: &[u8]) {
        match self.tamper.as_mut().map(|tamper| tamper.piece(frame)) {
            None => self.put_piece(quic, talk, lane, frame),
            // The control stream stands by now, whoever opened it.
            Some(outs) => self.put(quic, talk, Side::Listener, outs),
        }
    }

    fn put_piece(&mut self, quic: &mut Quic, talk: Talk, lane: usize, frame: &[u8]) {
        if lane >= self.lanes.len() {
            let priority = -i32::try_from(lane).unwrap_or(0);
            let Some(stream) = quic.open(talk, Dir::Uni, priority) else { return };
            self.lanes.push(Outward { stream, waiting: vec![PIECE] });
        }
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.send(quic, talk, frame);
        }
    }
}
