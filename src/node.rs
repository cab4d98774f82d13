//! The node: one store, one endpoint, its links and feeds, and what the API and the gateways ask of them.

mod attach;
mod backup;
mod carried;
mod conflicts;
mod dialling;
mod doctor;
mod events;
mod evict;
mod fates;
mod feeds;
mod files;
mod forecast;
mod forks;
mod found;
mod heard;
mod held;
mod holds;
mod hours;
mod judged;
mod keys;
mod link_settings;
mod links;
mod merge;
mod new_feeds;
mod notes;
mod on_demand;
mod op_log;
mod overview;
mod owner;
mod pairing;
mod place;
mod plan;
mod problem;
mod promotion;
mod rotation;
mod ruling;
mod runs;
mod scrub;
mod serve;
mod sessions;
mod space;
mod sums;
mod tickets;
mod tokens;
mod twins;
mod upkeep;
mod verify;
mod webhooks;
mod why;
mod writing;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use protocol::fault::Outcome;
use protocol::id::{FeedId, SiteId};
use protocol::limits::LABEL_BYTES_MAX;
use protocol::lives::Lives;
use protocol::package::{BadName, check_label};
use protocol::time::Timestamp;

use crate::api::{self, Problem};
use crate::config::Keeping;
use crate::events::Event;
use crate::identity::{CreateKeyError, LoadKeyError, SiteKey};
use crate::keeper::{SiteStore, wall_clock};
use crate::statement::usage::Downloads;
use crate::store::{Cause, OpenError, Options, ReadError, Store, WriteError};
use crate::transport::endpoint::{BindError, Endpoint};
use crate::transport::tls::Peers;

pub use backup::{OfflineBackupError, backup_offline};
pub(crate) use events::{EventReader, asked_for};
pub use files::{OpenFile, UploadStream};
pub(crate) use op_log::OpsAsked;
pub use place::UnfinishedRestore;
pub use runs::Step;
pub(crate) use serve::open_doors;
pub use serve::{InitError, ServeError, VerifyError, fresh_life, init, serve, verify_offline};
use sessions::LinkState;
pub use verify::Thorough;

/// How often the store settles: what a start after a crash has to read again at most.
const SETTLE_EVERY: Duration = Duration::from_secs(30);

/// The site key's file in the data folder's private part.
pub(crate) fn key_path(data: &Path) -> PathBuf {
    data.join("key").join("site.key")
}

/// The store's folder.
pub(crate) fn store_path(data: &Path) -> PathBuf {
    data.join("store")
}

/// The socket that the command line speaks to.
#[must_use]
pub fn socket_path(data: &Path) -> PathBuf {
    data.join("api.sock")
}

/// Why a node did not come up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Key(#[from] LoadKeyError),
    #[error(transparent)]
    NewKey(#[from] CreateKeyError),
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("the site's name is not allowed")]
    Name(#[from] BadName),
    #[error("no random bytes: {0}")]
    Randomness(getrandom::Error),
    #[error(transparent)]
    Unfinished(#[from] UnfinishedRestore),
    #[error(
        "cannot tell where the store in {} lies: FORMAT, PLACE or RESTORED in it cannot be read or written; see to the disk and to the rights of these files",
        .folder.display()
    )]
    Place { folder: PathBuf, source: std::io::Error },
    #[error("the store cannot be written")]
    Write(#[from] WriteError),
    /// With a new key it would be another site that has this one's store.
    #[error("{} has a store and no key: put the site's key back as key/site.key, or use an empty folder", .folder.display())]
    KeyGone { folder: PathBuf },
    #[error(
        "{} has the store of site {was} and the key of site {is}: put the key of {was} back as key/site.key, or use an empty folder",
        .folder.display()
    )]
    OtherKey { folder: PathBuf, was: SiteId, is: SiteId },
    /// The key that was put there is one that this site changed for a newer one.
    #[error(
        "{} was signed for with the key {newest}, and key/site.key is an older key of this site, which others take no more: put the newer one \
         back, or restore a backup of it",
        .folder.display()
    )]
    OlderKey { folder: PathBuf, newest: SiteId },
}

/// A running node. Clones are the same node.
#[derive(Debug, Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    data: PathBuf,
    /// The lives of sites that called lately.
    lives: Mutex<Lives>,
    telling: rotation::Telling,
    site: SiteStore,
    name: String,
    endpoint: Endpoint,
    listen: SocketAddr,
    http: Mutex<String>,
    started: Timestamp,
    admitted: Arc<Admitted>,
    links: Mutex<BTreeMap<String, LinkState>>,
    /// Held while versions are brought from one feed into another: two at once would each bring what the other has not said yet.
    merging: tokio::sync::Mutex<()>,
    /// Held while it is seen whether the store can be read.
    reading: Arc<tokio::sync::Mutex<()>>,
    /// Held while a link's settings are read, changed and kept.
    link_edits: tokio::sync::Mutex<()>,
    /// Told where a window may have come or gone.
    windows_edited: Arc<tokio::sync::Notify>,
    attempts: Mutex<Vec<u64>>,
    /// What sites tell of their links.
    notes: Mutex<notes::Notes>,
    /// Downloads by clients of this site, not told as ops yet.
    downloads: Mutex<BTreeMap<FeedId, Downloads>>,
    /// Rises when ops may have arrived, for those who wait for some.
    grew: tokio::sync::watch::Sender<u64>,
    counts: overview::Counts,
    sums: sums::Sums,
    events: events::Events,
    hooks: webhooks::Hooks,
    /// Held while arrivals are looked at for events.
    looking: tokio::sync::Mutex<()>,
    /// What was told of the disk.
    room: space::Room,
    /// Feeds of which it was told that their origin is not heard of any more, and it is still so.
    feeds_stale: Mutex<BTreeSet<String>>,
    /// How bytes are looked after.
    keeping: Keeping,
    /// How far the scrub is.
    scrub: Mutex<scrub::Pass>,
    /// The forks that were resolved since the node started.
    resolved: Mutex<forks::Resolved>,
}

