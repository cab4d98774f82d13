//! Pairing: tickets made here, tickets accepted here, and sites that come to prove one.

use std::net::{IpAddr, UdpSocket};

use protocol::fault::Reason;
use protocol::filter::Filter;
use protocol::frame::Allowed;
use protocol::id::{FeedId, SiteId};
use protocol::limits::{
    PAIRING_ATTEMPTS_PER_MINUTE_MAX, TICKET_ADDRESSES_MAX, TICKET_FEEDS_MAX, TICKET_LIFE_MS_MAX,
};
use protocol::link::{Dial, Link, LinkFeed, NewFeeds};
use protocol::package::{check_feed_name, check_label};
use protocol::session::Stated;
use protocol::switches::Switches;
use protocol::ticket::{Admitted, JoinAnswer, Joining, Offer, Ticket, check_words};
use protocol::time::Timestamp;
use quinn::Connection;

use super::feeds::named;
use super::judged::judged;
use super::link_settings::{check_address, rhythm};
use super::merge::settle_names;
use super::new_feeds::{EVERY, is_admin, outward};
use super::problem::usage;
use super::rotation::{heard, note_keys};
use super::sessions::ConnectError;
use super::tickets::{TicketRecord, put_ticket, turn};
use super::{Node, link_name, locked, random};
use crate::api::{self, Problem};
use crate::events::Event;
use crate::identity::SiteKey;
use crate::keeper::{SiteStore, wall_clock};
use crate::store::{FeedRecord, Merge, PeerState};
use crate::transport::endpoint::{DialError, key_of};
use crate::transport::pairing::{JoinError, admit, join};
use crate::transport::tls::{Alpn, Whom};

impl Node {
    /// Makes a ticket that one site may use once.
    ///
    /// # Errors
    /// A feed is unknown, this site may not grant what is offered, or the disk refuses.
    pub async fn invite(&self, request: api::InviteRequest) -> Result<api::Invite, Problem> {
        let (ticket, record) = self.drafted(request).await?;
        let name = ticket.ticket_name();
        self.blocking(move |site| put_ticket(site, &name.0, &record)).await?;
        self.open_until(ticket.expires);
        Ok(api::Invite { ticket: ticket.to_text(), preview: preview(&ticket, None) })
    }

    /// A ticket and what is to be kept of it, checked and not made known yet.
    pub(super) async fn drafted(
        &self,
        request: api::InviteRequest,
    ) -> Result<(Ticket, TicketRecord), Problem> {
        let may: Switches = request.peer_may.parse().map_err(|error| usage(format!("{error}")))?;
        if may.is_off() {
            return Err(usage("a ticket that allows nothing is of no use"));
        }
        if request.feeds.is_empty() || request.feeds.len() > TICKET_FEEDS_MAX {
            return Err(usage(format!("a ticket offers 1 to {TICKET_FEEDS_MAX} feeds")));
        }
        let now = wall_clock();
        if request.expires_ms <= now.0 || request.expires_ms > now.0.saturating_add(TICKET_LIFE_MS_MAX) {
            return Err(usage("a ticket is valid for at least a moment and at most 30 days"));
        }
        request.addresses.iter().try_for_each(|address| check_address(address))?;
        let mut addresses = request.addresses.clone();
        if addresses.is_empty() {
            addresses.push(self.guessed_address());
        }
        addresses.truncate(TICKET_ADDRESSES_MAX);
        let secret = random::<16>()
            .map_err(|error| Problem::new(500, "random", "No randomness", error.to_string()))?;
        let (site_name, expires) = (self.inner.name.clone(), Timestamp(request.expires_ms));
        self.blocking(move |site| {
            let every = request.feeds.iter().any(|name| name == EVERY).then_some(may);
            let offers =
                if every.is_some() { all_offered(site, may)? } else { offered(site, &request, may)? };
            let keep = |offer: &Offer| (offer.id, offer.feed.clone(), offer.may);
            let kept = offers.iter().map(keep).collect();
            let succession = site.key().succession().clone();
            let ticket = Ticket {
                site: site.me(),
                name: site_name,
                addresses,
                secret,
                expires,
                offers,
                every,
                succession,
            };
            let record = TicketRecord {
                proof_key: ticket.proof_key(),
                expires_ms: expires.0,
                offers: kept,
                every,
                grant_life_ms: request.grant_life_ms,
                used: None,
                withdrawn: false,
                turn: turn(site)?,
            };
            Ok((ticket, record))
        })
        .await
    }

