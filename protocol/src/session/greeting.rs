//! The handshake: who speaks which version, which feeds are on the link, and what flows over each. Both ends compute the same.

use serde::{Deserialize, Serialize};

use crate::fault::{Misbehaved, Reason};
use crate::filter::Filter;
use crate::frame::{Allowed, FeedAsk, Hello, Openness, VERSION_MAX, VERSION_MIN, Welcome};
use crate::id::{FeedId, SiteId, StoreId};
use crate::package::FeedKind;
use crate::succession::Succession;
use crate::switches::{Switches, Verdict};
use crate::time::Timestamp;

use super::Config;
use super::stop::Stop;

/// The protocol versions that a site speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    pub min: u16,
    pub max: u16,
}

impl Default for Versions {
    /// Those of this program.
    fn default() -> Self {
        Self { min: VERSION_MIN, max: VERSION_MAX }
    }
}

impl Versions {
    /// The highest version that both speak.
    #[must_use]
    pub fn meet(self, other: Self) -> Option<u16> {
        let version = self.max.min(other.max);
        (version >= self.min && version >= other.min).then_some(version)
    }
}

/// What one site states of one feed on a link, in its own terms: its mode where it dials, its grant where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    pub feed: FeedId,
    pub kind: FeedKind,
    pub switches: Switches,
    pub filter: Filter,
    /// Until when a listener's grant holds, by its own clock.
    pub expires: Option<Timestamp>,
    /// Where each site dials the other: what this one states on the link that this session serves as well, in its own terms.
    pub twin: Option<Twin>,
}

/// What a site states of a feed on the link of the other direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Twin {
    pub switches: Switches,
    /// Until when it holds, where it is a grant.
    pub expires: Option<Timestamp>,
}

impl Terms {
    /// Whether the grant's time is over.
    #[must_use]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        let over = |expires: Option<Timestamp>| expires.is_some_and(|expires| expires <= now);
        over(self.expires) || over(self.twin.and_then(|twin| twin.expires))
    }
}

/// What a site states on the twin link, by feed position. `asked`: the peer's order of feeds.
fn twins(config: &Config, asked: &[FeedId], now: Timestamp) -> Vec<(u16, Switches)> {
    let one = |(position, feed): (usize, &FeedId)| {
        let twin = config.terms.iter().find(|terms| terms.feed == *feed)?.twin?;
        let holds = twin.expires.is_none_or(|expires| expires > now);
        holds.then_some((u16::try_from(position).ok()?, twin.switches))
    };
    asked.iter().enumerate().filter_map(one).collect()
}

fn twin_at(twins: &[(u16, Switches)], position: usize) -> Option<Switches> {
    twins.iter().find(|(at, _)| usize::from(*at) == position).map(|(_, switches)| *switches)
}

/// The verdict on both links of two sites that dial each other, in the dialler's terms: what flows is what flows by either.
fn both_ways(
    verdict: Verdict,
    asked: Switches,
    allows_there: Option<Switches>,
    asks_here: Option<Switches>,
) -> Verdict {
    let (Some(allowed), Some(wanted)) = (allows_there, asks_here) else { return verdict };
    match verdict {
        Verdict::Invalid(Reason::FiltersApart | Reason::KindDiffers) => verdict,
        Verdict::NothingAsked | Verdict::Invalid(_) | Verdict::Warning { .. } | Verdict::Valid { .. } => {
            Verdict::of(verdict.effective().or(allowed.and(wanted)), asked.or(wanted))
        }
    }
}

/// What the other end said of one feed, before anything was judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stated {
    pub feed: FeedId,
    /// What it asks (a dialler) or allows (a listener), both in the dialler's terms; or why the feed cannot be on the link.
    pub said: Result<Allowed, Reason>,
}

/// What both ends know after the handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed {
    pub version: u16,
    pub peer_store: StoreId,
    /// The peer's name for itself.
    pub peer_name: String,
    /// The peer's clock minus this site's, in milliseconds.
    pub clock_ahead_ms: i64,
    pub feeds: Vec<AgreedFeed>,
    /// Whether the peer offers or takes up feeds that are not among these.
    pub peer_new_feeds: Openness,
    /// The peer's keys, as far as either end knows them.
    pub peer_succession: Succession,
}

