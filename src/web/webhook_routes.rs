//! Routes of webhooks.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};

use super::answer::told;
use super::api_routes::Answered;
use super::sent::Sent;
use super::{Names, Served};
use crate::api::webhooks::NewWebhook;

pub(super) fn routes() -> Router<Served> {
    Router::new()
        .route("/api/v1/webhooks", get(list).post(add))
        .route("/api/v1/webhooks/{webhook}", delete(remove))
        .route("/api/v1/webhooks/{webhook}/test", post(test))
}

async fn list(State(served): State<Served>) -> Answered {
    Ok(told(served.node.webhooks().await?))
}

async fn add(State(served): State<Served>, Sent(new): Sent<NewWebhook>) -> Answered {
    let made = served.node.add_webhook(new).await?;
    Ok((StatusCode::CREATED, told(made)).into_response())
}

async fn remove(State(served): State<Served>, Names(id): Names<String>) -> Answered {
    served.node.remove_webhook(&id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn test(State(served): State<Served>, Names(id): Names<String>) -> Answered {
    Ok(told(served.node.test_webhook(&id).await?))
}
