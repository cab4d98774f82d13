//! A new key for this site: it signs at once, and is shown once every linked site was told; and the new keys of other sites.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use protocol::id::SiteId;
use protocol::limits::HANDOVERS_MAX;
use protocol::link::Link;
use protocol::op::Rights;
use protocol::succession::Succession;
use tokio::sync::{Mutex, Notify};
use zeroize::Zeroizing;

use super::owner::note_newest;
use super::{Node, StartError, key_path, locked};
use crate::api::Problem;
use crate::api::doctor::Finding;
use crate::api::keys::{KeyOf, RotateRequest, Rotated};
use crate::events::Event;
use crate::identity::{LoadKeyError, SiteKey};
use crate::keeper::own_log::{self, Unheard};
use crate::keeper::{AuthorError, SiteStore};
use crate::store::{KeysOf, ReadError, Store, Trigger};
use crate::transport::endpoint::{BindError, Endpoint};
use crate::transport::pairing::Joiner;
use crate::transport::settings::Pace;
use crate::transport::tls::{Peers, Whom};

/// How long a key that is to be shown at once waits for the sites that are connected: who dials does so again within some seconds.
const TELL_WITHIN: Duration = Duration::from_secs(15);

/// What is under way of a rotation.
#[derive(Debug, Default)]
pub(super) struct Telling {
    /// Another site heard of this one's newest key.
    heard: Notify,
    /// The newest key is shown once, whoever comes to know that it may be.
    showing: Mutex<()>,
}

/// The key that is still shown to other sites while not all of them know the newer one.
pub(super) fn older_path(data: &Path) -> PathBuf {
    key_path(data).with_extension("old")
}

/// The key that is shown: the one before the newest, as long as its file is there.
fn shown(data: &Path, newest: &SiteKey) -> Result<SiteKey, LoadKeyError> {
    let path = older_path(data);
    let older = match SiteKey::load(&path) {
        Ok(older) => older,
        Err(LoadKeyError::Missing { .. }) => return Ok(newest.clone()),
        Err(error) => return Err(error),
    };
    let before = older.succession().generation().saturating_add(1) == newest.succession().generation();
    if before && older.succession().is_start_of(newest.succession()) {
        return Ok(older);
    }
    // Written down, and then the newer key was not: nothing was rotated.
    std::fs::remove_file(&path).map_err(|source| LoadKeyError::Disk { path, source })?;
    Ok(newest.clone())
}

/// Listens for other sites, by the key that is shown and by the newest: who has heard of that may have been shown it before this site was
/// restored.
pub(super) fn bound(
    data: &Path,
    newest: &SiteKey,
    listen: SocketAddr,
    peers: Arc<dyn Peers>,
) -> Result<Endpoint, StartError> {
    let shown = shown(data, newest)?;
    let endpoint = Endpoint::bind(listen, &shown, peers, Pace::Background)?;
    if shown.public() != newest.public() {
        endpoint.show_also(newest).map_err(BindError::from)?;
    }
    Ok(endpoint)
}

