//! The streams of a link's connection: control, ops and piece lanes, each read and written by a task of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use protocol::fault::Misbehaved;
use protocol::limits::{BULK_LANES, GOODBYE_MS_MAX, LANE_FRAMES_MAX};
use protocol::session::Side;
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::budget::Share;
use super::framing::{ReadFrameError, read_frame, write_frame, write_frame_paced};
use super::throttle::Throttle;

/// The first byte of a stream that carries ops.
pub(crate) const KIND_OPS: u8 = 0x01;
/// The first byte of a stream that carries pieces.
pub(crate) const KIND_PIECE: u8 = 0x02;

const PRIORITY_CONTROL: i32 = 2;
const PRIORITY_OPS: i32 = 1;

/// What a stream brought, for the thread that drives the session.
#[derive(Debug)]
pub(crate) enum Heard {
    Control(Bytes),
    Piece(Bytes),
    Broken(Misbehaved),
}

/// Where readers put what they read. When the last of these is gone, so is the connection.
#[derive(Debug, Clone)]
pub(crate) struct Ears {
    pub(crate) heard: mpsc::Sender<Heard>,
    /// Ops wait apart from the rest, because only the session knows when they have their place.
    pub(crate) ops: mpsc::Sender<Bytes>,
    /// How fast pieces are read: a peer that does not keep the pace it was told is held back by flow control.
    pub(crate) inward: Arc<Throttle>,
}

impl Ears {
    /// The driving thread ends when the session is over; what is read after that is for nobody.
    async fn broken(&self, fault: Misbehaved) {
        drop(self.heard.send(Heard::Broken(fault)).await);
    }
}

/// The streams a peer opened so far.
#[derive(Debug, Default)]
struct Opened {
    ops: AtomicU8,
    pieces: AtomicU8,
}

/// What the peer did wrong where a frame could not be read; none where the connection is gone.
fn fault_of(error: &ReadFrameError, connection: &Connection) -> Option<Misbehaved> {
    match error {
        ReadFrameError::Oversized { .. } => Some(Misbehaved::FrameTooLong),
        ReadFrameError::Truncated { .. } => Some(Misbehaved::FrameTruncated),
        // A stream that breaks while its connection lives was reset by the peer.
        ReadFrameError::Broken(_) => {
            connection.close_reason().is_none().then_some(Misbehaved::FrameTruncated)
        }
    }
}

/// Opens or awaits the control stream, hands its sending half over, and reads the other until it ends.
pub(crate) async fn hear_control(
    connection: Connection,
    side: Side,
    ears: Ears,
    sending: oneshot::Sender<SendStream>,
) {
    let opened = match side {
        Side::Dialler => connection.open_bi().await,
        Side::Listener => connection.accept_bi().await,
    };
    let Ok((send, mut stream)) = opened else { return };
    drop(sending.send(send));
    let extra = async {
        if connection.accept_bi().await.is_ok() {
            ears.broken(Misbehaved::FrameUnexpected).await;
        }
    };
    let reading = async {
        loop {
            match read_frame(&mut stream).await {
                Ok(Some(frame)) => {
                    if ears.heard.send(Heard::Control(frame)).await.is_err() {
                        return;
                    }
                }
                Ok(None) => {
                    let within = Duration::from_millis(GOODBYE_MS_MAX);
                    if timeout(within, connection.closed()).await.is_err() {
                        ears.broken(Misbehaved::Stalled).await;
                    }
                    return;
                }
                Err(error) => {
                    if let Some(fault) = fault_of(&error, &connection) {
                        ears.broken(fault).await;
                    }
                    return;
                }
            }
        }
    };
    tokio::join!(reading, extra);
}

/// Accepts the lanes a peer opens and reads each until the connection is gone.
pub(crate) async fn hear_lanes(connection: Connection, ears: Ears) {
    let opened = Arc::new(Opened::default());
    let mut lanes = JoinSet::new();
    while let Ok(stream) = connection.accept_uni().await {
        if lanes.len() > usize::from(BULK_LANES) {
            return ears.broken(Misbehaved::FrameUnexpected).await;
        }
        lanes.spawn(hear_lane(connection.clone(), stream, ears.clone(), Arc::clone(&opened)));
    }
    // What had arrived before the connection went is still read to its end.
    while lanes.join_next().await.is_some() {}
}

