//! Feeds that come on a link after it was made: put on and offered here, taken up here, and what became of each.

use protocol::fault::Reason;
use protocol::filter::Filter;
use protocol::frame::{Offered, Openness, Taken};
use protocol::grant::Verb;
use protocol::id::{FeedId, SiteId};
use protocol::limits::FEEDS_PER_LINK_MAX;
use protocol::link::{Link, LinkFeed, NewFeeds};
use protocol::op::{Body, Grant, Rights};
use protocol::session::Agreed;
use protocol::switches::{Switches, Verdict};
use protocol::time::Timestamp;

use super::Node;
use super::problem::{not_found, usage};
use super::sessions::tell;
use crate::api::Problem;
use crate::events::Event;
use crate::keeper::{SiteStore, wall_clock};
use crate::publish::counts_elsewhere;
use crate::store::{FeedRecord, PeerState, Trigger};
use crate::transport::pump::Command;

/// In place of a feed's name: every feed, those that are made later too.
pub(super) const EVERY: &str = "*";

/// What a session is told of the link's readiness for further feeds.
pub(super) fn openness(link: &Link, now: Timestamp) -> Openness {
    match &link.new_feeds {
        Some(new) if new.expires.is_none_or(|expires| expires > now) => {
            Openness { offers: new.offers, takes: new.takes }
        }
        Some(_) | None => Openness::default(),
    }
}

/// Whether this site may say who writes in a feed: only its origin and its admins may.
pub(super) fn is_admin(site: &SiteStore, feed: FeedId) -> Result<bool, Problem> {
    Ok(site.store().authority(feed)?.is_some_and(|authority| {
        counts_elsewhere(&authority, (feed, site.look().now), site.me(), Verb::Admin, "")
    }))
}

/// What is left of switches where nothing may come in.
pub(super) const fn outward(switches: Switches) -> Switches {
    Switches { in_add: false, in_delete: false, ..switches }
}

/// Lets `peer` write in a feed.
pub(super) fn let_write(
    site: &SiteStore,
    feed: FeedId,
    peer: SiteId,
    label: &str,
    expires: Option<Timestamp>,
) -> Result<(), Problem> {
    let grant = Grant {
        grantee: peer,
        label: label.to_owned(),
        rights: Rights::WRITE,
        prefix: String::new(),
        expires,
    };
    site.author(feed, vec![Body::Grant(grant)])?;
    Ok(())
}

/// Puts on a link every feed of this site that is not on it. Done again it changes nothing.
fn put_on(site: &SiteStore, mut link: Link) -> Result<Option<Link>, Problem> {
    let Some(new) = link.new_feeds.clone().filter(|new| new.offers) else { return Ok(None) };
    let mut changed = false;
    for (feed, _) in site.store().feeds()? {
        if link.on(feed).is_some() || link.feeds.len() >= FEEDS_PER_LINK_MAX {
            continue;
        }
        let admin = is_admin(site, feed)?;
        let writes = site.store().authority(feed)?.is_some_and(|authority| {
            counts_elsewhere(&authority, (feed, site.look().now), link.peer, Verb::Publish, "")
        });
        let switches = if admin || writes { new.switches } else { outward(new.switches) };
        if switches.is_off() {
            continue;
        }
        // A feed in which nothing can be said just now keeps no other from going on the link.
        if switches.flows_in()
            && admin
            && let Err(problem) = let_write(site, feed, link.peer, &link.peer_name, new.expires)
        {
            tracing::warn!(link = link.name, problem = problem.detail, "a feed could not be put on a link");
            continue;
        }
        link.feeds.push(LinkFeed { feed, switches, filter: new.filter.clone(), expires: new.expires });
        changed = true;
    }
    if changed {
        site.store().put_link(&link)?;
    }
    Ok(changed.then_some(link))
}

