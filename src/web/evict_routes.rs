//! Routes of bytes that leave this site and come back.

use axum::Router;
use axum::extract::State;
use axum::routing::post;

use super::answer::told;
use super::api_routes::Answered;
use super::sent::Sent;
use super::{Names, Served};
use crate::api::{evict, ruling};

pub(super) fn routes() -> Router<Served> {
    Router::new()
        .route("/api/v1/feeds/{feed}/evict", post(evict_version))
        .route("/api/v1/feeds/{feed}/fetch", post(fetch))
}

async fn evict_version(
    State(served): State<Served>,
    Names(feed): Names<String>,
    Sent(asked): Sent<evict::Request>,
) -> Answered {
    Ok(told(served.node.evict(&feed, asked).await?))
}

async fn fetch(
    State(served): State<Served>,
    Names(feed): Names<String>,
    Sent(at): Sent<ruling::Version>,
) -> Answered {
    Ok(told(served.node.fetch(&feed, at).await?))
}
