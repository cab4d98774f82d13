//! Other sites dialled: which of its keys this site shows them, where it has two and cannot know which one they take.

use std::time::Duration;

use protocol::link::{Dial, Link};
use protocol::session::Side;
use quinn::Connection;
use tokio::sync::mpsc::UnboundedSender;

use super::sessions::{ConnectError, tell};
use super::{Node, locked};
use crate::identity::SiteKey;
use crate::transport::endpoint::DialError;
use crate::transport::pump::Command;
use crate::transport::settings::Pace;
use crate::transport::tls::{Alpn, Whom};

/// How long one address is tried.
const DIAL_WITHIN: Duration = Duration::from_secs(10);

impl Node {
    /// The session of a link, dialled if there is none.
    pub(super) async fn session(&self, name: &str) -> Result<UnboundedSender<Command>, ConnectError> {
        let (link, live) = {
            let links = locked(&self.inner.links);
            let Some(state) = links.get(name) else { return Err(ConnectError::NoAddress(name.to_owned())) };
            (state.link.clone(), state.commands.clone().filter(|commands| !commands.is_closed()))
        };
        if let Some(commands) = live {
            return Ok(commands);
        }
        let Dial::Outgoing { addresses } = &link.dial else {
            return Err(ConnectError::NoAddress(name.to_owned()));
        };
        loop {
            match self.reached(&link, addresses).await {
                Ok(connection) => return self.attach(&link, Side::Dialler, connection),
                Err(ConnectError::Dial(DialError::Refused { .. })) if self.turns_key(name) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Connects to the other end of a link at the first of its addresses that answers.
    async fn reached(&self, link: &Link, addresses: &[String]) -> Result<Connection, ConnectError> {
        let mut last = ConnectError::NoAddress(link.name.clone());
        for address in addresses {
            let whom = self.whom(link.peer).map_err(|error| ConnectError::Store(error.to_string()))?;
            let by_newest = self.with_link(&link.name, |state| state.by_newest) == Some(true);
            let newest = by_newest.then(|| self.inner.site.key());
            match self.dial_as(newest.as_deref(), address, whom, Alpn::Link).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Connects to a site at `host:port`, and shows it the key that others are shown.
    #[cfg(test)]
    pub(super) async fn dial(
        &self,
        address: &str,
        whom: Whom,
        alpn: Alpn,
    ) -> Result<Connection, ConnectError> {
        self.dial_as(None, address, whom, alpn).await
    }

    /// Connects to a site at `host:port`, and shows it a key of this site: the one that others are shown where none is named.
    pub(super) async fn dial_as(
        &self,
        key: Option<&SiteKey>,
        address: &str,
        whom: Whom,
        alpn: Alpn,
    ) -> Result<Connection, ConnectError> {
        let resolve = |source| ConnectError::Resolve { address: address.to_owned(), source };
        let resolved: Vec<_> = tokio::net::lookup_host(address).await.map_err(resolve)?.collect();
        let mut last =
            resolve(std::io::Error::new(std::io::ErrorKind::NotFound, "no address behind the name"));
        let endpoint = &self.inner.endpoint;
        for at in resolved {
            let (whom, pace) = (whom.clone(), Pace::Background);
            let dialled = match key {
                Some(key) => endpoint.dial_as(key, at, whom, alpn, pace, DIAL_WITHIN).await,
                None => endpoint.dial(at, whom, alpn, pace, DIAL_WITHIN).await,
            };
            match dialled {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    /// The other end does not know the key that it was shown. A site that was restored from a backup of a time when not all had heard of its
    /// newest key shows the one before still, though others may take the newest alone by now: the link is dialled with the other of the two
    /// from here on. Tells whether that is the newest, which is worth a try at once.
    fn turns_key(&self, name: &str) -> bool {
        let has_two = self.inner.endpoint.shown() != self.inner.site.key().public();
        let turned = self.with_link(name, |state| {
            state.by_newest = has_two && !state.by_newest;
            state.by_newest
        });
        turned == Some(true)
    }

    /// A session that was dialled ended before it came up, for the other end knows the site by another key. Dials once more where this site has
    /// one, in the place of the session that ended, and tells whether it does.
    pub(super) fn dials_with_newest(&self, link: &Link, turn: u64) -> bool {
        if !link.is_outgoing() || !self.turns_key(&link.name) {
            return false;
        }
        let takes_place = self.with_link(&link.name, |state| {
            let stands = state.turn == turn && !state.link.paused;
            if stands {
                (state.commands, state.agreed, state.running) = (None, None, false);
            }
            stands
        });
        if takes_place != Some(true) {
            return false;
        }
        let (node, name) = (self.clone(), link.name.clone());
        tokio::spawn(async move {
            match node.session(&name).await {
                Ok(commands) => {
                    node.with_link(&name, |state| state.awaited = true);
                    tell(&commands, Command::Run);
                }
                Err(error) => {
                    node.with_link(&name, |state| state.questions.hopeless());
                    node.not_reached(&name, &error);
                }
            }
        });
        true
    }
}