/// Closes this site's logs of older keys. Feeds that take nothing from this site now are closed by the first that they take.
fn close_older_logs(site: &SiteStore) -> Result<(), Problem> {
    for (feed, _) in site.store().feeds()? {
        match site.open_for_key(feed) {
            Ok(_)
            | Err(
                AuthorError::Strict
                | AuthorError::Restored { .. }
                | AuthorError::SetBack { .. }
                | AuthorError::Forked
                | AuthorError::Superseded,
            ) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Why no key is drawn that would leave out for good what this site may have said and does not know.
fn would_lose(
    store: &Store,
    unheard: &[Unheard],
    names: &BTreeMap<SiteId, String>,
) -> Result<Problem, ReadError> {
    let (mut lost, mut peers) = (Vec::new(), BTreeSet::new());
    for (feed, peer) in unheard {
        let called = store.feed(*feed)?.map_or_else(|| feed.short(), |record| record.name);
        match peer {
            Some(peer) => {
                let name = names.get(peer).cloned().unwrap_or_else(|| peer.short());
                lost.push(format!("feed {called}: {name} may have more of it, and has not told it since"));
                peers.insert(name);
            }
            None => lost.push(format!("feed {called}: damage took an end of it, which is not back")),
        }
    }
    let happened = store.awakening()?.map_or("", |awakening| awakening.cause.words());
    let happened = if peers.is_empty() { String::new() } else { format!("it {happened}; ") };
    let detail = format!(
        "this site does not know all that it said, and what it does not know would count nowhere any more: {happened}{}",
        lost.join("; ")
    );
    Ok(Problem::new(409, "refused", "This site cannot change its key yet", detail).hint(
        "run `packetboat sync` with those sites, over links that let everything in (packetboat link set LINK --mode mirror); what is lost \
         for good, or a key that may be stolen: packetboat key rotate --accept-loss",
    ))
}

/// What another key than the newest would leave out for good, where that is accepted. It is drawn over nothing else that this site may have said
/// and does not know.
fn given_up(
    store: &Store,
    newest: &SiteKey,
    accept_loss: bool,
    names: &BTreeMap<SiteId, String>,
) -> Result<Vec<Unheard>, Problem> {
    // What damage took is known once it was looked after.
    store.look_after_rebuild()?;
    if own_log::is_superseded(store, newest)? {
        return Err(AuthorError::Superseded.into());
    }
    if own_log::any_waits(store)? {
        let detail = "this site waits to learn what it said before it says more";
        return Err(Problem::new(503, "restored", "This site cannot change its key now", detail)
            .hint("run `packetboat sync` with a site that has its feeds; see `packetboat doctor`"));
    }
    let unheard = own_log::unheard(store, newest.site_id())?;
    if !unheard.is_empty() && !accept_loss {
        return Err(would_lose(store, &unheard, names)?);
    }
    Ok(unheard)
}

/// A key to follow the newest one, in its place on disk, and that one beside it.
fn written_down(data: &Path, newest: &SiteKey) -> Result<SiteKey, Problem> {
    if newest.succession().generation() >= HANDOVERS_MAX as u64 {
        let detail = format!("{HANDOVERS_MAX} keys followed the first, and that is the most");
        return Err(Problem::new(409, "refused", "This site cannot change its key again", detail)
            .hint("make a new site and pair it: packetboat init"));
    }
    let random = |error: getrandom::Error| Problem::new(500, "random", "No randomness", error.to_string());
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut_slice()).map_err(random)?;
    let next = newest.followed_by(&seed);
    let refused =
        |error: std::io::Error| Problem::new(500, "disk", "The new key cannot be written", error.to_string());
    newest.replace(&older_path(data)).map_err(refused)?;
    next.replace(&key_path(data)).map_err(refused)?;
    Ok(next)
}

/// Authors of whom two keys claim to be the same one, and this site where it has an older key than its newest.
pub(super) fn contested(site: &SiteStore) -> Result<Vec<Finding>, ReadError> {
    let mut findings = Vec::new();
    if own_log::is_superseded(site.store(), &site.key())? {
        let refused = Problem::from(AuthorError::Superseded);
        findings.push(Finding {
            severity: "error".to_owned(),
            kind: "older-key".to_owned(),
            text: format!("{}; it says nothing more", refused.detail),
            hint: refused.hint.unwrap_or_default(),
        });
    }
    for (feed, record) in site.store().feeds()? {
        let Some(authority) = site.store().authority(feed)? else { continue };
        for author in
            authority.contested().iter().filter(|author| authority.rights(**author) != Rights::default())
        {
            findings.push(Finding {
                severity: "error".to_owned(),
                kind: "key-contested".to_owned(),
                text: format!(
                    "feed {}: two keys follow the same key of site {}, so that one of them was named by a thief; \
                     nothing that either says counts",
                    record.name,
                    author.short()
                ),
                hint: "let a new site take its place (packetboat init there), and take this one's rights back; \
                       sites that met it by its newer key itself are not touched"
                    .to_owned(),
            });
        }
    }
    Ok(findings)
}

/// Keeps what a site says of its keys, and the newest of them that it showed. Gives what is known of it then, if that changed.
pub(super) fn note_keys(
    site: &SiteStore,
    peer: SiteId,
    change: impl FnOnce(&mut KeysOf),
) -> Result<Option<(KeysOf, KeysOf)>, Problem> {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = locked(&ONE_AT_A_TIME);
    let before = site.store().keys_of(peer)?;
    let mut after = before.clone();
    change(&mut after);
    if after == before {
        return Ok(None);
    }
    site.store().put_keys_of(peer, &after)?;
    Ok(Some((before, after)))
}

/// What a site says of its keys, joined with what is known: the longer of the two.
pub(super) fn heard(keys: &mut KeysOf, peer: SiteId, said: &Succession, shown: Option<SiteId>) {
    if keys.succession.is_start_of(said) {
        keys.succession = said.clone();
    }
    let shown = shown.and_then(|shown| keys.number(peer, shown));
    keys.oldest = keys.oldest.max(shown.unwrap_or_default());
}

impl Node {
    /// Gives this site a new key. It signs from now on; it is shown once every linked site knows it, or at once where `at_once` says so.
    ///
    /// # Errors
    /// This site waits to learn what it said, or does not know all of that and no loss is accepted, a rotation is under way, it had as many
    /// keys as there may be, or the disk refuses.
    pub(crate) async fn rotate_key(&self, asked: RotateRequest) -> Result<Rotated, Problem> {
        let RotateRequest { at_once, accept_loss } = asked;
        let edits = self.inner.link_edits.lock().await;
        let (data, connected) = (self.inner.data.clone(), self.connected());
        let shown = self.inner.endpoint.shown();
        let under_way =
            self.blocking(move |site| Ok(older_path(&data).exists() || shown != site.key().public())).await?;
        if under_way && !at_once {
            let waiting = self.untold().await?.join(", ");
            let detail =
                format!("the last new key is not shown yet: {waiting} are not known to have heard of it");
            return Err(Problem::new(409, "conflict", "A new key is on its way", detail).hint(
                "sync with them, or show it now: packetboat key rotate --at-once; who has not heard of it must be paired with again",
            ));
        }
        if !under_way {
            self.draw_key(accept_loss).await?;
        }
        drop(edits);
        self.blocking(close_older_logs).await?;
        self.news(None);
        let key = self.inner.site.key().public().to_string();
        let waiting = if at_once { Vec::new() } else { self.untold().await? };
        if !under_way {
            self.event(Event::KeyRotated { key: key.clone(), waiting: waiting.clone() });
            for name in self.link_names().into_keys() {
                self.renew(&name);
            }
        }
        if at_once {
            self.tell(connected).await?;
        }
        if waiting.is_empty() {
            self.show_newest().await?;
        }
        Ok(Rotated { site: self.me().to_string(), key, waiting })
    }

    /// Ends the standing sessions of sites that dial this one and have not heard of its newest key: they hear of it when they dial again. Not
    /// at the rotation itself, when a run may just be asked for at the other end. And ends those, whoever dials, that were begun with a key
    /// that is not shown any more: until another site was shown the new key it lets in whoever has the old one.
    pub(super) async fn renew_untold(&self) {
        let untold = self.untold().await.unwrap_or_default();
        let shown = self.inner.endpoint.shown();
        for (name, link) in self.link_names() {
            let (idle, old) = self
                .with_link(&name, |state| {
                    let stands = state.commands.is_some();
                    (!state.running && !state.awaited, stands && state.shown != Some(shown))
                })
                .unwrap_or_default();
            let outgoing = link.is_outgoing();
            if idle && (old || !outgoing && untold.contains(&link.peer_name)) {
                self.reconnect(&name);
                if outgoing {
                    self.with_link(&name, |state| state.want(Trigger::Live));
                }
            }
        }
    }

    /// The links with a session, and the sites at their other ends.
    fn connected(&self) -> Vec<(String, Link)> {
        let stands = |name: &str| self.with_link(name, |state| state.commands.is_some()) == Some(true);
        self.link_names().into_iter().filter(|(name, _)| stands(name)).collect()
    }

    /// Has the sites that were connected dial or be dialled again while the older key is shown still, and waits a while for them to hear of the newer
    /// one: they would know nobody by it.
    async fn tell(&self, connected: Vec<(String, Link)>) -> Result<(), Problem> {
        for (name, link) in &connected {
            if link.is_outgoing() {
                self.renew(name);
            } else {
                self.reconnect(name);
            }
        }
        let told = async {
            loop {
                let heard = self.inner.telling.heard.notified();
                let untold = self.untold().await?;
                if !connected.iter().any(|(_, link)| untold.contains(&link.peer_name)) {
                    return Ok(());
                }
                heard.await;
            }
        };
        tokio::time::timeout(TELL_WITHIN, told).await.unwrap_or(Ok(()))
    }

    /// Draws the next key and puts it in the place of the newest, which is kept beside it.
    async fn draw_key(&self, accept_loss: bool) -> Result<(), Problem> {
        let (data, names) = (self.inner.data.clone(), self.site_names());
        self.blocking(move |site| {
            site.change_key(|store, newest| {
                let given_up = given_up(store, newest, accept_loss, &names)?;
                let next = written_down(&data, newest)?;
                // A start notes it too.
                if let Err(error) = note_newest(store, &next) {
                    tracing::warn!(%error, "this site's newest key could not be noted");
                }
                // What was given up stands in the way of no later key.
                for (feed, peer) in given_up {
                    let noted = peer.map_or(Ok(()), |peer| store.note_heard(feed, peer));
                    if let Err(error) = noted {
                        // The key is changed all the same.
                        tracing::warn!(%error, "that a site was given up could not be noted; a later change of the key asks again");
                    }
                }
                Ok(next)
            })
        })
        .await
    }

    /// The names of linked sites that were not told of this site's newest key.
    pub(super) async fn untold(&self) -> Result<Vec<String>, Problem> {
        let links = self.link_names();
        self.blocking(move |site| {
            let newest = site.key().succession().generation();
            let mut names = Vec::new();
            for link in links.into_values() {
                if site.store().keys_of(link.peer)?.told < newest && !names.contains(&link.peer_name) {
                    names.push(link.peer_name);
                }
            }
            Ok(names)
        })
        .await
    }

    /// Shows the newest key from the next connection on, and lets the older one go for ever.
    async fn show_newest(&self) -> Result<(), Problem> {
        let _once = self.inner.telling.showing.lock().await;
        let newest = self.inner.site.key();
        if self.inner.endpoint.shown() == newest.public() {
            return Ok(());
        }
        let data = self.inner.data.clone();
        // First: a start shows the older key as long as its file is there.
        self.blocking(move |_| match std::fs::remove_file(older_path(&data)) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => {
                Err(Problem::new(500, "disk", "The older key cannot be removed", error.to_string()))
            }
        })
        .await?;
        self.inner
            .endpoint
            .show(&newest)
            .map_err(|error| Problem::new(500, "bug", "The new key cannot be shown", error.to_string()))?;
        self.event(Event::KeyShown { key: newest.public().to_string() });
        // Who is dialled is shown it at once; who dials, once its session is renewed.
        for name in self.link_names().into_keys() {
            self.renew(&name);
        }
        Ok(())
    }

    /// What a start leaves to do of a rotation: a crash may have come between the new key and what it says first.
    pub(super) async fn rotation_goes_on(&self) {
        if self.inner.site.key().succession().generation() == 0 {
            return;
        }
        if let Err(problem) = self.blocking(close_older_logs).await {
            tracing::warn!(problem = problem.detail, "logs of an older key of this site could not be closed");
        }
        self.show_when_told().await;
    }

    /// Shows the newest key if no linked site is left that does not know it.
    async fn show_when_told(&self) {
        let shown = match self.untold().await {
            Ok(untold) if untold.is_empty() => self.show_newest().await,
            Ok(_) => Ok(()),
            Err(problem) => Err(problem),
        };
        if let Err(problem) = shown {
            tracing::warn!(problem = problem.detail, "this site's newest key could not be shown");
        }
    }

    /// A linked site has heard of this site's keys up to that number.
    pub(super) async fn peer_knows_keys(&self, peer: SiteId, number: u64) {
        // Nobody has to be told of a first key.
        if number == 0 {
            return;
        }
        let noting =
            self.blocking(move |site| note_keys(site, peer, |keys| keys.told = keys.told.max(number)));
        match noting.await {
            Ok(None) => {}
            Ok(Some(_)) => {
                self.inner.telling.heard.notify_waiters();
                self.show_when_told().await;
            }
            Err(problem) => {
                tracing::warn!(
                    problem = problem.detail,
                    "what a site knows of this one's keys could not be kept"
                );
            }
        }
    }

    /// A linked site said which keys it has, and showed one of them.
    pub(super) async fn keys_heard(&self, link: &Link, said: Succession, shown: Option<SiteId>) {
        let peer = link.peer;
        let noting = self.blocking(move |site| note_keys(site, peer, |keys| heard(keys, peer, &said, shown)));
        match noting.await {
            Ok(None) => {}
            Ok(Some((before, after))) => {
                self.admit(link);
                if after.succession.generation() > before.succession.generation() {
                    let (site, key) = (link.peer_name.clone(), after.succession.key(peer).to_string());
                    self.event(Event::PeerKeyChanged { link: link.name.clone(), site, key });
                }
            }
            Err(problem) => {
                tracing::warn!(
                    problem = problem.detail,
                    link = link.name,
                    "the other site's keys could not be kept"
                );
            }
        }
    }

    /// Lets a link's other end in by the keys by which it is taken for itself.
    pub(super) fn admit(&self, link: &Link) {
        let keys = match self.inner.site.store().keys_of(link.peer) {
            Ok(keys) => keys.taken(link.peer),
            Err(error) => {
                tracing::warn!(%error, link = link.name, "the other site's keys cannot be read");
                return;
            }
        };
        let mut sites = locked(&self.inner.admitted.sites);
        sites.retain(|_key, site| *site != link.peer);
        sites.extend(keys.into_iter().map(|key| (key, link.peer)));
    }

    /// This site, as it shows itself by a key to one that invites it.
    pub(super) fn joiner(&self, shown: SiteId) -> Joiner {
        Joiner {
            site: self.me(),
            name: self.inner.name.clone(),
            succession: self.inner.site.key().succession().clone(),
            shown,
        }
    }

    /// A site and the keys by which it is taken for itself.
    pub(super) fn whom(&self, site: SiteId) -> Result<Whom, ReadError> {
        let keys = self.inner.site.store().keys_of(site)?.taken(site);
        Ok(Whom { site, keys })
    }

    /// The keys of this site, for people.
    pub(super) async fn own_key(&self) -> Result<KeyOf, Problem> {
        let (newest, waiting) = (self.inner.site.key(), self.untold().await?);
        let shown = self.inner.endpoint.shown();
        Ok(KeyOf {
            key: newest.public().to_string(),
            number: newest.succession().generation(),
            shown: shown == newest.public(),
            waiting: if shown == newest.public() { Vec::new() } else { waiting },
        })
    }
}
