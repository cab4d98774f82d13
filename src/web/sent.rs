//! JSON bodies: read whole, up to a size and within a time, of callers who are known still once they are here, and refused in words.

use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequest, Request};
use protocol::limits::HTTP_JSON_MS_MAX;
use serde::de::DeserializeOwned;

use super::{Caller, Refusal, Served};
use crate::api::Problem;

/// What the client sent.
#[derive(Debug)]
pub(super) struct Sent<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequest<Served> for Sent<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, served: &Served) -> Result<Self, Refusal> {
        let caller = request.extensions().get::<Caller>().cloned();
        let sent = read(request, served, Duration::from_millis(HTTP_JSON_MS_MAX)).await?;
        // Whoever stole a token may keep a request open and send what it asks for after that is known.
        if let Some(caller) = caller {
            caller.is_known_still(&served.node).await?;
        }
        Ok(Self(sent))
    }
}

async fn read<T: DeserializeOwned, S: Send + Sync>(
    request: Request,
    state: &S,
    within: Duration,
) -> Result<T, Refusal> {
    match tokio::time::timeout(within, Json::<T>::from_request(request, state)).await {
        Ok(taken) => Ok(taken?.0),
        Err(_elapsed) => {
            let detail = format!("the body was not all here within {} s", within.as_secs());
            Err(Problem::new(408, "interrupted", "The request stalled", detail).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, Bytes};
    use futures_util::{StreamExt, stream};

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up() {
        let begun = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"{"))]);
        let body = Body::from_stream(begun.chain(stream::pending()));
        let request = Request::post("/").header("content-type", "application/json").body(body).unwrap();
        let refused =
            read::<serde_json::Value, _>(request, &(), Duration::from_millis(20)).await.unwrap_err();
        assert_eq!((refused.0.status, refused.0.code.as_str()), (408, "interrupted"));
    }
}