/// Feeds of a link that the other end has not put on it.
fn to_offer(site: &SiteStore, link: &Link, agreed: &Agreed) -> Result<Vec<Offered>, Problem> {
    let mut offers = Vec::new();
    for on in &link.feeds {
        let both = agreed.feeds.iter().find(|both| both.feed == on.feed);
        if both.is_some_and(|both| both.verdict != Verdict::Invalid(Reason::FeedUnknown)) {
            continue;
        }
        if let Some(record) = site.store().feed(on.feed)? {
            offers.push(Offered { genesis: record.genesis, feed: record.name, may: on.switches.flip() });
        }
    }
    Ok(offers)
}

/// What came of an offer at this end.
struct TakenUp {
    link: Link,
    answers: Vec<Taken>,
    fresh: Vec<FeedRecord>,
    untaken: Vec<(Offered, Reason)>,
    grown: bool,
}

/// Puts offered feeds on a link. `named` is this site's name for one of them in place of the offering site's.
fn take(
    site: &SiteStore,
    link: Link,
    offered: Vec<Offered>,
    named: Option<&(String, String)>,
) -> Result<TakenUp, Problem> {
    let mut up = TakenUp { link, answers: Vec::new(), fresh: Vec::new(), untaken: Vec::new(), grown: false };
    let Some(new) = up.link.new_feeds.clone().filter(|new| new.takes) else { return Ok(up) };
    for one in offered {
        let feed = one.genesis.feed_id();
        let name = named.filter(|(theirs, _)| *theirs == one.feed).map_or(&one.feed, |(_, ours)| ours);
        let known = site.store().feed(feed)?.is_some();
        let refused = if up.link.on(feed).is_some() {
            None
        } else if up.link.feeds.len() >= FEEDS_PER_LINK_MAX {
            Some(Reason::LinkFull)
        } else if !known && site.store().feed_named(name)?.is_some() {
            Some(Reason::NameTaken)
        } else {
            if !known {
                let record = FeedRecord {
                    genesis: one.genesis.clone(),
                    name: name.clone(),
                    strict: false,
                    local_wins: false,
                    open_reads: false,
                };
                site.store().put_feed(&record)?;
                up.fresh.push(record);
            }
            let switches = new.switches.and(one.may);
            let on = LinkFeed { feed, switches, filter: new.filter.clone(), expires: new.expires };
            up.link.feeds.push(on);
            up.grown = true;
            None
        };
        up.answers.push(Taken { feed, refused });
        up.untaken.extend(refused.map(|reason| (one, reason)));
    }
    if up.grown {
        site.store().put_link(&up.link)?;
    }
    Ok(up)
}

/// A link's rule for further feeds as people set it.
pub(super) fn ruled(link: &Link, word: &str, mode: Option<&str>) -> Result<Option<NewFeeds>, Problem> {
    let (offers, takes) = match word {
        "off" => return Ok(None),
        "take" => (false, true),
        "offer" => (true, false),
        "both" => (true, true),
        other => return Err(usage(format!("{other:?} is none of off, take, offer, both"))),
    };
    let stated = mode.map(str::parse::<Switches>).transpose().map_err(|error| usage(format!("{error}")))?;
    let stated = stated.map(|stated| if link.is_outgoing() { stated } else { stated.flip() });
    let alike = || {
        let first = link.feeds.first()?.switches;
        link.feeds.iter().all(|on| on.switches == first).then_some(first)
    };
    let held = link.new_feeds.clone().or_else(|| {
        let expires = link.feeds.first().and_then(|on| on.expires);
        let switches = stated.or_else(alike)?;
        Some(NewFeeds { offers, takes, switches, filter: Filter::default(), expires })
    });
    let held = held.ok_or_else(|| {
        usage(format!("the feeds of link {:?} are set differently: say --mode as well", link.name))
    })?;
    if offers && link.is_outgoing() && !held.switches.flows_out() {
        let text = format!("link {:?} is pull-only: nothing of this site flows out to be offered", link.name);
        return Err(usage(text).hint("--new-feeds take, or another --mode"));
    }
    Ok(Some(NewFeeds { offers, takes, ..held }))
}

