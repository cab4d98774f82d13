//! What is heard from the other end of a link: its terms, what it holds, and what the two statements come to.

use std::collections::BTreeMap;

use protocol::fault::{Outcome, Reason};
use protocol::filter::Filter;
use protocol::frame::Allowed;
use protocol::id::{FeedId, LogId};
use protocol::link::{Link, LinkFeed};
use protocol::log::head_item_bytes;
use protocol::session::{Agreed, Stated, judged};
use protocol::summary::{self, Tree};
use protocol::switches::{Switches, Verdict};
use protocol::time::Timestamp;

use super::Node;
use crate::keeper::{SiteStore, wall_clock};
use crate::store::{PeerState, ReadError, RunFeed, RunRecord};

/// What two statements about a feed come to, in the dialler's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) asked: Switches,
    /// Nothing where the listener has no such feed for the dialler.
    pub(super) allowed: Option<Switches>,
    pub(super) asked_filter: Filter,
    pub(super) allowed_filter: Filter,
    pub(super) verdict: Verdict,
    pub(super) filter: Filter,
}

/// Judges one feed as the handshake would: from what this end is set to and what the other one last stated.
/// Nothing where the other end has said nothing of it yet.
pub(super) fn judge(link: &Link, on: &LinkFeed, peer: &PeerState, now: Timestamp) -> Option<Judgement> {
    let stated = peer.on(on.feed)?;
    let own = Allowed { switches: on.switches.flip(), filter: on.filter.clone() };
    let (allowed, asked, asked_filter) = if link.is_outgoing() {
        (stated.said.clone(), on.switches, on.filter.clone())
    } else {
        let allowed = match on.expires {
            Some(expires) if expires <= now => Err(Reason::GrantExpired),
            Some(_) | None => Ok(own),
        };
        let asked = stated.said.as_ref().map_or(Switches::OFF, |asks| asks.switches);
        let filter =
            stated.said.as_ref().map_or_else(|_reason| Filter::default(), |asks| asks.filter.clone());
        (allowed, asked, filter)
    };
    let (verdict, filter) = judged(&allowed, asked, &asked_filter);
    Some(Judgement {
        asked,
        allowed: allowed.as_ref().ok().map(|allowed| allowed.switches),
        asked_filter,
        allowed_filter: allowed.map_or_else(|_reason| Filter::default(), |allowed| allowed.filter),
        verdict,
        filter,
    })
}

/// Every feed's verdict: the standing session's, else what the last statements come to, else what the last refusal says of all.
pub(super) fn verdicts(
    link: &Link,
    agreed: Option<&Agreed>,
    peer: &PeerState,
    now: Timestamp,
) -> BTreeMap<FeedId, Verdict> {
    let one = |on: &LinkFeed| {
        let standing = agreed.and_then(|agreed| agreed.feeds.iter().find(|both| both.feed == on.feed));
        let verdict = match (standing, peer.refused) {
            (Some(both), _) => Some(both.verdict),
            (None, Some((reason, _))) if is_of_the_whole_link(reason) => Some(Verdict::Invalid(reason)),
            (None, refused) => judge(link, on, peer, now)
                .map(|judgement| judgement.verdict)
                .or_else(|| refused.map(|(reason, _)| Verdict::Invalid(reason))),
        };
        Some((on.feed, verdict?))
    };
    link.feeds.iter().filter_map(one).collect()
}

/// Whether a refusal is no matter of one feed's terms.
const fn is_of_the_whole_link(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::SameSite
            | Reason::SiteUnknown
            | Reason::VersionsApart
            | Reason::LinkPaused
            | Reason::GrantWithdrawn
            | Reason::LinkDuplicate
    )
}

/// The root of a feed's heads that may travel: equal at two sites that hold the same ops, local ones aside.
pub(super) fn heads_root(site: &SiteStore, feed: FeedId) -> Result<[u8; 32], ReadError> {
    let store = site.store();
    let Some(authority) = store.authority(feed)? else { return Ok([0; 32]) };
    let items = store.heads(feed)?.into_iter().map(|signed| signed.head);
    let items = items.filter(|head| head.len > 0 && authority.is_author(head.log.author));
    let mut items: Vec<_> =
        items.map(|head| Tree::Heads.item(&head_item_bytes(head.log, head.len, &head.root))).collect();
    items.sort_unstable();
    Ok(summary::root_of(items).0)
}

