//! What is left of a body whose request was answered early: it is read and thrown away, for a client that still writes to a closed connection never sees why it was refused.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use protocol::limits::HTTP_UNREAD_MS_MAX;

/// A body of which nothing is left behind.
#[derive(Debug)]
pub(super) struct Unread<B: HttpBody<Data = Bytes> + Send + Unpin + 'static> {
    body: Option<B>,
    /// The client waits to be asked before it sends: unless it was, there is nothing under way.
    held_back: bool,
}

impl<B: HttpBody<Data = Bytes> + Send + Unpin + 'static> Unread<B> {
    pub(super) fn new(headers: &HeaderMap, body: B) -> Self {
        Self { body: Some(body), held_back: headers.contains_key(header::EXPECT) }
    }
}

impl<B: HttpBody<Data = Bytes> + Send + Unpin + 'static> HttpBody for Unread<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.held_back = false;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl<B: HttpBody<Data = Bytes> + Send + Unpin + 'static> Drop for Unread<B> {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !self.held_back && !body.is_end_stream()) else {
            return;
        };
        // Outside a runtime there is no connection that could wait for it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(throw_away(body));
        }
    }
}

/// Reads to the end, for a while.
async fn throw_away<B: HttpBody<Data = Bytes> + Unpin>(mut body: B) {
    let all = async { while let Some(Ok(_thrown_away)) = body.frame().await {} };
    if tokio::time::timeout(Duration::from_millis(HTTP_UNREAD_MS_MAX), all).await.is_err() {
        tracing::debug!("a client went on sending what was refused: its connection is closed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use futures_util::{StreamExt, stream};
    use tokio::sync::mpsc;

    /// A body of three parts that tells of each that is taken.
    fn told() -> (Body, mpsc::UnboundedReceiver<u8>) {
        let (tell, taken) = mpsc::unbounded_channel();
        let parts = stream::iter([1_u8, 2, 3]).map(move |part| {
            tell.send(part).unwrap();
            Ok::<_, std::io::Error>(Bytes::from(vec![part]))
        });
        (Body::from_stream(parts), taken)
    }

    async fn all(mut taken: mpsc::UnboundedReceiver<u8>) -> Vec<u8> {
        let mut parts = Vec::new();
        while let Some(part) = taken.recv().await {
            parts.push(part);
        }
        parts
    }

    #[tokio::test]
    async fn what_a_handler_leaves_is_read_to_the_end() {
        let (body, taken) = told();
        let mut body = Unread::new(&HeaderMap::new(), body);
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), [1_u8][..]);
        drop(body);
        assert_eq!(all(taken).await, [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_client_that_waits_to_be_asked_is_not_asked_for_what_was_refused() {
        let (body, taken) = told();
        let mut headers = HeaderMap::new();
        headers.insert(header::EXPECT, "100-continue".parse().unwrap());
        drop(Unread::new(&headers, body));
        assert!(all(taken).await.is_empty());
    }
}