impl Node {
    /// Puts feeds of this site on the links that offer all of them, and tells the other ends.
    pub(super) async fn spread_feeds(&self) {
        for name in self.link_names().into_keys() {
            let edits = self.inner.link_edits.lock().await;
            let Ok(link) = self.known_link(&name) else { continue };
            let put = self.blocking(move |site| put_on(site, link)).await;
            match put {
                Ok(None) => continue,
                Ok(Some(link)) => self.with_link(&name, |state| {
                    state.link = link;
                    if state.link.is_outgoing() && state.link.live && state.agreed.is_none() {
                        state.want(Trigger::Live);
                    }
                }),
                Err(problem) => {
                    tracing::warn!(link = name, problem = problem.detail, "feeds could not be put on a link");
                    continue;
                }
            };
            drop(edits);
            self.offer_feeds(&name).await;
        }
    }

    /// Offers the other end of a standing session what it has not got on the link, or on its twin, which the session serves too.
    pub(super) async fn offer_feeds(&self, name: &str) {
        let session = self.served_by(name).unwrap_or_else(|| name.to_owned());
        let agreed = self.with_link(&session, |state| state.agreed.clone()).flatten();
        let Some(agreed) = agreed.filter(|agreed| agreed.peer_new_feeds.takes) else { return };
        let links = [self.known_link(&session).ok(), self.twin(&session)].into_iter().flatten();
        let links: Vec<Link> = links.filter(|link| openness(link, wall_clock()).offers).collect();
        let offers = self.blocking(move |site| {
            let offers: Result<Vec<_>, _> = links.iter().map(|link| to_offer(site, link, &agreed)).collect();
            Ok(offers?.concat())
        });
        let offers = offers.await.unwrap_or_default();
        if !offers.is_empty() {
            self.with_link(&session, |state| {
                if let Some(commands) = &state.commands {
                    tell(commands, Command::Offer(offers));
                }
            });
        }
    }

    /// The other end of a link offers feeds.
    pub(super) async fn feeds_offered(&self, name: &str, turn: u64, offered: Vec<Offered>) {
        let (link, asked_in) = (self.taker(name), Some((name.to_owned(), turn)));
        if let Err(problem) = self.take_feeds(&link, offered, None, asked_in).await {
            tracing::warn!(link = name, problem = problem.detail, "offered feeds could not be taken up");
            // An offer without an answer stays open, and the other end leaves no more than so many open.
            self.answer_offer(name, turn, Vec::new());
        }
    }

    /// An answer belongs to the session that asked. In a later one the feed is named in the first frame, or offered again.
    fn answer_offer(&self, session: &str, turn: u64, answers: Vec<Taken>) {
        self.with_link(session, |state| {
            if let Some(commands) = state.commands.as_ref().filter(|_| state.turn == turn) {
                tell(commands, Command::Taken(answers));
            }
        });
    }

    /// Takes up under another name a feed that was offered and whose name is another feed's here.
    ///
    /// # Errors
    /// No such feed is waiting, the name is taken too, or the disk refuses.
    pub(super) async fn take_as(&self, name: &str, (theirs, ours): (String, String)) -> Result<(), Problem> {
        protocol::package::check_feed_name(&ours)?;
        let peer = self.with_link(name, |state| state.peer.clone()).unwrap_or_default();
        let waits = peer.untaken.into_iter().find(|(offered, _)| offered.feed == theirs);
        let (offered, _) = waits.ok_or_else(|| {
            not_found("offered feed", &theirs).hint("`packetboat link show` lists what could not be taken up")
        })?;
        let feed = offered.genesis.feed_id();
        self.take_feeds(name, vec![offered], Some((theirs, ours.clone())), None).await?;
        if self.known_link(name)?.on(feed).is_none() {
            let detail = format!("there is another feed {ours:?} at this site");
            return Err(Problem::new(409, "conflict", "The feed's name is taken", detail));
        }
        Ok(())
    }

