//! Routes of how this site keeps its bytes.

use axum::Router;
use axum::extract::State;
use axum::routing::post;

use super::Served;
use super::api_routes::{Answered, Asked, query, streamed};
use crate::node::Thorough;

pub(super) fn routes() -> Router<Served> {
    Router::new().route("/api/v1/verify", post(verify))
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifyQuery {
    #[serde(default)]
    heal: bool,
    #[serde(default)]
    deep: bool,
}

async fn verify(State(served): State<Served>, asked: Asked<VerifyQuery>) -> Answered {
    let VerifyQuery { heal, deep } = query(asked)?;
    std::future::ready(()).await;
    Ok(streamed(|steps| async move { served.node.verify(Thorough { heal, deep }, steps).await }))
}