    /// What a ticket says.
    ///
    /// # Errors
    /// The text is no ticket.
    pub fn inspect(&self, text: &str) -> Result<api::TicketPreview, Problem> {
        Ok(preview(&parsed(text)?, Some(check_words(self.me(), parsed(text)?.site))))
    }

    /// Joins by a ticket: both ends pin each other's key, and a link comes of it.
    ///
    /// # Errors
    /// The ticket is wrong, expired or used, its site is not reached, or a name is taken here.
    pub async fn accept(&self, request: api::AcceptRequest) -> Result<api::Link, Problem> {
        let ticket = parsed(&request.ticket)?;
        if ticket.site == self.me() {
            let why = Reason::SameSite.to_string();
            return Err(Problem::new(409, "refused", "The ticket is this site's own", why));
        }
        in_date(&ticket, wall_clock())?;
        let inviter = ticket.site;
        self.must_not_be_revoked(inviter, 403).await?;
        let mode = request.mode.as_deref().map(str::parse::<Switches>).transpose();
        let mode = mode.map_err(|error| usage(format!("{error}")))?;
        let filter = filter_of(&request)?;
        let every_ms = rhythm(request.every_ms.unwrap_or(0))?;
        self.names_are_free(&ticket, &request).await?;
        let (mut answer, mut shown) = self.joins(&ticket, None).await?;
        // It was shown the newest key before this site was restored, and this one does not know that.
        if matches!(answer, JoinAnswer::Refused(Reason::KeyOutdated)) {
            (answer, shown) = self.joins(&ticket, Some(&self.inner.site.key())).await?;
        }
        let (peer_name, admitted, every) = match answer {
            JoinAnswer::Refused(reason) => return Err(refused(reason)),
            JoinAnswer::Admitted { name, feeds, every } => (name, feeds, every),
        };
        let edits = self.inner.link_edits.lock().await;
        self.must_not_be_revoked(inviter, 403).await?;
        let on = |one: &Admitted| LinkFeed {
            feed: one.genesis.feed_id(),
            switches: mode.unwrap_or(one.may),
            filter: filter.clone(),
            expires: None,
        };
        let on_link: Vec<LinkFeed> = admitted.iter().map(on).collect();
        let mut link = match self.link_with(ticket.site, true) {
            Some(held) => extended(held, on_link),
            None => {
                let taken = |name: &str| locked(&self.inner.links).contains_key(name);
                let name = request.link.clone().unwrap_or_else(|| link_name(&peer_name, taken));
                let dial = Dial::Outgoing { addresses: ticket.addresses.clone() };
                Link { every_ms, ..Link::new(name, ticket.site, peer_name, dial, on_link) }
            }
        };
        if let Some(may) = every {
            let offers = link.new_feeds.is_some_and(|held| held.offers);
            let switches = mode.unwrap_or(may);
            link.new_feeds = Some(NewFeeds { offers, takes: true, switches, filter, expires: None });
        }
        let name = link.name.clone();
        let stored = link.clone();
        let (said, told) = (ticket.succession.clone(), self.inner.site.key().succession().generation());
        let taken = self.blocking(move |site| {
            note_keys(site, inviter, |keys| {
                heard(keys, inviter, &said, shown);
                keys.told = keys.told.max(told);
            })?;
            set_up(site, &request, &stored, admitted)
        });
        taken.await?.into_iter().for_each(|event| self.event(event));
        self.take_up(link);
        drop(edits);
        if every.is_some() {
            self.wake_live(&name);
        }
        self.spread_feeds().await;
        self.link(&name).await
    }

