//! What every request goes through: a number in log and answer, and an end of its own where the code panics.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use axum::middleware::Next;
use futures_util::FutureExt;
use tracing::Instrument;

use super::problem_response;
use crate::api::Problem;

const NUMBER: HeaderName = HeaderName::from_static("x-request-id");

/// Tells the requests of one process apart.
static REQUESTS: AtomicU64 = AtomicU64::new(1);

/// Runs a request under its number.
pub(super) async fn watched(request: Request, next: Next) -> Response<Body> {
    let number = REQUESTS.fetch_add(1, Ordering::Relaxed);
    let span = tracing::info_span!("http", number, method = %request.method(), path = request.uri().path());
    let began = Instant::now();
    async move {
        let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
        let mut response = answered.unwrap_or_else(|_panic| {
            tracing::error!("a handler panicked");
            let detail = "the request was given up; the log has more under its number";
            problem_response(&Problem::new(500, "bug", "This is a defect of packetboat", detail))
        });
        let (status, took_ms) = (response.status(), began.elapsed().as_millis());
        if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
            tracing::error!(status = status.as_u16(), took_ms, "answered");
        } else {
            tracing::debug!(status = status.as_u16(), took_ms, "answered");
        }
        response.headers_mut().insert(NUMBER, HeaderValue::from(number));
        response
    }
    .instrument(span)
    .await
}
