//! What would come of a link, or of a ticket, before anything is saved.

use std::collections::BTreeMap;

use protocol::fault::Reason;
use protocol::filter::Filter;
use protocol::frame::Allowed;
use protocol::id::FeedId;
use protocol::link::{Link, LinkFeed};
use protocol::session::judged;
use protocol::switches::{Switches, Verdict};
use protocol::ticket::Offer;

use super::heard::{Judgement, judge};
use super::overview::{switch_list, verdict_word};
use super::pairing::parsed;
use super::problem::usage;
use super::{Node, link_name, locked};
use crate::api::plan::{Plan, PlanFeed, TicketPlan};
use crate::api::{self, Problem};
use crate::keeper::wall_clock;
use crate::store::PeerState;

/// Who stands at the two ends of a link, by the names people know.
struct Ends<'a> {
    dialler: &'a str,
    listener: &'a str,
}

impl Node {
    /// What a link comes to by what the other end last stated, or would with another mode.
    ///
    /// # Errors
    /// There is no such link, the mode is none, or the disk fails.
    pub async fn plan(&self, name: &str, mode: Option<String>) -> Result<Plan, Problem> {
        let mut link = self.known_link(name)?;
        if let Some(mode) = mode {
            let stated: Switches = mode.parse().map_err(|error| usage(format!("{error}")))?;
            let switches = if link.is_outgoing() { stated } else { stated.flip() };
            for on in &mut link.feeds {
                on.switches = switches;
            }
        }
        let peer = self.with_link(name, |state| state.peer.clone()).unwrap_or_default();
        let me = self.inner.name.clone();
        self.blocking(move |site| {
            let mut feeds = Vec::new();
            for on in &link.feeds {
                let Some(record) = site.store().feed(on.feed)? else { continue };
                feeds.push(planned(&me, &link, on, &peer, &record.name, record.genesis.kind.to_string()));
            }
            let sound = feeds.iter().all(|on| on.verdict.as_deref() == Some("valid"));
            let mut notes = link_notes(&link, &peer);
            notes.extend(super::merge::waiting(site, &link.name)?);
            Ok(Plan {
                peer: link.peer.to_string(),
                stated_ms: peer.stated_at.map(|at| at.0),
                notes,
                link: link.name,
                peer_name: link.peer_name,
                feeds,
                sound,
            })
        })
        .await
    }

    /// What accepting a ticket would come to. Nothing is sent and nothing is saved; the ticket stays unused.
    ///
    /// # Errors
    /// The text is no ticket, the mode is none, or the disk fails.
    pub async fn plan_ticket(&self, request: TicketPlan) -> Result<Plan, Problem> {
        let ticket = parsed(&request.ticket)?;
        let mode = request.mode.as_deref().map(str::parse::<Switches>).transpose();
        let mode = mode.map_err(|error| usage(format!("{error}")))?;
        for (remote, _) in &request.feeds {
            if !ticket.offers.iter().any(|offer| offer.feed == *remote) {
                return Err(usage(format!("the ticket offers no feed {remote:?}")));
            }
        }
        let same = ticket.site == self.me();
        let held = self.link_with(ticket.site, true);
        let mut notes = Vec::new();
        if ticket.expires <= wall_clock() {
            notes.push(format!("{}: ask for a fresh one", Reason::TicketExpired));
        }
        if let Some(held) = &held {
            notes.push(format!("link {:?} with this site exists and would carry these feeds too", held.name));
        }
        if ticket.every.is_some() {
            notes.push(format!("feeds that {} comes by later are taken up too", ticket.name));
        }
        let taken = |name: &str| locked(&self.inner.links).contains_key(name);
        let link = held.map_or_else(|| link_name(&ticket.name, taken), |held| held.name);
        let offers: Vec<(Offer, String)> = ticket
            .offers
            .iter()
            .map(|offer| (offer.clone(), local_name(&request.feeds, &offer.feed)))
            .collect();
        let here = self.feeds_in_the_way(&offers).await?;
        let ends = Ends { dialler: &self.inner.name, listener: &ticket.name };
        let feeds: Vec<PlanFeed> = offers
            .iter()
            .map(|(offer, local)| offered(&ends, offer, local, mode, same, here.get(&offer.id).cloned()))
            .collect();
        let sound = feeds.iter().all(|on| on.verdict.as_deref() == Some("valid") && on.obstacle.is_none());
        Ok(Plan {
            link,
            peer: ticket.site.to_string(),
            peer_name: ticket.name.clone(),
            stated_ms: None,
            feeds,
            notes,
            sound,
        })
    }

