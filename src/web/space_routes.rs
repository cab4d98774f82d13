//! Routes of room on this site's disk.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};

use super::answer::told;
use super::api_routes::{Answered, Asked, query};
use super::sent::Sent;
use super::{Names, Served};
use crate::api::ruling::Version;

pub(super) fn routes() -> Router<Served> {
    Router::new()
        .route("/api/v1/sweep", post(sweep))
        .route("/api/v1/trash", get(trash))
        .route("/api/v1/trash/empty", post(empty))
        .route("/api/v1/feeds/{feed}/restore", post(restore))
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct SweepQuery {
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct TrashQuery {
    feed: Option<String>,
}

async fn sweep(State(served): State<Served>, asked: Asked<SweepQuery>) -> Answered {
    Ok(told(served.node.sweep(query(asked)?.dry_run).await?))
}

async fn trash(State(served): State<Served>, asked: Asked<TrashQuery>) -> Answered {
    Ok(told(served.node.trash(query(asked)?.feed).await?))
}

async fn empty(State(served): State<Served>) -> Answered {
    Ok(told(served.node.empty_trash().await?))
}

async fn restore(
    State(served): State<Served>,
    Names(feed): Names<String>,
    Sent(at): Sent<Version>,
) -> Answered {
    Ok(told(served.node.restore_from_trash(&feed, at).await?))
}
