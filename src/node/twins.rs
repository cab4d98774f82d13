//! Two sites that dial each other: one session serves both links. The site with the lower key dials; the other one waits for it.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::fault::Reason;
use protocol::frame::Openness;
use protocol::id::{FeedId, SiteId};
use protocol::link::{Link, LinkFeed};
use protocol::session::{Config, Keys, Side, Terms, Twin};
use protocol::switches::Switches;

use super::hours::hours;
use super::new_feeds::openness;
use super::sessions::{ConnectError, LinkState, Watch};
use super::{Node, locked, random};
use crate::keeper::wall_clock;
use crate::store::{ReadError, Store, Trigger};
use crate::transport::pump::Command;

/// How long a run of the waiting site waits for the other site to connect.
const WAIT_WITHIN: Duration = Duration::from_secs(5);

/// Runs in a row that waited in vain, after which the waiting site dials: the other one cannot reach it, or is down.
const WAITED_MAX: u32 = 3;

/// The terms of a session that serves `link` and, where there is one, the link of the other direction.
pub(super) fn terms(store: &Store, link: &Link, twin: Option<&Link>) -> Result<Vec<Terms>, ReadError> {
    let other = |feed: FeedId| twin.and_then(|twin| twin.on(feed));
    let stated = |on: &LinkFeed| Twin { switches: on.switches, expires: on.expires };
    let mut terms = Vec::new();
    for on in &link.feeds {
        let Some(record) = store.feed(on.feed)? else { continue };
        let twin = other(on.feed);
        terms.push(Terms {
            feed: on.feed,
            kind: record.genesis.kind,
            switches: on.switches,
            filter: twin.map_or_else(|| on.filter.clone(), |twin| on.filter.and(&twin.filter)),
            expires: on.expires,
            twin: twin.map(stated),
        });
    }
    for on in twin.into_iter().flat_map(|twin| &twin.feeds).filter(|on| link.on(on.feed).is_none()) {
        let Some(record) = store.feed(on.feed)? else { continue };
        terms.push(Terms {
            feed: on.feed,
            kind: record.genesis.kind,
            switches: Switches::OFF,
            filter: on.filter.clone(),
            expires: None,
            twin: Some(stated(on)),
        });
    }
    Ok(terms)
}

fn stands(state: &LinkState) -> bool {
    state.agreed.is_some() && state.commands.as_ref().is_some_and(|commands| !commands.is_closed())
}

/// See [`Node::twin`].
pub(super) fn twin_of(links: &BTreeMap<String, LinkState>, name: &str) -> Option<Link> {
    let link = &links.get(name)?.link;
    let twin = links
        .values()
        .map(|state| &state.link)
        .find(|other| other.peer == link.peer && other.is_outgoing() != link.is_outgoing() && !other.paused);
    twin.filter(|_| !link.paused).cloned()
}

impl Node {
    /// What this end of a session states: of the link it is of, and of its twin.
    pub(super) fn config(&self, link: &Link, side: Side) -> Result<Config, ConnectError> {
        let store = self.inner.site.store();
        let failed = |error: &dyn std::fmt::Display| ConnectError::Store(error.to_string());
        let closed = side == Side::Listener && !hours(link, wall_clock()).open;
        let refuses =
            if link.paused { Some(Reason::LinkPaused) } else { closed.then_some(Reason::OutsideWindow) };
        let twin = self.twin(&link.name);
        let terms = terms(store, link, twin.as_ref()).map_err(|error| failed(&error))?;
        let new_feeds = openness(link, wall_clock());
        let new_feeds = twin.map_or(new_feeds, |twin| {
            let other = openness(&twin, wall_clock());
            Openness { offers: new_feeds.offers || other.offers, takes: new_feeds.takes || other.takes }
        });
        Ok(Config {
            side,
            me: self.me(),
            peer: link.peer,
            store: store.id(),
            name: self.inner.name.clone(),
            terms,
            priority: link.priority,
            refuses,
            versions: Default::default(),
            barred: locked(&self.inner.lives).barred(link.peer, wall_clock()),
            new_feeds,
            memory: store.memory(link.peer, &link.name).map_err(|error| failed(&error))?,
            keys: Keys {
                mine: self.inner.site.key().succession().clone(),
                peer: store.keys_of(link.peer).map_err(|error| failed(&error))?.succession,
            },
            salt: random::<8>().map_err(|error| failed(&error))?,
        })
    }

    /// The link with the same site by which the other one opens the connection. A paused link is no twin.
    pub(super) fn twin(&self, name: &str) -> Option<Link> {
        twin_of(&locked(&self.inner.links), name)
    }

