//! Routes of deletions that wait for a person.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};

use super::answer::told;
use super::api_routes::Answered;
use super::{Names, Served};

pub(super) fn routes() -> Router<Served> {
    Router::new().route("/api/v1/holds", get(holds)).route("/api/v1/holds/{hold}/approve", post(approve))
}

async fn holds(State(served): State<Served>) -> Answered {
    Ok(told(served.node.holds().await?))
}

async fn approve(State(served): State<Served>, Names(hold): Names<String>) -> Answered {
    Ok(told(served.node.approve(&hold).await?))
}
