//! Routes about what may come of links: plans, which save nothing, and tickets that are withdrawn.

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::Response;
use axum::routing::{delete, get, post};

use super::answer::told;
use super::sent::Sent;
use super::{Names, Refusal, Served};
use crate::api;

type Answered = Result<Response<Body>, Refusal>;

pub(super) fn routes() -> Router<Served> {
    Router::new()
        .route("/api/v1/links/{link}/plan", get(link_plan))
        .route("/api/v1/forecast", get(forecast))
        .route("/api/v1/pair/plan", post(ticket_plan))
        .route("/api/v1/pair/preview", post(invite_preview))
        .route("/api/v1/pair/tickets/{ticket}", delete(revoke_pairing))
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanQuery {
    mode: Option<String>,
}

async fn link_plan(
    State(served): State<Served>,
    Names(name): Names<String>,
    asked: Result<Query<PlanQuery>, QueryRejection>,
) -> Answered {
    Ok(told(served.node.plan(&name, asked?.0.mode).await?))
}

async fn ticket_plan(State(served): State<Served>, Sent(asked): Sent<api::plan::TicketPlan>) -> Answered {
    Ok(told(served.node.plan_ticket(asked).await?))
}

async fn invite_preview(State(served): State<Served>, Sent(asked): Sent<api::InviteRequest>) -> Answered {
    Ok(told(served.node.invite_preview(asked).await?))
}

async fn revoke_pairing(State(served): State<Served>, Names(name): Names<String>) -> Answered {
    Ok(told(served.node.revoke_pairing(&name).await?))
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ForecastQuery {
    link: Option<String>,
}

async fn forecast(
    State(served): State<Served>,
    asked: Result<Query<ForecastQuery>, QueryRejection>,
) -> Answered {
    Ok(told(served.node.forecasts(asked?.0.link).await?))
}
