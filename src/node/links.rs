//! Links as the API tells and changes them.

use protocol::lag::ops_behind;
use protocol::link::{Dial, Link};
use protocol::session::{Agreed, AgreedFeed};
use protocol::switches::{Switches, Verdict};
use protocol::ticket::check_words;

use super::problem::usage;
use super::runs::run_told;
use super::{Node, locked};
use crate::api::{self, Problem};
use crate::keeper::SiteStore;

/// What a link is doing, taken down at once.
struct Seen {
    link: Link,
    up: bool,
    running: bool,
    agreed: Option<Agreed>,
    as_of_ms: Option<u64>,
    next_run_ms: Option<u64>,
}

impl Node {
    /// All links.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn links(&self) -> Result<api::Links, Problem> {
        let names: Vec<String> = locked(&self.inner.links).keys().cloned().collect();
        let mut links = Vec::new();
        for name in names {
            links.push(self.link(&name).await?);
        }
        Ok(api::Links { links })
    }

    /// One link.
    ///
    /// # Errors
    /// There is none of that name, or the disk fails.
    pub async fn link(&self, name: &str) -> Result<api::Link, Problem> {
        self.known_link(name)?;
        let seen = self.with_link(name, |state| Seen {
            link: state.link.clone(),
            up: state.commands.is_some() && state.agreed.is_some(),
            running: state.running,
            agreed: state.agreed.clone(),
            as_of_ms: state.as_of.map(|at| at.0),
            next_run_ms: state.next_run.map(|at| at.0),
        });
        let seen = seen.ok_or_else(|| super::problem::not_found("link", name))?;
        self.blocking(move |site| told(site, seen)).await
    }

    /// Changes a link. A session that stands is begun anew with the new terms.
    ///
    /// # Errors
    /// There is none of that name, the change makes no sense, or the disk refuses.
    pub async fn change_link(&self, name: &str, change: api::LinkChange) -> Result<api::Link, Problem> {
        let mut link = self.known_link(name)?;
        if let Some(mode) = &change.mode {
            let stated: Switches = mode.parse().map_err(|error| usage(format!("{error}")))?;
            let switches = if link.is_outgoing() { stated } else { stated.flip() };
            for on in &mut link.feeds {
                on.switches = switches;
            }
        }
        if let Some(every_ms) = change.every_ms {
            if !link.is_outgoing() {
                return Err(usage(format!("link {name:?} is incoming: the other site decides when it runs")));
            }
            link.every_ms = (every_ms > 0).then_some(every_ms);
        }
        if let Some(paused) = change.paused {
            link.paused = paused;
        }
        if let Some(addresses) = change.addresses {
            let Dial::Outgoing { addresses: held } = &mut link.dial else {
                return Err(usage(format!("link {name:?} is incoming: it has no address to dial")));
            };
            *held = addresses;
        }
        let stored = link.clone();
        self.blocking(move |site| Ok(site.store().put_link(&stored)?)).await?;
        self.with_link(name, |state| state.link = link);
        self.reconnect(name);
        self.link(name).await
    }

    /// Removes a link. What it brought stays.
    ///
    /// # Errors
    /// There is none of that name, or the disk refuses.
    pub async fn remove_link(&self, name: &str) -> Result<(), Problem> {
        let link = self.known_link(name)?;
        let (stored, peer) = (link.name.clone(), link.peer);
        self.blocking(move |site| {
            site.store().remove_link(&stored)?;
            Ok(site.store().forget(peer, &stored)?)
        })
        .await?;
        self.reconnect(name);
        let mut links = locked(&self.inner.links);
        if let Some(removed) = links.remove(name) {
            removed.wake.notify_one();
        }
        if !links.values().any(|state| state.link.peer == link.peer) {
            locked(&self.inner.admitted.sites).remove(&link.peer);
        }
        Ok(())
    }
}

fn told(site: &SiteStore, seen: Seen) -> Result<api::Link, Problem> {
    let Seen { link, up, running, agreed, as_of_ms, next_run_ms } = seen;
    let store = site.store();
    let memory = store.memory(link.peer, &link.name)?;
    let mut feeds = Vec::new();
    for on in &link.feeds {
        let Some(record) = store.feed(on.feed)? else { continue };
        let agreed = agreed.as_ref().and_then(|agreed| agreed.feeds.iter().find(|both| both.feed == on.feed));
        let ours =
            store.heads(on.feed)?.into_iter().map(|signed| (signed.head.log, signed.head.len)).collect();
        let theirs =
            memory.heads.iter().filter(|(log, ..)| log.feed == on.feed).map(|(log, len, _)| (*log, *len));
        let missing = store.missing_blobs(on.feed, site.look())?;
        let stated = if link.is_outgoing() { on.switches } else { on.switches.flip() };
        feeds.push(api::LinkFeed {
            feed: record.name,
            stated: stated.to_string(),
            effective: agreed.map(|both| both.effective.to_string()),
            verdict: agreed.map(|both| verdict_word(both).to_owned()),
            reason: agreed.and_then(verdict_reason),
            ops_behind: ops_behind(&ours, &theirs.collect()),
            missing_blobs: missing.len() as u64,
            missing_bytes: missing.iter().map(|(_, size)| size).sum(),
        });
    }
    let last_run = last_run(site, &link.name)?;
    let (dial, addresses) = match &link.dial {
        Dial::Incoming => ("incoming", Vec::new()),
        Dial::Outgoing { addresses } => ("outgoing", addresses.clone()),
    };
    Ok(api::Link {
        check_words: check_words(site.me(), link.peer),
        name: link.name,
        peer: link.peer.to_string(),
        peer_name: link.peer_name,
        dial: dial.to_owned(),
        addresses,
        feeds,
        every_ms: link.every_ms,
        paused: link.paused,
        connection: if up { "up" } else { "down" }.to_owned(),
        running,
        as_of_ms: as_of_ms.or_else(|| {
            last_run.as_ref().filter(|run| run.outcome == "done").map(|run| run.started_ms + run.duration_ms)
        }),
        last_run,
        next_run_ms,
    })
}

/// The link's newest run among the newest of all links.
fn last_run(site: &SiteStore, link: &str) -> Result<Option<api::Run>, Problem> {
    const LOOKED_AT: usize = 200;
    let runs = site.store().runs(None, LOOKED_AT)?;
    Ok(runs.iter().find(|(_, record)| record.link == link).map(|(run, record)| run_told(*run, record)))
}

const fn verdict_word(on: &AgreedFeed) -> &'static str {
    match on.verdict {
        Verdict::NothingAsked => "nothing asked",
        Verdict::Invalid(_) => "invalid",
        Verdict::Warning { .. } => "warning",
        Verdict::Valid { .. } => "valid",
    }
}

fn verdict_reason(on: &AgreedFeed) -> Option<String> {
    match on.verdict {
        Verdict::Invalid(reason) => Some(reason.to_string()),
        Verdict::Warning { effective } => {
            Some(format!("the listening site allows only part of what is asked: {effective}"))
        }
        Verdict::NothingAsked | Verdict::Valid { .. } => None,
    }
}
