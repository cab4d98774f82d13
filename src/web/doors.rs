//! The doors: listeners, what a connection may cost, and closing them without cutting anybody off.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use protocol::limits::{HTTP_CONNECTIONS_MAX, HTTP_HEADER_BYTES_MAX, HTTP_HEADER_MS_MAX, HTTP_IDLE_MS_MAX};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::stall::Unstalled;
use super::starting::Behind;
use super::{Door, local, router};
use crate::node::Node;

/// How long answers under way may take once the node is told to stop.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// Why a door did not open.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    #[error("cannot listen on TCP {address}; another node may be using it: choose another with --http")]
    Tcp { address: SocketAddr, source: std::io::Error },
    #[error("cannot make the socket {path}")]
    Socket { path: String, source: std::io::Error },
}

/// The open doors of a node.
#[derive(Debug)]
pub struct Doors {
    tcp: SocketAddr,
    behind: Behind,
    stop: watch::Sender<bool>,
    stopped: watch::Receiver<bool>,
    tasks: Vec<JoinHandle<()>>,
    socket: Option<PathBuf>,
}

impl Doors {
    /// Opens the TCP door. Until [`Doors::lead_to`] it tells that the node is starting.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn open(http: SocketAddr) -> Result<Self, DoorError> {
        let (stop, stopped) = watch::channel(false);
        let tcp = |source| DoorError::Tcp { address: http, source };
        let listener = TcpListener::bind(http).await.map_err(tcp)?;
        let address = listener.local_addr().map_err(tcp)?;
        let behind = Behind::default();
        let tasks = vec![tokio::spawn(serve(listener, behind.clone(), stopped.clone()))];
        Ok(Self { tcp: address, behind, stop, stopped, tasks, socket: None })
    }

    /// Lets callers in to the node and, where a path is given, opens the socket.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub async fn lead_to(&mut self, node: Node, socket: Option<&Path>) -> Result<(), DoorError> {
        self.behind.lead_to(router(node.clone(), Door::Tcp));
        let Some(path) = socket else { return Ok(()) };
        self.tasks.push(own_door(path, router(node, Door::Socket), self.stopped.clone()).await?);
        self.socket = Some(path.to_owned());
        Ok(())
    }

    /// Where the TCP door is.
    #[must_use]
    pub const fn tcp_address(&self) -> SocketAddr {
        self.tcp
    }

    /// Takes no more callers, lets those inside finish for ten seconds, and closes.
    pub async fn close(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            if task.await.is_err() {
                tracing::error!("a door's task panicked");
            }
        }
        if let Some(path) = self.socket
            && let Err(error) = local::remove(&path)
        {
            tracing::warn!(path = %path.display(), %error, "the socket could not be removed");
        }
    }
}

/// Opens the door of the data folder's owner.
#[cfg(unix)]
async fn own_door(
    path: &Path,
    routes: Router,
    stopped: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, DoorError> {
    let listener = std::future::ready(local::bind(path)).await?;
    Ok(tokio::spawn(serve(listener, Behind::routes(routes), stopped)))
}

#[cfg(not(unix))]
async fn own_door(
    path: &Path,
    routes: Router,
    stopped: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, DoorError> {
    let (listener, secret) = local::loopback::bind(path).await?;
    let routes = local::loopback::guarded(routes, secret);
    Ok(tokio::spawn(serve(listener, Behind::routes(routes), stopped)))
}

struct Desk {
    behind: Behind,
    places: Arc<Semaphore>,
    graceful: GracefulShutdown,
}

impl Desk {
    fn new(behind: Behind) -> Self {
        Self {
            behind,
            places: Arc::new(Semaphore::new(HTTP_CONNECTIONS_MAX)),
            graceful: GracefulShutdown::new(),
        }
    }

    /// Serves one connection, if there is a place; else it is dropped, which the client sees at once.
    fn welcome(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            tracing::warn!("over {HTTP_CONNECTIONS_MAX} connections: one is turned away");
            return;
        };
        let behind = self.behind.clone();
        let service = hyper::service::service_fn(move |request| behind.clone().answer(request));
        let mut builder = Builder::new(TokioExecutor::new()).http1_only();
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_millis(HTTP_HEADER_MS_MAX))
            .max_buf_size(HTTP_HEADER_BYTES_MAX);
        let stream = Unstalled::new(stream, Duration::from_millis(HTTP_IDLE_MS_MAX));
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let watched = self.graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = watched.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(place);
        });
    }

    async fn close(self) {
        if tokio::time::timeout(CLOSE_WITHIN, self.graceful.shutdown()).await.is_err() {
            tracing::warn!("answers under way were cut off after {} s", CLOSE_WITHIN.as_secs());
        }
    }
}

/// What connections come to.
trait Listens {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    async fn accepted(&self) -> std::io::Result<Self::Stream>;
}

impl Listens for TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn accepted(&self) -> std::io::Result<Self::Stream> {
        self.accept().await.map(|(stream, _from)| stream)
    }
}

#[cfg(unix)]
impl Listens for tokio::net::UnixListener {
    type Stream = tokio::net::UnixStream;

    async fn accepted(&self) -> std::io::Result<Self::Stream> {
        self.accept().await.map(|(stream, _from)| stream)
    }
}

async fn serve(listener: impl Listens, behind: Behind, mut stopped: watch::Receiver<bool>) {
    let desk = Desk::new(behind);
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            accepted = listener.accepted() => match accepted {
                Ok(stream) => desk.welcome(stream),
                Err(error) => out_of_breath(&error).await,
            },
        }
    }
    drop(listener);
    desk.close().await;
}

/// Accepting fails when the process has no file left: trying again at once would only spin.
async fn out_of_breath(error: &std::io::Error) {
    const PAUSE: Duration = Duration::from_millis(100);
    tracing::warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(PAUSE).await;
}

#[cfg(test)]
mod tests;
