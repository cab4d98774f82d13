//! Routes of the log of ops and of the level of the log lines.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use protocol::limits::{LOG_OPS_MAX, LOG_WAIT_MS_MAX};

use super::Served;
use super::answer::told;
use super::api_routes::{Answered, Asked, query};
use super::sent::Sent;
use crate::api::log as shapes;
use crate::node::OpsAsked;

/// Ops in one answer where the caller names no number.
const OPS: usize = 50;

pub(super) fn routes() -> Router<Served> {
    Router::new()
        .route("/api/v1/log", get(ops))
        .route("/api/v1/log-level", get(level).put(raise).delete(reset))
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct OpsQuery {
    feed: Option<String>,
    author: Option<String>,
    after: Option<u64>,
    limit: Option<usize>,
    wait_ms: Option<u64>,
}

async fn ops(State(served): State<Served>, asked: Asked<OpsQuery>) -> Answered {
    let OpsQuery { feed, author, after, limit, wait_ms } = query(asked)?;
    let asked = OpsAsked {
        feed,
        author,
        after,
        limit: limit.unwrap_or(OPS).clamp(1, LOG_OPS_MAX),
        wait_ms: wait_ms.unwrap_or(0).min(LOG_WAIT_MS_MAX),
    };
    Ok(told(served.node.ops(asked).await?))
}

async fn level(State(served): State<Served>) -> Answered {
    std::future::ready(()).await;
    Ok(told(served.node.log_level()?))
}

async fn raise(State(served): State<Served>, Sent(asked): Sent<shapes::RaiseRequest>) -> Answered {
    Ok(told(served.node.raise_log_level(&asked)?))
}

async fn reset(State(served): State<Served>) -> Answered {
    std::future::ready(()).await;
    Ok(told(served.node.reset_log_level()?))
}
