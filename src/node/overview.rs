//! How this site stands with others: lag and age each way, what is pending, and when it will be here, as far as that is known.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use protocol::feed::Standing;
use protocol::id::{BlobId, FeedId, LogId};
use protocol::lag::ops_behind;
use protocol::limits::EXTENT_BYTES;
use protocol::link::{Fetch, Link, LinkFeed};
use protocol::log::Entry;
use protocol::op::{Body, Op, Place};
use protocol::session::tally::Tally;
use protocol::session::view::Missing;
use protocol::session::{Agreed, Memory};
use protocol::switches::{Switches, Verdict};
use protocol::time::Timestamp;

use super::carried;
use super::heard::{judge, verdicts};
use super::sessions::{LinkState, Pacing};
use super::{Node, locked};
use crate::api::keeping::Damage;
use crate::api::{self, Problem};
use crate::keeper::{SiteStore, own_log, wall_clock};
use crate::statement::forks::unresolved;
use crate::store::{BlobState, FeedRecord, PeerState, ReadError, Shelf};

/// How long counts hold where an op waits until it is due, which no append tells.
const PARKED_COUNTS_MS: u64 = 10_000;
/// Ops that one look at a lag reads to tell deletions apart; a longer lag is told without.
const LAG_READ_OPS_MAX: u64 = 10_000;
const LAG_READ_BYTES: u64 = 1 << 20;
/// A walk over what is missing is dear from here on, and then takes place once in so many times of its length.
const DEAR_WALK_MS: u64 = 200;
const DEAR_WALK_EVERY: u64 = 10;
/// A measured rate reaches back at most so far, so that it is that of now.
const PACE_WINDOW_MS: u64 = 10_000;

/// What a walk over all versions of a feed gave, good until the feed changes.
#[derive(Debug, Clone)]
struct Count {
    key: [u8; 32],
    at: Timestamp,
    parked: bool,
    packages: u64,
    state_root: String,
}

/// Bytes of a feed that are still to come.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pending {
    pub(super) blobs: u64,
    pub(super) bytes: u64,
    /// When the oldest version was published that waits for them.
    pub(super) oldest_ms: Option<u64>,
}

/// What was found pending, and how dear it was to find out.
#[derive(Debug, Clone, Copy)]
struct Found {
    written: u64,
    at: Timestamp,
    took_ms: u64,
    pending: Pending,
}

/// Counts of feeds, so that asking twice walks once.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    feeds: Arc<Mutex<BTreeMap<FeedId, Count>>>,
    pending: Arc<Mutex<BTreeMap<FeedId, Found>>>,
}

impl Counts {
    /// Versions served, and the root of them.
    pub(super) fn of(
        &self,
        site: &SiteStore,
        feed: FeedId,
        record: &FeedRecord,
    ) -> Result<(u64, String), ReadError> {
        let (key, now) = (count_key(site, feed, record)?, wall_clock());
        if let Some(count) = locked(&self.feeds).get(&feed) {
            let due = count.parked && now.0.saturating_sub(count.at.0) > PARKED_COUNTS_MS;
            if count.key == key && !due {
                return Ok((count.packages, count.state_root.clone()));
            }
        }
        let (packages, parked) = counted(site, feed)?;
        let state_root = BlobId(site.store().state_root(feed, site.look())?.0).to_string();
        let count = Count { key, at: now, parked, packages, state_root: state_root.clone() };
        locked(&self.feeds).insert(feed, count);
        Ok((packages, state_root))
    }

    /// Has a feed counted anew.
    pub(super) fn forget(&self, feed: FeedId) {
        locked(&self.feeds).remove(&feed);
    }

    /// What is still to come. While a transfer brings thousands of blobs a walk that is dear is not repeated at each look.
    pub(super) fn pending(&self, site: &SiteStore, feed: FeedId) -> Result<Pending, ReadError> {
        let (written, now) = (site.store().written(), wall_clock());
        if let Some(found) = locked(&self.pending).get(&feed) {
            let age_ms = now.0.saturating_sub(found.at.0);
            let dear =
                found.took_ms >= DEAR_WALK_MS && age_ms < found.took_ms.saturating_mul(DEAR_WALK_EVERY);
            if found.written == written || dear {
                return Ok(found.pending);
            }
        }
        let missing = carried::missing(site, feed)?;
        let pending = Pending {
            blobs: missing.len() as u64,
            bytes: bytes_to_come(site, &missing)?,
            oldest_ms: missing.iter().map(|one| one.published.0).min(),
        };
        let at = wall_clock();
        let found = Found { written, at, took_ms: at.0.saturating_sub(now.0), pending };
        locked(&self.pending).insert(feed, found);
        Ok(pending)
    }

