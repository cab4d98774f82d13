//! Routes of keys.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};

use super::answer::told;
use super::api_routes::Answered;
use super::sent::Sent;
use super::{Names, Served};
use crate::api::keys::RotateRequest;
use crate::api::ruling::RevokeRequest;

pub(super) fn routes() -> Router<Served> {
    Router::new()
        .route("/api/v1/keys", get(list))
        .route("/api/v1/keys/rotation", post(rotate))
        .route("/api/v1/keys/revoked", post(revoke))
        .route("/api/v1/keys/revoked/{site}", delete(readmit))
}

async fn list(State(served): State<Served>) -> Answered {
    Ok(told(served.node.keys().await?))
}

async fn rotate(State(served): State<Served>, Sent(asked): Sent<RotateRequest>) -> Answered {
    let rotated = served.node.rotate_key(asked).await?;
    Ok((StatusCode::CREATED, told(rotated)).into_response())
}

async fn revoke(State(served): State<Served>, Sent(asked): Sent<RevokeRequest>) -> Answered {
    let revoked = served.node.revoke_key(asked).await?;
    Ok((StatusCode::CREATED, told(revoked)).into_response())
}

async fn readmit(State(served): State<Served>, Names(site): Names<String>) -> Answered {
    Ok(told(served.node.readmit_key(&site).await?))
}
