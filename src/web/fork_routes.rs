//! Routes of authors that signed two histories of a log.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};

use super::Served;
use super::answer::told;
use super::api_routes::Answered;
use super::sent::Sent;
use crate::api::forks::ResolveFork;

pub(super) fn routes() -> Router<Served> {
    Router::new().route("/api/v1/forks", get(forks)).route("/api/v1/forks/resolve", post(resolve))
}

async fn forks(State(served): State<Served>) -> Answered {
    Ok(told(served.node.forks().await?))
}

async fn resolve(State(served): State<Served>, Sent(asked): Sent<ResolveFork>) -> Answered {
    Ok(told(served.node.resolve_fork(asked).await?))
}
