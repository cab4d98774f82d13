//! What is worth a person's attention: of the shape of the links, of each link, and of this site itself.

use std::collections::{BTreeMap, BTreeSet};

use protocol::filter::Filter;
use protocol::id::{FeedId, SiteId};
use protocol::limits::STAMP_AHEAD_MS_MAX;
use protocol::time::Timestamp;
use protocol::topology::{LinkNote, Topology};

use super::{Node, carried, locked};
use crate::api::doctor::{Finding, Findings};
use crate::api::{self, Problem};
use crate::keeper::{SiteStore, wall_clock};
use crate::statement::forks::{self, Left, unresolved};
use crate::store::{Cause, ReadError, Topic};

/// Damaged versions that a finding names.
const VERSIONS_NAMED: usize = 5;

/// For so long after a restore it is told what it cannot know: whoever looks once a month has read it.
const REVOCATIONS_TOLD_MS: u64 = 30 * 24 * 3_600_000;

/// Sites of one feed whose shape is looked at.
const SITES_LOOKED_AT: usize = 48;

fn found(severity: &str, kind: &str, text: String, hint: &str) -> Finding {
    Finding { severity: severity.to_owned(), kind: kind.to_owned(), text, hint: hint.to_owned() }
}

/// Whether a link runs, and whether its last run brought everything here and there.
fn of_last_run(link: &api::Link) -> Option<Finding> {
    let name = &link.name;
    let (severity, kind, text, hint) = match &link.last_run {
        _ if link.paused => (
            "advice",
            "paused",
            format!("link {name} is paused: nothing is replicated over it"),
            format!("let it run again: packetboat link resume {name}"),
        ),
        None if link.twin.is_some() => return None,
        None => ("advice", "run", format!("link {name} has never run"), "run it: packetboat sync".to_owned()),
        Some(run) if !matches!(run.outcome.as_str(), "done" | "running") => {
            let reason = run.reason.clone().unwrap_or_default();
            let text = format!("the last run of link {name} was {}: {reason}", run.outcome);
            ("warning", "run", text, format!("more of it: packetboat run show {}", run.id))
        }
        Some(run) if run.blobs_missing_there > 0 => {
            let text = format!("link {name}: {}", run.reason.clone().unwrap_or_default());
            let hint = format!("`packetboat doctor` at {} tells what it has no room for", link.peer_name);
            ("warning", "not-there", text, hint)
        }
        Some(_) => return None,
    };
    Some(found(severity, kind, text, &hint))
}

/// A level that is raised writes much.
fn of_log_level() -> Option<Finding> {
    let level = crate::logs::running()?.level();
    let left = level.left?;
    let text = format!("the log level is {} for another {} s", level.now, left.as_secs());
    Some(found("advice", "log-level", text, "go back now: packetboat log-level --reset"))
}

/// Bytes of this site's disk that are not what was written, and what they took.
fn of_damage(site: &SiteStore) -> Result<Vec<Finding>, ReadError> {
    let mut findings = Vec::new();
    let unnoted = site.store().damage_at_open();
    let open = super::verify::damage(site)?;
    if open.is_nothing() && !unnoted.is_empty() {
        let places: Vec<String> = unnoted.iter().map(ToString::to_string).collect();
        let text = format!("damage was stepped over when the store was opened: {}", places.join("; "));
        findings.push(found("error", "damage", text, "look what it took: packetboat verify --heal"));
    }
    if open.blobs > 0 {
        let named = open.versions.iter().take(VERSIONS_NAMED).cloned().collect::<Vec<_>>().join(", ");
        let text =
            format!("{} blobs are damaged on this disk and not back yet; they belong to {named}", open.blobs);
        let hint = "fetch them from sites that have them: packetboat verify --heal; where none has, publish the same files \
                    again, or delete those versions";
        findings.push(found("error", "damage", text, hint));
    }
    if open.logs > 0 {
        let text = format!("{} logs are shorter than they were: damage took their ends", open.logs);
        let hint = "pull them again from sites that have them: packetboat verify --heal; a link that only pushes brings none, so set one \
                    that lets something in: packetboat link set LINK --mode mirror; where no site has them: packetboat resume-writing";
        findings.push(found("error", "damage", text, hint));
    }
    if open.places > 0 && open.blobs == 0 && open.logs == 0 {
        let text = format!("{} damaged places lie in packs, and nothing is lacking", open.places);
        findings.push(found("warning", "damage", text, "write those packs anew: packetboat verify --heal"));
    }
    findings.extend(of_own_words(site)?);
    if open.places > 0 {
        let text = "bytes on this disk changed by themselves".to_owned();
        findings.push(found("advice", "damage", text, "look at the disk's own reports: smartctl, dmesg"));
    }
    Ok(findings)
}