    /// A run ended: what was pending before is no guide any more.
    pub(super) fn look_again(&self) {
        locked(&self.pending).clear();
    }
}

/// Changes with everything that decides what stands in a feed but the time.
fn count_key(site: &SiteStore, feed: FeedId, record: &FeedRecord) -> Result<[u8; 32], ReadError> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{record:?}").as_bytes());
    for signed in site.store().heads(feed)? {
        hasher.update(signed.head.log.author.as_bytes());
        hasher.update(&signed.head.log.epoch.to_le_bytes());
        hasher.update(&signed.head.len.to_le_bytes());
        hasher.update(&signed.head.root);
    }
    // Of deletions that wait, and of words about rights that are known by proof, no log here tells.
    for shelf in [Shelf::Holds, Shelf::Rights] {
        for (key, value) in site.store().records(shelf, feed.as_bytes(), &[], usize::MAX)? {
            hasher.update(&key);
            hasher.update(&value);
        }
    }
    Ok(*hasher.finalize().as_bytes())
}

fn counted(site: &SiteStore, feed: FeedId) -> Result<(u64, bool), ReadError> {
    let (mut packages, mut parked) = (0, false);
    site.store().each_item(feed, site.look(), |_, item| {
        packages += u64::from(item.winner.is_some());
        parked |= item.standing == Standing::Parked;
        Ok::<_, ReadError>(())
    })?;
    Ok((packages, parked))
}

/// A link taken down at once, to be told from the store.
pub(super) struct Seen<'a> {
    pub(super) link: &'a Link,
    pub(super) agreed: Option<&'a Agreed>,
    pub(super) peer: &'a PeerState,
    pub(super) memory: &'a Memory,
    pub(super) rate_bytes_per_s: Option<u64>,
    pub(super) counts: &'a Counts,
}

/// How every feed of a link stands.
pub(super) fn feeds_told(site: &SiteStore, seen: &Seen<'_>) -> Result<Vec<api::LinkFeed>, Problem> {
    let now = wall_clock();
    let verdicts = verdicts(seen.link, seen.agreed, seen.peer, now);
    let mut feeds = Vec::new();
    for on in &seen.link.feeds {
        let Some(record) = site.store().feed(on.feed)? else { continue };
        feeds.push(feed_told(site, seen, on, record, verdicts.get(&on.feed).copied())?);
    }
    Ok(feeds)
}

fn feed_told(
    site: &SiteStore,
    seen: &Seen<'_>,
    on: &LinkFeed,
    record: FeedRecord,
    verdict: Option<Verdict>,
) -> Result<api::LinkFeed, Problem> {
    let store = site.store();
    let outgoing = seen.link.is_outgoing();
    let heads = store.heads(on.feed)?;
    let ours: BTreeMap<LogId, u64> = heads.iter().map(|signed| (signed.head.log, signed.head.len)).collect();
    let told = seen.memory.heads.iter().filter(|(log, ..)| log.feed == on.feed);
    let theirs: BTreeMap<LogId, u64> = told.map(|(log, reach)| (*log, reach.len)).collect();
    let brings = on.switches.flows_in() && seen.link.fetch == Fetch::Always;
    let pending = if brings { seen.counts.pending(site, on.feed)? } else { Pending::default() };
    let effective = verdict.map(Verdict::effective);
    let here = effective.map(|dialler| if outgoing { dialler } else { dialler.flip() });
    let flows = here.unwrap_or(on.switches);
    let lacking = if flows.flows_out() {
        lacking_there(site, on.feed, &ours, &theirs, seen.peer)?
    } else {
        (0, Some(0))
    };
    let judgement = judge(seen.link, on, seen.peer, wall_clock());
    let stated = if outgoing { on.switches } else { on.switches.flip() };
    Ok(api::LinkFeed {
        feed: record.name,
        stated: stated.to_string(),
        effective: here.map(|here| here.to_string()),
        verdict: verdict.map(|verdict| verdict_word(verdict).to_owned()),
        reason: verdict.and_then(|verdict| {
            let asked = judgement.as_ref().map(|judgement| judgement.asked);
            verdict_reason(verdict, asked.or_else(|| outgoing.then_some(on.switches)), outgoing)
        }),
        filter: judgement.map_or_else(|| on.filter.to_string(), |judgement| judgement.filter.to_string()),
        grant_expires_ms: on.expires.map(|at| at.0),
        flows_in: flows.flows_in(),
        flows_out: flows.flows_out(),
        ops_behind: ops_behind(&ours, &theirs),
        missing_blobs: pending.blobs,
        missing_bytes: pending.bytes,
        oldest_missing_ms: pending.oldest_ms,
        eta_ms: seen.rate_bytes_per_s.and_then(|rate| pending.bytes.saturating_mul(1000).checked_div(rate)),
        ops_behind_there: lacking.0,
        deletes_behind_there: lacking.1,
    })
}

