//! The daemon from start to stop, and what works on a data folder without one.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use protocol::id::SiteId;

use super::overview::Counts;
use super::{Node, StartError, UnfinishedRestore, key_path, socket_path, store_path};
use crate::api::keeping::Verification;
use crate::api::{self, Problem};
use crate::config::{Config, ConfigError};
use crate::identity::{CreateKeyError, LoadKeyError, SiteKey};
use crate::keeper::SiteStore;
use crate::store::{OpenError, Options, Store};
use crate::web::{DoorError, Doors};

/// How long a node may take to stop, answers to clients included: service keepers kill after 30 s and more.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// Why a data folder was not made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("cannot make the data folder {folder}")]
    Folder { folder: String, source: std::io::Error },
    #[error(transparent)]
    Key(#[from] CreateKeyError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error("no random bytes: {0}")]
    Randomness(getrandom::Error),
    /// With a new key it would be another site that has this one's store.
    #[error(
        "{folder} has a store and no key: put the site's key back as key/site.key, or use an empty folder"
    )]
    KeyGone { folder: String },
    #[error(transparent)]
    Unfinished(#[from] UnfinishedRestore),
}

/// Why the daemon ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Init(#[from] InitError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Door(#[from] DoorError),
    #[error("cannot wait for signals")]
    Signals(#[from] std::io::Error),
}

/// Why a folder could not be verified without a daemon.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Key(#[from] LoadKeyError),
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error("no random bytes: {0}")]
    Randomness(getrandom::Error),
    #[error("{}", .0.detail)]
    Problem(Problem),
}

/// A life for a store that never had it.
///
/// # Errors
/// The system gives no random bytes.
pub fn fresh_life() -> std::io::Result<u128> {
    generation().map_err(|error| std::io::Error::other(error.to_string()))
}

fn generation() -> Result<u128, getrandom::Error> {
    super::random::<16>().map(u128::from_le_bytes)
}

/// Makes a data folder: key, configuration, empty store.
///
/// # Errors
/// There is a key already, or the disk refuses.
pub fn init(data: &Path, name: Option<&str>) -> Result<SiteId, InitError> {
    super::place::is_no_unfinished_restore(data)?;
    if super::place::is_made(&store_path(data)) && !key_path(data).exists() {
        return Err(InitError::KeyGone { folder: data.display().to_string() });
    }
    let folder = |source| InitError::Folder { folder: data.display().to_string(), source };
    std::fs::create_dir_all(data).map_err(folder)?;
    close_to_others(data).map_err(folder)?;
    let key = SiteKey::create(&key_path(data))?;
    Config::write_new(data, name)?;
    Store::open(&store_path(data), Options::new(generation().map_err(InitError::Randomness)?))?;
    Ok(key.site_id())
}

/// The folder holds what tickets and tokens are checked against: it is its owner's alone.
#[cfg(unix)]
fn close_to_others(data: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(data, std::fs::Permissions::from_mode(0o700))
}

/// Elsewhere a user's data folder is the user's alone from the start.
#[cfg(not(unix))]
fn close_to_others(_data: &Path) -> std::io::Result<()> {
    Ok(())
}

/// Runs a node on a data folder until it is told to stop. An empty folder is made ready first. `ready` is told the site once it serves.
///
/// # Errors
/// The folder, an address or a signal handler cannot be had.
pub async fn serve(data: &Path, config: Config, ready: impl FnOnce(&api::Site)) -> Result<(), ServeError> {
    if !key_path(data).exists() {
        init(data, config.name.as_deref())?;
    }
    let mut doors = Doors::open(config.http).await?;
    let node = Node::start_with(data, config.name.as_deref(), config.listen, config.keeping).await?;
    let_in(&node, &mut doors, Some(data)).await?;
    ready(&node.site());
    stop_signal().await?;
    tracing::info!("stopping");
    tokio::select! {
        stopped = tokio::time::timeout(STOP_WITHIN, wind_up(&node, doors)) => if stopped.is_err() {
            tracing::warn!("not all work ended within {} s; what was not acknowledged is cut off", STOP_WITHIN.as_secs());
        },
        insisted = stop_signal() => {
            insisted?;
            tracing::warn!("told to stop again: what was not acknowledged is cut off");
        }
    }
    Ok(())
}

/// Lets requests and transfers end: bytes that arrived are kept, and the next run asks for the rest.
async fn wind_up(node: &Node, doors: Doors) {
    node.end_event_readers();
    doors.close().await;
    node.stop().await;
}

/// Opens the doors for people and package clients: the socket in the data folder, and TCP.
///
/// # Errors
/// The address is taken, or the socket cannot be made.
pub(crate) async fn open_doors(
    node: &Node,
    data: Option<&Path>,
    http: SocketAddr,
) -> Result<Doors, DoorError> {
    let mut doors = Doors::open(http).await?;
    let_in(node, &mut doors, data).await?;
    Ok(doors)
}

async fn let_in(node: &Node, doors: &mut Doors, data: Option<&Path>) -> Result<(), DoorError> {
    node.http_is(&doors.tcp_address().to_string());
    doors.lead_to(node.clone(), data.map(socket_path).as_deref()).await
}

#[cfg(unix)]
async fn stop_signal() -> Result<(), std::io::Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        ended = tokio::signal::ctrl_c() => ended,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn stop_signal() -> Result<(), std::io::Error> {
    tokio::signal::ctrl_c().await
}

/// Checks every byte of a data folder that no daemon has open.
///
/// # Errors
/// A daemon has it open, or the disk fails.
pub fn verify_offline(
    data: &Path,
    deep: bool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Verification, VerifyError> {
    let key = SiteKey::load(&key_path(data))?;
    let generation = generation().map_err(VerifyError::Randomness)?;
    let store = Store::open(&store_path(data), Options::new(generation))?;
    let site = SiteStore::new(store, key);
    let mut looked = || {
        let mut found = super::verify::verified(&site, progress)?;
        if deep {
            found.deep = Some(super::verify::verified_deeply(&site, &Counts::default())?);
        }
        Ok(found)
    };
    looked().map_err(VerifyError::Problem)
}
