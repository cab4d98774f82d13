//! Frames on a stream: a QUIC variable-length integer for the length, then that many bytes.

use std::io;

use super::throttle::{CHUNK_BYTES, Throttle};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use protocol::limits::FRAME_BYTES_MAX;
use quinn::VarInt;
use quinn_proto::coding::Codec;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

#[cfg(test)]
mod tests;

/// Bytes of the longest length.
const LENGTH_BYTES_LONGEST: usize = 8;

/// Why a frame could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadFrameError {
    /// The peer announced more than a frame may have. Nothing was allocated for it. Blames the peer.
    #[error("the peer announced a frame of {announced} bytes, the limit is {FRAME_BYTES_MAX}")]
    Oversized { announced: u64 },
    /// The peer finished the stream inside a frame. Blames the peer.
    #[error("the peer ended its stream inside a frame, {missing} bytes short")]
    Truncated { missing: usize },
    /// The connection or the stream broke. Blames the link.
    #[error("the stream broke inside a frame")]
    Broken(#[source] io::Error),
}

/// Why a frame could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteFrameError {
    /// The frame is larger than the peer may accept: a defect of this node.
    #[error("a frame of {bytes} bytes is over the limit of {FRAME_BYTES_MAX}")]
    Oversized { bytes: usize },
    /// The connection or the stream broke. Blames the link.
    #[error("the stream broke")]
    Broken(#[source] io::Error),
}

/// Reads the next frame; `None` when the peer finished the stream between two frames.
/// Not cancel-safe: a dropped call may have taken half a frame off the stream.
///
/// # Errors
/// [`ReadFrameError`]; the stream is of no use afterwards.
pub async fn read_frame<R: AsyncRead + Unpin>(stream: &mut R) -> Result<Option<Bytes>, ReadFrameError> {
    let Some(length) = read_length(stream).await? else { return Ok(None) };
    let oversized = ReadFrameError::Oversized { announced: length };
    let length = match usize::try_from(length) {
        Ok(length) if length <= FRAME_BYTES_MAX => length,
        Ok(_) | Err(_) => return Err(oversized),
    };
    let mut frame = BytesMut::with_capacity(length).limit(length);
    while frame.has_remaining_mut() {
        if stream.read_buf(&mut frame).await.map_err(ReadFrameError::Broken)? == 0 {
            return Err(ReadFrameError::Truncated { missing: frame.remaining_mut() });
        }
    }
    Ok(Some(frame.into_inner().freeze()))
}

async fn read_length<R: AsyncRead + Unpin>(stream: &mut R) -> Result<Option<u64>, ReadFrameError> {
    let mut head = [0; LENGTH_BYTES_LONGEST];
    let (first, rest) = head.split_at_mut(1);
    if stream.read(first).await.map_err(ReadFrameError::Broken)? == 0 {
        return Ok(None);
    }
    // The two high bits of the first byte say how many bytes the number has: 1, 2, 4 or 8.
    let more = first.first().map_or(0, |byte| (1_usize << (byte >> 6)) - 1);
    let mut rest = rest.get_mut(..more).unwrap_or_default();
    while rest.has_remaining_mut() {
        if stream.read_buf(&mut rest).await.map_err(ReadFrameError::Broken)? == 0 {
            return Err(ReadFrameError::Truncated { missing: rest.remaining_mut() });
        }
    }
    let mut head = Buf::take(head.as_slice(), more + 1);
    // All its bytes are there, so the only error left cannot occur; it would read as a cut.
    let length = VarInt::decode(&mut head).map_err(|_short| ReadFrameError::Truncated { missing: 1 })?;
    Ok(Some(length.into_inner()))
}

/// Writes one frame piece by piece, each when `throttle` lets it pass. Not cancel-safe: a dropped call may have written half a frame.
///
/// # Errors
/// [`WriteFrameError`]
pub(crate) async fn write_frame_paced<W: AsyncWrite + Unpin>(
    stream: &mut W,
    frame: &[u8],
    throttle: &Throttle,
) -> Result<(), WriteFrameError> {
    write_length(stream, frame).await?;
    for chunk in frame.chunks(CHUNK_BYTES) {
        throttle.pass(chunk.len()).await;
        stream.write_all(chunk).await.map_err(WriteFrameError::Broken)?;
    }
    Ok(())
}

/// Writes one frame. Not cancel-safe: a dropped call may have written half a frame.
///
/// # Errors
/// [`WriteFrameError`]
pub async fn write_frame<W: AsyncWrite + Unpin>(stream: &mut W, frame: &[u8]) -> Result<(), WriteFrameError> {
    write_length(stream, frame).await?;
    stream.write_all(frame).await.map_err(WriteFrameError::Broken)
}

async fn write_length<W: AsyncWrite + Unpin>(stream: &mut W, frame: &[u8]) -> Result<(), WriteFrameError> {
    let oversized = WriteFrameError::Oversized { bytes: frame.len() };
    let length = match u32::try_from(frame.len()) {
        Ok(length) if frame.len() <= FRAME_BYTES_MAX => VarInt::from_u32(length),
        Ok(_) | Err(_) => return Err(oversized),
    };
    let mut head = BytesMut::with_capacity(LENGTH_BYTES_LONGEST);
    length.encode(&mut head);
    stream.write_all(&head).await.map_err(WriteFrameError::Broken)
}
