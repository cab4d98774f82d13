//! Routes of what is said of feeds and versions beside publishing and deleting.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, patch, post, put};

use super::answer::told;
use super::api_routes::{Answered, Asked, query};
use super::sent::Sent;
use super::{Names, Served};
use crate::api::ruling;

pub(super) fn routes() -> Router<Served> {
    Router::new()
        .route("/api/v1/feeds/{feed}", patch(change_feed))
        .route("/api/v1/feeds/{feed}/rights", get(rights))
        .route("/api/v1/feeds/{feed}/grants", post(grant))
        .route("/api/v1/feeds/{feed}/revokes", post(revoke))
        .route("/api/v1/feeds/{feed}/blocks", get(blocks).post(block))
        .route("/api/v1/feeds/{feed}/blocks/{op}/lift", post(unblock))
        .route("/api/v1/feeds/{feed}/offers", put(offer))
        .route("/api/v1/feeds/{feed}/refs", put(point))
        .route("/api/v1/feeds/{feed}/refs/{package}", get(references))
        .route("/api/v1/feeds/{feed}/resolve", post(resolve))
        .route("/api/v1/feeds/{feed}/revert-local", post(revert_local))
        .route("/api/v1/feeds/{feed}/promote", post(promote))
        .route("/api/v1/conflicts", get(conflicts))
}

fn created<T: IntoResponse>(answer: T) -> Response<Body> {
    (StatusCode::CREATED, answer).into_response()
}

async fn change_feed(
    State(served): State<Served>,
    Names(feed): Names<String>,
    Sent(change): Sent<ruling::FeedChange>,
) -> Answered {
    Ok(told(served.node.change_feed(&feed, change).await?))
}

async fn rights(State(served): State<Served>, Names(feed): Names<String>) -> Answered {
    Ok(told(served.node.rights(&feed).await?))
}

async fn grant(
    State(served): State<Served>,
    Names(feed): Names<String>,
    Sent(asked): Sent<ruling::GrantRequest>,
) -> Answered {
    Ok(created(told(served.node.grant(&feed, asked).await?)))
}

async fn revoke(
    State(served): State<Served>,
    Names(feed): Names<String>,
    Sent(asked): Sent<ruling::RevokeRequest>,
) -> Answered {
    Ok(created(told(served.node.revoke(&feed, asked).await?)))
}

async fn blocks(State(served): State<Served>, Names(feed): Names<String>) -> Answered {
    Ok(told(served.node.blocks(&feed).await?))
}

async fn block(
    State(served): State<Served>,
    Names(feed): Names<String>,
    Sent(asked): Sent<ruling::BlockRequest>,
) -> Answered {
    Ok(created(told(served.node.block(&feed, asked).await?)))
}

async fn unblock(
    State(served): State<Served>,
    Names((feed, op)): Names<(String, String)>,
    Sent(asked): Sent<ruling::UnblockRequest>,
) -> Answered {
    Ok(created(told(served.node.unblock(&feed, &op, asked.reason).await?)))
}

async fn offer(
    State(served): State<Served>,
    Names(feed): Names<String>,
    Sent(asked): Sent<ruling::OfferRequest>,
) -> Answered {
    Ok(told(served.node.offer(&feed, asked).await?))
}

async fn point(
    State(served): State<Served>,
    Names(feed): Names<String>,
    Sent(asked): Sent<ruling::PointRequest>,
) -> Answered {
    Ok(told(served.node.point(&feed, asked).await?))
}

async fn references(
    State(served): State<Served>,
    Names((feed, package)): Names<(String, String)>,
) -> Answered {
    Ok(told(served.node.references(&feed, &package).await?))
}

async fn resolve(
    State(served): State<Served>,
    Names(feed): Names<String>,
    Sent(asked): Sent<ruling::ResolveRequest>,
) -> Answered {
    Ok(created(told(served.node.resolve(&feed, asked).await?)))
}

async fn revert_local(
    State(served): State<Served>,
    Names(feed): Names<String>,
    Sent(at): Sent<ruling::Version>,
) -> Answered {
    Ok(created(told(served.node.revert_local(&feed, at).await?)))
}

async fn promote(
    State(served): State<Served>,
    Names(feed): Names<String>,
    Sent(asked): Sent<ruling::PromoteRequest>,
) -> Answered {
    Ok(created(told(served.node.promote(&feed, asked).await?)))
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ConflictsQuery {
    feed: Option<String>,
}

async fn conflicts(State(served): State<Served>, asked: Asked<ConflictsQuery>) -> Answered {
    Ok(told(served.node.conflicts(query(asked)?.feed).await?))
}