/// Ops of this site's that the other end neither acknowledged nor showed, and how many of them delete, where that is not too long to read.
fn lacking_there(
    site: &SiteStore,
    feed: FeedId,
    ours: &BTreeMap<LogId, u64>,
    theirs: &BTreeMap<LogId, u64>,
    peer: &PeerState,
) -> Result<(u64, Option<u64>), ReadError> {
    let Some(authority) = site.store().authority(feed)? else { return Ok((0, Some(0))) };
    let travel: BTreeMap<LogId, u64> = ours
        .iter()
        .filter(|(log, _)| authority.is_author(log.author) && !authority.stays_home(**log))
        .map(|(log, len)| (*log, *len))
        .collect();
    let held: BTreeMap<LogId, u64> =
        travel.keys().map(|log| (*log, peer.held(*log).max(theirs.get(log).copied().unwrap_or(0)))).collect();
    let lacking = ops_behind(&held, &travel);
    if lacking > LAG_READ_OPS_MAX {
        return Ok((lacking, None));
    }
    let mut deletes = 0;
    for (log, len) in travel {
        deletes += deletes_from(site, log, held.get(&log).copied().unwrap_or(0), len)?;
    }
    Ok((lacking, Some(deletes)))
}

fn deletes_from(site: &SiteStore, log: LogId, mut from: u64, len: u64) -> Result<u64, ReadError> {
    let mut deletes = 0;
    while from < len {
        let batches = site.store().batches(log, from, LAG_READ_BYTES)?;
        let Some(last) = batches.last() else { break };
        let next = last.head.head.len;
        for batch in &batches {
            let mut seq = batch.first;
            for entry in &batch.entries {
                if seq >= from && is_delete(log, seq, entry) {
                    deletes += 1;
                }
                seq = seq.saturating_add(entry.span());
            }
        }
        if next <= from {
            break;
        }
        from = next;
    }
    Ok(deletes)
}

fn is_delete(log: LogId, seq: u64, entry: &Entry) -> bool {
    let Entry::Op(statement) = entry else { return false };
    let op = Op::decode_statement(Place { log, seq }, statement);
    op.is_ok_and(|op| matches!(op.body, Body::Delete(_)))
}

/// Of blobs that came in part only what is not here yet.
fn bytes_to_come(site: &SiteStore, missing: &[Missing]) -> Result<u64, ReadError> {
    let mut bytes: u64 = 0;
    for one in missing {
        let rest = match site.store().blob_state(one.blob)? {
            BlobState::Missing => one.size,
            BlobState::Complete { .. } => 0,
            BlobState::Partial { missing, .. } => {
                let extents = missing.into_iter().flatten().count().saturating_mul(EXTENT_BYTES);
                u64::try_from(extents).unwrap_or(u64::MAX).min(one.size)
            }
        };
        bytes = bytes.saturating_add(rest);
    }
    Ok(bytes)
}

pub(super) const fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::NothingAsked => "nothing asked",
        Verdict::Invalid(_) => "invalid",
        Verdict::Warning { .. } => "warning",
        Verdict::Valid { .. } => "valid",
    }
}

fn verdict_reason(verdict: Verdict, asked: Option<Switches>, outgoing: bool) -> Option<String> {
    let who = if outgoing { "the other site" } else { "this site" };
    match verdict {
        Verdict::Invalid(reason) => Some(reason.to_string()),
        Verdict::Warning { effective } => Some(asked.map_or_else(
            || format!("{who} allows only part of what is asked: {effective}"),
            |asked| format!("{who} does not allow {}", switch_list(asked.without(effective))),
        )),
        Verdict::NothingAsked | Verdict::Valid { .. } => None,
    }
}

/// Switches by their names, whatever presets they make.
pub(super) fn switch_list(switches: Switches) -> String {
    let named = [
        (switches.in_add, "in.add"),
        (switches.in_delete, "in.delete"),
        (switches.out_add, "out.add"),
        (switches.out_delete, "out.delete"),
    ];
    let on: Vec<&str> = named.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
    if on.is_empty() { "nothing".to_owned() } else { on.join(", ") }
}

