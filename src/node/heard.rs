//! What is heard from the other end of a link: its terms, what it holds, and what the two statements come to.

use std::collections::BTreeMap;

use protocol::fault::{Outcome, Reason};
use protocol::filter::Filter;
use protocol::frame::Allowed;
use protocol::id::{FeedId, LogId};
use protocol::link::{Link, LinkFeed};
use protocol::session::{Agreed, Stated, judged, travelling_root};
use protocol::switches::{Switches, Verdict};
use protocol::time::Timestamp;

use super::Node;
use super::carried::parked_by_quota;
use super::sessions::Watch;
use crate::keeper::wall_clock;
use crate::store::{PeerState, RunFeed, RunRecord};

/// The roots of feeds' heads at one moment.
pub(super) type Roots = Vec<(FeedId, [u8; 32])>;

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
            | Reason::OutsideWindow
            | Reason::GrantWithdrawn
    )
}

/// The verdicts that are not what was told before, each behind that. Asked again without a change there are none.
fn changed(
    told: &mut BTreeMap<FeedId, Verdict>,
    now: BTreeMap<FeedId, Verdict>,
) -> Vec<(FeedId, Option<Verdict>, Verdict)> {
    let before = std::mem::replace(told, now.clone());
    let change = |(feed, verdict)| (feed, before.get(&feed).copied(), verdict);
    now.into_iter().map(change).filter(|(_, before, now)| *before != Some(*now)).collect()
}

impl Node {
    /// The feeds of a run that begins.
    pub(super) fn run_feeds(&self, link: &Link, roots: &Roots) -> Vec<RunFeed> {
        let site = &self.inner.site;
        let root = |feed: FeedId| match roots.iter().find(|(of, _)| *of == feed) {
            Some((_, root)) => *root,
            None => travelling_root(feed, &site.store().view(site.look())).unwrap_or_default(),
        };
        let one = |on: &LinkFeed| {
            let record = site.store().feed(on.feed).ok().flatten()?;
            let before = root(on.feed);
            Some(RunFeed { feed: on.feed, name: record.name, verdict: None, before, after: before })
        };
        link.feeds.iter().filter_map(one).collect()
    }

    /// Completes what a run's record says of its feeds.
    pub(super) fn run_feeds_ended(&self, link: &Link, roots: &Roots, record: &mut RunRecord) {
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
            on.after = roots.iter().find(|(of, _)| *of == on.feed).map_or(on.before, |(_, root)| *root);
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
        let known = agreed.feeds.iter().filter(|on| on.verdict != Verdict::Invalid(Reason::FeedUnknown));
        let on_both: Vec<FeedId> = known.map(|on| on.feed).collect();
        self.with_link(link, |state| {
            state.link.peer_name.clone_from(&agreed.peer_name);
            state.agreed = Some(agreed);
            if let Some(commands) = &state.commands {
                state.questions.ask(commands);
            }
        });
        self.note_peer(link, |peer| {
            peer.refused = None;
            peer.untaken_there.retain(|(feed, _)| !on_both.contains(feed));
        });
        self.tell_verdicts(link);
        // Nobody waiting is no failure.
        self.with_link(link, |state| drop(state.watch.send(Watch::Up)));
    }

    /// Tells what may flow, once a change.
    fn tell_verdicts(&self, link: &str) {
        let changed = self.with_link(link, |state| {
            let now = verdicts(&state.link, state.agreed.as_ref(), &state.peer, wall_clock());
            changed(&mut state.told, now)
        });
        for (feed, before, now) in changed.unwrap_or_default() {
            self.verdict_changed(link, feed, before, now);
        }
    }

    /// Takes the end of a run into what is known of the other end, and writes that down.
    pub(super) fn run_settled(&self, link: &str, record: &RunRecord) {
        let done = record.outcome == Some(Outcome::Done);
        let twin = self.twin(link).map(|twin| twin.name);
        let parked = self.known_link(link).ok().map(|link| parked_by_quota(&self.inner.site, &link));
        let all_came = record.tally.blobs_missing == 0 && matches!(parked, None | Some(Ok(0)));
        for name in [Some(link.to_owned()), twin].into_iter().flatten() {
            self.note_peer(&name, |peer| {
                if done && all_came {
                    peer.in_as_of = Some(record.started);
                }
                if done && record.tally.blobs_missing_there == 0 {
                    peer.out_as_of = Some(record.started);
                }
            });
        }
    }

    /// Changes what is known of a link's other end. Failing to write it down costs no run.
    pub(super) fn note_peer(&self, link: &str, change: impl FnOnce(&mut PeerState)) {
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

#[cfg(test)]
mod tests {
    use protocol::id::SiteId;
    use protocol::link::Dial;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    fn link(dial: Dial, switches: Switches, expires: Option<Timestamp>) -> Link {
        let on = LinkFeed { feed: FeedId([1; 32]), switches, filter: Filter::default(), expires };
        Link::new("tokyo".to_owned(), SiteId([2; 32]), "Tokyo".to_owned(), dial, vec![on])
    }

    fn said(switches: Switches) -> PeerState {
        let said = Ok(Allowed { switches, filter: Filter::default() });
        PeerState { stated: vec![Stated { feed: FeedId([1; 32]), said }], ..PeerState::default() }
    }

    fn verdict(link: &Link, peer: &PeerState) -> Option<Verdict> {
        verdicts(link, None, peer, NOW).remove(&FeedId([1; 32]))
    }

    #[test]
    fn both_ends_judge_alike_from_what_the_other_stated() {
        let dials = || Dial::Outgoing { addresses: Vec::new() };
        let here = link(dials(), Switches::MIRROR, None);
        let there = link(Dial::Incoming, Switches::PULL.flip(), None);
        let warning = Some(Verdict::Warning { effective: Switches::PULL });
        assert_eq!(verdict(&here, &said(Switches::PULL)), warning);
        assert_eq!(verdict(&there, &said(Switches::MIRROR)), warning);
        assert_eq!(verdict(&here, &PeerState::default()), None, "nothing was said yet");
        let over = link(Dial::Incoming, Switches::PULL.flip(), Some(NOW));
        assert_eq!(verdict(&over, &said(Switches::PULL)), Some(Verdict::Invalid(Reason::GrantExpired)));
    }

    #[test]
    fn a_refusal_of_the_whole_link_goes_before_what_was_stated() {
        let here = link(Dial::Outgoing { addresses: Vec::new() }, Switches::PULL, None);
        let mut peer = said(Switches::PULL);
        for reason in [Reason::LinkPaused, Reason::VersionsApart, Reason::GrantWithdrawn] {
            peer.refused = Some((reason, NOW));
            assert_eq!(verdict(&here, &peer), Some(Verdict::Invalid(reason)));
        }
        peer.refused = Some((Reason::NothingAllowed, NOW));
        assert_eq!(verdict(&here, &peer), Some(Verdict::Valid { effective: Switches::PULL }), "of one feed");
    }

    #[test]
    fn a_verdict_is_told_once_a_change() {
        let (one, warning) = (FeedId([1; 32]), Verdict::Warning { effective: Switches::PULL });
        let mut told = BTreeMap::new();
        let now = BTreeMap::from([(one, warning)]);
        assert_eq!(changed(&mut told, now.clone()), [(one, None, warning)]);
        assert_eq!(changed(&mut told, now.clone()), []);
        let invalid = Verdict::Invalid(Reason::NothingAllowed);
        assert_eq!(changed(&mut told, BTreeMap::from([(one, invalid)])), [(one, Some(warning), invalid)]);
        assert_eq!(changed(&mut told, now), [(one, Some(invalid), warning)]);
    }
}
