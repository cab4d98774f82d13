//! The route by which one feed's contents are brought into another.

use axum::Router;
use axum::extract::State;
use axum::routing::post;

use super::answer::told;
use super::api_routes::Answered;
use super::sent::Sent;
use super::{Names, Served};
use crate::api::merge::MergeRequest;

pub(super) fn routes() -> Router<Served> {
    Router::new().route("/api/v1/feeds/{feed}/merge", post(merge))
}

async fn merge(
    State(served): State<Served>,
    Names(feed): Names<String>,
    Sent(asked): Sent<MergeRequest>,
) -> Answered {
    Ok(told(served.node.merge_feed(&feed, asked).await?))
}