    /// What this site would offer, without making a ticket of it.
    ///
    /// # Errors
    /// A feed is unknown or this site may not grant what is offered.
    pub async fn invite_preview(&self, request: api::InviteRequest) -> Result<api::TicketPreview, Problem> {
        let (ticket, _) = self.drafted(request).await?;
        Ok(super::pairing::preview(&ticket, None))
    }

    /// Why offered feeds cannot be set up here under their names.
    async fn feeds_in_the_way(
        &self,
        offers: &[(Offer, String)],
    ) -> Result<BTreeMap<FeedId, String>, Problem> {
        let offers = offers.to_vec();
        self.blocking(move |site| {
            let mut obstacles = BTreeMap::new();
            for (offer, local) in offers {
                if site.store().feed(offer.id)?.is_some() {
                    continue;
                }
                let Some((feed, other)) = site.store().feed_named(&local)? else { continue };
                let versions = site.store().heads(feed)?.iter().map(|signed| signed.head.len).sum::<u64>();
                let kind = other.genesis.kind;
                let what = if versions == 0 {
                    "an empty feed".to_owned()
                } else {
                    format!("a feed with {versions} statements of its own")
                };
                let remote = &offer.feed;
                let way = if kind == offer.kind {
                    format!(
                        "take it under another name, --feed {remote}=OTHER, or bring what is here into it, --merge; to see \
                         clashes first, take it under another name, sync, and `packetboat feed merge {local} --into OTHER --dry-run`"
                    )
                } else {
                    format!("take it under another name, --feed {remote}=OTHER")
                };
                obstacles.insert(
                    offer.id,
                    format!("{local:?} is the name of {what} ({kind}) here, and two feeds do not become one by themselves: {way}"),
                );
            }
            Ok(obstacles)
        })
        .await
    }
}

fn local_name(mapped: &[(String, String)], remote: &str) -> String {
    let found = mapped.iter().find(|(theirs, _)| theirs == remote);
    found.map_or_else(|| remote.to_owned(), |(_, ours)| ours.clone())
}

fn link_notes(link: &Link, peer: &PeerState) -> Vec<String> {
    let mut notes = Vec::new();
    if link.paused {
        notes.push("the link is paused: no run takes place until it is resumed".to_owned());
    }
    if let Some((reason, _)) = peer.refused {
        notes.push(format!("the last session was refused: {reason}"));
    }
    if peer.stated_at.is_none() && peer.stated.is_empty() {
        notes.push(format!("{} has not said yet what it asks or allows", link.peer_name));
    }
    notes
}

fn planned(me: &str, link: &Link, on: &LinkFeed, peer: &PeerState, name: &str, kind: String) -> PlanFeed {
    let ends = if link.is_outgoing() {
        Ends { dialler: me, listener: &link.peer_name }
    } else {
        Ends { dialler: &link.peer_name, listener: me }
    };
    let plan = PlanFeed {
        feed: name.to_owned(),
        local: name.to_owned(),
        kind,
        asked: link.is_outgoing().then(|| on.switches.to_string()),
        allowed: (!link.is_outgoing()).then(|| on.switches.flip().to_string()),
        effective: None,
        verdict: None,
        reason: None,
        lost: Vec::new(),
        sentences: Vec::new(),
        asked_filter: on.filter.to_string(),
        allowed_filter: on.filter.to_string(),
        filter: on.filter.to_string(),
        obstacle: None,
    };
    match judge(link, on, peer, wall_clock()) {
        Some(judgement) => told(&ends, plan, &judgement),
        None => plan,
    }
}