/// One feed of an agreed link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgreedFeed {
    pub feed: FeedId,
    /// In the dialler's terms, the same at both ends.
    pub verdict: Verdict,
    /// What flows, in this site's terms.
    pub effective: Switches,
    /// What both ends let the link carry.
    pub filter: Filter,
    /// This site, where it dials to push and takes nothing in: it never hears of its grant, so its own log goes out and the other end, which
    /// knows who may write, judges it.
    pub pushes: Option<SiteId>,
}

/// What the dialler says.
pub(super) fn hello(config: &Config, now: Timestamp) -> Hello {
    let ask = |terms: &Terms| FeedAsk {
        feed: terms.feed,
        kind: terms.kind,
        ask: terms.switches,
        filter: terms.filter.clone(),
    };
    Hello {
        version_min: config.versions.min,
        version_max: config.versions.max,
        store: config.store,
        name: config.name.clone(),
        now,
        feeds: config.terms.iter().map(ask).collect(),
        new_feeds: config.new_feeds,
        twins: twins(config, &named(config), now),
        succession: config.keys.mine.clone(),
    }
}

fn named(config: &Config) -> Vec<FeedId> {
    config.terms.iter().map(|terms| terms.feed).collect()
}

/// What a dialler asks, as it said so.
pub(super) fn asked(hello: &Hello) -> Vec<Stated> {
    let stated = |ask: &FeedAsk| Stated {
        feed: ask.feed,
        said: Ok(Allowed { switches: ask.ask, filter: ask.filter.clone() }),
    };
    hello.feeds.iter().map(stated).collect()
}

/// What a listener allows, as it said so.
pub(super) fn answered(config: &Config, welcome: &Welcome) -> Vec<Stated> {
    let stated =
        |(terms, said): (&Terms, &Result<Allowed, Reason>)| Stated { feed: terms.feed, said: said.clone() };
    config.terms.iter().zip(&welcome.feeds).map(stated).collect()
}

/// The peer's keys, by what it says and what is known of it. [P-73]
fn keys_of_peer(config: &Config, said: &Succession) -> Result<Succession, Stop> {
    said.check(config.peer).map_err(|_forged| Misbehaved::FrameMalformed)?;
    // A peer that was restored may not know of its newest key; with a key too old to be taken it does not come this far.
    let longer = config.keys.peer.longer(said).cloned();
    longer.ok_or_else(|| Reason::KeyContested.into())
}

/// The listener's answer to HELLO.
///
/// Where nothing at all can flow, WELCOME still tells what would be allowed, and the reason of the first feed ends the session.
pub(super) fn welcome(
    config: &Config,
    hello: &Hello,
    now: Timestamp,
) -> Result<(Welcome, Result<Agreed, Reason>), Stop> {
    if config.me == config.peer {
        return Err(Reason::SameSite.into());
    }
    if let Some(reason) = config.refuses {
        return Err(reason.into());
    }
    let theirs = Versions { min: hello.version_min, max: hello.version_max };
    let version = config.versions.meet(theirs).ok_or(Reason::VersionsApart)?;
    let peer_succession = keys_of_peer(config, &hello.succession)?;
    let mut answers = Vec::with_capacity(hello.feeds.len());
    let mut feeds = Vec::with_capacity(hello.feeds.len());
    let asked: Vec<FeedId> = hello.feeds.iter().map(|ask| ask.feed).collect();
    let twins: Vec<(u16, Switches)> =
        twins(config, &asked, now).into_iter().map(|(at, asks)| (at, asks.flip())).collect();
    for (position, ask) in hello.feeds.iter().enumerate() {
        let allowed = allowed(config, ask, now);
        let (verdict, filter) = judged(&allowed, ask.ask, &ask.filter);
        let there = twin_at(&hello.twins, position);
        let verdict = both_ways(verdict, ask.ask, there, twin_at(&twins, position));
        answers.push(allowed);
        let effective = verdict.effective().flip();
        feeds.push(AgreedFeed { feed: ask.feed, verdict, effective, filter, pushes: None });
    }
    let welcome = Welcome {
        version,
        store: config.store,
        name: config.name.clone(),
        now,
        feeds: answers,
        new_feeds: config.new_feeds,
        twins,
        succession: config.keys.mine.clone(),
    };
    if feeds.iter().all(|on| on.effective.is_off()) && !config.new_feeds.meets(hello.new_feeds) {
        return Ok((welcome, Err(first_reason(&feeds))));
    }
    let agreed = Agreed {
        version,
        peer_store: hello.store,
        peer_name: hello.name.clone(),
        clock_ahead_ms: apart_ms(hello.now, now),
        feeds,
        peer_new_feeds: hello.new_feeds,
        peer_succession,
    };
    Ok((welcome, Ok(agreed)))
}