    /// Refuses before anything is sent what could not be set up after: the ticket is good for one use.
    async fn names_are_free(&self, ticket: &Ticket, request: &api::AcceptRequest) -> Result<(), Problem> {
        if let Some(name) = &request.link {
            check_label("link name", name)?;
            if locked(&self.inner.links).contains_key(name) {
                let detail = format!("there is a link {name:?} at this site already");
                return Err(
                    Problem::new(409, "conflict", "The link exists", detail).hint("choose another --name")
                );
            }
        }
        for (remote, _) in &request.feeds {
            if !ticket.offers.iter().any(|offer| offer.feed == *remote) {
                return Err(usage(format!("the ticket offers no feed {remote:?}")));
            }
        }
        let offers: Vec<(String, Offer)> =
            ticket.offers.iter().map(|offer| (local_name(request, &offer.feed), offer.clone())).collect();
        let merge = request.merge;
        self.blocking(move |site| {
            for (name, offer) in offers {
                check_feed_name(&name)?;
                // A feed that is here already keeps its name; a name that is here already keeps its feed.
                let here = site.store().feed(offer.id)?.is_some();
                let Some((_, other)) = site.store().feed_named(&name)?.filter(|_| !here) else { continue };
                let alike = other.genesis.kind == offer.kind;
                if merge && alike {
                    continue;
                }
                let kinds = if alike { "another feed" } else { "a feed of another kind" };
                let detail = format!("there is {kinds} {name:?} at this site");
                let merged = if alike { ", or bring what it has into the offered one: --merge" } else { "" };
                return Err(Problem::new(409, "conflict", "The feed's name is taken", detail)
                    .hint(format!("give it another name here: --feed {}=OTHER{merged}", offer.feed)));
            }
            Ok(())
        })
        .await
    }

    /// Proves a ticket, showing a key of this site: the one that others are shown where none is named. Gives the answer, and the key that answered.
    async fn joins(
        &self,
        ticket: &Ticket,
        key: Option<&SiteKey>,
    ) -> Result<(JoinAnswer, Option<SiteId>), Problem> {
        let joiner = self.joiner(key.map_or_else(|| self.inner.endpoint.shown(), SiteKey::public));
        let connection = self.reach(ticket, key).await?;
        let answer = join(&connection, ticket, &joiner).await.map_err(join_failed)?;
        Ok((answer, key_of(&connection)))
    }

    async fn reach(&self, ticket: &Ticket, key: Option<&SiteKey>) -> Result<Connection, Problem> {
        let mut last = None;
        for address in &ticket.addresses {
            let whom = Whom { site: ticket.site, keys: ticket.succession.keys(ticket.site) };
            match self.dial_as(key, address, whom, Alpn::Pairing).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = Some(error),
            }
        }
        Err(match last {
            None => usage("the ticket names no address"),
            Some(ConnectError::Dial(DialError::Refused { .. })) => refused(Reason::TicketUnknown),
            Some(error @ ConnectError::Dial(DialError::WrongSite { .. })) => {
                Problem::new(403, "refused", "Another site answered", error.to_string())
            }
            Some(error) => {
                Problem::new(503, "unreachable", "The other site is not reached", error.to_string())
                    .hint("check that it runs, and that its UDP port is open to this site")
            }
        })
    }

    /// A site came on the pairing protocol with that key: it proves its ticket or is told why not.
    pub(super) async fn admit_joiner(self, connection: Connection, shown: SiteId) {
        let node = self.clone();
        let decide = async move |joining: Joining, exporter: [u8; 32]| match node
            .judge(shown, joining, exporter)
            .await
        {
            Ok(answer) => answer,
            Err(reason) => {
                tracing::warn!(joiner = %shown, %reason, "a pairing attempt was refused");
                JoinAnswer::Refused(reason)
            }
        };
        if let Err(error) = admit(&connection, shown, decide).await {
            tracing::warn!(joiner = %shown, %error, "a joiner could not be answered");
        }
    }

    async fn judge(&self, shown: SiteId, joining: Joining, exporter: [u8; 32]) -> Result<JoinAnswer, Reason> {
        let joiner = joining.site;
        let most = usize::try_from(PAIRING_ATTEMPTS_PER_MINUTE_MAX).unwrap_or(usize::MAX);
        let too_often = self.attempts_in_last_minute() > most;
        let edits = self.inner.link_edits.lock().await;
        let held = self.link_with(joiner, false).unwrap_or_else(|| {
            let taken = |name: &str| locked(&self.inner.links).contains_key(name);
            let name = link_name(&joining.name, taken);
            Link::new(name, joiner, joining.name.clone(), Dial::Incoming, Vec::new())
        });
        let site = self.inner.site.clone();
        let judged = tokio::task::spawn_blocking(move || judged(&site, held, &joining, (shown, &exporter)));
        let judged = judged.await.map_err(|_panic| Reason::Busy)?;
        let (link, feeds, every) =
            judged.map_err(|reason| if too_often { Reason::PairingTooOften } else { reason })?;
        self.take_up(link);
        drop(edits);
        self.spread_feeds().await;
        Ok(JoinAnswer::Admitted { name: self.inner.name.clone(), feeds, every })
    }

    /// The address that other machines most likely reach this one by.
    fn guessed_address(&self) -> String {
        let listen = self.inner.listen;
        if !listen.ip().is_unspecified() {
            return listen.to_string();
        }
        // No packet is sent: connecting a datagram socket only asks the routing table.
        let routed = UdpSocket::bind("0.0.0.0:0")
            .and_then(|socket| socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr()));
        let ip = routed.map_or_else(|_no_route| IpAddr::from([127, 0, 0, 1]), |address| address.ip());
        format!("{ip}:{}", listen.port())
    }
}

