//! Routes by which a site is backed up, and writes again after a restore.

use axum::Router;
use axum::extract::State;
use axum::routing::post;

use super::Served;
use super::answer::told;
use super::api_routes::{Answered, streamed};
use super::sent::Sent;
use crate::api::backup::BackupRequest;
use crate::api::writing::ResumeRequest;

pub(super) fn routes() -> Router<Served> {
    Router::new().route("/api/v1/backup", post(backup)).route("/api/v1/resume-writing", post(resume_writing))
}

async fn backup(State(served): State<Served>, Sent(asked): Sent<BackupRequest>) -> Answered {
    std::future::ready(()).await;
    Ok(streamed(|steps| async move { served.node.backup(asked, steps).await }))
}

async fn resume_writing(State(served): State<Served>, Sent(asked): Sent<ResumeRequest>) -> Answered {
    Ok(told(served.node.resume_writing(asked).await?))
}
