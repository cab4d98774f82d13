//! Bytes in and out: uploads that stream into the store and files that stream out of it, in constant memory.

use std::io;
use std::ops::Range;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream;
use protocol::id::{BlobId, FeedId, OpId};
use protocol::limits::EXTENT_BYTES;
use protocol::op::{Body, Publish};
use protocol::package::Coordinate;

use super::feeds::named;
use super::problem::not_found;
use super::sums::Sums;
use super::{Node, carried};
use crate::api::{self, Problem};
use crate::store::{BlobReader, BlobState, Ingest, Store};

/// A blob that is being uploaded.
#[derive(Debug)]
pub struct UploadStream {
    ingest: Option<Ingest>,
    sums: Sums,
}

/// A file of a version, ready to be read.
#[derive(Debug)]
pub struct OpenFile {
    store: Store,
    pub blob: BlobId,
    /// Bytes.
    pub size: u64,
}

/// A file that was asked for.
enum Found {
    Here(OpenFile),
    /// The version is served and these bytes of it are not here.
    Away {
        feed: FeedId,
        blob: BlobId,
        at: Coordinate,
        winner: OpId,
        publish: Box<Publish>,
    },
}

fn lost() -> Problem {
    Problem::new(500, "disk", "The upload ended early", "the store gave the upload up after an error")
}

impl UploadStream {
    /// Takes more bytes in.
    ///
    /// # Errors
    /// The disk is full or fails. The upload is over then.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Problem> {
        let mut ingest = self.ingest.take().ok_or_else(lost)?;
        let written = tokio::task::spawn_blocking(move || ingest.write(&bytes).map(|()| ingest)).await;
        self.ingest = Some(written.map_err(|_panic| lost())??);
        Ok(())
    }

    /// The bytes are all here. They are kept; a version must name them to be served.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub async fn finish(mut self) -> Result<api::Upload, Problem> {
        let ingest = self.ingest.take().ok_or_else(lost)?;
        let stored =
            tokio::task::spawn_blocking(move || ingest.finish()).await.map_err(|_panic| lost())??;
        self.sums.note(stored.blob, stored.sha256);
        Ok(api::Upload {
            blake3: stored.blob.to_string(),
            size: stored.size,
            sha256: BlobId(stored.sha256).to_string(),
        })
    }
}

impl OpenFile {
    /// The bytes of a range, verified as they are read.
    pub fn stream(self, range: Range<u64>) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        enum Reading {
            Start(Store, BlobId, Range<u64>),
            Open(BlobReader),
        }
        let start = Some(Reading::Start(self.store, self.blob, range));
        stream::try_unfold(start, |reading| async move {
            let Some(reading) = reading else { return Ok(None) };
            let read = tokio::task::spawn_blocking(move || {
                let mut reader = match reading {
                    Reading::Start(store, blob, range) => store.reader(blob, range)?,
                    Reading::Open(reader) => reader,
                };
                reader.next_chunk().map(|chunk| chunk.map(|bytes| (bytes, reader)))
            });
            match read.await.map_err(io::Error::other)?.map_err(io::Error::other)? {
                None => Ok(None),
                Some((bytes, reader)) => Ok(Some((Bytes::from(bytes), Some(Reading::Open(reader))))),
            }
        })
    }
}

impl Node {
    /// Begins an upload.
    #[must_use]
    pub fn begin_upload(&self) -> UploadStream {
        UploadStream { ingest: Some(self.inner.site.store().ingest()), sums: self.inner.sums.clone() }
    }

    /// Bytes of a version's files that are here so far; nothing while the version is not known.
    pub(crate) async fn feed_progress(&self, feed: &str, name: &str, version: &str) -> Option<u64> {
        let package = self.package(feed, name, version).await.ok()?;
        self.blocking(move |site| {
            let mut got: u64 = 0;
            for file in &package.files {
                let Ok(blob) = file.blake3.parse::<BlobId>() else { continue };
                got = got.saturating_add(match site.store().blob_state(blob)? {
                    BlobState::Missing => 0,
                    BlobState::Complete { size } => size,
                    BlobState::Partial { size, missing } => {
                        let lacking: u64 = missing
                            .iter()
                            .map(|range| u64::from(range.end.saturating_sub(range.start)))
                            .sum();
                        size.saturating_sub(lacking.saturating_mul(EXTENT_BYTES as u64))
                    }
                });
            }
            Ok(got)
        })
        .await
        .ok()
    }

    /// A file of a version.
    ///
    /// # Errors
    /// There is no such version or file, or its bytes have not arrived.
    pub async fn open_file(
        &self,
        feed: &str,
        name: &str,
        version: &str,
        file: &str,
    ) -> Result<OpenFile, Problem> {
        match self.find_file(feed, name, version, file).await? {
            Found::Here(open) => Ok(open),
            Found::Away { feed: id, blob, at, winner, publish } => {
                let carried =
                    self.blocking(move |site| carried::refuse_left_out(site, id, winner, &publish)).await;
                // Not a 404, which would send the client to its next index.
                carried.map_err(|told| Problem { status: 503, ..told })?;
                self.end_eviction(id, &at).await?;
                if self.fetch_now(id, blob).await
                    && let Found::Here(open) = self.find_file(feed, name, version, file).await?
                {
                    return Ok(open);
                }
                let detail = format!("{at} is known here and the bytes of {file:?} have not arrived");
                Err(Problem::new(503, "pending", "The bytes have not arrived", detail)
                    .hint("run `packetboat sync`, or wait for the next run of the link"))
            }
        }
    }

    async fn find_file(&self, feed: &str, name: &str, version: &str, file: &str) -> Result<Found, Problem> {
        let (feed, name) = (feed.to_owned(), name.to_owned());
        let (version, file) = (version.to_owned(), file.to_owned());
        self.blocking(move |site| {
            let store = site.store();
            let (id, record) = named(site, &feed)?;
            let at = Coordinate::new(record.genesis.kind, &name, &version)?;
            let item = store.item(id, &at.name, &at.version, site.look())?;
            let winner = item.and_then(|item| item.winner);
            let winner = winner.ok_or_else(|| not_found("version", &at.to_string()))?;
            let op = store.op(winner)?.map(|named| named.op.body);
            let Some(Body::Publish(publish)) = op else { return Err(not_found("version", &at.to_string())) };
            let found = publish.manifest.file(&file).ok_or_else(|| not_found("file", &file))?;
            let blob = found.blob;
            match store.blob_state(blob)? {
                BlobState::Complete { size } => {
                    Ok(Found::Here(OpenFile { store: store.clone(), blob, size }))
                }
                BlobState::Missing | BlobState::Partial { .. } => {
                    Ok(Found::Away { feed: id, blob, at, winner, publish: Box::new(publish) })
                }
            }
        })
        .await
    }
}