fn allowed(config: &Config, ask: &FeedAsk, now: Timestamp) -> Result<Allowed, Reason> {
    let terms = config.terms.iter().find(|terms| terms.feed == ask.feed).ok_or(Reason::FeedUnknown)?;
    if terms.kind != ask.kind {
        return Err(Reason::KindDiffers);
    }
    if terms.has_expired(now) {
        return Err(Reason::GrantExpired);
    }
    Ok(Allowed { switches: terms.switches.flip(), filter: terms.filter.clone() })
}

/// The verdict and the common filter: both ends compute them from the same two statements.
#[must_use]
pub fn judged(allowed: &Result<Allowed, Reason>, asked: Switches, filter: &Filter) -> (Verdict, Filter) {
    match allowed {
        Err(reason) => (Verdict::Invalid(*reason), filter.clone()),
        Ok(allowed) => {
            let both = filter.and(&allowed.filter);
            let verdict = Verdict::of(allowed.switches, asked);
            let nothing = both.is_empty() && !verdict.effective().is_off();
            (if nothing { Verdict::Invalid(Reason::FiltersApart) } else { verdict }, both)
        }
    }
}

/// What the dialler makes of WELCOME: the verdicts, computed anew from its own asks.
pub(super) fn agree(config: &Config, welcome: Welcome, now: Timestamp) -> Result<Agreed, Stop> {
    if config.me == config.peer {
        return Err(Reason::SameSite.into());
    }
    if welcome.version < config.versions.min || welcome.version > config.versions.max {
        return Err(Reason::VersionsApart.into());
    }
    if welcome.feeds.len() != config.terms.len() {
        return Err(Misbehaved::FrameMalformed.into());
    }
    let peer_succession = keys_of_peer(config, &welcome.succession)?;
    let said = twins(config, &named(config), now);
    let feeds: Vec<AgreedFeed> = config
        .terms
        .iter()
        .zip(&welcome.feeds)
        .enumerate()
        .map(|(position, (terms, answer))| {
            let (verdict, filter) = judged(answer, terms.switches, &terms.filter);
            let here = twin_at(&welcome.twins, position);
            let verdict = both_ways(verdict, terms.switches, twin_at(&said, position), here);
            {
                let effective = verdict.effective();
                let pushes = (effective.flows_out() && !effective.flows_in()).then_some(config.me);
                AgreedFeed { feed: terms.feed, verdict, effective, filter, pushes }
            }
        })
        .collect();
    if feeds.iter().all(|on| on.effective.is_off()) && !config.new_feeds.meets(welcome.new_feeds) {
        return Err(first_reason(&feeds).into());
    }
    Ok(Agreed {
        version: welcome.version,
        peer_store: welcome.store,
        peer_name: welcome.name,
        clock_ahead_ms: apart_ms(welcome.now, now),
        feeds,
        peer_new_feeds: welcome.new_feeds,
        peer_succession,
    })
}

fn first_reason(feeds: &[AgreedFeed]) -> Reason {
    let invalid = feeds.iter().find_map(|on| match on.verdict {
        Verdict::Invalid(reason) => Some(reason),
        Verdict::NothingAsked | Verdict::Warning { .. } | Verdict::Valid { .. } => None,
    });
    invalid.unwrap_or(Reason::NothingAsked)
}

fn apart_ms(theirs: Timestamp, ours: Timestamp) -> i64 {
    let signed = |stamp: Timestamp| i64::try_from(stamp.0).unwrap_or(i64::MAX);
    signed(theirs).saturating_sub(signed(ours))
}
