//! What sites tell each other of their links: kept in memory, passed on where it is new, and never relied on by any rule.

use std::collections::{BTreeMap, BTreeSet};

use protocol::id::{FeedId, SiteId};
use protocol::limits::{LINK_NOTES_MAX, NOTES_PER_TELLER_MAX, STAMP_AHEAD_MS_MAX};
use protocol::link::Link;
use protocol::session::Agreed;
use protocol::switches::Switches;
use protocol::time::Timestamp;
use protocol::topology::LinkNote;

use super::sessions::{LinkState, tell};
use super::{Node, locked};
use crate::keeper::wall_clock;
use crate::transport::pump::Command;

/// The newest note of each teller about each of its links and feeds.
pub(super) type Notes = BTreeMap<(FeedId, SiteId, SiteId), LinkNote>;

impl Node {
    /// A link came up: notes what flows over it, and tells the other end what is known.
    pub(super) async fn note_link(&self, link: &Link, agreed: &Agreed) {
        let names = self.blocking(|site| Ok(site.store().feeds()?)).await.unwrap_or_default();
        let now = wall_clock();
        self.take_back_notes(link.peer, |feed| agreed.feeds.iter().any(|on| on.feed == feed));
        {
            let mut notes = locked(&self.inner.notes);
            for on in &agreed.feeds {
                let named = names.iter().find(|(feed, _)| *feed == on.feed);
                let note = LinkNote {
                    teller: self.me(),
                    teller_name: self.inner.name.clone(),
                    peer: link.peer,
                    peer_name: agreed.peer_name.clone(),
                    feed: on.feed,
                    feed_name: named.map_or_else(String::new, |(_, record)| record.name.clone()),
                    effective: on.effective,
                    told: now,
                };
                notes.insert((on.feed, self.me(), link.peer), note);
            }
        }
        self.tell_notes(|name| name == link.name);
    }

    /// The other end of a link told what it knows. What is new is passed on over the other links.
    pub(super) fn noted(&self, over: &str, told: Vec<LinkNote>) {
        let now = wall_clock();
        let mut fresh = false;
        let (of_us, told): (Vec<_>, Vec<_>) = told.into_iter().partition(|note| note.teller == self.me());
        let corrected = self.correct_notes(&of_us);
        {
            let mut notes = locked(&self.inner.notes);
            let ours = self.me();
            let teller_of = |notes: &Notes, teller| notes.keys().filter(|(_, of, _)| *of == teller).count();
            for note in told
                .into_iter()
                .filter(|note| note.holds(now) && note.told.0 <= now.0.saturating_add(STAMP_AHEAD_MS_MAX))
            {
                let key = (note.feed, note.teller, note.peer);
                match notes.get(&key) {
                    Some(held) if held.told >= note.told => continue,
                    Some(held) => fresh = fresh || note.is_news_after(held),
                    // Neither one teller nor all together crowd others out.
                    None if teller_of(&notes, note.teller) >= NOTES_PER_TELLER_MAX => continue,
                    None if notes.len() >= LINK_NOTES_MAX => {
                        let foreign = notes.iter().filter(|((_, teller, _), _)| *teller != ours);
                        let oldest = foreign.min_by_key(|(_, note)| note.told).map(|(key, _)| *key);
                        let Some(oldest) = oldest else { continue };
                        notes.remove(&oldest);
                        fresh = true;
                    }
                    None => fresh = true,
                }
                notes.insert(key, note);
            }
        }
        if fresh || corrected {
            self.tell_notes(|name| corrected || name != over);
        }
    }

    /// What others still believe of links that this site does not have, perhaps from before a restart, is taken back.
    fn correct_notes(&self, of_us: &[LinkNote]) -> bool {
        let mut corrected = false;
        for note in of_us.iter().filter(|note| note.effective != Switches::OFF) {
            let linked =
                |state: &LinkState| state.link.peer == note.peer && state.link.on(note.feed).is_some();
            if locked(&self.inner.links).values().any(linked) {
                continue;
            }
            let told = Timestamp(note.told.0.saturating_add(1)).max(wall_clock());
            let key = (note.feed, note.teller, note.peer);
            locked(&self.inner.notes)
                .insert(key, LinkNote { effective: Switches::OFF, told, ..note.clone() });
            corrected = true;
        }
        corrected
    }

    /// What this site told of its link with another is over, of all feeds but those that `still` keeps. Gives whether anything was.
    fn take_back_notes(&self, peer: SiteId, still: impl Fn(FeedId) -> bool) -> bool {
        let (me, mut any) = (self.me(), false);
        for ((feed, teller, to), note) in locked(&self.inner.notes).iter_mut() {
            if *teller == me && *to == peer && !still(*feed) && note.effective != Switches::OFF {
                note.effective = Switches::OFF;
                note.told = Timestamp(note.told.0.saturating_add(1)).max(wall_clock());
                any = true;
            }
        }
        any
    }

    /// Notes that nobody has stood by for long are forgotten, and this site stands by those of its links that are up.
    pub(super) fn renew_notes(&self, now: Timestamp) {
        let up: BTreeSet<SiteId> = locked(&self.inner.links)
            .values()
            .filter(|state| state.agreed.is_some())
            .map(|state| state.link.peer)
            .collect();
        let mut renewed = false;
        let me = self.me();
        locked(&self.inner.notes).retain(|(_, teller, peer), note| {
            let again = LinkNote { told: now, ..note.clone() };
            if *teller == me && up.contains(peer) && again.is_news_after(note) {
                *note = again;
                renewed = true;
            }
            note.holds(now)
        });
        if renewed {
            self.tell_notes(|_| true);
        }
    }

    fn tell_notes(&self, to: impl Fn(&str) -> bool) {
        let notes: Vec<LinkNote> = locked(&self.inner.notes).values().cloned().collect();
        for (name, state) in locked(&self.inner.links).iter() {
            if to(name)
                && let Some(commands) = &state.commands
            {
                tell(commands, Command::TellLinks(notes.clone()));
            }
        }
    }

    /// A link is over: what this site told of it is taken back at all that heard of it.
    pub(super) fn forget_notes(&self, link: &Link) {
        if self.take_back_notes(link.peer, |_| false) {
            self.tell_notes(|name| name != link.name);
        }
    }
}