fn offered(
    ends: &Ends<'_>,
    offer: &Offer,
    local: &str,
    mode: Option<Switches>,
    same: bool,
    obstacle: Option<String>,
) -> PlanFeed {
    let asked = mode.unwrap_or(offer.may);
    let allowed = if same {
        Err(Reason::SameSite)
    } else {
        Ok(Allowed { switches: offer.may, filter: Filter::default() })
    };
    let (verdict, filter) = judged(&allowed, asked, &Filter::default());
    let judgement = Judgement {
        asked,
        allowed: allowed.ok().map(|allowed| allowed.switches),
        asked_filter: Filter::default(),
        allowed_filter: Filter::default(),
        verdict,
        filter,
    };
    let plan = PlanFeed {
        feed: offer.feed.clone(),
        local: local.to_owned(),
        kind: offer.kind.to_string(),
        asked: None,
        allowed: None,
        effective: None,
        verdict: None,
        reason: None,
        lost: Vec::new(),
        sentences: Vec::new(),
        asked_filter: String::new(),
        allowed_filter: String::new(),
        filter: String::new(),
        obstacle,
    };
    told(ends, plan, &judgement)
}

/// A feed's plan with what the judgement says.
fn told(ends: &Ends<'_>, plan: PlanFeed, judgement: &Judgement) -> PlanFeed {
    let effective = judgement.verdict.effective();
    let lost = judgement.asked.without(effective);
    let mut sentences = sentences(ends, &plan.feed, effective);
    let reason = match judgement.verdict {
        Verdict::Invalid(reason) => Some(reason.to_string()),
        Verdict::NothingAsked | Verdict::Warning { .. } | Verdict::Valid { .. } => None,
    };
    if matches!(judgement.verdict, Verdict::Warning { .. }) {
        sentences.push(format!(
            "{} asks for {} and {} does not allow it.",
            ends.dialler,
            switch_list(lost),
            ends.listener
        ));
    }
    if !judgement.filter.is_everything() && !effective.is_off() {
        sentences.push(format!("Of the bytes, only {} come along.", judgement.filter));
    }
    let named = |switches: Switches| {
        if switches.is_off() {
            Vec::new()
        } else {
            switch_list(switches).split(", ").map(ToOwned::to_owned).collect()
        }
    };
    PlanFeed {
        asked: Some(judgement.asked.to_string()),
        allowed: judgement.allowed.map(|allowed| allowed.to_string()),
        effective: Some(effective.to_string()),
        verdict: Some(verdict_word(judgement.verdict).to_owned()),
        reason,
        lost: named(lost),
        sentences,
        asked_filter: judgement.asked_filter.to_string(),
        allowed_filter: judgement.allowed_filter.to_string(),
        filter: judgement.filter.to_string(),
        ..plan
    }
}

/// Who may do what, in the reader's words.
fn sentences(ends: &Ends<'_>, feed: &str, effective: Switches) -> Vec<String> {
    let Ends { dialler, listener } = ends;
    let reads = match (effective.in_add, effective.in_delete) {
        (true, true) => format!("{dialler} may read {feed}."),
        (true, false) => {
            format!("{dialler} may read {feed}; what is deleted at {listener} stays at {dialler}.")
        }
        (false, true) => format!("Only deletions of {feed} come from {listener} to {dialler}."),
        (false, false) => format!("{dialler} may not read {feed}."),
    };
    let writes = match (effective.out_add, effective.out_delete) {
        (true, true) => format!("It may publish and delete in {feed} at {listener}."),
        (true, false) => format!("It may publish in {feed} at {listener}, and not delete there."),
        (false, true) => format!("It may delete in {feed} at {listener}, and not publish there."),
        (false, false) => format!("It may not change {feed} at {listener}."),
    };
    vec![reads, writes]
}
