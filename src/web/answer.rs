//! How answers and problems are written: JSON with a schema, and `application/problem+json` for everything that went wrong.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;

use crate::api::{Problem, Schema};

/// Seconds after which a client asks again for bytes that have not arrived.
const RETRY_AFTER_S: &str = "5";

/// A problem on its way to the client.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) Problem);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<JsonRejection> for Refusal {
    fn from(error: JsonRejection) -> Self {
        Self(Problem::new(
            error.status().as_u16(),
            "usage",
            "The body is not what this route takes",
            error.body_text(),
        ))
    }
}

impl From<QueryRejection> for Refusal {
    fn from(error: QueryRejection) -> Self {
        Self(Problem::new(400, "usage", "The query is not what this route takes", error.body_text()))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response<Body> {
        problem_response(&self.0)
    }
}

/// The response that tells a problem.
pub(crate) fn problem_response(problem: &Problem) -> Response<Body> {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_vec(problem).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"packetboat\""));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
    }
    response
}

/// A top-level answer.
pub(crate) fn told<T: Schema + serde::Serialize>(body: T) -> Response<Body> {
    Json(body.answer()).into_response()
}

pub(super) async fn no_such_route(uri: axum::http::Uri) -> Refusal {
    std::future::ready(()).await;
    let detail = format!("nothing is at {}", uri.path());
    Refusal(Problem::new(404, "not-found", "Not found", detail).hint("docs/api.md lists the routes"))
}

pub(super) async fn no_such_method(method: axum::http::Method, uri: axum::http::Uri) -> Refusal {
    std::future::ready(()).await;
    Refusal(Problem::new(
        405,
        "usage",
        "Not a method of this route",
        format!("{method} is no method of {}", uri.path()),
    ))
}