/// Which sites' connections are let in: what the TLS verifier asks.
#[derive(Debug, Default)]
struct Admitted {
    /// Each key that is let in, and whose it is.
    sites: Mutex<BTreeMap<SiteId, SiteId>>,
    pairing_until: Mutex<Timestamp>,
}

impl Peers for Admitted {
    fn site_of(&self, key: &SiteId) -> Option<SiteId> {
        locked(&self.sites).get(key).copied()
    }

    fn pairing_open(&self) -> bool {
        wall_clock() < *locked(&self.pairing_until)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Random bytes of the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

impl Node {
    /// Opens the data folder and listens for other sites. `name` is for people; none means the start of the site's id.
    ///
    /// # Errors
    /// The folder is in use or damaged, the key is exposed, or the address is taken.
    pub async fn start(data: &Path, name: Option<&str>, listen: SocketAddr) -> Result<Self, StartError> {
        Self::start_with(data, name, listen, Keeping::default()).await
    }

    /// The same, with settings of how bytes are looked after.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub async fn start_with(
        data: &Path,
        name: Option<&str>,
        listen: SocketAddr,
        keeping: Keeping,
    ) -> Result<Self, StartError> {
        Self::start_on(data, name, listen, keeping, Store::open).await
    }

    /// The same, on a store that `opened` opens in its folder: a test may put a disk of its own under it.
    async fn start_on(
        data: &Path,
        name: Option<&str>,
        listen: SocketAddr,
        keeping: Keeping,
        opened: impl FnOnce(&Path, Options) -> Result<Store, OpenError> + Send + 'static,
    ) -> Result<Self, StartError> {
        let generation = u128::from_le_bytes(random::<16>().map_err(StartError::Randomness)?);
        let folder = data.to_owned();
        let options = Options { reserve_bytes: keeping.reserve_bytes, ..Options::new(generation) };
        let opening = move || open(&folder, options, opened);
        let (key, store, noticed) = tokio::task::spawn_blocking(opening)
            .await
            .expect("opening a store does not panic: it answers every failure")?;
        let damage = damage_at_open(&store);
        let name = name.map_or_else(|| key.site_id().short(), ToOwned::to_owned);
        check_label("site name", &name)?;
        let admitted = Arc::new(Admitted::default());
        let peers: Arc<dyn Peers> = Arc::clone(&admitted) as Arc<dyn Peers>;
        let endpoint = rotation::bound(data, &key, listen, peers)?;
        let site = tokens::bound(SiteStore::new(store, key));
        let (events, kept) = events::Events::open(&site)?;
        let inner = Inner {
            data: data.to_owned(),
            lives: Mutex::default(),
            telling: rotation::Telling::default(),
            site,
            name,
            listen: endpoint.local_addr().unwrap_or(listen),
            endpoint,
            http: Mutex::new(String::new()),
            started: wall_clock(),
            admitted,
            links: Mutex::default(),
            merging: tokio::sync::Mutex::default(),
            reading: Arc::default(),
            link_edits: tokio::sync::Mutex::default(),
            windows_edited: Arc::default(),
            attempts: Mutex::default(),
            notes: Mutex::default(),
            downloads: Mutex::default(),
            grew: tokio::sync::watch::Sender::new(0),
            counts: overview::Counts::default(),
            sums: sums::Sums::default(),
            events,
            looking: tokio::sync::Mutex::default(),
            hooks: webhooks::Hooks::new(&data.join("key")),
            room: space::Room::default(),
            feeds_stale: Mutex::default(),
            keeping,
            scrub: Mutex::default(),
            resolved: Mutex::default(),
        };
        let node = Self { inner: Arc::new(inner) };
        tokio::spawn(kept.keep());
        if let Some(cause) = noticed {
            node.awoke(cause);
        }
        for place in damage {
            node.event(Event::DamageFound { place });
        }
        node.start_webhooks()?;
        node.open_pairings()?;
        node.start_links()?;
        node.rotation_goes_on().await;
        node.spread_feeds().await;
        node.merges_go_on().await;
        node.look_at_arrivals().await;
        tokio::spawn(node.clone().accept_sites());
        tokio::spawn(settle_now_and_then(Arc::downgrade(&node.inner)));
        tokio::spawn(upkeep::keep_up(Arc::downgrade(&node.inner)));
        tokio::spawn(space::sweep_now_and_then(Arc::downgrade(&node.inner)));
        tokio::spawn(scrub::scrub(Arc::downgrade(&node.inner), keeping));
        tokio::spawn(hours::keep_windows(Arc::downgrade(&node.inner)));
        Ok(node)
    }

    /// This site.
    #[must_use]
    pub fn me(&self) -> SiteId {
        self.inner.site.me()
    }

    /// The UDP address it listens on for other sites.
    #[must_use]
    pub fn listen_address(&self) -> SocketAddr {
        self.inner.listen
    }

    /// Tells the address of the package clients' door, for [`Node::site`].
    pub fn http_is(&self, address: &str) {
        address.clone_into(&mut locked(&self.inner.http));
    }

    /// What this site is.
    #[must_use]
    pub fn site(&self) -> api::Site {
        api::Site {
            id: self.me().to_string(),
            name: self.inner.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            listen: self.inner.listen.to_string(),
            http: locked(&self.inner.http).clone(),
            started_ms: self.inner.started.0,
        }
    }

    /// Ends all sessions and timetables and lets the store settle.
    pub async fn stop(&self) {
        self.tell_downloads().await;
        self.inner.hooks.stop();
        let links = std::mem::take(&mut *locked(&self.inner.links));
        for state in links.into_values() {
            state.wake.notify_one();
        }
        self.inner.endpoint.close(Outcome::Interrupted.close_code(), "the node is stopping").await;
        self.events_kept().await;
        self.checkpoint().await;
    }

    async fn checkpoint(&self) {
        let store = self.inner.site.store().clone();
        match tokio::task::spawn_blocking(move || store.checkpoint()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the store did not settle: the next start takes longer"),
            Err(panic) => tracing::error!(%panic, "the store panicked while settling"),
        }
    }

    /// Runs what blocks on the disk off the async threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&SiteStore) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let site = self.inner.site.clone();
        match tokio::task::spawn_blocking(move || work(&site)).await {
            Ok(result) => result,
            Err(_panic) => {
                Err(Problem::new(500, "bug", "This is a defect of packetboat", "the work panicked"))
            }
        }
    }
}

