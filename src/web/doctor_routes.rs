//! The route of what is worth a person's attention.

use axum::Router;
use axum::extract::State;
use axum::routing::get;

use super::Served;
use super::answer::told;
use super::api_routes::Answered;

pub(super) fn routes() -> Router<Served> {
    Router::new().route("/api/v1/doctor", get(doctor))
}

async fn doctor(State(served): State<Served>) -> Answered {
    Ok(told(served.node.doctor().await?))
}