/// What this site said itself and has only the hashes of: whoever gave its log back after damage did not have it either.
fn of_own_words(site: &SiteStore) -> Result<Vec<Finding>, ReadError> {
    let (store, me) = (site.store(), site.me());
    let mut findings = Vec::new();
    for (feed, record) in store.feeds()? {
        let mut ops: u64 = 0;
        for signed in store.heads(feed)?.into_iter().filter(|signed| signed.head.log.author == me) {
            ops = ops.saturating_add(store.gaps(signed.head.log)?.0);
        }
        if ops > 0 {
            let text = format!(
                "feed {}: statements of this site that damage took and no site that was asked has, deletions mostly: {ops}",
                record.name
            );
            let hint = "they come by themselves from a site that has them, over a link that lets something in; else delete again \
                        what is served and should not be";
            findings.push(found("error", "damage", text, hint));
        }
    }
    Ok(findings)
}

/// Too little room, and feeds whose bytes wait for want of it.
fn of_space(site: &SiteStore) -> Result<Vec<Finding>, ReadError> {
    let store = site.store();
    let mut findings = Vec::new();
    let (free, reserve) = (store.free_bytes().unwrap_or(u64::MAX), store.reserve_bytes());
    if free < reserve.saturating_mul(2) {
        let trash = store.in_trash()?;
        let (severity, text) = if store.is_full() {
            (
                "error",
                format!(
                    "the disk is full: {free} bytes are free and {reserve} are kept; nothing is taken in"
                ),
            )
        } else {
            (
                "warning",
                format!(
                    "the disk is getting full: {free} bytes are free, and at {reserve} nothing more is taken in"
                ),
            )
        };
        let hint = format!(
            "free space on it, or here: packetboat trash empty ({} bytes lie there, and what was deleted since the last sweep), \
             packetboat evict, then packetboat sweep; it goes on by itself",
            trash.bytes
        );
        findings.push(found(severity, "disk", text, &hint));
    }
    for (feed, record) in store.feeds()? {
        let Some(quota) = store.quota(feed)? else { continue };
        let missing = store.missing_blobs(feed, site.look(), &Filter::default())?;
        let all = missing.len();
        let parked = all.saturating_sub(store.within_quota(feed, missing)?.len());
        if parked > 0 {
            let text = format!(
                "feed {}: {parked} blobs wait: {} bytes are held here, and its quota is {quota}",
                record.name,
                store.bytes_held(feed)?
            );
            let hint = format!(
                "raise it: packetboat feed set {} --quota SIZE; or make room: packetboat trash empty",
                record.name
            );
            findings.push(found("warning", "quota", text, &hint));
        }
    }
    Ok(findings)
}

/// Bytes that are asked for here, and that nobody can bring.
fn of_nowhere(site: &SiteStore, feed: FeedId, name: &str) -> Result<Option<Finding>, ReadError> {
    let blobs = carried::from_nowhere(site, feed)?;
    if blobs == 0 {
        return Ok(None);
    }
    let text = format!(
        "feed {name}: {blobs} blobs of what is served are not here, and over no link do packages of the feed come here"
    );
    let hint = "let one bring them: packetboat link set LINK --mode mirror, and the same at its other end; or publish the same files again, \
                or delete those versions";
    Ok(Some(found("error", "from-nowhere", text, hint)))
}