/// What a start found damaged, in words.
fn damage_at_open(store: &Store) -> Vec<String> {
    let format = store.format_mended_at_open().then(|| "FORMAT or its spare, written anew".to_owned());
    store.damage_at_open().iter().map(ToString::to_string).chain(format).collect()
}

/// A data folder's key and store, and why the store is not to be believed on how far the key has signed.
fn open(
    data: &Path,
    options: Options,
    opened: impl FnOnce(&Path, Options) -> Result<Store, OpenError>,
) -> Result<(SiteKey, Store, Option<Cause>), StartError> {
    place::is_no_unfinished_restore(data)?;
    let (path, folder) = (key_path(data), store_path(data));
    let key_alone = path.exists() && !place::is_made(&folder);
    let key = match (path.exists(), place::is_made(&folder)) {
        (true, _) => SiteKey::load(&path)?,
        (false, false) => SiteKey::create(&path)?,
        (false, true) => return Err(StartError::KeyGone { folder }),
    };
    let failed = |source| StartError::Place { folder: folder.clone(), source };
    let noticed = place::look(&folder, options.generation).map_err(failed)?;
    if key_alone {
        tracing::warn!(folder = %folder.display(), "the key of this site is here and its store is not: an empty one is begun; where it lies on \
            another disk, stop this node and mount that first");
    }
    // Whatever the key signed before lay in the store that is gone.
    let noticed = noticed.or_else(|| key_alone.then_some(Cause::SetBack));
    let store = opened(&folder, options)?;
    owner::belongs(&store, &folder, &key)?;
    if let Some(cause) = noticed {
        store.awaken(cause, wall_clock())?;
    }
    place::settle(&folder).map_err(failed)?;
    if let Err(error) = store.end_interrupted_runs(wall_clock()) {
        tracing::warn!(%error, "runs that a kill cut short cannot be read");
    }
    Ok((key, store, noticed))
}

/// Lets the store settle from time to time, so that a start after a crash has little to read again.
async fn settle_now_and_then(inner: Weak<Inner>) {
    let mut every = tokio::time::interval(SETTLE_EVERY);
    every.tick().await;
    loop {
        every.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        Node { inner }.checkpoint().await;
    }
}

/// A link's name made of what another site calls itself: lower case, no spaces, free here.
fn link_name(wanted: &str, taken: impl Fn(&str) -> bool) -> String {
    let plain: String =
        wanted.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let base: String = plain.trim_matches('-').chars().take(LABEL_BYTES_MAX / 4).collect();
    let base = if base.is_empty() { "site".to_owned() } else { base };
    let mut name = base.clone();
    let mut n = 2;
    while taken(&name) {
        name = format!("{base}-{n}");
        n += 1;
    }
    name
}

#[cfg(test)]
mod tests;
