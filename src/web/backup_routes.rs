//! The route by which a site is backed up.

use axum::Router;
use axum::extract::State;
use axum::routing::post;

use super::Served;
use super::api_routes::{Answered, streamed};
use super::sent::Sent;
use crate::api::backup::BackupRequest;

pub(super) fn routes() -> Router<Served> {
    Router::new().route("/api/v1/backup", post(backup))
}

async fn backup(State(served): State<Served>, Sent(asked): Sent<BackupRequest>) -> Answered {
    std::future::ready(()).await;
    Ok(streamed(|steps| async move { served.node.backup(asked, steps).await }))
}