/// Versions about which something was said with a stamp of the future, which counts once that is due.
fn of_waiting(site: &SiteStore, feed: FeedId, name: &str) -> Result<Option<Finding>, ReadError> {
    let (mut versions, mut first) = (0_u64, None);
    site.store().each_item(feed, site.look(), |_, item| {
        if let Some(due) = item.due {
            versions += 1;
            first = Some(first.map_or(due, |first: Timestamp| first.min(due)));
        }
        Ok::<_, ReadError>(())
    })?;
    let Some(due) = first else { return Ok(None) };
    let in_s = due.0.saturating_sub(site.look().now.0) / 1000;
    let text = format!(
        "feed {name}: what was said about {versions} versions waits until its stamp is due, the first in {in_s} s: its author's clock was ahead, \
         or this site's is behind"
    );
    let hint = "see that the clocks are right; `packetboat why` tells of one version; publish or delete it at a site whose clock was right";
    Ok(Some(found("warning", "clock", text, hint)))
}

impl Node {
    /// Everything that was found, the worst first.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn doctor(&self) -> Result<Findings, Problem> {
        let mut findings = self.of_links().await?;
        findings.extend(self.of_shape());
        findings.extend(self.of_site().await?);
        findings.extend(self.of_webhooks().await?);
        findings.extend(of_log_level());
        let rank = |finding: &Finding| match finding.severity.as_str() {
            "error" => 0,
            "warning" => 1,
            _ => 2,
        };
        findings.sort_by_key(rank);
        Ok(Findings { findings })
    }

    /// Webhooks that tell nothing, since no feed has the name that they are for.
    async fn of_webhooks(&self) -> Result<Vec<Finding>, Problem> {
        let webhooks = self.webhooks().await?.webhooks;
        self.blocking(move |site| {
            let mut findings = Vec::new();
            for (webhook, feed) in webhooks.iter().filter_map(|one| Some((one, one.feed.as_ref()?))) {
                if site.store().feed_named(feed)?.is_none() {
                    let text = format!("webhook {} is for feed {feed}, and none is called so", webhook.id);
                    let hint = "make it anew for the feed's name of now: packetboat webhook add; then packetboat webhook remove";
                    findings.push(found("warning", "webhook-feed", text, hint));
                }
            }
            Ok(findings)
        })
        .await
    }

    async fn of_links(&self) -> Result<Vec<Finding>, Problem> {
        let mut findings = Vec::new();
        let links = self.links().await?.links;
        for link in &links {
            let name = &link.name;
            for on in &link.feeds {
                let severity = match on.verdict.as_deref() {
                    Some("invalid") => "error",
                    Some("warning") => "warning",
                    _ => continue,
                };
                let reason = on.reason.clone().unwrap_or_default();
                let text = format!("link {name}, feed {}: {reason}", on.feed);
                findings.push(found(
                    severity,
                    "verdict",
                    text,
                    &format!("`packetboat link show {name}` tells what each end states"),
                ));
            }
            findings.extend(of_last_run(link));
            for one in &link.untaken {
                let whose = if one.here { "offers it" } else { "could not take it up" };
                let text =
                    format!("link {name}, feed {}: {}, {whose}: {}", one.feed, link.peer_name, one.reason);
                let hint =
                    format!("where it is to be taken up: packetboat link set LINK --take {}=OTHER", one.feed);
                findings.push(found("warning", "feed-not-taken", text, &hint));
            }
            if let Some(twin) = link.twin.as_ref().filter(|_| link.dial == "outgoing") {
                let text = format!(
                    "duplicate link: both sites dial each other, and one session serves {name} and {twin}"
                );
                let hint = "one of the two is enough: give it what both carry and remove the other";
                findings.push(found("warning", "duplicate-link", text, hint));
            }
        }
        findings.extend(self.of_clocks());
        Ok(findings)
    }

    /// Clocks that are wrong, or were when this site wrote.
    fn of_clocks(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let own = self.inner.site.stamps_ahead_ms();
        if own > STAMP_AHEAD_MS_MAX {
            let text = format!(
                "this site's clock was ahead when it wrote: what it says now is stamped {} s in the future, and waits at other sites until \
                 that is at most {} s",
                own / 1000,
                STAMP_AHEAD_MS_MAX / 1000
            );
            let hint =
                "see that the clock is right now; until then publish and delete at another site that may";
            findings.push(found("warning", "clock", text, hint));
        }
        for state in locked(&self.inner.links).values() {
            let ahead = state.agreed.as_ref().map_or(0, |agreed| agreed.clock_ahead_ms);
            if ahead.unsigned_abs() > STAMP_AHEAD_MS_MAX {
                let text =
                    format!("the clock of {} is {} s off this site's", state.link.peer_name, ahead / 1000);
                findings.push(found(
                    "warning",
                    "clock",
                    text,
                    "set the clock that is wrong: ops of the future wait",
                ));
            }
        }
        findings
    }

    /// What sites told of their links, feed by feed.
    fn of_shape(&self) -> Vec<Finding> {
        let now = wall_clock();
        let held = locked(&self.inner.notes);
        let notes: Vec<LinkNote> = held.values().filter(|note| note.holds(now)).cloned().collect();
        drop(held);
        let mut names: BTreeMap<SiteId, String> = BTreeMap::new();
        for note in &notes {
            names.entry(note.peer).or_insert_with(|| note.peer_name.clone());
            names.insert(note.teller, note.teller_name.clone());
        }
        let name = |site: &SiteId| {
            names.get(site).filter(|name| !name.is_empty()).cloned().unwrap_or_else(|| site.short())
        };
        let feeds: BTreeSet<FeedId> = notes.iter().map(|note| note.feed).collect();
        let mut findings = Vec::new();
        for feed in feeds {
            let told: Vec<LinkNote> = notes.iter().filter(|note| note.feed == feed).cloned().collect();
            let called = told.iter().find(|note| note.teller == self.me()).or_else(|| told.first());
            let called = called.map_or_else(|| feed.short(), |note| note.feed_name.clone());
            let topology = Topology::of(&told);
            // A look at every pair of sites: enough for every company, and a bound for sites that a peer makes up.
            let few = topology.sites().len() <= SITES_LOOKED_AT;
            for side in if few { topology.bypasses() } else { Vec::new() } {
                let path: Vec<String> = side.path.iter().map(name).collect();
                let text = format!(
                    "feed {called}: the link from {} to {} is one way, and what {} publishes with rights comes back by {}",
                    name(&side.from),
                    name(&side.to),
                    name(&side.to),
                    path.join(" → ")
                );
                findings.push(found(
                    "warning",
                    "side-path",
                    text,
                    "take its rights back, or remove a link of that way",
                ));
            }
            for (from, to) in topology.stops() {
                let text = format!(
                    "feed {called}: deletions stop at {}: its link to {} carries additions only",
                    name(&from),
                    name(&to)
                );
                findings.push(found(
                    "advice",
                    "deletes-stop",
                    text,
                    "let the link carry deletions if they are to travel on",
                ));
            }
            for relay in if few { topology.single_relays() } else { Vec::new() } {
                let text = format!(
                    "feed {called}: without {} other sites are cut off from each other",
                    name(&relay)
                );
                findings.push(found(
                    "advice",
                    "single-relay",
                    text,
                    "a second way keeps them in step while it is away",
                ));
            }
        }
        findings
    }

    async fn of_site(&self) -> Result<Vec<Finding>, Problem> {
        self.blocking(|site| {
            let store = site.store();
            let mut findings = Vec::new();
            for (feed, record) in store.feeds()? {
                if let Some(awakening) = store.waits(feed)? {
                    let text = format!(
                        "feed {}: this site {}, and writes nothing until a peer told it what it said",
                        record.name,
                        awakening.cause.words()
                    );
                    let hint = "`packetboat sync`; where no peer is left, `packetboat resume-writing`";
                    findings.push(found("warning", "writing", text, hint));
                }
                findings.extend(of_waiting(site, feed, &record.name)?);
                findings.extend(of_nowhere(site, feed, &record.name)?);
                for fork in unresolved(store, feed, None)? {
                    let author = fork.log().author;
                    let who = if author == site.me() { "this site".to_owned() } else { author.short() };
                    let text = format!("feed {}: {who} signed two histories of its log", record.name);
                    findings.push(found("error", "fork", text, "`packetboat forks` tells more"));
                }
                findings.extend(of_cuts(site, feed, &record.name)?);
                findings.extend(of_closed_logs(site, feed, &record.name)?);
            }
            findings.extend(of_damage(site)?);
            findings.extend(of_space(site)?);
            for (_, hold) in store.open_holds(None)? {
                let text = format!("{} deletions that came over link {} wait", hold.deletes, hold.link);
                findings.push(found(
                    "warning",
                    "held",
                    text,
                    "`packetboat holds`, then `packetboat approve`",
                ));
            }
            findings.extend(of_earlier_life(site)?);
            findings.extend(super::keys::findings(site)?);
            findings.extend(super::rotation::contested(site)?);
            for (feed, heard) in super::upkeep::stale_feeds(site, wall_clock())? {
                let hours = wall_clock().0.saturating_sub(heard.0) / 3_600_000;
                let text = format!("feed {feed}: nothing was heard of its origin for {hours} h");
                findings.push(found(
                    "warning",
                    "feed-stale",
                    text,
                    "it is away, or a site in between keeps its news back: reach it by another link",
                ));
            }
            for (feed, record) in store.feeds()? {
                let unknown = store.ops_about(feed, Topic::Unknown)?.len();
                if unknown > 0 {
                    let text = format!(
                        "feed {}: {unknown} ops are of kinds this version does not know",
                        record.name
                    );
                    findings.push(found(
                        "warning",
                        "unknown-kinds",
                        text,
                        "they are kept and passed on; update this site",
                    ));
                }
            }
            Ok(findings)
        })
        .await
    }
}

