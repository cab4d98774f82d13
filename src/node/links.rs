//! Links as the API tells and changes them.

use protocol::fault::{Outcome, Reason};
use protocol::id::RunId;
use protocol::link::{Dial, Fetch, Link, Priority};
use protocol::session::Agreed;
use protocol::ticket::check_words;

use super::feeds::named;
use super::hours::{caps, hours};
use super::link_settings::{Meant, apply, keeps_session};
use super::new_feeds::EVERY;
use super::overview::{self, Counts, feeds_told};
use super::runs::run_told;
use super::sessions::Pacing;
use super::{Node, locked};
use crate::api::new_feeds::{NewFeeds, Untaken};
use crate::api::{self, Problem};
use crate::keeper::{SiteStore, wall_clock};
use crate::store::{PeerState, WriteError};
use crate::transport::pump::Command;

/// What a link is doing, taken down at once.
struct Seen {
    link: Link,
    up: bool,
    running: bool,
    agreed: Option<Agreed>,
    peer: PeerState,
    rate_bytes_per_s: Option<u64>,
    next_run_ms: Option<u64>,
    last: Option<RunId>,
    counts: Counts,
    /// The link with the same site by which the other end dials, and the one of the two whose session serves this one.
    twin: Option<String>,
    served_by: Option<String>,
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
        let served_by = self.served_by(name);
        let serving = served_by.as_ref().and_then(|twin| {
            self.with_link(twin, |state| (state.agreed.clone(), state.running, state.last, state.pace))
        });
        let seen = self.with_link(name, |state| Seen {
            link: state.link.clone(),
            up: state.commands.is_some() && state.agreed.is_some(),
            running: state.running,
            agreed: state.agreed.clone(),
            peer: state.peer.clone(),
            rate_bytes_per_s: state.pace.filter(|_| state.running).and_then(Pacing::bytes_per_s),
            next_run_ms: state.next_run.map(|at| at.0),
            last: state.last,
            counts: self.inner.counts.clone(),
            twin: None,
            served_by: None,
        });
        let mut seen = seen.ok_or_else(|| super::problem::not_found("link", name))?;
        seen.twin = self.twin(name).map(|twin| twin.name);
        if let Some((agreed, running, last, _)) = serving {
            (seen.up, seen.agreed, seen.running) = (true, agreed, running);
            seen.last = last.max(seen.last);
            seen.served_by = served_by;
        }
        self.blocking(move |site| told(site, seen)).await
    }

    /// Changes a link. A session that stands is begun anew with the new terms.
    ///
    /// # Errors
    /// There is none of that name, the change makes no sense, or the disk refuses.
    pub async fn change_link(&self, name: &str, change: api::LinkChange) -> Result<api::Link, Problem> {
        if let Some(names) = change.take.clone() {
            self.take_as(name, names).await?;
        }
        let edits = self.inner.link_edits.lock().await;
        let mut link = self.known_link(name)?;
        let keeps_session = keeps_session(&change);
        let ruled_anew = change.new_feeds.is_some();
        let meant = match change.feed.clone() {
            None => Meant::All,
            Some(feed) if feed == EVERY => Meant::NewFeeds,
            Some(feed) => Meant::Feed(self.blocking(move |site| Ok(named(site, &feed)?.0)).await?),
        };
        apply(&mut link, change, meant)?;
        let stored = link.clone();
        self.blocking(move |site| Ok(site.store().put_link(&stored)?)).await?;
        self.with_link(name, |state| state.link = link);
        drop(edits);
        if ruled_anew {
            self.spread_feeds().await;
            self.wake_live(name);
        }
        if !keeps_session && let Ok(link) = self.known_link(name) {
            self.renew_twin(link.peer, name);
        }
        if keeps_session {
            self.pace_link(name);
            self.keep_windows();
            self.inner.windows_edited.notify_one();
            self.with_link(name, |state| state.wake.notify_one());
        } else {
            self.reconnect(name);
        }
        self.link(name).await
    }

    /// Removes a link. What it brought stays.
    ///
    /// # Errors
    /// There is none of that name, or the disk refuses.
    pub async fn remove_link(&self, name: &str) -> Result<(), Problem> {
        let _edits = self.inner.link_edits.lock().await;
        self.unlink(name).await
    }

    /// The same while `link_edits` are held: whoever edits a link keeps it once more when it is done.
    pub(super) async fn unlink(&self, name: &str) -> Result<(), Problem> {
        let link = self.known_link(name)?;
        let stored = link.clone();
        self.blocking(move |site| Ok(forget(site, &stored)?)).await?;
        let removed = {
            let mut links = locked(&self.inner.links);
            let removed = links.remove(name);
            if !links.values().any(|state| state.link.peer == link.peer) {
                locked(&self.inner.admitted.sites).retain(|_key, site| *site != link.peer);
            }
            removed
        };
        // Only once the site is let in no more, so that it cannot be back before it is gone.
        if let Some(removed) = removed {
            if let Some(commands) = &removed.commands {
                super::sessions::tell(commands, Command::Close(Outcome::Refused(Reason::GrantWithdrawn)));
            }
            removed.wake.notify_one();
        }
        self.forget_notes(&link);
        self.renew_twin(link.peer, name);
        Ok(())
    }
}

