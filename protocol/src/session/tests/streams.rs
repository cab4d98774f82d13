//! What several streams and a slow link do to the frames of a session: overtaking, coming late, coming slowly.

use super::*;
use crate::limits::LOGS_PER_FRAME_MAX;

/// The receiver gives the blob up at the first refusal; what was on the way by then is nobody's fault.
#[test]
fn a_large_blob_with_holes_at_the_sender_leaves_the_run_incomplete_and_the_rest_arrives() {
    let (mut ny, mut la) = (Site::new(1), Site::new(2));
    let holed = ny.publish("holed", &vec![7; EXTENT_BYTES * 40]);
    ny.publish("whole", &vec![8; EXTENT_BYTES * 40]);
    let holes = [3, 5, 30].map(|index| (index, ny.extents.remove(&(holed, index)).unwrap()));
    let mut wire = connect(&la, &ny, Switches::PULL, Switches::MIRROR);
    let (outcome, tally) = wire.sync(&mut la, &mut ny);
    assert_eq!((outcome, tally.blobs_in, tally.blobs_missing), (Outcome::Interrupted, 1, 1));
    assert!(!wire.dialler.is_closed() && !wire.listener.is_closed());
    ny.extents.extend(holes.map(|(index, bytes)| ((holed, index), bytes)));
    let (outcome, tally) = wire.sync(&mut la, &mut ny);
    assert_eq!((outcome, tally.blobs_in), (Outcome::Done, 1));
}

#[test]
fn a_refusal_of_bytes_that_comes_after_the_run_changes_nothing() {
    let (mut ny, mut la) = (Site::new(1), Site::new(2));
    ny.publish("a", b"a");
    let mut wire = connect(&la, &ny, Switches::PULL, Switches::MIRROR);
    wire.sync(&mut la, &mut ny);
    let late = Frame::NotHave(vec![crate::transfer::Ask::Small { blob: BlobId([9; 32]) }]).encode();
    wire.dialler.handle(Instant(2), WALL, Input::Control(&late), &la);
    assert!(!wire.dialler.is_closed());
    assert_eq!(wire.sync(&mut la, &mut ny).0, Outcome::Done);
}

/// Lanes run side by side: the second part of an outline of over 4 GiB may be here first.
#[test]
fn the_parts_of_a_long_outline_may_come_in_any_order() {
    let (mut ny, mut la) = (Site::new(1), Site::new(2));
    let size = 40_000 * EXTENT_BYTES as u64;
    let extents = (0..40_000_u32).map(|n| crate::outline::Cv(*blake3::hash(&n.to_le_bytes()).as_bytes()));
    let outline = Outline::build(size, extents.collect()).unwrap();
    ny.outlines.insert(outline.blob, outline.clone());
    let file = File { name: "file".to_owned(), blob: outline.blob, size, sha256: [0; 32] };
    let coordinate = Coordinate::new(FeedKind::Raw, "huge", "1").unwrap();
    let manifest = Manifest::of(vec![file]).unwrap();
    ny.say(Body::Publish(Publish { coordinate, manifest, supersedes: vec![], provenance: None }));
    let mut wire = connect(&la, &ny, Switches::PULL, Switches::MIRROR);
    wire.pieces_left = 0;
    wire.settle(&mut la, &mut ny);
    wire.dialler.run(Instant(1), &la);
    wire.settle(&mut la, &mut ny);
    let parts: Vec<_> = (0..3).map(|_| wire.listener.poll_piece(Instant(1), &ny).unwrap()).collect();
    for part in parts.iter().rev() {
        assert!(la.outlines.is_empty());
        wire.dialler.handle(Instant(2), WALL, Input::Piece(part), &la);
        drain(&mut wire.dialler, &mut la);
    }
    assert_eq!(la.outlines.get(&outline.blob), Some(&outline));
}

#[test]
fn a_run_that_moves_slowly_is_not_given_up() {
    let (mut ny, mut la) = (Site::new(1), Site::new(2));
    let mut wire = connect(&la, &ny, Switches::PULL, Switches::MIRROR);
    wire.settle(&mut la, &mut ny);
    wire.dialler.run(Instant(1), &la);
    let due = wire.dialler.wake_at().unwrap();
    wire.dialler.moved(due);
    wire.dialler.handle(due, WALL, Input::Tick, &la);
    assert!(wire.dialler.is_running());
    let due = wire.dialler.wake_at().unwrap();
    wire.dialler.handle(due, WALL, Input::Tick, &la);
    assert!(wire.dialler.is_closed());
}