impl Pacing {
    /// Bytes a second between the two moments; nothing where they are too near each other.
    pub(super) fn bytes_per_s(self) -> Option<u64> {
        let ms = self.last.0.0.saturating_sub(self.first.0.0);
        let bytes = self.last.1.saturating_sub(self.first.1);
        bytes.saturating_mul(1000).checked_div(ms).filter(|rate| *rate > 0)
    }
}

impl Node {
    /// Notes how much has come, for a rate.
    pub(super) fn paced(&self, link: &str, tally: &Tally) {
        let now = (wall_clock(), tally.content_in_bytes);
        self.with_link(link, |state| {
            let first = match state.pace {
                Some(pace) if now.0.0.saturating_sub(pace.first.0.0) <= PACE_WINDOW_MS => pace.first,
                Some(pace) => pace.last,
                None => now,
            };
            state.pace = Some(Pacing { first, last: now });
        });
    }

    /// Everything at a glance. `max_lag_ms`: a link that took in everything longer ago than this is behind.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn status(&self, max_lag_ms: Option<u64>) -> Result<api::Status, Problem> {
        let (feeds, links) = (self.feeds().await?.feeds, self.links().await?.links);
        let webhooks = self.webhooks().await?.webhooks;
        let now_ms = wall_clock().0;
        let (mut verdict, mut verdict_words) = judged(&links, max_lag_ms, now_ms);
        let waiting: u64 = self.holds().await?.holds.iter().map(|hold| hold.deletes).sum();
        if waiting > 0 {
            verdict_words =
                format!("{verdict_words}; {waiting} deletions wait for a person: packetboat holds");
        }
        let (damage, troubles) = self
            .blocking(|site| {
                let damage = super::verify::damage(site)?;
                let troubles = troubles(site, &damage)?;
                Ok((damage, troubles))
            })
            .await?;
        if !troubles.is_empty() {
            verdict = verdict.max(3);
            verdict_words = format!("attention: {}; {verdict_words}", troubles.join("; "));
        }
        let (site, scrub, space) = (self.site(), self.scrub_told(), self.space().await);
        Ok(api::Status { site, feeds, links, webhooks, verdict, verdict_words, now_ms, damage, scrub, space })
    }

    /// When every site that a feed comes from had nothing more than is here, as RFC 3339 has it; nothing where it comes from nowhere,
    /// or not everything ever came.
    pub async fn feed_as_of(&self, feed: &str) -> Option<String> {
        let brings = |state: &LinkState| state.link.feeds.iter().any(|on| on.switches.flows_in());
        if !locked(&self.inner.links).values().any(brings) {
            return None;
        }
        let feed = feed.to_owned();
        let id = self.blocking(move |site| Ok(super::feeds::named(site, &feed)?.0)).await.ok()?;
        let links = locked(&self.inner.links);
        let bring = links.values().filter(|state| state.link.on(id).is_some_and(|on| on.switches.flows_in()));
        let oldest = bring.map(|state| state.peer.in_as_of).min().flatten()?;
        let at = jiff::Timestamp::from_millisecond(i64::try_from(oldest.0).ok()?).ok()?;
        Some(at.to_string())
    }
}

/// What asks for somebody's attention at this site, however its links are.
fn troubles(site: &SiteStore, damage: &Damage) -> Result<Vec<String>, ReadError> {
    let store = site.store();
    let (mut forked, mut waiting) = (Vec::new(), Vec::new());
    for (feed, record) in store.feeds()? {
        if !unresolved(store, feed, None)?.is_empty() {
            forked.push(record.name.clone());
        }
        if store.waits(feed)?.is_some() {
            waiting.push(record.name);
        }
    }
    let mut troubles = Vec::new();
    if own_log::is_superseded(store, &site.key())? {
        troubles
            .push("this site has an older key of its own, and says nothing: packetboat doctor".to_owned());
    }
    if !damage.is_nothing() {
        troubles.push("damage took something that is not back: packetboat doctor".to_owned());
    }
    if !forked.is_empty() {
        let feeds = forked.join(", ");
        troubles.push(format!(
            "an author signed two histories in {feeds}, and one of them waits: packetboat forks"
        ));
    }
    if !waiting.is_empty() {
        let feeds = waiting.join(", ");
        troubles.push(format!(
            "this site writes nothing in {feeds} until a peer told it what it said: packetboat doctor"
        ));
    }
    Ok(troubles)
}