/// Removes a link with all that was noted of it.
///
/// # Errors
/// The disk refused.
pub(super) fn forget(site: &SiteStore, link: &Link) -> Result<(), WriteError> {
    let store = site.store();
    // Before the link goes, so that a crash between the two forgets nobody who may have more of what this site said.
    for on in &link.feeds {
        store.note_gone(on.feed, link.peer)?;
    }
    store.remove_link(&link.name)?;
    store.forget_peer(&link.name)?;
    store.forget(link.peer, &link.name)
}

/// A link's rule for further feeds, and those that did not go on it.
fn told_of_new(site: &SiteStore, link: &Link, peer: &PeerState) -> (Option<NewFeeds>, Vec<Untaken>) {
    let rule = link.new_feeds.as_ref().map(|new| NewFeeds {
        offers: new.offers,
        takes: new.takes,
        mode: if link.is_outgoing() { new.switches } else { new.switches.flip() }.to_string(),
        filter: new.filter.to_string(),
    });
    let here = peer.untaken.iter().map(|(one, reason)| (one.feed.clone(), reason, true));
    let there = peer.untaken_there.iter().map(|(feed, reason)| {
        let record = site.store().feed(*feed).ok().flatten();
        (record.map_or_else(|| feed.short(), |record| record.name), reason, false)
    });
    let untaken = here.chain(there);
    (rule, untaken.map(|(feed, reason, here)| Untaken { feed, reason: reason.to_string(), here }).collect())
}

fn told(site: &SiteStore, seen: Seen) -> Result<api::Link, Problem> {
    let Seen {
        link,
        up,
        running,
        agreed,
        peer,
        rate_bytes_per_s,
        next_run_ms,
        last,
        counts,
        twin,
        served_by,
    } = seen;
    let memory = site.store().memory(link.peer, &link.name)?;
    let (memory, agreed, known) = (&memory, agreed.as_ref(), &peer);
    let feeds = feeds_told(
        site,
        &overview::Seen { link: &link, agreed, peer: known, memory, rate_bytes_per_s, counts: &counts },
    )?;
    let last_run = match last {
        Some(run) => site.store().run(run)?.map(|record| run_told(run, &record)),
        None => last_run(site, &link.name)?,
    };
    let (dial, addresses) = match &link.dial {
        Dial::Incoming => ("incoming", Vec::new()),
        Dial::Outgoing { addresses } => ("outgoing", addresses.clone()),
    };
    let (new_feeds, untaken) = told_of_new(site, &link, &peer);
    let (hours, caps) = (hours(&link, wall_clock()), caps(&link, wall_clock()));
    Ok(api::Link {
        check_words: check_words(site.me(), link.peer),
        name: link.name,
        peer: link.peer.to_string(),
        peer_name: link.peer_name,
        dial: dial.to_owned(),
        addresses,
        as_of_ms: peer.in_as_of.filter(|_| feeds.iter().any(|on| on.flows_in)).map(|at| at.0),
        peer_as_of_ms: peer.out_as_of.filter(|_| feeds.iter().any(|on| on.flows_out)).map(|at| at.0),
        refused: peer.refused.map(|(reason, _)| reason.to_string()),
        refused_ms: peer.refused.map(|(_, at)| at.0),
        feeds,
        new_feeds,
        untaken,
        twin,
        served_by,
        every_ms: link.every_ms,
        paused: link.paused,
        connection: if up { "up" } else { "down" }.to_owned(),
        running,
        rate_bytes_per_s,
        last_run,
        next_run_ms,
        live: link.live,
        windows: link.windows.iter().map(ToString::to_string).collect(),
        open: hours.open,
        window_changes_in_minutes: hours.changes_in_minutes(),
        cap_in_bytes_per_s: caps.in_bytes_per_s,
        cap_out_bytes_per_s: caps.out_bytes_per_s,
        priority: match link.priority {
            Priority::SmallestFirst => "smallest",
            Priority::NewestFirst => "newest",
        }
        .to_owned(),
        fetch: match link.fetch {
            Fetch::Always => "always",
            Fetch::OnDemand => "on-demand",
        }
        .to_owned(),
    })
}

/// The link's newest run among the newest of all links, where none began since this node is up.
fn last_run(site: &SiteStore, link: &str) -> Result<Option<api::Run>, Problem> {
    const LOOKED_AT: usize = 200;
    let mut before = None;
    for _ in 0..LOOKED_AT {
        let page = site.store().runs(before, 1)?;
        let Some((run, record)) = page.first() else { return Ok(None) };
        if record.link == link {
            return Ok(Some(run_told(*run, record)));
        }
        before = Some(*run);
    }
    Ok(None)
}