/// Keeps a link that was just agreed on and the feeds it brings. What was taken up.
fn set_up(
    site: &SiteStore,
    request: &api::AcceptRequest,
    link: &Link,
    admitted: Vec<Admitted>,
) -> Result<Vec<Event>, Problem> {
    let store = site.store();
    let mut taken = Vec::new();
    store.put_peer(&link.name, &said_while_pairing(store.peer(&link.name)?, &admitted))?;
    store.put_link(link)?;
    for one in admitted {
        let id = one.genesis.feed_id();
        if store.feed(id)?.is_some() {
            continue;
        }
        let name = local_name(request, &one.feed);
        let by = Some(link.name.clone());
        if let Some((old, _)) = store.feed_named(&name)?.filter(|_| request.merge) {
            let (into, since) = (one.genesis, wall_clock());
            let merge = Merge { old, into, name: name.clone(), link: by.clone(), since, brought_ops: None };
            store.put_merge(&merge)?;
            settle_names(site, &merge)?;
        } else {
            store.put_feed(&FeedRecord {
                genesis: one.genesis,
                name: name.clone(),
                strict: false,
                local_wins: false,
                open_reads: false,
            })?;
        }
        taken.push(Event::FeedTakenUp { feed: name, id: id.to_string(), link: by });
    }
    Ok(taken)
}

fn filter_of(request: &api::AcceptRequest) -> Result<Filter, Problem> {
    request.filter.as_deref().unwrap_or("none").parse().map_err(|error| usage(format!("{error}")))
}

pub(super) fn parsed(text: &str) -> Result<Ticket, Problem> {
    Ticket::parse(text).map_err(|error| usage(format!("{error}")))
}

fn local_name(request: &api::AcceptRequest, remote: &str) -> String {
    let mapped = request.feeds.iter().find(|(theirs, _)| theirs == remote);
    mapped.map_or_else(|| remote.to_owned(), |(_, ours)| ours.clone())
}

/// Who lets others write must be allowed to: only the feed's origin and its admins are.
fn may_offer(site: &SiteStore, feed: FeedId, record: &FeedRecord, may: Switches) -> Result<(), Problem> {
    let admin = site.store().authority(feed)?.is_some_and(|authority| authority.is_admin(site.me()));
    if may.flows_out() && !admin {
        let detail = format!(
            "only feed {:?}'s origin, site {}, can let others publish in it",
            record.name,
            record.genesis.origin.short()
        );
        return Err(Problem::new(403, "refused", "This site may not grant that", detail)
            .hint("offer pull, or let the origin invite the site"));
    }
    Ok(())
}

/// The feeds that a ticket names.
fn offered(site: &SiteStore, request: &api::InviteRequest, may: Switches) -> Result<Vec<Offer>, Problem> {
    let offer = |name: &String| {
        let (feed, record) = named(site, name)?;
        may_offer(site, feed, &record, may)?;
        Ok(Offer { feed: record.name, id: feed, kind: record.genesis.kind, may })
    };
    request.feeds.iter().map(offer).collect()
}

