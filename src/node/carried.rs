//! What the links of this site carry of a feed: which bytes are still to come, and which stay away on purpose.

use std::collections::BTreeMap;

use protocol::filter::Filter;
use protocol::id::{FeedId, OpId};
use protocol::link::{Fetch, Link};
use protocol::op::Publish;
use protocol::session::view::Missing;

use super::heard::judge;
use crate::api::Problem;
use crate::keeper::{SiteStore, wall_clock};
use crate::store::{BlobState, ReadError};

/// Why a version's bytes are not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Away {
    /// A link will bring them.
    Pending,
    /// A link brings them when a client asks.
    OnDemand,
    /// No link lets them pass.
    FilteredOut,
    /// They were dropped here, and come when somebody asks.
    Evicted,
    /// The feed's quota has no room for them.
    OverQuota,
}

/// What each link that brings a feed lets pass, as far as both ends are known, and when it fetches.
fn ways(site: &SiteStore, feed: FeedId) -> Result<Vec<(Filter, Fetch)>, ReadError> {
    let mut ways = Vec::new();
    for link in site.store().links()? {
        let Some(on) = link.on(feed).filter(|on| on.switches.flows_in()) else { continue };
        let peer = site.store().peer(&link.name)?;
        let filter = judge(&link, on, &peer, wall_clock())
            .map_or_else(|| on.filter.clone(), |judgement| judgement.filter);
        ways.push((filter, link.fetch));
    }
    Ok(ways)
}

/// The bytes of a feed that some link is to bring by itself. Where no link carries the feed, all that are not here.
pub(super) fn missing(site: &SiteStore, feed: FeedId) -> Result<Vec<Missing>, ReadError> {
    let ways = ways(site, feed)?;
    if ways.is_empty() {
        return site.store().missing_blobs(feed, site.look(), &Filter::default());
    }
    let mut all = BTreeMap::new();
    for (filter, _) in ways.iter().filter(|(_, fetch)| *fetch == Fetch::Always) {
        for one in site.store().missing_blobs(feed, site.look(), filter)? {
            all.insert(one.blob, one);
        }
    }
    Ok(all.into_values().collect())
}

/// Whether some link lets packages of a feed come here, as far as both ends are known.
fn comes_from_anywhere(site: &SiteStore, feed: FeedId) -> Result<bool, ReadError> {
    for link in site.store().links()? {
        let Some(on) = link.on(feed).filter(|on| on.switches.in_add) else { continue };
        let judged = judge(&link, on, &site.store().peer(&link.name)?, wall_clock());
        let lets_in = judged.is_none_or(|judgement| {
            let dialler = judgement.verdict.effective();
            if link.is_outgoing() { dialler.in_add } else { dialler.out_add }
        });
        if lets_in {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Blobs of what is served in a feed that are not here and that no link can bring.
pub(super) fn from_nowhere(site: &SiteStore, feed: FeedId) -> Result<usize, ReadError> {
    if comes_from_anywhere(site, feed)? {
        return Ok(0);
    }
    Ok(site.store().missing_blobs(feed, site.look(), &Filter::default())?.len())
}

/// Why the bytes of a publish that is served are not here.
pub(super) fn away(site: &SiteStore, feed: FeedId, op: OpId, publish: &Publish) -> Result<Away, ReadError> {
    let at = &publish.coordinate;
    if site.store().is_evicted(feed, &at.name, &at.version, op)? {
        return Ok(Away::Evicted);
    }
    away_if_fetched(site, feed, op, publish)
}

/// The same, once it is no more evicted.
fn away_if_fetched(site: &SiteStore, feed: FeedId, op: OpId, publish: &Publish) -> Result<Away, ReadError> {
    let mut lacking = Vec::new();
    for file in &publish.manifest.files {
        if !matches!(site.store().blob_state(file.blob)?, BlobState::Complete { .. }) {
            lacking.push((file.blob, file.size));
        }
    }
    if site.store().over_quota(feed, lacking)?.is_some() {
        return Ok(Away::OverQuota);
    }
    let ways = ways(site, feed)?;
    let mut away = if ways.is_empty() { Away::Pending } else { Away::FilteredOut };
    for (filter, fetch) in ways {
        if site.store().passes(feed, (op, publish), site.look(), &filter)? {
            match fetch {
                Fetch::Always => return Ok(Away::Pending),
                Fetch::OnDemand => away = Away::OnDemand,
            }
        }
    }
    Ok(away)
}

/// Refuses to fetch what no link lets pass, and names the filters that leave it out, each as both ends' come to.
pub(super) fn refuse_left_out(
    site: &SiteStore,
    feed: FeedId,
    op: OpId,
    publish: &Publish,
) -> Result<(), Problem> {
    if away_if_fetched(site, feed, op, publish)? != Away::FilteredOut {
        return Ok(());
    }
    let mut by = Vec::new();
    for link in site.store().links()? {
        let Some(on) = link.on(feed).filter(|on| on.switches.flows_in()) else { continue };
        let peer = site.store().peer(&link.name)?;
        let judged = judge(&link, on, &peer, wall_clock());
        let filter = judged.map_or_else(|| on.filter.clone(), |judgement| judgement.filter);
        by.push(format!("link {} ({filter})", link.name));
    }
    let detail = format!("{} is left out by the filter of {}", publish.coordinate, by.join(", "));
    let hint = "widen it where it was set: packetboat link set LINK --filter …; then sync";
    Err(Problem::new(409, "filtered-out", "A filter leaves the version out", detail).hint(hint))
}

/// Blobs of a link's feeds that are to come and for which quotas have no room.
pub(super) fn parked_by_quota(site: &SiteStore, link: &Link) -> Result<u64, ReadError> {
    let mut parked = 0;
    for on in link.feeds.iter().filter(|on| on.switches.flows_in()) {
        if site.store().quota(on.feed)?.is_some() {
            let missing = site.store().missing_blobs(on.feed, site.look(), &on.filter)?;
            let all = missing.len();
            parked += all.saturating_sub(site.store().within_quota(on.feed, missing)?.len()) as u64;
        }
    }
    Ok(parked)
}
