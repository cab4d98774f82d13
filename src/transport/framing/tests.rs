//! Tests of frames over in-memory streams; over real ones in the endpoint's tests.

use super::*;

async fn read(bytes: &[u8]) -> Result<Option<Bytes>, ReadFrameError> {
    let mut stream = bytes;
    read_frame(&mut stream).await
}

#[tokio::test]
async fn frames_of_every_length_form_read_back_in_order() {
    let frames = [0, 1, 63, 64, 16_383, 16_384, FRAME_BYTES_MAX].map(|length| vec![0x5a_u8; length]);
    let mut wire = Vec::new();
    for frame in &frames {
        write_frame(&mut wire, frame).await.unwrap();
    }
    let mut stream = wire.as_slice();
    for frame in &frames {
        assert_eq!(read_frame(&mut stream).await.unwrap().unwrap(), frame.as_slice());
    }
    assert!(read_frame(&mut stream).await.unwrap().is_none());
}

#[tokio::test]
async fn one_byte_over_the_limit_is_refused_before_its_bytes_are_awaited() {
    let mut wire = BytesMut::new();
    VarInt::try_from(FRAME_BYTES_MAX as u64 + 1).unwrap().encode(&mut wire);
    let announced = FRAME_BYTES_MAX as u64 + 1;
    assert!(
        matches!(read(&wire).await, Err(ReadFrameError::Oversized { announced: found }) if found == announced)
    );
    assert!(matches!(read(&[0xff; 8]).await, Err(ReadFrameError::Oversized { .. })));
    let long = vec![0; FRAME_BYTES_MAX + 1];
    assert!(matches!(write_frame(&mut Vec::new(), &long).await, Err(WriteFrameError::Oversized { .. })));
}

#[tokio::test]
async fn a_stream_cut_at_any_byte_of_a_frame_is_truncated() {
    let mut wire = Vec::new();
    write_frame(&mut wire, &[7; 100]).await.unwrap();
    for cut in 1..wire.len() {
        assert!(matches!(read(&wire[..cut]).await, Err(ReadFrameError::Truncated { .. })), "cut at {cut}");
    }
    assert!(matches!(read(&wire[..wire.len() - 3]).await, Err(ReadFrameError::Truncated { missing: 3 })));
    assert!(read(&[]).await.unwrap().is_none());
}