/// [P-47] A dry poll is answered as a run would begin, and begins none at either end.
#[test]
fn a_forecast_begins_no_run_and_a_run_asked_for_meanwhile_follows_it() {
    let (mut ny, mut la) = (Site::new(1), Site::new(2));
    ny.publish("a", b"a");
    let mut wire = connect(&la, &ny, Switches::PULL, Switches::MIRROR);
    wire.settle(&mut la, &mut ny);
    wire.dialler.forecast(&la);
    wire.dialler.run(Instant(1), &la);
    let asked = drain(&mut wire.dialler, &mut la);
    assert_eq!(asked.len(), 1, "the run waits for the answer");
    wire.listener.handle(Instant(1), WALL, Input::Control(&asked[0]), &ny);
    assert!(!wire.listener.is_running());
    let answer = drain(&mut wire.listener, &mut ny);
    assert!(wire.listener.poll_ops(&ny).is_none(), "no op is on its way");
    wire.dialler.handle(Instant(1), WALL, Input::Control(&answer[0]), &la);
    let mut foreseen = None;
    let mut frames = Vec::new();
    while let Some(output) = wire.dialler.poll() {
        if let Output::Forecast(forecast) = output {
            foreseen = Some(forecast);
        } else if let Output::Send(frame) = output {
            frames.push(frame);
        }
    }
    let one = BTreeMap::from([(genesis().feed_id(), 1)]);
    assert_eq!(foreseen, Some(Forecast { come: Some(one), go: Some([].into()) }));
    assert!(wire.dialler.is_running(), "the run that was asked for meanwhile");
    wire.listener.handle(Instant(1), WALL, Input::Control(&frames[0]), &ny);
    wire.settle(&mut la, &mut ny);
    assert_eq!(la.logs(genesis().feed_id()).unwrap().len(), 1);
}

/// A site that asks for a large blob, and the blob.
fn asks_for_an_outline() -> (Site, Wire, BlobId) {
    let (mut ny, mut la) = (Site::new(1), Site::new(2));
    let blob = ny.publish("large", &vec![7; EXTENT_BYTES * 9]);
    let mut wire = connect(&la, &ny, Switches::PULL, Switches::MIRROR);
    wire.pieces_left = 0;
    wire.settle(&mut la, &mut ny);
    wire.dialler.run(Instant(1), &la);
    wire.settle(&mut la, &mut ny);
    (la, wire, blob)
}

#[test]
fn an_outline_larger_than_there_can_be_or_in_crumbs_is_refused() {
    let whole = u64::try_from(EXTENT_BYTES).unwrap();
    for (size, extents) in
        [(u64::MAX, 16_384), (crate::limits::BLOB_BYTES_MAX + 1, 16_384), (whole * 40_000, 3)]
    {
        let (mut la, mut wire, blob) = asks_for_an_outline();
        let extents = vec![crate::outline::Cv([9; 32]); extents];
        let piece = Piece::Outline { blob, size, first: 0, extents }.encode();
        wire.dialler.handle(Instant(2), WALL, Input::Piece(&piece), &la);
        drain(&mut wire.dialler, &mut la);
        assert_eq!(la.closed, [Outcome::Misbehaved(Misbehaved::BytesWrong)], "{size}");
    }
}

/// Each is fetched from elsewhere once it is told, if it can be.
#[test]
fn what_a_peer_asks_for_over_and_over_and_is_not_here_is_told_of_once_a_run() {
    let (mut ny, mut la) = (Site::new(1), Site::new(2));
    let lost: Vec<BlobId> = (0..5_u8).map(|n| ny.publish(&format!("p{n}"), &[n, 1, 2])).collect();
    ny.blobs.clear();
    let mut wire = connect(&la, &ny, Switches::PULL, Switches::MIRROR);
    wire.settle(&mut la, &mut ny);
    wire.dialler.run(Instant(1), &la);
    for frame in drain(&mut wire.dialler, &mut la) {
        wire.listener.handle(Instant(1), WALL, Input::Control(&frame), &ny);
    }
    drain(&mut wire.listener, &mut ny);
    for _ in 0..100 {
        let asks = lost.iter().map(|blob| crate::transfer::Ask::Small { blob: *blob }).collect();
        wire.listener.handle(Instant(2), WALL, Input::Control(&Frame::Want(asks).encode()), &ny);
        assert_eq!(wire.listener.poll_piece(Instant(2), &ny), None);
        drain(&mut wire.listener, &mut ny);
    }
    assert_eq!(ny.notes.iter().filter(|event| matches!(event, Event::Lacks { .. })).count(), lost.len());
}

/// Many logs: of many sites, or of one that opens epochs without end.
#[test]
fn a_site_that_knows_nothing_of_more_logs_than_a_frame_can_tell_of_gets_them_all() {
    let (mut ny, mut la) = (Site::new(1), Site::new(2));
    let body =
        || Body::SetRef(crate::op::SetRef { package: "a".to_owned(), name: "b".to_owned(), target: None });
    let logs = 2 * LOGS_PER_FRAME_MAX as u64;
    for epoch in 1..=logs {
        ny.epoch = epoch;
        ny.say(body());
    }
    let mut wire = connect(&la, &ny, Switches::PULL, Switches::MIRROR);
    wire.settle(&mut la, &mut ny);
    let (outcome, tally) = wire.sync(&mut la, &mut ny);
    assert_eq!((outcome, tally.ops_in), (Outcome::Done, logs));
    assert_eq!(la.runs.len(), ny.runs.len());
    let (outcome, tally) = wire.sync(&mut la, &mut ny);
    assert_eq!((outcome, tally.round_trips), (Outcome::Done, 1), "then there is nothing left to ask");
}
