//! Tickets that were made here: kept without their secret, listed, and withdrawn while nobody has used them.

use data_encoding::HEXLOWER;
use protocol::id::{FeedId, SiteId};
use protocol::switches::Switches;
use protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::new_feeds::EVERY;
use super::problem::{not_found, usage};
use super::{Node, locked};
use crate::api::{self, Problem};
use crate::keeper::{SiteStore, wall_clock};
use crate::store::{ReadError, Shelf};

/// Tickets read in one page.
const PAGE_TICKETS: usize = 256;

/// In place of a ticket's name: all that nobody has used yet.
pub(super) const ALL_OPEN: &str = "all-open";

/// A ticket as the inviting site keeps it: no secret, only what checks its proof.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct TicketRecord {
    pub(super) proof_key: [u8; 32],
    pub(super) expires_ms: u64,
    pub(super) offers: Vec<(FeedId, String, Switches)>,
    /// What the joiner may do in every other feed; none: the offered ones only.
    pub(super) every: Option<Switches>,
    /// How long the joiner may do what is offered, in milliseconds from when it joins; none is without end.
    pub(super) grant_life_ms: Option<u64>,
    pub(super) used: Option<(SiteId, String)>,
    pub(super) withdrawn: bool,
    /// How often the store had awoken when it was made.
    #[serde(default)]
    pub(super) turn: u64,
}

/// When a ticket is looked at: at what time, and how often the store has awoken by then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    now_ms: u64,
    turn: u64,
}

impl Moment {
    pub(super) fn of(site: &SiteStore) -> Result<Self, ReadError> {
        Ok(Self { now_ms: wall_clock().0, turn: turn(site)? })
    }
}

/// How often the store has awoken.
pub(super) fn turn(site: &SiteStore) -> Result<u64, ReadError> {
    Ok(site.store().awakening()?.map_or(0, |awakening| awakening.turn))
}

impl TicketRecord {
    /// Whether it was made before the store was restored, copied or set back: it may have been used or withdrawn since, and nobody here knows.
    pub(super) fn is_of_an_earlier_life(&self, moment: Moment) -> bool {
        self.turn < moment.turn
    }

    fn is_open(&self, moment: Moment) -> bool {
        let over = self.withdrawn || self.is_of_an_earlier_life(moment) || self.expires_ms <= moment.now_ms;
        self.used.is_none() && !over
    }

    fn told(self, name: &[u8], moment: Moment) -> api::Pairing {
        let state = match &self.used {
            Some(_) => "used",
            None if self.withdrawn => "withdrawn",
            None if self.is_of_an_earlier_life(moment) => "void",
            None if self.expires_ms <= moment.now_ms => "expired",
            None => "open",
        };
        api::Pairing {
            name: HEXLOWER.encode(name),
            state: state.to_owned(),
            expires_ms: self.expires_ms,
            grant_life_ms: self.grant_life_ms,
            may: self
                .every
                .or_else(|| self.offers.first().map(|(_, _, may)| *may))
                .map_or_else(String::new, |may| may.to_string()),
            feeds: self
                .offers
                .into_iter()
                .map(|(_, name, _)| name)
                .chain(self.every.map(|_| EVERY.to_owned()))
                .collect(),
            site: self.used.as_ref().map(|(site, _)| site.to_string()),
            site_name: self.used.map(|(_, name)| name),
        }
    }
}

pub(super) fn put_ticket(site: &SiteStore, name: &[u8], record: &TicketRecord) -> Result<(), Problem> {
    let value = serde_json::to_vec(record)
        .map_err(|error| Problem::new(500, "bug", "A defect", error.to_string()))?;
    Ok(site.store().put_record(Shelf::Tickets, name, &value)?)
}

/// All tickets by their names.
fn tickets(site: &SiteStore) -> Result<Vec<(Vec<u8>, TicketRecord)>, ReadError> {
    let mut found = Vec::new();
    let mut from = Vec::new();
    loop {
        let page = site.store().records(Shelf::Tickets, &[], &from, PAGE_TICKETS)?;
        let Some((last, _)) = page.last() else { return Ok(found) };
        from = [last.as_slice(), &[0]].concat();
        let read = |(name, value): (Vec<u8>, Vec<u8>)| Some((name, serde_json::from_slice(&value).ok()?));
        found.extend(page.into_iter().filter_map(read));
    }
}

impl Node {
    /// All tickets made here.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn pairings(&self) -> Result<api::Pairings, Problem> {
        self.blocking(|site| {
            let moment = Moment::of(site)?;
            let told = tickets(site)?.into_iter().map(|(name, record)| record.told(&name, moment));
            Ok(api::Pairings { pairings: told.collect() })
        })
        .await
    }

    /// Withdraws a ticket that nobody has used, by its name or the beginning of it, or `all-open`. What was joined by a used one is
    /// ended by removing its link.
    ///
    /// # Errors
    /// There is none of that name, several begin so, it is not open any more, or the disk fails.
    pub async fn revoke_pairing(&self, name: &str) -> Result<api::Pairings, Problem> {
        let asked = name.to_ascii_lowercase();
        // A joiner is judged by a ticket while it holds this: one that is let in by then has used it up.
        let _edits = self.inner.link_edits.lock().await;
        let (withdrawn, until) = self.blocking(move |site| withdraw(site, &asked)).await?;
        *locked(&self.inner.admitted.pairing_until) = until;
        Ok(withdrawn)
    }

    /// Opens the door for joiners while a ticket is open.
    pub(super) fn open_pairings(&self) -> Result<(), ReadError> {
        let moment = Moment::of(&self.inner.site)?;
        for (_, record) in tickets(&self.inner.site)? {
            if record.is_open(moment) {
                self.open_until(Timestamp(record.expires_ms));
            }
        }
        Ok(())
    }

    pub(super) fn open_until(&self, expires: Timestamp) {
        let mut until = locked(&self.inner.admitted.pairing_until);
        *until = (*until).max(expires);
    }
}

/// Withdraws, and tells until when a ticket is still open.
fn withdraw(site: &SiteStore, asked: &str) -> Result<(api::Pairings, Timestamp), Problem> {
    let moment = Moment::of(site)?;
    let all = tickets(site)?;
    let is_asked = |name: &[u8]| asked == ALL_OPEN || HEXLOWER.encode(name).starts_with(asked);
    let named: Vec<_> = all.iter().filter(|(name, _)| is_asked(name)).collect();
    if asked != ALL_OPEN {
        match named.as_slice() {
            [] => {
                return Err(not_found("ticket", asked).hint("`packetboat pair list` names them"));
            }
            [(_, record)] if !record.is_open(moment) => {
                let detail = format!(
                    "ticket {asked:?} was used, withdrawn or has expired, or is older than this site's restore"
                );
                return Err(Problem::new(409, "conflict", "The ticket is not open", detail)
                    .hint("what a site was granted by it ends with `packetboat link remove`"));
            }
            [_] => {}
            [..] => {
                return Err(usage(format!("several tickets begin with {asked:?}: write more of the name")));
            }
        }
    }
    let mut withdrawn = Vec::new();
    for (name, record) in named.into_iter().filter(|(_, record)| record.is_open(moment)) {
        let record = TicketRecord { withdrawn: true, ..record.clone() };
        put_ticket(site, name, &record)?;
        withdrawn.push(record.told(name, moment));
    }
    let open = tickets(site)?.into_iter().filter(|(_, record)| record.is_open(moment));
    let until = open.map(|(_, record)| record.expires_ms).max().unwrap_or(0);
    Ok((api::Pairings { pairings: withdrawn }, Timestamp(until)))
}
