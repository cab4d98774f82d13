//! HTTP to the daemon: JSON both ways, bytes streamed, progress line by line.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use http_body_util::{BodyExt, BodyStream, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;

use super::Told;
use crate::api::{Answer, Problem, Progress};

type Body = BoxBody<Bytes, std::io::Error>;

/// Bytes of one JSON answer the command line reads: a page of a thousand versions is far below.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Speaks to the daemon of a data folder.
#[derive(Debug, Clone)]
pub(super) struct Client {
    data: PathBuf,
}

fn nothing() -> Body {
    Full::new(Bytes::new()).map_err(|never| match never {}).boxed()
}

impl Client {
    pub(super) fn new(data: &Path) -> Self {
        Self { data: data.to_owned() }
    }

    /// Sends a request. A problem in the answer is an error.
    async fn send(
        &self,
        method: Method,
        path: &str,
        json: bool,
        body: Body,
    ) -> anyhow::Result<Response<Incoming>> {
        let (stream, secret) = self.connect().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .context("the daemon hung up")?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the daemon ended");
            }
        });
        let mut request = Request::builder().method(method).uri(path).header("host", "packetboat");
        if json {
            request = request.header("content-type", "application/json");
        }
        if let Some(secret) = secret {
            request = request.header(crate::web::local::HEADER, secret);
        }
        let response = sender.send_request(request.body(body)?).await.context("the daemon hung up")?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let bytes = whole(response).await?;
        let unread = || {
            Problem::new(
                status,
                "failed",
                "The daemon answered in another tongue",
                String::from_utf8_lossy(&bytes),
            )
        };
        Err(Told(serde_json::from_slice(&bytes).unwrap_or_else(|_not_one| unread())).into())
    }

    /// Opens the data folder's own door. Where that is not a socket, requests carry its secret.
    #[cfg(unix)]
    async fn connect(&self) -> anyhow::Result<(tokio::net::UnixStream, Option<String>)> {
        let path = crate::node::socket_path(&self.data);
        let stream = tokio::net::UnixStream::connect(&path).await.map_err(|error| self.unreached(error))?;
        Ok((stream, None))
    }

    #[cfg(not(unix))]
    async fn connect(&self) -> anyhow::Result<(tokio::net::TcpStream, Option<String>)> {
        let (address, secret) = crate::web::local::loopback::read(&crate::node::socket_path(&self.data))
            .map_err(|error| self.unreached(error))?;
        let stream = tokio::net::TcpStream::connect(address).await.map_err(|error| self.unreached(error))?;
        Ok((stream, Some(secret)))
    }

    fn unreached(&self, error: std::io::Error) -> anyhow::Error {
        let data = self.data.display();
        let kind = error.kind();
        let problem = if kind == ErrorKind::PermissionDenied {
            Problem::new(403, "refused", "Another user's node", format!("{data} is not open to this user"))
                .hint("run the command as the user the node runs as")
        } else if kind == ErrorKind::NotFound && !self.data.join("key").exists() {
            // To serve a folder that was mistyped would make a site of it.
            Problem::new(503, "no-daemon", "No site", format!("there is no site in {data}"))
                .hint("name the folder of one with --data, or begin one: packetboat init")
        } else if matches!(kind, ErrorKind::NotFound | ErrorKind::ConnectionRefused) {
            Problem::new(503, "no-daemon", "No daemon", format!("no packetboat serves {data}"))
                .hint(format!("start it: packetboat --data {data} serve"))
        } else {
            return anyhow::Error::new(error).context(format!("the daemon of {data} cannot be reached"));
        };
        Told(problem).into()
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<Answer<T>> {
        read(self.send(Method::GET, path, false, nothing()).await?).await
    }

    pub(super) async fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.send(Method::DELETE, path, false, nothing()).await.map(drop)
    }

    pub(super) async fn delete_for<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<Answer<T>> {
        read(self.send(Method::DELETE, path, false, nothing()).await?).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<Answer<T>> {
        read(self.send(Method::POST, path, true, json(body)?).await?).await
    }

    pub(super) async fn patch<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<Answer<T>> {
        read(self.send(Method::PATCH, path, true, json(body)?).await?).await
    }

    pub(super) async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<Answer<T>> {
        read(self.send(Method::PUT, path, true, json(body)?).await?).await
    }

    /// Uploads a file, telling how far it is.
    pub(super) async fn upload<T: DeserializeOwned>(
        &self,
        path: &str,
        file: tokio::fs::File,
        mut step: impl FnMut(u64) + Send + Sync + 'static,
    ) -> anyhow::Result<Answer<T>> {
        let frames = ReaderStream::with_capacity(file, 256 << 10).map_ok(move |chunk| {
            step(chunk.len() as u64);
            Frame::data(chunk)
        });
        let body = BodyExt::boxed(StreamBody::new(frames));
        read(self.send(Method::PUT, path, false, body).await?).await
    }

    /// Downloads into a file and gives the hash of what came.
    pub(super) async fn download(
        &self,
        path: &str,
        file: &mut tokio::fs::File,
    ) -> anyhow::Result<blake3::Hash> {
        let response = self.send(Method::GET, path, false, nothing()).await?;
        let mut stream = BodyStream::new(response.into_body());
        let mut hasher = blake3::Hasher::new();
        while let Some(frame) = stream.next().await {
            let Ok(chunk) = frame.context("the download was cut")?.into_data() else { continue };
            hasher.update(&chunk);
            file.write_all(&chunk).await?;
        }
        file.sync_all().await?;
        Ok(hasher.finalize())
    }

    /// Reads an answer that goes on line by line, until it ends or `each` has enough.
    pub(super) async fn lines(
        &self,
        path: &str,
        mut each: impl FnMut(&str) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let response = self.send(Method::GET, path, false, nothing()).await?;
        let mut stream = BodyStream::new(response.into_body());
        let mut held = Vec::new();
        while let Some(frame) = stream.next().await {
            let Ok(chunk) = frame.context("the daemon went away")?.into_data() else { continue };
            held.extend_from_slice(&chunk);
            while let Some(end) = held.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = held.drain(..=end).collect();
                if !each(String::from_utf8_lossy(&line).trim_end())? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Asks for something long: each step is told, the last line is the result.
    pub(super) async fn watch<T: DeserializeOwned>(
        &self,
        path: &str,
        step: impl FnMut(&str, u64, Option<u64>),
    ) -> anyhow::Result<Answer<T>> {
        Self::watched(self.send(Method::POST, path, false, nothing()).await?, step).await
    }

    /// The same with something to say first.
    pub(super) async fn watch_with<T: DeserializeOwned>(
        &self,
        path: &str,
        asked: &impl Serialize,
        step: impl FnMut(&str, u64, Option<u64>),
    ) -> anyhow::Result<Answer<T>> {
        Self::watched(self.send(Method::POST, path, true, json(asked)?).await?, step).await
    }

    async fn watched<T: DeserializeOwned>(
        response: Response<Incoming>,
        mut step: impl FnMut(&str, u64, Option<u64>),
    ) -> anyhow::Result<Answer<T>> {
        let mut stream = BodyStream::new(response.into_body());
        let mut held = Vec::new();
        while let Some(frame) = stream.next().await {
            let Ok(chunk) = frame.context("the daemon went away")?.into_data() else { continue };
            held.extend_from_slice(&chunk);
            while let Some(end) = held.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = held.drain(..=end).collect();
                match serde_json::from_slice::<Progress<Answer<T>>>(&line)? {
                    Progress::Step { what, done, of } => step(&what, done, of),
                    Progress::Done { result } => return Ok(result),
                    Progress::Failed { problem } => return Err(Told(problem).into()),
                }
            }
        }
        anyhow::bail!("the daemon went away before it was done")
    }
}

fn json(body: &impl Serialize) -> anyhow::Result<Body> {
    Ok(Full::new(Bytes::from(serde_json::to_vec(body)?)).map_err(|never| match never {}).boxed())
}

async fn whole(response: Response<Incoming>) -> anyhow::Result<Bytes> {
    let limited = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES_MAX);
    let collected =
        limited.collect().await.map_err(|error| anyhow::anyhow!("{error}")).context("the daemon hung up")?;
    Ok(collected.to_bytes())
}

async fn read<T: DeserializeOwned>(response: Response<Incoming>) -> anyhow::Result<Answer<T>> {
    serde_json::from_slice(&whole(response).await?).context("the daemon's answer is of another release")
}