/// What a restored site cannot know: what was taken away after the state it was made of.
fn of_earlier_life(site: &SiteStore) -> Result<Option<Finding>, ReadError> {
    let awakening = site.store().awakening()?.filter(|awakening| awakening.cause != Cause::Doubled);
    let Some(awakening) = awakening else { return Ok(None) };
    if wall_clock().0.saturating_sub(awakening.at.0) > REVOCATIONS_TOLD_MS {
        return Ok(None);
    }
    let at = |made: Timestamp| {
        i64::try_from(made.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
    };
    let of = match awakening.cause {
        Cause::Restored { made } => at(made).map(|made| format!(" of {made:.0}")).unwrap_or_default(),
        Cause::Copied | Cause::SetBack | Cause::Doubled => String::new(),
    };
    let text = format!(
        "this site {}{of}: tokens, keys and links that were revoked or removed after that count here again; tickets of before are void",
        awakening.cause.words()
    );
    let hint = "look at `packetboat token list`, `packetboat key list` and `packetboat link list`, and take away again what was";
    Ok(Some(found("advice", "earlier-life", text, hint)))
}

/// What a cut took of a forked log and nobody said again.
fn of_cuts(site: &SiteStore, feed: FeedId, called: &str) -> Result<Option<Finding>, ReadError> {
    let left = forks::left(site.store(), feed, site.look())?;
    if left.is_empty() {
        return Ok(None);
    }
    let text = format!(
        "feed {called}: {} things stand otherwise than a forked log says behind its cut, where it counts nowhere else: {}",
        left.len(),
        first_of(&left)
    );
    let hint = "`packetboat why FEED/NAME@VERSION` tells more of a version; say again what is wanted";
    Ok(Some(found("advice", "behind-cut", text, hint)))
}

/// What came of this site's own after it had changed its key: it was restored before, say, and nobody had told it. Or a thief said it.
fn of_closed_logs(site: &SiteStore, feed: FeedId, called: &str) -> Result<Option<Finding>, ReadError> {
    let left = forks::left_by_closing(site.store(), feed, site.look())?;
    if left.is_empty() {
        return Ok(None);
    }
    let text = format!(
        "feed {called}: {} things that an older key of this site signed came after it was changed, and count nowhere: {}",
        left.len(),
        first_of(&left)
    );
    let hint = "if this site said them, say again what is wanted; if nobody here did, the older key is in other hands";
    Ok(Some(found("warning", "behind-key", text, hint)))
}

fn first_of(left: &[Left]) -> String {
    let named: Vec<String> = left.iter().take(VERSIONS_NAMED).map(ToString::to_string).collect();
    named.join(", ")
}
