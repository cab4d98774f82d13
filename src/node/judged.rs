//! Joiners judged: whether their ticket is proved and good, and what they get by it.

use protocol::fault::Reason;
use protocol::filter::Filter;
use protocol::id::{FeedId, SiteId};
use protocol::link::{Link, LinkFeed, NewFeeds};
use protocol::op::Rights;
use protocol::switches::Switches;
use protocol::ticket::{Admitted, Joining, proved};
use protocol::time::Timestamp;

use super::keys::is_revoked;
use super::locked;
use super::new_feeds::{is_admin, let_write};
use super::pairing::extended;
use super::rotation::{heard, note_keys};
use super::tickets::{Moment, TicketRecord, put_ticket};
use crate::api::Problem;
use crate::keeper::{SiteStore, wall_clock};
use crate::store::{ReadError, Shelf};

/// What a ticket offers now, where the feed it names was merged into another meanwhile: that one, if this site may offer as much of it.
fn followed(
    site: &SiteStore,
    feed: FeedId,
    name: String,
    may: Switches,
) -> Result<(FeedId, String, Switches), Problem> {
    let into = site.store().merged_into(feed)?;
    let Some((into, record)) = into.and_then(|into| Some((into, site.store().feed(into).ok()??))) else {
        return Ok((feed, name, may));
    };
    let may_all = !may.flows_out() || is_admin(site, into)?;
    Ok(if may_all { (into, record.name, may) } else { (feed, name, may) })
}

fn failed(error: &dyn std::fmt::Display) -> Reason {
    tracing::error!(%error, "a joiner could not be judged");
    Reason::Busy
}

/// That a site which waits to hear what it said grants nothing new is no failure of its own.
fn unsaid(problem: &Problem) -> Reason {
    if problem.code == "restored" { Reason::Restored } else { failed(&problem.detail) }
}

/// Whether a site was given as much already, for as long. A site that was restored says nothing new before it heard what it had said, and whoever it
/// granted this before may be the one to tell it.
fn may_write(
    site: &SiteStore,
    feed: FeedId,
    peer: SiteId,
    until: Option<Timestamp>,
) -> Result<bool, ReadError> {
    let Some(authority) = site.store().authority(feed)? else { return Ok(false) };
    if authority.is_origin(peer) {
        return Ok(true);
    }
    let grants = authority.grants().into_iter().filter(|(grantee, _)| *grantee == peer);
    Ok(grants.flat_map(|(_, held)| held).any(|held| {
        let lasts = held.grant.expires.is_none_or(|end| until.is_some_and(|until| end >= until));
        let Rights { publish, delete_wide, .. } = held.grant.rights;
        !held.revoked && publish && delete_wide && held.grant.prefix.is_empty() && lasts
    }))
}

/// The ticket that a joiner proved, if it is good.
fn good(
    site: &SiteStore,
    joining: &Joining,
    (shown, exporter): (SiteId, &[u8; 32]),
) -> Result<TicketRecord, Reason> {
    let value = site.store().record(Shelf::Tickets, &joining.ticket.0).map_err(|error| failed(&error))?;
    let value = value.ok_or(Reason::TicketUnknown)?;
    let record: TicketRecord = serde_json::from_slice(&value).map_err(|error| failed(&error))?;
    if !proved(&record.proof_key, exporter, shown, joining.proof) {
        return Err(Reason::TicketNotProved);
    }
    if record.used.is_some() {
        return Err(Reason::TicketUsed);
    }
    let moment = Moment::of(site).map_err(|error| failed(&error))?;
    if record.withdrawn || record.is_of_an_earlier_life(moment) {
        return Err(Reason::GrantWithdrawn);
    }
    if record.expires_ms <= wall_clock().0 {
        return Err(Reason::TicketExpired);
    }
    Ok(record)
}

/// Whether a joiner shows a key by which it is taken for itself: not an older one than the newest that it ever showed here.
fn shows_its_key(site: &SiteStore, joiner: SiteId, joining: &Joining, shown: SiteId) -> Result<(), Reason> {
    let mut keys = site.store().keys_of(joiner).map_err(|error| failed(&error))?;
    if keys.succession.longer(&joining.succession).is_none() {
        return Err(Reason::KeyContested);
    }
    heard(&mut keys, joiner, &joining.succession, Some(shown));
    if keys.taken(joiner).contains(&shown) { Ok(()) } else { Err(Reason::KeyOutdated) }
}

/// Judges a joiner. "Used" is durable before the answer exists, so of two joiners with one ticket one wins; what cannot be given uses none up.
pub(super) fn judged(
    site: &SiteStore,
    link: Link,
    joining: &Joining,
    (shown, exporter): (SiteId, &[u8; 32]),
) -> Result<(Link, Vec<Admitted>, Option<Switches>), Reason> {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = locked(&ONE_AT_A_TIME);
    let joiner = link.peer;
    if is_revoked(site, joiner).map_err(|error| failed(&error))? {
        return Err(Reason::KeyRevoked);
    }
    let mut record = good(site, joining, (shown, exporter))?;
    shows_its_key(site, joiner, joining, shown)?;
    let expires = record.grant_life_ms.map(|life| Timestamp(wall_clock().0.saturating_add(life)));
    let (mut feeds, mut on_link) = (Vec::new(), Vec::new());
    for (feed, name, may) in record.offers.clone() {
        let (feed, name, may) = followed(site, feed, name, may).map_err(|problem| failed(&problem.detail))?;
        let known = site.store().feed(feed).map_err(|error| failed(&error))?.ok_or(Reason::FeedUnknown)?;
        if may.flows_out() && !may_write(site, feed, joiner, expires).map_err(|error| failed(&error))? {
            let_write(site, feed, joiner, &joining.name, expires).map_err(|problem| unsaid(&problem))?;
        }
        feeds.push(Admitted { genesis: known.genesis, feed: name, may });
        on_link.push(LinkFeed { feed, switches: may.flip(), filter: Filter::default(), expires });
    }
    record.used = Some((joiner, joining.name.clone()));
    put_ticket(site, &joining.ticket.0, &record).map_err(|problem| failed(&problem.detail))?;
    let mut link = extended(link, on_link);
    if let Some(may) = record.every {
        let (takes, filter) = (may.flows_out(), Filter::default());
        link.new_feeds = Some(NewFeeds { offers: true, takes, switches: may.flip(), filter, expires });
    }
    let told = site.key().succession().generation();
    note_keys(site, joiner, |keys| {
        heard(keys, joiner, &joining.succession, Some(shown));
        keys.told = keys.told.max(told);
    })
    .map_err(|problem| failed(&problem.detail))?;
    site.store().put_link(&link).map_err(|error| failed(&error))?;
    Ok((link, feeds, record.every))
}