    /// The twin of a link, where its session serves both.
    pub(super) fn served_by(&self, name: &str) -> Option<String> {
        let twin = self.twin(name)?.name;
        let own = self.with_link(name, |state| stands(state)) == Some(true);
        let serves = !own && self.with_link(&twin, |state| stands(state)) == Some(true);
        serves.then_some(twin)
    }

    /// Whether a connection by which `link` would get a session is one too many: its twin has one, or is the one that is to dial.
    pub(super) fn is_served(&self, link: &Link) -> bool {
        let Some(twin) = self.twin(&link.name) else { return false };
        let (up, dialling) = self
            .with_link(&twin.name, |state| (stands(state), state.commands.is_some()))
            .unwrap_or((false, false));
        up || (dialling && twin.is_outgoing() && self.me() < link.peer)
    }

    /// Ends a session of the twin that is still coming up: the one of `name` serves both.
    pub(super) fn give_way(&self, name: &str) {
        if let Some(twin) =
            self.twin(name).filter(|twin| self.with_link(&twin.name, |state| stands(state)) != Some(true))
        {
            self.reconnect(&twin.name);
        }
    }

    /// Runs an outgoing link over the session of its twin. Whether there was one to run over, or the run is put off.
    pub(super) async fn run_by_twin(&self, name: &str) -> bool {
        let Some(twin) = self.twin(name) else { return false };
        if self.served_by(name).is_none() {
            if self.me() < twin.peer {
                return false;
            }
            if !self.comes_up(&twin.name).await {
                let waited = self.with_link(name, |state| {
                    state.waited = state.waited.saturating_add(1);
                    state.waited
                });
                let asked =
                    self.with_link(name, |state| state.begun_by == Some(Trigger::Manual)) == Some(true);
                if asked || waited.is_some_and(|waited| waited >= WAITED_MAX) {
                    return false;
                }
                self.not_reached(name, &ConnectError::Waits(twin.peer_name));
                return true;
            }
        }
        self.with_link(name, |state| state.waited = 0);
        self.over(name, &twin.name).await;
        true
    }

    /// Waits a while until a link's session is up.
    async fn comes_up(&self, name: &str) -> bool {
        let Some(mut watch) = self.with_link(name, |state| state.watch.subscribe()) else { return false };
        if self.with_link(name, |state| stands(state)) == Some(true) {
            return true;
        }
        let up = async {
            while !matches!(
                watch.recv().await,
                Ok(Watch::Up) | Err(tokio::sync::broadcast::error::RecvError::Closed)
            ) {}
        };
        tokio::time::timeout(WAIT_WITHIN, up).await.is_ok()
    }

    /// Runs over the session of `twin`, and tells whoever waits for `name` how it ended.
    async fn over(&self, name: &str, twin: &str) {
        let asked = self.with_link(twin, |state| {
            let commands = state.commands.clone()?;
            let watch = (state.watch.subscribe(), state.begins);
            commands.send(Command::Run).ok().map(|()| watch)
        });
        let Some((watch, after)) = asked.flatten() else { return };
        let Some((run, record)) = super::runs::ended(watch, after, None).await else { return };
        let begins = self.with_link(name, |state| {
            if let Some(outcome) = record.outcome {
                state.record = state.record.after(outcome);
            }
            state.begun_by = None;
            state.begins
        });
        self.with_link(name, |state| drop(state.watch.send(Watch::Ended(run, record, begins.unwrap_or(0)))));
    }

    /// Whether this site is to dial for a link though nothing is wanted of it: news are to come over it at once, and no session stands. Where both
    /// sites dial each other it is the one with the lower key.
    pub(super) fn is_severed(&self, state: &LinkState, all: &BTreeMap<String, LinkState>) -> bool {
        let stands =
            |state: &LinkState| state.commands.as_ref().is_some_and(|commands| !commands.is_closed());
        let twin = all.values().find(|other| {
            other.link.peer == state.link.peer && !other.link.is_outgoing() && !other.link.paused
        });
        let due = twin.map_or(state.link.live, |twin| self.me() < state.link.peer && twin.commands.is_none());
        state.link.is_outgoing() && due && !stands(state)
    }

    /// A link was made, changed or removed: a session that serves it as a twin begins anew with what it states now.
    pub(super) fn renew_twin(&self, peer: SiteId, but: &str) {
        let names: Vec<String> = locked(&self.inner.links)
            .values()
            .filter(|state| state.link.peer == peer && state.link.name != but)
            .map(|state| state.link.name.clone())
            .collect();
        for name in names {
            self.reconnect(&name);
        }
    }
}