impl Node {
    /// The feeds of a run that begins.
    pub(super) fn run_feeds(&self, link: &Link) -> Vec<RunFeed> {
        let site = &self.inner.site;
        let one = |on: &LinkFeed| {
            let record = site.store().feed(on.feed).ok().flatten()?;
            let before = heads_root(site, on.feed).unwrap_or_default();
            Some(RunFeed { feed: on.feed, name: record.name, verdict: None, before, after: before })
        };
        link.feeds.iter().filter_map(one).collect()
    }

    /// Completes what a run's record says of its feeds.
    pub(super) fn run_feeds_ended(&self, link: &Link, record: &mut RunRecord) {
        let known = self.with_link(&link.name, |state| {
            verdicts(&state.link, state.agreed.as_ref(), &state.peer, wall_clock())
        });
        let known = known.unwrap_or_default();
        for on in &mut record.feeds {
            let refused = match record.outcome {
                Some(Outcome::Refused(reason)) => Some(Verdict::Invalid(reason)),
                Some(_) | None => None,
            };
            on.verdict = known.get(&on.feed).copied().or(refused);
            on.after = heads_root(&self.inner.site, on.feed).unwrap_or(on.before);
        }
    }

    /// The other end said what it asks or allows.
    pub(super) fn stated(&self, link: &str, stated: Vec<Stated>) {
        self.note_peer(link, |peer| {
            peer.stated = stated;
            peer.stated_at = Some(wall_clock());
        });
    }

    /// The other end has these logs up to these lengths. Kept with the end of the run.
    pub(super) fn peer_holds(&self, link: &str, holds: Vec<(LogId, u64)>) {
        self.with_link(link, |state| state.peer.holds = holds);
    }

    /// A session was refused.
    pub(super) fn refused(&self, link: &str, reason: Reason) {
        self.note_peer(link, |peer| peer.refused = Some((reason, wall_clock())));
        self.tell_verdicts(link);
    }

    /// A session came up.
    pub(super) fn agreed(&self, link: &str, agreed: Agreed) {
        self.with_link(link, |state| {
            state.link.peer_name.clone_from(&agreed.peer_name);
            state.agreed = Some(agreed);
        });
        self.note_peer(link, |peer| peer.refused = None);
        self.tell_verdicts(link);
    }

    /// Tells what may flow, once a change.
    fn tell_verdicts(&self, link: &str) {
        let changed = self.with_link(link, |state| {
            let now = verdicts(&state.link, state.agreed.as_ref(), &state.peer, wall_clock());
            let before = std::mem::replace(&mut state.told, now.clone());
            let change = |(feed, verdict)| (feed, before.get(&feed).copied(), verdict);
            now.into_iter().map(change).filter(|(_, before, now)| *before != Some(*now)).collect::<Vec<_>>()
        });
        for (feed, before, now) in changed.unwrap_or_default() {
            self.verdict_changed(link, feed, before, now);
        }
    }

    /// Takes the end of a run into what is known of the other end, and writes that down.
    pub(super) fn run_settled(&self, link: &str, record: &RunRecord) {
        let done = record.outcome == Some(Outcome::Done);
        self.note_peer(link, |peer| {
            if done && record.tally.blobs_missing == 0 {
                peer.in_as_of = Some(record.started);
            }
            if done && record.tally.blobs_missing_there == 0 {
                peer.out_as_of = Some(record.started);
            }
        });
    }

    /// Changes what is known of a link's other end. Failing to write it down costs no run.
    fn note_peer(&self, link: &str, change: impl FnOnce(&mut PeerState)) {
        let Some(state) = self.with_link(link, |state| {
            change(&mut state.peer);
            state.peer.clone()
        }) else {
            return;
        };
        if let Err(error) = self.inner.site.store().put_peer(link, &state) {
            tracing::warn!(%error, link, "what the other end said could not be kept");
        }
    }
}