async fn hear_lane(connection: Connection, mut stream: RecvStream, ears: Ears, opened: Arc<Opened>) {
    let mut kind = [0; 1];
    if stream.read_exact(&mut kind).await.is_err() {
        if connection.close_reason().is_none() {
            ears.broken(Misbehaved::FrameTruncated).await;
        }
        return;
    }
    let [kind] = kind;
    let (count, most) = match kind {
        KIND_OPS => (&opened.ops, 1),
        KIND_PIECE => (&opened.pieces, BULK_LANES),
        _ => return ears.broken(Misbehaved::FrameUnknown).await,
    };
    // The number of accepted streams bounds the count, so it cannot wrap before it is refused.
    if count.fetch_add(1, Ordering::Relaxed) >= most {
        return ears.broken(Misbehaved::FrameUnexpected).await;
    }
    loop {
        let taken = match read_frame(&mut stream).await {
            Ok(Some(frame)) if kind == KIND_OPS => ears.ops.send(frame).await.is_ok(),
            Ok(Some(frame)) => {
                ears.inward.pass(frame.len()).await;
                ears.heard.send(Heard::Piece(frame)).await.is_ok()
            }
            Ok(None) => false,
            Err(error) => {
                if let Some(fault) = fault_of(&error, &connection) {
                    ears.broken(fault).await;
                }
                false
            }
        };
        if !taken {
            return;
        }
    }
}

/// Writes the control frames, then finishes the stream and waits until the peer has it all.
pub(crate) async fn speak_control(
    sending: oneshot::Receiver<SendStream>,
    mut frames: mpsc::UnboundedReceiver<Vec<u8>>,
    share: Arc<Share>,
) {
    let Ok(mut stream) = sending.await else { return };
    // Setting a priority or finishing fails only on a stream that the peer stopped, which the next write tells.
    drop(stream.set_priority(PRIORITY_CONTROL));
    while let Some(frame) = frames.recv().await {
        if write_frame(&mut stream, &frame).await.is_err() {
            return;
        }
        share.written(frame.len());
    }
    drop(stream.finish());
    drop(stream.stopped().await);
}

/// One outgoing lane, and whether there is room in it for another frame.
#[derive(Debug)]
pub(crate) struct Lane(mpsc::Sender<Vec<u8>>);

impl Lane {
    /// A lane whose stream is opened when the first frame comes. It notifies `room` for every frame it takes up.
    pub(crate) fn open(
        tasks: &mut JoinSet<()>,
        connection: &Connection,
        kind: u8,
        priority: i32,
        room: &Arc<Notify>,
        outward: &Arc<Throttle>,
    ) -> Self {
        let (sender, frames) = mpsc::channel(LANE_FRAMES_MAX);
        let (room, outward) = (Arc::clone(room), Arc::clone(outward));
        tasks.spawn(speak_lane(connection.clone(), kind, priority, frames, room, outward));
        Self(sender)
    }

    /// Whether it takes a frame.
    pub(crate) fn has_room(&self) -> bool {
        self.0.capacity() > 0 && !self.0.is_closed()
    }

    /// Gives it a frame, where it [has room](Self::has_room).
    pub(crate) fn fill(&self, frame: Vec<u8>) {
        // A writer that ended meanwhile has lost its connection, which is heard of from the readers.
        drop(self.0.try_send(frame));
    }

    /// The lanes of one connection: that of ops, and those of pieces in the order in which they are to be filled.
    ///
    /// Lanes have strictly falling priorities: where the link is slow, the first lane's extent is
    /// finished before the next one's is begun, so that a cut costs about one extent and not one a lane.
    pub(crate) fn all(
        tasks: &mut JoinSet<()>,
        connection: &Connection,
        room: &Arc<Notify>,
        outward: &Arc<Throttle>,
    ) -> (Self, Vec<Self>) {
        let ops = Self::open(tasks, connection, KIND_OPS, PRIORITY_OPS, room, outward);
        let pieces = (0..BULK_LANES)
            .map(|lane| Self::open(tasks, connection, KIND_PIECE, -i32::from(lane), room, outward))
            .collect();
        (ops, pieces)
    }
}

async fn speak_lane(
    connection: Connection,
    kind: u8,
    priority: i32,
    mut frames: mpsc::Receiver<Vec<u8>>,
    room: Arc<Notify>,
    outward: Arc<Throttle>,
) {
    let Some(mut frame) = frames.recv().await else { return };
    let Ok(mut stream) = connection.open_uni().await else { return };
    drop(stream.set_priority(priority));
    if stream.write_all(&[kind]).await.is_err() {
        return;
    }
    loop {
        room.notify_one();
        // Ops go before bytes: they never wait for their turn, and bytes make up for them.
        let written = if kind == KIND_OPS {
            outward.count(frame.len());
            write_frame(&mut stream, &frame).await
        } else {
            write_frame_paced(&mut stream, &frame, &outward).await
        };
        if written.is_err() {
            return;
        }
        match frames.recv().await {
            Some(next) => frame = next,
            None => return,
        }
    }
}
