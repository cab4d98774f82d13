//! The doors: listeners, what a connection may cost, and closing them without cutting anybody off.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use protocol::limits::{HTTP_CONNECTIONS_MAX, HTTP_HEADER_BYTES_MAX, HTTP_HEADER_MS_MAX, HTTP_IDLE_MS_MAX};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tower::ServiceExt;

use super::stall::Unstalled;
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
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    socket: Option<PathBuf>,
}

impl Doors {
    /// Opens the TCP door and, where a path is given, the socket.
    ///
    /// # Errors
    /// The address or the path cannot be had.
    pub async fn open(node: Node, socket: Option<&Path>, http: SocketAddr) -> Result<Self, DoorError> {
        let (stop, stopped) = watch::channel(false);
        let tcp = |source| DoorError::Tcp { address: http, source };
        let listener = TcpListener::bind(http).await.map_err(tcp)?;
        let address = listener.local_addr().map_err(tcp)?;
        let mut tasks =
            vec![tokio::spawn(serve_tcp(listener, router(node.clone(), Door::Tcp), stopped.clone()))];
        #[cfg(unix)]
        if let Some(path) = socket {
            let listener = local::bind(path)?;
            tasks.push(tokio::spawn(serve_socket(listener, router(node, Door::Socket), stopped)));
        }
        #[cfg(not(unix))]
        if let Some(path) = socket {
            let (listener, secret) = local::loopback::bind(path).await?;
            let routes = local::loopback::guarded(router(node, Door::Socket), secret);
            tasks.push(tokio::spawn(serve_tcp(listener, routes, stopped)));
        }
        Ok(Self { tcp: address, stop, tasks, socket: socket.map(Path::to_owned) })
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

struct Desk {
    router: Router,
    places: Arc<Semaphore>,
    graceful: GracefulShutdown,
}

impl Desk {
    fn new(router: Router) -> Self {
        Self {
            router,
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
        let router = self.router.clone();
        let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
            router.clone().oneshot(request.map(Body::new))
        });
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

async fn serve_tcp(listener: TcpListener, router: Router, mut stopped: watch::Receiver<bool>) {
    let desk = Desk::new(router);
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _from)) => desk.welcome(stream),
                Err(error) => out_of_breath(&error).await,
            },
        }
    }
    drop(listener);
    desk.close().await;
}

#[cfg(unix)]
async fn serve_socket(
    listener: tokio::net::UnixListener,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) {
    let desk = Desk::new(router);
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _from)) => desk.welcome(stream),
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