/// The exit code of an overview, and why.
fn judged(links: &[api::Link], max_lag_ms: Option<u64>, now_ms: u64) -> (u8, String) {
    let bad = |link: &&api::Link| {
        // A record that still says so while nothing runs was left by a process that was killed.
        let ended = |run: &api::Run| !(run.outcome == "running" && link.running);
        let last = link.last_run.as_ref();
        let lacks = |run: &api::Run| run.outcome != "done" || run.blobs_missing_there > 0;
        !link.paused && last.is_some_and(|run| lacks(run) && ended(run))
    };
    let behind = |link: &&api::Link| {
        let lags = |on: &api::LinkFeed| on.missing_blobs > 0 || on.ops_behind > 0;
        link.feeds.iter().any(lags)
    };
    let old = |link: &&api::Link| {
        let age = |as_of: Option<u64>| now_ms.saturating_sub(as_of.unwrap_or(0));
        let flows_in = link.feeds.iter().any(|on| on.flows_in);
        let flows_out = link.feeds.iter().any(|on| on.flows_out);
        max_lag_ms.is_some_and(|most| {
            (flows_in && age(link.as_of_ms) > most) || (flows_out && age(link.peer_as_of_ms) > most)
        })
    };
    let names = |of: &dyn Fn(&&api::Link) -> bool| {
        links.iter().filter(of).map(|link| link.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let (failing, lagging, stale) = (names(&bad), names(&behind), names(&old));
    if !failing.is_empty() {
        (3, format!("attention: the last run of {failing} was not done"))
    } else if !lagging.is_empty() {
        (3, format!("behind: bytes or ops are still to come over {lagging}"))
    } else if !stale.is_empty() {
        (3, format!("behind: the last complete run of {stale} is longer ago than allowed"))
    } else if links.is_empty() {
        (0, "no links yet: this site replicates with nobody".to_owned())
    } else {
        (0, "all links are in step as of their last runs".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use protocol::package::{Coordinate, FeedKind};

    use super::*;
    use crate::identity::SiteKey;
    use crate::keeper::tests::a_feed;
    use crate::store::{Options, Store};

    #[test]
    fn a_feed_is_walked_again_only_after_it_changed() {
        let (key, store, feed) = a_feed();
        let record = store.feed(feed).unwrap().unwrap();
        let site = SiteStore::new(store, key);
        let counts = Counts::default();
        assert_eq!(counts.of(&site, feed, &record).unwrap().0, 0);
        // A number that no walk would give shows whether one took place.
        locked(&counts.feeds).get_mut(&feed).unwrap().packages = 77;
        assert_eq!(counts.of(&site, feed, &record).unwrap().0, 77);
        let delete = protocol::op::Delete {
            coordinate: Coordinate::new(FeedKind::Raw, "a", "1").unwrap(),
            saw: Vec::new(),
            reason: String::new(),
        };
        site.author(feed, vec![Body::Delete(delete)]).unwrap();
        assert_eq!(counts.of(&site, feed, &record).unwrap().0, 0);
    }

    #[test]
    fn of_a_blob_that_came_in_part_only_the_rest_is_to_come() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Options::new(1)).unwrap();
        let content = vec![7; 3 * EXTENT_BYTES + 10];
        let mut builder = protocol::outline::OutlineBuilder::new();
        for extent in content.chunks(EXTENT_BYTES) {
            builder.push(extent).unwrap();
        }
        let (blob, size, outline) = builder.finish();
        let one = |blob, size| Missing { blob, size, published: Timestamp(0) };
        let missing = [one(blob, size), one(BlobId([9; 32]), 5)];
        store.put_outline(&outline.unwrap()).unwrap();
        store.put_extent(blob, 0, &content[..EXTENT_BYTES]).unwrap();
        let site = SiteStore::new(store, SiteKey::from_seed(&[1; 32]));
        // One of four extents is here; the last one is short, and counted whole.
        assert_eq!(bytes_to_come(&site, &missing).unwrap(), 3 * EXTENT_BYTES as u64 + 5);
    }

    #[test]
    fn a_rate_needs_two_moments() {
        let at = |ms, bytes| (Timestamp(ms), bytes);
        assert_eq!(Pacing { first: at(5, 10), last: at(5, 10) }.bytes_per_s(), None);
        assert_eq!(Pacing { first: at(0, 0), last: at(2_000, 0) }.bytes_per_s(), None, "nothing came");
        assert_eq!(Pacing { first: at(0, 0), last: at(2_000, 1_000) }.bytes_per_s(), Some(500));
    }
}
