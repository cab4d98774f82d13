//! What a door leads to: nothing but word of the start until the node is up, then the node's routes.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use tower::ServiceExt;

use super::answer::problem_response;
use super::unread::Unread;
use crate::api::Problem;

/// The routes behind a door, once there are any. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Behind(Arc<OnceLock<Router>>);

impl Behind {
    /// A door that leads somewhere from the first.
    pub(super) fn routes(routes: Router) -> Self {
        let behind = Self::default();
        behind.lead_to(routes);
        behind
    }

    /// Opens the way. A door leads to one node for as long as it is open.
    pub(super) fn lead_to(&self, routes: Router) {
        self.0.get_or_init(|| routes);
    }

    pub(super) async fn answer(
        self,
        request: Request<hyper::body::Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let (head, body) = request.into_parts();
        let body = Body::new(Unread::new(&head.headers, body));
        match self.0.get() {
            Some(routes) => routes.clone().oneshot(Request::from_parts(head, body)).await,
            None => Ok(starting(head.uri.path())),
        }
    }
}

/// The process lives, and nothing else can be said of it yet.
fn starting(path: &str) -> Response<Body> {
    if path == "/livez" {
        return Response::new(Body::from("ok\n"));
    }
    let detail = "the node opens its store; after a loss of its index it reads every pack again, which takes a minute for some 10 GB";
    let problem = Problem::new(503, "starting", "The node is starting", detail)
        .hint("ask again: GET /readyz says when it is up");
    let mut response = problem_response(&problem);
    // A client that keeps the connection would be served all the same; this spares it a place.
    response
        .headers_mut()
        .insert(axum::http::header::CONNECTION, axum::http::HeaderValue::from_static("close"));
    response
}
