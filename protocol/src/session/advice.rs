//! Frames that have their place at any time once the link is up: the pace a peer takes, what it knows of links, which bytes it holds.

use super::signals::{Output, Side};
use super::stop::Stop;
use super::view::View;
use super::{AgreedFeed, Session};
use crate::fault::Misbehaved;
use crate::frame::Frame;
use crate::id::BlobId;
use crate::limits::{KEPT_READ_BYTES_MAX, LINK_NOTES_MAX, WANTED_ITEMS_MAX};
use crate::topology::LinkNote;

impl Session {
    /// Asks the dialler to run, where this site is the listener. `asked`: somebody waits for it; else there is news.
    pub fn nudge(&mut self, asked: bool) {
        if self.config.side == Side::Listener {
            self.advise(&Frame::Nudge { asked });
        }
    }

    /// Tells the peer how many bytes a second this site takes of it.
    pub fn pace(&mut self, bytes_per_s: Option<u64>) {
        self.advise(&Frame::Pace { bytes_per_s });
    }

    /// Tells the peer what this site knows of links that carry the session's feeds. Others are left out.
    pub fn tell_links(&mut self, mut notes: Vec<LinkNote>) {
        let feeds = self.feeds();
        notes.retain(|note| feeds.iter().any(|on| on.feed == note.feed));
        notes.truncate(LINK_NOTES_MAX);
        if !notes.is_empty() {
            self.advise(&Frame::Links(notes));
        }
    }

    /// Asks which of these blobs the peer holds whole. What it answers is given out as [`Output::Held`].
    pub fn ask_held(&mut self, mut blobs: Vec<BlobId>) {
        blobs.truncate(WANTED_ITEMS_MAX);
        self.held_asked = self.held_asked.saturating_add(1);
        self.advise(&Frame::WhichHeld(blobs));
    }

    pub(super) fn advise(&mut self, frame: &Frame) {
        if self.agreed().is_some() {
            self.outputs.push_back(Output::Send(frame.encode()));
        }
    }

    /// Takes advice in. None of it changes what may flow.
    pub(super) fn advised(&mut self, frame: Frame, view: &dyn View) -> Result<(), Stop> {
        let feeds = self.feeds();
        match frame {
            Frame::Pace { bytes_per_s } => self.outputs.push_back(Output::Pace(bytes_per_s)),
            Frame::Links(notes) => {
                if notes.iter().any(|note| !feeds.iter().any(|on| on.feed == note.feed)) {
                    return Err(Misbehaved::FeedNotAgreed.into());
                }
                self.outputs.push_back(Output::Links(notes));
            }
            Frame::WhichHeld(blobs) => {
                let (mut held, mut read_bytes) = (Vec::new(), 0_u64);
                for blob in blobs {
                    // What is not said to be held nobody lets go of.
                    if read_bytes >= KEPT_READ_BYTES_MAX {
                        break;
                    }
                    if let Some(size) = keeps(&feeds, blob, view)? {
                        read_bytes = read_bytes.saturating_add(size);
                        held.push(blob);
                    }
                }
                self.outputs.push_back(Output::Send(Frame::Held(held).encode()));
            }
            Frame::Held(blobs) => {
                self.held_asked = self.held_asked.checked_sub(1).ok_or(Misbehaved::FrameUnexpected)?;
                self.outputs.push_back(Output::Held(blobs));
            }
            Frame::Hello(_)
            | Frame::Welcome(_)
            | Frame::Refuse(_)
            | Frame::Poll(_)
            | Frame::Polled(_)
            | Frame::Supply(_)
            | Frame::Questions(_)
            | Frame::Answers(_)
            | Frame::HeadsOf(_)
            | Frame::Heads(_)
            | Frame::WantOps(_)
            | Frame::Applied(_)
            | Frame::Want(_)
            | Frame::NotHave(_)
            | Frame::Finished { .. }
            | Frame::Offer(_)
            | Frame::Taken(_)
            | Frame::WantRights(_)
            | Frame::Rights(_)
            | Frame::Forks(_)
            | Frame::Nudge { .. } => return Err(Misbehaved::FrameUnexpected.into()),
        }
        Ok(())
    }
}

/// The size of a blob that was read here, stays, and that the peer can have: an op of a feed that flows to it names it. Who lets bytes go relies on
/// that.
fn keeps(feeds: &[AgreedFeed], blob: BlobId, view: &dyn View) -> Result<Option<u64>, Stop> {
    for on in feeds.iter().filter(|on| on.effective.out_add) {
        if view.carries(on.feed, blob, &on.filter, on.pushes)? {
            return Ok(view.keeps(blob)?);
        }
    }
    Ok(None)
}