/// The first feeds of a ticket for all there are; the others are offered once the link is up. Where this site may not let others write,
/// reading is offered.
fn all_offered(site: &SiteStore, may: Switches) -> Result<Vec<Offer>, Problem> {
    let mut offers = Vec::new();
    for (feed, record) in site.store().feeds()? {
        let may = if is_admin(site, feed)? { may } else { outward(may.flip()).flip() };
        if !may.is_off() && offers.len() < TICKET_FEEDS_MAX {
            offers.push(Offer { feed: record.name, id: feed, kind: record.genesis.kind, may });
        }
    }
    Ok(offers)
}

/// What the inviting site allows is known before the first session: it said so while pairing.
fn said_while_pairing(mut peer: PeerState, admitted: &[Admitted]) -> PeerState {
    for one in admitted {
        let feed = one.genesis.feed_id();
        peer.stated.retain(|stated| stated.feed != feed);
        let said = Ok(Allowed { switches: one.may, filter: Filter::default() });
        peer.stated.push(Stated { feed, said });
    }
    peer.stated_at = Some(wall_clock());
    peer
}

/// A link with more feeds; what it says of those it had is replaced.
pub(super) fn extended(mut link: Link, feeds: Vec<LinkFeed>) -> Link {
    link.feeds.retain(|held| !feeds.iter().any(|more| more.feed == held.feed));
    link.feeds.extend(feeds);
    link
}

/// That the ticket has expired is this clock's word, which may be wrong.
fn in_date(ticket: &Ticket, now: Timestamp) -> Result<(), Problem> {
    if ticket.expires > now {
        return Ok(());
    }
    let ago_min = now.0.saturating_sub(ticket.expires.0) / 60_000;
    let detail = format!("by this site's clock the ticket expired {ago_min} min ago");
    Err(Problem::new(403, "refused", "The ticket has expired", detail)
        .hint("ask the site that made it for a fresh one; where its own clock says otherwise, one of the two is wrong"))
}

fn refused(reason: Reason) -> Problem {
    let hint = if reason == Reason::PairingTooOften {
        "wait a minute: a ticket that nobody has used is good still"
    } else if reason == Reason::KeyRevoked {
        "no ticket helps: the other site lets this key in again with `packetboat key readmit`"
    } else if reason == Reason::Restored {
        "the ticket is good still: once the other site writes again, or with a ticket to pull, which it can give at once"
    } else if reason == Reason::KeyOutdated {
        "no ticket helps: stop this node and put the site's newest key back as key/site.key, or make a new site"
    } else {
        "ask the other site for a fresh ticket: packetboat pair invite"
    };
    Problem::new(403, "refused", "The other site refused", reason.to_string()).hint(hint)
}

fn join_failed(error: JoinError) -> Problem {
    let detail = error.to_string();
    match error {
        JoinError::WrongSite(_) => Problem::new(403, "refused", "Another site answered", detail),
        JoinError::Busy => Problem::new(503, "unreachable", "The other site is busy", detail)
            .hint("try again in a moment: the ticket is good still"),
        JoinError::ClosedEarly => Problem::new(403, "refused", "The other site refused", detail),
        JoinError::Malformed(_) => {
            Problem::new(502, "misbehaved", "The other site's answer does not read", detail)
        }
        JoinError::Unreachable(_) | JoinError::Silent => {
            Problem::new(503, "unreachable", "The other site is not reached", detail)
        }
    }
}

pub(super) fn preview(ticket: &Ticket, check_words: Option<String>) -> api::TicketPreview {
    let offered = |offer: &Offer| api::OfferedFeed {
        feed: offer.feed.clone(),
        kind: offer.kind.to_string(),
        may: offer.may.to_string(),
        sentence: sentence(&offer.feed, offer.may),
    };
    api::TicketPreview {
        site: ticket.site.to_string(),
        name: ticket.name.clone(),
        addresses: ticket.addresses.clone(),
        expires_ms: ticket.expires.0,
        feeds: ticket.offers.iter().map(offered).collect(),
        every: ticket.every.map(|may| may.to_string()),
        check_words,
    }
}

/// What a joiner may do, in words.
fn sentence(feed: &str, may: Switches) -> String {
    let reads = if may.flows_in() { "may read" } else { "may not read" };
    let writes = match (may.out_add, may.out_delete) {
        (true, true) => "may publish and delete in",
        (true, false) => "may publish in, and not delete from,",
        (false, true) => "may delete from, and not publish in,",
        (false, false) => "may not change",
    };
    format!("The joining site {reads} {feed}. It {writes} {feed} there.")
}