    /// Of a link and its twin, which share a session, the one that takes feeds up.
    fn taker(&self, name: &str) -> String {
        let takes = |link: &Link| link.new_feeds.as_ref().is_some_and(|new| new.takes);
        let own = self.known_link(name).is_ok_and(|link| takes(&link));
        let twin = self.twin(name).filter(|twin| !own && takes(twin));
        twin.map_or_else(|| name.to_owned(), |twin| twin.name)
    }

    async fn take_feeds(
        &self,
        name: &str,
        offered: Vec<Offered>,
        named: Option<(String, String)>,
        asked_in: Option<(String, u64)>,
    ) -> Result<(), Problem> {
        let edits = self.inner.link_edits.lock().await;
        let link = self.known_link(name)?;
        let up = self.blocking(move |site| take(site, link, offered, named.as_ref())).await?;
        let answers = up.answers.clone();
        self.with_link(name, |state| state.link = up.link);
        if let Some((session, turn)) = asked_in {
            self.answer_offer(&session, turn, answers);
        }
        drop(edits);
        for record in &up.fresh {
            let id = record.genesis.feed_id().to_string();
            self.event(Event::FeedTakenUp { feed: record.name.clone(), id, link: Some(name.to_owned()) });
        }
        self.note_untaken(name, &up.answers, up.untaken);
        if up.grown {
            self.renew(name);
        }
        if !up.fresh.is_empty() {
            self.spread_feeds().await;
        }
        Ok(())
    }

    /// Keeps which offered feeds could not be taken up here, and tells of those that are new.
    fn note_untaken(&self, name: &str, answers: &[Taken], untaken: Vec<(Offered, Reason)>) {
        let mut fresh = untaken.clone();
        let changed = self.with_link(name, |state| {
            let held = &mut state.peer.untaken;
            fresh.retain(|one| !held.contains(one));
            let before = held.len();
            held.retain(|(one, _)| !answers.iter().any(|told| told.feed == one.genesis.feed_id()));
            let changed = held.len() != before || !untaken.is_empty();
            held.extend(untaken);
            held.truncate(FEEDS_PER_LINK_MAX);
            changed
        });
        for (one, reason) in fresh {
            self.event(Event::FeedNotTaken {
                link: name.to_owned(),
                feed: one.feed,
                reason: reason.to_string(),
            });
        }
        if changed == Some(true) {
            self.note_peer(name, |_| {});
        }
    }

    /// The other end says what became of feeds that were offered to it.
    pub(super) fn feeds_taken(&self, name: &str, answers: &[Taken]) {
        let mut news = false;
        self.note_peer(name, |peer: &mut PeerState| {
            peer.untaken_there.retain(|(feed, _)| !answers.iter().any(|told| told.feed == *feed));
            let refused = answers.iter().filter_map(|told| Some((told.feed, told.refused?)));
            peer.untaken_there.extend(refused);
            peer.untaken_there.truncate(FEEDS_PER_LINK_MAX);
        });
        self.with_link(name, |state| {
            // Each feed begins the session anew once: another end that says "taken" and means it not is not called for ever.
            for told in answers.iter().filter(|told| told.refused.is_none()) {
                news = state.taken_there.insert(told.feed) || news;
            }
        });
        if news {
            self.renew(name);
        }
    }

    /// Begins the session of an outgoing link anew, after the run that is going on, so that its first frame names every feed.
    pub(super) fn renew(&self, name: &str) {
        let outgoing = |link: &Link| link.is_outgoing();
        let own = self.known_link(name).ok().filter(outgoing);
        let Some(link) = own.or_else(|| self.twin(name).filter(outgoing)) else { return };
        let now = self.with_link(&link.name, |state| {
            state.renew = state.running || state.awaited;
            !state.renew
        });
        if now == Some(true) {
            self.reconnect(&link.name);
            self.with_link(&link.name, |state| state.want(Trigger::Live));
        }
    }

    /// Lets a live link that this site opens run at once.
    pub(super) fn wake_live(&self, name: &str) {
        self.with_link(name, |state| {
            if state.link.is_outgoing() && state.link.live && !state.link.paused {
                state.want(Trigger::Live);
            }
        });
    }
}
